"""One pass over tiles of rows: what `tiles.py` does where all densities have features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgem.arrays import Floats
from pgem.routines.contract import Semiring
from pgem.routines.forms import Forms, make_forms
from pgem.routines.tables import Axis, LogTable, Stats
from pgem.routines.tile_loops import hard, soft

TILE_NUMBERS = 1 << 16
"""Features and scores of a tile, so that they stay in the processor's cache."""


def run_tiles(
    axis: Axis, weight: Floats, stats: Stats, semiring: Semiring, tables: Sequence[LogTable]
) -> LogTable | None:
    """`sum_out` by tiles, or None where a table has no such form."""
    forms = make_forms(tables, axis)
    if forms is None:
        return None
    log_p, counts, total = _run(forms, np.ascontiguousarray(weight).reshape(-1), semiring)
    stats.merge(forms.entries(counts, total))
    if forms.base is not None:
        log_p += forms.base
    return LogTable(log_p.reshape(weight.shape), len(log_p))


def _run(forms: Forms, weights: Floats, semiring: Semiring) -> tuple[Floats, Floats, Floats]:
    """Log-likelihoods [N], counts [K] and sums of the features [K, P]."""
    columns, theta, vary = forms.columns, forms.theta, forms.n_varying()
    n_cells, width = theta.shape
    log_p, counts = np.empty(columns.shape[1]), np.zeros(n_cells)
    arguments = (
        columns, weights, forms.blocks, forms.centre, forms.level,
        np.ascontiguousarray(theta[:, :vary]), np.ascontiguousarray(theta[0, vary:]),
        _tile(width + n_cells), log_p, counts,
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
