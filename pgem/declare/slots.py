"""Filling the slots of a family: what the user wrote becomes a slot record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pgem.declare import expressions as ex
from pgem.declare.records import Gate, SlotRecord, TimesRecord
from pgem.declare.terms import is_expression, parse
from pgem.errors import DeclarationError
from pgem.families import Family, Slot
from pgem.families._link import multiplies

Register = Callable[[ex.Param, str], str]


def fill_slots(
    family: Family, prefix: str, gates: tuple[Gate, ...], origin: str, register: Register
) -> dict[str, SlotRecord]:
    """Records of all slots of a family instance.

    Args:
        family: the instance as the user wrote it.
        prefix: what parameters of empty slots are named after.
        gates: what gates the empty slots.
        origin: file and line of the node.
        register: gives a parameter object its public name.
    """
    filled: dict[str, SlotRecord] = {}
    for slot in family.slots:
        written = family.arguments.get(slot.name)
        name = f"{prefix}.{slot.name}"
        if family.arguments.get(slot.link) is not None:
            filled |= _linked(slot, prefix, family, gates, origin, register)
            if written is None:
                continue
        inside = written.inside if isinstance(written, ex.Structured) else written
        if _is_product(inside, slot, family):
            filled |= _terms(written, slot, name, family, origin, register)
        else:
            filled[slot.name] = _fill(written, slot, name, family, gates, origin, register)
    return filled


def _linked(
    slot: Slot,
    prefix: str,
    family: Family,
    gates: tuple[Gate, ...],
    origin: str,
    register: Register,
) -> dict[str, SlotRecord]:
    """The terms of a linear predictor: `logit_0`, `logit_1`, …"""
    written, name = family.arguments[slot.link], f"{prefix}.{slot.link}"
    if slot.name in family.arguments and not multiplies(slot):
        raise DeclarationError(
            f"node '{prefix}' has {slot.name}= and {slot.link}=",
            where=origin,
            expected=f"one of the two: {slot.link} is a function of {slot.name}",
            advice=f"leave {slot.name}= out",
        )
    if isinstance(written, ex.Structured):
        raise DeclarationError(
            f"slot '{name}' is no matrix and cannot be {written.kind}", where=origin
        )
    if isinstance(written, ex.Param) and written.name is None:
        own = SlotRecord("param", register(written, name), gates=gates, times=TimesRecord())
        return {f"{slot.link}_0": own}
    terms = parse(written, name, origin, register)
    return {f"{slot.link}_{k}": term for k, term in enumerate(terms)}


def _is_product(written: Any, slot: Slot, family: Family) -> bool:
    """Whether covariates or nodes are multiplied in."""
    known = slot.name in family.known_slots
    return is_expression(written) or (isinstance(written, ex.Covariate) and not known)


def _terms(
    written: Any, slot: Slot, name: str, family: Family, origin: str, register: Register
) -> dict[str, SlotRecord]:
    """The terms of an expression: `mean_0`, `mean_1`, …; other slots hold a single one."""
    structure = "full"
    if isinstance(written, ex.Structured):
        structure, written = written.kind, written.inside
        if slot.axes != "dd":
            raise DeclarationError(
                f"slot '{name}' is no matrix and cannot be {structure}", where=origin
            )
    if slot.name in family.known_slots:
        raise DeclarationError(
            f"slot '{name}' is never estimated and cannot hold an expression",
            where=origin,
            expected=slot.role.expected,
        )
    terms = parse(written, name, origin, register)
    if slot.linear:
        return {f"{slot.name}_{k}": term for k, term in enumerate(terms)}
    if len(terms) > 1:
        raise DeclarationError(
            f"slot '{name}' holds a sum",
            where=origin,
            expected="a single product: only means and links are sums of terms",
            received=f"'{len(terms)}' terms",
            advice=f"give the sum to its link: {slot.link}=" if slot.link else None,
        )
    return {slot.name: replace(terms[0], structure=structure)}


def _fill(
    written: Any,
    slot: Slot,
    name: str,
    family: Family,
    gates: tuple[Gate, ...],
    origin: str,
    register: Register,
) -> SlotRecord:
    structure = "full"
    if isinstance(written, ex.Structured):
        if slot.axes != "dd":
            raise DeclarationError(
                f"slot '{name}' is no matrix and cannot be {written.kind}", where=origin
            )
        structure, written = written.kind, written.inside
    if written is None and slot.name in family.known_slots:
        raise DeclarationError(
            f"slot '{name}' must be given: it is never estimated",
            where=origin,
            expected=slot.role.expected,
        )
    if written is None:
        written = ex.Param(origin=origin)
    if isinstance(written, ex.Param):
        _check_estimable(slot, name, family, origin)
        own = gates if written.name is None else ()
        return SlotRecord("param", register(written, name), gates=own, structure=structure)
    if isinstance(written, ex.Indexed):
        return _indexed(written, slot, name, family, structure, origin, register)
    if isinstance(written, ex.Covariate):
        return _covariate(written, slot, name, origin)
    value = written.value if isinstance(written, ex.Constant) else written
    return SlotRecord("constant", value=_numbers(value, name, origin), structure=structure)


def _indexed(
    written: ex.Indexed,
    slot: Slot,
    name: str,
    family: Family,
    structure: str,
    origin: str,
    register: Register,
) -> SlotRecord:
    if isinstance(written.base, ex.Constant):
        value = _numbers(written.base.value, name, origin)
        return SlotRecord("constant", value=value, gates=written.gates, structure=structure)
    _check_estimable(slot, name, family, origin)
    public = register(written.base, name)
    return SlotRecord("param", public, gates=written.gates, structure=structure)


def _check_estimable(slot: Slot, name: str, family: Family, origin: str) -> None:
    if slot.name in family.known_slots:
        raise DeclarationError(
            f"slot '{name}' is never estimated and cannot hold a parameter",
            where=origin,
            expected=slot.role.expected,
        )


def _covariate(written: ex.Covariate, slot: Slot, name: str, origin: str) -> SlotRecord:
    if slot.per_cell:
        raise DeclarationError(
            f"slot '{name}' holds covariate '{written.name}', but the sums that its M-step needs "
            "depend on it",
            where=origin,
            expected="a value, or one per value of a discrete covariate",
            advice=f"{slot.name}=pg.constant([...])[{written.name}] with a discrete "
            f"{written.name} = pg.covariate('{written.name}', size=...)",
        )
    return SlotRecord("covariate", written.name)


def _numbers(value: Any, name: str, origin: str) -> Any:
    try:
        table = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise DeclarationError(
            f"slot '{name}' holds something that is no number",
            where=origin,
            expected="a number, an array, a parameter or a constant",
            received=f"'{value!r}'",
        ) from None
    if not np.isfinite(table).all():
        raise DeclarationError(
            f"slot '{name}' holds a value that is not finite", where=origin, received=f"'{value}'"
        )
    return table.tolist()
