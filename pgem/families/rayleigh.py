"""The Rayleigh family."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgem.arrays import Floats
from pgem.families._family import POSITIVE
from pgem.families._gauss_length import GaussLength


class Rayleigh(GaussLength):
    r"""The length of a Gaussian vector in the plane: wave heights, wind speeds, radial errors.

    $$p(x) = x s^{-2} \exp(-x^2 / 2s^2)$$

    $T(x) = x^2$, $\eta = -1 / 2s^2$, $A(\eta) = 2\log s$, $h(x) = x$.

    Args:
        scale: standard deviation s of each coordinate.
    """

    support = POSITIVE
    dimensions = 2
    formula = r"\log x - 2 \log s - x^2 / 2s^2"

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return np.log(x)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.rayleigh(scale=slots["scale"])
