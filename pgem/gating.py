"""Cells: the combinations of all gates of a node, and which row of each parameter a cell reads.

A parameter has one axis per gate, then its own axes; flattened over its gates it has *rows*.  A
node whose slots have different gates has one *cell* for every combination of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pgem.arrays import Integers


@dataclass(frozen=True, eq=False)
class Pick:
    """An index read from a table of integers, itself indexed by gates."""

    table: Integers
    gates: tuple[Any, ...]
    size: int


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of one node.

    Attributes:
        gates: the gates of all slots, in order of appearance.
        shape: their sizes.
        rows: per slot, the parameter row of each cell [C].
        n_rows: per slot, the number of parameter rows.
    """

    gates: tuple[Any, ...]
    shape: tuple[int, ...]
    rows: dict[str, Integers]
    n_rows: dict[str, int]

    @cached_property
    def n_cells(self) -> int:
        """Number of cells C."""
        return math.prod(self.shape)

    @cached_property
    def one_to_one(self) -> frozenset[str]:
        """Slots whose parameter rows are the cells, in order."""
        cells = np.arange(self.n_cells)
        return frozenset(
            slot
            for slot, rows in self.rows.items()
            if self.n_rows[slot] == len(rows) and np.array_equal(rows, cells)
        )


def make_cells(
    slots: Mapping[str, Sequence[Any]],
    size_of: Callable[[Any], int],
    extra: Sequence[Any] = (),
) -> Cells:
    """Cells of slots with these gates.

    Args:
        slots: gates per slot; a `Pick` stands for the gates behind it.
        size_of: number of values of a plain gate.
        extra: gates that come first whether or not a slot has them.
    """
    found: dict[Hashable, None] = dict.fromkeys(extra)
    for gates in slots.values():
        for gate in gates:
            found.update(dict.fromkeys(plain_gates(gate)))
    order = tuple(found)
    shape = tuple(size_of(gate) for gate in order)
    grid = np.indices(shape).reshape(len(shape), math.prod(shape))
    place = {gate: grid[k] for k, gate in enumerate(order)}
    rows, n_rows = {}, {}
    for slot, gates in slots.items():
        sizes = tuple(gate.size if isinstance(gate, Pick) else size_of(gate) for gate in gates)
        n_rows[slot] = math.prod(sizes)
        parts = [_index(gate, place) for gate in gates]
        flat = np.zeros(math.prod(shape), dtype=np.int64)
        for part, size in zip(parts, sizes, strict=True):
            flat = flat * size + part
        rows[slot] = flat
    return Cells(order, shape, rows, n_rows)


def plain_gates(gate: Any) -> list[Any]:
    """The gates behind a gate."""
    if not isinstance(gate, Pick):
        return [gate]
    return [plain for inner in gate.gates for plain in plain_gates(inner)]


def _index(gate: Any, place: Mapping[Any, Integers]) -> Integers:
    if not isinstance(gate, Pick):
        return place[gate]
    inner = tuple(_index(part, place) for part in gate.gates)
    return np.asarray(gate.table)[inner]
