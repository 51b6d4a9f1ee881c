"""Gaussian mixtures and k-means."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from benchmarks.common import Arrays, fit_pgem


def gaussian_data(
    n_rows: int, full: bool, k: int = 16, d: int = 16
) -> Callable[[float], tuple[Arrays, Arrays]]:
    """Rows from k components in d dimensions, and a start near the truth."""

    def make(share: float) -> tuple[Arrays, Arrays]:
        rng = np.random.default_rng(0)
        n = int(n_rows * share)
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


# --- k-means ------------------------------------------------------------------------------------


def clusters(share: float) -> tuple[Arrays, Arrays]:
    """Rows from 32 clusters in 16 dimensions, and rows to start from."""
    rng = np.random.default_rng(4)
    n, k, d = int(500_000 * share), 32, 16
    x = 3.0 * rng.normal(size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))
    return {"x": x}, {"mean": x[rng.choice(n, k, replace=False)]}


def kmeans_pgem(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import pgem as pg

    k, d = start["mean"].shape
    with pg.Model("kmeans") as model:
        z = pg.latent("z", pg.Categorical([1 / k] * k))
        pg.observed("x", pg.MvNormal(cov=pg.identity(d)), given=z)
    return fit_pgem(model, data, start, iterations, {"x.mean": "mean"}, posterior="hard")


def kmeans_sklearn(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    from sklearn.cluster import KMeans

    k = len(start["mean"])
    model = KMeans(k, init=start["mean"], n_init=1, max_iter=iterations, tol=0.0, copy_x=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(data["x"])
    return {"mean": model.cluster_centers_}


def kmeans_log_likelihood(data: Arrays, params: Arrays) -> float:
    """The classification likelihood, as k-means with unit variances has it."""
    x, mean = data["x"], params["mean"]
    nearest = np.full(len(x), np.inf)
    for centre in mean:
        np.minimum(nearest, ((x - centre) ** 2).sum(axis=1), out=nearest)
    constant = np.log(len(mean)) + 0.5 * x.shape[1] * np.log(2 * np.pi)
    return float(-0.5 * nearest.sum() - len(x) * constant)
