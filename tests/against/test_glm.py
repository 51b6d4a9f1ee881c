"""Generalised linear models without latents, against statsmodels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pgem as pg
from pgem.arrays import Floats

sm: Any = pytest.importorskip("statsmodels.api")


def regressors(rng: np.random.Generator, n: int = 250) -> Floats:
    return np.column_stack([rng.normal(size=n), rng.integers(0, 2, n), rng.uniform(-2, 2, n)])


def agree(fit: pg.Fit, theirs: Any, names: dict[str, Any]) -> None:
    """Estimates, standard errors and likelihood; `names` picks theirs for each of ours."""
    errors = fit.standard_errors()
    assert fit.verdict == "converged"
    assert fit.log_likelihood == pytest.approx(theirs.llf, abs=1e-8)
    for name, place in names.items():
        assert fit.params[name] == pytest.approx(theirs.params[place], abs=1e-6)
        assert errors[name] == pytest.approx(theirs.bse[place], rel=1e-5)


def test_logit() -> None:
    rng = np.random.default_rng(0)
    x = regressors(rng)
    y = (rng.random(len(x)) < 1 / (1 + np.exp(-x @ [1.0, -0.5, 0.3]))).astype(int)
    with pg.Model("logit") as model:
        eta = pg.param("slope") @ pg.covariate("x") + pg.param("level")
        pg.observed("y", pg.Bernoulli(logit=eta))
    fit = model.fit({"x": x, "y": y}, tol=1e-14)
    theirs = sm.Logit(y, sm.add_constant(x)).fit(disp=0, tol=1e-12)
    agree(fit, theirs, {"level": 0, "slope": slice(1, None)})
    assert fit.n_parameters == 4 and fit.aic == pytest.approx(theirs.aic)


def test_logit_with_weights() -> None:
    rng = np.random.default_rng(1)
    x, weights = regressors(rng), rng.integers(0, 4, 250)
    y = (rng.random(len(x)) < 0.4).astype(int)
    with pg.Model("logit") as model:
        eta = pg.param("slope") @ pg.covariate("x") + pg.param("level")
        pg.observed("y", pg.Bernoulli(logit=eta))
    fit = model.fit({"x": x, "y": y}, weights=weights, tol=1e-14)
    family = sm.families.Binomial()
    theirs = sm.GLM(y, sm.add_constant(x), family=family, freq_weights=weights).fit(tol=1e-12)
    agree(fit, theirs, {"level": 0, "slope": slice(1, None)})


def test_poisson_with_an_offset() -> None:
    rng = np.random.default_rng(2)
    x, years = regressors(rng), rng.uniform(0.1, 5, 250)
    y = rng.poisson(years * np.exp(0.5 + x @ [0.3, -0.4, 0.2])).astype(float)
    with pg.Model("poisson") as model:
        eta = pg.covariate("log_years") + pg.param("slope") @ pg.covariate("x") + pg.param("level")
        pg.observed("y", pg.Poisson(log_rate=eta))
    fit = model.fit({"x": x, "y": y, "log_years": np.log(years)}, tol=1e-14)
    glm = sm.GLM(y, sm.add_constant(x), family=sm.families.Poisson(), offset=np.log(years))
    agree(fit, glm.fit(tol=1e-12), {"level": 0, "slope": slice(1, None)})


def test_binomial_with_trials() -> None:
    rng = np.random.default_rng(3)
    x, trials = regressors(rng), rng.integers(1, 12, 250)
    y = rng.binomial(trials, 1 / (1 + np.exp(-x @ [0.8, 0.2, -0.6])))
    with pg.Model("binomial") as model:
        eta = pg.param("slope") @ pg.covariate("x") + pg.param("level")
        pg.observed("y", pg.Binomial(logit=eta, trials=pg.covariate("n")))
    fit = model.fit({"x": x, "y": y, "n": trials}, tol=1e-14)
    both = np.column_stack([y, trials - y])
    theirs = sm.GLM(both, sm.add_constant(x), family=sm.families.Binomial()).fit(tol=1e-12)
    agree(fit, theirs, {"level": 0, "slope": slice(1, None)})


def test_multinomial_logit() -> None:
    rng = np.random.default_rng(4)
    x = regressors(rng, 400)
    logits = np.column_stack([np.zeros(400), x @ [1.0, 0.5, 0], x @ [0, -1.0, 0.5] + 0.3])
    y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    with pg.Model("choice") as model:
        logits_ = pg.param("W") @ pg.covariate("x") + pg.param("w")
        pg.observed("y", pg.Categorical(logits=logits_, size=3))
    fit = model.fit({"x": x, "y": y}, tol=1e-14)
    theirs = sm.MNLogit(y, sm.add_constant(x)).fit(disp=0, tol=1e-12, method="newton")
    assert fit.log_likelihood == pytest.approx(theirs.llf, abs=1e-8)
    assert fit.params["w"][1:] == pytest.approx(theirs.params[0], abs=1e-6)
    assert fit.params["W"][1:] == pytest.approx(theirs.params[1:].T, abs=1e-6)
    errors = fit.standard_errors()
    assert errors["W"][1:] == pytest.approx(theirs.bse[1:].T, rel=1e-5)
    assert (errors["W"][0] == 0).all() and fit.n_parameters == 8


def test_exponential_survival_with_a_gamma_glm() -> None:
    """An exponential with a log-rate is a gamma regression with log link and scale 1."""
    rng = np.random.default_rng(5)
    x = regressors(rng)
    y = rng.exponential(np.exp(-x @ [0.4, 0.1, -0.3]))
    with pg.Model("waiting") as model:
        eta = pg.param("slope") @ pg.covariate("x") + pg.param("level")
        pg.observed("y", pg.Exponential(log_rate=eta))
    fit = model.fit({"x": x, "y": y}, tol=1e-14)
    family = sm.families.Gamma(link=sm.families.links.Log())
    theirs = sm.GLM(y, sm.add_constant(x), family=family).fit(tol=1e-12, scale=1.0)
    assert -fit.params["slope"] == pytest.approx(theirs.params[1:], abs=1e-6)
    assert -fit.params["level"] == pytest.approx(theirs.params[0], abs=1e-6)


@pytest.mark.parametrize("exposed", [False, True])
def test_a_gamma_effect_of_mean_one_is_the_negative_binomial_regression(exposed: bool) -> None:
    """NB2: var = μ + α μ², with α = 1 / a for an effect u ~ Gamma(a, a)."""
    rng = np.random.default_rng(8)
    x = regressors(rng, 600)
    e = rng.uniform(0.5, 4, 600) if exposed else np.ones(600)
    mean = e * np.exp(0.4 + x @ [0.3, -0.4, 0.2])
    y = rng.poisson(mean * rng.gamma(1.5, 1 / 1.5, 600)).astype(float)
    with pg.Model("counts") as model:
        a = pg.param("a")
        u = pg.latent("u", pg.Gamma(shape=a, rate=a))
        eta = pg.param("slope") @ pg.covariate("x") + pg.param("level")
        rate = u * pg.covariate("e") if exposed else u
        pg.observed("y", pg.Poisson(rate=rate, log_rate=eta))
    data = {"x": x, "y": y, **({"e": e} if exposed else {})}
    fit = model.fit(data, tol=1e-13, max_iter=3000)
    design = sm.add_constant(x)
    theirs = sm.NegativeBinomial(y, design, exposure=e).fit(disp=0, method="newton", tol=1e-12)
    assert fit.verdict == "converged"
    assert fit.log_likelihood == pytest.approx(theirs.llf, abs=1e-7)
    found = [fit.params["level"], *fit.params["slope"], 1 / fit.params["a"]]
    np.testing.assert_allclose(found, theirs.params, atol=2e-5)
    errors = fit.standard_errors()
    alpha = errors["a"] / fit.params["a"] ** 2
    np.testing.assert_allclose([errors["level"], *errors["slope"], alpha], theirs.bse, rtol=1e-3)
    generalised = sm.NegativeBinomialP(y, design, p=2, exposure=e).fit(disp=0, method="newton")
    assert fit.log_likelihood == pytest.approx(generalised.llf, abs=1e-5)
