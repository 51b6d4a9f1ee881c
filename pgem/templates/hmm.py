"""Hidden Markov model: a chain of states, each step seen through an emission."""

from __future__ import annotations

from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def hmm(family: Any, size: int, *, prefix: str = "") -> Any:
    """A hidden Markov model.

    Args:
        family: of the emissions, for example `pg.Normal()`.
        size: number of states.
        prefix: put before all names.
    """
    with pg.sequence(f"{prefix}t"):
        s = pg.latent(f"{prefix}s", pg.Categorical(size=size), after=f"{prefix}s")
        pg.observed(f"{prefix}y", family, given=s)
    return s
