"""Latent class analysis: given the class, the items are answered independently."""

from __future__ import annotations

from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def latent_class(items: int, size: int, *, categories: int = 2, prefix: str = "") -> Any:
    """A latent class model; `x.probs` is [class, item, category].

    Args:
        items: number of items.
        size: number of classes.
        categories: possible answers of every item.
        prefix: put before all names.
    """
    z = pg.latent(f"{prefix}z", pg.Categorical(size=size))
    with pg.plate(f"{prefix}item", size=items) as item:
        pg.observed(f"{prefix}x", pg.Categorical(size=categories), given=[z, item])
    return z
