"""Models that are special cases of others, declared in another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pgem as pg

Floats = NDArray[np.float64]
RNG = np.random.default_rng(11)


def same_likelihood(
    one: tuple[pg.Model, Any, dict[str, Any]], other: tuple[pg.Model, Any, dict[str, Any]]
) -> None:
    """log p per unit of two models with their data and parameters."""
    np.testing.assert_allclose(
        one[0].log_likelihood(one[1], one[2]), other[0].log_likelihood(other[1], other[2]),
        rtol=1e-10, atol=1e-10,
    )  # fmt: skip


# --- a diagonal covariance is a product of coordinates ------------------------------------------


def coordinates(holes: bool) -> Floats:
    x = RNG.normal(size=(40, 3)) * [1.0, 2.0, 0.5] + RNG.integers(0, 2, size=(40, 1)) * 3
    return np.where(RNG.random(x.shape) < 0.2 * holes, np.nan, x)


def diagonal_mixture() -> pg.Model:
    with pg.Model("vector") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.MvNormal(cov=pg.diagonal(), size=3), given=z)
    return model


def coordinate_mixture() -> pg.Model:
    with pg.Model("plate") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        with pg.plate("k", size=3) as k:
            pg.observed("x", pg.Normal(), given=[z, k])
    return model


@pytest.mark.parametrize("holes", [False, True])
def test_a_diagonal_covariance_is_a_product_of_coordinates(holes: bool) -> None:
    data = {"x": coordinates(holes)}
    start = {"z.probs": [0.4, 0.6], "x.mean": [[0.0, 0, 0], [3.0, 3, 3]]}
    one = diagonal_mixture().fit(data, start={**start, "x.cov": np.ones((2, 3))}, max_iter=30)
    two = coordinate_mixture().fit(data, start={**start, "x.var": np.ones((2, 3))}, max_iter=30)
    np.testing.assert_allclose(one.trace, two.trace, rtol=1e-11)
    np.testing.assert_allclose(one.params["x.mean"], two.params["x.mean"], rtol=1e-8)
    np.testing.assert_allclose(one.params["x.cov"], two.params["x.var"], rtol=1e-8)


def test_a_full_covariance_that_is_diagonal_is_a_product_of_coordinates() -> None:
    with pg.Model("full") as full:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.MvNormal(size=3), given=z)
    data, var = {"x": coordinates(True)}, RNG.gamma(4.0, 0.3, (2, 3))
    start = {"z.probs": [0.4, 0.6], "x.mean": RNG.normal(size=(2, 3))}
    cov = var[:, :, None] * np.eye(3)
    same_likelihood(
        (full, data, {**start, "x.cov": cov}), (coordinate_mixture(), data, {**start, "x.var": var})
    )


# --- a chain without memory is a mixture --------------------------------------------------------


def chain(first: Any = None) -> pg.Model:
    with pg.Model("chain") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s", first=first)
        pg.observed("y", pg.Normal(), given=s)
    return model


def steps_mixture() -> pg.Model:
    with pg.Model("mixture") as model, pg.plate("t"):
        s = pg.latent("s", pg.Categorical(size=3))
        pg.observed("y", pg.Normal(), given=s)
    return model


def test_a_chain_with_equal_rows_is_a_mixture() -> None:
    lengths = [5, 1, 9, 3]
    data = {"y": [np.where(RNG.random(n) < 0.2, np.nan, RNG.normal(size=n)) for n in lengths]}
    probs = np.array([0.2, 0.5, 0.3])
    emissions = {"y.mean": [-1.0, 0.0, 2.0], "y.var": [0.5, 1.0, 0.3]}
    memory = {"s.probs": np.tile(probs, (3, 1)), "s.first.probs": probs, **emissions}
    mixture = {"s.probs": probs, **emissions}
    one, two = chain(), steps_mixture()
    same_likelihood((one, data, memory), (two, data, mixture))
    for unit in range(len(lengths)):
        np.testing.assert_allclose(
            one.posterior(data, memory)["s"][unit], two.posterior(data, mixture)["s"][unit],
            atol=1e-12,
        )  # fmt: skip


# --- a state space without dynamics is factor analysis ------------------------------------------


def test_a_state_space_without_dynamics_is_factor_analysis() -> None:
    with pg.Model("states") as states, pg.sequence("t"):
        first = pg.MvNormal(mean=0.0, cov=pg.identity(2), size=2)
        a = pg.param("A", fixed=True, value=np.zeros((2, 2)))
        h = pg.latent("h", pg.MvNormal(a @ pg.prev("h"), pg.identity(2), size=2), first=first)
        pg.observed("y", pg.MvNormal(pg.param("C") @ h + pg.param("m"), pg.diagonal(), size=4))
    with pg.Model("factors") as factors, pg.plate("t"):
        f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(2), size=2))
        pg.observed("y", pg.MvNormal(pg.param("C") @ f + pg.param("m"), pg.diagonal(), size=4))
    y = RNG.normal(size=(6, 20, 4)) @ RNG.normal(size=(4, 4))
    data = {"y": np.where(RNG.random(y.shape) < 0.1, np.nan, y)}
    start = {"C": RNG.normal(size=(4, 2)), "m": RNG.normal(size=4), "y.cov": np.ones(4)}
    one = states.fit(data, start=start, max_iter=15, tol=0)
    two = factors.fit(data, start=start, max_iter=15, tol=0)
    np.testing.assert_allclose(one.trace, two.trace, rtol=1e-10)
    for name in start:
        np.testing.assert_allclose(one.params[name], two.params[name], rtol=1e-7, atol=1e-9)


# --- conjugate pairs ----------------------------------------------------------------------------


def test_a_gamma_rate_of_a_poisson_is_a_negative_binomial() -> None:
    with pg.Model("pair") as pair:
        lam = pg.latent("lam", pg.Gamma(shape=3.0))
        pg.observed("y", pg.Poisson(rate=lam))
    with pg.Model("marginal") as marginal:
        pg.observed("y", pg.NegativeBinomial(size=3.0))
    y = RNG.negative_binomial(3, 0.4, 800).astype(float)
    data = {"y": np.where(RNG.random(800) < 0.1, np.nan, y)}
    same_likelihood((pair, data, {"lam.rate": 0.7}), (marginal, data, {"y.prob": 0.7 / 1.7}))
    one, two = pair.fit(data, tol=1e-13, max_iter=2000), marginal.fit(data)
    assert one.log_likelihood == pytest.approx(two.log_likelihood, rel=1e-10)
    rate = float(one.params["lam.rate"])
    assert rate / (1 + rate) == pytest.approx(float(two.params["y.prob"]), rel=1e-5)
