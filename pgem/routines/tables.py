"""Instruction `density`: log-tables over discrete axes, and the statistics they lead to.

A log-table has one leading row axis and one axis per discrete variable of its scope and the
scopes around it, of size 1 where it does not depend on the variable, so that tables of one scope
add without alignment.  Rows come in three kinds: one row shared by all, one per row of the scope,
or a few distinct rows with an index.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers
from pgem.families._family import Family, Observations, Statistics
from pgem.gating import Cells, Pick, make_cells
from pgem.routines.tally import Spread

if TYPE_CHECKING:
    from pgem.routines.collect import ScopeData

MAX_TABLE = 1_000_000
"""Entries that one table of one row may have."""


class Axis(NamedTuple):
    """A discrete variable that is summed over: its place, its number of values, its name."""

    position: int
    size: int
    name: str


@dataclass(frozen=True, eq=False)
class Index:
    """A discrete variable that is seen.

    Attributes:
        name: the variable.
        rows: one code per row (-1 where there is none yet), or how to find them when needed.
        size: number of values.
    """

    name: str
    rows: Integers | Callable[[], Integers]
    size: int

    @cached_property
    def codes(self) -> Integers:
        """One code per row (-1 where there is none yet)."""
        return self.rows() if callable(self.rows) else self.rows


class Gated(NamedTuple):
    """A parameter or constant with its gates."""

    value: Floats
    gates: tuple[Any, ...]


def at(values: Any, name: str, *gates: Any) -> Gated:
    """The parameter `name`, indexed by axes, indices or picks."""
    return Gated(values[name], gates)


def pick(table: Any, *gates: Any, size: int) -> Pick:
    """A gate that is read from a table of integers."""
    return Pick(np.asarray(table), gates, size)


@dataclass(eq=False)
class NodeData:
    """The values of one component in a shard.

    Attributes:
        key: its name, and the name of its statistics.
        family: with size and structures settled.
        n_rows: rows of its scope.
        n_dims: number of dimensions of a table of its scope.
        points: distinct values, or one value per row.
        index: which point each row has (-1 where missing), or None if points are rows.
        inputs: of a node that is summed over and has covariates, which of their distinct rows
            each row has; its points are all its values under every one of these.
        flat: leave the conditional out: tables are zero (used to start from responsibilities).
        cache: what was made of the values, as long as the shard lasts.
        kept: the same where it is small, as long as the data are bound.
        held: slots that are never learned.
    """

    key: str
    family: Family
    n_rows: int
    n_dims: int
    points: Observations
    index: Integers | None = None
    flat: bool = False
    inputs: Integers | None = None
    cache: dict[Any, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    held: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Source:
    """Where a table came from: what its posterior is turned into statistics with."""

    node: NodeData
    cells: Cells
    slots: dict[str, Floats]
    own: Axis | None


@dataclass(frozen=True, eq=False)
class Steps:
    """A table whose first rows belong to first-step tables, the rest to the steady one."""

    parts: tuple[LogTable | None, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Choice:
    """A table put together along the axis (or index) of a switch."""

    gate: Axis | Index
    parts: tuple[LogTable, ...]


@dataclass(frozen=True, eq=False)
class Members:
    """A product over the members of a plate."""

    scope: ScopeData
    tables: tuple[LogTable, ...]


@dataclass(frozen=True, eq=False)
class Mixed:
    """A table that is the sum over one variable of a product of others, row by row."""

    axis: Axis
    parts: tuple[LogTable, ...]


class Joint(ABC):
    """Where the table of several nodes together came from."""

    @abstractmethod
    def entries(self, posterior: Floats) -> dict[str, Entry]:
        """Expected statistics of every component, under the posterior of the table's axes."""

    @abstractmethod
    def moments(self, posterior: Floats) -> dict[str, tuple[Floats, Floats]]:
        """Posterior mean and covariance of the values that are not seen, by node."""

    @abstractmethod
    def draw(self, generator: Generator, posterior: Floats) -> dict[str, Floats]:
        """A joint draw of the values that are not seen, by node."""


@dataclass(frozen=True, eq=False)
class LogTable:
    """A log-table.

    Attributes:
        values: [R, axes...], or how to find them when needed (then R is `n_rows`).
        n_rows: rows of its scope.
        reads: which of the R rows each row of the scope reads (-1: the last), or how to find it
            when needed; None if R is 1 or all rows.
        source: what its posterior is collected into.
        by_number: whether a row with number k of its sequence reads row k, or the last one.
        shape: of a row, where values are found when needed.
    """

    values: Floats | Callable[[], Floats]
    n_rows: int
    reads: Integers | Callable[[], Integers] | None = None
    source: Source | Steps | Choice | Members | Mixed | Joint | None = None
    by_number: bool = field(default=False, kw_only=True)
    shape: tuple[int, ...] | None = field(default=None, kw_only=True)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Size of every axis."""
        return self.array.shape[1:] if self.shape is None else self.shape

    @property
    def n_own(self) -> int:
        """R."""
        return self.n_rows if callable(self.values) else len(self.values)

    @cached_property
    def array(self) -> Floats:
        """[R, axes...]."""
        return self.values() if callable(self.values) else self.values

    @cached_property
    def index(self) -> Integers | None:
        """Which of the R rows each row of the scope reads; None if R is 1 or all rows."""
        return self.reads() if callable(self.reads) else self.reads

    def full(self) -> Floats:
        """One row per row of the scope, or a single shared one."""
        return self.array if self.index is None else self.array.take(self.index, axis=0)

    @property
    def is_shared(self) -> bool:
        """Whether one row serves all."""
        if self.reads is not None or callable(self.values):
            return False
        return len(self.values) == 1 and self.n_rows != 1


def product(*tables: LogTable) -> Floats:
    """The sum of log-tables [N or 1, axes...]."""
    total = tables[0].full()
    for factor in tables[1:]:
        total = total + factor.full()
    return total


# --- cells --------------------------------------------------------------------------------------


def _size(gate: Axis | Index) -> int:
    return gate.size


def cells_of(node: NodeData, slots: dict[str, Gated]) -> Cells:
    """The cells of a node; kept, since gates do not change (a pick is made anew every time)."""
    gates = {name: gated.gates for name, gated in slots.items()}
    if any(isinstance(gate, Pick) for own in gates.values() for gate in own):
        return make_cells(gates, _size)
    key = ("cells", *gates.items())
    if key not in node.cache:
        node.cache[key] = make_cells(gates, _size)
    return node.cache[key]  # type: ignore[no-any-return]


def slot_values(cells: Cells, slots: dict[str, Gated], family: Family) -> dict[str, Floats]:
    """Slot values per cell [C, own axes]."""
    values = {}
    for name, gated in slots.items():
        own = family.own_shape(name)
        n_gates = len(gated.gates)
        table = np.asarray(gated.value, dtype=float)
        if table.ndim == n_gates and own:
            table = _widen(table, own)
        if table.shape[n_gates:] != own:
            table = np.broadcast_to(table, table.shape[:n_gates] + own)
        rows = table.reshape(cells.n_rows[name], *own)
        values[name] = rows if name in cells.one_to_one else rows[cells.rows[name]]
    return values


def _widen(table: Floats, own: tuple[int, ...]) -> Floats:
    """A scalar where a vector is meant is repeated, where a matrix is meant a multiple of I."""
    shaped = table.reshape(table.shape + (1,) * len(own))
    return shaped * np.eye(own[0]) if len(own) == 2 else shaped * np.ones(own)


def split_gates(cells: Cells) -> tuple[list[int], list[int]]:
    """Positions of index gates and of axis gates (by axis number) among the gates."""
    kept = cells.__dict__.get("split")
    if kept is None:
        seen = [k for k, gate in enumerate(cells.gates) if isinstance(gate, Index)]
        axes = [k for k, gate in enumerate(cells.gates) if isinstance(gate, Axis)]
        kept = cells.__dict__["split"] = seen, sorted(axes, key=lambda k: cells.gates[k].position)
    return kept


def _n_seen(cells: Cells) -> int:
    """Combinations of the index gates."""
    seen = split_gates(cells)[0]
    return math.prod(cells.shape[k] for k in seen) if seen else 1


def flat_index(cells: Cells, n_rows: int) -> Integers | None:
    """Joint code of the index gates per row; None without index gates."""
    seen, _ = split_gates(cells)
    if not seen:
        return None
    flat = np.zeros(n_rows, dtype=np.int64)
    for k in seen:
        flat = flat * cells.shape[k] + np.maximum(cells.gates[k].codes, 0)
    return flat


def _flat_index_of(node: NodeData, cells: Cells) -> Integers | None:
    """`flat_index` of a node's rows; kept, since data do not change."""
    key = ("flat", cells)
    if key not in node.cache:
        node.cache[key] = flat_index(cells, node.n_rows)
    return node.cache[key]  # type: ignore[no-any-return]


def aligned(n_dims: int, axes: Iterable[Axis]) -> tuple[int, ...]:
    """Shape of a table's own axes: 1 except at the given positions."""
    shape = [1] * (n_dims - 1)
    for axis in axes:
        shape[axis.position - 1] = axis.size
    return tuple(shape)


def arrange(by_cell: Floats, cells: Cells) -> Floats:
    """[U, C] → [G, U, axis gates...]: index gates first, then points, axes by position."""
    seen, axes = split_gates(cells)
    if not seen and axes == sorted(axes):
        return by_cell.reshape(1, len(by_cell), *cells.shape)
    table = by_cell.reshape(len(by_cell), *cells.shape)
    table = table.transpose([k + 1 for k in seen] + [0] + [k + 1 for k in axes])
    return table.reshape(_n_seen(cells), len(by_cell), *(cells.shape[k] for k in axes))


def _arrange_back(table: Floats, cells: Cells) -> Floats:
    """[G, U, axis gates...] → [U, C], the inverse of `_arrange`."""
    seen, axes = split_gates(cells)
    n_points = table.shape[1]
    if not seen and axes == sorted(axes):
        return table.reshape(n_points, cells.n_cells)
    shape = [cells.shape[k] for k in seen] + [n_points] + [cells.shape[k] for k in axes]
    order = [*seen, -1, *axes]
    table = table.reshape(shape)
    back = [order.index(k) for k in [-1, *range(len(cells.shape))]]
    return table.transpose(back).reshape(n_points, cells.n_cells)


# --- forward ------------------------------------------------------------------------------------


def density(node: NodeData, **slots: Gated) -> LogTable:
    """log p(node | gates): one row per value, one axis per gate that is summed over."""
    cells = cells_of(node, slots)
    values = slot_values(cells, slots, node.family)
    source = Source(node, cells, values, None)
    axes = [cells.gates[k] for k in split_gates(cells)[1]]
    shape = aligned(node.n_dims, axes)

    def joint() -> Integers:
        key = ("joint", cells)
        if key not in node.cache:
            node.cache[key] = _joint_index(_flat_index_of(node, cells), node)
        return node.cache[key]  # type: ignore[no-any-return]

    if node.flat:
        n_rows = node.n_rows if node.index is None else _n_seen(cells) * len(node.points.x) + 1
        index = None if node.index is None else joint
        return LogTable(np.zeros((n_rows, *shape)), node.n_rows, index, source)
    if node.index is None and split_gates(cells)[0]:
        flat = _flat_index_of(node, cells)
        assert flat is not None
        rows = _by_group(node, cells, values, flat)
        return LogTable(rows.reshape(node.n_rows, *shape), node.n_rows, None, source)
    if node.index is None:

        def rows_when_needed() -> Floats:
            found = node.family.log_density(node.points, values)
            return arrange(found, cells).reshape(-1, *shape)

        return LogTable(rows_when_needed, node.n_rows, None, source, shape=shape)
    by_cell = node.family.log_density(node.points, values)
    table = arrange(by_cell, cells).reshape(-1, *shape)
    padded = np.concatenate([table, np.zeros((1, *shape))])  # the last row is for holes
    return LogTable(padded, node.n_rows, joint, source)


def table(node: NodeData, own: Axis, **slots: Gated) -> LogTable:
    """log p(node | gates) of a node that is itself summed over, along its own axis."""
    cells = cells_of(node, slots)
    values = slot_values(cells, slots, node.family)
    axes = [cells.gates[k] for k in split_gates(cells)[1]]
    by_cell = node.family.log_density(node.points, values)
    if node.flat:
        by_cell = np.zeros_like(by_cell)
    by_value = arrange(by_cell, cells).reshape(-1, own.size, *(a.size for a in axes))
    place = 1 + sum(a < own for a in axes)
    arranged = by_value if place == 1 else np.moveaxis(by_value, 1, place)
    shape = aligned(node.n_dims, [*axes, own])
    flat = _flat_index_of(node, cells)
    if node.inputs is not None:
        n_inputs = len(by_cell) // own.size
        flat = node.inputs if flat is None else flat * n_inputs + node.inputs
    array, source = arranged.reshape(-1, *shape), Source(node, cells, values, own)
    barren = node.cache.get("barren")
    if barren is not None:
        flat = np.where(barren, len(array), np.zeros(node.n_rows) if flat is None else flat)
        array = np.concatenate([array, np.zeros((1, *shape))])
        return LogTable(array, node.n_rows, flat.astype(np.int64), None)
    return LogTable(array, node.n_rows, flat, source)


def _joint_index(flat: Integers | None, node: NodeData) -> Integers:
    """Row of the padded table [G × U + 1] that each row of the scope reads."""
    assert node.index is not None
    n_points = len(node.points.x)
    joint = node.index if flat is None else flat * n_points + node.index
    gone = node.index < 0
    return np.where(gone, -1, joint) if gone.any() else joint


def groups_of(node: NodeData, flat: Integers) -> list[tuple[int, Integers, Observations]]:
    """Rows by joint index code, with their values; kept, since data do not change."""
    key = ("groups", flat.tobytes())
    if key not in node.cache:
        order = np.argsort(flat, kind="stable")
        codes, starts = np.unique(flat[order], return_index=True)
        found = []
        for code, rows in zip(codes, np.split(order, starts[1:]), strict=True):
            known = {k: v[rows] for k, v in node.points.known.items()}
            found.append((int(code), rows, Observations(node.family, node.points.x[rows], known)))
        node.cache[key] = found
    return node.cache[key]  # type: ignore[no-any-return]


def group_cells(cells: Cells, code: int) -> Integers:
    """Cells of one joint index code, axes by position."""
    cell = arrange(np.arange(cells.n_cells, dtype=float)[None], cells)[code]
    return np.asarray(cell.ravel().astype(np.int64))


def _by_group(node: NodeData, cells: Cells, values: dict[str, Floats], flat: Integers) -> Floats:
    """Densities where each row reads its own cells: [N, product of the axes]."""
    out = np.empty((node.n_rows, len(group_cells(cells, 0))))
    for code, rows, points in groups_of(node, flat):
        chosen = group_cells(cells, code)
        here = {name: value[chosen] for name, value in values.items()}
        out[rows] = node.family.log_density(points, here)
    return out


def evidence(node: NodeData, own: Axis) -> LogTable:
    """0 at the given value, -inf elsewhere, 0 throughout where nothing is given."""
    shape = aligned(node.n_dims, [own])
    soft = node.cache.get("responsibilities")
    if soft is not None:
        with np.errstate(divide="ignore"):
            return LogTable(np.log(soft).reshape(-1, *shape), node.n_rows)
    given = node.cache["given"]
    rows = np.where(np.eye(own.size, dtype=bool), 0.0, -np.inf)
    padded = np.concatenate([rows, np.zeros((1, own.size))])
    return LogTable(padded.reshape(-1, *shape), node.n_rows, given)


def query(n_rows: int, n_dims: int, *axes: Axis) -> LogTable:
    """A table of zeros: its posterior is the joint posterior of its axes."""
    return LogTable(np.zeros((n_rows, *aligned(n_dims, axes))), n_rows)


def steps(number: Integers, *parts: LogTable | None) -> LogTable:
    """One table out of the first steps' tables and the steady one (the last).

    Args:
        number: step number of each row, from 0.
        parts: tables in order; None where a first step is conditioned on and counts nothing.
    """
    steady = parts[-1]
    assert steady is not None
    shape = np.broadcast_shapes(*(p.array.shape[1:] for p in parts if p is not None))
    arrays = [np.zeros((1, *shape)) if part is None else part.array for part in parts]
    counts = tuple(len(array) for array in arrays)
    joined = np.concatenate([np.broadcast_to(array, (len(array), *shape)) for array in arrays])
    plain = all(part is None or (part.reads is None and len(part.array) == 1) for part in parts)

    def reads() -> Integers:
        return _rows_by_number(number, parts, counts)

    return LogTable(joined, len(number), reads, Steps(parts, counts), by_number=plain)


def _rows_by_number(
    number: Integers, parts: Sequence[LogTable | None], counts: Sequence[int]
) -> Integers:
    """Row of the joined tables that each row of the scope reads."""
    steady, offsets = parts[-1], np.cumsum([0, *counts])
    assert steady is not None
    index = _rows_of(steady, len(number)) + offsets[len(parts) - 1]
    for k, part in enumerate(parts[:-1]):  # few rows
        here = np.flatnonzero(number == k)
        own = 0 if part is None else _rows_of(part, len(number))[here]
        index[here] = offsets[k] + own
    return np.asarray(index)


def _rows_of(part: LogTable, n_rows: int) -> Integers:
    """Row of the table that each row of the scope reads."""
    if part.index is not None:
        return np.where(part.index < 0, len(part.array) - 1, part.index)
    if len(part.array) == n_rows != 1:
        return np.arange(n_rows)
    return np.zeros(n_rows, dtype=np.int64)


# --- reverse ------------------------------------------------------------------------------------


@dataclass(eq=False)
class Entry:
    """Accumulated statistics of one component.

    Attributes:
        family: the component's family.
        cells: its cells.
        arrays: statistics [C, ...].
        origin: slot values per cell that the E-step ran with.
    """

    family: Family
    cells: Cells
    arrays: Statistics
    origin: dict[str, Floats]

    def add(self, arrays: Statistics) -> None:
        """Add statistics of more rows."""
        self.arrays = tuple(a + b for a, b in zip(self.arrays, arrays, strict=True))


@dataclass(frozen=True, eq=False)
class Collected:
    """Statistics that were made on the way, in place of the posterior of several tables.

    Attributes:
        entries: by component.
    """

    entries: dict[str, Entry]


Posterior: TypeAlias = Floats | Collected


class Runaway(NamedTuple):
    """A row of a parameter in which Q has no finite maximum: its name, and the gates' values."""

    name: str
    row: tuple[int, ...]

    def __str__(self) -> str:
        return f"'{self.name}'" + (f"[{', '.join(map(str, self.row))}]" if self.row else "")


class Stats(dict[str, Entry]):
    """Expected statistics by component: add rows, merge shards.

    Attributes:
        use_priors: whether the M-step adds the statistics of priors (MAP).
        most_sweeps: how often conditional maxima are taken in turn where one pass is not enough.
        runaways: coefficients that the M-step found to have no finite maximum.
        climbed: parameters whose conditional maxima crawled, so that Q was climbed numerically.
    """

    most_sweeps = 1000
    use_priors = False
    runaways: tuple[Runaway, ...] = ()
    climbed: tuple[str, ...] = ()

    def add(
        self, log_table: LogTable, posterior: Posterior | Spread, *, summed: bool = False
    ) -> None:
        """Add the statistics of a table under its posterior.

        Args:
            log_table: the table of the forward pass.
            posterior: posterior of its axes per row (or per row of the table, if `summed`).
            summed: rows that read the same row of the table were added up already.
        """
        source = log_table.source
        if isinstance(posterior, Collected):
            assert isinstance(source, Source)
            self._add_entries({source.node.key: posterior.entries[source.node.key]})
            return
        if isinstance(posterior, Spread):
            posterior, summed = _counted(log_table, posterior)
        if isinstance(source, Steps):
            self._add_steps(log_table, source, posterior, summed)
        elif isinstance(source, Choice):
            for k, part in enumerate(source.parts):
                self.add(part, _of_part(source.gate, k, posterior, part))
        elif isinstance(source, Joint):
            self._add_entries(source.entries(posterior))
        elif source is not None:
            assert isinstance(source, Source), "`collect.add_to` and passes tell of all others"
            self._add_source(log_table, source, posterior, summed)

    def maximum(self, name: str) -> Floats | None:
        """The maximum of a parameter, where it was found together with others."""
        return None

    def merge(self, other: dict[str, Entry]) -> None:
        """Add statistics by component, as of another shard."""
        self._add_entries(other)

    def _add_steps(
        self, log_table: LogTable, source: Steps, posterior: Floats, summed: bool
    ) -> None:
        if not summed:
            posterior = sum_rows(posterior, log_table.index, len(log_table.array))
        start = 0
        for part, count in zip(source.parts, source.counts, strict=True):
            rows = posterior[start : start + count]
            start += count
            if part is not None:
                axes = tuple(
                    k for k in range(1, rows.ndim) if part.array.shape[k] == 1 < rows.shape[k]
                )
                self.add(part, rows.sum(axis=axes, keepdims=True), summed=True)

    def _add_source(
        self, log_table: LogTable, source: Source, posterior: Floats, summed: bool
    ) -> None:
        node, cells = source.node, source.cells
        if node.index is None and source.own is None:
            weights = np.broadcast_to(posterior, (node.n_rows, *posterior.shape[1:]))
            arrays = _accumulate_rows(source, weights.reshape(node.n_rows, -1))
        else:
            if not summed:
                posterior = _sum_rows_of(node, log_table, posterior)
            arrays = _accumulate_points(source, posterior)
        self._add_entries({node.key: Entry(node.family, cells, arrays, source.slots)})

    def _add_entries(self, entries: dict[str, Entry]) -> None:
        for key, entry in entries.items():
            if key in self:
                self[key].add(entry.arrays)
            else:
                self[key] = entry


def _counted(log_table: LogTable, posterior: Spread) -> tuple[Floats, bool]:
    """The posterior of the members, and whether it is summed over those that read the same row."""
    source = log_table.source
    tally = source.node.kept.get("tally") if isinstance(source, Source) else None
    if tally is None:
        return posterior.array, False
    counts = tally.count(posterior.by_parent(), len(log_table.array))
    return counts.reshape(len(counts), *posterior.shape[1:]), True


def picked(gate: Axis | Index, k: int, table: Floats, *, whole: bool) -> Floats:
    """What belongs to value k of a switch.

    Args:
        gate: what picks.
        k: its value.
        table: over all of its values [rows, axes..., more].
        whole: keep an axis for the gate, 0 at its other values.
    """
    if isinstance(gate, Index):
        here = (gate.codes == k).reshape(-1, *(1,) * (table.ndim - 1))
        return np.asarray(table * here)
    if whole:
        here = np.arange(gate.size).reshape(-1, *(1,) * (table.ndim - 1 - gate.position)) == k
        return np.where(here, table, 0.0)
    return table[(slice(None),) * gate.position + (slice(k, k + 1),)]


def _of_part(gate: Axis | Index, k: int, posterior: Floats, part: LogTable) -> Floats:
    """The posterior of one component of a switch, reduced to the component's axes."""
    whole = isinstance(gate, Axis) and part.array.shape[gate.position] > 1
    posterior = picked(gate, k, posterior, whole=whole)
    axes = tuple(
        d for d in range(1, posterior.ndim) if part.array.shape[d] == 1 < posterior.shape[d]
    )
    return posterior.sum(axis=axes, keepdims=True) if axes else posterior


def _sum_rows_of(node: NodeData, log_table: LogTable, posterior: Floats) -> Floats:
    """`sum_rows`, by a matrix that is kept as long as the shard where it is small."""
    index, n_rows = log_table.index, len(log_table.array)
    if index is None or len(index) * n_rows > FEW or len(posterior) != len(index):
        return sum_rows(posterior, index, n_rows)
    kept = node.cache.get("hot")
    if kept is None or kept[0] is not index:
        kept = node.cache["hot"] = (index, _hot(index, n_rows))
    flat = posterior.reshape(len(index), -1)
    hot: Floats = kept[1]
    return np.asarray((hot @ flat).reshape(n_rows, *posterior.shape[1:]))


def _hot(index: Integers, n_rows: int) -> Floats:
    """Ones where a row reads a row of the table [R, N]."""
    where = np.where(index < 0, n_rows - 1, index)
    return np.asarray(np.arange(n_rows)[:, None] == where, dtype=float)


FEW = 4096
"""Entries of a matrix of zeros and ones up to which one product is quicker than counting."""


def sum_rows(posterior: Floats, index: Integers | None, n_rows: int) -> Floats:
    """Add rows that read the same row of the table: [N, ...] → [R, ...]."""
    if index is None:
        if n_rows == 1:
            return np.asarray(posterior.sum(axis=0, keepdims=True))
        return posterior
    flat = posterior
    if len(flat) != len(index):
        flat = np.broadcast_to(flat, (len(index), *posterior.shape[1:]))
    flat = flat.reshape(len(index), -1)
    if len(index) * n_rows <= FEW:
        return np.asarray((_hot(index, n_rows) @ flat).reshape(n_rows, *posterior.shape[1:]))
    where = np.where(index < 0, n_rows - 1, index)
    total = np.empty((n_rows, flat.shape[1]))
    for k, column in enumerate(np.ascontiguousarray(flat.T)):
        total[:, k] = np.bincount(where, weights=column, minlength=n_rows)
    return total.reshape(n_rows, *posterior.shape[1:])


def _accumulate_rows(source: Source, weights: Floats) -> Statistics:
    """Statistics from one value per row, with responsibilities [N, product of the axes]."""
    node, cells = source.node, source.cells
    flat = _flat_index_of(node, cells)
    if flat is None:
        chosen = group_cells(cells, 0)
        if (chosen[1:] < chosen[:-1]).any():  # gates in another order than their axes
            weights = weights[:, np.argsort(chosen)]
        return node.family.accumulate(node.points, weights, source.slots)
    total: list[Floats] | None = None
    for code, rows, points in groups_of(node, flat):
        chosen = group_cells(cells, code)
        here = {name: value[chosen] for name, value in source.slots.items()}
        parts = node.family.accumulate(points, weights[rows], here)
        if total is None:
            total = [np.zeros((cells.n_cells, *p.shape[1:]), dtype=p.dtype) for p in parts]
        for whole, part in zip(total, parts, strict=True):
            whole[chosen] += part
    assert total is not None
    return tuple(total)


def _accumulate_points(source: Source, posterior: Floats) -> Statistics:
    """Statistics from distinct values with summed responsibilities."""
    node, cells = source.node, source.cells
    axes = split_gates(cells)[1]
    n_seen = _n_seen(cells)
    n_points = len(node.points.x)
    sizes = [cells.shape[k] for k in axes]
    if source.own is None:
        counts = posterior[: n_seen * n_points].reshape(n_seen, n_points, *sizes)
    else:
        place = sum(cells.gates[k] < source.own for k in axes)
        sizes.insert(place, source.own.size)
        counts = posterior.reshape(-1, *sizes)
        counts = np.moveaxis(counts, 1 + place, 1) if place else counts
        counts = counts.reshape(n_seen, -1, *counts.shape[2:])
    return node.family.accumulate(node.points, _arrange_back(counts, cells), source.slots)
