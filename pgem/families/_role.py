"""The contract of a role: the meaning of a slot, its constraint and its conditional maximiser.

Every statistic is a tuple of arrays with one leading axis, the rows of the parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np

from pgem.arrays import Floats, Mask, safe_log

Statistic = tuple[Floats, ...]

DEGENERATE = 1e-10
"""A spread below this share of the data's variance counts as a collapse."""


class Role(ABC):
    """One meaning of a slot.

    Attributes:
        name: shown in errors and reports.
        expected: the constraint in words.
        formula: the conditional maximiser in words, for the derivation.
        has_spread: whether it is a variance, which may collapse.
        may_be_bounded: whether Q has a single peak in every entry, the other entries held, so that
            a lower bound is met by raising what lies below it.
        symbols: letters that stand for such a slot in the families' formulas, in order.
        solution: the maximiser in LaTeX: `@=` the parameter, `@0`, `@1` the parts of the summed
            statistic, `@+` their sum.
        per_value: what one value x adds to the statistic, where a family's code does not tell.
    """

    _kept: ClassVar[dict[tuple[Any, ...], Role]]
    arguments: tuple[Any, ...] = ()
    name: str
    expected: str
    formula: str
    has_spread: ClassVar[bool] = False
    may_be_bounded: ClassVar[bool] = False
    symbols: tuple[str, ...] = ()
    solution: str = ""
    per_value: tuple[str, ...] = ()

    def __new__(cls, *arguments: Any) -> Self:
        """A role is one object for equal arguments, also after it was pickled: compare by `is`."""
        if "_kept" not in vars(cls):
            cls._kept = {}
        if arguments not in cls._kept:
            role = super().__new__(cls)
            role.arguments = arguments
            cls._kept[arguments] = role
        return cls._kept[arguments]  # type: ignore[return-value]

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.arguments

    @property
    def code(self) -> str:
        """The role in generated source: the name of a constant, or a call with its arguments."""
        name = type(self).__name__
        inside = ", ".join(map(repr, self.arguments))
        return f"{name}({inside})" if inside else name.upper()

    @abstractmethod
    def accepts(self, value: Floats) -> Mask:
        """Which entries (or whole values) satisfy the constraint, as a mask."""

    def accepts_known(self, value: Floats) -> Mask:
        """The same for known values that nothing is divided by: a variance may be zero."""
        return self.accepts(value)

    @abstractmethod
    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        """The maximiser of the conditional Q; rows without data keep `previous`.

        Args:
            statistic: the summed statistic of this role, one row per row of the parameter.
            previous: the current value [rows, own axes].
            fixed: entries that keep their previous value.
        """

    @abstractmethod
    def to_free(self, value: Floats) -> Floats:
        """Unconstrained coordinates of values [rows, ...]."""

    @abstractmethod
    def from_free(self, free: Floats) -> Floats:
        """The inverse of `to_free`."""

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        """A value inside the constraint, for data of this mean and variance."""
        return np.ones(shape)

    def complete(self, value: Floats, fixed: Mask) -> Floats:
        """A start value whose free entries leave room for the fixed ones."""
        return value

    def refusal(self, value: Floats, fixed: Mask) -> str:
        """Why a parameter with these fixed entries cannot be solved; empty where it can."""
        return ""

    def is_bounded(self, statistic: Statistic) -> bool:
        """Whether a prior with this statistic has a maximum inside the range."""
        return True

    def scaled(self, statistic: Statistic, factor: Floats) -> Statistic | None:
        """The statistic of a parameter from that of a slot which holds `factor` times it.

        None where the conditional Q of the parameter would not have this role's form.
        """
        return None

    def interior(self, value: Floats) -> Floats:
        """The value, moved off the edge of its range by no more than rounding."""
        return value

    def collapsed(self, value: Floats, scale: Floats) -> Mask:
        """Which rows [rows] have degenerated relative to the variance `scale` of the data."""
        return np.zeros(len(value), dtype=bool)

    def raised(self, value: Floats, floor: Floats) -> Floats:
        """The value with its spread raised to the floor, where a role has a spread."""
        return value

    def n_free(self, fixed: Mask) -> int:
        """Number of free coordinates of a parameter with these fixed entries."""
        return int((~fixed).sum())

    def weight(self, statistic: Statistic) -> Floats:
        """Expected count behind each row, used to find rows without data."""
        total = np.asarray(statistic[0])
        return row_sums(total)


def row_sums(table: Floats) -> Floats:
    return np.asarray(table.reshape(len(table), -1).sum(axis=1))


def with_fixed(new: Floats, previous: Floats, fixed: Mask) -> Floats:
    return np.where(fixed, previous, new) if fixed.any() else new


class PositiveRole(Role):
    """Positive numbers; their logarithms are free."""

    expected = "a finite number above zero"

    def accepts(self, value: Floats) -> Mask:
        return np.isfinite(value) & (value > 0)

    def to_free(self, value: Floats) -> Floats:
        return safe_log(value)

    def from_free(self, free: Floats) -> Floats:
        return np.exp(free)
