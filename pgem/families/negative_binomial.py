"""The negative binomial family with a known size."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask, log_gamma
from pgem.families._family import COUNTS, Examples, Slot, Slots
from pgem.families._roles import KNOWN, PROB
from pgem.families._two_outcomes import TwoOutcomes


class NegativeBinomial(TwoOutcomes):
    r"""Failures before a known number of successes.

    $$p(x) = \binom{x + n - 1}{x} p^n (1 - p)^x$$

    Overcomplete form: $T(x) = (n, x)$, $\eta = (\log p, \log(1 - p))$, $A = 0$, $h$ the binomial
    coefficient.  With a free size it is no exponential family: that is a Poisson whose rate is a
    latent Gamma.

    Args:
        prob: probability of a success.
        size: the number of successes n > 0, a value or a covariate; never estimated.
    """

    slots = (Slot("prob", PROB), Slot("size", KNOWN, positive=True))
    support = COUNTS
    options = ()
    formula = r"\log \tbinom{x + n - 1}{x} + n \log p + x \log(1 - p)"
    examples: ClassVar[Examples] = {"size": (2.0, 0.7, 5.0)}

    def possible(self, x: Floats, **known: Floats) -> Mask:
        """Counts, if `size` is above zero."""
        size = known.get("size")
        return COUNTS.contains(x) if size is None else COUNTS.contains(x) & (size > 0)

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return known["size"], x

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        n = known["size"]
        return np.asarray(log_gamma(x + n) - log_gamma(n) - log_gamma(x + 1))

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        prob, size = self.aligned(slots, "prob", "size")
        with np.errstate(divide="ignore"):
            return size * (1 - prob) / prob, size * (1 - prob) / prob**2

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        prob, size = self.aligned(slots, "prob", "size")
        return generator.negative_binomial(size, prob).astype(float)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.nbinom(slots["size"], slots["prob"])
