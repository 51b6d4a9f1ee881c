"""A brute-force oracle: every configuration of every unit, one by one.

It reads the declaration's records and shares no code with the compiler: densities are written
again, plates, sequences and trees are unrolled member by member and step by step, and the joint
distribution of all unobserved discrete values is a list with one entry per configuration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp, xlog1py, xlogy

from pgem.declare.records import Gate, LeafRecord, ModelRecord, NodeRecord, SlotRecord

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Path = tuple[int, ...]
Replica = tuple[str, Path]
"""A node and the members (plates) and step (sequence) that it stands for, outermost first."""
GateKey = tuple[str, str, int]
Params = Mapping[str, Any]
Slots = Mapping[str, Floats]

LIMIT = 200_000
FINITE = ("Categorical", "Bernoulli")
DISCRETE = (*FINITE, "Binomial", "Multinomial", "Poisson", "Geometric", "Dirac")
VECTORS = ("Multinomial", "MvNormal")


class TooManyConfigurations(Exception):
    """The model is too large to be enumerated."""


# --- densities, written again -------------------------------------------------------------------
#
# `x` is [R, ...], every slot [R, own axes]; each function returns log p per entry or per row.


def _categorical(x: Floats, s: Slots) -> Floats:
    with np.errstate(divide="ignore"):
        table = np.log(s["probs"])
    rows = np.arange(max(len(x), len(table)))
    codes = np.broadcast_to(x, rows.shape).astype(int)
    return np.broadcast_to(table, (len(rows), table.shape[1]))[rows, codes]


def _bernoulli(x: Floats, s: Slots) -> Floats:
    possible = (x == 0) | (x == 1)
    here = np.where(possible, x, 0.0)
    return np.where(possible, xlogy(here, s["prob"]) + xlog1py(1 - here, -s["prob"]), -np.inf)


def _binomial(x: Floats, s: Slots) -> Floats:
    n = s["trials"]
    n = n.reshape(n.shape + (1,) * (x.ndim - n.ndim))
    ways = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
    return ways + xlogy(x, s["prob"]) + xlog1py(n - x, -s["prob"])


def _multinomial(x: Floats, s: Slots) -> Floats:
    ways = gammaln(x.sum(axis=-1) + 1) - gammaln(x + 1).sum(axis=-1)
    return ways + xlogy(x, s["probs"]).sum(axis=-1)


def _poisson(x: Floats, s: Slots) -> Floats:
    whole = xlogy(x, s["rate"]) - s["rate"] - gammaln(x + 1)
    return np.where((x >= 0) & (x == np.floor(x)), whole, -np.inf)


def _geometric(x: Floats, s: Slots) -> Floats:
    with np.errstate(divide="ignore"):
        whole = np.log(s["prob"]) + xlog1py(x, -s["prob"])
    return np.where((x >= 0) & (x == np.floor(x)), whole, -np.inf)


def _exponential(x: Floats, s: Slots) -> Floats:
    return np.where(x >= 0, np.log(s["rate"]) - s["rate"] * x, -np.inf)


def _gamma(x: Floats, s: Slots) -> Floats:
    a, b = s["shape"], s["rate"]
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = xlogy(a, b) - gammaln(a) + (a - 1) * np.log(x) - b * x
    return np.where(x > 0, inside, -np.inf)


def _normal(x: Floats, s: Slots) -> Floats:
    return -0.5 * (np.log(2 * np.pi * s["var"]) + (x - s["mean"]) ** 2 / s["var"])


def _mv_normal(x: Floats, s: Slots) -> Floats:
    deviation = x - s["mean"]
    sign, log_det = np.linalg.slogdet(2 * np.pi * s["cov"])
    if not (sign > 0).all():
        return np.full(len(deviation), -np.inf)
    solved = np.linalg.solve(s["cov"], deviation[..., None])[..., 0]
    return -0.5 * (log_det + (deviation * solved).sum(axis=-1))


def _dirac(x: Floats, s: Slots) -> Floats:
    return np.where(x == s["value"], 0.0, -np.inf)


DENSITIES: dict[str, Callable[[Floats, Slots], Floats]] = {
    "Categorical": _categorical,
    "Bernoulli": _bernoulli,
    "Binomial": _binomial,
    "Multinomial": _multinomial,
    "Poisson": _poisson,
    "Geometric": _geometric,
    "Exponential": _exponential,
    "Gamma": _gamma,
    "Normal": _normal,
    "MvNormal": _mv_normal,
    "Dirac": _dirac,
}


def log_density(leaf: LeafRecord, x: Floats, slots: dict[str, Floats]) -> Floats:
    """log p(x | slots) per row [R]; missing coordinates are left out where they are independent."""
    name = leaf.family
    if name == "MvNormal" and leaf.slots["cov"].structure != "full":
        cov = slots["cov"]
        name, slots = "Normal", {"mean": slots["mean"], "var": cov.reshape(len(cov), -1)}
    if name in VECTORS or name == "Categorical":
        return DENSITIES[name](x, slots)
    here = ~np.isnan(x)
    found = np.where(here, DENSITIES[name](np.where(here, x, 1.0), slots), 0.0)
    return found.reshape(len(found), -1).sum(axis=1)


def _binary_moments(n: Floats, p: Floats) -> tuple[Floats, Floats]:
    return n * p, n * p * (1 - p)


MOMENTS: dict[str, Callable[[Slots], tuple[Floats, Floats]]] = {
    "Bernoulli": lambda s: _binary_moments(np.ones(1), s["prob"]),
    "Binomial": lambda s: _binary_moments(s["trials"], s["prob"]),
    "Poisson": lambda s: (s["rate"], s["rate"]),
    "Geometric": lambda s: ((1 - s["prob"]) / s["prob"], (1 - s["prob"]) / s["prob"] ** 2),
    "Exponential": lambda s: (1 / s["rate"], 1 / s["rate"] ** 2),
    "Gamma": lambda s: (s["shape"] / s["rate"], s["shape"] / s["rate"] ** 2),
    "Normal": lambda s: (s["mean"], s["var"]),
    "MvNormal": lambda s: (s["mean"], s["cov"]),
    "Dirac": lambda s: (s["value"], np.zeros_like(s["value"])),
}
"""Mean and variance (covariance) per row."""


def moments(leaf: LeafRecord, slots: dict[str, Floats]) -> tuple[Floats, Floats]:
    """Mean [R, ...] and expected square [R] or outer product [R, D, D] of a component's values."""
    mean, spread = MOMENTS[leaf.family](slots)
    if leaf.family == "MvNormal" and leaf.slots["cov"].structure != "full":
        spread = np.broadcast_to(spread.reshape(len(spread), -1), (len(spread), mean.shape[-1]))
    if mean.ndim == 1:
        return mean, spread + mean**2
    if spread.ndim == 2:
        spread = spread[:, :, None] * np.eye(mean.shape[1])
    return mean, spread + mean[:, :, None] * mean[:, None, :]


# --- gates and slots ----------------------------------------------------------------------------


def gate_key(gate: Gate) -> GateKey:
    """What tells one plain gate from another."""
    return gate.kind, gate.name, gate.lag


def plain_gates(gates: Sequence[Gate]) -> list[Gate]:
    """Gates with constant tables replaced by what indexes them, each once, in order."""
    found: dict[GateKey, Gate] = {}
    for gate in gates:
        inner = plain_gates(gate.gates) if gate.kind == "constant" else [gate]
        for plain in inner:
            found.setdefault(gate_key(plain), plain)
    return list(found.values())


def leaf_gates(leaf: LeafRecord) -> list[Gate]:
    """The gates of a component: its cells are the tuples of their values."""
    return plain_gates([gate for slot in leaf.slots.values() for gate in slot.gates])


def node_gates(node: NodeRecord) -> list[Gate]:
    """All gates of the steady step."""
    switch = [node.switch] if node.switch else []
    slots = [g for leaf in node.components for s in leaf.slots.values() for g in s.gates]
    return plain_gates([*switch, *slots])


def longest_lag(node: NodeRecord) -> int:
    """How many first steps a node has."""
    return max((gate.lag for gate in node_gates(node)), default=0)


def read_gate(gate: Gate, values: Mapping[GateKey, Integers]) -> Integers:
    """The index that a gate stands for."""
    if gate.kind != "constant":
        return values[gate_key(gate)]
    return np.asarray(gate.table)[tuple(read_gate(inner, values) for inner in gate.gates)]


def read_slot(
    slot: SlotRecord, values: Mapping[GateKey, Integers], params: Params, known: Floats
) -> Floats:
    """The value of a slot per row [R, own axes] (one row where nothing indexes it)."""
    if slot.kind == "covariate":
        return known
    table = np.asarray(params[slot.name] if slot.kind == "param" else slot.value, dtype=float)
    if slot.gates:
        return table[tuple(read_gate(gate, values) for gate in slot.gates)]
    return table[None]


def component_key(node: NodeRecord, index: int, step: int) -> str:
    """The compiler's name of a component: `x`, `y.1`, `s.first`, `s.first2`."""
    if step:
        return f"{node.name}.first" + (str(step) if step > 1 else "")
    return node.name if node.switch is None else f"{node.name}.{index}"


def components(record: ModelRecord) -> dict[str, LeafRecord]:
    """All leaves by the name of their component."""
    found = {}
    for node in record.nodes:
        for index, leaf in enumerate(node.components):
            found[component_key(node, index, 0)] = leaf
        for step, leaf in enumerate(node.firsts, start=1):
            found[component_key(node, 0, step)] = leaf
    return found


def n_values(node: NodeRecord, params: Params) -> int | None:
    """Number of values of a node with finitely many, else None."""
    leaf = node.leaf
    if node.switch is not None or leaf.family not in FINITE:
        return None
    if leaf.family == "Bernoulli":
        return 2 if leaf.settings.get("size") is None else None
    slot = leaf.slots["probs"]
    return int(np.shape(params[slot.name] if slot.kind == "param" else slot.value)[-1])


# --- data ---------------------------------------------------------------------------------------


def look_up(values: Any, unit: int, path: Path) -> Any:
    """The entry of nested data of one unit and one member or step."""
    for index in (unit, *path):
        values = values[index]
    return values


def as_value(entry: Any) -> Floats:
    """An entry as an array, None as NaN."""
    return np.asarray(entry, dtype=float)


class Scopes:
    """The nesting of plates and sequences, and their lengths in the data."""

    def __init__(self, record: ModelRecord, data: Mapping[str, Any]) -> None:
        self.records = {scope.name: scope for scope in record.scopes}
        self.data = data
        homes = {item.name: item.scope for item in (*record.nodes, *record.covariates)}
        homes |= {f"{scope.name}.parent": scope.name for scope in record.scopes}
        self.homes = {name: home for name, home in homes.items() if name in data}

    def path(self, scope: str) -> list[str]:
        """Scopes around and with this one, outermost first, without the unit."""
        names: list[str] = []
        while self.records[scope].parent:
            names.insert(0, scope)
            scope = self.records[scope].parent
        return names

    def members(self, scope: str, unit: int) -> Iterator[Path]:
        """All members or steps of a scope in one unit."""
        record = self.records[scope]
        if not record.parent:
            yield ()
            return
        for outer in self.members(record.parent, unit):
            for index in range(self.length(scope, unit, outer)):
                yield (*outer, index)

    def earlier(self, scope: str, unit: int, path: Path, lag: int) -> Path | None:
        """The step `lag` before a step, in a tree the parent; None if there is none."""
        if self.records[scope].kind == "tree":
            parent = int(look_up(self.data[f"{scope}.parent"], unit, path))
            assert lag == 1
            return None if parent < 0 else (*path[:-1], parent)
        return None if path[-1] < lag else (*path[:-1], path[-1] - lag)

    def first_step(self, node: NodeRecord, unit: int, path: Path) -> int:
        """Which first step (from 1) a replica of a node is; 0 where it looks back at another."""
        lags = range(1, longest_lag(node) + 1)
        return next((k for k in lags if not self.earlier(node.scope, unit, path, k)), 0)

    def length(self, scope: str, unit: int, outer: Path) -> int:
        """Number of members of a plate, or of steps."""
        size = self.records[scope].size
        if size is not None:
            return size
        for name, home in self.homes.items():
            if scope in self.path(home):
                return len(look_up(self.data[name], unit, outer))
        raise ValueError(f"no data show the length of '{scope}'")


# --- one unit -----------------------------------------------------------------------------------


@dataclass
class Term:
    """One factor of the joint: a component at one replica, for every configuration.

    Attributes:
        key: the component.
        leaf: its family and slots.
        replica: what it is the conditional of.
        x: the value: [1, ...], or [C] for a variable.
        values: gate values, [C] or [1] each.
        known: values of the slots that hold covariates [1].
        active: configurations in which the switch picks this component, or None.
    """

    key: str
    leaf: LeafRecord
    replica: Replica
    x: Floats
    values: dict[GateKey, Integers]
    known: dict[str, Floats]
    active: NDArray[np.bool_] | None = None

    def log_density(self, params: Params) -> Floats:
        """log p [C] or [1]; every distinct combination is computed once."""
        columns = [*self.values.values()]
        whole = bool((self.x == np.floor(self.x)).all())  # a switch may hold other numbers
        if self.x.ndim == 1 and self.leaf.family in FINITE and whole:
            columns.append(self.x.astype(int))
        groups, inverse = distinct(columns)
        values = dict(zip(self.values, groups, strict=False))
        x = groups[-1].astype(float) if len(groups) > len(values) else self.x
        return log_density(self.leaf, x, self._slots(values, params))[inverse]

    def moments(self, params: Params) -> tuple[Floats, Floats]:
        """Mean and expected square per configuration."""
        groups, inverse = distinct([*self.values.values()])
        values = dict(zip(self.values, groups, strict=True))
        mean, square = moments(self.leaf, self._slots(values, params))
        mean, square = (
            np.broadcast_to(m, (inverse.max() + 1, *m.shape[1:])) for m in (mean, square)
        )
        return mean[inverse], square[inverse]

    def _slots(self, values: Mapping[GateKey, Integers], params: Params) -> dict[str, Floats]:
        return {
            name: read_slot(slot, values, params, self.known.get(name, np.zeros(1)))
            for name, slot in self.leaf.slots.items()
        }


def distinct(columns: Sequence[NDArray[Any]]) -> tuple[list[Integers], Integers]:
    """Distinct rows of columns [C] or [1] of small integers, and which row is which."""
    if not columns:
        return [], np.zeros(1, dtype=int)
    wide = np.broadcast_arrays(*columns)
    shape = tuple(int(column.max()) + 1 for column in wide)
    flat = np.ravel_multi_index(tuple(wide), shape)
    found, inverse = np.unique(flat, return_inverse=True)
    return [np.asarray(part) for part in np.unravel_index(found, shape)], inverse


class Unit:
    """The joint distribution of the unobserved discrete values of one unit.

    Attributes:
        variables: the replicas that are enumerated.
        sizes: their numbers of values.
        configurations: one row per configuration [C, V].
        log_joint: log p(observed, configuration) [C].
    """

    def __init__(self, oracle: Oracle, index: int) -> None:
        self.oracle, self.index = oracle, index
        self.given: dict[Replica, Floats] = {}
        self.variables: list[Replica] = []
        self.sizes: list[int] = []
        self.missing: set[Replica] = set()
        for node in oracle.record.nodes:
            self._read(node)
        n_configurations = math.prod(self.sizes)
        if n_configurations > oracle.limit:
            raise TooManyConfigurations(f"{n_configurations} configurations in unit {index}")
        grid = np.indices(tuple(self.sizes)).reshape(len(self.sizes), n_configurations)
        self.configurations = grid.T
        self.columns = dict(zip(self.variables, grid, strict=True))
        self.children: dict[Replica, list[Replica]] = {}
        self.terms: list[Term] = []
        self.log_joint = np.zeros(n_configurations)
        for node in oracle.record.nodes:
            for path in oracle.scopes.members(node.scope, index):
                self._add(node, path)

    def _read(self, node: NodeRecord) -> None:
        """What the data say about every replica of a node."""
        size = n_values(node, self.oracle.params)
        separable = all(
            leaf.family not in VECTORS
            or (leaf.family == "MvNormal" and leaf.slots["cov"].structure != "full")
            for leaf in node.components
        )
        values = self.oracle.data.get(node.name)
        for path in self.oracle.scopes.members(node.scope, self.index):
            replica = (node.name, path)
            entry = np.array(np.nan) if values is None else look_up(values, self.index, path)
            entry = as_value(entry)
            holes = np.isnan(entry)
            if not (holes.all() if separable else holes.any()):
                self.given[replica] = entry
            elif size is not None:
                self.variables.append(replica)
                self.sizes.append(size)
            else:
                self.missing.add(replica)

    def _add(self, node: NodeRecord, path: Path) -> None:
        """The factor of one replica."""
        step = self.oracle.scopes.first_step(node, self.index, path)
        if (node.name, path) in self.missing or (step and node.conditioned):
            return
        leaves = [node.firsts[step - 1]] if step else list(node.components)
        terms = [self._term(node, leaf, k, step, path) for k, leaf in enumerate(leaves)]
        params = self.oracle.params
        if node.switch is None or step:
            self.log_joint = self.log_joint + terms[0].log_density(params)
            self.terms += terms
            return
        picks = read_gate(node.switch, self._gate_values(plain_gates([node.switch]), node, path))
        logs = [np.broadcast_to(t.log_density(params), self.log_joint.shape) for t in terms]
        atom = np.zeros(len(self.log_joint), dtype=bool)
        for leaf, log_p in zip(leaves, logs, strict=True):
            if leaf.family in DISCRETE:
                atom |= log_p > -np.inf
        for k, (leaf, term, log_p) in enumerate(zip(leaves, terms, logs, strict=True)):
            term.active = np.broadcast_to(picks == k, atom.shape)
            barred = atom & (leaf.family not in DISCRETE)
            inside = np.where(barred, -np.inf, log_p)
            self.log_joint = self.log_joint + np.where(term.active, inside, 0.0)
        self.terms += terms

    def _term(self, node: NodeRecord, leaf: LeafRecord, k: int, step: int, path: Path) -> Term:
        replica = (node.name, path)
        values = self._gate_values(leaf_gates(leaf), node, path)
        known = {
            name: self._covariate(slot.name, path)
            for name, slot in leaf.slots.items()
            if slot.kind == "covariate"
        }
        if replica in self.given:
            x = self.given[replica][None]
        else:
            x = self.columns.get(replica, np.full(1, np.nan)).astype(float)
        return Term(component_key(node, k, step), leaf, replica, x, values, known)

    def _covariate(self, name: str, path: Path) -> Floats:
        home = self.oracle.homes[name]
        depth = len(self.oracle.scopes.path(home))
        return as_value(look_up(self.oracle.data[name], self.index, path[:depth]))[None]

    def _gate_values(
        self, gates: Sequence[Gate], node: NodeRecord, path: Path
    ) -> dict[GateKey, Integers]:
        return {gate_key(gate): self._gate_value(gate, node, path) for gate in gates}

    def _gate_value(self, gate: Gate, node: NodeRecord, path: Path) -> Integers:
        scopes = self.oracle.scopes
        if gate.kind == "plate":
            return np.array([path[scopes.path(node.scope).index(gate.name)]])
        if gate.kind == "covariate":
            return self._covariate(gate.name, path).astype(int)
        target = path[: len(scopes.path(self.oracle.homes[gate.name]))]
        if gate.lag:
            earlier = scopes.earlier(self.oracle.homes[gate.name], self.index, target, gate.lag)
            assert earlier is not None
            target = earlier
        parent = (gate.name, target)
        self.children.setdefault(parent, []).append((node.name, path))
        if parent in self.given:
            return self.given[parent].astype(int)[None]
        return self.columns[parent]

    # --- answers --------------------------------------------------------------------------------

    @cached_property
    def log_likelihood(self) -> float:
        """log p(observed)."""
        with np.errstate(divide="ignore"):
            return float(logsumexp(self.log_joint))

    @cached_property
    def posterior(self) -> Floats:
        """p(configuration | observed) [C]; zero where the unit is impossible."""
        if self.log_likelihood == -np.inf:
            return np.zeros(len(self.log_joint))
        return np.exp(self.log_joint - self.log_likelihood)

    def moments(self, name: str, path: Path) -> tuple[Floats, Floats]:
        """Posterior mean and variance (covariance) of a numeric hole."""
        node = next(n for n in self.oracle.record.nodes if n.name == name)
        step = self.oracle.scopes.first_step(node, self.index, path)
        leaves = [node.firsts[step - 1]] if step else list(node.components)
        mean, square = np.zeros(1), np.zeros(1)
        for k, leaf in enumerate(leaves):
            posterior = self.posterior
            if node.switch is not None and not step:
                gates = self._gate_values(plain_gates([node.switch]), node, path)
                posterior = np.where(read_gate(node.switch, gates) == k, posterior, 0.0)
            parts = self._term(node, leaf, k, step, path).moments(self.oracle.params)
            wide = [np.broadcast_to(p, (len(posterior), *p.shape[1:])) for p in parts]
            mean = mean + np.tensordot(posterior, wide[0], 1)
            square = square + np.tensordot(posterior, wide[1], 1)
        if mean.ndim == 1 and square.ndim == 2:
            return mean, square - np.outer(mean, mean)
        return mean, square - mean**2

    def marginal(self, *replicas: Replica) -> Floats:
        """The joint posterior of some replicas: one axis each, one-hot where given."""
        shape = tuple(self.oracle.sizes[name] for name, _ in replicas)
        out = np.zeros(shape)
        codes = [
            self.given[r].astype(int) if r in self.given else self.columns[r] for r in replicas
        ]
        np.add.at(out, tuple(np.broadcast_arrays(*codes, self.log_joint)[:-1]), self.posterior)
        return out

    @cached_property
    def barren(self) -> set[Replica]:
        """Holes that neither an observed value nor a latent depends on."""
        latents = {n.name for n in self.oracle.record.nodes if n.kind == "latent"}
        barren = {r for r in self.variables if r[0] not in latents}
        while True:
            kept = {
                r
                for r in barren
                if all(c in barren or c in self.missing for c in self.children.get(r, []))
            }
            if kept == barren:
                return barren
            barren = kept

    def mode(self) -> tuple[float, dict[Replica, int]]:
        """The largest log p(observed, decoded), barren holes summed out, and where it is."""
        table = self.log_joint.reshape(tuple(self.sizes))
        axes = tuple(k for k, r in enumerate(self.variables) if r in self.barren)
        if axes:
            with np.errstate(divide="ignore"):
                table = logsumexp(table, axis=axes)
        kept = [r for r in self.variables if r not in self.barren]
        best = np.unravel_index(int(np.argmax(table)), table.shape)
        return float(table.max()), {r: int(k) for r, k in zip(kept, best, strict=True)}


# --- all units ----------------------------------------------------------------------------------


@dataclass
class Rows:
    """What one component saw: values, cells and posterior weights.

    Attributes:
        leaf: family and slots.
        x: values [R, ...].
        values: gate values [R] each.
        known: covariates in known slots [R] each.
        weights: posterior probability times weight of the unit [R].
    """

    leaf: LeafRecord
    x: list[Floats] = field(default_factory=list)
    cells: list[tuple[int, ...]] = field(default_factory=list)
    known: list[dict[str, Floats]] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, term: Term, posterior: Floats) -> None:
        """Enter one term, with the weighted posterior of its unit [C]."""
        mass = posterior if term.active is None else np.where(term.active, posterior, 0.0)
        columns = [*term.values.values()]
        variable = term.x.shape == posterior.shape and term.leaf.family in FINITE
        if variable:
            columns.append(term.x.astype(int))
        groups, inverse = distinct(columns)
        totals = np.bincount(np.broadcast_to(inverse, mass.shape), weights=mass)
        for row, total in enumerate(totals):
            if total > 0:
                cell = tuple(int(column[row]) for column in groups)
                self.cells.append(cell[:-1] if variable else cell)
                self.x.append(np.array(float(cell[-1])) if variable else term.x[0])
                self.known.append({name: value[0] for name, value in term.known.items()})
                self.weights.append(float(total))

    @cached_property
    def stacked(self) -> tuple[Floats, dict[GateKey, Integers], dict[str, Floats], Floats]:
        """Everything as arrays."""
        cells = np.array(self.cells, dtype=int).reshape(len(self.cells), -1)
        keys = [gate_key(gate) for gate in leaf_gates(self.leaf)]
        values = {key: cells[:, k] for k, key in enumerate(keys)}
        known = {name: np.array([row[name] for row in self.known]) for name in self.known[0]}
        return np.stack(self.x), values, known, np.array(self.weights)

    def expected_log_density(self, params: Params) -> float:
        """Σ weight · log p(x | cell)."""
        if not self.weights:
            return 0.0
        x, values, known, weights = self.stacked
        slots = {
            name: read_slot(slot, values, params, known.get(name, np.zeros(1)))
            for name, slot in self.leaf.slots.items()
        }
        return float(weights @ np.broadcast_to(log_density(self.leaf, x, slots), weights.shape))

    def statistics(self, size: int | None) -> dict[tuple[int, ...], dict[str, Floats]]:
        """Expected sufficient statistics per cell: `count`, and `values` or `x` and `xx`."""
        out: dict[tuple[int, ...], dict[str, Floats]] = {}
        for x, cell, weight in zip(self.x, self.cells, self.weights, strict=True):
            if size is not None:
                parts = {"values": weight * (np.arange(size) == x)}
            else:
                parts = {"x": weight * x, "xx": weight * np.multiply.outer(x, x)}
            parts["count"] = np.array(weight)
            into = out.setdefault(cell, {})
            for name, part in parts.items():
                into[name] = into.get(name, 0.0) + part
        return out


class Oracle:
    """Exact answers for a tiny model, by enumeration.

    Args:
        record: the declaration's records.
        data: nested arrays by name, units first.
        params: arrays by public name.
        weights: one per unit.
        limit: refuse units with more configurations than this.
    """

    def __init__(
        self,
        record: ModelRecord,
        data: Mapping[str, Any],
        params: Params,
        weights: Any = None,
        limit: int = LIMIT,
    ) -> None:
        self.record, self.data, self.params, self.limit = record, data, params, limit
        self.scopes = Scopes(record, data)
        self.homes = {item.name: item.scope for item in (*record.nodes, *record.covariates)}
        found = {node.name: n_values(node, params) for node in record.nodes}
        self.sizes = {name: size for name, size in found.items() if size is not None}
        n_units = max(len(values) for values in data.values())
        self.weights = np.ones(n_units) if weights is None else np.asarray(weights, dtype=float)
        self.units = [Unit(self, index) for index in range(n_units)]

    @property
    def log_likelihood(self) -> Floats:
        """log p(observed) per unit."""
        return np.array([unit.log_likelihood for unit in self.units])

    @property
    def total(self) -> float:
        """The weighted log-likelihood."""
        used = self.weights > 0
        return float(self.weights[used] @ self.log_likelihood[used])

    @property
    def modes(self) -> Floats:
        """log p(observed, most probable configuration) per unit."""
        return np.array([unit.mode()[0] for unit in self.units])

    def replicas(self, name: str) -> Iterator[tuple[int, Path]]:
        """Every (unit, members or step) of a node."""
        for index in range(len(self.units)):
            for path in self.scopes.members(self.homes[name], index):
                yield index, path

    def marginal(self, name: str, unit: int, path: Path) -> Floats:
        """The posterior of one replica."""
        return self.units[unit].marginal((name, path))

    def pair(self, name: str, unit: int, path: Path, other: str, lag: int = 0) -> Floats:
        """The joint posterior [name, other] of a replica and another node, `lag` steps earlier."""
        target = path[: len(self.scopes.path(self.homes[other]))]
        if lag:
            earlier = self.scopes.earlier(self.homes[other], unit, target, lag)
            assert earlier is not None
            target = earlier
        return self.units[unit].marginal((name, path), (other, target))

    @cached_property
    def rows(self) -> dict[str, Rows]:
        """Weighted complete data per component.

        A hole in a node that nothing depends on carries no statistics: it is left out.
        """
        parents = {gate.name for node in self.record.nodes for gate in node_gates(node)}
        observed = {node.name for node in self.record.nodes if node.kind == "observed"}
        leaves = observed - parents
        found = {key: Rows(leaf) for key, leaf in components(self.record).items()}
        for unit, weight in zip(self.units, self.weights, strict=True):
            if weight == 0:
                continue
            for term in unit.terms:
                if term.replica in unit.given or term.replica[0] not in leaves:
                    found[term.key].add(term, weight * unit.posterior)
        return found

    def expected_statistics(self) -> dict[str, dict[tuple[int, ...], dict[str, Floats]]]:
        """Per component and cell (values of `leaf_gates`): `count`, and `values` or `x`, `xx`."""
        out = {}
        for key, rows in self.rows.items():
            out[key] = rows.statistics(self.sizes.get(key.split(".")[0]))
        return out

    def q(self, params: Params) -> float:
        """Expected complete-data log-likelihood at other parameters."""
        return sum(rows.expected_log_density(params) for rows in self.rows.values())

    def score(self, decoded: Mapping[str, Any]) -> Floats:
        """log p(observed, decoded) per unit; `decoded` replaces data of the same name."""
        other = Oracle(self.record, {**self.data, **decoded}, self.params, limit=self.limit)
        return other.log_likelihood
