"""Standard errors under priors, bounds and fixed parts, by finite differences of the objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pgem as pg

Floats = NDArray[np.float64]
Moving = Mapping[str, list[tuple[int, ...]]]
RNG = np.random.default_rng(31)
VALUES = np.concatenate([RNG.normal(-2, 1, 60), RNG.normal(2, 0.6, 50)])
VECTORS = RNG.multivariate_normal([1.0, -1.0], [[2.0, 0.8], [0.8, 1.0]], 40)
CODES = np.array([0, 2, 3])[RNG.integers(0, 3, 50)]


def mixture() -> Moving:
    """A linked prior, shared by the components; weights with a prior."""
    z = pg.latent("z", pg.Categorical(pg.param("probs", prior=pg.Dirichlet([2.0, 3.0])), size=2))
    var = pg.param("var", prior=pg.InverseGamma(2.0, 1.0))
    mean = pg.param("mean", prior=pg.Normal([-1.0, 1.0], var / 0.4))
    pg.observed("x", pg.Normal(mean[z], var))
    return {"probs": [(1,)], "mean": [(0,), (1,)], "var": [()]}


def bounded() -> Moving:
    """One variance at its bound."""
    z = pg.latent("z", pg.Categorical([0.5, 0.5]))
    pg.observed("x", pg.Normal(pg.param("mean")[z], pg.param("var", lower=0.6)[z]))
    return {"mean": [(0,), (1,)], "var": [(0,)]}


def partly_fixed_vector() -> Moving:
    prior = pg.MvNormal(0.0, [[0.2, 0.1], [0.1, 0.3]])
    mean = pg.param("mean", prior=prior, fixed=[True, False], value=[1.2, 0.0])
    pg.observed("y", pg.MvNormal(mean, pg.param("cov", prior=pg.InverseWishart(1.0, 4.0))))
    return {"mean": [(1,)], "cov": [(0, 0), (0, 1), (1, 1)]}


def partly_fixed_matrix() -> Moving:
    cov = pg.param("cov", fixed=[[True, False], [False, False]], value=[[2.1, 0.0], [0.0, 1.0]])
    pg.observed("y", pg.MvNormal(pg.param("mean"), cov))
    return {"mean": [(0,), (1,)], "cov": [(0, 1), (1, 1)]}


def structural_zeros() -> Moving:
    probs = pg.param("probs", prior=pg.Dirichlet(3.0), zeros=[False, True, False, False])
    pg.observed("c", pg.Categorical(probs, size=4))
    return {"probs": [(2,), (3,)]}


def regression() -> Moving:
    w = pg.covariate("w")
    cov = pg.param("cov", prior=pg.InverseWishart(1.0, 5.0))
    slope = pg.param("slope", prior=pg.MvNormal(0.0, [[0.5, 0.2], [0.2, 1.0]]))
    base = pg.param("base", prior=pg.MvNormal(0.0, cov / 2))
    pg.observed("y", pg.MvNormal(mean=slope @ w + base, cov=cov))
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    return {"slope": places, "base": [(0,), (1,)], "cov": [(0, 0), (0, 1), (1, 1)]}


DATA: dict[str, Any] = {"x": VALUES, "y": VECTORS, "c": CODES, "w": RNG.normal(size=(40, 2))}


@pytest.mark.parametrize(
    "declare",
    [mixture, bounded, partly_fixed_vector, partly_fixed_matrix, structural_zeros, regression],
)
def test_errors_are_those_of_the_objective(declare: Callable[[], Moving]) -> None:
    with pg.Model("m") as model:
        moving = declare()
    known = {node.name for node in model.record.nodes if node.kind == "observed"}
    known |= {covariate.name for covariate in model.record.covariates}
    data = {name: DATA[name] for name in known}
    start = {"mean": [-1.0, 1.0]} if "x" in known else None
    fit = model.fit(data, start=start, tol=1e-14, max_iter=5000)
    found, expected = fit.standard_errors(), by_differences(model, fit, moving, data)
    for name, places in moving.items():
        for place in places:
            assert found[name][place] == pytest.approx(expected[name][place], rel=2e-4), name
    held = {name: layout.fixed for name, layout in fit.program.params.items()}
    assert all((found[name][held[name]] == 0).all() for name in held)
    if declare is bounded:
        assert fit.params["var"][1] == 0.6
        assert np.isnan(found["var"][1])


def by_differences(
    model: pg.Model, fit: pg.Fit, moving: Moving, data: Any
) -> dict[str, dict[tuple[int, ...], float]]:
    """Errors from the Hessian of the objective in the entries that move.

    The first free probability of a row makes up for the others.
    """
    names = [(name, place) for name, places in moving.items() for place in places]

    def objective(flat: Floats) -> float:
        params = {name: np.array(value) for name, value in fit.params.items()}
        for (name, place), value in zip(names, flat, strict=True):
            if name == "probs":
                params[name][0] -= value - params[name][place]
            params[name][place] = value
            if name == "cov":
                params[name][place[::-1]] = value
        return float(model.fit(data, start=params, max_iter=0).objective)

    at = np.array([fit.params[name][place] for name, place in names])
    unit = 2e-3 * np.diag(np.maximum(np.abs(at), 0.1))
    size = range(len(at))
    matrix = np.array([[second(objective, at, unit[i], unit[j]) for j in size] for i in size])
    errors = np.sqrt(np.diag(np.linalg.inv(-matrix)))
    result: dict[str, dict[tuple[int, ...], float]] = {name: {} for name in moving}
    for (name, place), error in zip(names, errors, strict=True):
        result[name][place] = float(error)
    return result


def second(function: Callable[[Floats], float], at: Floats, one: Floats, other: Floats) -> float:
    """Second derivative, extrapolated from two step sizes."""

    def quotient(scale: float) -> float:
        a, b = scale * one, scale * other
        four = function(at + a + b) - function(at + a - b)
        four += function(at - a - b) - function(at - a + b)
        return four / (4 * float(np.abs(a).max() * np.abs(b).max()))

    return (4 * quotient(0.5) - quotient(1.0)) / 3
