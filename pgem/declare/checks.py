"""Checks of a record that did not pass through the language: names, numbers and references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from pgem.declare.durations import check_duration_family, check_duration_slots, check_segments
from pgem.declare.records import (
    UNIT,
    Gate,
    LeafRecord,
    ModelRecord,
    NodeRecord,
    ParamRecord,
    PriorRecord,
    SlotRecord,
    slot_of,
)
from pgem.declare.stationary import stationary_leaf
from pgem.errors import DeclarationError
from pgem.families import Family
from pgem.families._link import links_of, multiplies

Families = Mapping[str, type[Family]]


def check_record(record: ModelRecord, families: Families) -> None:
    """Everything that the language checks while a declaration is written.

    Raises:
        DeclarationError: the first thing that does not fit, by name.
    """
    _check_names(record)
    _check_scopes(record)
    for covariate in record.covariates:
        _check_size(covariate.size, f"covariate '{covariate.name}'")
        _check_levels(covariate.levels, covariate.size, f"covariate '{covariate.name}'")
        _expect(covariate.scope, _scope_names(record), f"the scope of '{covariate.name}'")
    for node in record.nodes:
        _expect(node.scope, _scope_names(record), f"the scope of node '{node.name}'")
        _check_steps(node)
        _check_stationary(node, families)
    params = _check_params(record)
    for param in record.params:
        if param.prior is not None:
            _check_prior_slots(param, families[param.prior.family])
    for node in record.nodes:
        for leaf in node.leaves:
            _check_leaf(node, leaf, families[leaf.family], params, record)
        _check_duration(node, families)
        for gate in _gates(node):
            _check_gate(gate, node, record)


def _fail(what: str, where: str = "", **labels: Any) -> DeclarationError:
    return DeclarationError(what, where=where, **labels)


def _expect(name: object, known: list[str], what: str) -> None:
    if name not in known:
        raise _fail(f"{what} is '{name}', which is not part of this model",
                    expected=", ".join(known) or "none is declared")  # fmt: skip


def check_model_name(name: object) -> None:
    """The model's name is a title, printed into the generated source."""
    plain = isinstance(name, str) and set(name).isdisjoint("\"'\\") and name.isprintable()
    if not plain:
        raise _fail(
            f"'{name!r}' is not a valid name for a model",
            expected="printable characters without quotes and backslashes",
        )


def _check_names(record: ModelRecord) -> None:
    """Names that are printed into the generated source are identifiers; the model's is a title."""
    check_model_name(record.name)
    items: list[Any] = [*record.scopes, *record.covariates, *record.nodes]
    for item in items:
        if not item.name.isidentifier():
            raise _fail(f"'{item.name}' is not a valid name", item.origin,
                        expected="a Python identifier (letters, digits, underscores)")  # fmt: skip
    if not record.nodes:
        raise _fail(f"model '{record.name}' declares no node")


# --- scopes and parameters ----------------------------------------------------------------------


def _scope_names(record: ModelRecord) -> list[str]:
    return [scope.name for scope in record.scopes]


def _check_scopes(record: ModelRecord) -> None:
    """The unit first, then every scope after the one around it."""
    names = _scope_names(record)
    if not names or names[0] != UNIT or record.scopes[0].kind != UNIT or record.scopes[0].parent:
        raise _fail("the first scope of a declaration is the unit itself",
                    received=f"'{names[0] if names else None}'")  # fmt: skip
    for k, scope in enumerate(record.scopes[1:], start=1):
        if scope.kind == UNIT:
            raise _fail(f"scope '{scope.name}' is a second unit", scope.origin)
        _expect(scope.parent, names[:k], f"the scope around '{scope.name}'")
        _check_size(scope.size, f"{scope.kind} '{scope.name}'")
        if scope.kind != "plate" and scope.size is not None:
            raise _fail(f"{scope.kind} '{scope.name}' has a size", scope.origin)


def _check_size(size: object, what: str) -> None:
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise _fail(f"{what} has an impossible size", received=f"'{size!r}'",
                    expected="a whole number of at least 1")  # fmt: skip


def _check_levels(levels: Any, size: int | None, what: str) -> None:
    if levels is None:
        return
    plain = isinstance(levels, list | tuple) and all(
        isinstance(level, str | bool | int | float) for level in levels
    )
    if not plain or not levels or len(set(levels)) != len(levels):
        raise _fail(f"{what} has levels that are no list of different labels",
                    received=f"'{levels!r:.120}'")  # fmt: skip
    if size is not None and size != len(levels):
        raise _fail(f"{what} has '{len(levels)}' levels, and size '{size}'")


def _check_params(record: ModelRecord) -> set[str]:
    """Parameter names: free ones are claimed later, those of empty slots have the slot's name."""
    own = {
        f"{prefix}.{slot}"
        for node in record.nodes
        for prefix, leaf in _prefixes(node)
        for slot in leaf.slots
    }
    used = {
        slot.name
        for node in record.nodes
        for _, leaf in _prefixes(node)
        for slot in leaf.slots.values()
        if slot.kind == "param"
    }
    found: set[str] = set()
    for param in record.params:
        if param.name in found:
            raise _fail(f"the name '{param.name}' is declared twice", param.origin)
        if not param.name.isidentifier() and param.name not in own:
            raise _fail(
                f"'{param.name}' is not a valid name for a parameter",
                param.origin,
                expected="a Python identifier, or the name of an empty slot: <node>.<slot>",
            )
        if param.name not in used:
            raise _fail(f"parameter '{param.name}' stands in no slot", param.origin)
        _check_param(param)
        found.add(param.name)
    for param in record.params:
        for slot, link in (param.prior.links if param.prior else {}).items():
            what = f"slot '{slot}' of the prior of parameter '{param.name}'"
            _expect(link.param, sorted(found), f"the parameter in {what}")
    return found


def _prefixes(node: NodeRecord) -> Iterator[tuple[str, LeafRecord]]:
    for k, leaf in enumerate(node.components):
        yield (node.name if node.switch is None else f"{node.name}.{k}"), leaf
    for step, leaf in enumerate(node.firsts, start=1):
        yield f"{node.name}.first" + (str(step) if step > 1 else ""), leaf
    if node.duration is not None:
        yield f"{node.name}.duration", node.duration


def _check_param(param: ParamRecord) -> None:
    what = f"parameter '{param.name}'"
    for name, kind, table in (("fixed", bool, param.fixed), ("zeros", bool, param.zeros)):
        if table is not None:
            check_table(table, kind, f"{name}= of {what}")
    for name, numbers in (("value", param.value), ("lower", param.lower)):
        if numbers is not None:
            check_table(numbers, float, f"{name}= of {what}")
    if param.fixed is not False and param.value is None:
        raise _fail(f"{what} is fixed, but has no value", param.origin, advice="give value=")
    if param.prior is not None:
        _check_prior(param.prior, what)


def _check_prior(prior: PriorRecord, what: str) -> None:
    for slot, table in prior.slots.items():
        check_table(table, float, f"slot '{slot}' of the prior of {what}")
    for slot, link in prior.links.items():
        check_table(link.factor, float, f"the factor in slot '{slot}' of the prior of {what}")
    for slot, structure in prior.structures.items():
        if structure not in ("diagonal", "spherical"):
            raise _fail(f"slot '{slot}' of the prior of {what} has structure '{structure}'")


def _check_prior_slots(param: ParamRecord, kind: type[Family]) -> None:
    """Every slot of the prior's family is filled once, and nothing else."""
    assert param.prior is not None
    given, known = [*param.prior.slots, *param.prior.links], {s.name: s for s in kind.slots}
    matrices = {name for name, slot in known.items() if slot.axes == "dd"}
    if sorted(given) != sorted(known) or not matrices.issuperset(param.prior.structures):
        raise _fail(f"the prior of parameter '{param.name}' fills other slots than {kind.__name__} "
                    "has", param.origin, expected=", ".join(known),
                    received=", ".join(given))  # fmt: skip


def check_table(table: Any, kind: type, what: str) -> Any:
    """Nested lists of finite numbers (or of booleans), as an array.

    Raises:
        DeclarationError: anything else.
    """
    fits = _holds_only(table, (bool,) if kind is bool else (int, float))
    array: Any = np.array(np.nan)
    with suppress(TypeError, ValueError, OverflowError):
        array = np.asarray(table, dtype=kind)
    if not fits or not np.isfinite(array).all():
        raise _fail(
            f"{what} is no table of {'true and false' if kind is bool else 'finite numbers'}",
            received=f"'{table!r:.120}'",
        )
    return array


def _holds_only(table: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(table, list | tuple):
        return all(_holds_only(part, kinds) for part in table)
    return isinstance(table, kinds) and (bool in kinds or not isinstance(table, bool))


# --- nodes --------------------------------------------------------------------------------------


def _check_steps(node: NodeRecord) -> None:
    """Components and first steps are as many as the node needs."""
    if not node.components or (node.switch is None and len(node.components) > 1):
        raise _fail(f"node '{node.name}' has '{len(node.components)}' families", node.origin,
                    expected="one, or one per value of its switch")  # fmt: skip
    if node.switch is not None and node.switch.kind == "constant":
        raise _fail(f"node '{node.name}' is switched by a table", node.origin,
                    expected="a node, a covariate or a plate")  # fmt: skip
    if node.kind == "latent" and node.switch is not None:
        raise _fail(f"latent node '{node.name}' cannot be a switch", node.origin)
    expected = 0 if node.conditioned else node.lag()
    if len(node.firsts) != expected or (node.conditioned and not node.lag()):
        raise _fail(
            f"node '{node.name}' looks back '{node.lag()}' steps and has '{len(node.firsts)}' "
            f"first steps{', conditioned on' if node.conditioned else ''}",
            node.origin,
        )
    if node.conditioned and node.kind != "observed":
        raise _fail(f"latent node '{node.name}' cannot be conditioned on", node.origin)


def _check_stationary(node: NodeRecord, families: Families) -> None:
    """A first step that follows from the steady one is the one that the language would write."""
    for leaf in node.leaves:
        if leaf.follows:
            if node.firsts != (stationary_leaf(node, families[node.leaf.family]),):
                raise _fail(f"the first step of node '{node.name}' does not follow from its "
                            "transition table", node.origin)  # fmt: skip
            return


def _check_duration(node: NodeRecord, families: Families) -> None:
    """Explicit durations stand on a chain that may have them."""
    if node.duration is None:
        return
    check_segments(node, families[node.leaf.family])
    settings = {k: v for k, v in node.duration.settings.items() if v is not None}
    check_duration_family(node, families[node.duration.family](**settings))
    check_duration_slots(node)


def _check_leaf(
    node: NodeRecord, leaf: LeafRecord, kind: type[Family], params: set[str], record: ModelRecord
) -> None:
    what = f"node '{node.name}'"
    _check_size(leaf.settings.get("size"), what)
    _check_levels(leaf.settings.get("levels"), leaf.settings.get("size"), what)
    for name, setting in leaf.settings.items():
        if name not in ("size", "levels") and setting is not None:
            check_table(setting, float, f"setting '{name}' of {what}")
    family = kind(**{name: value for name, value in leaf.settings.items() if value is not None})
    slots = {slot.name: slot for slot in kind.slots}
    _check_filled(what, node, leaf, kind)
    for name, slot in leaf.slots.items():
        _check_slot(f"slot '{node.name}.{name}'", slot, params, record,
                    known=name in family.known_slots)  # fmt: skip
        if slot.times is not None:
            _check_times(f"slot '{node.name}.{name}'", slot, record)
            name = slot_of(name)
            if name in links_of(kind) and slot.structure == "full":
                continue
            name = links_of(kind)[name].name if name in links_of(kind) else name
        if slot.kind == "covariate" and slots[name].per_cell:
            raise _fail(f"slot '{node.name}.{name}' holds a covariate, but is known per cell",
                        node.origin)  # fmt: skip
        if slot.structure not in ("full", "diagonal", "spherical") or (
            slot.structure != "full" and slots[name].axes != "dd"
        ):
            raise _fail(f"slot '{node.name}.{name}' has structure '{slot.structure}'", node.origin)


def _check_filled(what: str, node: NodeRecord, leaf: LeafRecord, kind: type[Family]) -> None:
    """Every slot is there once, or its link instead (or both, where they multiply)."""
    filled = list(dict.fromkeys(slot_of(n) if s.times else n for n, s in leaf.slots.items()))
    expected = []
    for slot in kind.slots:
        linked = bool(slot.link) and slot.link in filled
        expected += [slot.link] if linked else []
        if not linked or (multiplies(slot) and slot.name in filled):
            expected.append(slot.name)
    if filled != expected:
        raise _fail(f"{what} fills other slots than {kind.__name__} has", node.origin,
                    expected=", ".join(expected), received=", ".join(leaf.slots))  # fmt: skip


def _check_slot(
    what: str, slot: SlotRecord, params: set[str], record: ModelRecord, *, known: bool
) -> None:
    if slot.kind == "constant":
        check_table(slot.value, float, what)
    elif slot.value is not None:
        raise _fail(f"{what} holds a {slot.kind} and a value")
    if slot.kind == "param":
        _expect(slot.name, sorted(params), f"the parameter of {what}")
        if known:
            raise _fail(f"{what} is never estimated and cannot hold a parameter")
    if slot.kind == "covariate":
        _expect(slot.name, [c.name for c in record.covariates], f"the covariate of {what}")
        if not known:
            raise _fail(f"{what} holds a covariate: they stand only in known slots so far")


def _check_times(what: str, slot: SlotRecord, record: ModelRecord) -> None:
    times = slot.times
    assert times is not None
    check_table(times.scale, float, f"the scale of {what}")
    for name in (*times.covariates, *times.over):
        _expect(name, [c.name for c in record.covariates], f"a covariate of {what}")
    if times.parent:
        _expect(times.parent, [n.name for n in record.nodes], f"the parent of {what}")
    if times.lag < 0 or (times.lag and not times.parent):
        raise _fail(f"{what} has lag '{times.lag}'")


# --- gates --------------------------------------------------------------------------------------


def _gates(node: NodeRecord) -> Iterator[Gate]:
    if node.switch is not None:
        yield node.switch
    for leaf in node.leaves:
        for slot in leaf.slots.values():
            yield from slot.gates


def _check_gate(gate: Gate, node: NodeRecord, record: ModelRecord) -> None:
    what = f"a gate of node '{node.name}'"
    _check_size(gate.size, what)
    if gate.kind == "constant":
        _check_pick(gate, what)
        for inner in gate.gates:
            _check_gate(inner, node, record)
        return
    if gate.table or gate.gates:
        raise _fail(f"{what}, {gate.kind} '{gate.name}', holds a table")
    if gate.lag < 0 or (gate.lag and gate.kind != "node"):
        raise _fail(f"{what}, {gate.kind} '{gate.name}', has lag '{gate.lag}'")
    sizes: dict[str, dict[str, Any]] = {
        "node": {n.name: n.leaf.settings.get("size") for n in record.nodes},
        "plate": {s.name: s.size for s in record.scopes if s.kind == "plate" and s.size},
        "covariate": {c.name: c.size for c in record.covariates},
    }
    known = sizes[gate.kind]
    _expect(gate.name, list(known), what)
    size = known[gate.name]
    if gate.size is not None and size is not None and gate.size != size:
        raise _fail(f"{what}, {gate.kind} '{gate.name}', has size '{gate.size}'",
                    expected=f"'{size}'")  # fmt: skip


def _check_pick(gate: Gate, what: str) -> None:
    """A table of indices: whole numbers below its size, one axis per gate behind it."""
    table = check_table(gate.table, float, f"the table of {what}")
    whole = _holds_only(gate.table, (int,))
    if gate.name or gate.lag or not gate.gates or table.ndim != len(gate.gates) or not whole:
        raise _fail(f"{what} is a table that does not fit its gates",
                    expected=f"whole numbers, '{len(gate.gates)}' axes")  # fmt: skip
    if table.size == 0 or table.min() < 0 or gate.size is None or table.max() >= gate.size:
        raise _fail(f"{what} is a table with an index out of range",
                    expected=f"0 … {(gate.size or 1) - 1}")  # fmt: skip
