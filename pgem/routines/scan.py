"""Instruction `scan`: sum out a sequence along its structure.

One step multiplies the forward message over the *interface* (the earlier variables) with the
step's tables and sums the earlier variables out one at a time; what is left, renamed, is the
interface of the next step.  A factorial chain is thus scanned factor by factor.  Before the first
step every earlier variable stands at 0, which the first step's tables do not look at.

Forward messages are kept; backwards, the conditionals of each step are recomputed from them, so
sum, max and sampling share one text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.routines.collect import ScopeData
from pgem.routines.contract import Semiring
from pgem.routines.scan_plan import Move, Pass, Rows, ScanPlan, make_plan
from pgem.routines.stretches import Stretches
from pgem.routines.tables import Axis, Collected, LogTable, Posterior
from pgem.routines.unrolled import Unrolled

COMPILED_FROM = 180_000
"""Work in a shard from which compiled loops are used: about five milliseconds of NumPy, so that
some tens of iterations pay for importing Numba, and less than a shard of a large data set."""
WHOLE = 1 << 18
"""Numbers for every row and entry of all moves that are made at once and kept."""
CALL = 700
"""Table entries that cost NumPy as much as the calls of one move of one step."""


def scan(
    scope: ScopeData,
    semiring: Semiring,
    tables: Sequence[LogTable],
    sum_out: Sequence[Axis],
    shift: Mapping[Axis, Axis],
    outer: Sequence[Axis] = (),
    stretches: Sequence[Stretches] = (),
) -> Chain:
    """Sum out a sequence.

    Args:
        scope: the sequence's rows.
        semiring: sum, max or sampling.
        tables: tables of one step.
        sum_out: earlier (and inner) variables in the order in which they are eliminated.
        shift: this step's variable → the axis that it has at the next step.
        outer: variables of enclosing scopes.
        stretches: tables over the variables of several steps, in some places.
    """
    tied = [own for own in stretches if own.tables]

    def short(
        plan: ScanPlan, factors: list[Rows], starts: Integers, whole: ScopeData | None = None
    ) -> Pass:
        run: Pass
        if _is_large(plan, np.diff(starts)):
            from pgem.routines.paths import compiled_pass

            run = compiled_pass(plan, factors, starts, semiring, whole)
        else:
            run = NumpyPass(plan, factors, starts, semiring)
        return run

    def make_pass(plan: ScanPlan, factors: list[Rows]) -> Pass:
        if tied:
            return Unrolled(plan, factors, scope, semiring, tied, short)
        return short(plan, factors, scope.starts, scope)

    return make_chain(scope, tables, sum_out, shift, outer, make_pass)


def make_chain(
    scope: ScopeData,
    tables: Sequence[LogTable],
    sum_out: Sequence[Axis],
    shift: Mapping[Axis, Axis],
    outer: Sequence[Axis],
    make_pass: Callable[[ScanPlan, list[Rows]], Pass],
) -> Chain:
    """Run the forward half of a pass over a scope's tables (see `scan`)."""
    merged, owners = _merge(tables)
    known = [*sum_out, *shift, *shift.values(), *outer]
    axes = tuple(_axes_of(table, known) for table in merged)
    plan = make_plan(axes, tuple(sum_out), tuple(shift.items()), tuple(outer))
    factors = [
        Rows(table, scope.n_rows, [tables[k] for k in own])
        for table, own in zip(merged, owners, strict=True)
    ]
    run = make_pass(plan, factors)
    shape = [1] * (scope.parent_dims - 1)
    for axis in outer:
        shape[axis.position - 1] = axis.size
    message = LogTable(run.forward().reshape(-1, *shape), len(scope.lengths))
    return Chain(message, run, merged, owners, tables)


def _is_large(plan: ScanPlan, lengths: Integers) -> bool:
    """Whether there is enough to do for compiled loops."""
    entries = int(lengths.sum()) * sum(len(move.source) for move in plan.moves)
    calls = int(lengths.max(initial=0)) * len(plan.moves)
    return entries + CALL * calls >= COMPILED_FROM


@dataclass(eq=False)
class Chain:
    """A scanned sequence (or tree): its message, and the posteriors of its tables."""

    message: LogTable
    run: Pass
    merged: list[LogTable]
    owners: list[list[int]]
    tables: Sequence[LogTable]

    def backward(self, posterior: Floats) -> list[Posterior]:
        """Posterior of every table's axes.

        Args:
            posterior: posterior of the outer variables, times the weight of the unit.

        Returns:
            Per table [R, axes...] summed over the rows that read the same row of the table, or
            one row per step where the table has one; or the statistics that it leads to.
        """
        n = len(self.message.array)
        flat = np.broadcast_to(posterior, (n, *posterior.shape[1:])).reshape(n, -1)
        found = self.run.backward(flat)
        result: list[Posterior] = [Collected({})] * len(self.tables)
        for k, (table, owners) in enumerate(zip(self.merged, self.owners, strict=True)):
            given: Posterior | None = self.run.collected.get(k)
            if given is None:
                given = found[k].reshape(-1, *table.row_shape)
            for owner in owners:
                result[owner] = given
        return result

    def along(self, stretches: Stretches) -> list[Floats]:
        """Posterior of the variables of each stretch, group by group [W, variables...]."""
        return self.run.along.get(stretches.data.name, [])

    def is_summed(self, k: int) -> bool:
        """Whether table k's posterior comes added up over its rows."""
        table = self.tables[k]
        merged = next(m for m, own in zip(self.merged, self.owners, strict=True) if k in own)
        return merged is table and (table.reads is not None or table.n_own != table.n_rows)


def _merge(tables: Sequence[LogTable]) -> tuple[list[LogTable], list[list[int]]]:
    """Add up tables with one row per step and the same axes: they share one posterior."""
    merged: list[LogTable] = []
    owners: list[list[int]] = []
    groups: dict[tuple[int, ...], list[int]] = {}
    for k, table in enumerate(tables):
        groups.setdefault(table.row_shape, []).append(k)
    for members in groups.values():
        dense = [k for k in members if tables[k].reads is None and not tables[k].is_shared]
        for k in members:
            if k not in dense:
                merged.append(tables[k])
                owners.append([k])
        if len(dense) == 1:
            merged.append(tables[dense[0]])
            owners.append(dense)
        elif dense:
            merged.append(_sum([tables[k] for k in dense]))
            owners.append(dense)
    return merged, owners


def _sum(tables: Sequence[LogTable]) -> LogTable:
    """The sum of tables with one row per step, when it is needed."""

    def total() -> Floats:
        return np.asarray(sum(table.array for table in tables))

    return LogTable(total, tables[0].n_rows, shape=tables[0].row_shape)


def _axes_of(table: LogTable, known: Sequence[Axis]) -> tuple[Axis, ...]:
    """The axes that a table really has, by position."""
    by_position = {axis.position: axis for axis in known}
    shape = (1, *table.row_shape)
    return tuple(by_position[d] for d in range(1, len(shape)) if shape[d] > 1)


class RowsPass(Pass):
    """Log-domain moves of many rows side by side, forward and back.

    What does not hang on messages is made for all rows at once where that is little: what the
    factors add in each move, and what they get back.
    """

    @cached_property
    def is_small(self) -> bool:
        """Whether numbers for every row and entry may be kept."""
        n_rows = int(self.starts[-1])
        return n_rows * sum(len(move.source) for move in self.plan.moves) <= WHOLE

    @cached_property
    def added(self) -> list[Floats]:
        """What the factors add in each move [rows, entries], for all rows."""
        rows = np.arange(int(self.starts[-1]))
        return [self._factors(move, rows) for move in self.plan.moves]

    @cached_property
    def spreads(self) -> list[Floats]:
        """The posterior of each move's entries [rows, entries], as far as it is known."""
        n_rows = int(self.starts[-1])
        return [np.zeros((n_rows, len(move.source))) for move in self.plan.moves]

    def tables(self, table: Floats, rows: Integers) -> list[Floats]:
        """A table [rows, entries], and what it becomes after each move."""
        tables = [table]
        for k, move in enumerate(self.plan.moves):
            joint = self.joint(k, tables[-1], rows)
            alone = move.n_sum == 1  # nothing is summed out, as in the last move
            tables.append((joint if alone else self.semiring.reduce(joint, 2))[:, :, 0])
        return tables

    def joint(self, k: int, table: Floats, rows: Integers) -> Floats:
        """The table of move k before its variable is summed out [rows, out, sum]."""
        move = self.plan.moves[k]
        added = self.added[k][rows] if self.is_small else self._factors(move, rows)
        return (table[:, move.source] + added).reshape(len(rows), move.n_out, move.n_sum)

    def _factors(self, move: Move, rows: Integers) -> Floats:
        """What the factors add in a move [rows, entries]."""
        total = np.zeros((len(rows), len(move.source)))
        for k, places in zip(move.factors, move.places, strict=True):
            factor = self.factors[k]
            total += factor.values[factor.index[rows]][:, places]
        return total

    def undo(
        self, tables: Sequence[Floats], weight: Floats, rows: Integers, found: list[Floats]
    ) -> Floats:
        """The posterior of the first table's entries, from that of the last's.

        Args:
            tables: as `tables` gave them.
            weight: posterior of the last table's entries [rows, entries].
            rows: the rows.
            found: posteriors of the factors' entries, which are added to, at the latest by
                `settle`.
        """
        for k in range(len(self.plan.moves) - 1, -1, -1):
            move, spread = self.plan.moves[k], weight
            if move.n_sum > 1:
                joint, message = self.joint(k, tables[k], rows), tables[k + 1][:, :, None]
                conditional = self.semiring.condition(joint, message, 2)
                spread = (weight[:, :, None] * conditional).reshape(len(rows), -1)
            if self.is_small:
                self.spreads[k][rows] = spread
            else:
                self._add(found, move, spread, rows)
            weight = spread @ self._hot(k, tables[k].shape[1])
        return weight

    def settle(self, found: list[Floats]) -> list[Floats]:
        """Add what all moves gave, after the last of them."""
        if self.is_small:
            rows = np.arange(int(self.starts[-1]))
            for move, spread in zip(self.plan.moves, self.spreads, strict=True):
                self._add(found, move, spread, rows)
        return found

    def _hot(self, k: int, size: int) -> Floats:
        """Ones where an entry of move k stands in an entry of the table before [E, size]."""
        kept = self.__dict__.setdefault("hot", {})
        if k not in kept:
            kept[k] = (self.plan.moves[k].source[:, None] == np.arange(size)).astype(float)
        return kept[k]  # type: ignore[no-any-return]

    def _add(self, found: list[Floats], move: Move, spread: Floats, rows: Integers) -> None:
        """Add a move's posterior to the factors that took part in it."""
        for k, places in zip(move.factors, move.places, strict=True):
            factor = self.factors[k]
            part = _gather(spread, places, factor.values.shape[1])
            np.add.at(found[k], factor.index[rows], part)


class NumpyPass(RowsPass):
    """All sequences of a shard side by side, one step at a time."""

    def forward(self) -> Floats:
        plan = self.plan
        lengths = np.diff(self.starts)
        self.order = np.argsort(-lengths, kind="stable")
        self.alive = [int((lengths > t).sum()) for t in range(int(lengths.max(initial=0)))]
        shape = (len(lengths), plan.n_outer, plan.n_state)
        state = np.full(shape, -np.inf)
        state[:, :, 0] = 0.0
        total = np.zeros(shape[:2])
        self.before: list[Floats] = []
        self.kept: list[list[Floats]] = []
        for t, n in enumerate(self.alive):
            self.before.append(state[:n].reshape(n, -1))
            tables = self.tables(self.before[t], self.rows(t))
            if self.is_small:
                self.kept.append(tables)
            new = tables[-1].reshape(n, *shape[1:])
            peak = new.max(axis=2)
            shift = np.where(np.isfinite(peak), peak, 0.0)
            state = state.copy()
            state[:n] = new - shift[:, :, None]
            total[:n] += shift
        self.last = state
        message = self.semiring.reduce(state, 2)[:, :, 0]
        self.message = message
        out = np.empty_like(total)
        out[self.order] = total + message
        return out

    def rows(self, t: int) -> Integers:
        """Rows of step t of the sequences that reach it."""
        return np.asarray(self.starts[self.order[: self.alive[t]]] + t)

    def backward(self, posterior: Floats) -> list[Floats]:
        found = [np.zeros_like(factor.values) for factor in self.factors]
        n_sequences = len(self.starts) - 1
        last = self.semiring.condition(self.last, self.message[:, :, None], 2)
        ends = (posterior[self.order][:, :, None] * last).reshape(n_sequences, -1)
        current = ends
        for t in range(len(self.alive) - 1, -1, -1):
            n = self.alive[t]
            rows = self.rows(t)
            tables = self.kept[t] if self.kept else self.tables(self.before[t], rows)
            weight = self.undo(tables, current[:n], rows, found)
            current = ends.copy()
            current[:n] = weight
        return self.settle(found)


def _gather(values: Floats, places: Integers, size: int) -> Floats:
    """Sum columns by place: [S, E] → [S, size]."""
    if values.shape[1] * size <= 4096:
        return np.asarray(values @ (places[:, None] == np.arange(size)).astype(float))
    out = np.zeros((values.shape[0], size))
    np.add.at(out.T, places, values.T)
    return out
