"""Single coordinates missing under a full covariance: against SciPy, formulas and an optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

import pgem as pg

Floats = NDArray[np.float64]
RNG = np.random.default_rng(11)


def with_holes(n: int = 60, size: int = 3) -> Floats:
    root = RNG.normal(size=(size, size))
    x = RNG.normal(size=(n, size)) @ root.T + [5.0, -2.0, 0.5][:size]
    x[RNG.random(x.shape) < 0.25] = np.nan
    return x


def of_shown(x: Floats, mean: Floats, cov: Floats) -> Floats:
    """log p of the shown coordinates of every row."""
    found = np.zeros(len(x))
    for k, row in enumerate(x):
        o = ~np.isnan(row)
        if o.any():
            found[k] = stats.multivariate_normal.logpdf(row[o], mean[o], cov[np.ix_(o, o)])
    return found


def plain() -> pg.Model:
    with pg.Model("plain") as model:
        pg.observed("x", pg.MvNormal())
    return model


def mixture(**slots: Any) -> pg.Model:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.MvNormal(**slots), given=z)
    return model


PARAMS = {
    "z.probs": np.array([0.4, 0.6]),
    "x.mean": np.array([[4.0, -1.0, 0.0], [6.0, -3.0, 1.0]]),
    "x.cov": np.array([[[2, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 3]], np.eye(3) * 2.0]),
}


def test_log_likelihood_and_posterior_of_a_mixture() -> None:
    x = with_holes()
    model = mixture()
    joint = np.stack(
        [
            np.log(PARAMS["z.probs"][k]) + of_shown(x, PARAMS["x.mean"][k], PARAMS["x.cov"][k])
            for k in range(2)
        ],
        axis=1,
    )
    expected = np.logaddexp(joint[:, 0], joint[:, 1])
    np.testing.assert_allclose(model.log_likelihood({"x": x}, PARAMS), expected, rtol=1e-10)
    found = model.posterior({"x": x}, PARAMS)
    responsibilities = np.exp(joint - expected[:, None])
    np.testing.assert_allclose(found["z"], responsibilities, rtol=1e-9, atol=1e-12)
    row = int(np.argmax(np.isnan(x).sum(axis=1) == 1))
    o = ~np.isnan(x[row])
    parts, spreads = [], []
    for k in range(2):
        mean, cov = PARAMS["x.mean"][k], PARAMS["x.cov"][k]
        gain = cov[np.ix_(~o, o)] @ np.linalg.inv(cov[np.ix_(o, o)])
        parts.append((mean[~o] + gain @ (x[row, o] - mean[o]))[0])
        spreads.append((cov[np.ix_(~o, ~o)] - gain @ cov[np.ix_(o, ~o)])[0, 0])
    weight = responsibilities[row]
    centre = weight @ parts
    gone = int(np.argmax(~o))
    assert found["x"].mean[row, gone] == pytest.approx(centre, rel=1e-9)
    variance = weight @ (np.array(spreads) + np.array(parts) ** 2) - centre**2
    assert found["x"].cov[row, gone, gone] == pytest.approx(variance, rel=1e-8)
    assert not found["x"].cov[row][o].any()


def test_maximum_likelihood_against_an_optimiser() -> None:
    x = with_holes()
    fit = plain().fit({"x": x}, tol=1e-13)
    lower = np.tril_indices(3)

    def loss(free: Floats) -> float:
        root = np.zeros((3, 3))
        root[lower] = free[3:]
        return -float(of_shown(x, free[:3], root @ root.T + 1e-12 * np.eye(3)).sum())

    start = np.concatenate([np.nanmean(x, axis=0), np.diag(np.nanstd(x, axis=0))[lower]])
    best = optimize.minimize(loss, start, options={"maxiter": 300})
    assert fit.log_likelihood == pytest.approx(-best.fun, abs=1e-5)
    assert fit.log_likelihood >= -best.fun - 1e-7


@pytest.mark.parametrize("slots", [{}, {"cov": pg.param("cov")}, {"mean": pg.param("mean")}])
def test_em_never_decreases(slots: dict[str, Any]) -> None:
    fit = mixture(**slots).fit({"x": with_holes(120)}, max_iter=40, tol=0)
    assert np.diff(fit.trace).min() >= -1e-9 * abs(fit.trace[-1])


def test_weights_and_shards() -> None:
    x = with_holes(30)
    times = RNG.integers(0, 3, 30)
    options: dict[str, Any] = {"start": PARAMS, "max_iter": 2, "tol": 0}
    one = mixture().fit({"x": x}, weights=times, **options)
    other = mixture().fit({"x": np.repeat(x, times, axis=0)}, **options)
    cut = mixture().fit({"x": x}, weights=times, shard_size=7, **options)
    for name, value in one.params.items():
        np.testing.assert_allclose(value, other.params[name], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(value, cut.params[name], rtol=1e-9, atol=1e-12)


def test_no_covariance_means_independent_coordinates() -> None:
    x = with_holes()
    full = {**PARAMS, "x.cov": np.array([np.diag([2.0, 1.0, 3.0]), np.eye(3)])}
    narrow = {**PARAMS, "x.cov": np.array([[2.0, 1.0, 3.0], [1.0, 1.0, 1.0]])}
    with pg.Model("diagonal") as diagonal:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.MvNormal(cov=pg.diagonal()), given=z)
    np.testing.assert_allclose(
        mixture().log_likelihood({"x": x}, full), diagonal.log_likelihood({"x": x}, narrow)
    )


def test_standard_errors_are_those_of_the_shown_coordinates() -> None:
    x = with_holes()
    fit = plain().fit({"x": x}, tol=1e-14, max_iter=2000)
    mean, cov, step = fit.params["x.mean"], fit.params["x.cov"], 1e-3
    hessian = np.zeros((3, 3))
    for a in range(3):
        for b in range(3):
            shifts = [np.eye(3)[a] * i + np.eye(3)[b] * j for i in (1, -1) for j in (1, -1)]
            values = [of_shown(x, mean + step * s, cov).sum() for s in shifts]
            hessian[a, b] = (values[0] - values[1] - values[2] + values[3]) / (4 * step**2)
    given_cov = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    errors = fit.standard_errors()["x.mean"]
    assert (errors >= given_cov * (1 - 1e-4)).all()
    assert (errors <= given_cov * 1.2).all()
