"""Compiled loops of `tree`: one member after the other, parents before children or after them.

`TreePass` in `tree.py` is the reference; this one serves every semiring, in the log domain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgem.arrays import Floats
from pgem.routines.collect import ScopeData
from pgem.routines.contract import Semiring
from pgem.routines.kernels import MODES, _Loops
from pgem.routines.loops import SAMPLE
from pgem.routines.scan_plan import Rows, ScanPlan
from pgem.routines.tree_loops import down_log, up_log


class CompiledTree(_Loops):
    """Log domain; any semiring."""

    def __init__(
        self, plan: ScanPlan, factors: Sequence[Rows], scope: ScopeData, semiring: Semiring
    ) -> None:
        super().__init__(plan, factors, scope.starts, semiring)
        order = np.concatenate([level.rows for level in scope.levels])
        self.members = order, scope.parents, scope.parent

    def forward(self) -> Floats:
        flat = np.concatenate([factor.values.ravel() for factor in self.used])
        _, *given = self.arguments(flat)
        self.flat, self.given = flat, (MODES[self.semiring.name], *self.members, *given)
        self.before = np.zeros((self.n_rows, self.plan.n_outer * self.plan.n_state))
        total = np.zeros(self.shape[:2])
        up_log(*self.given, self.plan.n_state, self.before, total)
        return total

    def backward(self, posterior: Floats) -> list[Floats]:
        uniform = np.empty((0, 0))
        if MODES[self.semiring.name] == SAMPLE:
            assert self.semiring.generator is not None
            uniform = self.semiring.generator.random((self.n_rows, len(self.plan.moves)))
        passed, found = np.empty_like(self.before), np.zeros_like(self.flat)
        ends = np.ascontiguousarray(posterior)
        down_log(*self.given, self.plan.n_state, self.before, ends, uniform, passed, found)
        return self.split(found)
