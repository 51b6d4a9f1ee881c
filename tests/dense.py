"""An oracle for Gaussian latents: one dense joint Gaussian per configuration of the discrete ones.

It reads the declaration's records and shares no code with the compiler.  Every Gaussian value of a
unit is written as mean + loadings × independent standard-normal noise, node by node; all that is
seen is then conditioned on at once with plain matrices.  No messages, no filters, no patterns.
Values of other families are seen or teach nothing; their densities are those of `oracle`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracle import DISCRETE, FINITE, VECTORS, component_key, log_density
from scipy.special import expit, logsumexp, softmax

from pgem.declare.records import (
    Gate,
    LeafRecord,
    ModelRecord,
    NodeRecord,
    SlotRecord,
    TimesRecord,
    slot_of,
)

Floats = NDArray[np.float64]
Path = tuple[int, ...]
Cell = tuple[str, Path]
Params = Mapping[str, Any]
Where = tuple[tuple[int, ...], ...]
"""Per slot of a leaf, the values of its gates."""
Inputs = dict[str, Floats]
"""Per slot of a leaf what is known of a row: a covariate, or the number (or vector) it is times."""
GAUSSIAN = ("Normal", "MvNormal")
LINKS: dict[str, tuple[str, Callable[[Floats], Floats]]] = {
    "logit": ("prob", expit),
    "log_rate": ("rate", np.exp),
    "logits": ("probs", lambda eta: softmax(eta, axis=-1)),
}


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
        """Whether a node has forms: all its components are Gaussian."""
        return all(leaf.family in GAUSSIAN for leaf in self.nodes[name].components)

    def is_finite(self, name: str) -> bool:
        """Whether the values of a node are enumerated where they are not seen."""
        node = self.nodes[name]
        single = node.leaf.settings.get("size") is None or node.leaf.family != "Bernoulli"
        return node.leaf.family in FINITE and single and node.switch is None

    # --- one configuration ------------------------------------------------------------------------

    def worlds(self, unit: int, params: Params) -> list[World]:
        """All configurations that have positive probability."""
        finite = [c for c in self.cells(unit) if self.is_finite(c[0])]
        others = [c for c in self.cells(unit) if not self.is_gaussian(c[0])]
        choices = []
        for name, path in finite:
            seen = self.code(name, unit, path)
            choices.append([seen] if seen >= 0 else range(self.categories[name]))
        found: list[World] = []
        kept: dict[Any, float] = {}
        for codes in itertools.product(*choices):
            world = World(dict(zip(finite, map(int, codes), strict=True)))
            for name, path in others:
                row = self.row(name, path, unit, world)
                if row is not None:
                    asked = (name, path, *row.place)
                    if asked not in kept:
                        kept[asked] = row.log_density(params)
                    world.log_prior += kept[asked]
            if np.isfinite(world.log_prior):
                self.condition(unit, params, world)
                found.append(world)
        return found

    def row(self, name: str, path: Path, unit: int, world: World) -> Row | None:
        """The factor of a value that is no Gaussian; None where there is none."""
        value = self.value(name, unit, path)
        if self.is_finite(name):
            value = world.codes[name, path]
        x = np.asarray(np.nan if value is None else value, dtype=float)
        node = self.nodes[name]
        whole = any(f in VECTORS for f in (leaf.family for leaf in node.components))
        gone = np.isnan(x).any() if whole else np.isnan(x).all()
        if gone or self.is_conditioned(name, unit, path):
            return None
        key, leaf = self.component(name, path, unit, world)
        rivals = [other for other in node.components if other.family in DISCRETE]
        switched = node.switch is not None and leaf.family not in DISCRETE
        return Row(
            key,
            leaf,
            self.where(leaf, unit, path, world),
            x,
            self.inputs(leaf, unit, path),
            [Row(key, r, self.where(r, unit, path, world), x, self.inputs(r, unit, path), [])
             for r in rivals if switched],
        )  # fmt: skip

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
            values = self.seen(name, unit, path)
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

    def seen(self, name: str, unit: int, path: Path) -> Floats:
        """A value of the data as a vector, missing coordinates NaN."""
        value = self.value(name, unit, path)
        missing = np.full(self.dim(name), np.nan)
        return missing if value is None else np.atleast_1d(np.asarray(value, dtype=float))

    def dim(self, name: str) -> int:
        return self.dims.get(name, 1)

    dims: Mapping[str, int] = {}

    def is_conditioned(self, name: str, unit: int, path: Path) -> bool:
        node = self.nodes[name]
        return node.conditioned and self.step(node.scope, unit, path) < node.lag()

    def component(self, name: str, path: Path, unit: int, world: World) -> tuple[str, LeafRecord]:
        """Key and leaf of the conditional of a value."""
        node = self.nodes[name]
        before = self.step(node.scope, unit, path) if node.lag() else 0
        if before < node.lag() and not node.conditioned:
            return component_key(node, 0, before + 1), node.firsts[before]
        index = 0 if node.switch is None else self.gate(node.switch, unit, path, world)
        return component_key(node, index, 0), node.components[index]

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
        self, slot: SlotRecord, unit: int, path: Path, world: World, params: Params
    ) -> Floats:
        """What stands in a slot, at the values of its gates."""
        return entry(slot, tuple(self.gate(g, unit, path, world) for g in slot.gates), params)

    def where(self, leaf: LeafRecord, unit: int, path: Path, world: World) -> Where:
        """The values of all gates."""
        return tuple(
            tuple(self.gate(gate, unit, path, world) for gate in slot.gates)
            for slot in leaf.slots.values()
        )

    def gate(self, gate: Gate, unit: int, path: Path, world: World) -> int:
        if gate.kind == "constant":
            inner = tuple(self.gate(g, unit, path, world) for g in gate.gates)
            return int(np.asarray(gate.table)[inner])
        if gate.kind == "plate":
            return path[self.scope_path(gate.name).__len__() - 1]
        if gate.kind == "covariate":
            scope = next(c.scope for c in self.record.covariates if c.name == gate.name)
            return self.code(gate.name, unit, self.parent_path(scope, unit, path))
        scope = self.nodes[gate.name].scope
        return world.codes[gate.name, self.parent_path(scope, unit, path, gate.lag)]

    def inputs(self, leaf: LeafRecord, unit: int, path: Path) -> Inputs:
        """Covariates in slots, and what other slots are multiplied by."""
        found: Inputs = {}
        for name, slot in leaf.slots.items():
            if slot.kind == "covariate":
                found[name] = np.asarray(self.covariate(slot.name, unit, path), dtype=float)
            elif slot.times is not None:
                scale, vector = self.multiplier(slot.times, unit, path)
                found[name] = np.asarray(scale if vector is None else scale * vector)
        return found

    def multiplier(self, times: TimesRecord, unit: int, path: Path) -> tuple[float, Floats | None]:
        """The product of all scalar covariates, and the vector among them."""
        scale, vector = times.scale, None
        for name in times.covariates:
            value = np.asarray(self.covariate(name, unit, path), dtype=float)
            if value.ndim:
                vector = value
            else:
                scale *= float(value)
        for name in times.over:
            scale /= float(self.covariate(name, unit, path))
        return scale, vector

    def mean_slots(self, leaf: LeafRecord) -> list[tuple[str, SlotRecord]]:
        return [(n, s) for n, s in leaf.slots.items() if n.startswith("mean")]

    def prediction(
        self, name: str, path: Path, unit: int, params: Params, world: World, total: int
    ) -> Form:
        """The mean of a cell given its parents, as a form."""
        _, leaf = self.component(name, path, unit, world)
        dim = self.dim(name)
        out = Form(np.zeros(dim), np.zeros((dim, total)))
        for _, record in self.mean_slots(leaf):
            coefficient = self.table(record, unit, path, world, params)
            term, scalar = self.regressor(record, path, unit, params, world, total)
            contracts = record.times is not None and record.times.contracts
            matrix = _matrix(coefficient, dim, len(term.mean), scalar, contracts)
            out = out + term.mapped(matrix)
        return out

    def regressor(
        self, record: SlotRecord, path: Path, unit: int, params: Params, world: World, total: int
    ) -> tuple[Form, bool]:
        """What a coefficient is multiplied by, and whether that is a number."""
        times = record.times or TimesRecord()
        scale, vector = self.multiplier(times, unit, path)
        if not times.parent:
            known = np.ones(1) if vector is None else vector
            return Form(scale * known, np.zeros((len(known), total))), vector is None
        home = self.parent_path(self.nodes[times.parent].scope, unit, path, times.lag)
        parent = self.form(times.parent, home, unit, params, world, total)
        if vector is not None:
            return parent.mapped(scale * vector[None]), True
        scaled = parent.mapped(scale * np.eye(len(parent.mean)))
        return scaled, self.dims.get(times.parent) is None

    def covariate(self, name: str, unit: int, path: Path) -> Any:
        scope = next(c.scope for c in self.record.covariates if c.name == name)
        return self.value(name, unit, self.parent_path(scope, unit, path))

    def noise(self, name: str, path: Path, unit: int, params: Params, world: World) -> Floats:
        """The covariance of a cell given its parents."""
        _, leaf = self.component(name, path, unit, world)
        slot = leaf.slots[spread_of(leaf)]
        value = self.table(slot, unit, path, world, params)
        scale = 1.0 if slot.times is None else self.multiplier(slot.times, unit, path)[0]
        return scale * as_matrix(value, self.dim(name))

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

    def q(self, params: Params, weights: Floats, apart: frozenset[str] = frozenset()) -> Complete:
        """Q(·) of the E-step at `params`: a function of new parameters.

        Args:
            params: where the E-step is taken.
            weights: of the units.
            apart: components with independent coordinates, of which those that are missing are left
                out instead of filled in.
        """
        found = Complete(apart)
        for unit, weight in enumerate(weights):
            for share, world in self.weighted(unit, params) if weight > 0 else ():
                if share > 0:
                    self.complete(unit, world, share * weight, params, found)
        return found

    def complete(
        self, unit: int, world: World, weight: float, params: Params, found: Complete
    ) -> None:
        """Add the expected complete data of a configuration."""
        for name, path in self.cells(unit):
            if self.is_conditioned(name, unit, path):
                continue
            if not self.is_gaussian(name):
                row = self.row(name, path, unit, world)
                if row is not None and not (self.is_idle(name, unit, path)).all():
                    found.add_row(row, weight)
                continue
            self.add_moments(name, path, unit, world, weight, params, found)

    def add_moments(
        self, name: str, path: Path, unit: int, world: World, weight: float, params: Params,
        found: Complete,
    ) -> None:  # fmt: skip
        """Add the second moments of a Gaussian value with all that stands in its mean."""
        key, leaf = self.component(name, path, unit, world)
        idle = self.is_idle(name, unit, path)
        if idle.all():
            return
        if key not in found.apart:
            idle = np.zeros_like(idle)
        terms = [
            self.regressor(record, path, unit, params, world, len(world.mean))
            for _, record in self.mean_slots(leaf)
        ]
        forms = [world.forms[name, path], *(term for term, _ in terms)]
        loadings = np.concatenate([form.loadings for form in forms])
        mean = np.concatenate([form.mean for form in forms]) + loadings @ world.mean
        second = loadings @ world.cov @ loadings.T + np.outer(mean, mean)
        times = leaf.slots[spread_of(leaf)].times
        scale = 1.0 if times is None else self.multiplier(times, unit, path)[0]
        shown = tuple(np.flatnonzero(~idle).tolist())
        place = (key, self.where(leaf, unit, path, world), shown)
        widths = [(len(form.mean), scalar) for form, scalar in terms]
        group = found.moments.setdefault(place, Moments(leaf, self.dim(name), widths))
        group.add(weight, scale, second)

    def is_idle(self, name: str, unit: int, path: Path) -> NDArray[np.bool_]:
        """Which coordinates are missing, have no children, and so teach nothing."""
        gone = np.isnan(self.seen(name, unit, path))
        node = self.nodes[name]
        indexes = {gate.name for other in self.nodes.values() for gate in other.gates()}
        parents = {parent for other in self.nodes.values() for parent, _ in _parents(other)}
        if name in indexes | parents or (node.kind == "latent" and not self.is_gaussian(name)):
            return np.zeros_like(gone)
        return gone


@dataclass
class Row:
    """The factor of one value that is no Gaussian.

    Attributes:
        key: the component.
        leaf: its family and slots.
        where: values of its gates.
        x: the value.
        inputs: what is known of the row.
        rivals: discrete components of the same switch, which may take the value for themselves.
    """

    key: str
    leaf: LeafRecord
    where: Where
    x: Floats
    inputs: Inputs
    rivals: list[Row]

    @property
    def place(self) -> tuple[Any, ...]:
        """What two equal rows have in common."""
        return (self.key, self.where, *(rival.where for rival in self.rivals), self.x.tobytes())

    def log_density(self, params: Params) -> float:
        """log p; 0 at the atoms of a rival."""
        if any(np.isfinite(rival.log_density(params)) for rival in self.rivals):
            return -np.inf
        inputs = {name: value[None] for name, value in self.inputs.items()}
        return float(log_density_of(self.leaf, self.where, self.x[None], inputs, params)[0])


@dataclass
class Rows:
    """Rows of one component that read the same entries."""

    leaf: LeafRecord
    where: Where
    x: list[Floats] = field(default_factory=list)
    inputs: list[Inputs] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def value(self, new: Params) -> float:
        """Σ weight · log p(x)."""
        inputs = {name: np.stack([row[name] for row in self.inputs]) for name in self.inputs[0]}
        found = log_density_of(self.leaf, self.where, np.stack(self.x), inputs, new)
        return float(np.asarray(self.weights) @ np.broadcast_to(found, len(self.x)))


@dataclass
class Moments:
    """Σ weight E[v vᵀ] / scale of one Gaussian component, v = (value, regressors…).

    Attributes:
        leaf: its family and slots.
        dim: length of the value.
        widths: per term, the length of the regressor, and whether it is a number.
        second: [m, m].
        count: Σ weight.
        log_scale: Σ weight · log scale.
    """

    leaf: LeafRecord
    dim: int
    widths: list[tuple[int, bool]]
    second: Any = 0.0
    count: float = 0.0
    log_scale: float = 0.0

    def add(self, weight: float, scale: float, second: Floats) -> None:
        """Enter one value."""
        self.count += weight
        self.log_scale += weight * np.log(scale)
        self.second = self.second + weight / scale * second

    def value(self, where: Where, shown: tuple[int, ...], new: Params) -> float:
        """Expected complete-data log-density at new parameters."""
        slots = list(self.leaf.slots.items())
        terms = [(slot, place) for (name, slot), place in zip(slots, where, strict=True)
                 if name.startswith("mean")]  # fmt: skip
        blocks = [np.eye(self.dim)]
        for (slot, place), (width, scalar) in zip(terms, self.widths, strict=True):
            contracts = slot.times is not None and slot.times.contracts
            blocks.append(-_matrix(entry(slot, place, new), self.dim, width, scalar, contracts))
        residual = np.concatenate(blocks, axis=1)[list(shown)]
        place = next(w for (n, _), w in zip(slots, where, strict=True) if n == spread_of(self.leaf))
        noise = as_matrix(entry(self.leaf.slots[spread_of(self.leaf)], place, new), self.dim)
        noise = noise[np.ix_(shown, shown)]
        sign, logdet = np.linalg.slogdet(2 * np.pi * noise)
        if sign <= 0:
            return -np.inf
        apart = float(np.trace(np.linalg.solve(noise, residual @ self.second @ residual.T)))
        return -0.5 * (self.count * float(logdet) + len(shown) * self.log_scale + apart)


@dataclass
class Complete:
    """The expected complete data of an E-step; called with new parameters it is Q."""

    apart: frozenset[str] = frozenset()
    rows: dict[tuple[str, Where], Rows] = field(default_factory=dict)
    moments: dict[tuple[str, Where, tuple[int, ...]], Moments] = field(default_factory=dict)

    def add_row(self, row: Row, weight: float) -> None:
        """Enter a value that is no Gaussian."""
        group = self.rows.setdefault((row.key, row.where), Rows(row.leaf, row.where))
        group.x.append(row.x)
        group.inputs.append(row.inputs)
        group.weights.append(weight)

    def __call__(self, new: Params, keys: frozenset[str] | None = None) -> float:
        """Q at new parameters, of all components or some."""
        plain = [rows.value(new) for (key, _), rows in self.rows.items() if not keys or key in keys]
        normal = [
            group.value(where, shown, new)
            for (key, where, shown), group in self.moments.items()
            if not keys or key in keys
        ]
        return sum(plain) + sum(normal)


def log_density_of(
    leaf: LeafRecord, where: Where, x: Floats, inputs: Inputs, params: Params
) -> Floats:
    """log p of rows [R] that read the same entries; links are opened here."""
    slots: dict[str, Floats] = {}
    predictors: dict[str, Floats] = {}
    for (name, slot), place in zip(leaf.slots.items(), where, strict=True):
        if slot.kind == "covariate":
            slots[name] = inputs[name]
            continue
        value, known = entry(slot, place, params), inputs.get(name)
        if known is None:
            part = value[None]
        elif slot.times is not None and slot.times.contracts and known.ndim == 2:
            part = known @ np.atleast_1d(value).T if value.ndim else known.sum(1) * value
        else:
            part = known.reshape(len(known), *(1,) * value.ndim) * value
        link = slot_of(name)
        if link in LINKS:
            predictors[link] = predictors.get(link, np.zeros(1)) + part
        else:
            slots[name] = part
    for link, eta in predictors.items():
        target, inverse = LINKS[link]
        slots[target] = slots.get(target, np.ones(1)) * inverse(eta)
    return log_density(leaf, x, slots)


def entry(slot: SlotRecord, place: tuple[int, ...], params: Params) -> Floats:
    """What stands in a slot at these values of its gates."""
    whole = np.asarray(params[slot.name] if slot.kind == "param" else slot.value, dtype=float)
    return np.asarray(whole[place])


def spread_of(leaf: LeafRecord) -> str:
    """The slot of a Gaussian's noise."""
    return "cov" if "cov" in leaf.slots else "var"


def as_matrix(value: Floats, dim: int) -> Floats:
    """A covariance from variances."""
    return value if value.ndim == 2 else np.eye(dim) * value


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
