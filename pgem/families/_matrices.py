"""Symmetric positive definite matrices as values: support, structure, draws, quadrature."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.families._facts import Statistics
from pgem.families._integration import Rule
from pgem.families._parts import Support
from pgem.families._roles_gaussian import are_positive_definite

NEARLY_SINGULAR = 1e-6

MATRICES = Support("symmetric positive definite matrices", are_positive_definite)


def expanded(scale: Floats, size: int) -> Floats:
    """A scale [C, D, D], [C, D] or [C] as matrices [C, D, D]."""
    if scale.ndim == 3:
        return scale
    return np.asarray(scale.reshape(len(scale), -1, 1) * np.eye(size))


def reduced(matrices: Floats, structure: str) -> Floats:
    """The diagonal [C, D] of matrices, or its mean [C], as the structure asks."""
    if structure == "full":
        return matrices
    diagonal: Floats = np.einsum("cdd->cd", matrices)
    return diagonal if structure == "diagonal" else np.asarray(diagonal.mean(axis=1))


def of_structure(events: Floats, matrix: Floats, structure: str) -> Statistics:
    """A statistic (events [C], matrix [C, D, D]) of a scale in its structure: per entry, or summed.

    Args:
        events: degrees of freedom times the expected count.
        matrix: the expected sum of the values.
        structure: `full`, `diagonal` or `spherical`.
    """
    size = matrix.shape[-1]
    if structure == "full":
        return events, matrix
    if structure == "diagonal":
        return np.repeat(events[:, None], size, axis=1), reduced(matrix, structure)
    return size * events, size * reduced(matrix, structure)


def inverse(matrices: Floats, sign: Floats | None = None) -> Floats:
    """X⁻¹ of matrices [..., D, D]; NaN for singular ones.

    Args:
        matrices: the matrices.
        sign: signs of their determinants [...], where they are known.
    """
    sound = (np.linalg.slogdet(matrices)[0] if sign is None else sign) != 0
    if np.all(sound):
        return np.asarray(np.linalg.inv(matrices), dtype=float)
    keep = np.asarray(sound)[..., None, None]
    safe = np.where(keep, matrices, np.eye(matrices.shape[-1]))
    return np.where(keep, np.linalg.inv(safe), np.nan)


def log_determinant(matrices: Floats) -> Floats:
    """log |X| of positive definite matrices [..., D, D]; NaN where it is negative."""
    sign, value = np.linalg.slogdet(matrices)
    return np.where(sign >= 0, value, np.nan)


def draw_wishart(generator: Generator, scale: Floats, df: Floats) -> Floats:
    """One matrix per row [N, D, D]: L A (L A)ᵀ with V = L Lᵀ (Bartlett 1933)."""
    size = scale.shape[-1]
    lower = np.tril(generator.standard_normal(scale.shape), -1)
    squares = generator.chisquare(np.maximum(df[:, None] - np.arange(size), 1e-300))
    # a few degrees of freedom underflow to 0, which is outside the support
    lower[:, range(size), range(size)] = np.sqrt(np.maximum(squares, 1e-200))
    root = np.linalg.cholesky(scale) @ lower
    return np.asarray(root @ np.swapaxes(root, 1, 2))


def cone_rule(scale: Floats, df: float) -> Rule:
    """A product rule over matrices X = L A (L A)ᵀ around those of a Wishart; D up to 2.

    Args:
        scale: V = L Lᵀ [D, D].
        df: degrees of freedom, which tell where the diagonal of A has its mass.
    """
    size = len(scale)
    if size > 2:
        raise NotImplementedError("matrices beyond two rows need their own nodes()")
    t = np.linspace(-3.4, 2.3, 96)
    axes, steps = [], []
    for i in range(size):  # diagonal entries: doubly exponential on the half line
        u = np.pi / 2 * np.sinh(t) + np.log(max(df - i, 0.1)) / 2
        axes.append(np.exp(u))
        steps.append(u + np.log(np.pi / 2 * np.cosh(t) * (t[1] - t[0])))
    if size == 2:
        flat = np.linspace(-8.0, 8.0, 36)
        axes.append(flat)
        steps.append(np.full(len(flat), np.log(flat[1] - flat[0])))
    grid = [part.ravel() for part in np.meshgrid(*axes, indexing="ij")]
    log_weight = np.sum([part.ravel() for part in np.meshgrid(*steps, indexing="ij")], axis=0)
    lower = np.zeros((len(grid[0]), size, size))
    lower[:, range(size), range(size)] = np.stack(grid[:size], axis=1)
    if size == 2:
        lower[:, 1, 0] = grid[2]
    outer = np.linalg.cholesky(scale)
    root = outer @ lower
    # dX = 2^D Π a_ii^(D - i) dA, and |L|^(D + 1) for the map by L (Muirhead 1982, theorem 2.1.9)
    for i in range(size):
        log_weight = log_weight + np.log(2) + (size - i) * np.log(grid[i])
    log_weight = log_weight + (size + 1) * np.log(np.diag(outer)).sum()
    x = root @ np.swapaxes(root, 1, 2)
    # beyond, determinants have too few digits to judge by
    squares = root[:, -1] ** 2
    keep = squares[:, -1] > NEARLY_SINGULAR * squares.sum(axis=1)
    return x[keep], log_weight[keep]


def entry_covariance(scale: Floats, df: Floats) -> Floats:
    """Cov[X_ij, X_kl] = n (V_ik V_jl + V_il V_jk) of a Wishart matrix [C, D, D, D, D]."""
    pairs = np.einsum("cik,cjl->cijkl", scale, scale)
    return np.asarray(df[:, None, None, None, None] * (pairs + np.swapaxes(pairs, 3, 4)))


def joined(matrix: Floats, level: Floats) -> Floats:
    """E[φ] [C, 1 + D² + 1] from the expected matrix and the expected log-determinant."""
    ones = np.ones((len(matrix), 1))
    return np.concatenate([ones, matrix.reshape(len(matrix), -1), level[:, None]], axis=1)


def information(scale: Floats, df: Floats, sign: float = 1.0) -> Floats:
    """Cov[φ] [C, P, P] of φ = (1, X, ± log |X|) for a Wishart matrix X: the curvature of A.

    Cov[X, log |X|] = 2 V, Var[log |X|] = Σ_{i<D} ψ'((n - i) / 2).
    """
    from scipy.special import polygamma

    size = scale.shape[-1]
    n_entries = size**2
    table = np.zeros((len(scale), n_entries + 2, n_entries + 2))
    inner = entry_covariance(scale, df).reshape(-1, n_entries, n_entries)
    table[:, 1:-1, 1:-1] = inner
    table[:, 1:-1, -1] = table[:, -1, 1:-1] = sign * 2 * scale.reshape(-1, n_entries)
    table[:, -1, -1] = sum(polygamma(1, (df - i) / 2) for i in range(size))
    return table


def columns_of(x: Floats) -> Floats:
    """The columns of the roots of matrices, with both signs [2 N D, D]: their covariance is X / D.

    A Wishart matrix is a sum of squares of vectors; these stand for them.
    """
    whole = x[~np.isnan(x).any(axis=(1, 2))]
    rows = np.swapaxes(np.linalg.cholesky(whole), 1, 2).reshape(-1, x.shape[-1])
    return np.concatenate([rows, -rows])


class Rows:
    """A matrix distribution of `scipy.stats`, whose densities want the matrices along the end."""

    def __init__(self, twin: Any) -> None:
        self.twin = twin

    def logpdf(self, x: Floats) -> Floats:
        """Log-densities of matrices [N, D, D]."""
        return np.asarray(self.twin.logpdf(np.moveaxis(x, 0, -1)))
