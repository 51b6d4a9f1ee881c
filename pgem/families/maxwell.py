"""The Maxwell family."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgem.arrays import Floats
from pgem.families._family import POSITIVE
from pgem.families._gauss_length import GaussLength


class Maxwell(GaussLength):
    r"""The length of a Gaussian vector in space: speeds of the molecules of a gas.

    $$p(x) = \sqrt{2 / \pi}\, x^2 s^{-3} \exp(-x^2 / 2s^2)$$

    $T(x) = x^2$, $\eta = -1 / 2s^2$, $A(\eta) = 3\log s$, $h(x) = \sqrt{2 / \pi}\, x^2$.

    Args:
        scale: standard deviation s of each coordinate.
    """

    support = POSITIVE
    dimensions = 3
    formula = r"\tfrac12 \log \tfrac{2}{\pi} + 2 \log x - 3 \log s - x^2 / 2s^2"

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return np.asarray(0.5 * np.log(2 / np.pi) + 2 * np.log(x))

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.maxwell(scale=slots["scale"])
