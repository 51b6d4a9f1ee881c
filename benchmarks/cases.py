"""The cases: data, a start, one function per system, and an independent log-likelihood.

A system is a function (data, start, iterations) → parameters; all start at the same parameters and
run the same number of iterations without a tolerance.  Libraries are imported by the functions, so
that a process holds only one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, Any]
System = Callable[[Arrays, Arrays, int], Arrays]


@dataclass(frozen=True)
class Case:
    """What is fitted, by whom, and how it is checked.

    Attributes:
        title: for the table.
        make: (share of the full size) → (data, start).
        systems: by name; the first is pgem.
        log_likelihood: (data, parameters) → log p, written without any of the systems.
        iterations: iterations that are timed.
        threads: whether it is also worth running with all threads.
    """

    title: str
    make: Callable[[float], tuple[Arrays, Arrays]]
    systems: dict[str, System]
    log_likelihood: Callable[[Arrays, Arrays], float]
    iterations: int
    threads: bool = False


# --- Gaussian mixtures --------------------------------------------------------------------------


def gaussian_data(n_rows: int, full: bool) -> Callable[[float], tuple[Arrays, Arrays]]:
    """Rows from 16 components in 16 dimensions, and a start near the truth."""

    def make(share: float) -> tuple[Arrays, Arrays]:
        rng = np.random.default_rng(0)
        n, k, d = int(n_rows * share), 16, 16
        centres = 2.0 * rng.normal(size=(k, d))
        mix = 0.1 * rng.normal(size=(k, d, d)) + np.eye(d)
        label, x = rng.integers(k, size=n), rng.normal(size=(n, d))
        for component in range(k):
            rows = label == component
            x[rows] = centres[component] + x[rows] @ mix[component].T
        cov = np.tile(1.5 * np.eye(d), (k, 1, 1)) if full else np.full((k, d), 1.5)
        mean = centres + 0.3 * rng.normal(size=(k, d))
        return {"x": x}, {"weights": np.full(k, 1 / k), "mean": mean, "cov": cov}

    return make


def gaussian_pgem(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import pgem as pg

    full = start["cov"].ndim == 3
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=len(start["weights"])))
        family = pg.MvNormal() if full else pg.MvNormal(cov=pg.diagonal())
        pg.observed("x", family, given=z)
    names = {"z.probs": "weights", "x.mean": "mean", "x.cov": "cov"}
    return fit_pgem(model, data, start, iterations, names)


def gaussian_sklearn(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    from sklearn.mixture import GaussianMixture

    full = start["cov"].ndim == 3
    model = GaussianMixture(
        len(start["weights"]),
        covariance_type="full" if full else "diag",
        max_iter=iterations,
        tol=0.0,
        reg_covar=0.0,
        init_params="random_from_data",
        weights_init=start["weights"],
        means_init=start["mean"],
        precisions_init=np.linalg.inv(start["cov"]) if full else 1 / start["cov"],
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(data["x"])
    return {"weights": model.weights_, "mean": model.means_, "cov": model.covariances_}


def gaussian_log_likelihood(data: Arrays, params: Arrays) -> float:
    from scipy.special import logsumexp

    columns = []
    for weight, mean, cov in zip(params["weights"], params["mean"], params["cov"], strict=True):
        matrix = cov if cov.ndim == 2 else np.diag(cov)
        z = np.linalg.solve(np.linalg.cholesky(matrix), (data["x"] - mean).T)
        level = np.log(weight) - 0.5 * np.linalg.slogdet(2 * np.pi * matrix)[1]
        columns.append(level - 0.5 * (z**2).sum(axis=0))
    return float(logsumexp(columns, axis=0).sum())


# --- hidden Markov models -----------------------------------------------------------------------


def symbols(share: float) -> tuple[Arrays, Arrays]:
    """One sequence from 8 states with 32 symbols, and a start."""
    rng = np.random.default_rng(1)
    n, k, size = int(1_000_000 * share), 8, 32
    emission = rng.dirichlet(np.full(size, 0.3), k)
    path = _path(rng, n, k)
    edges = emission.cumsum(axis=1)
    y = (rng.random(n)[:, None] > edges[path]).sum(axis=1).clip(0, size - 1)
    probs = 0.5 * emission + 0.5 * rng.dirichlet(np.ones(size), k)
    return {"y": y}, _chain_start(rng, k) | {"probs": probs}


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


# --- latent classes -----------------------------------------------------------------------------


def answers(share: float) -> tuple[Arrays, Arrays]:
    """20 items with 3 answers each, from 5 classes, and a start."""
    rng = np.random.default_rng(3)
    n, k, items, size = int(20_000 * share), 5, 20, 3
    truth = rng.dirichlet(np.ones(size), (k, items))
    label = rng.integers(k, size=n)
    edges = truth.cumsum(axis=2)[label]
    x = (rng.random((n, items, 1)) > edges).sum(axis=2).clip(0, size - 1)
    probs = 0.5 * truth + 0.5 * rng.dirichlet(np.ones(size), (k, items))
    return {"x": x}, {"weights": np.full(k, 1 / k), "probs": probs}


def classes_pgem(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import pgem as pg

    k, items, size = start["probs"].shape
    with pg.Model("latent_class") as model:
        z = pg.latent("z", pg.Categorical(size=k))
        with pg.plate("item", size=items) as item:
            pg.observed("x", pg.Categorical(size=size), given=[z, item])
    return fit_pgem(model, data, start, iterations, {"z.probs": "weights", "x.probs": "probs"})


def classes_numpy(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    """The EM that one would write by hand for this model: two matrix products."""
    weights, probs = start["weights"], start["probs"]
    k, items, size = probs.shape
    hot = (data["x"][:, :, None] == np.arange(size)).astype(float).reshape(len(data["x"]), -1)
    for _ in range(iterations):
        joint = hot @ np.log(probs.reshape(k, -1)).T + np.log(weights)
        post = np.exp(joint - joint.max(axis=1, keepdims=True))
        post /= post.sum(axis=1, keepdims=True)
        weights = post.mean(axis=0)
        counts = (post.T @ hot).reshape(k, items, size)
        probs = counts / counts.sum(axis=2, keepdims=True)
    return {"weights": weights, "probs": probs}


def classes_log_likelihood(data: Arrays, params: Arrays) -> float:
    from scipy.special import logsumexp

    logs = np.log(params["probs"])
    each = logs[:, np.arange(logs.shape[1]), data["x"]].sum(axis=2)
    return float(logsumexp(each + np.log(params["weights"])[:, None], axis=0).sum())


# --- pgem ---------------------------------------------------------------------------------------


def fit_pgem(
    model: Any, data: Any, start: Arrays, iterations: int, names: dict[str, str]
) -> Arrays:
    fit = model.fit(
        data,
        start={name: start[own] for name, own in names.items()},
        max_iter=iterations,
        tol=0.0,
    )
    return {own: np.asarray(fit.params[name]) for name, own in names.items()}


GAUSSIAN: dict[str, System] = {"pgem": gaussian_pgem, "scikit-learn": gaussian_sklearn}
CHAIN: dict[str, System] = {"pgem": hmm_pgem, "hmmlearn": hmm_hmmlearn}
CLASSES: dict[str, System] = {"pgem": classes_pgem, "NumPy by hand": classes_numpy}

CASES = {
    "gaussian-full": Case(
        "Gaussian mixture, 200,000 × 16, 16 full components",
        gaussian_data(200_000, full=True), GAUSSIAN, gaussian_log_likelihood, 5, threads=True,
    ),
    "gaussian-diagonal": Case(
        "Gaussian mixture, 100,000 × 16, 16 diagonal components",
        gaussian_data(100_000, full=False), GAUSSIAN, gaussian_log_likelihood, 10,
    ),
    "hmm-categorical": Case(
        "Categorical HMM, one sequence of 1,000,000 steps, 8 states, 32 symbols",
        symbols, CHAIN, hmm_log_likelihood, 4,
    ),
    "hmm-gaussian": Case(
        "Gaussian HMM, one sequence of 200,000 steps, 4 states",
        numbers, CHAIN, hmm_log_likelihood, 5,
    ),
    "latent-class": Case(
        "Latent classes, 20,000 × 20 items with 3 answers, 5 classes",
        answers, CLASSES, classes_log_likelihood, 20,
    ),
}  # fmt: skip
