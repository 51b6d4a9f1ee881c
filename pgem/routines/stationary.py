"""A chain that begins in its stationary distribution δ, the solution of δ = δ P.

The first step has no parameter of its own, so δ is computed from the transition table P whenever
it is needed.  What the first steps add to Q, Σ f log δ(P), depends on the whole table and is not
concave; the M-step climbs it together with the transitions' own Σ n log P, starting at the current
values.  With the deviation matrix D = (I - P + 1 δ)⁻¹ - 1 δ, dδ = δ dP D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers, Mask, safe_log
from pgem.errors import FitError
from pgem.gating import Cells, make_cells
from pgem.routines.maximise import (
    Learned,
    Params,
    Readers,
    maximise,
    rows_of,
    summed_statistic,
)
from pgem.routines.tables import Axis, Entry, Gated, Index, Stats

First = tuple[str, str]
"""Components of a first step and of the transitions that it follows from."""


def stationary(table: Gated, prev: Axis | Index) -> Gated:
    """The stationary distribution of a transition table, gated by its other gates.

    Args:
        table: probabilities of the next value (or of 1), gated by the last one.
        prev: the gate that holds the last value.

    Raises:
        FitError: a table has no unique stationary distribution.
    """
    return Gated(*stationary_value(table.value, table.gates, prev, lambda gate: int(gate.size)))


def stationary_value(
    value: Floats, gates: Sequence[Any], prev: Any, size_of: Callable[[Any], int]
) -> tuple[Floats, tuple[Any, ...]]:
    """`stationary` for any kind of gates: the value [other gates…, own axes], the other gates."""
    found = distributions(transition_tables(value, gates, prev, size_of))
    cells = make_cells({"": tuple(gates)}, size_of)
    others = tuple(gate for gate in cells.gates if gate != prev)
    shape = tuple(size_of(gate) for gate in others)
    own = np.shape(value)[len(gates) :]
    return (found if own else found[:, 1]).reshape(shape + own), others


def transition_tables(
    value: Floats, gates: Sequence[Any], prev: Any, size_of: Callable[[Any], int]
) -> Floats:
    """A gated slot of probabilities as tables [other gates, last value, next value]."""
    cells = make_cells({"": tuple(gates)}, size_of)
    rows = np.asarray(value, dtype=float)
    own = rows.shape[len(gates) :]
    return _squares(rows.reshape(cells.n_rows[""], *own)[cells.rows[""]], cells, prev)


def _squares(by_cell: Floats, cells: Cells, prev: Any) -> Floats:
    """Slot values per cell [C, K] (or [C]: probabilities of 1) as tables [others, last, next]."""
    full = by_cell if by_cell.ndim == 2 else np.stack([1 - by_cell, by_cell], axis=1)
    return np.asarray(full[_places(cells, prev)])


def _places(cells: Cells, prev: Any) -> Integers:
    """The cell of each combination of the other gates and of each last value [others, last]."""
    axis = cells.gates.index(prev)
    grid = np.arange(cells.n_cells).reshape(cells.shape)
    return np.moveaxis(grid, axis, -1).reshape(-1, cells.shape[axis])


# --- one table ----------------------------------------------------------------------------------


def distributions(tables: Floats) -> Floats:
    """Stationary distributions [C, K] of transition tables [C, K, K].

    Raises:
        FitError: a table has several closed classes.
    """
    found = np.zeros(tables.shape[:2])
    for row, table in zip(found, tables, strict=True):
        classes = closed_classes(table > 0)
        if len(classes) > 1:
            raise FitError(
                "a transition table has no unique stationary distribution",
                expected="one closed class of states",
                received=f"closed classes {listed_classes(classes)}",
                advice="leave first='stationary' out, or start where the classes are connected",
            )
        row[classes[0]] = _invariant(table[np.ix_(classes[0], classes[0])])
    return found


def closed_classes(possible: Mask) -> list[Integers]:
    """Sets of states that are never left and within which every state is reached."""
    size = len(possible)
    reached = possible | np.eye(size, dtype=bool)
    for _ in range(max(size - 1, 1).bit_length()):
        reached = (reached.astype(np.int64) @ reached.astype(np.int64)) > 0
    mutual = reached & reached.T
    recurrent = (reached == mutual).all(axis=1)
    first = mutual.argmax(axis=1)
    return [np.flatnonzero(mutual[k]) for k in np.unique(first[recurrent])]


def listed_classes(classes: Sequence[Integers]) -> str:
    """`'{0, 1}' and '{2}'`."""
    return " and ".join(f"'{{{', '.join(map(str, states.tolist()))}}}'" for states in classes)


def _invariant(table: Floats) -> Floats:
    """δ of an irreducible table, without subtractions (Grassmann, Taksar & Heyman 1985)."""
    table = table.copy()
    for k in range(len(table) - 1, 0, -1):
        table[:k, k] /= table[k, :k].sum()
        table[:k, :k] += np.outer(table[:k, k], table[k, :k])
    found = np.ones(len(table))
    for k in range(1, len(table)):
        found[k] = found[:k] @ table[:k, k]
    return np.asarray(found / found.sum())


def _slope(table: Floats, stay: Floats, counts: Floats) -> Floats:
    """Derivative of Σ f log δ in the entries of a table [K, K], along rows that sum to one."""
    size = len(table)
    long_run = np.broadcast_to(stay, (size, size))
    deviation = np.linalg.inv(np.eye(size) - table + long_run) - long_run
    share = np.where(counts > 0, counts / np.where(stay > 0, stay, 1.0), 0.0)
    return np.asarray(np.outer(stay, deviation @ share))


# --- M-step -------------------------------------------------------------------------------------


def maximise_stationary(
    stats: Stats,
    learned: Learned,
    params: Params,
    readers: Readers,
    empty: set[str] | None = None,
    *,
    firsts: Sequence[First],
) -> Floats:
    """A transition table that also settles how its chains begin: a local maximum of its Q.

    Climbs (BFGS, analytic gradient) in logits of the free entries that are positive, from the
    better of the current table and the transitions' own maximum; never to a lower Q.

    Args:
        stats: expected statistics of all components.
        learned: the table.
        params: current values.
        readers: which parameter every slot reads.
        empty: receives the name of the table if rows have no data.
        firsts: first steps that follow from it, with the component of their transitions.
    """
    from scipy.optimize import minimize

    value = params[learned.name]
    closed = maximise(stats, learned, params, readers, empty)
    own = _Own(stats, learned, params, readers, firsts)
    if not own.fixed.all() and sum(counts.sum() for counts, _ in own.firsts) > 0:
        tables = [own.rows(value), own.rows(0.999 * closed + 0.001 * value)]
        start = max(tables, key=own.q)
        size = max(own.size, 1e-300)
        climb = _Logits(start, own.fixed)

        def loss(free: Floats) -> tuple[float, Floats]:
            table = climb.table(free)
            q = own.q(table)
            if not np.isfinite(q):
                return 1e300, np.zeros_like(free)
            return -q / size, -climb.pull(own.slope(table), table) / size

        with np.errstate(all="ignore"):
            found = minimize(loss, climb.start, jac=True, method="BFGS", options={"gtol": 1e-9})
        best = max([*tables, climb.table(found.x)], key=own.q)
        return own.shaped(best, value)
    return closed


class _Own:
    """The part of Q that one transition table decides, as a function of its rows [R, K]."""

    def __init__(
        self,
        stats: Stats,
        learned: Learned,
        params: Params,
        readers: Readers,
        firsts: Sequence[First],
    ) -> None:
        parts = summed_statistic(stats, learned, params, readers)
        self.two = len(parts) == 2  # successes and failures of a probability of 1
        self.counts = np.stack(parts[::-1], axis=1) if self.two else parts[0]
        fixed = rows_of(learned.fixed, learned.n_gates)
        self.fixed = np.stack([fixed, fixed], axis=1) if self.two else fixed
        self.firsts = [_first_counts(stats, first, key, learned) for first, key in firsts]
        self.size = float(self.counts.sum()) + sum(float(c.sum()) for c, _ in self.firsts)

    def rows(self, value: Floats) -> Floats:
        """The parameter as rows of probabilities."""
        if self.two:
            flat = value.reshape(-1)
            return np.stack([1 - flat, flat], axis=1)
        return value.reshape(-1, value.shape[-1])

    def shaped(self, rows: Floats, like: Floats) -> Floats:
        """The inverse of `rows`."""
        return (rows[:, 1] if self.two else rows).reshape(like.shape)

    def q(self, rows: Floats) -> float:
        """Σ n log P + Σ f log δ(P); -inf where δ is not unique."""
        total = _weighted_log(self.counts, rows)
        for counts, places in self.firsts:
            tables = rows[places]
            try:
                total += _weighted_log(counts, distributions(tables))
            except FitError:
                return -np.inf
        return total

    def slope(self, rows: Floats) -> Floats:
        """Its derivative in the entries of the rows."""
        total = np.where(self.counts > 0, self.counts / np.where(rows > 0, rows, 1.0), 0.0)
        for counts, places in self.firsts:
            tables = rows[places]
            for table, stay, f, place in zip(
                tables, distributions(tables), counts, places, strict=True
            ):
                np.add.at(total, place, _slope(table, stay, f))
        return total


def _weighted_log(counts: Floats, probs: Floats) -> float:
    return float(np.where(counts > 0, counts * safe_log(probs), 0.0).sum())


class _Logits:
    """Softmax coordinates of the entries that are free and positive; the others stay."""

    def __init__(self, rows: Floats, fixed: Mask) -> None:
        self.rows, self.free = rows, ~fixed & (rows > 0)
        self.share = np.where(self.free, rows, 0.0).sum(axis=1, keepdims=True)
        self.start = np.log(rows[self.free])

    def table(self, free: Floats) -> Floats:
        """Rows of probabilities."""
        logits = np.full(self.rows.shape, -np.inf)
        logits[self.free] = free
        peak = logits.max(axis=1, keepdims=True)
        weights = np.exp(logits - np.where(np.isfinite(peak), peak, 0.0))
        total = weights.sum(axis=1, keepdims=True)
        moved = self.share * weights / np.where(total > 0, total, 1.0)
        return np.where(self.free, moved, self.rows)

    def pull(self, slope: Floats, rows: Floats) -> Floats:
        """A derivative in the entries as one in the coordinates."""
        inside = np.where(self.free, rows * slope, 0.0)
        share = np.where(self.free, rows, 0.0) / np.where(self.share > 0, self.share, 1.0)
        moved: Floats = (inside - share * inside.sum(axis=1, keepdims=True))[self.free]
        return moved


def _first_counts(stats: Stats, first: str, key: str, learned: Learned) -> tuple[Floats, Integers]:
    """Expected first values [others, K], and the row of the table each last value reads."""
    begin, chain = stats[first], stats[key]
    slot = next(slot for use, slot in learned.uses if use == key)
    rows = chain.cells.rows[slot]
    return _counts(begin, slot), rows[_places(chain.cells, _prev(begin, chain))]


def _prev(begin: Entry, chain: Entry) -> Any:
    """The gate of the transitions that the first step does not have."""
    return next(gate for gate in chain.cells.gates if gate not in begin.cells.gates)


def _counts(begin: Entry, slot: str) -> Floats:
    """Expected number of chains that begin in each value [others, K]."""
    parts = begin.family.role_statistics(
        slot, begin.arrays, begin.origin, begin.origin, cancel=False
    )
    assert parts is not None
    return np.stack(parts[::-1], axis=1) if len(parts) == 2 else parts[0]


def stationary_gradient(stats: Stats, first: str, key: str, slot: str) -> Floats:
    """Derivative of the first steps' part of Q in the slot of the transitions [C, own axes]."""
    begin, chain = stats[first], stats[key]
    values = chain.origin[slot]
    prev = _prev(begin, chain)
    tables = _squares(values, chain.cells, prev)
    found = np.zeros((len(values), tables.shape[-1]))
    for table, stay, counts, place in zip(
        tables,
        distributions(tables),
        _counts(begin, slot),
        _places(chain.cells, prev),
        strict=True,
    ):
        found[place] += _slope(table, stay, counts)
    return found if values.ndim == 2 else found[:, 1] - found[:, 0]


__all__ = [
    "closed_classes",
    "listed_classes",
    "maximise_stationary",
    "stationary",
    "stationary_gradient",
    "stationary_value",
    "transition_tables",
]
