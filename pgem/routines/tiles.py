"""Instruction `sum_out`: the last variable of a unit and the statistics, a few rows at a time.

Where a variable is summed out last, its posterior is known at once: the weight of the row times its
conditional.  So one pass gives the log-likelihoods and the expected statistics, and where all
densities are coefficients times features, nothing of size rows × cells or rows × features is kept:
features, scores, posteriors and sums of a tile of a few hundred rows stay in the processor's cache.
"""

from __future__ import annotations

from pgem.arrays import Floats
from pgem.routines.collect import add_to
from pgem.routines.contract import Semiring
from pgem.routines.tables import Axis, LogTable, Stats


def sum_out(
    axis: Axis, weight: Floats, stats: Stats, semiring: Semiring, *tables: LogTable
) -> LogTable:
    """Sum the last variable out of a product of tables, and add what its posterior tells.

    Args:
        axis: the variable; no other is left in the tables.
        weight: weights of the rows [N, 1, ...].
        stats: statistics, added to.
        semiring: how to sum it out.
        tables: what depends on it.

    Returns:
        The log of the sum [N, 1, ...].
    """
    if semiring.is_large and semiring.name != "sample":
        from pgem.routines.lookups import run_lookups
        from pgem.routines.tile_pass import run_tiles

        message = run_tiles(axis, weight, stats, semiring, tables)
        if message is None:
            message = run_lookups(axis, weight, stats, semiring, tables)
    else:
        message = None
    if message is None:
        message, given = semiring.eliminate(axis, *tables)
        posterior = weight * given
        for table in tables:
            add_to(stats, table, posterior)
    return message
