"""What a slot means, apart from the family it stands in.

A role knows which values are allowed, which statistic of the data its conditional maximum depends
on, and how to maximise it.  Because statistics of one role add, a parameter that is shared by
several nodes, or by nodes of different families, is solved from their sum.

Every statistic is a tuple of arrays with one leading axis, the rows of the parameter.
"""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats, Mask, safe_divide, safe_log
from pgem.families._role import DEGENERATE, PositiveRole, Role, Statistic, row_sums, with_fixed
from pgem.families._roles_circular import Angle, Concentration, Direction
from pgem.families._roles_gaussian import Covariance, Mean, Variance
from pgem.families._roles_matrix import DegreesOfFreedom, InverseScale
from pgem.families._roles_positive import (
    Concentrations,
    Level,
    OpenProb,
    Positive,
    RootScale,
    Scale,
)
from pgem.families._shape import solve_shape


class Probs(Role):
    """A probability vector; statistic: expected counts [rows, K]."""

    name = "probability vector"
    expected = "non-negative entries that sum to one along the last axis"
    formula = "expected counts, normalised"
    symbols = ("p",)
    solution = r"@= \propto @0"
    per_value = ("[x = k]",)

    def accepts(self, value: Floats) -> Mask:
        total = value.sum(axis=-1, keepdims=True)
        return np.asarray(np.isfinite(value) & (value >= 0) & (np.abs(total - 1) <= 1e-6))

    def is_bounded(self, statistic: Statistic) -> bool:
        return bool((statistic[0] >= 0).all())

    def interior(self, value: Floats) -> Floats:
        return np.maximum(value, 1e-300)

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        counts = statistic[0]
        if not fixed.any():
            total = counts.sum(axis=-1, keepdims=True)
            return counts / total if (total > 0).all() else safe_divide(counts, total, previous)
        counts = np.where(fixed, 0.0, counts)
        share = 1.0 - np.where(fixed, previous, 0.0).sum(axis=-1, keepdims=True)
        total = counts.sum(axis=-1, keepdims=True)
        return with_fixed(safe_divide(share * counts, total, previous), previous, fixed)

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        return np.full(shape, 1.0 / shape[-1])

    def complete(self, value: Floats, fixed: Mask) -> Floats:
        return self.maximise((value,), value, fixed) if fixed.any() else value

    def to_free(self, value: Floats) -> Floats:
        logs = safe_log(np.maximum(value, 1e-300))
        return logs[..., 1:] - logs[..., :1]

    def from_free(self, free: Floats) -> Floats:
        logits = np.concatenate([np.zeros_like(free[..., :1]), free], axis=-1)
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True))

    def n_free(self, fixed: Mask) -> int:
        free = (~fixed).sum(axis=-1)
        return int(np.maximum(free - 1, 0).sum())

    def weight(self, statistic: Statistic) -> Floats:
        return np.asarray(statistic[0].sum(axis=-1))


class Prob(Role):
    """A probability; statistic: (expected successes, expected failures)."""

    name = "probability"
    expected = "a number between 0 and 1"
    formula = "expected successes / expected trials"
    symbols = ("p",)
    solution = r"@= = \frac{@0}{@+}"

    def accepts(self, value: Floats) -> Mask:
        return (value >= 0) & (value <= 1)

    def is_bounded(self, statistic: Statistic) -> bool:
        return all(bool((part >= 0).all()) for part in statistic)

    def interior(self, value: Floats) -> Floats:
        return np.clip(value, 1e-300, 1 - 1e-16)

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        successes, failures = statistic
        return with_fixed(safe_divide(successes, successes + failures, previous), previous, fixed)

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        return np.full(shape, 0.5)

    def to_free(self, value: Floats) -> Floats:
        return safe_log(value) - safe_log(1 - value)

    def from_free(self, free: Floats) -> Floats:
        return 1 / (1 + np.exp(-free))

    def weight(self, statistic: Statistic) -> Floats:
        total = statistic[0] + statistic[1]
        return row_sums(total)


class Rate(PositiveRole):
    """A rate r with Q = a log r - b r; statistic: (a, b)."""

    may_be_bounded = True
    name = "rate"
    expected = "a finite number, zero or above"
    formula = "expected events / expected exposure"
    symbols = ("r", "b")
    solution = r"@= = \frac{@0}{@1}"

    def accepts(self, value: Floats) -> Mask:
        return np.isfinite(value) & (value >= 0)

    def is_bounded(self, statistic: Statistic) -> bool:
        return bool((statistic[0] >= 0).all())

    def interior(self, value: Floats) -> Floats:
        return np.maximum(value, 1e-300)

    def scaled(self, statistic: Statistic, factor: Floats) -> Statistic:
        events, exposure = statistic
        return events, factor * exposure

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        events, exposure = statistic
        unbounded = np.where(events > 0, np.inf, previous)  # events, and no exposure to them
        return with_fixed(safe_divide(events, exposure, unbounded), previous, fixed)

    def weight(self, statistic: Statistic) -> Floats:
        return row_sums(statistic[0] + statistic[1])


LARGEST_SHAPE = 1e9
"""A Gamma of this shape has no spread left beside its mean."""


def every_row(mask: Mask) -> Mask:
    """Rows with an entry that holds [rows]."""
    return np.asarray(mask.reshape(len(mask), -1).any(axis=1))


class Shape(PositiveRole):
    """A gamma shape a with Q = a s - n log Γ(a); statistic: (n, s); solved by Newton's method."""

    may_be_bounded = True
    name = "shape"
    formula = "the root of n digamma(shape) = s, by Newton's method"
    symbols = ("a",)
    solution = r"\psi(@=) = \frac{@1}{@0}"
    has_spread = True

    def collapsed(self, value: Floats, scale: Floats) -> Mask:
        return every_row(value >= LARGEST_SHAPE)

    def raised(self, value: Floats, floor: Floats) -> Floats:
        return np.minimum(value, LARGEST_SHAPE / 2)

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        count, total = statistic
        target = safe_divide(total, count, np.nan)
        new = np.where(count > 0, inverse_digamma(target), previous)
        return with_fixed(new, previous, fixed)


class ShapeAndRate(PositiveRole):
    """Both slots of a gamma, a, with Q = n (a log a - log Γ(a)) - a s; statistic: (n, s)."""

    name = "shape and rate"
    formula = "the root of log(a) + 1 - digamma(a) = s / n, by Newton's method"
    symbols = ("a",)
    solution = r"\log @= + 1 - \psi(@=) = \frac{@1}{@0}"

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        count, total = statistic
        gap = safe_divide(total, count, 2.0) - 1.0
        new = np.where(count > 0, solve_shape(gap), previous)
        return with_fixed(new, previous, fixed)


def inverse_digamma(target: Floats) -> Floats:
    """Solve digamma(a) = target (Minka 2000, appendix C: start, then Newton)."""
    from scipy.special import digamma, polygamma

    safe = np.where(np.isfinite(target), target, 0.0)
    root = np.where(safe >= -2.22, np.exp(np.minimum(safe, 700)) + 0.5, -1 / (safe - digamma(1.0)))
    for _ in range(8):
        root = root - (digamma(root) - safe) / polygamma(1, root)
    return np.asarray(root)


class Known(Role):
    """A value that is never estimated: trials, the atom of a point mass."""

    name = "known value"
    expected = "a value or a covariate"
    formula = "known"
    symbols = ("n", "v")

    def accepts(self, value: Floats) -> Mask:
        return np.isfinite(value)

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        return previous

    def to_free(self, value: Floats) -> Floats:
        return value[..., :0]

    def from_free(self, free: Floats) -> Floats:
        raise NotImplementedError("a known value has no free coordinates")

    def n_free(self, fixed: Mask) -> int:
        return 0


class KnownPositive(Known):
    """A known value above zero: a shape, a threshold, a size."""

    expected = "a value or a covariate above zero"

    def accepts(self, value: Floats) -> Mask:
        return np.isfinite(value) & (value > 0)


PROBS = Probs()
PROB = Prob()
RATE = Rate()
SHAPE = Shape()
SHAPEANDRATE = ShapeAndRate()
MEAN = Mean()
VARIANCE = Variance()
COVARIANCE = Covariance()
KNOWN = Known()
KNOWNPOSITIVE = KnownPositive()
ANGLE = Angle()
CONCENTRATION = Concentration()
CONCENTRATIONS = Concentrations()
DIRECTION = Direction()
INVERSESCALE = InverseScale()
LEVEL = Level()
OPENPROB = OpenProb()
POSITIVE = Positive()
ROOTSCALE = RootScale()
SCALE = Scale()

__all__ = [
    "ANGLE",
    "CONCENTRATION",
    "CONCENTRATIONS",
    "COVARIANCE",
    "DEGENERATE",
    "DIRECTION",
    "INVERSESCALE",
    "KNOWN",
    "KNOWNPOSITIVE",
    "LEVEL",
    "MEAN",
    "OPENPROB",
    "POSITIVE",
    "PROB",
    "PROBS",
    "RATE",
    "ROOTSCALE",
    "SCALE",
    "SHAPE",
    "SHAPEANDRATE",
    "VARIANCE",
    "Angle",
    "Concentration",
    "Concentrations",
    "Covariance",
    "DegreesOfFreedom",
    "Direction",
    "InverseScale",
    "Known",
    "KnownPositive",
    "Level",
    "Mean",
    "OpenProb",
    "Positive",
    "Prob",
    "Probs",
    "Rate",
    "Role",
    "RootScale",
    "Scale",
    "Shape",
    "ShapeAndRate",
    "Statistic",
    "Variance",
    "inverse_digamma",
]
