"""An oracle for Gaussian latents: one dense joint Gaussian per configuration of the discrete ones.

It reads the declaration's records and shares no code with the compiler.  Every value of a unit is
written as mean + loadings × independent standard-normal noise, node by node; all that is seen is
then conditioned on at once with plain matrices.  No messages, no filters, no patterns.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from pgem.declare.records import Gate, LeafRecord, ModelRecord, NodeRecord, SlotRecord

Floats = NDArray[np.float64]
Path = tuple[int, ...]
Cell = tuple[str, Path]
Params = Mapping[str, Any]
GAUSSIAN = ("Normal", "MvNormal")


@dataclass
class Form:
    """mean [d] + loadings [d, noises] × noise."""

    mean: Floats
    loadings: Floats

    def __add__(self, other: Form) -> Form:
        return Form(self.mean + other.mean, self.loadings + other.loadings)

    def mapped(self, matrix: Floats) -> Form:
        return Form(matrix @ self.mean, matrix @ self.loadings)


@dataclass
class World:
    """One unit under one configuration of its discrete latents.

    Attributes:
        forms: every Gaussian value.
        log_prior: log-probability of the configuration and of what is seen of discrete nodes.
        log_seen: log-density of the Gaussian values that are seen.
        mean: posterior mean of the noise.
        cov: posterior covariance of the noise.
    """

    codes: dict[Cell, int]
    forms: dict[Cell, Form] = field(default_factory=dict)
    log_prior: float = 0.0
    log_seen: float = 0.0
    mean: Floats = field(default_factory=lambda: np.zeros(0))
    cov: Floats = field(default_factory=lambda: np.zeros((0, 0)))


class Dense:
    """All units of some data.

    Args:
        record: the declaration.
        data: node → nested values, NaN (or -1 for categories) where missing.
        sizes: per plate or sequence, its members per unit (and per member of the scope around it).
        n_units: number of units.
        categories: number of values of discrete nodes.
    """

    def __init__(
        self,
        record: ModelRecord,
        data: Mapping[str, Any],
        sizes: Mapping[str, Any],
        n_units: int,
        categories: Mapping[str, int],
    ) -> None:
        self.record, self.data, self.sizes, self.n_units = record, data, sizes, n_units
        self.categories = categories
        self.nodes = {node.name: node for node in record.nodes}
        self.scopes = {scope.name: scope for scope in record.scopes}

    # --- structure --------------------------------------------------------------------------------

    def scope_path(self, scope: str) -> list[str]:
        path: list[str] = []
        while scope != "unit":
            path.insert(0, scope)
            scope = self.scopes[scope].parent
        return path

    def paths(self, unit: int, scope: str) -> Iterator[Path]:
        """All members of a scope in a unit."""
        found: list[Path] = [()]
        for name in self.scope_path(scope):
            found = [(*p, k) for p in found for k in range(look(self.sizes[name][unit], p))]
        yield from found

    def cells(self, unit: int) -> list[Cell]:
        return [(n, p) for n, node in self.nodes.items() for p in self.paths(unit, node.scope)]

    def value(self, name: str, unit: int, path: Path) -> Any:
        """A value of the data, or None where the node has none."""
        return look(self.data[name][unit], path) if name in self.data else None

    def code(self, name: str, unit: int, path: Path) -> int:
        value = self.value(name, unit, path)
        return -1 if value is None or np.isnan(value) else int(value)

    def parent_path(self, scope: str, unit: int, path: Path, lag: int = 0) -> Path:
        """The member of an enclosing scope that a member belongs to, or one some steps earlier."""
        path = path[: len(self.scope_path(scope))]
        if not lag:
            return path
        if self.scopes[scope].kind == "tree":
            return (*path[:-1], int(look(self.data[f"{scope}.parent"][unit], path)))
        return (*path[:-1], path[-1] - lag)

    def step(self, scope: str, unit: int, path: Path) -> int:
        """How many steps lie before; in a tree whether there is a parent."""
        if self.scopes[scope].kind == "tree":
            return int(look(self.data[f"{scope}.parent"][unit], path) >= 0)
        return path[-1]

    def is_gaussian(self, name: str) -> bool:
        return self.nodes[name].leaf.family in GAUSSIAN

    # --- one configuration ------------------------------------------------------------------------

    def worlds(self, unit: int, params: Params) -> list[World]:
        """All configurations that have positive probability."""
        discrete = [c for c in self.cells(unit) if not self.is_gaussian(c[0])]
        choices = []
        for name, path in discrete:
            seen = self.code(name, unit, path)
            choices.append([seen] if seen >= 0 else range(self.categories[name]))
        found = []
        for codes in itertools.product(*choices):
            world = World(dict(zip(discrete, map(int, codes), strict=True)))
            for name, path in discrete:
                table = self.table(
                    self.component(name, unit, path), "probs", unit, path, world, params
                )
                with np.errstate(divide="ignore"):
                    world.log_prior += float(np.log(table[world.codes[name, path]]))
            if np.isfinite(world.log_prior):
                self.condition(unit, params, world)
                found.append(world)
        return found

    def condition(self, unit: int, params: Params, world: World) -> None:
        """Posterior of the noise given everything that is seen."""
        cells = [c for c in self.cells(unit) if self.is_gaussian(c[0])]
        self.places: dict[Cell, slice] = {}
        total = 0
        for name, path in cells:
            self.places[name, path] = slice(total, total + self.dim(name))
            total += self.dim(name)
        for name, path in cells:
            self.form(name, path, unit, params, world, total)
        means, loadings, seen = [], [], []
        for name, path in cells:
            if self.is_conditioned(name, unit, path):
                continue
            values = np.atleast_1d(np.asarray(self.seen(name, unit, path), dtype=float))
            form, here = world.forms[name, path], ~np.isnan(values)
            means.append(form.mean[here])
            loadings.append(form.loadings[here])
            seen.append(values[here])
        mean = np.concatenate([np.zeros(0), *means])
        load = np.concatenate([np.zeros((0, total)), *loadings])
        gap = np.concatenate([np.zeros(0), *seen]) - mean
        joint = load @ load.T
        gain = load.T @ np.linalg.pinv(joint, hermitian=True) if len(gap) else load.T
        world.mean, world.cov = gain @ gap, np.eye(total) - gain @ load
        if len(gap):
            _, logdet = np.linalg.slogdet(2 * np.pi * joint)
            world.log_seen = float(-0.5 * (logdet + gap @ np.linalg.solve(joint, gap)))

    def seen(self, name: str, unit: int, path: Path) -> Any:
        value = self.value(name, unit, path)
        return np.full(self.dim(name), np.nan) if value is None else value

    def dim(self, name: str) -> int:
        return self.dims.get(name, 1)

    dims: Mapping[str, int] = {}

    def is_conditioned(self, name: str, unit: int, path: Path) -> bool:
        node = self.nodes[name]
        return node.conditioned and self.step(node.scope, unit, path) < node.lag()

    def component(self, name: str, unit: int, path: Path) -> tuple[str, LeafRecord]:
        """Key and leaf of the conditional of a value."""
        node = self.nodes[name]
        lag = node.lag()
        before = self.step(node.scope, unit, path) if lag else 0
        if before < lag and not node.conditioned:
            return f"{name}.first{before + 1 if before else ''}", node.firsts[before]
        return name, node.leaf

    def form(
        self, name: str, path: Path, unit: int, params: Params, world: World, total: int
    ) -> Form:
        """The value of a Gaussian cell; made on first use."""
        if (name, path) in world.forms:
            return world.forms[name, path]
        if self.is_conditioned(name, unit, path):
            value = np.atleast_1d(np.asarray(self.value(name, unit, path), dtype=float))
            made = Form(value, np.zeros((len(value), total)))
        else:
            made = self.prediction(name, path, unit, params, world, total)
            values, vectors = np.linalg.eigh(self.noise(name, path, unit, params, world))
            loadings = made.loadings.copy()
            loadings[:, self.places[name, path]] += vectors * np.sqrt(np.maximum(values, 0.0))
            made = Form(made.mean, loadings)
        world.forms[name, path] = made
        return made

    # --- slots ------------------------------------------------------------------------------------

    def table(
        self, component: tuple[str, LeafRecord], slot: str, unit: int, path: Path, world: World,
        params: Params,
    ) -> Floats:  # fmt: skip
        """What stands in a slot, at the values of its gates."""
        record = component[1].slots[slot]
        where = tuple(self.gate(gate, unit, path, component[0], world) for gate in record.gates)
        whole = np.asarray(
            params[record.name] if record.kind == "param" else record.value, dtype=float
        )
        return np.asarray(whole[where])

    def gate(self, gate: Gate, unit: int, path: Path, key: str, world: World) -> int:
        if gate.kind == "plate":
            return path[self.scope_path(gate.name).__len__() - 1]
        if gate.kind == "covariate":
            scope = next(c.scope for c in self.record.covariates if c.name == gate.name)
            return self.code(gate.name, unit, self.parent_path(scope, unit, path))
        scope = self.nodes[gate.name].scope
        return world.codes[gate.name, self.parent_path(scope, unit, path, gate.lag)]

    def mean_slots(self, leaf: LeafRecord) -> list[tuple[str, SlotRecord]]:
        return [(n, s) for n, s in leaf.slots.items() if n.startswith("mean")]

    def prediction(
        self, name: str, path: Path, unit: int, params: Params, world: World, total: int
    ) -> Form:
        """The mean of a cell given its parents, as a form."""
        key, leaf = self.component(name, unit, path)
        dim = self.dim(name)
        out = Form(np.zeros(dim), np.zeros((dim, total)))
        for slot, record in self.mean_slots(leaf):
            coefficient = self.table((key, leaf), slot, unit, path, world, params)
            out = out + self.term(record, coefficient, dim, path, unit, params, world, total)
        return out

    def term(
        self, record: SlotRecord, coefficient: Floats, dim: int, path: Path, unit: int,
        params: Params, world: World, total: int,
    ) -> Form:  # fmt: skip
        times = record.times
        if times is None:
            return Form(np.broadcast_to(coefficient, (dim,)).copy(), np.zeros((dim, total)))
        scale, vector = times.scale, None
        for covariate in times.covariates:
            value = np.asarray(self.covariate(covariate, unit, path), dtype=float)
            if value.ndim:
                vector = value
            else:
                scale *= float(value)
        for covariate in times.over:
            scale /= float(self.covariate(covariate, unit, path))
        parent = None
        if times.parent:
            home = self.parent_path(self.nodes[times.parent].scope, unit, path, times.lag)
            parent = self.form(times.parent, home, unit, params, world, total)
        if parent is None:
            known = np.ones(1) if vector is None else vector
            parent = Form(known, np.zeros((len(known), total)))
            scalar = vector is None
        elif vector is not None:
            parent, scalar = parent.mapped(vector[None]), True
        else:
            scalar = self.dims.get(times.parent) is None
        matrix = _matrix(coefficient, dim, len(parent.mean), scalar, times.contracts)
        return parent.mapped(scale * matrix)

    def covariate(self, name: str, unit: int, path: Path) -> Any:
        scope = next(c.scope for c in self.record.covariates if c.name == name)
        return self.value(name, unit, self.parent_path(scope, unit, path))

    def noise(self, name: str, path: Path, unit: int, params: Params, world: World) -> Floats:
        """The covariance of a cell given its parents."""
        key, leaf = self.component(name, unit, path)
        slot = "cov" if "cov" in leaf.slots else "var"
        value = self.table((key, leaf), slot, unit, path, world, params)
        dim, times = self.dim(name), leaf.slots[slot].times
        scale = 1.0
        if times is not None:
            scale = times.scale
            for covariate in times.covariates:
                scale *= float(self.covariate(covariate, unit, path))
            for covariate in times.over:
                scale /= float(self.covariate(covariate, unit, path))
        return scale * (value if value.ndim == 2 else np.eye(dim) * value)

    # --- answers ----------------------------------------------------------------------------------

    def log_likelihood(self, params: Params) -> Floats:
        found = [self.worlds(unit, params) for unit in range(self.n_units)]
        return np.array([logsumexp([w.log_prior + w.log_seen for w in worlds]) for worlds in found])

    def weighted(self, unit: int, params: Params) -> list[tuple[float, World]]:
        """Configurations with their posterior probabilities."""
        worlds = self.worlds(unit, params)
        logs = np.array([w.log_prior + w.log_seen for w in worlds])
        return list(zip(np.exp(logs - logsumexp(logs)).tolist(), worlds, strict=True))

    def moments(self, params: Params) -> dict[tuple[int, str, Path], tuple[Floats, Floats]]:
        """Posterior mean and covariance of every Gaussian value."""
        found = {}
        for unit in range(self.n_units):
            weighted = self.weighted(unit, params)
            for name, path in self.cells(unit):
                if not self.is_gaussian(name):
                    continue
                means, covs = [], []
                for _, world in weighted:
                    form = world.forms[name, path]
                    means.append(form.mean + form.loadings @ world.mean)
                    covs.append(form.loadings @ world.cov @ form.loadings.T)
                weights = np.array([weight for weight, _ in weighted])
                mean = np.einsum("w,wd->d", weights, np.array(means))
                apart = np.array(means) - mean
                cov = np.einsum("w,wij->ij", weights, np.array(covs))
                cov += np.einsum("w,wi,wj->ij", weights, apart, apart)
                found[unit, name, path] = mean, cov
        return found

    def marginals(self, params: Params) -> dict[tuple[int, str, Path], Floats]:
        """Posterior of every discrete value."""
        found: dict[tuple[int, str, Path], Floats] = {}
        for unit in range(self.n_units):
            for weight, world in self.weighted(unit, params):
                for (name, path), code in world.codes.items():
                    table = found.setdefault((unit, name, path), np.zeros(self.categories[name]))
                    table[code] += weight
        return found

    def q(self, params: Params, weights: Floats) -> Any:
        """Q(·) of the E-step at `params`: a function of new parameters."""
        units = [self.weighted(unit, params) for unit in range(self.n_units)]

        def value(new: Params) -> float:
            total = 0.0
            for unit, weighted in enumerate(units):
                for weight, world in weighted:
                    share = weight * weights[unit]
                    if share > 0:
                        total += share * self.complete(unit, world, new)
            return total

        return value

    def complete(self, unit: int, world: World, new: Params) -> float:
        """Expected complete-data log-density of a configuration at new parameters."""
        total = 0.0
        size = len(world.mean)
        for name, path in self.cells(unit):
            if not self.is_gaussian(name):
                if self.is_hole_of_a_leaf(name, unit, path):
                    continue
                table = self.table(
                    self.component(name, unit, path), "probs", unit, path, world, new
                )
                total += float(np.log(np.maximum(table[world.codes[name, path]], 1e-300)))
                continue
            if self.is_conditioned(name, unit, path) or self.is_idle(name, unit, path):
                continue
            predicted = self.prediction(name, path, unit, new, world, size)
            form = world.forms[name, path]
            residual = Form(form.mean - predicted.mean, form.loadings - predicted.loadings)
            mean = residual.mean + residual.loadings @ world.mean
            second = residual.loadings @ world.cov @ residual.loadings.T + np.outer(mean, mean)
            noise = self.noise(name, path, unit, new, world)
            sign, logdet = np.linalg.slogdet(2 * np.pi * noise)
            if sign <= 0:
                return -np.inf
            total += -0.5 * (logdet + float(np.trace(np.linalg.solve(noise, second))))
        return total

    def is_hole_of_a_leaf(self, name: str, unit: int, path: Path) -> bool:
        """Whether a category that should be seen is not, and gates nothing: it is left out."""
        gates = {gate.name for node in self.nodes.values() for gate in node.gates()}
        hole = self.nodes[name].kind == "observed" and self.code(name, unit, path) < 0
        return hole and name not in gates

    def is_idle(self, name: str, unit: int, path: Path) -> bool:
        """Whether a value is missing, has no children, and so teaches nothing."""
        feeds = any(name == parent for node in self.nodes.values() for parent, _ in _parents(node))
        gone = np.isnan(np.atleast_1d(np.asarray(self.seen(name, unit, path), dtype=float)))
        return not feeds and bool(gone.all())


def _parents(node: NodeRecord) -> list[tuple[str, int]]:
    slots = [s for leaf in (*node.components, *node.firsts) for s in leaf.slots.values()]
    return [(s.times.parent, s.times.lag) for s in slots if s.times is not None and s.times.parent]


def _matrix(coefficient: Floats, dim: int, width: int, scalar: bool, contracts: bool) -> Floats:
    """The linear map of a term: [dim, width]."""
    if scalar:
        return np.broadcast_to(coefficient, (dim,)).reshape(dim, 1)
    if contracts and coefficient.ndim:
        return coefficient.reshape(dim, width)
    return np.diag(np.broadcast_to(coefficient, (dim,)))


def look(values: Any, path: Path) -> Any:
    """Entry of nested values."""
    for k in path:
        values = values[k]
    return values
