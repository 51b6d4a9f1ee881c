"""Roles of positive slots beyond rates and shapes: scales, levels, Dirichlet concentrations."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats, Mask, safe_divide, safe_log
from pgem.families._concentrations import dirichlet_newton
from pgem.families._role import DEGENERATE, PositiveRole, Role, Statistic, row_sums, with_fixed


class Positive(PositiveRole):
    """A positive number whose maximiser only its family knows."""

    name = "positive number"
    symbols = ("a", "b", "d", "s")
    formula = "the family's own solution"

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        raise NotImplementedError("a positive number has no conditional maximiser of its own")


class Level(PositiveRole):
    """A positive average; statistic: (weight, weighted total)."""

    may_be_bounded = True
    name = "level"
    formula = "weighted average"
    symbols = ("m",)
    solution = r"@= = \frac{@1}{@0}"

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        weight, total = statistic
        return with_fixed(safe_divide(total, weight, previous), previous, fixed)

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        level = np.broadcast_to(centre, shape) if centre.ndim <= len(shape) else centre.mean()
        return np.where(level > 0, level, 1.0) * np.ones(shape)


class Scale(PositiveRole):
    """A scale s with Q = -n log s - d / s; statistic: (n, d); it may collapse like a variance."""

    has_spread = True
    may_be_bounded = True
    name = "scale"
    formula = "expected distance / expected count"
    symbols = ("s",)
    solution = r"@= = \frac{@1}{@0}"

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        count, distance = statistic
        return with_fixed(safe_divide(distance, count, previous), previous, fixed)

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        return np.sqrt(_spreads(scale, shape)) * np.ones(shape)

    def collapsed(self, value: Floats, scale: Floats) -> Mask:
        low = value**2 < DEGENERATE * _spreads(scale, value.shape)
        return np.asarray(low.reshape(len(value), -1).any(axis=1))

    def raised(self, value: Floats, floor: Floats) -> Floats:
        return np.maximum(value, np.sqrt(_spreads(floor, value.shape)))


class RootScale(Scale):
    """A scale s with Q = -n log s - q / 2s²; statistic: (n, q)."""

    formula = "root of expected squares / expected count"
    solution = r"@= = \sqrt{\frac{@1}{@0}}"

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        count, squares = statistic
        return with_fixed(np.sqrt(safe_divide(squares, count, previous**2)), previous, fixed)


class OpenProb(Role):
    """A probability below one, whose maximiser only its family knows."""

    name = "probability below one"
    expected = "a number from 0 to below 1"
    formula = "the family's own solution"
    symbols = ("p",)

    def accepts(self, value: Floats) -> Mask:
        return (value >= 0) & (value < 1)

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        raise NotImplementedError("such a probability has no conditional maximiser of its own")

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        return np.full(shape, 0.5)

    def to_free(self, value: Floats) -> Floats:
        return safe_log(value) - np.log1p(-value)

    def from_free(self, free: Floats) -> Floats:
        return np.asarray(np.minimum(1 / (1 + np.exp(-free)), 1 - 1e-16))


class Concentrations(PositiveRole):
    """The vector a of a Dirichlet, Q = Σ a_k s_k - n (Σ log Γ(a_k) - log Γ(Σ a_k)).

    The statistic is (n [rows], s [rows, K]); fixed entries stay.
    """

    name = "concentrations"
    formula = "the root of digamma(a_k) - digamma(Σ a) = s_k / n, by Newton's method"
    symbols = ("a",)
    solution = r"\psi(@=) - \psi(\textstyle\sum_k @=) = \frac{@1}{@0}"

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        count, logs = statistic
        mean = safe_divide(logs, count[:, None], -1.0)
        found = dirichlet_newton(mean, previous if fixed.any() else None, fixed)
        return with_fixed(np.where(count[:, None] > 0, found, previous), previous, fixed)

    def weight(self, statistic: Statistic) -> Floats:
        return row_sums(statistic[0])


def _spreads(scale: Floats, shape: tuple[int, ...]) -> Floats:
    """Per-coordinate variances of the data, averaged where the value has no coordinates."""
    if scale.ndim == 1 and (not shape or shape[-1] != len(scale)):
        return np.asarray(scale.mean())
    return scale
