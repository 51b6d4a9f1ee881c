r"""Stand-ins for numbers that write formulas: a family's own code, run on them, tells its LaTeX.

A family's `sufficient_statistics` applied to `Symbol("x")` gives its statistics as formulas, and
its `role_statistics` applied to the features of one value gives what a slot's solution sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pgem.families import Family
from pgem.families._roles import Role
from pgem.families._scaled import Scaled

SUM, PRODUCT, ATOM = 1, 2, 3
LINEAR, LOG = r"\omega", r"\tau"
"""Stand-ins for the multiplier of a slot and for its logarithm."""


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
        return Symbol(f"{self.latex} + {_symbol(other).latex}", SUM)

    def __radd__(self, other: Any) -> Symbol:
        return _symbol(other) + self

    def __sub__(self, other: Any) -> Symbol:
        return Symbol(f"{self.latex} - {_symbol(other).at(PRODUCT)}", SUM)

    def __rsub__(self, other: Any) -> Symbol:
        return _symbol(other) - self

    def __neg__(self) -> Symbol:
        return Symbol(f"-{self.at(PRODUCT)}", PRODUCT)

    def __mul__(self, other: Any) -> Symbol:
        second = _symbol(other)
        if {self.axis, second.axis} == {"column", "row"}:
            return Symbol(f"{self.at(ATOM)} {second.at(ATOM)}^T", PRODUCT)
        if "1" in (self.latex, second.latex):
            return second if self.latex == "1" else self
        if self.latex == "-1":
            return -second
        return Symbol(f"{self.at(PRODUCT)} {second.at(PRODUCT)}", PRODUCT)

    def __rmul__(self, other: Any) -> Symbol:
        return _symbol(other) * self

    def __truediv__(self, other: Any) -> Symbol:
        return Symbol(rf"\frac{{{self.latex}}}{{{_symbol(other).latex}}}", PRODUCT)

    def __rtruediv__(self, other: Any) -> Symbol:
        return _symbol(other) / self

    def __pow__(self, power: Any) -> Symbol:
        return Symbol(f"{self.at(ATOM)}^{_symbol(power).latex}", PRODUCT)

    def __getitem__(self, key: Any) -> Symbol:
        """A vector as a column (`x[:, :, None]`) or a row (`x[:, None, :]`)."""
        place = key.index(None) if isinstance(key, tuple) and None in key else None
        return Symbol(self.latex, self.rank, {1: "row", 2: "column"}.get(place or 0, self.axis))

    def log(self) -> Symbol:
        """What `numpy.log` calls on an array of symbols."""
        return Symbol(rf"\log {self.at(ATOM)}", PRODUCT)

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
        }
        if method != "__call__" or function not in operations:
            return NotImplemented
        if any(isinstance(part, np.ndarray) for part in inputs):
            return NotImplemented
        return operations[function](*map(_symbol, inputs))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return Symbol("1") if function is np.ones_like else NotImplemented


def _symbol(value: Any) -> Symbol:
    if isinstance(value, Symbol):
        return value
    return Symbol(r"\pi" if value == np.pi else f"{float(value):g}")


def statistics_of(family: Family, letters: dict[str, str]) -> tuple[str, ...] | None:
    """T(x) as formulas in the letter `x`, or None where the family's code does not tell.

    Args:
        family: settled or not.
        letters: the letter of each slot.
    """
    known = {name: Symbol(letters.get(name, name)) for name in family.known_slots}
    try:
        found = family.sufficient_statistics(Symbol("x"), **known)  # type: ignore[arg-type]
    except Exception:
        return None
    if not all(isinstance(part, Symbol) for part in found):
        return None
    return tuple(part.latex for part in found)  # type: ignore[attr-defined]


def log_partition_of(family: Family, n_statistics: int) -> str:
    """A(η) as a formula, where the family's code consists of elementary functions; else nothing."""
    if type(family).log_partition is Family.log_partition:
        return "0"
    eta = [Symbol(rf"\eta_{k + 1}" if n_statistics > 1 else r"\eta") for k in range(n_statistics)]
    solve: Any = family.log_partition
    try:
        found = solve(*eta)
    except (TypeError, AttributeError, ValueError, KeyError):
        return ""
    return found.latex if isinstance(found, Symbol) else ""


def features_of(family: Family, letters: dict[str, str], *, expected: bool) -> list[Symbol] | None:
    """(1, T(x)) as they are summed: scaled by a multiplier, expected under the posterior.

    Args:
        family: settled or not.
        letters: the letter of each slot.
        expected: whether x is a latent that is integrated out.
    """
    statistics = statistics_of(family, letters)
    if statistics is None:
        return None
    features = [Symbol("1"), *map(_compound, statistics)]
    if expected:
        features[1:] = [Symbol(rf"\mathrm{{E}}[{part.latex}]") for part in features[1:]]
    if isinstance(family, Scaled) and family.rule is not None:
        for j in family.rule.logged:
            features[j] = features[j] + Symbol(LOG)
        for j in family.rule.scaled:
            features[j] = features[j] * Symbol(LINEAR, PRODUCT)
    return features


def role_statistic_of(
    family: Family, slot: str, letters: dict[str, str], *, expected: bool = False
) -> tuple[str, ...] | None:
    """What one value adds to the statistic of a slot's role, or None.

    Only families that keep the plain sums of (1, T(x)) can be asked.
    """
    features = features_of(family, letters, expected=expected)
    if features is None or type(family).accumulate is not Family.accumulate:
        return None
    table = np.empty((1, len(features)), dtype=object)
    table[0] = features
    slots = {name: np.array([Symbol(letter)], dtype=object) for name, letter in letters.items()}
    plain = family.settled(None, {})
    try:
        found: Any = plain.role_statistics(slot, (table,), slots, slots, cancel=True)
        return tuple(_symbol(part.ravel()[0]).latex for part in found)
    except Exception:
        return None


def pseudo_statistics_of(family: Family, slots: dict[str, str]) -> list[str]:
    """What a prior adds to the statistic of its parameter, or nothing where its code does not tell.

    Args:
        family: of the prior.
        slots: what stands in its slots, as formulas.
    """
    symbols: Any = {slot: _compound(text) for slot, text in slots.items()}
    try:
        return [_symbol(part).latex for part in family.pseudo_statistics(**symbols)]
    except Exception:
        return []


def scaled_symbols(role: Role, parts: tuple[str, ...], factor: str) -> list[str]:
    """A statistic as formulas, for a slot that holds a factor times the parameter."""
    table = tuple(np.array([_compound(part)], dtype=object) for part in parts)
    if factor == "1":
        return list(parts)
    found: Any = role.scaled(table, np.array([Symbol(factor)], dtype=object))
    return [_symbol(part.ravel()[0]).latex for part in found]


def _compound(latex: str) -> Symbol:
    rank = SUM if any(sign in latex for sign in ("+", " - ")) else PRODUCT if " " in latex else ATOM
    return Symbol(latex, rank)
