"""The recursions of `segments`, with NumPy: all sequences of a shard side by side, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pgem.arrays import Floats, Integers, log_sum_exp
from pgem.routines.contract import Semiring


@dataclass(frozen=True, eq=False)
class Problem:
    """What the recursions read; all in logarithms.

    Attributes:
        starts: first row of each sequence, and the end [S + 1].
        emit: product of the tables of each step [N, U, K].
        transitions: tables of transitions; first steps stand at earlier value 0 [R, U, J, K].
        reads: which of them each step reads [N].
        pairs: product of further tables over two steps [N, U, J, K], or None.
        lasts: log p(D = d) [G, U, K, D].
        ends: log p(D ≥ d) [G, U, K, D].
        group: which of these a segment reads that starts at a row [N].
    """

    starts: Integers
    emit: Floats
    transitions: Floats
    reads: Integers
    pairs: Floats | None
    lasts: Floats
    ends: Floats
    group: Integers

    @property
    def n_terms(self) -> int:
        """Terms of one pass."""
        size = self.emit.shape[2]
        return int(self.emit.size * (self.lasts.shape[3] + size))

    @cached_property
    def lengths(self) -> Integers:
        """Steps of each sequence."""
        return np.diff(self.starts)

    @property
    def longest(self) -> int:
        """Most steps of a sequence."""
        return int(self.lengths.max(initial=0))

    def first(self, rows: Integers) -> Floats:
        """Tables of first steps [n, U, K]."""
        table = self.transitions[self.reads[rows], :, 0]
        return table if self.pairs is None else table + self.pairs[rows, :, 0]

    def move(self, rows: Integers) -> Floats:
        """Tables between two segments [n, U, J, K]: no value follows itself."""
        size = self.emit.shape[2]
        table = np.where(np.eye(size, dtype=bool), -np.inf, self.transitions[self.reads[rows]])
        return table if self.pairs is None else table + self.pairs[rows]

    def stay(self, rows: Integers) -> Floats:
        """Tables over two steps of one segment [n, U, K]."""
        if self.pairs is None:
            return np.zeros((len(rows), *self.emit.shape[1:]))
        return np.asarray(np.einsum("nukk->nuk", self.pairs[rows]))


@dataclass(frozen=True, eq=False)
class Expected:
    """Posterior expectations.

    Attributes:
        states: of the value at each step [N, U, K].
        transitions: of the value before a segment and its own, by row of the table [R, U, J, K].
        pairs: of the values of two steps [N, U, J, K], where such tables are.
        lasts: of the number of whole segments by duration [G, U, K, D].
        cut: of that of segments that the end cuts off, by the steps seen [G, U, K, D].
    """

    states: Floats
    transitions: Floats
    pairs: Floats | None
    lasts: Floats
    cut: Floats

    @staticmethod
    def nothing(problem: Problem) -> Expected:
        """Zeros of all shapes."""
        return Expected(
            np.zeros(problem.emit.shape),
            np.zeros(problem.transitions.shape),
            None if problem.pairs is None else np.zeros(problem.pairs.shape),
            np.zeros(problem.lasts.shape),
            np.zeros(problem.lasts.shape),
        )


class SegmentPass:
    """A forward and a backward run over all sequences of a shard.

    After `forward`: `begins` and `finishes` [N, U, K], the log-probability that a segment starts
    (ends) at a row with what precedes it, and `scales` [N, U], what was taken off at each row.
    """

    begins: Floats
    finishes: Floats
    scales: Floats

    def __init__(self, problem: Problem, semiring: Semiring) -> None:
        self.problem, self.semiring = problem, semiring

    def forward(self) -> Floats:
        """Log-probability (or maximum) of each sequence [S, U]."""
        raise NotImplementedError

    def expect(self, posterior: Floats) -> Expected:
        """Posterior expectations in the sum semiring, given the weights [S, U]."""
        raise NotImplementedError

    def backward(self, posterior: Floats) -> Expected:
        """Posteriors of all tables, given that of the outer variables [S, U]."""
        if self.semiring.name == "sum":
            return self.expect(posterior)
        return trace_back(self, posterior)


class NumpySegments(SegmentPass):
    """Log-domain; what is taken off at a step is the largest term of its segments."""

    def forward(self) -> Floats:
        problem, reduce = self.problem, self.semiring.reduce
        lengths = problem.lengths
        self.order = np.argsort(-lengths, kind="stable")
        self.alive = [int((lengths > t).sum()) for t in range(problem.longest)]
        _, n_outer, size = problem.emit.shape
        n_long = problem.lasts.shape[3]
        self.begins = np.empty(problem.emit.shape)
        self.finishes = np.empty(problem.emit.shape)
        self.scales = np.empty(problem.emit.shape[:2])
        running = np.full((len(lengths), n_outer, size, n_long), -np.inf)
        message = np.zeros((len(lengths), n_outer))
        for t, n in enumerate(self.alive):
            rows = self.rows(t)
            if t == 0:
                begin = problem.first(rows)
            else:
                before = self.finishes[rows - 1][..., None] + problem.move(rows)
                begin = reduce(before, 2)[:, :, 0]
            running = np.concatenate(
                [begin[..., None], running[:n, ..., :-1] + problem.stay(rows)[..., None]], axis=3
            )
            running += problem.emit[rows][..., None]
            peak = running.max(axis=(2, 3))
            scale = np.where(np.isfinite(peak), peak, 0.0)
            running -= scale[:, :, None, None]
            self.begins[rows], self.scales[rows] = begin, scale
            self.finishes[rows] = reduce(running + self.by_age(problem.lasts, rows, t), 3)[..., 0]
            last = slice(self.alive[t + 1] if t + 1 < len(self.alive) else 0, n)
            if last.start < n:
                ends = running[last] + self.by_age(problem.ends, rows[last], t)
                total = reduce(ends.reshape(len(ends), n_outer, -1), 2)[..., 0]
                message[self.order[last]] = total
        self.last = message
        return message + self.summed_scales()

    def summed_scales(self) -> Floats:
        """What was taken off each sequence [S, U]."""
        total = np.zeros((len(self.problem.lengths), self.scales.shape[1]))
        filled = self.problem.lengths > 0
        if filled.any():
            starts = self.problem.starts[:-1][filled]
            total[filled] = np.add.reduceat(self.scales, starts, axis=0)
        return total

    def rows(self, t: int) -> Integers:
        """Rows of step t of the sequences that reach it."""
        starts = self.problem.starts[:-1]
        return np.asarray(starts[self.order[: self.alive[t]]] + t)

    def by_age(self, table: Floats, rows: Integers, t: int) -> Floats:
        """A table of durations for segments that end at these rows after 1, 2, … steps."""
        if len(table) == 1:
            return table
        ages = np.arange(table.shape[3])
        groups = self.problem.group[rows[:, None] - np.minimum(ages, t)]
        return np.moveaxis(table[groups, :, :, ages], 1, -1)

    def expect(self, posterior: Floats) -> Expected:
        problem = self.problem
        found = Expected.nothing(problem)
        n_outer, size, n_long = problem.lasts.shape[1:]
        ages = np.arange(n_long)
        ahead = np.full((len(self.order), n_outer, size, n_long), -np.inf)
        after = np.zeros((len(self.order), n_outer, size))
        for t in range(len(self.alive) - 1, -1, -1):
            rows = self.rows(t)
            n = len(rows)
            left = problem.lengths[self.order[:n]] - t  # steps up to the end, this one included
            emit = problem.emit[rows] - self.scales[rows][:, :, None]
            longer = np.full((n, n_outer, size, n_long), -np.inf)
            longer[..., 0] = emit + np.where((left == 1)[:, None, None], 0.0, after[:n])
            goes_on = left > 1
            stay = problem.stay(rows[goes_on] + 1)
            longer[goes_on, ..., 1:] = (emit[goes_on] + stay)[..., None] + ahead[:n][
                goes_on, ..., :-1
            ]
            ahead[:n] = longer
            group = problem.group[rows]
            cut = ages == left[:, None] - 1  # [n, D]
            terms = longer + np.where(cut[:, None, None], problem.ends[group], problem.lasts[group])
            whole = log_sum_exp(terms, 3)[..., 0]
            total = np.where(np.isfinite(self.last), self.last, 0.0)[self.order[:n]]
            weight = posterior[self.order[:n]]
            share = np.exp(self.begins[rows][..., None] + terms - total[:, :, None, None])
            share *= weight[:, :, None, None]
            np.add.at(found.lasts, group, np.where(cut[:, None, None], 0.0, share))
            np.add.at(found.cut, group, np.where(cut[:, None, None], share, 0.0))
            reached = np.cumsum(share[..., ::-1], axis=3)[..., ::-1]
            self.add_steps(found, rows, left, reached)
            starting = reached[..., 0]
            if t == 0:
                self.add_first(found, rows, starting)
            else:
                move = problem.move(rows)
                self.add_moves(found, rows, move, starting)
                after[:n] = log_sum_exp(move + whole[:, :, None], 3)[..., 0]
        return found

    def add_steps(self, found: Expected, rows: Integers, left: Integers, reached: Floats) -> None:
        """Add segments that start at these rows to every step that they reach."""
        for age in range(min(reached.shape[3], int(left.max(initial=0)))):
            here = left > age
            found.states[rows[here] + age] += reached[here, ..., age]
            if found.pairs is not None and age:
                diagonal = np.einsum("nukk->nuk", found.pairs)
                diagonal[rows[here] + age] += reached[here, ..., age]

    def add_first(self, found: Expected, rows: Integers, starting: Floats) -> None:
        """Add first segments; what is earlier stands at 0."""
        np.add.at(found.transitions[:, :, 0], self.problem.reads[rows], starting)
        if found.pairs is not None:
            found.pairs[rows, :, 0] += starting

    def add_moves(self, found: Expected, rows: Integers, move: Floats, starting: Floats) -> None:
        """Add what the segments that start at these rows follow."""
        joint = self.finishes[rows - 1][..., None] + move
        total = self.begins[rows]
        total = np.where(np.isfinite(total), total, 0.0)[:, :, None]
        pairs = np.exp(joint - total) * starting[:, :, None]
        np.add.at(found.transitions, self.problem.reads[rows], pairs)
        if found.pairs is not None:
            found.pairs[rows] += pairs


# --- one segmentation -----------------------------------------------------------------------------


def trace_back(run: SegmentPass, posterior: Floats) -> Expected:
    """The best segmentation of each sequence, or one drawn from the posterior.

    Ties fall to the lowest value, then to the shortest duration, from the last segment backwards.
    """
    problem = run.problem
    found = Expected.nothing(problem)
    for sequence, (start, stop) in enumerate(
        zip(problem.starts[:-1].tolist(), problem.starts[1:].tolist(), strict=True)
    ):
        for u in np.flatnonzero(posterior[sequence]).tolist():
            if stop > start:
                _trace_one(run, found, start, stop, u, float(posterior[sequence, u]))
    return found


def _trace_one(
    run: SegmentPass, found: Expected, start: int, stop: int, u: int, weight: float
) -> None:
    problem = run.problem
    size = problem.emit.shape[2]
    scores = [_by_duration(run, start, stop, u, k, problem.ends) for k in range(size)]
    value = _choose(run.semiring, np.array([_whole(run.semiring, s) for s in scores]))
    chosen = scores[value]
    cut = True
    while True:
        lasted = _choose(run.semiring, chosen) + 1
        first = stop - lasted
        counts = found.cut if cut else found.lasts
        counts[problem.group[first], u, value, lasted - 1] += weight
        found.states[first:stop, u, value] += weight
        if found.pairs is not None:
            found.pairs[first + 1 : stop, u, value, value] += weight
        row = problem.reads[first]
        if first == start:
            found.transitions[row, u, 0, value] += weight
            if found.pairs is not None:
                found.pairs[first, u, 0, value] += weight
            return
        before = run.finishes[first - 1, u] + problem.move(np.array([first]))[0, u, :, value]
        earlier = _choose(run.semiring, before)
        found.transitions[row, u, earlier, value] += weight
        if found.pairs is not None:
            found.pairs[first, u, earlier, value] += weight
        stop, value, cut = first, earlier, False
        chosen = _by_duration(run, start, stop, u, value, problem.lasts)


def _by_duration(run: SegmentPass, start: int, stop: int, u: int, k: int, table: Floats) -> Floats:
    """Log-probability of the segment that ends before row `stop`, for each duration [D]."""
    problem = run.problem
    rows = np.arange(stop - 1, max(start, stop - table.shape[3]) - 1, -1)
    inside = problem.emit[rows, u, k] - run.scales[rows, u]
    if problem.pairs is not None:
        inside[1:] += problem.pairs[rows[:-1], u, k, k]
    lasts = table[problem.group[rows], u, k, np.arange(len(rows))]
    return np.asarray(run.begins[rows, u, k] + np.cumsum(inside) + lasts)


def _whole(semiring: Semiring, scores: Floats) -> float:
    return float(semiring.reduce(scores[None], 1)[0, 0])


def _choose(semiring: Semiring, scores: Floats) -> int:
    """One of several: the best, or drawn in proportion."""
    message = semiring.reduce(scores[None], 1)
    return int(semiring.condition(scores[None], message, 1)[0].argmax())
