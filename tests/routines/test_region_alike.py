"""Regions whose rows are all alike: the same as any region, in fewer calls."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pgem as pg
from pgem.routines.region_alike import AlikeRegion
from pgem.run import sum_statistics

Floats = NDArray[np.float64]
integrate = sys.modules["pgem.routines.integrate"]
"""The module (its package exports a function of that name)."""


def factors(cov: Any) -> None:
    """A factor above a factor, both seen, under a class."""
    z = pg.latent("z", pg.Categorical(size=2))
    f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(2)))
    g = pg.latent("g", pg.MvNormal(mean=pg.param("A")[z] @ f, cov=pg.param("G"), size=2))
    mean = pg.param("B")[z] @ f + pg.param("C") @ g + pg.param("m")[z]
    pg.observed("x", pg.MvNormal(mean=mean, cov=cov))
    pg.observed("y", pg.Normal(mean=pg.param("b") @ g + pg.param("c")))


def full() -> None:
    factors(pg.param("V"))


def diagonal() -> None:
    factors(pg.diagonal(pg.param("V")))


def alone() -> None:
    """No class; a scalar factor with a mean of its own."""
    f = pg.latent("f", pg.Normal(mean=pg.param("mu"), var=pg.param("v")))
    pg.observed("x", pg.MvNormal(mean=pg.param("B") * f, cov=pg.spherical(), size=3))


DECLARED = {"full": full, "diagonal": diagonal, "alone": alone}


def fitted(
    declare: Callable[[], None], scale: float = 1.0, offset: float = 0.0
) -> tuple[pg.Model, dict[str, Any], pg.Fit]:
    """A start on 30 rows."""
    with pg.Model("rows") as model:
        declare()
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(30, 3)) @ rng.normal(size=(3, 3))) * scale + offset
    data: dict[str, Any] = {"x": x}
    if declare is not alone:
        data["y"] = x[:, 0] + scale * rng.normal(size=30)
    return model, data, model.fit(data, max_iter=2, tol=0, weights=1.0 + np.arange(30) % 3)


@pytest.mark.chooses_path
@pytest.mark.parametrize("scale, offset", [(1.0, 0.0), (1e-3, 1e3), (1e4, -1e7)])
@pytest.mark.parametrize("name", DECLARED)
def test_as_any_region(
    name: str, scale: float, offset: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, fit = fitted(DECLARED[name], scale, offset)
    made: list[AlikeRegion] = []
    original = integrate.AlikeRegion

    def note(*arguments: Any) -> AlikeRegion:
        made.append(original(*arguments))
        return made[-1]

    monkeypatch.setattr(integrate, "AlikeRegion", note)
    log_p, stats = sum_statistics(fit._training(), fit.params)
    assert made
    monkeypatch.setattr("pgem.routines.region_alike.LARGEST", 0)
    n_made = len(made)
    other_p, other = sum_statistics(fit._training(), fit.params)
    assert len(made) == n_made
    np.testing.assert_allclose(log_p, other_p, rtol=1e-9)
    for key, entry in other.items():
        if len(entry.arrays) < 5:
            np.testing.assert_allclose(stats[key].arrays[0], entry.arrays[0], rtol=1e-7, atol=1e-9)
            continue
        phi, square = (np.abs(entry.arrays[k]).max() for k in (2, 4))
        sizes = (0.0, 0.0, phi, np.sqrt(phi * square), square)  # what rounding is a share of
        for one, two, size in zip(stats[key].arrays, entry.arrays, sizes, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-7, atol=1e-9 * size, err_msg=key)


@pytest.mark.parametrize("name", DECLARED)
def test_a_fit_and_what_is_asked_of_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data, fit = fitted(DECLARED[name])
    own = model.fit(data, start=fit.params, max_iter=15, tol=0)
    moments = own.posterior(data)["f"]
    monkeypatch.setattr("pgem.routines.region_alike.LARGEST", 0)
    other = model.fit(data, start=fit.params, max_iter=15, tol=0)
    np.testing.assert_allclose(own.trace, other.trace, rtol=1e-9)
    for one, two in zip(moments, other.posterior(data)["f"], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-8)


def test_what_differs_by_row_is_no_such_region(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError

    model, data, fit = fitted(alone)
    data["x"][3, 1] = np.nan
    monkeypatch.setattr(integrate, "AlikeRegion", never)
    model.fit(data, start=fit.params, max_iter=3)


def test_a_row_without_a_density_is_named() -> None:
    with pg.Model("fixed") as model:
        f = pg.latent("f", pg.Normal(mean=0.0, var=1.0))
        pg.observed(
            "x", pg.MvNormal(mean=pg.param("B") * f, cov=pg.diagonal(pg.param("V")), size=2)
        )
    start = {"B": [1.0, 1.0], "V": [1.0, 1e-320]}
    with pytest.raises(pg.errors.FitError):
        model.fit({"x": np.array([[1.0, 2.0], [3.0, 1e200]])}, start=start, max_iter=1)
