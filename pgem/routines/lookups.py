"""One pass over rows that look log-densities up: what `tiles.py` does where values are few.

Nodes with few distinct values, of the unit itself or of members of plates of one size, read rows of
tables.  Which rows does not change from iteration to iteration, so several nodes are coded together
(`tally.py`), and a product over all of them is a few vectors of classes, multiplied; its
reverse, the same vectors of counts.  Nothing of size rows × classes is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.routines.contract import Semiring
from pgem.routines.lookup_loops import look_up
from pgem.routines.tables import Axis, LogTable, Members, Source, Stats
from pgem.routines.tally import make_tally


@dataclass(frozen=True, eq=False)
class _Codes:
    """What all rows look up.

    Attributes:
        codes: of every group of nodes or members [groups, N].
        places: rows of all tables together behind a code [codes, members of a group].
        n_first: codes of the first group.
    """

    codes: np.ndarray[Any, np.dtype[np.uint16]]
    places: np.ndarray[Any, np.dtype[np.uint32]]
    n_first: int


def run_lookups(
    axis: Axis, weight: Floats, stats: Stats, semiring: Semiring, tables: Sequence[LogTable]
) -> LogTable | None:
    """`sum_out` where all that differs from row to row is looked up, or None."""
    shared = [table for table in tables if table.is_shared]
    parts = [part for table in tables if not table.is_shared for part in _parts(table)]
    kept = next((p.source.node.kept for p in parts if isinstance(p.source, Source)), None)
    if kept is None or not all(map(_is_looked_up, parts)):
        return None
    if "lookups" not in kept:
        kept["lookups"] = _codes(parts, len(weight))
    codes = kept["lookups"]
    if codes is None:
        return None
    table = np.concatenate([part.array.reshape(len(part.array), axis.size) for part in parts])
    level = sum((part.array.reshape(-1) for part in shared), start=np.zeros(axis.size))
    log_p, counts, total = np.empty(len(weight)), np.zeros_like(table), np.zeros(axis.size)
    weights = np.ascontiguousarray(weight).reshape(-1)
    look_up(
        codes.codes, codes.places, np.uint64(codes.n_first), table, level, weights,
        semiring.name == "max", log_p, counts, total,
    )  # fmt: skip
    for part in shared:
        stats.add(part, total.reshape(part.array.shape), summed=True)
    ends = np.cumsum([len(part.array) for part in parts])[:-1]
    for part, found in zip(parts, np.split(counts, ends), strict=True):
        stats.add(part, found.reshape(part.array.shape), summed=True)
    return LogTable(log_p.reshape(weight.shape), len(log_p))


def _parts(table: LogTable) -> list[LogTable]:
    """The tables whose product over members it is, or the table itself."""
    if not isinstance(table.source, Members):
        return [table]
    if table.source.scope.fixed is None:
        return [table]
    return [part for inner in table.source.tables for part in _parts(inner)]


def _is_looked_up(table: LogTable) -> bool:
    """Whether rows read a few rows of the table."""
    return not callable(table.values) and table.reads is not None


def _codes(parts: Sequence[LogTable], n_rows: int) -> _Codes | None:
    """Codes for what the rows look up, if they are few enough."""
    first, reads = 0, list[Integers]()
    for part in parts:
        assert part.index is not None
        last = len(part.array) - 1
        reads.append(first + np.where(part.index < 0, last, part.index).reshape(n_rows, -1))
        first += last + 1
    tally = make_tally(np.concatenate(reads, axis=1), first)
    if tally is None:
        return None
    n_first = int(tally.codes[0].max()) + 1
    return _Codes(tally.codes, tally.rows.astype(np.uint32), n_first)
