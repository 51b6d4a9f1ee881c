"""A sequence whose step is one matrix and then a product of vectors: a hidden Markov model.

The commonest plan of a scan has loops of its own, in which a step is a few short inner products.
They work on probabilities, each message scaled to sum to one; what underflow could have cost is
bounded as in `kernels.py`, and where the bound does not hold, messages are kept as logarithms, with
one exponential and one logarithm a state and step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Floats, Integers
from pgem.routines.chain_loops import backward, backward_log, forward, forward_log
from pgem.routines.contract import Semiring
from pgem.routines.kernels import HARMLESS
from pgem.routines.scan_plan import Pass, Rows, ScanPlan
from pgem.routines.tables import sum_rows

BLOCK = 1 << 16
"""Table entries that are made ready at a time, so that they stay in the processor's cache."""


@lru_cache(maxsize=64)
def is_chain(plan: ScanPlan) -> bool:
    """Whether a step multiplies by one matrix, then by vectors over all states."""
    size = plan.n_state
    if plan.n_outer != 1 or len(plan.moves) != 2:
        return False
    step, last = plan.moves
    if len(step.factors) != 1 or (step.n_out, step.n_sum) != (size, size):
        return False
    states = np.arange(size)
    read = step.source.reshape(size, size), step.places[0].reshape(size, size)
    return bool(
        (read[0] == states).all()
        and (read[1] == states[:, None] + size * states).all()
        and (last.source == states).all()
        and all((places == states).all() for places in last.places)
    )


class _Chain(Pass):
    """What both passes share: the transition table, and one table of what is seen."""

    def __init__(
        self, plan: ScanPlan, factors: Sequence[Rows], starts: Integers, semiring: Semiring
    ) -> None:
        super().__init__(plan, factors, starts, semiring)
        self.size = plan.n_state
        self.n_rows, self.n_sequences = int(starts[-1]), len(starts) - 1
        self.steps = factors[plan.moves[0].factors[0]]
        self.seen = [factors[k] for k in plan.moves[1].factors]
        self.is_indexed = len(self.seen) == 1 and not self.seen[0].per_step

    @cached_property
    def logs(self) -> Floats:
        """One log-table of all that is seen: the table itself, or a row per step."""
        if len(self.seen) == 1:
            return self.seen[0].values
        total = np.zeros((self.size, self.n_rows)).T
        for factor in self.seen:
            total += factor.values if factor.per_step else factor.values.take(factor.index, axis=0)
        return total

    @cached_property
    def rows(self) -> NDArray[np.uint64]:
        """The row of the table of what is seen that every step reads; empty if it is its own."""
        return _unsigned(self.seen[0].index) if self.is_indexed else np.zeros(0, dtype=np.uint64)

    @cached_property
    def index(self) -> NDArray[np.uint64]:
        """The transition table of every step."""
        return _unsigned(self.steps.index)

    def transitions(self) -> tuple[Floats, Floats, Floats, float]:
        """Over its peak [R, K, K], also with the earlier state last; log peaks; least log."""
        table, peaks, lowest = _scaled(self.steps.values)
        table = table.reshape(-1, self.size, self.size)
        return table, np.ascontiguousarray(table.swapaxes(1, 2)), peaks, lowest

    def parts(self, transitions: Floats, seen: Floats) -> list[Floats]:
        """Posteriors in the order of the factors."""
        found: list[Floats] = [np.zeros(0)] * len(self.factors)
        found[self.plan.moves[0].factors[0]] = transitions.reshape(self.steps.values.shape)
        for k, factor in zip(self.plan.moves[1].factors, self.seen, strict=True):
            by_step = factor.per_step or len(self.seen) == 1
            found[k] = seen if by_step else sum_rows(seen, factor.index, len(factor.values))
        return found


class ChainPass(_Chain):
    """Scaled domain; sum semiring only."""

    def forward(self) -> Floats:
        # products of one message entry and one entry of each table stay above 1e-300, if these
        # all stay above `floor`
        floor = 10.0 ** (-300 / (1 + len(self.factors)))
        self.table, turned, peaks, lowest = self.transitions()
        self.b, b_peaks, b_lowest = _scaled(self.logs)
        self.messages, self.scales = np.empty((self.n_rows, self.size)), np.empty(self.n_rows)
        total = np.zeros(self.n_sequences)
        faintest, least = forward(self.starts, self.index, turned, peaks, self.rows, self.b,
                                  b_peaks, self.messages, self.scales, total)  # fmt: skip
        self.rescue: ChainLogPass | None = None
        self.checked: list[Floats] | None = None
        safe = bool(least >= floor)
        if safe and min(faintest, np.exp(min(lowest, b_lowest))) < floor:
            self.checked = self._run_back(np.ones(self.n_sequences))
            safe = bool(self.largest < HARMLESS)
        if not safe:
            self.rescue = ChainLogPass(self.plan, self.factors, self.starts, self.semiring)
            return self.rescue.forward()
        return total[:, None]

    def backward(self, posterior: Floats) -> list[Floats]:
        if self.rescue is not None:
            return self.rescue.backward(posterior)
        if self.checked is not None and (posterior == 1.0).all():
            return self.checked
        return self._run_back(posterior[:, 0])

    def _run_back(self, weights: Floats) -> list[Floats]:
        found, seen = np.zeros_like(self.table), np.zeros_like(self.b)
        self.largest = backward(self.starts, self.index, self.table, self.rows, self.b,
                                self.messages, self.scales, np.ascontiguousarray(weights),
                                found, seen)  # fmt: skip
        found *= self.table
        return self.parts(found, seen)


class ChainLogPass(_Chain):
    """Messages as logarithms; sum semiring only."""

    def forward(self) -> Floats:
        self.table, self.turned, peaks, _ = self.transitions()
        shape = self.table.shape
        self.step_logs = np.ascontiguousarray(self.steps.values).reshape(shape)
        self.messages, total = np.empty((self.n_rows, self.size)), np.zeros(self.n_sequences)
        forward_log(self.starts, self.index, self.turned, peaks, self.step_logs, self.rows,
                    self.logs, self.messages, total)  # fmt: skip
        return total[:, None]

    def backward(self, posterior: Floats) -> list[Floats]:
        found, exact = np.zeros_like(self.table), np.zeros_like(self.table)
        seen = np.zeros_like(self.logs)
        backward_log(self.starts, self.index, self.turned, self.step_logs, self.rows, self.messages,
                     np.ascontiguousarray(posterior[:, 0]), found, exact, seen)  # fmt: skip
        found *= self.table
        return self.parts(found + exact, seen)


def _scaled(logs: Floats) -> tuple[Floats, Floats, float]:
    """exp of a table over its rows' peaks; log peaks; the least log that is not -inf."""
    table, peaks, lowest = np.empty_like(logs), np.empty(len(logs)), 0.0
    block = max(1, BLOCK // max(logs.shape[1], 1))
    for first in range(0, len(logs), block):
        rows = slice(first, first + block)
        peak = logs[rows].max(axis=1)
        peak = np.where(np.abs(peak) < np.inf, peak, 0.0)
        part = logs[rows] - peak[:, None]
        low = float(part.min())
        if not low > -np.inf:
            low = float(part[part > -np.inf].min(initial=0.0))
        lowest = min(lowest, low)
        np.exp(part, out=table[rows])
        peaks[rows] = peak
    return table, peaks, lowest


def _unsigned(index: Integers) -> NDArray[np.uint64]:
    """The same memory: signed indices may be negative, and checking that costs time."""
    return np.ascontiguousarray(index).view(np.uint64)
