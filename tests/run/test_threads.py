"""Threads over the shards change nothing, not by a bit."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import pgem as pg
from pgem.run import bind, threads
from pgem.run.threads import count_threads, in_order

RNG = np.random.default_rng(0)


def mixture() -> tuple[pg.Model, dict[str, Any]]:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=3))
        pg.observed("x", pg.MvNormal(), given=z)
    return model, {"x": RNG.normal(size=(600, 2)) + 4 * RNG.integers(3, size=600)[:, None]}


def chains() -> tuple[pg.Model, dict[str, Any]]:
    with pg.Model("chains") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Normal(), given=s)
    return model, {"y": [RNG.normal(size=RNG.integers(1, 9)) for _ in range(60)]}


def classes() -> tuple[pg.Model, dict[str, Any]]:
    with pg.Model("classes") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        with pg.plate("item", size=5) as item:
            pg.observed("x", pg.Categorical(size=3), given=[z, item])
    return model, {"x": RNG.integers(3, size=(300, 5))}


MODELS = {f.__name__: f for f in (mixture, chains, classes)}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("posterior", ["soft", "hard"])
def test_the_number_of_threads_changes_nothing(make: Any, posterior: str) -> None:
    model, data = make()
    fits = [
        model.fit(data, n_jobs=n, shard_size=13, max_iter=8, tol=0, posterior=posterior)
        for n in (1, 2, 3, -1)
    ]
    assert "3 threads" in "".join(fits[2]._training().choices)
    for fit in fits[1:]:
        np.testing.assert_array_equal(fit.trace, fits[0].trace)
        for name, value in fits[0].params.items():
            np.testing.assert_array_equal(fit.params[name], value)


def test_results_come_in_order_and_errors_come_out() -> None:
    def reciprocal(x: int) -> float:
        return 1 / x

    assert list(in_order(reciprocal, range(1, 50), 3)) == [1 / k for k in range(1, 50)]
    with pytest.raises(ZeroDivisionError):
        list(in_order(reciprocal, range(5), 2))


@pytest.mark.parametrize(
    ("n_jobs", "n_shards", "entries", "expected"),
    [
        (None, 100, 1000, 1),
        (None, 100, 10**9, 8),
        (None, 3, 10**9, 3),
        (1, 100, 10**9, 1),
        (2, 100, 10, 2),
        (20, 100, 10, 20),
        (-1, 100, 10, 8),
        (-2, 100, 10, 7),
        (-99, 100, 10, 1),
    ],
)
def test_how_many(
    n_jobs: int | None, n_shards: int, entries: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_n_cores", lambda: 8)
    assert count_threads(n_jobs, n_shards, entries)[0] == expected


def test_a_small_fit_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = mixture()
    monkeypatch.setattr(threads, "_controller", lambda: pytest.fail("threads were started"))
    model.fit(data, max_iter=2)


def test_shards_of_large_data_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing refers back to a shard, so that its arrays go with it."""
    monkeypatch.setattr(bind, "KEEP_ROWS", 0)
    alive: weakref.WeakSet[bind.Shard] = weakref.WeakSet()
    most = []
    model, data = classes()
    program = model.compile(data)
    run = program.e_step

    def watched(shard: bind.Shard, *arguments: Any) -> Any:
        alive.add(shard)
        most.append(len(alive))
        return run(shard, *arguments)

    object.__setattr__(program, "e_step", watched)
    gc.disable()
    try:
        model.fit(data, shard_size=20, max_iter=4, tol=0, n_jobs=1)
    finally:
        gc.enable()
        object.__setattr__(program, "e_step", run)
    assert len(most) > 30
    assert max(most) <= 3
