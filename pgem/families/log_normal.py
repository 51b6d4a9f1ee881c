"""The log-normal family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.families._family import POSITIVE, Family, Slot, Slots, Statistics
from pgem.families._roles import MEAN, VARIANCE


class LogNormal(Family):
    r"""A positive quantity whose logarithm is Gaussian.

    $$p(x) = (2\pi v)^{-1/2} x^{-1} \exp\{-(\log x - m)^2 / 2v\}$$

    $T(x) = (\log x, \log^2 x)$, $\eta = (m / v, -1 / 2v)$, $A(\eta)$ that of the normal family,
    $h(x) = 1 / x$.

    Args:
        mean: mean of log x.
        var: variance of log x.
    """

    slots = (Slot("mean", MEAN, free_of=("var",)), Slot("var", VARIANCE))
    support = POSITIVE
    formula = r"-\log x - \tfrac12 \log 2\pi v - (\log x - m)^2 / 2v"

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return np.log(x), np.log(x) ** 2

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return slots["mean"] / slots["var"], -0.5 / slots["var"]

    def log_partition(self, *eta: Floats) -> Floats:
        return -(eta[0] ** 2) / (4 * eta[1]) + 0.5 * np.log(np.pi / -eta[1])

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return -np.log(x)

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (logs, squares) = self.totals(stats)
        if slot == "mean":
            precision = 1.0 if cancel else 1 / slots["var"]
            return precision * count, precision * logs
        mean = slots["mean"]
        return count, np.maximum(squares + mean * (mean * count - 2 * logs), 0.0)

    def measured(self, x: Floats) -> Floats:
        return np.log(x)

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        mean = np.exp(slots["mean"] + slots["var"] / 2)
        return mean, np.expm1(slots["var"]) * mean**2

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        noise = generator.standard_normal(slots["mean"].shape)
        return np.asarray(np.exp(slots["mean"] + np.sqrt(slots["var"]) * noise))

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.lognorm(np.sqrt(slots["var"]), scale=np.exp(slots["mean"]))
