"""One pass over tiles of rows: what `tiles.py` does where all densities have features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pgem.arrays import Floats
from pgem.families._tiles import AS_GIVEN, TileForm
from pgem.routines.contract import Semiring
from pgem.routines.tables import Axis, Entry, LogTable, Source, Stats, split_gates
from pgem.routines.tile_loops import hard, soft

TILE_NUMBERS = 1 << 16
"""Features and scores of a tile, so that they stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class _Forms:
    """All densities of a pass side by side.

    Attributes:
        forms: one each.
        level: constants of all tables [K].
    """

    forms: Sequence[TileForm]
    level: Floats

    @property
    def blocks(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
        """Kind, first and last column of each [B, 3]."""
        ends = np.cumsum([len(form.columns) for form in self.forms])
        starts = ends - [len(form.columns) for form in self.forms]
        kinds = [form.kind for form in self.forms]
        return np.stack([kinds, starts, ends], axis=1).astype(np.uint64)

    @property
    def columns(self) -> Floats:
        """[Q, N]."""
        if len(self.forms) == 1:
            return self.forms[0].columns
        return np.concatenate([form.columns for form in self.forms])

    @property
    def theta(self) -> Floats:
        """[K, P]."""
        return np.concatenate([form.theta for form in self.forms], axis=1)

    def n_varying(self, theta: Floats) -> int:
        """Leading features whose coefficients differ between cells, or all."""
        first = len(self.forms[0].columns)
        one = len(self.forms) == 1 and self.forms[0].kind != AS_GIVEN
        alike = one and bool((theta[:, first:] == theta[:1, first:]).all())
        return first if alike else theta.shape[1]


def run_tiles(
    axis: Axis, weight: Floats, stats: Stats, semiring: Semiring, tables: Sequence[LogTable]
) -> LogTable | None:
    """`sum_out` by tiles, or None where a table has no such form."""
    shared = [table for table in tables if table.is_shared]
    others = [table for table in tables if not table.is_shared]
    sources = [_source(table, axis) for table in others]
    found = [None if source is None else _form(source) for source in sources]
    forms = [form for form in found if form is not None]
    constants = [table.array.reshape(-1) for table in shared] + [form.level for form in forms]
    if not forms or len(forms) < len(others) or not np.isfinite(constants).all():
        return None
    whole = _Forms(forms, np.sum(constants, axis=0))
    log_p, counts, total = _run(whole, np.ascontiguousarray(weight).reshape(-1), semiring)
    for table in shared:
        stats.add(table, counts.reshape(table.array.shape), summed=True)
    ends = np.cumsum([form.theta.shape[1] for form in forms])[:-1]
    for source, form, part in zip(sources, forms, np.split(total, ends, axis=1), strict=True):
        assert source is not None
        entry = Entry(source.node.family, source.cells, form.settle(counts, part), source.slots)
        stats.merge({source.node.key: entry})
    for form in forms:
        if form.base is not None:
            log_p += form.base
    return LogTable(log_p.reshape(weight.shape), len(log_p))


def _form(source: Source) -> TileForm | None:
    node = source.node
    return node.family.tile_form(node.points, source.slots, node.held)


def _source(table: LogTable, axis: Axis) -> Source | None:
    """Where a table came from, if it is one density a row and cell of the axis."""
    source = table.source
    if not isinstance(source, Source) or source.own is not None or not callable(table.values):
        return None
    seen, _ = split_gates(source.cells)
    plain = not seen and source.cells.gates == (axis,) and "barred" not in source.node.cache
    return source if plain else None


def _run(forms: _Forms, weights: Floats, semiring: Semiring) -> tuple[Floats, Floats, Floats]:
    """Log-likelihoods [N], counts [K] and sums of the features [K, P]."""
    columns, theta = forms.columns, forms.theta
    centre = np.concatenate([form.centre for form in forms.forms])
    n_cells, width = theta.shape
    log_p, counts = np.empty(columns.shape[1]), np.zeros(n_cells)
    vary = forms.n_varying(theta)
    arguments = (
        columns, weights, forms.blocks, centre, forms.level, np.ascontiguousarray(theta[:, :vary]),
        np.ascontiguousarray(theta[0, vary:]), _tile(width + n_cells), log_p, counts,
    )  # fmt: skip
    if semiring.name == "max":
        total = np.zeros((n_cells, width))
        hard(*arguments, total)
        return log_p, counts, total
    total = np.zeros((width, n_cells))
    soft(*arguments, total)
    return log_p, counts, total.T


def _tile(numbers: int) -> int:
    """Rows of a tile with so many numbers a row: a power of two."""
    most = 1024 if numbers <= 16 else 256
    return int(2 ** np.clip(np.floor(np.log2(TILE_NUMBERS / numbers)), 5, np.log2(most)))
