"""Instruction `tree`: sum out the members of trees along their structure.

A scan the other way round.  The table of a member begins as the product of its children's messages
over its own *interface* (the variables that children look back at); the member's tables are
multiplied in and its own variables summed out one at a time; what is left, over the parent's
interface, is its message to the parent.  A root has no parent: its message is read at state 0 of
every earlier variable, which the roots' tables do not look at.

Members of one depth are independent given the others, so that a level of all trees of a shard is
worked on at once.  Downwards, the conditionals of each member are recomputed, so sum, max and
sampling share one text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pgem.arrays import Floats
from pgem.routines.collect import ScopeData
from pgem.routines.contract import Semiring
from pgem.routines.levels import Level
from pgem.routines.scan import CALL, COMPILED_FROM, Chain, RowsPass, make_chain
from pgem.routines.scan_plan import Pass, Rows, ScanPlan
from pgem.routines.stretches import Stretches
from pgem.routines.tables import Axis, LogTable
from pgem.routines.unrolled_tree import UnrolledTree


def tree(
    scope: ScopeData,
    semiring: Semiring,
    tables: Sequence[LogTable],
    sum_out: Sequence[Axis],
    shift: Mapping[Axis, Axis],
    outer: Sequence[Axis] = (),
    stretches: Sequence[Stretches] = (),
) -> Chain:
    """Sum out a tree, or a forest per unit.

    Args:
        scope: the tree's rows, with their parents.
        semiring: sum, max or sampling.
        tables: tables of one member.
        sum_out: the member's own variables in the order in which they are eliminated.
        shift: a variable of the message to the parent → the axis that it has there.
        outer: variables of enclosing scopes.
        stretches: tables over the variables of several members, in some places.
    """
    tied = [own for own in stretches if own.tables]

    def make_pass(plan: ScanPlan, factors: list[Rows]) -> Pass:
        if tied:
            return UnrolledTree(plan, factors, scope, semiring, tied)
        return _choose_pass(plan, scope, semiring)(plan, factors, scope, semiring)

    return make_chain(scope, tables, sum_out, shift, outer, make_pass)


def _choose_pass(plan: ScanPlan, scope: ScopeData, semiring: Semiring) -> Callable[..., Pass]:
    """Compiled loops where there is enough to do, or many levels."""
    entries = scope.n_rows * sum(len(move.source) for move in plan.moves)
    calls = (int(scope.depth.max(initial=0)) + 1) * len(plan.moves)
    if entries + CALL * calls >= COMPILED_FROM:
        from pgem.routines.tree_kernels import CompiledTree, LogTree

        kind: Callable[..., Pass] = CompiledTree if semiring.name == "sum" else LogTree
    else:
        kind = TreePass
    return kind


class TreePass(RowsPass):
    """Log-domain, one level at a time: upwards from the leaves, then downwards."""

    def __init__(
        self, plan: ScanPlan, factors: Sequence[Rows], scope: ScopeData, semiring: Semiring
    ) -> None:
        super().__init__(plan, factors, scope.starts, semiring)
        self.scope = scope
        self.shape = (plan.n_outer, plan.n_state)

    def forward(self) -> Floats:
        plan, scope = self.plan, self.scope
        total = np.zeros((len(scope.lengths), plan.n_outer))
        self.before = np.zeros((scope.n_rows, plan.n_outer * plan.n_state))
        for level in reversed(scope.levels):
            rows = level.rows
            message = self.tables(self.before[rows], rows)[-1].reshape(len(rows), *self.shape)
            peak = message.max(axis=2)
            shift = np.where(np.isfinite(peak), peak, 0.0)
            message = message - shift[:, :, None]
            if level is scope.levels[0]:
                shift = shift + message[:, :, 0]
            else:
                flat = message.reshape(len(rows), -1)
                self.before[level.parents] = level.to_parents(flat)
            np.add.at(total, scope.parent[rows], shift)
        return total

    def backward(self, posterior: Floats) -> list[Floats]:
        found = [np.zeros_like(factor.values) for factor in self.factors]
        of_children = np.zeros_like(self.before)
        for level in self.scope.levels:
            rows = level.rows
            weight = self.incoming(level, posterior, of_children)
            tables = self.tables(self.before[rows], rows)
            of_children[rows] = self.undo(tables, weight, rows, found)
        return self.settle(found)

    def incoming(self, level: Level, posterior: Floats, of_children: Floats) -> Floats:
        """Posterior of the entries of a level's messages: the parents', at roots the outer one."""
        scope, rows = self.scope, level.rows
        if level is not scope.levels[0]:
            return np.asarray(of_children[level.parents][level.place])
        weight = np.zeros((len(rows), *self.shape))
        weight[:, :, 0] = posterior[scope.parent[rows]]
        return weight.reshape(len(rows), -1)
