"""Gaussian latents: factor analysis and linear state spaces."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from benchmarks.common import Arrays, fit_pgem


def factors(share: float) -> tuple[Arrays, Arrays]:
    """100,000 rows of 64 coordinates above 8 factors, and a start at the maximum.

    scikit-learn maximises the loadings outright, given the noise, so from elsewhere it would take
    another path.
    """
    rng = np.random.default_rng(0)
    n, d, k = int(100_000 * share), 64, 8
    loadings, noise = rng.normal(size=(d, k)), rng.uniform(0.5, 1.5, d)
    x = rng.normal(size=(n, k)) @ loadings.T + rng.normal(size=(n, d)) * np.sqrt(noise)
    x -= x.mean(axis=0)
    loadings, noise = _maximum(x.T @ x / n, noise, k)
    return {"x": x}, {"loadings": loadings, "mean": np.zeros(d), "noise": noise}


def _maximum(cov: Any, noise: Any, k: int) -> tuple[Any, Any]:
    """Loadings given the noise from the spectrum of the scaled covariance, and in turn."""
    for _ in range(2000):
        scale = np.sqrt(noise)
        roots, vectors = np.linalg.eigh(cov / scale[:, None] / scale)
        loadings = scale[:, None] * vectors[:, -k:] * np.sqrt(np.maximum(roots[-k:] - 1, 0.0))
        noise = np.diag(cov) - (loadings**2).sum(axis=1)
    return loadings, noise


def factors_pgem(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import pgem as pg

    with pg.Model("factors") as model:
        f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(start["loadings"].shape[1])))
        mean = pg.param("loadings") @ f + pg.param("mean")
        pg.observed("x", pg.MvNormal(mean=mean, cov=pg.diagonal(pg.param("noise"))))
    return fit_pgem(model, data, start, iterations, {name: name for name in start})


def factors_sklearn(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    """One singular value decomposition an iteration; it chooses its loadings itself."""
    from sklearn.decomposition import FactorAnalysis

    model = FactorAnalysis(
        start["loadings"].shape[1],
        tol=0.0,
        max_iter=iterations,
        noise_variance_init=start["noise"],
        svd_method="lapack",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(data["x"])
    return {"loadings": model.components_.T, "mean": model.mean_, "noise": model.noise_variance_}


def factors_log_likelihood(data: Arrays, params: Arrays) -> float:
    cov = params["loadings"] @ params["loadings"].T + np.diag(params["noise"])
    z = np.linalg.solve(np.linalg.cholesky(cov), (data["x"] - params["mean"]).T)
    return float(-0.5 * (len(z.T) * np.linalg.slogdet(2 * np.pi * cov)[1] + (z**2).sum()))


# --- state spaces -------------------------------------------------------------------------------


def states(share: float) -> tuple[Arrays, Arrays]:
    """One sequence of 10,000 steps with 4 states and 8 outputs, and a start."""
    rng = np.random.default_rng(1)
    n, k, d = int(10_000 * share), 4, 8
    move = 0.95 * np.linalg.qr(rng.normal(size=(k, k)))[0]
    shown = rng.normal(size=(d, k))
    state, y = np.zeros(k), np.empty((n, d))
    for t in range(n):
        state = move @ state + 0.5 * rng.normal(size=k)
        y[t] = shown @ state + rng.normal(size=d)
    start = {
        "A": 0.8 * np.eye(k), "C": rng.normal(size=(d, k)), "Q": np.eye(k), "R": np.eye(d),
        "m": np.zeros(k), "P": np.eye(k),
    }  # fmt: skip
    return {"y": y}, start


def states_pgem(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import pgem as pg

    with pg.Model("states") as model, pg.sequence("t"):
        first = pg.MvNormal(mean=pg.param("m"), cov=pg.param("P"))
        mean = pg.param("A") @ pg.prev("h")
        size = len(start["A"])
        h = pg.latent("h", pg.MvNormal(mean=mean, cov=pg.param("Q"), size=size), first=first)
        pg.observed("y", pg.MvNormal(mean=pg.param("C") @ h, cov=pg.param("R")))
    return fit_pgem(model, data, start, iterations, {name: name for name in start})


def states_dynamax(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import jax

    jax.config.update("jax_enable_x64", True)
    from dynamax.linear_gaussian_ssm import LinearGaussianSSM

    k, d = len(start["A"]), len(start["C"])
    model = LinearGaussianSSM(k, d, has_dynamics_bias=False, has_emissions_bias=False)
    params, props = model.initialize(
        jax.random.PRNGKey(0),
        initial_mean=start["m"], initial_covariance=start["P"],
        dynamics_weights=start["A"], dynamics_covariance=start["Q"],
        emission_weights=start["C"], emission_covariance=start["R"],
    )  # fmt: skip
    found: Any
    found, _ = model.fit_em(params, props, data["y"], num_iters=iterations, verbose=False)
    parts = {
        "A": found.dynamics.weights, "C": found.emissions.weights, "Q": found.dynamics.cov,
        "R": found.emissions.cov, "m": found.initial.mean, "P": found.initial.cov,
    }  # fmt: skip
    return {name: np.asarray(value) for name, value in parts.items()}


def states_statsmodels(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    """The smoother of statsmodels, and the M-step by hand: it has no EM for free loadings."""
    from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother

    y, params = data["y"], start
    n, d, k = len(y), *start["C"].shape
    space = KalmanSmoother(k_endog=d, k_states=k, selection=np.eye(k))
    space.bind(y)
    space.set_smoother_output(
        smoother_state=True, smoother_state_cov=True, smoother_state_autocov=True,
        smoother_disturbance=False, smoother_disturbance_cov=False,
    )  # fmt: skip
    for _ in range(iterations):
        space["design"], space["transition"] = params["C"], params["A"]
        space["obs_cov"], space["state_cov"] = params["R"], params["Q"]
        space.initialize_known(params["m"], params["P"])
        found = space.smooth()
        h, covs = found.smoothed_state.T, found.smoothed_state_cov
        outer = h.T @ h + covs.sum(axis=2)
        before = outer - np.outer(h[-1], h[-1]) - covs[:, :, -1]
        after = outer - np.outer(h[0], h[0]) - covs[:, :, 0]
        cross = h[1:].T @ h[:-1] + found.smoothed_state_autocov[:, :, :-1].sum(axis=2)
        shown = y.T @ h
        move, loadings = cross @ np.linalg.inv(before), shown @ np.linalg.inv(outer)
        params = {
            "A": move, "Q": (after - move @ cross.T) / (n - 1),
            "C": loadings, "R": (y.T @ y - loadings @ shown.T) / n,
            "m": h[0], "P": covs[:, :, 0],
        }  # fmt: skip
    return params


def states_log_likelihood(data: Arrays, params: Arrays) -> float:
    """The Kalman filter, step by step."""
    mean, cov, total = params["m"], params["P"], 0.0
    for y in data["y"]:
        spread = params["C"] @ cov @ params["C"].T + params["R"]
        gap = y - params["C"] @ mean
        solved = np.linalg.solve(spread, np.column_stack([gap, params["C"] @ cov]))
        total -= 0.5 * (np.linalg.slogdet(2 * np.pi * spread)[1] + gap @ solved[:, 0])
        mean = mean + cov @ params["C"].T @ solved[:, 0]
        cov = cov - cov @ params["C"].T @ solved[:, 1:]
        mean, cov = params["A"] @ mean, params["A"] @ cov @ params["A"].T + params["Q"]
    return float(total)
