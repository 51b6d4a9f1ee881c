"""Student-t, or a mixture of it: Gaussians whose precision is multiplied by a latent Gamma."""

from __future__ import annotations

from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def student_t(
    size: int = 1, *, vectors: bool = False, df: float | None = None, prefix: str = ""
) -> Any:
    """Values with heavy tails; twice the parameter `half_df` is the degrees of freedom.

    Args:
        size: number of components of a mixture; 1 for none.
        vectors: whether a value is a vector, with a matrix for a scale.
        df: degrees of freedom, if they are known.
        prefix: put before all names.
    """
    z = pg.latent(f"{prefix}z", pg.Categorical(size=size)) if size > 1 else None
    half, mean = pg.param(f"{prefix}half_df"), pg.param(f"{prefix}mean")
    scale = pg.param(f"{prefix}scale")
    gated = (half, mean, scale) if z is None else (half[z], mean[z], scale[z])
    shape = gated[0] if df is None else df / 2
    u = pg.latent(f"{prefix}u", pg.Gamma(shape=shape, rate=shape))
    spread = gated[2] / u
    noise = pg.MvNormal(gated[1], spread) if vectors else pg.Normal(gated[1], spread)
    pg.observed(f"{prefix}x", noise)
    return u if z is None else (z, u)
