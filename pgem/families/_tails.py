"""Sums over the upper tail of a distribution on whole numbers, as a rule of values and log weights.

A tail may be long (a duration of a million steps) while its terms change smoothly.  So it is cut
into blocks that double, and within a block the sum is taken at the nodes of the Gauss rule for
equally spaced points, which is exact for polynomials of degree 2 NODES - 1.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from pgem.arrays import Floats
from pgem.families._family import Family
from pgem.families._integration import LogDensity, Rule, _edge

NODES = 32
STEEP = 25.0
"""Most nats by which the terms of one block may differ."""
NEGLIGIBLE = 42.0
"""What is left below e^-42 of the sum is left out."""
MOST_BLOCKS = 1000
DENSE = 8 * NODES
FAR = 1e100
"""Values beyond count nothing."""


def lowest_value(family: Family) -> float | None:
    """The lowest value of a family on whole numbers from 0 or above; None for any other."""
    if family.event_ndim or not family.support.discrete:
        return None
    if type(family).domain is not Family.domain:
        domain = family.domain()
        values = np.zeros(1) if domain is None else domain
        whole = bool((values == np.floor(values)).all()) and values.min() >= 0
        return float(values.min()) if whole else None
    tried = np.array([-1.0, 0.5, 1.5])
    if family.support.contains(tried).any():
        return None
    low = np.arange(64.0)
    inside = family.support.contains(low)
    return float(low[np.argmax(inside)]) if inside.any() else None


def steps_before(family: Family) -> float:
    """What is added to a value to count steps from 1: 1 for a family that starts at 0, else 0."""
    return 1.0 - min(lowest_value(family) or 0.0, 1.0)


def last_value(family: Family, known: dict[str, Floats]) -> float:
    """The highest value of a family on whole numbers at these known slots [1]; may be infinite."""
    domain = family.domain()
    if domain is not None:
        return float(domain.max())
    contains = partial(family.possible, **known)
    inside = float(np.ravel(family.inside(**known))[0])
    return _edge(contains, inside, 1.0, whole=True)


def tail_rule(log_density: LogDensity, after: float, last: float) -> Rule:
    """Values beyond `after`, up to `last`, with `Σ f(x) w = Σ_x f(x)` for f like the density.

    Args:
        log_density: of values [M], with one maximum beyond `after`.
        after: whole number from which on values count (itself not).
        last: the highest possible value, or infinity.
    """
    if last - after <= DENSE:
        x = np.arange(after + 1, last + 1)
        return x, np.zeros(len(x))
    top = _summit(log_density, after + 1, last)
    parts = list(_blocks(log_density, top, last, 1.0))
    parts += _blocks(log_density, top - 1, after + 1, -1.0)
    if not parts:
        return np.zeros(0), np.zeros(0)
    x, log_weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(x)
    return x[order], log_weight[order]


def _summit(log_density: LogDensity, low: float, high: float) -> float:
    """Where the terms are largest, to within a few values."""
    high = min(high, low + 2.0**52)
    steps = 2.0 ** np.arange(0, np.log2(high - low + 1))
    x = np.concatenate([[low], low + steps])
    x = x[x <= high]
    while True:
        best = int(np.argmax(log_density(x)))
        low, high = x[max(best - 1, 0)], x[min(best + 1, len(x) - 1)]
        if high - low <= NODES:
            return float(x[best])
        x = np.unique(np.floor(np.linspace(low, high, NODES + 1)))


def _blocks(log_density: LogDensity, start: float, end: float, sign: float) -> list[Rule]:
    """Blocks from `start` towards `end`, as far as they matter."""
    found: list[Rule] = []
    size, total = float(NODES), -np.inf
    while sign * (end - start) >= 0 and len(found) < MOST_BLOCKS and abs(start) < FAR:
        size = min(size, sign * (end - start) + 1)
        offsets, log_weight = _gauss_sum(int(size))
        x = start + sign * offsets
        terms = log_density(x)
        if not terms.max() > -np.inf:
            break
        if size > NODES and terms.max() - terms.min() > STEEP:
            size = max(size // 2, float(NODES))
            continue
        found.append((x, log_weight))
        total = np.logaddexp(total, np.logaddexp.reduce(terms + log_weight))
        start += sign * size
        if terms[-1] + np.log(abs(start - found[0][0][0]) + 1) < total - NEGLIGIBLE:
            break
        size *= 2
    return found


@lru_cache(maxsize=256)
def _gauss_sum(n: int) -> Rule:
    """Nodes on 0 … n - 1 and log weights: the Gauss rule of the sum (Gram polynomials)."""
    if n <= NODES:
        return np.arange(float(n)), np.zeros(n)
    k = np.arange(1.0, NODES)
    beside = np.sqrt(k**2 * (float(n) ** 2 - k**2) / (4 * (4 * k**2 - 1)))
    jacobi = np.diag(beside, 1) + np.diag(beside, -1)
    roots, vectors = np.linalg.eigh(jacobi)
    return roots + (n - 1) / 2, np.log(n * vectors[0] ** 2)
