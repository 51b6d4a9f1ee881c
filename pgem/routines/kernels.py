"""Compiled loops of `scan`: one sequence after the other, every plan through the same loops.

The NumPy pass in `scan.py` is the reference.  `CompiledPass` works on probabilities, each step's
message scaled to sum to one; what underflow could have cost is bounded, and where the bound does
not hold, `LogPass` runs the shard again with logarithms.  `LogPass` also serves the max and
sampling semirings.

Index arithmetic is unsigned throughout: signed indices may be negative in Python, and the check
for that keeps inner loops from being vectorised.  For the same reason no loop reads and writes the
same array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numba as nb
import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Floats, Integers
from pgem.routines.contract import Semiring
from pgem.routines.scan_plan import Move, Pass, Rows, ScanPlan

Codes: TypeAlias = NDArray[np.uint64]

ONE = np.uint64(1)
HARMLESS = 1e120
"""Largest ratio (probability of what follows, given a state, to that given the past) at which
mass below 1e-200 that underflow may have dropped cannot matter."""
SUM, MAX, SAMPLE = 0, 1, 2
MODES = {"sum": SUM, "max": MAX, "sample": SAMPLE}


@dataclass(frozen=True, eq=False)
class Layout:
    """Index maps of all moves, flattened for the loops.

    Attributes:
        moves: per move: first entry; entries left; entries summed over; kept and new entries (if its
            single table is laid out as [.., summed, new]; else 0); first factor and the one after
            the last; first place.
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
    moves, source, place, order = [], [], [np.zeros(0, dtype=np.int64)], []
    for move in plan.moves:
        kept, new = _as_matrix(move)
        moves.append([sum(map(len, source)), move.n_out, move.n_sum, kept, new,
                      len(order), len(order) + len(move.factors), sum(map(len, place))])  # fmt: skip
        source.append(move.source)
        order += move.factors
        place += move.places
    return Layout(
        np.array(moves, dtype=np.uint64),
        np.concatenate(source).astype(np.uint64),
        np.concatenate(place).astype(np.uint64),
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

    def arguments(self, tables: Sequence[Floats]) -> tuple[Any, ...]:
        """The first arguments of every loop, from the values of the tables as used."""
        flat = np.concatenate([table.ravel() for table in tables])
        index = np.empty((len(tables), self.n_rows), dtype=np.uint64)
        for row, factor in zip(index, self.used, strict=True):
            row[:] = factor.index
        offsets = np.cumsum([0, *(table.size for table in tables)])[:-1].astype(np.uint64)
        widths = np.array([table.shape[1] for table in tables], dtype=np.uint64)
        layout = self.layout
        return (
            self.starts, index, flat, offsets, widths, layout.moves, layout.source, layout.place,
            layout.size,
        )  # fmt: skip

    def split(self, flat: Floats) -> list[Floats]:
        """One array per table."""
        found: dict[int, Floats] = {}
        start = 0
        for k, factor in zip(self.layout.order, self.used, strict=True):
            stop = start + factor.values.size
            found[k], start = flat[start:stop].reshape(factor.values.shape), stop
        return [found[k] for k in range(len(found))]


class CompiledPass(_Loops):
    """Scaled domain; sum semiring only."""

    def forward(self) -> Floats:
        # products of one message entry and one entry of each table stay above 1e-300, if these
        # all stay above `floor`
        floor = 10.0 ** (-300 / (1 + len(self.factors)))
        scaled = [_scaled(factor.values, floor) for factor in self.used]
        width = self.plan.n_outer * self.plan.n_state
        self.before = np.empty((self.n_rows, width))
        self.last = np.empty((self.n_sequences, width))
        self.scales = np.empty((self.n_rows, self.plan.n_outer))
        self.given = self.arguments([values for values, _, _ in scaled])
        faintest = _forward(*self.given, self.plan.n_state, self.before, self.last, self.scales)
        self.rescue: LogPass | None = None
        self.checked: list[Floats] | None = None
        safe = self.n_rows == 0 or self.scales.min() >= floor
        if safe and (faintest < floor or any(faint for _, _, faint in scaled)):
            self.checked = self._run_back(np.ones(self.shape[:2]))
            safe = self.largest < HARMLESS
        if not safe:
            self.rescue = LogPass(self.plan, self.factors, self.starts, self.semiring)
            return self.rescue.forward()
        logs = np.log(self.scales)
        for factor, (_, peak, _) in zip(self.used, scaled, strict=True):
            if peak.any():
                logs += peak[factor.index][:, None]
        return self._per_sequence(logs)

    def backward(self, posterior: Floats) -> list[Floats]:
        if self.rescue is not None:
            return self.rescue.backward(posterior)
        if self.checked is not None and (posterior == 1.0).all():
            return self.checked
        return self._run_back(posterior)

    def _run_back(self, posterior: Floats) -> list[Floats]:
        found = np.zeros_like(self.given[2])
        ends = np.repeat(posterior, self.plan.n_state, axis=1)
        self.largest = _backward(*self.given, self.before, self.last, self.scales, ends, found)
        parts, values = self.split(found), self.split(self.given[2])
        for move, row in zip(self.plan.moves, self.layout.moves, strict=True):
            if row[3]:  # such a move collects the posterior divided by the table's own entry
                parts[move.factors[0]] *= values[move.factors[0]]
        return parts

    def _per_sequence(self, rows: Floats) -> Floats:
        total = np.zeros((self.n_sequences, rows.shape[1]))
        filled = np.diff(self.starts) > 0
        if filled.any():
            total[filled] = np.add.reduceat(rows, self.starts[:-1][filled], axis=0)
        return total


class LogPass(_Loops):
    """Log domain; any semiring."""

    def forward(self) -> Floats:
        self.given = self.arguments([factor.values for factor in self.used])
        self.mode = MODES[self.semiring.name]
        self.before = np.empty((self.n_rows, self.plan.n_outer * self.plan.n_state))
        self.last = np.empty(self.shape)
        total = np.zeros(self.shape[:2])
        _forward_log(self.mode, *self.given, self.plan.n_state, self.before,
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
        _backward_log(self.mode, *self.given, self.before, ends, uniform, found)
        return self.split(found)


def _scaled(values: Floats, floor: float) -> tuple[Floats, Floats, bool]:
    """exp(values - peak of each row), the peaks, and whether an entry is faint but not zero."""
    peak = values.max(axis=1)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    scaled = np.exp(values - peak[:, None])
    faint = scaled.min(initial=1.0) < floor and bool(np.isfinite(values[scaled < floor]).any())
    return scaled, peak, faint


# --- loops --------------------------------------------------------------------------------------


def _jit(function: Any) -> Any:
    return nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})(
        function
    )


def _inline(function: Any) -> Any:
    # a call would pass every array by its seven fields, which costs more than the loops inside
    return nb.njit(error_model="numpy", inline="always")(function)


@_inline
def _find_rows(t, index, offsets, widths, rows):  # type: ignore[no-untyped-def]
    """Where in the flat tables the row of each factor begins that step t reads."""
    for f in range(len(rows)):
        rows[f] = offsets[f] + index[f, t] * widths[f]


@_inline
def _move(m, tables, flat, rows, moves, source, place):  # type: ignore[no-untyped-def]
    """The table after move m, from the one before."""
    start, n_out, n_sum, kept = moves[m, 0], moves[m, 1], moves[m, 2], moves[m, 3]
    new, f0, f1, p = moves[m, 4], moves[m, 5], moves[m, 6], moves[m, 7]
    after, n_entries = m + ONE, n_out * n_sum
    for b in range(kept):
        first = b * new
        row = rows[f0] + place[p + first * n_sum]
        for c in range(new):
            tables[after, first + c] = 0.0
        for a in range(n_sum):
            w = tables[m, source[start + first * n_sum + a]]
            for c in range(new):
                tables[after, first + c] += w * flat[row + a * new + c]
    if kept == 0:
        for o in range(n_out):
            total = 0.0
            for a in range(n_sum):
                e = o * n_sum + a
                value = tables[m, source[start + e]]
                for f in range(f0, f1):
                    value *= flat[rows[f] + place[p + (f - f0) * n_entries + e]]
                total += value
            tables[after, o] = total


@_inline
def _move_back(  # type: ignore[no-untyped-def]
    m, tables, slopes, flat, rows, moves, source, place, found
):
    """Derivatives by the entries before move m, from those by the entries after it."""
    start, n_out, n_sum, kept = moves[m, 0], moves[m, 1], moves[m, 2], moves[m, 3]
    new, f0, f1, p = moves[m, 4], moves[m, 5], moves[m, 6], moves[m, 7]
    after, n_entries = m + ONE, n_out * n_sum
    for b in range(kept):
        first = b * new
        row = rows[f0] + place[p + first * n_sum]
        for a in range(n_sum):
            i = source[start + first * n_sum + a]
            w = tables[m, i]
            cell = row + a * new
            total = 0.0
            for c in range(new):
                total += flat[cell + c] * slopes[after, first + c]
            for c in range(new):
                found[cell + c] += w * slopes[after, first + c]
            slopes[m, i] += total
    if kept == 0:
        for o in range(n_out):
            for a in range(n_sum):
                e = o * n_sum + a
                value = slopes[after, o]
                for f in range(f0, f1):
                    value *= flat[rows[f] + place[p + (f - f0) * n_entries + e]]
                i = source[start + e]
                slopes[m, i] += value
                value *= tables[m, i]
                for f in range(f0, f1):
                    found[rows[f] + place[p + (f - f0) * n_entries + e]] += value


@_jit
def _forward(  # type: ignore[no-untyped-def]
    starts, index, flat, offsets, widths, moves, source, place, size, n_state, before, last, scales
):
    """Fill messages before each step, the last ones, and scales; return the faintest entry."""
    n_moves, width, n_outer = np.uint64(len(moves)), before.shape[1], scales.shape[1]
    tables = np.empty((n_moves + ONE, size))
    rows = np.empty(len(offsets), dtype=np.uint64)
    faintest = 1.0
    for s in range(len(starts) - 1):
        for j in range(width):
            tables[0, j] = 1.0 if j % n_state == 0 else 0.0
        for t in range(starts[s], starts[s + 1]):
            _find_rows(t, index, offsets, widths, rows)
            for j in range(width):
                before[t, j] = tables[0, j]
            for m in range(n_moves):
                _move(m, tables, flat, rows, moves, source, place)
            for u in range(n_outer):
                scale = 0.0
                for j in range(u * n_state, (u + 1) * n_state):
                    scale += tables[n_moves, j]
                scales[t, u] = scale
                inverse = 1.0 / scale
                for j in range(u * n_state, (u + 1) * n_state):
                    value = tables[n_moves, j] * inverse
                    tables[0, j] = value
                    faintest = min(faintest, value if value > 0.0 else 1.0)
        for j in range(width):
            last[s, j] = tables[0, j]
    return faintest


@_jit
def _backward(  # type: ignore[no-untyped-def]
    starts, index, flat, offsets, widths, moves, source, place, size, before, last, scales, ends,
    found,
):  # fmt: skip
    """Add the posterior (in moves with `kept`, over the entry's value) of every entry to `found`.

    What goes backwards is the derivative of log p by the scaled message.  Returns the largest.
    """
    top, width = np.uint64(len(moves) - 1), ends.shape[1]
    n_state = width // scales.shape[1]
    tables, slopes = np.empty((top + ONE, size)), np.empty((top + ONE + ONE, size))
    rows = np.empty(len(offsets), dtype=np.uint64)
    after, here, post = np.empty(width), np.empty(width), np.empty(width)
    start, f0, f1, p = moves[top, 0], moves[top, 5], moves[top, 6], moves[top, 7]
    largest = 0.0
    for s in range(len(starts) - 1):
        for j in range(width):
            slopes[0, j] = ends[s, j]
            after[j] = last[s, j]
        for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
            _find_rows(t, index, offsets, widths, rows)
            # the last move sums nothing: an entry's posterior is message times derivative
            for j in range(width):
                post[j] = after[j] * slopes[0, j]
                here[j] = slopes[0, j] / scales[t, j // n_state]
                after[j] = before[t, j]
                tables[0, j] = before[t, j]
            for f in range(f0, f1):
                first = p + (f - f0) * np.uint64(width)
                for j in range(np.uint64(width)):
                    cell = rows[f] + place[first + j]
                    found[cell] += post[j]
                    here[j] *= flat[cell]
            for m in range(top + ONE):
                for j in range(size):
                    slopes[m, j] = 0.0
            for j in range(np.uint64(width)):
                slopes[top, source[start + j]] += here[j]
            if top > ONE:
                for m in range(top - ONE):
                    _move(m, tables, flat, rows, moves, source, place)
            for k in range(top):
                _move_back(top - ONE - k, tables, slopes, flat, rows, moves, source, place, found)
            for j in range(width):
                largest = max(largest, slopes[0, j])
    return largest


@_inline
def _joint(m, o, tables, joint, flat, rows, moves, source, place):  # type: ignore[no-untyped-def]
    """Fill the log entries that are summed into entry o of move m; return their maximum."""
    n_sum, f0, f1 = moves[m, 2], moves[m, 5], moves[m, 6]
    first, n_entries = o * n_sum, moves[m, 1] * n_sum
    peak = -np.inf
    for a in range(n_sum):
        value = tables[m, source[moves[m, 0] + first + a]]
        for f in range(f0, f1):
            value += flat[rows[f] + place[moves[m, 7] + (f - f0) * n_entries + first + a]]
        joint[a] = value
        peak = max(peak, value)
    return peak


@_inline
def _move_log(mode, m, tables, joint, flat, rows, moves, source, place):  # type: ignore[no-untyped-def]
    """`_move` for log tables: log sum exp, or the maximum."""
    for o in range(moves[m, 1]):
        peak = _joint(m, o, tables, joint, flat, rows, moves, source, place)
        if mode != MAX and moves[m, 2] > ONE and peak > -np.inf:
            total = 0.0
            for a in range(moves[m, 2]):
                total += np.exp(joint[a] - peak)
            peak += np.log(total)
        tables[m + ONE, o] = peak


@_inline
def _condition(mode, joint, n_sum, peak, uniform):  # type: ignore[no-untyped-def]
    """Turn log entries into the conditional of what is summed out: softmax, or one-hot."""
    total = 0.0
    for a in range(n_sum):
        if mode == MAX:
            joint[a] = 1.0 if joint[a] == peak and total == 0.0 else 0.0
        else:
            joint[a] = np.exp(joint[a] - peak) if peak > -np.inf else 0.0
        total += joint[a]
    if mode == SAMPLE:
        edge, left, chosen = 0.0, uniform * total, n_sum - ONE
        for a in range(n_sum):
            if joint[a] > 0.0 and edge <= left:
                chosen = a
            edge += joint[a]
            joint[a] = 0.0
        joint[chosen] = 1.0
    elif total > 0.0:
        for a in range(n_sum):
            joint[a] /= total


@_jit
def _forward_log(  # type: ignore[no-untyped-def]
    mode, starts, index, flat, offsets, widths, moves, source, place, size, n_state, before, last,
    shift,
):  # fmt: skip
    """Fill log messages before each step (maximum 0), the last ones, and what was taken off."""
    n_moves, width = np.uint64(len(moves)), before.shape[1]
    tables, joint = np.empty((n_moves + ONE, size)), np.empty(moves[:, 2].max())
    rows = np.empty(len(offsets), dtype=np.uint64)
    for s in range(len(starts) - 1):
        for j in range(width):
            tables[0, j] = 0.0 if j % n_state == 0 else -np.inf
        for t in range(starts[s], starts[s + 1]):
            _find_rows(t, index, offsets, widths, rows)
            for j in range(width):
                before[t, j] = tables[0, j]
            for m in range(n_moves):
                _move_log(mode, m, tables, joint, flat, rows, moves, source, place)
            for u in range(shift.shape[1]):
                peak = -np.inf
                for j in range(u * n_state, (u + 1) * n_state):
                    peak = max(peak, tables[n_moves, j])
                peak = peak if peak > -np.inf else 0.0
                for j in range(u * n_state, (u + 1) * n_state):
                    tables[0, j] = tables[n_moves, j] - peak
                shift[s, u] += peak
        for j in range(width):
            last[s, j] = tables[0, j]


@_jit
def _backward_log(  # type: ignore[no-untyped-def]
    mode, starts, index, flat, offsets, widths, moves, source, place, size, before, ends, uniform,
    found,
):  # fmt: skip
    """Add the posterior of every table entry to `found`."""
    top, width = np.uint64(len(moves) - 1), before.shape[1]
    tables, weights = np.empty((top + ONE, size)), np.empty((top + ONE + ONE, size))
    rows, joint = np.empty(len(offsets), dtype=np.uint64), np.empty(moves[:, 2].max())
    for s in range(len(starts) - 1):
        for j in range(width):
            weights[0, j] = ends[s, j]
        for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
            _find_rows(t, index, offsets, widths, rows)
            for j in range(width):
                weights[top + ONE, j] = weights[0, j]
                tables[0, j] = before[t, j]
            for m in range(top):
                _move_log(mode, m, tables, joint, flat, rows, moves, source, place)
            for k in range(top + ONE):
                m = top - k
                n_sum, n_entries = moves[m, 2], moves[m, 1] * moves[m, 2]
                for j in range(size):
                    weights[m, j] = 0.0
                for o in range(moves[m, 1]):
                    weight = weights[m + ONE, o]
                    if weight == 0.0:
                        continue
                    peak = _joint(m, o, tables, joint, flat, rows, moves, source, place)
                    _condition(mode, joint, n_sum, peak, uniform[t, m] if mode == SAMPLE else 0.0)
                    for a in range(n_sum):
                        e = o * n_sum + a
                        share = weight * joint[a]
                        weights[m, source[moves[m, 0] + e]] += share
                        for f in range(moves[m, 5], moves[m, 6]):
                            cell = place[moves[m, 7] + (f - moves[m, 5]) * n_entries + e]
                            found[rows[f] + cell] += share
