"""One pass over tiles of rows: what `tiles.py` does where all densities have features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgem.arrays import Floats
from pgem.routines.contract import Semiring
from pgem.routines.forms import Forms, make_forms
from pgem.routines.lookups import LOWEST, Lookups, find_lookups, is_looked_up
from pgem.routines.tables import Axis, LogTable, Stats
from pgem.routines.tile_loops import hard, soft

TILE_NUMBERS = 1 << 16
"""Features and scores of a tile, so that they stay in the processor's cache."""

NO_CODES = np.empty((0, 0), dtype=np.uint16)


def run_tiles(
    axis: Axis, weight: Floats, stats: Stats, semiring: Semiring, tables: Sequence[LogTable]
) -> LogTable | None:
    """`sum_out` by tiles, or None where a table has no such form and is not looked up either."""
    seen = [table for table in tables if not table.is_shared and is_looked_up(table)]
    forms = make_forms([table for table in tables if table not in seen], axis)
    if forms is None:
        return None
    lookups = find_lookups(seen, axis, len(weight)) if seen else None
    if seen and (lookups is None or not (lookups.table < np.inf).all()):
        return None
    weights = np.ascontiguousarray(weight).reshape(-1)
    log_p, counts, total = _run(forms, lookups, weights, stats, semiring)
    stats.merge(forms.entries(counts, total))
    if forms.base is not None:
        log_p += forms.base
    return LogTable(log_p.reshape(weight.shape), len(log_p))


def _run(
    forms: Forms, lookups: Lookups | None, weights: Floats, stats: Stats, semiring: Semiring
) -> tuple[Floats, Floats, Floats]:
    """Log-likelihoods [N], counts [K] and sums of the features [K, P]; adds what is looked up."""
    columns, theta, vary = forms.columns, forms.theta, forms.n_varying()
    n_cells, width = theta.shape
    log_p, counts = np.empty(columns.shape[1]), np.zeros(n_cells)
    codes = NO_CODES if lookups is None else lookups.read.codes
    joint = np.empty((0, 0)) if lookups is None else lookups.joint()
    found, is_hard = np.zeros_like(joint), semiring.name == "max"
    total = np.zeros((n_cells, width) if is_hard else (width, n_cells))
    (hard if is_hard else soft)(
        columns, weights, forms.blocks, forms.centre, forms.level,
        np.ascontiguousarray(theta[:, :vary]), np.ascontiguousarray(theta[0, vary:]),
        (codes, joint, found), _tile(width + n_cells), log_p, counts, total,
    )  # fmt: skip
    if lookups is not None:
        lookups.add_codes(stats, found)
        log_p[log_p < LOWEST / 2] = -np.inf
    return log_p, counts, total if is_hard else total.T


def _tile(numbers: int) -> int:
    """Rows of a tile with so many numbers a row: a power of two."""
    most = 1024 if numbers <= 16 else 256
    return int(2 ** np.clip(np.floor(np.log2(TILE_NUMBERS / numbers)), 5, np.log2(most)))
