"""Joint draws, imputation and prediction with Gaussian latents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pgem as pg

N, DRAWS = 60, 400


def factors() -> tuple[pg.Fit, dict[str, Any]]:
    """A mixture of factor analysers beside counts, with holes."""
    with pg.Model("factors") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(2)))
        mean = pg.param("loadings")[z] @ f + pg.param("mean")[z]
        pg.observed("x", pg.MvNormal(mean=mean, cov=pg.diagonal()))
        pg.observed("c", pg.Poisson(), given=z)
        pg.observed("w", pg.MvNormal())
    rng = np.random.default_rng(1)
    group = rng.integers(2, size=N)
    x = rng.normal(size=(N, 4)) + 2.0 * group[:, None]
    c = rng.poisson(np.array([2, 5])[group]).astype(float)
    w = rng.normal(size=(N, 2)) @ np.array([[1.0, 0.8], [0.0, 0.5]])
    x[rng.random(x.shape) < 0.2] = np.nan
    c[:10], w[:20, 0] = np.nan, np.nan
    data = {"x": x, "c": c, "w": w}
    return model.fit(data, max_iter=20, tol=0), data


FIT, DATA = factors()


def test_draws_have_the_posterior_moments() -> None:
    before = {name: values.copy() for name, values in DATA.items()}
    draws = [FIT.draw(DATA, seed=seed) for seed in range(DRAWS)]
    for name, values in before.items():
        np.testing.assert_array_equal(DATA[name], values)
    posterior = FIT.posterior(DATA)
    for name, moments in posterior.items():
        drawn = np.array([draw[name] for draw in draws])
        if name == "z":
            moments = pg.result.Moments(moments[:, 1], moments[:, 1] * moments[:, 0])
        spread = moments.cov
        if spread.ndim == 3:
            spread = np.einsum("nii->ni", spread)
        error = np.sqrt(spread / DRAWS)
        assert (np.abs(drawn.mean(axis=0) - moments.mean) <= 5 * error + 4 / DRAWS).all(), name
    f = np.array([draw["f"] for draw in draws])
    cross = np.einsum("sni,snj->nij", f - f.mean(axis=0), f - f.mean(axis=0)) / DRAWS
    scale = np.sqrt(np.einsum("nii->ni", posterior["f"].cov)).max() ** 2
    assert np.abs(cross - posterior["f"].cov).max() < 0.5 * scale


def test_a_draw_keeps_what_is_seen() -> None:
    drawn = FIT.impute(DATA, "draw", seed=0)
    for name, values in DATA.items():
        seen = ~np.isnan(values)
        np.testing.assert_array_equal(drawn[name][seen], values[seen])
        assert np.isfinite(drawn[name]).all()
    again = FIT.impute(DATA, "draw", seed=0)
    np.testing.assert_array_equal(again["f"], drawn["f"])


def test_prediction_of_a_node_ignores_its_values() -> None:
    hidden = {name: values for name, values in DATA.items() if name != "x"}
    absent = {**hidden, "x": np.full_like(DATA["x"], np.nan)}
    np.testing.assert_allclose(FIT.predict(DATA, "x"), FIT.predict(absent)["x"], rtol=1e-10)
    seen = {**DATA, "c": np.full(N, np.nan)}
    np.testing.assert_allclose(FIT.predict(DATA, "c"), FIT.predict(seen)["c"], rtol=1e-10)


@pytest.mark.parametrize("switching", [False, True])
def test_prediction_of_a_node_keeps_the_values_that_it_is_conditioned_on(switching: bool) -> None:
    with pg.Model("echo") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s") if switching else None
        slope, level = pg.param("slope"), pg.param("level")
        line = slope * pg.prev("y") + (level if s is None else level[s])
        pg.observed("y", pg.Normal(mean=line))
    states = {"s.probs": np.full((2, 2), 0.5), "s.first.probs": np.full(2, 0.5)}
    params = {"slope": 0.5, "level": [2.0, 2.0] if switching else 2.0, "y.var": 1.0}
    y = np.array([[6.0, 1.0, 9.0, -3.0], [2.0, 0.0, 0.0, 0.0]])
    fit = model.fit({"y": y}, start=params | (states if switching else {}), max_iter=0)
    expected = [[6.0, 5.0, 4.5, 4.25], [2.0, 3.0, 3.5, 3.75]]
    np.testing.assert_allclose(fit.predict({"y": y}, "y"), expected, rtol=1e-12)


def test_modes_are_means_given_the_decoded() -> None:
    filled = FIT.impute(DATA, "mode")
    decoded = FIT.decode(DATA)
    np.testing.assert_array_equal(filled["z"], decoded["z"])
    expected = FIT.posterior({**DATA, **decoded})["f"].mean
    np.testing.assert_allclose(filled["f"], expected, rtol=1e-10)


def test_what_cannot_be_asked() -> None:
    with pytest.raises(pg.DataError, match="'median'"):
        FIT.impute(DATA, "median")
    with pytest.raises(pg.DataError, match="'xx' is no node"):
        FIT.predict(DATA, "xx")
