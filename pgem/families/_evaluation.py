"""A density as one matrix product: features of values, coefficients of parameters, their product.

    log p(x) = φ(x) · θ + log h(x),    φ(x) = (1, T(x)),    θ = (-A(η), η)

Features are kept one statistic a row, so that each is written and read in one run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.families._parts import Observations, flat_rows
from pgem.families._roles import KNOWN
from pgem.families._tiles import AS_GIVEN, TileForm

if TYPE_CHECKING:
    from pgem.families._family import Family, Slots

Chosen = slice | Integers


def features(family: Family, data: Observations) -> Floats:
    """φ(x) per coordinate, flattened to [N, P]; zero where missing."""
    x = data.filled
    parts = family.sufficient_statistics(x, **data.aligned)
    if family.event_ndim:
        return _whole_features(data, parts)
    shape = x.shape[1:]
    table = np.empty((*shape, len(parts) + 1, len(x)))
    table[..., 0, :] = 1.0
    for k, part in enumerate(parts, start=1):
        table[..., k, :] = np.broadcast_to(part, x.shape).T
    if not data.complete:  # 0 × inf would be NaN
        table = np.where(data.observed.T[..., None, :], table, 0.0)
    return table.reshape(int(np.prod(table.shape[:-1])), len(x)).T


def _whole_features(data: Observations, parts: tuple[Floats, ...]) -> Floats:
    columns = [np.ones((len(data.x), 1)), *(flat_rows(part) for part in parts)]
    table = np.concatenate([part.T for part in columns])
    if not data.complete:
        table = np.where(flat_rows(data.observed).all(axis=1), table, 0.0)
    return table.T


def coefficients(family: Family, slots: Slots) -> Floats:
    """θ per cell, flattened to [C, P]; infinite where a probability is zero."""
    inputs = {name: slots[name] for name in family.estimable}
    known = family.known_of_cells(slots, max((v.ndim for v in inputs.values()), default=1))
    log_partition: Any = family.log_partition  # takes known slots where it has them per cell
    with np.errstate(divide="ignore", invalid="ignore"):
        eta = family.natural_parameters(**inputs, **known)
        partition = np.asarray(log_partition(*eta, **known))
    if family.event_ndim == 0:
        shape = eta[0].shape if len(eta) == 1 else np.broadcast_shapes(*(e.shape for e in eta))
        theta = np.empty((*shape, 1 + len(eta)))
        theta[..., 0] = -partition
        for k, part in enumerate(eta, start=1):
            theta[..., k] = part
    else:
        flat = [part.reshape(len(part), -1) for part in eta]
        lead = -np.broadcast_to(partition, (len(eta[0]),))
        theta = np.concatenate([lead[:, None], *flat], axis=-1)
    return np.asarray(theta.reshape(len(theta), -1))


def log_density(family: Family, data: Observations, slots: Slots) -> Floats:
    """log p(x | cell) [N, C]."""
    theta = family.coefficients(slots)
    parts = [
        _add_base(feature_product(there.features, theta[cells]), there)
        for cells, there in by_known(family, data, slots)
    ]
    if len(parts) == 1:
        return parts[0]
    out = np.empty((len(data.x), len(theta)))
    for (cells, _), part in zip(by_known(family, data, slots), parts, strict=True):
        out[:, cells] = part
    return out


def _add_base(product: Floats, data: Observations) -> Floats:
    if data.family.has_base:
        product += data.log_base[:, None]
    return product


def accumulate(family: Family, data: Observations, weights: Floats, slots: Slots) -> Floats:
    """Expected features per cell [C, P] from responsibilities [N, C]."""
    groups = list(by_known(family, data, slots))
    if len(groups) == 1:
        return weights.T @ groups[0][1].features
    parts = [weights[:, cells].T @ there.features for cells, there in groups]
    out = np.empty((weights.shape[1], parts[0].shape[1]))
    for (cells, _), part in zip(groups, parts, strict=True):
        out[cells] = part
    return out


def tile_form(family: Family, data: Observations, slots: Slots) -> TileForm | None:
    """Features times coefficients, for rows that are taken a few at a time.

    None where cells differ in known values, or a probability is zero.
    """
    groups = list(by_known(family, data, slots))
    theta = family.coefficients(slots)
    if len(groups) > 1 or not np.isfinite(theta).all():
        return None
    there = groups[0][1]
    columns = there.features.T
    origin, level = np.zeros(len(columns)), np.zeros(len(theta))

    def settle(_: Floats, total: Floats) -> tuple[Floats, ...]:
        return (total,)

    base = there.log_base if family.has_base else None
    return TileForm(AS_GIVEN, columns, origin, level, theta, settle, base)


def by_known(
    family: Family, data: Observations, slots: Slots
) -> Iterator[tuple[Chosen, Observations]]:
    """Cells that agree in the known values that belong to cells, with the data under these."""
    names = [
        slot.name
        for slot in family.slots
        if slot.role is KNOWN
        and slot.name in slots
        and (slot.per_cell or slot.name not in data.known)
    ]
    if not names:
        yield slice(None), data
        return
    table = np.concatenate([flat_rows(slots[name]) for name in names], axis=1)
    if (table == table[:1]).all():
        yield slice(None), data.under({name: slots[name][:1] for name in names})
        return
    _, first, group = np.unique(table, axis=0, return_index=True, return_inverse=True)
    for k, cell in enumerate(first.tolist()):
        known = {name: slots[name][cell : cell + 1] for name in names}
        yield np.flatnonzero(group.reshape(-1) == k), data.under(known)


def total_log_base(family: Family, data: Observations) -> Floats:
    """log h(x) summed over coordinates [N], zero where missing."""
    x = data.filled
    base = np.asarray(family.log_base_measure(x, **data.aligned), dtype=float)
    if family.event_ndim:
        base = np.broadcast_to(base, x.shape[:1])
        return base if data.complete else np.where(flat_rows(data.observed).all(axis=1), base, 0.0)
    base = np.broadcast_to(base, x.shape)
    if not data.complete:
        base = np.where(data.observed, base, 0.0)
    return np.asarray(flat_rows(base).sum(axis=1)) if x.ndim > 1 else base


def feature_product(features: Floats, theta: Floats) -> Floats:
    """φ θᵀ [N, C], where 0 × ±inf counts as 0."""
    if np.isfinite(theta).all():
        return (theta @ features.T).T  # one cell a row in memory, as what follows likes it
    finite = np.where(np.isinf(theta), 0.0, theta)
    barred = (np.abs(features) > 0).astype(float) @ (theta == -np.inf).astype(float).T
    out: Floats = np.where(barred > 0, -np.inf, features @ finite.T)
    return out
