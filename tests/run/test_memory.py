"""The report of bound data: what a run will take in memory and time."""

from __future__ import annotations

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
