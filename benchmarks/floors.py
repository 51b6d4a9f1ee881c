"""The least that an iteration can cost: its arithmetic as matrix products, and its exponentials.

A floor takes the sufficient statistics for granted and everything else for free: memory, loops,
logarithms, the M-step.  Rates are measured in the process that is timed: double-precision matrix
products of the size of a tile, and NumPy's exponential on numbers in the cache.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from benchmarks.common import Arrays


class Work(NamedTuple):
    """Operations of one iteration.

    Attributes:
        flops: additions and multiplications.
        exponentials: exponentials.
    """

    flops: float
    exponentials: float


def seconds(work: Work) -> float:
    """The floor on this machine, now."""
    flops, exponentials = _rates()
    return work.flops / flops + work.exponentials / exponentials


def _rates() -> tuple[float, float]:
    """Floating-point operations and exponentials per second, the best of a few tries."""
    rng = np.random.default_rng(0)
    left, right, out = rng.normal(size=(16, 160)), rng.normal(size=(160, 256)), np.empty((16, 256))
    x = -rng.random(4096)
    product = _best(lambda: np.matmul(left, right, out=out))
    exponential = _best(lambda: np.exp(x))
    return 2 * 16 * 160 * 256 / product, x.size / exponential


def _best(work: object, times: int = 200) -> float:
    assert callable(work)
    found = []
    for _ in range(7):
        t0 = time.perf_counter()
        for _ in range(times):
            work()
        found.append((time.perf_counter() - t0) / times)
    return min(found)


def gaussian(data: Arrays, start: Arrays) -> Work:
    """Scores and moments of every row and component: two products with its features."""
    n, d = data["x"].shape
    k = len(start["mean"])
    features = d + (d * (d + 1) // 2 if start["cov"].ndim == 3 else d)
    return Work(4.0 * n * features * k + n * (features - d), n * k)


def clusters(data: Arrays, start: Arrays) -> Work:
    """The product of rows and centres, and one addition a number."""
    n, d = data["x"].shape
    return Work(2.0 * n * d * len(start["mean"]) + n * d, 0)


def chain(data: Arrays, start: Arrays) -> Work:
    """Forward, backward and transition statistics: a product with the transition table each."""
    y, k = data["y"], len(start["first"])
    lists = isinstance(y, list)
    n = sum(map(len, y)) if lists else len(y)
    flops = 6.0 * n * k * k
    if "probs" in start:
        return Work(flops + 2.0 * n * k, 0)
    d = y[0].shape[1] if lists else 1
    return Work(flops + 4.0 * n * (d + d * (d + 1) // 2) * k, n * k)


def classes(data: Arrays, start: Arrays) -> Work:
    """An addition a row, item and class, forward and back."""
    n, items = data["x"].shape
    return Work(2.0 * n * items * len(start["weights"]), n * len(start["weights"]))


def counts(data: Arrays, start: Arrays) -> Work:
    """Distinct counts."""
    distinct, k = len(np.unique(data["x"])), len(start["rate"])
    return Work(4.0 * distinct * k, distinct * k)


def diamond(data: Arrays, start: Arrays) -> Work:
    """Distinct rows, and all values of the two hidden nodes."""
    distinct = len(np.unique(np.stack([data["a"], data["d"]]), axis=1).T)
    hidden = start["g"].shape[1] * start["h"].shape[1]
    return Work(6.0 * distinct * hidden, distinct * hidden)


def factors(data: Arrays, start: Arrays) -> Work:
    """The matrix of second moments times the regression on the factors, twice."""
    d, k = data["x"].shape[1], start["loadings"].shape[1]
    return Work(4.0 * d * d * k + 6.0 * d * k * k, 0)


def states(data: Arrays, start: Arrays) -> Work:
    """Means of filter and smoother at the steady state, and second moments."""
    n, d = data["y"].shape
    k = len(start["A"])
    return Work(n * (4.0 * k * d + 8.0 * k * k + 2.0 * (k + d) * (k + d)), 0)


def waits(data: Arrays, start: Arrays) -> Work:
    """Two products with one number a row."""
    n, k = len(data["x"]), len(start["rate"])
    return Work(4.0 * n * k, n * k)


def mixtures(data: Arrays, start: Arrays) -> Work:
    """Scores and moments of all components, and the chain over the states."""
    n, d = data["y"].shape
    k, m, _ = start["mean"].shape
    features = d + d * (d + 1) // 2
    return Work(4.0 * n * features * k * m + 6.0 * n * k * k, n * k * m)


def analysers(data: Arrays, start: Arrays) -> Work:
    """Regression on the factors, residuals, and moments, in all components."""
    n, d = data["x"].shape
    k, _, q = start["loadings"].shape
    return Work(n * k * (4.0 * d * q + 4.0 * d + 2.0 * q * q + 2.0 * d * (q + 1)), n * k)
