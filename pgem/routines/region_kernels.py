"""Conditioning on the shown coordinates of a Gaussian vector, per coefficient set and pattern."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgem.arrays import Floats, Mask, safe_divide
from pgem.routines.region_layout import PieceLayout

LOG_2PI = float(np.log(2 * np.pi))


@dataclass(eq=False)
class Kernel:
    """A noise e ~ N(0, V) of which coordinates o are shown and m are missing.

    Attributes:
        precision: V_oo⁻¹ with zeros elsewhere [G, B, d, d], or [G, B, d] if V is diagonal.
        fill: map from e_o to the expectation of e [G, B, d, d]; None: e_o itself.
        rest: covariance of e given e_o [G, B, d, d] or [G, B, d]; None: nothing is missing.
        log_scale: log |2π V_oo| [G, B]; +inf where V_oo has no inverse.
        n_shown: number of shown coordinates [B].
    """

    precision: Floats
    fill: Floats | None
    rest: Floats | None
    log_scale: Floats
    n_shown: Floats


def make_kernel(piece: PieceLayout, covs: Floats) -> Kernel:
    """Condition the covariances [K, G, d, d] or [K, G, d] of a piece."""
    mine = np.moveaxis(covs, 1, 0)[:, piece.kernel_code]
    n_shown = piece.shown.sum(axis=1).astype(float)
    if piece.piece.diagonal:
        return _diagonal(mine, piece.shown, n_shown)
    if piece.is_complete:
        lower = cholesky(mine)
        inverse = invert_lower(lower)
        precision = np.swapaxes(inverse, -1, -2) @ inverse
        return Kernel(precision, None, None, _log_scale(lower, n_shown), n_shown)
    return _full(mine, piece.shown, n_shown)


def _diagonal(var: Floats, shown: Mask, n_shown: Floats) -> Kernel:
    precision = np.where(shown & (var > 0), 1.0 / np.where(var > 0, var, 1.0), 0.0)
    log_var = np.where(shown, np.log(np.where(var > 0, var, 1.0)) + LOG_2PI, 0.0)
    log_scale = np.where((shown & ~(var > 0)).any(axis=-1), np.inf, log_var.sum(axis=-1))
    rest = None if shown.all() else np.where(shown, 0.0, var)
    return Kernel(precision, None, rest, log_scale, n_shown)


def _full(cov: Floats, shown: Mask, n_shown: Floats) -> Kernel:
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
    return Kernel(precision, fill, rest, _log_scale(lower, n_shown), n_shown)


def _log_scale(lower: Floats, n_shown: Floats) -> Floats:
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


def square_root(matrices: Floats) -> Floats:
    """R [..., d, d] with R Rᵀ the given covariances, which may be singular."""
    deviation = np.sqrt(np.maximum(np.diagonal(matrices, axis1=-2, axis2=-1), 0.0))
    if matrices.shape[-1] == 1:
        return deviation[..., None]
    outer = deviation[..., :, None] * deviation[..., None, :]
    scaled = safe_divide(matrices, outer, 0.0)  # correlations: small variances keep their digits
    finite = np.isfinite(scaled).all(axis=(-1, -2), keepdims=True)
    values, vectors = np.linalg.eigh(np.where(finite, scaled, np.eye(matrices.shape[-1])))
    least = 4 * np.finfo(float).eps * matrices.shape[-1]
    root = vectors * np.sqrt(np.where(values > least, values, 0.0))[..., None, :]
    return np.asarray(np.where(finite, deviation[..., :, None] * root, np.nan))
