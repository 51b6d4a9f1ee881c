"""Compiled loops of `segments`, one sequence after the other; `NumpySegments` is the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgem.arrays import Floats
from pgem.routines.segment_loops import MAX, SUM, expect, forward
from pgem.routines.segment_pass import Expected, SegmentPass, Tied

NONE = np.zeros(1, dtype=np.int64)


class CompiledSegments(SegmentPass):
    """Log-domain; any semiring."""

    def forward(self) -> Floats:
        problem = self.problem
        self.begins, self.finishes = np.empty(problem.emit.shape), np.empty(problem.emit.shape)
        self.scales = np.zeros(problem.emit.shape[:2])
        self.last = np.empty((len(problem.lengths), problem.emit.shape[1]))
        mode = MAX if self.semiring.name == "max" else SUM
        tied = self.problem.tied
        closes, least = (NONE, NONE) if tied is None else (tied.closes, tied.least)
        forward(
            mode, *self.tables(), closes, least, self.begins, self.finishes, self.scales, self.last
        )
        total = np.zeros(self.last.shape)
        filled = problem.lengths > 0
        if filled.any():
            starts = problem.starts[:-1][filled]
            total[filled] = np.add.reduceat(self.scales, starts, axis=0)
        return np.asarray(self.last + total)

    def expect(self, posterior: Floats) -> Expected:
        found = Expected.nothing(self.problem)
        pairs = np.zeros((1, 1, 1, 1)) if found.pairs is None else found.pairs
        jumps = np.zeros((1, 1, 1, 1, 1)) if found.jumps is None else found.jumps
        covers = np.zeros((1, 1, 1)) if found.covers is None else found.covers
        weights = np.ascontiguousarray(posterior)
        tied = self.problem.tied
        rows = (NONE, NONE, NONE) if tied is None else (tied.closes, tied.opens, tied.left)
        expect(
            *self.tables(), *rows, self.begins, self.finishes, self.scales, self.last,
            weights, found.states, found.transitions, pairs,
            found.lasts, found.cut, jumps, covers,
        )  # fmt: skip
        return found

    def tables(self) -> tuple[Any, ...]:
        """The first arguments of both loops."""
        problem, whole = self.problem, np.ascontiguousarray
        pairs = np.zeros((1, 1, 1, 1)) if problem.pairs is None else problem.pairs
        return (
            problem.starts, whole(problem.emit), whole(problem.transitions), problem.reads,
            whole(pairs), problem.pairs is not None, whole(problem.lasts), whole(problem.ends),
            problem.group, *windows(problem.tied),
        )  # fmt: skip


def windows(tied: Tied | None) -> tuple[Any, ...]:
    """The tables of windows; where there are none, arrays that nobody reads."""
    if tied is None:
        return (False, np.zeros((1, 1, 1, 1, 1)), NONE, np.zeros((1, 1, 1)), NONE)
    return (True, tied.jumps, tied.lands, tied.covers, tied.spans)
