"""Integrating out the own noise of a scope's rows: matrices per group, vectors per row.

With ε ~ N(0, I) and the information J, h on x = [ε | e], the noise given the rest e is

    ε | e ~ N(M⁻¹ h_ε - K e, M⁻¹),    M = I + J_εε,    K = M⁻¹ J_εe,

and what remains for e is J' = [-K; I]ᵀ J [-K; I] + Kᵀ K and h' = h_e - Kᵀ h_ε.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgem.arrays import Floats
from pgem.routines.region_kernels import cholesky, invert_lower


@dataclass(eq=False)
class Elimination:
    """The matrices of an elimination, per group.

    Attributes:
        root: R with Rᵀ R = M⁻¹ [G, n, own, own].
        inverse: M⁻¹ [G, n, own, own].
        gain: K [G, n, own, rest].
        message: J' [G, n, rest, rest].
        log_det: log |M| [G, n].
    """

    root: Floats
    inverse: Floats
    gain: Floats
    message: Floats
    log_det: Floats


def eliminate(information: Floats, n_own: int) -> Elimination:
    """Integrate out the first `n_own` columns of [G, n, X, X]."""
    own, cross = information[..., :n_own, :n_own], information[..., :n_own, n_own:]
    rest = information[..., n_own:, n_own:]
    lower = cholesky(own + np.eye(n_own))
    log_det = 2 * np.log(np.diagonal(lower, axis1=-2, axis2=-1)).sum(axis=-1)
    root = invert_lower(lower)
    inverse = transpose(root) @ root
    if rest.shape[-1] == 0:
        return Elimination(root, inverse, cross, rest, log_det)
    gain = inverse @ cross
    message = rest - transpose(cross) @ gain - transpose(gain) @ (cross - own @ gain - gain)
    return Elimination(root, inverse, gain, (message + transpose(message)) / 2, log_det)


def join(inverse: Floats, gain: Floats, outer: Floats) -> Floats:
    """Covariance of [ε | e] from that of e, all [G, n, ...]."""
    cross = -gain @ outer
    top = np.concatenate([inverse - cross @ transpose(gain), cross], axis=-1)
    return np.concatenate([top, np.concatenate([transpose(cross), outer], axis=-1)], axis=-2)


def transpose(matrices: Floats) -> Floats:
    """The matrices transposed."""
    return np.swapaxes(matrices, -1, -2)


def largest_product(a: Floats, b: Floats) -> float:
    """The largest inner product of two rows; those that are no numbers are passed over."""
    return float(np.fmax.reduce(np.einsum("gri,gri->gr", a, b), axis=None, initial=0.0))
