"""Autoregressions with holes along hidden trees: a Gaussian for every configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from switching import GATING, Switching, agree, agree_on_statistics, climbs, make_case

import pgem as pg

Floats = NDArray[np.float64]
KINDS = [name for name in GATING if "second" not in name]
PARAMS = {
    "s.first.probs": np.array([0.3, 0.7]),
    "s.probs": np.array([[0.8, 0.2], [0.3, 0.7]]),
    "c": np.array([-0.5, 1.0]),
    "phi": np.array([0.7, -0.4]),
    "v": np.array([0.5, 1.2]),
}


def cases(
    config: pytest.Config, share: float, n_units: int = 3
) -> list[tuple[Switching, dict[str, Floats], str]]:
    """Random cases of every kind of gating, with random parameters."""
    n = max(1, round(int(config.getoption("--graphs")) * share / len(KINDS)))
    found = []
    for seed in range(n * len(KINDS)):
        case = make_case(seed, n_units, KINDS[seed % len(KINDS)], tree=True)
        params = case.params(np.random.default_rng(seed))
        found.append((case, params, f"{seed}\n{case.code}\n{case.data}"))
    return found


def cells() -> pg.Model:
    """Values that drift from parent to child, with a hidden state."""
    with pg.Model("cells") as model, pg.tree("cell"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        mean = pg.param("c")[s] + pg.param("phi")[s] * pg.prev("y")
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("v")[s]), first=pg.Normal(0.0, 1.0))
    return model


def forest(n: int, size: int, holes: float, seed: int = 0) -> dict[str, Any]:
    """Trees in which every other member has two children."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, size))
    parents = np.repeat(((np.arange(size) - 1) // 2)[None], n, axis=0)
    parents[:, 0] = -1
    return {"y": np.where(rng.random(y.shape) < holes, np.nan, y), "cell.parent": parents}


def test_log_likelihoods_and_posteriors(request: pytest.FixtureRequest) -> None:
    for case, params, message in cases(request.config, 0.04):
        agree(case, params, message)


def test_expected_statistics(request: pytest.FixtureRequest) -> None:
    """Q as a function of new parameters; where values at the leaves count or not, its slope."""
    for seed, (case, params, message) in enumerate(cases(request.config, 0.04)):
        agree_on_statistics(case, params, seed, message)


def test_em_never_decreases(request: pytest.FixtureRequest) -> None:
    for case, params, message in cases(request.config, 0.03, 6):
        climbs(case, params, 8, message)


@pytest.mark.parametrize("seed", range(3))
def test_a_tree_without_branches_is_a_sequence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(3, 25))
    y = np.where(rng.random(y.shape) < 0.25, np.nan, y)
    y[:, -1] = 0.3
    with pg.Model("line") as line, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        mean = pg.param("c")[s] + pg.param("phi")[s] * pg.prev("y")
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("v")[s]), first=pg.Normal(0.0, 1.0))
    data = {"y": y, "cell.parent": np.repeat(np.arange(-1, 24)[None], 3, axis=0)}
    one, other = cells().posterior(data, PARAMS), line.posterior({"y": y}, PARAMS)
    np.testing.assert_allclose(one["s"], other["s"], rtol=1e-8, atol=1e-10)
    for mine, its in zip(one["y"], other["y"], strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-8, atol=1e-10)
    mine, its = (
        m.fit(d, start=PARAMS, max_iter=5, tol=0) for m, d in ((cells(), data), (line, {"y": y}))
    )
    np.testing.assert_allclose(mine.trace, its.trace, rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_configuration_is_decoded(seed: int) -> None:
    model, data = cells(), forest(2, 7, 0.3, seed)
    fit = model.fit(data, start=PARAMS, max_iter=0)
    case = Switching("m = None", data, {"cell": [7, 7]}, 2, {}, {"s": 2})
    case.model = model
    for unit, found in enumerate(fit.decode(data)["s"]):
        worlds = case.oracle().worlds(unit, PARAMS)
        best = max(worlds, key=lambda world: world.log_prior + world.log_seen)
        np.testing.assert_array_equal(found, [best.codes["s", (k,)] for k in range(7)])


def test_draws_have_the_posterior_moments() -> None:
    model, n = cells(), 4000
    data = forest(1, 7, 0.0)
    data["y"][0, [1, 4, 6]] = np.nan
    repeated = {name: np.repeat(values, n, axis=0) for name, values in data.items()}
    fit = model.fit(repeated, start=PARAMS, max_iter=0)
    drawn = fit.draw(repeated, seed=1)
    posterior = model.posterior(data, PARAMS)
    share = posterior["s"][0, :, 1]
    spread = np.sqrt(share * (1 - share) / n)
    assert (np.abs(drawn["s"].mean(axis=0) - share) <= 5 * spread + 1e-12).all()
    mean, var = posterior["y"].mean[0], posterior["y"].cov[0]
    assert (np.abs(drawn["y"].mean(axis=0) - mean) <= 5 * np.sqrt(var / n) + 1e-12).all()
    assert (np.abs(drawn["y"].var(axis=0) - var) <= 0.15 * var + 1e-12).all()


def test_what_is_below_the_last_values_costs_no_more_at_any_depth() -> None:
    """Moments under each state follow from parent to child: those of a sequence, and branches."""
    model, length = cells(), 60
    y = np.full((1, 2 + 2 * length), np.nan)
    y[0, :2] = 0.4, 1.3
    parents = np.arange(-1, 1 + 2 * length)[None].copy()
    parents[0, 2 + length] = 1  # a second branch below the second member
    data = {"y": y, "cell.parent": parents}
    found = model.posterior(data, PARAMS)
    now = model.posterior({"y": y[:, :2], "cell.parent": parents[:, :2]}, PARAMS)["s"][0, 1]
    p, m, q = now, now * 1.3, now * 1.3**2
    for step in range(length):
        p, m, q = (each @ PARAMS["s.probs"] for each in (p, m, q))
        c, phi, v = PARAMS["c"], PARAMS["phi"], PARAMS["v"]
        q = phi**2 * q + 2 * c * phi * m + (c**2 + v) * p
        m = phi * m + c * p
        for branch in (2, 2 + length):
            assert found["y"].mean[0, branch + step] == pytest.approx(m.sum(), rel=1e-9)
            spread = q.sum() - m.sum() ** 2
            assert found["y"].cov[0, branch + step] == pytest.approx(spread, rel=1e-9)
    fit = model.fit({"y": y, "cell.parent": parents}, start=PARAMS, max_iter=0)
    assert np.isfinite(fit.draw(data, seed=0)["y"]).all()


def test_shards_and_weights_change_nothing() -> None:
    model, data = cells(), forest(6, 11, 0.25, 3)
    weights = np.array([1.0, 2.0, 0.0, 1.0, 3.0, 1.0])
    options: dict[str, Any] = {"start": PARAMS, "max_iter": 3, "tol": 0}
    once = model.fit(data, weights=weights, **options)
    cut = model.fit(data, weights=weights, shard_size=2, n_jobs=2, **options)
    counts = weights.astype(int)
    repeated = {name: np.repeat(values, counts, axis=0) for name, values in data.items()}
    again = model.fit(repeated, **options)
    for name, value in once.params.items():
        np.testing.assert_allclose(cut.params[name], value, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(again.params[name], value, rtol=1e-9, atol=1e-12)


def test_two_autoregressions_whose_stretches_overlap_or_touch() -> None:
    rng = np.random.default_rng(5)
    with pg.Model("two") as model, pg.tree("cell"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        for name in ("y", "x"):
            mean = pg.param(f"a_{name}")[s] * pg.prev(name) + pg.param(f"b_{name}")[s]
            pg.observed(name, pg.Normal(mean=mean, var=pg.param(f"v_{name}")), first=pg.Normal())
    for seed in range(3):
        data = {**forest(2, 7, 0.4, seed), "x": forest(2, 7, 0.4, seed + 10)["y"]}
        case = Switching("m = None", data, {"cell": [7, 7]}, 2, {}, {"s": 2})
        case.model = model
        agree(case, case.params(rng))


def test_what_is_done_is_told_and_runs_alone(tmp_path: Path) -> None:
    model, data = cells(), forest(8, 9, 0.2, 7)
    program = model.compile(data)
    assert "holes integrated out along cell" in str(program.report)
    assert "to its children" in program.explain()
    assert "the longest of" in program.bind(data).report
    fit = model.fit(data, max_iter=4, tol=0)
    path = tmp_path / "alone.py"
    program.to_script(data, max_iter=4, tol=0, path=path)
    ran = subprocess.run(
        [sys.executable, "-I", str(path), "--json"], capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(json.loads(ran.stdout)["trace"], fit.trace, rtol=1e-12)


def test_a_hole_with_too_many_children_is_refused() -> None:
    """They are all gated by states of their own."""
    y = np.zeros((2, 30))
    y[1, 3] = np.nan
    parents = np.repeat(np.array([-1, 0, 1, 2, *([3] * 26)])[None], 2, axis=0)
    with pytest.raises(pg.IntractableError) as caught:
        cells().fit({"y": y, "cell.parent": parents})
    place = "unit '1', member '3' of 'cell'"
    for word in ("'y'", "'27' members", place, "1,000,000", "cut the tree"):
        assert word in str(caught.value)
