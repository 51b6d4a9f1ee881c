"""One pass over rows that look everything up: against sums by hand, and path against path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp

import pgem as pg
from pgem.arrays import Floats
from pgem.routines import lookups, tile_pass
from pgem.run import bind

RNG = np.random.default_rng(23)
N, K, ITEMS, SIZE = 900, 3, 7, 3
NEVER = 1 << 60


def classes(k: int = K, size: int = SIZE, items: int = ITEMS) -> pg.Model:
    with pg.Model("classes") as model:
        z = pg.latent("z", pg.Categorical(size=k))
        with pg.plate("item", size=items) as item:
            pg.observed("x", pg.Categorical(size=size), given=[z, item])
    return model


def bayes() -> pg.Model:
    """Nodes of the unit, members of two plates, and classes gated by a group."""
    with pg.Model("bayes") as model:
        group = pg.covariate("group", size=2)
        z = pg.latent("z", pg.Categorical(size=K), given=group)
        pg.observed("u", pg.Bernoulli(), given=z)
        pg.observed("v", pg.Poisson(), given=[z, group])
        with pg.plate("item", size=ITEMS) as item:
            pg.observed("x", pg.Categorical(size=SIZE), given=[z, item])
            pg.observed("y", pg.Binomial(trials=4), given=z)
        with pg.plate("day", size=2), pg.plate("hour", size=3) as hour:
            pg.observed("w", pg.Bernoulli(), given=[hour, z])
    return model


def data_of_bayes(holes: float = 0.0) -> dict[str, Any]:
    data: dict[str, Any] = {
        "u": RNG.integers(2, size=N).astype(float),
        "v": RNG.poisson(2.0, size=N).astype(float),
        "x": RNG.integers(SIZE, size=(N, ITEMS)).astype(float),
        "y": RNG.integers(5, size=(N, ITEMS)).astype(float),
        "w": RNG.integers(2, size=(N, 2, 3)).astype(float),
    }
    for values in data.values():
        values[RNG.random(values.shape) < holes] = np.nan
    return {**data, "group": RNG.integers(2, size=N)}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What the pass gave, call by call, where everything counts as large."""
    found: list[object] = []
    real = lookups.run_lookups
    monkeypatch.setattr(bind, "LARGE_FROM", 0)
    monkeypatch.setattr(lookups, "run_lookups", lambda *a: found.append(real(*a)) or found[-1])
    yield found


def both_ways(
    model: pg.Model, data: Any, runs: list[object], monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Any:
    """A fit by the pass, checked against the same fit by whole tables."""
    options = {"max_iter": 5, "tol": 0, **options}
    runs.clear()
    passed = model.fit(data, **options)
    assert runs
    assert all(found is not None for found in runs)
    with monkeypatch.context() as patch:
        patch.setattr(bind, "LARGE_FROM", NEVER)
        runs.clear()
        plain = model.fit(data, **options)
        assert not runs
    np.testing.assert_allclose(passed.trace, plain.trace, rtol=1e-12)
    for name, value in plain.params.items():
        np.testing.assert_allclose(passed.params[name], value, rtol=1e-10, atol=1e-300)
    return passed


@pytest.mark.parametrize("posterior", ["soft", "hard"])
@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_passes_and_tables_agree(
    holes: float, posterior: str, runs: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = RNG.integers(0, 3, size=N).astype(float)
    both_ways(
        bayes(), data_of_bayes(holes), runs, monkeypatch, weights=weights, posterior=posterior,
        shard_size=400,
    )  # fmt: skip


def beside_features() -> pg.Model:
    """Members and nodes that are looked up, next to coordinates that are evaluated."""
    with pg.Model("beside_features") as model:
        z = pg.latent("z", pg.Categorical(size=K))
        pg.observed("f", pg.MvNormal(cov=pg.diagonal()), given=z)
        pg.observed("g", pg.Exponential(), given=z)
        pg.observed("u", pg.Bernoulli(), given=z)
        with pg.plate("item", size=ITEMS) as item:
            pg.observed("x", pg.Categorical(size=SIZE), given=[z, item])
    return model


@pytest.mark.parametrize("posterior", ["soft", "hard"])
@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_beside_features(
    holes: float, posterior: str, runs: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    real = tile_pass.run_tiles
    monkeypatch.setattr(tile_pass, "run_tiles", lambda *a: found.append(real(*a)) or found[-1])
    seen = data_of_bayes(holes)
    label = RNG.integers(K, size=N)
    data = {
        "f": RNG.normal(size=(N, 3)) + 2.0 * label[:, None], "g": RNG.exponential(1.0 + label),
        "u": seen["u"], "x": seen["x"],
    }  # fmt: skip
    probs = RNG.dirichlet(np.ones(SIZE), (K, ITEMS))
    probs[0, 0] = [0.0, 0.5, 0.5]  # the first class cannot give the first answer
    start = {
        "z.probs": [0.2, 0.3, 0.5], "f.mean": 2.0 * np.arange(K)[:, None] + np.ones((K, 3)),
        "f.cov": np.ones((K, 3)), "g.rate": [1.0, 2.0, 0.5], "u.prob": [0.1, 0.5, 0.9],
        "x.probs": probs,
    }  # fmt: skip
    weights = RNG.integers(0, 3, size=N).astype(float)
    options = {"weights": weights, "start": start, "posterior": posterior, "shard_size": 400}
    passed = beside_features().fit(data, max_iter=4, tol=0, **options)
    assert found
    assert all(message is not None for message in found)
    assert not runs  # it was not all looked up
    with monkeypatch.context() as patch:
        patch.setattr(bind, "LARGE_FROM", NEVER)
        plain = beside_features().fit(data, max_iter=4, tol=0, **options)
    np.testing.assert_allclose(passed.trace, plain.trace, rtol=1e-11)
    for name, value in plain.params.items():
        np.testing.assert_allclose(passed.params[name], value, rtol=1e-9, atol=1e-300)


def test_what_no_class_explains_beside_features_is_named(runs: list[object]) -> None:
    data = {
        "f": np.zeros((3, 3)), "g": np.ones(3), "u": np.zeros(3), "x": np.zeros((3, ITEMS), int),
    }  # fmt: skip
    data["x"][1] = 1
    probs = np.tile([0.5, 0.0, 0.5], (K, ITEMS, 1))
    start = {
        "z.probs": [1 / 3] * 3, "f.mean": np.arange(9.0).reshape(3, 3), "f.cov": np.ones((K, 3)),
        "g.rate": [1.0] * 3, "u.prob": [0.5] * 3, "x.probs": probs,
    }  # fmt: skip
    with pytest.raises(pg.errors.FitError, match=r"unit '1' has log-likelihood '-inf'"):
        beside_features().fit(data, start=start)
    fit = beside_features().fit(data, start=start, weights=[1, 0, 2], max_iter=0)
    plain = beside_features().log_likelihood(data, start)
    assert fit.trace[0] == pytest.approx(plain[0] + 2 * plain[2])


@pytest.mark.parametrize("k", [2, 8, 9, 40])
def test_any_number_of_classes(k: int, runs: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.integers(4, size=(700, 20))
    both_ways(classes(k, 4, 20), {"x": x}, runs, monkeypatch, max_iter=2)


def by_hand(x: Floats, weights: Floats, probs: Floats) -> tuple[Floats, Floats]:
    """Log-likelihoods [N] and posteriors [N, K], item by item."""
    with np.errstate(divide="ignore"):
        joint = np.tile(np.log(weights), (len(x), 1))
        for j, column in enumerate(x.T):
            seen = ~np.isnan(column)
            joint[seen] += np.log(probs[:, j, column[seen].astype(int)]).T
    log_p = logsumexp(joint, axis=1)
    return log_p, np.exp(joint - log_p[:, None])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_one_iteration_by_hand(n_jobs: int, runs: list[object]) -> None:
    """Enough conflicting evidence that every product underflows in some rows, and zeros."""
    x = RNG.integers(SIZE, size=(N, 400)).astype(float)
    x[RNG.random(x.shape) < 0.05] = np.nan
    x[:9] = np.nan
    weights, probs = np.array([0.5, 0.5, 0.0]), RNG.dirichlet(np.full(SIZE, 0.3), (K, 400))
    probs[0, :3] = [0.0, 0.4, 0.6]
    start = {"z.probs": weights, "x.probs": probs}
    fit = classes(K, SIZE, 400).fit(
        {"x": x}, start=start, max_iter=1, tol=0, n_jobs=n_jobs, shard_size=250
    )
    assert all(found is not None for found in runs)
    log_p, posterior = by_hand(x, weights, probs)
    assert fit.trace[0] == pytest.approx(log_p.sum(), rel=1e-12)
    np.testing.assert_allclose(fit.params["z.probs"], posterior.mean(axis=0), rtol=1e-10)
    hot = (x[:, :, None] == np.arange(SIZE)).astype(float)
    counts = np.einsum("nk,njv->kjv", posterior, hot)[:2]
    expected = counts / counts.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(fit.params["x.probs"][:2], expected, rtol=1e-9)
    np.testing.assert_array_equal(fit.params["x.probs"][2], probs[2])  # nobody is there


def test_evidence_far_below_the_smallest_float() -> None:
    """Products that underflow in every class are taken by logarithms, row by row."""
    from pgem.routines.lookup_loops import look_up

    codes = np.array([[0, 1, 0, 1], [2, 3, 3, 2]], dtype=np.uint16)
    places = np.arange(4, dtype=np.uint32)[:, None]
    table = np.array([[0.0, -2000.0], [0.0, 1.0], [-2001.0, 0.0], [0.5, -np.inf]])
    level, weights = np.log([0.25, 0.75]), np.array([1.0, 2.0, 0.0, 3.0])
    log_p, counts, total = np.empty(4), np.zeros((4, 2)), np.zeros(2)
    look_up(codes, places, np.uint64(2), table, level, weights, False, log_p, counts, total)
    joint = table[codes].sum(axis=0) + level
    expected = logsumexp(joint, axis=1)
    np.testing.assert_allclose(log_p, expected, rtol=1e-14)
    posterior = weights[:, None] * np.exp(joint - expected[:, None])
    np.testing.assert_allclose(total, posterior.sum(axis=0), rtol=1e-13)
    np.testing.assert_allclose(counts[2], posterior[[0, 3]].sum(axis=0), rtol=1e-13)


@pytest.mark.parametrize("is_hard", [False, True])
@pytest.mark.parametrize("bad", [-np.inf, np.nan])
def test_rows_that_nothing_explains_are_told(bad: float, is_hard: bool) -> None:
    from pgem.routines.lookup_loops import look_up

    codes, places = np.array([[0, 1]], dtype=np.uint16), np.array([[0], [1]], dtype=np.uint32)
    table = np.array([[bad, bad], [-1.0, -2.0]])
    log_p, counts, total = np.empty(2), np.zeros((2, 2)), np.zeros(2)
    arguments = table, np.zeros(2), np.array([0.0, 1.0]), is_hard, log_p, counts, total
    look_up(codes, places, np.uint64(2), *arguments)
    np.testing.assert_array_equal(log_p[0], bad)
    assert np.isfinite(log_p[1])
    assert np.isfinite(total).all()  # the first row has no weight
    assert total.sum() == pytest.approx(1.0)


def test_a_unit_that_no_class_explains_is_named(runs: list[object]) -> None:
    x = np.array([[0, 1], [1, 1], [2, 2]])
    probs = np.array([[[0.5, 0.5, 0.0], [0.2, 0.2, 0.6]]] * 2)
    start = {"z.probs": [0.3, 0.7], "x.probs": probs}
    with pytest.raises(pg.errors.FitError, match=r"unit '2' has log-likelihood '-inf'"):
        classes(2, 3, 2).fit({"x": x}, start=start)
    fit = classes(2, 3, 2).fit({"x": x}, start=start, weights=[1, 2, 0], max_iter=2, tol=0)
    assert np.isfinite(fit.trace).all()
    assert all(found is not None for found in runs)


def test_ties_go_to_the_lowest_class(runs: list[object]) -> None:
    x = RNG.integers(SIZE, size=(50, ITEMS))
    one = RNG.dirichlet(np.ones(SIZE), ITEMS)
    start = {"z.probs": [1 / 3] * 3, "x.probs": np.array([one] * 3)}
    fit = classes().fit({"x": x}, start=start, posterior="hard", max_iter=1, tol=0)
    np.testing.assert_array_equal(fit.params["z.probs"], [1.0, 0.0, 0.0])
    assert all(found is not None for found in runs)


def test_other_rows_go_by_tables(runs: list[object]) -> None:
    """Ragged plates."""
    with pg.Model("ragged") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        with pg.plate("item"):
            pg.observed("x", pg.Categorical(size=3), given=z)
    x = [RNG.integers(3, size=n) for n in RNG.integers(1, 5, size=60)]
    fit = model.fit({"x": x}, max_iter=2, tol=0)
    assert np.isfinite(fit.log_likelihood)
    assert runs
    assert all(found is None for found in runs)


def test_threads_change_no_bit(runs: list[object]) -> None:
    data = data_of_bayes(0.1)
    fits = [bayes().fit(data, n_jobs=n, shard_size=170, max_iter=4, tol=0) for n in (1, 2)]
    np.testing.assert_array_equal(fits[0].trace, fits[1].trace)
    for name, value in fits[0].params.items():
        np.testing.assert_array_equal(fits[1].params[name], value)
    assert runs
