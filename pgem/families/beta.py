"""The beta family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, log_gamma
from pgem.families._concentrations import dirichlet_newton
from pgem.families._family import UNIT_INTERVAL, Family, Slot, Slots, Statistics
from pgem.families._gamma_functions import digamma, log_gamma_rise
from pgem.families._roles import POSITIVE, PROB


class Beta(Family):
    r"""A share strictly between 0 and 1.

    $$p(x) = x^{a - 1} (1 - x)^{b - 1} \Gamma(a + b) / \Gamma(a) \Gamma(b)$$

    $T(x) = (\log x, \log(1 - x))$, $\eta = (a, b)$, $A = \log \Gamma(a) \Gamma(b) / \Gamma(a + b)$,
    $h(x) = 1 / x (1 - x)$.  Values that are all equal have no maximum: a and b stop near 1e10.

    Args:
        a: weight of 1; the mean is a / (a + b).
        b: weight of 0.
    """

    slots = (Slot("a", POSITIVE), Slot("b", POSITIVE))
    support = UNIT_INTERVAL
    formula = (
        r"\log \Gamma(a + b) - \log \Gamma(a) - \log \Gamma(b)"
        r" + (a - 1) \log x + (b - 1) \log(1 - x)"
    )
    rung = "Newton"
    conjugate_to = PROB

    def pseudo_statistics(self, **slots: Floats) -> Statistics:
        return slots["a"] - 1, slots["b"] - 1

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return np.log(x), np.log1p(-x)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return slots["a"], slots["b"]

    def log_partition(self, *eta: Floats) -> Floats:
        a, b = eta
        return np.asarray(log_gamma(a) + log_gamma(b) - log_gamma(a + b))

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return -np.log(x) - np.log1p(-x)

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        found = dirichlet_newton(np.stack(mean, axis=-1))
        return found[..., 0], found[..., 1]

    def from_natural(self, *eta: Floats) -> tuple[Floats, ...]:
        return eta

    def mean_statistics(self, *eta: Floats) -> tuple[Floats, ...]:
        total = digamma(eta[0] + eta[1])
        return digamma(eta[0]) - total, digamma(eta[1]) - total

    def partition_rise(self, eta: Statistics, step: Statistics) -> Floats:
        parts = log_gamma_rise(eta[0], step[0]) + log_gamma_rise(eta[1], step[1])
        return np.asarray(parts - log_gamma_rise(eta[0] + eta[1], step[0] + step[1]))

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        total = slots["a"] + slots["b"]
        mean = slots["a"] / total
        return mean, mean * (1 - mean) / (total + 1)

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        # tiny weights round to the ends, which are outside the support
        return np.clip(generator.beta(slots["a"], slots["b"]), 1e-300, 1 - 1e-16)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.beta(slots["a"], slots["b"])
