"""The multivariate normal family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask
from pgem.families import _derived, _gaussian, _numeric, _patterns
from pgem.families._family import Family, Observations, Slot, Slots, Statistics, Support, every
from pgem.families._roles import COVARIANCE, MEAN
from pgem.families._tiles import TileForm

VECTORS = Support("rows of finite real numbers", lambda x: every(np.isfinite(x), -1))


class MvNormal(Family):
    r"""A Gaussian vector.

    $$p(x) = |2\pi V|^{-1/2} \exp\{-\tfrac12 (x - m)^T V^{-1} (x - m)\}$$

    The covariance may be full [D, D], `diagonal()` [D] or `spherical()` (one number).

    Args:
        mean: mean vector [D].
        cov: covariance.
        size: D, where nothing else shows it.
    """

    slots = (Slot("mean", MEAN, "d", free_of=("cov",)), Slot("cov", COVARIANCE, "dd"))
    support = VECTORS
    event_ndim = 1
    formula = r"-\tfrac12 \log |2\pi V| - \tfrac12 (x - m)^T V^{-1} (x - m)"
    written: ClassVar[Mapping[str, str]] = {
        "eta": "dot(inv(cov), mean); -inv(cov) / 2",
        "A": "-quadratic(eta1, eta2) / 4 + log(det(-pi * inv(eta2))) / 2",
    }

    conjugate_to = MEAN
    gaussian = True

    pseudo_formula = ("V^{-1}", "V^{-1} m")

    def pseudo_statistics(self, **slots: Floats) -> Statistics:
        precision = np.linalg.inv(self._matrices(slots))
        linear = np.einsum("rij,rj->ri", precision, slots["mean"])
        return np.asarray(precision), np.asarray(linear)

    @property
    def factorises(self) -> bool:
        return not self._full

    @property
    def takes_partial(self) -> bool:
        return True

    def conditional_moments(self, x: Floats, slots: Slots) -> tuple[Floats, Floats]:
        if not self._full:
            return super().conditional_moments(x, slots)
        shown, mean = ~np.isnan(x[0]), slots["mean"]
        to_whole, spread = _patterns.regression(shown, slots["cov"])
        deviation = x[:, None, shown] - mean[:, shown]
        return mean + np.asarray(np.einsum("cio,nco->nci", to_whole, deviation)), spread

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return x, x[:, :, None] * x[:, None, :]

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        precision = np.linalg.inv(self._matrices(slots))
        linear = np.einsum("cij,cj->ci", precision, slots["mean"])
        return np.asarray(linear), np.asarray(-0.5 * precision)

    def log_partition(self, *eta: Floats) -> Floats:
        cov = -0.5 * np.linalg.inv(eta[1])
        quadratic = 0.5 * np.einsum("ci,cij,cj->c", eta[0], cov, eta[0])
        return np.asarray(quadratic + 0.5 * np.linalg.slogdet(2 * np.pi * cov)[1])

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        (flat,) = mean
        size = self.size or 1
        first, second = flat[:, :size], flat[:, size:].reshape(-1, size, size)
        return first, second - first[:, :, None] * first[:, None, :]

    def log_density(self, data: Observations, slots: Slots) -> Floats:
        if self._full and data.complete:
            return _gaussian.full_log_density(data.x, slots["mean"], slots["cov"], data.span)
        if self._full:
            return _patterns.log_density_of_shown(data, slots["mean"], slots["cov"])
        observed, span = _shown(data)
        return _gaussian.coordinate_log_density(
            data.x, observed, slots["mean"], self._variances(slots), span
        )

    def accumulate(self, data: Observations, weights: Floats, slots: Slots) -> Statistics:
        if self._full and data.complete:
            return _gaussian.full_moments(data.x, weights, slots["mean"], slots["cov"], data.span)
        if self._full:
            return _patterns.expected_moments(data, weights, slots["mean"], slots["cov"])
        observed, span = _shown(data)
        return _gaussian.coordinate_moments(
            data.x, observed, weights, slots["mean"], self._variances(slots), span
        )

    def tile_form(
        self, data: Observations, slots: Slots, held: frozenset[str] = frozenset()
    ) -> TileForm | None:
        if not data.complete:
            return None
        if self._full:
            form = _gaussian.full_form
            if "cov" in held and _gaussian.are_diagonal(slots["cov"]):
                form = _gaussian.held_form
            return form(data.x, slots["mean"], slots["cov"], data.span)
        variances = self._variances(slots)
        return _gaussian.coordinate_form(data.x, slots["mean"], variances, data.span)

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, first, second = stats
        shift = slots["mean"] - origin["mean"]
        if slot == "mean":
            return self._mean_statistics(count, first, slots, origin, cancel=cancel)
        if self._full:
            outer = _gaussian.recentre_full(first, second, count, shift)
            return count, outer
        squares = _gaussian.recentre(first, second, count, shift)
        if self.structures["cov"] == "spherical":
            return count.sum(axis=1), squares.sum(axis=1)
        return count, squares

    def estimate(self, stats: Statistics, previous: Slots) -> dict[str, Floats]:
        # moments are kept about the current mean, and the mean does not depend on the covariance
        return self.estimate_by_roles(stats, previous) or {}

    def expected_log_density(self, stats: Statistics, slots: Slots, origin: Slots) -> float:
        count, first, second = stats
        shift = slots["mean"] - origin["mean"]
        if self._full:
            outer = _gaussian.recentre_full(first, second, count, shift)
            return _gaussian.full_expected_log_density(count, outer, slots["cov"])
        squares, var = _gaussian.recentre(first, second, count, shift), self._variances(slots)
        constant = _gaussian.LOG_2PI + np.log(var)
        return float(-0.5 * (count * constant + squares / var).sum())

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        return slots["mean"], self._matrices(slots)

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        noise = generator.standard_normal(slots["mean"].shape)
        if self._full:
            lower = np.linalg.cholesky(slots["cov"])
            return np.asarray(slots["mean"] + np.einsum("nij,nj->ni", lower, noise))
        return np.asarray(slots["mean"] + np.sqrt(self._variances(slots)) * noise)

    def expected_features(self, slots: Slots) -> Floats:
        mean, cov = self.moments(slots)
        square = cov + mean[:, :, None] * mean[:, None, :]
        return np.concatenate([np.ones((len(mean), 1)), mean, square.reshape(len(mean), -1)], 1)

    def entropy(self, slots: Slots) -> Floats:
        return -_derived.inner(self.expected_features(slots), self.coefficients(slots))

    def fisher_information(self, slots: Slots) -> Floats:
        theta, size = self.coefficients(slots), slots["mean"].shape[1]

        def partition(eta: Floats) -> Floats:
            second = eta[:, size:].reshape(-1, size, size)
            return self.log_partition(eta[:, :size], (second + np.swapaxes(second, 1, 2)) / 2)

        table = np.zeros((*theta.shape, theta.shape[1]))
        steps = _numeric.relative_steps(theta[:, 1:])
        table[:, 1:, 1:] = _numeric.hessian(partition, theta[:, 1:], steps)
        return table

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.multivariate_normal(slots["mean"], slots["cov"])

    @property
    def _full(self) -> bool:
        return self.structures.get("cov", "full") == "full"

    def _variances(self, slots: Slots) -> Floats:
        cov = slots["cov"]
        return np.broadcast_to(cov.reshape(len(cov), -1), slots["mean"].shape)

    def _matrices(self, slots: Slots) -> Floats:
        if self._full:
            return slots["cov"]
        return self._variances(slots)[:, :, None] * np.eye(slots["mean"].shape[1])

    def _mean_statistics(
        self, count: Floats, first: Floats, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        n = count if count.ndim == 2 else np.repeat(count[:, None], first.shape[1], axis=1)
        total = first + n * origin["mean"]
        if cancel:
            return n, total
        if self._full:
            precision = np.linalg.inv(slots["cov"])
            linear = np.einsum("cij,cj->ci", precision, total)
            return count[:, None, None] * precision, np.asarray(linear)
        var = self._variances(slots)
        return n / var, total / var


def _shown(data: Observations) -> tuple[Mask | None, _gaussian.Span | None]:
    """Which coordinates are there, if not all, and else their range."""
    return (None, data.span) if data.complete else (data.observed, None)
