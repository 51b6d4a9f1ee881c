"""From a density to an exponential family: log p(x) = Σ f(x) g(θ), term by term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


Samples = Mapping[Any, Sequence[float]]
"""Values of each symbol at which signs are looked up."""


def separate(
    density: Any, x: Any, slots: Sequence[Any], samples: Samples, *, overcomplete: bool
) -> Form:
    """The parts of a density, terms of one statistic (or of one function of slots) merged.

    Args:
        density: an expression in `x` and `slots`.
        x: the symbol of the value.
        slots: those of the parameters.
        samples: values of all symbols, equally many of each, that tell the signs of factors.
        overcomplete: merge terms of one function of the slots instead, so that A = 0 and a slot on
            the boundary of its range makes no difference of infinities.

    Raises:
        DeclarationError: quoting the term that couples the value with a slot.
    """
    sp = sympy_module()
    total = _Logarithm(x, slots, samples).expanded(density)
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


class _Logarithm:
    """Logarithms taken apart."""

    def __init__(self, x: Any, slots: Sequence[Any], samples: Samples) -> None:
        self.sp, self.x, self.slots, self.samples = sympy_module(), x, slots, samples

    def expanded(self, density: Any) -> Any:
        """log density as a sum of products."""
        sp = self.sp
        total = self.of(density).replace(
            lambda e: isinstance(e, sp.log), lambda e: self.of(e.args[0])
        )
        total = total.replace(
            lambda e: isinstance(e, sp.sin | sp.cos), lambda e: sp.expand_trig(sp.expand(e))
        )
        kinds, kept = (sp.log, sp.loggamma, sp.Abs, sp.sin, sp.cos), dict[Any, Any]()
        hidden = total.replace(
            lambda e: isinstance(e, kinds), lambda e: kept.setdefault(e, sp.Dummy(real=True))
        )
        back = {symbol: expression for expression, symbol in kept.items()}
        found = sp.expand(hidden)
        while back and found.has(*back):  # one that was hidden may hold another
            found = found.xreplace(back)
        return found

    def of(self, expression: Any) -> Any:
        """log of an expression that is positive."""
        sp, arguments = self.sp, expression.args
        if expression.is_Mul:
            return self.of_product(expression)
        if expression.is_Pow and expression.func is not sp.exp:
            base, power = arguments
            even = power.is_even and not base.is_nonnegative and not base.is_Add
            return power * (sp.log(sp.Abs(base)) if even else self.of(base))
        if expression.is_Add:
            return self.of_sum(expression)
        special = self.of_special(expression.func.__name__, arguments)
        return sp.log(expression) if special is None else special

    def of_product(self, expression: Any) -> Any:
        """Factors that are negative come in pairs; an odd one is left where it is."""
        sp, parts = self.sp, []
        negative = [part for part in expression.args if self.sign(part) < 0]
        if len(negative) % 2:
            return sp.log(expression)
        for part in expression.args:
            turned = -part if part in negative else part
            whole = turned.is_Mul and part in negative
            parts.append(sp.log(turned) if whole else self.of(turned))
        return sp.Add(*parts)

    def of_special(self, kind: str, arguments: Sequence[Any]) -> Any:
        """log of a function that has one of its own, or None."""
        loggamma = self.sp.loggamma
        if kind == "exp":
            return arguments[0]
        if kind == "gamma":
            return loggamma(arguments[0])
        if kind == "factorial":
            return loggamma(arguments[0] + 1)
        if kind == "beta":
            a, b = arguments
            return loggamma(a) + loggamma(b) - loggamma(a + b)
        if kind == "binomial":
            n, k = arguments
            return loggamma(n + 1) - loggamma(k + 1) - loggamma(n - k + 1)
        return None

    def of_sum(self, expression: Any) -> Any:
        """A sum is factored only where that takes value and slots apart: terms stay legible."""
        factored = self.sp.factor(expression)
        parts = self.sp.Mul.make_args(factored)
        apart = all(not part.has(self.x) or not part.has(*self.slots) for part in parts)
        return self.of(factored) if len(parts) > 1 and apart else self.sp.log(expression)

    def sign(self, factor: Any) -> int:
        """-1 if a factor is negative wherever it is tried."""
        if factor.is_nonnegative:
            return 1
        symbols = sorted(factor.free_symbols, key=str)
        found = [
            self.sp.N(factor.subs(dict(zip(symbols, row, strict=True))))
            for row in zip(*(self.samples[symbol] for symbol in symbols), strict=True)
        ] or [factor]
        return -1 if all(value.is_negative for value in found) else 1


def _parts(term: Any, x: Any, slots: Sequence[Any]) -> tuple[Any, Any, Any]:
    """A term as number · f(x) · g(θ)."""
    rest, of_x = term.as_independent(x, as_Add=False)
    if of_x.has(*slots):
        names = ", ".join(f"'{slot}'" for slot in slots if of_x.has(slot))
        raise DeclarationError(
            f"no exponential family: the term '{of_x}' couples '{x}' with {names}",
            expected="terms that are functions of the value times functions of slots",
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
