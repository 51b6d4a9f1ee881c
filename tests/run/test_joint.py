"""Small units in one product: the same totals, statistics and M-steps as the listing's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from scipy import stats
from strategies import Case, cases
from zoo import ZOO, Animal

import pgem as pg
from pgem.result import full_params
from pgem.routines.log_linear import LogLinear
from pgem.run import Bound, expect, sum_statistics

Floats = NDArray[np.float64]


def small(model: pg.Model, data: Any, params: Any, weights: Any = None) -> Bound:
    """Model and data as a fit has them, which starts at the parameters."""
    bound = model.fit(data, start=params, weights=weights, max_iter=0)._training()
    return Bound(bound.program, bound.columns, merge=True)


def joint_of(bound: Bound, params: Mapping[str, Floats]) -> LogLinear | None:
    """The form that the second E-step makes."""
    bound.joint(dict(params))
    return bound.joint(dict(params))


def agrees(bound: Bound, params: Mapping[str, Floats]) -> bool:
    """Compare with the listing; whether the units have the form, and finite coefficients."""
    params = full_params(bound.program, params)
    joint = joint_of(bound, params)
    if joint is None:
        return False
    with np.errstate(all="ignore"):
        found = joint.expect(params)
    if found is None:
        return False
    by_unit, expected_stats = found
    if not np.isfinite(by_unit).all():
        return False
    log_p, listed = sum_statistics(bound, params)
    np.testing.assert_allclose(by_unit, log_p, rtol=1e-10, atol=1e-10)
    for key, entry in listed.items():
        if bound.program.parts[key].held:  # what only held slots need may be left out
            continue
        for one, other in zip(expected_stats[key].arrays, entry.arrays, strict=True):
            size = 1e-9 * np.abs(other).max(initial=1.0)
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=size, err_msg=key)
    empty: tuple[set[str], set[str]] = (set(), set())
    with np.errstate(all="ignore"):
        new = bound.program.m_step(params, expected_stats, empty[0])
        expected = bound.program.m_step(params, listed, empty[1])
    assert empty[0] == empty[1]
    for name, value in expected.items():
        assert new[name].shape == value.shape
        np.testing.assert_allclose(new[name], value, rtol=1e-8, atol=1e-9, err_msg=name)
    return True


@pytest.mark.chooses_path
def test_random_graphs() -> None:
    taken = []

    @given(cases("dag", weighted=True, absent=True))
    def check(case: Case) -> None:
        if case.possible:
            taken.append(
                agrees(small(case.model, case.data, case.params, case.weights), case.params)
            )

    check()
    assert any(taken)


@pytest.mark.parametrize("animal", ZOO.values(), ids=ZOO)
def test_zoo(animal: Animal) -> None:
    data = animal.observe(12, animal.few, seed=4)
    agrees(small(animal.model, data, animal.at_truth.params), animal.at_truth.params)


def discrete(size: int = 3) -> pg.Model:
    with pg.Model("discrete") as model:
        a = pg.observed("a", pg.Categorical(size=size))
        g = pg.latent("g", pg.Categorical(size=2), given=a)
        h = pg.latent("h", pg.Categorical(size=3), given=g)
        pg.observed("n", pg.Poisson(), given=[g, h])
        pg.observed("u", pg.Bernoulli(), given=h)
        pg.observed("v", pg.Bernoulli(), given=[a, g])
        pg.observed("w", pg.Exponential(), given=g)
    return model


def rows(n: int, *, holes: bool = False) -> dict[str, Floats]:
    rng = np.random.default_rng(5)
    data = {
        "a": rng.integers(3, size=n).astype(float),
        "n": rng.poisson(3.0, n).astype(float),
        "u": rng.integers(2, size=n).astype(float),
        "v": rng.integers(2, size=n).astype(float),
        "w": rng.exponential(size=n).round(1),
    }
    if holes:
        data |= {k: np.where(rng.random(n) < 0.2, np.nan, x) for k, x in data.items() if k != "a"}
    return data


@pytest.mark.chooses_path
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("n", [1, 7, 40])
def test_families_of_every_kind_together(n: int, holes: bool) -> None:
    data, model = rows(n, holes=holes), discrete()
    start = model.fit(rows(40), max_iter=1).params
    assert agrees(small(model, data, start), start)


@pytest.mark.chooses_path
def test_tied_and_gated_and_fixed() -> None:
    """Parameters that several nodes share, a fixed one, a known latent in some units, a prior."""
    with pg.Model("tied") as model:
        share = pg.param("share", prior=pg.Dirichlet(2.0))
        z = pg.latent("z", pg.Categorical(share, size=2))
        y = pg.latent("y", pg.Categorical(share, size=2))
        rate = pg.param("rate")
        pg.observed("n", pg.Poisson(rate=rate[z]))
        pg.observed("m", pg.Poisson(rate=rate[y]))
        half = pg.param("prob", fixed=[True, False], value=[0.3, 0.5])
        pg.observed("k", pg.Binomial(prob=half[z], trials=4))
    rng = np.random.default_rng(1)
    data = {
        "z": np.where(rng.random(30) < 0.3, rng.integers(2, size=30), np.nan),
        "n": rng.poisson(2.0, 30), "m": rng.poisson(4.0, 30), "k": rng.binomial(4, 0.4, 30),
    }  # fmt: skip
    params = {"share": [0.4, 0.6], "rate": [1.0, 5.0], "prob": [0.3, 0.6]}
    assert agrees(small(model, data, params), {k: np.array(v) for k, v in params.items()})


def test_a_fit_ends_where_the_listing_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    data, model = rows(60, holes=True), discrete()
    start = model.fit(data, max_iter=1).params
    joint = model.fit(data, start=start, max_iter=80, tol=0)
    monkeypatch.setattr(Bound, "joint", lambda *_: None)
    listed = model.fit(data, start=start, max_iter=80, tol=0)
    np.testing.assert_allclose(joint.trace, listed.trace, rtol=1e-11)
    for name, value in listed.params.items():
        np.testing.assert_allclose(joint.params[name], value, rtol=1e-7, atol=1e-10)


def test_probabilities_of_zero_are_left_to_the_listing() -> None:
    data, model = rows(30), discrete()
    params = {name: value.copy() for name, value in model.fit(data, max_iter=2).params.items()}
    bound = small(model, data, params)
    before = expect(bound, params).total, expect(bound, params).total
    assert before[0] == pytest.approx(before[1], rel=1e-13)
    params["h.probs"] = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    found = expect(bound, params).total
    log_p, _ = sum_statistics(bound, params)
    assert np.isfinite(found)
    assert found == pytest.approx(float(bound.weights @ log_p), rel=1e-13)


def test_an_impossible_unit_is_named() -> None:
    data, model = rows(30), discrete()
    params = dict(model.fit(data, max_iter=2).params)
    bound = small(model, data, params)
    expect(bound, params)
    expect(bound, params)
    params["n.rate"] = np.full_like(params["n.rate"], np.nan)
    with pytest.raises(pg.errors.FitError, match="unit '0' has log-likelihood"):
        expect(bound, params)


def test_what_is_without_data_is_named() -> None:
    with pg.Model("empty") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        a = pg.observed("a", pg.Categorical(size=4))
        pg.observed("x", pg.Poisson(), given=[z, a])
    data = {"a": np.array([0.0, 1.0, 1.0, 2.0, 2.0]), "x": np.array([1.0, 5.0, 0.0, 2.0, 7.0])}
    start = {"z.probs": [0.4, 0.6], "x.rate": np.arange(1.0, 9.0).reshape(2, 4)}
    fit = model.fit(data, start=start, max_iter=5, tol=0)
    assert fit.params["x.rate"][:, 3].tolist() == [4.0, 8.0]
    assert "x.rate" in fit.verdict.describe()


@pytest.mark.chooses_path
def test_large_ones_are_left_to_the_listing() -> None:
    rng = np.random.default_rng(0)
    data = {"w": rng.exponential(size=20_000)}
    with pg.Model("many") as model:
        z = pg.latent("z", pg.Categorical(size=3))
        pg.observed("w", pg.Exponential(), given=z)
    params = model.fit({"w": data["w"][:50]}, max_iter=1).params
    assert joint_of(small(model, data, params), params) is None
    assert joint_of(small(model, {"w": data["w"][:50]}, params), params) is not None


@pytest.mark.parametrize("n", [40, 300_000])
def test_a_density_of_its_own_has_no_inherited_form(n: int) -> None:
    """A truncated normal is no normal, neither in small units nor in tiles of large data."""
    assert pg.Normal.has_form()
    assert pg.Poisson.has_form()
    assert not pg.TruncatedNormal.has_form()
    x = stats.truncnorm.rvs(-1, 2, loc=1.0, size=n, random_state=3)
    with pg.Model("truncated") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.TruncatedNormal(low=0.0, high=3.0), given=z)
    start = {"z.probs": [0.4, 0.6], "x.mean": [0.5, 2.0], "x.var": [1.0, 2.0]}
    fit = model.fit({"x": x}, start=start, max_iter=0)
    bound = fit._training()
    totals = [expect(bound, fit.params).total for _ in range(3)]
    sd = np.sqrt(start["x.var"])
    ends = [(end - np.array(start["x.mean"])) / sd for end in (0.0, 3.0)]
    densities = stats.truncnorm.pdf(x[:, None], *ends, loc=start["x.mean"], scale=sd)
    expected = float(np.log(densities @ start["z.probs"]).sum())
    np.testing.assert_allclose([*totals, fit.log_likelihood], expected, rtol=1e-10)
