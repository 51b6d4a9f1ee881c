"""Conditioning on the shown coordinates of a Gaussian vector, per coefficient set and pattern."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.routines.region_layout import PieceLayout

LOG_2PI = float(np.log(2 * np.pi))
BLOCK = 1024
"""Rows of a mask that are turned into numbers at a time."""


@dataclass(eq=False)
class Kernel:
    """A noise e ~ N(0, V) of which coordinates o are shown and m are missing.

    Attributes:
        shown: which coordinates each group shows [B, d].
        code: coefficient set of each group [B].
        precision: V_oo⁻¹ with zeros elsewhere [G, B, d, d]; if V is diagonal, the inverse
            variances of all coordinates [G, K, d].
        fill: map from e_o to the expectation of e [G, B, d, d]; None: e_o itself.
        noise: covariance of e given e_o [G, B, d, d]; if V is diagonal, the variances of all
            coordinates [G, K, d].
        log_scale: log |2π V_oo| [G, B]; +inf where V_oo has no inverse.
    """

    shown: Mask
    code: Integers
    precision: Floats
    fill: Floats | None
    noise: Floats
    log_scale: Floats

    @property
    def is_diagonal(self) -> bool:
        """Whether V is diagonal."""
        return self.precision.ndim == 3

    def rest(self) -> Floats:
        """Covariance of e given e_o [G, B, d, d], or its diagonal [G, B, d]."""
        if not self.is_diagonal:
            return self.noise
        return np.where(self.shown, 0.0, self.noise[:, self.code])


def make_kernel(piece: PieceLayout, covs: Floats) -> Kernel:
    """Condition the covariances [K, G, d, d] or [K, G, d] of a piece."""
    by_gate = np.moveaxis(covs, 1, 0)
    if piece.piece.diagonal:
        return _diagonal(piece, by_gate)
    mine = by_gate[:, piece.kernel_code]
    if not piece.is_complete:
        return _full(piece, mine)
    lower = cholesky(mine)
    inverse = invert_lower(lower)
    precision = np.swapaxes(inverse, -1, -2) @ inverse
    log_scale = _log_scale(lower, piece.shown)
    return Kernel(piece.shown, piece.kernel_code, precision, None, np.zeros_like(mine), log_scale)


def _diagonal(piece: PieceLayout, var: Floats) -> Kernel:
    code, valid = piece.kernel_code, var > 0
    whole = np.where(valid, var, 1.0)
    log_var = np.where(valid, np.log(whole) + LOG_2PI, np.inf)
    if piece.is_complete:
        log_scale = log_var.sum(axis=-1)[:, code]
    elif valid.all() and var.shape[1] == 1:
        log_scale = masked_product(piece.shown, log_var[:, 0, :, None])[..., 0]
    else:
        log_scale = np.where(piece.shown, log_var[:, code], 0.0).sum(axis=-1)
    precision = np.where(valid, 1.0 / whole, 0.0)
    return Kernel(piece.shown, code, precision, None, var, log_scale)


def _full(piece: PieceLayout, cov: Floats) -> Kernel:
    shown = piece.shown
    both = shown[:, :, None] & shown[:, None, :]
    eye = np.eye(cov.shape[-1])
    # the identity stands in for the missing coordinates: one factorisation serves all patterns
    lower = cholesky(np.where(both, cov, eye * ~shown[:, :, None]))
    inverse = invert_lower(lower)
    precision = np.where(both, np.swapaxes(inverse, -1, -2) @ inverse, 0.0)
    gone = ~shown[:, :, None]
    fill = np.where(gone, cov @ precision, eye * shown[:, :, None])
    left = np.where(gone & ~shown[:, None, :], cov - cov @ precision @ cov, 0.0)
    rest = (left + np.swapaxes(left, -1, -2)) / 2
    return Kernel(shown, piece.kernel_code, precision, fill, rest, _log_scale(lower, shown))


def _log_scale(lower: Floats, shown: Mask) -> Floats:
    n_shown = shown.sum(axis=1)
    diagonal = np.diagonal(lower, axis1=-2, axis2=-1)
    total = 2 * np.log(diagonal).sum(axis=-1) + n_shown * LOG_2PI
    return np.where(np.isnan(total), np.inf, total)


def cholesky(matrices: Floats) -> Floats:
    """Lower factors [..., d, d]; NaN for a matrix that is not positive definite."""
    if matrices.shape[-1] == 1:
        return np.sqrt(np.where(matrices > 0, matrices, np.nan))
    try:
        return np.asarray(np.linalg.cholesky(matrices), dtype=float)
    except np.linalg.LinAlgError:
        flat = matrices.reshape(-1, *matrices.shape[-2:])
        return np.array([_cholesky_or_nan(matrix) for matrix in flat]).reshape(matrices.shape)


def _cholesky_or_nan(matrix: Floats) -> Floats:
    try:
        return np.asarray(np.linalg.cholesky(matrix), dtype=float)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan)


def invert_lower(lower: Floats) -> Floats:
    """Inverses of lower factors [..., d, d]."""
    return np.asarray(1.0 / lower if lower.shape[-1] == 1 else np.linalg.inv(lower), dtype=float)


def masked_product(mask: Mask, values: Floats) -> Floats:
    """Sum of the masked rows of values: [n, d], [G, d, q] → [G, n, q]."""
    out = np.empty((len(values), len(mask), values.shape[-1]))
    for first in range(0, len(mask), BLOCK):
        block = slice(first, first + BLOCK)
        np.matmul(mask[block].astype(float), values, out=out[:, block])
    return out


def masked_total(mask: Mask, values: Floats) -> Floats:
    """Sum over rows where the mask holds: [n, d], [G, n, q] → [G, d, q]."""
    out = np.zeros((len(values), mask.shape[1], values.shape[-1]))
    for first in range(0, len(mask), BLOCK):
        block = slice(first, first + BLOCK)
        out += mask[block].T.astype(float) @ values[:, block]
    return out
