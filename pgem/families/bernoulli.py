"""The Bernoulli family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.families._family import BINARY, Slots
from pgem.families._two_outcomes import TwoOutcomes


class Bernoulli(TwoOutcomes):
    r"""Success (1) or failure (0).

    $$p(x) = p^x (1 - p)^{1 - x}$$

    Overcomplete form: $T(x) = (x, 1 - x)$, $\eta = (\log p, \log(1 - p))$, $A = 0$, $h = 1$.

    Args:
        prob: probability of a success, 0 and 1 allowed.
        logit: log p / (1 - p), a sum of terms, instead of `prob`.
    """

    support = BINARY
    options = ()
    formula = r"x \log p + (1 - x) \log(1 - p)"

    def domain(self) -> Floats | None:
        return np.array([0.0, 1.0])

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return x, 1 - x

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        return slots["prob"], slots["prob"] * (1 - slots["prob"])

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        return (generator.random(slots["prob"].shape) < slots["prob"]).astype(float)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.bernoulli(slots["prob"])
