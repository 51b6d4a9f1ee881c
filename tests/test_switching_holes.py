"""Autoregressions under a latent chain with holes: for every course of the states a Gaussian."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dense import Dense
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from switching import (
    CLOSE,
    GATING,
    Switching,
    agree,
    agree_on_statistics,
    climbs,
    make_case,
    q_of,
)

import pgem as pg
from pgem.run import sum_statistics

Floats = NDArray[np.float64]
PASSES = {"numpy": 10**12, "compiled": 0}
SCALAR = {
    "s.first.probs": np.array([0.3, 0.7]),
    "s.probs": np.array([[0.8, 0.2], [0.3, 0.7]]),
    "c": np.array([-0.5, 1.0]),
    "phi": np.array([0.7, -0.4]),
    "v": np.array([0.5, 1.2]),
}


@pytest.fixture(params=PASSES)
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of loops along sequences."""
    scan = sys.modules["pgem.routines.scan"]  # the package's `scan` is the routine
    monkeypatch.setattr(scan, "COMPILED_FROM", PASSES[request.param])


def cases(
    config: pytest.Config, share: float, n_units: int = 3
) -> list[tuple[Switching, dict[str, Floats], str]]:
    """Random cases of every kind of gating, with random parameters."""
    n = max(1, round(int(config.getoption("--graphs")) * share / len(GATING)))
    found = []
    for seed in range(n * len(GATING)):
        case = make_case(seed, n_units, list(GATING)[seed % len(GATING)])
        params = case.params(np.random.default_rng(seed))
        found.append((case, params, f"{seed}\n{case.code}"))
    return found


def switching(first: Any = None, n_lags: int = 1) -> pg.Model:
    """A Markov-switching autoregression."""
    with pg.Model("switching") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        mean = pg.param("c")[s] + pg.param("phi")[s] * pg.prev("y")
        for lag in range(2, n_lags + 1):
            mean = mean + pg.param(f"phi{lag}") * pg.prev("y", lag)
        options = {} if first is None else {"first": first}
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("v")[s]), **options)
    return model


def simulate(n: int, length: int, holes: float, seed: int = 0) -> Floats:
    """Sequences of `SCALAR`, with a share of the values missing, never the first."""
    rng = np.random.default_rng(seed)
    y, s = np.zeros((n, length)), rng.integers(0, 2, n)
    for t in range(length):
        s = np.where(rng.random(n) < SCALAR["s.probs"][s, 0], 0, 1)
        before = y[:, t - 1] if t else np.zeros(n)
        mean = SCALAR["c"][s] + SCALAR["phi"][s] * before
        y[:, t] = mean + rng.normal(size=n) * np.sqrt(SCALAR["v"][s])
    gone = rng.random(y.shape) < holes
    gone[:, 0] = False
    return np.where(gone, np.nan, y)


# --- the E-step ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("loops")
def test_log_likelihoods_and_posteriors(request: pytest.FixtureRequest) -> None:
    for case, params, message in cases(request.config, 0.02):
        agree(case, params, message)


PAIRS = {
    "of one chain": ("s", "s", "x"),
    "of one chain, which look at one another": ("s", "s", "y"),
    "of two chains": ("s", "u", "x"),
    "of two chains, which look at one another": ("s", "u", "y"),
}
"""What gates the first and the second, and what the second looks back at."""


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_two_autoregressions(pair: tuple[str, str, str], seed: int) -> None:
    """Stretches of one may lie within those of the other, overlap, or touch."""
    rng = np.random.default_rng(seed)
    with pg.Model("two") as model, pg.sequence("t"):
        states = {
            name: pg.latent(name, pg.Categorical(size=2), after=name)
            for name in dict.fromkeys(pair[:2])
        }
        for name, gate, back in (("y", pair[0], "y"), ("x", pair[1], pair[2])):
            state = states[gate]
            mean = pg.param(f"a_{name}")[state] * pg.prev(back) + pg.param(f"b_{name}")[state]
            pg.observed(name, pg.Normal(mean=mean, var=pg.param(f"v_{name}")), first=pg.Normal())
    data = {}
    for name in ("y", "x"):
        values = rng.normal(size=(2, 4))
        data[name] = np.where(rng.random(values.shape) < 0.4, np.nan, values)
    case = Switching("m = None", data, {"t": [4, 4]}, 2, {}, {"s": 2, "u": 2})
    case.model = model
    agree(case, case.params(rng))


def test_lags_times_covariates() -> None:
    """Regressors that multiply earlier values, and one that is contracted with a vector of them."""
    rng = np.random.default_rng(3)
    with pg.Model("drift") as drift, pg.sequence("t"):
        x = pg.covariate("x")
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        mean = pg.param("a")[s] * x * pg.prev("y") + pg.param("b")[s] - 0.3 * pg.prev("y", 2)
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("v") * x), first=pg.Normal())
    with pg.Model("factors") as factors, pg.sequence("t"):
        w = pg.covariate("w")
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        step = pg.param("A")[s] @ pg.prev("z")
        z = pg.observed("z", pg.MvNormal(mean=step, cov=pg.param("c")), first=pg.MvNormal())
        pg.observed("y", pg.Normal(mean=w @ z + pg.param("b")[s], var=pg.param("v")))
    y, z = rng.normal(size=(2, 5)), rng.normal(size=(2, 5, 2))
    y[rng.random(y.shape) < 0.4], z[rng.random(z.shape) < 0.3] = np.nan, np.nan
    y[0, 2:], z[0, 3], z[0, 4], y[0, 1:3] = np.nan, 0.1, np.nan, 0.4
    inputs = {"x": rng.gamma(3.0, 0.4, (2, 5)), "w": rng.normal(size=(2, 5, 2))}
    for model, data, dims in (
        (drift, {"y": y, "x": inputs["x"]}, {}),
        (factors, {"y": y, "z": z, "w": inputs["w"]}, {"z": 2}),
    ):
        case = Switching("m = None", data, {"t": [5, 5]}, 2, dims, {"s": 2})
        case.model = model
        agree(case, case.params(rng))


@pytest.mark.usefixtures("loops")
def test_expected_statistics(request: pytest.FixtureRequest) -> None:
    """Q as a function of new parameters; where values at the ends count or not, its slope."""
    for seed, (case, params, message) in enumerate(cases(request.config, 0.02)):
        agree_on_statistics(case, params, seed, message)


def test_a_hole_is_integrated_over() -> None:
    """By quadrature over what is missing, with the program of complete data."""
    model, params = switching(), SCALAR
    y = simulate(1, 8, 0.0)
    grid = np.linspace(-15, 15, 6001)
    filled = np.repeat(y, len(grid), axis=0)
    for t in (3, 7):
        filled[:, t] = grid
        each = model.log_likelihood({"y": filled}, params) + np.log(grid[1] - grid[0])
        holed = np.where(np.arange(8) == t, np.nan, y)
        found = model.log_likelihood({"y": holed}, params)[0]
        assert found == pytest.approx(logsumexp(each), abs=1e-9)
        filled[:] = y


# --- the M-step ---------------------------------------------------------------------------------


def test_em_never_decreases(request: pytest.FixtureRequest) -> None:
    for case, params, message in cases(request.config, 0.02, 6):
        climbs(case, params, 12, message)


def test_no_optimiser_finds_more_than_the_m_step() -> None:
    """Shared and partly fixed parameters among them; Q is that of the test above."""
    with pg.Model("held") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        slope = pg.param("phi", fixed=[True, False], value=[0.7, 0.0])[s]
        level = pg.param("c")[pg.constant([0, 0])[s]]
        mean = level + slope * pg.prev("y")
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("v")), first=pg.Normal(0.0, 1.0))
    y = simulate(30, 9, 0.2, seed=3)
    start = {**SCALAR, "c": np.array([0.1]), "phi": np.array([0.7, -0.2]), "v": np.array(0.8)}
    fit = model.fit({"y": y}, start=start, max_iter=0)
    stats = sum_statistics(fit._training(), fit.params)[1]
    new = fit.program.m_step({name: np.array(p) for name, p in fit.params.items()}, stats, set())

    def value(point: Floats) -> float:
        moved = {"c": point[:1], "phi": np.array([0.7, point[1]]), "v": np.exp(point[2])}
        return -q_of(fit.program, stats, {**new, **moved})

    found = minimize(value, np.array([0.1, -0.2, np.log(0.8)]), method="BFGS", tol=1e-10)
    assert q_of(fit.program, stats, new) >= -found.fun - 1e-8
    assert new["phi"][0] == 0.7
    assert new["phi"][1] == pytest.approx(found.x[1], abs=1e-4)


def test_the_fit_is_that_of_the_likelihood_and_finds_the_truth() -> None:
    model = switching()
    y = simulate(60, 60, 0.1, seed=4)
    fit = model.fit({"y": y}, start=SCALAR)
    assert fit.verdict == "converged"
    errors = fit.standard_errors()
    for name in ("c", "phi", "v", "s.probs"):
        assert (np.abs(fit.params[name] - SCALAR[name]) < 5 * errors[name]).all(), name
    for name in ("c", "phi", "v"):
        for step in (-0.01, 0.01):
            moved = {**fit.params, name: fit.params[name] + step}
            assert model.log_likelihood({"y": y}, moved).sum() < fit.log_likelihood


def test_weights_shards_and_threads_change_nothing() -> None:
    model, y = switching(pg.Normal(0.0, 2.0)), simulate(8, 12, 0.25, seed=5)
    y[1, 0] = np.nan
    weights = np.array([1.0, 2.0, 0.0, 1.0, 1.0, 3.0, 1.0, 1.0])
    options: dict[str, Any] = {"start": SCALAR, "max_iter": 3, "tol": 0}
    once = model.fit({"y": y}, weights=weights, **options)
    repeated = model.fit({"y": np.repeat(y, weights.astype(int), axis=0)}, **options)
    cut = model.fit({"y": y}, weights=weights, shard_size=3, n_jobs=2, **options)
    for name, value in once.params.items():
        np.testing.assert_allclose(repeated.params[name], value, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(cut.params[name], value, rtol=1e-9, atol=1e-12)


# --- programs -----------------------------------------------------------------------------------


def test_patterns_share_a_program_and_complete_units_keep_their_values() -> None:
    model, y = switching(), simulate(4, 10, 0.0, seed=6)
    one, other = y.copy(), y.copy()
    one[0, 4], other[1, 3:6], other[2, 9] = np.nan, np.nan, np.nan
    assert model.compile({"y": one}) is model.compile({"y": other})
    complete = model.log_likelihood({"y": y}, SCALAR)
    found = model.log_likelihood({"y": other}, SCALAR)
    np.testing.assert_allclose(found[[0, 3]], complete[[0, 3]], rtol=1e-13)
    assert (np.abs(found - complete)[1:3] > 1e-3).all()


def test_what_is_done_is_told() -> None:
    model, y = switching(), simulate(3, 10, 0.0)
    y[0, 4], y[1, 5:7], y[2, 9] = np.nan, np.nan, np.nan
    program = model.compile({"y": y})
    assert "holes integrated out along t" in str(program.report)
    assert "2 stretches, the longest of 3 steps" in program.bind({"y": y}).report
    assert "A missing value ties its own step" in program.explain()
    assert r"\int" in program.explain("markdown")


def test_a_script_runs_alone(tmp_path: Path) -> None:
    model, y = switching(pg.Normal()), simulate(12, 10, 0.2, seed=7)
    fit = model.fit({"y": y}, max_iter=5, tol=0)
    path = tmp_path / "alone.py"
    model.compile({"y": y}).to_script({"y": y}, max_iter=5, tol=0, path=path)
    ran = subprocess.run(
        [sys.executable, "-I", str(path), "--json"], capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(json.loads(ran.stdout)["trace"], fit.trace, rtol=1e-12)


# --- what is missing ----------------------------------------------------------------------------


def test_joint_draws_have_the_joint_posterior() -> None:
    model, n = switching(pg.Normal(0.0, 1.0)), 6000
    y = np.array([np.nan, 0.4, np.nan, np.nan, 1.3, np.nan])
    data = {"y": np.repeat(y[None], n, axis=0)}
    params = {name: np.array(value) for name, value in SCALAR.items()}
    fit = model.fit(data, start=params, max_iter=0)
    drawn = fit.draw(data, seed=1)
    oracle = Dense(model.record, {"y": y[None]}, {"t": [6]}, 1, {"s": 2})
    worlds = oracle.weighted(0, params)
    mean, second = np.zeros(12), np.zeros((12, 12))
    for weight, world in worlds:
        forms = [world.forms["y", (t,)] for t in range(6)]
        centre = np.array([form.mean[0] + form.loadings[0] @ world.mean for form in forms])
        load = np.stack([form.loadings[0] for form in forms])
        states = np.array([float(world.codes["s", (t,)]) for t in range(6)])
        value = np.concatenate([states, centre])
        mean += weight * value
        second += weight * np.outer(value, value)
        second[6:, 6:] += weight * load @ world.cov @ load.T
    found = np.concatenate([drawn["s"], drawn["y"]], axis=1)
    spread = np.sqrt(np.maximum(np.diag(second) - mean**2, 0.0))
    assert (np.abs(found.mean(axis=0) - mean) <= 5 * spread / np.sqrt(n) + 1e-12).all()
    moments = found.T @ found / n
    noise = np.sqrt(np.maximum((found**2).T @ found**2 / n - moments**2, 0.0))
    assert (np.abs(moments - second) <= 5 * noise / np.sqrt(n) + 1e-12).all()


def factors() -> tuple[pg.Model, dict[str, Any], dict[str, Floats]]:
    """Vectors that look back, with a factor of each step."""
    with pg.Model("factors") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        f = pg.latent("f", pg.Normal(0.0, 1.0))
        mean = pg.param("a")[s] @ pg.prev("y") + pg.param("l") * f + pg.param("b")[s]
        start = pg.MvNormal(0.0, pg.identity(2))
        pg.observed("y", pg.MvNormal(mean=mean, cov=pg.diagonal(pg.param("v"))), first=start)
    rng = np.random.default_rng(1)
    y = rng.normal(size=(6, 7, 2))
    y[rng.random(y.shape) < 0.25] = np.nan
    y[0, 2:4], y[1, 6] = np.nan, np.nan
    params = Switching.params(_case_of(model, y), rng)
    return model, {"y": y}, params


def _case_of(model: pg.Model, y: Floats) -> Switching:
    case = Switching("m = None", {"y": y}, {"t": [y.shape[1]] * len(y)}, len(y), {"y": 2}, {"s": 2})
    case.model = model
    return case


def test_draws_beside_a_factor_have_the_posterior_moments() -> None:
    model, data, params = factors()
    n = 4000
    repeated = {"y": np.repeat(data["y"][:2], n, axis=0)}
    fit = model.fit(repeated, start=params, max_iter=0)
    drawn = fit.draw(repeated, seed=1)
    posterior = model.posterior({"y": data["y"][:2]}, params)
    for name in ("f", "y"):
        found = drawn[name].reshape(2, n, *drawn[name].shape[1:])
        mean, cov = posterior[name]
        var = cov if name == "f" else np.einsum("ntii->nti", cov)
        assert (np.abs(found.mean(axis=1) - mean) <= 5 * np.sqrt(var / n) + 1e-9).all(), name
        assert (np.abs(found.var(axis=1) - var) <= 0.15 * var + 1e-9).all(), name
    gap = np.cov(found[0, :, 2, 0], drawn["f"].reshape(2, n, -1)[0, :, 2])[0, 1]
    worlds = _case_of(model, data["y"][:1]).oracle().weighted(0, params)
    mean, second = np.zeros(2), 0.0
    for weight, world in worlds:
        forms = [world.forms["y", (2,)], world.forms["f", (2,)]]
        load = np.stack([form.loadings[0] for form in forms])
        centre = np.array([form.mean[0] for form in forms]) + load @ world.mean
        mean += weight * centre
        second += weight * ((load @ world.cov @ load.T)[0, 1] + centre[0] * centre[1])
    assert gap == pytest.approx(second - mean[0] * mean[1], abs=0.1)


def test_a_fit_beside_a_factor_runs_alone(tmp_path: Path) -> None:
    model, data, params = factors()
    fit = model.fit(data, start=params, max_iter=4, tol=0)
    assert (np.diff(fit.trace) >= -1e-9).all()
    program = model.compile(data)
    assert "apart from the steps that holes of y tie together" in str(program.report)
    assert "A missing value ties its own step" in program.explain()
    path = tmp_path / "alone.py"
    program.to_script(data, start=params, max_iter=4, tol=0, path=path)
    ran = subprocess.run(
        [sys.executable, "-I", str(path), "--json"], capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(json.loads(ran.stdout)["trace"], fit.trace, rtol=1e-12)


def test_imputations_agree() -> None:
    """Modes are decoded first; given these, a hole has the mean of one Gaussian."""
    model, y = switching(), simulate(1, 9, 0.0, seed=8)
    y[0, 4:6] = np.nan
    fit = model.fit({"y": y}, start=SCALAR, max_iter=0)
    moments = model.posterior({"y": y}, SCALAR)["y"]
    np.testing.assert_allclose(fit.impute({"y": y})["y"], moments.mean)
    decoded = fit.decode({"y": y})
    given = model.posterior({"y": y, **decoded}, SCALAR)["y"]
    np.testing.assert_allclose(fit.impute({"y": y}, how="mode")["y"], given.mean)
    np.testing.assert_allclose(moments.mean[~np.isnan(y)], y[~np.isnan(y)])


def forecast(y: float, now: Floats, steps: int) -> tuple[list[float], list[float]]:
    """Means and variances ahead, from first and second moments of y with each state."""
    a, c, phi, v = (SCALAR[name] for name in ("s.probs", "c", "phi", "v"))
    p, m, q = now, now * y, now * y**2
    means, variances = [], []
    for _ in range(steps):
        p, m, q = p @ a, m @ a, q @ a
        q = phi**2 * q + 2 * c * phi * m + (c**2 + v) * p
        m = phi * m + c * p
        means.append(float(m.sum()))
        variances.append(float(q.sum() - m.sum() ** 2))
    return means, variances


@pytest.mark.parametrize("steps", [1, 9, 80])
def test_forecasts_are_those_of_the_moment_recursion(steps: int) -> None:
    model = switching()
    y = simulate(2, 15, 0.0, seed=9)
    ahead = {"y": np.concatenate([y, np.full((2, steps), np.nan)], axis=1)}
    now = model.posterior({"y": y}, SCALAR)["s"][:, -1]
    found = model.posterior(ahead, SCALAR)["y"]
    for unit in range(2):
        means, variances = forecast(y[unit, -1], now[unit], steps)
        np.testing.assert_allclose(found.mean[unit, 15:], means, rtol=1e-9)
        np.testing.assert_allclose(found.cov[unit, 15:], variances, rtol=1e-9)
    np.testing.assert_allclose(
        model.log_likelihood(ahead, SCALAR), model.log_likelihood({"y": y}, SCALAR), rtol=1e-12
    )


def test_a_node_is_predicted_from_the_others_at_any_length() -> None:
    """Nothing is known of `y` then, but of the states by another child."""
    with pg.Model("two") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        mean = pg.param("c")[s] + pg.param("phi")[s] * pg.prev("y")
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("v")[s]), first=pg.Normal(0.0, 1.0))
        pg.observed("o", pg.Categorical(size=2), given=s)
    rng = np.random.default_rng(11)
    params = {**SCALAR, "o.probs": np.array([[0.9, 0.1], [0.3, 0.7]])}
    for length in (5, 60):
        data = {"y": simulate(1, length, 0.0), "o": rng.integers(0, 2, (1, length))}
        fit = model.fit(data, start=params, max_iter=0)
        predicted = fit.predict(data, "y")
        if length == 5:
            none = {**data, "y": np.full((1, length), np.nan)}
            oracle = Dense(model.record, none, {"t": [length]}, 1, {"s": 2, "o": 2})
            moments = oracle.moments(params)
            expected = [moments[0, "y", (t,)][0][0] for t in range(length)]
            np.testing.assert_allclose(predicted[0], expected, **CLOSE)
        assert np.isfinite(predicted).all()


# --- limits -------------------------------------------------------------------------------------


def test_a_run_beyond_the_limit_is_refused_and_steps_ahead_are_not() -> None:
    model, y = switching(), simulate(2, 60, 0.0, seed=10)
    fit = model.fit({"y": y}, start=SCALAR, max_iter=0)
    holed = y.copy()
    holed[1, 20:45] = np.nan
    with pytest.raises(pg.IntractableError) as caught:
        model.fit({"y": holed}, start=SCALAR)
    words = (
        "'y'",
        "'26' steps",
        "unit '1', step '20'",
        "step '45'",
        "1,000,000",
        "cut the sequence",
    )
    for word in words:
        assert word in str(caught.value)
    ahead = {"y": np.concatenate([y, np.full((2, 50), np.nan)], axis=1)}
    drawn = fit.draw(ahead, seed=2)["y"]
    assert np.isfinite(drawn).all()
    np.testing.assert_array_equal(drawn[:, :60], y)
    assert fit.score(ahead) == pytest.approx(fit.score({"y": y}))


def test_first_values_are_refused() -> None:
    y = simulate(2, 12, 0.0)
    y[0, 0] = np.nan
    with pytest.raises(pg.DataError, match="first steps"):
        switching().fit({"y": y})


# --- the discrete analogue ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_missing_category_is_a_latent_of_its_own(seed: int) -> None:
    """A chain of categories under a chain of states: y | y of the step before, s."""
    rng = np.random.default_rng(seed)
    with pg.Model("echo") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed(
            "y", pg.Categorical(size=3), given=[s, pg.prev("y")], first=pg.Categorical(size=3)
        )
    y = np.where(rng.random((2, 5)) < 0.4, np.nan, rng.integers(0, 3, (2, 5)))
    y[0, 1] = 2.0
    params = {
        name: rng.dirichlet(np.ones(layout.shape[-1]), layout.shape[:-1])
        for name, layout in model.compile({"y": y}).params.items()
    }
    oracle = Dense(model.record, {"y": y}, {"t": [5, 5]}, 2, {"s": 2, "y": 3})
    found = model.log_likelihood({"y": y}, params)
    np.testing.assert_allclose(found, oracle.log_likelihood(params), **CLOSE)
    posterior = model.posterior({"y": y}, params)
    for (unit, name, path), table in oracle.marginals(params).items():
        np.testing.assert_allclose(posterior[name][unit][path], table, **CLOSE)
    trace = model.fit({"y": y}, start=params, max_iter=8, tol=0).trace
    assert (np.diff(trace) >= -1e-10).all()
