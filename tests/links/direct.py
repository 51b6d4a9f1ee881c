"""Likelihoods of models with links written down directly, and their numerical maxima."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, gammaln, log_softmax, logsumexp

from pgem.arrays import Floats

Likelihood = Callable[[dict[str, Floats]], float]


def log_bernoulli(y: Floats, eta: Floats) -> Floats:
    """log p(y) of 0 and 1 under log-odds."""
    return np.where(y > 0, np.log(expit(eta)), np.log(expit(-eta)))


def log_poisson(y: Floats, eta: Floats) -> Floats:
    """log p(y) of counts under log-rates."""
    return y * eta - np.exp(eta) - gammaln(y + 1)


def log_chain(first: Floats, steps: Floats, emission: Floats) -> float:
    """log p of one sequence, every path enumerated.

    Args:
        first: log p(s_1) [K].
        steps: log p(s_t | s_(t-1)) for t = 2, … [T - 1, K, K].
        emission: log p(y_t | s_t) [T, K].
    """
    n_steps, size = emission.shape
    paths = np.indices((size,) * n_steps).reshape(n_steps, -1)
    total = first[paths[0]] + emission[0, paths[0]]
    for t in range(1, n_steps):
        total = total + steps[t - 1, paths[t - 1], paths[t]] + emission[t, paths[t]]
    return float(logsumexp(total))


def best(likelihood: Likelihood, start: dict[str, Floats], free: dict[str, Floats]) -> float:
    """The numerical maximum near a start, in the entries that `free` marks."""
    names = list(start)
    masks = {name: np.asarray(free.get(name, np.ones(np.shape(start[name]))), bool)
             for name in names}  # fmt: skip

    def unpack(flat: Floats) -> dict[str, Floats]:
        found, place = {}, 0
        for name in names:
            value = np.array(start[name], dtype=float)
            count = int(masks[name].sum())
            value[masks[name]] = flat[place : place + count]
            found[name], place = value, place + count
        return found

    flat = np.concatenate([np.asarray(start[n], float)[masks[n]].ravel() for n in names])
    found = minimize(lambda v: -likelihood(unpack(v)), flat, method="BFGS", options={"gtol": 1e-7})
    return float(-found.fun)


__all__ = [
    "best",
    "expit",
    "log_bernoulli",
    "log_chain",
    "log_poisson",
    "log_softmax",
    "logsumexp",
]
