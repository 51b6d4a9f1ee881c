"""SymPy expressions evaluated on arrays, by walking over them: no code is generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np

from pgem.arrays import log_gamma

Array = Any
PLAIN: Mapping[str, Callable[[Array], Array]] = {
    "exp": np.exp,
    "Abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "loggamma": log_gamma,
}
KNOWN = {*PLAIN, "Add", "Mul", "Pow", "log"}


def can_evaluate(expression: Any) -> bool:
    """Whether all pieces of an expression are known here."""
    if expression.is_Number or expression.is_NumberSymbol:
        return bool(expression.is_finite)
    if expression.is_Symbol:
        return True
    kind = expression.func.__name__
    if kind == "besseli":
        return can_evaluate(expression.args[1])
    if kind == "log" and expression.args[0].func.__name__ == "gamma":
        return can_evaluate(expression.args[0].args[0])
    return kind in KNOWN and all(map(can_evaluate, expression.args))


def evaluate(expression: Any, values: Mapping[str, Array]) -> Array:
    """The value of an expression; infinite or NaN without a warning where it is undefined."""
    with np.errstate(all="ignore"):
        return _value(expression, values)


def _value(expression: Any, values: Mapping[str, Array]) -> Array:
    if expression.is_Symbol:
        return values[expression.name]
    if expression.is_Number or expression.is_NumberSymbol:
        return float(expression)
    kind = expression.func.__name__
    if kind == "log":
        return _log(expression.args[0], values)
    if kind == "Pow":
        return _power(expression.args[0], expression.args[1], values)
    parts = [_value(part, values) for part in expression.args]
    if kind == "Add":
        return reduce(np.add, parts)
    if kind == "Mul":
        return reduce(np.multiply, parts)
    return PLAIN[kind](parts[0])


def _power(base: Any, power: Any, values: Mapping[str, Array]) -> Array:
    below = _value(base, values)
    if power == -1:
        return np.divide(1.0, below)
    if power == 2:
        return np.square(below)
    if 2 * power == 1:
        return np.sqrt(below)
    return np.power(below, _value(power, values))


def _log(inner: Any, values: Mapping[str, Array]) -> Array:
    if inner.func.__name__ == "besseli":
        from scipy.special import i0e

        argument = _value(inner.args[1], values)
        return np.log(i0e(argument)) + np.abs(argument)
    if inner.func.__name__ == "gamma":
        return log_gamma(_value(inner.args[0], values))
    if inner.is_Add and 1 in inner.args:  # digits of a small rest are kept
        return np.log1p(_value(inner - 1, values))
    return np.log(_value(inner, values))
