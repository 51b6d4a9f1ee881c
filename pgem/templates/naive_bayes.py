"""Naive Bayes: mixed features, independent given a class that some or all units may show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def naive_bayes(families: Mapping[str, Any], classes: int, *, prefix: str = "") -> Any:
    """A class and its features; give `z` in the data where it is known.

    Args:
        families: feature → family, one observed node each.
        classes: number of classes.
        prefix: put before all names.
    """
    z = pg.latent(f"{prefix}z", pg.Categorical(size=classes))
    for name, family in families.items():
        pg.observed(f"{prefix}{name}", family, given=z)
    return z
