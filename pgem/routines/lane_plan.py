"""Which steps stand side by side: lanes, their groups, and how quickly a chain forgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Floats, Integers

Codes: TypeAlias = NDArray[np.uint64]

LEAST_PIECE = 512
"""Steps of a piece of a sequence, at least."""
ENTRIES = 2048
"""Message entries of all lanes of a group, so that those of two steps stay in the first cache."""
MOST_LANES = 128
"""Lanes of a group, at most."""
TOGETHER = 8
"""Groups have a multiple of so many lanes: one instruction's."""
LEAST_LANES = 8
"""Lanes that must be busy at a time, on average."""
LEAST_ENTRIES = 1 << 16
"""Message entries from which lanes are used: less is done in half a millisecond by loops that are
compiled sooner."""
LONG_PIECE = 1024
"""Steps of a piece from which lanes are cut into more groups, which are parts for threads."""
MOST_PARTS = 8
"""Parts for threads, at most, each with sums of its own: so sums do not depend on the threads."""
LINE = 8
"""Numbers in a line of the processor's cache: whole lines are read and written more quickly."""
FIRST_RUN_UP = 64
"""Steps of the first run-up."""


class Tapes(NamedTuple):
    """What `forward` leaves for `backward`.

    Attributes:
        places: where the messages of each group begin.
        kept: messages before every tile.
        tile, store, scales: probabilities, messages and scales of one tile; there is one message
            more than steps.
        features: what densities of one tile are made of.
        shares: densities of one tile, where several add up to that of a state.
        pulls, posterior: what the way back makes of one tile.
    """

    places: Codes
    kept: Floats
    tile: Floats
    store: Floats
    scales: Floats
    features: Floats
    shares: Floats
    pulls: Floats
    posterior: Floats


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows that lanes go through, side by side in groups.

    Attributes:
        first: first row of every lane.
        length: steps of every lane, falling; 0 in lanes that only fill a group.
        cuts: first lane of every group, and the end.
    """

    first: Codes
    length: Codes
    cuts: Codes

    @property
    def n_lanes(self) -> int:
        """Lanes, those that fill groups included."""
        return len(self.first)

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.cuts) - 1

    def parts(self, n: int) -> list[Groups]:
        """About n runs of groups of about equal numbers of lanes; lanes keep their numbers."""
        bounds = sorted({k * self.n_groups // n for k in range(n + 1)})
        return [replace(self, cuts=self.cuts[a : b + 1]) for a, b in pairwise(bounds)]

    def tapes(self, size: int, tile: int, n_features: int, n_cells: int) -> Tapes:
        """Memory for what the way back needs, for messages of `size` entries.

        Args:
            size: entries of a message.
            tile: steps of a tile.
            n_features: features of a step (0 where densities are not made here).
            n_cells: densities of a step.
        """
        width, longest = np.diff(self.cuts).astype(int), self.length[self.cuts[:-1]].astype(int)
        stops = np.cumsum([0, *(size * width * -(-longest // tile))]).astype(np.uint64)
        most = int(width.max(initial=0))
        widest = size * most
        features = _aligned(tile * n_features * most)
        shares = _aligned(tile * n_cells * most if n_cells > size else 0)
        features[:] = 0.0  # those that only fill the last four are never written
        return Tapes(
            stops[:-1], _aligned(int(stops[-1])), _aligned(tile * widest),
            _aligned((tile + 1) * widest), _aligned(tile * most), features, shares,
            _aligned(tile * widest), _aligned(tile * widest),
        )  # fmt: skip


def _aligned(n: int) -> Floats:
    """Memory for n numbers that begins where a line of the processor's cache does."""
    whole = np.empty(n + LINE)
    first = -(whole.ctypes.data // whole.itemsize) % LINE
    return whole[first : first + n]


def make_groups(first: Integers, length: Integers, most: int) -> Groups:
    """Groups of at most `most` lanes whose lengths fall."""
    n = len(first)
    padding = -n % TOGETHER
    cuts = [*range(0, n + padding, most), n + padding]
    return Groups(
        np.concatenate([first, np.zeros(padding)]).astype(np.uint64),
        np.concatenate([length, np.zeros(padding)]).astype(np.uint64),
        np.array(cuts, dtype=np.uint64),
    )


@dataclass(frozen=True, eq=False)
class Lanes:
    """All steps of all sequences but the first ones, cut into pieces.

    Attributes:
        groups: rows of the lanes.
        sequence: sequence of every lane.
        before: lane that every lane goes on from; -1 at the beginning of a sequence.
        most: lanes of a group, at most.
        filled: sequences that have steps.
        heads: the lane that each of them begins with.
        n_parts: into how many parts for threads the groups fall.
    """

    groups: Groups
    sequence: Integers
    before: Integers
    most: int
    filled: Integers
    heads: Integers
    n_parts: int

    @property
    def n_lanes(self) -> int:
        """Lanes without those that only fill a group."""
        return len(self.sequence)

    @cached_property
    def joined(self) -> Integers:
        """Lanes that go on from another one."""
        return np.flatnonzero(self.before >= 0)

    @cached_property
    def shortest(self) -> int:
        """Least length of the pieces of sequences that were cut (0 if none was)."""
        cut = np.union1d(self.joined, self.before[self.joined])
        return int(self.groups.length[cut].min()) if len(cut) else 0


def make_lanes(starts: Integers, n_states: int) -> Lanes | None:
    """Lanes of about equal lengths, or None where they would mostly stand empty.

    Args:
        starts: first row of every sequence, and the end.
        n_states: states of the chain.
    """
    filled = np.flatnonzero(np.diff(starts) > 0)
    steps = np.diff(starts)[filled] - 1
    total = int(steps.sum())
    if total * n_states < LEAST_ENTRIES:
        return None
    most = min(MOST_LANES, max(2 * TOGETHER, ENTRIES // n_states // TOGETHER * TOGETHER))
    n_parts = 1
    while n_parts < MOST_PARTS and total >= 2 * n_parts * most * LONG_PIECE:
        n_parts *= 2
    owner, number, begin, end = _cut(steps, max(LEAST_PIECE, -(-total // (most * n_parts))))
    order = np.argsort(begin - end, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    before = np.where(number > 0, np.roll(place, 1), -1)
    first = starts[filled][owner] + 1 + begin
    groups = make_groups(first[order], (end - begin)[order], most)
    longest = int(groups.length[groups.cuts[:-1]].sum())
    if len(owner) < LEAST_LANES or longest * LEAST_LANES > total:
        return None
    heads = place[number == 0]
    return Lanes(groups, filled[owner][order], before[order], most, filled, heads, n_parts)


def _cut(steps: Integers, piece: int) -> tuple[Integers, Integers, Integers, Integers]:
    """Pieces of sequences of about a given length: whose, which of these, from where to where."""
    n_pieces = np.maximum(1, (steps + piece // 2) // piece)
    owner = np.repeat(np.arange(len(steps)), n_pieces)
    number = np.arange(len(owner)) - (np.cumsum(n_pieces) - n_pieces)[owner]
    begin, end = (k * steps[owner] // n_pieces[owner] for k in (number, number + 1))
    return owner, number, begin, end


@dataclass(eq=False)
class Memory:
    """What earlier iterations found of how quickly a chain forgets.

    Attributes:
        n_lanes: lanes.
        n_cuts: cuts within sequences.
        n_threads: threads that shared the lanes.
        run_up: steps after which it had forgotten.
        gap: the largest gap at a cut that was accepted.
        wait: iterations before pieces are tried again.
        failures: how often in a row they were tried in vain.
    """

    n_lanes: int = 0
    n_cuts: int = 0
    n_threads: int = 1
    run_up: int = FIRST_RUN_UP
    gap: float = 0.0
    wait: int = 0
    failures: int = 0

    def failed(self) -> None:
        """Pieces were tried in vain: wait for longer and longer."""
        self.wait, self.failures = 1 << min(self.failures, 5), self.failures + 1


def describe(memories: Sequence[Memory]) -> list[str]:
    """What was done with a chain in all shards, for the report."""
    used = [m for m in memories if m.n_lanes and not m.failures]
    found = []
    if used:
        n_lanes, n_cuts = sum(m.n_lanes for m in used), sum(m.n_cuts for m in used)
        one = n_lanes - n_cuts == 1
        found.append(f"{n_lanes - n_cuts} sequence{'' if one else 's'} in {n_lanes} lanes abreast")
        if n_cuts:
            found[0] += (
                f"; pieces run up over {max(m.run_up for m in used)} steps, "
                f"gaps at the cuts up to {max(m.gap for m in used):.0e}"
            )
        n_threads = max(m.n_threads for m in used)
        found[0] += f" on {n_threads} threads" if n_threads > 1 else ""
    if len(used) < len(memories) and any(m.failures for m in memories):
        found.append("sequences one after the other: pieces do not forget what was before them")
    return found
