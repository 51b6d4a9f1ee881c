"""Gated log-densities of every family against the expression that one would write by hand.

    python -m benchmarks.families            a million values under eight gates

Both start from plain values: nothing is kept from an earlier call; "again" is a call on features
that are kept.  Times are the best of several runs on one thread, in a process of their own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln, i0e, ive, log_ndtr, multigammaln, xlog1py

from pgem import families

Floats = NDArray[np.float64]
LOG_2PI = float(np.log(2 * np.pi))


def by_hand() -> dict[str, Callable[..., Any]]:
    """Family → its log-density of a column x [N, 1, ...] under slots [C, ...]."""
    log, log1p, sqrt, pi = np.log, np.log1p, np.sqrt, np.pi
    return {
        "Bernoulli": lambda x, prob: x * log(prob) + (1 - x) * log1p(-prob),
        "Beta": lambda x, a, b: (a - 1) * log(x) + (b - 1) * log1p(-x) - betaln(a, b),
        "Binomial": lambda x, prob, trials: (
            gammaln(trials + 1) - gammaln(x + 1) - gammaln(trials - x + 1)
            + x * log(prob) + (trials - x) * log1p(-prob)
        ),
        "Categorical": lambda x, probs: log(probs).T[x[:, 0].astype(int)],
        "ChiSquared": lambda x, df: (
            (df / 2 - 1) * log(x) - x / 2 - gammaln(df / 2) - df / 2 * log(2)
        ),
        "Dirac": lambda x, value: np.where(x == value, 0.0, -np.inf),
        "Dirichlet": lambda x, concentration: (
            gammaln(concentration.sum(-1)) - gammaln(concentration).sum(-1)
            + ((concentration - 1) * log(x)).sum(-1)
        ),
        "Exponential": lambda x, rate: log(rate) - rate * x,
        "Gamma": lambda x, shape, rate: (
            shape * log(rate) - gammaln(shape) + (shape - 1) * log(x) - rate * x
        ),
        "Geometric": lambda x, prob: log(prob) + xlog1py(x, -prob),
        "HalfNormal": lambda x, scale: (
            0.5 * log(2 / pi) - log(scale) - 0.5 * x**2 / scale**2
        ),
        "InverseGamma": lambda x, shape, scale: (
            shape * log(scale) - gammaln(shape) - (shape + 1) * log(x) - scale / x
        ),
        "InverseGaussian": lambda x, mean, shape: (
            0.5 * log(shape) - 0.5 * LOG_2PI - 1.5 * log(x)
            - shape * (x - mean) ** 2 / (2 * mean**2 * x)
        ),
        "InverseWishart": _inverse_wishart,
        "Laplace": lambda x, scale, location: -log(2 * scale) - np.abs(x - location) / scale,
        "LogNormal": lambda x, mean, var: (
            -log(x) - 0.5 * (LOG_2PI + log(var)) - (log(x) - mean) ** 2 / (2 * var)
        ),
        "Logarithmic": lambda x, prob: x * log(prob) - log(x) - log(-log1p(-prob)),
        "Maxwell": lambda x, scale: (
            0.5 * log(2 / pi) + 2 * log(x) - 3 * log(scale) - x**2 / (2 * scale**2)
        ),
        "Multinomial": lambda x, probs: (
            gammaln(x.sum(-1) + 1) - gammaln(x + 1).sum(-1) + (x * log(probs)).sum(-1)
        ),
        "MvNormal": _mv_normal,
        "NegativeBinomial": lambda x, prob, size: (
            gammaln(x + size) - gammaln(size) - gammaln(x + 1) + size * log(prob)
            + x * log1p(-prob)
        ),
        "Normal": lambda x, mean, var: -0.5 * (LOG_2PI + log(var)) - (x - mean) ** 2 / (2 * var),
        "Pareto": lambda x, shape, scale: (
            log(shape) + shape * log(scale) - (shape + 1) * log(x)
        ),
        "Poisson": lambda x, rate: x * log(rate) - rate - gammaln(x + 1),
        "Rayleigh": lambda x, scale: log(x) - 2 * log(scale) - x**2 / (2 * scale**2),
        "TruncatedNormal": lambda x, mean, var, low, high: (
            -0.5 * (LOG_2PI + log(var)) - (x - mean) ** 2 / (2 * var)
            - log(np.exp(log_ndtr((high - mean) / sqrt(var)))
                  - np.exp(log_ndtr((low - mean) / sqrt(var))))
        ),
        "TruncatedPoisson": lambda x, rate: x * log(rate) - log(np.expm1(rate)) - gammaln(x + 1),
        "Uniform": lambda x, low, high: (
            np.where((x >= low) & (x <= high), -log(high - low), -np.inf)
        ),
        "VonMises": lambda x, mean, concentration: (
            concentration * np.cos(x - mean) - LOG_2PI - log(i0e(concentration)) - concentration
        ),
        "VonMisesFisher": lambda x, mean, concentration: (
            concentration * (x * mean).sum(-1) + 0.5 * log(concentration) - 1.5 * LOG_2PI
            - log(ive(0.5, concentration)) - concentration
        ),
        "Weibull": lambda x, shape, scale: (
            log(shape / scale) + (shape - 1) * log(x / scale) - (x / scale) ** shape
        ),
        "Wishart": _wishart,
        "Zipf": lambda x, exponent, ranks: (
            -exponent * log(x) - log((np.arange(1, ranks[0] + 1)[:, None] ** -exponent).sum(0))
        ),
    }  # fmt: skip


def _mv_normal(x: Floats, mean: Floats, cov: Floats) -> Floats:
    out = np.empty((len(x), len(mean)))
    for k, (centre, spread) in enumerate(zip(mean, cov, strict=True)):
        lower = np.linalg.cholesky(spread)
        z = np.linalg.solve(lower, (x[:, 0] - centre).T)
        out[:, k] = -0.5 * (z**2).sum(0) - np.log(np.diag(lower)).sum() - len(centre) / 2 * LOG_2PI
    return out


def _wishart(x: Floats, scale: Floats, df: Floats) -> Floats:
    size = scale.shape[-1]
    constant = df / 2 * np.linalg.slogdet(2 * scale)[1] + multigammaln_of(df / 2, size)
    traces = np.einsum("kij,nij->nk", np.linalg.inv(scale), x[:, 0])
    logs = np.linalg.slogdet(x)[1]
    return (df - size - 1) / 2 * logs - traces / 2 - constant


def _inverse_wishart(x: Floats, scale: Floats, df: Floats) -> Floats:
    size = scale.shape[-1]
    constant = df / 2 * np.linalg.slogdet(scale / 2)[1] - multigammaln_of(df / 2, size)
    traces = np.einsum("kij,nij->nk", scale, np.linalg.inv(x[:, 0]))
    logs = np.linalg.slogdet(x)[1]
    return constant - (df + size + 1) / 2 * logs - traces / 2


def multigammaln_of(a: Floats, size: int) -> Floats:
    """log Γ_d of several numbers."""
    return np.array([multigammaln(value, size) for value in a])


SIZES = {
    "Categorical": 4, "Dirichlet": 3, "InverseWishart": 3, "Multinomial": 4, "MvNormal": 2,
    "VonMisesFisher": 3, "Wishart": 3,
}  # fmt: skip


def case(name: str, n: int, gates: int) -> tuple[Any, Floats, dict[str, Floats]]:
    """A settled family, values drawn from it, and slots per gate."""
    from pgem.testing._case import random_slots

    rng = np.random.default_rng(0)
    family = getattr(families, name)().settled(SIZES.get(name), {})
    slots = {k: np.asarray(v) for k, v in random_slots(family, gates, rng).items()}
    known = {  # what is known is the same for all rows
        k: np.resize(v if k in slots else v[:1], gates) for k, v in family.examples.items()
    }
    row = rng.integers(gates, size=n)
    drawn = family.draw(rng, {k: v[row] for k, v in {**slots, **known}.items()})
    return family, drawn, {s.name: {**slots, **known}[s.name] for s in family.slots}


def best(function: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(name: str, hand: Callable[..., Any], n: int, gates: int, repeats: int) -> list[float]:
    """Seconds by hand, of a first call and of a call on kept features; largest difference."""
    family, x, slots = case(name, n, gates)
    known = {k: np.full(n, slots[k][0]) for k in family.known_slots}
    column = x[:, None]
    kept = family.observe(x, known)
    ours = family.log_density(kept, slots)
    with np.errstate(invalid="ignore"):  # -inf - -inf
        gap = float(np.nanmax(np.abs(ours - hand(column, **slots)), initial=0.0))
    return [
        best(lambda: hand(column, **slots), repeats),
        best(lambda: family.log_density(family.observe(x, known), slots), repeats),
        best(lambda: family.log_density(kept, slots), repeats),
        gap,
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--gates", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        command = [sys.executable, "-m", "benchmarks.families", *sys.argv[1:]]
        subprocess.run(command, check=True, env={**os.environ, **dict.fromkeys(names, "1")})
        return
    print("| family | by hand, ms | pgem, ms | ratio | pgem again, ms | difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, hand in by_hand().items():
        found = measure(name, hand, options.rows, options.gates, options.repeats)
        hand_ms, ours, again = (1e3 * t for t in found[:3])
        ratio = f"{ours / hand_ms:.2f}"
        print(f"| {name} | {hand_ms:.0f} | {ours:.0f} | {ratio} | {again:.0f} | {found[3]:.0e} |")


if __name__ == "__main__":
    main()
