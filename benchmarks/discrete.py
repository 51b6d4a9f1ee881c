"""Discrete data: latent classes, counts, a small Bayesian network."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import Arrays, System, fit_pgem

# --- latent classes -----------------------------------------------------------------------------


def answers(
    n_rows: int, k: int, size: int, holes: float = 0.0
) -> Callable[[float], tuple[Arrays, Arrays]]:
    """20 items with some answers each, from k classes, and a start."""

    def make(share: float) -> tuple[Arrays, Arrays]:
        rng = np.random.default_rng(3)
        n, items = int(n_rows * share), 20
        truth = rng.dirichlet(np.ones(size), (k, items))
        label = rng.integers(k, size=n)
        edges = truth.cumsum(axis=2)[label]
        x = (rng.random((n, items, 1)) > edges).sum(axis=2).clip(0, size - 1)
        probs = 0.5 * truth + 0.5 * rng.dirichlet(np.ones(size), (k, items))
        if holes:
            x = np.where(rng.random(x.shape) < holes, np.nan, x)
        return {"x": x}, {"weights": np.full(k, 1 / k), "probs": probs}

    return make


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


def classes_stepmix(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    from stepmix.stepmix import StepMix

    k, items, size = start["probs"].shape
    holes = bool(np.isnan(data["x"]).any())

    class Started(StepMix):  # type: ignore[misc]
        """From given parameters instead of random ones."""

        def _initialize_parameters(self, X: Any, random_state: Any) -> None:
            super()._initialize_parameters(X, random_state)
            self.weights_ = start["weights"]
            self._mm.parameters["pis"] = start["probs"].reshape(k, items * size)

    kind = "categorical_nan" if holes else "categorical"
    model = Started(
        k, measurement=kind, max_iter=iterations, abs_tol=0.0, progress_bar=0, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(data["x"])
    probs = model.get_parameters()["measurement"]["pis"].reshape(k, items, size)
    return {"weights": model.weights_, "probs": probs}


def classes_log_likelihood(data: Arrays, params: Arrays) -> float:
    from scipy.special import logsumexp

    logs = np.log(params["probs"])
    logs = np.concatenate([logs, np.zeros((*logs.shape[:2], 1))], axis=2)  # the last is a hole
    codes = np.where(np.isnan(data["x"]), -1, data["x"]).astype(int)
    each = logs[:, np.arange(logs.shape[1]), codes].sum(axis=2)
    return float(logsumexp(each + np.log(params["weights"])[:, None], axis=0).sum())


# --- counts -------------------------------------------------------------------------------------


def counts(share: float) -> tuple[Arrays, Arrays]:
    """Counts from 4 Poisson distributions, and a start."""
    rng = np.random.default_rng(6)
    rates = np.array([1.0, 4.0, 9.0, 16.0])
    x = rng.poisson(rates[rng.integers(4, size=int(1_000_000 * share))])
    return {"x": x}, {"weights": np.full(4, 0.25), "rate": np.array([0.5, 3.0, 8.0, 20.0])}


def counts_pgem(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import pgem as pg

    with pg.Model("counts") as model:
        z = pg.latent("z", pg.Categorical(size=len(start["rate"])))
        pg.observed("x", pg.Poisson(), given=z)
    return fit_pgem(model, data, start, iterations, {"z.probs": "weights", "x.rate": "rate"})


def counts_numpy(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    """The EM that one would write by hand, row by row."""
    weights, rate, x = start["weights"], start["rate"], data["x"].astype(float)
    for _ in range(iterations):
        joint = x[:, None] * np.log(rate) - rate + np.log(weights)
        post = np.exp(joint - joint.max(axis=1, keepdims=True))
        post /= post.sum(axis=1, keepdims=True)
        weights, rate = post.mean(axis=0), (x @ post) / post.sum(axis=0)
    return {"weights": weights, "rate": rate}


def counts_pomegranate(precision: str) -> System:
    """In single precision, as by default, or in double precision, by torch's own default."""

    def fit(data: Arrays, start: Arrays, iterations: int) -> Arrays:
        import torch
        from pomegranate.distributions import Poisson
        from pomegranate.gmm import GeneralMixtureModel

        kept = torch.get_default_dtype()
        torch.set_default_dtype({"single": torch.float32, "double": torch.float64}[precision])
        try:
            model = GeneralMixtureModel(
                [Poisson(torch.tensor([float(rate)])) for rate in start["rate"]],
                priors=torch.tensor(start["weights"].tolist()), max_iter=iterations, tol=-np.inf,
            )  # fmt: skip
            model.fit(torch.tensor(data["x"][:, None], dtype=torch.get_default_dtype()))
        finally:
            torch.set_default_dtype(kept)
        rates = [float(one.lambdas[0]) for one in model.distributions]
        weights = model.priors.detach().numpy().astype(float)
        return {"weights": weights / weights.sum(), "rate": np.array(rates)}

    return fit


def counts_log_likelihood(data: Arrays, params: Arrays) -> float:
    from scipy.special import logsumexp
    from scipy.stats import poisson

    values, times = np.unique(data["x"], return_counts=True)
    logs = poisson.logpmf(values[:, None], params["rate"]) + np.log(params["weights"])
    return float(times @ logsumexp(logs, axis=1))


# --- a Bayesian network -------------------------------------------------------------------------


def diamond(share: float) -> tuple[Arrays, Arrays]:
    """A ternary diamond a → g, h → d whose middle is hidden, and a start."""
    rng = np.random.default_rng(7)
    n, size = int(10_000 * share), 3

    def draw(probs: Any) -> Any:
        return (rng.random((n, 1)) > probs.cumsum(axis=1)).sum(axis=1).clip(0, size - 1)

    tables = [rng.dirichlet(np.ones(size), shape) for shape in ((), (3,), (3,), (3, 3))]
    a = draw(np.tile(tables[0], (n, 1)))
    d = draw(tables[3][draw(tables[1][a]), draw(tables[2][a])])
    shapes = {"a": (), "g": (3,), "h": (3,), "d": (3, 3)}
    return {"a": a, "d": d}, {k: rng.dirichlet(2 * np.ones(size), s) for k, s in shapes.items()}


def diamond_pgem(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import pgem as pg

    with pg.Model("diamond") as model:
        a = pg.observed("a", pg.Categorical(size=3))
        g = pg.latent("g", pg.Categorical(size=3), given=a)
        h = pg.latent("h", pg.Categorical(size=3), given=a)
        pg.observed("d", pg.Categorical(size=3), given=[g, h])
    return fit_pgem(model, data, start, iterations, {f"{k}.probs": k for k in start})


def diamond_pgmpy(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import logging

    import pandas as pd
    from pgmpy.estimators import ExpectationMaximization
    from pgmpy.factors.discrete import TabularCPD
    from pgmpy.models import DiscreteBayesianNetwork

    logging.getLogger("pgmpy").setLevel(logging.ERROR)
    edges = [("a", "g"), ("a", "h"), ("g", "d"), ("h", "d")]
    model = DiscreteBayesianNetwork(edges, latents={"g", "h"})
    above: dict[str, list[str]] = {"a": [], "g": ["a"], "h": ["a"], "d": ["g", "h"]}
    tables = {
        name: TabularCPD(
            name, 3, start[name].reshape(-1, 3).T, parents or None, [3] * len(parents) or None
        )
        for name, parents in above.items()
    }
    frame = pd.DataFrame({"a": data["a"], "d": data["d"]})
    found = ExpectationMaximization(model, frame).get_parameters(
        latent_card={"g": 3, "h": 3}, max_iter=iterations, atol=0.0, init_cpds=tables,
        show_progress=False, batch_size=len(frame),
    )  # fmt: skip
    values = {cpd.variable: np.moveaxis(np.asarray(cpd.values), 0, -1) for cpd in found}
    return {name: values[name] for name in start}


def diamond_numpy(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    """The EM that one would write by hand, row by row."""
    a, d, params = data["a"], data["d"], dict(start)
    for _ in range(iterations):
        joint = params["g"][a][:, :, None] * params["h"][a][:, None, :]
        joint = joint * np.moveaxis(params["d"], 2, 0)[d]
        post = joint / joint.sum(axis=(1, 2), keepdims=True)
        found = {name: np.zeros(start[name].shape) for name in "gh"}
        np.add.at(found["g"], a, post.sum(axis=2))
        np.add.at(found["h"], a, post.sum(axis=1))
        found["d"] = np.stack([post[d == k].sum(axis=0) for k in range(3)], axis=2)
        params = {name: t / t.sum(axis=-1, keepdims=True) for name, t in found.items()}
        params["a"] = np.bincount(a, minlength=3) / len(a)
    return params


def diamond_log_likelihood(data: Arrays, params: Arrays) -> float:
    d_given_a = np.einsum("ag,ah,ghd->ad", params["g"], params["h"], params["d"])
    return float(np.log(params["a"][data["a"]] * d_given_a[data["a"], data["d"]]).sum())
