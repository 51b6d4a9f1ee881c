"""The declaration as plain records: frozen, comparable, and JSON through pydantic.

Nothing here knows how a model is solved.  Arrays are nested lists, families are named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

UNIT = "unit"


@dataclass(frozen=True)
class Gate:
    """One index of a parameter.

    Attributes:
        kind: what indexes: a discrete node, a plate, a discrete covariate, or a constant integer
            table that maps other gates to an index.
        name: name of the node, plate or covariate (`""` for a constant).
        lag: how many steps back a node is read (1 in a tree: at the parent).
        table: the integers of a constant gate.
        gates: what indexes a constant gate.
        size: number of values, where the declaration tells.
    """

    kind: Literal["node", "plate", "covariate", "constant"]
    name: str = ""
    lag: int = 0
    table: tuple[Any, ...] = ()
    gates: tuple[Gate, ...] = ()
    size: int | None = None

    def __str__(self) -> str:
        if self.kind == "constant":
            return f"table({', '.join(map(str, self.gates))})"
        return (
            f"prev {self.name}" + (f" ({self.lag})" if self.lag > 1 else "")
            if self.lag
            else (self.name)
        )

    def base(self) -> tuple[Gate, ...]:
        """The nodes, plates and covariates behind this gate."""
        if self.kind != "constant":
            return (self,)
        return tuple(dict.fromkeys(base for gate in self.gates for base in gate.base()))


@dataclass(frozen=True)
class TimesRecord:
    """What multiplies the coefficient of a term.

    Attributes:
        scale: a number.
        covariates: inputs that are multiplied in.
        over: inputs that it is divided by.
        parent: a latent Gaussian, or an earlier or observed node, that is multiplied in.
        lag: how many steps back the parent is read.
        inverse: the parent divides instead.
        contracts: written with `@`: the last axis of the coefficient (without a coefficient, the
            covariate) and the vector are summed over.
    """

    scale: float = 1.0
    covariates: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    parent: str = ""
    lag: int = 0
    inverse: bool = False
    contracts: bool = False


@dataclass(frozen=True)
class SlotRecord:
    """What stands in a slot, or one term of it: a gated parameter, a constant, or a covariate.

    An expression in a slot `mean` is kept as terms `mean_0`, `mean_1`, …, which are slots of their
    own: a coefficient, and what it is multiplied by.

    Attributes:
        kind: which of the three; `stationary` in a first step that follows from the steady one.
        name: parameter or covariate.
        value: nested lists of a constant.
        gates: what indexes it.
        structure: `full`, `diagonal` or `spherical`.
        times: what multiplies it, in an expression.
    """

    kind: Literal["param", "constant", "covariate", "stationary"]
    name: str = ""
    value: Any = None
    gates: tuple[Gate, ...] = ()
    structure: str = "full"
    times: TimesRecord | None = None


@dataclass(frozen=True)
class LinkRecord:
    """A parameter times a factor in a slot of a prior."""

    param: str
    factor: Any = 1.0


@dataclass(frozen=True)
class PriorRecord:
    """A prior.

    Attributes:
        family: the family's qualified name.
        slots: values of slots that hold numbers.
        links: slots that hold other parameters.
        structures: `diagonal` or `spherical`, of matrix slots.
        settings: options of the family.
    """

    family: str
    slots: dict[str, Any] = field(default_factory=dict)
    links: dict[str, LinkRecord] = field(default_factory=dict)
    structures: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ParamRecord:
    """A parameter.

    Attributes:
        name: public name.
        fixed: True, False, or a mask (nested lists).
        value: fixed entries, or the default start.
        zeros: mask of structural zeros.
        prior: its prior.
        lower: what its entries are at least.
        origin: file and line.
    """

    name: str
    fixed: Any = False
    value: Any = None
    zeros: Any = None
    prior: PriorRecord | None = None
    origin: str = ""
    lower: Any = None


@dataclass(frozen=True)
class LeafRecord:
    """A family with its slots filled.

    Attributes:
        family: the family's qualified name.
        settings: size, levels and the like.
        slots: by slot name, in the family's order.
    """

    family: str
    settings: dict[str, Any]
    slots: dict[str, SlotRecord]

    @property
    def follows(self) -> bool:
        """Whether it has no slot of its own, but follows from the steady step."""
        return any(slot.kind == "stationary" for slot in self.slots.values())


@dataclass(frozen=True)
class NodeRecord:
    """A latent or observed node.

    Attributes:
        name: public name.
        kind: latent or observed.
        scope: the unit, plate, sequence or tree that it lives in.
        components: one leaf, or one per value of `switch`.
        firsts: leaves for the first steps, one per step up to the longest lag.
        conditioned: the first steps are conditioned on instead of modelled.
        switch: the gate that picks the component.
        origin: file and line.
        duration: leaf of the number of steps that a value lasts, where that is explicit.
    """

    name: str
    kind: Literal["latent", "observed"]
    scope: str
    components: tuple[LeafRecord, ...]
    firsts: tuple[LeafRecord, ...] = ()
    conditioned: bool = False
    switch: Gate | None = None
    origin: str = ""
    duration: LeafRecord | None = None

    @property
    def leaf(self) -> LeafRecord:
        """The only component of a node without a switch."""
        return self.components[0]

    @property
    def leaves(self) -> tuple[LeafRecord, ...]:
        """All leaves: components, first steps, the duration."""
        last = () if self.duration is None else (self.duration,)
        return (*self.components, *self.firsts, *last)

    def gates(self) -> tuple[Gate, ...]:
        """All gates, constants opened: of the steady step, then those of first steps alone."""
        found = [gate for leaf in self.firsts for gate in leaf_gates(leaf)]
        return tuple(dict.fromkeys([*self.steady_gates(), *found]))

    def steady_gates(self) -> tuple[Gate, ...]:
        """All gates of the steady step, constants opened, in order of appearance."""
        found = [gate for leaf in self.components for gate in leaf_gates(leaf)]
        switch = self.switch.base() if self.switch else ()
        lasting = leaf_gates(self.duration) if self.duration is not None else ()
        found += [gate for gate in lasting if gate.name != self.name or gate.lag]
        return tuple(dict.fromkeys([*switch, *found]))

    def parents(self) -> tuple[tuple[str, int], ...]:
        """Nodes (with lags) whose values are multiplied into slots of the steady step."""
        return tuple(dict.fromkeys(p for leaf in self.components for p in leaf_parents(leaf)))

    def lag(self) -> int:
        """The longest look back."""
        lags = [gate.lag for gate in self.gates()] + [lag for _, lag in self.parents()]
        return max(lags, default=0)


def leaf_gates(leaf: LeafRecord) -> tuple[Gate, ...]:
    """Base gates of all slots of a leaf, in order of appearance."""
    found = [b for slot in leaf.slots.values() for gate in slot.gates for b in gate.base()]
    return tuple(dict.fromkeys(found))


def leaf_parents(leaf: LeafRecord) -> tuple[tuple[str, int], ...]:
    """Nodes, and how many steps back, that are multiplied into the slots of a leaf."""
    times = [slot.times for slot in leaf.slots.values() if slot.times is not None]
    return tuple(dict.fromkeys((t.parent, t.lag) for t in times if t.parent))


def slot_of(name: str) -> str:
    """The family's slot that a term stands in: `mean` for `mean_0`."""
    stem, _, number = name.rpartition("_")
    return stem if stem and number.isdigit() else name


@dataclass(frozen=True)
class ScopeRecord:
    """A plate, sequence or tree; the unit itself is the scope named `unit`."""

    name: str
    kind: Literal["unit", "plate", "sequence", "tree"]
    parent: str = ""
    size: int | None = None
    origin: str = ""

    @property
    def looks_back(self) -> bool:
        """Whether nodes inside may look back: to the step before, or in a tree to the parent."""
        return self.kind in ("sequence", "tree")


@dataclass(frozen=True)
class CovariateRecord:
    """An observed input that is not modelled."""

    name: str
    scope: str
    size: int | None = None
    levels: tuple[Any, ...] | None = None
    origin: str = ""


@dataclass(frozen=True)
class ModelRecord:
    """The whole declaration, in the order of writing."""

    name: str
    scopes: tuple[ScopeRecord, ...]
    covariates: tuple[CovariateRecord, ...]
    params: tuple[ParamRecord, ...]
    nodes: tuple[NodeRecord, ...]
    version: int = 1
