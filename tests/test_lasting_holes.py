"""Autoregressions with holes under chains with explicit durations: every course of the chain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lasting import KINDS, Segmented, make_lasting_case
from numpy.typing import NDArray
from switching import CLOSE, Switching, agree, climbs, expected_statistics, q_of

import pgem as pg

Floats = NDArray[np.float64]
PASSES = {"numpy": 10**12, "compiled": 0}
PARAMS = {
    "s.first.probs": np.array([0.3, 0.7]),
    "s.probs": np.array([[0.0, 1.0], [1.0, 0.0]]),
    "s.duration.rate": np.array([1.5, 3.0]),
    "c": np.array([-0.5, 1.0]),
    "phi": np.array([0.7, -0.4]),
    "v": np.array([0.5, 1.2]),
}


@pytest.fixture(params=PASSES)
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of loops along sequences."""
    segments = sys.modules["pgem.routines.segments"]  # the package's `segments` is the routine
    monkeypatch.setattr(segments, "COMPILED_FROM", PASSES[request.param])


def cases(
    config: pytest.Config, share: float, n_units: int = 2
) -> list[tuple[Switching, dict[str, Floats], str]]:
    """Random cases of every kind of durations, with random parameters."""
    n = max(1, round(int(config.getoption("--graphs")) * share / len(KINDS)))
    found = []
    for seed in range(n * len(KINDS)):
        case = make_lasting_case(seed, n_units, list(KINDS)[seed % len(KINDS)])
        params = case.params(np.random.default_rng(seed))
        found.append((case, params, f"{seed}\n{case.code}"))
    return found


def lasting(duration: Any = None) -> pg.Model:
    """An autoregression whose parameters switch, and stay for a number of steps."""
    with pg.Model("lasting") as model, pg.sequence("t"):
        family = pg.Categorical(size=2)
        s = pg.latent("s", family, after="s", duration=duration or pg.Poisson())
        mean = pg.param("c")[s] + pg.param("phi")[s] * pg.prev("y")
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("v")[s]), first=pg.Normal(0.0, 1.0))
    return model


def oracle_of(model: pg.Model, y: Floats) -> Segmented:
    """Every course of every sequence."""
    n, length = y.shape
    return Segmented(model.record, {"y": y}, {"t": [length] * n}, n, {"s": 2})


def holed(n: int, length: int, share: float, seed: int = 0) -> Floats:
    """Values with a share of them missing, never the last."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, length))
    gone = rng.random(y.shape) < share
    gone[:, -1] = False
    return np.where(gone, np.nan, y)


@pytest.mark.usefixtures("loops")
def test_log_likelihoods_and_posteriors(request: pytest.FixtureRequest) -> None:
    for case, params, message in cases(request.config, 0.02):
        agree(case, params, message)


@pytest.mark.usefixtures("loops")
def test_expected_statistics(request: pytest.FixtureRequest) -> None:
    """Q of the values as a function of new parameters; all slopes are those of log p."""
    for seed, (case, params, message) in enumerate(cases(request.config, 0.02)):
        rng = np.random.default_rng(seed)
        weights = rng.uniform(0.2, 2.0, case.n_units)
        program, stats = expected_statistics(case, params, weights)
        new, oracle = case.params(rng), case.oracle()
        if case.all_tied:
            q, values = oracle.q(params, weights), {**params}
            values |= {name: new[name] for name in new if not name.startswith("s.")}
            found = q_of(program, stats, values) - q_of(program, stats, params)
            assert found == pytest.approx(q(values) - q(params), rel=1e-8, abs=1e-8), message
        step = 1e-4
        ahead, behind = (
            {name: params[name] + sign * step * (new[name] - params[name]) for name in params}
            for sign in (1, -1)
        )
        slope = q_of(program, stats, ahead) - q_of(program, stats, behind)
        gain = oracle.log_likelihood(ahead) - oracle.log_likelihood(behind)
        assert slope == pytest.approx(weights @ gain, rel=1e-5, abs=1e-7), message


def test_em_never_decreases(request: pytest.FixtureRequest) -> None:
    for case, params, message in cases(request.config, 0.02, 5):
        climbs(case, params, 6, message)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_course_is_decoded(seed: int) -> None:
    model, y = lasting(), holed(3, 9, 0.3, seed)
    fit = model.fit({"y": y}, start=PARAMS, max_iter=0)
    oracle = oracle_of(model, y)
    for unit, course in enumerate(fit.decode({"y": y})["s"]):
        worlds = oracle.worlds(unit, PARAMS)
        best = max(worlds, key=lambda world: world.log_prior + world.log_seen)
        np.testing.assert_array_equal(course, [best.codes["s", (t,)] for t in range(9)])


def test_draws_are_of_the_joint_posterior() -> None:
    model, n = lasting(), 4000
    y = np.array([[0.3, np.nan, -0.4, np.nan, np.nan, 1.3, np.nan]])
    fit = model.fit({"y": y}, start=PARAMS, max_iter=0)
    drawn = fit.draw({"y": np.repeat(y, n, axis=0)}, seed=1)
    posterior = model.posterior({"y": y}, PARAMS, joint=[("s", pg.prev("s"))])
    spread = np.sqrt(posterior["s"][0, :, 1] * posterior["s"][0, :, 0] / n)
    assert (np.abs(drawn["s"].mean(axis=0) - posterior["s"][0, :, 1]) <= 5 * spread + 1e-12).all()
    mean, var = posterior["y"].mean[0], posterior["y"].cov[0]
    assert (np.abs(drawn["y"].mean(axis=0) - mean) <= 5 * np.sqrt(var / n) + 1e-12).all()
    both = (drawn["s"][:, 1:] * drawn["s"][:, :-1]).mean(axis=0)
    expected = posterior["s", pg.prev("s")][0, 1:, 1, 1]
    assert (np.abs(both - expected) <= 5 * np.sqrt(expected * (1 - expected) / n) + 1e-12).all()


def test_geometric_durations_are_a_chain_with_self_transitions() -> None:
    """At lengths that no enumeration reaches."""
    leave, y = np.array([0.2, 0.4]), holed(4, 80, 0.2, 5)
    with pg.Model("plain") as plain, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        mean = pg.param("c")[s] + pg.param("phi")[s] * pg.prev("y")
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("v")[s]), first=pg.Normal(0.0, 1.0))
    model = lasting(pg.Geometric())
    table = np.diag(1 - leave) + leave[:, None] * PARAMS["s.probs"]
    ours = {**{k: v for k, v in PARAMS.items() if "rate" not in k}, "s.duration.prob": leave}
    theirs = {**{k: v for k, v in PARAMS.items() if "rate" not in k}, "s.probs": table}
    one, other = (m.log_likelihood({"y": y}, p) for m, p in ((model, ours), (plain, theirs)))
    np.testing.assert_allclose(one, other, rtol=1e-11)
    found, expected = (m.posterior({"y": y}, p) for m, p in ((model, ours), (plain, theirs)))
    np.testing.assert_allclose(found["s"], expected["s"], **CLOSE)
    for mine, its in zip(found["y"], expected["y"], strict=True):
        np.testing.assert_allclose(mine, its, **CLOSE)


def test_two_autoregressions_whose_windows_overlap_or_touch() -> None:
    rng = np.random.default_rng(2)
    with pg.Model("two") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s", duration=pg.Poisson())
        for name in ("y", "x"):
            gates = [s, pg.prev("s")] if name == "x" else [s]
            mean = pg.param(f"a_{name}")[tuple(gates)] * pg.prev(name) + pg.param(f"b_{name}")[s]
            pg.observed(name, pg.Normal(mean=mean, var=pg.param(f"v_{name}")), first=pg.Normal())
    for seed in range(3):
        data = {}
        for name in ("y", "x"):
            values = rng.normal(size=(2, 7))
            data[name] = np.where(rng.random(values.shape) < 0.4, np.nan, values)
        case = make_lasting_case(seed, 1, next(iter(KINDS)))
        case.model, case.data, case.sizes, case.n_units = model, data, {"t": [7, 7]}, 2
        case.dims, case.categories = {}, {"s": 2}
        agree(case, case.params(rng))


def test_what_is_done_is_told_and_runs_alone(tmp_path: Path) -> None:
    model, y = lasting(), holed(12, 12, 0.2, 7)
    program = model.compile({"y": y})
    assert "holes integrated out along t" in str(program.report)
    assert "A missing value ties its own step" in program.explain()
    fit = model.fit({"y": y}, max_iter=4, tol=0)
    path = tmp_path / "alone.py"
    program.to_script({"y": y}, max_iter=4, tol=0, path=path)
    ran = subprocess.run(
        [sys.executable, "-I", str(path), "--json"], capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(json.loads(ran.stdout)["trace"], fit.trace, rtol=1e-12)


def test_another_gate_beside_the_durations_is_refused() -> None:
    with pg.Model("beside") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s", duration=pg.Poisson())
        z = pg.latent("z", pg.Categorical(size=2), given=s)
        pg.observed("y", pg.Normal(mean=pg.param("phi")[z] * pg.prev("y")))
    y = holed(2, 12, 0.0)
    assert np.isfinite(model.fit({"y": y}, max_iter=2).trace).all()
    y[1, 5] = np.nan
    with pytest.raises(pg.IntractableError) as caught:
        model.fit({"y": y})
    for word in ("'y'", "unit '1', step '5' of 't'", "'z'", "'s'", "durations", "cut the seq"):
        assert word in str(caught.value)


def test_a_run_beyond_the_limit_is_refused() -> None:
    model, y = lasting(), holed(2, 60, 0.0)
    y[1, 20:45] = np.nan
    with pytest.raises(pg.IntractableError) as caught:
        model.fit({"y": y})
    for word in ("'y'", "'26' steps", "unit '1', step '20'", "step '45'", "1,000,000"):
        assert word in str(caught.value)
