"""Moments of values that are not seen, below a latent of which only the posterior is known.

Given u, mean and variance of a child are sums of powers of u, or polynomials in a vector u, so
their expectations under the posterior of u are exact: powers of a gamma or beta variable have
known means, and a symmetric set of points integrates polynomials up to the third degree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.families._family import Family, Observations
from pgem.families._linear import Linear
from pgem.families._link import Linked
from pgem.families._parts import flat_rows
from pgem.families._scaled import Scaled

POWERS = np.arange(-2, 3)
"""Powers of u that means and variances are made of."""
POINTS = np.array([0.1, 0.2, 0.4, 0.6, 0.9])
"""Values of u at which their coefficients are read off."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """The posterior of a latent per row and configuration of the gates.

    Attributes:
        family: of the latent.
        slots: its slot values [rows, G, ...].
        given: rows whose value is known.
        values: these values [rows, d].
    """

    family: Family
    slots: dict[str, Floats]
    given: Mask
    values: Floats

    def powers(self) -> Floats:
        """E[u^k] for all `POWERS` of a scalar [rows, G, powers]; infinite where it diverges."""
        parts = tuple(self.slots[name] for name in self.family.estimable)
        eta = self.family.natural_parameters(**dict(zip(self.family.estimable, parts, strict=True)))
        found = np.stack([self._power(eta, k) for k in POWERS.tolist()], axis=-1)
        certain = self.values[:, :1, None] ** POWERS
        return np.where(self.given[:, None, None], certain, found)

    def _power(self, eta: tuple[Floats, ...], power: int) -> Floats:
        """log E[u^k] = A(η + k e) - A(η), e the direction of log u."""
        start = eta[0]
        exists = start + power > 0
        moved = (np.where(exists, start + power, 1.0), *eta[1:])
        rise = self.family.log_partition(*moved) - self.family.log_partition(*eta)
        return np.where(exists, np.exp(rise), np.inf)


def rows_of_points(points: Observations, rows: Integers) -> Observations:
    """Some rows of the values of a node."""
    known = {name: value[rows] for name, value in points.known.items()}
    return Observations(points.family, points.x[rows], known)


def mixed(weights: Floats, mean: Floats, cov: Floats) -> tuple[Floats, Floats]:
    """Moments of a mixture: weights [N, G], means [N, G, d], covariances [N, G, d, d]."""
    held = weights > 0  # 0 × inf counts as 0
    mean = np.where(held[..., None], mean, 0.0)
    cov = np.where(held[..., None, None], cov, 0.0)
    total = np.einsum("ng,ngd->nd", weights, mean)
    apart = mean - total[:, None]
    apart = np.where(np.isfinite(apart), apart, 0.0)
    spread = np.einsum("ng,ngij->nij", weights, cov)
    return total, spread + np.einsum("ng,ngi,ngj->nij", weights, apart, apart)


def unseen_moments(
    family: Family, points: Observations, slots: dict[str, Floats], latent: Posterior
) -> tuple[Floats, Floats]:
    """Mean [n, G, d] and covariance [n, G, d, d] of rows with holes; what is seen is certain.

    Args:
        family: of the child.
        points: its rows, with known values.
        slots: its slot values per configuration [G, ...].
        latent: the posterior of the latent in these rows.
    """
    if isinstance(family, Linear):
        return _linear(family, points, slots, latent)
    if not isinstance(family, Scaled | Linked) or not family.latent:
        return _plain(family, points, slots)
    if isinstance(family, Scaled) and latent.family.event_ndim:
        return _vector(family, points, slots, latent)
    return _scalar(family, points, slots, latent)


def _linear(
    family: Linear, points: Observations, slots: dict[str, Floats], latent: Posterior
) -> tuple[Floats, Floats]:
    """A Gaussian; where its covariance is divided by u, E[1 / u] multiplies it."""
    n_configs = len(next(iter(slots.values())))
    parts = [family.unseen(points, slots, g) for g in range(n_configs)]
    mean, cov = (np.stack(part, axis=1) for part in zip(*parts, strict=True))
    if not family.latent:
        return mean, cov
    inverse = latent.powers()[:, :, POWERS.tolist().index(-1)]
    with np.errstate(invalid="ignore"):
        scaled = cov * inverse[..., None, None]
    return mean, np.where(cov == 0, 0.0, scaled)


def _plain(family: Family, points: Observations, slots: dict[str, Floats]) -> tuple[Floats, Floats]:
    """A component that the latent does not touch."""
    parts = [_at(family, points, slots, g) for g in range(len(next(iter(slots.values()))))]
    mean, cov = (np.stack(part, axis=1) for part in zip(*parts, strict=True))
    if cov.ndim == mean.ndim:
        cov = np.where(np.eye(mean.shape[-1], dtype=bool), cov[..., None], 0.0)
    return mean, cov


def _scalar(
    family: Scaled | Linked, points: Observations, slots: dict[str, Floats], latent: Posterior
) -> tuple[Floats, Floats]:
    """Mean and variance are Σ_k c_k u^k; coordinates share u, so that their means go together."""
    powers, n_rows = latent.powers(), len(points.x)
    basis = np.linalg.inv(POINTS[:, None] ** POWERS)
    means, covs = [], []
    for g in range(powers.shape[1]):
        at = [_at(family, points, slots, g, np.full(n_rows, u)) for u in POINTS]
        mean, variance = (np.einsum("ku,und->nkd", basis, np.stack(part))
                          for part in zip(*at, strict=True))  # fmt: skip
        second = np.stack([(m[:, :, None] * m[:, None]).reshape(n_rows, -1) for m, _ in at])
        products = np.einsum("ku,und->nkd", basis, second)
        first, own = (_expected(part, powers[:, g]) for part in (mean, variance))
        shape = (n_rows, first.shape[1], first.shape[1])
        total = _expected(products, powers[:, g]).reshape(shape)
        total += np.where(np.eye(shape[1], dtype=bool), own[:, None], 0.0)
        with np.errstate(invalid="ignore"):
            centred = total - first[:, :, None] * first[:, None]
        means.append(first)
        covs.append(np.where(np.isfinite(total), centred, np.inf))
    return np.stack(means, axis=1), np.stack(covs, axis=1)


def _expected(coefficients: Floats, powers: Floats) -> Floats:
    """Σ_k c_k E[u^k] from [n, powers, d] and [n, powers]; 0 × inf counts as 0."""
    kept = _clean(coefficients)
    with np.errstate(invalid="ignore"):
        terms = kept * powers[:, :, None]
    return np.asarray(np.where(kept == 0, 0.0, terms).sum(axis=1))


def _clean(coefficients: Floats) -> Floats:
    """Coefficients that are zero but for rounding, as zeros."""
    largest = np.abs(coefficients).max(axis=1, keepdims=True)
    return np.where(np.abs(coefficients) < 1e-9 * largest, 0.0, coefficients)


def _vector(
    family: Scaled, points: Observations, slots: dict[str, Floats], latent: Posterior
) -> tuple[Floats, Floats]:
    """Mean and covariance are polynomials in u: symmetric points about its mean."""
    n_rows, n_configs = latent.slots[latent.family.estimable[0]].shape[:2]
    flat = {name: value.reshape(n_rows * n_configs, -1) for name, value in latent.slots.items()}
    centre, spread = latent.family.moments(flat)
    dim = centre.shape[1]
    centre, spread = centre.reshape(n_rows, n_configs, dim), spread.reshape(n_rows, -1, dim, dim)
    centre = np.where(latent.given[:, None, None], latent.values[:, None], centre)
    spread = np.where(latent.given[:, None, None, None], 0.0, spread)
    root = root_of(spread) * np.sqrt(dim)
    means, covs = [], []
    for g in range(n_configs):
        nodes = [centre[:, g] + sign * root[:, g, :, k] for k in range(dim) for sign in (1, -1)]
        at = [_at(family, points, slots, g, node) for node in nodes]
        mean = np.mean([m for m, _ in at], axis=0)
        second = np.mean([c + m[:, :, None] * m[:, None] for m, c in at], axis=0)
        means.append(mean)
        covs.append(second - mean[:, :, None] * mean[:, None])
    return np.stack(means, axis=1), np.stack(covs, axis=1)


def root_of(matrices: Floats) -> Floats:
    """Symmetric square roots of covariances, which may be singular."""
    values, vectors = np.linalg.eigh(matrices)
    roots = np.sqrt(np.maximum(values, 0.0))
    return np.asarray((vectors * roots[..., None, :]) @ np.swapaxes(vectors, -1, -2))


def _at(
    family: Family,
    points: Observations,
    slots: dict[str, Floats],
    g: int,
    u: Floats | None = None,
) -> tuple[Floats, Any]:
    """Mean [n, d] and variance [n, d] (covariance for vectors) given u, in configuration g."""
    n_rows = len(points.x)
    here = {name: np.repeat(value[g : g + 1], n_rows, axis=0) for name, value in slots.items()}
    held = "spread" if isinstance(family, Linked) else "multiplier"
    known = {name: value for name, value in points.known.items() if name != held}
    by = points.known.get(held)
    if u is not None:
        by = u if by is None else by * u
    product = {} if by is None else {held: by}
    mean, spread = family.moments({**here, **known, **product})
    return flat_rows(mean), spread if family.event_ndim else flat_rows(spread)
