"""The geometric family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.families._family import COUNTS, Slots
from pgem.families._two_outcomes import TwoOutcomes


class Geometric(TwoOutcomes):
    r"""The number of failures before the first success: 0, 1, 2, …

    $$p(x) = p (1 - p)^x$$

    Overcomplete form: $T(x) = (1, x)$, $\eta = (\log p, \log(1 - p))$, $A = 0$, $h = 1$.  At p = 0
    the first success never comes, and every value has probability zero.

    Args:
        prob: probability of a success.
    """

    support = COUNTS
    formula = r"\log p + x \log(1 - p)"

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return np.ones_like(x), x

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        prob = slots["prob"]
        with np.errstate(divide="ignore"):
            return (1 - prob) / prob, (1 - prob) / prob**2

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        return generator.geometric(slots["prob"]).astype(float) - 1

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.geom(slots["prob"], loc=-1)
