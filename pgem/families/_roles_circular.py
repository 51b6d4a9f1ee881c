"""Roles of directions: an angle, a unit vector, and how closely values gather around it."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats, Mask
from pgem.families._bessel import concentration_of
from pgem.families._role import PositiveRole, Role, Statistic, row_sums, with_fixed


class Angle(Role):
    """A mean angle; statistic: weighted sums of (cos x, sin x)."""

    name = "angle"
    expected = "a finite number, in radians"
    formula = "the angle of the weighted resultant"
    symbols = ("m",)
    solution = r"@= = \text{atan2}(@1, @0)"
    per_value = (r"\cos x", r"\sin x")

    def accepts(self, value: Floats) -> Mask:
        return np.isfinite(value)

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        cosine, sine = statistic
        somewhere = (cosine != 0) | (sine != 0)
        return with_fixed(np.where(somewhere, np.arctan2(sine, cosine), previous), previous, fixed)

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        return np.zeros(shape)

    def to_free(self, value: Floats) -> Floats:
        return value

    def from_free(self, free: Floats) -> Floats:
        return free

    def weight(self, statistic: Statistic) -> Floats:
        return row_sums(np.hypot(*statistic))


class Direction(Role):
    """A unit vector; statistic: the weighted sum of x [rows, D].

    Free coordinates are those of the stereographic projection from the last axis.
    """

    name = "direction"
    expected = "a vector of length one"
    formula = "the weighted resultant, scaled to length one"
    symbols = ("m",)
    solution = r"@= \propto @0"
    per_value = ("x",)

    def accepts(self, value: Floats) -> Mask:
        length = np.linalg.norm(value, axis=-1, keepdims=True)
        return np.broadcast_to(np.abs(length - 1) <= 1e-6, value.shape)

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        length = np.linalg.norm(statistic[0], axis=-1, keepdims=True)
        new = np.where(length > 0, statistic[0] / np.where(length > 0, length, 1.0), previous)
        return np.where(fixed.any(axis=-1, keepdims=True), previous, new)

    def refusal(self, value: Floats, fixed: Mask) -> str:
        partly = fixed.any(axis=-1) & ~fixed.all(axis=-1)
        return "a direction is fixed as a whole or not at all" if partly.any() else ""

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        return np.full(shape, 1 / np.sqrt(shape[-1]))

    def to_free(self, value: Floats) -> Floats:
        return value[..., :-1] / np.maximum(1 - value[..., -1:], 1e-12)

    def from_free(self, free: Floats) -> Floats:
        square = (free**2).sum(axis=-1, keepdims=True)
        return np.asarray(np.concatenate([2 * free, square - 1], axis=-1) / (square + 1))

    def n_free(self, fixed: Mask) -> int:
        return int((fixed.shape[-1] - 1) * (~fixed.any(axis=-1)).sum())

    def weight(self, statistic: Statistic) -> Floats:
        return np.asarray(np.linalg.norm(statistic[0], axis=-1))


class Concentration(PositiveRole):
    """How closely directions gather: Q = k r - n A(k); statistic: (n, r, n times dimension)."""

    name = "concentration"
    expected = "a finite number, zero or above"
    formula = "the root of mean length(k) = r / n, by Newton's method"
    symbols = ("k",)
    solution = r"A'(@=) = \frac{@1}{@0}"

    def accepts(self, value: Floats) -> Mask:
        return np.isfinite(value) & (value >= 0)

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        count, along, dimensions = statistic
        some = count > 0
        safe = np.where(some, count, 1.0)
        new = previous.copy()
        for dimension in np.unique(np.round(dimensions[some] / safe[some])):
            here = some & (np.round(dimensions / safe) == dimension)
            new[here] = concentration_of(along[here] / count[here], int(dimension))
        return with_fixed(new, previous, fixed)
