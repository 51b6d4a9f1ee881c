"""Units replaced by few others with the same second moments: exact where nothing else counts.

Where all that is latent is integrated out as one Gaussian a unit, the log-likelihood and every
expected statistic of a unit are polynomials of degree two in its values, as long as everything
else about it (which values are missing, gates, multipliers, the lengths inside it) stays the same.
So of the units that agree in all that, only the total weight, the mean and the matrix of second
moments count, and V + 1 points that have these take the place of any number of units with V
values: about the mean m, with the triangular factor R of the weighted deviations
(RᵀR = Σ w (v - m)(v - m)ᵀ),

    points = m + sqrt((V + 1) / W) · H R,    each of weight W / (V + 1),

where the columns of H [V + 1, V] are orthonormal and orthogonal to 1 (Helmert's).  Mean and R come
from orthogonal transformations of the rows (1, v) themselves (QR, a few thousand at a time), so
that no digits are lost to squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.declare import UNIT
from pgem.families._linear import Linear
from pgem.families._link import Linked
from pgem.families._scaled import Scaled
from pgem.plan import Part, Program
from pgem.run.data import Columns
from pgem.run.merge import WORTH, Merged, merge_units, rows_of_units, scope_of, take_units
from pgem.run.stored import Codes, Numbers

PAYS_FROM = 2
"""Units per point from which a group of units is replaced."""
BLOCK = 1 << 17
"""Numbers that are transformed at a time."""
WIDEST = 512
"""Values per unit up to which units are replaced: a matrix of this size squared is factorised."""


def reduce_units(program: Program, columns: Columns) -> Merged | None:
    """Fewer units with the same second moments, or None where more than these count.

    Args:
        program: what is computed of every unit.
        columns: the data.
    """
    squared = squared_columns(program)
    names = [name for name in squared if name in columns.numbers]
    if not names or columns.parents:
        return None
    alike = merge_units(replace(columns, numbers=_without(columns, names)))
    if alike.which is None:
        return None
    groups = list(_groups(columns, names, alike.which))
    n_new = sum(min(group.n_units, group.width + 1) for group in groups)
    if n_new > WORTH * columns.n_units:
        return None
    parts = [_replaced(columns, names, group) for group in groups]
    n_points = sum(len(part.weights) for part in parts)
    note = (
        f"{columns.n_units:,} units have the second moments of {n_points:,}: these are run instead"
    )
    return Merged(_joined(columns, parts), None, note)


def squared_columns(program: Program) -> list[str]:
    """Nodes and covariates whose values count by their second moments alone; none if axes do."""
    parts = list(program.parts.values())
    if program.analysis.conjugates or any(p.is_axis or p.is_duration for p in parts):
        return []
    squared = {part.node for part in parts if _is_gaussian(part)}
    others = {part.node for part in parts if not _is_gaussian(part)}
    for part in parts:
        known = program.outline.nodes[part.node].known[part.component].values()
        others.update(known)
        if isinstance(part.family, Linear):
            plain, products = _regressors(part.family)
            squared |= plain
            others |= products
        elif isinstance(part.family, Linked | Scaled):  # behind a link, or multiplied with a slot
            others.update(name for name, _ in part.family.regressors(parents=True))
    return sorted(squared - others)


def _is_gaussian(part: Part) -> bool:
    return isinstance(part.family, Linear) or part.family.gaussian


def _regressors(family: Linear) -> tuple[set[str], set[str]]:
    """What stands alone beside a coefficient, and what is multiplied with other things."""
    plain, products = set[str](), set[str]()
    for term in family.terms:
        inputs = [*term.factors, *term.over, *([term.parent] if term.parent is not None else [])]
        alone = len(inputs) == 1 and not term.over
        (plain if alone else products).update(name for name, _ in inputs)
    if family.spread_by is not None:
        products.update(name for name, _ in (*family.spread_by[1], *family.spread_by[2]))
    return plain, products


def _without(columns: Columns, names: list[str]) -> dict[str, Numbers]:
    """The numbers, but of the squared ones only which are missing, if any."""
    found = {name: values for name, values in columns.numbers.items() if name not in names}
    for name in names:
        if columns.has_holes(name):
            found[name] = Numbers(columns.missing(name))
    return found


# --- units that differ in squared values alone ---------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Group:
    """Units that differ in squared values alone.

    Attributes:
        units: which; None for all.
        n_units: how many.
        width: values that are squared in each of them.
    """

    units: Integers | None
    n_units: int
    width: int

    def runs(self, size: int) -> Iterator[Integers]:
        """Some of them at a time."""
        for first in range(0, self.n_units, size):
            last = min(first + size, self.n_units)
            yield np.arange(first, last) if self.units is None else self.units[first:last]


def _groups(columns: Columns, names: list[str], which: Integers) -> Iterator[_Group]:
    """The units of every group, and how many values are squared in each of them."""
    widths = {name: columns.numbers[name].width for name in names}
    groups: list[Integers | None] = [None]
    if which.any():
        order = np.argsort(which, kind="stable")
        groups = [*np.split(order, np.flatnonzero(np.diff(which[order])) + 1)]
    for units in groups:
        rows, _ = rows_of_units(columns, np.zeros(1, np.int64) if units is None else units[:1])
        width = sum(len(rows[scope_of(columns, name)]) * widths[name] for name in names)
        yield _Group(units, columns.n_units if units is None else len(units), width)


def _replaced(columns: Columns, names: list[str], group: _Group) -> Columns:
    """The units of a group, or points that have their second moments."""
    width = group.width
    size = max(4 * width, BLOCK // max(width, 1))
    first, n_units, blocks = np.zeros(0, dtype=np.int64), 0, []
    for run in group.runs(size):
        counted = run[columns.weights[run] > 0]
        if len(counted):
            n_units += len(counted)
            blocks.append(partial(_counted, columns, names, run))
        if len(first) <= width:
            first = np.concatenate([first, counted])
    if n_units < PAYS_FROM * (width + 1) or not 0 < width <= WIDEST:
        units = np.concatenate([*group.runs(size)])
        units = units[columns.weights[units] > 0]
        return replace(take_units(columns, units), units=units)

    points, weight = points_of(blocks)
    units = first[: width + 1][: len(points)]
    small, numbers, start = take_units(columns, units), {}, 0
    for name, values in small.numbers.items():
        numbers[name] = values
        if name in names:
            stop = start + values.array.size // len(points)
            numbers[name] = Numbers(points[:, start:stop].reshape(values.shape), is_own=True)
            start = stop
    return replace(small, numbers=numbers, weights=np.full(len(points), weight), units=units)


def _counted(columns: Columns, names: list[str], run: Integers) -> tuple[Floats, Floats]:
    """Squared values [n, V], in the order of the columns, of units with weight, and the weights."""
    units = run[columns.weights[run] > 0]
    rows, _ = rows_of_units(columns, units)
    values = np.concatenate(
        [
            values[rows[scope_of(columns, name)]].reshape(len(units), -1)
            for name, values in columns.numbers.items()
            if name in names
        ],
        axis=1,
    )
    return values, columns.weights[units]


Blocks: TypeAlias = Sequence[Callable[[], tuple[Floats, Floats]]]


def points_of(blocks: Blocks) -> tuple[Floats, float]:
    """V + 1 rows with the weight of each, that have the moments of weighted rows [N, V].

    Args:
        blocks: make some rows each, and their weights, which are positive; the same entries are
            missing in all.
    """
    template, vary, total = blocks[0]()[0][:1], _varying(blocks), 0.0
    centre, size = template[0, vary], int(vary.sum())
    factor = np.zeros((size + 1, size + 1))  # of (1, v - centre): mean and spread in one pass
    for block in blocks:
        values, weights = block()
        roots, total = np.sqrt(weights)[:, None], total + float(weights.sum())
        rows = np.concatenate([roots, (values[:, vary] - centre) * roots], axis=1)
        factor = np.asarray(np.linalg.qr(np.concatenate([factor, rows]), mode="r"))
    points = np.repeat(template, size + 1, axis=0)
    spread = math.sqrt(size + 1) / abs(factor[0, 0]) * (_helmert(size) @ factor[1:, 1:])
    points[:, vary] = centre + factor[0, 1:] / factor[0, 0] + spread
    return points, total / (size + 1)


def _varying(blocks: Blocks) -> Mask:
    """Columns that are there and not the same in all rows [V]."""
    first = blocks[0]()[0][0]
    vary = np.zeros(len(first), dtype=bool)
    for block in blocks:
        vary |= (block()[0] != first).any(axis=0)
    return np.asarray(vary & ~np.isnan(first))


def _helmert(size: int) -> Floats:
    """Orthonormal columns orthogonal to 1 [V + 1, V]."""
    matrix = np.tril(np.ones((size + 1, size + 1)))[1:]
    matrix[np.arange(size), np.arange(1, size + 1)] = -np.arange(1, size + 1)
    return np.asarray((matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).T)


def _joined(columns: Columns, parts: list[Columns]) -> Columns:
    """One after the other."""
    starts = {}
    for name in columns.starts:
        lengths = np.concatenate([np.diff(part.starts[name]) for part in parts])
        starts[name] = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    return replace(
        columns,
        n_units=sum(part.n_rows(UNIT) for part in parts),
        starts=starts,
        numbers={
            n: Numbers(np.concatenate([p.numbers[n].array for p in parts])) for n in columns.numbers
        },
        codes={n: Codes(np.concatenate([p.codes[n].array for p in parts])) for n in columns.codes},
        weights=np.concatenate([part.weights for part in parts]),
        units=np.concatenate([part.units for part in parts if part.units is not None]),
    )
