"""Chains of regions in compiled loops (see `region_chain` for the recursions)."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.routines.region_chain import Chain
from pgem.routines.region_eliminate import Elimination
from pgem.routines.region_loops import covariances, eliminate_steps, gradients, positions


class CompiledChain(Chain):
    """The same in compiled loops, which share the matrices of steps at which they settle."""

    def _eliminate(self, information: Floats) -> None:
        nodes, s = self.layout.back, self.steps
        n = eliminate_steps(
            nodes.keys, nodes.next, nodes.n_first, np.ascontiguousarray(information), self.move,
            self.step, s.root, s.inverse, s.gain, s.message, s.log_det,
        )  # fmt: skip
        parts = (s.root, s.inverse, s.gain, s.message, s.log_det)
        self.steps = Elimination(*(np.ascontiguousarray(part[:, :n]) for part in parts))

    def covariances(self, outer: Floats) -> tuple[Floats, Integers]:
        nodes, shared = self.layout.forth, np.empty(len(self.layout.forth.keys), dtype=np.int64)
        found = np.empty((len(outer), len(nodes.keys), self.width, self.width))
        n = covariances(
            nodes.keys, nodes.next, nodes.n_first, self.step, self.layout.back.keys, self.move,
            np.ascontiguousarray(outer), self.steps.inverse, self.steps.gain, shared, found,
        )  # fmt: skip
        return found[:, :n], shared

    def gradients(self, gradient: Floats, defect: Floats) -> tuple[Floats, Floats, float]:
        layout, n_state = self.layout, defect.shape[-1]
        means = np.empty((*gradient.shape[:2], self.n_own))
        message = np.zeros((len(gradient), len(layout.data.lengths), self.n_rest))
        s = self.steps
        largest = gradients(
            layout.data.starts, self.local, self.step_of_row, self.move, s.inverse, s.gain,
            s.message, gradient, defect, means, message,
        )  # fmt: skip
        return means, message[..., n_state:], float(largest)

    def positions(self, means: Floats, defect: Floats, outer: Floats) -> Floats:
        found = np.empty((*means.shape[:2], self.width))
        positions(
            self.layout.data.starts, self.local, self.step_of_row, self.move, self.steps.gain,
            np.ascontiguousarray(means), defect, np.ascontiguousarray(outer), found,
        )  # fmt: skip
        return found
