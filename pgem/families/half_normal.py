"""The half-normal family."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgem.arrays import Floats
from pgem.families._family import NON_NEGATIVE
from pgem.families._gauss_length import GaussLength


class HalfNormal(GaussLength):
    r"""The absolute value of a centred Gaussian.

    $$p(x) = \sqrt{2 / \pi}\, s^{-1} \exp(-x^2 / 2s^2)$$

    $T(x) = x^2$, $\eta = -1 / 2s^2$, $A(\eta) = \log s$, $h = \sqrt{2 / \pi}$.

    Args:
        scale: standard deviation s of each coordinate.
    """

    support = NON_NEGATIVE
    dimensions = 1
    formula = r"\tfrac12 \log \tfrac{2}{\pi} - \log s - x^2 / 2s^2"

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return np.full_like(x, 0.5 * np.log(2 / np.pi))

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.halfnorm(scale=slots["scale"])
