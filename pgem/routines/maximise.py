"""The M-step: conditional maxima from summed statistics, and the ladder above them.

Each parameter has a role, and the conditional Q of a role depends on a statistic that adds over
cells, nodes and families.  `maximise` sums it over all uses of the parameter and solves; `sweeps`
repeats such solves in turn where one pass is not the joint maximum (ECM, Meng & Rubin 1993);
`estimate` uses a family's own joint solution; `climb` is the numeric last resort.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Floats, Mask, group_sum
from pgem.families._roles import Role, Statistic
from pgem.routines.priors import Prior, of_link, of_prior
from pgem.routines.tables import Entry, Stats

T = TypeVar("T", bound=np.generic)
LOWERED = 1e-9
"""Share of Q by which a sweep may lower it through rounding."""
CRAWLING = 200
"""After so many sweeps Q is climbed numerically."""
CLIMBABLE = 60
"""Up to so many free entries."""
Use = tuple[str, str]
"""A component and one of its slots."""


@dataclass(frozen=True, eq=False)
class Learned:
    """What the M-step needs to know about a parameter.

    Attributes:
        name: public name.
        role: constraint and conditional maximiser.
        n_gates: number of gate axes.
        fixed: mask of entries that stay.
        uses: components and slots, with the parameter in each of them.
        cancels: leave out the slots that the solution does not depend on.
        prior: its prior.
        links: priors of other parameters, and the slot of them that it stands in.
        lower: what its entries are at least.
    """

    name: str
    role: Role
    n_gates: int
    fixed: Mask
    uses: tuple[Use, ...]
    cancels: bool = True
    prior: Prior | None = None
    links: tuple[tuple[Prior, str], ...] = ()
    lower: Floats | None = None

    @cached_property
    def all_fixed(self) -> Mask:
        """Rows whose entries all stay [rows]."""
        fixed = rows_of(self.fixed, self.n_gates)
        return np.asarray(fixed.reshape(len(fixed), -1).all(axis=1))


Params = dict[str, Floats]
Readers = Mapping[str, Mapping[str, str]]
"""Per component and slot, the parameter that it reads ("" for a constant)."""


def free(*shape: int) -> Mask:
    """The mask of a parameter without fixed entries."""
    return np.zeros(shape, dtype=bool)


def rows_of(value: NDArray[T], n_gates: int) -> NDArray[T]:
    """A parameter flattened over its gates [rows, own axes]."""
    return value.reshape(-1, *value.shape[n_gates:])


def current_slots(entry: Entry, reads: Mapping[str, str], params: Params) -> dict[str, Floats]:
    """Slot values per cell at the given parameters; constants stay as they were."""
    slots = dict(entry.origin)
    for slot, name in reads.items():
        if name in params:
            own = entry.origin[slot].shape[1:]
            slots[slot] = _fit(params[name], entry, slot, own)
    return slots


def _fit(value: Floats, entry: Entry, slot: str, own: tuple[int, ...]) -> Floats:
    rows = value.reshape(entry.cells.n_rows[slot], *own)
    return rows if slot in entry.cells.one_to_one else rows[entry.cells.rows[slot]]


def maximise(
    stats: Stats, learned: Learned, params: Params, readers: Readers, empty: set[str] | None = None
) -> Floats:
    """Conditional maximiser of one parameter, given the current values of the others.

    Args:
        stats: expected statistics of all components.
        learned: the parameter.
        params: current values.
        readers: which parameter every slot reads.
        empty: receives the names of parameters with rows without data.

    Raises:
        LinAlgError: a covariance that it depends on is singular.
    """
    found = stats.maximum(learned.name)
    if found is not None:
        return found
    value = params[learned.name]
    previous = rows_of(value, learned.n_gates)
    try:
        total = summed_statistic(stats, learned, params, readers)
    except np.linalg.LinAlgError:
        raise np.linalg.LinAlgError(f"'{learned.name}' depends on it") from None
    fixed = rows_of(learned.fixed, learned.n_gates)
    if empty is not None and ((learned.role.weight(total) <= 0) & ~learned.all_fixed).any():
        empty.add(learned.name)
    new = learned.role.maximise(total, previous, fixed).reshape(value.shape)
    return at_least(learned.lower, new, learned.fixed)


def summed_statistic(stats: Stats, learned: Learned, params: Params, readers: Readers) -> Statistic:
    """The statistic of a parameter's role, summed over its uses, with its priors' under MAP."""
    parts = [_of_use(stats[key], slot, readers[key], params, learned) for key, slot in learned.uses]
    if stats.use_priors:
        rows = rows_of(params[learned.name], learned.n_gates)
        parts += of_priors(learned, params, rows, cancel=learned.cancels)
    return reduce(_add, parts)


def at_least(lower: Floats | None, value: Floats, fixed: Mask) -> Floats:
    """Free entries raised to their lower bounds: the maximum where Q has a single peak."""
    return value if lower is None else np.where(fixed, value, np.maximum(value, lower))


def _of_use(
    entry: Entry, slot: str, reads: Mapping[str, str], params: Params, learned: Learned
) -> Statistic:
    """What one component adds to the statistic of a parameter in one of its slots."""
    slots = current_slots(entry, reads, params)
    part = entry.family.role_statistics(
        slot, entry.arrays, slots, entry.origin, cancel=learned.cancels
    )
    assert part is not None
    if slot in entry.cells.one_to_one:
        return part
    rows, n_rows = entry.cells.rows[slot], entry.cells.n_rows[slot]
    return tuple(group_sum(array, rows, n_rows) for array in part)


def of_priors(
    item: Learned, params: Mapping[str, Floats], rows: Floats, *, cancel: bool
) -> list[Statistic]:
    """What priors add to the statistic of a parameter [rows, own axes]."""
    own = [] if item.prior is None else [of_prior(item.prior, params, rows, cancel=cancel)]
    return own + [of_link(prior, slot, params, rows) for prior, slot in item.links]


def _add(one: Statistic, other: Statistic) -> Statistic:
    """Add statistics; a diagonal precision meets a full one as a diagonal matrix."""
    wide = max(one[0].ndim, other[0].ndim)
    first = [
        s[0] if s[0].ndim == wide else s[0][..., None] * np.eye(s[0].shape[-1])
        for s in (one, other)
    ]
    return (first[0] + first[1], *(a + b for a, b in zip(one[1:], other[1:], strict=True)))


def estimate(stats: Stats, key: str, params: Params, readers: Readers) -> dict[str, Floats]:
    """Joint maximum of all parameters of one component, from its family's mean map."""
    entry = stats[key]
    slots = current_slots(entry, readers[key], params)
    found = {}
    for slot, value in entry.family.estimate(entry.arrays, slots).items():
        name = readers[key][slot]
        rows = np.empty_like(value)
        rows[entry.cells.rows[slot]] = value
        found[name] = rows.reshape(params[name].shape)
    return found


def expected_log_density(
    stats: Stats, keys: Sequence[str], params: Params, readers: Readers
) -> float:
    """The part of Q that these components contribute, up to a constant."""
    total = 0.0
    for key in keys:
        entry = stats[key]
        slots = current_slots(entry, readers[key], params)
        total += entry.family.expected_log_density(entry.arrays, slots, entry.origin)
    return total


def objective(
    stats: Stats,
    keys: Sequence[str],
    learned: Sequence[Learned],
    params: Params,
    readers: Readers,
) -> float:
    """The part of Q of these components, and the log-priors of these parameters under MAP."""
    priors = [item.prior for item in learned if item.prior and stats.use_priors]
    return expected_log_density(stats, keys, params, readers) + sum(
        prior.log_density(params) for prior in priors
    )


def sweeps(
    stats: Stats,
    keys: Sequence[str],
    learned: Sequence[Learned],
    params: Params,
    readers: Readers,
) -> Iterator[int]:
    """Repeat the body until Q gains less than 1e-12 of its size, or `stats.most_sweeps` times.

    Sweeps converge slowly where parameters are strongly coupled (a Gamma shape and its rates), so
    after every second sweep the path is extrapolated (SQUAREM, Varadhan & Roland 2008), and the
    extrapolated point is taken if its Q is higher.  A sweep that lowers Q is taken back: a nearly
    singular covariance has no digits left.  (A Q without a value stays: that is a collapse.)
    Where sweeps crawl all the same, the rest is climbed numerically, which `stats.climbed` tells.
    """
    before = objective(stats, keys, learned, params, readers)
    path = [_point(learned, params)]
    for sweep in range(stats.most_sweeps):
        kept = {item.name: params[item.name] for item in learned}
        yield sweep
        after = objective(stats, keys, learned, params, readers)
        if np.isfinite(after) and after < before - LOWERED * abs(before):
            params.update(kept)
            return
        if after - before <= 1e-12 * abs(after):
            return
        before = after
        if sweep == CRAWLING and _n_free(learned) <= CLIMBABLE:
            params.update(climb(stats, keys, learned, params, readers))
            stats.climbed = (*stats.climbed, *(item.name for item in learned))
            return
        path.append(_point(learned, params))
        if len(path) == 3:
            before = _extrapolate(path, stats, keys, learned, params, readers, before)
            path = [_point(learned, params)]


def _n_free(learned: Sequence[Learned]) -> int:
    return sum(int((~item.fixed).sum()) for item in learned)


def _point(learned: Sequence[Learned], params: Params) -> Floats:
    """Unconstrained coordinates; NaN at the edge of a constraint (a singular covariance)."""
    try:
        return _coordinates(learned, params)[0]
    except np.linalg.LinAlgError:
        return np.full(1, np.nan)


def _extrapolate(
    path: Sequence[Floats],
    stats: Stats,
    keys: Sequence[str],
    learned: Sequence[Learned],
    params: Params,
    readers: Readers,
    reached: float,
) -> float:
    """Move `params` along the last three points if Q rises; return the Q that is reached."""
    step = path[1] - path[0]
    bend = path[2] - path[1] - step
    length, pace = float(np.linalg.norm(bend)), float(np.linalg.norm(step))
    if not np.isfinite(length + pace) or length == 0:
        return reached
    reach = max(pace / length, 1.0)
    further = path[0] + 2 * reach * step + reach**2 * bend
    _, unpack = _coordinates(learned, params)
    with np.errstate(all="ignore"):
        moved = unpack(further)
        if not all(item.role.accepts(moved[item.name]).all() for item in learned):
            return reached
        value = objective(stats, keys, learned, params | moved, readers)
    if not value > reached:
        return reached
    params.update(moved)
    return value


def climb(
    stats: Stats,
    keys: Sequence[str],
    learned: Sequence[Learned],
    params: Params,
    readers: Readers,
) -> dict[str, Floats]:
    """Maximise Q numerically (BFGS) in unconstrained coordinates; a lower Q is never accepted."""
    from scipy.optimize import minimize

    start, unpack = _coordinates(learned, params)

    def loss(free: Floats) -> float:
        with np.errstate(all="ignore"):
            value = -objective(stats, keys, learned, params | unpack(free), readers)
        return value if np.isfinite(value) else 1e300

    scale = max(abs(loss(start)), 1.0)
    low = np.concatenate([_lowest(item, params[item.name]).ravel() for item in learned])
    if np.isinf(low).all():
        method: dict[str, Any] = {"method": "BFGS", "options": {"gtol": 1e-9}}
    else:
        limits = {"gtol": 1e-9, "ftol": 1e-15, "maxiter": 10_000, "maxfun": 100_000}
        bounds = [(None if np.isinf(bound) else bound, None) for bound in low]
        method = {"method": "L-BFGS-B", "bounds": bounds, "options": limits}
    found = minimize(lambda free: loss(free) / scale, start, **method)
    return unpack(found.x) if loss(found.x) <= loss(start) else unpack(start)


def _lowest(item: Learned, value: Floats) -> Floats:
    """Lower bounds of the unconstrained coordinates of a parameter."""
    free = item.role.to_free(value)
    return np.full(free.shape, -np.inf) if item.lower is None else item.role.to_free(item.lower)


def _coordinates(
    learned: Sequence[Learned], params: Params
) -> tuple[Floats, Callable[[Floats], dict[str, Floats]]]:
    """Unconstrained coordinates of several parameters, and the way back."""
    free = [item.role.to_free(params[item.name]) for item in learned]
    shapes = [part.shape for part in free]
    cuts = np.cumsum([part.size for part in free])[:-1]

    def unpack(flat: Floats) -> dict[str, Floats]:
        values = {}
        for item, part, shape in zip(learned, np.split(flat, cuts), shapes, strict=True):
            value = item.role.from_free(part.reshape(shape))
            value = np.where(item.fixed, params[item.name], value)
            values[item.name] = at_least(item.lower, value, item.fixed)
        return values

    return np.concatenate([part.ravel() for part in free]), unpack
