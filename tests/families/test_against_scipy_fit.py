"""M-steps against `scipy.stats`: at least its likelihood, its values where closed-form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

import pgem as pg
from pgem.families import Family

N = 500
Read = Callable[[tuple[Any, ...]], dict[str, float]]

CASES: dict[str, tuple[Family, dict[str, float], Any, dict[str, float], Read, bool]] = {
    "Normal": (
        pg.Normal(), {}, stats.norm, {}, lambda p: {"mean": p[0], "var": p[1] ** 2}, True,
    ),
    "LogNormal": (
        pg.LogNormal(), {}, stats.lognorm, {"floc": 0},
        lambda p: {"mean": np.log(p[2]), "var": p[0] ** 2}, True,
    ),
    "Exponential": (
        pg.Exponential(), {}, stats.expon, {"floc": 0}, lambda p: {"rate": 1 / p[1]}, True,
    ),
    "Rayleigh": (
        pg.Rayleigh(), {}, stats.rayleigh, {"floc": 0}, lambda p: {"scale": p[1]}, True,
    ),
    "HalfNormal": (
        pg.HalfNormal(), {}, stats.halfnorm, {"floc": 0}, lambda p: {"scale": p[1]}, True,
    ),
    "Maxwell": (
        pg.Maxwell(), {}, stats.maxwell, {"floc": 0}, lambda p: {"scale": p[1]}, False,
    ),
    "Laplace": (
        pg.Laplace(location=0.3), {"location": 0.3}, stats.laplace, {"floc": 0.3},
        lambda p: {"scale": p[1]}, True,
    ),
    "Pareto": (
        pg.Pareto(scale=2.0), {"scale": 2.0}, stats.pareto, {"floc": 0, "fscale": 2.0},
        lambda p: {"shape": p[0]}, True,
    ),
    "InverseGaussian": (
        pg.InverseGaussian(), {}, stats.invgauss, {"floc": 0},
        lambda p: {"mean": p[0] * p[2], "shape": p[2]}, True,
    ),
    "Gamma": (
        pg.Gamma(), {}, stats.gamma, {"floc": 0},
        lambda p: {"shape": p[0], "rate": 1 / p[2]}, False,
    ),
    "InverseGamma": (
        pg.InverseGamma(), {}, stats.invgamma, {"floc": 0},
        lambda p: {"shape": p[0], "scale": p[2]}, False,
    ),
    "Beta": (
        pg.Beta(), {}, stats.beta, {"floc": 0, "fscale": 1},
        lambda p: {"a": p[0], "b": p[1]}, False,
    ),
    "ChiSquared": (
        pg.ChiSquared(), {}, stats.chi2, {"floc": 0, "fscale": 1}, lambda p: {"df": p[0]}, False,
    ),
    "Weibull": (
        pg.Weibull(shape=1.7), {"shape": 1.7}, stats.weibull_min, {"floc": 0, "f0": 1.7},
        lambda p: {"scale": p[2]}, False,
    ),
    "VonMises": (
        pg.VonMises(), {}, stats.vonmises, {"fscale": 1},
        lambda p: {"mean": p[1], "concentration": p[0]}, False,
    ),
}  # fmt: skip
"""Family, known slots, SciPy's distribution, what it holds, its answer as ours, closed form."""

TRUTH = {
    "Normal": {"mean": 2.0, "var": 3.0}, "LogNormal": {"mean": 1.0, "var": 0.4},
    "Exponential": {"rate": 0.7}, "Rayleigh": {"scale": 2.0}, "HalfNormal": {"scale": 2.0},
    "Maxwell": {"scale": 2.0}, "Laplace": {"scale": 2.0}, "Pareto": {"shape": 1.8},
    "InverseGaussian": {"mean": 2.0, "shape": 5.0}, "Gamma": {"shape": 3.0, "rate": 0.5},
    "InverseGamma": {"shape": 3.0, "scale": 2.0}, "Beta": {"a": 2.0, "b": 5.0},
    "ChiSquared": {"df": 4.5}, "Weibull": {"scale": 3.0},
    "VonMises": {"mean": 0.5, "concentration": 2.0},
}  # fmt: skip


def fitted(family: Family, x: np.ndarray) -> dict[str, Any]:
    with pg.Model("one") as model:
        pg.observed("x", family)
    fit = model.fit({"x": x}, tol=0, max_iter=3)
    return {name.partition(".")[2]: value for name, value in fit.params.items()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_scipy_finds_nothing_better(name: str) -> None:
    family, known, theirs, held, read, closed = CASES[name]
    slots = {k: np.full(N, v) for k, v in {**TRUTH[name], **known}.items()}
    x = family.draw(np.random.default_rng(1), slots)
    found = fitted(family, x)
    answer = read(theirs.fit(x, **held))

    def total(values: dict[str, Any]) -> float:
        cell = {k: np.array([float(v)]) for k, v in {**values, **known}.items()}
        return float(family.log_density_at(x, cell).sum())

    assert total(found) >= total(answer) - 1e-9 * abs(total(answer))
    for slot, value in answer.items():
        np.testing.assert_allclose(found[slot], value, rtol=1e-6 if closed else 1e-2)


def test_directions() -> None:
    truth = {"mean": np.tile([0.0, 0.6, 0.8], (N, 1)), "concentration": np.full(N, 7.0)}
    x = pg.VonMisesFisher().settled(3, {}).draw(np.random.default_rng(2), truth)
    found = fitted(pg.VonMisesFisher(), x)
    mean, concentration = stats.vonmises_fisher.fit(x)
    np.testing.assert_allclose(found["mean"], mean, atol=1e-6)
    np.testing.assert_allclose(found["concentration"], concentration, rtol=1e-6)


def test_truncated_normal() -> None:
    """SciPy's search over four parameters is no judge: a fine grid around the answer is."""
    known = {"low": np.full(N, -1.0), "high": np.full(N, 2.0)}
    truth = {"mean": np.full(N, 0.2), "var": np.full(N, 1.1)}
    family = pg.TruncatedNormal(low=-1.0, high=2.0)
    x = family.draw(np.random.default_rng(3), {**truth, **known})
    found = fitted(family, x)

    def total(mean: float, var: float) -> float:
        sd = np.sqrt(var)
        return float(stats.truncnorm((-1 - mean) / sd, (2 - mean) / sd, mean, sd).logpdf(x).sum())

    best = total(found["mean"], found["var"])
    for shift in (-0.3, -0.01, 0.01, 0.3):
        for factor in (0.7, 0.99, 1.0, 1.01, 1.5):
            assert total(found["mean"] + shift, found["var"] * factor) <= best


@pytest.mark.parametrize("family", [pg.Logarithmic(), pg.TruncatedPoisson()])
def test_counts_from_one_on_at_their_edge(family: Family) -> None:
    """Ones only: all mass on 1, exactly."""
    found = fitted(family, np.ones(20))
    assert list(found.values()) == [0.0]


COUNTS = {
    "Poisson": (pg.Poisson(), {"rate": 1.3}, stats.poisson, {"mu": (0.01, 20)}, "mu"),
    "Binomial": (
        pg.Binomial(trials=12), {"prob": 0.2, "trials": 12.0}, stats.binom,
        {"n": (12, 12), "p": (0, 1)}, "p",
    ),
    "NegativeBinomial": (
        pg.NegativeBinomial(size=3), {"prob": 0.6, "size": 3.0}, stats.nbinom,
        {"n": (3, 3), "p": (0, 1)}, "p",
    ),
    "Logarithmic": (pg.Logarithmic(), {"prob": 0.7}, stats.logser, {"p": (0.01, 0.999)}, "p"),
}  # fmt: skip


def searched(loss: Any, bounds: Any, **options: Any) -> Any:
    """SciPy's search, made to end at the maximum and always on the same path."""
    with_seed = np.random.default_rng(0)
    return optimize.differential_evolution(loss, bounds, seed=with_seed, tol=1e-10, **options)


@pytest.mark.parametrize("name", COUNTS)
def test_counts_reach_scipys_search(name: str) -> None:
    family, truth, twin, bounds, parameter = COUNTS[name]
    rng = np.random.default_rng(3)
    x = family.draw(rng, {slot: np.full(N, value) for slot, value in truth.items()})
    with pg.Model("one") as model:
        pg.observed("x", family)
    fit = model.fit({"x": x})
    theirs = stats.fit(twin, x.astype(int), bounds, optimizer=searched)
    assert fit.log_likelihood >= -theirs.nllf() - 1e-9 * abs(theirs.nllf())
    slot = family.estimable[0]
    np.testing.assert_allclose(
        fit.params[f"x.{slot}"], getattr(theirs.params, parameter), rtol=1e-3
    )


def test_vectors_have_scipys_values() -> None:
    with pg.Model("vectors") as model:
        pg.observed("x", pg.MvNormal())
    rng = np.random.default_rng(4)
    x = stats.multivariate_normal([1, 2], [[2, 0.5], [0.5, 1]]).rvs(300, random_state=rng)
    fit, (mean, cov) = model.fit({"x": x}), stats.multivariate_normal.fit(x)
    np.testing.assert_allclose(fit.params["x.mean"], mean, atol=1e-6)
    np.testing.assert_allclose(fit.params["x.cov"], cov, atol=1e-6)
