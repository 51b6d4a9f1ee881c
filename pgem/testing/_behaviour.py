"""Boundary values, draws, bad values and copies."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Iterator

import numpy as np

from pgem.arrays import Floats
from pgem.errors import DataError, FitError
from pgem.families._family import Family
from pgem.testing._case import Case
from pgem.testing._report import Fault, Skip

N_DRAWS = 3000
NEAR_ZERO, NEAR_ONE = 1e-100, 1e-11
"""Distances from a boundary at which the density must be close to that on it.

Near zero it may fall as slowly as a fractional power; next to one, doubles are no denser.
"""
EXTREMES = (-1e100, -1e9, 1e-100, 1e-9, 1e9, 2.0**40, 1e100)
FAR_OFF = 6.5
"""Standard errors that no sound sampler is away."""


def check_boundary(case: Case) -> str:
    """On the boundary of a slot's range the density is the limit from inside, never NaN."""
    seen = []
    for slot, edge, beside in _boundaries(case):
        culprit = f"natural parameters or log-partition A at {slot} = {edge[0].tolist()}"
        on, near = (case.slots | {slot: value} for value in (edge, beside))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                density = case.family.log_density(case.data, on)
        except Warning as warning:
            raise Fault(culprit, f"warns: {warning}") from None
        if np.isnan(density).any():
            raise Fault(culprit, "the log-density is NaN")
        limit = case.family.log_density(case.data, near)
        if not np.allclose(np.exp(density), np.exp(limit), atol=1e-6, rtol=1e-6):
            raise Fault(culprit, "the density is not the limit of those nearby")
        seen.append(f"{slot}={edge[0].tolist()}")
    if not seen:
        raise Skip("no slot has a boundary")
    return ", ".join(seen)


def check_empty(case: Case) -> str:
    """Cells without data keep their values; equal data give no NaN."""
    family, slots = case.family, case.slots
    if not case.estimated:
        raise Skip("no slot is estimated")
    nothing = family.accumulate(case.data, np.zeros_like(case.weights), slots)
    kept = family.estimate(nothing, slots)
    for name, value in kept.items():
        if not np.array_equal(value, slots[name]):
            raise Fault("estimate", f"slot '{name}' changes in a cell without data")
    for n_rows, when in ((5, "when all values are equal"), (1, "from a single value")):
        same = case.rows(case.data, np.zeros(n_rows, dtype=np.int64))
        ones = np.ones((n_rows, len(case.cells)))
        try:
            found = family.estimate(family.accumulate(same, ones, slots), slots)
        except FitError:
            if family.own_fit:
                return f"the fit raises {when}"
            raise
        for name, value in found.items():
            if np.isnan(value).any():
                raise Fault("estimate", f"slot '{name}' becomes NaN {when}")
    return ""


def check_extremes(case: Case) -> str:
    """Tiny and huge values of the support have a density and statistics that are numbers."""
    family = case.family
    if family.event_ndim or family.domain() is not None:
        raise Skip("no scalar family" if family.event_ndim else "a finite support")
    known = {name: case.slots[name][:1] for name in family.known_slots}
    values = np.array(EXTREMES)
    values = values[family.possible(values, **known)]
    if not len(values):
        raise Skip("none of the extreme values is in the support")
    density = family.log_density_at(values, case.cell(0))
    for value in values[np.isnan(density) | (density == np.inf)]:
        raise Fault("log_density", f"it is no number at {value:g}")
    if not family.own_fit and np.isnan(family.features_at(values, case.cell(0))).any():
        raise Fault("sufficient statistics T", "they are no numbers at extreme values")
    return ", ".join(f"{value:g}" for value in values)


def check_draw(case: Case) -> str:
    """Draws follow the density, row by row."""
    family, furthest = case.family, 0.0
    for index in case.cells:
        rows = {name: np.repeat(v, N_DRAWS, axis=0) for name, v in case.cell(index).items()}
        drawn = family.draw(case.generator(5 + index), rows)
        _require_shape(drawn, (N_DRAWS, *family.event_shape))
        known = {name: rows[name] for name in family.known_slots}
        outside = family.check_values(drawn, known)
        if outside.any():
            value = drawn[outside][0]
            culprit = "draw" if abs(case.atoms[index][1].sum() - 1) < 1e-6 else "support"
            raise Fault(culprit, f"drawn value {value} is outside the support")
        distance = _distance(case, index, drawn)
        furthest = max(furthest, distance)
        if not distance < FAR_OFF:
            raise Fault("draw", f"draws differ from the density by {distance:.3g} standard errors")
    _check_rows(case)
    return f"{N_DRAWS} draws, within {furthest:.1f} standard errors"


def check_bad_values(case: Case) -> str:
    """Values without a density are reported, missing ones and others are not."""
    family = case.family
    if family.check_values(case.data.x, case.data.known).any():
        raise Fault("check_values", "a value of positive density is reported as bad")
    single = case.cell(0)
    known = {name: single[name] for name in family.known_slots}
    for value in (np.inf, -np.inf, *_impossible(case)):
        row = _row(case, value)
        if not family.check_values(row, known).all():
            raise Fault("check_values", f"value {value:g}, which has no density, is let through")
    if family.check_values(_row(case, np.nan), known).any():
        raise Fault("check_values", "a missing value is reported as bad")
    try:
        family.check_values(np.full(_row(case, 0.0).shape, "text"), known)
    except DataError:
        return ""
    raise Fault("check_values", "text is let through")


def check_copies(case: Case) -> str:
    """Pickling and copying keep the family."""
    before = case.family.log_density(case.data, case.slots)
    ways: tuple[tuple[str, Callable[[Family], Family]], ...] = (
        ("pickling", _pickled),
        ("copying", copy.copy),
        ("copying", copy.deepcopy),
    )
    for way, restore in ways:
        try:
            other = restore(case.family)
        except Exception as error:
            raise Fault(way, f"{type(error).__name__}: {error}") from error
        again = other.log_density(other.observe(case.data.x, case.data.known), case.slots)
        if repr(other) != repr(case.family) or not np.array_equal(before, again):
            raise Fault(way, "the copy is another family")
    return ""


def check_json(case: Case) -> str:
    """A declaration with the family goes to JSON and back."""
    from pgem import Model, diagonal, observed, spherical

    kind = type(case.family)
    wrap = {"diagonal": diagonal, "spherical": spherical}
    given: dict[str, object] = {k: float(case.slots[k][0]) for k in case.family.known_slots}
    given |= {name: wrap[what]() for name, what in case.family.structures.items()}
    if case.family.size is not None and "size" in kind.options:
        given["size"] = case.family.size
    try:
        with Model("json") as model:
            observed("x", kind(**given))
        text = model.to_json()
        again = Model.from_json(text, families=[kind])
    except Exception as error:
        raise Fault("declaration", f"{type(error).__name__}: {error}") from error
    if again.to_json() != text:
        raise Fault("declaration", "JSON brings back another declaration")
    return ""


def _pickled(family: Family) -> Family:
    restored: Family = pickle.loads(pickle.dumps(family))
    return restored


def _boundaries(case: Case) -> Iterator[tuple[str, Floats, Floats]]:
    """(slot, values on a boundary of its range, values beside it)."""
    for slot in case.estimated:
        role, values = case.family.role_of(slot), case.slots[slot]
        for edge in (0.0, 1.0):
            on = np.full_like(values, edge)
            inward = NEAR_ZERO if edge == 0 else -NEAR_ONE
            beyond = np.all(role.accepts(on - inward))
            if np.all(role.accepts(on)) and np.all(role.accepts(on + inward)) and not beyond:
                yield slot, on, on + inward
        size = values.shape[-1] if values.ndim > 1 else 0
        for corner in np.eye(size):
            on = np.broadcast_to(corner, values.shape).copy()
            uniform = np.full_like(on, 1 / size)
            if values.ndim == 2 and np.all(role.accepts(on)) and not np.all(role.accepts(-on)):
                yield slot, on, (1 - NEAR_ONE) * on + NEAR_ONE * uniform


def _distance(case: Case, index: int, drawn: Floats) -> float:
    """How far draws are from the density, in standard errors of the worst statistic."""
    x, mass, log_density = case.atoms[index]
    share = mass / mass.sum()
    ours = case.family.log_density_at(drawn, case.cell(index))
    found = [_standard_errors(ours, log_density, share)]
    values, drawn = x.reshape(len(x), -1), drawn.reshape(len(drawn), -1)
    for i in range(values.shape[1]):
        found.append(_standard_errors(drawn[:, i], values[:, i], share))
        for j in range(i + 1):
            pair = drawn[:, i] * drawn[:, j], values[:, i] * values[:, j]
            found.append(_standard_errors(*pair, share))
    if case.family.event_ndim == 0:
        compare = _chi_square if case.family.support.discrete else _kolmogorov
        found.append(compare(drawn[:, 0], x, share))
    return max(found)


def _standard_errors(drawn: Floats, values: Floats, share: Floats) -> float:
    """|mean of draws - expectation| in standard errors."""
    mean = share @ values
    spread = float(np.sqrt(share @ (values - mean) ** 2))
    gap = abs(float(drawn.mean() - mean))
    if spread <= 1e-9 * (1 + abs(mean)):
        return 0.0 if gap <= 1e-6 * (1 + abs(mean)) else np.inf
    return float(gap / (spread / np.sqrt(len(drawn))))


def _kolmogorov(drawn: Floats, x: Floats, share: Floats) -> float:
    """Kolmogorov's statistic, scaled so that 6.5 is a p-value near 1e-9."""
    order = np.argsort(x)
    below = np.cumsum(share[order]) - share[order] / 2
    theory = np.interp(np.sort(drawn), x[order], below)
    n = len(drawn)
    gap = np.abs(theory - (np.arange(n) + 0.5) / n).max()
    return float(2 * np.sqrt(n) * gap)


def _chi_square(drawn: Floats, x: Floats, share: Floats) -> float:
    """Pearson's statistic over values with enough expected draws, standardised."""
    expected = share * len(drawn)
    common = expected >= 5
    counts = np.array([(drawn == value).sum() for value in x[common]], dtype=float)
    rest, rest_expected = len(drawn) - counts.sum(), expected[~common].sum()
    total = float(((counts - expected[common]) ** 2 / expected[common]).sum())
    total += float((rest - rest_expected) ** 2 / max(rest_expected, 1.0))
    n_terms = int(common.sum()) + 1
    return (total - n_terms) / float(np.sqrt(2 * n_terms))


def _check_rows(case: Case) -> None:
    """Each row is drawn with its own parameters, and coordinates with theirs."""
    family, turn = case.family, np.arange(N_DRAWS) % len(case.cells)
    drawn = family.draw(case.generator(20), {k: v[turn] for k, v in case.slots.items()})
    mean, variance = family.moments(case.slots)
    for index in case.cells:
        mine = drawn[turn == index]
        flat = mine.reshape(len(mine), -1)
        spread = np.diag(np.reshape(variance[index], (flat.shape[1], flat.shape[1])))
        error = np.sqrt(spread / len(mine)) + 1e-9
        if np.any(np.abs(flat.mean(axis=0) - np.ravel(mean[index])) > FAR_OFF * error):
            raise Fault("draw", "rows with different parameters are not drawn one by one")
    if family.event_ndim == 0 and not any(slot.axes for slot in family.slots):
        pairs = {k: np.stack([v[turn], v[turn]], axis=1) for k, v in case.slots.items()}
        pairs |= {k: case.slots[k][turn] for k in family.known_slots if len(family.slots) > 1}
        drawn = family.settled(2, family.structures).draw(case.generator(21), pairs)
        _require_shape(drawn, (N_DRAWS, 2))


def _require_shape(drawn: Floats, shape: tuple[int, ...]) -> None:
    if drawn.shape != shape:
        raise Fault("draw", f"draws have shape {drawn.shape}, not {shape}")


def _impossible(case: Case) -> list[float]:
    """Plain numbers that have no density in the first cell."""
    numbers = np.array([-2.0, -0.5, 0.5, 1.5, 2.0, 17.0, 1e6])
    rows = np.concatenate([_row(case, value) for value in numbers])
    known = {k: np.repeat(case.slots[k][:1], len(rows)) for k in case.family.known_slots}
    bad = case.family.check_values(rows, known)
    with np.errstate(all="ignore"):
        density = case.family.log_density_at(rows, case.cell(0))
    # a density formula may go on outside its support, so only discrete ones can tell
    empty = (density == -np.inf) & case.family.support.discrete & (case.family.event_ndim == 0)
    if not case.estimated:
        empty[:] = False  # what is impossible is then up to the parameter
    return [float(value) for value in numbers[bad | empty]]


def _row(case: Case, value: float) -> Floats:
    return np.full((1, *case.family.event_shape), value)
