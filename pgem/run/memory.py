"""How much memory a run needs above its data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from pgem.run.moments import BLOCK

if TYPE_CHECKING:
    from pgem.run.bind import Bound

TABLES = 1.75
"""Tables of a shard that are there at the same time, on average of the kinds of models."""

CODING = 40
"""Bytes for every member of a shard while codes are made for what the members read."""

COPIES = 6
"""Blocks of values that are there at the same time while second moments are taken."""


def expected_bytes(bound: Bound) -> int:
    """Bytes above the data that a fit takes: right within a factor of about two.

    They are numbers per unit and row (weights, places), codes of categories, what compression keeps
    (while equal units are looked for, hashes), what was made of the values beforehand (designs,
    codes of distinct values), and for every thread the tables of a shard.
    """
    rows, data = bound.rows, bound.columns
    n_rows = sum(data.n_rows(scope) for scope in bound.program.scope_dims)
    read = 16 * n_rows + _bytes(data.codes.values())
    owned = {id(value) for value in [*rows.numbers.values(), *rows.codes.values()]}
    made = 0
    for key in bound.program.parts:
        column = bound.column(key)
        arrays = [column.x, column.index, column.inputs, column.barred, *column.known.values()]
        made += _bytes(value for value in arrays if id(value) not in owned)
    share = min(1.0, bound.shard_size / max(rows.n_units, 1))
    coded = CODING * sum(rows.n_rows(s) for s in bound.program.scope_dims if bound.looks_up(s))
    run = int(bound.n_threads * share * max(TABLES * 8 * _entries(bound), coded))
    if not bound.is_compressed:
        return read + made + run
    kept = _bytes([*rows.numbers.values(), *rows.codes.values(), rows.weights, bound.which])
    if bound.which is not None:
        return read + made + kept + max(run, 24 * n_rows)
    values = sum(value.nbytes for value in data.numbers.values())
    return read + made + kept + max(run, min(values, COPIES * 8 * BLOCK))


def _entries(bound: Bound) -> int:
    """Table entries of all shards, where values are not looked up; matrices of regions."""
    program, rows = bound.program, bound.rows
    looked_up = 0
    for key, part in program.parts.items():
        if not part.is_axis and bound.column(key).points is not None:
            cells = program.analysis.layout.components[key].cells
            looked_up += rows.n_rows(part.scope) * max(0, cells.n_cells - 1)
    matrices = 0
    for region in program.analysis.regions:
        widths = {part.node: part.family.size or 1 for part in program.parts.values()}
        sizes = [widths[name] for name in region.nodes]
        matrices += rows.n_rows(region.chain or region.home) * sum(sizes) ** 2
    return max(0, bound.entries_at_once - looked_up) + matrices


def _bytes(arrays: Iterable[Any]) -> int:
    """Bytes of arrays; of views nothing."""
    return sum(a.nbytes for a in arrays if isinstance(a, np.ndarray) and a.base is None)
