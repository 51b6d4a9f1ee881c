"""Priors of matrices, priors linked to other parameters, priors on partly fixed rows.

Each is checked against a log-posterior written with SciPy: its value, that the fit is its maximum,
and its second derivatives.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.special import logsumexp

import pgem as pg

Floats = NDArray[np.float64]
Params = Mapping[str, Floats]
RNG = np.random.default_rng(11)
VALUES = RNG.normal(2.0, 1.5, 30)
COUNTS = RNG.poisson(3.0, 40).astype(float)
VECTORS = RNG.multivariate_normal([1.0, -1.0], [[2.0, 0.8], [0.8, 1.0]], 30)
GROUPED = np.concatenate([RNG.normal(-2, 1, 40), RNG.normal(2, 0.6, 30)])
M0 = np.array([0.5, 0.5])
SCALE = np.array([[2.0, 0.3], [0.3, 1.0]])


def model_of(declare: Callable[[], Any]) -> pg.Model:
    with pg.Model("m") as model:
        declare()
    return model


def fitted(model: pg.Model, data: Any, **options: Any) -> pg.Fit:
    return model.fit(data, **{"tol": 1e-13, "max_iter": 2000, **options})


def is_the_mode(fit: pg.Fit, log_posterior: Callable[[Params], float]) -> None:
    """The objective is this function, which falls in every direction, and never fell on the way."""
    at = {name: np.array(value) for name, value in fit.params.items()}
    best = log_posterior(at)
    assert fit.objective == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert (np.diff(fit.trace) >= -1e-9).all()
    free = {n: layout for n, layout in fit.program.params.items() if layout.is_free}
    names = list(free)
    parts = [free[n].role.to_free(at[n]) for n in names]
    cuts = np.cumsum([part.size for part in parts])[:-1]

    def loss(point: Floats) -> float:
        moved = {}
        for n, part, like in zip(names, np.split(point, cuts), parts, strict=True):
            value = free[n].role.from_free(part.reshape(like.shape))
            moved[n] = np.where(free[n].fixed, at[n], value)
        with np.errstate(all="ignore"):
            value = -log_posterior({**at, **moved})
        return float(value) if np.isfinite(value) else 1e10

    start = np.concatenate([part.ravel() for part in parts])
    found = optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-7})
    assert -found.fun <= best + 1e-7 * (1 + abs(best))


def test_normal_inverse_gamma() -> None:
    def declare() -> None:
        var = pg.param("var", prior=pg.InverseGamma(1.5, 2.0))
        mean = pg.param("mean", prior=pg.Normal(mean=21.0, var=var / 0.01))
        pg.observed("x", pg.Normal(mean, var))

    def log_posterior(p: Params) -> float:
        m, v = p["mean"], p["var"]
        return float(
            stats.norm.logpdf(VALUES, m, v**0.5).sum()
            + stats.norm.logpdf(m, 21.0, (v / 0.01) ** 0.5)
            + stats.invgamma.logpdf(v, 1.5, scale=2.0)
        )

    model = model_of(declare)
    fit = fitted(model, {"x": VALUES}, max_iter=1, tol=0)
    n, k = len(VALUES), 0.01
    mean = (VALUES.sum() + k * 21) / (n + k)
    squares = ((VALUES - mean) ** 2).sum() + k * (mean - 21) ** 2
    assert fit.params["mean"] == pytest.approx(mean, rel=1e-13)
    assert fit.params["var"] == pytest.approx((squares + 4.0) / (n + 1 + 2 * 2.5), rel=1e-12)
    assert model.compile().report.m_step[0].how == "closed form"
    is_the_mode(fit, log_posterior)


def test_normal_inverse_wishart() -> None:
    def declare() -> None:
        cov = pg.param("cov", prior=pg.InverseWishart(SCALE, 5.0))
        mean = pg.param("mean", prior=pg.MvNormal(mean=M0, cov=cov / 0.5))
        pg.observed("x", pg.MvNormal(mean, cov))

    def log_posterior(p: Params) -> float:
        m, v = p["mean"], p["cov"]
        return float(
            stats.multivariate_normal.logpdf(VECTORS, m, v).sum()
            + stats.multivariate_normal.logpdf(m, M0, v / 0.5)
            + stats.invwishart.logpdf(v, 5.0, SCALE)
        )

    model = model_of(declare)
    fit = fitted(model, {"x": VECTORS}, max_iter=1, tol=0)
    n, k = len(VECTORS), 0.5
    mean = (VECTORS.sum(axis=0) + k * M0) / (n + k)
    centred = VECTORS - mean
    scatter = centred.T @ centred + k * np.outer(mean - M0, mean - M0) + SCALE
    np.testing.assert_allclose(fit.params["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(fit.params["cov"], scatter / (n + 1 + 5 + 2 + 1), rtol=1e-11)
    assert model.compile({"x": VECTORS}).report.m_step[0].how == "closed form"
    is_the_mode(fit, log_posterior)


def test_inverse_wishart_alone() -> None:
    def declare() -> None:
        cov = pg.param("cov", prior=pg.InverseWishart(3.0, df=4))
        pg.observed("x", pg.MvNormal(pg.param("mean"), cov))

    fit = fitted(model_of(declare), {"x": VECTORS})
    centred = VECTORS - VECTORS.mean(axis=0)
    expected = (centred.T @ centred + 3 * np.eye(2)) / (30 + 4 + 3)
    np.testing.assert_allclose(fit.params["cov"], expected, rtol=1e-10)
    prior = stats.invwishart.logpdf(fit.params["cov"], 4, 3 * np.eye(2))
    assert fit.objective - fit.log_likelihood == pytest.approx(prior, rel=1e-10)


@pytest.mark.parametrize("shared", [True, False])
def test_linked_priors_in_a_mixture(shared: bool) -> None:
    def declare() -> None:
        z = pg.latent("z", pg.Categorical(size=2))
        var = pg.param("var", prior=pg.InverseGamma(2.0, 1.0))
        mean = pg.param("mean", prior=pg.Normal(np.array([-1.0, 1.0]), var / np.array([0.2, 0.5])))
        pg.observed("x", pg.Normal(mean[z], var if shared else var[z]))

    def log_posterior(p: Params) -> float:
        m, v = p["mean"], p["var"]
        rows = np.log(p["z.probs"]) + stats.norm.logpdf(GROUPED[:, None], m, v**0.5)
        kappa = np.array([0.2, 0.5])
        return float(
            logsumexp(rows, axis=1).sum()
            + stats.norm.logpdf(m, [-1.0, 1.0], (v / kappa) ** 0.5).sum()
            + stats.invgamma.logpdf(v, 2.0, scale=1.0).sum()
        )

    model = model_of(declare)
    fit = fitted(model, {"x": GROUPED})
    assert model.compile().report.m_step[1].how == "closed form"
    is_the_mode(fit, log_posterior)


@pytest.mark.parametrize("structure", ["diagonal", "spherical"])
def test_linked_to_a_reduced_covariance(structure: str) -> None:
    wrap = {"diagonal": pg.diagonal, "spherical": pg.spherical}[structure]

    def declare() -> None:
        var = pg.param("var", prior=pg.InverseGamma(2.0, 1.0))
        mean = pg.param("mean", prior=pg.Normal(0.0, 2 * var))
        pg.observed("x", pg.MvNormal(mean, wrap(var)))

    def wrapped() -> None:
        var = pg.param("var", prior=pg.InverseGamma(2.0, 1.0))
        mean = pg.param("mean", prior=pg.MvNormal(0.0, wrap(2 * var)))
        pg.observed("x", pg.MvNormal(mean, wrap(var)))

    def log_posterior(p: Params) -> float:
        m, v = p["mean"], p["var"]
        return float(
            stats.norm.logpdf(VECTORS, m, v**0.5).sum()
            + stats.norm.logpdf(m, 0, (2 * v) ** 0.5).sum()
            + stats.invgamma.logpdf(v, 2.0, scale=1.0).sum()
        )

    for written in (declare, wrapped):
        is_the_mode(fitted(model_of(written), {"x": VECTORS}, max_iter=2), log_posterior)


def test_linked_to_a_variance_that_the_node_does_not_have() -> None:
    """Neither solve is the joint maximum: in turn."""

    def declare() -> None:
        var = pg.param("var", prior=pg.InverseGamma(2.0, 1.0))
        mean = pg.param("mean", prior=pg.Normal(0.0, 3.0 * var))
        pg.observed("x", pg.Normal(mean, 1.5))
        pg.observed("y", pg.Normal(0.0, var))

    def log_posterior(p: Params) -> float:
        m, v = p["mean"], p["var"]
        return float(
            stats.norm.logpdf(VALUES, m, 1.5**0.5).sum()
            + stats.norm.logpdf(VALUES - 1, 0, v**0.5).sum()
            + stats.norm.logpdf(m, 0, (3 * v) ** 0.5)
            + stats.invgamma.logpdf(v, 2.0, scale=1.0)
        )

    is_the_mode(fitted(model_of(declare), {"x": VALUES, "y": VALUES - 1}), log_posterior)


def test_a_mean_in_the_prior_of_a_mean() -> None:
    def declare() -> None:
        base = pg.param("base")
        mean = pg.param("mean", prior=pg.Normal(-0.5 * base, 0.3))
        pg.observed("x", pg.Normal(mean, 1.5))
        pg.observed("y", pg.Normal(base, 2.0))

    def log_posterior(p: Params) -> float:
        return float(
            stats.norm.logpdf(VALUES, p["mean"], 1.5**0.5).sum()
            + stats.norm.logpdf(VALUES - 1, p["base"], 2**0.5).sum()
            + stats.norm.logpdf(p["mean"], -0.5 * p["base"], 0.3**0.5)
        )

    is_the_mode(fitted(model_of(declare), {"x": VALUES, "y": VALUES - 1}), log_posterior)


def test_a_rate_in_the_prior_of_a_rate() -> None:
    def declare() -> None:
        base = pg.param("base", prior=pg.Gamma(2.0, 1.0))
        rate = pg.param("rate", prior=pg.Gamma(3.0, base * 2))
        pg.observed("x", pg.Poisson(rate))
        pg.observed("y", pg.Exponential(base))

    waits = RNG.exponential(0.5, 40)

    def log_posterior(p: Params) -> float:
        return float(
            stats.poisson.logpmf(COUNTS, p["rate"]).sum()
            + stats.expon.logpdf(waits, scale=1 / p["base"]).sum()
            + stats.gamma.logpdf(p["rate"], 3.0, scale=1 / (2 * p["base"]))
            + stats.gamma.logpdf(p["base"], 2.0)
        )

    is_the_mode(fitted(model_of(declare), {"x": COUNTS, "y": waits}), log_posterior)


def test_ml_ignores_linked_priors() -> None:
    def declare() -> None:
        var = pg.param("var", prior=pg.InverseGamma(1.5, 2.0))
        mean = pg.param("mean", prior=pg.Normal(mean=21.0, var=var / 0.01))
        pg.observed("x", pg.Normal(mean, var))

    fit = fitted(model_of(declare), {"x": VALUES}, estimate="ml")
    assert fit.params["mean"] == pytest.approx(VALUES.mean(), rel=1e-12)
    assert fit.params["var"] == pytest.approx(VALUES.var(), rel=1e-12)
    assert fit.objective == fit.log_likelihood


# --- partly fixed rows --------------------------------------------------------------------------


def test_dirichlet_on_partly_fixed_rows() -> None:
    codes = RNG.integers(0, 4, 60)
    zeros = [False, True, False, False, False]
    shown = np.array([0, 2, 3, 4])[codes]
    concentration = np.array([2.0, 3.0, 1.5, 4.0, 2.5])

    def structural() -> None:
        probs = pg.param("p", prior=pg.Dirichlet(concentration), zeros=zeros)
        pg.observed("x", pg.Categorical(probs, size=5))

    fit = fitted(model_of(structural), {"x": shown})
    counts = np.bincount(shown, minlength=5) + concentration - 1
    free = ~np.array(zeros)
    expected = np.where(free, counts, 0)
    np.testing.assert_allclose(fit.params["p"], expected / expected.sum(), rtol=1e-12)
    prior = stats.dirichlet.logpdf(fit.params["p"][free], concentration[free])
    assert fit.objective - fit.log_likelihood == pytest.approx(prior, rel=1e-10)

    def half_fixed() -> None:
        value, fixed = [0.0, 0.25, 0.0, 0.0, 0.0], [False, True, False, False, False]
        probs = pg.param("p", prior=pg.Dirichlet(concentration), fixed=fixed, value=value)
        pg.observed("x", pg.Categorical(probs, size=5))

    fit = fitted(model_of(half_fixed), {"x": shown})
    np.testing.assert_allclose(fit.params["p"][free], 0.75 * (expected / expected.sum())[free])
    # the density of the free entries given the fixed one: joint over marginal (a Beta)
    joint = stats.dirichlet.logpdf(fit.params["p"], concentration)
    rest = stats.beta.logpdf(0.25, 3.0, concentration.sum() - 3.0)
    assert fit.objective - fit.log_likelihood == pytest.approx(joint - rest, rel=1e-10)


def test_normal_priors_on_partly_fixed_means() -> None:
    fixed, value = [True, False], [0.4, 0.0]
    wide = np.array([[0.2, 0.1], [0.1, 0.3]])

    def entries() -> None:
        mean = pg.param("mean", prior=pg.Normal(0.0, 0.1), fixed=fixed, value=value)
        pg.observed("x", pg.MvNormal(mean, pg.param("cov")))

    def vectors() -> None:
        mean = pg.param("mean", prior=pg.MvNormal(M0, wide), fixed=fixed, value=value)
        pg.observed("x", pg.MvNormal(mean, pg.param("cov")))

    def likelihood(p: Params) -> float:
        return float(stats.multivariate_normal.logpdf(VECTORS, p["mean"], p["cov"]).sum())

    def with_entries(p: Params) -> float:
        return likelihood(p) + float(stats.norm.logpdf(p["mean"][1], 0, 0.1**0.5))

    def with_vectors(p: Params) -> float:
        joint = stats.multivariate_normal.logpdf(p["mean"], M0, wide)
        rest = stats.norm.logpdf(p["mean"][0], M0[0], wide[0, 0] ** 0.5)
        return likelihood(p) + float(joint - rest)

    for declare, log_posterior in ((entries, with_entries), (vectors, with_vectors)):
        fit = fitted(model_of(declare), {"x": VECTORS})
        assert fit.params["mean"][0] == 0.4
        is_the_mode(fit, log_posterior)


def test_entries_that_are_fixed_tell_a_linked_variance_nothing() -> None:
    def declare() -> None:
        z = pg.latent("z", pg.Categorical(size=2))
        var = pg.param("var", prior=pg.InverseGamma(2.0, 1.0))
        mean = pg.param(
            "mean", prior=pg.Normal(0.0, var / 0.3), fixed=[True, False], value=[-2.0, 0.0]
        )
        pg.observed("x", pg.Normal(mean[z], var))

    def log_posterior(p: Params) -> float:
        m, v = p["mean"], p["var"]
        rows = np.log(p["z.probs"]) + stats.norm.logpdf(GROUPED[:, None], m, v**0.5)
        return float(
            logsumexp(rows, axis=1).sum()
            + stats.norm.logpdf(m[1], 0, (v / 0.3) ** 0.5)
            + stats.invgamma.logpdf(v, 2.0, scale=1.0)
        )

    is_the_mode(fitted(model_of(declare), {"x": GROUPED}), log_posterior)


# --- standard errors ----------------------------------------------------------------------------


def test_standard_errors_are_those_of_the_log_posterior() -> None:
    def declare() -> None:
        cov = pg.param("cov", prior=pg.InverseWishart(SCALE, 5.0))
        mean = pg.param("mean", prior=pg.MvNormal(mean=M0, cov=cov / 0.5))
        pg.observed("x", pg.MvNormal(mean, cov))

    fit = fitted(model_of(declare), {"x": VECTORS})

    def log_posterior(flat: Floats) -> float:
        m, v = flat[:2], np.array([[flat[2], flat[3]], [flat[3], flat[4]]])
        return float(
            stats.multivariate_normal.logpdf(VECTORS, m, v).sum()
            + stats.multivariate_normal.logpdf(m, M0, v / 0.5)
            + stats.invwishart.logpdf(v, 5.0, SCALE)
        )

    cov = fit.params["cov"]
    at = np.array([*fit.params["mean"], cov[0, 0], cov[0, 1], cov[1, 1]])
    errors = np.sqrt(np.diag(np.linalg.inv(-hessian(log_posterior, at))))
    found = fit.standard_errors()
    np.testing.assert_allclose(found["mean"], errors[:2], rtol=1e-4)
    np.testing.assert_allclose(found["cov"][np.triu_indices(2)], errors[2:], rtol=1e-4)


def test_standard_errors_of_a_rate_that_only_its_prior_keeps_from_zero() -> None:
    def declare() -> None:
        pg.observed("x", pg.Poisson(pg.param("rate", prior=pg.Gamma(3.0, 2.0))))

    fit = fitted(model_of(declare), {"x": np.zeros(10)})
    assert fit.params["rate"] == pytest.approx(2 / 12)
    assert fit.standard_errors()["rate"] == pytest.approx(2**0.5 / 12, rel=1e-5)


def hessian(function: Callable[[Floats], float], at: Floats, step: float = 1e-4) -> Floats:
    size = len(at)
    unit = np.eye(size) * step
    return np.array(
        [
            [
                (
                    function(at + unit[i] + unit[j])
                    - function(at + unit[i] - unit[j])
                    - function(at - unit[i] + unit[j])
                    + function(at - unit[i] - unit[j])
                )
                / (4 * step**2)
                for j in range(size)
            ]
            for i in range(size)
        ]
    )


def test_linked_priors_survive_json_and_saving(tmp_path: Any) -> None:
    def declare() -> None:
        var = pg.param("var", prior=pg.InverseGamma(1.5, 2.0))
        mean = pg.param("mean", prior=pg.Normal(mean=21.0, var=var / 0.01))
        pg.observed("x", pg.Normal(mean, var))

    model = model_of(declare)
    assert [p.name for p in model.record.params] == ["mean", "var"]
    again = pg.Model.from_json(model.to_json())
    assert again.record == model.record
    fit = fitted(again, {"x": VALUES})
    fit.save(tmp_path / "fit.json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pg.load(tmp_path / "fit.json").objective == fit.objective


class Erlang(pg.Gamma):
    """A gamma prior under a name of one's own."""


def test_a_prior_family_of_ones_own() -> None:
    def declare(kind: type[pg.Gamma]) -> Callable[[], Any]:
        return lambda: pg.observed("x", pg.Poisson(pg.param("rate", prior=kind(3.0, 2.0))))

    mine = model_of(declare(Erlang))
    fit, twin = fitted(mine, {"x": COUNTS}), fitted(model_of(declare(pg.Gamma)), {"x": COUNTS})
    assert fit.objective == twin.objective
    assert f"# Erlang is {Erlang.__module__}.Erlang" in mine.compile().source
    again = pg.Model.from_json(mine.to_json(), families=[Erlang])
    assert fitted(again, {"x": COUNTS}).objective == fit.objective
    with pytest.raises(pg.DeclarationError, match="not known here"):
        pg.Model.from_json(mine.to_json())


def test_pickled_programs_keep_what_cancels() -> None:
    def declare() -> None:
        var = pg.param("var", prior=pg.InverseGamma(1.5, 2.0))
        mean = pg.param("mean", prior=pg.Normal(mean=21.0, var=var / 0.01))
        pg.observed("x", pg.Normal(mean, var))

    program = model_of(declare).compile()
    again = pickle.loads(pickle.dumps(program))
    assert again.source == program.source
    assert again.explain() == program.explain()
    fit = fitted(model_of(declare), {"x": VALUES})
    copy = pickle.loads(pickle.dumps(fit))
    np.testing.assert_allclose(copy.standard_errors()["mean"], fit.standard_errors()["mean"])


@pytest.mark.parametrize("options", [{"posterior": "hard"}, {"m_step": "once"}, {"restarts": 2}])
def test_the_log_posterior_never_falls(options: dict[str, Any]) -> None:
    def declare() -> None:
        z = pg.latent("z", pg.Categorical(pg.param("w", prior=pg.Dirichlet(2.0)), size=2))
        var = pg.param("var", prior=pg.InverseGamma(2.0, 1.0))
        mean = pg.param("mean", prior=pg.Normal(0.0, var / 0.1))
        pg.observed("x", pg.Normal(mean[z], var[z]))

    fit = fitted(model_of(declare), {"x": GROUPED}, max_iter=50, tol=0, **options)
    assert (np.diff(fit.trace) >= -1e-9).all()
    assert fit.objective != fit.log_likelihood


def test_rows_without_data_take_the_mode_of_their_prior() -> None:
    def declare() -> None:
        u = pg.covariate("u", size=3)
        cov = pg.param("cov", prior=pg.InverseWishart(1.0, 4.0))
        mean = pg.param("mean", prior=pg.MvNormal([1.0, 2.0], cov / 2))
        pg.observed("x", pg.MvNormal(mean[u], cov[u]))

    codes = np.arange(30) % 2
    fit = fitted(model_of(declare), {"u": codes, "x": VECTORS})
    np.testing.assert_allclose(fit.params["mean"][2], [1.0, 2.0])
    np.testing.assert_allclose(fit.params["cov"][2], np.eye(2) / (4 + 3 + 1))
