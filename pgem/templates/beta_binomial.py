"""Beta-binomial: successes among known trials, with a probability that differs by unit."""

from __future__ import annotations

from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def beta_binomial(*, prefix: str = "") -> Any:
    """Binomial counts that vary more than one probability allows; data `x` and `trials`.

    Args:
        prefix: put before all names.
    """
    p = pg.latent(f"{prefix}p", pg.Beta())
    pg.observed(f"{prefix}x", pg.Binomial(prob=p, trials=pg.covariate(f"{prefix}trials")))
    return p
