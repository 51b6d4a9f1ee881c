"""Units replaced by points of equal second moments: the same fit, never where more counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

import pgem as pg
from pgem.run import bind
from pgem.run.moments import points_of

RNG = np.random.default_rng(5)


def factors() -> pg.Model:
    with pg.Model("factors") as model:
        f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(2)))
        loadings = pg.param("loadings") @ f + pg.param("mean")
        pg.observed("x", pg.MvNormal(mean=loadings, cov=pg.diagonal()))
    return model


def regression() -> pg.Model:
    with pg.Model("regression") as model:
        c, site = pg.covariate("c"), pg.covariate("site", size=3)
        u = pg.latent("u", pg.Normal(0.0))
        x = pg.observed("x", pg.Normal(mean=pg.param("slope")[site] @ c + u, var=1.0))
        pg.observed("y", pg.Normal(mean=pg.param("b") @ x + u))
    return model


def levels() -> pg.Model:
    with pg.Model("levels") as model, pg.sequence("t"):
        h = pg.latent("h", pg.Normal(mean=pg.param("a") @ pg.prev("h"), var=1.0), first=pg.Normal())
        pg.observed("y", pg.Normal(mean=h))
    return model


def slopes() -> pg.Model:
    """A random slope: the posterior's spread depends on the covariate."""
    with pg.Model("slopes") as model:
        c = pg.covariate("c")
        u = pg.latent("u", pg.Normal(0.0))
        pg.observed("y", pg.Normal(mean=u @ c + pg.param("mean")))
    return model


def rows(n: int, offset: float = 0.0) -> dict[str, Any]:
    mix = RNG.normal(size=(2, 5))
    return {"x": RNG.normal(size=(n, 2)) @ mix + RNG.normal(size=(n, 5)) + offset}


def holed(n: int) -> dict[str, Any]:
    data = rows(n)
    data["x"][RNG.random(n) < 0.3, 2] = np.nan
    data["x"][RNG.random(n) < 0.3, 0] = np.nan
    return data


def sites(n: int) -> dict[str, Any]:
    normal = RNG.normal
    site = RNG.integers(3, size=n)
    return {"c": normal(size=n), "site": site, "x": normal(size=n) + site, "y": normal(size=n)}


def walks(n: int) -> dict[str, Any]:
    lengths = RNG.integers(2, 6, size=n)
    return {"y": [np.cumsum(RNG.normal(size=k)) + RNG.normal(size=k) for k in lengths]}


def both_ways(
    monkeypatch: pytest.MonkeyPatch, model: pg.Model, data: Any, **options: Any
) -> tuple[pg.Fit, pg.Fit]:
    quick = model.fit(data, tol=0, max_iter=12, **options)
    with monkeypatch.context() as patch:
        patch.setattr(bind, "reduce_units", lambda program, columns: None)
        return quick, model.fit(data, tol=0, max_iter=12, **options)


CASES = [
    (factors, lambda: rows(2_000), 6),
    (factors, lambda: rows(2_000, 1e5), 6),
    (factors, lambda: holed(3_000), 6 + 5 + 5 + 4),
    (regression, lambda: sites(3_000), 3 * 4),
    (levels, lambda: walks(2_000), 3 + 4 + 5 + 6),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("make", "data", "n_points"), CASES)
def test_the_fit_is_that_of_the_units(
    make: Callable[[], pg.Model],
    data: Callable[[], Any],
    n_points: int,
    weighted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = data()
    n = len(next(iter(values.values())))
    weights = RNG.integers(0, 4, size=n).astype(float) if weighted else None
    quick, slow = both_ways(monkeypatch, make(), values, weights=weights)
    assert f"have the second moments of {n_points}:" in str(quick.report)
    np.testing.assert_allclose(quick.trace, slow.trace, rtol=1e-10)
    for name, value in slow.params.items():
        np.testing.assert_allclose(quick.params[name], value, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(quick.score(values), slow.score(values), rtol=1e-10)


def test_the_log_likelihood_is_that_of_the_rows() -> None:
    data = rows(2_000)
    fit = factors().fit(data, max_iter=5)
    loadings = fit.params["loadings"]
    cov = loadings @ loadings.T + np.diag(fit.params["x.cov"])
    density = multivariate_normal(fit.params["mean"], cov).logpdf(data["x"])
    assert fit.log_likelihood == pytest.approx(density.sum(), rel=1e-12)
    assert fit.log_likelihood == pytest.approx(fit.trace[-1], rel=1e-12)


def test_a_random_slope_is_run_unit_by_unit() -> None:
    data = {"c": RNG.normal(size=2_000), "y": RNG.normal(size=2_000)}
    assert "second moments" not in str(slopes().fit(data, max_iter=2).report)


def test_slopes_at_a_few_values_are_replaced_within_each(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"c": RNG.integers(1, 4, size=2_000).astype(float), "y": RNG.normal(size=2_000)}
    quick, slow = both_ways(monkeypatch, slopes(), data)
    assert "have the second moments of 6:" in str(quick.report)
    np.testing.assert_allclose(quick.trace, slow.trace, rtol=1e-10)


def test_a_discrete_latent_leaves_the_units_as_they_are() -> None:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Normal(), given=z)
    assert "second moments" not in str(model.fit({"x": RNG.normal(size=2_000)}, max_iter=2).report)


def test_values_that_are_not_finite_are_still_refused_by_row() -> None:
    data = rows(2_000)
    data["x"][17, 2] = np.inf
    with pytest.raises(pg.DataError, match="row '17'"):
        factors().fit(data)


@given(
    st.integers(3, 60), st.integers(1, 6), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e6])
)
def test_points_have_the_moments(n: int, width: int, seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, width)) * 10.0 ** rng.integers(-3, 4, size=width) + offset
    if rng.random() < 0.5:
        values[:, rng.integers(width)] = 7.0
    weights = rng.uniform(0.1, 3.0, size=n)
    cut = n // 2 + 1  # both parts see some rows
    blocks = [lambda: (values[:cut], weights[:cut]), lambda: (values[cut:], weights[cut:])]
    points, weight = points_of(blocks)
    assert len(points) <= width + 1
    assert weight * len(points) == pytest.approx(weights.sum(), rel=1e-12)
    mean = weights @ values / weights.sum()
    np.testing.assert_allclose(points.mean(axis=0), mean, rtol=1e-12, atol=1e-12)
    deviations, spread = values - mean, points - mean
    expected = (weights[:, None] * deviations).T @ deviations
    found = weight * spread.T @ spread
    root = np.sqrt(np.diag(expected))
    ulp = np.spacing(np.abs(values).max(axis=0)) * np.sqrt(weights.sum())  # points are rounded
    rounding = np.add.outer(root, root) + np.add.outer(ulp, ulp)
    slack = 20 * (np.outer(ulp, np.ones(width)) + np.outer(np.ones(width), ulp)) * rounding
    assert (np.abs(found - expected) <= 1e-12 * np.outer(root, root) + slack).all()
