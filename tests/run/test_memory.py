"""The report of bound data: what a run will take in memory and time."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pgem as pg
from pgem import templates
from pgem.run import Bound, make_schema, read_data
from pgem.run.memory import expected_bytes

RNG = np.random.default_rng(2)
Made = tuple[pg.Model, dict[str, Any]]


def mixture() -> Made:
    return templates.mixture(pg.MvNormal(), 8), {"x": RNG.normal(size=(150_000, 4))}


def small_counts() -> Made:
    return templates.mixture(pg.Poisson(), 3), {"x": RNG.poisson(3.0, size=400_000)}


def classes() -> Made:
    return templates.latent_class(8, 3, categories=3), {"x": RNG.integers(3, size=(60_000, 8))}


def chain() -> Made:
    return templates.hmm(pg.Normal(), 4), {"y": RNG.normal(size=100_000)}


def factors() -> Made:
    with pg.Model("factors") as model:
        f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(2)))
        mean = pg.param("loadings") @ f + pg.param("mean")
        pg.observed("x", pg.MvNormal(mean=mean, cov=pg.diagonal()))
    x = RNG.normal(size=(100_000, 10))
    return model, {"x": x}


@pytest.mark.chooses_path
@pytest.mark.parametrize("make", [mixture, small_counts, classes, chain, factors])
def test_memory_is_told_within_a_factor_of_two(make: Callable[[], Made]) -> None:
    model, data = make()
    few = {name: value[:4000] for name, value in data.items()}
    model.fit(few, max_iter=1, n_jobs=1)  # imports and compiled loops do not count
    start = model.fit(few, max_iter=0, n_jobs=1).params
    model.fit(data, start=start, max_iter=1, n_jobs=1)
    tracemalloc.start()
    model.fit(data, start=start, max_iter=2, tol=0, n_jobs=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    columns = read_data(data, model._outline())
    bound = Bound(model._program(make_schema(columns)), columns, merge=True, n_jobs=1)
    assert peak / 2 <= expected_bytes(bound) <= 2 * peak


@pytest.mark.chooses_path
def test_no_copy_of_the_values_is_made() -> None:
    model, data = mixture()
    start = model.fit({"x": data["x"][:4000]}, max_iter=1).params
    model.fit(data, start=start, max_iter=1)
    found = []
    for n in (50_000, 150_000):
        tracemalloc.start()
        model.fit({"x": data["x"][:n]}, start=start, max_iter=2, tol=0, n_jobs=1)
        found.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    grown = found[1] - found[0]
    assert grown < 0.75 * 100_000 * 4 * 8  # weights, places, masks of bytes; never the values


def test_the_report_tells_memory_and_a_measured_iteration() -> None:
    model, data = small_counts()
    report = model.compile().bind(data).report
    assert re.search(r"about \d+ MB above the data", report)
    told = re.search(r"one iteration was measured: ([\d.e+-]+) ms", report)
    assert told is not None
    assert float(told[1]) > 0


# --- what an ordinary call takes ------------------------------------------------------------------

MB = 2**20


def grouped(kind: Any = np.float64) -> Made:
    x = RNG.normal(size=(400_000, 8)) + 4 * (np.arange(400_000) % 2)[:, None]
    return templates.mixture(pg.MvNormal(), 6), {"x": x.astype(kind)}


def singles() -> Made:
    return grouped(np.float32)


def lines() -> Made:
    with pg.Model("lines") as model:
        z, x = pg.latent("z", pg.Categorical(size=2)), pg.covariate("x")
        mean = pg.param("slope")[z] @ x + pg.param("intercept")[z]
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("var")[z]))
    x = RNG.normal(size=(300_000, 8)).astype(np.float32)
    return model, {"x": x, "y": (x.sum(axis=1) * (1 - np.arange(300_000) % 2 * 2))}


def answers() -> Made:
    x = RNG.integers(3, size=(300_000, 12)).astype(np.int8)
    return templates.latent_class(12, 4, categories=3), {"x": x}


def counts() -> Made:
    return templates.mixture(pg.Poisson(), 3), {"x": RNG.poisson(3.0, 2_000_000).astype(np.int16)}


def short_sequences() -> Made:
    y = RNG.normal(size=(10_000, 60, 3)).astype(np.float32)
    return templates.hmm(pg.MvNormal(), 4), {"y": y}


def symbols() -> Made:
    return templates.hmm(pg.Categorical(size=9), 4), {"y": RNG.integers(9, size=500_000)}


def holed_switching() -> Made:
    with pg.Model("switching") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        mean = pg.param("a")[s] @ pg.prev("y") + pg.param("c")[s]
        pg.observed("y", pg.Normal(mean=mean))
    y = RNG.normal(size=(100, 1000))
    y[:, 50::50] = np.nan
    return model, {"y": y}


ORDINARY = [grouped, singles, lines, answers, counts, short_sequences]


def few(data: dict[str, Any], n: int) -> dict[str, Any]:
    return {name: value[:n] for name, value in data.items()}


def traced(call: Callable[[], Any]) -> tuple[float, Any]:
    """Peak of memory while something is called, in MB, and what it returns."""
    gc.collect()
    tracemalloc.start()
    found = call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / MB, found


@pytest.mark.parametrize("make", ORDINARY)
def test_an_ordinary_fit_takes_little_whatever_the_start(make: Callable[[], Made]) -> None:
    model, data = make()
    model.fit(few(data, 60_000), max_iter=1, n_jobs=1)  # imports and compiled loops
    peak, fit = traced(lambda: model.fit(data, max_iter=2, tol=0, n_jobs=1))
    assert peak < 48
    peak, found = traced(lambda: fit.predict(data))
    returned = sum(value.nbytes for value in found.values()) / MB
    assert peak - returned < 48


@pytest.mark.parametrize("make", [grouped, singles, lines, short_sequences])
def test_memory_does_not_grow_with_the_number_of_units(make: Callable[[], Made]) -> None:
    model, data = make()
    n = len(next(iter(data.values())))
    half = few(data, n // 2)
    start = model.fit(few(data, 4_000), max_iter=1, n_jobs=1).params
    model.fit(half, start=start, max_iter=1, n_jobs=1)
    peaks = [
        traced(lambda some=some: model.fit(some, start=start, max_iter=2, tol=0, n_jobs=1))[0]
        for some in (half, data)
    ]
    added = (n - n // 2) * 2 / MB  # a byte or two per unit: whether its values are possible
    assert peaks[1] - peaks[0] < 0.25 * peaks[0] + added


def test_nothing_is_left_when_a_fit_is_dropped() -> None:
    model, data = symbols()
    start = model.fit(few(data, 50_000), max_iter=1, n_jobs=1).params
    model.fit(data, start=start, max_iter=1, n_jobs=1)
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        model.fit(data, start=start, max_iter=2, tol=0, n_jobs=1)
        left = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    finally:
        gc.enable()
    assert left < MB


@pytest.mark.parametrize("make", [*ORDINARY, symbols, holed_switching])
def test_memory_of_other_models_is_told_too(make: Callable[[], Made]) -> None:
    model, data = make()
    start = model.fit(few(data, 4_000), max_iter=1, n_jobs=1).params
    model.fit(data, start=start, max_iter=1, n_jobs=1)
    peak, _ = traced(lambda: model.fit(data, start=start, max_iter=2, tol=0, n_jobs=1))
    columns = read_data(data, model._outline())
    bound = Bound(model._program(make_schema(columns)), columns, merge=True, n_jobs=1)
    told = expected_bytes(bound) / MB
    assert peak / 2 <= told + 1  # megabytes are what is shown
    assert told <= 2 * peak + 1
