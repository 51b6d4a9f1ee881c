"""Priors, bounds and fixed parts in regressions and latent Gaussian models: the mode is found.

Compared with BFGS on a log-posterior written with SciPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.special import logsumexp

import pgem as pg

Floats = NDArray[np.float64]
Params = Mapping[str, Floats]
RNG = np.random.default_rng(21)
N = 40
X = RNG.normal(size=N)
W = RNG.normal(size=(N, 2))
Y = 1.0 + 0.7 * X + RNG.normal(0, 0.8, N)
PAIRS = np.stack([Y, -0.5 + W @ [0.4, -1.0] + 0.5 * Y], axis=1) + RNG.normal(0, 0.3, (N, 2))


def fitted(declare: Callable[[], Any], data: Any, **options: Any) -> pg.Fit:
    with pg.Model("m") as model:
        declare()
    return model.fit(data, **{"tol": 1e-13, "max_iter": 3000, **options})


def is_the_mode(fit: pg.Fit, log_posterior: Callable[[Params], float]) -> None:
    at = {name: np.array(value) for name, value in fit.params.items()}
    best = log_posterior(at)
    assert fit.objective == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert (np.diff(fit.trace) >= -1e-9).all()
    free = {n: layout for n, layout in fit.program.params.items() if layout.is_free}
    parts = {n: free[n].role.to_free(at[n]) for n in free}
    cuts = np.cumsum([part.size for part in parts.values()])[:-1]

    def loss(point: Floats) -> float:
        moved = {}
        for n, flat in zip(free, np.split(point, cuts), strict=True):
            value = free[n].role.from_free(flat.reshape(parts[n].shape))
            moved[n] = np.where(free[n].fixed, at[n], value)
        value = -log_posterior({**at, **moved})
        return float(value) if np.isfinite(value) else 1e10

    start = np.concatenate([part.ravel() for part in parts.values()])
    found = optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-7})
    assert -found.fun <= best + 1e-7 * (1 + abs(best))


def test_ridge() -> None:
    def declare() -> None:
        x = pg.covariate("x")
        slope = pg.param("slope", prior=pg.Normal(0.0, 0.05))
        pg.observed("y", pg.Normal(mean=slope * x + pg.param("base"), var=pg.param("var")))

    def log_posterior(p: Params) -> float:
        return float(
            stats.norm.logpdf(Y, p["slope"] * X + p["base"], p["var"] ** 0.5).sum()
            + stats.norm.logpdf(p["slope"], 0, 0.05**0.5)
        )

    is_the_mode(fitted(declare, {"x": X, "y": Y}), log_posterior)


def test_coefficients_in_units_of_the_noise() -> None:
    """Linked to the noise, all is solved in one pass."""

    def declare() -> None:
        x = pg.covariate("x")
        var = pg.param("var", prior=pg.InverseGamma(2.0, 1.0))
        slope = pg.param("slope", prior=pg.Normal(0.0, var / 5.0))
        base = pg.param("base", prior=pg.Normal(0.5, var * 2.0))
        pg.observed("y", pg.Normal(mean=slope * x + base, var=var))

    def log_posterior(p: Params) -> float:
        v = p["var"]
        return float(
            stats.norm.logpdf(Y, p["slope"] * X + p["base"], v**0.5).sum()
            + stats.norm.logpdf(p["slope"], 0, (v / 5) ** 0.5)
            + stats.norm.logpdf(p["base"], 0.5, (2 * v) ** 0.5)
            + stats.invgamma.logpdf(v, 2.0, scale=1.0)
        )

    fit = fitted(declare, {"x": X, "y": Y}, max_iter=1, tol=0)
    assert fit.program.report.m_step[0].how == "closed form"
    is_the_mode(fit, log_posterior)


@pytest.mark.parametrize("kind", ["entries", "rows"])
def test_matrices_of_coefficients(kind: str) -> None:
    inner = np.array([[0.5, 0.2], [0.2, 1.0]])
    prior = {"entries": pg.Normal(0.1, 0.3), "rows": pg.MvNormal([0.1, 0.0], inner)}[kind]

    def declare() -> None:
        w = pg.covariate("w")
        cov = pg.param("cov", prior=pg.InverseWishart(1.0, 5.0))
        slope, base = pg.param("slope", prior=prior), pg.param("base", prior=pg.MvNormal(0.0, cov))
        pg.observed("y", pg.MvNormal(mean=slope @ w + base, cov=cov))

    def log_posterior(p: Params) -> float:
        rows = PAIRS - W @ p["slope"].T - p["base"]
        one = stats.norm.logpdf(p["slope"], 0.1, 0.3**0.5).sum()
        other = stats.multivariate_normal.logpdf(p["slope"], [0.1, 0.0], inner).sum()
        return float(
            stats.multivariate_normal.logpdf(rows, [0, 0], p["cov"]).sum()
            + (one if kind == "entries" else other)
            + stats.multivariate_normal.logpdf(p["base"], [0, 0], p["cov"])
            + stats.invwishart.logpdf(p["cov"], 5.0, np.eye(2))
        )

    fit = fitted(declare, {"w": W, "y": PAIRS})
    is_the_mode(fit, log_posterior)
    errors = fit.standard_errors()
    assert np.isfinite(errors["slope"]).all()


def test_a_coefficient_in_the_prior_of_another() -> None:
    def declare() -> None:
        x = pg.covariate("x")
        one = pg.param("one", fixed=False)
        two = pg.param("two", prior=pg.Normal(2.0 * one, 0.02))
        pg.observed("y", pg.Normal(mean=one * x + pg.param("base"), var=1.0))
        pg.observed("z", pg.Normal(mean=two * x, var=pg.param("var")))

    def log_posterior(p: Params) -> float:
        return float(
            stats.norm.logpdf(Y, p["one"] * X + p["base"]).sum()
            + stats.norm.logpdf(PAIRS[:, 1], p["two"] * X, p["var"] ** 0.5).sum()
            + stats.norm.logpdf(p["two"], 2 * p["one"], 0.02**0.5)
        )

    is_the_mode(fitted(declare, {"x": X, "y": Y, "z": PAIRS[:, 1]}), log_posterior)


def test_a_prior_that_links_a_regression_to_a_plain_node() -> None:
    def declare() -> None:
        x = pg.covariate("x")
        var = pg.param("var", prior=pg.InverseGamma(2.0, 1.0))
        slope = pg.param("slope", prior=pg.Normal(0.0, var))
        pg.observed("y", pg.Normal(mean=slope * x, var=pg.param("noise")))
        pg.observed("z", pg.Normal(pg.param("centre"), var))

    def log_posterior(p: Params) -> float:
        return float(
            stats.norm.logpdf(Y, p["slope"] * X, p["noise"] ** 0.5).sum()
            + stats.norm.logpdf(PAIRS[:, 1], p["centre"], p["var"] ** 0.5).sum()
            + stats.norm.logpdf(p["slope"], 0, p["var"] ** 0.5)
            + stats.invgamma.logpdf(p["var"], 2.0, scale=1.0)
        )

    is_the_mode(fitted(declare, {"x": X, "y": Y, "z": PAIRS[:, 1]}), log_posterior)


def test_mixture_of_regressions_with_shared_noise() -> None:
    def declare() -> None:
        z, x = pg.latent("z", pg.Categorical(size=2)), pg.covariate("x")
        var = pg.param("var", prior=pg.InverseGamma(2.0, 0.5), lower=0.05)
        slope = pg.param("slope", prior=pg.Normal([0.0, 1.0], var / 0.2))
        pg.observed("y", pg.Normal(mean=slope[z] * x + pg.param("base")[z], var=var))

    def log_posterior(p: Params) -> float:
        v, mean = p["var"], p["slope"] * X[:, None] + p["base"]
        rows = np.log(p["z.probs"]) + stats.norm.logpdf(Y[:, None], mean, v**0.5)
        return float(
            logsumexp(rows, axis=1).sum()
            + stats.norm.logpdf(p["slope"], [0.0, 1.0], (v / 0.2) ** 0.5).sum()
            + stats.invgamma.logpdf(v, 2.0, scale=0.5)
        )

    is_the_mode(fitted(declare, {"x": X, "y": Y}), log_posterior)


def test_factor_analysis_with_priors() -> None:
    data = np.stack([Y, PAIRS[:, 1], X + Y], axis=1) + RNG.normal(0, 0.4, (N, 3))

    def declare() -> None:
        f = pg.latent("f", pg.Normal(0.0, 1.0))
        noise = pg.param("noise", prior=pg.InverseGamma(2.0, 0.5), lower=0.2)
        loadings = pg.param("loadings", prior=pg.Normal(0.0, 2.0 * noise))
        pg.observed("y", pg.MvNormal(mean=loadings * f + pg.param("mean"), cov=pg.diagonal(noise)))

    def log_posterior(p: Params) -> float:
        v = np.maximum(p["noise"], 0.2)
        cov = np.outer(p["loadings"], p["loadings"]) + np.diag(v)
        return float(
            stats.multivariate_normal.logpdf(data, p["mean"], cov).sum()
            + stats.norm.logpdf(p["loadings"], 0, (2 * v) ** 0.5).sum()
            + stats.invgamma.logpdf(v, 2.0, scale=0.5).sum()
        )

    is_the_mode(fitted(declare, {"y": data}), log_posterior)


def test_a_partly_fixed_noise_covariance() -> None:
    fixed = np.array([[True, False], [False, False]])

    def declare() -> None:
        w = pg.covariate("w")
        cov = pg.param("cov", fixed=fixed, value=[[0.6, 0.0], [0.0, 1.0]])
        pg.observed("y", pg.MvNormal(mean=pg.param("slope") @ w + pg.param("base"), cov=cov))

    fit = fitted(declare, {"w": W, "y": PAIRS})
    assert fit.params["cov"][0, 0] == 0.6

    def loss(flat: Floats) -> float:
        cov = np.array([[0.6, flat[6]], [flat[6], flat[7]]])
        if np.linalg.eigvalsh(cov)[0] <= 0:
            return 1e10
        rows = PAIRS - W @ flat[:4].reshape(2, 2).T - flat[4:6]
        return -float(stats.multivariate_normal.logpdf(rows, [0, 0], cov).sum())

    p = fit.params
    start = np.array([*p["slope"].ravel(), *p["base"], p["cov"][0, 1], p["cov"][1, 1]])
    found = optimize.minimize(loss, start, method="Nelder-Mead", options={"maxiter": 4000})
    assert fit.log_likelihood >= -found.fun - 1e-7
