"""Negative binomial with a free size: a Poisson whose rate is a latent Gamma."""

from __future__ import annotations

from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def negative_binomial(size: int = 1, *, exposure: bool = False, prefix: str = "") -> Any:
    """Counts that vary more than a Poisson allows; the size is `rate.shape`.

    With rate b and exposure e, the probability of a success is b / (b + e).

    Args:
        size: number of components of a mixture; 1 for none.
        exposure: whether a covariate `exposure` multiplies the rate.
        prefix: put before all names.
    """
    z = pg.latent(f"{prefix}z", pg.Categorical(size=size)) if size > 1 else None
    rate = pg.latent(f"{prefix}rate", pg.Gamma(), given=z)
    product = rate * pg.covariate(f"{prefix}exposure") if exposure else rate
    pg.observed(f"{prefix}x", pg.Poisson(rate=product))
    return rate if z is None else (z, rate)
