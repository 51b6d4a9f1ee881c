"""Log-likelihoods of single models as their textbooks write them, one unit after another.

For the models of the zoo that no general oracle reads: links, conjugate latents, durations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, log_softmax, logsumexp

Floats = NDArray[np.float64]
Values = Mapping[str, Any]
"""Data, or parameters, by name."""


def seen(log_p: Any, value: Any) -> Any:
    """A log-density, or zero where the value is missing."""
    return np.where(np.isnan(value), 0.0, log_p)


def mixture(log_weights: Any, log_densities: Any) -> Floats:
    """log Σ_z p(z) p(x | z): both [n, z]."""
    return np.asarray(logsumexp(np.add(log_weights, log_densities), axis=-1))


def lines(slope: Any, x: Any, intercept: Any) -> Floats:
    """slope_z · x + intercept_z [n, z]."""
    return np.asarray(x)[:, None] * slope + np.asarray(intercept)


def normal(x: Any, mean: Any, var: Any) -> Any:
    """log N(x | mean, var); zero where x is missing."""
    return seen(stats.norm.logpdf(np.nan_to_num(x), mean, np.sqrt(var)), x)


def mixture_of_poisson_regressions(d: Values, p: Values) -> Floats:
    """Σ_z w_z Poisson(y | exp(slope_z x + intercept_z))."""
    y = np.asarray(d["y"])[:, None]
    rate = np.exp(lines(p["slope"], d["x"], p["intercept"]))
    return mixture(np.log(p["z.probs"]), seen(stats.poisson.logpmf(np.nan_to_num(y), rate), y))


def mixture_of_logistic_regressions(d: Values, p: Values) -> Floats:
    """Σ_z w_z Binomial(y | 6, logistic(slope_z x + level_z))."""
    y = np.asarray(d["y"])[:, None]
    prob = expit(lines(p["slope"], d["x"], p["level"]))
    return mixture(np.log(p["z.probs"]), seen(stats.binom.logpmf(np.nan_to_num(y), 6, prob), y))


def mixture_of_experts(d: Values, p: Values) -> Floats:
    """Σ_z softmax(W x + b)_z N(y | slope_z x + intercept_z, var_z)."""
    gates = log_softmax(lines(p["W"], d["x"], p["b"]), axis=-1)
    means = lines(p["slope"], d["x"], p["intercept"])
    return mixture(gates, normal(np.asarray(d["y"])[:, None], means, p["var"]))


def input_output_hidden_markov(d: Values, p: Values) -> Floats:
    """Σ over all paths; transitions softmax(W_s x_t + b_s)."""
    found = []
    for x, y in zip(d["x"], d["y"], strict=True):
        moves = log_softmax(p["W"] * np.asarray(x)[:, None, None] + p["b"], axis=-1)
        paths = []
        for path in itertools.product(range(2), repeat=len(y)):
            log_p = np.log(p["s.first.probs"][path[0]])
            log_p += sum(moves[t, path[t - 1], path[t]] for t in range(1, len(y)))
            states = list(path)
            paths.append(log_p + normal(y, p["y.mean"][states], p["y.var"][states]).sum())
        found.append(logsumexp(paths))
    return np.array(found)


def stationary_hidden_markov(d: Values, p: Values) -> Floats:
    """Σ over all paths, which begin in the left eigenvector of the transition table."""
    roots, vectors = np.linalg.eig(np.asarray(p["s.probs"]).T)
    first = np.real(vectors[:, np.argmax(np.real(roots))])
    first, found = first / first.sum(), []
    for y in d["y"]:
        paths = []
        for path in itertools.product(range(2), repeat=len(y)):
            log_p = np.log(first[path[0]])
            log_p += sum(np.log(p["s.probs"][a, b]) for a, b in itertools.pairwise(path))
            rates = p["y.rate"][list(path)]
            paths.append(log_p + seen(stats.poisson.logpmf(np.nan_to_num(y), rates), y).sum())
        found.append(logsumexp(paths))
    return np.array(found)


def explicit_durations(d: Values, p: Values) -> Floats:
    """Σ over all segmentations; a state lasts 1 + Poisson steps, the last may be cut off."""
    with np.errstate(divide="ignore"):
        moves, first = np.log(p["s.probs"]), np.log(p["s.first.probs"])

    def unit(y: Any) -> float:
        y = np.asarray(y)

        def rest(start: int, state: int) -> float:
            """log p(y from start on) if a segment of this state begins there."""
            rate, mean, var = (p[f"{n}"][state] for n in ("s.duration.rate", "y.mean", "y.var"))
            left = len(y) - start
            inside = normal(y[start:], mean, var)
            parts = [stats.poisson.logsf(left - 2, rate) + inside.sum()]
            for length in range(1, left):
                after = [moves[state, k] + rest(start + length, k) for k in range(len(first))]
                here = stats.poisson.logpmf(length - 1, rate) + inside[:length].sum()
                parts.append(here + logsumexp(after))
            return float(logsumexp(parts))

        return float(logsumexp([first[k] + rest(0, k) for k in range(len(first))]))

    return np.array([unit(y) for y in d["y"]])


def student_t(d: Values, p: Values) -> Floats:
    """Five degrees of freedom."""
    x = np.asarray(d["x"])
    return np.asarray(seen(stats.t.logpdf(x, 5.0, p["mean"], np.sqrt(p["scale"])), x))


def gamma_poisson(d: Values, p: Values) -> Floats:
    """A negative binomial."""
    y, rate = np.asarray(d["y"]), p["lam.rate"]
    log_p = stats.nbinom.logpmf(np.nan_to_num(y), p["lam.shape"], rate / (1 + rate))
    return np.asarray(seen(log_p, y))


def negative_binomial_regression(d: Values, p: Values) -> Floats:
    """NB2 with mean exp(slope x + level)."""
    y, mean = np.asarray(d["y"]), np.exp(p["slope"] * np.asarray(d["x"]) + p["level"])
    log_p = stats.nbinom.logpmf(np.nan_to_num(y), p["a"], p["a"] / (p["a"] + mean))
    return np.asarray(seen(log_p, y))


def zero_inflated_negative_binomial_regression(d: Values, p: Values) -> Floats:
    """A zero, or NB2."""
    y = np.asarray(d["y"])
    atom = np.where((y == 0) | np.isnan(y), 0.0, -np.inf)
    both = np.stack([atom, negative_binomial_regression(d, p)], axis=1)
    return mixture(np.log(p["z.probs"]), both)


def beta_binomial(d: Values, p: Values) -> Floats:
    """Of twelve trials."""
    y = np.asarray(d["y"])
    return np.asarray(seen(stats.betabinom.logpmf(np.nan_to_num(y), 12, p["p.a"], p["p.b"]), y))


def dirichlet_multinomial(d: Values, p: Values) -> Floats:
    """Rows of counts."""
    found = []
    for y in np.asarray(d["y"]):
        whole = not np.isnan(y).any()
        row = stats.dirichlet_multinomial(p["theta.concentration"], y.sum()) if whole else None
        found.append(row.logpmf(y) if row else 0.0)
    return np.array(found)


def counts_that_remember_the_state_before(d: Values, p: Values) -> Floats:
    """Σ over all paths; a count is negative binomial given the states of two steps."""

    def steps(path: tuple[int, ...], y: Floats) -> float:
        log_p, shape, rate = np.log(p["s.first.probs"][path[0]]), 2.0, 1.0
        for t, state in enumerate(path):
            if t:
                log_p += np.log(p["s.probs"][path[t - 1], state])
                shape, rate = p["shape"][path[t - 1], state], p["rate"][state]
            share = rate / (1 + rate)
            log_p += seen(stats.nbinom.logpmf(np.nan_to_num(y[t]), shape, share), y[t])
        return float(log_p)

    paths = [itertools.product(range(2), repeat=len(y)) for y in d["y"]]
    return np.array(
        [logsumexp([steps(path, y) for path in each])
         for each, y in zip(paths, d["y"], strict=True)]
    )  # fmt: skip


FORMULAS: dict[str, Callable[[Values, Values], Floats]] = {
    f.__name__: f
    for f in (
        mixture_of_poisson_regressions,
        mixture_of_logistic_regressions,
        mixture_of_experts,
        input_output_hidden_markov,
        stationary_hidden_markov,
        explicit_durations,
        student_t,
        gamma_poisson,
        beta_binomial,
        dirichlet_multinomial,
        negative_binomial_regression,
        zero_inflated_negative_binomial_regression,
        counts_that_remember_the_state_before,
    )
}
