"""Priors: conditionals of parameters, which add to the sums that the M-step solves from.

A prior is a conditional density like any other, `p(parameter | slots)`, with one pseudo-value per
row of the parameter.  Seen from the parameter, a conjugate prior adds constants to the statistic of
its role.  Seen from a parameter that stands in one of its slots (`var` in `Normal(0, var / 0.01)`),
it is one more observation: the family tells what that adds, as it does for a node.

In partly fixed rows the prior is the conditional density of the free entries given the fixed ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Floats, Integers, Mask, group_sum
from pgem.families import Family
from pgem.families._roles import Role, Statistic

T = TypeVar("T", bound=np.generic)
Params = Mapping[str, Floats]
AT_ONCE = 256
"""Pseudo-values whose statistics are taken at a time."""


@dataclass(frozen=True, eq=False)
class Times:
    """A parameter times a factor, in a slot of a prior.

    Attributes:
        name: the parameter.
        factor: per row of the prior, or one for all rows [1].
        rows: per row of the prior, the row of the parameter; None: row by row.
    """

    name: str
    factor: Floats
    rows: Integers | None = None


@dataclass(frozen=True, eq=False)
class Prior:
    """A prior of one parameter.

    Its rows are the parameter's entries, or for families of vectors and matrices its rows.

    Attributes:
        name: the parameter.
        role: of the parameter.
        family: settled to the parameter's size.
        fixed: entries of the parameter that do not move.
        slots: values [rows, ...] (or [1, ...] for all rows), or parameters.
    """

    name: str
    role: Role
    family: Family
    fixed: Mask
    slots: Mapping[str, Floats | Times]

    @property
    def links(self) -> dict[str, Times]:
        """Slots that hold other parameters."""
        return {slot: held for slot, held in self.slots.items() if isinstance(held, Times)}

    def log_density(self, params: Params) -> float:
        """log p(free entries | fixed entries), constants included."""
        x = self._rows(self.role.interior(params[self.name]))
        free = self._rows(~self.fixed).reshape(len(x), -1)
        slots, total = self._slots(params, len(x)), 0.0
        for group in _alike(slots, free):
            here = {name: table[group[:1]] for name, table in slots.items()}
            if free[group[0]].all():
                total += float(self.family.log_density(self.family.observe(x[group]), here).sum())
            elif free[group[0]].any():
                part = self.family.log_conditional(x[group], free[group[0]], here)
                assert part is not None
                total += float(part.sum())
        return total

    def on_value(self, params: Params, *, cancel: bool = False) -> Statistic:
        """What it adds to the statistic of its parameter, one row per row of the prior.

        Args:
            params: current values.
            cancel: leave out the parameters in slots that the solution does not depend on.
        """
        n_rows = len(self._rows(params[self.name]))
        left_out = self.free_of if cancel else ()
        return self.family.pseudo_statistics(**self._slots(params, n_rows, left_out))

    def on_slot(self, slot: str, params: Params) -> Statistic:
        """What it adds to the statistic of the parameter in one of its slots, by its rows."""
        held, x = self.links[slot], self._rows(params[self.name])
        slots = self._slots(params, len(x))
        free = np.flatnonzero(self._rows(~self.fixed).reshape(len(x), -1).all(axis=1))
        rows = np.arange(len(x)) if held.rows is None else held.rows
        factor = np.broadcast_to(held.factor, len(x))
        n_rows = len(self._of_slot(held, slot, params))
        total: Statistic = ()
        for start in range(0, len(free), AT_ONCE):
            chosen = free[start : start + AT_ONCE]
            here = {name: table[chosen] for name, table in slots.items()}
            seen = self.family.accumulate(self.family.observe(x[chosen]), np.eye(len(chosen)), here)
            found = self.family.role_statistics(slot, seen, here, here, cancel=False)
            assert found is not None
            part = self.family.role_of(slot).scaled(found, factor[chosen])
            assert part is not None
            summed = tuple(group_sum(array, rows[chosen], n_rows) for array in part)
            total = tuple(a + b for a, b in zip(total, summed, strict=True)) if total else summed
        return total

    @property
    def free_of(self) -> tuple[str, ...]:
        """Slots that the value's conditional maximum may not depend on.

        The value stands in the density like the slot of its own role (x and m in (x - m)² / v).
        """
        return next((s.free_of for s in self.family.slots if s.role is self.role), ())

    def _rows(self, table: NDArray[T]) -> NDArray[T]:
        return table.reshape(-1, *table.shape[table.ndim - self.family.event_ndim :])

    def slot_ndim(self, slot: str) -> int:
        """Own axes of a slot."""
        return len(self.family.own_shape(slot))

    def slot_values(self, params: Params) -> dict[str, Floats]:
        """Values of all slots, one row per row of the prior."""
        return self._slots(params, len(self._rows(params[self.name])))

    def _slots(
        self, params: Params, n_rows: int, left_out: tuple[str, ...] = ()
    ) -> dict[str, Floats]:
        """Values of all slots by row; parameters in those left out count as one."""
        found = {}
        for slot, held in self.slots.items():
            value = held if isinstance(held, np.ndarray) else self._linked(slot, params, left_out)
            found[slot] = np.broadcast_to(value, (n_rows, *value.shape[1:]))
        return found

    def _linked(self, slot: str, params: Params, left_out: tuple[str, ...]) -> Floats:
        held = self.links[slot]
        table = self._of_slot(held, slot, params)
        if slot in left_out:
            table = np.ones_like(table) * (np.eye(table.shape[-1]) if table.ndim == 3 else 1.0)
        table = table if held.rows is None else table[held.rows]
        return held.factor.reshape(-1, *(1,) * (table.ndim - 1)) * table

    def _of_slot(self, held: Times, slot: str, params: Params) -> Floats:
        return params[held.name].reshape(-1, *self.family.own_shape(slot))


def _alike(slots: Mapping[str, Floats], free: Mask) -> Iterator[Integers]:
    """Rows with the same values in their slots and the same free entries."""
    differ = [table for table in slots.values() if table.strides[0]]
    if not differ and free.all():
        yield np.arange(len(free))
        return
    flat = [table.reshape(len(table), -1) for table in differ]
    _, owner = np.unique(np.concatenate([*flat, free], axis=1), axis=0, return_inverse=True)
    owner = owner.reshape(-1)
    order = np.argsort(owner, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)


def of_prior(prior: Prior, params: Params, rows: Floats, *, cancel: bool = False) -> Statistic:
    """What a prior adds to the statistic of its own parameter [rows, own axes]."""
    found = prior.on_value(params, cancel=cancel)
    return found if prior.family.event_ndim else tuple(part.reshape(rows.shape) for part in found)


def of_link(prior: Prior, slot: str, params: Params, rows: Floats) -> Statistic:
    """What a prior adds to the statistic of the parameter in one of its slots."""
    found = prior.on_slot(slot, params)
    entries = not prior.family.own_shape(slot)
    return tuple(part.reshape(rows.shape) for part in found) if entries else found
