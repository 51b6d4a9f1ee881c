"""From a density to an exponential family: log p(x) = Σ f(x) g(θ), term by term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pgem.bridges._formula import sympy_module
from pgem.errors import DeclarationError


@dataclass(frozen=True)
class Form:
    """The parts of an exponential family as SymPy expressions.

    Attributes:
        x: the symbol of the value.
        slots: the symbols of the parameters.
        log_density: the expanded log-density.
        statistics: T(x).
        natural: η, one per statistic, in the slots.
        log_partition: A, in the slots.
        log_base: log h(x).
    """

    x: Any
    slots: tuple[Any, ...]
    log_density: Any
    statistics: tuple[Any, ...]
    natural: tuple[Any, ...]
    log_partition: Any
    log_base: Any


def separate(density: Any, x: Any, slots: Sequence[Any], *, overcomplete: bool) -> Form:
    """The parts of a density, terms of one statistic (or of one function of slots) merged.

    Args:
        density: an expression in `x` and `slots`.
        x: the symbol of the value.
        slots: those of the parameters.
        overcomplete: merge terms of one function of the slots instead, so that A = 0 and a slot on
            the boundary of its range makes no difference of infinities.

    Raises:
        DeclarationError: quoting the term that couples the value with a slot.
    """
    sp = sympy_module()
    total = expanded_log(density, x, slots)
    if density.has(sp.nan, sp.zoo, sp.oo, -sp.oo, sp.I) or total.has(sp.nan, sp.zoo, sp.oo, sp.I):
        raise DeclarationError(f"the density '{density}' is no positive function")
    table: dict[tuple[Any, Any], Any] = {}
    for term in sp.Add.make_args(total):
        factor, of_x, of_slots = _parts(term, x, slots)
        table[of_x, of_slots] = table.get((of_x, of_slots), 0) + factor
    _check_names(table, x, slots)
    values = list(dict.fromkeys(f for f, g in table if f != 1 and g != 1))
    functions = list(dict.fromkeys(g for _, g in table if g != 1))
    base = sum((c * f for (f, g), c in table.items() if g == 1), sp.Integer(0))
    if overcomplete:
        statistics = [sum(c * f for (f, g), c in table.items() if g == h) for h in functions]
        return Form(x, tuple(slots), total, tuple(map(sp.sympify, statistics)), tuple(functions),
                    sp.Integer(0), base)  # fmt: skip
    natural = [sum(c * g for (f, g), c in table.items() if f == h and g != 1) for h in values]
    loose = sum((c * g for (f, g), c in table.items() if f == 1 and g != 1), sp.Integer(0))
    return Form(x, tuple(slots), total, tuple(values), tuple(natural), -loose, base)


def expanded_log(density: Any, x: Any, slots: Sequence[Any]) -> Any:
    """log density as a sum of products, with logarithms taken apart."""
    sp = sympy_module()

    def deeper(expression: Any) -> Any:
        return expression.replace(
            lambda e: isinstance(e, sp.log), lambda e: _log(e.args[0], x, slots)
        )

    total = deeper(_log(density, x, slots))
    total = total.replace(
        lambda e: isinstance(e, sp.sin | sp.cos), lambda e: sp.expand_trig(sp.expand(e))
    )
    kept: dict[Any, Any] = {}

    def hide(expression: Any) -> Any:
        return kept.setdefault(expression, sp.Dummy(real=True))

    kinds = (sp.log, sp.loggamma, sp.Abs, sp.sin, sp.cos)
    hidden = total.replace(lambda e: isinstance(e, kinds), hide)
    back = {symbol: expression for expression, symbol in kept.items()}
    found = sp.expand(hidden)
    while found.has(*back):  # one that was hidden may hold another
        found = found.xreplace(back)
        if not back:
            break
    return sp.powsimp(found, combine="base") if found.is_Symbol else found


def _log(expression: Any, x: Any, slots: Sequence[Any]) -> Any:
    """log of an expression that is positive, taken apart."""
    sp = sympy_module()

    def log(part: Any) -> Any:
        return _log(part, x, slots)

    kind, arguments = expression.func, expression.args
    if expression.is_Mul:
        negative = [part for part in arguments if part.could_extract_minus_sign()]
        if len(negative) == 2:  # (-a) (-b) = a b
            flipped = [-part if part in negative else part for part in arguments]
            return sp.Add(*map(log, flipped))
        if len(negative) % 2 == 0:
            return sp.Add(*map(log, arguments))
        return sp.log(expression)
    if kind is sp.exp:
        return arguments[0]
    if expression.is_Pow:
        base, power = arguments
        even = power.is_even and not base.is_nonnegative and not base.is_Add
        return power * (sp.log(sp.Abs(base)) if even else log(base))
    if kind is sp.gamma:
        return sp.loggamma(arguments[0])
    if kind is sp.factorial:
        return sp.loggamma(arguments[0] + 1)
    if kind is sp.beta:
        a, b = arguments
        return sp.loggamma(a) + sp.loggamma(b) - sp.loggamma(a + b)
    if kind is sp.binomial:
        n, k = arguments
        return sp.loggamma(n + 1) - sp.loggamma(k + 1) - sp.loggamma(n - k + 1)
    if expression.is_Add:
        return _log_of_sum(expression, x, slots)
    return sp.log(expression)


def _log_of_sum(expression: Any, x: Any, slots: Sequence[Any]) -> Any:
    """A sum is factored only where that takes value and slots apart, so that terms stay legible."""
    sp = sympy_module()
    factored = sp.factor(expression)
    parts = sp.Mul.make_args(factored)
    apart = all(not part.has(x) or not part.has(*slots) for part in parts)
    signs = sum(part.could_extract_minus_sign() for part in parts)
    if len(parts) > 1 and apart and signs % 2 == 0 and not factored.is_Add:
        return _log(factored, x, slots)
    return sp.log(expression)


def _parts(term: Any, x: Any, slots: Sequence[Any]) -> tuple[Any, Any, Any]:
    """A term as number · f(x) · g(θ)."""
    rest, of_x = term.as_independent(x, as_Add=False)
    if of_x.has(*slots):
        names = ", ".join(f"'{slot}'" for slot in slots if of_x.has(slot))
        raise DeclarationError(
            f"no exponential family: the term '{of_x}' couples '{x}' with {names}",
            expected="a log-density whose terms are functions of the value times functions of slots",
            advice="write a number in place of a slot that is known, or see what a template offers",
        )
    factor, of_slots = rest.as_independent(*slots, as_Add=False)
    number, of_x = of_x.as_independent(x, as_Add=False)
    return factor * number, of_x, of_slots


def _check_names(table: dict[tuple[Any, Any], Any], x: Any, slots: Sequence[Any]) -> None:
    for slot in slots:
        if not any(g.has(slot) for _, g in table):
            raise DeclarationError(
                f"slot '{slot}' does not appear in the log-density",
                advice="leave it out",
            )
    if not any(f.has(x) and g != 1 for f, g in table):
        raise DeclarationError(
            f"no term of the log-density holds both the value '{x}' and a slot",
            advice="nothing could be learned from data",
        )
