"""Mixture: every unit comes from one of several components of one family."""

from __future__ import annotations

from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def mixture(family: Any, size: int, *, prefix: str = "") -> Any:
    """A finite mixture.

    Args:
        family: of the components, for example `pg.Poisson()` or `pg.MvNormal(cov=pg.diagonal())`.
        size: number of components.
        prefix: put before all names.
    """
    z = pg.latent(f"{prefix}z", pg.Categorical(size=size))
    pg.observed(f"{prefix}x", family, given=z)
    return z
