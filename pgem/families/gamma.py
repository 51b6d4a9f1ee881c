"""The gamma family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, log_gamma, safe_log
from pgem.families._family import POSITIVE, Family, Multiplier, Slot, Slots, Statistics
from pgem.families._gamma_functions import digamma, log_gamma_rise
from pgem.families._roles import RATE, SHAPE, SHAPEANDRATE, Role
from pgem.families._shape import solve_shape


class Gamma(Family):
    r"""A positive quantity.

    $$p(x) = b^a x^{a - 1} e^{-b x} / \Gamma(a)$$

    $T(x) = (\log x, x)$, $\eta = (a, -b)$, $A(\eta) = \log \Gamma(a) - a \log b$, $h(x) = 1 / x$.
    The likelihood of values that are all equal grows without bound; the shape then stops at 1e10.

    Args:
        shape: shape a.
        rate: rate b; the mean is a / b.
    """

    slots = (
        Slot("shape", SHAPE),
        Slot("rate", RATE, multiplier=Multiplier(scaled=(2,), logged=(1,))),
    )
    support = POSITIVE
    formula = r"a \log b - \log \Gamma(a) + (a - 1) \log x - b x"
    rung = "Newton"

    conjugate_to = RATE

    def pseudo_statistics(self, **slots: Floats) -> Statistics:
        return slots["shape"] - 1, slots["rate"]

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return np.log(x), x

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return slots["shape"], -slots["rate"]

    def log_partition(self, *eta: Floats) -> Floats:
        return np.asarray(log_gamma(eta[0]) - eta[0] * safe_log(-eta[1]))

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return -np.log(x)

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        mean_log, level = mean
        shape = solve_shape(np.log(level) - mean_log)
        return shape, shape / level

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (logs, total) = self.totals(stats)
        if slot == "shape":
            return count, logs + count * safe_log(slots["rate"])
        return count * slots["shape"], total

    def from_natural(self, *eta: Floats) -> tuple[Floats, ...]:
        return eta[0], -eta[1]

    def mean_statistics(self, *eta: Floats) -> tuple[Floats, ...]:
        return digamma(eta[0]) - np.log(-eta[1]), -eta[0] / eta[1]

    def partition_rise(self, eta: Statistics, step: Statistics) -> Floats:
        rate, more = -eta[1], -step[1]
        total = eta[0] + step[0]
        rise = log_gamma_rise(eta[0], step[0]) - total * np.log1p(more / rate)
        return np.asarray(rise - step[0] * np.log(rate))

    def with_tied(self, slots: tuple[str, ...]) -> Gamma | None:
        return TiedGamma.like(self) if set(slots) == {"shape", "rate"} else None

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        with np.errstate(divide="ignore"):
            return slots["shape"] / slots["rate"], slots["shape"] / slots["rate"] ** 2

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        # a tiny shape underflows to 0, which is outside the support
        return np.maximum(generator.standard_gamma(slots["shape"]) / slots["rate"], 1e-300)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.gamma(slots["shape"], scale=1 / slots["rate"])


class TiedGamma(Gamma):
    """A gamma of mean one, whose shape and rate are one parameter.

    The joint role's statistic is kept with the shape; that of the rate is zero.
    """

    @classmethod
    def like(cls, other: Gamma) -> TiedGamma:
        """The same instance with its two slots tied."""
        tied = cls.__new__(cls)
        tied.__dict__.update(other.__dict__)
        return tied

    @property
    def title(self) -> str:
        return Gamma.__name__

    def role_of(self, slot: str) -> Role:
        return SHAPEANDRATE

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (logs, total) = self.totals(stats)
        if slot == "shape":
            return count, total - logs
        return np.zeros_like(count), np.zeros_like(total)
