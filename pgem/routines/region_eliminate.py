"""Integrating out the own noise of a scope's rows: matrices per group, vectors per row.

With ε ~ N(0, I) and the information J, h on x = [ε | e], the noise given the rest e is

    ε | e ~ N(M⁻¹ h_ε - K e, M⁻¹),    M = I + J_εε,    K = M⁻¹ J_εe,

and what remains for e is J' = [-K; I]ᵀ J [-K; I] + Kᵀ K and h' = h_e - Kᵀ h_ε.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pgem.arrays import Floats
from pgem.routines.region_kernels import cholesky, invert_lower

MANY = 20_000
"""Groups from which compiled loops are used: tens of milliseconds of LAPACK calls."""


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
    if n_own == 0:
        n_g, n, n_rest, _ = information.shape
        found = empty_elimination(n_g, n, 0, n_rest, n_messages=0)
        return replace(found, message=information, log_det=np.zeros((n_g, n)))
    if information.shape[0] * information.shape[1] > MANY:
        from pgem.routines.region_loops import eliminate_groups

        n_g, n, width, _ = information.shape
        found = empty_elimination(n_g, n, n_own, width - n_own)
        eliminate_groups(
            np.ascontiguousarray(information),
            found.root, found.inverse, found.gain, found.message, found.log_det,
        )  # fmt: skip
    else:
        found = _eliminate_few(information, n_own)
    return found


def _eliminate_few(information: Floats, n_own: int) -> Elimination:
    """All groups side by side."""
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


def empty_elimination(
    n_g: int, n: int, n_own: int, n_rest: int, n_messages: int | None = None
) -> Elimination:
    """Room for an elimination of n groups."""
    n_messages = n if n_messages is None else n_messages
    return Elimination(
        np.empty((n_g, n, n_own, n_own)),
        np.empty((n_g, n, n_own, n_own)),
        np.empty((n_g, n, n_own, n_rest)),
        np.empty((n_g, n_messages, n_rest, n_rest)),
        np.empty((n_g, n)),
    )


def join(inverse: Floats, gain: Floats, outer: Floats) -> Floats:
    """Covariance of [ε | e] from that of e, all [G, n, ...]."""
    if gain.shape[-2] == 0:
        return outer
    cross = -gain @ outer
    top = np.concatenate([inverse - cross @ transpose(gain), cross], axis=-1)
    return np.concatenate([top, np.concatenate([transpose(cross), outer], axis=-1)], axis=-2)


def transpose(matrices: Floats) -> Floats:
    """The matrices transposed."""
    return matrices.swapaxes(-1, -2)


def largest_product(a: Floats, b: Floats) -> float:
    """The largest inner product of two rows; those that are no numbers are passed over."""
    return float(np.fmax.reduce(np.einsum("gri,gri->gr", a, b), axis=None, initial=0.0))
