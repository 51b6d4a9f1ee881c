"""Gaussian latents against scikit-learn and statsmodels, which are optional."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pgem as pg


def simulated_factors(n: int = 300, d: int = 6, k: int = 2) -> Any:
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(d, k))
    noise = rng.uniform(0.2, 1.0, d)
    return rng.normal(size=(n, k)) @ loadings.T + rng.normal(size=(n, d)) * np.sqrt(noise) + 3.0


def factor_analysis(k: int, spherical: bool = False) -> pg.Model:
    with pg.Model("factors") as model:
        f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(k)))
        cov = pg.spherical() if spherical else pg.diagonal()
        pg.observed("x", pg.MvNormal(mean=pg.param("loadings") @ f + pg.param("mean"), cov=cov))
    return model


def test_factor_analysis() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = simulated_factors()
    peer = decomposition.FactorAnalysis(2, tol=1e-12, max_iter=20_000, svd_method="lapack").fit(x)
    start = {"loadings": peer.components_.T, "mean": peer.mean_, "x.cov": peer.noise_variance_}
    model = factor_analysis(2)
    at_theirs = model.log_likelihood({"x": x}, start)
    np.testing.assert_allclose(at_theirs, peer.score_samples(x), rtol=1e-9)
    fit = model.fit({"x": x}, tol=1e-12, max_iter=20_000)
    assert fit.log_likelihood >= at_theirs.sum() - 1e-4
    posterior = model.posterior({"x": x}, start)["f"]
    np.testing.assert_allclose(posterior.mean, peer.transform(x), atol=1e-8)


def test_probabilistic_pca() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = simulated_factors()
    peer = decomposition.PCA(2).fit(x)
    fit = factor_analysis(2, spherical=True).fit({"x": x}, tol=1e-13, max_iter=20_000)
    roots = np.linalg.eigvalsh(np.cov(x.T, bias=True))[:-2]
    np.testing.assert_allclose(fit.params["x.cov"], roots.mean(), rtol=1e-6)
    span = np.linalg.lstsq(peer.components_.T, fit.params["loadings"], rcond=None)[1]
    assert (span < 1e-6).all(), "the loadings span the principal plane"


@pytest.mark.parametrize("holes", [False, True])
def test_local_level(holes: bool) -> None:
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(1)
    y = rng.normal(size=200).cumsum() + rng.normal(size=200) * 2 + 50.0
    if holes:
        y[40:60] = np.nan
        y[[3, 100, 199]] = np.nan
    peer = api.tsa.UnobservedComponents(y, "llevel")
    peer.initialize_known(np.array([40.0]), np.array([[25.0]]))
    peer.ssm.loglikelihood_burn = 0  # by default it leaves the first value out
    with pg.Model("level") as model, pg.sequence("t"):
        first = pg.Normal(mean=40.0, var=25.0)
        level = pg.latent("level", pg.Normal(mean=pg.prev("level")), first=first)
        pg.observed("y", pg.Normal(mean=level))
    params = {"y.var": 3.0, "level.var": 0.7}
    smoothed = peer.smooth([3.0, 0.7])
    found = model.log_likelihood({"y": y}, params)[0]
    np.testing.assert_allclose(found, peer.loglike([3.0, 0.7]), rtol=1e-9)
    posterior = model.posterior({"y": y}, params)["level"]
    np.testing.assert_allclose(posterior.mean, smoothed.smoothed_state[0], rtol=1e-8)
    np.testing.assert_allclose(posterior.cov, smoothed.smoothed_state_cov[0, 0], rtol=1e-7)
    fit = model.fit({"y": y}, tol=1e-12, max_iter=20_000)
    theirs = peer.fit(disp=False, start_params=[fit.params["y.var"], fit.params["level.var"]])
    assert fit.log_likelihood >= theirs.llf - 1e-4


def test_dynamic_factor_with_missing_values() -> None:
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(2)
    factor = np.zeros(150)
    for t in range(1, 150):
        factor[t] = 0.7 * factor[t - 1] + rng.normal()
    y = factor[:, None] * np.array([1.0, -0.5, 2.0]) + rng.normal(size=(150, 3)) * 0.6
    y[rng.random(y.shape) < 0.15] = np.nan
    y[70:73] = np.nan
    peer = api.tsa.DynamicFactor(y, k_factors=1, factor_order=1)
    loadings, noise, decay = np.array([0.9, -0.4, 1.8]), np.array([0.4, 0.3, 0.5]), 0.65
    point = np.concatenate([loadings, noise, [decay]])
    with pg.Model("factor") as model, pg.sequence("t"):
        first = pg.Normal(mean=0.0, var=1 / (1 - decay**2))
        f = pg.latent("f", pg.Normal(mean=pg.param("decay") * pg.prev("f"), var=1.0), first=first)
        cov = pg.diagonal(pg.param("noise"))
        pg.observed("y", pg.MvNormal(mean=pg.param("loadings") @ f, cov=cov))
    params = {"loadings": loadings, "noise": noise, "decay": decay}
    found = model.log_likelihood({"y": y}, params)[0]
    np.testing.assert_allclose(found, peer.loglike(point), rtol=1e-9)
    smoothed = peer.smooth(point).smoothed_state[0]
    np.testing.assert_allclose(
        model.posterior({"y": y}, params)["f"].mean, smoothed, rtol=1e-7, atol=1e-9
    )


def test_mixed_linear_model() -> None:
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(3)
    sizes = rng.integers(3, 9, 40)
    design = [np.column_stack([np.ones(n), rng.normal(size=n)]) for n in sizes]
    effects = rng.normal(size=(40, 2)) * np.array([1.0, 0.5])
    y = [w @ (np.array([1.0, 2.0]) + b) + rng.normal(size=len(w)) * 0.7
         for w, b in zip(design, effects, strict=True)]  # fmt: skip
    with pg.Model("slopes") as model:
        b = pg.latent("b", pg.MvNormal(mean=0.0, size=2))
        with pg.plate("visit"):
            w = pg.covariate("w")
            pg.observed("y", pg.Normal(mean=pg.param("beta") @ w + w @ b))
    fit = model.fit({"w": design, "y": y}, tol=1e-13, max_iter=50_000)
    whole = np.concatenate(design)
    groups = np.repeat(np.arange(40), sizes)
    peer = api.MixedLM(np.concatenate(y), whole, groups, exog_re=whole).fit(reml=False)
    np.testing.assert_allclose(fit.log_likelihood, peer.llf, rtol=1e-7)
    np.testing.assert_allclose(fit.params["beta"], peer.fe_params, rtol=1e-3)
    np.testing.assert_allclose(fit.params["b.cov"], peer.cov_re, rtol=2e-2, atol=1e-3)
    predicted = fit.predict({"w": design, "y": y})["b"]
    theirs = np.array([peer.random_effects[k] for k in range(40)])
    np.testing.assert_allclose(predicted, theirs, atol=2e-3)
    errors = fit.standard_errors()["beta"]
    np.testing.assert_allclose(errors, peer.bse_fe, rtol=0.05)
