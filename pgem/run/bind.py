"""Program + columns → shards: the objects that the generated code reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.plan import Program
from pgem.routines.lane_plan import MOST_PARTS, describe
from pgem.routines.log_linear import LogLinear, make_log_linear
from pgem.run.column import Values
from pgem.run.data import Columns
from pgem.run.memory import expected_bytes
from pgem.run.merge import merge_units
from pgem.run.moments import reduce_units
from pgem.run.shard import Shard
from pgem.run.stored import ByRow
from pgem.run.threads import LARGE_FROM, count_threads

SHARD_ENTRIES = 3 << 17
"""Table entries that one shard may hold, so that it stays in the processor's cache."""
FEWER_VECTORS = 3
"""How much less numbers of such vectors count: a shard of them takes some tens of megabytes, and
some milliseconds whatever its size."""
LEAST_SHARDS = 4
"""Shards that large data are cut into at least."""
MOST_TILED = 16
"""How much larger shards may be whose tables are made a few rows at a time: they need no cache, and
every shard costs some tenths of a millisecond of Python."""
KEEP_ROWS = 1 << 18
"""Up to this many rows in all, shards are kept from one iteration to the next; a single one is
always kept."""
KEEP_VALUES = 1 << 21
"""Values that are made anew for shards up to which these are kept."""


class Bound(Values):
    """A program with its data.

    Args:
        program: the compiled model.
        columns: the data.
        shard_size: units per shard; by default as many as fit into the processor's cache.
        flat: leave all conditionals out (used to start from responsibilities).
        responsibilities: per latent node, [rows, K] to start from.
        barren: per node, rows whose conditional counts nothing (it sums to one).
        merge: merge equal units with counts, where that pays; statistics and totals stay the same.
        n_jobs: threads over the shards: a number, -1 for all cores, None for all where that pays.
        asked: what of missing values that later ones look back at, beside what a fit needs:
            "", "draws" (those behind the last value that is seen are drawn by steps) or "moments".

    Attributes:
        columns: all data.
        rows: what the shards read: the data, or their distinct units.
        which: the unit among `rows` of every unit; None if units were not merged.
        stretches: per region that holes cut up, every stretch.
        tails: per such region, what is left to `result/ahead.py`: steps at the end of a sequence
            of which nothing is seen, with `asked="moments"`.
        n_threads: threads over the shards.
        scan_threads: threads over the pieces of sequences, where there is one shard.
        choices: what was done to make the run quicker and why, for the report.
        is_large: whether compiled loops, and BLAS held to one thread, pay.
        timer: runs an iteration and tells its seconds, for the report.

    Raises:
        DataError: values outside a family's support.
    """

    def __init__(
        self,
        program: Program,
        columns: Columns,
        shard_size: int | None = None,
        *,
        flat: bool = False,
        responsibilities: Mapping[str, ByRow] | None = None,
        barren: dict[str, Mask] | None = None,
        merge: bool = False,
        n_jobs: int | None = 1,
        asked: str = "",
    ) -> None:
        self.barren = barren or {}
        self.columns, self.flat = columns, flat
        self.responsibilities = dict(responsibilities or {})
        rows, self.which, self.choices = columns, None, list[str]()
        if merge:
            merged = reduce_units(program, columns) or merge_units(columns)
            rows, self.which = merged.columns, merged.which
            self.choices.append(merged.note)
        super().__init__(program, rows, asked)
        entries = sum(self._cost(scope) * self.rows.n_rows(scope) for scope in program.row_cost)
        n_units = self.rows.n_units
        self.shard_size = shard_size or self._shard_size(entries)
        self.n_jobs, n_shards = n_jobs, -(-n_units // self.shard_size)
        work = entries + self._coordinates
        self.n_threads, note = count_threads(n_jobs, n_shards, work)
        self.scan_threads = 1 if n_shards > 1 else count_threads(n_jobs, MOST_PARTS, work)[0]
        self.choices.append(note)
        self.is_large = entries >= LARGE_FROM
        self.timer: Callable[[], float] | None = None
        self._kept: list[Shard] | None = None
        self._joint: LogLinear | None = None
        self._n_asked = 0
        self.kept: dict[tuple[int, int, str], dict[str, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # shards know their bound only while it lives; what is made of them is made again
        return {**self.__dict__, "_kept": None, "_joint": None, "_n_asked": 0}

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.columns.n_units

    @property
    def is_compressed(self) -> bool:
        """Whether other units are run than those of the data, with the same totals."""
        return self.rows is not self.columns

    @property
    def weights(self) -> Floats:
        """Weights of the units that are run: of the distinct ones, if equal units were merged."""
        return self.rows.weights

    def expand(self, by_unit: Floats) -> Floats:
        """A value per unit that was run, for every unit of the data [N]."""
        return by_unit if self.which is None else by_unit[self.which]

    def unmerged(self) -> Bound:
        """The same data run unit by unit."""
        if not self.is_compressed:
            return self
        columns, size = self.columns, self.shard_size
        return Bound(self.program, columns, size, n_jobs=self.n_jobs, asked=self.asked)

    @property
    def report(self) -> str:
        """What was read and how it will be run, then the program's own report."""
        lines = [f"{self.n_units} units in shards of {self.shard_size}", *self.choices]
        lines += [
            f"{self.columns.n_rows(scope.name)} rows in {scope.kind} '{scope.name}'"
            for scope in self.program.outline.scopes.values()
        ]
        for key, part in self.program.parts.items():
            column = self._columns[key]
            if column.points is not None and not part.is_axis:
                lines.append(f"'{key}': densities computed at {len(column.points.x)} values")
        lines += [
            f"members of '{scope}' look up several values at a time"
            for scope in self.program.outline.scopes
            if self.looks_up(scope)
        ]
        lines += [_stretch_line(name, found.length) for name, found in self.stretches.items()]
        holes = {
            name: self.columns.values(name).n_missing
            for name in self.program.outline.nodes
            if self.columns.has(name)
        }
        lines += [f"'{name}': {count} missing cells" for name, count in holes.items() if count]
        lines.append(f"about {max(1, round(expected_bytes(self) / 2**20))} MB above the data")
        if self.timer is not None:
            lines.append(f"one iteration was measured: {1e3 * self.timer():.3g} ms")
        lines += self.scans()
        if self._joint is not None:
            n_rows, n_columns = self._joint.matrix.shape
            lines.append(f"all units at once by a matrix of {n_rows} × {n_columns}")
        return "\n".join(["Data", *(f"  {line}" for line in lines), "", str(self.program.report)])

    def scans(self) -> list[str]:
        """How the last iteration went through chains, for the report; nothing before the first."""
        return [
            f"'{scope}': {note}"
            for scope in self.program.outline.scopes
            for note in describe(
                [
                    memory
                    for (_, _, name), kept in self.kept.items()
                    if name == f"scope {scope}"
                    for memory in kept.values()
                ]
            )
        ]

    @property
    def only(self) -> Shard | None:
        """The only shard, if there is one and it was made."""
        return self._kept[0] if self._kept is not None and len(self._kept) == 1 else None

    @property
    def is_kept(self) -> bool:
        """Whether shards are kept from one iteration to the next, with the values they read."""
        rows = sum(self.rows.n_rows(s) for s in self.program.scope_dims)
        small = rows <= KEEP_ROWS and self._values_at_once <= KEEP_VALUES
        return small or self.shard_size >= self.rows.n_units

    def shards(self) -> Iterator[Shard]:
        """The shards in order; small data are cut up only once."""
        if self._kept is None:
            n_units = self.rows.n_units
            cuts = range(0, n_units, self.shard_size)
            fresh = (Shard(self, k, min(k + self.shard_size, n_units)) for k in cuts)
            if not self.is_kept:
                yield from fresh
                return
            self._kept = list(fresh)
        yield from self._kept

    def joint(self, params: dict[str, Floats]) -> LogLinear | None:
        """All units in one product, if they are few and small; from the second E-step on."""
        self._n_asked += 1
        if self._n_asked == 2 and self._is_small():
            with np.errstate(all="ignore"):
                (shard,) = self.shards()
                run, own = self.program, self._alone()
                self._joint = make_log_linear(run.e_step, shard, run.parts, params, run.reads, own)
        return self._joint

    def _is_small(self) -> bool:
        """Whether the units have nothing but discrete latents of their own, and are few."""
        analysis, told = self.program.analysis, (self.flat, self.responsibilities, self.barren)
        plain = not (analysis.regions or analysis.conjugates or self.program.queries or any(told))
        few = not self.is_large and self.rows.n_units <= self.shard_size
        return plain and few and len(self.program.scope_dims) == 1

    def _alone(self) -> set[str]:
        """Parameters that stand in one slot, with nothing fixed, no bound and no prior."""
        linked = {
            link.name
            for layout in self.program.params.values()
            if layout.prior is not None
            for link in layout.prior.links.values()
        }
        return {
            name
            for name, p in self.program.params.items()
            if len(p.uses) == 1 and not p.fixed.any() and p.lower is None and p.prior is None
        } - linked

    def _shard_size(self, entries: int) -> int:
        """Units whose tables fit into the cache: more where tables are made a few rows at a time,
        as long as there are a few shards for the threads, or where members look tables up."""
        n_units, values = self.rows.n_units, self._values_at_once
        at_once = self.entries_at_once
        if any(map(self.looks_up, self.program.row_room)):
            entries = at_once
        entries, at_once = max(entries + values, 1), max(at_once + values, 1)
        least = SHARD_ENTRIES * n_units / entries
        most = least * min(max(entries / at_once, 1) ** 2, MOST_TILED)
        size = max(1, int(least), min(int(most), -(-n_units // LEAST_SHARDS)))
        if size >= n_units:
            return size
        n_shards = -(-n_units // size)
        if n_shards > 2:  # as much work for two threads, or four
            n_shards = -(-n_shards // LEAST_SHARDS) * LEAST_SHARDS
        return -(-n_units // n_shards)  # none is much smaller than the others

    @property
    def entries_at_once(self) -> int:
        """Table entries of all shards that are not made a few rows at a time."""
        room, n_rows = self.program.row_room, self.rows.n_rows
        return sum(n_rows(s) // 3 if self.looks_up(s) else room[s] * n_rows(s) for s in room)

    @property
    def _values_at_once(self) -> int:
        """Values of all shards that are made anew, and vectors of what is integrated out."""
        n_rows, parts = self.rows.n_rows, self.program.parts
        made = sum(self._columns[key].made * n_rows(part.scope) for key, part in parts.items())
        sizes = {part.node: part.family.size or 1 for part in parts.values()}
        vectors = sum(
            sizes[name] * n_rows(region.chain or region.home)
            for region in self.program.analysis.regions
            for name in region.nodes
        )
        return made + vectors // FEWER_VECTORS

    @property
    def _coordinates(self) -> int:
        """Coordinates of vectors that densities are computed of, in all components."""
        components = self.program.analysis.layout.components
        return sum(
            self.rows.n_rows(part.scope) * components[key].cells.n_cells * part.family.size
            for key, part in self.program.parts.items()
            if part.family.size and self._columns[key].points is None
        )

    def _cost(self, scope: str) -> int:
        """Table entries per row; where members only look tables up, their codes."""
        return 1 if self.looks_up(scope) else self.program.row_cost[scope]

    def looks_up(self, scope: str) -> bool:
        """Whether the members of a plate of one size do nothing but read rows of tables."""
        parts = [part for part in self.program.parts.values() if part.scope == scope]
        record = self.program.outline.scopes.get(scope)
        if record is None or record.kind != "plate" or record.size is None:
            return False
        return all(not p.is_axis and self._columns[p.key].points is not None for p in parts)


def _stretch_line(name: str, lengths: Integers) -> str:
    """What holes tie together, for the report."""
    if not len(lengths):
        return f"'{name}': no hole ties steps together"
    return (
        f"'{name}': holes tie steps together in {len(lengths)} stretches, "
        f"the longest of {int(lengths.max())} steps"
    )


__all__ = ["Bound", "Shard"]
