"""Priors: a conjugate family on a parameter adds a constant to the statistic of its role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.declare import ParamRecord
from pgem.errors import DeclarationError
from pgem.families import Family, Observations
from pgem.families._role import Role


@dataclass(frozen=True, eq=False)
class Prior:
    """A prior of one parameter.

    Attributes:
        family: settled to the parameter's size.
        slots: values per row [rows, ...] (rows of vectors and matrices) or per entry [entries].
        statistic: what its log-density adds to the role's statistic [rows, ...].
        groups: rows that share their slots' values.
        role: of the parameter.
    """

    family: Family
    slots: dict[str, Floats]
    statistic: tuple[Floats, ...]
    groups: tuple[Integers, ...]
    role: Role

    def log_density(self, value: Floats, fixed: Mask) -> float:
        """log p(parameter), constants included; wholly fixed rows count nothing."""
        own = value.shape[value.ndim - self.family.event_ndim :]
        rows, held = self.role.interior(value).reshape(-1, *own), fixed.reshape(-1, *own)
        free = np.asarray(~held.reshape(len(held), -1).all(axis=1))
        total = 0.0
        for group in self.groups:
            slots = {name: table[group[:1]] for name, table in self.slots.items()}
            points = Observations(self.family, rows[group])
            total += float(self.family.log_density(points, slots)[free[group]].sum())
        return total


def make_prior(
    record: ParamRecord,
    families: Mapping[str, type[Family]],
    role: Role,
    shape: tuple[int, ...],
    n_gates: int,
) -> Prior | None:
    """The prior of a parameter, checked against its role.

    Raises:
        DeclarationError: it is not conjugate to the role, or its slots do not fit.
    """
    if record.prior is None:
        return None
    family = families[record.prior.family]()
    if family.conjugate_to is not role:
        raise DeclarationError(
            f"parameter '{record.name}' is a {role.name} and cannot have a {type(family).__name__} "
            "prior",
            where=record.origin,
            expected=f"a family that is conjugate to a {role.name}",
        )
    own = shape[n_gates:]
    n_event = family.event_ndim
    family = family.settled(own[-1] if n_event else None, {})
    rows = shape[: len(shape) - n_event] if n_event else shape
    slots = {
        slot.name: _rows(record, slot.name, rows, family.own_shape(slot.name))
        for slot in family.slots
    }
    statistic = family.pseudo_statistics(**slots)
    _check_bounded(record, family, slots, statistic, role)
    n_rows = int(np.prod(shape[:n_gates]))
    shaped = tuple(
        part.reshape(n_rows, *(own[:-1] + part.shape[1:] if n_event else own)) for part in statistic
    )
    return Prior(family, slots, shaped, _groups(slots), role)


def _groups(slots: Mapping[str, Floats]) -> tuple[Integers, ...]:
    """Rows whose slots have the same values."""
    flat = np.concatenate([table.reshape(len(table), -1) for table in slots.values()], axis=1)
    _, owner = np.unique(flat, axis=0, return_inverse=True)
    owner = owner.reshape(-1)
    return tuple(np.flatnonzero(owner == k) for k in range(int(owner.max()) + 1))


def _rows(record: ParamRecord, slot: str, rows: tuple[int, ...], own: tuple[int, ...]) -> Floats:
    assert record.prior is not None
    value: Any = np.asarray(record.prior.slots[slot], dtype=float)
    if len(own) == 2 and value.ndim < 2:
        value = value * np.eye(own[0])
    try:
        table = np.broadcast_to(value, rows + own)
    except ValueError:
        raise DeclarationError(
            f"slot '{slot}' of the prior of parameter '{record.name}' has the wrong shape",
            where=record.origin,
            expected=f"something that broadcasts to '{rows + own}'",
            received=f"'{value.shape}'",
        ) from None
    return table.reshape(-1, *own).copy()


def _check_bounded(
    record: ParamRecord,
    family: Family,
    slots: Mapping[str, Floats],
    statistic: tuple[Floats, ...],
    role: Role,
) -> None:
    """A prior whose density has no maximum inside (a concentration below 1) is refused."""
    for slot in family.slots:
        if not slot.role.accepts(slots[slot.name]).all():
            raise DeclarationError(
                f"slot '{slot.name}' of the prior of parameter '{record.name}' is outside its "
                "constraint",
                where=record.origin,
                expected=slot.role.expected,
                received=f"'{record.prior.slots[slot.name] if record.prior else ''}'",
            )
    if not role.is_bounded(statistic):
        raise DeclarationError(
            f"the {type(family).__name__} prior of parameter '{record.name}' is unbounded",
            where=record.origin,
            expected="concentrations, Beta parameters and Gamma shapes of at least 1",
            received=", ".join(
                f"{n}='{v}'" for n, v in (record.prior.slots if record.prior else {}).items()
            ),
        )
