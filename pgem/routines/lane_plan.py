"""Which steps stand side by side: lanes, their groups, and how quickly a chain forgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Integers

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
"""Fewer are not worth it."""
WASTE = 2
"""How much longer groups may be than their lanes, together."""
FIRST_RUN_UP = 64
"""Steps of the first run-up."""


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

    def places(self, size: int, tile: int) -> tuple[Codes, int]:
        """Where the messages before every tile of a group begin, and the end."""
        width = np.diff(self.cuts)
        tiles = (self.length[self.cuts[:-1]] + np.uint64(tile - 1)) // np.uint64(tile)
        stops = np.cumsum(np.concatenate([[0], width * tiles * np.uint64(size)]))
        return stops[:-1].astype(np.uint64), int(stops[-1])


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
    """

    groups: Groups
    sequence: Integers
    before: Integers
    most: int

    @property
    def n_lanes(self) -> int:
        """Lanes without those that only fill a group."""
        return len(self.sequence)

    @property
    def joined(self) -> Integers:
        """Lanes that go on from another one."""
        return np.flatnonzero(self.before >= 0)

    @property
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
    most = min(MOST_LANES, max(2 * TOGETHER, ENTRIES // n_states // TOGETHER * TOGETHER))
    filled = np.flatnonzero(np.diff(starts) > 0)
    steps = np.diff(starts)[filled] - 1
    piece = max(LEAST_PIECE, -(-int(steps.sum()) // most))
    n_pieces = np.maximum(1, (steps + piece // 2) // piece)
    owner = np.repeat(np.arange(len(filled)), n_pieces)
    number = np.arange(len(owner)) - (np.cumsum(n_pieces) - n_pieces)[owner]
    stops = [k * steps[owner] // n_pieces[owner] for k in (number, number + 1)]
    length = stops[1] - stops[0]
    order = np.argsort(-length, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    before = np.where(number > 0, np.roll(place, 1), -1)
    first = starts[filled][owner] + 1 + stops[0]
    groups = make_groups(first[order], length[order], most)
    run = int((groups.length[groups.cuts[:-1]] * np.diff(groups.cuts)).sum())
    if len(owner) < LEAST_LANES or run > WASTE * int(steps.sum()):
        return None
    return Lanes(groups, filled[owner][order], before[order], most)


@dataclass(eq=False)
class Memory:
    """What earlier iterations found of how quickly a chain forgets.

    Attributes:
        run_up: steps after which it had forgotten.
        wait: iterations before pieces are tried again.
        failures: how often in a row they were tried in vain.
        gap: the largest gap that was accepted in the last iteration.
    """

    run_up: int = FIRST_RUN_UP
    wait: int = 0
    failures: int = 0
    gap: float = 0.0

    def failed(self) -> None:
        """Pieces were tried in vain: wait for longer and longer."""
        self.wait, self.failures = 1 << min(self.failures, 5), self.failures + 1
