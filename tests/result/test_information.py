"""Standard errors against closed forms and against differences of the log-likelihood."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import pgem as pg
from pgem.errors import DataError, FitError, FitWarning

RNG = np.random.default_rng(7)


def test_normal_closed_forms() -> None:
    x = RNG.normal(1e3, 2.0, 500)
    with pg.Model("normal") as model:
        pg.observed("x", pg.Normal())
    fit = model.fit({"x": x})
    errors, var = fit.standard_errors(), x.var()
    np.testing.assert_allclose(errors["x.mean"], np.sqrt(var / 500), rtol=1e-7)
    np.testing.assert_allclose(errors["x.var"], np.sqrt(2 * var**2 / 500), rtol=1e-7)
    assert abs(fit.covariance()[0, 1]) < 1e-8 * var


def test_multinomial_closed_form() -> None:
    counts = np.array([50, 30, 20])
    with pg.Model("rows") as model:
        pg.observed("x", pg.Categorical(size=3))
    fit = model.fit({"x": np.repeat([0, 1, 2], counts)})
    p, n = counts / 100, 100
    expected = (np.diag(p) - np.outer(p, p)) / n
    np.testing.assert_allclose(fit.covariance(), expected, atol=1e-10)
    np.testing.assert_allclose(fit.standard_errors()["x.probs"], np.sqrt(p * (1 - p) / n))


def test_multivariate_normal_closed_form() -> None:
    x = RNG.multivariate_normal([0, 5], [[2, 0.9], [0.9, 1]], 300)
    with pg.Model("vector") as model:
        pg.observed("x", pg.MvNormal())
    fit = model.fit({"x": x})
    v = np.cov(x.T, bias=True)
    errors = fit.standard_errors()
    np.testing.assert_allclose(errors["x.mean"], np.sqrt(np.diag(v) / 300), rtol=1e-7)
    expected = np.sqrt((np.outer(np.diag(v), np.diag(v)) + v**2) / 300)
    np.testing.assert_allclose(errors["x.cov"], expected, rtol=1e-7)


@pytest.mark.parametrize(
    ("family", "x", "expected"),
    [
        (pg.Poisson(), [0, 3, 1, 4], {"x.rate": np.sqrt(2 / 4)}),
        (pg.Exponential(), [1.0, 3.0], {"x.rate": 0.5 / np.sqrt(2)}),
        (pg.Bernoulli(), [0, 1, 1, 1], {"x.prob": np.sqrt(0.75 * 0.25 / 4)}),
        (pg.Geometric(), [0, 1, 2], {"x.prob": np.sqrt(0.5**2 * 0.5 / 3)}),
    ],
)
def test_closed_forms_of_other_families(family: Any, x: Any, expected: Any) -> None:
    with pg.Model("one") as model:
        pg.observed("x", family)
    errors = model.fit({"x": x}).standard_errors()
    for name, value in expected.items():
        np.testing.assert_allclose(errors[name], value, rtol=1e-7)


def test_gamma_information() -> None:
    from scipy.special import polygamma

    x = RNG.gamma(3.0, 0.5, 400)
    with pg.Model("gamma") as model:
        pg.observed("x", pg.Gamma())
    fit = model.fit({"x": x})
    a, b = float(fit.params["x.shape"]), float(fit.params["x.rate"])
    fisher = 400 * np.array([[polygamma(1, a), -1 / b], [-1 / b, a / b**2]])
    np.testing.assert_allclose(fit.covariance(), np.linalg.inv(fisher), rtol=1e-6)


def numerical(model: pg.Model, data: Any, fit: pg.Fit, chart: Any, free: Any) -> np.ndarray:
    """Covariance of parameters from second differences of the log-likelihood in a free chart."""

    def total(u: np.ndarray) -> float:
        return float(model.log_likelihood(data, chart(u)).sum())

    n, h = len(free), 1e-3 * np.maximum(np.abs(free), 0.05)
    hessian, eye = np.empty((n, n)), np.diag(h)
    for i in range(n):
        for j in range(n):
            values = [
                s * t * total(free + s * eye[i] + t * eye[j]) for s in (1, -1) for t in (1, -1)
            ]
            hessian[i, j] = sum(values) / (4 * h[i] * h[j])
    cov = np.linalg.inv(-hessian)

    def flat(u: np.ndarray) -> np.ndarray:
        return np.concatenate([np.ravel(v) for v in chart(u).values()])

    jacobian = np.stack(
        [(flat(free + 1e-6 * e) - flat(free - 1e-6 * e)) / 2e-6 for e in np.eye(n)], axis=1
    )
    return jacobian @ cov @ jacobian.T


def test_mixture_against_differences_of_the_log_likelihood() -> None:
    x = np.concatenate([RNG.normal(0, 1, 300), RNG.normal(4, 1.5, 200)])
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Normal(), given=z)
    fit = model.fit({"x": x}, tol=1e-14, max_iter=5000)
    p = fit.params

    def chart(u: np.ndarray) -> dict[str, Any]:
        return {"z.probs": [u[0], 1 - u[0]], "x.mean": u[1:3], "x.var": u[3:5]}

    free = np.array([p["z.probs"][0], *p["x.mean"], *p["x.var"]])
    expected = numerical(model, {"x": x}, fit, chart, free)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(fit.covariance(), expected, rtol=1e-3, atol=1e-7)


def test_hidden_markov_model_against_differences() -> None:
    s = (np.cumsum(RNG.random(400) < 0.1) % 2).astype(int)
    y = RNG.poisson(np.array([2.0, 8.0])[s])
    with pg.Model("hmm") as model, pg.sequence("t"):
        state = pg.latent("s", pg.Categorical(size=2), after="s", first=pg.Categorical([0.5, 0.5]))
        pg.observed("y", pg.Poisson(), given=state)
    fit = model.fit({"y": y}, tol=1e-14, max_iter=5000)
    p = fit.params

    def chart(u: np.ndarray) -> dict[str, Any]:
        return {"s.probs": [[u[0], 1 - u[0]], [1 - u[1], u[1]]], "y.rate": u[2:]}

    free = np.array([*np.diag(p["s.probs"]), *p["y.rate"]])
    expected = numerical(model, {"y": y}, fit, chart, free)
    np.testing.assert_allclose(fit.covariance(), expected, rtol=1e-3, atol=1e-7)


def test_weights_are_replication() -> None:
    x, w = RNG.normal(size=40), RNG.integers(0, 4, 40)
    with pg.Model("normal") as model:
        pg.observed("x", pg.Normal())
    weighted = model.fit({"x": x}, weights=w)
    repeated = model.fit({"x": np.repeat(x, w)})
    np.testing.assert_allclose(weighted.covariance(), repeated.covariance(), rtol=1e-9, atol=1e-12)


def test_fixed_tied_and_boundary_entries() -> None:
    with pg.Model("held") as model:
        g = pg.covariate("g", size=2)
        p = pg.param("p", zeros=[[False, False, True], [False, False, False]])
        pg.observed("x", pg.Categorical(p[g], size=3))
        mean = pg.param("m")
        pg.observed("u", pg.Normal(mean=mean, var=1.0))
        pg.observed("v", pg.Normal(mean=mean, var=1.0))
    data = {"g": [0] * 4 + [1] * 4, "x": [0, 1, 1, 1, 0, 0, 1, 1], "u": RNG.normal(size=8),
            "v": RNG.normal(size=8)}  # fmt: skip
    errors = model.fit(data).standard_errors()
    np.testing.assert_allclose(errors["m"], 1 / np.sqrt(16), rtol=1e-7)
    np.testing.assert_allclose(errors["p"][0], [*[np.sqrt(0.75 * 0.25 / 4)] * 2, 0.0], rtol=1e-7)
    np.testing.assert_allclose(errors["p"][1], [*[np.sqrt(0.25 / 4)] * 2, np.nan], rtol=1e-7)


def test_partly_fixed_parameter() -> None:
    with pg.Model("partly") as model:
        p = pg.param(fixed=[True, False, False], value=[0.5, 0.2, 0.3])
        pg.observed("x", pg.Categorical(p, size=3))
    errors = model.fit({"x": [0] * 5 + [1] * 8 + [2] * 2}).standard_errors()["x.probs"]
    np.testing.assert_allclose(errors, [0, *[np.sqrt(0.5**2 * 0.8 * 0.2 / 10)] * 2], rtol=1e-7)


def test_probabilities_on_their_way_to_zero_are_on_the_boundary() -> None:
    """The first state of a single sequence is certain in the end; EM takes its time."""
    path = np.repeat([0, 1, 0, 1, 0, 1], [9, 12, 7, 15, 20, 9])
    y = np.random.default_rng(0).normal(size=72) + 2.0 * path
    y[:4] = 1.0
    with pg.Model("free") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Normal(var=1.0), given=s)
    with pg.Model("settled") as settled, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s", first=pg.Categorical([1.0, 0.0]))
        pg.observed("y", pg.Normal(var=1.0), given=s)
    start = {"y.mean": [0.0, 2.0]}
    fit = model.fit({"y": y}, start=start, tol=1e-5)
    assert 1e-8 < fit.params["s.first.probs"][1] < 1e-3
    errors = fit.standard_errors()
    assert np.isnan(errors.pop("s.first.probs")).all()
    expected = settled.fit({"y": y}, start=start, tol=1e-13).standard_errors()
    for name, found in errors.items():
        np.testing.assert_allclose(found, expected[name], rtol=0.02, err_msg=name)


def test_zero_rates_are_on_the_boundary() -> None:
    with pg.Model("rates") as model:
        g = pg.covariate("g", size=2)
        pg.observed("x", pg.Poisson(), given=g)
    fit = model.fit({"g": [0, 0, 1, 1], "x": [0, 0, 2, 4]})
    np.testing.assert_allclose(fit.standard_errors()["x.rate"], [np.nan, np.sqrt(3 / 2)])


def test_what_the_data_do_not_identify_is_nan_and_named() -> None:
    with pg.Model("flat") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Categorical(size=2), given=z)
        pg.observed("y", pg.Normal())
    start = {"z.probs": [0.4, 0.6], "x.probs": [[0.3, 0.7], [0.8, 0.2]]}
    x, y = np.repeat([0, 1], [24, 16]), RNG.normal(size=40)
    fit = model.fit({"x": x, "y": y}, start=start, tol=1e-15)
    with pytest.warns(FitWarning, match=r"do not identify '(z|x).probs', '(z|x).probs'"):
        errors = fit.standard_errors()
    assert np.isnan(errors["z.probs"]).all()
    assert np.isnan(errors["x.probs"]).all()
    np.testing.assert_allclose(errors["y.mean"], y.std() / np.sqrt(40), rtol=1e-7)
    with pytest.warns(FitWarning):  # the margin is identified all the same
        margin = fit.standard_errors(of=lambda p: p["z.probs"] @ p["x.probs"])
    np.testing.assert_allclose(margin, np.sqrt(0.6 * 0.4 / 40), rtol=1e-5)


def test_away_from_a_maximum_it_warns() -> None:
    with pg.Model("normal") as model:
        pg.observed("x", pg.Normal())
    fit = model.fit({"x": [0.0, 1, 2, 3]}, start={"x.mean": 1.0, "x.var": 2.0}, max_iter=0)
    with pytest.warns(FitWarning, match="standard errors away"):
        fit.standard_errors()


def test_delta_method() -> None:
    x = RNG.normal(3.0, 2.0, 200)
    with pg.Model("normal") as model:
        pg.observed("x", pg.Normal())
    fit = model.fit({"x": x})
    mean, var = x.mean(), x.var()
    found = fit.standard_errors(of=lambda p: np.sqrt(p["x.var"]))
    np.testing.assert_allclose(found, np.sqrt(var / 400), rtol=1e-7)
    both = fit.standard_errors(of=lambda p: {"cv": np.sqrt(p["x.var"]) / p["x.mean"],
                                             "twice": [2 * p["x.mean"], 0.0]})  # fmt: skip
    exact = np.sqrt(var / mean**2 * (1 / 400 + var / mean**2 / 200))
    np.testing.assert_allclose(both["cv"], exact, rtol=1e-7)
    np.testing.assert_allclose(both["twice"], [2 * np.sqrt(var / 200), 0], rtol=1e-7, atol=1e-12)
    with pytest.raises(FitError, match="no number"):
        fit.standard_errors(of=lambda p: "wide")


def test_other_data() -> None:
    with pg.Model("normal") as model:
        pg.observed("x", pg.Normal())
    x = np.array([0.0, 1.0, 2.0, 3.0])
    fit = model.fit({"x": x})
    more = fit.standard_errors({"x": np.tile(x, 4)})
    np.testing.assert_allclose(more["x.mean"], fit.standard_errors()["x.mean"] / 2)


def test_a_family_without_role_statistics() -> None:
    class Rayleigh(pg.families.Family):
        slots = (pg.families.Slot("scale", pg.families._roles.VARIANCE),)
        support = pg.families._family.POSITIVE

        def sufficient_statistics(self, x: Any, **known: Any) -> Any:
            return (x**2,)

        def natural_parameters(self, **slots: Any) -> Any:
            return (-0.5 / slots["scale"],)

        def log_partition(self, *eta: Any) -> Any:
            return -np.log(-2 * eta[0])

        def log_base_measure(self, x: Any, **known: Any) -> Any:
            return np.log(x)

    x = RNG.rayleigh(2.0, 300)
    with pg.Model("own") as model:
        pg.observed("x", Rayleigh())
    fit = model.fit({"x": x}, tol=1e-15)
    value = (x**2).mean() / 2
    np.testing.assert_allclose(fit.params["x.scale"], value, rtol=1e-6)
    np.testing.assert_allclose(fit.standard_errors()["x.scale"], value / np.sqrt(300), rtol=1e-5)


def test_a_loaded_fit_needs_data(tmp_path: Any) -> None:
    with pg.Model("normal") as model:
        pg.observed("x", pg.Normal())
    data = {"x": RNG.normal(size=20)}
    fit = model.fit(data)
    fit.save(tmp_path / "fit.json")
    again = pg.load(tmp_path / "fit.json")
    with pytest.raises(DataError, match="pass data="):
        again.standard_errors()
    np.testing.assert_array_equal(
        again.standard_errors(data)["x.mean"], fit.standard_errors()["x.mean"]
    )
