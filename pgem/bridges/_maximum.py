"""The M-step of a derived family in closed form, where its equations are simple enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgem.bridges._formula import sympy_module
from pgem.bridges._numbers import can_evaluate
from pgem.bridges._separation import Form

MOST_OPERATIONS = 150
"""Larger equations are left to Newton's method."""


def means(form: Form) -> tuple[Any, ...]:
    """Symbols t1, t2, … of the averages of T."""
    sp = sympy_module()
    return tuple(sp.Symbol(f"t{k}", real=True) for k in range(1, len(form.statistics) + 1))


def closed_forms(form: Form) -> list[tuple[Any, ...]]:
    """Candidates of the slots that maximise <mean, η> - A, in terms of `means`.

    The equations are polynomial in the slots (or in powers or the exponential of a single one);
    which candidate is the maximum has to be tried.
    """
    sp = sympy_module()
    if not 1 <= len(form.slots) <= 2:
        return []
    gain = sum(t * eta for t, eta in zip(means(form), form.natural, strict=True))
    gain -= form.log_partition
    slopes = [sp.diff(gain, slot) for slot in form.slots]
    if any(slope.count_ops() > MOST_OPERATIONS for slope in slopes):
        return []
    if len(slopes) == 1:
        found = [(root,) for root in _roots(slopes[0], form.slots[0])]
    else:
        found = _eliminated(slopes, form.slots)
    return [row for row in found if all(map(can_evaluate, row))]


def _eliminated(slopes: Sequence[Any], slots: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Two equations, of which one tells one slot outright."""
    for k, slot in ((0, 0), (1, 1), (0, 1), (1, 0)):
        direct = _roots(slopes[k], slots[slot])
        if len(direct) != 1:
            continue
        rest = slopes[1 - k].subs(slots[slot], direct[0])
        found = []
        for root in _roots(rest, slots[1 - slot]):
            told = direct[0].subs(slots[1 - slot], root)
            found.append((told, root) if slot == 0 else (root, told))
        if found:
            return found
    return []


def _roots(slope: Any, slot: Any) -> list[Any]:
    """Where a slope is zero: of two powers, of a polynomial up to degree two, or of one in e^s."""
    sp = sympy_module()
    powers = _two_powers(slope, slot)
    if powers:
        return powers
    plain, image = sp.Dummy(slot.name), sp.Dummy("e")
    equation = slope.xreplace({slot: plain})
    if equation.is_rational_function(plain):
        return _quadratic(equation, plain)
    equation = sp.expand(equation).subs(sp.exp(plain), image)
    if equation.has(plain) or not equation.is_rational_function(image):
        return []
    return [sp.log(root) for root in _quadratic(equation, image)]


def _quadratic(equation: Any, unknown: Any) -> list[Any]:
    sp = sympy_module()
    numerator = sp.Poly(sp.numer(sp.cancel(sp.together(equation))), unknown)
    _, factors = numerator.factor_list()
    found = []
    for factor, _ in factors:
        if factor.degree() == 1:
            a, b = factor.all_coeffs()
            found.append(sp.cancel(-b / a))
        elif factor.degree() == 2:
            a, b, c = factor.all_coeffs()
            spread = sp.sqrt(sp.expand(b**2 - 4 * a * c))
            found += [(-b + spread) / (2 * a), (-b - spread) / (2 * a)]
    return [root for root in found if root != 0]


def _two_powers(slope: Any, slot: Any) -> list[Any]:
    """Of a s^p + b s^q = 0, the root (-b / a)^(1 / (p - q))."""
    sp = sympy_module()
    if not slot.is_positive:
        return []
    powers: dict[Any, Any] = {}
    for term in sp.Add.make_args(sp.expand(slope)):
        factor, power = term.as_independent(slot, as_Add=False)
        base, exponent = power.as_base_exp() if power != 1 else (slot, sp.Integer(0))
        if base != slot or exponent.has(slot):
            return []
        powers[exponent] = powers.get(exponent, 0) + factor
    if len(powers) != 2:
        return []
    (p, a), (q, b) = powers.items()
    return [sp.Pow(sp.cancel(-b / a), 1 / (p - q))]
