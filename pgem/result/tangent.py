"""The directions in which parameters can move: the tangent space of their linear constraints.

Every parameter row (its own axes, at one combination of gates) has its own small block: a
probability row moves with its sum fixed, a covariance matrix stays symmetric, fixed entries and
entries on the boundary do not move at all.  The columns of a block are scaled so that a step of
size h is a relative change of h (of a probability, a rate, a variance), or h standard deviations
(of a mean): a difference quotient then never leaves the constraint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pgem.analyse import ParamLayout
from pgem.arrays import Floats, Mask
from pgem.families._roles import Covariance, Direction, Mean, Prob, Probs, Rate
from pgem.result.score import role_statistic
from pgem.routines import Stats
from pgem.routines.maximise import rows_of
from pgem.routines.tables import Entry

BOUNDARY = 1e-8
"""A probability (or an expected count behind a rate) this small sits on the boundary."""
FAINT, SHRINKING = 1e-3, 1e-3
"""A probability with so few expected cases that EM still lowers by this share is going to 0."""


@dataclass(frozen=True, eq=False)
class Tangent:
    """Directions of all parameters, stacked in the order of `params`.

    Attributes:
        layouts: the parameters.
        basis: directions as columns [entries, F].
        boundary: entries on the boundary of their constraint [entries].
        scale: typical size of each entry [entries].
    """

    layouts: dict[str, ParamLayout]
    basis: Floats
    boundary: Mask
    scale: Floats

    def flat(self, values: dict[str, Floats]) -> Floats:
        """Arrays by parameter as one vector [entries]."""
        return _joined([values[name] for name in self.layouts])

    def named(self, vector: Floats) -> dict[str, Floats]:
        """The inverse of `flat`."""
        found, start = {}, 0
        for name, layout in self.layouts.items():
            stop = start + int(np.prod(layout.shape))
            found[name] = vector[start:stop].reshape(layout.shape)
            start = stop
        return found


def make_tangent(
    layouts: dict[str, ParamLayout],
    params: dict[str, Floats],
    stats: Stats,
    priors: Sequence[tuple[str, tuple[Floats, ...]]] = (),
) -> Tangent:
    """Tangent space at `params`, whose expected statistics show spreads and boundaries.

    Args:
        layouts: all parameters.
        params: their values.
        stats: expected statistics there.
        priors: what priors add to the statistics of parameters, by name.
    """
    blocks, boundary, scale = [], [], []
    for layout in layouts.values():
        value = rows_of(params[layout.name], layout.n_gates)
        fixed = _settled(layout).reshape(value.shape)
        added = [statistic for name, statistic in priors if name == layout.name]
        edge = on_boundary(layout, params[layout.name], stats, added)
        edge = edge.reshape(value.shape) & ~fixed
        sizes = rows_of(entry_scale(layout, params[layout.name], stats), layout.n_gates)
        for row in range(len(value)):
            held = (fixed[row] | edge[row]).ravel()
            blocks.append(row_basis(layout, value[row], held, sizes[row].ravel()))
        boundary.append(edge.ravel())
        scale.append(sizes.ravel())
    edges = _joined(boundary).astype(bool)
    return Tangent(layouts, _block_diagonal(blocks), edges, _joined(scale))


def _settled(layout: ParamLayout) -> Mask:
    """Entries that cannot move: fixed ones, and the only free one of a probability row."""
    fixed = layout.fixed
    if isinstance(layout.role, Probs):
        fixed = fixed | ((~fixed).sum(axis=-1, keepdims=True) <= 1)
    return fixed


def _joined(arrays: Sequence[Floats | Mask]) -> Floats:
    return np.concatenate([np.zeros(0), *(np.ravel(array) for array in arrays)])


def row_basis(layout: ParamLayout, value: Floats, held: Mask, scale: Floats) -> Floats:
    """Scaled directions [entries, f] of one row in which the held entries do not move."""
    if isinstance(layout.role, Covariance):
        return _without(_symmetric_directions(value), held, scale)
    if isinstance(layout.role, Direction):  # across the unit vector
        return np.zeros((len(value), 0)) if held.any() else _null_space(value[None])
    free = np.flatnonzero(~held)
    directions = np.zeros((len(scale), len(free)))
    directions[free, np.arange(len(free))] = scale[free]
    if isinstance(layout.role, Probs) and len(free):
        return directions @ _null_space(directions.sum(axis=0, keepdims=True))
    return directions


def _symmetric_directions(value: Floats) -> Floats:
    """Columns vec(L E Lᵀ), E an orthonormal basis of symmetric matrices and V = L Lᵀ."""
    lower = np.linalg.cholesky(value)
    size = len(value)
    columns = []
    for i, j in zip(*np.tril_indices(size), strict=True):
        unit = np.zeros((size, size))
        unit[i, j] = unit[j, i] = 1.0 if i == j else np.sqrt(0.5)
        columns.append((lower @ unit @ lower.T).ravel())
    return np.stack(columns, axis=1)


def _without(directions: Floats, held: Mask, scale: Floats) -> Floats:
    """The combinations of directions that leave the held entries where they are."""
    if not held.any():
        return directions
    found = directions @ _null_space(directions[held] / scale[held][:, None])
    found[held] = 0.0
    return found


def _null_space(constraints: Floats) -> Floats:
    """Orthonormal columns spanning the vectors that the constraints send to zero."""
    _, sizes, right = np.linalg.svd(constraints)
    rank = int((sizes > 1e-12 * max(sizes.max(initial=0.0), 1e-300)).sum())
    return np.asarray(right[rank:].T)


def _block_diagonal(blocks: list[Floats]) -> Floats:
    rows, columns = sum(len(b) for b in blocks), sum(b.shape[1] for b in blocks)
    table = np.zeros((rows, columns))
    top = left = 0
    for block in blocks:
        table[top : top + len(block), left : left + block.shape[1]] = block
        top, left = top + len(block), left + block.shape[1]
    return table


# --- boundaries and scales ----------------------------------------------------------------------


def on_boundary(
    layout: ParamLayout,
    value: Floats,
    stats: Stats,
    priors: Sequence[tuple[Floats, ...]] = (),
) -> Mask:
    """Which entries sit on the boundary of their constraint, or on their lower bound."""
    low = np.zeros(value.shape, dtype=bool) if layout.lower is None else value <= layout.lower
    if isinstance(layout.role, Probs | Prob):
        low = (value <= BOUNDARY) | _vanishing(layout, value, stats)
        if isinstance(layout.role, Probs):
            low |= (~low).sum(axis=-1, keepdims=True) == 1  # the only one left, at 1
        return low | (value >= 1 - BOUNDARY)
    if isinstance(layout.role, Rate):
        events = _summed(layout, stats, 0, value.shape)
        exposed = _summed(layout, stats, 1, value.shape) > 0
        for statistic in priors:
            events = events + statistic[0].reshape(value.shape)
        return low | (value <= 0) | (exposed & (events <= BOUNDARY))
    return low


def _vanishing(layout: ParamLayout, value: Floats, stats: Stats) -> Mask:
    """Which probabilities EM has not yet brought to 0 or 1, but is bringing there."""
    if layout.prior is not None:
        return np.zeros(value.shape, dtype=bool)
    n_arrays = 2 if isinstance(layout.role, Prob) else 1
    statistic = tuple(_summed(layout, stats, k, value.shape) for k in range(n_arrays))
    new = layout.role.maximise(statistic, value, layout.fixed)
    found = (statistic[0] < FAINT) & (new < (1 - SHRINKING) * value)
    if n_arrays == 2:
        found |= (statistic[1] < FAINT) & (1 - new < (1 - SHRINKING) * (1 - value))
    return found


def entry_scale(layout: ParamLayout, value: Floats, stats: Stats) -> Floats:
    """Typical size of each entry's changes."""
    if isinstance(layout.role, Prob):
        return np.minimum(value, 1 - value)
    if isinstance(layout.role, Covariance):
        spread = np.sqrt(np.einsum("...ii->...i", value))
        return np.asarray(spread[..., :, None] * spread[..., None, :])
    if isinstance(layout.role, Mean):
        return _spread(layout, stats, value.shape)
    return np.where(value == 0, 1.0, np.abs(value))


def _spread(layout: ParamLayout, stats: Stats, shape: tuple[int, ...]) -> Floats:
    """Smallest standard deviation of a value among the cells that a mean is used in."""
    found = np.full(shape, np.inf)
    rows = found.reshape(-1, *shape[layout.n_gates :])
    for key, slot in layout.uses:
        if key in stats:
            entry = stats[key]
            if entry.family.regresses:
                np.minimum.at(rows, entry.cells.rows[slot], _coefficient_scale(entry, slot))
                continue
            variance = entry.family.moments(entry.origin)[1]
            if variance.ndim > rows.ndim:
                variance = np.asarray(np.einsum("cii->ci", variance))
            np.minimum.at(rows, entry.cells.rows[slot], np.sqrt(variance))
    return np.where(np.isfinite(found) & (found > 0), found, 1.0)


def _coefficient_scale(entry: Entry, slot: str) -> Floats:
    """Noise over regressor: the change of a coefficient that moves a value by its spread."""
    statistic = role_statistic(entry, slot)
    assert statistic is not None
    precision = statistic[0]
    count = entry.arrays[0].reshape(-1, *(1,) * (precision.ndim - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(precision > 0, np.sqrt(count / precision), np.inf)


def _summed(layout: ParamLayout, stats: Stats, which: int, shape: tuple[int, ...]) -> Floats:
    """One array of the role's statistic, summed over the uses of a parameter."""
    total = np.zeros(shape)
    rows = total.reshape(-1, *shape[layout.n_gates :])
    for key, slot in layout.uses:
        statistic = role_statistic(stats[key], slot) if key in stats else None
        if statistic is None:
            continue
        part = statistic[which]
        if part.ndim > rows.ndim:
            part = np.asarray(np.einsum("cii->ci", part))
        np.add.at(rows, stats[key].cells.rows[slot], part)
    return total


Function = Callable[[Floats], Floats]


def derivative(function: Function, at: Floats, directions: Floats, step: float) -> Floats:
    """Central differences of a vector function along directions [entries, F] → [M, F].

    The error is of order step² times the third derivative, besides rounding over step.
    """
    columns = [
        (function(at + step * direction) - function(at - step * direction)) / (2 * step)
        for direction in directions.T
    ]
    shape = np.shape(function(at))
    return np.stack(columns, axis=-1) if columns else np.zeros((*shape, 0))
