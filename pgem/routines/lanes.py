"""A chain with the same transitions at every step: many sequences, or pieces of one, side by side.

Every sequence is a lane, and a long one is cut into pieces that are lanes too.  The message before
a piece comes from a run-up: over the last steps of the piece before, from anywhere, since chains
forget.  How well they have forgotten is measured at every cut by the message that the piece before
really ends with.  Where the two differ, the pieces run again from these messages, and at last the
sequences run one after the other (`chain.py`).

Messages that are off by a factor within 1 ± ε in every entry stay so, since all that is done to
them is linear and positive, and log p of what follows is off by at most ε.  So log p is off by at
most the sum over the cuts of all gaps up to there, and a posterior, relatively, by the gaps on both
sides; they are at most `GAP` each, and as a rule vanish within a piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Floats, Integers, Mask, log_softmax
from pgem.routines.chain import ChainPass, _Chain, _scaled
from pgem.routines.contract import Semiring
from pgem.routines.forms import Forms, make_forms
from pgem.routines.kernels import HARMLESS
from pgem.routines.lane_loops import STEPS, sweep
from pgem.routines.lane_plan import Groups, Lanes, Memory, make_groups
from pgem.routines.lane_reads import Seen
from pgem.routines.scan_plan import Rows, ScanPlan
from pgem.routines.tables import Collected, Mixed, Source

T = TypeVar("T")

GAP = 1e-12
"""Largest relative difference of messages at a cut that counts as rounding."""
NOTHING = 1e-200
"""Entries of which no relative difference is asked; see `HARMLESS`."""
MOST_SUMS = 1 << 16
"""Entries of a table of what is seen of which every part may have sums of its own."""
NO_TABLE = np.zeros((0, 0))
SWEEPS = 2
"""How often pieces run again before the sequences run one after the other."""


class LanePass(_Chain):
    """Scaled domain; sum semiring, and one table of transitions after the first step.

    Args:
        lanes: how the sequences are cut.
        cache: what may be kept as long as the rows are.
        memory: what earlier iterations found.
        n_threads: threads that may share the lanes.
    """

    def __init__(
        self,
        plan: ScanPlan,
        factors: Sequence[Rows],
        starts: Integers,
        semiring: Semiring,
        lanes: Lanes,
        cache: dict[Any, Any],
        memory: Memory,
        n_threads: int = 1,
    ) -> None:
        super().__init__(plan, factors, starts, semiring)
        self.lanes, self.memory = lanes, memory
        self.forms = _forms(plan, self.seen)
        sums_are_small = not self.is_indexed or self.logs.size <= MOST_SUMS
        self.n_parts = lanes.n_parts if sums_are_small else 1
        self.n_threads = min(n_threads, self.n_parts)
        self.n_states = np.uint64(self.size)
        self.width = -(-self.size // 4) * 4  # states, those that only fill a message included
        self.floor = 10.0 ** (-300 / (1 + len(factors)))  # see ChainPass
        self.rescue: ChainPass | None = None
        self.checked: list[Floats] | None = None
        self.codes = np.zeros(0, dtype=np.uint32)
        if self.is_indexed:
            self.codes = _codes(plan, self.seen[0], cache)

    # --- forward ------------------------------------------------------------------------------

    def forward(self) -> Floats:
        if self.lanes.shortest and self.memory.wait:
            self.memory.wait -= 1
            return self._one_by_one()
        self._make_tables()
        if not self._open() or not self._join_forward():
            return self._one_by_one()
        if min(self.faintest, np.exp(self.lowest)) < self.floor:
            # messages are made before they are divided by their scale
            self.checked = self._run_back(np.ones(self.n_sequences), watch=True)
            if self.checked is None or not self.largest < HARMLESS * self.least:
                return self._one_by_one()
        steps = self.lanes.groups.length[: self.lanes.n_lanes]
        level = self.level[: self.lanes.n_lanes] + self.peak * steps
        self.memory.n_lanes, self.memory.n_cuts = self.lanes.n_lanes, len(self.lanes.joined)
        self.memory.n_threads = self.n_threads
        opened = self.opened + np.bincount(self.lanes.sequence, level, self.n_sequences)
        return opened[:, None]

    def _one_by_one(self) -> Floats:
        self.collected.clear()
        self.rescue = ChainPass(self.plan, self.factors, self.starts, self.semiring)
        return self.rescue.forward()

    def _make_tables(self) -> None:
        """Transitions over their peak, and what is seen."""
        steady, peaks, self.lowest = _scaled(self.steps.values[-1:])
        self.peak, self.table = peaks[0], np.zeros((self.width, self.width))
        self.table[: self.size, : self.size] = steady.reshape(self.size, self.size)
        self.turned = np.ascontiguousarray(self.table.T)
        if self.forms is not None:
            self.what = _evaluated(self.forms, self.size, self.width)
        elif self.is_indexed:
            b, b_peaks, lowest = _scaled(self.logs)
            self.what = Seen(np.ascontiguousarray(b.T), b_peaks, self.codes)
            self.lowest = min(self.lowest, lowest)
        else:
            self.what = Seen(np.ascontiguousarray(self.logs.T), np.zeros(0), self.codes)
        # each entry of a message is at least the product of the least entries of T and b, over the
        # scale, which is at most K
        least = steady.min() / self.size
        self.faint_from = np.log(self.floor / least) if least > 0 else np.inf

    def _open(self) -> bool:
        """Messages after the first step of every sequence; whether all are possible."""
        filled = self.lanes.filled
        rows = self.starts[filled]
        self.first_rows = self.codes[rows].astype(np.int64) if self.is_indexed else rows
        if self.forms is None:
            logs = self.logs[self.first_rows]
        else:
            logs, self.first_shares = log_softmax(self.forms.scores(rows, self.size), 2)
            logs = logs[:, :, 0]
        logs = self.steps.values[0, : self.size] + logs
        peak = logs.max(axis=1)
        if not (np.abs(peak) < np.inf).all():
            return False
        logs = logs - peak[:, None]
        self.lowest = min(self.lowest, float(logs.min(where=logs > -np.inf, initial=0.0)))
        joint = np.exp(logs)
        whole = joint.sum(axis=1)
        self.openings = joint / whole[:, None]
        self.faintest = float(self.openings.min(where=self.openings > 0, initial=1.0))
        self.opened = np.zeros(self.n_sequences)
        self.opened[filled] = peak + np.log(whole)
        return True

    def _join_forward(self) -> bool:
        """Run all lanes until their messages agree at all cuts; whether they do."""
        lanes, joined = self.lanes, self.lanes.joined
        self.initial = np.zeros((self.width, lanes.groups.n_lanes))
        self.initial[: self.size, lanes.heads] = self.openings.T
        if len(joined):
            first = lanes.groups.first[joined].astype(np.int64) - self.n_run_up
            run_up = make_groups(first, np.full(len(joined), self.n_run_up), lanes.most)
            anywhere = np.zeros((self.width, run_up.n_lanes))
            anywhere[: self.size] = 1 / self.size
            final = self._run(run_up, anywhere)[0]
            self.initial[:, joined] = final[:, : len(joined)]
        for _ in range(1 + SWEEPS):
            final, self.level, lows = self._run(lanes.groups, self.initial)
            if not lows[1].min(initial=1.0) >= self.floor:
                return False
            true = final[:, lanes.before[joined]]
            bad = self._apart(true, self.initial[:, joined])
            if not bad.any():
                self.faintest = min(self.faintest, float(lows[2].min()))
                self.lowest = min(self.lowest, float(lows[0].min()))
                self.least = float(lows[1].min())
                return True
            self.initial[:, joined[bad]] = true[:, bad]
        self.memory.failed()
        return False

    @property
    def n_run_up(self) -> int:
        """Steps of a run-up: those that were enough before, within the pieces."""
        return min(self.memory.run_up, self.lanes.shortest)

    def _run(self, groups: Groups, initial: Floats) -> tuple[Floats, Floats, Floats]:
        """Messages after every lane, its log p without that of the transitions' peak, and lows."""
        parts, final = groups.parts(self.n_parts), initial.copy()
        shape = self.what.theta.shape
        self.tapes = [part.tapes(self.width, int(STEPS), *shape) for part in parts]
        level, lows = np.zeros(groups.n_lanes), np.ones((3, groups.n_lanes))
        lows[0] = self.lowest if self.is_indexed else 0.0

        def work(k: int) -> None:
            sweep(
                False, *self._given(groups, parts[k], k), initial, final, level, lows,
                self.faint_from, NO_TABLE, NO_TABLE, False, False,
            )  # fmt: skip

        self._share(work, len(parts))
        return final, level, lows

    def _given(self, groups: Groups, part: Groups, k: int) -> tuple[Any, ...]:
        """What both ways of part k take."""
        return (
            self.table, self.turned, self.n_states, self.what, groups.first, groups.length,
            part.cuts, self.tapes[k],
        )  # fmt: skip

    def _share(self, work: Callable[[int], T], n: int) -> list[T]:
        """What `work` returns for 0, 1, …, n - 1, on threads."""
        if min(n, self.n_threads) < 2:
            return [work(k) for k in range(n)]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self.n_threads) as pool:
            return list(pool.map(work, range(n)))

    def _apart(self, true: Floats, guessed: Floats) -> Mask:
        """Which cuts have messages [K, cuts] that differ by more than rounding."""
        if not true.size:
            return np.zeros(0, dtype=bool)
        larger = np.maximum(true, guessed)
        gaps = np.abs(true - guessed) / np.maximum(larger, NOTHING / GAP)
        gap = gaps.max(axis=0, initial=0.0)
        bad = ~(gap <= GAP)
        if bad.any():
            self.memory.run_up = min(2 * self.memory.run_up, self.lanes.shortest)
        else:
            self.memory.gap = max(self.memory.gap, float(gap.max(initial=0.0)))
        return np.asarray(bad)

    # --- backward -----------------------------------------------------------------------------

    def backward(self, posterior: Floats) -> list[Floats]:
        if self.rescue is None and self.checked is not None and (posterior == 1.0).all():
            return self.checked
        found = self._run_back(posterior[:, 0]) if self.rescue is None else None
        if found is not None:
            return found
        if self.rescue is None:
            self._one_by_one()
        assert self.rescue is not None
        return self.rescue.backward(posterior)

    def _run_back(self, weights: Floats, watch: bool = False) -> list[Floats] | None:
        """Posteriors of the factors' entries; None where the pieces do not agree at the cuts."""
        lanes, joined = self.lanes, self.lanes.joined
        start = np.zeros((self.width, lanes.groups.n_lanes))
        start[: self.size, : lanes.n_lanes] = weights[lanes.sequence]
        if len(joined):
            first = lanes.groups.first[joined].astype(np.int64)
            run_up = make_groups(first, np.full(len(joined), self.n_run_up), lanes.most)
            ahead = np.zeros((self.width, run_up.n_lanes))
            ahead[:, : len(joined)] = self.initial[:, joined]
            tapes = self.tapes
            self._run(run_up, ahead)
            ends = np.zeros_like(ahead)
            ends[: self.size, : len(joined)] = weights[lanes.sequence[joined]]
            slopes = self._slopes(run_up, ends, False, False)[0]
            start[:, lanes.before[joined]] = slopes[:, : len(joined)]
            self.tapes = tapes
        for _ in range(1 + SWEEPS):
            slopes, found, seen, self.largest = self._slopes(lanes.groups, start, True, watch)
            true = slopes[:, joined]
            bad = self._apart(true, start[:, lanes.before[joined]])
            if not bad.any():
                self.memory.failures = 0
                return self._complete(found, seen, slopes)
            start[:, lanes.before[joined[bad]]] = true[:, bad]
        self.memory.failed()
        return None

    def _slopes(
        self, groups: Groups, start: Floats, collect: bool, watch: bool
    ) -> tuple[Floats, Floats, Floats, float]:
        """Derivatives of log p by the messages before every lane, posteriors, and the largest.

        Args:
            groups: lanes that `_run` has just gone through.
            start: derivatives by the messages after every lane.
            collect: whether posteriors are wanted: of T's entries, divided by them, and of what is
                seen.
            watch: whether the largest derivative is wanted.
        """
        parts, slopes = groups.parts(self.n_parts), start.copy()
        found = np.zeros((len(parts), self.width, self.width))
        seen = np.zeros(self._shape_of_seen(len(parts)) if collect else (1, 0, 0))
        level, lows = np.zeros(groups.n_lanes), np.zeros((3, groups.n_lanes))

        def work(k: int) -> float:
            largest: float = sweep(
                True, *self._given(groups, parts[k], k), start, slopes, level, lows, -np.inf,
                found[k], seen[k % len(seen)], collect, watch,
            )  # fmt: skip
            return largest

        largest = self._share(work, len(parts))
        whole = seen[0] if len(seen) == 1 else seen.sum(axis=0)
        return slopes, found.sum(axis=0), whole, max(largest)

    def _shape_of_seen(self, n_parts: int) -> tuple[int, int, int]:
        """Of the posteriors of what is seen, as parts for threads collect them."""
        if self.forms is not None:
            return n_parts, *self.what.theta.shape
        if self.is_indexed:
            return n_parts, len(self.logs), self.size
        return 1, self.size, self.n_rows

    def _complete(self, found: Floats, seen: Floats, slopes: Floats) -> list[Floats]:
        """Posteriors in the order of the factors, those of the first steps included."""
        opened = self.openings * slopes[: self.size, self.lanes.heads].T
        if self.forms is not None:
            seen = self._settle(self.forms, seen, opened)
        elif self.is_indexed:
            np.add.at(seen, self.first_rows, opened)
        else:
            seen = seen.T
            seen[self.first_rows] = opened
        transitions = np.zeros((len(self.steps.values), self.size, self.size))
        transitions[-1] = (self.table * found)[: self.size, : self.size]
        transitions[0, 0] += opened.sum(axis=0)
        return self.parts(transitions, seen)

    def _settle(self, forms: Forms, sums: Floats, opened: Floats) -> Floats:
        """Statistics from the sums of features and the posterior of the first steps."""
        n_cells, n_features = forms.theta.shape
        by_state = sums[: 1 + n_features].reshape(1 + n_features, -1, self.width)
        sums = by_state[:, :, : self.size].transpose(2, 1, 0).reshape(n_cells, -1)
        opened = (opened[:, :, None] * self.first_shares).reshape(-1, n_cells)
        counts = sums[:, 0] + opened.sum(axis=0)
        total = sums[:, 1:] + (forms.features(self.first_rows) @ opened).T
        number = self.plan.moves[1].factors[0]
        self.collected[number] = Collected(forms.entries(counts, total))
        return np.zeros(0)


def _forms(plan: ScanPlan, seen: Sequence[Rows]) -> Forms | None:
    """What is seen as densities that are made where they are needed, if all of it is."""
    if len(seen) != 1 or not seen[0].per_step:
        return None
    (now, _), *_ = plan.axes.shift
    parts = seen[0].parts
    source = parts[0].source if len(parts) == 1 else None
    if not isinstance(source, Mixed):
        return make_forms(parts, now)
    known = all(isinstance(table.source, Source) for table in source.parts)
    fits = known and now.position < source.axis.position
    return make_forms(source.parts, now, source.axis) if fits else None


def _evaluated(forms: Forms, n_states: int, width: int) -> Seen:
    """Densities as the loops take them, for messages of `width` entries."""
    n_features = forms.theta.shape[1]
    natural = np.concatenate([forms.level[:, None], forms.theta], axis=1)
    by_state = natural.T.reshape(1 + n_features, n_states, -1).swapaxes(1, 2)
    padded = np.zeros((-(-(1 + n_features) // 4) * 4, by_state.shape[1], width))
    padded[: 1 + n_features, :, :n_states] = by_state
    theta = padded.reshape(len(padded), -1)
    columns = forms.columns
    if not (columns.flags.c_contiguous or columns.flags.f_contiguous):
        columns = np.ascontiguousarray(columns)
    by_column, by_row = (stride // columns.itemsize for stride in columns.strides)
    base = np.zeros(0) if forms.base is None else np.ascontiguousarray(forms.base)
    return Seen(
        np.zeros((0, 0)), np.zeros(0), np.zeros(0, dtype=np.uint32), columns.ravel(order="K"),
        np.array([by_row, by_column], dtype=np.uint64), forms.blocks, forms.centre, theta, base,
    )  # fmt: skip


def _codes(plan: ScanPlan, seen: Rows, cache: dict[Any, Any]) -> NDArray[np.uint32]:
    """The row of its table that every step reads; kept, since iterations read the same ones."""
    known = cache.get(("codes", plan))
    if known is None or known[0] is not seen.table.index:
        known = cache["codes", plan] = (seen.table.index, seen.index.astype(np.uint32))
    codes: NDArray[np.uint32] = known[1]
    return codes


def is_steady(plan: ScanPlan, factors: Sequence[Rows]) -> bool:
    """Whether all steps of a chain after the first have the same transitions."""
    steps = factors[plan.moves[0].factors[0]]
    return steps.by_number and len(steps.values) <= 2
