"""Conjugate latents: fits against optimisers, given values, holes, vectors, extremes, samples."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from checks import script_repeats
from conjugate_oracle import beta_grid, gamma_grid, poisson
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.special import digamma, gammaln

import pgem as pg
from pgem.families import Gamma
from pgem.families._gamma_functions import log_gamma_rise
from pgem.families._roles import SHAPEANDRATE
from pgem.run import sum_statistics

Floats = NDArray[np.float64]


# --- Dirichlet: against the urn ------------------------------------------------------------------


def urn(codes: list[int], concentration: Floats) -> float:
    """log p of categories drawn one by one from Pólya's urn."""
    urn, total = concentration.astype(float).copy(), 0.0
    for code in codes:
        total += float(np.log(urn[code] / urn.sum()))
        urn[code] += 1
    return total


def words(size: int = 3) -> pg.Model:
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        u = pg.latent("u", pg.Dirichlet(size=size), given=z)
        pg.observed("y", pg.Multinomial(probs=u, size=size))
        with pg.plate("t"):
            pg.observed("x", pg.Categorical(probs=u, size=size))
    return model


def test_dirichlet_equals_the_urn() -> None:
    rng = np.random.default_rng(0)
    params = {"z.probs": np.array([0.3, 0.7]), "u.concentration": rng.gamma(2, 1, (2, 3))}
    x = [[0, 1, 2, 1], [1], [], [2, 2]]
    y = rng.multinomial(4, [0.2, 0.3, 0.5], 4).astype(float)
    y[1] = np.nan
    found = words().log_likelihood({"x": x, "y": y}, params)
    for n in range(4):
        counts = np.nan_to_num(y[n]).astype(int)
        level = gammaln(counts.sum() + 1) - gammaln(counts + 1).sum()
        codes = [*np.repeat(np.arange(3), counts).tolist(), *x[n]]
        parts = [np.log(params["z.probs"][k]) + urn(codes, params["u.concentration"][k])
                 for k in range(2)]  # fmt: skip
        assert found[n] == pytest.approx(level + np.logaddexp(*parts), abs=1e-10)


def test_dirichlet_posterior_and_holes() -> None:
    concentration = np.array([[1.0, 2.0, 3.0], [4.0, 1.0, 1.0]])
    params = {"z.probs": np.array([1.0, 0.0]), "u.concentration": concentration}
    data = {"x": [[0, 1, None], [1]], "y": [[1.0, 0.0, 2.0], [np.nan] * 3]}
    posterior = words().posterior(data, params)
    total = np.array([[3.0, 3.0, 5.0], [1.0, 3.0, 3.0]])
    share = total / total.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(posterior["u"].mean, share)
    np.testing.assert_allclose(posterior["u"].cov[0], stats.dirichlet.cov(total[0]))
    np.testing.assert_allclose(posterior["x"][0][2], share[0])
    mean, cov = posterior["y"].mean[1], posterior["y"].cov[1]
    np.testing.assert_allclose(mean, share[1])  # one trial
    np.testing.assert_allclose(cov, np.diag(share[1]) - np.outer(share[1], share[1]), atol=1e-12)
    predicted = words().fit(data, start=params, max_iter=0).predict(data)
    assert predicted["x"][0][2] == 2


# --- fits against optimisers ---------------------------------------------------------------------


def counts(seed: int = 0, n: int = 200) -> Floats:
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(2.0, 3.0, n)).astype(float)


def gamma_poisson() -> pg.Model:
    with pg.Model("m") as model:
        u = pg.latent("u", pg.Gamma())
        pg.observed("y", pg.Poisson(rate=u))
    return model


def test_gamma_poisson_is_the_negative_binomial() -> None:
    y, model = counts(), gamma_poisson()
    found = model.log_likelihood({"y": y}, {"u.shape": 1.7, "u.rate": 0.4})
    np.testing.assert_allclose(found, stats.nbinom.logpmf(y, 1.7, 0.4 / 1.4), atol=1e-11)

    def loss(logs: Any) -> float:
        size, rate = np.exp(logs)
        return -float(stats.nbinom.logpmf(y, size, rate / (1 + rate)).sum())

    fit = model.fit({"y": y}, tol=1e-13, max_iter=5000)
    best = optimize.minimize(loss, [0.0, 0.0], tol=1e-12)
    assert fit.log_likelihood == pytest.approx(-best.fun, abs=1e-7)
    assert (np.diff(fit.trace) >= -1e-9).all()


def test_random_effects_of_groups() -> None:
    """A Gamma effect per group, several counts in each, exposures: the maximum of its formula."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 6, 60)
    years = [rng.gamma(3, 1, size) for size in sizes]
    y = [rng.poisson(2.0 * rng.gamma(3, 1 / 3) * e).astype(float) for e in years]
    with pg.Model("m") as model:
        nu = pg.param("nu")
        u = pg.latent("u", pg.Gamma(shape=nu, rate=nu))
        with pg.plate("i"):
            pg.observed("y", pg.Poisson(rate=pg.param("r") * u * pg.covariate("years")))

    def log_p(nu: float, r: float) -> float:
        total = 0.0
        for values, exposure in zip(y, years, strict=True):
            events, risk = values.sum(), r * exposure.sum()
            total += nu * np.log(nu) - gammaln(nu) + gammaln(nu + events)
            total -= (nu + events) * np.log(nu + risk)
            total += float((values * np.log(r * exposure) - gammaln(values + 1)).sum())
        return total

    data = {"y": y, "years": years}
    fit = model.fit(data, tol=1e-13, max_iter=5000)
    best = optimize.minimize(lambda t: -log_p(*np.exp(t)), [0.0, 0.0], tol=1e-12)
    assert fit.log_likelihood == pytest.approx(-best.fun, abs=1e-6)
    assert fit.log_likelihood == pytest.approx(log_p(fit.params["nu"], fit.params["r"]))
    np.testing.assert_allclose([fit.params["nu"], fit.params["r"]], np.exp(best.x), rtol=1e-3)


def test_exposure_equals_the_weighted_rate() -> None:
    """Exponential, Gamma and Poisson under multipliers: closed forms, and scipy's densities."""
    rng = np.random.default_rng(2)
    m = rng.gamma(3, 1, 100)
    data = {"m": m, "y": rng.exponential(m / 3), "g": rng.gamma(2, 1 / (0.5 * m)),
            "c": rng.poisson(m), "k": rng.poisson(2 * m)}  # fmt: skip
    with pg.Model("m") as model:
        x = pg.covariate("m")
        pg.observed("y", pg.Exponential(rate=pg.param("r") / x))
        pg.observed("g", pg.Gamma(rate=pg.param("b") * x))
        pg.observed("c", pg.Poisson(rate=x))
        pg.observed("k", pg.Poisson(rate=0.5 * pg.param("s") * x))
    fit = model.fit(data)
    p = fit.params
    assert p["r"] == pytest.approx(100 / (data["y"] / m).sum())
    assert p["s"] == pytest.approx(data["k"].sum() / (0.5 * m).sum())
    log_p = stats.expon.logpdf(data["y"], scale=m / p["r"])
    log_p += stats.gamma.logpdf(data["g"], p["g.shape"], scale=1 / (p["b"] * m))
    log_p += stats.poisson.logpmf(data["c"], m) + stats.poisson.logpmf(data["k"], 0.5 * p["s"] * m)
    np.testing.assert_allclose(model.log_likelihood(data, p), log_p, atol=1e-10)

    def loss(logs: Any) -> float:
        shape, rate = np.exp(logs)
        return -float(stats.gamma.logpdf(data["g"], shape, scale=1 / (rate * m)).sum())

    best = optimize.minimize(loss, [0.0, 0.0], tol=1e-12)
    np.testing.assert_allclose([p["g.shape"], p["b"]], np.exp(best.x), rtol=1e-5)


@pytest.mark.parametrize("family", [pg.Poisson, pg.Exponential, pg.Gamma])
def test_a_multiplier_is_what_the_family_declares(family: Any) -> None:
    """log p(x | m r) from the declared multiplier equals the density at the slot m r."""
    from pgem.families._scaled import scaled

    plain = family().settled(None, {})
    slot = next(s for s in family.slots if s.multiplier is not None)
    slots = {s.name: np.array([0.7, 1.9]) for s in family.slots}
    x, m = np.array([1.0, 3.0, np.nan]), np.array([0.3, 2.0, 5.0])
    made = scaled(plain, slot.name, (1.0, (("m", 0),), ()))
    found = made.log_density(made.observe(x, {"multiplier": m}), slots)
    for row in range(3):
        at = {**slots, slot.name: slots[slot.name] * m[row]}
        wanted = plain.log_density(plain.observe(x[row : row + 1]), at)[0]
        np.testing.assert_allclose(found[row], wanted, atol=1e-12)


def test_mixture_climbs_and_its_m_step_is_a_maximum() -> None:
    """No free parameter can be moved so that Q rises."""
    rng = np.random.default_rng(3)
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        nu = pg.param("nu")
        u = pg.latent("u", pg.Gamma(shape=nu[z], rate=nu[z]))
        w = pg.latent("w", pg.Beta(), given=z)
        pg.observed("x", pg.MvNormal(mean=pg.param("m")[z], cov=pg.param("v")[z] / u))
        pg.observed("k", pg.Binomial(prob=w, trials=8))
    x = rng.standard_t(3, (150, 2)) + 6.0 * rng.integers(0, 2, 150)[:, None]
    x[::9, 0] = np.nan
    data = {"x": x, "k": rng.integers(0, 9, 150)}
    fit = model.fit(data, max_iter=30, tol=0)
    assert (np.diff(fit.trace) >= -1e-9).all()
    program = model.compile(data)
    _, statistics = sum_statistics(program.bind(data), fit.params)
    new = program.m_step(fit.params, statistics, set())

    def q(params: dict[str, Any]) -> float:
        from pgem.routines import expected_log_density

        return expected_log_density(statistics, ["u", "x", "w", "z"], params, program.reads)

    reached = q(new)
    assert reached >= q(fit.params)
    for _ in range(200):
        moved = dict(new)
        for name in ("nu", "w.a", "w.b"):
            moved[name] = new[name] * np.exp(1e-3 * rng.normal(size=new[name].shape))
        moved["m"] = new["m"] + 1e-3 * rng.normal(size=new["m"].shape)
        moved["v"] = new["v"] * np.exp(1e-3 * rng.normal(size=(2, 1, 1)))
        assert q(moved) <= reached + 1e-9


def test_shape_and_rate_in_one() -> None:
    """The joint role against an optimiser, and against a Gamma tied in data."""
    for total in (1.001, 1.5, 4.0):
        found = SHAPEANDRATE.maximise(
            (np.array([5.0]), np.array([5 * total])), np.ones(1), np.zeros(1, dtype=bool)
        )
        slope = np.log(found[0]) + 1 - digamma(found[0]) - total
        assert slope == pytest.approx(0, abs=1e-9)
    x = np.random.default_rng(4).gamma(2.0, 0.5, 80)
    with pg.Model("m") as model:
        nu = pg.param("nu")
        pg.observed("x", pg.Gamma(shape=nu, rate=nu))
    fit = model.fit({"x": x})
    best = optimize.minimize_scalar(
        lambda a: -stats.gamma.logpdf(x, a, scale=1 / a).sum(), bounds=(0.01, 50), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    assert fit.params["nu"] == pytest.approx(best.x, rel=1e-6)
    assert fit.n_parameters == 1


# --- given values, holes -------------------------------------------------------------------------


def test_given_latents() -> None:
    y, params = counts(n=8), {"u.shape": 2.0, "u.rate": 0.5}
    model = gamma_poisson()
    u = np.where(np.arange(8) < 3, 4.0, np.nan)
    found = model.log_likelihood({"y": y, "u": u}, params)
    joint = stats.gamma.logpdf(4.0, 2.0, scale=2.0) + stats.poisson.logpmf(y, 4.0)
    alone = stats.nbinom.logpmf(y, 2.0, 0.5 / 1.5)
    np.testing.assert_allclose(found, np.where(np.isnan(u), alone, joint), atol=1e-10)
    posterior = model.posterior({"y": y, "u": u}, params)["u"]
    np.testing.assert_allclose(posterior.mean, np.where(np.isnan(u), (2 + y) / 1.5, 4.0))
    assert (posterior.cov[:3] == 0).all()
    whole = np.random.default_rng(0).gamma(2, 2, 8)
    fit = model.fit({"y": y, "u": whole})
    shape, _, scale = stats.gamma.fit(whole, floc=0)
    np.testing.assert_allclose([fit.params["u.shape"], fit.params["u.rate"]], [shape, 1 / scale],
                               rtol=1e-4)  # fmt: skip


def test_given_dirichlet() -> None:
    model, params = words(), {"z.probs": [0.4, 0.6], "u.concentration": [[1, 2, 3], [2, 2, 2.0]]}
    u = np.array([[0.2, 0.3, 0.5], [np.nan] * 3])
    data = {"x": [[0, 2], [1]], "y": [[1, 0, 0], [0, 1, 0]], "u": u}
    prior = [
        np.log(w) + stats.dirichlet.logpdf(u[0], a)
        for w, a in zip(params["z.probs"], params["u.concentration"], strict=True)
    ]
    wanted = np.logaddexp(*prior) + np.log([0.2, 0.5, 0.2]).sum()
    assert model.log_likelihood(data, params)[0] == pytest.approx(wanted)


def test_moments_of_what_is_not_seen() -> None:
    """Children with holes: mean and variance over the posterior of the latent, by quadrature."""
    with pg.Model("m") as model:
        u = pg.latent("u", pg.Gamma())
        e = pg.covariate("e")
        pg.observed("seen", pg.Poisson(rate=u))
        pg.observed("p", pg.Poisson(rate=pg.param("r") * u * e))
        pg.observed("w", pg.Exponential(rate=u * e))
        pg.observed("g", pg.Gamma(shape=1.5, rate=u))
        pg.observed("x", pg.MvNormal(mean=pg.param("m"), cov=pg.param("v") / u))
    v = np.array([[2.0, 0.5], [0.5, 1.0]])
    params = {"u.shape": 3.0, "u.rate": 2.0, "r": 0.7, "m": [1.0, 2.0], "v": v}
    hole = [np.nan]
    data = {"e": [2.5], "seen": [4.0], "p": hole, "w": hole, "g": hole, "x": [[3.0, np.nan]]}
    posterior = model.posterior(data, params)
    shape, rate = 3.0 + 4 + 0.5, 2.0 + 1 + 0.5 * 4.0 / 2.0
    grid = gamma_grid(shape, rate)
    weight = np.exp(grid.log_weight)

    def mixed(mean: Any, variance: Any) -> tuple[float, float]:
        first = float(weight @ mean)
        return first, float(weight @ (variance + mean**2)) - first**2

    u_ = grid.u
    wanted = {
        "p": mixed(0.7 * 2.5 * u_, 0.7 * 2.5 * u_),
        "w": mixed(1 / (2.5 * u_), 1 / (2.5 * u_) ** 2),
        "g": mixed(1.5 / u_, 1.5 / u_**2),
    }
    for name, moments in wanted.items():
        np.testing.assert_allclose(np.ravel(posterior[name]), moments, rtol=1e-8)
    left = v[1, 1] - v[0, 1] ** 2 / v[0, 0]
    np.testing.assert_allclose(posterior["x"].mean[0], [3.0, 2.0 + 0.25 * 2.0])
    np.testing.assert_allclose(posterior["x"].cov[0], np.diag([0.0, left * (weight @ (1 / u_))]),
                               rtol=1e-8)  # fmt: skip


def test_moments_below_a_share() -> None:
    with pg.Model("m") as model:
        u = pg.latent("u", pg.Beta())
        pg.observed("k", pg.Binomial(prob=u, trials=6))
        pg.observed("g", pg.Geometric(prob=u))
    params, data = {"u.a": 4.0, "u.b": 2.0}, {"k": [np.nan, 2.0], "g": [np.nan, np.nan]}
    posterior = model.posterior(data, params)
    for row, (a, b) in enumerate([(4.0, 2.0), (6.0, 6.0)]):
        grid = beta_grid(a, b)
        weight, rest = np.exp(grid.log_weight), np.exp(grid.log_rest)
        mean = weight @ (rest / grid.u)
        second = weight @ (rest / grid.u**2 + (rest / grid.u) ** 2)
        np.testing.assert_allclose(posterior["g"].mean[row], mean, rtol=1e-7)
        np.testing.assert_allclose(posterior["g"].cov[row], second - mean**2, rtol=1e-6)
    found = posterior["k"].mean[0], posterior["k"].cov[0]
    np.testing.assert_allclose(found, stats.betabinom.stats(6, 4, 2))


def test_moments_below_a_switch() -> None:
    """A hole whose family is not known either: a mixture of an atom and a count with the latent."""
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        u = pg.latent("u", pg.Gamma(3.0, 2.0))
        with pg.plate("i"):
            pg.observed("x", pg.switch(z, pg.Dirac(0), pg.Poisson(rate=u)))
    params = {"z.probs": [0.3, 0.7]}
    posterior = model.posterior({"x": [[0.0, np.nan], [2.0, np.nan]]}, params)
    zero = 0.7 * (2 / 3) ** 3
    share = np.array([zero / (0.3 + zero), 1.0])
    level, spread = np.array([3.0, 5.0]) / 3, np.array([3.0, 5.0]) / 9
    mean = share * level
    second = share * (level + spread + level**2)
    for row in range(2):
        assert posterior["x"].mean[row][1] == pytest.approx(mean[row])
        assert posterior["x"].cov[row][1] == pytest.approx(second[row] - mean[row] ** 2)


def test_no_variance_is_infinite() -> None:
    """A waiting time whose rate is Gamma with a small shape has no mean."""
    with pg.Model("m") as model:
        u = pg.latent("u", pg.Gamma(shape=0.5, rate=1.0))
        pg.observed("w", pg.Exponential(rate=u))
        pg.observed("y", pg.Poisson(rate=pg.param("r") * u))
    posterior = model.posterior({"w": [np.nan], "y": [np.nan]}, {"r": 2.0})
    assert posterior["w"].mean[0] == np.inf
    assert posterior["w"].cov[0] == np.inf
    assert posterior["y"].mean[0] == pytest.approx(1.0)


# --- numbers -------------------------------------------------------------------------------------


def test_log_gamma_rises_without_cancelling() -> None:
    mpmath = pytest.importorskip("mpmath")
    for start in (1e-3, 3.0, 999.0, 1001.0, 1e6, 1e12):
        for step in (0.0, 0.5, 7.0, 5e4):
            with mpmath.workdps(60):
                wanted = mpmath.loggamma(mpmath.mpf(start) + step) - mpmath.loggamma(start)
            found = log_gamma_rise(np.array(start), np.array(step))
            assert float(found) == pytest.approx(float(wanted), rel=1e-12, abs=1e-12)


def test_a_latent_without_spread_is_its_mean() -> None:
    """A Gamma of shape 1e8 is a constant: Poisson, to many digits."""
    y = counts(n=20)
    found = gamma_poisson().log_likelihood({"y": y}, {"u.shape": 6e8, "u.rate": 1e8})
    np.testing.assert_allclose(found, stats.poisson.logpmf(y, 6.0), atol=2e-6)
    near = gamma_poisson().log_likelihood({"y": y}, {"u.shape": 6e8, "u.rate": 1e8 + 1})
    np.testing.assert_allclose(found, near, atol=1e-6)


def test_shards_and_weights_do_not_matter() -> None:
    y, model = counts(n=50), gamma_poisson()
    one, cut = (model.fit({"y": y}, max_iter=20, shard_size=size) for size in (50, 7))
    assert one.log_likelihood == pytest.approx(cut.log_likelihood, abs=1e-9)
    values, number = np.unique(y, return_counts=True)
    weighted = model.fit({"y": values}, weights=number, max_iter=20, start=one.params)
    again = model.fit({"y": y}, max_iter=20, start=one.params)
    np.testing.assert_allclose(weighted.trace, again.trace)


# --- samples -------------------------------------------------------------------------------------


def test_samples_have_the_models_moments() -> None:
    with pg.Model("m") as model:
        u = pg.latent("u", pg.Gamma(shape=4.0, rate=2.0))
        e = pg.covariate("e")
        pg.observed("y", pg.Poisson(rate=pg.param("r") * u * e))
        pg.observed("x", pg.Normal(mean=pg.param("m"), var=pg.param("v") / u))
    n = 40_000
    start = {"r": 0.5, "m": 1.0, "v": 3.0}
    fit = model.fit({"y": [1.0, 2.0], "x": [0.0, 1.0], "e": [1.0, 1.0]}, start=start, max_iter=0)
    drawn = fit.sample(n, data={"e": np.full(n, 6.0)}, seed=1)
    assert np.mean(drawn["y"]) == pytest.approx(0.5 * 2.0 * 6, rel=0.02)
    assert np.var(drawn["y"]) == pytest.approx(6 + 9 * 1.0, rel=0.05)
    assert np.var(drawn["x"]) == pytest.approx(3.0 * 2 / 3, rel=0.05)
    assert np.corrcoef(drawn["u"], drawn["y"])[0, 1] > 0.5


def test_families_that_can_be_conjugate_say_so() -> None:
    """The three maps of a conjugate family agree with its density."""
    family, eta = Gamma().settled(None, {}), (np.array([2.5]), np.array([-1.5]))
    shape, rate = family.from_natural(*eta)
    grid = gamma_grid(float(shape[0]), float(rate[0]))
    weight = np.exp(grid.log_weight)
    logs, mean = family.mean_statistics(*eta)
    np.testing.assert_allclose([logs[0], mean[0]], [weight @ grid.log_u, weight @ grid.u])
    step = (np.array([3.0]), np.array([-2.0]))
    moved = np.log(weight @ np.exp(poisson(3.0, 2.0 * grid.u))) - (3 * np.log(2) - gammaln(4))
    np.testing.assert_allclose(family.partition_rise(eta, step), moved)


def test_draws_have_the_posterior_moments() -> None:
    """Latents, Gaussian children with partly missing rows, counts and categories, drawn jointly."""
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        u = pg.latent("u", pg.Gamma(shape=pg.param("a")[z], rate=2.0))
        w = pg.latent("w", pg.Beta(3.0, 2.0))
        with pg.plate("i"):
            pg.observed("x", pg.MvNormal(mean=pg.param("m"), cov=pg.param("v")[z] / u))
            pg.observed("y", pg.Poisson(rate=u))
            pg.observed("b", pg.Bernoulli(prob=w))
    hole = np.nan
    v = np.array([[[2.0, 0.5], [0.5, 1.0]], [[1.0, -0.3], [-0.3, 1.0]]])
    start = {"z.probs": [0.4, 0.6], "a": [5.0, 9.0], "m": [1.0, 2.0], "v": v}
    unit = {"x": [[3.0, hole], [hole, hole], [0.0, 1.0]], "y": [4.0, 1.0, hole],
            "b": [1.0, hole, 0.0]}  # fmt: skip
    n = 20_000
    data = {"x": [np.array(unit["x"])] * n, "y": [np.array(unit["y"])] * n,
            "b": [np.array(unit["b"])] * n}  # fmt: skip
    fit = model.fit({k: values[:2] for k, values in data.items()}, start=start, max_iter=0)
    drawn = fit.draw(data, seed=0)
    posterior = fit.posterior({k: values[:1] for k, values in data.items()})
    assert np.mean(drawn["z"]) == pytest.approx(posterior["z"][0, 1], abs=0.02)
    assert np.mean(drawn["u"]) == pytest.approx(posterior["u"].mean[0], rel=0.01)
    assert np.var(drawn["u"]) == pytest.approx(posterior["u"].cov[0], rel=0.05)
    x, y, b = (np.stack(drawn[name]) for name in ("x", "y", "b"))
    assert (x[:, 0, 0] == 3.0).all()
    np.testing.assert_allclose(x.mean(axis=0), posterior["x"].mean[0], atol=0.03)
    for row in range(2):
        np.testing.assert_allclose(
            np.cov(x[:, row].T), posterior["x"].cov[0][row], rtol=0.06, atol=0.02
        )
    assert np.mean(y[:, 2]) == pytest.approx(posterior["y"].mean[0][2], rel=0.02)
    assert np.var(y[:, 2]) == pytest.approx(posterior["y"].cov[0][2], rel=0.05)
    assert np.mean(b[:, 1]) == pytest.approx(posterior["b"][0][1, 1], abs=0.02)
    assert np.corrcoef(drawn["u"], y[:, 2])[0, 1] > 0.3


def test_score_and_standard_errors() -> None:
    """Fisher's identity, and errors that agree with the Hessian of scipy's log-likelihood."""
    y = counts(5, 400)
    fit = gamma_poisson().fit({"y": y}, tol=1e-14, max_iter=20_000)

    def total(shape: float, rate: float) -> float:
        return float(stats.nbinom.logpmf(y, shape, rate / (1 + rate)).sum())

    point = np.array([fit.params["u.shape"], fit.params["u.rate"]])
    h = 1e-3 * point
    hessian = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            ei, ej = np.eye(2)[i] * h, np.eye(2)[j] * h
            signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
            values = [s * t * total(*(point + s * ei + t * ej)) for s, t in signs]
            hessian[i, j] = sum(values) / (4 * h[i] * h[j])
    errors = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    found = fit.standard_errors()
    np.testing.assert_allclose([found["u.shape"], found["u.rate"]], errors, rtol=1e-3)


def test_a_script_repeats_the_fit(tmp_path: Any) -> None:
    """A script of a model with a multiplier, a share and a scale runs without pgem."""
    rng = np.random.default_rng(6)
    with pg.Model("m") as model:
        u = pg.latent("u", pg.Gamma())
        pg.observed("y", pg.Poisson(rate=pg.param("r") * u * pg.covariate("e")))
        with pg.plate("i"):
            nu = pg.param("nu")
            s = pg.latent("s", pg.Gamma(shape=nu, rate=nu))
            pg.observed("x", pg.Normal(var=pg.param("v") / s))
    data = {"y": rng.poisson(3, 20), "e": rng.gamma(3, 1, 20),
            "x": [rng.standard_t(3, rng.integers(1, 4)) for _ in range(20)]}  # fmt: skip
    script_repeats(model, data, tmp_path, max_iter=10)


def test_saved_fits_come_back(tmp_path: Any) -> None:
    data = {"y": counts(n=30)}
    fit = gamma_poisson().fit(data, max_iter=5)
    fit.save(tmp_path / "fit.pgem")
    again = pg.load(tmp_path / "fit.pgem")
    np.testing.assert_allclose(again.posterior(data)["u"].mean, fit.posterior(data)["u"].mean)
    copy = pickle.loads(pickle.dumps(poisson_with_exposure().compile()))
    assert copy.source == poisson_with_exposure().compile().source


def poisson_with_exposure() -> pg.Model:
    with pg.Model("m") as model:
        pg.observed("y", pg.Poisson(rate=pg.param("r") * pg.covariate("e")))
    return model


def test_hard_and_decode_keep_the_latent_integrated() -> None:
    y = np.concatenate([counts(n=60), 20 + counts(1, 60)])
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        u = pg.latent("u", pg.Gamma(), given=z)
        pg.observed("y", pg.Poisson(rate=u))
    fit = model.fit({"y": y}, posterior="hard", max_iter=50)
    codes, p = fit.decode({"y": y})["z"], fit.params
    size, rate = p["u.shape"], p["u.rate"]
    table = np.log(p["z.probs"]) + stats.nbinom.logpmf(y[:, None], size, rate / (1 + rate))
    assert (codes == table.argmax(axis=1)).all()
    assert fit.trace[-1] == pytest.approx(table.max(axis=1).sum())
