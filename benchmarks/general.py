"""The same passes in other models: a family of one's own, and mixtures inside a hidden chain.

There is no library to compare with; `by whole tables` is pgem without compiled passes over rows.
"""

from __future__ import annotations

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


def by_tables(fit: System) -> System:
    """The same without compiled passes over rows."""

    def run(data: Arrays, start: Arrays, iterations: int) -> Arrays:
        from pgem.run import bind

        kept, bind.LARGE_FROM = bind.LARGE_FROM, 1 << 60
        try:
            return fit(data, start, iterations)
        finally:
            bind.LARGE_FROM = kept

    return run
