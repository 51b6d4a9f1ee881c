"""What a slot means, apart from the family it stands in.

A role knows which values are allowed, which statistic of the data its conditional maximum depends
on, and how to maximise it.  Because statistics of one role add, a parameter that is shared by
several nodes, or by nodes of different families, is solved from their sum.

Every statistic is a tuple of arrays with one leading axis, the rows of the parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from pgem.arrays import Floats, Mask, safe_divide, safe_log

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
        symbols: letters that stand for such a slot in the families' formulas, in order.
        solution: the maximiser in LaTeX: `@=` the parameter, `@0`, `@1` the parts of the summed
            statistic, `@+` their sum.
        per_value: what one value x adds to the statistic, where a family's code does not tell.
    """

    name: str
    expected: str
    formula: str
    has_spread: ClassVar[bool] = False
    symbols: tuple[str, ...] = ()
    solution: str = ""
    per_value: tuple[str, ...] = ()

    @abstractmethod
    def accepts(self, value: Floats) -> Mask:
        """Which entries (or whole values) satisfy the constraint, as a mask."""

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
        return _row_sums(total)


def _row_sums(table: Floats) -> Floats:
    return np.asarray(table.reshape(len(table), -1).sum(axis=1))


def _keep(new: Floats, previous: Floats, fixed: Mask) -> Floats:
    return np.where(fixed, previous, new) if fixed.any() else new


class _Positive(Role):
    expected = "a finite number above zero"

    def accepts(self, value: Floats) -> Mask:
        return np.isfinite(value) & (value > 0)

    def to_free(self, value: Floats) -> Floats:
        return safe_log(value)

    def from_free(self, free: Floats) -> Floats:
        return np.exp(free)


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

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        counts = np.where(fixed, 0.0, statistic[0])
        share = 1.0 - np.where(fixed, previous, 0.0).sum(axis=-1, keepdims=True)
        total = counts.sum(axis=-1, keepdims=True)
        new = np.where(total > 0, share * counts / np.where(total > 0, total, 1.0), previous)
        return _keep(new, previous, fixed)

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

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        successes, failures = statistic
        return _keep(safe_divide(successes, successes + failures, previous), previous, fixed)

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        return np.full(shape, 0.5)

    def to_free(self, value: Floats) -> Floats:
        return safe_log(value) - safe_log(1 - value)

    def from_free(self, free: Floats) -> Floats:
        return 1 / (1 + np.exp(-free))

    def weight(self, statistic: Statistic) -> Floats:
        total = statistic[0] + statistic[1]
        return _row_sums(total)


class Rate(_Positive):
    """A rate r with Q = a log r - b r; statistic: (a, b)."""

    name = "rate"
    expected = "a finite number, zero or above"
    formula = "expected events / expected exposure"
    symbols = ("r", "b")
    solution = r"@= = \frac{@0}{@1}"

    def accepts(self, value: Floats) -> Mask:
        return np.isfinite(value) & (value >= 0)

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        events, exposure = statistic
        return _keep(safe_divide(events, exposure, previous), previous, fixed)

    def weight(self, statistic: Statistic) -> Floats:
        return _row_sums(statistic[1])


class Shape(_Positive):
    """A gamma shape a with Q = a s - n log Γ(a); statistic: (n, s); solved by Newton's method."""

    name = "shape"
    formula = "the root of n digamma(shape) = s, by Newton's method"
    symbols = ("a",)
    solution = r"\psi(@=) = \frac{@1}{@0}"

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        count, total = statistic
        target = safe_divide(total, count, np.nan)
        new = np.where(count > 0, inverse_digamma(target), previous)
        return _keep(new, previous, fixed)


def inverse_digamma(target: Floats) -> Floats:
    """Solve digamma(a) = target (Minka 2000, appendix C: start, then Newton)."""
    from scipy.special import digamma, polygamma

    safe = np.where(np.isfinite(target), target, 0.0)
    root = np.where(safe >= -2.22, np.exp(np.minimum(safe, 700)) + 0.5, -1 / (safe - digamma(1.0)))
    for _ in range(8):
        root = root - (digamma(root) - safe) / polygamma(1, root)
    return np.asarray(root)


class Mean(Role):
    """A linear coefficient; statistic: (precision, precision times value).

    The precision is [rows, ...] per entry, or [rows, D, D] under a full covariance.
    """

    name = "mean"
    expected = "finite numbers"
    formula = "precision-weighted average of the data"
    symbols = ("m",)
    solution = r"@= = \frac{@1}{@0}"
    per_value = ("1", "x")

    def accepts(self, value: Floats) -> Mask:
        return np.isfinite(value)

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        precision, linear = statistic
        if precision.ndim == linear.ndim:
            return _keep(safe_divide(linear, precision, previous), previous, fixed)
        new = previous.copy()
        for row, free in enumerate(~fixed):
            if free.any() and np.trace(precision[row]) > 0:
                held = np.where(free, 0.0, previous[row])
                right = linear[row] - precision[row] @ held
                new[row, free] = np.linalg.solve(precision[row][np.ix_(free, free)], right[free])
        return new

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        return np.broadcast_to(centre, shape).copy()

    def to_free(self, value: Floats) -> Floats:
        return value

    def from_free(self, free: Floats) -> Floats:
        return free

    def weight(self, statistic: Statistic) -> Floats:
        precision, linear = statistic
        if precision.ndim > linear.ndim:
            precision = np.einsum("rdd->rd", precision)
        return _row_sums(precision)


class Variance(_Positive):
    """A variance; statistic: (count, expected sum of squared deviations)."""

    has_spread = True
    name = "variance"
    formula = "expected squared deviation / expected count"
    symbols = ("v", "V")
    solution = r"@= = \frac{@1}{@0}"
    per_value = ("1", "(x - m)^2")

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        count, squares = statistic
        return _keep(safe_divide(squares, count, previous), previous, fixed)

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        return np.broadcast_to(_variances(scale, shape), shape).copy()

    def collapsed(self, value: Floats, scale: Floats) -> Mask:
        low = value < DEGENERATE * _variances(scale, value.shape)
        return np.asarray(low.reshape(len(value), -1).any(axis=1))

    def raised(self, value: Floats, floor: Floats) -> Floats:
        return np.maximum(value, _variances(floor, value.shape))


class Covariance(Role):
    """A covariance matrix; statistic: (count [rows], expected outer products [rows, D, D])."""

    has_spread = True
    name = "covariance matrix"
    expected = "a symmetric positive definite matrix"
    formula = "expected outer product of the deviations / expected count"
    symbols = ("V",)
    solution = r"@= = \frac{@1}{@0}"
    per_value = ("1", "(x - m) (x - m)^T")

    def accepts(self, value: Floats) -> Mask:
        good = np.zeros(value.shape, dtype=bool)
        for row in np.ndindex(value.shape[:-2]):
            good[row] = is_positive_definite(value[row])
        return good

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        count, outer = statistic
        new = safe_divide(outer, count[:, None, None], previous)
        return _keep((new + np.swapaxes(new, -1, -2)) / 2, previous, fixed)

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        return np.broadcast_to(_matrix(scale, shape[-1]), shape).copy()

    def collapsed(self, value: Floats, scale: Floats) -> Mask:
        white = _whitened(value, _matrix(scale, value.shape[-1]))
        return np.asarray(np.linalg.eigvalsh(white)[..., 0] < DEGENERATE)

    def raised(self, value: Floats, floor: Floats) -> Floats:
        lower = np.linalg.cholesky(_matrix(floor, value.shape[-1]))
        roots, vectors = np.linalg.eigh(_whitened(value, _matrix(floor, value.shape[-1])))
        half = lower @ vectors
        return np.asarray((half * np.maximum(roots, 1.0)[..., None, :]) @ np.swapaxes(half, -1, -2))

    def to_free(self, value: Floats) -> Floats:
        lower = np.linalg.cholesky(value)
        rows, columns = np.tril_indices(value.shape[-1])
        entries = lower[..., rows, columns]
        return np.where(rows == columns, safe_log(np.abs(entries)), entries)

    def from_free(self, free: Floats) -> Floats:
        size = int((np.sqrt(8 * free.shape[-1] + 1) - 1) / 2)
        rows, columns = np.tril_indices(size)
        lower = np.zeros((*free.shape[:-1], size, size))
        lower[..., rows, columns] = np.where(rows == columns, np.exp(free), free)
        return lower @ np.swapaxes(lower, -1, -2)

    def n_free(self, fixed: Mask) -> int:
        rows, columns = np.tril_indices(fixed.shape[-1])
        return int((~fixed[..., rows, columns]).sum())


def _variances(scale: Floats, shape: tuple[int, ...]) -> Floats:
    """Per-coordinate variances of the data, averaged where the value has no coordinates."""
    diagonal = np.diagonal(scale) if scale.ndim == 2 else scale
    if diagonal.ndim == 1 and (not shape or shape[-1] != len(diagonal)):
        return np.asarray(diagonal.mean())
    return diagonal


def _matrix(scale: Floats, size: int) -> Floats:
    return scale if scale.ndim == 2 else np.eye(size) * scale


def _whitened(value: Floats, scale: Floats) -> Floats:
    root = np.linalg.inv(np.linalg.cholesky(scale))
    return np.asarray(root @ value @ root.T)


def is_positive_definite(matrix: Floats) -> bool:
    """Whether a matrix is finite, symmetric to rounding and positive definite."""
    if not np.isfinite(matrix).all():
        return False
    scale = np.abs(matrix).max()
    if np.abs(matrix - matrix.T).max() > 1e-8 * scale:
        return False
    return bool(np.linalg.eigvalsh(matrix).min() > 0)


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


PROBS = Probs()
PROB = Prob()
RATE = Rate()
SHAPE = Shape()
MEAN = Mean()
VARIANCE = Variance()
COVARIANCE = Covariance()
KNOWN = Known()
