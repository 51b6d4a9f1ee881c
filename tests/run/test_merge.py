"""Equal units are merged with counts, and nobody can tell but by the time it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pgem as pg
from pgem.routines import Semiring
from pgem.run import Bound, merge, read_data, sum_statistics
from pgem.run.merge import merge_units, take_units

N = 400


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small data are merged too."""
    monkeypatch.setattr(merge, "MERGE_FROM", 0)


def repeated(values: list[Any], n: int = N) -> list[Any]:
    """Units in an order without pattern."""
    return [values[k] for k in np.random.default_rng(1).integers(len(values), size=n)]


def mixture() -> tuple[pg.Model, dict[str, Any]]:
    """Counts, numbers, a partly given class, and a covariate; holes."""
    with pg.Model("mixture") as model:
        group = pg.covariate("group", size=2)
        z = pg.latent("z", pg.Categorical(size=2), given=group)
        pg.observed("x", pg.Poisson(), given=z)
        pg.observed("y", pg.MvNormal(cov=pg.diagonal(pg.param("spread"))), given=z)
    nan = np.nan
    x = np.array(repeated([0.0, 3.0, nan, 7.0]))
    y = np.array(repeated([[0.5, 1.0], [0.5, nan], [2.0, -1.0], [nan, nan]]))
    z_given = np.array(repeated([nan, nan, 1.0, nan, 0.0, nan]))
    return model, {"x": x, "y": y, "z": z_given, "group": np.array(repeated([0, 1, 1]))}


def clinics() -> tuple[pg.Model, dict[str, Any]]:
    """Ragged plates of plates of one size, some of them empty."""
    with pg.Model("clinics") as model:
        g = pg.latent("g", pg.Categorical(size=2))
        with pg.plate("patient"):
            c = pg.latent("c", pg.Categorical(size=2), given=g)
            with pg.plate("item", size=2) as item:
                pg.observed("x", pg.Categorical(size=2), given=[c, item])
    units = [[[0, 1]], [[0, 1], [1, 1]], [[1, 1], [0, 1]], [[0, None]], [[1, 0], [0, 0], [1, 1]]]
    return model, {"x": repeated(units)}


def sequences() -> tuple[pg.Model, dict[str, Any]]:
    """Sequences whose steps come in different orders."""
    with pg.Model("sequences") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Categorical(size=3), given=s)
    units = [[0, 1, 2], [2, 1, 0], [0, 1], [1], [0, 1, 2, 0], [2, 2]]
    return model, {"y": [np.array(unit) for unit in repeated(units)]}


MODELS = {f.__name__: f for f in (mixture, clinics, sequences)}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def bound_of(model: pg.Model, data: dict[str, Any], weights: Any = None, **options: Any) -> Bound:
    """Data with their program."""
    columns = read_data(data, model.compile(data).outline, weights=weights)
    return Bound(model.compile(data), columns, **options)


def both(monkeypatch: pytest.MonkeyPatch, model: pg.Model, data: Any, **options: Any) -> Any:
    """The fit with and without merging."""
    merged = model.fit(data, **options)
    assert "equal units merged with counts" in str(merged.report)
    monkeypatch.setattr(merge, "MERGE_FROM", 10**9)
    plain = model.fit(data, **options)
    assert "merged" not in str(plain.report)
    return merged, plain


@every_model
@pytest.mark.parametrize("posterior", ["soft", "hard"])
def test_a_fit_is_the_same(make: Any, posterior: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = make()
    weights = np.random.default_rng(2).choice([0.0, 1.0, 2.5, 1e9], size=N, p=[0.2, 0.6, 0.1, 0.1])
    merged, plain = both(
        monkeypatch, model, data, weights=weights, posterior=posterior, max_iter=6, tol=0
    )
    np.testing.assert_allclose(merged.trace, plain.trace, rtol=1e-10)
    for name, value in plain.params.items():
        np.testing.assert_allclose(merged.params[name], value, rtol=1e-10, atol=1e-12)
    assert merged.n_observations == plain.n_observations
    for criterion in ("bic", "icl", "log_likelihood"):
        assert getattr(merged, criterion) == pytest.approx(getattr(plain, criterion), rel=1e-10)


@every_model
def test_answers_come_unit_by_unit(make: Any) -> None:
    model, data = make()
    fit = model.fit(data, max_iter=3)
    decoded = fit.decode(data)
    for name, values in decoded.items():
        assert len(values) == N, name
    each = fit.log_likelihoods(data)
    assert len(each) == N
    one_by_one = [
        fit.log_likelihoods({name: values[k : k + 1] for name, values in data.items()})[0]
        for k in range(20)
    ]
    np.testing.assert_allclose(each[:20], one_by_one, rtol=1e-12)


@every_model
def test_standard_errors_are_the_same(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = make()
    merged, plain = both(monkeypatch, model, data, max_iter=2, tol=0)
    with pytest.warns(pg.errors.FitWarning):
        one, other = merged.standard_errors(), plain.standard_errors()
    for name, value in other.items():
        np.testing.assert_allclose(one[name], value, rtol=1e-4, equal_nan=True)


@every_model
def test_merged_units_are_equal_and_all_there(make: Any) -> None:
    model, data = make()
    columns = bound_of(model, data).columns
    merged = merge_units(columns)
    assert merged.which is not None
    assert merged.columns.n_units < N / 4
    whole = take_units(merged.columns, merged.which)
    for name in columns.starts:
        np.testing.assert_array_equal(whole.starts[name], columns.starts[name])
    for name, values in {**columns.numbers, **columns.codes}.items():
        found = {**whole.numbers, **whole.codes}[name]
        np.testing.assert_array_equal(found, values)
    assert merged.columns.weights.sum() == N


def test_distinct_units_stay_apart() -> None:
    """A value more, an order, a hole or a length makes another unit."""
    _, data = sequences()
    columns = bound_of(*sequences()).columns
    assert merge_units(columns).columns.n_units == len({tuple(y) for y in data["y"]})


def test_draws_are_made_unit_by_unit() -> None:
    model, data = mixture()
    merged, plain = bound_of(model, data, merge=True), bound_of(model, data)
    params = model.fit(data, max_iter=2).params
    found = []
    for bound in (merged, plain):
        semiring = Semiring("sample", np.random.default_rng(3))
        log_p, stats = sum_statistics(bound, params, semiring)
        assert len(log_p) == len(bound.weights)
        found.append(stats)
    assert merged.which is not None
    for key, entry in found[1].items():
        for one, other in zip(found[0][key].arrays, entry.arrays, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_clash_of_hashes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = mixture()
    monkeypatch.setattr(merge, "_hash", lambda columns: np.zeros(columns.n_units, dtype=np.uint64))
    bound = bound_of(model, data, merge=True)
    assert bound.which is None
    assert "hashes clash" in bound.report


def test_the_search_ends_early_where_units_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    with pg.Model("waits") as model:
        pg.observed("x", pg.Exponential())
    data = {"x": np.random.default_rng(0).exponential(size=100_000)}
    hashed = []
    real = merge._hash
    monkeypatch.setattr(merge, "_hash", lambda c: hashed.append(c.n_units) or real(c))
    assert "no two of" in model.compile().bind(data).report
    assert sum(hashed) <= merge.SAMPLE


def test_few_equal_units_are_not_merged() -> None:
    with pg.Model("waits") as model:
        pg.observed("x", pg.Exponential())
    x = np.random.default_rng(0).exponential(size=1000)
    x[1::4] = x[::4]
    assert "750 of 1,000 differ" in model.compile().bind({"x": x}).report


def test_a_bad_unit_is_named_by_its_own_number() -> None:
    with pg.Model("zeros") as model:
        pg.observed("x", pg.Poisson())
    x = np.array([3.0, 3.0, 3.0, 1.0, 3.0, 1.0] * 50)
    with pytest.raises(pg.errors.FitError, match="unit '3'"):
        model.fit({"x": np.where(x == 1, 9.0, 0.0)}, start={"x.rate": 0.0}, max_iter=0)
    with pytest.raises(pg.errors.DataError, match="unit '3'"):
        model.fit({"x": np.where(x == 1, -1.0, 2.0)})
