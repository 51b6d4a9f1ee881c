"""The open declaration: it checks each line as it is written and keeps the records."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from pgem.declare import expressions as ex
from pgem.declare.checks import check_model_name
from pgem.declare.durations import (
    check_duration_family,
    check_duration_slots,
    check_segments,
    own_gate,
)
from pgem.declare.origin import caller
from pgem.declare.priors import prior_record
from pgem.declare.records import (
    UNIT,
    CovariateRecord,
    Gate,
    LeafRecord,
    ModelRecord,
    NodeRecord,
    ParamRecord,
    ScopeRecord,
    SlotRecord,
    slot_of,
)
from pgem.declare.references import check_gates, check_lags
from pgem.declare.slots import fill_slots
from pgem.declare.stationary import stationary_leaf
from pgem.declare.written import (
    check_alike,
    check_distinct,
    check_family,
    check_levels,
    check_size,
    discrete_size,
    listed,
    param_record,
    qualified,
)
from pgem.errors import DeclarationError
from pgem.families import Family

_OPEN: list[Declaration] = []


def current() -> Declaration:
    """The model that is being declared.

    Raises:
        DeclarationError: outside `with pg.Model(...)`.
    """
    if not _OPEN:
        raise DeclarationError(
            "nodes, parameters and plates are declared inside a model, and none is open",
            where=caller(),
            advice='write `with pg.Model("name") as model:` around the declaration',
        )
    return _OPEN[-1]


def is_open() -> bool:
    """Whether a model is being declared."""
    return bool(_OPEN)


class Declaration:
    """A model as it is written: names are unique, order is kept.

    Args:
        name: shown in reports and files.
    """

    def __init__(self, name: str = "model") -> None:
        check_model_name(name)
        self.name = name
        self.families: dict[str, type[Family]] = {}
        self._names: dict[str, str] = {UNIT: "the unit itself"}
        self._scopes = {UNIT: ScopeRecord(UNIT, "unit")}
        self._path = [UNIT]
        self._covariates: dict[str, CovariateRecord] = {}
        self._params: dict[str, ParamRecord] = {}
        self._param_objects: dict[int, tuple[ex.Param, str]] = {}
        self._nodes: dict[str, NodeRecord] = {}
        self._discrete: dict[str, int | None] = {}

    @staticmethod
    def is_open() -> bool:
        """Whether a model is being declared (in a template: whether to declare into it)."""
        return is_open()

    def __enter__(self) -> Any:
        _OPEN.append(self)
        return self

    def __exit__(self, kind: object, *problem: object) -> None:
        _OPEN.remove(self)
        if kind is None:
            check_lags(self._nodes, self._scopes, self._discrete)

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self.name}', nodes={list(self._nodes)})"

    @property
    def record(self) -> ModelRecord:
        """The declaration as records."""
        return ModelRecord(
            self.name,
            tuple(self._scopes.values()),
            tuple(self._covariates.values()),
            tuple(self._params.values()),
            tuple(self._nodes.values()),
        )

    # --- names and scopes ---------------------------------------------------------------------

    def claim(self, name: str, kind: str, origin: str) -> None:
        """Take a name in the model's one name space."""
        if not isinstance(name, str) or not name.isidentifier():
            raise DeclarationError(
                f"'{name}' is not a valid name for a {kind}",
                where=origin,
                expected="a Python identifier (letters, digits, underscores)",
            )
        if name in self._names:
            raise DeclarationError(
                f"the name '{name}' is declared twice",
                where=origin,
                received=f"a {kind}; the first was declared at {self._names[name]}",
                advice="choose another name; to tie two nodes, use the same pg.param object",
            )
        self._names[name] = origin

    def add_scope(self, name: str, kind: Any, size: int | None) -> ex.Scope:
        """A plate, sequence or tree inside the scope that is open now."""
        origin = caller()
        self.claim(name, kind, origin)
        check_size(size, f"{kind} '{name}'", origin)
        parent = self._path[-1]
        self._scopes[name] = ScopeRecord(name, kind, parent, size, origin)
        return ex.Scope(name, kind, size, self, origin)

    def open_scope(self, scope: ex.Scope) -> None:
        """Enter a plate, sequence or tree."""
        if scope.name not in self._scopes or self._scopes[scope.name].parent != self._path[-1]:
            raise DeclarationError(
                f"{scope.kind} '{scope.name}' is opened outside the scope that it was declared in",
                where=caller(),
                expected=f"inside '{self._scopes[scope.name].parent}'",
                received=f"inside '{self._path[-1]}'",
            )
        self._path.append(scope.name)

    def close_scope(self, scope: ex.Scope) -> None:
        """Leave a plate, sequence or tree."""
        self._path.pop()

    # --- nodes --------------------------------------------------------------------------------

    def add_covariate(self, name: str, size: int | None, levels: Any) -> ex.Covariate:
        """An input that is observed and not modelled."""
        origin = caller()
        self.claim(name, "covariate", origin)
        check_size(size, f"covariate '{name}'", origin)
        check_levels(levels, size, f"covariate '{name}'", origin)
        if levels is not None:
            size = len(levels)
        scope = self._path[-1]
        labels = None if levels is None else tuple(levels)
        self._covariates[name] = CovariateRecord(name, scope, size, labels, origin)
        return ex.Covariate(name, scope, size, origin)

    def add_node(
        self,
        kind: Any,
        name: str,
        family: object,
        given: object,
        after: object,
        first: object,
        duration: object = None,
    ) -> ex.Node:
        """A latent or observed node of the scope that is open now."""
        origin = caller()
        self.claim(name, "node", origin)
        gates = [ex.to_gate(thing) for thing in listed(given)]
        gates += [ex.to_gate(lagged(thing)) for thing in listed(after)]
        check_distinct(gates, f"node '{name}'", origin)
        switch = family.gate if isinstance(family, ex.Switch) else None
        families = family.families if isinstance(family, ex.Switch) else (family,)
        where = f"node '{name}'"
        for part in families:
            check_family(part, where, origin)
        check_alike(families, where, origin)
        prefixes = [name] if switch is None else [f"{name}.{k}" for k in range(len(families))]
        leaves = tuple(
            self._leaf(part, prefix, tuple(gates), origin)
            for part, prefix in zip(families, prefixes, strict=True)
        )
        node = NodeRecord(name, kind, self._path[-1], leaves, switch=switch, origin=origin)
        check_gates(node, self._nodes, self._scopes, self._covariates)
        node = self._with_first_steps(node, families[0], first)
        if duration is not None:
            node = self._with_duration(node, families[0], duration, tuple(gates))
        self._nodes[name] = node
        discrete = switch is None and type(families[0]).domain is not Family.domain
        size = discrete_size(families[0]) if discrete else None
        if discrete:
            self._discrete[name] = size
        return ex.Node(name, node.scope, discrete, size, origin)

    def _with_duration(
        self, node: NodeRecord, family: Any, duration: object, gates: tuple[Gate, ...]
    ) -> NodeRecord:
        """Empty slots of the duration are gated by the node's gates of the step and by itself."""
        check_segments(node, type(family))
        check_family(duration, f"duration= of node '{node.name}'", node.origin)
        assert isinstance(duration, Family)
        check_duration_family(node, duration)
        here = tuple(gate for gate in gates if not any(base.lag for base in gate.base()))
        prefix = f"{node.name}.duration"
        leaf = self._leaf(duration, prefix, (*here, own_gate(node)), node.origin)
        node = replace(node, duration=leaf)
        check_duration_slots(node)
        check_gates(node, self._nodes, self._scopes, self._covariates)
        return node

    def _leaf(self, family: Any, prefix: str, gates: tuple[Gate, ...], origin: str) -> LeafRecord:
        known = self.families.setdefault(qualified(type(family)), type(family))
        if known is not type(family):
            raise DeclarationError(
                f"two families are called '{qualified(known)}', and a text could not tell them",
                where=origin,
                advice="give one of them another name",
            )
        slots = fill_slots(family, prefix, gates, origin, self._register)
        return LeafRecord(qualified(type(family)), dict(family.settings), slots)

    def _with_first_steps(self, node: NodeRecord, family: Any, first: object) -> NodeRecord:
        lag = node.lag()
        if lag == 0:
            if first is not None:
                raise DeclarationError(
                    f"node '{node.name}' has first=, but does not look back",
                    where=node.origin,
                    advice="add after=, or use pg.prev(...) in a slot, or leave first= out",
                )
            return node
        if isinstance(first, str) and first == "stationary":
            return replace(node, firsts=(stationary_leaf(node, type(family)),))
        if node.kind == "observed" and first is None:
            return replace(node, conditioned=True)
        if node.switch is not None:
            raise DeclarationError(
                f"node '{node.name}': a switch that looks back cannot model its first steps",
                where=node.origin,
                advice="leave first= out: the first values are then conditioned on",
            )
        if len(listed(first)) > lag:
            raise DeclarationError(
                f"node '{node.name}' has more families in first= than steps to look back",
                where=node.origin,
                expected=f"at most '{lag}'",
                received=f"'{len(listed(first))}'",
            )
        given = [listed(first)[k] if k < len(listed(first)) else None for k in range(lag)]
        firsts = tuple(
            self._first_leaf(node, family, step, given[step - 1]) for step in range(1, lag + 1)
        )
        return replace(node, firsts=firsts)

    def _first_leaf(self, node: NodeRecord, family: Any, step: int, first: Any) -> LeafRecord:
        """Leaf of step `step` (counted from 1): gates that look back further are left out."""
        prefix = f"{node.name}.first" + (str(step) if step > 1 else "")
        gates = tuple(gate for gate in node.gates() if gate.lag < step)
        if first is not None:
            check_family(first, f"first= of node '{node.name}'", node.origin)
            if type(first) is not type(family):
                raise DeclarationError(
                    f"first= of node '{node.name}' is of another family",
                    where=node.origin,
                    expected=f"'{type(family).__name__}'",
                    received=f"'{type(first).__name__}'",
                )
            first = copy.copy(first)
            merged = {k: v for k, v in first.settings.items() if v is not None}
            first.settings = {**node.leaf.settings, **merged}
            return self._leaf(first, prefix, gates, node.origin)
        bare = type(family)(**{k: v for k, v in family.settings.items() if v is not None})
        return self._leaf_with_values(bare, family, prefix, gates, node)

    def _leaf_with_values(
        self, bare: Any, family: Any, prefix: str, gates: tuple[Gate, ...], node: NodeRecord
    ) -> LeafRecord:
        """First-step slots: values that do not look back stay, everything else is learned."""
        for slot in family.slots:
            written = [r for n, r in node.leaf.slots.items() if slot.name in (n, slot_of(n))]
            if all(r.kind != "param" and not _looks_back(r) for r in written):
                bare.arguments[slot.name] = family.arguments.get(slot.name)
            elif written[0].structure != "full":
                bare.arguments[slot.name] = ex.Structured(written[0].structure)
        return self._leaf(bare, prefix, gates, node.origin)

    # --- parameters ---------------------------------------------------------------------------

    def _register(self, param: ex.Param, name: str) -> str:
        """The public name of a parameter object: the same object is the same parameter."""
        if id(param) in self._param_objects:
            return self._param_objects[id(param)][1]
        if param.name is not None:
            self.claim(param.name, "parameter", param.origin)
            name = param.name
        if name in self._params:
            raise DeclarationError(f"parameter '{name}' is declared twice", where=param.origin)
        self._param_objects[id(param)] = (param, name)
        self._params[name] = param_record(param, name)
        if param.prior is not None:
            prior = prior_record(param.prior, name, param.origin, self._linked)
            self._params[name] = replace(self._params[name], prior=prior)
            self.families[qualified(type(param.prior))] = type(param.prior)
        return name

    def _linked(self, param: ex.Param) -> str:
        """The public name of a parameter that stands in a prior."""
        if param.name is None and id(param) not in self._param_objects:
            raise DeclarationError(
                "a parameter without a name stands in the prior of another",
                where=param.origin,
                advice='name it: pg.param("var", ...)',
            )
        return self._register(param, param.name or "")


def _looks_back(slot: SlotRecord) -> bool:
    earlier = slot.times is not None and slot.times.lag > 0
    return earlier or any(base.lag for gate in slot.gates for base in gate.base())


def lagged(thing: object) -> object:
    """What `after=` means: the previous step of the named node."""
    if isinstance(thing, ex.Prev):
        return thing
    return ex.Prev(thing.name if isinstance(thing, ex.Node) else str(thing), 1)


__all__ = ["Declaration", "SlotRecord", "current", "is_open", "lagged", "qualified"]
