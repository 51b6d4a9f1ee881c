"""Eliminating along a chain: from the last step backwards, then forwards; up a tree, then down.

In step t the columns are x_t = [own noise | state | outer]: the state holds the earlier values that
the step looks back at, as deviations from the values about which everything is expanded.  The next
step's [state | outer] is T x_t + [c_t | 0], with the defect c_t by which those values miss the
step's own prediction.  What later steps tell about it is the message J', h'.  In a tree a member
has several next ones, its children: each has the member's T x + c, and their messages add up.

`Chain` goes step by step (in trees level by level) with all rows of a level side by side;
`CompiledChain` of `region_compiled` runs the same recursions along sequences in compiled loops.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.routines.region_eliminate import (
    eliminate,
    empty_elimination,
    join,
    largest_product,
    transpose,
)
from pgem.routines.region_groups import sum_groups
from pgem.routines.region_nodes import ChainLayout


class Chain:
    """A chain at given parameters, its own noise integrated out.

    Args:
        layout: of the chain.
        information: of each step alone [G, local groups, X, X].
        move: T [G, local groups, state + outer, X].
        n_own: number of columns of own noise.

    Attributes:
        steps: the distinct matrices of the elimination.
        step: which of them each node of `layout.back` has.
        local: local group of each row.
    """

    def __init__(self, layout: ChainLayout, information: Floats, move: Floats, n_own: int) -> None:
        self.layout = layout
        self.local: Integers = layout.back.keys[layout.back.ids]
        self.move = np.ascontiguousarray(move)
        n_rest = move.shape[2]
        n_g, n = len(information), len(layout.back.keys)
        self.n_own, self.n_rest, self.width = n_own, n_rest, n_own + n_rest
        self.steps = empty_elimination(n_g, n, n_own, n_rest)
        self.step: Integers = np.arange(n)
        self._eliminate(information)
        self.step_of_row: Integers = self.step[layout.back.ids]

    def _eliminate(self, information: Floats) -> None:
        nodes, found = self.layout.back, self.steps
        for level, (a, b) in enumerate(pairwise(nodes.levels)):
            whole = information[:, nodes.keys[a:b]]
            if level > 0:
                move = self.move[:, nodes.keys[a:b]]
                whole = whole + transpose(move) @ nodes.told(found.message, level) @ move
            step = eliminate(whole, self.n_own)
            found.root[:, a:b], found.inverse[:, a:b] = step.root, step.inverse
            found.gain[:, a:b], found.message[:, a:b] = step.gain, step.message
            found.log_det[:, a:b] = step.log_det

    def covariances(self, outer: Floats) -> tuple[Floats, Integers]:
        """Posterior covariances of x.

        Args:
            outer: posterior covariance of the enclosing rows [G, groups, outer, outer].

        Returns:
            The distinct ones [G, n, X, X], and which of them each node of `layout.forth` has.
        """
        nodes, steps = self.layout.forth, self.steps
        n_g, n_state = len(outer), self.n_rest - outer.shape[-1]
        found = np.empty((n_g, len(nodes.keys), self.width, self.width))
        for level, (a, b) in enumerate(pairwise(nodes.levels)):
            before, node = nodes.next[a:b], nodes.keys[a:b]
            if level == 0:
                known = np.zeros((n_g, b - a, self.n_rest, self.n_rest))
                known[:, :, n_state:, n_state:] = outer[:, before]
            else:
                move = self.move[:, self.layout.back.keys[nodes.keys[before]]]
                known = move @ found[:, before] @ transpose(move)
            found[:, a:b] = join(steps.inverse[:, node], steps.gain[:, node], known)
        return found, np.arange(len(nodes.keys))

    def gradients(self, gradient: Floats, defect: Floats) -> tuple[Floats, Floats, float]:
        """The vectors of the elimination.

        Args:
            gradient: on x from each step alone, with the prior of its own noise [G, rows, X].
            defect: c [G, rows, state].

        Returns:
            M⁻¹ h of each row [G, rows, own], the message to the enclosing rows [G, enclosing
            rows, outer], and the largest square of a correction in posterior deviations.
        """
        layout, steps, n_state = self.layout, self.steps, defect.shape[-1]
        total, largest = np.array(gradient), 0.0
        means = np.empty((*gradient.shape[:2], self.n_own))
        outer = np.zeros((len(gradient), len(layout.data.lengths), self.n_rest - n_state))
        for level in reversed(layout.levels):
            rows = level.rows
            step, own = self.step_of_row[rows], total[:, rows, : self.n_own]
            means[:, rows] = _times(steps.inverse[:, step], own)
            largest = max(largest, largest_product(own, means[:, rows]))
            told = total[:, rows, self.n_own :] - _times(transpose(steps.gain[:, step]), own)
            if level is layout.levels[0]:
                home = layout.data.parent[rows]
                outer += sum_groups(told[..., n_state:], home, outer.shape[1])
                continue
            before = level.parents[level.place]
            c = defect[:, before]
            pull = _times(steps.message[:, step, :, :n_state], c)
            largest = max(largest, largest_product(c, pull[..., :n_state]))
            moved = _times(transpose(self.move[:, self.local[before]]), told - pull)
            total[:, level.parents] += np.add.reduceat(moved, level.starts, axis=1)
        return means, outer, largest

    def positions(self, means: Floats, defect: Floats, outer: Floats) -> Floats:
        """x of every row [G, rows, X].

        Args:
            means: own noise where the rest of x is 0 [G, rows, own].
            defect: c [G, rows, state].
            outer: x of the enclosing rows [G, enclosing rows, outer].
        """
        layout, n_state = self.layout, defect.shape[-1]
        found = np.empty((*means.shape[:2], self.width))
        for level in layout.levels:
            rows = level.rows
            if level is layout.levels[0]:
                rest = np.zeros((len(means), len(rows), self.n_rest))
                rest[..., n_state:] = outer[:, layout.data.parent[rows]]
            else:
                before = level.parents[level.place]
                rest = _times(self.move[:, self.local[before]], found[:, before])
                rest[..., :n_state] += defect[:, before]
            own = means[:, rows] - _times(self.steps.gain[:, self.step_of_row[rows]], rest)
            found[:, rows] = np.concatenate([own, rest], axis=-1)
        return found


def _times(matrices: Floats, vectors: Floats) -> Floats:
    """Matrix times vector, row by row: [G, R, a, b], [G, R, b] → [G, R, a]."""
    return np.asarray((matrices @ vectors[..., None])[..., 0])
