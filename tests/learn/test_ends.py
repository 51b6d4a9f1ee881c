"""How fits end and begin: collapses, unbounded likelihoods, floors, and starts from labels."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

import pgem as pg

RNG = np.random.default_rng(3)


def shared_mean() -> pg.Model:
    with pg.Model("shared") as model:
        z = pg.latent("z", pg.Categorical(size=3))
        pg.observed("x", pg.MvNormal(mean=pg.param("mu"), cov=pg.param("S")[z]))
    return model


@pytest.mark.parametrize("seed", range(12))
def test_a_shared_mean_over_collapsing_covariances_ends_well(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(12, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.FitWarning)
        fit = shared_mean().fit({"x": x}, seed=seed, max_iter=100)
    assert fit.verdict in ("converged", "degenerate", "iteration_limit")
    assert np.diff(fit.trace).min(initial=0.0) >= -1e-9 * (12 + abs(fit.trace[-1]))


@pytest.mark.parametrize("seed", [0, 4, 6, 10, 17, 30, 38, 76, 83, 116])
def test_more_coordinates_than_rows_in_a_class_end_as_a_collapse(seed: int) -> None:
    """Q has no maximum; on the way there nothing that rounding has eaten is taken for one."""
    with pg.Model("shared") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.MvNormal(mean=pg.param("mu"), cov=pg.param("S")[z]))
    x = np.random.default_rng(seed).normal(size=(5, 3))
    with pytest.warns(pg.FitWarning, match=r"'S'\[|'mu' depends"):
        fit = model.fit({"x": x}, seed=seed, max_iter=100)
    assert fit.verdict == "degenerate"


def test_events_without_exposure_are_degenerate() -> None:
    model = pg.templates.mixture(pg.Exponential(), 2)
    start = {"z.probs": [0.5, 0.5], "x.rate": [1.0, 0.1]}
    with pytest.warns(pg.FitWarning, match="'x.rate'"):
        fit = model.fit({"x": [0.0, 0.0, 5.0, 6.0, 7.0]}, start=start)
    assert fit.verdict == "degenerate"
    assert np.isfinite(fit.params["x.rate"]).all()


def test_equal_values_have_no_gamma() -> None:
    with pg.Model("gamma") as model:
        pg.observed("x", pg.Gamma())
    with pytest.warns(pg.FitWarning, match="x.shape"):
        assert model.fit({"x": [2.0, 2.0, 2.0]}).verdict == "degenerate"


def test_a_floor_is_reported() -> None:
    x = np.concatenate([np.zeros(10), RNG.normal(100, 10, 30)])
    fit = pg.templates.mixture(pg.Normal(), 2).fit({"x": x}, degenerate="floor", floor=1e-4)
    assert any("floor" in note for note in fit.verdict.notes)
    assert fit.params["x.var"].min() >= 1e-4 * x.var() * (1 - 1e-12)


def test_decoded_labels_are_a_start() -> None:
    with pg.Model("labels") as model:
        z = pg.latent("z", pg.Categorical(size=2, levels=["lo", "hi"]))
        pg.observed("y", pg.Poisson(), given=z)
    y = np.concatenate([np.ones(10), np.full(10, 8.0)])
    fit = model.fit({"y": y})
    labels = fit.decode({"y": y})["z"]
    assert set(labels) == {"lo", "hi"}
    again = model.fit({"y": y}, start={"z": labels}, max_iter=1)
    assert again.log_likelihood == pytest.approx(fit.log_likelihood, abs=0.5)


def test_an_impossible_unit_has_no_posterior() -> None:
    model = pg.templates.mixture(pg.Bernoulli(), 2)
    params = {"z.probs": [0.5, 0.5], "x.prob": [0.0, 0.0]}
    assert model.log_likelihood({"x": [1.0, 0.0]}, params)[0] == -np.inf
    with pytest.raises(pg.FitError, match="unit '0'"):
        model.posterior({"x": [1.0, 0.0]}, params)


def test_a_covariate_that_indexes_takes_its_values_from_the_data() -> None:
    with pg.Model("who") as model:
        who = pg.covariate("who")
        pg.observed("y", pg.Poisson(), given=who)
    fit = model.fit({"who": ["b", "a", "b", "c"], "y": [4.0, 1.0, 6.0, 9.0]})
    np.testing.assert_allclose(fit.params["y.rate"], [1.0, 5.0, 9.0])
    with pytest.raises(pg.DataError, match="'d'"):
        fit.score({"who": ["d"], "y": [1.0]})


def test_a_joint_posterior_is_found_under_an_equal_key() -> None:
    with pg.Model("chain") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Poisson(), given=s)
    y = RNG.poisson(3, 20).astype(float)
    fit = model.fit({"y": y}, max_iter=2)
    found = fit.posterior({"y": y}, joint=[("s", pg.prev("s"))])
    assert found["s", pg.prev("s")].shape == (20, 2, 2)


def test_unrelated_chains_cost_their_sum() -> None:
    with pg.Model("two") as model, pg.sequence("t"):
        for name in "ab":
            s = pg.latent(name, pg.Categorical(size=30), after=name)
            pg.observed(f"y_{name}", pg.Poisson(), given=s)
    costs = [row.cost for row in model.compile().report.e_step]
    assert all("900 entries" in cost for cost in costs)


def test_structural_zeros_do_not_flatten_the_start() -> None:
    """Free entries beside zeros begin like any others: a chain, and a confirmatory factor model."""
    rng = np.random.default_rng(3)
    with pg.Model("forward") as chain, pg.sequence("t"):
        moves = pg.param(zeros=np.tril(np.ones((3, 3), dtype=bool), -1))
        s = pg.latent("s", pg.Categorical(moves, size=3), after="s")
        pg.observed("y", pg.Normal(), given=s)
    y = np.repeat([0.0, 4.0, 8.0], 15) + rng.normal(size=(20, 45))
    fit = chain.fit({"y": y})
    assert (np.tril(fit.params["s.probs"], -1) == 0).all()
    with pg.Model("confirmatory") as factors:
        f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(2)))
        zeros = np.array([[0, 1], [0, 1], [0, 1], [1, 0], [1, 0], [1, 0]], dtype=bool)
        mean = pg.param("loadings", zeros=zeros) @ f + pg.param("mean")
        pg.observed("x", pg.MvNormal(mean=mean, cov=pg.diagonal()))
    hidden = rng.normal(size=(500, 2))
    x = hidden.repeat(3, axis=1) + 0.5 * rng.normal(size=(500, 6))
    fit = factors.fit({"x": x}, max_iter=2000)
    assert (fit.params["loadings"][zeros] == 0).all()
    assert np.abs(np.abs(fit.params["loadings"][~zeros]) - 1).max() < 0.15


def test_a_learned_first_spread_is_pointed_out() -> None:
    with pg.Model("level") as model, pg.sequence("t"):
        h = pg.latent("h", pg.Normal(mean=pg.prev("h")))
        pg.observed("y", pg.Normal(mean=h))
    assert "'h.first.var' is learned: with a single sequence" in str(model.compile().report)


def test_conditional_maxima_that_crawl_are_climbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numerical end of an M-step reaches what conditional maxima in turn reach, and is told."""
    with pg.Model("scales") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Gamma(shape=pg.param("a"), rate=pg.param("b")[z]))
    x = np.concatenate([RNG.gamma(3.0, 1.0, 80), RNG.gamma(3.0, 5.0, 80)])
    start = {"z.probs": [0.5, 0.5], "a": 2.0, "b": [1.0, 0.3]}
    whole = model.fit({"x": x}, start=start, max_iter=1, tol=0)
    assert not whole.verdict.notes
    monkeypatch.setattr(sys.modules["pgem.routines.maximise"], "CRAWLING", 1)
    climbed = model.fit({"x": x}, start=start, max_iter=1, tol=0)
    assert "conditional maxima of 'a', 'b' crawled" in " ".join(climbed.verdict.notes)
    for name, value in whole.params.items():
        assert climbed.params[name] == pytest.approx(value, rel=1e-4)
