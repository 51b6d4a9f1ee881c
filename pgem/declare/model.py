"""The open declaration: it checks each line as it is written and keeps the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pgem.declare import expressions as ex
from pgem.declare.origin import caller
from pgem.declare.records import (
    UNIT,
    CovariateRecord,
    Gate,
    LeafRecord,
    ModelRecord,
    NodeRecord,
    ParamRecord,
    PriorRecord,
    ScopeRecord,
    SlotRecord,
)
from pgem.declare.slots import fill_slots
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
            advice="write `with pg.Model(\"name\") as model:` around the declaration",
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
            self._check_lags()

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
        """A plate or sequence inside the scope that is open now."""
        origin = caller()
        self.claim(name, kind, origin)
        if size is not None and (not isinstance(size, int | np.integer) or size < 1):
            raise DeclarationError(
                f"{kind} '{name}' has an impossible size",
                where=origin,
                expected="a whole number of at least 1, or nothing",
                received=f"'{size}'",
            )
        parent = self._path[-1]
        self._scopes[name] = ScopeRecord(name, kind, parent, size, origin)
        return ex.Scope(name, kind, size, self, origin)

    def open_scope(self, scope: ex.Scope) -> None:
        """Enter a plate or sequence."""
        if scope.name not in self._scopes or self._scopes[scope.name].parent != self._path[-1]:
            raise DeclarationError(
                f"{scope.kind} '{scope.name}' is opened outside the scope that it was declared in",
                where=caller(),
                expected=f"inside '{self._scopes[scope.name].parent}'",
                received=f"inside '{self._path[-1]}'",
            )
        self._path.append(scope.name)

    def close_scope(self, scope: ex.Scope) -> None:
        """Leave a plate or sequence."""
        self._path.pop()

    def scope_path(self, scope: str) -> list[str]:
        """A scope and all that enclose it, innermost first."""
        path = [scope]
        while self._scopes[path[-1]].parent:
            path.append(self._scopes[path[-1]].parent)
        return path

    # --- nodes --------------------------------------------------------------------------------

    def add_covariate(self, name: str, size: int | None, levels: Any) -> ex.Covariate:
        """An input that is observed and not modelled."""
        origin = caller()
        self.claim(name, "covariate", origin)
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
    ) -> ex.Node:
        """A latent or observed node of the scope that is open now."""
        origin = caller()
        self.claim(name, "node", origin)
        gates = [ex.to_gate(thing) for thing in _listed(given)]
        gates += [ex.to_gate(lagged(thing)) for thing in _listed(after)]
        switch = family.gate if isinstance(family, ex.Switch) else None
        families = family.families if isinstance(family, ex.Switch) else (family,)
        where = f"node '{name}'"
        for part in families:
            _check_family(part, where, origin)
        prefixes = [name] if switch is None else [f"{name}.{k}" for k in range(len(families))]
        leaves = tuple(
            self._leaf(part, prefix, tuple(gates), origin)
            for part, prefix in zip(families, prefixes, strict=True)
        )
        node = NodeRecord(name, kind, self._path[-1], leaves, switch=switch, origin=origin)
        self._check_gates(node, node.gates())
        node = self._with_first_steps(node, families[0], first)
        self._nodes[name] = node
        discrete = switch is None and type(families[0]).domain is not Family.domain
        size = _discrete_size(families[0]) if discrete else None
        if discrete:
            self._discrete[name] = size
        return ex.Node(name, node.scope, discrete, size, origin)

    def _leaf(self, family: Any, prefix: str, gates: tuple[Gate, ...], origin: str) -> LeafRecord:
        self.families[qualified(type(family))] = type(family)
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
        if first == "stationary":
            raise DeclarationError(
                f"node '{node.name}': first='stationary' is not available yet",
                where=node.origin,
                advice="leave first= out for a free first distribution",
            )
        if node.kind == "observed" and first is None:
            return _replace(node, conditioned=True)
        if node.switch is not None:
            raise DeclarationError(
                f"node '{node.name}': a switch that looks back cannot model its first steps",
                where=node.origin,
                advice="leave first= out: the first values are then conditioned on",
            )
        given = [_listed(first)[k] if k < len(_listed(first)) else None for k in range(lag)]
        firsts = tuple(
            self._first_leaf(node, family, step, given[step - 1]) for step in range(1, lag + 1)
        )
        return _replace(node, firsts=firsts)

    def _first_leaf(self, node: NodeRecord, family: Any, step: int, first: Any) -> LeafRecord:
        """Leaf of step `step` (counted from 1): gates that look back further are left out."""
        prefix = f"{node.name}.first" + (str(step) if step > 1 else "")
        gates = tuple(gate for gate in node.gates() if gate.lag < step)
        if first is not None:
            _check_family(first, f"first= of node '{node.name}'", node.origin)
            if type(first) is not type(family):
                raise DeclarationError(
                    f"first= of node '{node.name}' is of another family",
                    where=node.origin,
                    expected=f"'{type(family).__name__}'",
                    received=f"'{type(first).__name__}'",
                )
            merged = {k: v for k, v in first.settings.items() if v is not None}
            first.settings = {**node.leaf.settings, **merged}
            return self._leaf(first, prefix, gates, node.origin)
        bare = type(family)(**{k: v for k, v in family.settings.items() if v is not None})
        leaf = self._leaf_with_values(bare, family, prefix, gates, node)
        return leaf

    def _leaf_with_values(
        self, bare: Any, family: Any, prefix: str, gates: tuple[Gate, ...], node: NodeRecord
    ) -> LeafRecord:
        """First-step slots: values that do not look back stay, everything else is learned."""
        for name, slot in node.leaf.slots.items():
            looks_back = any(base.lag for gate in slot.gates for base in gate.base())
            if slot.kind != "param" and not looks_back:
                bare.arguments[name] = family.arguments.get(name)
            elif slot.structure != "full":
                bare.arguments[name] = ex.Structured(slot.structure)
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
            raise DeclarationError(
                f"parameter '{name}' is declared twice", where=param.origin
            )
        self._param_objects[id(param)] = (param, name)
        self._params[name] = ParamRecord(
            name,
            _plain(param.fixed),
            _plain(param.value),
            _plain(param.zeros),
            _prior_record(param.prior, name, param.origin),
            param.origin,
        )
        _check_fixing(self._params[name])
        return name

    # --- checks that need other nodes ---------------------------------------------------------

    def _check_gates(self, node: NodeRecord, gates: tuple[Gate, ...]) -> None:
        path = self.scope_path(node.scope)
        for gate in gates:
            home = self._home(gate, node)
            if home is not None and home not in path:
                raise DeclarationError(
                    f"node '{node.name}' is gated by '{gate.name}', which lives in "
                    f"{self._scopes[home].kind} '{home}'",
                    where=node.origin,
                    expected=f"a gate of the same or an outer scope ({', '.join(path)})",
                    advice=f"declare '{node.name}' inside '{home}', or move '{gate.name}' out",
                )
            if gate.lag:
                self._check_lag(node, gate)

    def _home(self, gate: Gate, node: NodeRecord) -> str | None:
        if gate.kind == "plate":
            return gate.name
        if gate.kind == "covariate":
            return self._covariates[gate.name].scope if gate.name in self._covariates else ""
        if gate.name in self._nodes:
            return self._nodes[gate.name].scope
        if gate.lag:
            return None  # checked when the model is closed
        raise DeclarationError(
            f"node '{node.name}' is gated by '{gate.name}', which is not part of this model",
            where=node.origin,
            advice="declare it earlier in the same `with pg.Model(...)` block",
        )

    def _check_lag(self, node: NodeRecord, gate: Gate) -> None:
        kind = self._scopes[node.scope].kind
        if kind == "sequence":
            return
        outer = [self._scopes[name].kind for name in self.scope_path(node.scope)[1:]]
        problem = (
            f"node '{node.name}' looks back inside a plate inside a sequence"
            if "sequence" in outer
            else f"node '{node.name}' looks back to '{gate.name}' outside a sequence"
        )
        raise DeclarationError(
            problem,
            where=node.origin,
            expected="pg.prev(...) and after= directly inside pg.sequence(...)",
            advice="put the plate outside: with pg.plate(...): with pg.sequence(...): ...",
        )

    def _check_lags(self) -> None:
        """Nodes that are looked back at: they exist, in the same sequence, and are discrete."""
        for node in self._nodes.values():
            for gate in node.gates():
                if not gate.lag:
                    continue
                target = self._nodes.get(gate.name)
                if target is None or target.scope != node.scope:
                    raise DeclarationError(
                        f"node '{node.name}' looks back to '{gate.name}', which is no node of "
                        f"sequence '{node.scope}'",
                        where=node.origin,
                        received="a name that is not declared" if target is None else
                        f"a node of '{target.scope}'",
                    )
                if gate.name not in self._discrete:
                    raise DeclarationError(
                        f"node '{node.name}' is gated by the earlier value of '{gate.name}', "
                        "which is continuous or unbounded",
                        where=node.origin,
                        advice="gate by a Categorical or Bernoulli node",
                    )


def lagged(thing: object) -> object:
    """What `after=` means: the previous step of the named node."""
    if isinstance(thing, ex.Prev):
        return thing
    return ex.Prev(thing.name if isinstance(thing, ex.Node) else str(thing), 1)


def qualified(family: type[Family]) -> str:
    """The name that a family is stored under: short for the shelf, qualified for users'."""
    on_shelf = family.__module__.startswith("pgem.families.")
    return family.__name__ if on_shelf else f"{family.__module__}.{family.__qualname__}"


def _listed(thing: Any) -> list[Any]:
    if thing is None:
        return []
    return list(thing) if isinstance(thing, list | tuple) else [thing]


def _check_family(family: object, where: str, origin: str) -> None:
    if isinstance(family, Family):
        _check_settings(family, where, origin)
        return
    hint = "an instance" if isinstance(family, type) else "a family"
    raise DeclarationError(
        f"{where} needs {hint} of a family",
        where=origin,
        expected="for example pg.Normal() or pg.Categorical(size=3)",
        received=f"'{family!r}'",
    )


def _check_settings(family: Family, where: str, origin: str) -> None:
    """The size and the levels of a family make sense, and agree."""
    size, levels = family.settings.get("size"), family.settings.get("levels")
    name = f"size= of {type(family).__name__} of {where}"
    if size is not None and (not isinstance(size, int | np.integer) or size < 1):
        raise DeclarationError(
            f"{name} is impossible",
            where=origin,
            expected="a whole number of at least 1",
            received=f"'{size}'",
        )
    if levels is None:
        return
    if len(set(levels)) < len(levels):
        raise DeclarationError(
            f"levels= of {where} repeats a label", where=origin, received=f"{list(levels)!r}"
        )
    if size not in (None, len(levels)):
        raise DeclarationError(
            f"{name} is not the number of its levels",
            where=origin,
            expected=f"'{len(levels)}'",
            received=f"'{size}'",
        )


def _discrete_size(family: Family) -> int | None:
    domain = family.settled(family.size, {}).domain()
    if domain is not None:
        return len(domain)
    levels = family.settings.get("levels")
    return len(levels) if levels is not None else None


def _replace(record: NodeRecord, **changes: Any) -> NodeRecord:
    from dataclasses import replace

    return replace(record, **changes)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    return np.asarray(value).tolist()


def _prior_record(prior: Any, name: str, origin: str) -> PriorRecord | None:
    if prior is None:
        return None
    raise DeclarationError(
        f"parameter '{name}' has a prior: priors are not available yet",
        where=origin,
        advice="leave prior= out",
    )


def _check_fixing(param: ParamRecord) -> None:
    if param.fixed is not False and param.value is None:
        raise DeclarationError(
            f"parameter '{param.name}' is fixed, but has no value",
            where=param.origin,
            advice="give value=",
        )


def as_mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, for type checkers."""
    return dict(value)


__all__ = ["Declaration", "SlotRecord", "current", "is_open", "lagged", "qualified"]
