"""Latents whose parameters are indexed by earlier states: integrated out in their own step.

Random chains and trees; the latent's prior is gated by any of the present state, the states one and
(in chains) two steps earlier, and an observed class one step earlier.  The oracle enumerates the
paths and integrates each step's latent by quadrature (Gamma, Beta) or in closed form (Normal,
Dirichlet).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import conjugate_oracle as oracle
import numpy as np
import pytest
from checks import script_repeats, slopes_agree
from conjugate_oracle import Latent
from scipy.special import logsumexp
from scipy.stats import (
    beta,
    binom,
    dirichlet,
    dirichlet_multinomial,
    gamma,
    multinomial,
    nbinom,
    norm,
    poisson,
)

import pgem as pg

KINDS = ("Gamma", "Beta", "Normal", "Dirichlet")
SLOTS = {"Gamma": ("shape", "rate"), "Beta": ("a", "b"), "Normal": ("mean", "var"),
         "Dirichlet": ("concentration",)}  # fmt: skip


@dataclass
class Drawn:
    """One random model, its parameters and data.

    Attributes:
        kind: family of the latent.
        gates: what its parameters are indexed by: (name, lag).
        child: what the child's coefficient is indexed by.
        tree: whether steps run along trees.
        parents: per unit the step before each step, -1 for none.
    """

    kind: str
    gates: list[tuple[str, int]]
    child: list[tuple[str, int]]
    tree: bool
    parents: list[list[int]]
    p: dict[str, Any]
    d: dict[str, Any]

    @property
    def model(self) -> pg.Model:
        """The model in the language."""
        with pg.Model("m") as model, pg.tree("t") if self.tree else pg.sequence("t"):
            s = pg.latent("s", pg.Categorical(size=2), after="s")
            o = pg.observed("o", pg.Categorical(size=2))
            nodes = {"s": s, "o": o}

            def read(name: str, lag: int) -> Any:
                return pg.prev(nodes[name], lag) if lag else nodes[name]

            given = [read(*gate) for gate in self.gates]
            size = {"size": 3} if self.kind == "Dirichlet" else {}
            u = pg.latent("u", getattr(pg, self.kind)(**size), given=given)
            b = pg.param("b")[tuple(read(*g) for g in self.child)] if self.child else pg.param("b")
            pg.observed("y", {
                "Gamma": lambda: pg.Poisson(rate=b * u),
                "Beta": lambda: pg.Binomial(prob=u, trials=4),
                "Normal": lambda: pg.Normal(mean=b * u, var=0.5),
                "Dirichlet": lambda: pg.Multinomial(probs=u, size=3),
            }[self.kind]())  # fmt: skip
        return model

    def before(self, n: int, t: int, lag: int) -> int:
        """The step `lag` before one, or -1."""
        for _ in range(lag):
            t = self.parents[n][t] if t >= 0 else -1
        return t

    def slots(self, n: int, t: int, path: tuple[int, ...]) -> tuple[list[Any], Any]:
        """The latent's slot values and the child's coefficient, given the states."""

        def value(name: str, lag: int) -> int:
            at = self.before(n, t, lag)
            return path[at] if name == "s" else int(self.d["o"][n][at])

        most = max(lag for _, lag in self.gates)
        depth = next(k for k in range(most + 1) if k == most or self.before(n, t, k + 1) < 0)
        stem = "u" if depth == most else f"u.first{depth + 1 if depth else ''}"
        index = tuple(value(*g) for g in self.gates if g[1] <= depth)
        own = [self.p[f"{stem}.{slot}"][index] for slot in SLOTS[self.kind]]
        return own, self.p["b"][tuple(value(*g) for g in self.child)] if "b" in self.p else 1.0

    def step(self, n: int, t: int, path: tuple[int, ...]) -> tuple[float, Any]:
        """log p(y_t | path) and E[u_t | y_t, path]."""
        own, b = self.slots(n, t, path)
        y, grids = self.d["y"][n][t], {"Gamma": oracle.gamma_grid, "Beta": oracle.beta_grid}
        gone = bool(np.isnan(y).any())
        if self.kind in grids:
            child = (lambda g: np.zeros_like(g.u)) if gone else (
                (lambda g: oracle.poisson(y, b * g.u)) if self.kind == "Gamma"
                else oracle.binomial(y, 4.0))  # fmt: skip
            latent = Latent(grids[self.kind](*map(float, own)), [child])
            return latent.log_p, latent.expected(lambda g: g.u)
        if self.kind == "Dirichlet":
            counts = np.zeros(3) if gone else y
            log_p = dirichlet_multinomial.logpmf(counts, own[0], int(counts.sum()))
            return float(log_p), (own[0] + counts) / (own[0] + counts).sum()
        mean, var = own
        if gone:
            return 0.0, mean
        total = b * b * var + 0.5
        return float(oracle.normal(y, b * mean, total)), mean + var * b / total * (y - b * mean)

    def log_path(self, n: int, path: tuple[int, ...]) -> float:
        """log p of the states and of the observed classes."""
        total = 0.0
        for t, at in enumerate(self.parents[n]):
            row = self.p["s.first.probs"] if at < 0 else self.p["s.probs"][path[at]]
            total += float(np.log(row[path[t]] * self.p["o.probs"][int(self.d["o"][n][t])]))
        return total

    def joint(self, n: int, t: int, path: tuple[int, ...], u: Any) -> float:
        """log p(u_t, y_t | path)."""
        (first, *rest), b = self.slots(n, t, path)
        y = self.d["y"][n][t]
        if self.kind == "Gamma":
            prior, child = gamma.logpdf(u, first, scale=1 / rest[0]), poisson.logpmf(y, b * u)
        elif self.kind == "Beta":
            prior, child = beta.logpdf(u, first, *rest), binom.logpmf(y, 4, u)
        elif self.kind == "Normal":
            prior = norm.logpdf(u, first, np.sqrt(rest[0]))
            child = norm.logpdf(y, b * u, np.sqrt(0.5))
        else:
            counts = np.nan_to_num(y).astype(int)
            prior, child = dirichlet.logpdf(u, first), multinomial.logpmf(counts, counts.sum(), u)
        return float(prior + (0.0 if np.isnan(y).any() else child))

    def unit(self, n: int) -> tuple[float, list[Any]]:
        """log p and the posterior means of one unit, over all paths."""
        size, logs, means = len(self.parents[n]), [], []
        for path in product(range(2), repeat=size):
            steps = [self.step(n, t, path) for t in range(size)]
            logs.append(self.log_path(n, path) + sum(log_p for log_p, _ in steps))
            means.append([mean for _, mean in steps])
        level = float(logsumexp(logs))
        weights = np.exp(np.array(logs) - level)
        return level, np.tensordot(weights, np.array(means), axes=1)


def draw(seed: int) -> Drawn:
    """A random structure with parameters and data."""
    rng = np.random.default_rng(seed)
    kind, tree = KINDS[seed % len(KINDS)], bool(rng.random() < 0.4)
    back = [("s", 1), ("o", 1), *([] if tree else [("s", 2)])]
    gates = [g for g in back if rng.random() < 0.5] or [("s", 1)]
    gates += [("s", 0)] if rng.random() < 0.5 else []
    gates = [gates[k] for k in rng.permutation(len(gates))]
    gated = kind in ("Gamma", "Normal")
    child = [("s", 0)] if gated and rng.random() < 0.6 else []
    sizes = [4, 1, 3]
    parents = [[int(rng.integers(-1, t)) if tree and t else t - 1 for t in range(k)] for k in sizes]
    p: dict[str, Any] = {"s.first.probs": rng.dirichlet([2, 2]),
                         "s.probs": rng.dirichlet([2, 2], 2),
                         "o.probs": rng.dirichlet([2, 2])}  # fmt: skip
    if gated:
        p["b"] = rng.gamma(2, 1, (2,) * len(child)) + 0.2
    most = max(lag for _, lag in gates)
    for step in range(most + 1):
        stem = "u" if step == most else f"u.first{step + 1 if step else ''}"
        own = (3,) if kind == "Dirichlet" else ()
        shape = (2,) * sum(lag <= step for _, lag in gates) + own
        for slot in SLOTS[kind]:
            p[f"{stem}.{slot}"] = rng.normal(size=shape) if slot == "mean" else (
                rng.gamma(3, 1, shape) + 0.2)  # fmt: skip
    draws = {"Gamma": lambda k: rng.poisson(2, k), "Beta": lambda k: rng.integers(0, 5, k),
             "Normal": lambda k: rng.normal(size=k),
             "Dirichlet": lambda k: rng.integers(0, 4, (k, 3))}  # fmt: skip
    d: dict[str, Any] = {"o": [rng.integers(0, 2, k) for k in sizes],
                         "y": [draws[kind](k).astype(float) for k in sizes]}  # fmt: skip
    d["y"][0][1] = np.nan
    if tree:
        d["t.parent"] = [np.array(each) for each in parents]
    return Drawn(kind, gates, child, tree, parents, p, d)


SEEDS = range(24)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_enumeration_and_quadrature(seed: int) -> None:
    m = draw(seed)
    found = m.model.log_likelihood(m.d, m.p)
    posterior = m.model.posterior(m.d, m.p)["u"].mean
    for n in range(3):
        log_p, means = m.unit(n)
        assert found[n] == pytest.approx(log_p, abs=1e-8)
        np.testing.assert_allclose(posterior[n], means, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("seed", range(8))
def test_statistics_are_the_slope_of_the_likelihood(seed: int) -> None:
    m = draw(seed)
    slopes_agree(m.model, m.d, m.p)


@pytest.mark.parametrize("seed", range(24, 32))
def test_em_climbs(seed: int) -> None:
    m = draw(seed)
    fit = m.model.fit(m.d, start=m.p, max_iter=25, tol=0)
    assert np.diff(fit.trace).min() >= -1e-9 * (1 + abs(fit.log_likelihood))


@pytest.mark.parametrize("seed", range(8))
def test_given_latents_leave_the_joint_density(seed: int) -> None:
    m = draw(seed)
    fit = m.model.fit(m.d, start=m.p, max_iter=0)
    seen = {k: v for k, v in m.d.items() if k != "y"}
    drawn = fit.sample(3, sizes={"t": [4, 1, 3]}, data=seen, seed=1)
    found = m.model.log_likelihood({**m.d, "u": drawn["u"], "s": drawn["s"]}, m.p)
    for n, each in enumerate(drawn["s"]):
        path = tuple(each)
        joint = [m.joint(n, t, path, u) for t, u in enumerate(drawn["u"][n])]
        assert found[n] == pytest.approx(m.log_path(n, path) + sum(joint), abs=1e-8)


@pytest.mark.parametrize("seed", [0, 2])
def test_a_script_repeats_the_fit(seed: int, tmp_path: Path) -> None:
    m = draw(seed)
    script_repeats(m.model, m.d, tmp_path)


def test_children_that_look_at_a_parent_have_first_steps_at_the_roots() -> None:
    """In a tree a member's depth counts, not its place."""
    rng = np.random.default_rng(3)
    with pg.Model("m") as model, pg.tree("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        u = pg.latent("u", pg.Gamma(2.0, 3.0))
        rate, first = pg.param("r")[pg.prev(s)] * u, pg.Poisson(rate=pg.param("q") * u)
        pg.observed("y", pg.Poisson(rate=rate), first=first)
    p = {"s.first.probs": np.array([0.4, 0.6]), "s.probs": rng.dirichlet([1, 1], 2),
         "r": rng.gamma(3, 1, 2), "q": 1.3}  # fmt: skip
    parents, y = np.array([2, 0, -1, 0, 2]), rng.poisson(2, 5).astype(float)
    logs = []
    for path in product(range(2), repeat=5):
        total = 0.0
        for k, above in enumerate(parents):
            row = p["s.first.probs"] if above < 0 else p["s.probs"][path[above]]
            rate_of = p["q"] if above < 0 else p["r"][path[above]]
            total += np.log(row[path[k]]) + nbinom.logpmf(y[k], 2.0, 3.0 / (3.0 + rate_of))
        logs.append(total)
    found = model.log_likelihood({"y": [y], "t.parent": [parents]}, p)
    assert found[0] == pytest.approx(logsumexp(logs), abs=1e-9)


@pytest.mark.parametrize("lasting", [False, True])
def test_integrated_counts_are_negative_binomial(lasting: bool) -> None:
    """The same chain, with explicit durations too, whose counts are written as such a family."""
    duration = {"duration": pg.Poisson()} if lasting else {}
    with pg.Model("a") as mixed, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s", **duration)
        b = pg.param("b")[pg.prev(s), s]
        u = pg.latent("u", pg.Gamma(2.5, b), first=pg.Gamma(2.5, pg.param("c")[s]))
        pg.observed("y", pg.Poisson(rate=u))
    with pg.Model("b") as plain, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s", **duration)
        first = pg.NegativeBinomial(prob=pg.param("c")[s], size=2.5)
        prob = pg.param("b")[pg.prev(s), s]
        pg.observed("y", pg.NegativeBinomial(prob=prob, size=2.5), first=first)
    rng = np.random.default_rng(4)
    p = {"s.first.probs": np.array([0.3, 0.7]), "b": rng.gamma(2, 1, (2, 2)),
         "c": rng.gamma(2, 1, 2), "s.probs": np.array([[0.0, 1.0], [1.0, 0.0]])}  # fmt: skip
    if lasting:
        p["s.duration.rate"] = np.array([1.5, 3.0])
    else:
        p["s.probs"] = rng.dirichlet([1, 1], 2)
    q = {**p, "b": p["b"] / (1 + p["b"]), "c": p["c"] / (1 + p["c"])}
    d = {"y": [rng.poisson(2, k).astype(float) for k in (7, 1, 12)]}
    d["y"][2][4] = np.nan
    found, wanted = mixed.log_likelihood(d, p), plain.log_likelihood(d, q)
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    one, other = mixed.posterior(d, p)["s"], plain.posterior(d, q)["s"]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    fit = mixed.fit(d, start=p, max_iter=10, tol=0)
    assert np.diff(fit.trace).min() >= -1e-9
    hard = mixed.fit(d, start=p, max_iter=10, posterior="hard")
    assert np.isfinite(hard.log_likelihood)
