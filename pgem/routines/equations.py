"""Normal equations over the entries of coefficients: shared by least squares and Newton's steps.

Every place of every cell's coefficients holds one entry of one parameter, or a fixed number, so
that equal, shared and fixed entries need no special treatment.  The equations fall into blocks that
share no entry; these are solved side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.families._linear import Linear, WithTerms
from pgem.routines.maximise import Learned, Params, Readers, rows_of
from pgem.routines.priors import Times
from pgem.routines.tables import Entry, Stats

RANK = 1e-13
"""Share of the largest eigenvalue (of equations scaled to a unit diagonal) that counts as zero."""
SOUND = 1e-9
"""Product of the eigenvalues of such equations above which none of them is near that."""


def moved(
    learned: Sequence[Learned], places: Mapping[str, Integers], params: Params, step: Floats
) -> Params:
    """The coefficients after a step of all free entries."""
    found = {}
    for item in learned:
        ids, value = places[item.name], params[item.name]
        change = step[ids] if ids.min(initial=0) >= 0 else np.where(ids < 0, 0.0, step[ids])
        found[item.name] = np.asarray(value + change.reshape(value.shape))
    return found


def undetermined(
    learned: Sequence[Learned], places: Mapping[str, Integers], loose: Mask
) -> set[str]:
    """Coefficients with entries that the equations leave open."""
    return {p.name for p in learned if loose[places[p.name][places[p.name] >= 0]].any()}


def places_of(learned: Sequence[Learned]) -> tuple[dict[str, Integers], int]:
    """A number for every free entry [rows, own entries], -1 for fixed ones."""
    found, size = {}, 0
    for item in learned:
        fixed = rows_of(item.fixed, item.n_gates)
        flat = fixed.reshape(len(fixed), -1)
        ids = np.full(flat.shape, -1)
        ids[~flat] = size + np.arange(int((~flat).sum()))
        size += int((~flat).sum())
        found[item.name] = ids
    return found, size


def index_of(entry: Entry, reads: Mapping[str, str], places: Mapping[str, Integers]) -> Integers:
    """Which entry stands at each place of the coefficients [cells, d, columns], or -1."""
    family = entry.family
    assert isinstance(family, WithTerms)
    index = np.full((entry.cells.n_cells, family.dim, family.width), -1)
    for term in family.terms:
        name = reads.get(term.slot, "")
        if name in places:
            ids = places[name][entry.cells.rows[term.slot]]
            part = np.where(term.placement < 0, -1, ids[:, term.placement])
            index[:, :, term.start : term.stop] = part
    return index


def linear(entry: Entry) -> Linear:
    """The family of a component whose mean is linear."""
    assert isinstance(entry.family, Linear)
    return entry.family


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where the entries of coefficients stand.

    Attributes:
        places: a number for every free entry of each parameter, -1 for fixed ones.
        size: their number.
        indices: per component, the entry at each place of its coefficients, or -1.
        columns: the free columns of the only component, where each entry stands in one place and
            all rows have the same columns free: then every row is a system of its own.
    """

    places: dict[str, Integers]
    size: int
    indices: list[Integers]
    columns: Integers | None


def pattern_of(
    stats: Stats, keys: Sequence[str], learned: Sequence[Learned], readers: Readers
) -> Pattern:
    """Where the entries of some coefficients stand; kept with the cells of the first component."""
    cells, names = stats[keys[0]].cells, tuple(item.name for item in learned)
    kept: dict[Any, Pattern] = cells.__dict__.setdefault("patterns", {})
    what = (*keys, *names)
    if what not in kept:
        places, size = places_of(learned)
        indices = [index_of(stats[key], readers[key], places) for key in keys]
        kept[what] = Pattern(places, size, indices, _columns(indices, size))
    return kept[what]


def _columns(indices: Sequence[Integers], size: int) -> Integers | None:
    index = indices[0]
    free = index[0, 0] >= 0
    alike = len(indices) == 1 and ((index >= 0) == free).all()
    once = alike and np.array_equal(np.sort(index[:, :, free], axis=None), np.arange(size))
    return np.flatnonzero(free) if once else None


class Equations:
    """Normal equations in the making: pairs of entries with what they add."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.right = np.zeros(size)
        self.rows: list[Integers] = []
        self.columns: list[Integers] = []
        self.values: list[Floats] = []

    def add(
        self, entry: Entry, family: Linear, index: Integers, slots: Params, *, plain: bool
    ) -> None:
        """Add one component; `plain` leaves out covariances that cancel."""
        _, _, phi, cross, _ = entry.arrays
        left = cross - (family.coefs(slots) - family.coefs(entry.origin)) @ phi
        noise = family.noise(slots)
        free = index >= 0
        if plain or family.diagonal:
            weight = np.ones(index.shape[:2]) if plain else 1 / noise
            self.add_right(index, left * weight[:, :, None])
            rows, columns = index[:, :, :, None], index[:, :, None, :]
            values = weight[:, :, None, None] * phi[:, None]
            both = free[:, :, :, None] & free[:, :, None, :]
        else:
            precision = np.linalg.inv(noise)
            self.add_right(index, precision @ left)
            rows, columns = index[:, :, :, None, None], index[:, None, None, :, :]
            values = precision[:, :, None, :, None] * phi[:, None, :, None, :]
            both = free[:, :, :, None, None] & free[:, None, None, :, :]
        shape = both.shape
        self.rows.append(np.broadcast_to(rows, shape)[both])
        self.columns.append(np.broadcast_to(columns, shape)[both])
        self.values.append(np.broadcast_to(values, shape)[both])

    def add_right(self, index: Integers, values: Floats) -> None:
        """Add to the right-hand side."""
        free = index >= 0
        self.right += np.bincount(index[free], values[free], self.size)

    def add_priors(
        self,
        learned: Sequence[Learned],
        places: Mapping[str, Integers],
        params: Params,
        *,
        plain: bool,
    ) -> None:
        """Add normal priors, and what they say of coefficients in their own means."""
        for item in learned:
            if item.prior is None:
                continue
            precision, linear = item.prior.on_value(params, cancel=plain)
            n_rows = len(linear)
            matrix = precision.reshape(n_rows, *(precision.shape[1:] or (1, 1)))
            ids = places[item.name].reshape(n_rows, -1)
            value = params[item.name].reshape(n_rows, -1)
            pull = linear.reshape(n_rows, -1) - np.einsum("rij,rj->ri", matrix, value)
            self.add_right(ids, pull)
            self.add_pairs(ids, ids, matrix)
            for link in item.prior.links.values():
                if link.name in places:
                    self.add_link(link, ids, places[link.name], matrix, pull)

    def add_link(
        self, link: Times, ids: Integers, others: Integers, matrix: Floats, pull: Floats
    ) -> None:
        """Add what a normal prior says of the coefficients in its mean, where its value is free."""
        n_rows, size = ids.shape
        factor = np.broadcast_to(link.factor, n_rows)
        factor = np.where((ids >= 0).all(axis=1), factor, 0.0)[:, None]
        rows = np.arange(n_rows) if link.rows is None else link.rows
        theirs = others.reshape(-1, size)[rows]
        self.add_right(theirs, -factor * pull)
        cross = -factor[:, :, None] * matrix
        self.add_pairs(ids, theirs, cross)
        self.add_pairs(theirs, ids, cross)
        self.add_pairs(theirs, theirs, factor[:, :, None] ** 2 * matrix)

    def add_pairs(self, one: Integers, other: Integers, values: Floats) -> None:
        """Add equations between entries [rows, i] and entries [rows, j], values [rows, i, j]."""
        both = (one >= 0)[:, :, None] & (other >= 0)[:, None, :]
        self.rows.append(np.broadcast_to(one[:, :, None], both.shape)[both])
        self.columns.append(np.broadcast_to(other[:, None, :], both.shape)[both])
        self.values.append(values[both])

    def solve(self) -> tuple[Floats, Mask]:
        """The change of every entry, and which entries the data leave open."""
        step, loose = np.zeros(self.size), np.zeros(self.size, dtype=bool)
        if not self.size:
            return step, loose
        rows, columns = np.concatenate(self.rows), np.concatenate(self.columns)
        values = np.concatenate(self.values)
        label = _connected(rows, columns, self.size)
        order = np.argsort(label, kind="stable")
        counts = np.unique(label, return_counts=True)[1]
        first = np.repeat(np.cumsum(counts) - counts, counts)
        within, size_of = np.empty(self.size, dtype=np.int64), np.empty(self.size, dtype=np.int64)
        within[order] = np.arange(self.size) - first
        size_of[order] = np.repeat(counts, counts)
        for size in np.unique(counts).tolist():
            members = order[np.repeat(counts, counts) == size].reshape(-1, size)
            batch = np.empty(self.size, dtype=np.int64)
            batch[members] = np.arange(len(members))[:, None]
            here = size_of[rows] == size
            matrix = np.zeros((len(members), size, size))
            np.add.at(
                matrix, (batch[rows[here]], within[rows[here]], within[columns[here]]), values[here]
            )
            step[members], loose[members] = _solve(matrix, self.right[members])
        return step, loose


def _connected(rows: Integers, columns: Integers, size: int) -> Integers:
    """The smallest entry that each entry is linked to, by way of shared equations."""
    label = np.arange(size)
    while True:
        lower = label.copy()
        np.minimum.at(lower, rows, label[columns])
        lower = lower[lower]
        if np.array_equal(lower, label):
            return label
        label = lower


def solve_rows(matrix: Floats, right: Floats) -> tuple[Floats, Mask | None]:
    """Solutions x [B, r, s] of x A = b for r right-hand sides each, and entries in a null space.

    Args:
        matrix: A, symmetric and positive semidefinite [B, s, s].
        right: b [B, r, s].
    """
    if _is_sound(matrix):
        return np.swapaxes(np.linalg.solve(matrix, np.swapaxes(right, 1, 2)), 1, 2), None
    n, n_right, size = right.shape
    step, loose = _solve(np.repeat(matrix, n_right, axis=0), right.reshape(-1, size))
    return step.reshape(n, n_right, size), loose.reshape(n, n_right, size)


def _is_sound(matrix: Floats) -> bool:
    """Whether all eigenvalues of the scaled matrices [B, s, s] are well above `RANK`.

    The product of a matrix's eigenvalues is that of its Cholesky factor's squared diagonal; if its
    own diagonal is 1, s - 1 of them have at most the product (s / (s - 1))^(s - 1) < e.
    """
    diagonal = np.einsum("bii->bi", matrix)
    if np.count_nonzero(diagonal > 0) != diagonal.size:
        return False
    try:
        lower = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    left = np.einsum("bii->bi", lower) ** 2 / diagonal
    return bool(np.multiply.reduce(left, axis=1).min() > SOUND)


def _solve(matrix: Floats, right: Floats) -> tuple[Floats, Mask]:
    """Solutions of least norm [B, s] of scaled equations, and entries in a null space."""
    diagonal = np.einsum("bii->bi", matrix)
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
    scaled = matrix * scale[:, :, None] * scale[:, None, :]
    roots, vectors = np.linalg.eigh(scaled)
    seen = roots > RANK * np.maximum(roots[:, -1:], 1e-300)
    inverse = np.where(seen, 1 / np.where(seen, roots, 1.0), 0.0)
    turned = np.einsum("bji,bj->bi", vectors, right * scale)
    step = scale * np.einsum("bij,bj->bi", vectors, inverse * turned)
    hidden = np.einsum("bij,bj->bi", vectors**2, (~seen).astype(float))
    return step, hidden > 1e-8
