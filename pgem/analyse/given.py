"""Values that the declaration gives: constants in slots, fixed entries, default starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pgem.arrays import Floats, Mask
from pgem.declare import Gate, SlotRecord
from pgem.errors import DeclarationError
from pgem.families import Family
from pgem.families._roles import MEAN, PROBS, Role


def check_constant(
    name: str, slot: SlotRecord, family: Family, own: tuple[int, ...], gates: tuple[int, ...],
    where: str, *, unlearned: bool = False,
) -> None:  # fmt: skip
    """A constant has the shape of its gates and slot, and lies inside the slot's constraint.

    Args:
        name: the slot in full, for errors.
        slot: the constant.
        family: settled, of the node.
        own: the slot's own axes.
        gates: sizes of its gates.
        where: origin of the node.
        unlearned: nothing of the conditional is learned, and none of its values seen.

    Raises:
        DeclarationError: shape or values do not fit.
    """
    table = np.asarray(slot.value, dtype=float)
    shapes = (gates + own, gates)
    if table.shape not in shapes:
        raise DeclarationError(
            f"slot '{name}' holds a table of the wrong shape",
            where=where,
            expected=" or ".join(f"'{shape}'" for shape in dict.fromkeys(shapes))
            + ": sizes of the gates, then the slot's own axes",
            received=f"'{table.shape}'",
        )
    if table.shape != shapes[0]:
        unit = np.eye(own[0]) if len(own) == 2 else np.ones(own)
        table = table.reshape(table.shape + (1,) * len(own)) * unit
    role = family.role_of(name.rpartition(".")[2])
    if not (unlearned and role.accepts_known(table).all()):
        check_inside(f"slot '{name}'", table, role, where)


def check_domain(key: str, family: Family, size: int, where: str) -> None:
    """A first step has as many values as the node."""
    domain = family.domain()
    if domain is not None and len(domain) != size:
        raise DeclarationError(
            f"'{key}' has another number of values than the node",
            where=where,
            expected=f"'{size}'",
            received=f"'{len(domain)}'",
        )


def check_inside(what: str, table: Floats, role: Role, where: str) -> None:
    """All entries satisfy the constraint of their role."""
    good = role.accepts(table)
    if not good.all():
        place = tuple(int(k) for k in np.argwhere(~good)[0])
        raise DeclarationError(
            f"{what} holds a value outside its constraint",
            where=where,
            expected=role.expected,
            received=f"'{table.tolist()}'"
            if table.size <= 12
            else f"'{table[place]}' at position '{place}'",
        )


def check_index(node: str, gate: Gate, sizes: Mapping[str, int], where: str) -> None:
    """A table of integers that indexes has one entry per combination of its own gates."""
    if gate.kind != "constant":
        return
    expected = tuple(
        (inner.size or 1) if inner.kind == "constant" else sizes[inner.name] for inner in gate.gates
    )
    table = np.asarray(gate.table)
    names = ", ".join(f"'{inner}'" for inner in gate.gates)
    if table.shape != expected:
        raise DeclarationError(
            f"node '{node}' is indexed by a table over {names} of the wrong shape",
            where=where,
            expected=f"'{expected}'",
            received=f"'{table.shape}'",
        )
    if table.max(initial=0) >= (gate.size or 1):
        raise DeclarationError(
            f"node '{node}' is indexed by a table over {names} with an entry beyond its size",
            where=where,
            expected=f"integers below '{gate.size}'",
            received=f"'{table.max()}'",
        )
    for inner in gate.gates:
        check_index(node, inner, sizes, where)


def fixed_and_value(record: Any, shape: tuple[int, ...], role: Role) -> tuple[Mask, Floats | None]:
    """Mask of entries of a parameter that stay, and its given values, checked.

    Raises:
        DeclarationError: shapes or values do not fit.
    """
    what = f"parameter '{record.name}'"
    fixed = _broadcast(record.fixed, shape, bool, f"fixed= of {what}", record.origin)
    value = None
    if record.value is not None:
        value = _broadcast(record.value, shape, float, f"value= of {what}", record.origin)
    if record.zeros is not None:
        zeros = _broadcast(record.zeros, shape, bool, f"zeros= of {what}", record.origin)
        value = _with_zeros(what, zeros, value, role, record.origin)
        fixed = fixed | zeros
    if value is not None:
        if role is PROBS and fixed.any():
            value = _share_rest(what, value, fixed, record.origin)
        check_inside(what, value, role, record.origin)
        if problem := role.refusal(value, fixed) if fixed.any() else "":
            raise DeclarationError(
                f"{what} is partly fixed, and {problem}",
                where=record.origin,
                received=f"'{fixed.astype(int).tolist()}'",
                advice="fix whole matrices or other blocks, or use pg.diagonal(...)",
            )
    return fixed, value


def lower_bound(
    record: Any, shape: tuple[int, ...], role: Role, fixed: Mask, value: Floats | None
) -> Floats | None:
    """Lower bounds of a parameter's entries, checked; None without any.

    Raises:
        DeclarationError: bounds that are not positive, of a parameter that cannot be bounded, or
            above a given value.
    """
    if record.lower is None:
        return None
    what = f"parameter '{record.name}'"
    lower = _broadcast(record.lower, shape, float, f"lower= of {what}", record.origin)
    if not role.may_be_bounded:
        raise DeclarationError(
            f"{what} is a {role.name} and takes no lower=",
            where=record.origin,
            expected="a variance, a rate, a scale, a level or a shape",
        )
    if not (np.isfinite(lower) & (lower > 0)).all():
        raise DeclarationError(
            f"lower= of {what} is not positive", where=record.origin, received=f"'{record.lower}'"
        )
    if fixed.all():
        raise DeclarationError(
            f"{what} is wholly fixed and has lower=",
            where=record.origin,
            advice="leave lower= or fixed= out",
        )
    if value is not None and (value < lower).any():
        raise DeclarationError(
            f"{what} has a value below its lower bound",
            where=record.origin,
            expected=f"at least '{record.lower}'",
            received=f"'{record.value}'",
        )
    return np.asarray(lower, dtype=float)


def _with_zeros(what: str, zeros: Mask, value: Floats | None, role: Role, where: str) -> Floats:
    if role not in (PROBS, MEAN):
        raise DeclarationError(
            f"{what} has zeros=, which only tables of probabilities and coefficients have",
            where=where,
            advice="fixed= and value= hold entries of other parameters",
        )
    if role is PROBS and zeros.all(axis=-1).any():
        raise DeclarationError(
            f"{what} has a row of nothing but structural zeros",
            where=where,
            advice="leave at least one entry of every row free",
        )
    if value is None and role is PROBS:
        value = np.where(zeros, 0.0, 1.0 / (~zeros).sum(axis=-1, keepdims=True))
    elif value is None:
        value = np.zeros(zeros.shape)
    if (value[zeros] != 0).any():
        raise DeclarationError(
            f"{what} has a value other than 0 at a structural zero",
            where=where,
            received=f"'{value.tolist()}'",
        )
    return value


def _share_rest(what: str, value: Floats, fixed: Mask, where: str) -> Floats:
    """In partly fixed rows the free entries share what is left, in the proportions given."""
    held = np.where(fixed, value, 0.0).sum(axis=-1, keepdims=True)
    if (held > 1 + 1e-9).any():
        raise DeclarationError(
            f"{what} has fixed entries whose sum is more than one",
            where=where,
            received=f"'{held.max():g}'",
        )
    partly = fixed.any(axis=-1, keepdims=True) & ~fixed.all(axis=-1, keepdims=True)
    if (partly & (held > 1 - 1e-12)).any():
        raise DeclarationError(
            f"{what} has fixed entries that sum to one and leave nothing for the free ones",
            where=where,
            received=f"'{value.tolist()}'",
            advice="fix the others at zero too: zeros=",
        )
    free = np.where(fixed, 0.0, value)
    empty = free.sum(axis=-1, keepdims=True) == 0
    free = np.where(empty & ~fixed, 1.0, free)
    total = free.sum(axis=-1, keepdims=True)
    shared = free * (1 - held) / np.where(total > 0, total, 1.0)
    return np.where(partly & ~fixed, shared, value)


def _broadcast(given: Any, shape: tuple[int, ...], kind: type, what: str, where: str) -> Any:
    try:
        table: Any = np.asarray(given, dtype=kind)
        if kind is bool and (np.asarray(given) != table).any():
            raise ValueError
    except (TypeError, ValueError):
        raise DeclarationError(
            f"{what} is no table of {'true and false' if kind is bool else 'numbers'}",
            where=where,
            received=f"'{given}'",
        ) from None
    try:
        return np.broadcast_to(table, shape).copy()
    except ValueError:
        raise DeclarationError(
            f"{what} has the wrong shape",
            where=where,
            expected=f"'{shape}': gates, then the slot's own axes",
            received=f"'{table.shape}'",
        ) from None
