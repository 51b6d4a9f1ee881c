"""Numbers that cost digits: offsets, scales, sticky chains, underflow, extreme weights."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from force_lanes import always_lanes, never_lanes
from numpy.typing import NDArray
from scipy.special import logsumexp

import pgem as pg

scan = import_module("pgem.routines.scan")  # the package's `scan` is the function
tally = import_module("pgem.routines.tally")
Floats = NDArray[np.float64]
RNG = np.random.default_rng(0)
K = 3


def chain(first: Any = None) -> pg.Model:
    with pg.Model("chain") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=K), after="s", first=first)
        pg.observed("y", pg.Normal(), given=s)
    return model


def sticky(stay: float) -> Floats:
    return np.full((K, K), (1 - stay) / (K - 1)) + np.eye(K) * (stay - (1 - stay) / (K - 1))


def start_of(stay: float, mean: Any, var: float) -> dict[str, Any]:
    return {
        "s.first.probs": [1 / K] * K,
        "s.probs": sticky(stay),
        "y.mean": mean,
        "y.var": [var] * K,
    }


def forward(y: Floats, start: dict[str, Any]) -> float:
    """log p by the forward recursion with logarithms."""
    mean, var = np.array(start["y.mean"]), np.array(start["y.var"])
    density = -0.5 * ((y[:, None] - mean) ** 2 / var + np.log(2 * np.pi * var))
    ahead = np.log(start["s.first.probs"]) + density[0]
    for row in density[1:]:
        ahead = logsumexp(ahead[:, None] + np.log(start["s.probs"]), axis=0) + row
    return float(logsumexp(ahead))


def both_ways(monkeypatch: pytest.MonkeyPatch, model: pg.Model, data: Any, start: Any) -> Any:
    """One iteration with compiled loops, checked against NumPy with logarithms."""

    def run(threshold: int, lanes: Callable[[pytest.MonkeyPatch], None]) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(scan, "COMPILED_FROM", threshold)
            lanes(patch)
            return model.fit(data, start=start, max_iter=1, tol=0)

    plain = run(1 << 60, never_lanes)
    compiled, *pieces = [
        run(0, lanes)
        for lanes in (never_lanes, always_lanes, lambda patch: always_lanes(patch, 100))
    ]
    for other in (compiled, *pieces):
        np.testing.assert_allclose(other.trace, plain.trace, rtol=1e-10)
        for name, value in plain.params.items():
            np.testing.assert_allclose(other.params[name], value, rtol=1e-9, atol=1e-12)
    return compiled


@pytest.mark.parametrize("stay", [0.5, 0.99999, 1 - 1e-12])
def test_sticky_chains(stay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.repeat(RNG.integers(K, size=8), 150) * 4.0 + RNG.normal(size=1200)
    start = start_of(stay, [0.0, 4.0, 8.0], 1.0)
    fit = both_ways(monkeypatch, chain(), {"y": y}, start)
    assert fit.trace[0] == pytest.approx(forward(y, start), rel=1e-10)


@pytest.mark.parametrize("apart", [1e2, 1e3, 1e4])
def test_states_that_underflow(apart: float, monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.repeat([0, 1, 2, 1, 0], 30) * apart + RNG.normal(size=150)
    start = start_of(0.9, [0.0, apart, 2 * apart], 1.0)
    fit = both_ways(monkeypatch, chain(), {"y": y}, start)
    assert fit.trace[0] == pytest.approx(forward(y, start), rel=1e-10)


def test_a_state_that_only_the_end_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies far below the smallest float for a while wins in the end."""
    y = np.repeat([0.0, 40.0, 20.0], [60, 59, 1]) + RNG.normal(size=120)
    start = start_of(0.9, [0.0, 40.0, 20.0], 1.0)
    start["s.probs"] = np.array([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    fit = both_ways(monkeypatch, chain(), {"y": y}, start)
    with np.errstate(divide="ignore"):
        assert fit.trace[0] == pytest.approx(forward(y, start), rel=1e-10)


def test_sequences_of_one_step_are_a_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    y = RNG.normal(size=300) + 3.0 * RNG.integers(K, size=300)
    start = start_of(0.7, [0.0, 3.0, 6.0], 1.0)
    fit = both_ways(monkeypatch, chain(), {"y": [np.array([v]) for v in y]}, start)
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=K))
        pg.observed("y", pg.Normal(), given=z)
    same = {"z.probs": start["s.first.probs"], "y.mean": start["y.mean"], "y.var": start["y.var"]}
    mixture = model.fit({"y": y}, start=same, max_iter=1, tol=0)
    np.testing.assert_allclose(fit.trace, mixture.trace, rtol=1e-12)
    np.testing.assert_allclose(fit.params["y.mean"], mixture.params["y.mean"], rtol=1e-12)
    np.testing.assert_array_equal(fit.params["s.probs"], start["s.probs"])  # no step reached it


@pytest.mark.parametrize(("offset", "scale"), [(1e8, 1.0), (0.0, 1e6), (0.0, 1e-6), (1e8, 1e6)])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_offsets_and_scales(offset: float, scale: float, n_jobs: int) -> None:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=K))
        pg.observed("x", pg.MvNormal(), given=z)
    x = RNG.normal(size=(300, 2)) + 6.0 * RNG.integers(K, size=300)[:, None]
    x = ((x * scale + offset) - offset) / scale  # what is left of the digits
    mean = np.array([[0.0, 0.0], [6.0, 6.0], [12.0, 12.0]])
    cov = np.tile(np.eye(2), (K, 1, 1))
    options: dict[str, Any] = {"max_iter": 5, "tol": 0, "shard_size": 37, "n_jobs": n_jobs}
    probs = {"z.probs": [1 / K] * K}
    plain = model.fit({"x": x}, start=probs | {"x.mean": mean, "x.cov": cov}, **options)
    start = probs | {"x.mean": mean * scale + offset, "x.cov": cov * scale**2}
    moved = model.fit({"x": x * scale + offset}, start=start, **options)
    shift = x.size * np.log(scale)
    np.testing.assert_allclose(np.array(moved.trace) + shift, plain.trace, rtol=1e-8)
    np.testing.assert_allclose(
        (moved.params["x.mean"] - offset) / scale, plain.params["x.mean"], rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(
        moved.params["x.cov"] / scale**2, plain.params["x.cov"], rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("threshold", [0, 1 << 60])
def test_extreme_weights_in_plates(threshold: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "COMPILED_FROM", threshold)
    with pg.Model("classes") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        with pg.plate("item", size=7) as item:
            pg.observed("x", pg.Categorical(size=3), given=[z, item])
    x = RNG.integers(3, size=(80, 7)).astype(float)
    x[RNG.random(x.shape) < 0.1] = np.nan
    x[:30] = np.where(np.isnan(x[:30]), 0.0, x[:30])
    weights = np.where(np.arange(80) < 40, 1e9, 0.0)
    start = {"z.probs": [0.4, 0.6], "x.probs": RNG.dirichlet(np.ones(3), (2, 7))}
    heavy = model.fit({"x": x}, weights=weights, start=start, max_iter=3, tol=0)
    alone = model.fit({"x": x[:40]}, start=start, max_iter=3, tol=0)
    np.testing.assert_allclose(np.array(heavy.trace) / 1e9, alone.trace, rtol=1e-10)
    for name, value in alone.params.items():
        np.testing.assert_allclose(heavy.params[name], value, rtol=1e-10)


def test_a_component_with_a_single_point_ends_alike() -> None:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Normal(), given=z)
    x = np.concatenate([RNG.normal(size=60), [1000.0]])
    start = {"z.probs": [0.5, 0.5], "x.mean": [0.0, 1000.0], "x.var": [1.0, 1.0]}
    verdicts = []
    for n_jobs in (1, 2):
        with pytest.warns(pg.errors.FitWarning, match="lost its spread"):
            fit = model.fit({"x": x}, start=start, shard_size=9, n_jobs=n_jobs)
        verdicts.append((str(fit.verdict), fit.verdict.detail, fit.log_likelihood))
    assert verdicts[0] == verdicts[1]


@pytest.mark.chooses_path
@pytest.mark.parametrize("told", [4.0, 0.0])
def test_pieces_are_reported_and_repeatable(told: float) -> None:
    """A chain that forgets is cut; one that does not is run through, and both are told."""
    n = 24_000
    y = told * (np.arange(n) // 40 % K) + np.random.default_rng(1).normal(size=n)
    start = start_of(0.5 if told else 1 - 1e-9, [0.0, told, 2 * told + 1e-3], 1.0)
    fits = [chain().fit({"y": y}, start=start, max_iter=3, tol=0) for _ in range(2)]
    np.testing.assert_array_equal(fits[0].trace, fits[1].trace)
    for name, value in fits[0].params.items():
        np.testing.assert_array_equal(fits[1].params[name], value)
    note = next(line for line in str(fits[0].report).splitlines() if line.startswith("'t': "))
    assert ("gaps at the cuts" in note) == (told > 0)
    assert ("one after the other" in note) == (told == 0)
    assert fits[0].trace[0] == pytest.approx(forward(y, start), rel=1e-10)
