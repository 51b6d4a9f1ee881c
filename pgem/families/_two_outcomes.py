"""What families of repeated success or failure share.

In the overcomplete form T counts (successes, failures) and η = (log p, log(1 - p)) with A = 0,
so a probability may be exactly 0 or 1.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pgem.arrays import Floats, safe_log
from pgem.families._family import Family, Slot, Slots, Statistics
from pgem.families._roles import PROB


class TwoOutcomes(Family):
    """A family with one probability; a subclass gives T = (successes, failures).

    The role solves the M-step, and not a mean map, since rows without trials show nothing.
    """

    slots: ClassVar[tuple[Slot, ...]] = (Slot("prob", PROB, link="logit"),)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        with np.errstate(divide="ignore"):
            return safe_log(slots["prob"]), np.log1p(-slots["prob"])

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        return self.totals(stats)[1]
