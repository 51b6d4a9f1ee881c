"""The score by the Fisher identity: the gradient of Q at the parameters of its own E-step.

    ∇ log p(x | θ) = ∇' Q(θ' | θ) at θ' = θ                             (Dempster et al. 1977)

Each component adds its part of Q, a function of its expected statistics alone.  Where a role's
statistic is known the derivative has a closed form; otherwise it is a difference quotient of the
family's own expected log-density, cell by cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from pgem.arrays import Floats, group_sum
from pgem.families import Family
from pgem.families._roles import Covariance, Mean, Prob, Probs, Rate, Role, Shape, Variance
from pgem.plan import Program
from pgem.routines import Stats, stationary_gradient
from pgem.routines.maximise import rows_of
from pgem.routines.priors import of_link, of_prior
from pgem.routines.tables import Entry
from pgem.run import Bound, sum_statistics

Gradient = Callable[[tuple[Floats, ...], Floats], Floats]


def score(bound: Bound, params: dict[str, Floats], *, priors: bool = False) -> dict[str, Floats]:
    """Gradient of the weighted log-likelihood (with priors, the log-posterior) in every entry.

    Entries are treated as unconstrained: project on the tangent space of the constraints.
    """
    _, stats = sum_statistics(bound, params)
    return gradients(bound.program, stats, params, priors=priors)


def gradients(
    program: Program, stats: Stats, params: Mapping[str, Floats], *, priors: bool = False
) -> dict[str, Floats]:
    """Gradient of Q (with priors, of Q + log prior) at the parameters of the E-step, by name."""
    found = {}
    for name, layout in program.params.items():
        total = np.zeros_like(params[name], dtype=float)
        for key, slot in layout.uses:
            if key in stats:
                entry = stats[key]
                by_cell = cell_gradient(entry, slot)
                rows, n_rows = entry.cells.rows[slot], entry.cells.n_rows[slot]
                total += group_sum(by_cell, rows, n_rows).reshape(total.shape)
        for first, table in program.analysis.layout.stationary.items():
            if table.param == name and first in stats and table.key in stats:
                by_cell = stationary_gradient(stats, first, table.key, table.slot)
                cells = stats[table.key].cells
                rows, n_rows = cells.rows[table.slot], cells.n_rows[table.slot]
                total += group_sum(by_cell, rows, n_rows).reshape(total.shape)
        found[name] = total
    for name, added in (prior_gradients(program, params) if priors else {}).items():
        found[name] = found[name] + added
    return found


def prior_gradients(program: Program, params: Mapping[str, Floats]) -> dict[str, Floats]:
    """Gradient of the log-priors, by name; in the slots of other priors too."""
    found = {name: np.zeros_like(params[name], dtype=float) for name in program.params}
    for name, statistic in prior_statistics(program, params):
        layout = program.params[name]
        rule = GRADIENTS.get(type(layout.role))
        if rule is not None:
            added = np.asarray(rule(statistic, params[name].reshape(statistic[-1].shape)))
            found[name] = found[name] + added.reshape(found[name].shape)
        else:  # a role of the user's own
            found[name] = found[name] + _quotients(program, params, name)
    return found


def _quotients(program: Program, params: Mapping[str, Floats], name: str) -> Floats:
    """Derivative of the log-prior of one parameter, by central differences."""
    value = np.array(params[name], dtype=float)
    found = np.zeros_like(value)
    for place in np.ndindex(value.shape):
        step = 1e-5 * max(abs(float(value[place])), 1e-5)
        unit = np.zeros_like(value)
        unit[place] = step
        up, down = (program.log_prior({**params, name: value + s}, [name]) for s in (unit, -unit))
        found[place] = (up - down) / (2 * step)
    return found


def prior_statistics(
    program: Program, params: Mapping[str, Floats]
) -> Iterator[tuple[str, tuple[Floats, ...]]]:
    """What each prior adds to the statistic of its parameter, and of those in its slots."""
    for name, layout in program.params.items():
        if layout.prior is None:
            continue
        yield name, of_prior(layout.prior, params, rows_of(params[name], layout.n_gates))
        for slot, link in layout.prior.links.items():
            rows = rows_of(params[link.name], program.params[link.name].n_gates)
            yield link.name, of_link(layout.prior, slot, params, rows)


def cell_gradient(entry: Entry, slot: str) -> Floats:
    """Derivative of Q in one slot, per cell [C, own axes]."""
    family, slots = entry.family, entry.origin
    rule = GRADIENTS.get(type(family.role_of(slot)))
    statistic = role_statistic(entry, slot) if rule else None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if rule is not None and statistic is not None:
            return np.asarray(rule(statistic, slots[slot]))
        return _numeric(entry, slot)


def role_statistic(entry: Entry, slot: str) -> tuple[Floats, ...] | None:
    """The statistic of a slot's role per cell, at the parameters of the E-step."""
    return entry.family.role_statistics(
        slot, entry.arrays, entry.origin, entry.origin, cancel=False
    )


# --- closed forms, one per role -----------------------------------------------------------------


def _ratio(count: Floats, value: Floats) -> Floats:
    """Count over value, 0 where the value sits on its boundary 0."""
    return np.where(value > 0, count / np.where(value > 0, value, 1.0), 0.0)


def _probs(statistic: tuple[Floats, ...], value: Floats) -> Floats:
    return _ratio(statistic[0], value)


def _prob(statistic: tuple[Floats, ...], value: Floats) -> Floats:
    return _ratio(statistic[0], value) - _ratio(statistic[1], 1 - value)


def _rate(statistic: tuple[Floats, ...], value: Floats) -> Floats:
    return _ratio(statistic[0], value) - statistic[1]


def _shape(statistic: tuple[Floats, ...], value: Floats) -> Floats:
    from scipy.special import digamma

    return np.asarray(statistic[1] - statistic[0] * digamma(value))


def _mean(statistic: tuple[Floats, ...], value: Floats) -> Floats:
    precision, linear = statistic
    if precision.ndim > linear.ndim:
        return np.asarray(linear - np.einsum("...ij,...j->...i", precision, value))
    return linear - precision * value


def _variance(statistic: tuple[Floats, ...], value: Floats) -> Floats:
    count, squares = statistic
    return 0.5 * (squares / value - count) / value


def _covariance(statistic: tuple[Floats, ...], value: Floats) -> Floats:
    count, outer = statistic
    inverse = np.linalg.inv(value)
    return np.asarray(0.5 * (inverse @ outer @ inverse - count[:, None, None] * inverse))


GRADIENTS: dict[type[Role], Gradient] = {
    Probs: _probs,
    Prob: _prob,
    Rate: _rate,
    Shape: _shape,
    Mean: _mean,
    Variance: _variance,
    Covariance: _covariance,
}


# --- difference quotients, for families without role statistics ---------------------------------


def _numeric(entry: Entry, slot: str) -> Floats:
    """Fourth-order central differences of the expected log-density, cell by cell."""
    value = entry.origin[slot]
    found = np.zeros(value.shape)
    for place in np.ndindex(value.shape):
        cell = slice(place[0], place[0] + 1)
        arrays = tuple(array[cell] for array in entry.arrays)
        slots = {name: table[cell] for name, table in entry.origin.items()}
        found[place] = _quotient(entry.family, arrays, slots, slot, place[1:])
    return found


def _quotient(
    family: Family,
    arrays: tuple[Floats, ...],
    slots: dict[str, Floats],
    slot: str,
    place: tuple[int, ...],
) -> float:
    step = 1e-3 * max(abs(float(slots[slot][(0, *place)])), 1e-3)

    def value(k: int) -> float:
        moved = slots[slot].copy()
        moved[(0, *place)] += k * step
        return family.expected_log_density(arrays, {**slots, slot: moved}, slots)

    return (8 * (value(1) - value(-1)) - (value(2) - value(-2))) / (12 * step)
