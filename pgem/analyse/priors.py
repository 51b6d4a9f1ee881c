"""Priors: checked against the roles that they stand on, and linked to the parameters they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import numpy as np

from pgem.arrays import Floats
from pgem.declare import LinkRecord, ParamRecord, PriorRecord
from pgem.errors import DeclarationError
from pgem.families import Family, Slot
from pgem.families._roles import COVARIANCE, MEAN, RATE, Role
from pgem.routines import Prior, Times

if TYPE_CHECKING:
    from pgem.analyse.layout import ParamLayout

Gates = Mapping[str, set[tuple[Any, ...]]]
"""Per parameter, the gates of each of its uses."""


def with_priors(
    params: Mapping[str, ParamLayout],
    records: Mapping[str, ParamRecord],
    families: Mapping[str, type[Family]],
    gates: Gates,
) -> dict[str, ParamLayout]:
    """The parameters with their priors.

    Args:
        params: all parameters, without priors.
        records: their declarations.
        families: by the names that records use.
        gates: what indexes each parameter.

    Raises:
        DeclarationError: a prior is not conjugate, its slots do not fit, or it is unbounded.
    """
    found = dict(params)
    for name, param in params.items():
        prior = records[name].prior
        if prior is not None:
            place = _Place(param, prior, families[prior.family], params, gates)
            found[name] = replace(param, prior=_made(place))
    _check_circles(found)
    return found


@dataclass(frozen=True, eq=False)
class _Place:
    """A parameter, what its declaration says of its prior, and all that this may refer to."""

    param: ParamLayout
    record: PriorRecord
    kind: type[Family]
    params: Mapping[str, ParamLayout]
    gates: Gates

    @property
    def grid(self) -> tuple[int, ...]:
        """Axes of the prior's rows: those of the parameter without the axes of one value."""
        shape = self.param.shape
        return shape[: len(shape) - self.kind.event_ndim]

    @property
    def title(self) -> str:
        """The prior in words."""
        return f"the prior of parameter '{self.param.name}'"

    def refuse(self, what: str, **labels: str) -> DeclarationError:
        """An error at the parameter's declaration."""
        return DeclarationError(what, where=self.param.origin, **labels)


def _made(place: _Place) -> Prior:
    param, kind = place.param, place.kind
    if kind.conjugate_to is not param.role:
        raise place.refuse(
            f"parameter '{param.name}' is a {param.role.name} and cannot have a {kind.__name__} "
            "prior",
            expected=f"a family that is conjugate to a {param.role.name}",
        )
    if not param.is_free:
        raise place.refuse(
            f"parameter '{param.name}' is wholly fixed and has a prior",
            advice="leave prior= or fixed= out",
        )
    own = param.shape[param.n_gates :]
    if len(own) < kind.event_ndim:
        raise place.refuse(
            f"parameter '{param.name}' has a {kind.__name__} prior, whose values have "
            f"'{kind.event_ndim}' axes of their own",
            expected=f"a prior on values with '{len(own)}' axes of their own",
        )
    family = kind(**place.record.settings)
    family = family.settled(own[-1] if kind.event_ndim else None, place.record.structures)
    slots = {slot.name: _slot(place, slot, family) for slot in family.slots}
    prior = Prior(param.name, param.role, family, param.fixed, slots)
    _check_partly_fixed(place, prior)
    _check_range(place, prior)
    return prior


# --- slots --------------------------------------------------------------------------------------


def _slot(place: _Place, slot: Slot, family: Family) -> Floats | Times:
    link = place.record.links.get(slot.name)
    own = family.own_shape(slot.name)
    if link is None:
        value = np.asarray(place.record.slots[slot.name], dtype=float)
        if len(own) == 2 and value.ndim < 2:
            value = value * np.eye(own[0])
        return _by_row(place, f"slot '{slot.name}' of {place.title}", value, own)
    factor = np.asarray(link.factor, dtype=float)
    factor = _by_row(place, f"the factor in slot '{slot.name}' of {place.title}", factor, ())
    _check_link(place, slot, family, link, factor)
    return Times(link.param, factor, _rows_of_link(place, slot, own, place.params[link.param]))


def _by_row(place: _Place, what: str, value: Floats, own: tuple[int, ...]) -> Floats:
    """A value per row of the prior [rows, own], or one for all [1, own] where they are equal."""
    try:
        table = np.broadcast_to(value, place.grid + own)
    except ValueError:
        raise place.refuse(
            f"{what} has the wrong shape",
            expected=f"something that broadcasts to '{place.grid + own}'",
            received=f"'{value.shape}'",
        ) from None
    rows = table.reshape(-1, *own)
    return (rows[:1] if (rows == rows[:1]).all() else rows).copy()


def _check_link(
    place: _Place, slot: Slot, family: Family, link: LinkRecord, factor: Floats
) -> None:
    """A slot takes a parameter of its own role, whose conditional maximum the prior leaves."""
    other, role = place.params[link.param], family.role_of(slot.name)
    where = f"slot '{slot.name}' of {place.title}"
    if other.role is not role:
        raise place.refuse(
            f"{where} holds parameter '{other.name}', which is a {other.role.name}",
            expected=f"a {role.name}",
        )
    known = type(family).role_statistics is not Family.role_statistics
    if not known or type(role).scaled is Role.scaled:
        raise place.refuse(
            f"{where} holds parameter '{other.name}', but a {type(family).__name__} is not "
            f"conjugate in its {slot.name}",
            expected="numbers",
            advice="parameters may stand in slots that are means, variances, covariances or rates",
        )
    if (factor == 0).any() or (role is not MEAN and (factor < 0).any()):
        raise place.refuse(
            f"{where} multiplies parameter '{other.name}' by something that is not positive",
            received=f"'{factor.ravel().tolist()}'",
        )


def _rows_of_link(
    place: _Place, slot: Slot, own: tuple[int, ...], other: ParamLayout
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
    """Per row of the prior, the row of the parameter in its slot; None where they are the same."""
    param, grid = place.param, place.grid
    n_own = len(other.shape) - len(own)
    gates, rest = other.shape[: other.n_gates], other.shape[other.n_gates : n_own]
    alike = bool(place.gates[param.name] & place.gates[other.name])
    inner = grid[param.n_gates :]
    if (other.n_gates and not alike) or rest not in ((), inner) or other.shape[n_own:] != own:
        raise place.refuse(
            f"slot '{slot.name}' of {place.title} holds parameter '{other.name}', whose gates or "
            "axes are others",
            expected="the same gates (or none), and one value per entry or one for all",
            received=f"'{other.axes}', shape '{other.shape}', for '{param.axes}', shape "
            f"'{param.shape}'",
        )
    gates = gates or (1,) * param.n_gates
    index = np.arange(int(np.prod(other.shape[:n_own]))).reshape(
        gates + (rest or (1,) * len(inner))
    )
    rows = np.broadcast_to(index, grid).ravel()
    return None if np.array_equal(rows, np.arange(int(np.prod(grid)))) else rows


# --- checks -------------------------------------------------------------------------------------


def _check_range(place: _Place, prior: Prior) -> None:
    """Slots inside their constraints, and a density that has a maximum inside."""
    family, told = prior.family, place.record.slots
    for slot in family.slots:
        held = prior.slots[slot.name]
        if isinstance(held, np.ndarray) and not family.role_of(slot.name).accepts(held).all():
            raise place.refuse(
                f"slot '{slot.name}' of {place.title} is outside its constraint",
                expected=family.role_of(slot.name).expected,
                received=f"'{told[slot.name]}'",
            )
        if isinstance(held, np.ndarray) and slot.role is RATE and not held.all():
            raise place.refuse(
                f"slot '{slot.name}' of {place.title} is zero: the prior has no finite integral",
                expected="a finite number above zero, or no prior",
                received=f"'{told[slot.name]}'",
            )
    ones = at_one(place.params)
    received = ", ".join(f"{name}='{value}'" for name, value in told.items())
    if not place.param.role.is_bounded(prior.on_value(ones)):
        raise place.refuse(
            f"the {type(family).__name__} prior of parameter '{place.param.name}' is unbounded",
            expected="concentrations, Beta parameters and Gamma shapes of at least 1",
            received=received,
        )


def at_one(params: Mapping[str, ParamLayout]) -> dict[str, Floats]:
    """Every parameter at one, matrices at the identity."""
    found = {}
    for name, param in params.items():
        own = param.shape[param.n_gates :]
        square = param.role is COVARIANCE
        found[name] = np.ones(param.shape) * (np.eye(own[0]) if square else 1.0)
    return found


def _check_partly_fixed(place: _Place, prior: Prior) -> None:
    """In a partly fixed row the density of the free entries given the rest must be known."""
    family, param = prior.family, place.param
    if not family.event_ndim:
        return
    held = param.fixed.reshape(*place.grid, -1)
    if not (held.any(axis=-1) & ~held.all(axis=-1)).any():
        return
    kind = type(family)
    told = kind.log_conditional is not Family.log_conditional or family.takes_partial
    if not told or prior.links:
        raise place.refuse(
            f"parameter '{param.name}' is partly fixed within a row and has "
            f"{'a linked' if prior.links else 'an'} {kind.__name__} prior",
            expected="rows that are wholly free or wholly fixed",
            advice="leave prior= out, or fix whole rows",
        )


def _check_circles(params: Mapping[str, ParamLayout]) -> None:
    """Priors that refer to each other in a circle make no density."""
    reads = {
        name: [link.name for link in p.prior.links.values()]
        for name, p in params.items()
        if p.prior is not None
    }
    try:
        list(TopologicalSorter(reads).static_order())
    except CycleError as problem:
        circle = list(map(str, problem.args[1]))
        raise DeclarationError(
            f"the priors refer to one another in a circle: '{' → '.join(circle)}'",
            where=params[circle[0]].origin,
            advice="give one of them numbers",
        ) from None
