"""The Dirichlet family."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask, log_gamma
from pgem.families._concentrations import dirichlet_newton
from pgem.families._family import Family, Slot, Slots, Statistics, Support, every
from pgem.families._gamma_functions import digamma, log_gamma_rise
from pgem.families._integration import simplex_rule
from pgem.families._roles import CONCENTRATIONS, PROBS

SHARES = Support(
    "rows of positive numbers that sum to one",
    lambda x: every(x > 0, -1) & (np.abs(x.sum(axis=-1) - 1) <= 1e-6),
)


class Dirichlet(Family):
    r"""A vector of shares.

    $$p(x) = \frac{\Gamma(\sum_k a_k)}{\prod_k \Gamma(a_k)} \prod_k x_k^{a_k - 1}$$

    $T(x) = \log x$, $\eta = a$, $A(\eta) = \sum_k \log \Gamma(a_k) - \log \Gamma(\sum_k a_k)$,
    $h(x) = \prod_k 1 / x_k$, a density in all coordinates but the last.  Rows that are all equal
    have no maximum: the concentrations stop near 1e10.

    Args:
        concentration: concentrations a [D]; one number stands for equal ones.
        size: D, where nothing else shows it.
    """

    slots = (Slot("concentration", CONCENTRATIONS, "d"),)
    support = SHARES
    event_ndim = 1
    formula = r"\log \Gamma(\sum_k a_k) - \sum_k \log \Gamma(a_k) + \sum_k (a_k - 1) \log x_k"
    written: ClassVar[Mapping[str, str]] = {
        "A": "sum(lgamma(eta)) - lgamma(sum(eta))",
    }
    rung = "Newton"
    conjugate_to = PROBS

    def pseudo_statistics(self, **slots: Floats) -> Statistics:
        return (slots["concentration"] - 1,)

    def log_conditional(self, x: Floats, free: Mask, slots: Slots) -> Floats:
        # shares of what the other entries leave are again Dirichlet, and independent of them
        left = x[:, free].sum(axis=1)
        shares = self.observe(x[:, free] / left[:, None])
        within = {"concentration": slots["concentration"][:, free]}
        density = self.log_density(shares, within)[:, 0]
        return np.asarray(density - (free.sum() - 1) * np.log(left))

    def inside(self, **known: Floats) -> float:
        return 1 / (self.size or 1)

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (np.log(x),)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (slots["concentration"],)

    def log_partition(self, *eta: Floats) -> Floats:
        return np.asarray(log_gamma(eta[0]).sum(axis=-1) - log_gamma(eta[0].sum(axis=-1)))

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return np.asarray(-np.log(x).sum(axis=-1))

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        return (dirichlet_newton(mean[0]),)

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (logs,) = self.totals(stats)
        return count, logs

    def nodes(self, slots: Slots) -> tuple[Floats, Floats]:
        return simplex_rule(slots["concentration"].shape[1])

    def from_natural(self, *eta: Floats) -> tuple[Floats, ...]:
        return eta

    def mean_statistics(self, *eta: Floats) -> tuple[Floats, ...]:
        return (digamma(eta[0]) - digamma(eta[0].sum(axis=-1, keepdims=True)),)

    def partition_rise(self, eta: Statistics, step: Statistics) -> Floats:
        parts = log_gamma_rise(eta[0], step[0]).sum(axis=-1)
        return np.asarray(parts - log_gamma_rise(eta[0].sum(axis=-1), step[0].sum(axis=-1)))

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        total = slots["concentration"].sum(axis=1, keepdims=True)
        mean = slots["concentration"] / total
        spread = mean[:, :, None] * np.eye(mean.shape[1]) - mean[:, :, None] * mean[:, None, :]
        return mean, spread / (total[:, :, None] + 1)

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        # tiny concentrations underflow to 0, which is outside the support
        parts = np.maximum(generator.standard_gamma(slots["concentration"]), 1e-300)
        return np.asarray(np.maximum(parts / parts.sum(axis=1, keepdims=True), 1e-300))

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return SimpleNamespace(logpdf=lambda x: stats.dirichlet(slots["concentration"]).logpdf(x.T))
