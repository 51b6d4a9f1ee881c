"""Switches of Gaussian families under Gaussian latents, and gates that pick and index at once.

Random ones are part of `test_mixed_graphs` and `test_switching_holes`; here are single ones, beside
formulas, the same model written otherwise, the dense oracle and a numerical optimiser.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dense import Dense
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import pgem as pg

RNG = np.random.default_rng(7)
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def outliers() -> pg.Model:
    """One factor, four measurements; each may be an outlier, which knows nothing of the factor."""
    with pg.Model("outliers") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        f = pg.latent("f", pg.Normal(0.0, 1.0))
        for name in "abc":
            pg.observed(name, pg.Normal(mean=pg.param(f"l{name}") * f))
        sound = pg.Normal(mean=pg.param("ld") * f + pg.param("md"), var=pg.param("vd"))
        pg.observed("d", pg.switch(z, sound, pg.Normal(mean=pg.param("m0"), var=pg.param("v0"))))
    return model


TRUTH: dict[str, Any] = {
    "z.probs": np.array([0.85, 0.15]),
    "la": 1.2, "lb": -0.8, "lc": 0.6, "ld": 1.5, "md": 0.5,
    "a.var": 0.4, "b.var": 0.3, "c.var": 0.5, "vd": 0.2, "m0": 4.0, "v0": 9.0,
}  # fmt: skip


def log_density(params: Any, x: Any) -> Any:
    """log p of rows (a, b, c, d): a mixture of two joint Normals."""
    loads = np.array([params[k] for k in ("la", "lb", "lc", "ld")])
    spread = [params[k] for k in ("a.var", "b.var", "c.var")]
    sound = np.outer(loads, loads) + np.diag([*spread, params["vd"]])
    apart = loads * [1, 1, 1, 0]
    odd = np.outer(apart, apart) + np.diag([*spread, params["v0"]])
    parts = [
        multivariate_normal([0, 0, 0, params["md"]], sound).logpdf(x),
        multivariate_normal([0, 0, 0, params["m0"]], odd).logpdf(x),
    ]
    return logsumexp(np.array(parts).T + np.log(params["z.probs"]), axis=1)


def test_an_outlier_component_without_the_factor() -> None:
    model = outliers()
    n = 1500
    f, odd = RNG.normal(size=n), RNG.random(n) < TRUTH["z.probs"][1]
    x = np.column_stack(
        [TRUTH[f"l{k}"] * f + RNG.normal(size=n) * TRUTH[f"{k}.var"] ** 0.5 for k in "abc"]
    )
    sound = TRUTH["ld"] * f + TRUTH["md"] + RNG.normal(size=n) * TRUTH["vd"] ** 0.5
    d = np.where(odd, TRUTH["m0"] + RNG.normal(size=n) * TRUTH["v0"] ** 0.5, sound)
    data = {**dict(zip("abc", x.T, strict=True)), "d": d}
    rows = np.column_stack([x, d])
    np.testing.assert_allclose(model.log_likelihood(data, TRUTH), log_density(TRUTH, rows), **CLOSE)
    fit = model.fit(data, start=TRUTH, tol=1e-12, max_iter=3000)
    assert fit.verdict == "converged"
    assert np.diff(fit.trace).min() > -1e-9 * abs(fit.trace[-1])
    for name in ("ld", "md", "vd", "m0", "v0"):
        assert abs(fit.params[name] - TRUTH[name]) < 4 * fit.standard_errors()[name], name
    names = [name for name in TRUTH if name != "z.probs"]

    def loss(point: Any) -> float:
        params = dict(zip(names, point[1:], strict=True))
        spread = {k: np.exp(v) for k, v in params.items() if "v" in k}
        shares = {"z.probs": np.array([1 - point[0], point[0]])}
        try:
            return -float(log_density({**params, **spread, **shares}, rows).sum())
        except np.linalg.LinAlgError:  # a covariance that is none
            return 1e10

    start = [0.2, *(np.log(TRUTH[k]) if "v" in k else TRUTH[k] for k in names)]
    bounds = [(0.01, 0.99), *[(-20, 20)] * len(names)]
    best = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000})
    np.testing.assert_allclose(fit.log_likelihood, -best.fun, rtol=1e-6)


def dense(model: pg.Model, data: dict[str, Any], lengths: dict[str, Any], **sizes: int) -> Dense:
    return Dense(model.record, data, lengths, len(next(iter(data.values()))), sizes)


def test_components_whose_variances_are_multiplied_by_different_numbers() -> None:
    with pg.Model("spreads") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        v, w = pg.covariate("v"), pg.covariate("w")
        f = pg.latent("f", pg.Normal(0.0, 1.0))
        pg.observed("a", pg.Normal(mean=f))
        near = pg.Normal(mean=pg.param("l")[z] * f, var=pg.param("s") * v)
        pg.observed("y", pg.switch(z, near, pg.Normal(mean=pg.param("m"), var=pg.param("t") / w)))
    n = 6
    data = {name: RNG.gamma(2.0, 0.5, n) + 0.1 for name in "vw"}
    data |= {name: RNG.normal(size=n) for name in "ay"}
    data["y"][2] = np.nan
    params = {"z.probs": np.array([0.6, 0.4]), "a.var": 0.7, "l": np.array([1.1, 0.0]),
              "s": 0.4, "m": 0.3, "t": 1.6}  # fmt: skip
    oracle = dense(model, data, {}, z=2)
    found = model.log_likelihood(data, params)
    np.testing.assert_allclose(found, oracle.log_likelihood(params), **CLOSE)
    fit = model.fit(data, start=params, max_iter=1, tol=0)
    q = oracle.q({k: np.asarray(p) for k, p in params.items()}, np.ones(n))
    new = q(fit.params)
    for name in ("s", "t", "m"):
        for factor in (0.98, 1.02):
            assert q({**fit.params, name: fit.params[name] * factor}) <= new + 1e-12


@pytest.mark.parametrize("seen", [False, True])
def test_a_gate_that_picks_and_indexes(seen: bool) -> None:
    """A family whose parameters are indexed by what picks it uses one row of them."""
    node = pg.observed if seen else pg.latent
    with pg.Model("both") as both:
        z = node("z", pg.Categorical(size=3))
        pg.observed("x", pg.switch(z, pg.Dirac(0), pg.Poisson(), pg.Geometric()), given=z)
    with pg.Model("once") as once:
        z = node("z", pg.Categorical(size=3))
        pg.observed("x", pg.switch(z, pg.Dirac(0), pg.Poisson(), pg.Geometric()))
    x = RNG.poisson(2.0, size=40)
    x[:5] = 0
    data = {"x": x, "z": np.where(x == 0, 0, RNG.integers(1, 3, 40))} if seen else {"x": x}
    probs = {"z.probs": np.array([0.2, 0.5, 0.3])}
    start = {**probs, "x.1.rate": np.full(3, 2.5), "x.2.prob": np.full(3, 0.3)}
    single = {**probs, "x.1.rate": np.array(2.5), "x.2.prob": np.array(0.3)}
    a = both.fit(data, start=start, max_iter=6, tol=0)
    b = once.fit(data, start=single, max_iter=6, tol=0)
    np.testing.assert_allclose(a.trace, b.trace, rtol=1e-12)
    np.testing.assert_allclose(a.params["x.1.rate"][1], b.params["x.1.rate"], rtol=1e-12)
    np.testing.assert_allclose(a.params["x.2.prob"][2], b.params["x.2.prob"], rtol=1e-12)
    assert (a.params["x.1.rate"][[0, 2]] == 2.5).all()


def test_a_gate_that_picks_and_indexes_below_a_conjugate_latent() -> None:
    def declare(given: bool) -> pg.Model:
        with pg.Model("m") as model:
            z = pg.latent("z", pg.Categorical(size=2))
            u = pg.latent("u", pg.Gamma(2.0, 2.0))
            index = z if given else ()
            rate = pg.param("r")[z] * u if given else pg.param("r") * u
            pg.observed("x", pg.switch(z, pg.Dirac(0), pg.Poisson(rate=rate)), given=index)
        return model

    data = {"x": np.array([0, 3, 1, 0, 5, 2])}
    probs = {"z.probs": np.array([0.3, 0.7])}
    one = declare(True).fit(data, start={**probs, "r": np.full(2, 1.5)}, max_iter=4, tol=0)
    other = declare(False).fit(data, start={**probs, "r": np.array(1.5)}, max_iter=4, tol=0)
    np.testing.assert_allclose(one.trace, other.trace, rtol=1e-12)
    np.testing.assert_allclose(one.params["r"][1], other.params["r"], rtol=1e-12)


def regimes() -> pg.Model:
    """A random walk, or an autoregression with an input."""
    with pg.Model("regimes") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        x = pg.covariate("x")
        line = pg.param("phi") * pg.prev("y") + pg.param("b") * x
        pg.observed("y", pg.switch(s, pg.Normal(mean=pg.prev("y")), pg.Normal(mean=line)))
    return model


def test_regimes_of_their_own_form_with_holes(tmp_path: Path) -> None:
    rng, n = np.random.default_rng(1), 400
    s, y, x = np.zeros(n, dtype=int), np.zeros(n), rng.normal(size=n)
    for t in range(1, n):
        s[t] = s[t - 1] if rng.random() < 0.95 else 1 - s[t - 1]
        walk, line = y[t - 1] + 0.3 * rng.normal(), 0.5 * y[t - 1] + 2 * x[t] + rng.normal()
        y[t] = line if s[t] else walk
    whole = y.copy()
    y[[10, 11, 30, 200, 398, 399]] = np.nan
    data, model = {"y": y, "x": x}, regimes()
    fit = model.fit(data, restarts=3, tol=1e-9, max_iter=1000)
    errors = fit.standard_errors()
    for name, value in (("phi", 0.5), ("b", 2.0), ("y.0.var", 0.09), ("y.1.var", 1.0)):
        assert abs(fit.params[name] - value) < 4 * errors[name], name
    hard = fit.decode({"y": whole, "x": x})["s"]
    assert (hard == s).mean() > 0.9
    short = {"y": np.array([[0.3, np.nan, 0.5, np.nan, -0.2, np.nan]]), "x": x[None, :6]}
    oracle = dense(model, short, {"t": [6]}, s=2)
    at = {name: np.asarray(value) for name, value in fit.params.items()}
    np.testing.assert_allclose(model.log_likelihood(short, at), oracle.log_likelihood(at), **CLOSE)
    found = model.posterior(short, at)["y"]
    for (_, name, path), (mean, cov) in oracle.moments(at).items():
        np.testing.assert_allclose(found.mean[0][path], mean[0], **CLOSE, err_msg=name)
        np.testing.assert_allclose(found.cov[0][path], cov[0, 0], **CLOSE, err_msg=name)
    path = tmp_path / "alone.py"
    fit.program.to_script(data, at, path=path, max_iter=3, tol=0.0)
    assert "switched(" in path.read_text()
    assert "MB above the data" in fit.program.bind(data).report
    done = subprocess.run([sys.executable, "-I", path], capture_output=True, text=True, check=True)
    again = model.fit(data, start=at, max_iter=3, tol=0)
    assert f"3: {again.log_likelihood:.6f}" in done.stdout
    told = " ".join(fit.program.explain("markdown").split())
    assert r"\texttt{phi} \, y_{n,t-1}" in told and "where $s_{n,t} = 1$" in told


def test_a_component_of_another_family_is_refused_by_name() -> None:
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        f = pg.latent("f", pg.Normal(0.0, 1.0))
        line = pg.param("l") * f
        pg.observed("y", pg.switch(z, pg.Normal(mean=line), pg.VonMises()))
    with pytest.raises(pg.IntractableError) as caught:
        model.compile()
    for word in ("'y'", "VonMises", "'f'", "component 1", "pg.Normal"):
        assert word in str(caught.value)
