"""The M-step of families that bring their own fit: no statistic, all slots of a cell at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pgem.arrays import Floats
from pgem.routines.maximise import Params, Readers
from pgem.routines.tables import Stats


def fit_cells(
    stats: Stats, keys: Sequence[str], params: Params, readers: Readers
) -> dict[str, Floats]:
    """The family's own fit of every cell; cells (of all nodes) that share their slots are pooled.

    Args:
        stats: expected statistics of all components.
        keys: the components, all of one family, whose slots read the same parameters.
        params: current values.
        readers: which parameter every slot reads.
    """
    family, reads = stats[keys[0]].family, readers[keys[0]]
    pooled: dict[tuple[int, ...], Any] = {}
    for key in keys:
        cells = stats[key].cells
        owners = zip(*(cells.rows[slot].tolist() for slot in reads), strict=True)
        for rows, sample in zip(owners, stats[key].arrays[0], strict=True):
            pooled[rows] = pooled[rows] + sample if rows in pooled else sample
    samples = np.empty(len(pooled), dtype=object)
    samples[:] = list(pooled.values())
    found, tables, previous = {}, {}, {}
    for place, (slot, name) in enumerate(reads.items()):
        own = family.own_shape(slot)
        tables[slot] = params[name].reshape(-1, *own).copy()
        previous[slot] = tables[slot][[rows[place] for rows in pooled]]
    fitted: dict[str, Floats] = family.estimate((samples,), previous)
    for place, (slot, name) in enumerate(reads.items()):
        tables[slot][[rows[place] for rows in pooled]] = fitted[slot]
        found[name] = tables[slot].reshape(params[name].shape)
    return found
