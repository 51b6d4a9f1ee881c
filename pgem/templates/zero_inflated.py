"""Zero inflation: some units are zero for certain, the others follow a family."""

from __future__ import annotations

from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def zero_inflated(family: Any, *, prefix: str = "") -> Any:
    """More zeros than a family gives; `z` is 0 where the zero is certain.

    Args:
        family: of the others, for example `pg.Poisson()`.
        prefix: put before all names.
    """
    z = pg.latent(f"{prefix}z", pg.Categorical(size=2))
    pg.observed(f"{prefix}x", pg.switch(z, pg.Dirac(0), family))
    return z
