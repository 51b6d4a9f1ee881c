"""Compiled loops of `tree`: one member after the other, children before parents and back.

`TreePass` in `tree.py` is the reference.  As along sequences (`kernels.py`), `CompiledTree` works
on scaled probabilities, what underflow could have cost is bounded, and where the bound does not
hold, `LogTree` runs the shard again with logarithms; that one also serves the max and sampling
semirings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgem.arrays import Floats
from pgem.routines.collect import ScopeData
from pgem.routines.contract import Semiring
from pgem.routines.kernels import HARMLESS, MODES, CompiledPass, _Loops
from pgem.routines.loops import SAMPLE
from pgem.routines.scan_plan import Rows, ScanPlan
from pgem.routines.tree_loops import down, down_log, up, up_log


class CompiledTree(CompiledPass):
    """Scaled domain; sum semiring only."""

    def __init__(
        self, plan: ScanPlan, factors: Sequence[Rows], scope: ScopeData, semiring: Semiring
    ) -> None:
        super().__init__(plan, factors, scope.starts, semiring)
        self.scope = scope

    def forward(self) -> Floats:
        floor = 10.0 ** (-300 / (1 + len(self.factors)))  # see CompiledPass
        flat, peaks, lowest = self._scaled()
        shape = (self.n_rows, self.plan.n_outer * self.plan.n_state)
        self.before, self.after = np.ones(shape), np.empty(shape)
        self.scales, shrunk, self.products = np.ones((3, self.n_rows, self.plan.n_outer))
        self.given = self.arguments(flat)
        order, parents = self.scope.order, self.scope.parents
        faintest = up(order, parents, *self.given[1:], self.plan.n_state, self.before, self.after,
                      self.scales, shrunk, self.products)  # fmt: skip
        self.rescue, self.checked = None, None
        safe = self.n_rows == 0 or min(self.scales.min(), shrunk.min()) >= floor
        if safe and min(faintest, np.exp(lowest)) < floor:
            self.checked = self._run_back(np.ones(self.shape[:2]))
            safe = self.largest < HARMLESS
        if not safe:
            self.rescue = LogTree(self.plan, self.factors, self.scope, self.semiring)
            return self.rescue.forward()
        return self._total(np.log(self.scales) + np.log(shrunk), peaks)

    def _run_back(self, posterior: Floats) -> list[Floats]:
        found, passed = np.zeros_like(self.given[2]), np.empty_like(self.before)
        scope = self.scope
        self.largest = down(
            scope.order, scope.parents, scope.parent, *self.given[1:], self.plan.n_state,
            self.before, self.after, self.scales, self.products, np.ascontiguousarray(posterior),
            HARMLESS, passed, found,
        )  # fmt: skip
        return self._complete(found)


class LogTree(_Loops):
    """Log domain; any semiring."""

    def __init__(
        self, plan: ScanPlan, factors: Sequence[Rows], scope: ScopeData, semiring: Semiring
    ) -> None:
        super().__init__(plan, factors, scope.starts, semiring)
        self.members = scope.order, scope.parents, scope.parent

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
