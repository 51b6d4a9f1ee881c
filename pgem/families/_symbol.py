"""Stand-ins for numbers that write formulas: arithmetic on them gives LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SUM, PRODUCT, ATOM = 1, 2, 3
HALF = r"\tfrac12"


class Symbol:
    """A formula with the precedence of its outermost operation."""

    __array_priority__ = 1000.0

    def __init__(self, latex: str, rank: int = ATOM, axis: str = "") -> None:
        self.latex, self.rank, self.axis = latex, rank, axis

    def __repr__(self) -> str:
        return self.latex

    def at(self, rank: int) -> str:
        """The formula, in brackets where the place asks for a higher precedence."""
        return self.latex if self.rank >= rank else f"({self.latex})"

    def __add__(self, other: Any) -> Symbol:
        second = to_symbol(other)
        if second.latex.startswith("-"):
            return Symbol(f"{self.latex} - {second.latex[1:]}", SUM)
        return Symbol(f"{self.latex} + {second.latex}", SUM)

    def __radd__(self, other: Any) -> Symbol:
        return to_symbol(other) + self

    def __sub__(self, other: Any) -> Symbol:
        return Symbol(f"{self.latex} - {to_symbol(other).at(PRODUCT)}", SUM)

    def __rsub__(self, other: Any) -> Symbol:
        return to_symbol(other) - self

    def __neg__(self) -> Symbol:
        if self.latex.startswith("-") and self.rank > SUM:
            return Symbol(self.latex[1:], self.rank)
        return Symbol(f"-{self.at(PRODUCT)}", PRODUCT)

    def __mul__(self, other: Any) -> Symbol:
        second = to_symbol(other)
        if {self.axis, second.axis} == {"column", "row"}:
            return Symbol(f"{self.at(ATOM)} {second.at(ATOM)}^T", PRODUCT)
        if "1" in (self.latex, second.latex):
            return second if self.latex == "1" else self
        if self.latex == "-1":
            return -second
        return Symbol(f"{self.at(PRODUCT)} {second.at(PRODUCT)}", PRODUCT)

    def __rmul__(self, other: Any) -> Symbol:
        return to_symbol(other) * self

    def __truediv__(self, other: Any) -> Symbol:
        below = to_symbol(other)
        if self.latex.startswith("-") and self.rank > SUM:
            return -(Symbol(self.latex[1:], self.rank) / below)
        if below.latex.startswith("-") and below.rank > SUM:
            return -(self / Symbol(below.latex[1:], below.rank))
        if self.latex == HALF:
            return Symbol(rf"\frac{{1}}{{{(2 * below).latex}}}", PRODUCT)
        return Symbol(rf"\frac{{{self.latex}}}{{{below.latex}}}", PRODUCT)

    def __rtruediv__(self, other: Any) -> Symbol:
        return to_symbol(other) / self

    def __pow__(self, power: Any) -> Symbol:
        above = to_symbol(power).latex
        shown = above if len(above) == 1 else f"{{{above}}}"
        return Symbol(f"{self.at(ATOM)}^{shown}", PRODUCT)

    def __getitem__(self, key: Any) -> Symbol:
        """A vector as a column (`x[:, :, None]`) or a row (`x[:, None, :]`)."""
        place = key.index(None) if isinstance(key, tuple) and None in key else None
        return Symbol(self.latex, self.rank, {1: "row", 2: "column"}.get(place or 0, self.axis))

    def log(self) -> Symbol:
        """What `numpy.log` calls on an array of symbols."""
        return Symbol(rf"\log {self.at(ATOM)}", PRODUCT)

    def cos(self) -> Symbol:
        """What `numpy.cos` calls on an array of symbols."""
        return Symbol(rf"\cos {self.at(ATOM)}", PRODUCT)

    def sin(self) -> Symbol:
        """What `numpy.sin` calls on an array of symbols."""
        return Symbol(rf"\sin {self.at(ATOM)}", PRODUCT)

    def root(self) -> Symbol:
        """The square root."""
        return Symbol(rf"\sqrt{{{self.latex}}}")

    def log_gamma(self) -> Symbol:
        """The logarithm of the gamma function."""
        return Symbol(rf"\log \Gamma({self.latex})", PRODUCT)

    def exp(self) -> Symbol:
        """What `numpy.exp` calls on an array of symbols."""
        return Symbol(rf"e^{{{self.latex}}}", PRODUCT)

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
        operations: dict[Any, Callable[..., Symbol]] = {
            np.add: lambda a, b: a + b,
            np.subtract: lambda a, b: a - b,
            np.multiply: lambda a, b: a * b,
            np.true_divide: lambda a, b: a / b,
            np.log: lambda a: a.log(),
            np.exp: lambda a: a.exp(),
            np.negative: lambda a: -a,
            np.square: lambda a: a**2,
            np.log1p: lambda a: (1 + a).log(),
            np.cos: lambda a: a.cos(),
            np.sin: lambda a: a.sin(),
            np.sqrt: lambda a: a.root(),
            np.absolute: lambda a: Symbol(f"|{a.latex}|"),
        }
        if getattr(function, "__name__", "") == "gammaln":  # of SciPy, which is not imported here
            operations[function] = lambda a: a.log_gamma()
        if method != "__call__" or function not in operations:
            return NotImplemented
        if any(isinstance(part, np.ndarray) and part.ndim for part in inputs):
            return NotImplemented
        return operations[function](*map(to_symbol, inputs))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function in {np.count_nonzero, np.size}:  # one number, which is not 0
            return 1
        return Symbol("1") if function is np.ones_like else NotImplemented


def to_symbol(value: Any) -> Symbol:
    """A number as a symbol; symbols stay."""
    if isinstance(value, np.ndarray):
        value = value.item()
    if isinstance(value, Symbol):
        return value
    return NAMED.get(float(value)) or Symbol(f"{float(value):g}")


NAMED = {
    np.pi: Symbol(r"\pi"),
    0.5: Symbol(HALF),
    -0.5: Symbol(f"-{HALF}", PRODUCT),
    float(np.log(2)): Symbol(r"\log 2", PRODUCT),
}
"""Numbers that have names."""
