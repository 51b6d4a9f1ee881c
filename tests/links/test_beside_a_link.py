"""A Gamma latent beside a log link: regressions with an effect per row, or per group of rows.

Random models against quadrature over the effect: Poisson and Exponential children whose predictor
has gated slopes and covariates, a factor of their own or none, exposures, several children, gates
that are latent or seen, holes, effects that are given.  The effect lives in the unit or in a plate,
its children there or in a plate inside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import conjugate_oracle as oracle
import numpy as np
import pytest
from checks import script_repeats, slopes_agree
from conjugate_oracle import Floats, Grid
from scipy import optimize
from scipy.special import gammaln, logsumexp
from scipy.stats import gamma, nbinom, norm, poisson

import pgem as pg
from pgem.routines import expected_log_density
from pgem.run import sum_statistics

N = 4


@dataclass
class Child:
    """One child: its family, whether it lives in the plate inside, and what it reads."""

    kind: str
    inside: bool
    slope: tuple[str, ...]
    factor: tuple[str, ...] | None
    exposed: bool


@dataclass
class Drawn:
    """A random model with parameters and data.

    Attributes:
        own: what gates the effect.
        tied: whether the effect has mean one.
    """

    own: tuple[str, ...]
    tied: bool
    children: list[Child]
    p: dict[str, Any] = field(default_factory=dict)
    d: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> pg.Model:
        """The model in the language."""
        with pg.Model("m") as model:
            nodes: dict[str, Any] = {"z": pg.latent("z", pg.Categorical(size=2))}
            if self.tied:
                a = pg.param("a")[tuple(nodes[g] for g in self.own)] if self.own else pg.param("a")
                u = pg.latent("u", pg.Gamma(shape=a, rate=a))
            else:
                u = pg.latent("u", pg.Gamma(), given=[nodes[g] for g in self.own] or None)
            self._declare(nodes, u, inside=False)
            with pg.plate("i"):
                nodes["o"] = pg.observed("o", pg.Categorical(size=2))
                self._declare(nodes, u, inside=True)
        return model

    def _declare(self, nodes: dict[str, Any], u: Any, *, inside: bool) -> None:
        for k, child in enumerate(self.children):
            if child.inside != inside:
                continue

            def gated(name: str, gates: tuple[str, ...]) -> Any:
                param = pg.param(name)
                return param[tuple(nodes[g] for g in gates)] if gates else param

            rate = u if child.factor is None else gated(f"r{k}", child.factor) * u
            if child.exposed:
                rate = rate * pg.covariate(f"e{k}")
            link = gated(f"b{k}", child.slope) * pg.covariate(f"x{k}") + pg.param(f"c{k}")
            pg.observed(f"y{k}", getattr(pg, child.kind)(rate=rate, log_rate=link))

    # --- the oracle ---------------------------------------------------------------------------

    def child(self, k: int, place: tuple[int, ...], seen: dict[str, int], g: Grid) -> Any:
        """log p(y | u) at the nodes of a grid."""
        child, p = self.children[k], self.p

        def read(name: str) -> float:
            found = self.d[f"{name}{k}"]
            for index in place:
                found = found[index]
            return float(found)

        y = read("y")
        if np.isnan(y):
            return 0.0
        log_rate = p[f"b{k}"][tuple(seen[n] for n in child.slope)] * read("x") + p[f"c{k}"]
        rate = np.exp(log_rate) * (read("e") if child.exposed else 1.0)
        if child.factor is not None:
            rate = rate * p[f"r{k}"][tuple(seen[n] for n in child.factor)]
        return getattr(oracle, child.kind.lower())(y, rate * g.u)

    def unit(self, n: int) -> tuple[float, Floats, float]:
        """log p of a unit, the posterior of z, and the posterior mean of the effect."""
        tables, means = [], []
        for z in range(2):
            index = tuple(z for _ in self.own)
            first, second = (
                [self.p["a"][index]] * 2
                if self.tied
                else [self.p[f"u.{s}"][index] for s in ("shape", "rate")]
            )
            grid = oracle.gamma_grid(float(first), float(second))
            given = self.d["u"][n] if "u" in self.d else np.nan
            if not np.isnan(given):
                prior = oracle.gamma(given, first, second)
                grid = Grid(*(np.array([v]) for v in (given, np.log(given), 0.0, prior)))
            total = grid.log_weight + np.log(self.p["z.probs"][z])
            for k, child in enumerate(self.children):
                rows = range(len(self.d["o"][n]))
                places = [(n, i) for i in rows] if child.inside else [(n,)]
                for place in places:
                    seen = {"z": z, "o": int(self.d["o"][n][place[1]]) if child.inside else 0}
                    total = total + self.child(k, place, seen, grid)
            tables.append(total)
            means.append(grid.u)
        level = float(logsumexp(tables[0])), float(logsumexp(tables[1]))
        whole = float(logsumexp(level))
        mean = sum(float(np.exp(t - whole) @ u) for t, u in zip(tables, means, strict=True))
        seen_classes = sum(float(np.log(self.p["o.probs"][int(o)])) for o in self.d["o"][n])
        return whole + seen_classes, np.exp(np.array(level) - whole), mean


def draw(seed: int) -> Drawn:
    """A random structure with parameters and data."""
    rng = np.random.default_rng(seed)
    children = []
    for _ in range(rng.integers(1, 4)):
        inside = bool(rng.random() < 0.6)
        free = ["z", *(["o"] if inside else [])]
        slope = tuple(g for g in free if rng.random() < 0.5)
        factor = tuple(g for g in free if rng.random() < 0.4) if rng.random() < 0.4 else None
        kind = str(rng.choice(["Poisson", "Exponential"]))
        children.append(Child(kind, inside, slope, factor, bool(rng.random() < 0.5)))
    own = ("z",) if rng.random() < 0.5 else ()
    m = Drawn(own, bool(rng.random() < 0.5), children)
    m.p = {"z.probs": rng.dirichlet([2, 2]), "o.probs": rng.dirichlet([2, 2])}
    for name in ["a"] if m.tied else ["u.shape", "u.rate"]:
        m.p[name] = rng.gamma(3, 1, (2,) * len(own)) + 0.2
    sizes = [2, 0, 3, 1]
    m.d = {"o": [rng.integers(0, 2, size).astype(float) for size in sizes]}
    for k, child in enumerate(children):
        m.p[f"b{k}"] = rng.normal(size=(2,) * len(child.slope))
        m.p[f"c{k}"] = np.asarray(rng.normal())
        if child.factor is not None:
            m.p[f"r{k}"] = rng.gamma(3, 0.4, (2,) * len(child.factor)) + 0.1
        values = rng.poisson if child.kind == "Poisson" else rng.exponential

        def shaped(make: Any, inside: bool = child.inside) -> Any:
            return [make(s) for s in sizes] if inside else make(N)

        m.d[f"x{k}"], m.d[f"e{k}"] = shaped(lambda s: rng.normal(size=s)), shaped(
            lambda s: rng.gamma(3, 0.5, s) + 0.1)  # fmt: skip
        m.d[f"y{k}"] = shaped(
            lambda s, f=values: np.where(rng.random(s) < 0.2, np.nan, f(2.0, s).astype(float))
        )
        if not child.exposed:
            del m.d[f"e{k}"]
    if rng.random() < 0.3:
        m.d["u"] = np.array([np.nan, 0.7, np.nan, 1.4])
    return m


@pytest.mark.parametrize("seed", range(30))
def test_equals_quadrature(seed: int) -> None:
    m = draw(seed)
    found, posterior = m.model.log_likelihood(m.d, m.p), m.model.posterior(m.d, m.p)
    for n in range(N):
        log_p, weights, mean = m.unit(n)
        assert found[n] == pytest.approx(log_p, abs=1e-8)
        np.testing.assert_allclose(posterior["z"][n], weights, atol=1e-8)
        assert posterior["u"].mean[n] == pytest.approx(mean, rel=1e-7)


def expected(m: Drawn) -> tuple[Any, Any, dict[str, Floats]]:
    """The program, the expected statistics at the drawn parameters, and these."""
    program = m.model.compile(m.d)
    params = {k: np.asarray(v, dtype=float) for k, v in m.p.items()}
    _, stats = sum_statistics(program.bind(m.d), params)
    return program, stats, params


@pytest.mark.parametrize("seed", range(10))
def test_the_slope_of_q_is_the_score(seed: int) -> None:
    m = draw(seed)
    slopes_agree(m.model, m.d, m.p)


@pytest.mark.parametrize("seed", range(10))
def test_the_m_step_is_the_maximum_of_q(seed: int) -> None:
    """An optimiser that begins where the M-step began ends no higher."""
    m = draw(seed)
    program, stats, params = expected(m)
    keys = [f"y{k}" for k in range(len(m.children))]
    names = [n for n in program.params if n[0] in "bcr"]
    with np.errstate(all="ignore"):
        after = program.m_step(params, stats, set())
    layouts = [program.params[n] for n in names]
    free = [layout.role.to_free(params[n]) for n, layout in zip(names, layouts, strict=True)]
    cuts = np.cumsum([f.size for f in free])[:-1]

    def q(flat: Floats) -> float:
        parts = np.split(flat, cuts)
        at = {
            n: layout.role.from_free(part.reshape(f.shape))
            for n, layout, part, f in zip(names, layouts, parts, free, strict=True)
        }
        return -expected_log_density(stats, keys, params | at, program.reads)

    with np.errstate(all="ignore"):
        best = optimize.minimize(q, np.concatenate([f.ravel() for f in free]), method="BFGS").fun
    reached = -expected_log_density(stats, keys, after, program.reads)
    assert reached <= best + 1e-6 * (1 + abs(best))


@pytest.mark.filterwarnings("ignore::pgem.errors.FitWarning")  # four rows may be all zero
@pytest.mark.parametrize("seed", range(30, 42))
def test_em_climbs(seed: int) -> None:
    m = draw(seed)
    with np.errstate(all="ignore"):
        fit = m.model.fit(m.d, start=m.p, max_iter=15, tol=0)
    assert np.diff(fit.trace).min(initial=0.0) >= -1e-9 * (1 + abs(fit.log_likelihood))


def effects(n: int, rng: np.random.Generator) -> dict[str, Any]:
    """A regression of counts in groups that share an effect."""
    sizes = rng.integers(1, 6, n)
    x = [rng.normal(size=size) for size in sizes]
    e = [rng.gamma(4, 0.5, size) for size in sizes]
    u = rng.gamma(2.0, 0.5, n)
    y = [rng.poisson(u[k] * e[k] * np.exp(0.6 * x[k] - 0.4)).astype(float) for k in range(n)]
    return {"x": x, "e": e, "y": y}


def grouped() -> pg.Model:
    with pg.Model("m") as model:
        a = pg.param("a")
        u = pg.latent("u", pg.Gamma(shape=a, rate=a))
        with pg.plate("i"):
            link = pg.param("b") * pg.covariate("x") + pg.param("c")
            pg.observed("y", pg.Poisson(rate=u * pg.covariate("e"), log_rate=link))
    return model


def test_group_effects_at_the_maximum_of_the_textbook_likelihood() -> None:
    """Counts of a group are negative multinomial: the fit is where an optimiser ends."""
    d = effects(60, np.random.default_rng(3))

    def loss(free: Floats) -> float:
        a, total = np.exp(free[0]), 0.0
        for x, e, y in zip(d["x"], d["e"], d["y"], strict=True):
            mu = e * np.exp(free[1] * x + free[2])
            total += gammaln(a + y.sum()) - gammaln(a) + a * np.log(a) - gammaln(y + 1).sum()
            total += y @ np.log(mu) - (a + y.sum()) * np.log(a + mu.sum())
        return -float(total)

    best = optimize.minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-8})
    fit = grouped().fit(d, tol=1e-12, max_iter=2000)
    assert fit.log_likelihood == pytest.approx(-best.fun, abs=1e-6)
    found = [np.log(fit.params["a"]), fit.params["b"], fit.params["c"]]
    np.testing.assert_allclose(found, best.x, atol=1e-3)
    h, eye = 1e-4, np.eye(3)
    curvature = np.array(
        [[(loss(best.x + h * (i + j)) - loss(best.x + h * (i - j)) - loss(best.x + h * (j - i))
           + loss(best.x - h * (i + j))) / (4 * h * h) for j in eye] for i in eye]
    )  # fmt: skip
    wanted = np.sqrt(np.diag(np.linalg.inv(curvature)))
    errors = fit.standard_errors()
    np.testing.assert_allclose([errors["b"], errors["c"]], wanted[1:], rtol=1e-3)
    assert re.search(r"b, c +Newton +exact", str(fit.program.report))


def test_holes_are_predicted_from_the_rest_of_the_group() -> None:
    """E[y | rest] = E[u | rest] e exp(x b), and its variance by the law of total variance."""
    d = effects(8, np.random.default_rng(4))
    d["y"][0] = np.append(d["y"][0], np.nan)
    d["x"][0], d["e"][0] = np.append(d["x"][0], 0.3), np.append(d["e"][0], 2.0)
    p = {"a": 1.7, "b": 0.5, "c": -0.2}
    posterior = grouped().posterior(d, p)
    mu = d["e"][0] * np.exp(0.5 * d["x"][0] - 0.2)
    shape, rate = 1.7 + np.nansum(d["y"][0]), 1.7 + mu[:-1].sum()
    assert posterior["u"].mean[0] == pytest.approx(shape / rate)
    assert posterior["y"].mean[0][-1] == pytest.approx(mu[-1] * shape / rate)
    variance = mu[-1] * shape / rate + mu[-1] ** 2 * shape / rate**2
    assert posterior["y"].cov[0][-1] == pytest.approx(variance)


def test_along_a_hidden_chain() -> None:
    """An effect at every step, gated by two states, beside a link that the state gates."""
    rng = np.random.default_rng(7)
    with pg.Model("m") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        u = pg.latent("u", pg.Gamma(shape=pg.param("a")[pg.prev(s), s], rate=1.0))
        link = pg.param("b")[s] * pg.covariate("x") + pg.param("c")[pg.prev(s)]
        first = pg.Poisson(rate=u, log_rate=pg.param("d") * pg.covariate("w"))
        pg.observed("y", pg.Poisson(rate=u, log_rate=link), first=first)
    p = {"s.first.probs": rng.dirichlet([2, 2]), "s.probs": rng.dirichlet([2, 2], 2),
         "a": rng.gamma(3, 1, (2, 2)), "u.first.shape": rng.gamma(3, 1, 2), "b": rng.normal(size=2),
         "c": rng.normal(size=2), "d": 0.4}  # fmt: skip
    sizes = [3, 1, 4]
    d = {"x": [rng.normal(size=k) for k in sizes], "w": [rng.normal(size=k) for k in sizes],
         "y": [rng.poisson(2, k).astype(float) for k in sizes]}  # fmt: skip
    d["y"][2][1] = np.nan

    def step(n: int, t: int, path: tuple[int, ...]) -> float:
        here, x, y = path[t], d["x"][n][t], d["y"][n][t]
        if t:
            shape, eta = p["a"][path[t - 1], here], p["b"][here] * x + p["c"][path[t - 1]]
            prior = p["s.probs"][path[t - 1], here]
        else:
            shape, eta = p["u.first.shape"][here], p["d"] * d["w"][n][t]
            prior = p["s.first.probs"][here]
        seen = 0.0 if np.isnan(y) else nbinom.logpmf(y, shape, 1 / (1 + np.exp(eta)))
        return float(np.log(prior) + seen)

    def unit(n: int) -> float:
        paths = product(range(2), repeat=sizes[n])
        return float(logsumexp([sum(step(n, t, q) for t in range(len(q))) for q in paths]))

    np.testing.assert_allclose(model.log_likelihood(d, p), [unit(n) for n in range(3)], atol=1e-9)
    fit = model.fit(d, start=p, max_iter=10, tol=0)
    assert np.diff(fit.trace).min() >= -1e-9


def test_draws_and_samples_have_the_moments_of_the_model() -> None:
    d = effects(400, np.random.default_rng(5))
    p = {"a": 1.7, "b": 0.5, "c": -0.2}
    fit = grouped().fit(d, start=p, max_iter=0)
    sample = fit.sample(400, data={"x": d["x"], "e": d["e"]}, sizes={"i": [len(x) for x in d["x"]]})
    mu = np.concatenate(d["e"]) * np.exp(0.5 * np.concatenate(d["x"]) - 0.2)
    y = np.concatenate(sample["y"])
    assert abs((y / mu).mean() - 1) < 0.1
    filled = fit.draw({**d, "y": [np.full(len(y), np.nan) for y in d["y"]]}, seed=1)
    y = np.concatenate(filled["y"])
    assert abs((y / mu).mean() - 1) < 0.1
    assert (y == np.round(y)).all()


def test_the_derivation_and_the_report_tell_of_the_effect() -> None:
    program = grouped().compile()
    told = program.explain()
    assert "r = e_{n,i} u_n e^η" in told.replace("\n", " ")
    assert "the weight times E[u_n] is kept too" in told
    assert "with E of the latent in the place of the latent" in " ".join(told.split())
    assert "two beside a latent" in str(program.report)


def test_a_script_repeats_the_fit(tmp_path: Path) -> None:
    script_repeats(grouped(), effects(20, np.random.default_rng(6)), tmp_path)


def test_holes_of_vectors_share_the_effect() -> None:
    """What is seen is certain; missing counts covary through u, waiting times are inverse in it."""
    with pg.Model("m") as model:
        u, x = pg.latent("u", pg.Gamma()), pg.covariate("x")
        pg.observed("y", pg.Exponential(rate=u, log_rate=pg.param("b") * x))
        pg.observed("v", pg.Poisson(rate=u, log_rate=pg.param("c") * x, size=2))
    p = {"u.shape": 3.2, "u.rate": 1.1, "b": 0.4, "c": np.array([0.2, -0.3])}
    x, gone = np.array([0.5, -1.0, 2.0]), np.nan
    v = np.array([[1.0, 2.0], [gone, 3.0], [gone, gone]])
    data = {"x": x, "y": np.array([gone, 1.0, 0.2]), "v": v}
    found = model.posterior(data, p)
    count, wait = np.exp(np.outer(x, p["c"])), np.exp(0.4 * x)
    shape = 3.2 + np.array([3.0, 4.0, 1.0])
    rate = 1.1 + np.array([count[0].sum(), wait[1] + count[1, 1], 0.2 * wait[2]])
    np.testing.assert_allclose(found["u"].mean, shape / rate)
    mean, var = shape / rate, shape / rate**2
    np.testing.assert_allclose(found["v"].mean[1], [mean[1] * count[1, 0], 3.0])
    np.testing.assert_allclose(found["v"].cov[1][1], 0.0)
    both = np.diag(mean[2] * count[2]) + var[2] * np.outer(count[2], count[2])
    np.testing.assert_allclose(found["v"].cov[2], both)
    a, b = shape[0], rate[0] / wait[0]
    assert found["y"].mean[0] == pytest.approx(b / (a - 1))
    assert found["y"].cov[0] == pytest.approx(2 * b**2 / ((a - 1) * (a - 2)) - (b / (a - 1)) ** 2)
    fit = model.fit(data, start=p, max_iter=0)
    np.testing.assert_allclose(fit.impute(data)["v"][1], found["v"].mean[1])
    np.testing.assert_allclose(fit.draw(data, seed=0)["v"][1][1], 3.0)


@pytest.mark.parametrize("back", [False, True])
def test_observed_nodes_beside_a_link_are_exposures(back: bool) -> None:
    """As covariates would be; those of the step before count from the second step on."""
    rng = np.random.default_rng(11)
    w, x, y = rng.gamma(3, 0.5, 3000), rng.normal(size=3000), rng.poisson(2, 3000).astype(float)
    with pg.Model("node") as node, pg.sequence("t"):
        size = pg.observed("w", pg.Gamma(3.0, 2.0))
        rate = pg.param("r") * (pg.prev("w") if back else size)
        pg.observed("y", pg.Poisson(rate=rate, log_rate=pg.param("b") * pg.covariate("x")))
    with pg.Model("covariate") as plain, pg.sequence("t"):
        rate = pg.param("r") * pg.covariate("w")
        pg.observed("y", pg.Poisson(rate=rate, log_rate=pg.param("b") * pg.covariate("x")))
    fit = node.fit({"w": w, "x": x, "y": y}, tol=1e-12)
    known = {"w": w[:-1], "x": x[1:], "y": y[1:]} if back else {"w": w, "x": x, "y": y}
    other = plain.fit(known, tol=1e-12)
    for name, value in other.params.items():
        assert fit.params[name] == pytest.approx(value, rel=1e-9)
    own = gamma.logpdf(w, 3.0, scale=0.5).sum()
    assert fit.log_likelihood - own == pytest.approx(other.log_likelihood, rel=1e-10)


def test_a_gaussian_node_beside_a_link_keeps_its_values() -> None:
    """Units are not replaced by points of equal moments where a value stands in a rate as well."""
    rng = np.random.default_rng(12)
    x = np.exp(rng.normal(size=4000) * 0.3) + 0.5
    y = rng.poisson(x).astype(float)
    with pg.Model("m") as model:
        node = pg.observed("x", pg.Normal())
        pg.observed("y", pg.Poisson(rate=node, log_rate=pg.param("b")))
    fit = model.fit({"x": x, "y": y}, tol=1e-12)
    assert fit.params["b"] == pytest.approx(np.log(y.sum() / x.sum()), rel=1e-9)
    both = norm.logpdf(x, x.mean(), x.std()) + poisson.logpmf(y, x * np.exp(fit.params["b"]))
    assert fit.log_likelihood == pytest.approx(both.sum(), rel=1e-10)
