"""What the slots of a derived family mean: roles whose conditional maximum is known.

Given the other slots, log p is a sum of functions of one slot; where these are the functions of a
role (log r and r of a rate), their factors are the role's statistic.  Such slots can be tied,
fixed and given priors; others have a constraint only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgem.bridges._formula import sympy_module
from pgem.bridges._separation import Form
from pgem.families import _roles as roles
from pgem.families._role import Role

PLAIN: Mapping[str, Role] = {
    "positive": roles.POSITIVE,
    "real": roles.MEAN,
    "unit": roles.OPENPROB,
    "probability": roles.OPENPROB,
}
"""The constraint of each kind of slot."""
DEGREES: Mapping[Role, int] = {roles.ROOTSCALE: 1, roles.SCALE: 1, roles.VARIANCE: 2}
"""Roles of spread, and the power of the value's unit that they have."""

Basis = Callable[[Any], Sequence[tuple[Any, Any]]]


def _patterns(kind: str, sp: Any) -> list[tuple[Role, Basis]]:
    """Roles with the functions of the slot that make their Q, and the factors to take."""
    log, half = sp.log, sp.Rational(1, 2)
    if kind == "real":
        return [(roles.MEAN, lambda s: [(s**2, -2), (s, 1)])]
    if kind != "positive":
        return [(roles.PROB, lambda s: [(log(s), 1), (log(1 - s), 1)])]
    return [
        (roles.RATE, lambda s: [(log(s), 1), (s, -1)]),
        (roles.SHAPE, lambda s: [(sp.loggamma(s), -1), (s, 1)]),
        (roles.ROOTSCALE, lambda s: [(log(s), -1), (s**-2, -2)]),
        (roles.VARIANCE, lambda s: [(-half * log(s), 1), (1 / s, -2)]),
        (roles.SCALE, lambda s: [(log(s), -1), (1 / s, -1)]),
        (roles.LEVEL, lambda s: [(log(s), -1), (1 / s, -1)]),
        (roles.LEVEL, lambda s: [(1 / s, 1), (s**-2, -2)]),
    ]


@dataclass(frozen=True)
class Meaning:
    """The role of a slot.

    Attributes:
        role: its constraint and, if there are `parts`, its conditional maximiser.
        parts: per part of the role's statistic, the factor of every feature (1, T), in the other
            slots; empty if the maximiser is not known.
        short: the same where the other slots cancel; empty if they do not.
    """

    role: Role
    parts: tuple[tuple[Any, ...], ...] = ()
    short: tuple[tuple[Any, ...], ...] = ()


def meaning_of(slot: Any, kind: str, form: Form) -> Meaning:
    """The role of one slot, from the terms that hold it."""
    sp = sympy_module()
    scaled = _spreads_like(slot, form)
    factors = [_factors(slot, part) for part in (-form.log_partition, *form.natural)]
    for role, basis in _patterns(kind, sp):
        parts = _match(basis(slot), factors, sp)
        if parts is None or scaled != DEGREES.get(role, scaled):
            continue
        return Meaning(role, parts, _shortened(parts, [s for s in form.slots if s != slot]))
    return Meaning(PLAIN[kind])


def _factors(slot: Any, coefficient: Any) -> dict[Any, Any]:
    """Function of the slot → its factor."""
    sp = sympy_module()
    found: dict[Any, Any] = {}
    for term in sp.Add.make_args(sp.expand(coefficient, log=False, func=False)):
        factor, function = term.as_independent(slot, as_Add=False)
        if function not in (0, 1):
            found[function] = found.get(function, 0) + factor
    return found


def _match(
    basis: Sequence[tuple[Any, Any]], factors: Sequence[Mapping[Any, Any]], sp: Any
) -> tuple[tuple[Any, ...], ...] | None:
    scales = {}
    for function, scale in basis:
        number, bare = function.as_coeff_Mul()
        scales[bare] = scale / number
    seen = {function for row in factors for function in row}
    if seen != set(scales):
        return None
    return tuple(
        tuple(sp.sympify(scale * row.get(bare, 0)) for row in factors)
        for bare, scale in scales.items()
    )


def _spreads_like(slot: Any, form: Form) -> int:
    """The power of the value's unit that a slot has: 1 a scale, 2 a variance, 0 neither.

    Roles of spread are compared with the variance of the data, so the unit has to be right.
    """
    sp = sympy_module()
    factor = sp.Symbol("c", positive=True)
    for degree in (1, 2):
        units = {form.x: factor * form.x, slot: factor**degree * slot}
        units |= {other: factor * other for other in form.slots if other.is_positive is None}
        change = form.log_density.subs(units, simultaneous=True) - form.log_density
        if sp.expand(sp.expand_log(change + sp.log(factor))) == 0:
            return degree
    return 0


def _shortened(
    parts: tuple[tuple[Any, ...], ...], others: Sequence[Any]
) -> tuple[tuple[Any, ...], ...]:
    """The parts divided by what all of them share, if no other slot is left."""
    sp = sympy_module()
    entries = [entry for part in parts for entry in part if entry != 0]
    shared = next((entry for entry in entries if entry.is_positive), None)
    if shared is None or not others:
        return ()
    short = tuple(tuple(sp.cancel(entry / shared) for entry in part) for part in parts)
    left = any(entry.has(*others) for part in short for entry in part)
    return () if left else short
