"""Do support, T, η, A and h describe one normalised density?"""

from __future__ import annotations

from typing import Any

import numpy as np

from pgem.arrays import Floats
from pgem.families import _numeric
from pgem.families._derived import inner
from pgem.families._family import Family, feature_product
from pgem.families._written import as_numbers
from pgem.testing._case import Case
from pgem.testing._report import Fault, Skip

CLOSE = 1e-6
ROUGH = 1e-4
"""Accepted for second derivatives by differences."""
FAINTEST = -700.0
"""Log of the smallest density that scipy.stats can tell without losing digits."""
DIVERGES = 20.0
"""Log of a total mass that no finite integral of a misplaced density reaches."""
GRID = np.array([-7.5, -3.0, -1.0, -0.5, 0.25, 0.6, 1.0, 1.5, 2.0, 3.0, 7.5, 40.0])


def check_support(case: Case) -> str:
    """The support is where the density has its mass."""
    family = case.family
    twin = twin_of(case, 0)
    if twin is not None and not family.event_ndim:
        known = {name: np.repeat(case.slots[name][:1], len(GRID)) for name in family.known_slots}
        ours = family.possible(GRID, **known)
        theirs = np.isfinite(_twin_log_density(twin, GRID))
        if (ours != theirs).any():
            value = GRID[ours != theirs][0]
            word = "holds" if ours[value == GRID][0] else "does not hold"
            raise Fault("support", f"it {word} {value:g}, unlike the distribution of scipy.stats")
    inside, known = _inside(case)
    if family.check_values(inside, known).any():
        raise Fault("support", f"`inside` = {inside.ravel()[0]} is not in it")
    return family.support.name


def check_log_density(case: Case) -> str:
    """An overridden log-density says the same as the facts."""
    if not case.estimated:
        raise Skip("no slot is estimated")
    family, data = case.family, case.data
    theta, gap, size = family.coefficients(case.slots), 0.0, 0.0
    found = family.log_density(data, case.slots)
    for index in case.cells:
        here = case.seen_by(index)
        facts = feature_product(here.features, theta[index : index + 1])[:, 0]
        gap = max(gap, float(np.abs(found[:, index] - facts - here.log_base).max()))
        size = max(size, float(np.abs(facts).max()))
    if not gap <= CLOSE * (1 + size):
        raise Fault("log_density", f"differs from T·η - A + log h by up to {gap:.3g}")
    return f"to {gap:.0e}"


def check_written(case: Case) -> str:
    """Facts that are written once more as formulas say what the code says."""
    family = case.family
    if not family.written or family.structures:
        raise Skip("the code alone tells its formulas")
    slots = {name: case.slots[name] for name in family.estimable}
    natural: Any = family.natural_parameters
    known = family.known_of_cells(case.slots)
    eta = natural(**slots, **known)
    names = {"eta": eta[0]} if len(eta) == 1 else {f"eta{k + 1}": e for k, e in enumerate(eta)}
    inputs = {**case.slots, **names, "x": case.data.x, "d": family.size or 1}
    code: dict[str, Any] = {
        "T": lambda: family.sufficient_statistics(case.data.x, **case.data.aligned),
        "eta": lambda: eta,
        "A": lambda: (-family.coefficients(case.slots)[:, 0],),
    }
    for fact, text in family.written.items():
        for formula, ours in zip(text.split(";"), code[fact](), strict=True):
            found = np.asarray(as_numbers(formula.strip(), inputs)).reshape(len(ours), -1)
            gap = float(np.abs(found - np.asarray(ours).reshape(len(ours), -1)).max())
            if not gap <= CLOSE * (1 + np.abs(found).max()):
                raise Fault(f"written formula of {fact}", f"it differs from the code by {gap:.3g}")
    return ", ".join(family.written)


def check_twin(case: Case) -> str:
    """The density is that of `scipy.stats`; the pattern of differences shows what is wrong."""
    if twin_of(case, 0) is None:
        raise Skip("no scipy_twin")
    worst = 0.0
    for index in case.cells:
        x = case.atoms[index][0]
        x = x[:: max(1, len(x) // 50)]
        table = np.stack([_difference(case, x, index, other) for other in case.cells], axis=1)
        table = table[np.isfinite(table).all(axis=1)]
        worst = max(worst, float(np.abs(table).max(initial=0.0)))
        if not np.abs(table).max(initial=0.0) <= CLOSE:
            raise Fault(_pattern(table), f"log-density differs from scipy.stats by {worst:.3g}")
    return f"to {worst:.0e}"


def check_normalisation(case: Case) -> str:
    """The density sums or integrates to one at every parameter value."""
    excess = np.array([_log_mass(case, index) for index in case.cells])
    if np.all(np.abs(excess) <= CLOSE):
        return f"to {np.abs(excess).max():.0e}"
    evidence = f"the density has total mass exp({', '.join(f'{value:.4g}' for value in excess)})"
    if np.isnan(excess).any():
        raise Fault("natural parameters or log-partition A", evidence + ": NaN")
    if excess.max() > DIVERGES:
        raise Fault("support or base measure", evidence + ": it does not integrate")
    if np.ptp(excess) <= CLOSE:
        raise Fault("base measure (or log-partition A, by a constant)", evidence)
    if _tilted_mean_fits(case):
        raise Fault("log-partition A", evidence + "; T, η and h fit the declared moments")
    raise Fault(
        "base measure, sufficient statistics T or support",
        evidence + "; the moments do not fit the declared ones either",
    )


def check_gradient(case: Case) -> str:
    """E[T] is the gradient of A: the score has expectation zero in every free coordinate."""
    if not case.estimated:
        raise Skip("no slot is estimated")
    family, worst = case.family, 0.0
    for index in case.cells:
        cell, mean = case.cell(index), _mean_features(case, index)
        free = family.to_free(cell)
        for axis in range(free.shape[1]):
            slope = _coefficient_slope(family, cell, free, axis)
            score, size = inner(mean, slope)[0], inner(np.abs(mean), np.abs(slope))[0]
            worst = max(worst, abs(score) / (1 + size))
    if not worst <= CLOSE:
        raise Fault("log-partition A or natural parameters", f"∇A differs from E[T] by {worst:.3g}")
    return f"to {worst:.0e}"


def check_curvature(case: Case) -> str:
    """Cov[T] is the information, and ∇²A where A is a function of η; so A is convex."""
    if not case.estimated:
        raise Skip("no slot is estimated")
    family, worst = case.family, 0.0
    told = family.fisher_information(case.slots)
    for index in case.cells:
        spread = _covariance_of_features(case, index)
        gap = float(np.abs(told[index] - spread).max() / (1 + np.abs(spread).max()))
        if not gap <= 10 * CLOSE:
            raise Fault("fisher_information", f"it differs from Cov[T] by {gap:.3g}")
        scale = np.sqrt(np.diag(spread)[1:])
        scale = np.where(scale > 0, scale, 1.0)
        found = _curvature(case, index, scale)
        if found is None:
            continue
        if np.linalg.eigvalsh(found).min() < -ROUGH:
            raise Fault("log-partition A", "it is not convex")
        correlations = spread[1:, 1:] / scale / scale[:, None]
        worst = max(worst, float(np.abs(found - correlations).max()))
        if not worst <= ROUGH:
            raise Fault("log-partition A", f"∇²A differs from Cov[T] by {worst:.3g}")
    return f"to {worst:.0e}" if worst else "A is no function of η alone"


def check_moments(case: Case) -> str:
    """Mean and variance are those of the density."""
    mean, variance = case.family.moments(case.slots)
    worst = 0.0
    for index in case.cells:
        true_mean, true_variance = _moments(case, index)
        size = 1 + np.abs(true_variance).max() + np.abs(true_mean).max()
        for name, ours, true in (
            ("mean", mean, true_mean),
            ("variance", variance, true_variance),
        ):
            gap = float(np.abs(ours[index] - true).max() / size)
            worst = max(worst, gap)
            if not gap <= 10 * CLOSE:
                raise Fault("moments", f"the {name} is {ours[index]}, that of the density {true}")
    return f"to {worst:.0e}"


def check_mean_map(case: Case) -> str:
    """`from_mean` leads from E[T] back to the slots."""
    family = case.family
    if not family.has_mean_map or not case.estimated:
        raise Skip("no from_mean")
    means = np.stack([_mean_features(case, index)[0] for index in case.cells])
    statistics = (means[:, 1:],) if family.event_ndim else np.moveaxis(means[:, 1:], 1, 0)
    solve: Any = family.from_mean
    found = solve(*statistics, **family.known_of_cells(case.slots))
    worst = 0.0
    for name, value in zip(case.estimated, found, strict=True):
        true = case.slots[name]
        gap = float(np.abs(_reduced(value, true) - true).max() / (1 + np.abs(true).max()))
        worst = max(worst, gap)
        if not gap <= 10 * CLOSE:
            raise Fault("mean map", f"from_mean(E[T]) misses slot '{name}' by {gap:.3g}")
    return f"to {worst:.0e}"


def check_information(case: Case) -> str:
    """Entropy and divergence obey their laws."""
    family, slots = case.family, case.slots
    distances = family.divergence(slots, case.elsewhere)
    if np.any(np.abs(family.divergence(slots, slots)) > CLOSE) or np.any(distances < 0):
        raise Fault("divergence", "KL(p ‖ p) is not 0, or KL(p ‖ q) is below 0")
    entropy = family.entropy(slots)
    found = [-(mass @ log_density) for _, mass, log_density in case.atoms]
    gap = float(np.abs(entropy - found).max())
    if not gap <= CLOSE * (1 + np.abs(entropy).max()):
        raise Fault("entropy", f"differs from -E[log p] by {gap:.3g}")
    return f"entropy {', '.join(f'{value:.3g}' for value in entropy)}"


def twin_of(case: Case, index: int) -> Any:
    """The equivalent distribution of scipy.stats for one cell, or None."""
    from scipy import stats

    return case.family.scipy_twin(stats, **{k: v[index] for k, v in case.slots.items()})


def _difference(case: Case, x: Floats, index: int, other: int) -> Floats:
    """Our log-density minus scipy's: the parameters of `other`, the known values of `index`."""
    from scipy import stats

    names = case.estimated
    cell = {k: v[other if k in names else index] for k, v in case.slots.items()}
    ours = case.family.log_density_at(x, {k: v[None] for k, v in cell.items()})
    with np.errstate(all="ignore"):
        theirs = _twin_log_density(case.family.scipy_twin(stats, **cell), x)
        return np.where(theirs > FAINTEST, ours - theirs, np.nan)


def _twin_log_density(twin: Any, x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        try:
            return np.asarray(twin.logpmf(x), dtype=float).reshape(len(x))
        except AttributeError:
            return np.asarray(twin.logpdf(x), dtype=float).reshape(len(x))


def _pattern(table: Floats) -> str:
    """The culprit from differences [x, θ]: effects of x alone, of θ alone, or of both."""
    rows = table - table.mean(axis=0)
    columns = table - table.mean(axis=1, keepdims=True)
    both = rows - rows.mean(axis=1, keepdims=True)
    if np.abs(both).max() > CLOSE:
        return "sufficient statistics T or natural parameters"
    of_x, of_parameter = np.abs(rows).max() > CLOSE, np.abs(columns).max() > CLOSE
    if of_x and of_parameter:
        return "base measure and log-partition A"
    if of_parameter:
        return "log-partition A"
    return "base measure" if of_x else "base measure (or log-partition A, by a constant)"


def _inside(case: Case) -> tuple[Floats, dict[str, Floats]]:
    """A value of the support, and the known values of the first cell."""
    family = case.family
    known = {name: case.slots[name][:1] for name in family.known_slots}
    shape = (1, *family.event_shape)
    return np.broadcast_to(family.inside(**known), shape).astype(float), known


def _log_mass(case: Case, index: int) -> float:
    mass = case.atoms[index][1]
    with np.errstate(all="ignore"):
        return float(np.log(mass.sum()))


def _mean_features(case: Case, index: int) -> Floats:
    """E[φ] [1, P] under the density, normalised."""
    x, mass, _ = case.atoms[index]
    features = case.family.features_at(x, case.cell(index))
    return np.asarray(mass / mass.sum() @ features)[None]


def _moments(case: Case, index: int) -> tuple[Floats, Floats]:
    """Mean and variance (matrix) under the density, normalised."""
    x, mass, _ = case.atoms[index]
    share = mass / mass.sum()
    flat = x.reshape(len(x), -1)
    mean = share @ flat
    centred = flat - mean
    own = x.shape[1:]
    if not own:
        return np.asarray(mean[0]), np.asarray(share @ centred[:, 0] ** 2)
    return mean.reshape(own), ((centred * share[:, None]).T @ centred).reshape(*own, *own)


def _covariance_of_features(case: Case, index: int) -> Floats:
    """Cov[φ] [P, P] under the density, normalised."""
    x, mass, _ = case.atoms[index]
    features = case.family.features_at(x, case.cell(index))
    share = mass / mass.sum()
    centred = features - share @ features
    return np.asarray((centred * share[:, None]).T @ centred)


def _curvature(case: Case, index: int, scale: Floats) -> Floats | None:
    """∇²A [P - 1, P - 1] at one cell by differences; None where A is not a function of η.

    Args:
        case: the family.
        index: the cell.
        scale: the standard deviation of each statistic; η is measured in their inverses.
    """
    family, cell = case.family, case.cell(index)
    if type(family).log_partition is Family.log_partition:
        return None
    known = family.known_of_cells(cell)
    natural: Any = family.natural_parameters
    solve: Any = family.log_partition
    parts = natural(**{name: cell[name] for name in family.estimable}, **known)
    edges = np.cumsum([0, *(part[0].size for part in parts)])

    def partition(flat: Floats) -> Floats:
        found = []
        for k, part in enumerate(parts):
            piece = (flat / scale)[:, edges[k] : edges[k + 1]].reshape(len(flat), *part.shape[1:])
            found.append((piece + np.swapaxes(piece, 1, 2)) / 2 if piece.ndim == 3 else piece)
        with np.errstate(all="ignore"):
            return np.asarray(solve(*found, **known), dtype=float).reshape(len(flat))

    eta = np.concatenate([np.reshape(part, (1, -1)) for part in parts], axis=1) * scale
    try:
        return np.asarray(_numeric.hessian(partition, eta, np.full(eta.shape, _numeric.STEP))[0])
    except NotImplementedError:
        return None


def _tilted_mean_fits(case: Case) -> bool:
    """Whether h exp(T·η), normalised by summation, has the declared mean and variance."""
    if type(case.family).moments is Family.moments:
        return False
    declared = case.family.moments(case.slots)
    return all(
        np.allclose(part[index], true, rtol=1e-4, atol=1e-6)
        for index in case.cells
        for part, true in zip(declared, _moments(case, index), strict=True)
    )


def _coefficient_slope(family: Family, cell: dict[str, Floats], free: Floats, axis: int) -> Floats:
    """dθ / d(one free coordinate) [1, P], by fourth-order differences."""
    total: Floats = np.zeros(1)
    for offset, weight in _numeric.OFFSETS:
        moved = free.copy()
        moved[:, axis] += offset * _numeric.STEP
        total = total + weight * family.coefficients({**cell, **family.from_free(moved, cell)})
    return total / (12 * _numeric.STEP)


def _reduced(value: Floats, like: Floats) -> Floats:
    """A covariance matrix in the structure of `like`: its diagonal, or the mean of that."""
    if value.ndim == 3 and like.ndim < 3:
        value = np.einsum("cdd->cd", value)
    return value.mean(axis=-1) if value.ndim == 2 and like.ndim == 1 else value
