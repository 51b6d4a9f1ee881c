"""Random small models, written in the public language, with parameters and data that fit them.

A drawn `Case` holds the text of a declaration and is printed as a script that can be pasted.
Hypothesis draws a tape of bytes; they choose the structure and seed the numbers.  A tape of zeros
is the simplest graph, so that failures shrink.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from numpy.typing import NDArray
from oracle import Oracle, longest_lag

from pgem.declare.records import Gate, LeafRecord, ModelRecord, NodeRecord, slot_of

Floats = NDArray[np.float64]
Path = tuple[int, ...]

CONFIGURATIONS = 20_000
CELLS = 24
TAPE = 320
SLOTS: dict[str, tuple[tuple[str, str], ...]] = {
    "Categorical": (("probs", "probs"),),
    "Bernoulli": (("prob", "prob"),),
    "Binomial": (("prob", "prob"),),
    "Multinomial": (("probs", "probs"),),
    "Poisson": (("rate", "rate"),),
    "Geometric": (("prob", "prob"),),
    "Exponential": (("rate", "rate"),),
    "Gamma": (("shape", "shape"), ("rate", "rate")),
    "Normal": (("mean", "mean"), ("var", "var")),
    "MvNormal": (("mean", "mean"), ("cov", "cov")),
    "Dirac": (),
}
"""Estimable slots and their roles."""
SPREADS = ("var", "cov", "shape")
SWITCHES = (
    ("Dirac", "Poisson"),
    ("Dirac", "Exponential"),
    ("Dirac", "Normal"),
    ("Dirac", "Gamma"),
    ("Exponential", "Gamma"),
    ("Poisson", "Geometric"),
    ("Normal", "Exponential"),
    ("Poisson", "Normal"),
    ("Bernoulli", "Gamma"),
    ("Dirac", "Exponential", "Gamma"),
    ("Dirac", "Geometric", "Poisson"),
)


# --- parameters ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """What a parameter looks like: role, sizes of its gates, own axes, what is held."""

    role: str
    gates: tuple[int, ...]
    own: tuple[int, ...]
    held: NDArray[np.bool_]
    value: Floats
    lower: Floats | None = None

    @property
    def full(self) -> tuple[int, ...]:
        """All axes."""
        return self.gates + self.own

    def draw(self, rng: np.random.Generator) -> Floats:
        """A random value that respects what is held."""
        if self.role == "probs":
            free = rng.dirichlet(np.full(self.own[0], 3.0), size=self.gates) + 0.02
            free = np.where(self.held, 0.0, free)
            share = 1 - np.where(self.held, self.value, 0.0).sum(axis=-1, keepdims=True)
            total = free.sum(axis=-1, keepdims=True)
            free = free / np.where(total > 0, total, 1.0) * share
            return np.where(self.held, self.value, free)
        if self.role == "cov" and len(self.own) == 2:
            return self._matrices(rng)
        drawn = random_value(rng, self.role, self.gates, self.own)
        if self.lower is not None:
            drawn = self.lower + drawn
        return np.where(self.held, self.value, drawn)

    def _matrices(self, rng: np.random.Generator) -> Floats:
        """Covariances; in partly held ones the blocks are those of the given value."""
        drawn = random_value(rng, self.role, self.gates, self.own)
        for row in np.ndindex(self.gates):
            if self.held[row].any():
                drawn[row] = self.value[row]
        return drawn


def random_value(
    rng: np.random.Generator, role: str, gates: tuple[int, ...], own: tuple[int, ...]
) -> Floats:
    """A random valid value of a role."""
    shape = gates + own
    if role == "probs":
        return rng.dirichlet(np.full(own[0], 3.0), size=gates)
    if role == "prob":
        return rng.uniform(0.1, 0.9, shape)
    if role == "mean":
        return rng.normal(0.0, 1.5, shape)
    if role == "cov" and len(own) == 2:
        root = rng.normal(size=(*gates, own[0], own[0] + 2))
        return root @ np.swapaxes(root, -1, -2) / own[0] + 0.3 * np.eye(own[0])
    return rng.uniform(0.5, 2.5, shape)


def parameter_shapes(
    record: ModelRecord, sizes: Mapping[str, int], vectors: Mapping[str, int]
) -> dict[str, Shape]:
    """Shapes of all parameters of a declaration.

    Args:
        record: the declaration.
        sizes: numbers of values of whatever indexes, and of categorical nodes.
        vectors: lengths of vector-valued nodes.
    """
    found: dict[str, Shape] = {}
    for node in record.nodes:
        for leaf in (*node.components, *node.firsts):
            roles = dict(SLOTS[leaf.family])
            for name, slot in leaf.slots.items():
                if slot.kind != "param" or slot.name in found:
                    continue
                gates = tuple(_gate_size(gate, sizes) for gate in slot.gates)
                own = _own_shape(leaf, node, name, sizes, vectors)
                shape = _shape(record, slot.name, roles.get(name, "mean"), gates, own)
                if slot_of(name) == "logits":
                    shape.held[(slice(None),) * len(gates) + (0,)] = True
                found[slot.name] = shape
    return found


def _gate_size(gate: Gate, sizes: Mapping[str, int]) -> int:
    return int(gate.size or 1) if gate.kind == "constant" else sizes[gate.name]


def _own_shape(
    leaf: LeafRecord,
    node: NodeRecord,
    slot: str,
    sizes: Mapping[str, int],
    vectors: Mapping[str, int],
) -> tuple[int, ...]:
    if leaf.family == "Categorical":
        child: tuple[int, ...] = (sizes[node.name],)
    else:
        child = (vectors[node.name],) if node.name in vectors else ()
    times = leaf.slots[slot].times
    if times is not None and times.contracts:
        factors = (*times.covariates, times.parent)
        return (*child, *(vectors[name] for name in factors if name in vectors))
    length = vectors.get(node.name)
    if length is None or leaf.family == "Categorical":
        return child
    if slot == "cov":
        return {"full": (length, length), "diagonal": (length,), "spherical": ()}[
            leaf.slots[slot].structure
        ]
    return (length,)


def _shape(
    record: ModelRecord, name: str, role: str, gates: tuple[int, ...], own: tuple[int, ...]
) -> Shape:
    param = next(p for p in record.params if p.name == name)
    full = gates + own
    held = np.broadcast_to(np.asarray(param.fixed, dtype=bool), full)
    value = np.zeros(full) if param.value is None else np.broadcast_to(param.value, full)
    if param.zeros is not None:
        held = held | np.broadcast_to(np.asarray(param.zeros, dtype=bool), full)
    lower = None if param.lower is None else np.broadcast_to(param.lower, full).astype(float)
    return Shape(role, gates, own, np.array(held), np.array(value, dtype=float), lower)


# --- a case -------------------------------------------------------------------------------------


@dataclass
class Case:
    """A model as text, with parameters and data.

    Attributes:
        source: the declaration.
        seed: of everything numeric.
        sizes: numbers of values of whatever indexes.
        vectors: lengths of vector-valued nodes.
        data: values by name.
        weights: one per unit, or None.
    """

    source: str
    seed: int
    sizes: dict[str, int]
    vectors: dict[str, int]
    data: dict[str, Any]
    weights: list[float] | None = None

    @cached_property
    def model(self) -> Any:
        """The declared model."""
        import pgem

        space: dict[str, Any] = {"pg": pgem}
        exec(compile(self.source, "<case>", "exec"), space)
        return space["m"]

    @property
    def record(self) -> ModelRecord:
        """Its records."""
        record: ModelRecord = self.model.record
        return record

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of its parameters."""
        return parameter_shapes(self.record, self.sizes, self.vectors)

    @cached_property
    def params(self) -> dict[str, Floats]:
        """Random valid parameters."""
        rng = np.random.default_rng([self.seed, 1])
        return {name: shape.draw(rng) for name, shape in self.shapes.items()}

    @cached_property
    def oracle(self) -> Oracle:
        """The brute-force answers."""
        return Oracle(self.record, self.data, self.params, self.weights)

    @property
    def possible(self) -> bool:
        """Whether every unit has positive probability."""
        return bool(np.isfinite(self.oracle.log_likelihood).all())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def __repr__(self) -> str:
        with np.printoptions(threshold=100_000, floatmode="unique"):
            params = _as_code(self.params)
            data = _as_code(self.data)
        return (
            f"\nimport numpy as np\nfrom numpy import array, nan\n\nimport pgem as pg\n\n"
            f"{self.source}\nparams = {params}\ndata = {data}\nweights = {self.weights!r}\n"
        )


def _as_code(values: Mapping[str, Any]) -> str:
    lines = [f"    {name!r}: {value!r}," for name, value in values.items()]
    return "\n".join(["{", *lines, "}"])


# --- building -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Index:
    """Something that may index: its text, number of values, and whether it is a latent node."""

    text: str
    size: int
    latent: bool = False
    name: str = ""
    lag: int = 0


@dataclass
class Tie:
    """A parameter object that may be used again."""

    text: str
    role: str
    own: tuple[int, ...]
    gates: tuple[int, ...]


@dataclass
class ScopeInfo:
    """A scope: its name, kind, size and, per unit, the paths (and parents) of its members."""

    name: str
    kind: str
    size: int | None
    parent: ScopeInfo | None
    paths: list[list[Path]]
    lengths: dict[tuple[int, Path], int] = field(default_factory=dict)
    parents: dict[tuple[int, Path], int] = field(default_factory=dict)
    indexes: list[Index] = field(default_factory=list)

    @property
    def around(self) -> list[ScopeInfo]:
        """This scope and those around it, outermost first."""
        return [*(self.parent.around if self.parent else []), self]

    def precedes(self, unit: int, path: Path) -> int:
        """How many steps precede a step; in a tree 0 for a root, else 1."""
        if self.kind == "tree":
            return int(self.parents[unit, path] >= 0)
        return path[-1]

    @property
    def largest(self) -> int:
        """Most members in a unit."""
        return max(len(paths) for paths in self.paths)


@dataclass
class Column:
    """How the values of one name are drawn."""

    name: str
    scope: ScopeInfo
    value: Callable[[np.random.Generator, int, Path], Any]
    event: tuple[int, ...] = ()
    kind: str = "observed"
    size: int | None = None
    separable: bool = True


class Builder:
    """Writes a declaration line by line.

    Args:
        tape: numbers below 256 that decide everything; zeros, and nothing once it has run out,
            choose what is simplest.
        fitted: leave out what makes the likelihood unbounded (variances of single values).
        constrained: many parameters have priors, lower bounds or partly fixed covariances.
    """

    def __init__(self, tape: Iterable[int], *, fitted: bool, constrained: bool = False) -> None:
        self.tape, self.fitted, self.constrained = iter(tape), fitted, constrained
        self.seed = self.byte() + 256 * self.byte()
        self.rng = np.random.default_rng([self.seed, 0])
        self.lines = ['with pg.Model("case") as m:']
        self.depth = 1
        n_units = self.between(5, 9) if fitted else self.between(1, 4)
        self.unit = ScopeInfo("unit", "unit", None, None, [[()] for _ in range(n_units)])
        self.scope = self.unit
        limit = self.pick([300.0, 300.0, 3000.0, float(CONFIGURATIONS)])
        self.limit = math.log(limit)
        self.spent = 0.0
        self.counts: dict[str, int] = {}
        self.ties: list[Tie] = []
        self.families: list[str] = []
        self.columns: list[Column] = []
        self.sizes: dict[str, int] = {}
        self.vectors: dict[str, int] = {}

    # --- choices --------------------------------------------------------------------------------

    def byte(self) -> int:
        """The next number on the tape."""
        return next(self.tape, 0)

    def between(self, low: int, high: int) -> int:
        """A number, both ends included, the lowest being the simplest."""
        return low + self.byte() * (high - low + 1) // 256

    def pick(self, options: Sequence[Any]) -> Any:
        """One of several, the first being the simplest."""
        return options[self.between(0, len(options) - 1)]

    def chance(self, probability: float) -> bool:
        """True with about this probability; False is simplest."""
        return self.byte() >= 256 * (1 - probability)

    def name(self, stem: str) -> str:
        """A new name."""
        self.counts[stem] = self.counts.get(stem, 0) + 1
        return f"{stem}{self.counts[stem]}"

    def say(self, line: str) -> None:
        """A line of the declaration."""
        self.lines.append("    " * self.depth + line)

    # --- scopes ---------------------------------------------------------------------------------

    @contextmanager
    def inside(self, kind: str, size: int | None, low: int, high: int) -> Iterator[ScopeInfo]:
        """Open a plate, sequence or tree of `low` to `high` members unless it has a size."""
        name = self.name({"sequence": "t", "tree": "g"}.get(kind, "p"))
        lengths, paths = {}, []
        same = self.chance(0.5) and size is None
        common = int(self.rng.integers(max(low, 1), high + 1))
        for unit, outer in enumerate(self.scope.paths):
            found = []
            for path in outer:
                drawn = common if same else int(self.rng.integers(low, high + 1))
                lengths[unit, path] = drawn if size is None else size
                found += [(*path, k) for k in range(lengths[unit, path])]
            paths.append(found)
        if not any(paths):
            paths[0] = [(*self.scope.paths[0][0], 0)]
            lengths[0, self.scope.paths[0][0]] = 1
        info = ScopeInfo(name, kind, size, self.scope, paths, lengths)
        argument = f", size={size}" if size is not None else ""
        self.say(f'with pg.{kind}("{name}"{argument}) as {name}:')
        if kind == "plate" and size is not None:
            self.sizes[name] = size
            info.indexes.append(Index(name, size))
        outer_scope, self.scope, self.depth = self.scope, info, self.depth + 1
        if kind == "tree":
            self.plant(info)
        yield info
        self.scope, self.depth = outer_scope, self.depth - 1

    def plant(self, info: ScopeInfo) -> None:
        """Parents of a tree's members: random forests, members in random order."""
        shape, chain = self.rng, self.chance(0.3)
        for (unit, outer), n in info.lengths.items():
            order = shape.permutation(n)
            for k, member in enumerate(order):
                root = k == 0 or (not chain and shape.random() < 0.2)
                above = k - 1 if chain else int(shape.integers(0, max(k, 1)))
                info.parents[unit, (*outer, int(member))] = -1 if root else int(order[above])
        self.columns.append(
            Column(
                f"{info.name}.parent",
                info,
                lambda rng, unit, path: info.parents[unit, path],
                kind="covariate",
            )
        )

    def indexes(self) -> list[Index]:
        """Everything that may index here."""
        return [index for scope in self.scope.around for index in scope.indexes]

    # --- slots ----------------------------------------------------------------------------------

    def pool(self, candidates: Sequence[Index], most: int, always: Sequence[Index] = ()) -> list:
        """Some gates, few enough for a small table."""
        chosen = list(always)
        cells = math.prod(index.size for index in chosen)
        left = [index for index in candidates if index not in chosen]
        while left and len(chosen) < most and self.chance(0.65):
            index = self.pick(left)
            left.remove(index)
            if cells * index.size <= CELLS:
                chosen.append(index)
                cells *= index.size
        if len(chosen) > 1 and self.chance(0.4):
            chosen = chosen[::-1]
        if chosen and not always and self.chance(0.12):
            chosen = self.through_table(chosen)
        return chosen

    def through_table(self, chosen: list[Index]) -> list[Index]:
        """Some gates replaced by a constant table of them."""
        count = 1 + (len(chosen) > 1 and self.chance(0.5))
        inner, rest = chosen[:count], chosen[count:]
        size = self.pick([2, 3])
        table = self.rng.integers(0, size, [index.size for index in inner])
        text = f"pg.constant({table.tolist()}, size={size})[{_commas(inner)}]"
        latent = all(index.latent for index in inner)
        lag = max(index.lag for index in inner)
        return [Index(text, size, latent, lag=lag), *rest]

    def slot(self, name: str, role: str, own: tuple[int, ...], pool: list[Index]) -> str | None:
        """What stands in a slot; None for nothing."""
        spread = role.split()[-1] in SPREADS and self.fitted
        usable = [index for index in pool if index.latent or not spread]
        tied = self.tied(role, own, usable)
        if tied is not None and self.chance(0.5):
            return tied
        if usable == pool and not self.chance(0.55):
            return None
        gates = [index for index in usable if self.chance(0.7)]
        if self.constrained and self.chance(0.7):
            text = self.name("q")
            self.say(f'{text} = pg.param("{text}", {self.constraint(role, own, gates)})')
            self.ties.append(Tie(text, role, own, tuple(index.size for index in gates)))
            return self.gated(text, gates)
        kind = self.pick(["param", "shared", "shared", "masked", "constant", "own"])
        if kind == "constant":
            return self.constant(role, own, gates)
        if kind in ("masked", "own"):
            if kind == "own" and usable == pool:
                return f"pg.param({self.held(role, own, pool)})"
            return self.gated(f'pg.param("{self.name("q")}", {self.held(role, own, gates)})', gates)
        if kind == "shared":
            text = self.name("q")
            self.say(f'{text} = pg.param("{text}")')
            self.ties.append(Tie(text, role, own, tuple(index.size for index in gates)))
            return self.gated(text, gates)
        return self.gated(f'pg.param("{self.name("q")}")', gates)

    def gated(self, text: str, gates: Sequence[Index]) -> str:
        """A parameter or constant with its gates."""
        return f"{text}[{_commas(gates)}]" if gates else text

    def tied(self, role: str, own: tuple[int, ...], usable: list[Index]) -> str | None:
        """A parameter used before, if one fits."""
        for tie in self.ties:
            if tie.role != role or tie.own != own:
                continue
            left, gates = list(usable), []
            for size in tie.gates:
                fits = [index for index in left if index.size == size]
                if not fits:
                    break
                gates.append(fits[0])
                left.remove(fits[0])
            if len(gates) == len(tie.gates):
                return self.gated(tie.text, gates)
        return None

    def constant(self, role: str, own: tuple[int, ...], gates: list[Index]) -> str:
        """A known value, gated or not."""
        value = _rounded(self.rng, role, tuple(index.size for index in gates), own)
        if gates:
            return f"pg.constant({value.tolist()})[{_commas(gates)}]"
        return f"{value.tolist()}"

    def held(self, role: str, own: tuple[int, ...], gates: list[Index]) -> str:
        """Settings that hold a parameter, wholly or partly."""
        sizes = tuple(index.size for index in gates)
        value = _rounded(self.rng, role, sizes, own)
        if role == "probs" and own[0] > 2 and self.chance(0.5):
            zeros = np.zeros(sizes + own, dtype=bool)
            zeros[..., int(self.rng.integers(own[0]))] = True
            return f"zeros={zeros.tolist()}"
        if role == "cov" or self.chance(0.3):
            return f"fixed=True, value={value.tolist()}"
        mask = self.rng.random(sizes + own) < 0.4
        return f"fixed={mask.tolist()}, value={value.tolist()}"

    def constraint(self, role: str, own: tuple[int, ...], gates: list[Index]) -> str:
        """A prior, a lower bound or both; a covariance that is fixed in part."""
        sizes = tuple(index.size for index in gates)
        role = role.split()[-1]
        if role == "cov" and len(own) == 2 and self.chance(0.5):
            return self.partly_fixed(sizes, own[0])
        if role == "shape":
            return f"lower={round(float(self.rng.uniform(0.5, 3)), 2)}"
        parts = [f"prior={self.prior(role, own, sizes)}"]
        if role in ("rate", "var") and self.chance(0.4):
            parts.append(f"lower={round(float(self.rng.uniform(0.5, 3)), 2)}")
        elif role == "probs" and own[0] > 2 and self.chance(0.5):
            zeros = np.zeros(sizes + own, dtype=bool)
            zeros[..., int(self.rng.integers(own[0]))] = True
            parts.append(f"zeros={zeros.tolist()}")
        elif role == "mean" and math.prod(sizes + own) > 1 and self.chance(0.4):
            mask = self.rng.random(sizes + own) < 0.4
            mask.flat[0] = False
            value = _rounded(self.rng, role, sizes, own)
            parts.append(f"fixed={mask.tolist()}, value={value.tolist()}")
        return ", ".join(parts)

    def prior(self, role: str, own: tuple[int, ...], sizes: tuple[int, ...]) -> str:
        """A conjugate prior with numbers in its slots, the same for all gates or not."""
        gates = sizes if self.chance(0.5) else ()

        def numbers(low: float, high: float, *axes: int) -> str:
            return str(np.round(self.rng.uniform(low, high, gates + axes), 2).tolist())

        entry = own if self.chance(0.5) else (1,) * len(own)
        if role == "probs":
            return f"pg.Dirichlet({numbers(1, 4, *own)})"
        if role == "prob":
            return f"pg.Beta({numbers(1, 4, *entry)}, {numbers(1, 4, *entry)})"
        if role == "rate":
            return f"pg.Gamma({numbers(1, 4, *entry)}, {numbers(0.5, 3, *entry)})"
        if role == "mean" and own and self.chance(0.5):
            lead = gates if len(own) == 1 else ()
            cov = _rounded(self.rng, "cov", lead, own[-1:] * 2).tolist()
            return f"pg.MvNormal({numbers(-1, 1, *own)}, {cov})"
        if role == "mean":
            return f"pg.Normal({numbers(-1, 1, *entry)}, {numbers(0.2, 2, *entry)})"
        if len(own) == 2:
            scale = _rounded(self.rng, "cov", gates, own).tolist()
            return f"pg.InverseWishart({scale}, {round(own[0] + float(self.rng.uniform(0, 4)), 2)})"
        return f"pg.InverseGamma({numbers(0.5, 4, *entry)}, {numbers(0.5, 3, *entry)})"

    def partly_fixed(self, sizes: tuple[int, ...], length: int) -> str:
        """A covariance with a fixed block, or with blocks that fixed zeros separate."""
        fixed = np.zeros((*sizes, length, length), dtype=bool)
        value = _rounded(self.rng, "cov", sizes, (length, length))
        count = 1 + int(self.rng.integers(max(length - 1, 1)))
        chosen = self.rng.permutation(length)[:count]
        rest = np.setdiff1d(np.arange(length), chosen)
        if self.chance(0.5) and len(rest):
            for one, other in ((chosen, rest), (rest, chosen)):
                fixed[(..., *np.ix_(one, other))] = True
                value[(..., *np.ix_(one, other))] = 0.0
        else:
            fixed[(..., *np.ix_(chosen, chosen))] = True
        return f"fixed={fixed.tolist()}, value={value.tolist()}"

    def linked(self, family: str, length: int | None, pool: list[Index]) -> str | None:
        """A Gaussian whose mean has a prior that is linked to its spread."""
        if not self.constrained or family not in ("Normal", "MvNormal") or not self.chance(0.5):
            return None
        gates = [index for index in pool if index.latent and self.chance(0.7)]
        sizes = tuple(index.size for index in gates)
        own = () if length is None else (length,)
        mean, spread = self.name("q"), self.name("q")
        slot, axes, wrap = ("var", own, "{}") if family == "Normal" else ("cov", own * 2, "{}")
        if family == "MvNormal" and self.chance(0.6):
            wrap, axes = self.pick([("pg.diagonal({})", own), ("pg.spherical({})", ())])
        prior = self.prior("cov" if len(axes) == 2 else "var", axes, sizes)
        self.say(f'{spread} = pg.param("{spread}", prior={prior})')
        times = f"{spread} {self.pick(['*', '/'])} {round(float(self.rng.uniform(0.3, 3)), 2)}"
        kind = "MvNormal" if len(axes) == 2 else "Normal"
        slots = f"{round(float(self.rng.normal()), 2)}, {times}"
        if kind == "MvNormal":
            slots = f"{np.round(self.rng.normal(size=own), 2).tolist()}, {times}"
        self.say(f'{mean} = pg.param("{mean}", prior=pg.{kind}({slots}))')
        filled = wrap.format(self.gated(spread, gates))
        return f"pg.{family}(mean={self.gated(mean, gates)}, {slot}={filled})"

    def family(
        self, family: str, size: int | None, length: int | None, pool: list[Index], extra: str = ""
    ) -> tuple[str, bool]:
        """The text of a family, and whether a slot of it is empty."""
        parts, empty = [], False
        if (text := self.linked(family, length, pool)) is not None:
            return text, False
        for slot, role in SLOTS[family]:
            own: tuple[int, ...] = () if length is None else (length,)
            if role == "probs":
                own = (size or length or 0,)
            if role == "cov":
                text, bare = self.covariance(length or 1, pool)
            else:
                text = self.slot(slot, role, own, pool)
                bare = bare_slot(text)
            empty |= bare
            if text is not None:
                parts.append(f"{slot}={text}")
        if size is not None or (length is not None and family not in ("Normal", "MvNormal")):
            parts.append(f"size={size or length}")
        return f"pg.{family}({', '.join([*parts, *([extra] if extra else [])])})", empty

    def covariance(self, length: int, pool: list[Index]) -> tuple[str | None, bool]:
        """A covariance slot of any structure, and whether its parameter is the slot's own."""
        structure = self.pick(["full", "diagonal", "spherical"])
        own = {"full": (length, length), "diagonal": (length,), "spherical": ()}[structure]
        if structure == "full":
            text = self.slot("cov", "cov", own, pool)
            return text, bare_slot(text)
        text = self.slot("cov", f"{structure} cov", own, pool)
        return f"pg.{structure}({text or ''})", bare_slot(text)

    # --- nodes ----------------------------------------------------------------------------------

    def declare(
        self, word: str, name: str, family: str, empty: bool, pool: list[Index], extra: str = ""
    ) -> None:
        """The line of a node."""
        arguments = [f'"{name}"', family]
        if empty and pool:
            gates = list(pool)
            last = gates[-1]
            if last.lag == 1 and last.name and self.chance(0.5):
                gates.pop()
                after = f'"{last.name}"'
                arguments.append(f"after={after}")
            if gates:
                arguments.insert(2, f"given=[{_commas(gates)}]")
        if extra:
            arguments.append(extra)
        self.say(f"{name} = pg.{word}({', '.join(arguments)})")

    def affordable(self, size: int) -> bool:
        """Whether another latent fits the number of configurations."""
        return self.spent + self.scope.largest * math.log(size) <= self.limit

    def latent(
        self,
        candidates: Sequence[Index] | None = None,
        always: Sequence[Index] = (),
        name: str | None = None,
        size: int | None = None,
    ) -> bool:
        """A discrete latent node, if it fits."""
        size = size or self.pick([2, 2, 3])
        if not self.affordable(size):
            return False
        self.spent += self.scope.largest * math.log(size)
        name = name or self.name("z")
        pool = self.pool(self.indexes() if candidates is None else candidates, 3, always)
        binary = size == 2 and self.chance(0.35)
        family = "Bernoulli" if binary else "Categorical"
        text, empty = self.family(family, None if binary else size, None, pool)
        self.declare("latent", name, text, empty, pool)
        self.finite(name, size, latent=True)
        return True

    def finite(self, name: str, size: int, *, latent: bool) -> None:
        """Register a node with finitely many values."""
        self.sizes[name] = size
        self.scope.indexes.append(Index(name, size, latent, name))
        column = Column(name, self.scope, lambda rng, *_: int(rng.integers(size)), size=size)
        column.kind = "latent" if latent else "observed"
        self.columns.append(column)

    def input(self) -> None:
        """A discrete covariate."""
        name, size = self.name("u"), self.pick([2, 3])
        self.say(f'{name} = pg.covariate("{name}", size={size})')
        self.sizes[name] = size
        self.scope.indexes.append(Index(name, size))
        self.columns.append(
            Column(name, self.scope, lambda rng, *_: int(rng.integers(size)), kind="covariate")
        )

    def observed_gate(self, name: str | None = None, lags: Sequence[Index] = ()) -> None:
        """An observed node with finitely many values, which later nodes may be gated by."""
        size = self.pick([2, 3])
        name = name or self.name("o")
        pool = self.pool([*self.indexes(), *lags], 2, self.itself(name, size))
        text, empty = self.family("Categorical", size, None, pool)
        first = self.first("Categorical", size, text, pool if empty else ())
        self.declare("observed", name, text, empty, pool, first)
        self.finite(name, size, latent=False)

    def itself(self, name: str, size: int) -> list[Index]:
        """The step before of an observed node, sometimes, inside a sequence or tree."""
        if self.scope.kind not in ("sequence", "tree") or not self.chance(0.3):
            return []
        return [Index(f'pg.prev("{name}")', size, False, name, 1)]

    def first(self, family: str, size: int | None, text: str, given: Sequence[Index]) -> str:
        """A modelled first step, sometimes, where the node looks back."""
        looks_back = "pg.prev(" in text or any(index.lag for index in given)
        if not looks_back or not self.chance(0.4):
            return ""
        return f"first=pg.{family}({f'size={size}' if size is not None else ''})"

    def leaf(self, lags: Sequence[Index] = (), *, must: bool = False) -> None:
        """An observed node of any family."""
        candidates = [*self.indexes(), *lags]
        latents = [index for index in candidates if index.latent]
        if latents and self.chance(0.18):
            self.switch(latents)
            return
        family = self.pick([f for f in SLOTS if f != "Dirac"])
        if self.constrained and self.chance(0.5):
            family = self.pick(["MvNormal", "Normal", "Gamma"])
        if self.families and self.chance(0.25):
            family = self.families[-1]
        self.families.append(family)
        size = self.pick([2, 3]) if family == "Categorical" else None
        name = self.name("x")
        always = [self.pick(latents[-3:])] if latents and (must or self.chance(0.7)) else []
        if family in ("Categorical", "Bernoulli"):
            always += self.itself(name, size or 2)
        pool = self.pool(candidates, 3, always)
        length = self.length(family)
        extra, trials = self.trials() if family == "Binomial" else ("", None)
        text, empty = self.family(family, size, length, pool, extra)
        plain = family not in ("Binomial", "MvNormal", "Normal")
        first = self.first(family, size or length, text, pool if empty else ()) if plain else ""
        self.declare("observed", name, text, empty, pool, first)
        self.values(name, family, size, length, trials)
        if family == "MvNormal":
            self.columns[-1].separable = "diagonal" in text or "spherical" in text

    def length(self, family: str) -> int | None:
        """The length of a vector, for families that take one."""
        if family == "Multinomial":
            return int(self.pick([2, 3]))
        if family == "MvNormal":
            return int(self.pick([2, 1, 3]))
        if family in ("Normal", "Poisson", "Exponential", "Gamma") and self.chance(0.3):
            return 2
        return None

    def trials(self) -> tuple[str, str | int]:
        """Trials of a Binomial: a number or a covariate."""
        if not self.chance(0.5):
            return "trials=5", 5
        name = self.name("n")
        self.say(f'{name} = pg.covariate("{name}")')
        self.columns.append(
            Column(name, self.scope, lambda rng, *_: int(rng.integers(1, 7)), kind="covariate")
        )
        return f"trials={name}", name

    def values(
        self, name: str, family: str, size: int | None, length: int | None, trials: Any
    ) -> None:
        """Register how the data of a leaf are drawn."""
        if length is not None:
            self.vectors[name] = length
        if size is not None or family == "Bernoulli":
            self.finite(name, size or 2, latent=False)
            self.scope.indexes.pop()
            return
        event = () if length is None else (length,)
        if isinstance(trials, str):
            column = next(c for c in self.columns if c.name == trials)
            values = self.table(column)

            def draw(rng: np.random.Generator, unit: int, path: Path) -> Any:
                return int(rng.integers(0, values[unit, path] + 1))
        else:

            def draw(rng: np.random.Generator, unit: int, path: Path) -> Any:
                return random_datum(rng, family, event)

        separable = family != "Multinomial"
        self.columns.append(Column(name, self.scope, draw, event, separable=separable))

    def table(self, column: Column) -> dict[tuple[int, Path], Any]:
        """Values of a column that others refer to, drawn now."""
        drawn = {
            (unit, path): column.value(self.rng, unit, path)
            for unit, paths in enumerate(column.scope.paths)
            for path in paths
        }
        column.value = lambda rng, unit, path: drawn[unit, path]
        return drawn

    def switch(self, latents: Sequence[Index]) -> None:
        """An observed node whose family is picked by a gate."""
        gate = self.pick(latents)
        kinds = self.pick([kinds for kinds in SWITCHES if len(kinds) == gate.size] or [()])
        if not kinds:
            return
        atom = self.pick([0, 0, 2])
        pool = self.pool([index for index in self.indexes() if index != gate], 2)
        parts, empty = [], False
        for kind in kinds:
            text, bare = self.family(kind, None, None, pool, f"{atom}" if kind == "Dirac" else "")
            parts.append(text)
            empty |= bare
        name = self.name("x")
        self.declare("observed", name, f"pg.switch({gate.text}, {', '.join(parts)})", empty, pool)

        def draw(rng: np.random.Generator, unit: int, path: Path) -> Any:
            if "Dirac" in kinds and rng.random() < 0.4:
                return atom
            others = [kind for kind in kinds if kind != "Dirac"]
            return random_datum(rng, others[int(rng.integers(len(others)))], ())

        self.columns.append(Column(name, self.scope, draw))


def random_datum(rng: np.random.Generator, family: str, event: tuple[int, ...]) -> Any:
    """A value of a family's support."""
    if family == "Bernoulli":
        return rng.integers(0, 2, event)
    if family == "Binomial":
        return rng.integers(0, 6, event)
    if family == "Multinomial":
        return rng.integers(0, 4, event)
    if family in ("Poisson", "Geometric"):
        return rng.poisson(2.0, event)
    if family in ("Exponential", "Gamma"):
        return np.round(rng.gamma(2.0, 1.0, event) + 0.05, 3)
    return np.round(rng.normal(0.0, 2.0, event), 3)


def bare_slot(text: str | None) -> bool:
    """Whether a slot's parameter is its own, and so gated by what the node is given."""
    return text is None or (text.startswith("pg.param(") and not text.startswith('pg.param("'))


def _commas(gates: Sequence[Index]) -> str:
    return ", ".join(index.text for index in gates)


def _rounded(
    rng: np.random.Generator, role: str, gates: tuple[int, ...], own: tuple[int, ...]
) -> Floats:
    """A valid value with few digits; probabilities are sixteenths, exact in binary."""
    if role == "probs":
        cuts = rng.multinomial(16 - own[0], np.full(own[0], 1 / own[0]), size=gates) + 1
        return np.asarray(cuts / 16)
    if role == "cov" and len(own) == 2:
        value = np.zeros(gates + own)
        value[...] = np.eye(own[0]) + 0.25
        return value * rng.integers(1, 4, (*gates, 1, 1))
    return np.round(random_value(rng, role.split()[-1], gates, own), 2)


# --- data ---------------------------------------------------------------------------------------


class Filler:
    """Draws data, with holes, for a finished declaration."""

    def __init__(self, builder: Builder, lags: Mapping[str, int]) -> None:
        self.builder, self.lags = builder, lags
        self.rng = builder.rng
        self.room = [builder.limit - self.cost(unit) for unit in range(len(builder.unit.paths))]

    def cost(self, unit: int) -> float:
        """Logarithm of the number of configurations of a unit, nothing given."""
        latents = [c for c in self.builder.columns if c.kind == "latent"]
        return sum(len(c.scope.paths[unit]) * math.log(c.size or 1) for c in latents)

    def fill(self, *, absent: bool = False) -> dict[str, Any]:
        """Data by name."""
        data = {}
        for column in self.builder.columns:
            if column.kind == "latent":
                if not self.is_given(column):
                    continue
                rate = self.builder.pick([0.6, 0.95, 0.0])
            elif column.kind == "covariate":
                rate = 0.0
            else:
                rate = self.builder.pick([0.0, 0.0, 0.15, 0.4])
                if absent and self.leave_out(column, data):
                    continue
            data[column.name] = self.column(column, rate)
        return data

    def is_given(self, column: Column) -> bool:
        """Whether values of a latent are in the data."""
        del column
        return self.builder.chance(0.15)

    def leave_out(self, column: Column, data: Mapping[str, Any]) -> bool:
        """Whether an observed node gets no key: its lengths are known and its holes affordable."""
        if column.event or column.name in self.lags or not self.builder.chance(0.2):
            return False
        kept = [c for c in self.builder.columns if c.name in data and c.kind == "observed"]
        known = {c.scope.name for c in kept}
        costs = [len(paths) * math.log(column.size or 1) for paths in column.scope.paths]
        if column.scope.name not in known or any(map(float.__gt__, costs, self.room)):
            return False
        self.room = [room - cost for room, cost in zip(self.room, costs, strict=True)]
        return True

    def column(self, column: Column, rate: float) -> Any:
        """Values of one name, holes at this rate."""
        cells = {}
        for unit, paths in enumerate(column.scope.paths):
            for path in paths:
                value = np.asarray(column.value(self.rng, unit, path), dtype=float)
                first = not cells and column.kind == "observed"  # some value there must be
                cells[unit, path] = value if first else self.punch(column, unit, path, value, rate)
        return self.nest(column, cells)

    def punch(self, column: Column, unit: int, path: Path, value: Floats, rate: float) -> Floats:
        """A value, or a hole where one is allowed and affordable."""
        lag = self.lags.get(column.name, 0)
        conditioned = lag > 0 and column.scope.precedes(unit, path) < lag
        if conditioned or self.rng.random() >= rate:
            return value
        if column.kind == "observed" and column.size is not None:
            if self.room[unit] < math.log(column.size):
                return value
            self.room[unit] -= math.log(column.size)
        if column.event and column.separable and self.rng.random() < 0.5:
            return np.where(self.rng.random(column.event) < 0.5, np.nan, value)
        return np.full(column.event, np.nan)

    def nest(self, column: Column, cells: Mapping[tuple[int, Path], Floats]) -> Any:
        """Nested lists, arrays where they are rectangular."""
        scopes = column.scope.around[1:]
        units = [
            self.gather(unit, (), scopes, column.event, cells)
            for unit in range(len(column.scope.paths))
        ]
        return _stack(units)

    def gather(
        self,
        unit: int,
        path: Path,
        scopes: Sequence[ScopeInfo],
        event: tuple[int, ...],
        cells: Mapping[tuple[int, Path], Floats],
    ) -> Any:
        if not scopes:
            return cells[unit, path]
        length = scopes[0].lengths[unit, path]
        parts = [self.gather(unit, (*path, k), scopes[1:], event, cells) for k in range(length)]
        if len(scopes) == 1:
            return np.array(parts, dtype=float).reshape(length, *event)
        return _stack(parts)


def _stack(parts: list[Any]) -> Any:
    """One array where all parts are arrays of one shape."""
    same = len({p.shape if isinstance(p, np.ndarray) else None for p in parts}) == 1
    return np.stack(parts) if same and isinstance(parts[0], np.ndarray) else parts


# --- the kinds of graph -------------------------------------------------------------------------


def _dag(b: Builder) -> None:
    if b.chance(0.25):
        b.input()
    if b.chance(0.3):
        b.observed_gate()
    for _ in range(b.between(1, 5)):
        b.latent()
    if b.chance(0.3):
        b.observed_gate()
    for k in range(b.between(1, 3)):
        b.leaf(must=k == 0)


def _plate(b: Builder) -> None:
    for _ in range(b.between(0, 2)):
        b.latent()
    size = b.pick([None, 2, 3])
    with b.inside("plate", size, 0 if b.chance(0.2) else 1, 3):
        if b.chance(0.25):
            b.input()
        for _ in range(b.between(0, 2)):
            b.latent()
        if b.chance(0.2):
            b.observed_gate()
        b.leaf(must=True)
        if b.chance(0.4):
            with b.inside("plate", b.pick([None, 2]), 1, 2):
                if b.chance(0.5):
                    b.latent()
                b.leaf(must=True)
        if b.chance(0.3):
            b.leaf()
    if b.chance(0.3):
        b.leaf()


def _steps(b: Builder, chains: int) -> None:
    """What stands inside a sequence or tree."""
    own = [(b.name("s"), b.pick([2, 2, 3])) for _ in range(chains)]
    deep = b.chance(0.25) and b.scope.kind == "sequence"
    spent = 0.0
    declared = []
    for name, size in own:
        if b.spent + spent + b.scope.largest * math.log(size) <= b.limit:
            spent += b.scope.largest * math.log(size)
            declared.append((name, size))
    lags = [Index(f'pg.prev("{n}")', k, True, n, 1) for n, k in declared]
    if deep and declared:
        n, k = declared[0]
        lags.append(Index(f'pg.prev("{n}", 2)', k, True, n, 2))
    if b.chance(0.3):
        b.input()
    gate = b.name("o") if b.chance(0.3) else None
    if gate:
        b.observed_gate(gate, lags if b.chance(0.3) else lags[:0])
        size = b.sizes[gate]
        lags.append(Index(f'pg.prev("{gate}")', size, False, gate, 1))
    for k, (name, size) in enumerate(declared):
        recursion = [index for index in lags if index.name == name and index.lag == 1]
        if deep and k == 0:
            recursion = [*recursion, *[index for index in lags if index.lag == 2]]
        others = [index for index in lags if index not in recursion]
        candidates = [*b.indexes(), *(others if b.chance(0.5) else [])]
        b.latent(candidates, recursion, name, size)
    if b.chance(0.3):
        b.latent([*b.indexes(), *(lags if b.chance(0.3) else [])])
    b.leaf(lags if b.chance(0.25) else (), must=True)
    if b.chance(0.4):
        b.leaf(lags if b.chance(0.25) else ())


def _sequence(b: Builder) -> None:
    if b.chance(0.4):
        b.latent()
    with b.inside("sequence", None, 1, 4):
        _steps(b, b.pick([1, 2]))
    if b.chance(0.15):
        b.leaf()


def _nested(b: Builder) -> None:
    if b.chance(0.5):
        b.latent()
    kind = b.pick(["sequence in plate", "plate in sequence", "side by side"])
    if kind == "sequence in plate":
        with b.inside("plate", b.pick([None, 2]), 1, 2):
            if b.chance(0.4):
                b.latent()
            with b.inside("sequence", None, 1, 3):
                _steps(b, 1)
    elif kind == "plate in sequence":
        with b.inside("sequence", None, 1, 3):
            _steps(b, 1)
            with b.inside("plate", b.pick([None, 2]), 1, 2):
                if b.chance(0.5):
                    b.latent()
                b.leaf(must=True)
    else:
        with b.inside("plate", b.pick([None, 2]), 1, 2):
            b.leaf(must=True)
        with b.inside("sequence", None, 1, 3):
            _steps(b, 1)


def _tree(b: Builder) -> None:
    if b.chance(0.4):
        b.latent()
    kind = b.pick(
        ["tree", "tree", "tree", "in plate", "around plate", "in sequence", "around sequence"]
    )
    if kind == "tree":
        with b.inside("tree", None, 1, 5):
            _steps(b, b.pick([1, 2]))
        if b.chance(0.15):
            b.leaf()
    elif kind.startswith("in "):
        outer = kind.removeprefix("in ")
        with b.inside(outer, b.pick([None, 2]) if outer == "plate" else None, 1, 2):
            if b.chance(0.4):
                b.latent()
            with b.inside("tree", None, 1, 3):
                _steps(b, 1)
    else:
        with b.inside("tree", None, 1, 3):
            _steps(b, 1)
            inner = kind.removeprefix("around ")
            with b.inside(inner, b.pick([None, 2]) if inner == "plate" else None, 1, 2):
                if b.chance(0.5):
                    b.latent()
                b.leaf(must=True)


KINDS: dict[str, Callable[[Builder], None]] = {
    "dag": _dag,
    "plate": _plate,
    "sequence": _sequence,
    "nested": _nested,
    "tree": _tree,
}


def cases(kind: str, **options: bool) -> SearchStrategy[Case]:
    """Random small models of one kind, with parameters and data.

    One draw of bytes decides everything: unlike many small draws, they are not varied one by one,
    and 100 examples are 100 graphs.

    Args:
        kind: `dag`, `plate`, `sequence`, `nested` or `tree`.
        options: as in `build_case`.
    """
    tapes = st.binary(min_size=TAPE, max_size=TAPE)
    return tapes.map(lambda tape: build_case(tape, kind, **options))


def build_case(
    tape: bytes,
    kind: str,
    *,
    fitted: bool = False,
    weighted: bool = False,
    absent: bool = False,
    constrained: bool = False,
) -> Case:
    """The case that a tape decides.

    Args:
        tape: bytes.
        kind: `dag`, `plate`, `sequence`, `nested` or `tree`.
        fitted: leave out variances that a single value would make zero.
        weighted: draw weights, some of them zero.
        absent: leave some observed nodes out of the data.
        constrained: priors, lower bounds and partly fixed covariances.
    """
    builder = Builder(tape, fitted=fitted, constrained=constrained)
    KINDS[kind](builder)
    case = Case("\n".join(builder.lines), builder.seed, builder.sizes, builder.vectors, {})
    lags = {n.name: longest_lag(n) for n in case.record.nodes if n.conditioned}
    case.data = Filler(builder, lags).fill(absent=absent)
    if weighted and builder.chance(0.6):
        case.weights = random_weights(builder)
    return case


def random_weights(builder: Builder) -> list[float]:
    """Weights of the units, some of them zero."""
    choices = np.array([0.0, 1.0, 2.0, 0.5, 3.25])
    weights = builder.rng.choice(choices, len(builder.unit.paths)).tolist()
    return weights if any(weights) else [1.0, *weights[1:]]
