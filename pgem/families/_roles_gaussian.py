"""Roles of Gaussian slots: linear coefficients, variances, covariance matrices."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Floats, Mask, safe_divide, safe_log
from pgem.families._role import DEGENERATE, PositiveRole, Role, Statistic, row_sums, with_fixed

T = TypeVar("T", bound=np.generic)

ROUNDING = 1e-12
"""A known covariance may have eigenvalues this far below zero, as a share of its largest entry."""


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
            return with_fixed(safe_divide(linear, precision, previous), previous, fixed)
        new = previous.copy()
        for row, free in enumerate(~fixed):
            if free.any() and np.trace(precision[row]) > 0:
                held = np.where(free, 0.0, previous[row])
                right = linear[row] - precision[row] @ held
                new[row, free] = np.linalg.solve(precision[row][np.ix_(free, free)], right[free])
        return new

    def scaled(self, statistic: Statistic, factor: Floats) -> Statistic:
        precision, linear = statistic
        return precision * _wide(factor, precision) ** 2, linear * _wide(factor, linear)

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
        return row_sums(precision)


class Variance(PositiveRole):
    """A variance; statistic: (count, expected sum of squared deviations)."""

    has_spread = True
    may_be_bounded = True
    name = "variance"
    formula = "expected squared deviation / expected count"
    symbols = ("v", "V")
    solution = r"@= = \frac{@1}{@0}"
    per_value = ("1", "(x - m)^2")

    def accepts_known(self, value: Floats) -> Mask:
        return np.isfinite(value) & (value >= 0)

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        count, squares = statistic
        return with_fixed(safe_divide(squares, count, previous), previous, fixed)

    def scaled(self, statistic: Statistic, factor: Floats) -> Statistic:
        count, squares = statistic
        return count, squares / _wide(factor, squares)

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        return np.broadcast_to(variances(scale, shape), shape).copy()

    def collapsed(self, value: Floats, scale: Floats) -> Mask:
        low = value < DEGENERATE * variances(scale, value.shape)
        return np.asarray(low.reshape(len(value), -1).any(axis=1))

    def raised(self, value: Floats, floor: Floats) -> Floats:
        return np.maximum(value, variances(floor, value.shape))


class Covariance(Role):
    """A covariance matrix; statistic: (count [rows], expected outer products [rows, D, D])."""

    has_spread = True
    name = "covariance matrix"
    expected = "a symmetric positive definite matrix"
    formula = "expected outer product of the deviations / expected count"
    symbols = ("V",)
    solution = r"@= = \frac{@1}{@0}"
    per_value: tuple[str, ...] = ("1", "(x - m) (x - m)^T")

    def accepts(self, value: Floats) -> Mask:
        flat = are_positive_definite(_matrices(value)).reshape(value.shape[:-2])
        return np.broadcast_to(flat[..., None, None], value.shape)

    def accepts_known(self, value: Floats) -> Mask:
        good = np.zeros(value.shape, dtype=bool)
        for row in np.ndindex(value.shape[:-2]):
            good[row] = is_semidefinite(value[row])
        return good

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        count, outer = statistic
        new = safe_divide(outer, count[:, None, None], previous)
        new = (new + np.swapaxes(new, -1, -2)) / 2
        for row in np.flatnonzero(fixed.reshape(len(fixed), -1).any(axis=1)):
            if count[row] > 0:
                new[row] = partly_fixed(new[row], previous[row], fixed[row])
        return with_fixed(new, previous, fixed)

    def refusal(self, value: Floats, fixed: Mask) -> str:
        if (fixed != np.swapaxes(fixed, -1, -2)).any():
            return "fixed= is not symmetric"
        for row, mask in zip(_matrices(value), _matrices(fixed), strict=True):
            for block in blocks_of(row, mask):
                if held_block(mask[np.ix_(block, block)]) is None:
                    return (
                        "its fixed entries leave no closed form: free entries must make up blocks "
                        "that fixed zeros separate, each with at most one block of fixed entries "
                        "on its diagonal"
                    )
        return ""

    def complete(self, value: Floats, fixed: Mask) -> Floats:
        flat = fixed.reshape(*fixed.shape[:-2], -1)
        partly = np.asarray(flat.any(axis=-1) & ~flat.all(axis=-1))
        free = ~fixed & ~np.eye(value.shape[-1], dtype=bool) & partly[..., None, None]
        return np.where(free, 0.0, value)

    def scaled(self, statistic: Statistic, factor: Floats) -> Statistic:
        count, outer = statistic
        return count, outer / _wide(factor, outer)

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


def blocks_of(value: Floats, fixed: Mask) -> list[list[int]]:
    """Coordinates of a covariance [D, D] in groups that fixed zeros separate."""
    linked = ~(fixed & (value == 0))
    left, found = list(range(len(value))), []
    while left:
        group, new = [left[0]], [left[0]]
        while new:
            new = [k for k in left if k not in group and linked[k, new].any()]
            group += new
        left = [k for k in left if k not in group]
        found.append(sorted(group))
    return found


def held_block(fixed: Mask) -> list[int] | None:
    """The coordinates whose block of a covariance is fixed while all else is free.

    All coordinates where everything is fixed, none where nothing is; None where the fixed entries
    are no such block.
    """
    held = np.flatnonzero(np.diag(fixed))
    expected = np.zeros_like(fixed)
    expected[np.ix_(held, held)] = True
    return held.tolist() if (fixed == expected).all() else None


def partly_fixed(scatter: Floats, previous: Floats, fixed: Mask) -> Floats:
    """The maximising covariance with some blocks fixed, from the free maximum `scatter`.

    With a fixed block A beside free coordinates B, x_B given x_A is a regression with free
    coefficients and residual covariance, which A does not restrict.
    """
    new = previous.copy()
    for block in blocks_of(previous, fixed):
        here = np.ix_(block, block)
        held = held_block(fixed[here]) or []
        rest = [k for k in range(len(block)) if k not in held]
        part, given = scatter[here], np.ix_(held, held)
        if held and rest:
            root = np.linalg.solve(part[given], part[np.ix_(held, rest)])
            excess = previous[here][given] - part[given]
            cross = previous[here][given] @ root
            moved = part.copy()
            moved[given] = previous[here][given]
            moved[np.ix_(held, rest)], moved[np.ix_(rest, held)] = cross, cross.T
            moved[np.ix_(rest, rest)] += root.T @ excess @ root
            part = moved
        elif held:
            part = previous[here]
        new[here] = part
    return new


def _matrices(table: NDArray[T]) -> NDArray[T]:
    return table.reshape(-1, *table.shape[-2:])


def variances(scale: Floats, shape: tuple[int, ...]) -> Floats:
    """Per-coordinate variances of the data, averaged where the value has no coordinates."""
    diagonal = np.diagonal(scale) if scale.ndim == 2 else scale
    if diagonal.ndim == 1 and (not shape or shape[-1] != len(diagonal)):
        return np.asarray(diagonal.mean())
    return diagonal


def _wide(factor: Floats, table: Floats) -> Floats:
    """One factor per row, with as many axes as the table."""
    return factor.reshape(factor.shape + (1,) * (table.ndim - factor.ndim))


def _matrix(scale: Floats, size: int) -> Floats:
    return scale if scale.ndim == 2 else np.eye(size) * scale


def _whitened(value: Floats, scale: Floats) -> Floats:
    root = np.linalg.inv(np.linalg.cholesky(scale))
    return np.asarray(root @ value @ root.T)


def are_positive_definite(matrices: Floats) -> Mask:
    """Which matrices [N, D, D] are finite, symmetric to rounding and positive definite."""
    if matrices.shape[-1] != matrices.shape[-2]:
        return np.zeros(len(matrices), dtype=bool)
    finite: Mask = np.asarray(np.isfinite(matrices).all(axis=(1, 2)))
    safe = np.where(finite[:, None, None], matrices, np.eye(matrices.shape[-1]))
    scale = np.abs(safe).max(axis=(1, 2), initial=0.0)
    skew = np.abs(safe - np.swapaxes(safe, 1, 2)).max(axis=(1, 2), initial=0.0)
    diagonal = np.einsum("ndd->nd", safe)
    positive = np.asarray((diagonal > 0).all(axis=1))
    good: Mask = np.array(finite & (skew <= 1e-8 * scale), dtype=bool) & positive
    root = np.sqrt(diagonal[good])  # units do not matter: correlations tell
    correlations = safe[good] / root[:, :, None] / root[:, None, :]
    least = np.linalg.eigvalsh(correlations).min(axis=1, initial=1.0)
    good[good] = least > np.finfo(float).eps * matrices.shape[-1]
    return good


def is_semidefinite(matrix: Floats) -> bool:
    """Whether a matrix [D, D] is finite, symmetric and without negative variance, to rounding."""
    if not np.isfinite(matrix).all():
        return False
    scale = np.abs(matrix).max()
    if np.abs(matrix - matrix.T).max() > 1e-8 * scale:
        return False
    return bool(np.linalg.eigvalsh(matrix).min() >= -ROUNDING * scale)
