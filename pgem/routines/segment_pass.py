"""The recursions of `segments`, with NumPy: all sequences of a shard side by side, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pgem.arrays import Floats, Integers, log_sum_exp
from pgem.routines.contract import Semiring


@dataclass(frozen=True, eq=False)
class Tied:
    """Windows of rows with a table over their values together; in logarithms.

    No value follows itself, so the values of a window tell which segments lie wholly within it.
    All of them are part of a jump, from a segment that is there when the window opens to one that
    is there when it closes.  A segment that covers the window makes no jump.

    Attributes:
        jumps: from a segment of value j that ends m + 1 rows before a row to one of value k that
            begins there, with all that lies between [R, U, M, J, K].
        lands: which of these a segment reads that begins at a row; -1: it is not within a window
            [N].
        covers: of a segment that covers the window [W, U, K].
        opens, closes: window of which a row is the first, the last; -1: of none [N].
        spans: rows of each window after its first [W].
    """

    jumps: Floats
    lands: Integers
    covers: Floats
    opens: Integers
    closes: Integers
    spans: Integers

    @cached_property
    def least(self) -> Integers:
        """Steps that a segment which ends at a row lasts at least, less one [N].

        A segment that begins within a window ends with it, or later.
        """
        return self._counted(np.flatnonzero(self.opens >= 0), self.opens, 1)

    @cached_property
    def left(self) -> Integers:
        """Steps that a segment which begins at a row lasts at least, less one [N]."""
        return self._counted(np.flatnonzero(self.closes >= 0), self.closes, -1)

    def _counted(self, ends: Integers, windows: Integers, way: int) -> Integers:
        """Rows within windows, counted from one of their ends."""
        inner = np.maximum(self.spans[windows[ends]] - 1, 0)
        steps = 1 + np.arange(int(inner.sum())) - np.repeat(np.cumsum(inner) - inner, inner)
        found = np.zeros(len(self.lands), dtype=np.int64)
        found[np.repeat(ends, inner) + way * steps] = steps
        return found


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
        tied: windows with a table over several steps, or None.
    """

    starts: Integers
    emit: Floats
    transitions: Floats
    reads: Integers
    pairs: Floats | None
    lasts: Floats
    ends: Floats
    group: Integers
    tied: Tied | None = None

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
        jumps: of jumps within windows [R, U, M, J, K], where there are windows; what lies between
            the two segments is not yet among the others.
        covers: of the value of segments that cover a window [W, U, K].
    """

    states: Floats
    transitions: Floats
    pairs: Floats | None
    lasts: Floats
    cut: Floats
    jumps: Floats | None = None
    covers: Floats | None = None

    @staticmethod
    def nothing(problem: Problem) -> Expected:
        """Zeros of all shapes."""
        return Expected(
            np.zeros(problem.emit.shape),
            np.zeros(problem.transitions.shape),
            None if problem.pairs is None else np.zeros(problem.pairs.shape),
            np.zeros(problem.lasts.shape),
            np.zeros(problem.lasts.shape),
            None if problem.tied is None else np.zeros(problem.tied.jumps.shape),
            None if problem.tied is None else np.zeros(problem.tied.covers.shape),
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
        self.begins = np.full(problem.emit.shape, -np.inf)
        self.finishes = np.full(problem.emit.shape, -np.inf)
        self.scales = np.zeros(problem.emit.shape[:2])
        running = np.full((len(lengths), n_outer, size, n_long), -np.inf)
        message = np.zeros((len(lengths), n_outer))
        for t, n in enumerate(self.alive):
            rows = self.rows(t)
            begin = problem.first(rows) if t == 0 else reduce(self.arriving(rows), 2)[:, :, 0]
            running = np.concatenate(
                [begin[..., None], running[:n, ..., :-1] + problem.stay(rows)[..., None]], axis=3
            )
            running += problem.emit[rows][..., None]
            self.cover(running, rows)
            peak = running.max(axis=(2, 3))
            scale = np.where(np.isfinite(peak), peak, 0.0)
            running -= scale[:, :, None, None]
            self.begins[rows], self.scales[rows] = begin, scale
            ending = running + self.by_age(problem.lasts, rows, t)
            if problem.tied is not None:
                _bar(ending, problem.tied.least[rows])
            self.finishes[rows] = reduce(ending, 3)[..., 0]
            last = slice(self.alive[t + 1] if t + 1 < len(self.alive) else 0, n)
            if last.start < n:
                ends = running[last] + self.by_age(problem.ends, rows[last], t)
                total = reduce(ends.reshape(len(ends), n_outer, -1), 2)[..., 0]
                message[self.order[last]] = total
        self.last = message
        return message + self.summed_scales()

    def cover(self, running: Floats, rows: Integers) -> None:
        """Enter windows that end at these rows, for the segments that were there all the time."""
        if self.problem.tied is not None:
            _cover(running, self.problem.tied, self.problem.tied.closes[rows])

    def arriving(self, rows: Integers) -> Floats:
        """Segments that begin at these rows, with what they follow [n, U, M J, K]."""
        problem, tied = self.problem, self.problem.tied
        plain = self.finishes[rows - 1][..., None] + problem.move(rows)
        if tied is None or not (tied.lands[rows] >= 0).any():
            return plain
        n, n_outer, size, _ = plain.shape
        found = np.full((n, n_outer, tied.jumps.shape[2], size, size), -np.inf)
        found[:, :, 0] = plain
        lands = tied.lands[rows]
        inside = np.flatnonzero(lands >= 0)
        jumps = tied.jumps[lands[inside]]
        found[inside] = self.earlier(rows[inside], jumps.shape[2])[..., None] + jumps
        return found.reshape(n, n_outer, -1, size)

    def earlier(self, rows: Integers, n_lags: int) -> Floats:
        """Segments that end 1, 2, … rows before, in the units of the row before [n, U, M, K]."""
        found, taken = [], np.zeros((len(rows), self.scales.shape[1]))
        for lag in range(1, n_lags + 1):
            found.append(self.finishes[rows - lag] - taken[..., None])
            taken = taken + self.scales[rows - lag]
        return np.stack(found, axis=2)

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
        wholes = None if problem.tied is None else np.full(problem.emit.shape, -np.inf)
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
            self.cover_ahead(longer, rows)
            ahead[:n] = longer
            group = problem.group[rows]
            cut = ages == left[:, None] - 1  # [n, D]
            terms = longer + np.where(cut[:, None, None], problem.ends[group], problem.lasts[group])
            if problem.tied is not None:
                _bar(terms, problem.tied.left[rows])
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
                continue
            move = problem.move(rows)
            after[:n] = log_sum_exp(move + whole[:, :, None], 3)[..., 0]
            if problem.tied is None or wholes is None:
                self.add_moves(found, rows, move, starting)
                continue
            wholes[rows] = whole
            inside = problem.tied.lands[rows] >= 0
            self.add_moves(found, rows[~inside], move[~inside], starting[~inside])
            if inside.any():
                self.add_jumps(found, rows[inside], starting[inside])
                after[:n][inside] = self.jumping(rows[inside] - 1, wholes)
        return found

    def cover_ahead(self, longer: Floats, rows: Integers) -> None:
        """Enter windows that begin at these rows, for the segments that outlast them."""
        if self.problem.tied is not None:
            _cover(longer, self.problem.tied, self.problem.tied.opens[rows])

    def jumping(self, rows: Integers, wholes: Floats) -> Floats:
        """What follows segments that end at rows within windows [n, U, J]."""
        tied = self.problem.tied
        assert tied is not None
        n_rows, n_lags = len(wholes), tied.jumps.shape[2]
        found, taken = [], np.zeros((len(rows), self.scales.shape[1]))
        for lag in range(1, n_lags + 1):
            to = np.minimum(rows + lag, n_rows - 1)
            lands = np.where(rows + lag < n_rows, tied.lands[to], -1)
            here = np.where(
                (lands >= 0)[:, None, None, None], tied.jumps[lands, :, lag - 1], -np.inf
            )
            found.append(here + wholes[to][:, :, None] - taken[..., None, None])
            taken = taken + self.scales[to]
        joint = np.stack(found, axis=3)
        return log_sum_exp(joint.reshape(*joint.shape[:3], -1), 3)[..., 0]

    def add_steps(self, found: Expected, rows: Integers, left: Integers, reached: Floats) -> None:
        """Add segments that start at these rows to every step that they reach."""
        for age in range(min(reached.shape[3], int(left.max(initial=0)))):
            here = left > age
            found.states[rows[here] + age] += reached[here, ..., age]
            if found.pairs is not None and age:
                diagonal = np.einsum("nukk->nuk", found.pairs)
                diagonal[rows[here] + age] += reached[here, ..., age]
            if found.covers is not None:
                tied = self.problem.tied
                assert tied is not None
                windows = tied.closes[rows[here] + age]
                over = (windows >= 0) & (tied.spans[windows] <= age)
                np.add.at(found.covers, windows[over], reached[here, ..., age][over])

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

    def add_jumps(self, found: Expected, rows: Integers, starting: Floats) -> None:
        """Add what the segments that start at these rows, within windows, follow."""
        tied = self.problem.tied
        assert tied is not None and found.jumps is not None
        lands = tied.lands[rows]
        jumps = tied.jumps[lands]
        joint = self.earlier(rows, jumps.shape[2])[..., None] + jumps
        total = self.begins[rows]
        total = np.where(np.isfinite(total), total, 0.0)[:, :, None, None]
        found.jumps[lands] += np.exp(joint - total) * starting[:, :, None, None]


def _bar(terms: Floats, least: Integers) -> None:
    """Leave out segments that do not last so long [n, U, K, D], in place."""
    rows = np.flatnonzero(least)
    short = np.arange(terms.shape[3]) < least[rows, None, None, None]
    terms[rows] = np.where(short, -np.inf, terms[rows])


def _cover(terms: Floats, tied: Tied, windows: Integers) -> None:
    """Enter windows for segments that are as long [n, U, K, D], in place."""
    rows = np.flatnonzero(windows >= 0)
    long = np.arange(terms.shape[3]) >= tied.spans[windows[rows]][:, None, None, None]
    terms[rows] += np.where(long, tied.covers[windows[rows]][..., None], 0.0)


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
        _count_covers(problem, found, first, stop, u, value, weight)
        row = problem.reads[first]
        if first == start:
            found.transitions[row, u, 0, value] += weight
            if found.pairs is not None:
                found.pairs[first, u, 0, value] += weight
            return
        if problem.tied is not None and problem.tied.lands[first] >= 0:
            stop, value = _jump_back(run, found, first, u, value, weight)
            cut, chosen = False, _by_duration(run, start, stop, u, value, problem.lasts)
            continue
        before = run.finishes[first - 1, u] + problem.move(np.array([first]))[0, u, :, value]
        earlier = _choose(run.semiring, before)
        found.transitions[row, u, earlier, value] += weight
        if found.pairs is not None:
            found.pairs[first, u, earlier, value] += weight
        stop, value, cut = first, earlier, False
        chosen = _by_duration(run, start, stop, u, value, problem.lasts)


def _count_covers(
    problem: Problem, found: Expected, first: int, stop: int, u: int, value: int, weight: float
) -> None:
    """Add a segment to the windows that it covers."""
    if problem.tied is None or found.covers is None:
        return
    windows = problem.tied.closes[first:stop]
    ages = np.flatnonzero(windows >= 0)
    over = windows[ages][problem.tied.spans[windows[ages]] <= ages]
    found.covers[over, u, value] += weight


def _jump_back(
    run: SegmentPass, found: Expected, first: int, u: int, value: int, weight: float
) -> tuple[int, int]:
    """Where the segment ends that one which begins within a window follows, and its value."""
    tied = run.problem.tied
    assert tied is not None and found.jumps is not None
    jumps = tied.jumps[tied.lands[first], u, :, :, value]
    scores, taken = np.empty(jumps.shape), 0.0
    for lag in range(1, len(jumps) + 1):
        scores[lag - 1] = run.finishes[first - lag, u] - taken + jumps[lag - 1]
        taken += run.scales[first - lag, u]
    lag, earlier = divmod(_choose(run.semiring, scores.ravel()), jumps.shape[1])
    found.jumps[tied.lands[first], u, lag, earlier, value] += weight
    return first - lag, earlier


def _by_duration(run: SegmentPass, start: int, stop: int, u: int, k: int, table: Floats) -> Floats:
    """Log-probability of the segment that ends before row `stop`, for each duration [D]."""
    problem = run.problem
    rows = np.arange(stop - 1, max(start, stop - table.shape[3]) - 1, -1)
    inside = problem.emit[rows, u, k] - run.scales[rows, u]
    if problem.pairs is not None:
        inside[1:] += problem.pairs[rows[:-1], u, k, k]
    if problem.tied is not None:
        tied, windows = problem.tied, problem.tied.opens[rows]
        over = (windows >= 0) & (rows + tied.spans[windows] < stop)
        inside[over] += tied.covers[windows[over], u, k]
    lasts = table[problem.group[rows], u, k, np.arange(len(rows))]
    scores = np.asarray(run.begins[rows, u, k] + np.cumsum(inside) + lasts)
    if problem.tied is not None:
        scores[: problem.tied.least[stop - 1]] = -np.inf
    return scores


def _whole(semiring: Semiring, scores: Floats) -> float:
    return float(semiring.reduce(scores[None], 1)[0, 0])


def _choose(semiring: Semiring, scores: Floats) -> int:
    """One of several: the best, or drawn in proportion."""
    message = semiring.reduce(scores[None], 1)
    return int(semiring.condition(scores[None], message, 1)[0].argmax())
