"""Densities that are coefficients times features, side by side: what tiles are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Floats, Integers
from pgem.families._tiles import AS_GIVEN, PRODUCTS, SQUARES, TileForm
from pgem.routines.tables import Axis, Entry, LogTable, Source, Stats, split_gates


@dataclass(frozen=True, eq=False)
class Forms:
    """All densities of a row, of which each has one table over the same K cells.

    Attributes:
        axes: the variables whose combinations are the cells.
        shared: tables that are the same in all rows.
        sources: where the others came from.
        forms: one each.
        level: constants of all tables [K].
    """

    axes: tuple[Axis, ...]
    shared: Sequence[LogTable]
    sources: Sequence[Source]
    forms: Sequence[TileForm]
    level: Floats

    @cached_property
    def blocks(self) -> NDArray[np.uint64]:
        """Kind, first and last column of each [B, 3]."""
        ends = np.cumsum([len(form.columns) for form in self.forms])
        starts = ends - [len(form.columns) for form in self.forms]
        kinds = [form.kind for form in self.forms]
        return np.stack([kinds, starts, ends], axis=1).astype(np.uint64)

    @cached_property
    def columns(self) -> Floats:
        """[Q, N]."""
        if len(self.forms) == 1:
            return self.forms[0].columns
        return np.concatenate([form.columns for form in self.forms])

    @cached_property
    def centre(self) -> Floats:
        """What is subtracted from each column [Q]."""
        return np.concatenate([form.centre for form in self.forms])

    @cached_property
    def theta(self) -> Floats:
        """[K, P]."""
        return np.concatenate([form.theta for form in self.forms], axis=1)

    @cached_property
    def base(self) -> Floats | None:
        """What is added to the log-densities of all cells [N], or None."""
        parts = [form.base for form in self.forms if form.base is not None]
        return sum(parts[1:], start=parts[0]) if parts else None

    def n_varying(self) -> int:
        """Leading features whose coefficients differ between cells, or all."""
        first = len(self.forms[0].columns)
        one = len(self.forms) == 1 and self.forms[0].kind != AS_GIVEN
        alike = one and bool((self.theta[:, first:] == self.theta[:1, first:]).all())
        return first if alike else self.theta.shape[1]

    def features(self, rows: Integers) -> Floats:
        """Features of a few rows [P, rows]."""
        z, found = self.columns[:, rows] - self.centre[:, None], []
        for kind, low, high in self.blocks.tolist():
            own = z[low:high]
            found.append(own)
            if kind == SQUARES:
                found.append(own**2)
            elif kind == PRODUCTS:
                found += [own[i] * own[i:] for i in range(len(own))]
        return np.concatenate(found)

    def scores(self, rows: Integers, size: int) -> Floats:
        """Log-densities of a few rows [rows, size, cells of each value of the first axis]."""
        scores = self.features(rows).T @ self.theta.T + self.level
        scores = scores if self.base is None else scores + self.base[rows, None]
        return scores.reshape(len(rows), size, -1)

    def entries(self, counts: Floats, total: Floats) -> dict[str, Entry]:
        """Statistics of every table from sums of 1 [K] and of the features [K, P]."""
        found, start = Stats(), 0
        for table in self.shared:
            found.add(table, _over(table, counts, self.axes), summed=True)
        for source, form in zip(self.sources, self.forms, strict=True):
            stop = start + form.theta.shape[1]
            arrays = form.settle(counts, total[:, start:stop])
            entry = Entry(source.node.family, source.cells, arrays, source.slots)
            found.merge({source.node.key: entry})
            start = stop
        return found


def make_forms(tables: Sequence[LogTable], *axes: Axis) -> Forms | None:
    """The densities of some tables, or None where one is no product over all the axes.

    Args:
        tables: what depends on the variables.
        axes: the variables, by position.
    """
    shared = [table for table in tables if table.is_shared]
    sources = [_source(table, axes) for table in tables if not table.is_shared]
    known = [source for source in sources if source is not None]
    if not known or len(known) < len(sources):
        return None
    found = [_form(source) for source in known]
    forms = [form for form in found if form is not None]
    levels = [*(_spread(table, axes) for table in shared), *(form.level for form in forms)]
    if len(forms) < len(found) or not np.isfinite(levels).all():
        return None
    return Forms(axes, shared, known, forms, np.sum(levels, axis=0))


def _whole(table: LogTable, axes: Sequence[Axis]) -> tuple[int, ...]:
    """The shape of a table that has all the axes."""
    shape = [1] * table.array.ndim
    for axis in axes:
        shape[axis.position] = axis.size
    return tuple(shape)


def _spread(table: LogTable, axes: Sequence[Axis]) -> Floats:
    """Entries of a table of one row for every cell."""
    return np.broadcast_to(table.array, _whole(table, axes)).reshape(-1)


def _over(table: LogTable, counts: Floats, axes: Sequence[Axis]) -> Floats:
    """Counts of the cells added up to the entries of a table of one row."""
    whole = counts.reshape(_whole(table, axes))
    gone = tuple(k for k, n in enumerate(whole.shape) if table.array.shape[k] == 1 < n)
    return np.asarray(whole.sum(axis=gone, keepdims=True)) if gone else whole


def _form(source: Source) -> TileForm | None:
    node = source.node
    if not node.family.has_form():
        return None
    return node.family.tile_form(node.points, source.slots, node.held)


def _source(table: LogTable, axes: tuple[Axis, ...]) -> Source | None:
    """Where a table came from, if it is one density a row and cell of all the axes."""
    source = table.source
    if not isinstance(source, Source) or source.own is not None or not callable(table.values):
        return None
    seen, _ = split_gates(source.cells)
    plain = not seen and source.cells.gates == axes and "barred" not in source.node.cache
    return source if plain else None
