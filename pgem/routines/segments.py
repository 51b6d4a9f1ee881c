"""Instruction `segments`: sum out a sequence whose values last for explicit durations.

A sequence is cut into segments.  With a(t, k) the probability of what precedes a segment of value
k that starts at step t (k included), b(t, k) that of what follows given that it starts there,
E(t, d, k) the product of a segment's tables, and A the transitions,

    ends(t, k) = Σ_d a(t - d + 1, k) p(d | k) E(t - d + 1, d, k)
    a(t, k)    = Σ_j ends(t - 1, j) A(j, k)
    b(t, k)    = Σ_d p(d | k) E(t, d, k) Σ_l A(k, l) b(t + d, l)

where the segment that reaches the end of the sequence has p(D ≥ d | k) for p(d | k).  The
posterior of a segment is a p E b / p(x), and that of everything else a sum over segments.  A
step costs K D + K² terms for K values and durations of up to D steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pgem.arrays import Floats
from pgem.routines.collect import ScopeData
from pgem.routines.contract import Semiring
from pgem.routines.durations import Durations
from pgem.routines.segment_pass import NumpySegments, Problem, SegmentPass
from pgem.routines.segment_stretches import Windows
from pgem.routines.stretches import Stretches
from pgem.routines.tables import Axis, LogTable

COMPILED_FROM = 300_000
"""Work in a shard from which compiled loops are used: some ten milliseconds of NumPy."""
CALL = 7_000
"""Terms that cost NumPy as much as the calls of one step."""


def segments(
    scope: ScopeData,
    semiring: Semiring,
    transitions: LogTable,
    tables: Sequence[LogTable],
    lasting: Durations,
    prev: Axis,
    state: Axis,
    outer: Sequence[Axis] = (),
    stretches: Sequence[Stretches] = (),
) -> Segments:
    """Sum out a sequence of segments.

    Args:
        scope: the sequence's rows.
        semiring: sum, max or sampling.
        transitions: the value of a segment given that of the one before; on first steps alone.
        tables: the other tables of a step.
        lasting: how many steps a segment lasts.
        prev: axis of the value one step earlier.
        state: axis of the value.
        outer: variables of enclosing scopes.
        stretches: tables over the values of several steps, in some places.
    """
    form = _Form(prev, state, tuple(outer))
    plain = [table for table in tables if table.array.shape[prev.position] == 1]
    pairs = [table for table in tables if table.array.shape[prev.position] > 1]
    lasts, ends = map(form.by_duration, lasting.tables())
    zeros = np.zeros((scope.n_rows, *form.shape()))
    problem = Problem(
        scope.starts,
        np.asarray(sum((form.rows(table) for table in plain), zeros)),
        form.spread(transitions.array, pair=True),
        _reads(transitions, scope.n_rows),
        np.asarray(sum(form.rows(table, pair=True) for table in pairs)) if pairs else None,
        lasts,
        ends,
        np.zeros(scope.n_rows, dtype=np.int64) if lasting.group is None else lasting.group,
    )
    tied = [own for own in stretches if own.tables]
    windows = Windows(problem, semiring, tied, state, form.outer) if tied else None
    problem = problem if windows is None else windows.problem
    run = _choose_pass(problem)(problem, semiring)
    shape = [1] * (scope.parent_dims - 1)
    for axis in outer:
        shape[axis.position - 1] = axis.size
    message = LogTable(run.forward().reshape(-1, *shape), len(scope.lengths))
    return Segments(message, run, form, transitions, tables, lasting, windows)


def _choose_pass(problem: Problem) -> type[SegmentPass]:
    """Compiled loops where there is enough to do."""
    if problem.n_terms + CALL * problem.longest >= COMPILED_FROM:
        from pgem.routines.segment_kernels import CompiledSegments

        kind: type[SegmentPass] = CompiledSegments
    else:
        kind = NumpySegments
    return kind


def _reads(table: LogTable, n_rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Row of the table that each step reads."""
    if table.index is not None:
        return np.where(table.index < 0, len(table.array) - 1, table.index)
    if len(table.array) == n_rows:
        return np.arange(n_rows)
    return np.zeros(n_rows, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class _Form:
    """Tables by axis number, and the same as [rows, U, (J,) K]: U outer combinations, J = K."""

    prev: Axis
    state: Axis
    outer: tuple[Axis, ...]

    def shape(self, *, pair: bool = False) -> tuple[int, ...]:
        """(U, K) or (U, K, K)."""
        combinations = math.prod(axis.size for axis in self.outer)
        own = (self.state.size,) * (2 if pair else 1)
        return (combinations, *own)

    def aligned(self, n_dims: int, *, pair: bool) -> list[int]:
        """Sizes of the axes of a table of the sequence, where all of them are written out."""
        sizes = [1] * n_dims
        for axis in (*self.outer, self.state, *([self.prev] if pair else [])):
            sizes[axis.position - 1] = axis.size
        return sizes

    def spread(self, array: Floats, *, pair: bool = False) -> Floats:
        """[R, axes...] → [R, U, (K,) K]."""
        sizes = self.aligned(array.ndim - 1, pair=pair)
        full = np.broadcast_to(array, (len(array), *sizes))
        return full.reshape(len(array), *self.shape(pair=pair))

    def rows(self, table: LogTable, *, pair: bool = False) -> Floats:
        """A table with one row per step."""
        full = self.spread(table.full(), pair=pair)
        return np.broadcast_to(full, (table.n_rows, *full.shape[1:]))

    def by_duration(self, array: Floats) -> Floats:
        """[G, D, axes...] → [G, U, K, D]."""
        flat = self.spread(array.reshape(-1, *array.shape[2:]))
        return np.moveaxis(flat.reshape(*array.shape[:2], *flat.shape[1:]), 1, -1)

    def collect(self, posterior: Floats, like: Floats, *, pair: bool = False) -> Floats:
        """[R, U, (K,) K] → [R, axes...], summed over the axes that the table does not have."""
        sizes = self.aligned(like.ndim - 1, pair=pair)
        full = posterior.reshape(len(posterior), *sizes)
        gone = tuple(d for d in range(1, like.ndim) if like.shape[d] == 1 < full.shape[d])
        return full.sum(axis=gone, keepdims=True) if gone else full


@dataclass(eq=False)
class Segments:
    """A sequence that was summed out: its message, and the posteriors of its tables.

    Attributes:
        message: log-probability of each sequence.
        lasting: after `backward`, the expected numbers of segments by duration.
    """

    message: LogTable
    run: SegmentPass
    form: _Form
    transitions: LogTable
    tables: Sequence[LogTable]
    durations: Durations
    windows: Windows | None = None
    lasting: Floats = field(default_factory=lambda: np.zeros(0))
    tied: dict[str, list[Floats]] = field(default_factory=dict)

    def backward(self, posterior: Floats) -> list[Floats]:
        """Posteriors of the transitions and of the other tables, in the order given.

        Args:
            posterior: posterior of the outer variables, times the weight of the unit.
        """
        n = len(self.message.array)
        flat = np.broadcast_to(posterior, (n, *posterior.shape[1:])).reshape(n, -1)
        found = self.run.backward(flat)
        if self.windows is not None:
            self.tied = self.windows.backward(found)
        self.lasting = self.durations.weights(*map(self._durations, (found.lasts, found.cut)))
        result = [self.form.collect(found.transitions, self.transitions.array, pair=True)]
        for table in self.tables:
            pair = table.array.shape[self.form.prev.position] > 1
            part = found.pairs if pair else found.states
            assert part is not None
            result.append(self.form.collect(part, table.array, pair=pair))
        return result

    def along(self, stretches: Stretches) -> list[Floats]:
        """Posterior of the variables of each stretch, group by group [W, variables...]."""
        return self.tied.get(stretches.data.name, [])

    def is_summed(self, k: int) -> bool:
        """Whether the posterior of table k (0: the transitions) is added up over its rows."""
        return k == 0

    def _durations(self, counts: Floats) -> Floats:
        """[G, U, K, D] → [G, D, axes...] of the durations' own table."""
        rows = np.moveaxis(counts, -1, 1)
        like = self.durations.array
        flat = self.form.collect(rows.reshape(-1, *rows.shape[2:]), like)
        return flat.reshape(*rows.shape[:2], *flat.shape[1:])
