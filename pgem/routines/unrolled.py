"""Stretches of a scanned sequence that are eliminated as one step.

Where a table ties several steps together, these are unrolled: their variables become variables of
their own, summed out one at a time, until a table over what comes before and what comes after is
left.  It takes the place of all of these steps, and the scan goes on as ever.  In reverse, the
posterior of that table's entries is carried back through the same sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.routines.collect import ScopeData
from pgem.routines.contract import Semiring
from pgem.routines.scan_plan import Pass, Rows, ScanPlan, StepAxes, make_plan
from pgem.routines.stretches import StepVar, Stretches, too_long
from pgem.routines.tables import MAX_TABLE, Axis

Labels = tuple[StepVar, ...]
"""The variables of a table, in the order of its axes; steps are counted from the first one that
stays (step 0), the next is step 1."""


@dataclass(frozen=True, eq=False)
class Item:
    """A stretch within a block.

    Attributes:
        source, table: which table it is.
        which: the rows of that table [B].
    """

    source: int
    table: int
    which: Integers


@dataclass(frozen=True, eq=False)
class Input:
    """A table of a block: of one step (`item` None), or of a stretch.

    Factor -1 is not of the step itself: it is what comes from beyond the block (in a tree).
    """

    labels: Labels
    factor: int = 0
    step: int = 0
    item: Item | None = None


@dataclass(frozen=True, eq=False)
class Sum:
    """Sum a variable out of some tables (by number; messages follow the inputs)."""

    var: StepVar
    chosen: tuple[int, ...]
    labels: Labels


@dataclass(frozen=True, eq=False)
class Unfolded:
    """Steps or members whose variables are told apart and summed out one at a time.

    Attributes:
        inputs: tables.
        sums: eliminations, in order.
        left: what is multiplied in the end.
        kept: its variables.
    """

    inputs: tuple[Input, ...]
    sums: tuple[Sum, ...]
    left: tuple[int, ...]
    kept: Labels

    def row_of(self, step: int) -> Integers:
        """The row of a step or member of each [B]."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Block(Unfolded):
    """Stretches of one shape: steps `first + 1` to `first + length` become one.

    Attributes:
        first: the row before each [B] (of a sequence that begins with the block, the row before
            the sequence).
        length: number of steps.
    """

    first: Integers
    length: int

    @property
    def rows(self) -> Integers:
        """The row that stands for each stretch: its last."""
        return self.first + self.length

    def row_of(self, step: int) -> Integers:
        """The row of a step of each stretch [B]."""
        return self.first + step


class Naming:
    """What the axes of a step are called when steps are told apart."""

    def __init__(self, axes: StepAxes) -> None:
        self.axes = axes
        shift = dict(axes.shift)
        self.lags = {axis: (axis, 0) for own in axes.factors for axis in own}
        self.lags |= {axis: (axis, 0) for axis in (*axes.sum_out, *shift)}
        for present in [axis for axis in shift if axis not in shift.values()]:
            axis, lag = present, 0
            while axis in shift:
                axis, lag = shift[axis], lag + 1
                self.lags[axis] = present, lag

    def label(self, axis: Axis, step: int) -> StepVar:
        """An axis of a step."""
        if axis in self.axes.outer:
            return StepVar(axis, None)
        present, lag = self.lags[axis]
        return StepVar(present, step - lag)

    def before(self) -> list[tuple[Axis, StepVar]]:
        """What the first step looks back at."""
        return [(earlier, self.label(earlier, 1)) for _, earlier in self.axes.shift]

    def after(self, length: int) -> list[tuple[Axis, StepVar]]:
        """What the step after the last looks back at."""
        return [(now, self.label(now, length)) for now, _ in self.axes.shift]

    def reaches(self, variable: StepVar) -> bool:
        """Whether a variable of step 0 or earlier is known to step 1."""
        known = {label for _, label in self.before()}
        return variable.step is None or variable.step > 0 or variable in known


def make_blocks(naming: Naming, stretches: Sequence[Stretches]) -> list[Block]:
    """All blocks of a shard, equal shapes together."""
    found = []
    for source, own in enumerate(stretches):
        for number, table in enumerate(own.tables):
            stays = table.length > 1 and all(naming.reaches(v) for v in table.variables)
            offset = 0 if stays else 1
            end = table.first + table.length - 1
            which = np.arange(len(end))
            label = np.full((len(end), 3), (source, number, offset))
            found.append(np.column_stack([table.first - offset, end, label, which]))
    rows = np.concatenate(found)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    ends = np.maximum.accumulate(rows[:, 1])
    cluster = np.cumsum(np.append(True, rows[1:, 0] >= ends[:-1])) - 1
    return [_block(naming, stretches, group) for group in _by_shape(rows, cluster)]


def _by_shape(rows: Integers, cluster: Integers) -> list[list[Integers]]:
    """Rows (before, end, source, table, offset, which) of clusters of one shape, item by item."""
    sizes = np.bincount(cluster)
    starts = np.cumsum(sizes) - sizes
    shapes: dict[tuple[int, ...], list[int]] = {}
    relative = rows.copy()
    relative[:, :2] -= rows[starts[cluster], :1]
    for k, (start, size) in enumerate(zip(starts.tolist(), sizes.tolist(), strict=True)):
        key = tuple(relative[start : start + size, :5].ravel().tolist())
        shapes.setdefault(key, []).append(k)
    return [
        [rows[starts[members] + item] for item in range(int(sizes[members[0]]))]
        for members in shapes.values()
    ]


def _block(naming: Naming, stretches: Sequence[Stretches], items: list[Integers]) -> Block:
    first = items[0][:, 0]
    length = max(int(rows[0, 1]) for rows in items) - int(first[0])
    inputs = [
        Input(tuple(naming.label(axis, step) for axis in axes), factor, step)
        for step in range(1, length + 1)
        for factor, axes in enumerate(naming.axes.factors)
    ]
    for rows in items:
        source, table, offset = rows[0, 2:5].tolist()
        begin = int(rows[0, 0] - first[0]) + offset
        variables = stretches[source].tables[table].variables
        labels = tuple(StepVar(v.axis, v.step if v.step is None else v.step + begin)
                       for v in variables)  # fmt: skip
        inputs.append(Input(labels, item=Item(source, table, rows[:, 5])))
    stays = {label for _, label in (*naming.before(), *naming.after(length))}
    stays |= {StepVar(axis, None) for axis in naming.axes.outer}
    try:
        sums, left, kept = order([given.labels for given in inputs], stays)
    except TooWide as problem:
        data = stretches[int(items[0][0, 2])].data
        rows = int(first[0]) + np.arange(1, length + 1)
        raise too_long(data, rows, problem.entries) from None
    return Block(tuple(inputs), sums, left, kept, first, length)


class TooWide(Exception):
    """A block needs a table of too many entries."""

    def __init__(self, entries: int) -> None:
        super().__init__(entries)
        self.entries = entries


def order(
    tables: Sequence[Labels], stays: set[StepVar]
) -> tuple[tuple[Sum, ...], tuple[int, ...], Labels]:
    """Sum out one variable after the other, the one with the smallest table first."""
    unused: dict[int, Labels] = dict(enumerate(tables))
    waiting = {v for labels in tables for v in labels} - stays
    n, sums = len(tables), []
    while waiting:
        var = min(waiting, key=lambda v: (_weight(_together(unused.values(), v)), _key(v)))
        chosen = tuple(k for k, labels in unused.items() if var in labels)
        clique = _together([unused[k] for k in chosen], var)
        if _weight(clique) > MAX_TABLE:
            raise TooWide(_weight(clique))
        for k in chosen:
            del unused[k]
        sums.append(Sum(var, chosen, (*(v for v in clique if v != var), var)))
        unused[n] = tuple(v for v in clique if v != var)
        n += 1
        waiting.discard(var)
    kept = _together(unused.values(), None)
    if _weight(kept) > MAX_TABLE:
        raise TooWide(_weight(kept))
    return tuple(sums), tuple(unused), kept


def _together(tables: Iterable[Labels], var: StepVar | None) -> Labels:
    """The variables of all tables that have this one (None: of all), in order."""
    touched = [labels for labels in tables if var is None or var in labels]
    return tuple(sorted({v for labels in touched for v in labels}, key=_key))


def _key(variable: StepVar) -> tuple[float, Axis]:
    return (-math.inf if variable.step is None else variable.step, variable.axis)


def _weight(labels: Labels) -> int:
    return math.prod(v.axis.size for v in labels)


def align(array: Floats, labels: Labels, wanted: Labels) -> Floats:
    """[rows, labels...] → [rows, wanted...], of size 1 where a variable is not among the labels."""
    order = sorted(range(len(labels)), key=lambda k: wanted.index(labels[k]))
    turned = array.transpose(0, *(k + 1 for k in order))
    return turned.reshape(len(array), *(v.axis.size if v in labels else 1 for v in wanted))


def reduce(posterior: Floats, labels: Labels, wanted: Labels) -> Floats:
    """The marginal of some variables: [rows, labels...] → [rows, wanted...]."""
    gone = tuple(k + 1 for k, v in enumerate(labels) if v not in wanted)
    left = [v for v in labels if v in wanted]
    summed = posterior.sum(axis=gone) if gone else posterior
    return summed.transpose(0, *(left.index(v) + 1 for v in wanted))


class Eliminated:
    """A block at given tables.

    Attributes:
        table: what is left, over the variables that are kept [B, kept...].
    """

    table: Floats

    def __init__(
        self,
        block: Unfolded,
        factors: Sequence[Rows],
        stretches: Sequence[Stretches],
        axes: StepAxes,
        semiring: Semiring,
        beyond: Floats | None = None,
    ) -> None:
        self.block, self.semiring, self.beyond = block, semiring, beyond
        self.axes, self.factors = axes, factors
        tables = [self._input(given, stretches) for given in block.inputs]
        labels = [given.labels for given in block.inputs]
        self.joints: list[Floats] = []
        self.messages: list[Floats] = []
        for each in block.sums:
            joint = self._product(tables, labels, each.chosen, each.labels)
            message = semiring.reduce(joint, joint.ndim - 1)
            self.joints.append(joint)
            self.messages.append(message)
            tables.append(message[..., 0])
            labels.append(each.labels[:-1])
        self.labels = labels
        self.table = self._product(tables, labels, block.left, block.kept)

    def _input(self, given: Input, stretches: Sequence[Stretches]) -> Floats:
        """A table [B or 1, labels...]."""
        if given.item is not None:
            return stretches[given.item.source].tables[given.item.table].array[given.item.which]
        if given.factor < 0:
            assert self.beyond is not None
            found = self.beyond[self.block.row_of(given.step)]
            return found.reshape(len(found), *(v.axis.size for v in given.labels))
        factor = self.factors[given.factor]
        if len(factor.values) == 1:
            rows = factor.values
        else:
            rows = factor.values[factor.index[self.block.row_of(given.step)]]
        return rows.reshape(len(rows), *(axis.size for axis in self.axes.factors[given.factor]))

    def _product(
        self, tables: Sequence[Floats], labels: Sequence[Labels], chosen: Sequence[int],
        wanted: Labels,
    ) -> Floats:  # fmt: skip
        sizes = (len(self.block.row_of(0)), *(v.axis.size for v in wanted))
        total = np.zeros(sizes)
        for k in chosen:
            total += align(tables[k], labels[k], wanted)
        return total

    def back(
        self,
        posterior: Floats,
        found: Sequence[Floats],
        along: Sequence[Sequence[Floats]],
        beyond: Floats | None = None,
    ) -> None:
        """Add posteriors of all tables.

        Args:
            posterior: of what is left [B, kept...].
            found: per factor of the scan [R, entries].
            along: per stretch and group [W, variables...].
            beyond: of what comes from beyond the block [rows, entries], which is set.
        """
        block, n_inputs = self.block, len(self.block.inputs)
        given: dict[int, Floats] = {
            k: reduce(posterior, block.kept, self.labels[k]) for k in block.left
        }
        for number in range(len(block.sums) - 1, -1, -1):
            each, message = block.sums[number], self.messages[number]
            joint = self.joints[number]
            conditional = self.semiring.condition(joint, message, joint.ndim - 1)
            weight = given[n_inputs + number][..., None] * conditional
            for k in each.chosen:
                given[k] = reduce(weight, each.labels, self.labels[k])
        for k, item in enumerate(block.inputs):
            if item.item is not None:
                along[item.item.source][item.item.table][item.item.which] += given[k]
                continue
            flat = given[k].reshape(len(given[k]), -1)
            if item.factor < 0:
                assert beyond is not None
                beyond[block.row_of(item.step)] = flat
                continue
            rows = self.factors[item.factor].index[block.row_of(item.step)]
            np.add.at(found[item.factor], rows, flat)


class Unrolled(Pass):
    """A pass over a sequence whose blocks are one step each.

    Args:
        plan: of an ordinary step.
        factors: its tables.
        scope: the sequence.
        semiring: sum, max or sampling.
        stretches: tables over several steps.
        make_pass: (plan, factors, starts) → the pass over the shortened sequences.
    """

    def __init__(
        self,
        plan: ScanPlan,
        factors: Sequence[Rows],
        scope: ScopeData,
        semiring: Semiring,
        stretches: Sequence[Stretches],
        make_pass: Callable[[ScanPlan, list[Rows], Integers], Pass],
    ) -> None:
        super().__init__(plan, factors, scope.starts, semiring)
        naming = Naming(plan.axes)
        kept = stretches[0].data.cache
        key = ("blocks", plan.axes, *(own.data.name for own in stretches))
        if key not in kept:
            kept[key] = make_blocks(naming, stretches)
        self.blocks: list[Block] = kept[key]
        self.along = {
            own.data.name: [np.zeros_like(table.array) for table in own.tables] for own in stretches
        }
        self.done = [
            Eliminated(block, factors, stretches, plan.axes, semiring) for block in self.blocks
        ]
        self.ends = Ends.of(naming)
        self.host = self._find_host()
        self.short = self._shorten(scope.n_rows, make_pass)

    def forward(self) -> Floats:
        return self.short.forward()

    def backward(self, posterior: Floats) -> list[Floats]:
        found = self.short.backward(posterior)
        if self.host is None:
            stood = found.pop()[1:]
        else:
            stood = found[self.host][len(self.factors[self.host].values) :]
        pairs, start = zip(found, self.factors, strict=True), 0
        found = [part[: len(own.values)].copy() for part, own in pairs]
        for block, done in zip(self.blocks, self.done, strict=True):
            stop = start + len(block.first)
            along = list(self.along.values())
            done.back(self.ends.gathered(block, stood[start:stop]), found, along)
            start = stop
        return found

    def _shorten(
        self, n_rows: int, make_pass: Callable[[ScanPlan, list[Rows], Integers], Pass]
    ) -> Pass:
        """The pass over what is left when every block is one step."""
        stays, stands, n_blocks = np.ones(n_rows, dtype=bool), np.full(n_rows, -1), 0
        for block in self.blocks:
            inner = block.first[:, None] + np.arange(1, block.length)
            stays[inner.ravel()] = False
            stands[block.rows] = n_blocks + np.arange(len(block.first))
            n_blocks += len(block.first)
        rows = np.flatnonzero(stays)
        block_of = stands[rows]
        starts = np.concatenate([[0], np.cumsum(stays)])[self.starts]
        solved = zip(self.blocks, self.done, strict=True)
        tables = np.concatenate([self.ends.spread(block, done.table) for block, done in solved])
        factors, plan = self._blanked(rows, block_of), self.plan
        if self.host is None:
            own = np.concatenate([self.ends.ordinary(), tables])
            factors.append(Rows.of(own, np.maximum(block_of + 1, 0)))
            plan = self.ends.bridged(plan.axes)
        else:
            values, index = self.factors[self.host].values, self.factors[self.host].index[rows]
            index = np.where(block_of < 0, index, len(values) + block_of)
            factors[self.host] = Rows.of(np.concatenate([values, tables]), index)
        return make_pass(plan, factors, starts)

    def _find_host(self) -> int | None:
        """A table of the ordinary step that can take the blocks' tables in."""
        ends = self.ends
        for k, own in enumerate(self.plan.axes.factors):
            if not ends.copied and set(own) <= {end.axis for end in ends.ends}:
                here = ends.among(own)
                if all(set(block.kept) <= set(here.labels(block.length)) for block in self.blocks):
                    self.ends = here
                    return k
        return None

    def _blanked(self, rows: Integers, block_of: Integers) -> list[Rows]:
        """The tables of ordinary steps, which say nothing where a block stands.

        A variable that lives in one step only is summed out there, too: it is held at 0.
        """
        axes = self.plan.axes
        held = set(axes.sum_out) - {earlier for _, earlier in axes.shift}
        found = []
        for factor, own in zip(self.factors, axes.factors, strict=True):
            blank = np.zeros([axis.size for axis in own])
            for k, axis in enumerate(own):
                if axis in held:
                    held.discard(axis)
                    np.moveaxis(blank, k, 0)[1:] = -np.inf
            index = np.where(block_of < 0, factor.index[rows], len(factor.values))
            found.append(Rows.of(np.concatenate([factor.values, blank.reshape(1, -1)]), index))
        return found


@dataclass(frozen=True, eq=False)
class End:
    """An axis of the tables that stand for blocks.

    Attributes:
        axis: in the shortened sequence.
        source: in an ordinary step.
        late: whether it is the last step's, and not what the first looks back at.
    """

    axis: Axis
    source: Axis
    late: bool


class Ends:
    """The axes of the tables that stand for blocks: what comes before, and what comes after.

    Where a step looks further back than the last, what it hands on is partly what it was given.
    A block hands on something else, so these variables get axes of their own.
    """

    def __init__(self, naming: Naming, ends: Sequence[End]) -> None:
        self.naming, self.ends = naming, tuple(ends)
        self.copied = tuple(end for end in ends if end.axis != end.source)

    @classmethod
    def of(cls, naming: Naming) -> Ends:
        """All of them."""
        axes = naming.axes
        ends = [End(axis, axis, False) for axis in (*axes.outer, *(e for _, e in axes.shift))]
        taken = {end.axis for end in ends}
        for k, (now, _) in enumerate(axes.shift):
            axis = Axis(-1 - k, now.size, f"next {now.name}") if now in taken else now
            ends.append(End(axis, now, True))
        return cls(naming, ends)

    def among(self, axes: Sequence[Axis]) -> Ends:
        """Those with these axes, in their order."""
        by_axis = {end.axis: end for end in self.ends}
        return Ends(self.naming, [by_axis[axis] for axis in axes])

    def labels(self, length: int) -> Labels:
        """What they are in a block."""
        return tuple(self.naming.label(e.source, length if e.late else 1) for e in self.ends)

    def _places(self, kept: Labels, length: int) -> tuple[Integers, Mask]:
        """Which entry of a block's table each entry reads, and whether it is possible."""
        shape, labels = [end.axis.size for end in self.ends], self.labels(length)
        grid = np.indices(shape).reshape(len(shape), math.prod(shape))
        first = {label: grid[labels.index(label)] for label in labels}
        possible = np.ones(grid.shape[1], dtype=bool)
        for label, values in zip(labels, grid, strict=True):
            possible &= values == first[label]
        places = np.zeros(grid.shape[1], dtype=np.int64)
        for variable in kept:
            places = places * variable.axis.size + first[variable]
        return places, possible

    def spread(self, block: Block, table: Floats) -> Floats:
        """[B, kept...] → [B, entries]."""
        places, possible = self._places(block.kept, block.length)
        return np.where(possible, table.reshape(len(table), -1)[:, places], -np.inf)

    def gathered(self, block: Block, posterior: Floats) -> Floats:
        """[B, entries] → [B, kept...], the reverse."""
        places, possible = self._places(block.kept, block.length)
        sizes = tuple(variable.axis.size for variable in block.kept)
        total = np.zeros((math.prod(sizes), len(posterior)))
        np.add.at(total, places[possible], posterior.T[possible])
        return total.T.reshape(-1, *sizes)

    def ordinary(self) -> Floats:
        """The table of an ordinary step: what it is given it hands on [1, entries]."""
        return np.where(self._places((), 1)[1], 0.0, -np.inf)[None]

    def bridged(self, axes: StepAxes) -> ScanPlan:
        """The plan of a step with a table over all of these axes."""
        renamed = {end.source: end.axis for end in self.copied}
        return make_plan(
            (*axes.factors, tuple(end.axis for end in self.ends)),
            (*axes.sum_out, *renamed),
            tuple((renamed.get(now, now), earlier) for now, earlier in axes.shift),
            axes.outer,
        )
