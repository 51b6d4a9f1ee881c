"""Mixture of hidden Markov models: whole sequences fall into classes, each with its own chain."""

from __future__ import annotations

from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def mixture_of_hmms(family: Any, classes: int, states: int, *, prefix: str = "") -> Any:
    """A class `z` per sequence; transitions and emissions are those of the class.

    Args:
        family: of the emissions.
        classes: number of classes.
        states: number of states of each chain.
        prefix: put before all names.
    """
    z = pg.latent(f"{prefix}z", pg.Categorical(size=classes))
    with pg.sequence(f"{prefix}t"):
        s = pg.latent(f"{prefix}s", pg.Categorical(size=states), given=z, after=f"{prefix}s")
        pg.observed(f"{prefix}y", family, given=[z, s])
    return z, s
