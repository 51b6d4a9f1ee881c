"""Priors: the estimate is the posterior mode, and the objective is the log-posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

import pgem as pg

RNG = np.random.default_rng(7)
COUNTS = RNG.poisson(3.0, 40).astype(float)
VALUES = RNG.normal(2.0, 1.5, 40)
CODES = RNG.integers(0, 3, 40)
VECTORS = RNG.normal(1.0, 1.0, (40, 2))


def one_node(declare: Callable[[], Any], data: Any, **options: Any) -> pg.Fit:
    with pg.Model("m") as model:
        declare()
    return model.fit({"x": data}, **options)


def test_gamma_on_a_rate() -> None:
    rate = pg.param("rate", prior=pg.Gamma(3.0, 2.0))
    fit = one_node(lambda: pg.observed("x", pg.Poisson(rate)), COUNTS)
    assert fit.params["rate"] == pytest.approx((COUNTS.sum() + 2) / (40 + 2), rel=1e-12)
    prior = stats.gamma.logpdf(fit.params["rate"], 3, scale=0.5)
    assert fit.objective == pytest.approx(fit.log_likelihood + prior, rel=1e-12)
    assert fit.log_likelihood == pytest.approx(
        stats.poisson.logpmf(COUNTS, fit.params["rate"]).sum(), rel=1e-12
    )


def test_beta_on_a_probability() -> None:
    prob = pg.param("prob", prior=pg.Beta(2.0, 5.0))
    values = (CODES > 0).astype(float)
    fit = one_node(lambda: pg.observed("x", pg.Bernoulli(prob)), values)
    assert fit.params["prob"] == pytest.approx((values.sum() + 1) / (40 + 5), rel=1e-12)


def test_dirichlet_on_a_row() -> None:
    probs = pg.param("probs", prior=pg.Dirichlet([2.0, 1.0, 4.0]))
    fit = one_node(lambda: pg.observed("x", pg.Categorical(probs, size=3)), CODES)
    counts = np.bincount(CODES, minlength=3) + np.array([1, 0, 3])
    np.testing.assert_allclose(fit.params["probs"], counts / counts.sum(), rtol=1e-12)
    prior = stats.dirichlet.logpdf(fit.params["probs"], [2.0, 1.0, 4.0])
    assert fit.objective - fit.log_likelihood == pytest.approx(prior, rel=1e-9)


def test_a_flat_prior_allows_zeros() -> None:
    probs = pg.param("probs", prior=pg.Dirichlet(1.0))
    fit = one_node(lambda: pg.observed("x", pg.Categorical(probs, size=4)), CODES)
    assert fit.params["probs"][3] == 0
    assert fit.objective - fit.log_likelihood == pytest.approx(np.log(6.0), rel=1e-9)


def test_normal_and_inverse_gamma() -> None:
    mean = pg.param("mean", prior=pg.Normal(0.0, 0.1))
    var = pg.param("var", prior=pg.InverseGamma(2.0, 3.0))
    fit = one_node(lambda: pg.observed("x", pg.Normal(mean, var)), VALUES, tol=0, max_iter=3)

    def loss(free: Any) -> float:
        m, v = free[0], np.exp(free[1])
        return -float(
            stats.norm.logpdf(VALUES, m, v**0.5).sum()
            + stats.norm.logpdf(m, 0, 0.1**0.5)
            + stats.invgamma.logpdf(v, 2.0, scale=3.0)
        )

    best = optimize.minimize(loss, [0.0, 0.0], options={"gtol": 1e-9})
    assert fit.objective == pytest.approx(-best.fun, abs=1e-8)
    assert fit.params["mean"] == pytest.approx(best.x[0], abs=1e-5)


def test_vector_prior_under_a_full_covariance() -> None:
    mean = pg.param("mean", prior=pg.MvNormal(np.zeros(2), np.array([[0.2, 0.1], [0.1, 0.3]])))
    cov = pg.constant([[1.0, 0.4], [0.4, 2.0]])
    fit = one_node(lambda: pg.observed("x", pg.MvNormal(mean, cov)), VECTORS)
    precision = np.linalg.inv([[1.0, 0.4], [0.4, 2.0]])
    weight = 40 * precision + np.linalg.inv([[0.2, 0.1], [0.1, 0.3]])
    expected = np.linalg.solve(weight, precision @ VECTORS.sum(axis=0))
    np.testing.assert_allclose(fit.params["mean"], expected, rtol=1e-9)


def mixture(**priors: Any) -> pg.Model:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(pg.param("weights", prior=priors.get("weights")), size=2))
        mean = pg.param("mean", prior=priors.get("mean"))[z]
        pg.observed("x", pg.Normal(mean, pg.param("var", prior=priors.get("var"))[z]))
    return model


PRIORS = {
    "weights": pg.Dirichlet(3.0),
    "mean": pg.Normal([0.0, 1.0], 4.0),
    "var": pg.InverseGamma(2.0, 1.0),
}


def test_the_log_posterior_never_falls_in_a_mixture() -> None:
    x = np.concatenate([RNG.normal(-1, 1, 60), RNG.normal(2, 0.5, 40)])
    fit = mixture(**PRIORS).fit({"x": x}, tol=0, max_iter=60)
    assert np.diff(fit.trace).min() >= -1e-9
    assert fit.objective > mixture(**PRIORS).fit({"x": x}, max_iter=0).objective


def test_ml_ignores_priors() -> None:
    x = np.concatenate([RNG.normal(-1, 1, 60), RNG.normal(2, 0.5, 40)])
    plain, told = mixture(), mixture(**PRIORS)
    one, other = plain.fit({"x": x}), told.fit({"x": x}, estimate="ml")
    np.testing.assert_allclose(one.trace, other.trace, rtol=1e-12)
    assert other.objective == other.log_likelihood


def test_a_tied_parameter_has_its_prior_once() -> None:
    rate = pg.param("rate", prior=pg.Gamma(4.0, 1.0))
    with pg.Model("m") as model:
        pg.observed("x", pg.Poisson(rate))
        pg.observed("y", pg.Exponential(rate))
    waits = RNG.exponential(0.5, 40)
    fit = model.fit({"x": COUNTS, "y": waits})
    expected = (COUNTS.sum() + 40 + 3) / (40 + waits.sum() + 1)
    assert fit.params["rate"] == pytest.approx(expected, rel=1e-12)
    prior = stats.gamma.logpdf(fit.params["rate"], 4.0)
    assert fit.objective - fit.log_likelihood == pytest.approx(prior, rel=1e-9)


def test_priors_survive_json_and_saving(tmp_path: Any) -> None:
    x = RNG.normal(0, 1, 50)
    model = mixture(**PRIORS)
    again = pg.Model.from_json(model.to_json())
    assert again.record == model.record
    fit = model.fit({"x": x}, max_iter=5)
    np.testing.assert_array_equal(fit.trace, again.fit({"x": x}, max_iter=5).trace)
    fit.save(tmp_path / "fit.json")
    loaded = pg.load(tmp_path / "fit.json")
    assert loaded.objective == fit.objective
    assert loaded.log_likelihood == fit.log_likelihood


def test_standard_errors_see_the_prior() -> None:
    rate = pg.param("rate", prior=pg.Gamma(30.0, 2.0))
    fit = one_node(lambda: pg.observed("x", pg.Poisson(rate)), COUNTS)
    information = (COUNTS.sum() + 29) / fit.params["rate"] ** 2
    assert fit.standard_errors()["rate"] == pytest.approx(information**-0.5, rel=1e-6)


def test_derivation_and_report_tell_of_priors() -> None:
    program = mixture(**PRIORS).compile()
    assert "Priors: 'weights' ~ Dirichlet(concentration = 3)" in program.explain()
    assert "So the log-likelihood plus the log-priors never falls" in " ".join(
        program.explain().split()
    )
    assert "'mean' has a prior, Normal, whose statistic is added" in str(program.report)
    assert "prior" not in mixture().compile().explain().lower().replace("priority", "")
