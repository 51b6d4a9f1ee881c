"""The categorical family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask, safe_log
from pgem.families import _evaluation
from pgem.families._family import COUNTS, Family, Observations, Slot, Slots, Statistics
from pgem.families._roles import PROBS
from pgem.families._tiles import TileForm


class Categorical(Family):
    r"""One of `size` categories.

    $$p(x) = \prod_k p_k^{[x = k]}$$

    Overcomplete form: $T(x)_k = [x = k]$, $\eta_k = \log p_k$, $A = 0$.

    Args:
        probs: probabilities [K], zeros allowed.
        logits: log p up to a constant, a sum of terms with coefficients [K, ...], instead of
            `probs`; those of category 0 are fixed at zero.
        size: number of categories K.
        levels: labels of the categories, in order.
    """

    slots = (Slot("probs", PROBS, "k", link="logits"),)
    support = COUNTS
    options = ("size", "levels")
    formula = r"\sum_k [x = k] \log p_k"

    def domain(self) -> Floats | None:
        return np.arange(self.size, dtype=float) if self.size else None

    def own_shape(self, slot: str) -> tuple[int, ...]:
        return (self.size or 1,)

    def possible(self, x: Floats, **known: Floats) -> Mask:
        """Codes below `size`."""
        return COUNTS.contains(x) & (x < (self.size or np.inf))

    def features(self, data: Observations) -> Floats:
        return np.asarray(data.x[:, None] == np.arange(self.size or 1), dtype=float)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (safe_log(slots["probs"]),)

    def coefficients(self, slots: Slots) -> Floats:
        return safe_log(slots["probs"])

    def log_density(self, data: Observations, slots: Slots) -> Floats:
        """Entries looked up instead of multiplied; zero where the value is missing."""
        table = self.coefficients(slots)
        codes = data.__dict__.get("codes")  # kept with the values, which do not change
        if codes is None:
            known = data.observed & self.possible(data.filled)
            codes = np.where(known, data.x, table.shape[1]).astype(np.int64)
            data.__dict__["codes"] = codes
            data.__dict__["all_known"] = bool(known.all())
        if not data.__dict__["all_known"]:
            table = np.concatenate([table, np.zeros((len(table), 1))], axis=1)
        return table.take(codes, axis=1).T

    def tile_form(
        self, data: Observations, slots: Slots, held: frozenset[str] = frozenset()
    ) -> TileForm | None:
        """As if entries were multiplied: it is the same density."""
        return _evaluation.tile_form(self, data, slots)

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        return stats

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        codes = np.arange(self.size or 1)
        mean = slots["probs"] @ codes
        return mean, slots["probs"] @ codes**2 - mean**2

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        edges = np.cumsum(slots["probs"], axis=-1)
        uniform = generator.random(len(edges)) * edges[:, -1]
        return np.asarray((uniform[:, None] >= edges).sum(axis=1), dtype=float)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.rv_discrete(values=(np.arange(len(slots["probs"])), slots["probs"]))
