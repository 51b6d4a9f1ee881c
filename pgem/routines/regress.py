"""The M-step of linear means: all coefficients of a block from one weighted least-squares solve.

With residuals about the current coefficients, Q as a function of their change Δ is

    Σ over cells  tr(V⁻¹ S_eφ Δᵀ) - ½ tr(V⁻¹ Δ S_φφ Δᵀ)  + const,

where every place of Δ holds one entry of one parameter (see `equations.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgem.arrays import Floats, Mask
from pgem.routines.equations import (
    Equations,
    Pattern,
    linear,
    moved,
    pattern_of,
    solve_rows,
    undetermined,
)
from pgem.routines.maximise import Learned, Params, Readers, current_slots
from pgem.routines.tables import Entry, Stats


def regress(
    stats: Stats,
    keys: Sequence[str],
    learned: Sequence[Learned],
    params: Params,
    readers: Readers,
    empty: set[str] | None = None,
) -> Params:
    """The coefficients that maximise Q together, given the current covariances.

    Directions that the data do not determine keep their current values.

    Args:
        stats: expected statistics of all components.
        keys: the components whose means they stand in.
        learned: the coefficients.
        params: current values.
        readers: which parameter every slot reads.
        empty: receives the names of parameters with entries that no data determine.
    """
    pattern = pattern_of(stats, keys, learned, readers)
    plain = all(item.cancels for item in learned)
    first = stats[keys[0]]
    slots = current_slots(first, readers[keys[0]], params)
    found = None if stats.use_priors else _by_rows(first, pattern, slots, plain=plain)
    if found is None:
        system = Equations(pattern.size)
        for key, index in zip(keys, pattern.indices, strict=True):
            entry = stats[key]
            slots = current_slots(entry, readers[key], params)
            system.add(entry, linear(entry), index, slots, plain=plain)
        if stats.use_priors:
            system.add_priors(learned, pattern.places, params, plain=plain)
        found = system.solve()
    step, loose = found
    if empty is not None and loose is not None:
        empty |= undetermined(learned, pattern.places, loose)
    return moved(learned, pattern.places, params, step)


def _by_rows(
    entry: Entry, pattern: Pattern, slots: Params, *, plain: bool
) -> tuple[Floats, Mask | None] | None:
    """The change of every entry, and entries that are left open, where every row is a system of
    its own: its variance then counts nothing, and rows of one cell have the same matrix.

    None where rows hang together.
    """
    family, columns = linear(entry), pattern.columns
    if columns is None or not (plain or family.diagonal):
        return None
    _, _, phi, cross, _ = entry.arrays
    left = cross - (family.coefs(slots) - family.coefs(entry.origin)) @ phi
    index = pattern.indices[0]
    if len(columns) < family.width:
        phi, left = phi[:, columns[:, None], columns], left[:, :, columns]
        index = index[:, :, columns]
    change, open_entries = solve_rows(phi, left)
    step = np.empty(pattern.size)
    step[index] = change
    if open_entries is None:
        return step, None
    loose = np.zeros(pattern.size, dtype=bool)
    loose[index] = open_entries
    return step, loose
