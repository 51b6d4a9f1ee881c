"""The binomial family."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask, log_gamma
from pgem.families._family import COUNTS, Examples, Slot, Slots
from pgem.families._roles import KNOWN, PROB
from pgem.families._two_outcomes import TwoOutcomes


class Binomial(TwoOutcomes):
    r"""Successes among a known number of trials.

    $$p(x) = \binom{n}{x} p^x (1 - p)^{n - x}$$

    Overcomplete form: $T(x) = (x, n - x)$, $\eta = (\log p, \log(1 - p))$, $A = 0$,
    $h(x) = \binom{n}{x}$.

    Args:
        prob: probability of a success, 0 and 1 allowed.
        logit: log p / (1 - p), a sum of terms, instead of `prob`.
        trials: the number of trials n, a value or a covariate; never estimated.
    """

    slots = (Slot("prob", PROB, link="logit"), Slot("trials", KNOWN))
    support = COUNTS
    formula = r"\log \tbinom{n}{x} + x \log p + (n - x) \log(1 - p)"
    examples: ClassVar[Examples] = {"trials": (5.0, 1.0, 12.0)}

    def possible(self, x: Floats, **known: Floats) -> Mask:
        """Counts of at most `trials`, which is a count itself."""
        trials = known.get("trials")
        counts = COUNTS.contains(x)
        return counts if trials is None else counts & (x <= trials) & COUNTS.contains(trials)

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return x, known["trials"] - x

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        n = known["trials"]
        return np.asarray(log_gamma(n + 1) - log_gamma(x + 1) - log_gamma(n - x + 1))

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        prob, trials = slots["prob"], self._trials(slots)
        return trials * prob, trials * prob * (1 - prob)

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        trials = self._trials(slots).astype(int)
        return generator.binomial(trials, slots["prob"]).astype(float)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.binom(int(slots["trials"]), slots["prob"])

    def _trials(self, slots: Slots) -> Floats:
        """Trials with an axis for the coordinates, where there are any."""
        trials, prob = slots["trials"], slots["prob"]
        return trials.reshape(trials.shape + (1,) * (prob.ndim - trials.ndim))
