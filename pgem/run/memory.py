"""How much memory a run needs above its data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pgem.analyse import Scan
from pgem.plan.program import TILED, is_chain
from pgem.routines.lane_plan import make_lanes
from pgem.run.moments import BLOCK
from pgem.run.stored import BLOCK as READ
from pgem.run.stored import Stored

if TYPE_CHECKING:
    from pgem.run.bind import Bound

TABLES = 1.5
"""Tables of a shard that are there at the same time, on average of the kinds of models."""
KEPT = 1.0
"""Bytes per state and step that lanes keep for the way back: one message in sixteen steps."""
COPIES = 6
"""Blocks of values that are there at the same time while second moments are taken."""
HASHED = 10
"""Blocks of hashes that are there at the same time while equal units are looked for."""
SQUARES = 6
"""Statistics of a shard, and what is made of them, that are there at the same time."""
FIXED = 1 << 20
"""Bytes of features and scores of a tile or block, in runs that pay for compiled loops."""
BESIDE = 2
"""Copies that are there at the same time of values that are converted or put together."""
READ_UP = 60
"""Bytes per row that looks up rows of a table, or is a step: where it stands, what it reads."""
STEP = 6
"""The same of a step along lanes."""


def expected_bytes(bound: Bound) -> int:
    """Bytes above the data that a fit takes: right within a factor of about two.

    They are where plates and sequences begin, values that had to be copied or coded, what
    compression keeps and takes, distinct values, stretches and what is read in them, and for every
    thread the tables of a shard, with those of its values that are converted or put together.
    """
    rows, data = bound.rows, bound.columns
    read = [data.values(name) for name in (*data.numbers, *data.codes)]
    kept = 16 * sum(len(starts) for starts in data.starts.values()) + _bytes(read)
    for key in bound.program.parts:
        column = bound.column(key)
        made = [column.index, column.inputs, column.barred, column.tied]
        kept += _bytes([value for value in made if all(value is not own for own in read)])
    run = bound.n_threads * _shard_bytes(bound) + _statistics(bound)
    run += FIXED if bound.is_large else 0
    run += _kept_bytes(bound) if bound.is_kept else 0
    if not bound.is_compressed:
        return kept + run
    width = sum(values.width for values in read)
    found = _bytes([*rows.numbers.values(), *rows.codes.values(), rows.weights, bound.which])
    search = 4 * data.n_units + HASHED * 8 * min(READ, data.n_units * width)
    if bound.which is None:
        values = sum(int(values.array.nbytes) for values in data.numbers.values())
        search = max(search, data.n_units + min(values, COPIES * 8 * BLOCK))
    return kept + found + max(run, search)


def _shard_bytes(bound: Bound) -> int:
    """Bytes that one thread's shard takes."""
    program, rows = bound.program, bound.rows
    chains = {step.scope: step for step in program.analysis.schedule.steps if is_chain(step)}
    lanes = {scope: _lane_bytes(bound, step) for scope, step in chains.items()}
    total, entry = 0.0, 8 * TABLES
    for scope, room in program.row_room.items():
        n_rows = rows.n_rows(scope)
        if bound.looks_up(scope):
            total += READ_UP * n_rows
        elif scope in lanes:
            total += n_rows * (lanes[scope] or entry * program.row_cost[scope])
        else:
            total += entry * room * n_rows
    for scope in {
        part.node: part.scope for part in program.parts.values() if part.is_axis
    }.values():
        total -= 0 if lanes.get(scope) else entry * rows.n_rows(scope)
    for key, part in program.parts.items():
        n_rows, column = rows.n_rows(part.scope), bound.column(key)
        total += BESIDE * 8 * column.made * n_rows
        if column.points is not None and not part.is_axis and not bound.looks_up(part.scope):
            cells = program.analysis.layout.components[key].cells
            total += n_rows * (4 if lanes.get(part.scope) else 8 - entry * cells.n_cells)
    for region in program.analysis.regions:
        widths = {part.node: part.family.size or 1 for part in program.parts.values()}
        sizes = [widths[name] for name in region.nodes]
        steps = rows.n_rows(region.chain or region.home)
        if region.in_stretches:
            steps = int(bound.stretches[region.name].length.sum())
            total += sum(_tied_bytes(bound, name) for name in region.nodes)
        total += entry * steps * sum(sizes) ** 2
    share = min(1.0, bound.shard_size / max(rows.n_units, 1))
    return int(max(total, 0.0) * share)


def _kept_bytes(bound: Bound) -> int:
    """Bytes of the values of all shards that are not read where they are, if shards are kept."""
    parts, share = bound.program.parts, min(1.0, bound.shard_size / max(bound.rows.n_units, 1))
    made = sum(bound.column(key).made * bound.rows.n_rows(p.scope) for key, p in parts.items())
    return int(8 * made * (1 - share))


def _lane_bytes(bound: Bound, step: Scan) -> float:
    """Bytes per step of a chain that goes along lanes; 0 where it does not."""
    starts = bound.rows.starts[step.scope]
    size = math.prod(bound.program.analysis.layout.sizes[v.node] for v in step.shift)
    if make_lanes(starts[: bound.shard_size + 1], size) is None:
        return 0.0
    tiled = 2 + 2 * -(-size // TILED)  # what no table is made of: latent, messages, densities
    others = max(0, bound.program.row_room[step.scope] - tiled)
    return 8 * TABLES * others + KEPT * size + STEP


def _tied_bytes(bound: Bound, node: str) -> int:
    """Bytes of a node's values, and of what stands beside them, where holes tie steps together."""
    keys = [key for key, part in bound.program.parts.items() if part.node == node]
    found = [bound.tied(key) for key in keys]
    return sum(_bytes([x, *known.values()]) for x, known in found)


def _statistics(bound: Bound) -> int:
    """Bytes of the expected statistics, and of what is made of them."""
    total = 0
    for key, part in bound.program.parts.items():
        size = part.family.size or 1
        total += bound.program.analysis.layout.components[key].cells.n_cells * size**2
    return SQUARES * 8 * total


def _bytes(arrays: Sequence[Any]) -> int:
    """Bytes of arrays that are not the user's; of views nothing."""
    made = [a.nbytes for a in arrays if isinstance(a, np.ndarray) and a.base is None]
    return sum(made) + sum(a.nbytes for a in arrays if isinstance(a, Stored))
