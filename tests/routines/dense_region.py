"""Random linear-Gaussian regions, and their answers from the joint Gaussian of all their cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from pgem.routines.collect import ScopeData
from pgem.routines.region import Link, Member, Piece, Region, RegionLayout

Array = NDArray[Any]
EXACT = mpmath.mp.clone()
EXACT.dps = 60


@dataclass
class Case:
    """A region and its parameters."""

    members: list[Member]
    scopes: dict[str, ScopeData]
    parents: dict[str, str]
    n_top: int
    chain: str | None
    coefs: dict[str, Array] = field(default_factory=dict)
    covs: dict[str, Array] = field(default_factory=dict)

    def evaluate(self) -> Region:
        layout = RegionLayout(
            self.members, self.scopes, self.parents, "top", self.n_top, self.chain
        )
        return layout.evaluate(self.coefs, self.covs)

    @property
    def n_gates(self) -> int:
        return int(next(iter(self.coefs.values())).shape[1])

    def row_above(self, scope: str, row: int, target: str) -> int:
        while scope != target:
            row, scope = int(self.scopes[scope].parent[row]), self.parents[scope]
        return row

    def n_rows(self, scope: str) -> int:
        return self.n_top if scope == "top" else self.scopes[scope].n_rows


@dataclass
class Cell:
    """One row of a member in the joint: φ = const + linear z, value = C φ + e."""

    piece: Piece
    local: int
    code: int
    const: Array
    linear: Array
    place: slice


class Joint:
    """All cells below one top row under one configuration, conditioned on what is given."""

    def __init__(self, case: Case, top: int, gate: int, *, exact: bool = False) -> None:
        self.case, self.gate, self.exact = case, gate, exact
        self.members = {member.name: member for member in case.members}
        self.places: dict[tuple[str, int], slice] = {}
        size = 0
        for member in case.members:
            for row in range(len(member.values)):
                if case.row_above(member.scope, row, "top") == top:
                    self.places[member.name, row] = slice(size, size + member.values.shape[1])
                    size += member.values.shape[1]
        self.mean, self.cov = self.of(np.zeros(size)), self.of(np.zeros((size, size)))
        self.cells: dict[tuple[str, int], Cell] = {}
        for name, row in self.places:
            self.add(name, row)
        self.condition()

    def of(self, values: Array) -> Array:
        """The same numbers, with 60 digits if the joint is exact."""
        if not self.exact:
            return np.array(values, dtype=float)
        flat = [EXACT.mpf(float(value)) for value in np.ravel(values)]
        out = np.empty(len(flat), dtype=object)
        out[:] = flat
        return out.reshape(np.shape(values))

    def find_piece(self, name: str, row: int) -> tuple[Piece, int]:
        for piece in self.members[name].pieces:
            rows = range(len(self.members[name].values)) if piece.rows is None else piece.rows
            if row in list(rows):
                return piece, list(rows).index(row)
        raise AssertionError("no piece for a row")

    def add(self, name: str, row: int) -> None:
        if (name, row) in self.cells:
            return
        piece, local = self.find_piece(name, row)
        code = 0 if piece.code is None else int(piece.code[local])
        c = self.of(self.case.coefs[piece.key][code, self.gate])
        v = self.of(self.case.covs[piece.key][code, self.gate])
        const = self.of(piece.const[local if len(piece.const) > 1 else 0])
        linear = self.of(np.zeros((len(const), len(self.mean))))
        for link in piece.links:
            self.link(linear, link, local, self.source(link, name, row))
        spread = 1.0 if piece.spread is None else piece.spread[local]
        place = self.places[name, row]
        self.mean[place] = c @ (const + linear @ self.mean)
        across = c @ linear @ self.cov
        self.cov[place], self.cov[:, place] = across, across.T
        noise = np.diag(v) if piece.diagonal else v
        self.cov[place, place] = across @ linear.T @ c.T + noise * spread
        self.cells[name, row] = Cell(piece, local, code, const, linear, place)

    def source(self, link: Link, name: str, row: int) -> slice:
        target = self.members[link.parent].scope
        above = self.case.row_above(self.members[name].scope, row, target)
        if link.lag:
            above = int(self.case.scopes[target].earlier(link.lag)[above])
        self.add(link.parent, above)
        return self.places[link.parent, above]

    @staticmethod
    def link(linear: Array, link: Link, local: int, place: slice) -> None:
        size = place.stop - place.start
        if link.contracts:
            assert link.scale is not None
            linear[link.start, place] += link.scale[local]
        else:
            scale = 1.0 if link.scale is None else link.scale[local]
            linear[link.start : link.stop, place] += scale * np.eye(size)

    def condition(self) -> None:
        values = np.full(len(self.mean), np.nan)
        for (name, row), place in self.places.items():
            values[place] = self.members[name].values[row]
        given = ~np.isnan(values)
        shown = self.cov[np.ix_(given, given)]
        missed = self.of(values[given]) - self.mean[given]
        inverse, log_det = self.invert(shown)
        n = int(given.sum())
        self.log_p = -(missed @ inverse @ missed + log_det + n * np.log(2 * np.pi)) / 2
        gain = self.cov[:, given] @ inverse
        self.post_mean = self.mean + gain @ missed
        self.post_cov = self.cov - gain @ self.cov[given]
        self.post_mean[given] = values[given]
        self.post_cov[given], self.post_cov[:, given] = 0.0, 0.0

    def invert(self, matrix: Array) -> tuple[Array, Any]:
        if not self.exact or len(matrix) == 0:
            return np.linalg.inv(matrix.astype(float)), np.linalg.slogdet(matrix.astype(float))[1]
        inverse = EXACT.matrix(matrix.tolist()) ** -1
        out = np.array(inverse.tolist(), dtype=object).reshape(matrix.shape)
        return out, EXACT.log(EXACT.det(EXACT.matrix(matrix.tolist())))

    def statistics(self, found: dict[str, dict[str, Array]], weight: float) -> None:
        parents = {
            link.parent
            for member in self.case.members
            for piece in member.pieces
            for link in piece.links
        }
        for (name, row), cell in self.cells.items():
            if name not in parents and np.isnan(self.members[name].values[row]).all():
                continue
            piece, total = cell.piece, found[cell.piece.key]
            c = self.case.coefs[piece.key][cell.code, self.gate]
            spread = 1.0 if piece.spread is None else piece.spread[cell.local]
            residual = -c @ cell.linear
            residual[:, cell.place] += np.eye(len(c))
            phi = cell.const + cell.linear @ self.post_mean
            e = residual @ self.post_mean - c @ cell.const
            at = cell.code, self.gate
            s = self.post_cov
            square = np.outer(e, e) + residual @ s @ residual.T
            total["count"][at] += weight
            total["weight"][at] += weight / spread
            total["phi"][at] += (
                weight / spread * (np.outer(phi, phi) + cell.linear @ s @ cell.linear.T)
            )
            total["cross"][at] += (
                weight / spread * (np.outer(e, phi) + residual @ s @ cell.linear.T)
            )
            total["square"][at] += weight / spread * (np.diag(square) if piece.diagonal else square)


def empty_statistics(case: Case) -> dict[str, dict[str, Array]]:
    found = {}
    for key, coefs in case.coefs.items():
        k, g, d, m = coefs.shape
        found[key] = {
            "count": np.zeros((k, g)),
            "weight": np.zeros((k, g)),
            "phi": np.zeros((k, g, m, m)),
            "cross": np.zeros((k, g, d, m)),
            "square": np.zeros(case.covs[key].shape),
        }
    return found


@dataclass
class Wishes:
    """What a random region shall have."""

    plates: bool = True
    chain: bool = False
    tree: bool = False
    chain_in_plate: bool = False
    plate_in_chain: bool = False
    gates: int = 1
    lags: int = 1
    holes: float = 0.2
    zero_variances: bool = False


class Builder:
    """Draws a region."""

    def __init__(self, seed: int, wishes: Wishes) -> None:
        self.rng, self.wishes = np.random.default_rng(seed), wishes
        self.case = Case([], {}, {}, int(self.rng.integers(1, 4)), None)
        self.lagged: list[tuple[str, int]] = []

    def build(self) -> Case:
        self.fill("top", 1)
        inside = "top"
        if self.wishes.plates:
            self.open("outer", "top")
            self.fill("outer", 0)
            self.open("inner", "outer")
            self.fill("inner", 0)
        if self.wishes.chain_in_plate:
            inside = "outer"
        if self.wishes.chain:
            self.case.chain = "steps"
            self.open("steps", inside)
            self.fill("steps", 1, looks_back=True)
            if self.wishes.plate_in_chain:
                self.open("leaves", "steps")
                self.fill("leaves", 0)
        return self.case

    def open(self, name: str, parent: str) -> None:
        high = 6 if name == "steps" else 4
        lengths = self.rng.integers(0, high, size=self.case.n_rows(parent))
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        parents = None
        if name == "steps" and self.wishes.tree:
            parts = [a + self.forest(n) for a, n in zip(starts[:-1], lengths, strict=True)]
            below = [
                np.where(part < a, -1, part) for a, part in zip(starts[:-1], parts, strict=True)
            ]
            parents = np.concatenate([np.zeros(0, dtype=np.int64), *below])
        self.case.scopes[name] = ScopeData(name, starts, 2, 1, parents=parents)
        self.case.parents[name] = parent

    def forest(self, size: int) -> Array:
        """Parents of the members of a random forest, in any order; -1 for roots."""
        above = np.array([self.rng.integers(-1, k) if k else -1 for k in range(size)], dtype=int)
        place, found = self.rng.permutation(size), np.full(size, -1)
        found[place] = np.where(above < 0, -1, place[above])
        return found

    def fill(self, scope: str, least: int, *, looks_back: bool = False) -> None:
        back: list[str] = []
        for k in range(int(self.rng.integers(max(least, 1), 4))):
            name, latent = f"{scope}{k}", bool(k < least or self.rng.random() < 0.4)
            size = int(self.rng.integers(1, 4))
            values = self.values(self.case.n_rows(scope), size, latent=latent)
            if looks_back and (k == 0 or self.rng.random() < 0.5):
                back.append(name)
            pieces = self.pieces(name, scope, values, back, latent=latent)
            self.case.members.append(Member(name, scope, values, pieces))

    def values(self, n: int, size: int, *, latent: bool) -> Array:
        values = self.rng.normal(size=(n, size)) * 2
        if latent:
            whole = self.rng.random(n) < (0.85 if self.wishes.holes else 1.0)
            values[whole] = np.nan
            return values
        if self.rng.random() < 0.7:
            values[self.rng.random((n, size)) < self.wishes.holes] = np.nan
            values[self.rng.random(n) < self.wishes.holes] = np.nan
        return values

    def pieces(
        self, name: str, scope: str, values: Array, back: list[str], *, latent: bool
    ) -> tuple[Piece, ...]:
        n, size = values.shape
        if scope == "leaves" and self.rng.random() < 0.4:
            back = ["steps0"]
        if back:
            lags = int(self.rng.integers(1, self.wishes.lags + 1))
            number = self.case.scopes["steps"].depth
            first = (number if scope == "steps" else number[self.case.scopes[scope].parent]) < lags
            parts = [(f"{name}.first", np.flatnonzero(first), 0)]
            parts.append((name, np.flatnonzero(~first), lags))
        elif self.rng.random() < 0.3:
            chosen = self.rng.random(n) < 0.5
            parts = [(f"{name}.a", np.flatnonzero(chosen), 0), (name, np.flatnonzero(~chosen), 0)]
        else:
            return (self.piece(name, None, scope, n, size, 0, [], latent=latent),)
        sizes = {member.name: member.values.shape[1] for member in self.case.members}
        sizes[name] = size
        return tuple(
            self.piece(
                key, rows, scope, len(rows), size, lags,
                [(other, sizes[other]) for other in back], latent=latent,
            )
            for key, rows, lags in parts
        )  # fmt: skip

    def piece(
        self, key: str, rows: Array | None, scope: str, n: int, size: int, lags: int,
        back: list[tuple[str, int]], *, latent: bool,
    ) -> Piece:  # fmt: skip
        rng = self.rng
        scopes = [scope]
        while scopes[-1] != "top":
            scopes.append(self.case.parents[scopes[-1]])
        links, width = [], 1 + int(rng.integers(0, 2))
        for member in self.case.members:
            if member.scope in scopes and rng.random() < 0.7:
                links.append(self.link(member.name, 0, width, n, member.values.shape[1]))
                width = links[-1].stop
        for name, d in back:
            for lag in range(1, lags + 1):
                links.append(self.link(name, lag, width, n, d))
                width = links[-1].stop
        const = np.zeros((n if rng.random() < 0.6 else 1, width))
        const[:, 0] = 1.0
        first = links[0].start if links else width
        const[:, 1:first] = rng.normal(size=(len(const), first - 1))
        n_codes = int(rng.integers(1, 4))
        code = rng.integers(0, n_codes, size=n) if n_codes > 1 else None
        diagonal = bool(rng.random() < 0.5)
        gates = self.wishes.gates
        self.case.coefs[key] = rng.normal(size=(n_codes, gates, size, width)) * 0.6
        self.case.covs[key] = self.covariance((n_codes, gates), size, diagonal, latent)
        spread = rng.uniform(0.3, 3.0, size=n).round(1) if rng.random() < 0.3 else None
        return Piece(key, rows, code, const, tuple(links), spread, diagonal)

    def link(self, parent: str, lag: int, start: int, n: int, size: int) -> Link:
        kind = self.rng.random()
        if kind < 0.5:
            return Link(parent, lag, start, start + size, None)
        if kind < 0.75:
            scale = self.rng.integers(-2, 3, size=n) / 2.0
            return Link(parent, lag, start, start + size, scale)
        scale = self.rng.integers(-1, 2, size=(n, size)) / 1.5
        return Link(parent, lag, start, start + 1, scale, contracts=True)

    def covariance(self, shape: tuple[int, int], size: int, diagonal: bool, latent: bool) -> Array:
        zero = latent and self.wishes.zero_variances
        if diagonal:
            var = self.rng.uniform(0.2, 1.5, size=(*shape, size))
            return np.where(self.rng.random(var.shape) < 0.5, 0.0, var) if zero else var
        rank = 1 if zero else size + 1
        root = self.rng.normal(size=(*shape, size, rank)) * 0.7
        return root @ np.swapaxes(root, -1, -2)


def tile(case: Case, times: int) -> Case:
    """The same top rows again and again."""
    scopes = {}
    for name, scope in case.scopes.items():
        starts = np.concatenate([[0], np.cumsum(np.tile(scope.lengths, times))])
        parents, n = scope.parents, scope.n_rows
        if parents is not None:
            shifts = n * np.arange(times)[:, None]
            parents = np.where(parents < 0, -1, parents + shifts).ravel()
        scopes[name] = ScopeData(name, starts.astype(np.int64), 2, 1, parents=parents)
    members = []
    for member in case.members:
        n = len(member.values)
        pieces = tuple(_tile_piece(piece, n, times) for piece in member.pieces)
        values = np.tile(member.values, (times, 1))
        members.append(replace(member, values=values, pieces=pieces))
    return replace(case, members=members, scopes=scopes, n_top=case.n_top * times)


def _tile_piece(piece: Piece, n: int, times: int) -> Piece:
    rows = piece.rows
    n_rows = n if rows is None else len(rows)
    if rows is not None:
        rows = (np.arange(times)[:, None] * n + rows).ravel()
    links = tuple(replace(link, scale=_tiled(link.scale, times)) for link in piece.links)
    code = None if piece.code is None else np.tile(piece.code, times)
    const = piece.const if len(piece.const) != n_rows else np.tile(piece.const, (times, 1))
    spread = _tiled(piece.spread, times)
    return replace(piece, rows=rows, code=code, const=const, links=links, spread=spread)


def _tiled(values: Array | None, times: int) -> Array | None:
    return None if values is None else np.tile(values, (times,) + (1,) * (values.ndim - 1))


def joints(case: Case) -> Mapping[tuple[int, int], Joint]:
    return {
        (top, gate): Joint(case, top, gate)
        for top in range(case.n_top)
        for gate in range(case.n_gates)
    }
