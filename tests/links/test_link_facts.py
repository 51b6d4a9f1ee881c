"""What follows from links: densities far out, scores, errors, draws, holes, run-offs, texts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import script_repeats
from scipy.special import expit
from scipy.stats import binom, expon, geom, multinomial, poisson

import pgem as pg
from pgem.arrays import Floats
from pgem.families._links import LINKS
from pgem.families._roles import PROB, PROBS, RATE, Role
from pgem.result.score import score
from tests.links.test_link_models import chains, experts, input_output


@pytest.mark.parametrize("eta", [-2.0, 0.0, 1.5])
def test_densities_are_those_of_the_family(eta: float) -> None:
    def slope() -> Any:
        return pg.param("b") * pg.covariate("x")

    with pg.Model("a") as model:
        pg.observed("y", pg.Binomial(logit=slope(), trials=5))
    p, r = expit(eta), np.exp(eta)
    at = {"x": np.array([eta])}
    b = {"b": 1.0}
    found = model.log_likelihood({"y": np.array([2.0]), **at}, b)[0]
    assert found == pytest.approx(binom.logpmf(2, 5, p))
    with pg.Model("b") as model:
        pg.observed("y", pg.Poisson(log_rate=slope()))
    found = model.log_likelihood({"y": np.array([3.0]), **at}, b)[0]
    assert found == pytest.approx(poisson.logpmf(3, r))
    with pg.Model("c") as model:
        pg.observed("y", pg.Exponential(log_rate=slope()))
    found = model.log_likelihood({"y": np.array([0.7]), **at}, b)[0]
    assert found == pytest.approx(expon.logpdf(0.7, scale=1 / r))
    with pg.Model("d") as model:
        pg.observed("y", pg.Geometric(logit=slope()))
    found = model.log_likelihood({"y": np.array([4.0]), **at}, b)[0]
    assert found == pytest.approx(geom.logpmf(5, p))
    with pg.Model("e") as model:
        pg.observed("y", pg.Multinomial(logits=slope()))
    found = model.log_likelihood({"y": np.array([[1.0, 2.0]]), **at}, {"b": [0.0, 1.0]})[0]
    assert found == pytest.approx(multinomial.logpmf([1, 2], 3, [1 - p, p]))


def test_nothing_overflows_far_out() -> None:
    with pg.Model("far") as model:
        x = pg.covariate("x")
        pg.observed("y", pg.Bernoulli(logit=pg.param("b") * x))
        pg.observed("k", pg.Categorical(logits=pg.param("c") * x, size=3))
    data = {"x": np.array([1e4, -1e4]), "y": np.array([1, 1]), "k": np.array([0, 0])}
    found = model.log_likelihood(data, {"b": 1.0, "c": [0.0, -1.0, -2.0]})
    assert found == pytest.approx([0.0, -1e4 - 2e4])


@pytest.mark.parametrize("role", [PROB, RATE, PROBS])
def test_derivatives_of_links(role: Role) -> None:
    rng, link = np.random.default_rng(0), LINKS[role]
    eta = rng.normal(size=(3, 4))
    parts = 1 if role is PROBS else 2
    statistic = tuple(rng.uniform(0.2, 3, size=(3, 4)) for _ in range(parts))
    slope, bend = link.slope(statistic, eta), link.curvature(statistic, eta)
    for k in range(3):
        step = 1e-5 * np.eye(3)[k][:, None]
        up, down = eta + step, eta - step
        first = (link.log_density(statistic, up) - link.log_density(statistic, down)) / 2e-5
        second = (link.slope(statistic, up) - link.slope(statistic, down)) / 2e-5
        assert slope[k] == pytest.approx(first, abs=1e-8)
        assert -bend[k] == pytest.approx(second[k], abs=1e-8)


# --- scores, errors, draws ----------------------------------------------------------------------


def difference(model: pg.Model, data: Any, params: dict[str, Floats], name: str) -> Floats:
    """The gradient of the log-likelihood by differences."""
    found = np.zeros(np.shape(params[name]))
    for place in np.ndindex(found.shape):
        ends = []
        for step in (1e-5, -1e-5):
            moved = np.array(params[name], dtype=float)
            moved[place] += step
            ends.append(model.log_likelihood(data, {**params, name: moved}).sum())
        found[place] = (ends[0] - ends[1]) / 2e-5
    return found


def test_scores_are_the_gradients_of_the_likelihood() -> None:
    model, data, params = input_output()
    bound = model.compile(data).bind(data)
    full = {name: np.asarray(value) for name, value in params.items()}
    found = score(bound, full)
    for name in ("b", "a"):
        assert found[name] == pytest.approx(difference(model, data, params, name), abs=1e-6)
    for name in ("W", "c", "f", "f0"):  # category 0 stays at zero
        free = dict(params)
        total = difference_free(model, data, free, name)
        assert found[name][..., 1:] == pytest.approx(total, abs=1e-6)


def difference_free(model: pg.Model, data: Any, params: dict[str, Floats], name: str) -> Floats:
    """As `difference`, without the entries of category 0."""
    found = np.zeros(params[name][..., 1:].shape)
    for place in np.ndindex(found.shape):
        ends = []
        for step in (1e-5, -1e-5):
            moved = params[name].copy()
            moved[..., 1:][place] += step
            ends.append(chains(data, {**params, name: moved}).sum())
        found[place] = (ends[0] - ends[1]) / 2e-5
    return found


def test_standard_errors_of_a_mixture_of_experts() -> None:
    model, data = experts(np.random.default_rng(3), 400)
    fit = model.fit(data, tol=1e-14, max_iter=5000)
    errors = fit.standard_errors()
    names = ["W", "w", "slope", "level", "var"]
    free = [(n, p) for n in names for p in np.ndindex(fit.params[n].shape)
            if not (n in "Ww" and p == (0,))]  # fmt: skip

    def gradient(step: tuple[str, Any], size: float) -> Floats:
        name, place = step
        moved = {k: np.array(v) for k, v in fit.params.items()}
        moved[name][place] += size
        bound = model.compile(data).bind(data)
        found = score(bound, moved)
        return np.array([found[n][p] for n, p in free])

    bend = np.array([(gradient(s, 1e-5) - gradient(s, -1e-5)) / 2e-5 for s in free])
    wanted = np.sqrt(np.diag(np.linalg.inv(-(bend + bend.T) / 2)))
    found = np.array([errors[n][p] for n, p in free])
    assert found == pytest.approx(wanted, rel=1e-4)
    assert errors["W"][0] == 0


def test_draws_follow_their_covariates() -> None:
    n = 20_000
    x = np.repeat([-1.0, 1.0], n // 2)
    with pg.Model("draws") as model:
        u = pg.covariate("x")
        z = pg.latent("z", pg.Categorical(logits=pg.param("W") * u, size=2))
        pg.observed("y", pg.Bernoulli(logit=pg.param("b")[z] * u))
        pg.observed("c", pg.Poisson(rate=pg.param("r"), log_rate=pg.param("s") * u))
    params = {"W": [0, 1.5], "b": [1.0, -0.5], "r": 2.0, "s": 0.4}
    data = {"x": x, "y": np.zeros(n, int), "c": np.zeros(n)}
    fit = model.fit(data, start=params, max_iter=0)
    drawn = fit.sample(n, data={"x": x}, seed=1)
    for sign in (-1.0, 1.0):
        here = x == sign
        z = np.asarray(drawn["z"])[here]
        assert z.mean() == pytest.approx(expit(1.5 * sign), abs=0.02)
        for k, slope in enumerate([1.0, -0.5]):
            y = np.asarray(drawn["y"])[here][z == k]
            assert y.mean() == pytest.approx(expit(slope * sign), abs=0.03)
        assert drawn["c"][here].mean() == pytest.approx(2 * np.exp(0.4 * sign), abs=0.07)


def test_draws_of_a_chain_with_inputs() -> None:
    model, data, params = input_output()
    fit = model.fit(data, start=params, max_iter=0)
    n = 3000
    inputs = {"x": np.tile([0.0, 1.0, -1.0], (n, 1)), "u": np.ones((n, 3))}
    drawn = fit.sample(n, data=inputs, sizes={"t": 3}, seed=2)
    s = np.array([np.asarray(row) for row in drawn["s"]])
    first = params["f"] + params["f0"]
    first = np.exp(first) / np.exp(first).sum()
    assert np.bincount(s[:, 0], minlength=3) / n == pytest.approx(first, abs=0.04)
    for k in range(3):
        row = params["W"][k] * -1.0 + params["c"][k]
        row = np.exp(row) / np.exp(row).sum()
        chosen = s[s[:, 1] == k, 2]
        assert np.bincount(chosen, minlength=3) / len(chosen) == pytest.approx(row, abs=0.06)


# --- holes --------------------------------------------------------------------------------------


def test_holes_take_the_moments_of_their_rows() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=60)
    c, y = rng.poisson(np.exp(0.3 + 0.5 * x)).astype(float), rng.integers(0, 2, 60).astype(float)
    c[:10], y[5:20] = np.nan, np.nan
    with pg.Model("holes") as model:
        u = pg.covariate("x")
        z = pg.latent("z", pg.Categorical(logits=pg.param("W") * u, size=2))
        pg.observed("c", pg.Poisson(log_rate=pg.param("s") * u + pg.param("t")[z]))
        pg.observed("y", pg.Bernoulli(logit=pg.param("b")[z] * u))
    params = {"W": [0, 0.7], "s": 0.5, "t": [0.0, 1.0], "b": [1.0, -1.0]}
    data = {"x": x, "c": c, "y": y}
    found = model.posterior(data, params)
    weight = np.stack([expit(-0.7 * x), expit(0.7 * x)], axis=1)
    rate = np.exp(0.5 * x[:, None] + np.array([0.0, 1.0]))
    chance = expit(x[:, None] * np.array([1.0, -1.0]))
    seen = np.where(np.isnan(c)[:, None], 1.0, poisson.pmf(np.nan_to_num(c)[:, None], rate))
    seen = seen * np.where(np.isnan(y)[:, None], 1.0, np.where(y[:, None] == 1, chance, 1 - chance))
    joint = weight * seen
    assert model.log_likelihood(data, params) == pytest.approx(np.log(joint.sum(axis=1)))
    z = joint / joint.sum(axis=1, keepdims=True)
    assert found["z"] == pytest.approx(z)
    mean = (z * rate).sum(axis=1)
    var = (z * (rate + rate**2)).sum(axis=1) - mean**2
    assert found["c"].mean[:10] == pytest.approx(mean[:10])
    assert found["c"].cov[:10] == pytest.approx(var[:10])
    assert found["y"][5:20, 1] == pytest.approx((z * chance).sum(axis=1)[5:20])
    fit = model.fit(data, start=params, max_iter=30)
    assert (np.diff(fit.trace) >= -1e-9).all()
    assert not np.isnan(fit.impute(data)["c"]).any()


# --- run-offs -----------------------------------------------------------------------------------


def separated() -> dict[str, Floats]:
    x = np.linspace(-2, 2, 40)
    return {"x": x, "y": (x > 0.3).astype(int)}


def logit_model(**settings: Any) -> pg.Model:
    with pg.Model("logit") as model:
        eta = pg.param("b", **settings) * pg.covariate("x") + pg.param("a", **settings)
        pg.observed("y", pg.Bernoulli(logit=eta))
    return model


def test_separated_classes_end_as_degenerate_with_a_name() -> None:
    with pytest.warns(pg.errors.FitWarning, match="'b'"):
        fit = logit_model().fit(separated())
    assert fit.verdict == "degenerate" and "'b'" in fit.verdict.detail
    assert all(np.isfinite(value).all() for value in fit.params.values())
    with pytest.raises(pg.FitError, match="'b'"):
        logit_model().fit(separated(), degenerate="raise")


def test_what_runs_off_has_no_standard_error() -> None:
    """Where a logit is flat, difference quotients would reach to where it is not."""
    with pg.Model("groups") as model:
        g, x = pg.covariate("g", size=2), pg.covariate("x")
        eta = pg.param("b")[g] * x + pg.param("a")[g]
        pg.observed("y", pg.Bernoulli(logit=eta))
    rng, data = np.random.default_rng(3), separated()
    x = np.concatenate([data["x"], data["x"]])
    mixed = rng.random(40) < 1 / (1 + np.exp(-data["x"]))
    both = {"x": x, "y": np.concatenate([data["y"], mixed]), "g": np.repeat([0, 1], 40)}
    with pytest.warns(pg.errors.FitWarning, match=r"'b'\[0\]"):
        fit = model.fit(both)
    with pytest.warns(pg.errors.FitWarning, match="do not identify 'b', 'a'"):
        errors = fit.standard_errors()
    assert np.isnan([errors["a"][0], errors["b"][0]]).all()
    with pg.Model("alone") as model:
        eta = pg.param("b") * pg.covariate("x") + pg.param("a")
        pg.observed("y", pg.Bernoulli(logit=eta))
    start = {name: fit.params[name][1] for name in "ab"}
    alone = model.fit({"x": data["x"], "y": mixed}, start=start, max_iter=0).standard_errors()
    assert errors["b"][1] == pytest.approx(alone["b"], rel=1e-6)
    assert errors["a"][1] == pytest.approx(alone["a"], rel=1e-6)


def test_a_ridge_cures_separation() -> None:
    fit = logit_model(prior=pg.Normal(0.0, 5.0)).fit(separated())
    assert fit.verdict == "converged" and 0 < fit.params["b"] < 20


def test_a_category_that_never_occurs_runs_off() -> None:
    rng = np.random.default_rng(0)
    with pg.Model("groups") as model:
        g = pg.covariate("g", size=3)
        pg.observed("y", pg.Poisson(log_rate=pg.param("a")[g]))
    g = np.arange(60) % 3
    y = np.where(g == 1, 0, rng.poisson(4, 60)).astype(float)
    with pytest.warns(pg.errors.FitWarning):
        fit = model.fit({"g": g, "y": y})
    assert fit.verdict == "degenerate" and "'a'[1]" in fit.verdict.detail


def test_separation_in_a_combination_of_regressors_is_found() -> None:
    """Neither regressor separates by itself; their difference does."""
    rng = np.random.default_rng(1)
    base = rng.normal(size=80)
    gap = rng.choice([-1.0, 0.0, 1.0], 80)
    y = np.where(gap == 0, rng.integers(0, 2, 80), gap > 0).astype(int)
    with pg.Model("pair") as model:
        eta = pg.param("b") @ pg.covariate("x") + pg.param("a")
        pg.observed("y", pg.Bernoulli(logit=eta))
    with pytest.warns(pg.errors.FitWarning, match="'b'"):
        fit = model.fit({"x": np.column_stack([base + gap, base - gap]), "y": y})
    assert fit.verdict == "degenerate" and "'a'" not in fit.verdict.detail


def test_far_predictors_with_a_maximum_are_no_run_off() -> None:
    rng = np.random.default_rng(2)
    with pg.Model("large") as model:
        pg.observed("y", pg.Poisson(log_rate=pg.param("a") + pg.param("b") * pg.covariate("x")))
    x = rng.normal(size=50)
    fit = model.fit({"x": x, "y": rng.poisson(4e5 * np.exp(0.1 * x)).astype(float)})
    assert fit.verdict == "converged" and fit.params["b"] == pytest.approx(0.1, abs=1e-3)


def test_collinear_regressors_are_named() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=80)
    y = (x + rng.normal(size=80) > 0).astype(int)
    with pg.Model("collinear") as model:
        eta = pg.param("b") @ pg.covariate("x") + pg.param("a")
        pg.observed("y", pg.Bernoulli(logit=eta))
    fit = model.fit({"x": np.column_stack([x, 2 * x]), "y": y}, tol=1e-13)
    assert fit.verdict == "converged" and "'b'" in fit.verdict.notes[0]
    single = logit_model().fit({"x": x, "y": y}, tol=1e-13)
    assert fit.log_likelihood == pytest.approx(single.log_likelihood)
    with pytest.warns(pg.errors.FitWarning, match="'b'"):
        errors = fit.standard_errors()
    assert np.isnan(errors["b"]).all() and np.isfinite(errors["a"])


# --- texts and files ----------------------------------------------------------------------------


def test_texts_say_what_is_done() -> None:
    model, data = experts(np.random.default_rng(5), 50)
    program = model.compile(data)
    text = program.explain()
    assert "Categorical(logits = W x_n + w)" in text and "softmax" in text
    assert "Newton" in str(program.report) and "2 per row of 'z'" in str(program.report)
    assert 'newton(stats, ["z"]' in program.source
    assert "Linked" not in text


def test_fits_are_saved_and_declarations_written(tmp_path: Path) -> None:
    model, data = experts(np.random.default_rng(6), 80)
    fit = model.fit(data, max_iter=5)
    fit.save(tmp_path / "fit.zip")
    again = pg.load(tmp_path / "fit.zip")
    assert again.posterior(data)["z"] == pytest.approx(fit.posterior(data)["z"])
    pickled = pickle.loads(pickle.dumps(fit))
    assert pickled.posterior(data)["z"] == pytest.approx(fit.posterior(data)["z"])
    copy = pg.Model.from_json(model.to_json())
    assert copy.record == model.record
    assert copy.fit(data, max_iter=5).trace == pytest.approx(fit.trace)


@pytest.mark.parametrize("constant", [False, True])
def test_a_script_repeats_the_fit(constant: bool, tmp_path: Path) -> None:
    """Links at latents and at leaves; also where one row of covariates serves all units."""
    model, data = experts(np.random.default_rng(8), 40)
    if constant:
        data["x"] = np.ones(40)
    script_repeats(model, data, tmp_path)


def test_weights_are_repeated_rows_and_shards_add() -> None:
    model, data = experts(np.random.default_rng(7), 90)
    weights = np.random.default_rng(0).integers(0, 3, 90)
    params = model.fit(data, max_iter=3).params
    weighted = model.fit(data, weights=weights, start=params, max_iter=4, tol=0)
    repeated = {name: np.repeat(value, weights, axis=0) for name, value in data.items()}
    again = model.fit(repeated, start=params, max_iter=4, tol=0, shard_size=11)
    assert weighted.trace == pytest.approx(again.trace, abs=1e-9)
