"""A point mass."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask
from pgem.families._family import Examples, Family, Observations, Slot, Slots, Support
from pgem.families._roles import KNOWN

ATOMS = Support("finite real numbers", np.isfinite, discrete=True, inside=0.0)


class Dirac(Family):
    r"""All mass at one known value: a component of `switch`.

    $$p(x) = [x = v]$$

    $T$ is empty, $A = 0$, $h(x) = [x = v]$: nothing is estimated but the count of a cell.

    Args:
        value: the atom v.
    """

    slots = (Slot("value", KNOWN),)
    support = ATOMS
    formula = r"\log [x = v]"
    examples: ClassVar[Examples] = {"value": (0.0, 3.0, -1.5)}

    def possible(self, x: Floats, **known: Floats) -> Mask:
        """The atom alone, where it is the same for all cells."""
        value = known.get("value")
        return np.isfinite(x) if value is None else np.asarray(x == value)

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return ()

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return ()

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        return ()

    def log_density(self, data: Observations, slots: Slots) -> Floats:
        x = data.x.reshape(len(data.x), 1, -1)
        value = slots["value"].reshape(1, len(slots["value"]), -1)
        fits = (x == value) | np.isnan(x)
        return np.where(fits.all(axis=-1), 0.0, -np.inf)

    def nodes(self, slots: Slots) -> tuple[Floats, Floats]:
        return slots["value"][:1], np.zeros(1)

    def divergence(self, slots: Slots, other: Slots) -> Floats:
        same = (slots["value"] == other["value"]).reshape(len(slots["value"]), -1).all(axis=1)
        return np.where(same, 0.0, np.inf)

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        return slots["value"], np.zeros_like(slots["value"])

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        return slots["value"].copy()
