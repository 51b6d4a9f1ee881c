"""Compiled loops of `scan`: scaled forward and backward passes, one sequence after the other.

The NumPy pass in `scan.py` is the reference.  Here probabilities are scaled to sum to one at every
step.  If a step's total falls so low that digits may have been lost, the whole shard is run again
in the log domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numba as nb
import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Floats
from pgem.routines.contract import Semiring
from pgem.routines.scan import Move, NumpyPass, Pass, Rows, ScanPlan

Integers: TypeAlias = NDArray[Any]

SAFE = 1e-200
"""A step's total below this may have lost digits to underflow."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Index maps of all moves, flattened for the loops.

    Attributes:
        moves: per move: first entry, entries left, entries summed over, kind (`MATRIX` if its single
            table is laid out as [.., summed, new]), kept entries, new entries, first factor and
            the one after the last.
        source: entry of the table before, per entry (or per kept and summed entry).
        owner: which table each factor of each move is.
        place: per factor and entry, the entry of that table.
        first_place: where each factor's places begin.
        tops: where the table after each move begins in the work array.
    """

    moves: Integers
    source: Integers
    owner: Integers
    place: Integers
    first_place: Integers
    tops: Integers


class CompiledPass(Pass):
    """Scaled domain, compiled loops; sum semiring only."""

    def __init__(
        self, plan: ScanPlan, factors: Sequence[Rows], starts: Integers, semiring: Semiring
    ) -> None:
        super().__init__(plan, factors, starts, semiring)
        self.rescue: NumpyPass | None = None
        self.values = [_scaled(factor.values) for factor in factors]
        self.layout = _flatten(plan, [v.shape[1] for v, _ in self.values])
        sizes = np.array([v.size for v, _ in self.values], dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint64)
        self.widths = np.array([v.shape[1] for v, _ in self.values], dtype=np.uint64)
        self.flat = (
            np.concatenate([v.ravel() for v, _ in self.values])
            if len(self.values) > 1
            else self.values[0][0].ravel()
        )
        self.index = np.stack([factor.index for factor in factors]).astype(np.uint64)

    def forward(self) -> Floats:
        n_sequences, n_rows = len(self.starts) - 1, int(self.starts[-1])
        width = self.plan.n_outer * self.plan.n_state
        self.before = np.empty((n_rows, width))
        self.last = np.empty((n_sequences, width))
        total = np.zeros((n_sequences, self.plan.n_outer))
        worst = _forward(
            self.starts, self.index, self.flat, self.offsets, self.widths, *self._maps(),
            self.plan.n_outer, self.plan.n_state, self.before, self.last, total,
        )  # fmt: skip
        if worst < SAFE:
            self.rescue = NumpyPass(self.plan, self.factors, self.starts, self.semiring)
            return self.rescue.forward()
        for factor, (_, peak) in zip(self.factors, self.values, strict=True):
            if peak.any():
                total += np.add.reduceat(peak[factor.index], self.starts[:-1])[:, None]
        return total

    def backward(self, posterior: Floats) -> list[Floats]:
        if self.rescue is not None:
            return self.rescue.backward(posterior)
        shape = (len(self.last), self.plan.n_outer, self.plan.n_state)
        ends = (self.last.reshape(shape) * posterior[:, :, None]).reshape(len(self.last), -1)
        found = np.zeros_like(self.flat)
        _backward(
            self.starts, self.index, self.flat, self.offsets, self.widths, *self._maps(),
            self.before, ends, found,
        )  # fmt: skip
        found *= self.flat
        return [
            found[a:b].reshape(values.shape)
            for a, b, (values, _) in zip(
                self.offsets[:-1], self.offsets[1:], self.values, strict=True
            )
        ]

    def _maps(self) -> tuple[Integers, ...]:
        layout = self.layout
        return (
            layout.moves, layout.source, layout.owner, layout.place, layout.first_place,
            layout.tops,
        )  # fmt: skip


def _scaled(values: Floats) -> tuple[Floats, Floats]:
    """exp(values - peak of each row), and the peaks."""
    peak = values.max(axis=1)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    return np.exp(values - peak[:, None]), peak


def _flatten(plan: ScanPlan, widths: Sequence[int]) -> Layout:
    moves: list[list[int]] = []
    source: list[Integers] = []
    owner: list[int] = []
    place: list[Integers] = []
    first_place: list[int] = []
    n_source = n_place = 0
    for move in plan.moves:
        dense = _as_matrix(move)
        kept, new = dense if dense is not None else (0, 0)
        kind = MATRIX if dense is not None else 0
        if move.n_sum == 1 and len(move.factors) == 1:
            kind = PRODUCT
        moves.append([n_source, move.n_out, move.n_sum, kind, kept, new,
                      len(owner), len(owner) + len(move.factors)])  # fmt: skip
        entries = move.source.reshape(move.n_out, move.n_sum)
        if dense is not None:
            entries = entries.reshape(kept, new, move.n_sum)[:, 0]
        source.append(entries.ravel())
        n_source += entries.size
        for k, places in zip(move.factors, move.places, strict=True):
            owner.append(k)
            first_place.append(n_place)
            found = places if dense is None else places.reshape(kept, new, -1)[:, 0, 0]
            place.append(found)
            n_place += len(found)
    del widths
    size = max(plan.n_outer * plan.n_state, *(move.n_out for move in plan.moves))
    return Layout(
        np.array(moves, dtype=np.uint64),
        np.concatenate(source).astype(np.uint64),
        np.array(owner, dtype=np.uint64),
        np.concatenate([*place, np.zeros(0)]).astype(np.uint64),
        np.array(first_place, dtype=np.uint64),
        np.arange(len(plan.moves) + 1, dtype=np.uint64) * np.uint64(size),
    )


def _as_matrix(move: Move) -> tuple[int, int] | None:
    """(kept, new) if the move is a product with one table laid out as [.., summed, new]."""
    if len(move.factors) != 1 or move.n_sum == 1:
        return None
    source = move.source.reshape(move.n_out, move.n_sum)
    places = move.places[0].reshape(move.n_out, move.n_sum)
    new = 1
    while new < move.n_out and (source[new] == source[0]).all():
        new += 1
    if move.n_out % new:
        return None
    kept = move.n_out // new
    blocks = source.reshape(kept, new, move.n_sum)
    tables = places.reshape(kept, new, move.n_sum)
    step = np.arange(new)[:, None] + new * np.arange(move.n_sum)[None, :]
    fits = (blocks == blocks[:, :1]).all() and (tables == tables[:, :1, :1] + step).all()
    return (kept, new) if fits else None


def _jit(function: Any) -> Any:
    return nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})(
        function
    )


def _inline(function: Any) -> Any:
    return nb.njit(error_model="numpy", fastmath={"contract", "reassoc"})(function)


MATRIX, PRODUCT = 1, 2
"""Kinds of moves with a loop of their own: a matrix product; a product with one table."""


# All index arithmetic below is unsigned: signed indices may be negative in Python, and the check
# for that keeps the inner loops from being vectorised.


@_inline
def _move(  # type: ignore[no-untyped-def]
    m, into, out, tables, t, index, flat, offsets, widths, moves, source, owner, place, first_place
):
    """Fill `tables` from `out` on: the table after move m at step t; `into` holds the one before."""
    start, n_out, n_sum, kind = moves[m, 0], moves[m, 1], moves[m, 2], moves[m, 3]
    kept, new, f0, f1 = moves[m, 4], moves[m, 5], moves[m, 6], moves[m, 7]
    if kind == 1:
        k, p = owner[f0], first_place[f0]
        base = offsets[k] + index[k, t] * widths[k]
        for b in range(kept):
            row = base + place[p + b]
            first = out + b * new
            for c in range(new):
                tables[first + c] = 0.0
            for a in range(n_sum):
                w = tables[into + source[start + b * n_sum + a]]
                cell = row + a * new
                for c in range(new):
                    tables[first + c] += w * flat[cell + c]
    elif kind == 2:
        k, p = owner[f0], first_place[f0]
        base = offsets[k] + index[k, t] * widths[k]
        for o in range(n_out):
            tables[out + o] = tables[into + source[start + o]] * flat[base + place[p + o]]
    else:
        for o in range(n_out):
            total = 0.0
            for a in range(n_sum):
                e = o * n_sum + a
                value = tables[into + source[start + e]]
                for f in range(f0, f1):
                    k = owner[f]
                    value *= flat[offsets[k] + index[k, t] * widths[k] + place[first_place[f] + e]]
                total += value
            tables[out + o] = total


@_inline
def _move_back(  # type: ignore[no-untyped-def]
    m, into, tables, ratio, back, t, index, flat, offsets, widths, moves, source, owner, place,
    first_place, found,
):  # fmt: skip
    """Hand posterior / table of the entries after move m to those before it and to the tables.

    `found` receives the posterior divided by the table's own value.
    """
    start, n_out, n_sum, kind = moves[m, 0], moves[m, 1], moves[m, 2], moves[m, 3]
    kept, new, f0, f1 = moves[m, 4], moves[m, 5], moves[m, 6], moves[m, 7]
    if kind == 1:
        k, p = owner[f0], first_place[f0]
        base = offsets[k] + index[k, t] * widths[k]
        for b in range(kept):
            row = base + place[p + b]
            first = b * new
            for a in range(n_sum):
                i = source[start + b * n_sum + a]
                w = tables[into + i]
                cell = row + a * new
                total = 0.0
                for c in range(new):
                    total += flat[cell + c] * ratio[first + c]
                for c in range(new):
                    found[cell + c] += w * ratio[first + c]
                back[i] += w * total
    elif kind == 2:
        k, p = owner[f0], first_place[f0]
        base = offsets[k] + index[k, t] * widths[k]
        for o in range(n_out):
            i, j = source[start + o], base + place[p + o]
            value = tables[into + i] * ratio[o]
            found[j] += value
            back[i] += value * flat[j]
    else:
        for o in range(n_out):
            if ratio[o] == 0.0:
                continue
            for a in range(n_sum):
                e = o * n_sum + a
                i = source[start + e]
                whole = tables[into + i] * ratio[o]
                for f in range(f0, f1):
                    others = whole
                    for g in range(f0, f1):
                        k = owner[g]
                        j = offsets[k] + index[k, t] * widths[k] + place[first_place[g] + e]
                        others *= flat[j] if g != f else 1.0
                    k = owner[f]
                    j = offsets[k] + index[k, t] * widths[k] + place[first_place[f] + e]
                    found[j] += others
                for f in range(f0, f1):
                    k = owner[f]
                    whole *= flat[offsets[k] + index[k, t] * widths[k] + place[first_place[f] + e]]
                back[i] += whole


@_jit
def _forward(  # type: ignore[no-untyped-def]
    starts, index, flat, offsets, widths, moves, source, owner, place, first_place, tops, n_outer,
    n_state, before, last, total,
):  # fmt: skip
    """Fill messages before each step, the last ones, and log totals; return the lowest scale."""
    n_moves = len(moves)
    width = before.shape[1]
    size = tops[1]
    tables = np.empty(tops[n_moves] + size)
    worst = 1.0
    for s in range(len(starts) - 1):
        for j in range(width):
            tables[j] = 1.0 if j % n_state == 0 else 0.0
        for t in range(starts[s], starts[s + 1]):
            for j in range(width):
                before[t, j] = tables[j]
            for m in range(n_moves):
                _move(m, tops[m], tops[m + 1], tables, t, index, flat, offsets, widths, moves,
                      source, owner, place, first_place)  # fmt: skip
            after = tables[tops[n_moves] :]
            for u in range(n_outer):
                scale = 0.0
                for j in range(u * n_state, (u + 1) * n_state):
                    scale += after[j]
                if not scale >= worst:
                    worst = scale
                inverse = 1.0 / scale
                for j in range(u * n_state, (u + 1) * n_state):
                    tables[j] = after[j] * inverse
                total[s, u] += np.log(scale)
        for j in range(width):
            last[s, j] = tables[j]
    return worst


@_jit
def _backward(  # type: ignore[no-untyped-def]
    starts, index, flat, offsets, widths, moves, source, owner, place, first_place, tops,
    before, ends, found,
):  # fmt: skip
    """Add posterior / value of every table entry to `found`."""
    n_moves = len(moves)
    width = ends.shape[1]
    size = tops[1]
    tables = np.empty(tops[n_moves] + size)
    ratio = np.empty(size)
    back = np.empty(size)
    for s in range(len(starts) - 1):
        for j in range(width):
            back[j] = ends[s, j]
        for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
            for j in range(width):
                tables[j] = before[t, j]
            for m in range(n_moves):
                _move(m, tops[m], tops[m + 1], tables, t, index, flat, offsets, widths, moves,
                      source, owner, place, first_place)  # fmt: skip
            for m in range(n_moves - 1, -1, -1):
                after = tops[m + 1]
                for o in range(moves[m, 1]):
                    value = tables[after + o]
                    ratio[o] = back[o] / value if value > 0.0 else 0.0
                for i in range(size):
                    back[i] = 0.0
                _move_back(m, tops[m], tables, ratio, back, t, index, flat, offsets, widths,
                           moves, source, owner, place, first_place, found)  # fmt: skip
