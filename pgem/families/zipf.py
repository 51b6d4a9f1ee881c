"""The Zipf family over a known number of ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask, log_sum_exp
from pgem.families._family import POSITIVE_COUNTS, Examples, Family, Slot, Slots
from pgem.families._roles import KNOWN
from pgem.families._roles import POSITIVE as POSITIVE_NUMBER
from pgem.families._root import increasing_root


class Zipf(Family):
    r"""Ranks 1 … n with probabilities that fall like a power.

    $$p(x) = x^{-s} / \sum_{j = 1}^n j^{-s}$$

    $T(x) = \log x$, $\eta = -s$, $A(\eta) = \log \sum_j j^\eta$, $h = 1$ up to n.

    Args:
        exponent: exponent s, above zero (it stops near 0 where larger ranks are more frequent).
        ranks: number of ranks n, a value, or `pg.constant([...])[gate]`; never estimated.
    """

    slots = (Slot("exponent", POSITIVE_NUMBER), Slot("ranks", KNOWN, per_cell=True, positive=True))
    support = replace(POSITIVE_COUNTS, name="whole numbers from 1 to `ranks`")
    formula = r"-s \log x - \log \sum_{j = 1}^n j^{-s}"
    written: ClassVar[Mapping[str, str]] = {
        "A": "log(power_sum(eta, ranks))",
    }
    rung = "Newton"
    examples: ClassVar[Examples] = {"ranks": (12.0,)}

    def possible(self, x: Floats, **known: Floats) -> Mask:
        """Counts from 1 to `ranks`."""
        return POSITIVE_COUNTS.contains(x) & (x <= known.get("ranks", np.array([np.inf])))

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (np.log(x),)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (-slots["exponent"],)

    def log_partition(self, *eta: Floats, **known: Floats) -> Floats:
        return _sums(eta[0], known["ranks"])[0]

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return np.where(x <= known["ranks"], 0.0, -np.inf)

    def from_mean(self, *mean: Floats, **known: Floats) -> tuple[Floats, ...]:
        def equation(eta: Floats) -> tuple[Floats, Floats]:
            _, first, variance = _sums(eta, known["ranks"])
            return first - mean[0], variance

        return (-increasing_root(equation, np.full_like(mean[0], -1.0), -1e3, -1e-10),)

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        exponent, ranks = self.aligned(slots, "exponent", "ranks")
        out = np.ones(exponent.shape)
        pairs = np.stack([exponent, np.broadcast_to(ranks, exponent.shape)], axis=-1)
        for s, n in np.unique(pairs.reshape(-1, 2), axis=0):
            here = (pairs == (s, n)).all(axis=-1)
            below = np.cumsum(np.arange(1, int(n) + 1) ** -s)
            uniform = generator.random(int(here.sum())) * below[-1]
            out[here] = 1.0 + np.searchsorted(below, uniform, side="right")
        return out

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.zipfian(slots["exponent"], int(slots["ranks"]))


def _sums(eta: Floats, ranks: Floats) -> tuple[Floats, Floats, Floats]:
    """log Σ j^η, and mean and variance of log j under weights j^η."""
    found = np.empty((3, *eta.shape))
    limits = np.broadcast_to(ranks, eta.shape)
    for most in np.unique(limits):
        here = limits == most
        logs = np.log(np.arange(1, int(most) + 1))
        terms = eta[here][:, None] * logs
        total = log_sum_exp(terms, 1)
        share = np.exp(terms - total)
        first = share @ logs
        found[:, here] = total[:, 0], first, (share * (logs - first[:, None]) ** 2).sum(axis=1)
    return found[0], found[1], found[2]
