"""Whether the covariances of a block of linear means cancel from its least-squares equations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pgem.analyse.layout import Layout, ParamLayout, Settled
from pgem.families._linear import Linear
from pgem.graph import Key

Row = tuple[str, int]
"""A parameter and one of its rows."""


def noise_cancels(coefs: Sequence[ParamLayout], keys: Sequence[Key], layout: Layout) -> bool:
    """Whether all cells that share a coefficient have one covariance, which then cancels.

    Under a full covariance every coefficient must also be free in all coordinates: with some of
    them held, or a diagonal coefficient, the coordinates pull on one another.
    """
    if any(p.prior is not None for p in coefs):
        return False
    free = {p.name: p for p in coefs}
    groups: list[tuple[set[Row], set[Any]]] = []
    for key in keys:
        settled = layout.components[key]
        if not _is_uniform(settled, free):
            return False
        for rows, noise in _cells(settled, free):
            touched = [g for g in groups if g[0] & rows]
            groups = [g for g in groups if not g[0] & rows]
            shared = rows.union(*(g[0] for g in touched))
            groups.append((shared, {noise}.union(*(g[1] for g in touched))))
    return all(len(noises) <= 1 for rows, noises in groups if rows)


def _cells(settled: Settled, free: dict[str, ParamLayout]) -> list[tuple[set[Row], Any]]:
    """Per cell the free coefficient rows, and which covariance it has."""
    family, slots, cells = settled.family, settled.component.leaf.slots, settled.cells
    assert isinstance(family, Linear)
    spread = slots[family.spread]
    owner = spread.name or f"{settled.component.key}.{family.spread}"
    found = []
    for cell in range(cells.n_cells):
        rows = {
            (slots[t.slot].name, int(cells.rows[t.slot][cell]))
            for t in family.terms
            if slots[t.slot].name in free
        }
        found.append((rows, (owner, int(cells.rows[family.spread][cell]))))
    return found


def _is_uniform(settled: Settled, free: dict[str, ParamLayout]) -> bool:
    """Whether all coordinates have the same regressors with free coefficients."""
    family, slots = settled.family, settled.component.leaf.slots
    assert isinstance(family, Linear)
    for term in family.terms:
        param = free.get(slots[term.slot].name)
        if param is None:
            continue
        held = np.asarray(param.fixed).reshape(-1, *term.own) if param.fixed.any() else None
        if family.diagonal:
            continue
        if (term.placement < 0).any() or held is not None:
            return False
    return True
