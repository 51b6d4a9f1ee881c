"""What a scan is made of: the index maps of one step, its tables as rows, and a pass over them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.routines.contract import Semiring
from pgem.routines.tables import Axis, Collected, LogTable


@dataclass(frozen=True, eq=False)
class Move:
    """One elimination: a table over (outer and kept axes, the variable that is summed out).

    Attributes:
        source: entry of the table before, for each entry [E].
        factors: which tables are multiplied in.
        places: entry of each of these tables, for each entry [E].
        n_out: entries that are left.
        n_sum: values of the variable (1 in the last move, which only multiplies).
    """

    source: Integers
    factors: tuple[int, ...]
    places: tuple[Integers, ...]
    n_out: int
    n_sum: int


class StepAxes(NamedTuple):
    """The variables of one step.

    Attributes:
        factors: axes of each of its tables.
        sum_out: variables in the order in which they are eliminated.
        shift: pairs of this step's variable and what it is called at the next step.
        outer: variables of enclosing scopes.
    """

    factors: tuple[tuple[Axis, ...], ...]
    sum_out: tuple[Axis, ...]
    shift: tuple[tuple[Axis, Axis], ...]
    outer: tuple[Axis, ...]


@dataclass(frozen=True, eq=False)
class ScanPlan:
    """All index maps of one step.

    Attributes:
        axes: the variables that it was made of.
        moves: eliminations in order; the last only multiplies and puts the axes in order.
        n_outer: combinations of variables of enclosing scopes.
        n_state: combinations of the interface.
    """

    axes: StepAxes
    moves: tuple[Move, ...]
    n_outer: int
    n_state: int


class Rows:
    """A table as flat rows.

    Args:
        table: the table.
        n_rows: rows of its scope.
        parts: the tables that it is the sum of.

    Attributes:
        per_step: whether every step has a row of its own.
        by_number: whether step k of every sequence reads row k, or the last one.
    """

    per_step: bool
    by_number: bool

    @classmethod
    def of(cls, values: Floats, index: Integers) -> Rows:
        """Flat rows, and the row that each step reads."""
        made = cls.__new__(cls)
        made.values, made.per_step, made.by_number, made.index = values, False, False, index
        made.parts = []
        return made

    def __init__(self, table: LogTable, n_rows: int, parts: Sequence[LogTable] = ()) -> None:
        self.per_step = table.reads is None and table.n_own == n_rows
        self.by_number = table.by_number or (table.reads is None and not self.per_step)
        self.table, self.n_rows, self.parts = table, n_rows, parts or [table]

    @cached_property
    def values(self) -> Floats:
        """[R, entries]."""
        return self.table.array.reshape(self.table.n_own, math.prod(self.table.row_shape))

    @cached_property
    def index(self) -> Integers:
        """The row that each step reads."""
        if self.table.index is not None:
            gone = self.table.index < 0
            last = len(self.values) - 1
            return np.where(gone, last, self.table.index) if gone.any() else self.table.index
        if self.per_step:
            return np.arange(self.n_rows)
        return np.zeros(self.n_rows, dtype=np.int64)


@lru_cache(maxsize=64)
def make_plan(
    factor_axes: tuple[tuple[Axis, ...], ...],
    sum_out: tuple[Axis, ...],
    shift: tuple[tuple[Axis, Axis], ...],
    outer: tuple[Axis, ...],
) -> ScanPlan:
    """Index maps of one step from the axes of its tables."""
    axes = StepAxes(factor_axes, sum_out, shift, outer)
    interface = [earlier for _, earlier in shift]
    layout = [*outer, *interface]
    unused = list(range(len(factor_axes)))
    moves = []
    for var in sum_out:
        chosen = [k for k in unused if var in factor_axes[k]]
        unused = [k for k in unused if k not in chosen]
        new = [a for k in chosen for a in factor_axes[k] if a not in layout and a != var]
        rest = [a for a in layout if a != var and a not in outer]
        out = [*outer, *rest, *dict.fromkeys(new)]
        moves.append(_move([*out, var], layout, chosen, factor_axes, var.size))
        layout = out
    final = [*outer, *(now for now, _ in shift)]
    moves.append(_move(final, layout, unused, factor_axes, 1))
    n_outer = math.prod(a.size for a in outer)
    return ScanPlan(axes, tuple(moves), n_outer, math.prod(a.size for a in interface))


def _move(
    axes: Sequence[Axis],
    layout: Sequence[Axis],
    chosen: Sequence[int],
    factor_axes: Sequence[tuple[Axis, ...]],
    n_sum: int,
) -> Move:
    shape = tuple(a.size for a in axes)
    n = math.prod(shape)
    grid = dict(zip(axes, np.indices(shape).reshape(len(shape), n), strict=True))

    def places(wanted: Sequence[Axis]) -> Integers:
        flat = np.zeros(n, dtype=np.int64)
        for axis in wanted:
            flat = flat * axis.size + grid.get(axis, 0)
        return flat

    return Move(
        places(layout),
        tuple(chosen),
        tuple(places(factor_axes[k]) for k in chosen),
        n // n_sum,
        n_sum,
    )


class Pass:
    """A forward and a backward run over all sequences of a shard.

    Attributes:
        along: after `backward`, by region and group the posterior of the variables of stretches.
    """

    along: Mapping[str, list[Floats]] = {}

    def __init__(
        self, plan: ScanPlan, factors: Sequence[Rows], starts: Integers, semiring: Semiring
    ) -> None:
        self.plan, self.factors, self.starts, self.semiring = plan, factors, starts, semiring
        self.collected: dict[int, Collected] = {}

    def forward(self) -> Floats:
        """Log-probability (or maximum) of each sequence [sequences, outer]."""
        raise NotImplementedError

    def backward(self, posterior: Floats) -> list[Floats]:
        """Posteriors of the factors' entries, given that of the outer variables.

        What stands in `collected` by then, by number of the factor, has no such posterior.
        """
        raise NotImplementedError
