"""The M-step of linear means: all coefficients of a block from one weighted least-squares solve.

With residuals about the current coefficients, Q as a function of their change Δ is

    Σ over cells  tr(V⁻¹ S_eφ Δᵀ) - ½ tr(V⁻¹ Δ S_φφ Δᵀ)  + const,

where every place of Δ holds one entry of one parameter (see `equations.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pgem.families._linear import Linear
from pgem.routines.equations import Equations, index_of, moved, places_of, undetermined
from pgem.routines.maximise import Learned, Params, Readers, current_slots
from pgem.routines.tables import Stats


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
    places, size = places_of(learned)
    system = Equations(size)
    plain = all(item.cancels for item in learned)
    for key in keys:
        entry = stats[key]
        family = entry.family
        assert isinstance(family, Linear)
        index = index_of(entry, readers[key], places)
        slots = current_slots(entry, readers[key], params)
        system.add(entry, family, index, slots, plain=plain)
    if stats.use_priors:
        system.add_priors(learned, places, params, plain=plain)
    step, loose = system.solve()
    if empty is not None:
        empty |= undetermined(learned, places, loose)
    return moved(learned, places, params, step)
