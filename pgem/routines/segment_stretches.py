"""Stretches of a sequence of segments: holes tie steps together whose values last for durations.

The table of a stretch speaks of the values of several steps together.  No value follows itself, so
every course of values through these steps, its *window*, tells the segments: the first was there
when the window opens, the last is there when it closes, and those between lie wholly within.
Summed over what lies between, the courses are jumps from the first segment to the last, which the
recursions of `segments` take in (`segment_pass.Tied`); a course of one value is a segment that
covers the window.  In reverse, the posterior of a jump is shared out among its courses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.routines.contract import Semiring
from pgem.routines.segment_pass import Expected, Problem, Tied
from pgem.routines.stretches import StepVar, Stretches, too_long
from pgem.routines.tables import MAX_TABLE, Axis


class Jumps(NamedTuple):
    """Jumps with equally many courses [G, courses].

    Attributes:
        courses: the courses of each.
        land: step of the window at which the last segment begins [G].
        lag: steps between the two segments [G].
        earlier, value: values of the first and of the last [G].
    """

    courses: Integers
    land: Integers
    lag: Integers
    earlier: Integers
    value: Integers


@dataclass(frozen=True, eq=False)
class Courses:
    """All courses of values through a window.

    Attributes:
        values: of every step [courses, steps].
        changes: where a segment begins that follows another one of the window.
        within: steps of segments that lie wholly within the window.
        lasts: for the first step of such a segment how long it lasts, less one; else -1.
        constant: the course of each value throughout [K].
        jumps: all others.
    """

    values: Integers
    changes: Mask
    within: Mask
    lasts: Integers
    constant: Integers
    jumps: tuple[Jumps, ...]


@lru_cache(maxsize=8)
def make_courses(size: int, length: int) -> Courses:
    """All courses of K values through so many steps."""
    n = size**length
    values = np.indices((size,) * length).reshape(length, n).T
    changes = np.zeros(values.shape, dtype=bool)
    changes[:, 1:] = values[:, 1:] != values[:, :-1]
    number = np.cumsum(changes, axis=1)
    within = (number > 0) & (number < number[:, -1:])
    lasts = np.full(values.shape, -1)
    left = np.full(n, length)  # the step at which the next segment begins
    for step in range(length - 1, 0, -1):
        begins = changes[:, step]
        lasts[:, step] = np.where(begins & within[:, step], left - step - 1, -1)
        left = np.where(begins, step, left)
    moved = np.flatnonzero(number[:, -1] > 0)
    first = changes[moved].argmax(axis=1)
    land = length - 1 - changes[moved, ::-1].argmax(axis=1)
    keys = np.column_stack([land, land - first, values[moved, 0], values[moved, -1]])
    return Courses(
        values, changes, within, lasts, np.flatnonzero(number[:, -1] == 0),
        tuple(_by_jump(moved, keys)),
    )  # fmt: skip


def _by_jump(moved: Integers, keys: Integers) -> list[Jumps]:
    """Courses by where they come from and lead to, as many as each jump has side by side."""
    distinct, owner = np.unique(keys, axis=0, return_inverse=True)
    owner = owner.reshape(-1)
    counts = np.bincount(owner, minlength=len(distinct))
    order = np.argsort(owner, kind="stable")
    starts = np.cumsum(counts) - counts
    found = []
    for count in np.unique(counts).tolist():
        chosen = np.flatnonzero(counts == count)
        places = starts[chosen][:, None] + np.arange(count)
        found.append(Jumps(moved[order[places]], *distinct[chosen].T))
    return found


class Part(NamedTuple):
    """A stretch within windows: which table it is, its rows, its first step, its variables."""

    source: int
    table: int
    which: Integers
    variables: tuple[StepVar, ...]


@dataclass(frozen=True, eq=False)
class Shape:
    """Windows of one shape.

    Attributes:
        first: first row of each [B].
        length: number of steps.
        parts: the stretches in them, their steps counted from the first of the window.
    """

    first: Integers
    length: int
    parts: tuple[Part, ...]

    @property
    def n_jumps(self) -> int:
        """Rows of the table of jumps."""
        return len(self.first) * (self.length - 1)


def find_windows(stretches: Sequence[Stretches], state: Axis) -> list[Shape]:
    """The windows of a shard, equal shapes together."""
    rows = []
    for source, own in enumerate(stretches):
        for number, table in enumerate(own.tables):
            steps = [v.step for v in table.variables if v.axis == state and v.step is not None]
            low, high = min(steps, default=0), max(steps, default=0)
            n = len(table.first)
            key = np.full((n, 3), (source, number, low))
            rows.append(np.column_stack([table.first + low, table.first + high, key, np.arange(n)]))
    found = np.concatenate(rows)
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    windows: dict[tuple[tuple[int, ...], ...], list[list[list[int]]]] = {}
    for window in _clusters(found.tolist()):
        start = window[0][0]
        shape = tuple((row[0] - start, row[1] - start, *row[2:5]) for row in window)
        windows.setdefault(shape, []).append(window)
    return [_shape(shape, members, stretches) for shape, members in windows.items()]


def _clusters(rows: Sequence[list[int]]) -> list[list[list[int]]]:
    """Stretches (first, last, ...) in order, those together that share steps.

    Two windows may share the step at which one closes and the other opens.
    """
    clusters: list[list[list[int]]] = []
    opened, closed = -1, -1
    for row in rows:
        beyond = row[0] > closed or (row[0] == closed and opened < closed < row[1])
        if beyond or not clusters:
            clusters.append([row])
            opened, closed = row[0], row[1]
        else:
            clusters[-1].append(row)
            closed = max(closed, row[1])
    return clusters


def _shape(
    shape: tuple[tuple[int, ...], ...],
    members: Sequence[Sequence[list[int]]],
    stretches: Sequence[Stretches],
) -> Shape:
    parts = []
    for k, (offset, _, source, number, low) in enumerate(shape):
        which = np.array([window[k][5] for window in members])
        variables = tuple(
            v if v.step is None else StepVar(v.axis, v.step - low + offset)
            for v in stretches[source].tables[number].variables
        )
        parts.append(Part(source, number, which, variables))
    first = np.array([window[0][0] for window in members])
    return Shape(first, 1 + max(last for _, last, *_ in shape), tuple(parts))


class Windows:
    """All windows of a shard at given parameters.

    Args:
        problem: the sequence, without them.
        semiring: sum, max or sampling.
        stretches: their tables.
        state: axis of the chain.
        outer: variables of enclosing scopes.

    Attributes:
        problem: the sequence with them.

    Raises:
        IntractableError: a window has too many courses.
    """

    def __init__(
        self,
        problem: Problem,
        semiring: Semiring,
        stretches: Sequence[Stretches],
        state: Axis,
        outer: Sequence[Axis],
    ) -> None:
        self.plain, self.semiring, self.stretches, self.outer = problem, semiring, stretches, outer
        kept = stretches[0].data.cache
        key = ("windows", state, *(own.data.name for own in stretches))
        if key not in kept:
            kept[key] = find_windows(stretches, state)
        self.shapes: list[Shape] = kept[key]
        _, self.n_outer, self.size = problem.emit.shape
        self._check()
        self.logs = [self._log_courses(shape) for shape in self.shapes]
        self.problem = replace(problem, tied=self._tied())

    def _check(self) -> None:
        for shape in self.shapes:
            entries = self.n_outer * self.size**shape.length
            if entries > MAX_TABLE:
                data = self.stretches[shape.parts[0].source].data
                rows = int(shape.first[0]) + np.arange(shape.length)
                raise too_long(data, rows, entries)

    def _courses(self, shape: Shape) -> Courses:
        return make_courses(self.size, shape.length)

    def _places(self, part: Part, courses: Courses) -> tuple[Integers, ...]:
        """Entry of a stretch's table for every window, outer combination and course."""
        sizes = tuple(axis.size for axis in self.outer)
        digits: Mapping[Axis, Integers] = dict(
            zip(self.outer, np.indices(sizes).reshape(len(sizes), self.n_outer), strict=True)
        )
        places = [
            digits[v.axis][:, None] if v.step is None else courses.values[None, :, v.step]
            for v in part.variables
        ]
        return (part.which[:, None, None], *places)

    def _log_courses(self, shape: Shape) -> Floats:
        """log p of every course: what is seen, and the segments within [B, U, courses]."""
        problem, courses = self.plain, self._courses(shape)
        total = np.zeros((len(shape.first), self.n_outer, len(courses.values)))
        for part in shape.parts:
            table = self.stretches[part.source].tables[part.table]
            total += table.array[self._places(part, courses)]
        for step in range(1, shape.length):
            rows, values = shape.first + step, courses.values[:, step]
            change, within = courses.changes[:, step], courses.within[:, step]
            before = courses.values[:, step - 1]
            move, stay = problem.move(rows), problem.stay(rows)
            total[..., change] += move[:, :, before[change], values[change]]
            total[..., within] += problem.emit[rows][:, :, values[within]]
            stays = within & ~change
            total[..., stays] += stay[:, :, values[stays]]
            begins = courses.lasts[:, step] >= 0
            total[..., begins] += self._lasting(rows, values[begins], courses.lasts[begins, step])
        return total

    def _lasting(self, rows: Integers, values: Integers, lasts: Integers) -> Floats:
        """log p of whole segments that begin at some rows [B, U, segments]."""
        table = self.plain.lasts[self.plain.group[rows]]
        possible = lasts < table.shape[3]
        found = table[:, :, values, np.minimum(lasts, table.shape[3] - 1)]
        return np.where(possible, found, -np.inf)

    def _tied(self) -> Tied:
        """Jumps and covers, over the courses that lie between."""
        n_rows = len(self.plain.emit)
        n_lags = max(1, *(shape.length - 1 for shape in self.shapes))
        n_jumps = max(1, sum(shape.n_jumps for shape in self.shapes))
        n_windows = sum(len(shape.first) for shape in self.shapes)
        jumps = np.full((n_jumps, self.n_outer, n_lags, self.size, self.size), -np.inf)
        covers = np.zeros((n_windows, self.n_outer, self.size))
        lands, opens, closes = (np.full(n_rows, -1) for _ in range(3))
        spans = np.zeros(n_windows, dtype=np.int64)
        for shape, logs, jump, window in self._placed():
            courses = self._courses(shape)
            opens[shape.first] = closes[shape.first + shape.length - 1] = window
            spans[window], covers[window] = shape.length - 1, logs[:, :, courses.constant]
            for step in range(1, shape.length):
                lands[shape.first + step] = jump[:, step - 1]
            for some in courses.jumps:
                message = self.semiring.reduce(logs[:, :, some.courses], 3)[..., 0]
                jumps[self._entries(jump, some)] = message.transpose(0, 2, 1)
        return Tied(jumps, lands, covers, opens, closes, spans)

    def _placed(self) -> list[tuple[Shape, Floats, Integers, Integers]]:
        """Shapes with the log p of their courses, their rows among jumps and their windows."""
        found, n_jumps, n_windows = [], 0, 0
        for shape, logs in zip(self.shapes, self.logs, strict=True):
            jump = n_jumps + np.arange(shape.n_jumps).reshape(-1, max(shape.length - 1, 1))
            window = n_windows + np.arange(len(shape.first))
            found.append((shape, logs, jump, window))
            n_jumps, n_windows = n_jumps + shape.n_jumps, n_windows + len(window)
        return found

    @staticmethod
    def _entries(jump: Integers, some: Jumps) -> tuple[Integers | slice, ...]:
        """Entries of the table of jumps [B, G, U]."""
        return (jump[:, some.land - 1], slice(None), some.lag, some.earlier, some.value)

    # --- in reverse -------------------------------------------------------------------------------

    def backward(self, found: Expected) -> dict[str, list[Floats]]:
        """Share out the posterior of jumps and covers.

        Args:
            found: expectations, to which those of the segments within windows are added.

        Returns:
            By region and group the posterior of the stretches' tables [W, variables...].
        """
        assert found.jumps is not None and found.covers is not None
        along = [[np.zeros_like(table.array) for table in own.tables] for own in self.stretches]
        for shape, logs, jump, window in self._placed():
            courses = self._courses(shape)
            posterior = np.zeros(logs.shape)
            posterior[:, :, courses.constant] = found.covers[window]
            for some in courses.jumps:
                joint = logs[:, :, some.courses]
                message = self.semiring.reduce(joint, 3)
                conditional = self.semiring.condition(joint, message, 3)
                weight = found.jumps[self._entries(jump, some)].transpose(0, 2, 1)
                posterior[:, :, some.courses] = weight[..., None] * conditional
            for part in shape.parts:
                places = np.broadcast_arrays(*self._places(part, courses), posterior)[:-1]
                np.add.at(along[part.source][part.table], tuple(places), posterior)
            self._add_within(shape, courses, posterior, found)
        names = [own.data.name for own in self.stretches]
        return dict(zip(names, along, strict=True))

    def _add_within(
        self, shape: Shape, courses: Courses, posterior: Floats, found: Expected
    ) -> None:
        """Add the segments that lie within windows, and what lies between segments."""
        problem, size = self.plain, self.size
        for step in range(1, shape.length):
            rows, values = shape.first + step, courses.values[:, step]
            change, within = courses.changes[:, step], courses.within[:, step]
            pair = courses.values[:, step - 1] * size + values
            np.add.at(found.states, rows, _sums(posterior, values, within, size))
            moves = _sums(posterior, pair, change, size**2)
            moves = moves.reshape(*moves.shape[:2], size, size)
            np.add.at(found.transitions, problem.reads[rows], moves)
            if found.pairs is not None:
                stays = _sums(posterior, pair, within & ~change, size**2)
                found.pairs[rows] += moves + stays.reshape(moves.shape)
            n_long = found.lasts.shape[3]
            lasts = courses.lasts[:, step]
            whole = (lasts >= 0) & (lasts < n_long)
            if whole.any():
                counts = _sums(posterior, values * n_long + lasts, whole, size * n_long)
                shaped = counts.reshape(*counts.shape[:2], size, n_long)
                np.add.at(found.lasts, problem.group[rows], shaped)


def _sums(posterior: Floats, places: Integers, chosen: Mask, size: int) -> Floats:
    """Sums over courses by place: [B, U, courses] → [B, U, size]."""
    found = np.zeros((*posterior.shape[:2], size))
    np.add.at(found.transpose(2, 0, 1), places[chosen], posterior[:, :, chosen].transpose(2, 0, 1))
    return found
