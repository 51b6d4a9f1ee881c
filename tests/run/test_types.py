"""Data in other types than float64 and int64: kept as they are, and the same results bit by bit."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgem as pg
from pgem import templates
from pgem.result.containers import as_mapping
from pgem.run import Columns, read_data

RNG = np.random.default_rng(7)
Made = tuple[pg.Model, dict[str, Any]]


def small(*shape: int) -> Any:
    """Numbers that are float32."""
    return RNG.normal(size=shape).astype(np.float32)


def apart(n: int, *shape: int) -> Any:
    """Two clusters of such numbers."""
    far = (np.arange(n) % 2 * 4).reshape(n, *(1,) * len(shape))
    return small(n, *shape) + far.astype(np.float32)


def holed(x: Any, share: float = 0.2) -> Any:
    return np.where(RNG.random(x.shape) < share, np.float32(np.nan), x)


def numbers() -> Made:
    return templates.mixture(pg.Normal(), 2), {"x": apart(60)}


def vectors() -> Made:
    return templates.mixture(pg.MvNormal(), 2), {"x": apart(60, 3)}


def vectors_with_holes() -> Made:
    return templates.mixture(pg.MvNormal(), 2), {"x": holed(apart(80, 3))}


def matrices() -> Made:
    root = small(40, 3, 3)
    return templates.mixture(pg.Wishart(df=5.0), 2), {"x": root @ root.transpose(0, 2, 1)}


def one_long_sequence() -> Made:
    return templates.hmm(pg.Normal(), 2), {"y": apart(3000)}


def sequences_of_vectors() -> Made:
    return templates.hmm(pg.MvNormal(), 2), {"y": apart(20, 15, 2)}


def ragged() -> Made:
    return templates.hmm(pg.Normal(), 2), {"y": [holed(apart(n)) for n in (5, 9, 1, 12, 7)]}


def plates() -> Made:
    with pg.Model("plates") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        with pg.plate("visit"):
            pg.observed("x", pg.Normal(), given=z)
    return model, {"x": [apart(60)[k : k + n] for k, n in ((0, 3), (3, 5), (8, 2), (10, 9))] * 3}


def regressions() -> Made:
    with pg.Model("regressions") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        x, years = pg.covariate("x"), pg.covariate("years")
        mean = pg.param("slope")[z] @ x + pg.param("intercept")[z]
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("var")))
        pg.observed("n", pg.Poisson(rate=pg.param("rate")[z] * years))
    years = RNG.uniform(1, 3, 80).astype(np.float32)
    counts = RNG.poisson(2.0, 80).astype(np.int8)
    return model, {"x": small(80, 2), "years": years, "y": apart(80), "n": counts}


def logistic() -> Made:
    with pg.Model("logistic") as model:
        x = pg.covariate("x")
        pg.observed("y", pg.Bernoulli(logit=pg.param("slope") @ x + pg.param("intercept")))
    return model, {"x": small(90, 2), "y": RNG.integers(2, size=90).astype(bool)}


def mixed_counts() -> Made:
    with pg.Model("counts") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("y", pg.switch(z, pg.Dirac(0), pg.Poisson()))
    return model, {"y": (RNG.poisson(3.0, 200) * RNG.integers(2, size=200)).astype(np.uint8)}


def classes() -> Made:
    x = RNG.integers(3, size=(60, 5)).astype(np.uint8)
    return templates.latent_class(5, 2, categories=3), {"x": x}


def factors() -> Made:
    with pg.Model("factors") as model:
        f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(1)))
        mean = pg.param("loadings") @ f + pg.param("mean")
        pg.observed("x", pg.MvNormal(mean=mean, cov=pg.diagonal()))
    return model, {"x": small(2000, 4)}


def states() -> Made:
    with pg.Model("states") as model, pg.sequence("t"):
        h = pg.latent("h", pg.Normal(mean=pg.param("a") @ pg.prev("h")), first=pg.Normal(0.0, 1.0))
        pg.observed("y", pg.Normal(mean=1.0 * h))
    return model, {"y": holed(small(6, 10))}


def switching() -> Made:
    with pg.Model("switching") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        mean = pg.param("a")[s] @ pg.prev("y") + pg.param("c")[s]
        pg.observed("y", pg.Normal(mean=mean))
    y = apart(80).reshape(4, 20)
    y[:, [6, 13]] = np.nan
    return model, {"y": y}


def trees() -> Made:
    with pg.Model("trees") as model, pg.tree("cell"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Normal(), given=s)
    parents = np.array([[-1, 0, 0, 1, 1, 2]] * 12, dtype=np.int8)
    return model, {"y": apart(72).reshape(12, 6), "cell.parent": parents}


MADE = [
    numbers, vectors, vectors_with_holes, matrices, one_long_sequence, sequences_of_vectors, ragged,
    plates, regressions, logistic, mixed_counts, classes, factors, states, switching, trees,
]  # fmt: skip


def widened(value: Any) -> Any:
    if isinstance(value, list):
        return [widened(item) for item in value]
    return value.astype(np.int64 if value.dtype.kind in "iub" else np.float64)


def same(found: Any, expected: Any) -> None:
    """Bit by bit, in any container."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            same(found[name], expected[name])
    elif isinstance(expected, list | tuple):
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("make", MADE)
def test_results_are_those_of_the_widened_data(make: Callable[[], Made]) -> None:
    model, data = make()
    wide = {name: widened(value) for name, value in data.items()}
    fit, expected = (model.fit(values, max_iter=4, tol=0) for values in (data, wide))
    same(fit.params, expected.params)
    same(fit.trace, expected.trace)
    for ask in (
        lambda f, d: f.posterior(d), lambda f, d: f.predict(d), lambda f, d: f.decode(d),
        lambda f, d: f.log_likelihoods(d), lambda f, d: f.score(d), lambda f, d: f.draw(d, seed=1),
        lambda f, d: {k: v for k, v in f.impute(d).items() if k not in data or has_holes(data[k])},
    ):  # fmt: skip
        same(ask(fit, data), ask(expected, wide))
    same(sampled(fit, data), sampled(expected, wide))


def sampled(fit: Any, data: dict[str, Any]) -> dict[str, Any]:
    """A sample given covariates, parents, and first values that are conditioned on."""
    outline = fit.program.outline
    given = {k: v for k, v in data.items() if k in (*outline.covariates, *outline.parent_keys)}
    for name, node in outline.nodes.items():
        if node.conditioned:
            given[name] = np.where(np.arange(data[name].shape[1]) < node.lag, data[name], np.nan)
    n = len(next(iter(given.values()))) if given else 5
    drawn = fit.sample(n, data=given or None, seed=2)
    return {name: values for name, values in drawn.items() if name in outline.nodes}


def has_holes(value: Any) -> bool:
    flat = np.concatenate([np.ravel(v) for v in value]) if isinstance(value, list) else value
    return bool(np.isnan(flat).any())


def read(model: pg.Model, data: dict[str, Any]) -> Columns:
    return read_data(data, model._outline())


@pytest.mark.parametrize(
    "make",
    [numbers, vectors, vectors_with_holes, matrices, one_long_sequence, sequences_of_vectors,
     regressions, logistic, mixed_counts, classes, switching],
)  # fmt: skip
def test_the_callers_arrays_are_kept(make: Callable[[], Made]) -> None:
    model, data = make()
    columns = read(model, data)
    for name, value in data.items():
        kept = columns.values(name).array
        assert kept.dtype == value.dtype
        assert np.shares_memory(kept, value)


def test_other_layouts_are_kept() -> None:
    model, data = vectors()
    expected = model.fit(data, max_iter=3, tol=0)
    for x in (np.asfortranarray(data["x"]), np.repeat(data["x"], 2, axis=0)[::2],
              data["x"].astype(">f4")):  # fmt: skip
        assert np.shares_memory(read(model, {"x": x}).numbers["x"].array, x)
        same(model.fit({"x": x}, max_iter=3, tol=0).params, expected.params)


def test_a_file_on_disk_is_read_a_shard_at_a_time(tmp_path: Path) -> None:
    x = apart(400_000, 16)
    path = tmp_path / "x.npy"
    np.save(path, x)
    mapped = np.load(path, mmap_mode="r")
    model = templates.mixture(pg.MvNormal(), 2)
    start = model.fit({"x": x[:2000]}, max_iter=2, n_jobs=1).params
    expected = model.fit({"x": x}, start=start, max_iter=2, tol=0, n_jobs=1)
    tracemalloc.start()
    found = model.fit({"x": mapped}, start=start, max_iter=2, tol=0, n_jobs=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    same(found.params, expected.params)
    assert np.shares_memory(read(model, {"x": mapped}).numbers["x"].array, mapped)
    assert peak < 0.75 * x.nbytes  # neither a copy nor one of twice the size


def test_what_must_not_be_changed_is_not() -> None:
    model, data = vectors_with_holes()
    fit = model.fit(data, max_iter=2)
    before = data["x"].copy()
    fit.sample(len(data["x"]), data={"x": np.where(np.isnan(before).any(axis=1)[:, None],
                                                   np.nan, before)}, seed=0)  # fmt: skip
    fit.draw(data, seed=0)
    same(data["x"], before)
    x = np.where(np.arange(30) % 3 == 0, np.nan, np.arange(30.0))
    one = templates.mixture(pg.Normal(), 2).fit({"x": apart(60)}, max_iter=2)
    kept = x.copy()
    drawn = one.sample(30, data={"x": x}, seed=0)["x"]
    assert not np.isnan(drawn).any()
    same(x, kept)


def test_large_integers_and_halves_are_read_too() -> None:
    x = RNG.integers(0, 50, 300)
    counts = templates.mixture(pg.Poisson(), 2)
    expected = counts.fit({"x": x.astype(float)}, max_iter=3, tol=0).params
    for kind in (np.uint8, np.int16, np.uint32, np.int64, np.uint64, np.float16):
        same(counts.fit({"x": x.astype(kind)}, max_iter=3, tol=0).params, expected)


def test_many_categories_fit_their_type() -> None:
    x = np.concatenate([np.arange(300), np.arange(300)])
    with pg.Model("wide") as model:
        pg.observed("x", pg.Categorical())
    gone = np.where(np.arange(600) < 3, np.nan, x)
    codes = read(model, {"x": gone}).codes["x"]
    assert codes.array.dtype == np.int16
    same(codes[:], np.where(np.isnan(gone), -1, x))
    same(model.fit({"x": x.astype(np.uint16)}).params, model.fit({"x": x}).params)


@pytest.mark.parametrize("value", [-1, 3])
@pytest.mark.parametrize("kind", [np.int8, np.int64, np.float32])
def test_codes_of_any_type_are_checked(value: int, kind: Any) -> None:
    x = np.array([0, 1, 2, 0, value], dtype=kind)
    with pg.Model("codes") as model:
        pg.observed("x", pg.Categorical(size=3))
    with pytest.raises(pg.DataError, match=rf"received '{value}' in row '4'|'{value}' in row '4'"):
        model.fit({"x": x})


def test_columns_of_a_frame_stay_what_they_are() -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    x = holed(apart(60, 3), 0.05)
    frame = pandas.DataFrame(x, columns=list("abc"))
    nullable = pandas.DataFrame({"x": pandas.array(x[:, 0], dtype="Float32")})
    block = pg.Data(frame, columns={"x": ["a", "b", "c"]})
    for model, data, plain in (
        (templates.mixture(pg.MvNormal(), 2), block, {"x": x}),
        (templates.mixture(pg.Normal(), 2), nullable, {"x": x[:, 0]}),
    ):
        mapping, _ = as_mapping(data, model._outline())
        columns = read_data(mapping, model._outline())
        assert columns.numbers["x"].array.dtype == np.float32
        assert columns.numbers["x"].n_missing == np.isnan(plain["x"]).sum()
        found, expected = (model.fit(values, max_iter=3, tol=0) for values in (data, plain))
        same(found.params, expected.params)
