"""The same passes in other models: a family of one's own, mixtures inside a hidden chain, and
mixtures of factor analysers.

There is no library to compare with; `by whole tables` is pgem without compiled passes over rows,
`value by value` with its Gaussian regions evaluated one value after the other.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.common import Arrays, System, fit_pgem


def waits(share: float) -> tuple[Arrays, Arrays]:
    """Waiting times from 8 exponential distributions, and a start."""
    rng = np.random.default_rng(9)
    rate = 2.0 ** np.arange(-4, 4)
    x = rng.exponential(1 / rate[rng.integers(8, size=int(500_000 * share))])
    return {"x": x}, {"weights": np.full(8, 1 / 8), "rate": 1.2 * rate}


def waits_pgem(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    """A family written as a user would, in five facts."""
    import pgem as pg
    from pgem.families import Family, Slot
    from pgem.families.roles import RATE
    from pgem.families.supports import NON_NEGATIVE

    class Waits(Family):
        slots = (Slot("rate", RATE),)
        support = NON_NEGATIVE

        def sufficient_statistics(self, x: Any, **_: Any) -> tuple[Any, ...]:
            return (x,)

        def natural_parameters(self, **slots: Any) -> tuple[Any, ...]:
            return (-slots["rate"],)

        def log_partition(self, *eta: Any) -> Any:
            return -np.log(-eta[0])

        def from_mean(self, *mean: Any) -> tuple[Any, ...]:
            return (1 / mean[0],)

    with pg.Model("waits") as model:
        z = pg.latent("z", pg.Categorical(size=len(start["rate"])))
        pg.observed("x", Waits(), given=z)
    return fit_pgem(model, data, start, iterations, {"z.probs": "weights", "x.rate": "rate"})


def waits_log_likelihood(data: Arrays, params: Arrays) -> float:
    from scipy.special import logsumexp

    logs = np.log(params["weights"] * params["rate"]) - data["x"][:, None] * params["rate"]
    return float(logsumexp(logs, axis=1).sum())


def mixtures_in_states(share: float) -> tuple[Arrays, Arrays]:
    """One sequence whose states emit from mixtures of 4 Gaussians in 4 dimensions, and a start."""
    rng = np.random.default_rng(10)
    n, k, m, d = int(100_000 * share), 4, 4, 4
    state = np.repeat(rng.integers(k, size=n // 20 + 1), 20)[:n]
    means = 3.0 * rng.normal(size=(k, m, d))
    y = means[state, rng.integers(m, size=n)] + rng.normal(size=(n, d))
    transition = 0.9 * np.eye(k) + 0.1 / k
    return {"y": y}, {
        "first": np.full(k, 1 / k),
        "transition": transition,
        "weights": np.full((k, m), 1 / m),
        "mean": means + 0.3 * rng.normal(size=(k, m, d)),
        "cov": np.tile(1.5 * np.eye(d), (k, m, 1, 1)),
    }


def mixtures_pgem(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import pgem as pg

    k, m, _ = start["mean"].shape
    with pg.Model("mixtures") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=k), after="s")
        c = pg.latent("c", pg.Categorical(size=m), given=s)
        pg.observed("y", pg.MvNormal(), given=[s, c])
    names = {
        "s.first.probs": "first", "s.probs": "transition", "c.probs": "weights", "y.mean": "mean",
        "y.cov": "cov",
    }  # fmt: skip
    return fit_pgem(model, {"y": [data["y"]]}, start, iterations, names)


def mixtures_log_likelihood(data: Arrays, params: Arrays) -> float:
    """The forward recursion."""
    from scipy.special import logsumexp

    k, m, _ = params["mean"].shape
    logs = np.empty((len(data["y"]), k, m))
    for s in range(k):
        for c in range(m):
            z = np.linalg.solve(
                np.linalg.cholesky(params["cov"][s, c]), (data["y"] - params["mean"][s, c]).T
            )
            spread = np.linalg.slogdet(2 * np.pi * params["cov"][s, c])[1]
            logs[:, s, c] = np.log(params["weights"][s, c]) - 0.5 * ((z**2).sum(axis=0) + spread)
    density = logsumexp(logs, axis=2)
    peaks = density.max(axis=1)
    shares = np.exp(density - peaks[:, None])
    ahead, total = params["first"] * shares[0], float(peaks.sum())
    for row in shares[1:]:
        scale = ahead.sum()
        total += float(np.log(scale))
        ahead = (ahead / scale) @ params["transition"] * row
    return total + float(np.log(ahead.sum()))


def analysers(share: float) -> tuple[Arrays, Arrays]:
    """Rows of 16 coordinates above 3 factors, with loadings of their own in 4 components."""
    rng = np.random.default_rng(11)
    n, k, d, q = int(100_000 * share), 4, 16, 3
    loadings, mean = rng.normal(size=(k, d, q)), 2.0 * rng.normal(size=(k, d))
    z = rng.integers(k, size=n)
    x = mean[z] + np.einsum("ndq,nq->nd", loadings[z], rng.normal(size=(n, q)))
    return {"x": x + 0.7 * rng.normal(size=(n, d))}, {
        "weights": np.full(k, 1 / k),
        "loadings": loadings + 0.3 * rng.normal(size=loadings.shape),
        "mean": mean + 0.5 * rng.normal(size=mean.shape),
        "noise": np.ones((k, d)),
    }


def analysers_pgem(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    import pgem as pg

    k, _, q = start["loadings"].shape
    with pg.Model("analysers") as model:
        z = pg.latent("z", pg.Categorical(size=k))
        f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(q)))
        mean = pg.param("loadings")[z] @ f + pg.param("mean")[z]
        pg.observed("x", pg.MvNormal(mean=mean, cov=pg.diagonal(pg.param("noise")[z])))
    names = {name: name for name in ("loadings", "mean", "noise")}
    return fit_pgem(model, data, start, iterations, {"z.probs": "weights", **names})


def analysers_log_likelihood(data: Arrays, params: Arrays) -> float:
    """A mixture of full Gaussians."""
    from scipy.special import logsumexp

    logs = []
    for k, loadings in enumerate(params["loadings"]):
        cov = loadings @ loadings.T + np.diag(params["noise"][k])
        z = np.linalg.solve(np.linalg.cholesky(cov), (data["x"] - params["mean"][k]).T)
        spread = np.linalg.slogdet(2 * np.pi * cov)[1]
        logs.append(np.log(params["weights"][k]) - 0.5 * ((z**2).sum(axis=0) + spread))
    return float(logsumexp(logs, axis=0).sum())


def by_tables(fit: System) -> System:
    """The same without compiled passes over rows."""
    return _where(fit, "pgem.run.bind", "LARGE_FROM")


def by_values(fit: System) -> System:
    """The same with regions evaluated value by value."""
    return _where(fit, "pgem.routines.region_direct", "FEW")


def _where(fit: System, module: str, limit: str) -> System:
    """The same where a path is never worth while."""

    def run(data: Arrays, start: Arrays, iterations: int) -> Arrays:
        home = import_module(module)
        kept = getattr(home, limit)
        setattr(home, limit, 1 << 60)
        try:
            return fit(data, start, iterations)
        finally:
            setattr(home, limit, kept)

    return run
