"""The logarithmic (log-series) family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, safe_log
from pgem.families._family import POSITIVE_COUNTS, Family, Slot, Slots
from pgem.families._roles import OPENPROB
from pgem.families._root import increasing_root

LARGEST = 36.0
"""-log(1 - p) stops here, so that p stays below 1 in double precision."""


class Logarithmic(Family):
    r"""Counts from 1 on with a long tail: individuals per species.

    $$p(x) = p^x / (-x \log(1 - p)), \quad x \ge 1$$

    $T(x) = x - 1$, $\eta = \log p$, $A(\eta) = \log\{-\log(1 - p) / p\}$, $h(x) = 1 / x$, so that
    p = 0 puts all mass on 1.

    Args:
        prob: p, from 0 to below 1.
    """

    slots = (Slot("prob", OPENPROB),)
    support = POSITIVE_COUNTS
    formula = r"x \log p - \log x - \log\{-\log(1 - p)\}"
    written: ClassVar[Mapping[str, str]] = {
        "A": "log(-log(1 - exp(eta))) - eta",
    }
    rung = "Newton"

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (x - 1,)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (safe_log(slots["prob"]),)

    def log_partition(self, *eta: Floats) -> Floats:
        p = np.exp(eta[0])
        return np.where(p < 1e-12, p / 2, np.log(-np.log1p(-p) / np.where(p > 0, p, 1.0)))

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return -np.log(x)

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        start = np.log1p(2 * mean[0])
        root = increasing_root(lambda y: _excess(y, mean[0]), start, 0.0, LARGEST)
        return (-np.expm1(-root),)

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        y = -np.log1p(-slots["prob"])
        mean = 1 + _excess(y, np.zeros_like(y))[0]
        return mean, mean * (np.exp(y) - mean)

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        return generator.logseries(slots["prob"]).astype(float)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.logser(slots["prob"])


def _excess(y: Floats, target: Floats) -> tuple[Floats, Floats]:
    """(e^y - 1) / y - 1 - target at y = -log(1 - p), which is E[x] - 1 - target; and its slope."""
    tiny = y < 1e-3
    safe = np.where(tiny, 1.0, y)
    excess = np.where(tiny, y / 2 + y**2 / 6 + y**3 / 24, np.expm1(safe) / safe - 1)
    slope = (np.exp(safe) * (safe - 1) + 1) / safe**2
    return excess - target, np.where(tiny, 0.5 + y / 3 + y**2 / 8, slope)
