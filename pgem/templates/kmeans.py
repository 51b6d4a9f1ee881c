"""k-means: a mixture of equal weights and unit spheres, fitted with hard assignments."""

from __future__ import annotations

from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def kmeans(size: int, dim: int, *, prefix: str = "") -> Any:
    """Lloyd's algorithm when fitted with `posterior="hard"`; `x.mean` are the centres.

    Args:
        size: number of clusters.
        dim: length of the vectors.
        prefix: put before all names.
    """
    z = pg.latent(f"{prefix}z", pg.Categorical([1 / size] * size))
    pg.observed(f"{prefix}x", pg.MvNormal(cov=pg.identity(dim)), given=z)
    return z
