"""Rules that sum or integrate a density over its support: values and log weights.

A rule is a pair `(x, log w)` with `∑ f(x) w = ∫ f`.  Ranges and scales are found from the density
itself, so a family need not say where its mass lies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from pgem.arrays import Floats, Mask

Rule = tuple[Floats, Floats]
LogDensity = Callable[[Floats], Floats]
Contains = Callable[[Floats], Mask]

NEGLIGIBLE = 50.0
"""Terms that are smaller than the largest by this many nats are left out."""
MOST_COUNTS = 2**20
SMALL, LARGE = 1e-300, 1e300


def count_rule(log_density: LogDensity, contains: Contains, inside: float) -> Rule:
    """Integers of the support, as far as the terms matter."""
    low = _edge(contains, inside, -1.0, whole=True)
    high = _edge(contains, inside, 1.0, whole=True)
    size = 64
    while True:
        first = low if np.isfinite(low) else inside - size
        x = np.arange(first, min(high, inside + size) + 1)
        x = x[contains(x)]
        terms = log_density(x)
        ends = [terms[len(x) - len(x) // 4 :], terms[: 0 if np.isfinite(low) else len(x) // 4]]
        whole = x[-1] == high and np.isfinite(low)
        faded = max(np.max(end, initial=-np.inf) for end in ends) < terms.max() - NEGLIGIBLE
        if whole or faded or size >= (MOST_COUNTS if terms.max() > -np.inf else 4096):
            return x, np.zeros(len(x))
        size *= 4


def line_rule(
    log_density: LogDensity, contains: Contains, inside: float, hint: tuple[float, float] | None
) -> Rule:
    """Double-exponential quadrature over an interval, refined until the mass settles.

    Args:
        log_density: of values [M].
        contains: the support, an interval.
        inside: a value of the support.
        hint: a guess of location and scale, where there is one.
    """
    low, high = _edge(contains, inside, -1.0), _edge(contains, inside, 1.0)
    centre, scale = hint or (inside, 1.0)
    before = np.nan
    for level in range(7):
        x, log_weight = _double_exponential(low, high, centre, scale, 500 * 2**level)
        keep = contains(x)
        x, log_weight = x[keep], log_weight[keep]
        terms = log_density(x) + log_weight
        mass = np.logaddexp.reduce(terms)
        if not np.isfinite(mass) or abs(mass - before) < 1e-12:
            break
        before = mass
        centre, scale = _spread(x, np.exp(terms - mass), scale)
    return x, log_weight


def plane_rule(contains: Contains, mean: Floats, cov: Floats) -> Rule:
    """A product rule over all of R^D, in coordinates whitened by the moments; D up to 2."""
    if len(mean) > 2:
        raise NotImplementedError("vectors of more than two coordinates need their own nodes()")
    t = np.linspace(-6.5, 6.5, 131)
    log_step = np.log(np.cosh(t) * (t[1] - t[0]))
    grid = np.stack(np.meshgrid(*[np.sinh(t)] * len(mean), indexing="ij"), axis=-1)
    steps = np.stack(np.meshgrid(*[log_step] * len(mean), indexing="ij"), axis=-1)
    lower = np.linalg.cholesky(cov)
    x = mean + grid.reshape(-1, len(mean)) @ lower.T
    log_weight = steps.reshape(-1, len(mean)).sum(axis=1) + np.log(np.diag(lower)).sum()
    keep = contains(x)
    return x[keep], log_weight[keep]


def _double_exponential(low: float, high: float, centre: float, scale: float, n: int) -> Rule:
    """Nodes and log weights on (low, high), the trapezoidal rule after a change of variable."""
    if np.isfinite(low) and np.isfinite(high):
        t = np.linspace(-5.4, 5.4, n)
        u = np.pi * np.sinh(t)
        x = low + (high - low) / (1 + np.exp(-u))
        slope = np.log(high - low) - np.logaddexp(0, u) - np.logaddexp(0, -u)
        slope += np.log(np.pi * np.cosh(t))
    elif np.isfinite(low) or np.isfinite(high):
        t = np.linspace(-6.0, 4.2, n)
        edge, sign = (low, 1.0) if np.isfinite(low) else (high, -1.0)
        u = np.pi / 2 * np.sinh(t) + np.log(max(abs(centre - edge), SMALL))
        x = edge + sign * np.exp(u)
        slope = u + np.log(np.pi / 2 * np.cosh(t))
    else:
        t = np.linspace(-4.2, 4.2, n)
        u = np.pi / 2 * np.sinh(t)
        x = centre + scale * np.sinh(u)
        slope = np.log(scale) + np.log(np.cosh(u)) + np.log(np.pi / 2 * np.cosh(t))
    return x, slope + np.log(t[1] - t[0])


def _spread(x: Floats, mass: Floats, scale: float) -> tuple[float, float]:
    """Median and half the central two thirds; quantiles, since moments may not exist."""
    order = np.argsort(x)
    below = np.cumsum(mass[order])
    places = np.searchsorted(below, [1 / 6, 1 / 2, 5 / 6]).clip(max=len(x) - 1)
    left, middle, right = x[order][places]
    width = (right - left) / 2
    return float(middle), float(width) if 0 < width < LARGE else scale


@lru_cache(maxsize=256)
def _edge(contains: Contains, inside: float, sign: float, *, whole: bool = False) -> float:
    """The end of the support on one side of `inside`, by bisection; whole numbers only if asked."""
    good, bad = float(inside), sign * (2.0**52 if whole else LARGE)
    if _holds(contains, bad):
        return sign * np.inf
    while True:
        middle = good + (bad - good) / 2
        middle = float(np.trunc(middle)) if whole else middle
        if middle in (good, bad) or (not whole and abs(bad - good) < SMALL):
            edge = good if whole else bad
            return 0.0 if abs(edge) < SMALL else edge
        good, bad = (middle, bad) if _holds(contains, middle) else (good, middle)


def _holds(contains: Contains, value: float) -> bool:
    return bool(contains(np.array([value]))[0])


def simplex_rule(size: int) -> Rule:
    """A product rule over shares of `size` parts, by breaking a stick; up to three parts."""
    if size > 3:
        raise NotImplementedError("shares of more than three parts need their own nodes()")
    t = np.linspace(-4.9, 4.9, 2000 if size == 2 else 300)
    u = np.pi * np.sinh(t)
    taken, left = 1 / (1 + np.exp(-u)), 1 / (1 + np.exp(u))
    slope = -np.logaddexp(0, u) - np.logaddexp(0, -u) + np.log(np.pi * np.cosh(t) * (t[1] - t[0]))
    rows, log_weight = np.ones((1, 1)), np.zeros(1)
    for parts in range(1, size):
        rest = rows[:, None, :] * left[:, None]
        first = np.broadcast_to(taken[:, None], (*rest.shape[:2], 1))
        rows = np.concatenate([first, rest], axis=2).reshape(-1, parts + 1)
        log_weight = (log_weight[:, None] + slope + (parts - 1) * np.log(left)).ravel()
    keep = (rows > 0).all(axis=1)
    return rows[keep], log_weight[keep]


def sphere_rule(size: int) -> Rule:
    """Unit vectors in the plane or in space with weights that sum to the sphere's measure."""
    if size not in (2, 3):
        raise NotImplementedError("directions beyond three dimensions need their own nodes()")
    n = 720 if size == 2 else 240
    angle = 2 * np.pi * np.arange(n) / n
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if size == 2:
        return circle, np.full(n, np.log(2 * np.pi / n))
    height, weight = np.polynomial.legendre.leggauss(120)
    ring = np.sqrt(1 - height**2)[:, None, None] * circle
    rows = np.concatenate([ring, np.broadcast_to(height[:, None, None], (120, n, 1))], axis=2)
    return rows.reshape(-1, 3), np.repeat(np.log(weight * 2 * np.pi / n), n)
