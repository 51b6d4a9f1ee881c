"""The M-step of links: all coefficients of a block by damped Newton steps on a concave Q.

Q, its slope and its curvature are sums over the rows that the E-step kept.  As in `regress`, every
place of the coefficients holds one entry of one parameter, so that shared, tied and fixed entries
need no special treatment, and means of Gaussians that share a coefficient join with their own
quadratic.  Each step is halved until Q rises.  A direction along which the curvature has all but
vanished, although the rows show it, has no finite maximum: separated classes, or counts that are
all zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.families._linear import Linear
from pgem.families._link import Linked
from pgem.routines.equations import Equations, index_of, moved, places_of, undetermined
from pgem.routines.maximise import (
    Learned,
    Params,
    Readers,
    current_slots,
    expected_log_density,
)
from pgem.routines.tables import Entry, Runaway, Stats

STEPS = 200
"""Most Newton steps; some ten are the rule."""
ROUNDING = 1e-13
"""Share of Q below which a gain is rounding."""
FAR = 12.0
"""A predictor this far from zero makes it worth to look for directions without a maximum."""
VANISHED = 1e-9
"""Share of the curvature that the rows could have, below which it has vanished."""


@dataclass(frozen=True, eq=False)
class _Problem:
    """What a block is solved from."""

    stats: Stats
    keys: Sequence[str]
    learned: Sequence[Learned]
    readers: Readers
    places: dict[str, Integers]
    size: int

    def value(self, params: Params) -> float:
        """Q, and the logarithm of the priors up to a constant."""
        with np.errstate(all="ignore"):
            total = expected_log_density(self.stats, self.keys, params, self.readers)
            for item in self.learned if self.stats.use_priors else ():
                total += item.prior.log_density(params) if item.prior is not None else 0.0
        return total if np.isfinite(total) else -np.inf

    def system(self, params: Params) -> tuple[Equations, float]:
        """The equations of one Newton step, and the farthest predictor."""
        system, farthest = Equations(self.size), 0.0
        for key in self.keys:
            entry = self.stats[key]
            slots = current_slots(entry, self.readers[key], params)
            index = index_of(entry, self.readers[key], self.places)
            if isinstance(entry.family, Linked):
                farthest = max(farthest, _add_linked(system, entry, index, slots))
            elif isinstance(entry.family, Linear):
                system.add(entry, entry.family, index, slots, plain=False)
        if self.stats.use_priors:
            system.add_priors(self.learned, self.places, params, plain=False)
        return system, farthest

    def reference(self) -> Equations:
        """The curvature that every row would have if its predictor were near zero."""
        system = Equations(self.size)
        for key in self.keys:
            entry = self.stats[key]
            index = index_of(entry, self.readers[key], self.places)
            if isinstance(entry.family, Linked):
                _add_pairs(system, index, entry.family.references(entry.arrays), joint=False)
        return system

    def moved(self, params: Params, step: Floats) -> Params:
        """The parameters after a step."""
        return params | moved(self.learned, self.places, params, step)


def newton(
    stats: Stats,
    keys: Sequence[str],
    learned: Sequence[Learned],
    params: Params,
    readers: Readers,
    empty: set[str] | None = None,
) -> Params:
    """The coefficients that maximise Q together, given the other parameters.

    Directions that the data do not determine keep their current values; those in which Q has no
    finite maximum are stopped, and told in `stats.runaways`.

    Args:
        stats: expected statistics of all components.
        keys: the components in which the coefficients stand.
        learned: the coefficients.
        params: current values.
        readers: which parameter every slot reads.
        empty: receives the names of parameters with entries that no data determine.
    """
    places, size = places_of(learned)
    problem = _Problem(stats, keys, learned, readers, places, size)
    here, value = dict(params), problem.value(params)
    limit = 1 if stats.most_sweeps == 1 else STEPS
    for _ in range(limit):
        system, farthest = problem.system(here)
        step, loose = system.solve()
        gain = float(system.right @ step)
        if empty is not None:
            empty |= undetermined(learned, places, loose)
        if not gain > 0:
            break
        moved, reached = _climbed(problem, here, value, step, gain)
        if reached is None:
            break
        here, value = moved, reached
        if gain <= ROUNDING * (1 + abs(value)):
            break
    if farthest > FAR:
        stats.runaways = _runaways(problem, system, stats.runaways)
    return {item.name: here[item.name] for item in learned}


def _climbed(
    problem: _Problem, here: Params, value: float, step: Floats, gain: float
) -> tuple[Params, float | None]:
    """The first of the halved steps that raises Q, with its Q; None if none of them does."""
    slack = 1e-15 * (1 + abs(value)) if gain <= ROUNDING * (1 + abs(value)) else 0.0
    for halvings in range(60):
        share = 0.5**halvings
        moved = problem.moved(here, share * step)
        reached = problem.value(moved)
        if reached >= value + 1e-4 * share * gain - slack:
            return moved, reached
    return here, None


def _add_linked(system: Equations, entry: Entry, index: Integers, slots: Params) -> float:
    """Add a component with a link; return its farthest predictor."""
    assert isinstance(entry.family, Linked)
    slope, bend, farthest = entry.family.derivatives(entry.arrays, slots)
    system.add_right(index, slope)
    _add_pairs(system, index, bend, joint=entry.family.link.joint)
    return farthest


def _add_pairs(system: Equations, index: Integers, values: Floats, *, joint: bool) -> None:
    """Add second derivatives [cells, d, columns, (d,) columns] at their entries."""
    if joint:
        rows, columns = index[:, :, :, None, None], index[:, None, None, :, :]
    else:
        rows, columns = index[:, :, :, None], index[:, :, None, :]
    both = np.broadcast_to((rows >= 0) & (columns >= 0), values.shape)
    system.rows.append(np.broadcast_to(rows, values.shape)[both])
    system.columns.append(np.broadcast_to(columns, values.shape)[both])
    system.values.append(values[both])


# --- directions without a maximum ---------------------------------------------------------------


def _runaways(
    problem: _Problem, system: Equations, known: tuple[Runaway, ...]
) -> tuple[Runaway, ...]:
    """Rows of parameters that show a direction in which the curvature has vanished."""
    bend, reference = _dense(system), _dense(problem.reference())
    size = np.sqrt(np.diag(reference))
    shown = np.flatnonzero(size > 0)
    if not len(shown):
        return known
    scale = size[shown]
    roots, vectors = np.linalg.eigh(reference[np.ix_(shown, shown)] / np.outer(scale, scale))
    whitened = vectors[:, roots > 1e-10] / np.sqrt(roots[roots > 1e-10])
    inside = bend[np.ix_(shown, shown)] / np.outer(scale, scale)
    shares, directions = np.linalg.eigh(whitened.T @ inside @ whitened)
    lost = np.abs(whitened @ directions[:, shares < VANISHED])
    if not lost.shape[1]:
        return known
    strong = shown[(lost > 0.1 * lost.max(axis=0)).any(axis=1)]
    found = [row for item in problem.learned for row in _rows_with(item, problem.places, strong)]
    return tuple(dict.fromkeys([*known, *found]))


def _dense(system: Equations) -> Floats:
    matrix = np.zeros((system.size, system.size))
    for rows, columns, values in zip(system.rows, system.columns, system.values, strict=True):
        np.add.at(matrix, (rows, columns), values)
    return matrix


def _rows_with(item: Learned, places: Mapping[str, Integers], chosen: Integers) -> list[Runaway]:
    """Every row of a parameter with one of these entries."""
    rows = np.flatnonzero(np.isin(places[item.name], chosen).any(axis=1))
    gates = item.fixed.shape[: item.n_gates]
    return [
        Runaway(item.name, tuple(int(k) for k in np.unravel_index(row, gates)) if gates else ())
        for row in rows
    ]
