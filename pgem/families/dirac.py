"""A point mass."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask
from pgem.families._family import (
    Examples,
    Family,
    Observations,
    Slot,
    Slots,
    Support,
)
from pgem.families._parts import flat_rows
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
        x, value = flat_rows(data.x), flat_rows(slots["value"])
        value = np.broadcast_to(value, (len(value), x.shape[1]))
        fits: Mask | None = None
        for column, atoms in zip(x.T, value.T, strict=True):
            here = column[:, None] == atoms
            here = here if data.complete else here | np.isnan(column)[:, None]
            fits = here if fits is None else fits & here
        return np.where(True if fits is None else fits, 0.0, -np.inf)

    def nodes(self, slots: Slots) -> tuple[Floats, Floats]:
        return slots["value"][:1], np.zeros(1)

    def divergence(self, slots: Slots, other: Slots) -> Floats:
        same = (slots["value"] == other["value"]).reshape(len(slots["value"]), -1).all(axis=1)
        return np.where(same, 0.0, np.inf)

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        return slots["value"], np.zeros_like(slots["value"])

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        return slots["value"].copy()
