"""Parts of trees that are eliminated as one member.

Where a table ties members of a tree together, they are taken as one: their variables become
variables of their own, summed out one at a time with the messages of all children beyond, until the
message to the parent of the topmost is left.  In reverse, the posterior of that message's entries
is carried back through the same sums (see `unrolled.py`, which does so along sequences).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.routines.collect import ScopeData
from pgem.routines.contract import Semiring
from pgem.routines.scan import RowsPass
from pgem.routines.scan_plan import Rows, ScanPlan
from pgem.routines.stretches import StepVar, Stretches, too_long
from pgem.routines.tables import Axis
from pgem.routines.unrolled import (
    Eliminated,
    Input,
    Item,
    Labels,
    TooWide,
    Unfolded,
    align,
    order,
    reduce,
)


@dataclass(frozen=True, eq=False)
class Limb(Unfolded):
    """Parts of trees of one shape and depth, which are taken as one member each.

    Attributes:
        members: rows of each, parents before children [B, members].
    """

    members: Integers

    @property
    def first(self) -> Integers:
        """The row of the topmost member of each."""
        return self.members[:, 0]

    def row_of(self, step: int) -> Integers:
        """The row of a member of each [B]."""
        return self.members[:, step]


class Part(NamedTuple):
    """A stretch within a limb: which table it is, and its members by number."""

    source: int
    table: int
    places: tuple[int, ...]


class Shape(NamedTuple):
    """What limbs that are summed out together have in common."""

    depth: int
    above: tuple[int, ...]
    parts: tuple[Part, ...]


class Limbs:
    """Which members of a shard's trees are taken as one.

    Attributes:
        plain: members that are taken alone, by the number of members or limbs above them.
        limbs: the others, likewise.

    Raises:
        IntractableError: a limb needs a table of too many entries.
    """

    def __init__(self, scope: ScopeData, plan: ScanPlan, stretches: Sequence[Stretches]) -> None:
        self.scope, self.axes, self.stretches = scope, plan.axes, stretches
        self.parents = scope.earlier(1)
        self.top = self._find_tops()
        self.depth = np.zeros(scope.n_rows, dtype=np.int64)
        for level in scope.levels[1:]:
            above = self.parents[level.rows]
            same = (self.top[level.rows] >= 0) & (self.top[level.rows] == self.top[above])
            self.depth[level.rows] = self.depth[above] + ~same
        depths = range(int(self.depth.max(initial=-1)) + 1)
        alone = self.top < 0
        self.plain = [np.flatnonzero(alone & (self.depth == depth)) for depth in depths]
        self.limbs: list[list[Limb]] = [[] for _ in depths]
        for shape, (members, which) in self._by_shape().items():
            self.limbs[shape.depth].append(self._limb(shape, np.array(members), np.array(which)))

    def _find_tops(self) -> Integers:
        """The topmost member of the limb of each member, -1 where there is none."""
        n_rows = self.scope.n_rows
        inside, joined = np.zeros(n_rows, dtype=bool), np.zeros(n_rows, dtype=bool)
        for own in self.stretches:
            for table in own.tables:
                inside[table.rows] = True
                joined[table.rows[:, 1:]] = True
        top = np.where(inside, np.arange(n_rows), -1)
        for level in self.scope.levels[1:]:
            rows = level.rows[joined[level.rows]]
            top[rows] = top[self.parents[rows]]
        return top

    def _by_shape(self) -> dict[Shape, tuple[list[Integers], list[list[int]]]]:
        """Limbs of one shape: their members, and of each stretch the row of its table."""
        inside = np.flatnonzero(self.top >= 0)
        inside = inside[np.lexsort((inside, self.scope.depth[inside], self.top[inside]))]
        tops, starts = np.unique(self.top[inside], return_index=True)
        members = dict(zip(tops.tolist(), np.split(inside, starts[1:]), strict=True))
        place = np.full(self.scope.n_rows, -1)
        place[inside] = np.arange(len(inside)) - np.repeat(starts, np.diff([*starts, len(inside)]))
        parts: dict[int, list[tuple[Part, int]]] = {top: [] for top in members}
        for source, own in enumerate(self.stretches):
            for number, table in enumerate(own.tables):
                for which, places in enumerate(place[table.rows].tolist()):
                    top = int(self.top[table.rows[which, 0]])
                    parts[top].append((Part(source, number, tuple(places)), which))
        found: dict[Shape, tuple[list[Integers], list[list[int]]]] = {}
        for top, rows in members.items():
            above = (-1, *place[self.parents[rows[1:]]].tolist())
            depth = int(self.depth[top])
            shape = Shape(depth, above, tuple(part for part, _ in parts[top]))
            limbs, which_rows = found.setdefault(shape, ([], []))
            limbs.append(rows)
            which_rows.append([which for _, which in parts[top]])
        return found

    def _limb(self, shape: Shape, members: Integers, which: Integers) -> Limb:
        inputs = [
            Input(tuple(self._label(axis, k, shape) for axis in axes), factor, k)
            for k in range(len(shape.above))
            for factor, axes in enumerate(self.axes.factors)
        ]
        inputs += [Input(self.interface(k), -1, k) for k in range(len(shape.above))]
        for j, part in enumerate(shape.parts):
            table = self.stretches[part.source].tables[part.table]
            labels = tuple(self._placed(variable, part, shape) for variable in table.variables)
            inputs.append(Input(labels, item=Item(part.source, part.table, which[:, j])))
        try:
            sums, left, kept = order([given.labels for given in inputs], set(self.interface(-1)))
        except TooWide as problem:
            data = self.stretches[shape.parts[0].source].data
            raise too_long(data, members[0], problem.entries) from None
        return Limb(tuple(inputs), sums, left, kept, members)

    def interface(self, member: int) -> Labels:
        """What the message to a member is about (-1: to the parent of the topmost)."""
        own = (StepVar(now, member) for _, now in self.axes.shift)
        return (*(StepVar(axis, None) for axis in self.axes.outer), *own)

    def _label(self, axis: Axis, member: int, shape: Shape) -> StepVar:
        """An axis of a member's tables."""
        if axis in self.axes.outer:
            return StepVar(axis, None)
        parent = dict(self.axes.shift)
        if axis in parent:
            return StepVar(parent[axis], shape.above[member])
        return StepVar(axis, member)

    @staticmethod
    def _placed(variable: StepVar, part: Part, shape: Shape) -> StepVar:
        """A variable of a stretch, its member as numbered in the limb."""
        if variable.step is None:
            return variable
        above = shape.above[part.places[0]]
        step = above if variable.step < 0 else part.places[variable.step]
        return StepVar(variable.axis, step)


class UnrolledTree(RowsPass):
    """Log-domain, from the leaves to the roots and back, some members as one.

    Args:
        plan: of a member that is taken alone.
        factors: its tables.
        scope: the trees.
        semiring: sum, max or sampling.
        stretches: tables over several members.
    """

    def __init__(
        self,
        plan: ScanPlan,
        factors: Sequence[Rows],
        scope: ScopeData,
        semiring: Semiring,
        stretches: Sequence[Stretches],
    ) -> None:
        super().__init__(plan, factors, scope.starts, semiring)
        kept = stretches[0].data.cache
        key = ("limbs", plan.axes, *(own.data.name for own in stretches))
        if key not in kept:
            kept[key] = Limbs(scope, plan, stretches)
        self.limbs: Limbs = kept[key]
        self.scope, self.stretches = scope, stretches
        self.shape = (plan.n_outer, plan.n_state)
        self.wanted = self.limbs.interface(-1)
        self.along = {
            own.data.name: [np.zeros_like(table.array) for table in own.tables] for own in stretches
        }

    def forward(self) -> Floats:
        total = np.zeros((len(self.scope.lengths), self.plan.n_outer))
        self.before = np.zeros((self.scope.n_rows, self.plan.n_outer * self.plan.n_state))
        self.done: list[list[Eliminated]] = []
        levels = zip(self.limbs.plain, self.limbs.limbs, strict=True)
        for plain, limbs in reversed(list(levels)):
            if len(plain):
                self._hand_up(plain, self.tables(self.before[plain], plain)[-1], total)
            done = [
                Eliminated(
                    limb, self.factors, self.stretches, self.plan.axes, self.semiring, self.before
                )
                for limb in limbs
            ]
            for limb, each in zip(limbs, done, strict=True):
                sizes = [variable.axis.size for variable in self.wanted]
                table = align(each.table, limb.kept, self.wanted)
                full = np.broadcast_to(table, (len(table), *sizes))
                self._hand_up(limb.first, full.reshape(len(full), -1), total)
            self.done.insert(0, done)
        return total

    def _hand_up(self, rows: Integers, flat: Floats, total: Floats) -> None:
        """Give messages to the parents, or those of roots to the total."""
        message = flat.reshape(len(rows), *self.shape)
        peak = message.max(axis=2)
        shift = np.where(np.isfinite(peak), peak, 0.0)
        message = message - shift[:, :, None]
        above = self.limbs.parents[rows]
        root = above < 0
        shift[root] += message[root][:, :, 0]
        np.add.at(self.before, above[~root], message.reshape(flat.shape)[~root])
        np.add.at(total, self.scope.parent[rows], shift)

    def backward(self, posterior: Floats) -> list[Floats]:
        found = [np.zeros_like(factor.values) for factor in self.factors]
        of_children = np.zeros_like(self.before)
        along = list(self.along.values())
        for depth, (plain, limbs) in enumerate(
            zip(self.limbs.plain, self.limbs.limbs, strict=True)
        ):
            if len(plain):
                weight = self._incoming(plain, posterior, of_children)
                tables = self.tables(self.before[plain], plain)
                of_children[plain] = self.undo(tables, weight, plain, found)
            for limb, done in zip(limbs, self.done[depth], strict=True):
                weight = self._incoming(limb.first, posterior, of_children)
                sizes = [variable.axis.size for variable in self.wanted]
                shaped = weight.reshape(len(weight), *sizes)
                done.back(reduce(shaped, self.wanted, limb.kept), found, along, of_children)
        return self.settle(found)

    def _incoming(self, rows: Integers, posterior: Floats, of_children: Floats) -> Floats:
        """Posterior of the entries of messages: the parents', at roots the outer one."""
        above = self.limbs.parents[rows]
        weight = of_children[above].reshape(len(rows), *self.shape)
        root = above < 0
        weight[root] = 0.0
        weight[root, :, 0] = posterior[self.scope.parent[rows[root]]]
        return np.asarray(weight.reshape(len(rows), -1))
