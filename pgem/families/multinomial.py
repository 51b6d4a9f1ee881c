"""The multinomial family."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, log_gamma, safe_log
from pgem.families._family import COUNT_ROWS, Examples, Family, Slot, Slots, Statistics
from pgem.families._roles import PROBS


class Multinomial(Family):
    r"""A row of counts over `size` categories, given the row's total.

    $$p(x) = \frac{(\sum_k x_k)!}{\prod_k x_k!} \prod_k p_k^{x_k}$$

    Overcomplete form: $T(x) = x$, $\eta = \log p$, $A = 0$, $h$ the multinomial coefficient.  The
    number of trials is each row's total; `draw` and `moments` read it from an extra entry
    `trials` beside the slots, one trial if there is none.

    Args:
        probs: probabilities [K], zeros allowed.
        logits: log p up to a constant, a sum of terms with coefficients [K, ...], instead of
            `probs`; those of category 0 are fixed at zero.
        size: number of categories K.
    """

    slots = (Slot("probs", PROBS, "k", link="logits"),)
    support = COUNT_ROWS
    event_ndim = 1
    formula = r"\log (\sum_k x_k)! - \sum_k \log x_k! + \sum_k x_k \log p_k"
    examples: ClassVar[Examples] = {"trials": (4.0, 1.0, 6.0)}

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (x,)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (safe_log(slots["probs"]),)

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return np.asarray(log_gamma(x.sum(axis=-1) + 1) - log_gamma(x + 1).sum(axis=-1))

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        return self.totals(stats)[1]

    def nodes(self, slots: Slots) -> tuple[Floats, Floats]:
        """All rows of the cell's total."""
        total, size = int(_trials(slots)[0]), self.size or 1
        rows = np.stack(np.meshgrid(*[np.arange(total + 1.0)] * size, indexing="ij"), axis=-1)
        rows = rows.reshape(-1, size)
        rows = rows[rows.sum(axis=1) == total]
        return rows, np.zeros(len(rows))

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        probs, trials = slots["probs"], _trials(slots)
        spread = probs[:, :, None] * np.eye(probs.shape[1]) - probs[:, :, None] * probs[:, None, :]
        return trials[:, None] * probs, trials[:, None, None] * spread

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        probs = slots["probs"] / slots["probs"].sum(axis=-1, keepdims=True)
        return generator.multinomial(_trials(slots).astype(int), probs).astype(float)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.multinomial(int(slots.get("trials", 1)), slots["probs"])


def _trials(slots: Slots) -> Floats:
    return slots.get("trials", np.ones(len(slots["probs"])))
