"""Do statistics add up, and do the M-steps maximise?  The judge is a numerical optimiser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgem.arrays import Floats
from pgem.families._family import Family, Observations, Statistics
from pgem.families._roles import Mean
from pgem.testing._case import Case
from pgem.testing._report import Fault, Skip

SHORTFALL = 1e-7
"""Accepted loss of the objective per observation, against the numerical optimiser."""


def check_estimate(case: Case) -> str:
    """The joint M-step maximises the weighted log-likelihood."""
    if not case.estimated:
        raise Skip("no slot is estimated")
    family = case.family
    culprit = "mean map" if family.has_mean_map else "fit" if family.own_fit else "estimate"
    stats = family.accumulate(case.data, case.weights, case.slots)
    found = case.slots | family.estimate(stats, case.slots)
    _require_accepted(case, found, case.estimated, culprit)
    worst = max(
        _shortfall(case, index, case.estimated, found, [case.slots, found]) for index in case.cells
    )
    if not worst <= SHORTFALL:
        raise Fault(culprit, f"the M-step loses {worst:.3g} per observation to an optimiser")
    return f"{family.rung}, to {worst:.0e}"


def check_roles(case: Case) -> str:
    """Each slot's role statistic leads to its maximum, given the others, wherever they are."""
    worst = [0.0]
    for slot in case.estimated:
        statistic = _role_statistic(case, slot, cancel=False)
        if statistic is None:
            continue
        found = _maximised(case, slot, statistic)
        _require_accepted(case, found, [slot], f"role_statistics of slot '{slot}'")
        for index in case.cells:
            loss = _shortfall(case, index, [slot], found, [found, case.elsewhere])
            worst.append(loss)
            if not loss <= SHORTFALL:
                raise Fault(
                    f"role_statistics of slot '{slot}'",
                    f"the conditional M-step loses {loss:.3g} per observation to an optimiser",
                )
        _check_cancelled(case, slot, found)
    if len(worst) == 1:
        raise Skip("no slot has a role statistic")
    return f"to {max(worst):.0e}"


def check_weights(case: Case) -> str:
    """A row of weight k counts like k equal rows."""
    counts = case.generator(3).integers(0, 4, case.n_rows)
    weights = np.repeat(counts[:, None].astype(float), len(case.cells), axis=1)
    repeated = case.rows(case.data, np.repeat(np.arange(case.n_rows, dtype=np.int64), counts))
    ones = np.ones((len(repeated.x), len(case.cells)))
    once = case.family.accumulate(case.data, weights, case.slots)
    _require_equal(
        case,
        once,
        case.family.accumulate(repeated, ones, case.slots),
        "weights do not count like repeated rows",
    )
    return ""


def check_merge(case: Case) -> str:
    """Statistics of two parts add up to those of the whole."""
    family, half = case.family, case.n_rows // 2
    parts = [slice(None, half), slice(half, None)]
    first, second = (
        family.accumulate(case.rows(case.data, part), case.weights[part], case.slots)
        for part in parts
    )
    merged = tuple(a + b for a, b in zip(first, second, strict=True))
    whole = family.accumulate(case.data, case.weights, case.slots)
    _require_equal(
        case, whole, merged, "statistics of two halves do not add up to those of the whole"
    )
    return ""


def check_missing(case: Case) -> str:
    """A missing row has log-density zero and leaves no trace in the statistics."""
    family, data = case.family, case.data
    gone = np.arange(case.n_rows) % 4 == 1
    x = data.x.copy()
    x[gone] = np.nan
    holed = family.observe(x, data.known)
    density = family.log_density(holed, case.slots)
    if np.any(density[gone] != 0):
        raise Fault("log_density", f"a missing value has log-density {density[gone].ravel()[0]}")
    if not np.allclose(density[~gone], family.log_density(case.rows(data, ~gone), case.slots)):
        raise Fault("log_density", "a missing value changes the density of other rows")
    _require_equal(
        case,
        family.accumulate(case.rows(data, ~gone), case.weights[~gone], case.slots),
        family.accumulate(holed, case.weights, case.slots),
        "missing values are counted",
    )
    return ""


def check_coordinates(case: Case) -> str:
    """Over a vector with holes, the coordinates are independent copies of the scalar."""
    if case.family.event_ndim or any(slot.axes for slot in case.family.slots):
        raise Skip("no scalar family")
    pair = case.family.settled(2, case.family.structures)
    slots = case.slots | {k: _two_columns(case.slots[k]) for k in case.estimated}
    x = np.stack([case.data.x, np.roll(case.data.x, len(case.cells))], axis=1)
    x[case.generator(4).random(x.shape) < 0.2] = np.nan
    vector = pair.observe(x, case.data.known)
    columns = [case.family.observe(x[:, axis], case.data.known) for axis in (0, 1)]
    halves = [{k: v[:, axis] if v.ndim > 1 else v for k, v in slots.items()} for axis in (0, 1)]
    density = sum(case.family.log_density(*both) for both in zip(columns, halves, strict=True))
    if not np.allclose(pair.log_density(vector, slots), density, rtol=1e-9):
        raise Fault("log_density", "over a vector it is not the sum over the coordinates there")
    joint = _maximum(pair, vector, case.weights, slots)
    for axis, (column, half) in enumerate(zip(columns, halves, strict=True)):
        for name, value in _maximum(case.family, column, case.weights, half).items():
            if not np.allclose(joint[name][:, axis], value, rtol=1e-6, atol=1e-9):
                raise Fault("estimate", f"slot '{name}' over a vector differs from the scalar's")
    return "2 coordinates"


def check_prior(case: Case) -> str:
    """As a prior, its mode is the maximiser of the role with the pseudo-statistics alone."""
    family, role = case.family, case.family.conjugate_to
    if role is None or family.structures:
        raise Skip("no conjugate prior of a role" if role is None else "priors are not structured")
    statistic = family.pseudo_statistics(**case.slots)
    signed = statistic[:1] if isinstance(role, Mean) else statistic
    inside = [all((part[index] >= 0).all() for part in signed) for index in case.cells]
    if not any(inside):
        raise Skip("the densities tried have no mode inside")
    start = family.moments(case.slots)[0]
    mode = role.maximise(statistic, start, np.zeros(start.shape, dtype=bool))
    for index in np.flatnonzero(inside).tolist():
        highest = float(case.atoms[index][2].max())
        reached = float(family.log_density_at(mode[index : index + 1], case.cell(index))[0])
        if not reached >= highest - 1e-9 * (1 + abs(highest)):
            raise Fault(
                "pseudo_statistics",
                f"the role's maximiser {mode[index]} is not the mode: its log-density is lower by "
                f"{highest - reached:.3g}",
            )
    return f"of a {role.name}"


def _maximum(
    family: Family, data: Observations, weights: Floats, slots: dict[str, Floats]
) -> dict[str, Floats]:
    return family.estimate(family.accumulate(data, weights, slots), slots)


def _two_columns(value: Floats) -> Floats:
    return np.stack([value, np.roll(value, 1)], axis=1)


def _role_statistic(case: Case, slot: str, *, cancel: bool) -> Statistics | None:
    """Of one slot, the others having moved away from where the statistics were taken."""
    stats = case.family.accumulate(case.data, case.weights, case.slots)
    return case.family.role_statistics(slot, stats, case.elsewhere, case.slots, cancel=cancel)


def _maximised(case: Case, slot: str, statistic: Statistics) -> dict[str, Floats]:
    previous = case.elsewhere[slot]
    free = np.zeros(previous.shape, dtype=bool)
    value = case.family.role_of(slot).maximise(statistic, previous, free)
    return case.elsewhere | {slot: value}


def _check_cancelled(case: Case, slot: str, found: dict[str, Floats]) -> None:
    """Leaving out the slots in `free_of` makes no difference within a cell."""
    declared = next(s for s in case.family.slots if s.name == slot)
    if not declared.free_of:
        return
    statistic = _role_statistic(case, slot, cancel=True)
    short = None if statistic is None else _maximised(case, slot, statistic)
    if short is None or not np.allclose(short[slot], found[slot], rtol=1e-7, atol=1e-9):
        raise Fault(
            f"role_statistics of slot '{slot}'",
            f"with cancel=True it finds another maximum, so it is not free of {declared.free_of}",
        )


def _require_accepted(
    case: Case, found: dict[str, Floats], names: Sequence[str], culprit: str
) -> None:
    for name in names:
        if found[name].shape != case.slots[name].shape:
            raise Fault(
                culprit,
                f"slot '{name}' has shape {found[name].shape}, not {case.slots[name].shape}",
            )
        role = case.family.role_of(name)
        if not np.all(role.accepts(found[name])):
            raise Fault(culprit, f"slot '{name}' becomes {found[name]}, not {role.expected}")


def _require_equal(case: Case, one: Statistics, other: Statistics, evidence: str) -> None:
    """Equal sums; where there are none, equal fits."""
    culprit, close = "accumulate", 1e-9
    if case.family.own_fit:
        culprit, close = "fit", 1e-5
        one, other = (tuple(case.family.estimate(s, case.slots).values()) for s in (one, other))
    same = len(one) == len(other) and all(
        np.allclose(a, b, rtol=close, atol=close) for a, b in zip(one, other, strict=False)
    )
    if not same:
        raise Fault(culprit, evidence)


def _shortfall(
    case: Case,
    index: int,
    names: Sequence[str],
    found: dict[str, Floats],
    starts: Sequence[dict[str, Floats]],
) -> float:
    """What an optimiser over the named slots gains on `found`, per observation."""
    cell = {name: value[index : index + 1] for name, value in found.items()}
    weight = case.weights[:, index]
    reached = _objective(case.family, case.data, weight, cell)
    best = max(_optimum(case, index, names, start, cell) for start in starts)
    return (best - reached) / float(weight.sum())


def _objective(
    family: Family, data: Observations, weight: Floats, cell: dict[str, Floats]
) -> float:
    return float(weight @ family.log_density(data, cell)[:, 0])


def _optimum(
    case: Case, index: int, names: Sequence[str], start: dict[str, Floats], cell: dict[str, Floats]
) -> float:
    """The highest weighted log-likelihood over the named slots, found by quasi-Newton steps."""
    from scipy.optimize import minimize

    family, weight = case.family, case.weights[:, index]
    at_start = {name: start[name][index : index + 1] for name in names}
    parts = [  # a boundary is infinitely far away in free coordinates
        np.nan_to_num(family.role_of(name).to_free(at_start[name]), neginf=-500.0, posinf=500.0)
        for name in names
    ]
    edges = np.cumsum([0, *(part.size for part in parts)])

    def loss(free: Floats) -> float:
        moved = dict(cell)
        for k, name in enumerate(names):
            piece = free[edges[k] : edges[k + 1]].reshape(parts[k].shape)
            moved[name] = family.role_of(name).from_free(piece)
        with np.errstate(all="ignore"):
            value = _objective(family, case.data, weight, moved)
        return -value / float(weight.sum()) if np.isfinite(value) else 1e300

    flat = np.concatenate([part.ravel() for part in parts])
    return -float(minimize(loss, flat, method="BFGS").fun) * float(weight.sum())
