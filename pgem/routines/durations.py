"""Log-probabilities of how long a value lasts, and the statistics of durations.

A duration is a value of an ordinary family: a family that starts at 0 counts the steps after the
first.  A segment that the end of its sequence cuts off after d steps has probability
S(d) = p(D ≥ d); its unseen duration adds the statistics that are expected of it, E[T(D) | D ≥ d].
So both kinds of segments are weights of values of the family, and an M-step needs nothing else.
Values beyond the longest sequence are summed by a rule of few values (`tail_rule`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pgem.arrays import Floats, Integers, safe_log
from pgem.families._family import Family, Observations
from pgem.families._tails import last_value, steps_before, tail_rule
from pgem.routines.collect import ScopeData
from pgem.routines.tables import (
    Gated,
    LogTable,
    NodeData,
    Source,
    aligned,
    arrange,
    cells_of,
    flat_index,
    slot_values,
    split_gates,
)


@dataclass(frozen=True, eq=False)
class Durations(LogTable):
    """Log-weights of durations: the rows of `array` are 1 … n steps, then values of the tail.

    Attributes:
        n: longest duration that a sequence of the shard can show.
        group: which of several tables each row of the scope reads (index gates), or None.
        ends: log p(D ≥ d) in the layout of the first n rows.
        flat: leave the conditional out: the recursions see which durations are possible.
    """

    n: int = 0
    group: Integers | None = None
    ends: Floats | None = None
    flat: bool = False

    @property
    def n_points(self) -> int:
        """Durations of one table: 1 … n, then the tail."""
        assert isinstance(self.source, Source)
        return len(self.source.node.points.x)

    def tables(self) -> tuple[Floats, Floats]:
        """log p(D = d) and log p(D ≥ d) as the recursions use them [G, n, axes...]."""
        assert self.ends is not None
        own = self.array.reshape(-1, self.n_points, *self.array.shape[1:])[:, : self.n]
        if not self.flat:
            return own, self.ends
        return np.where(own > -np.inf, 0.0, -np.inf), np.where(self.ends > -np.inf, 0.0, -np.inf)

    def weights(self, counts: Floats, cut: Floats) -> Floats:
        """Expected numbers of segments by value, cut ones at the values they may reach.

        Args:
            counts: whole segments [G, n, axes...].
            cut: segments that were cut off after d steps [G, n, axes...].
        """
        assert self.ends is not None
        logs = self.array.reshape(-1, self.n_points, *self.array.shape[1:])
        ends = np.where(np.isfinite(self.ends), self.ends, 0.0)
        reached = np.logaddexp.accumulate(safe_log(cut) - ends, axis=1)
        beyond = np.repeat(reached[:, -1:], self.n_points - self.n, axis=1)
        found = np.exp(logs + np.concatenate([reached, beyond], axis=1))
        found[:, : self.n] += counts
        return np.asarray(found.reshape(self.array.shape))


def durations(node: NodeData, scope: ScopeData, **slots: Gated) -> Durations:
    """log p(a segment lasts d steps | gates), d up to the longest sequence, and of lasting longer.

    Args:
        node: the component; it holds no values.
        scope: the sequence.
        slots: its parameters; one of their gates may be the value of the segment itself.
    """
    cells = cells_of(node, slots)
    values = slot_values(cells, slots, node.family)
    shift = steps_before(node.family)
    highest = _highest(node.family, values, cells.n_cells)
    longest = max(int(scope.lengths.max(initial=1)), 1)
    n = int(min(longest, max(highest) + shift))
    steps = np.arange(1.0, n + 1.0) - shift
    by_cell = _log_probabilities(node.family, steps, values, highest)
    tails = [
        _tail(node.family, float(steps[-1]), values, cell, last)
        for cell, last in enumerate(highest)
    ]
    points = np.concatenate([steps, *(x for x, _ in tails)])
    full = np.full((cells.n_cells, len(points)), -np.inf)
    full[:, :n] = by_cell
    start = n
    for cell, (x, logs) in enumerate(tails):
        full[cell, start : start + len(x)] = logs
        start += len(x)
    beyond = np.logaddexp.reduce(full[:, n:], axis=1, initial=-np.inf)[:, None]
    ends = np.logaddexp.accumulate(np.concatenate([beyond, by_cell[:, ::-1]], axis=1), axis=1)[
        :, :0:-1
    ]
    axes = [cells.gates[k] for k in split_gates(cells)[1]]
    shape = aligned(node.n_dims, axes)
    seen = replace(
        node, points=Observations(node.family, points), index=np.zeros(0, dtype=np.int64)
    )
    array = arrange(full.T, cells).reshape(-1, *shape)
    return Durations(
        array,
        len(array),
        None,
        Source(seen, cells, values, None),
        n,
        flat_index(cells, node.n_rows),
        arrange(ends.T, cells).reshape(-1, n, *shape),
        node.flat,
    )


def _known(family: Family, values: dict[str, Floats], cell: int) -> dict[str, Floats]:
    return {name: values[name][cell : cell + 1] for name in family.known_slots if name in values}


def _highest(family: Family, values: dict[str, Floats], n_cells: int) -> list[float]:
    """The highest value per cell; infinite where there is none."""
    found: dict[bytes, float] = {}
    highest = []
    for cell in range(n_cells):
        known = _known(family, values, cell)
        key = b"".join(value.tobytes() for value in known.values())
        if key not in found:
            found[key] = last_value(family, known)
        highest.append(found[key])
    return highest


def _log_probabilities(
    family: Family, x: Floats, values: dict[str, Floats], highest: list[float]
) -> Floats:
    """log p(x) per cell [C, X]; impossible values have probability zero."""
    logs = np.empty((len(highest), len(x)))
    for cell, last in enumerate(highest):
        possible = (x <= last) & family.possible(x, **_known(family, values, cell))
        logs[cell] = np.where(possible, _log_density(family, values, cell, x), -np.inf)
    return logs


def _log_density(family: Family, values: dict[str, Floats], cell: int, x: Floats) -> Floats:
    slots = {name: value[cell : cell + 1] for name, value in values.items()}
    with np.errstate(all="ignore"):
        found = family.log_density_at(x, slots)
    return np.where(np.isnan(found), -np.inf, found)


def _tail(
    family: Family, after: float, values: dict[str, Floats], cell: int, last: float
) -> tuple[Floats, Floats]:
    """Values beyond `after` and their log p(x) w."""
    if last <= after:
        return np.zeros(0), np.zeros(0)
    x, log_weight = tail_rule(lambda x: _log_density(family, values, cell, x), after, last)
    return x, _log_density(family, values, cell, x) + log_weight


__all__ = ["Durations", "durations"]
