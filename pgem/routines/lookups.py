"""One pass over rows that look log-densities up: what `tiles.py` does where values are few.

Nodes with few distinct values, of the unit itself or of members of plates of one size, read rows of
tables.  Which rows does not change from iteration to iteration, so several nodes are coded together
(`tally.py`), and a product over all of them is a few vectors of classes, multiplied; its
reverse, the same vectors of counts.  Nothing of size rows × classes is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pgem.arrays import Floats
from pgem.routines.contract import Semiring
from pgem.routines.lookup_loops import join, look_up, sum_counts
from pgem.routines.tables import Axis, LogTable, Members, Source, Stats
from pgem.routines.tally import make_tally

LOWEST = -1e250
"""Stands for -inf where log-densities of features are added."""


class _Codes(NamedTuple):
    """What all rows look up.

    Attributes:
        codes: of every group of nodes or members [groups, N].
        places: rows of all tables together behind a code [codes, members of a group].
        n_first: codes of the first group.
    """

    codes: np.ndarray[Any, np.dtype[np.uint16]]
    places: np.ndarray[Any, np.dtype[np.uint32]]
    n_first: np.uint64


@dataclass(frozen=True, eq=False)
class Lookups:
    """Tables that the rows look up, coded together.

    Attributes:
        parts: the tables.
        read: which of their rows each row reads.
        n_cells: cells of the variable that is summed out.
    """

    parts: Sequence[LogTable]
    read: _Codes
    n_cells: int

    @property
    def table(self) -> Floats:
        """All tables [R, K]."""
        return np.concatenate([p.array.reshape(len(p.array), self.n_cells) for p in self.parts])

    def joint(self) -> Floats:
        """Log-densities behind the codes [codes, K padded to eights], with `LOWEST` for -inf."""
        out = np.empty((len(self.read.places), -(-self.n_cells // 8) * 8))
        join(self.table, np.zeros(self.n_cells), self.read.places, self.read.n_first, out)
        return np.maximum(out, LOWEST)

    def add(self, stats: Stats, counts: Floats) -> None:
        """Add the statistics of all tables, from how often their rows were read [R, K]."""
        ends = np.cumsum([len(part.array) for part in self.parts])[:-1]
        for part, found in zip(self.parts, np.split(counts, ends), strict=True):
            stats.add(part, found.reshape(part.array.shape), summed=True)

    def add_codes(self, stats: Stats, found: Floats) -> None:
        """The same, from how often their codes were [codes, K padded]."""
        counts, total = np.zeros_like(self.table), np.zeros(self.n_cells)
        sum_counts(found, self.read.places, self.read.n_first, counts, total)
        self.add(stats, counts)


def run_lookups(
    axis: Axis, weight: Floats, stats: Stats, semiring: Semiring, tables: Sequence[LogTable]
) -> LogTable | None:
    """`sum_out` where all that differs from row to row is looked up, or None."""
    shared = [table for table in tables if table.is_shared]
    lookups = find_lookups([table for table in tables if not table.is_shared], axis, len(weight))
    if lookups is None:
        return None
    table, total = lookups.table, np.zeros(axis.size)
    level = sum((part.array.reshape(-1) for part in shared), start=np.zeros(axis.size))
    log_p, counts = np.empty(len(weight)), np.zeros_like(table)
    weights, is_hard = np.ascontiguousarray(weight).reshape(-1), semiring.name == "max"
    look_up(*lookups.read, table, level, weights, is_hard, log_p, counts, total)
    for part in shared:
        stats.add(part, total.reshape(part.array.shape), summed=True)
    lookups.add(stats, counts)
    return LogTable(log_p.reshape(weight.shape), len(log_p))


def is_looked_up(table: LogTable) -> bool:
    """Whether rows read a few rows of the table, or of tables whose product over members it is."""
    if isinstance(table.source, Members):
        fixed = table.source.scope.fixed is not None
        return fixed and all(map(is_looked_up, table.source.tables))
    return not callable(table.values) and table.reads is not None


def find_lookups(tables: Sequence[LogTable], axis: Axis, n_rows: int) -> Lookups | None:
    """Codes for all that the rows look up; None where something is no table, or too large."""
    if not all(map(is_looked_up, tables)):
        return None
    parts = [part for table in tables for part in _parts(table)]
    kept = next((p.source.node.kept for p in parts if isinstance(p.source, Source)), None)
    if kept is None:
        return None
    if "lookups" not in kept:
        kept["lookups"] = _codes(parts, n_rows)
    codes = kept["lookups"]
    return None if codes is None else Lookups(parts, codes, axis.size)


def _parts(table: LogTable) -> list[LogTable]:
    """The tables whose product over members it is, or the table itself."""
    if not isinstance(table.source, Members):
        return [table]
    return [part for inner in table.source.tables for part in _parts(inner)]


def _codes(parts: Sequence[LogTable], n_rows: int) -> _Codes | None:
    """Codes for what the rows look up, if they are few enough."""
    n_members = sum(part.n_rows // n_rows for part in parts)
    reads = np.empty((n_rows, n_members), dtype=np.int32)
    first, member = 0, 0
    for part in parts:
        assert part.index is not None
        own = reads[:, member : member + part.n_rows // n_rows]
        own[:] = part.index.reshape(n_rows, -1)
        own[own < 0] = len(part.array) - 1
        own += first
        first, member = first + len(part.array), member + own.shape[1]
        if isinstance(part.source, Source):
            part.source.node.cache.pop("joint", None)  # it is as large as the data
    tally = make_tally(reads, first)
    if tally is None:
        return None
    n_first = np.uint64(int(tally.codes[0].max()) + 1)
    return _Codes(tally.codes, tally.rows.astype(np.uint32), n_first)
