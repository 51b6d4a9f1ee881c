"""Hidden Markov models."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import Arrays, fit_pgem


def symbols(n_steps: int, k: int, size: int) -> Callable[[float], tuple[Arrays, Arrays]]:
    """One sequence of symbols from k states, and a start."""

    def make(share: float) -> tuple[Arrays, Arrays]:
        rng = np.random.default_rng(1)
        n = int(n_steps * share)
        emission = rng.dirichlet(np.full(size, 0.3), k)
        path = _path(rng, n, k)
        edges = emission.cumsum(axis=1)
        y = (rng.random(n)[:, None] > edges[path]).sum(axis=1).clip(0, size - 1)
        probs = 0.5 * emission + 0.5 * rng.dirichlet(np.ones(size), k)
        return {"y": y}, _chain_start(rng, k) | {"probs": probs}

    return make


def numbers(share: float) -> tuple[Arrays, Arrays]:
    """One sequence of numbers from 4 states, and a start."""
    rng = np.random.default_rng(2)
    n, k = int(200_000 * share), 4
    path = _path(rng, n, k)
    y = np.array([-4.0, -1.0, 1.0, 4.0])[path] + rng.normal(size=n)
    start = {"mean": np.array([-3.0, -0.5, 0.5, 3.0]), "var": np.full(k, 2.0)}
    return {"y": y}, _chain_start(rng, k) | start


def _path(rng: np.random.Generator, n: int, k: int) -> Any:
    stays = rng.random(n) < 0.9
    jumps = rng.integers(k, size=n)
    last = np.maximum.accumulate(np.where(stays, 0, np.arange(n)))
    return jumps[last]


def _chain_start(rng: np.random.Generator, k: int) -> Arrays:
    transition = 0.5 * np.eye(k) + 0.5 * rng.dirichlet(np.ones(k), k)
    return {"first": np.full(k, 1 / k), "transition": transition}


def hmm_pgem(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import pgem as pg

    discrete = "probs" in start
    with pg.Model("hmm") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=len(start["first"])), after="s")
        family = pg.Categorical(size=start["probs"].shape[1]) if discrete else pg.Normal()
        pg.observed("y", family, given=s)
    names = {"s.first.probs": "first", "s.probs": "transition"}
    names |= {"y.probs": "probs"} if discrete else {"y.mean": "mean", "y.var": "var"}
    return fit_pgem(model, {"y": [data["y"]]}, start, iterations, names)


def hmm_hmmlearn(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    from hmmlearn.hmm import CategoricalHMM, GaussianHMM

    options = {
        "n_iter": iterations, "tol": -np.inf, "init_params": "", "implementation": "scaling",
    }  # fmt: skip
    k = len(start["first"])
    if "probs" in start:
        model = CategoricalHMM(k, **options)
        model.emissionprob_ = start["probs"]
    else:
        model = GaussianHMM(k, covariance_type="diag", covars_prior=0.0, **options)
        model.means_, model.covars_ = start["mean"][:, None], start["var"][:, None]
    model.startprob_, model.transmat_ = start["first"], start["transition"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(data["y"][:, None])
    found = {"first": model.startprob_, "transition": model.transmat_}
    if "probs" in start:
        return found | {"probs": model.emissionprob_}
    return found | {"mean": model.means_[:, 0], "var": model.covars_.reshape(k, -1)[:, 0]}


def hmm_log_likelihood(data: Arrays, params: Arrays) -> float:
    """Products of the steps' matrices, many stretches of the sequence side by side."""
    y, transition = data["y"], params["transition"]
    if "probs" in params:
        density = params["probs"].T[y]
    else:
        squares = (y[:, None] - params["mean"]) ** 2 / params["var"]
        density = np.exp(-0.5 * squares) / np.sqrt(2 * np.pi * params["var"])
    first = params["first"] * density[0]
    rest = density[1:]
    length = max(1, int(np.sqrt(len(rest))))
    n = -(-len(rest) // length)
    products = np.tile(np.eye(len(transition)), (n, 1, 1))
    logs = np.zeros(n)
    for t in range(length):
        rows = np.arange(n) * length + t
        inside = rows < len(rest)
        step = transition * rest[rows[inside], None, :]
        products[inside] = products[inside] @ step
        scale = products[inside].sum(axis=(1, 2))
        products[inside] /= scale[:, None, None]
        logs[inside] += np.log(scale)
    total = float(logs.sum())
    for product in products:
        first = first @ product
        total += float(np.log(first.sum()))
        first = first / first.sum()
    return total


# --- many sequences of vectors ------------------------------------------------------------------


def vectors(ragged: bool) -> Callable[[float], tuple[Arrays, Arrays]]:
    """1,000 sequences of vectors from 8 states, of 200 or of 50 to 350 steps, and a start."""

    def make(share: float) -> tuple[Arrays, Arrays]:
        rng = np.random.default_rng(5)
        n, k, d = max(2, int(1000 * share)), 8, 4
        lengths = rng.integers(50, 351, size=n) if ragged else np.full(n, 200)
        path = _path(rng, int(lengths.sum()), k)
        means = 2.0 * rng.normal(size=(k, d))
        y = means[path] + rng.normal(size=(len(path), d))
        start = {
            "mean": means + 0.3 * rng.normal(size=(k, d)),
            "cov": np.tile(np.eye(d), (k, 1, 1)),
        }
        return {"y": np.split(y, np.cumsum(lengths)[:-1])}, _chain_start(rng, k) | start

    return make


def vectors_pgem(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import pgem as pg

    with pg.Model("hmm") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=len(start["first"])), after="s")
        pg.observed("y", pg.MvNormal(), given=s)
    names = {"s.first.probs": "first", "s.probs": "transition", "y.mean": "mean", "y.cov": "cov"}
    return fit_pgem(model, data, start, iterations, names)


def vectors_hmmlearn(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    from hmmlearn.hmm import GaussianHMM

    model = GaussianHMM(
        len(start["first"]), covariance_type="full", covars_prior=0.0, n_iter=iterations,
        tol=-np.inf, init_params="", implementation="scaling",
    )  # fmt: skip
    model.startprob_, model.transmat_ = start["first"], start["transition"]
    model.means_, model.covars_ = start["mean"], start["cov"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(np.concatenate(data["y"]), [len(y) for y in data["y"]])
    return {"first": model.startprob_, "transition": model.transmat_, "mean": model.means_,
            "cov": model.covars_}  # fmt: skip


def vectors_dynamax(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    """With the weakest priors that it takes; those of the covariances count 2 D + 2 rows."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from dynamax.hidden_markov_model import GaussianHMM

    k, d = start["mean"].shape
    model = GaussianHMM(
        k, d, initial_probs_concentration=1.0, transition_matrix_concentration=1.0,
        emission_prior_concentration=1e-12, emission_prior_scale=1e-12,
        emission_prior_extra_df=0.0,
    )  # fmt: skip
    params, props = model.initialize(
        jax.random.PRNGKey(0), initial_probs=start["first"], transition_matrix=start["transition"],
        emission_means=start["mean"], emission_covariances=start["cov"],
    )  # fmt: skip
    y = np.stack(data["y"])
    found: Any
    found, _ = model.fit_em(params, props, y, num_iters=iterations, verbose=False)
    parts = {
        "first": found.initial.probs, "transition": found.transitions.transition_matrix,
        "mean": found.emissions.means, "cov": found.emissions.covs,
    }  # fmt: skip
    return {name: np.asarray(value) for name, value in parts.items()}


def vectors_log_likelihood(data: Arrays, params: Arrays) -> float:
    """The forward recursion, all sequences side by side."""
    lengths = np.array([len(y) for y in data["y"]])
    columns = []
    y = np.concatenate(data["y"])
    for mean, cov in zip(params["mean"], params["cov"], strict=True):
        z = np.linalg.solve(np.linalg.cholesky(cov), (y - mean).T)
        columns.append(-0.5 * ((z**2).sum(axis=0) + np.linalg.slogdet(2 * np.pi * cov)[1]))
    density = np.split(np.stack(columns, axis=1), np.cumsum(lengths)[:-1])
    padded = np.zeros((len(lengths), lengths.max(), len(columns)))
    for row, part in zip(padded, density, strict=True):
        row[: len(part)] = part
    total, ahead = np.zeros(len(lengths)), np.tile(params["first"], (len(lengths), 1))
    for t in range(lengths.max()):
        here = lengths > t
        before = ahead[here] if t == 0 else ahead[here] @ params["transition"]
        peak = padded[here, t].max(axis=1)
        joint = before * np.exp(padded[here, t] - peak[:, None])
        scale = joint.sum(axis=1)
        ahead[here] = joint / scale[:, None]
        total[here] += np.log(scale) + peak
    return float(total.sum())
