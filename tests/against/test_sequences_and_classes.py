"""Discrete latents with regressions and holes against hmmlearn, statsmodels and StepMix."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import pgem as pg


def test_markov_switching_regression() -> None:
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    n = 200
    x = rng.normal(size=n)
    state = (np.arange(n) // 50) % 2
    y = np.where(state, 1 + 2 * x, -1 - x) + rng.normal(size=n) * np.where(state, 0.5, 1.0)
    peer = api.tsa.MarkovRegression(y, 2, exog=x, switching_variance=True)
    stay, back = 0.9, 0.2
    const, slope, var = np.array([-0.8, 1.1]), np.array([-0.9, 1.8]), np.array([0.9, 0.4])
    point = np.concatenate([[stay, back], const, slope, var])
    with pg.Model("switching") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        covariate = pg.covariate("x")
        mean = pg.param("const")[s] + pg.param("slope")[s] * covariate
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("var")[s]))
    steady = np.array([back, 1 - stay]) / (1 - stay + back)  # where their chains begin
    params = {
        "s.probs": [[stay, 1 - stay], [back, 1 - back]],
        "s.first.probs": steady, "const": const, "slope": slope, "var": var,
    }  # fmt: skip
    data = {"x": x, "y": y}
    np.testing.assert_allclose(
        model.log_likelihood(data, params)[0], peer.loglike(point), rtol=1e-9
    )
    theirs = peer.smooth(point).smoothed_marginal_probabilities
    np.testing.assert_allclose(model.posterior(data, params)["s"], theirs, atol=1e-8)
    fit = model.fit(data, start=params, tol=1e-11, max_iter=2000)
    assert fit.log_likelihood >= peer.fit(start_params=point, disp=False).llf - 1e-6


def test_markov_switching_autoregression() -> None:
    """Theirs is about means that switch, so the constant depends on two states."""
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(1)
    state = (np.arange(150) // 30) % 2
    y = np.where(state, 2.0, -1.0) + rng.normal(size=150) * 0.8
    peer = api.tsa.MarkovAutoregression(y, 2, 1, switching_ar=True, switching_variance=True)
    stay, back = 0.9, 0.2
    level, var, phi = np.array([-0.8, 1.9]), np.array([0.9, 0.4]), np.array([0.3, -0.2])
    with pg.Model("hamilton") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s", first="stationary")
        now = pg.param("phi")[s] * pg.prev("y") + pg.param("c")[s, pg.prev("s")]
        pg.observed("y", pg.Normal(mean=now, var=pg.param("var")[s]))
    table = np.array([[stay, 1 - stay], [back, 1 - back]])
    params = {
        "s.probs": table, "c": level[:, None] - phi[:, None] * level, "phi": phi, "var": var,
    }  # fmt: skip
    found = model.log_likelihood({"y": y}, params)[0]
    point = np.concatenate([[stay, back], level, var, phi])
    assert found == pytest.approx(peer.loglike(point), rel=1e-9)
    states = model.posterior({"y": y}, params)["s"][1:]
    theirs = peer.smooth(point).smoothed_marginal_probabilities
    np.testing.assert_allclose(states, theirs, atol=1e-8)


def test_gaussian_hidden_markov_model() -> None:
    hmm = pytest.importorskip("hmmlearn.hmm")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 2)) + 3.0 * ((np.arange(300) // 30) % 2)[:, None]
    start = np.array([0.6, 0.4])
    table = np.array([[0.9, 0.1], [0.2, 0.8]])
    mean, cov = np.array([[0.1, 0.0], [2.5, 3.0]]), np.array([np.eye(2), 2 * np.eye(2)])
    peer = hmm.GaussianHMM(
        2, "full", init_params="", n_iter=1, tol=0.0, min_covar=0.0,
        covars_prior=0.0, covars_weight=-3.0, startprob_prior=1.0, transmat_prior=1.0,
    )  # fmt: skip
    peer.startprob_, peer.transmat_, peer.means_ = start, table, mean
    peer.covars_ = cov
    with pg.Model("hmm") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("x", pg.MvNormal(), given=s)
    params = {"s.first.probs": start, "s.probs": table, "x.mean": mean, "x.cov": cov}
    np.testing.assert_allclose(model.log_likelihood({"x": x}, params)[0], peer.score(x), rtol=1e-10)
    np.testing.assert_allclose(
        model.posterior({"x": x}, params)["s"], peer.predict_proba(x), atol=1e-9
    )
    peer.algorithm = "viterbi"
    np.testing.assert_array_equal(
        pg.Model.fit(model, {"x": x}, start=params, max_iter=0).decode({"x": x})["s"],
        peer.predict(x),
    )
    fit = model.fit({"x": x}, start=params, max_iter=1)
    peer.fit(x)
    np.testing.assert_allclose(fit.params["s.probs"], peer.transmat_, rtol=1e-8)
    np.testing.assert_allclose(fit.params["x.mean"], peer.means_, rtol=1e-8)


def test_latent_classes_with_missing_items() -> None:
    stepmix = pytest.importorskip("stepmix")
    rng = np.random.default_rng(2)
    group = rng.integers(2, size=400)
    probs = np.array([[0.9, 0.8, 0.2, 0.7], [0.2, 0.3, 0.8, 0.4]])
    x = (rng.random((400, 4)) < probs[group]).astype(float)
    x[rng.random(x.shape) < 0.2] = np.nan
    x[(np.isnan(x)).all(axis=1), 0] = 1.0
    peer = stepmix.StepMix(
        2, measurement="binary_nan", random_state=0, abs_tol=0.0, rel_tol=0.0,
        max_iter=3000, progress_bar=0, n_init=5,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it runs out of iterations, as asked
        peer.fit(x)
    with pg.Model("classes") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        with pg.plate("item", size=4) as item:
            pg.observed("x", pg.Bernoulli(), given=[z, item])
    fit = model.fit({"x": x}, restarts=5, tol=1e-13, max_iter=5000)
    np.testing.assert_allclose(fit.log_likelihood / 400, peer.score(x), atol=1e-6)
