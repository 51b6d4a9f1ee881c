"""The zero-truncated Poisson family."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, log_gamma, safe_log
from pgem.families._family import POSITIVE_COUNTS, Family, Slot, Slots
from pgem.families._roles import RATE
from pgem.families._root import increasing_root


class TruncatedPoisson(Family):
    r"""Counts of independent events, known to be positive.

    $$p(x) = r^x / \{x! (e^r - 1)\}, \quad x \ge 1$$

    $T(x) = x - 1$, $\eta = \log r$, $A(\eta) = \log\{(e^r - 1) / r\}$, $h(x) = 1 / x!$, so that
    r = 0 puts all mass on 1.

    Args:
        rate: rate r of the counts before zeros were left out, zero or above.
    """

    slots = (Slot("rate", RATE),)
    support = POSITIVE_COUNTS
    formula = r"x \log r - \log(e^r - 1) - \log x!"
    written: ClassVar[Mapping[str, str]] = {
        "A": "log(exp(exp(eta)) - 1) - eta",
    }
    rung = "Newton"

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (x - 1,)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (safe_log(slots["rate"]),)

    def log_partition(self, *eta: Floats) -> Floats:
        rate = np.exp(eta[0])
        return rate + np.log(-np.expm1(-np.maximum(rate, 1e-300)) / np.maximum(rate, 1e-300))

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return -log_gamma(x + 1)

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        excess = mean[0]
        return (increasing_root(lambda r: _excess(r, excess), 2 * excess, 0.0, 1e300),)

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        rate = slots["rate"]
        mean = 1 + _excess(rate, np.zeros_like(rate))[0]
        return mean, mean * (1 + rate - mean)

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        """The first event falls somewhere in the unit interval, the others after it."""
        rate = slots["rate"]
        first = -np.log1p(generator.random(rate.shape) * np.expm1(-rate))
        return generator.poisson(np.maximum(rate - first, 0.0)).astype(float) + 1

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        whole = stats.poisson(slots["rate"])
        return SimpleNamespace(
            logpmf=lambda x: np.where(x > 0, whole.logpmf(x) - whole.logsf(0), -np.inf)
        )


def _excess(rate: Floats, target: Floats) -> tuple[Floats, Floats]:
    """r / (1 - e^-r) - 1 - target, which is E[x] - 1 - target, and its slope."""
    tiny = rate < 1e-3
    safe = np.where(tiny, 1.0, rate)
    share = -np.expm1(-safe)
    excess = np.where(tiny, rate / 2 + rate**2 / 12, safe / share - 1)
    slope = (share - safe * np.exp(-safe)) / share**2
    return excess - target, np.where(tiny, 0.5 + rate / 6, slope)
