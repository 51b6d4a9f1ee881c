"""Whether the covariances of a block of means cancel from its (least-squares) equations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

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
    free = {p.name: p for p in coefs}
    if any(is_pulled(p, layout) or _is_wide(p) for p in coefs):
        return False
    groups: list[tuple[set[Row], set[Any]]] = [
        ({(p.name, row)}, set(identity)) for p in coefs for row, identity in of_prior(p, layout)
    ]
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


def _is_wide(param: ParamLayout) -> bool:
    """Whether a matrix of coefficients has a prior whose covariance is another than the node's."""
    prior = param.prior
    return prior is not None and prior.family.event_ndim > 0 and param.n_own > 1


def is_pulled(param: ParamLayout, layout: Layout) -> bool:
    """Whether it is a mean in the prior of another parameter, which has a spread of its own."""
    for other in layout.params.values():
        links = {} if other.prior is None else other.prior.links
        for slot, link in links.items():
            assert other.prior is not None
            free_of = next(s.free_of for s in other.prior.family.slots if s.name == slot)
            if link.name == param.name and free_of:
                return True
    return False


def of_prior(param: ParamLayout, layout: Layout) -> Iterator[tuple[int, tuple[Row, ...]]]:
    """As if the prior were a component: rows of the parameter, and what its slots hold there."""
    prior = param.prior
    if prior is None:
        return
    n_rows = math.prod(param.shape[: param.n_gates])
    n_values = math.prod(param.shape[: len(param.shape) - prior.family.event_ndim])
    for k in range(n_values):
        identity: tuple[Row, ...] = ()
        for slot in prior.free_of:
            link = prior.links.get(slot)
            if link is None:
                identity += ((f"the prior of {param.name}", k),)
            else:
                other = layout.params[link.name]
                entry = k if link.rows is None else int(link.rows[k])
                own = other.shape[other.n_gates : len(other.shape) - prior.slot_ndim(slot)]
                identity += ((other.name, entry // math.prod(own)),)
        yield k * n_rows // n_values, identity


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
        if param is not None and (param.fixed.any() or (term.placement < 0).any()):
            return family.diagonal
    return True
