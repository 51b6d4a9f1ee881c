"""Lower bounds: the constrained maximum, starts, standard errors, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

import pgem as pg

RNG = np.random.default_rng(5)
TIGHT = np.concatenate([RNG.normal(-2, 0.05, 30), RNG.normal(2, 1.0, 40)])
TIMES = RNG.gamma(3.0, 0.5, 50)


def fitted(declare: Callable[[], Any], data: Any, **options: Any) -> pg.Fit:
    with pg.Model("m") as model:
        declare()
    return model.fit(data, **{"tol": 1e-13, "max_iter": 3000, **options})


def test_a_variance_is_raised_to_its_bound() -> None:
    def declare() -> None:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Normal(pg.param("mean")[z], pg.param("var", lower=0.25)[z]))

    fit = fitted(declare, {"x": TIGHT})
    low, high = np.sort(fit.params["var"])
    assert low == 0.25 < high

    def loss(p: Any) -> float:
        share, spread = 1 / (1 + np.exp(-p[0])), np.maximum(p[3:], 0.25) ** 0.5
        rows = stats.norm.pdf(TIGHT[:, None], p[1:3], spread) * [share, 1 - share]
        return -float(np.log(rows.sum(axis=1)).sum())

    order = np.argsort(fit.params["mean"])
    share = fit.params["z.probs"][order]
    start = [np.log(share[0] / share[1]), *fit.params["mean"][order], *fit.params["var"][order]]
    bounds = [(None, None)] * 3 + [(0.25, None)] * 2
    best = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds)
    assert fit.log_likelihood >= -best.fun - 1e-8
    assert (np.diff(fit.trace) >= -1e-10).all()


def test_bounds_within_blocks_that_would_be_solved_together() -> None:
    """A Gamma whose shape is bounded: the rate follows."""

    def declare() -> None:
        pg.observed("x", pg.Gamma(pg.param("shape", lower=6.0), pg.param("rate")))

    fit = fitted(declare, {"x": TIMES})
    assert fit.params["shape"] == 6.0
    assert fit.params["rate"] == pytest.approx(6.0 / TIMES.mean(), rel=1e-9)


def test_a_bound_on_a_tied_rate() -> None:
    counts, waits = RNG.poisson(4.0, 60).astype(float), RNG.exponential(0.5, 60)

    def rate_at_least(lower: float | None) -> float:
        def declare() -> None:
            rate = pg.param("rate", lower=lower)
            pg.observed("x", pg.Poisson(rate))
            pg.observed("y", pg.Exponential(rate))

        return float(fitted(declare, {"x": counts, "y": waits}).params["rate"])

    free = rate_at_least(None)
    assert 1.0 < free < 5.0
    assert rate_at_least(5.0) == 5.0
    assert rate_at_least(1.0) == free


@pytest.mark.parametrize("lower", [0.3, 2.5])
def test_bounds_where_q_is_climbed_numerically(lower: float) -> None:
    x = stats.truncnorm.rvs(-1, 2, loc=1.0, scale=1.0, size=80, random_state=3)

    def declare() -> None:
        var = pg.param("var", lower=lower)
        pg.observed("x", pg.TruncatedNormal(pg.param("mean"), var, low=0.0, high=3.0))

    def loss(p: Any) -> float:
        s = p[1] ** 0.5
        ends = (0 - p[0]) / s, (3 - p[0]) / s
        return -float(stats.truncnorm.logpdf(x, *ends, loc=p[0], scale=s).sum())

    fit = fitted(declare, {"x": x}, max_iter=20)
    best = optimize.minimize(loss, [1.0, 3.0], method="L-BFGS-B", bounds=[(-9, 9), (lower, 99)])
    assert fit.params["var"] >= lower
    assert fit.log_likelihood >= -best.fun - 1e-6


def test_a_prior_where_q_is_climbed_numerically() -> None:
    x = RNG.poisson(1.2, 60) + 1.0

    def declare() -> None:
        pg.observed("x", pg.TruncatedPoisson(pg.param("rate", prior=pg.Gamma(40.0, 8.0))))

    def loss(p: Any) -> float:
        density = stats.poisson.logpmf(x, p) - np.log1p(-np.exp(-p))
        return -float(density.sum() + stats.gamma.logpdf(p, 40.0, scale=1 / 8))

    fit = fitted(declare, {"x": x}, max_iter=20)
    best = optimize.minimize_scalar(loss, bounds=(0.1, 9.0), options={"xatol": 1e-10})
    assert fit.objective == pytest.approx(-best.fun, abs=1e-8)
    assert fit.params["rate"] == pytest.approx(best.x, abs=1e-5)


def test_active_bounds_have_no_standard_error() -> None:
    def declare() -> None:
        pg.observed("x", pg.Normal(pg.param("mean"), pg.param("var", lower=9.0)))

    fit = fitted(declare, {"x": TIMES})
    errors = fit.standard_errors()
    assert np.isnan(errors["var"])
    assert errors["mean"] == pytest.approx((9.0 / 50) ** 0.5, rel=1e-6)
    assert fit.n_parameters == 2


def test_inactive_bounds_change_nothing() -> None:
    def declare(**settings: Any) -> Callable[[], Any]:
        return lambda: pg.observed("x", pg.Normal(pg.param("mean"), pg.param("var", **settings)))

    bound = fitted(declare(lower=0.01), {"x": TIMES})
    plain = fitted(declare(), {"x": TIMES})
    assert bound.log_likelihood == pytest.approx(plain.log_likelihood, rel=1e-13)
    np.testing.assert_allclose(bound.standard_errors()["var"], plain.standard_errors()["var"])


def test_bounds_survive_json_and_stand_in_the_listing() -> None:
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Normal(var=pg.param("var", lower=[0.1, 0.2])[z]), given=z)
    again = pg.Model.from_json(model.to_json())
    assert again.record == model.record
    program = again.compile()
    assert "lower=np.array([0.1, 0.2])" in program.source
    assert "raised to its lower bound" in program.source
