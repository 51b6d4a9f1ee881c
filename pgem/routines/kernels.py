"""Compiled loops of `scan`: one sequence after the other, every plan through the same loops.

The NumPy pass in `scan.py` is the reference.  `CompiledPass` works on probabilities, each step's
message scaled to sum to one; what underflow could have cost is bounded, and where the bound does
not hold, `LogPass` runs the shard again with logarithms.  `LogPass` also serves the max and
sampling semirings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Floats, Integers
from pgem.routines.contract import Semiring
from pgem.routines.loops import (
    MAX,
    SAMPLE,
    SUM,
    backward,
    backward_log,
    forward,
    forward_log,
    subtract_peaks,
)
from pgem.routines.scan_plan import Move, Pass, Rows, ScanPlan

Codes: TypeAlias = NDArray[np.uint64]

HARMLESS = 1e120
"""Largest ratio (probability of what follows, given a state, to that given the past) at which
mass below 1e-200 that underflow may have dropped cannot matter."""
MODES = {"sum": SUM, "max": MAX, "sample": SAMPLE}


@dataclass(frozen=True, eq=False)
class Layout:
    """Index maps of all moves, flattened for the loops.

    Attributes:
        moves: per move: first entry; entries left; entries summed over; kept and new entries (if
            its single table is laid out as [.., summed, new]; else 0); first factor and the one
            after the last; first place.
        source: entry of the table before, per entry.
        place: per factor and entry, the entry of that table.
        order: the tables, in the order in which they are used.
        size: entries of the largest table.
    """

    moves: Codes
    source: Codes
    place: Codes
    order: list[int]
    size: int


@lru_cache(maxsize=64)
def flatten(plan: ScanPlan) -> Layout:
    """The layout of a plan."""
    moves: list[list[int]] = []
    order: list[int] = []
    source = place = np.zeros(0, dtype=np.int64)
    for move in plan.moves:
        first = len(order)
        order += move.factors
        moves.append([
            len(source), move.n_out, move.n_sum, *_as_matrix(move), first, len(order), len(place),
        ])  # fmt: skip
        source = np.concatenate([source, move.source])
        place = np.concatenate([place, *move.places])
    return Layout(
        np.array(moves, dtype=np.uint64),
        source.astype(np.uint64),
        place.astype(np.uint64),
        order,
        max(plan.n_outer * plan.n_state, *(move.n_out for move in plan.moves)),
    )


def _as_matrix(move: Move) -> tuple[int, int]:
    """(kept, new) if the move is a product with one table laid out as [.., summed, new]."""
    if len(move.factors) != 1 or move.n_sum == 1:
        return 0, 0
    source = move.source.reshape(move.n_out, move.n_sum)
    places = move.places[0].reshape(move.n_out, move.n_sum)
    new = 1
    while new < move.n_out and (source[new] == source[0]).all():
        new += 1
    if move.n_out % new:
        return 0, 0
    kept = move.n_out // new
    blocks = source.reshape(kept, new, move.n_sum)
    tables = places.reshape(kept, new, move.n_sum)
    step = np.arange(new)[:, None] + new * np.arange(move.n_sum)[None, :]
    fits = (blocks == blocks[:, :1]).all() and (tables == tables[:, :1, :1] + step).all()
    return (kept, new) if fits else (0, 0)


class _Loops(Pass):
    """What both compiled passes share: flat tables in the order of their use, and their rows."""

    def __init__(
        self, plan: ScanPlan, factors: Sequence[Rows], starts: Integers, semiring: Semiring
    ) -> None:
        super().__init__(plan, factors, starts, semiring)
        self.n_rows, self.n_sequences = int(starts[-1]), len(starts) - 1
        self.shape = (self.n_sequences, plan.n_outer, plan.n_state)
        self.layout = flatten(plan)
        self.used = [factors[k] for k in self.layout.order]

    def arguments(self, flat: Floats) -> tuple[Any, ...]:
        """The first arguments of every loop, from the values of all tables as used."""
        index = np.empty((len(self.used), self.n_rows), dtype=np.uint64)
        for row, factor in zip(index, self.used, strict=True):
            row[:] = factor.index
        sizes = [factor.values.size for factor in self.used]
        offsets = np.cumsum([0, *sizes])[:-1].astype(np.uint64)
        widths = np.array([factor.values.shape[1] for factor in self.used], dtype=np.uint64)
        layout = self.layout
        return (
            self.starts, index, flat, offsets, widths, layout.moves, layout.source, layout.place,
            layout.size,
        )  # fmt: skip

    def split_used(self, flat: Floats) -> list[Floats]:
        """One array per table, in the order of their use."""
        stops = np.cumsum([0, *(factor.values.size for factor in self.used)])
        return [
            flat[first:stop].reshape(factor.values.shape)
            for first, stop, factor in zip(stops[:-1], stops[1:], self.used, strict=True)
        ]

    def split(self, flat: Floats) -> list[Floats]:
        """One array per table, in the order in which they were given."""
        found = dict(zip(self.layout.order, self.split_used(flat), strict=True))
        return [found[k] for k in range(len(found))]


class CompiledPass(_Loops):
    """Scaled domain; sum semiring only."""

    def forward(self) -> Floats:
        # products of one message entry and one entry of each table stay above 1e-300, if these
        # all stay above `floor`
        floor = 10.0 ** (-300 / (1 + len(self.factors)))
        flat, peaks, lowest = self._scaled()
        width = self.plan.n_outer * self.plan.n_state
        self.before = np.empty((self.n_rows, width))
        self.last = np.empty((self.n_sequences, width))
        self.scales = np.empty((self.n_rows, self.plan.n_outer))
        self.given = self.arguments(flat)
        faintest = forward(*self.given, self.plan.n_state, self.before, self.last, self.scales)
        self.rescue: _Loops | None = None
        self.checked: list[Floats] | None = None
        safe = self.n_rows == 0 or self.scales.min() >= floor
        if safe and min(faintest, np.exp(lowest)) < floor:
            self.checked = self._run_back(np.ones(self.shape[:2]))
            safe = self.largest < HARMLESS
        if not safe:
            self.rescue = LogPass(self.plan, self.factors, self.starts, self.semiring)
            return self.rescue.forward()
        return self._total(np.log(self.scales), peaks)

    def backward(self, posterior: Floats) -> list[Floats]:
        if self.rescue is not None:
            return self.rescue.backward(posterior)
        if self.checked is not None and (posterior == 1.0).all():
            return self.checked
        return self._run_back(posterior)

    def _scaled(self) -> tuple[Floats, list[Floats], float]:
        """The tables over their rows' peaks; log peaks; log of the least entry that is not 0."""
        flat = np.empty(sum(factor.values.size for factor in self.used))
        peaks = [np.empty(len(factor.values)) for factor in self.used]
        lowest = 0.0
        for factor, part, peak in zip(self.used, self.split_used(flat), peaks, strict=True):
            lowest = min(lowest, subtract_peaks(np.ascontiguousarray(factor.values), part, peak))
        return np.exp(flat, out=flat), peaks, lowest

    def _run_back(self, posterior: Floats) -> list[Floats]:
        found = np.zeros_like(self.given[2])
        ends = np.repeat(posterior, self.plan.n_state, axis=1)
        self.largest = backward(*self.given, self.before, self.last, self.scales, ends, found)
        return self._complete(found)

    def _complete(self, found: Floats) -> list[Floats]:
        """Posteriors of the tables, from what the loops collected."""
        parts, values = self.split(found), self.split(self.given[2])
        for move, row in zip(self.plan.moves, self.layout.moves, strict=True):
            if row[3]:  # such a move collects the posterior divided by the table's own entry
                parts[move.factors[0]] *= values[move.factors[0]]
        return parts

    def _total(self, logs: Floats, peaks: list[Floats]) -> Floats:
        """The logarithms of all scales and peaks, added up by sequence."""
        for factor, peak in zip(self.used, peaks, strict=True):
            logs += (peak if factor.per_step else peak.take(factor.index))[:, None]
        total = np.zeros((self.n_sequences, logs.shape[1]))
        filled = np.diff(self.starts) > 0
        if filled.any():
            total[filled] = np.add.reduceat(logs, self.starts[:-1][filled], axis=0)
        return total


class LogPass(_Loops):
    """Log domain; any semiring."""

    def forward(self) -> Floats:
        self.given = self.arguments(np.concatenate([factor.values.ravel() for factor in self.used]))
        self.mode = MODES[self.semiring.name]
        self.before = np.empty((self.n_rows, self.plan.n_outer * self.plan.n_state))
        self.last = np.empty(self.shape)
        total = np.zeros(self.shape[:2])
        forward_log(self.mode, *self.given, self.plan.n_state, self.before,
                     self.last.reshape(self.n_sequences, -1), total)  # fmt: skip
        self.message = self.semiring.reduce(self.last, 2)
        return np.asarray(total + self.message[:, :, 0])

    def backward(self, posterior: Floats) -> list[Floats]:
        conditional = self.semiring.condition(self.last, self.message, 2)
        ends = (posterior[:, :, None] * conditional).reshape(self.n_sequences, -1)
        uniform = np.empty((0, 0))
        if self.mode == SAMPLE:
            assert self.semiring.generator is not None
            uniform = self.semiring.generator.random((self.n_rows, len(self.plan.moves)))
        found = np.zeros_like(self.given[2])
        backward_log(self.mode, *self.given, self.before, ends, uniform, found)
        return self.split(found)
