"""Instruction `collect`: the product over the members of a plate, and its reverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import proxy

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.routines.levels import Level, depths, make_levels
from pgem.routines.tables import Index, LogTable, Members, Source, Stats, product
from pgem.routines.tally import Spread, Tally, make_tally


@dataclass(eq=False)
class ScopeData:
    """The rows of a plate, sequence or tree in a shard.

    Attributes:
        name: the scope.
        starts: first row of each parent row's members, and the end [parents + 1].
        n_dims: dimensions of a table of this scope.
        parent_dims: dimensions of a table of the enclosing scope.
        size: number of members, where it is fixed.
        parents: in a tree the row of each member's parent, -1 for roots.
        cache: what scans made of the rows, as long as the shard lasts.
        kept: what they found out in earlier iterations, as long as the data are bound.
        n_threads: threads that a scan may use, where the shard has all of them.
    """

    name: str
    starts: Integers
    n_dims: int
    parent_dims: int
    size: int | None = None
    parents: Integers | None = None
    cache: dict[Any, Any] = field(default_factory=dict)
    kept: dict[Any, Any] = field(default_factory=dict)
    n_threads: int = 1

    @property
    def n_rows(self) -> int:
        """Number of members in all."""
        return int(self.starts[-1])

    @cached_property
    def lengths(self) -> Integers:
        """Members per parent row."""
        return np.diff(self.starts)

    @cached_property
    def parent(self) -> Integers:
        """Parent row of each member."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def number(self) -> Integers:
        """Position of each member within its parent row, from 0."""
        if len(self.lengths) == 1 and self.n_rows < 2**31:  # may be very long
            return np.arange(self.n_rows, dtype=np.int32)
        if self.fixed is not None:
            members = np.arange(self.fixed)
            return np.broadcast_to(members, (len(self.lengths), self.fixed)).reshape(-1)
        return np.arange(self.n_rows) - np.repeat(self.starts[:-1], self.lengths)

    def earlier(self, lag: int) -> Integers:
        """Row of the step `lag` before each row (in a tree of its parent), -1 for none."""
        if self.parents is not None:
            return self.parents
        return np.where(self.number >= lag, np.arange(self.n_rows) - lag, -1)

    @cached_property
    def depth(self) -> Integers:
        """Number of ancestors of each member of a tree; elsewhere the position."""
        return self.number if self.parents is None else depths(self.parents)

    @cached_property
    def order(self) -> Integers:
        """The members of a tree, parents before children."""
        return np.argsort(self.depth, kind="stable")

    @cached_property
    def levels(self) -> list[Level]:
        """The members of a tree by depth, the roots first."""
        assert self.parents is not None
        return make_levels(self.parents, self.depth)

    @cached_property
    def index(self) -> Index:
        """The position as an index (plates of fixed size)."""
        size = self.size or int(self.lengths.max(initial=1))
        own = proxy(self)  # no cycle, which would keep the arrays until the next collection
        return Index(self.name, lambda: own.number, size)

    @cached_property
    def fixed(self) -> int | None:
        """Members of every parent row, if all have the same number."""
        lengths = self.lengths
        return int(lengths[0]) if len(lengths) and (lengths == lengths[0]).all() else None


def collect(scope: ScopeData, *tables: LogTable) -> LogTable:
    """Sum log-tables over the members: [members, axes...] → [parent rows, axes...]."""

    def sums_when_needed() -> Floats:
        return _collect(scope, tables)

    return LogTable(sums_when_needed, len(scope.lengths), None, Members(scope, tables))


def _collect(scope: ScopeData, tables: Sequence[LogTable]) -> Floats:
    """Sums over the members [parent rows, axes...]."""
    tallies = [tally_of(scope, table) for table in tables]
    parts = [
        tally.total(table.array.reshape(-1, *table.array.shape[1 : scope.parent_dims]))
        for table, tally in zip(tables, tallies, strict=True)
        if tally is not None
    ]
    rest = [table for table, tally in zip(tables, tallies, strict=True) if tally is None]
    if rest:
        parts.append(_collect_rows(scope, product(*rest)))
    return sum(parts[1:], start=parts[0])


def _collect_rows(scope: ScopeData, total: Floats) -> Floats:
    """[members or 1, axes...] → [parent rows, axes...]."""
    if len(total) != scope.n_rows:
        total = np.broadcast_to(total, (scope.n_rows, *total.shape[1:]))
    total = total.reshape(len(total), *total.shape[1 : scope.parent_dims])
    out = np.zeros((len(scope.lengths), *total.shape[1:]))
    filled = scope.lengths > 0
    if filled.any():
        out[filled] = np.add.reduceat(total, scope.starts[:-1][filled], axis=0)
    return out


def tally_of(scope: ScopeData, table: LogTable) -> Tally | None:
    """Codes for the rows that the members read; made once for a node."""
    source = table.source
    if not isinstance(source, Source) or source.own is not None or source.node.index is None:
        return None
    kept = source.node.kept
    if "tally" not in kept:
        kept["tally"] = None
        if scope.fixed is not None and scope.fixed > 1 and table.index is not None:
            reads = np.where(table.index < 0, len(table.array) - 1, table.index)
            kept["tally"] = make_tally(reads.reshape(-1, scope.fixed), len(table.array))
    return kept["tally"]  # type: ignore[no-any-return]


def spread(scope: ScopeData, posterior: Floats | Spread) -> Spread:
    """Give each member the posterior of its parent row."""
    return Spread(np.asarray(posterior), scope)


def add_to(stats: Stats, table: LogTable, posterior: Floats | Spread) -> None:
    """Add the statistics of a table, or of those whose product over members it is."""
    source = table.source
    if not isinstance(source, Members):
        stats.add(table, posterior)
        return
    for inner in source.tables:
        add_to(stats, inner, spread(source.scope, posterior))


def total(n_rows: int, *tables: LogTable) -> Floats:
    """log p of every unit [N]: what is left when everything is summed out."""
    if not tables:
        return np.zeros(n_rows)
    found = product(*tables).reshape(-1)
    return found if len(found) == n_rows else np.broadcast_to(found, (n_rows,))
