"""Holes in nodes that share parameters with, or hold, linear predictors: their moments."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import norm

import pgem as pg


def test_a_hole_in_a_node_that_shares_its_mean_with_a_latent() -> None:
    """A tie makes a plain node linear; a hole in it has the moments of its own conditional."""
    with pg.Model("shared") as model:
        level = pg.param("level")
        f = pg.latent("f", pg.MvNormal(mean=level, cov=pg.identity(2)))
        pg.observed("y", pg.MvNormal(mean=f, cov=pg.identity(2)))
        pg.observed("w", pg.MvNormal(mean=level, cov=[[2.0, 0.8], [0.8, 1.0]], size=2))
    data = {"y": [[0.3, 1.0], [-1.0, 0.0]], "w": [[1.0, np.nan], [np.nan, np.nan]]}
    found = model.posterior(data, {"level": [0.7, 0.2]})["w"]
    assert found.mean == pytest.approx(np.array([[1.0, 0.2 + 0.4 * 0.3], [0.7, 0.2]]))
    assert found.cov[0] == pytest.approx(np.array([[0.0, 0.0], [0.0, 1.0 - 0.8 * 0.4]]))
    assert found.cov[1] == pytest.approx(np.array([[2.0, 0.8], [0.8, 1.0]]))


def test_a_hole_in_a_switch_between_regressions() -> None:
    """Every row has its own mixture of lines."""
    with pg.Model("switched") as model:
        x = pg.covariate("x")
        z = pg.latent("z", pg.Categorical(size=2))
        lines = pg.Normal(mean=2.0 * x + 1.0, var=0.5), pg.Normal(mean=pg.param("b") * x, var=0.2)
        pg.observed("y", pg.switch(z, *lines))
        pg.observed("u", pg.Normal(var=1.0), given=z)
    params = {"z.probs": [0.4, 0.6], "b": -1.0, "u.mean": [-1.0, 1.0]}
    x, u = np.array([0.0, 1.0, -2.0]), np.array([0.5, -1.0, 0.2])
    found = model.posterior({"x": x, "y": [np.nan, np.nan, 0.3], "u": u}, params)["y"]
    weights = softmax(np.log([0.4, 0.6]) + norm.logpdf(u[:, None], [-1.0, 1.0]), axis=1)
    means = np.stack([2 * x + 1, -x], axis=1)
    mean = (weights * means).sum(axis=1)
    var = (weights * ([0.5, 0.2] + means**2)).sum(axis=1) - mean**2
    assert found.mean == pytest.approx([*mean[:2], 0.3])
    assert found.cov == pytest.approx([*var[:2], 0.0])


def test_what_is_seen_stays_to_the_last_digit() -> None:
    """Values beside holes come back as they are, and are certain."""
    with pg.Model("classes") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        centre = pg.constant([[-0.53, 0.11], [-0.68, 2.49]])[z]
        pg.observed("x", pg.MvNormal(mean=centre + 0.5, cov=pg.spherical()))
    x = np.random.default_rng(0).normal(size=(30, 2))
    holes = np.random.default_rng(1).random(x.shape) < 0.3
    data = {"x": np.where(holes, np.nan, x)}
    fit = model.fit(data, max_iter=3)
    for how in ("mean", "draw"):
        assert (np.asarray(fit.impute(data, how=how, seed=0)["x"])[~holes] == x[~holes]).all()
    assert (fit.posterior(data)["x"].cov[~holes] == 0).all()
