"""Dirichlet-multinomial: rows of counts, with probabilities that differ by unit."""

from __future__ import annotations

from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def dirichlet_multinomial(size: int, *, prefix: str = "") -> Any:
    """Counts over categories that vary more than one set of probabilities allows.

    Args:
        size: number of categories.
        prefix: put before all names.
    """
    p = pg.latent(f"{prefix}p", pg.Dirichlet(size=size))
    pg.observed(f"{prefix}x", pg.Multinomial(probs=p, size=size))
    return p
