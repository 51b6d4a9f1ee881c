"""The chi-squared family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, log_gamma
from pgem.families._family import POSITIVE, Family, Slot, Slots
from pgem.families._roles import POSITIVE as POSITIVE_NUMBER
from pgem.families._roles import inverse_digamma


class ChiSquared(Family):
    r"""A sum of squares of standard normal variables.

    $$p(x) = x^{d / 2 - 1} e^{-x / 2} / 2^{d / 2} \Gamma(d / 2)$$

    $T(x) = \log x$, $\eta = d / 2$, $A(\eta) = \log \Gamma(\eta) + \eta \log 2$,
    $h(x) = e^{-x / 2} / x$.

    Args:
        df: degrees of freedom d, any positive number.
    """

    slots = (Slot("df", POSITIVE_NUMBER),)
    support = POSITIVE
    formula = r"(d / 2 - 1) \log x - x / 2 - \log \Gamma(d / 2) - (d / 2) \log 2"
    rung = "Newton"

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (np.log(x),)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (slots["df"] / 2,)

    def log_partition(self, *eta: Floats) -> Floats:
        return np.asarray(log_gamma(eta[0]) + eta[0] * np.log(2))

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return -x / 2 - np.log(x)

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        return (2 * inverse_digamma(mean[0] - np.log(2)),)

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        return slots["df"], 2 * slots["df"]

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        # tiny degrees of freedom underflow to 0, which is outside the support
        return np.maximum(generator.chisquare(slots["df"]), 1e-300)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.chi2(slots["df"])
