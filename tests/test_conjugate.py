"""Conjugate latents against quadrature: likelihoods, posteriors and expected statistics."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product
from typing import Any, NamedTuple

import conjugate_oracle as oracle
import numpy as np
import pytest
from checks import slopes_agree
from conjugate_oracle import Configuration, Floats, Latent, Unit
from scipy.special import gammaln

import pgem as pg
from pgem.run import sum_statistics


class Case(NamedTuple):
    """A model with parameters and data, and its units as the oracle sees them.

    Attributes:
        model: the model.
        params: parameters.
        data: data.
        units: one per unit of the data.
        latent: the conjugate latent.
        places: per latent of a unit, where its posterior stands in the posterior's arrays.
    """

    model: pg.Model
    params: dict[str, Any]
    data: dict[str, Any]
    units: list[Unit]
    latent: str


N = 6


def gamma_poisson(rng: np.random.Generator) -> Case:
    """Gated prior; two kinds of children with gated coefficients, exposures and holes."""
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        w = pg.covariate("w", size=3)
        u = pg.latent("u", pg.Gamma(), given=z)
        years = pg.covariate("years")
        pg.observed("x", pg.Poisson(rate=pg.param("r")[w] * u * years))
        pg.observed("y", pg.Exponential(rate=pg.param("s")[z] * u / years))
        pg.observed("v", pg.Gamma(shape=pg.param("c"), rate=u))
    p = {
        "z.probs": rng.dirichlet([1, 1]), "u.shape": rng.gamma(2, 1, 2),
        "u.rate": rng.gamma(2, 1, 2), "c": 2.5, "r": rng.gamma(2, 1, 3), "s": rng.gamma(2, 1, 2),
    }  # fmt: skip
    d = {
        "w": rng.integers(0, 3, N), "years": rng.gamma(3, 1, N),
        "x": rng.poisson(3, N).astype(float), "y": rng.gamma(1, 1, N), "v": rng.gamma(1, 1, N),
    }  # fmt: skip
    d["x"][1], d["y"][2], d["v"][:3] = np.nan, np.nan, np.nan

    def latent(n: int, k: int) -> Latent:
        children: list[Any] = []
        if n != 1:
            rate = p["r"][d["w"][n]] * d["years"][n]
            children.append(lambda g: oracle.poisson(d["x"][n], rate * g.u))
        if n != 2:
            slope = p["s"][k] / d["years"][n]
            children.append(lambda g: oracle.exponential(d["y"][n], slope * g.u))
        if n > 2:
            children.append(lambda g: oracle.gamma(d["v"][n], 2.5, g.u))
        return Latent(oracle.gamma_grid(p["u.shape"][k], p["u.rate"][k]), children)

    units = [
        Unit.of(Configuration((k,), np.log(p["z.probs"][k]), (latent(n, k),)) for k in range(2))
        for n in range(N)
    ]
    return Case(model, p, d, units, "u")


def groups(rng: np.random.Generator) -> Case:
    """Members of a plate, rows inside them, some groups empty; an observed gate in the plate."""
    with pg.Model("m") as model:
        a = pg.param("a")
        u = pg.latent("u", pg.Gamma(shape=a, rate=a))
        with pg.plate("i"):
            k = pg.observed("k", pg.Categorical(size=2))
            pg.observed("x", pg.Poisson(rate=pg.param("r")[k] * u))
            with pg.plate("j"):
                pg.observed("y", pg.Normal(mean=pg.param("m")[k], var=pg.param("s")[k] / u))
    p = {"a": 1.3, "r": rng.gamma(2, 1, 2), "m": rng.normal(size=2), "s": rng.gamma(2, 1, 2),
         "k.probs": np.array([0.4, 0.6])}  # fmt: skip
    sizes = [2, 0, 3, 1, 1, 2]
    d: dict[str, Any] = {
        "k": [rng.integers(0, 2, s).astype(float) for s in sizes],
        "x": [rng.poisson(2, s).astype(float) for s in sizes],
        "y": [[list(rng.normal(size=rng.integers(0, 3))) for _ in range(s)] for s in sizes],
    }
    d["x"][2][0] = np.nan

    def latent(n: int) -> Latent:
        children: list[Any] = [lambda g: np.zeros_like(g.u)]
        for i in range(sizes[n]):
            c = int(d["k"][n][i])
            children.append(lambda g, c=c: np.full_like(g.u, np.log(p["k.probs"][c])))
            if not np.isnan(d["x"][n][i]):
                x = d["x"][n][i]
                children.append(lambda g, c=c, x=x: oracle.poisson(x, p["r"][c] * g.u))
            children += [
                lambda g, c=c, y=y: oracle.normal(y, p["m"][c], p["s"][c] / g.u)
                for y in d["y"][n][i]
            ]
        return Latent(oracle.gamma_grid(p["a"], p["a"]), children)

    return Case(model, p, d, [Unit.of([Configuration((), 0.0, (latent(n),))]) for n in range(N)],
                "u")  # fmt: skip


def student(rng: np.random.Generator) -> Case:
    """A mixture of multivariate t with holes, the degrees of freedom gated."""
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        nu = pg.param("nu")
        u = pg.latent("u", pg.Gamma(shape=nu[z], rate=nu[z]))
        pg.observed("x", pg.MvNormal(mean=pg.param("m")[z], cov=pg.param("v")[z] / u))
        scale = pg.covariate("scale")
        pg.observed("y", pg.Normal(mean=pg.param("b") * scale, var=scale / u))
    root = rng.normal(size=(2, 3, 3))
    p = {"z.probs": np.array([0.3, 0.7]), "nu": rng.gamma(3, 1, 2), "m": rng.normal(size=(2, 3)),
         "v": root @ root.transpose(0, 2, 1) + np.eye(3), "b": 0.7}  # fmt: skip
    d = {"x": rng.normal(size=(N, 3)), "scale": rng.gamma(3, 1, N), "y": rng.normal(size=N)}
    d["x"][0, 1], d["x"][1], d["x"][2, :2], d["y"][3] = np.nan, np.nan, np.nan, np.nan

    def latent(n: int, k: int) -> Latent:
        children: list[Any] = [lambda g: oracle.mv_normal(d["x"][n], p["m"][k], p["v"][k], g.u)]
        if n != 3:
            mean, scale = p["b"] * d["scale"][n], d["scale"][n]
            children.append(lambda g: oracle.normal(d["y"][n], mean, scale / g.u))
        return Latent(oracle.gamma_grid(p["nu"][k], p["nu"][k]), children)

    units = [
        Unit.of(Configuration((k,), np.log(p["z.probs"][k]), (latent(n, k),)) for k in range(2))
        for n in range(N)
    ]
    return Case(model, p, d, units, "u")


def beta(rng: np.random.Generator) -> Case:
    """A share under every family of repeated success and failure."""
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        u = pg.latent("u", pg.Beta(), given=z)
        pg.observed("x", pg.Binomial(prob=u, trials=pg.covariate("n")))
        pg.observed("g", pg.Geometric(prob=u))
        pg.observed("h", pg.NegativeBinomial(prob=u, size=1.5))
        with pg.plate("i"):
            pg.observed("y", pg.Bernoulli(prob=u))
    p = {"z.probs": np.array([0.3, 0.7]), "u.a": rng.gamma(3, 1, 2), "u.b": rng.gamma(3, 1, 2)}
    d: dict[str, Any] = {
        "n": rng.integers(3, 9, N), "x": rng.integers(0, 3, N).astype(float),
        "g": rng.integers(0, 4, N).astype(float), "h": rng.integers(0, 4, N).astype(float),
        "y": [rng.integers(0, 2, s).astype(float) for s in (1, 2, 0, 3, 1, 1)],
    }  # fmt: skip
    d["x"][0], d["g"][1], d["y"][3][1] = np.nan, np.nan, np.nan

    def latent(n: int, k: int) -> Latent:
        children: list[Any] = []
        if n != 0:
            children.append(oracle.binomial(d["x"][n], d["n"][n]))
        if n != 1:
            children.append(lambda g: g.log_u + d["g"][n] * g.log_rest)
        h = d["h"][n]
        level = gammaln(h + 1.5) - gammaln(1.5) - gammaln(h + 1)
        children.append(lambda g: level + 1.5 * g.log_u + h * g.log_rest)
        children += [oracle.binomial(y, 1.0) for y in d["y"][n][~np.isnan(d["y"][n])]]
        return Latent(oracle.beta_grid(p["u.a"][k], p["u.b"][k]), children)

    units = [
        Unit.of(Configuration((k,), np.log(p["z.probs"][k]), (latent(n, k),)) for k in range(2))
        for n in range(N)
    ]
    return Case(model, p, d, units, "u")


def chain(rng: np.random.Generator) -> Case:
    """A hidden Markov model whose emissions are negative binomial: a latent at every step."""
    with pg.Model("m") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        u = pg.latent("u", pg.Gamma(shape=pg.param("a")[s], rate=1.0))
        pg.observed("x", pg.Poisson(rate=pg.param("r")[s] * u))
    p = {"s.first.probs": np.array([0.4, 0.6]), "s.probs": rng.dirichlet([1, 1], 2),
         "a": rng.gamma(2, 1, 2), "r": rng.gamma(2, 1, 2)}  # fmt: skip
    d = {"x": [rng.poisson(3, size).astype(float) for size in (3, 1, 4)]}
    d["x"][2][1] = np.nan

    def latent(x: float, k: int) -> Latent:
        child = (lambda g: np.zeros_like(g.u)) if np.isnan(x) else (
            lambda g: oracle.poisson(x, p["r"][k] * g.u))  # fmt: skip
        return Latent(oracle.gamma_grid(p["a"][k], 1.0), [child])

    def unit(values: Floats) -> Unit:
        found = []
        for path in product(range(2), repeat=len(values)):
            steps = [p["s.first.probs"][path[0]]]
            steps += [p["s.probs"][a, b] for a, b in pairwise(path)]
            latents = tuple(latent(x, k) for x, k in zip(values, path, strict=True))
            found.append(Configuration(path, float(np.log(steps).sum()), latents))
        return Unit.of(found)

    return Case(model, p, d, [unit(values) for values in d["x"]], "u")


def inflated(rng: np.random.Generator) -> Case:
    """A switch whose components know the latent or not: an atom, a count with it, one without."""
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=3))
        u = pg.latent("u", pg.Gamma())
        with pg.plate("i"):
            e = pg.covariate("e")
            pg.observed(
                "x", pg.switch(z, pg.Dirac(0), pg.Poisson(rate=pg.param("r") * u * e), pg.Poisson())
            )
            k = pg.observed("k", pg.Bernoulli(prob=0.5))
            pg.observed("y", pg.switch(k, pg.Exponential(rate=u), pg.Exponential(rate=0.7)))
    p = {"z.probs": rng.dirichlet([1, 1, 1]), "u.shape": 1.4, "u.rate": 0.8, "r": 1.7,
         "x.2.rate": 0.6}  # fmt: skip
    sizes = [2, 1, 0, 3, 2, 1]
    d = {
        "e": [rng.gamma(3, 1, s) for s in sizes],
        "x": [rng.poisson(0.5, s).astype(float) for s in sizes],
        "k": [rng.integers(0, 2, s).astype(float) for s in sizes],
        "y": [rng.gamma(1, 1, s) for s in sizes],
    }
    d["x"][0][:] = 0.0
    d["x"][3][1], d["y"][3][2] = np.nan, np.nan

    def latent(n: int, z: int) -> Latent:
        children: list[Any] = [lambda g: np.full_like(g.u, sizes[n] * np.log(0.5))]
        for e, x, k, y in zip(d["e"][n], d["x"][n], d["k"][n], d["y"][n], strict=True):
            if not np.isnan(x):
                atom = 0.0 if x == 0 else -np.inf
                children.append(
                    (
                        lambda g, atom=atom: np.full_like(g.u, atom),
                        lambda g, e=e, x=x: oracle.poisson(x, p["r"] * e * g.u),
                        lambda g, x=x: np.full_like(g.u, oracle.poisson(x, p["x.2.rate"])),
                    )[z]
                )
            if not np.isnan(y):
                children.append(
                    lambda g, k=k, y=y: oracle.exponential(y, 0.7 if k else g.u) + 0.0 * g.u
                )
        return Latent(oracle.gamma_grid(1.4, 0.8), children)

    units = [
        Unit.of(Configuration((k,), np.log(p["z.probs"][k]), (latent(n, k),)) for k in range(3))
        for n in range(N)
    ]
    return Case(model, p, d, units, "u")


def looking_back(rng: np.random.Generator) -> Case:
    """Children in a chain that look back: at a state, at their own value, from a first step."""
    with pg.Model("m") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        u = pg.latent("u", pg.Gamma(2.0, 3.0))
        back = pg.param("b")[s] * pg.prev("x")
        pg.observed("x", pg.Normal(mean=back, var=pg.param("v") / u))
        pg.observed(
            "y",
            pg.Poisson(rate=pg.param("r")[pg.prev(s)] * u),
            first=pg.Poisson(rate=pg.param("q") * u),
        )
    p = {"s.first.probs": np.array([0.4, 0.6]), "s.probs": rng.dirichlet([1, 1], 2),
         "b": rng.normal(size=2), "v": 0.7, "r": rng.gamma(2, 1, 2), "q": 1.3}  # fmt: skip
    d = {"x": [rng.normal(size=size) for size in (3, 1, 4)],
         "y": [rng.poisson(2, size).astype(float) for size in (3, 1, 4)]}  # fmt: skip
    d["y"][0][1], d["y"][2][0] = np.nan, np.nan

    def latent(n: int, t: int, path: tuple[int, ...]) -> Latent:
        x, y = d["x"][n], d["y"][n][t]
        children: list[Any] = [lambda g: np.zeros_like(g.u)]
        if t:
            mean = p["b"][path[t]] * x[t - 1]
            children.append(lambda g: oracle.normal(x[t], mean, p["v"] / g.u))
        if not np.isnan(y):
            rate = p["r"][path[t - 1]] if t else p["q"]
            children.append(lambda g: oracle.poisson(y, rate * g.u))
        return Latent(oracle.gamma_grid(2.0, 3.0), children)

    def unit(n: int) -> Unit:
        found = []
        for path in product(range(2), repeat=len(d["x"][n])):
            steps = [p["s.first.probs"][path[0]]]
            steps += [p["s.probs"][a, b] for a, b in pairwise(path)]
            latents = tuple(latent(n, t, path) for t in range(len(path)))
            found.append(Configuration(path, float(np.log(steps).sum()), latents))
        return Unit.of(found)

    return Case(model, p, d, [unit(n) for n in range(3)], "u")


def vectors(rng: np.random.Generator) -> Case:
    """Independent coordinates under one latent, some of them missing; two kinds of vectors."""
    with pg.Model("m") as model:
        u = pg.latent("u", pg.Gamma())
        pg.observed("x", pg.Poisson(rate=pg.param("r") * u, size=3))
        diagonal = pg.diagonal(pg.param("v") / u)
        pg.observed("y", pg.MvNormal(mean=pg.param("m"), cov=diagonal))
    p = {"u.shape": 1.4, "u.rate": 0.8, "r": rng.gamma(2, 1, 3), "v": rng.gamma(2, 1, 2),
         "m": rng.normal(size=2)}  # fmt: skip
    d = {"x": rng.poisson(2, (N, 3)).astype(float), "y": rng.normal(size=(N, 2))}
    d["x"][0, 1], d["x"][1], d["y"][2, 0] = np.nan, np.nan, np.nan

    def latent(n: int) -> Latent:
        children: list[Any] = [
            lambda g, k=k: oracle.poisson(d["x"][n, k], p["r"][k] * g.u)
            for k in range(3)
            if not np.isnan(d["x"][n, k])
        ]
        children.append(lambda g: oracle.mv_normal(d["y"][n], p["m"], np.diag(p["v"]), g.u))
        return Latent(oracle.gamma_grid(1.4, 0.8), children)

    units = [Unit.of([Configuration((), 0.0, (latent(n),))]) for n in range(N)]
    return Case(model, p, d, units, "u")


CASES: dict[str, Callable[[np.random.Generator], Case]] = {
    made.__name__: made
    for made in (gamma_poisson, groups, student, beta, chain, inflated, looking_back, vectors)
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_likelihood_and_posterior(name: str, seed: int) -> None:
    case = CASES[name](np.random.default_rng(seed))
    found = case.model.log_likelihood(case.data, case.params)
    np.testing.assert_allclose(found, [unit.log_p for unit in case.units], atol=1e-9)
    posterior = case.model.posterior(case.data, case.params)
    wanted = [
        [unit.moments(k) for k in range(len(unit.configurations[0].latents))] for unit in case.units
    ]
    mean, cov = posterior[case.latent]
    rows = [np.ravel(m) for m in mean], [np.ravel(c) for c in cov]
    for n, moments in enumerate(wanted):
        np.testing.assert_allclose(rows[0][n], [m for m, _ in moments], rtol=1e-8)
        np.testing.assert_allclose(rows[1][n], [v for _, v in moments], rtol=1e-7)
    if "z" in posterior:
        np.testing.assert_allclose(posterior["z"], [u.weights for u in case.units], atol=1e-9)


@pytest.mark.parametrize("name", ["gamma_poisson", "groups", "student", "beta"])
def test_expected_statistics(name: str) -> None:
    """The latent's own conditional gets Σ w (1, E[T(u)]), cell by cell."""
    case = CASES[name](np.random.default_rng(2))
    program = case.model.compile(case.data)
    params = {k: np.asarray(v, dtype=float) for k, v in case.params.items()}
    _, stats = sum_statistics(program.bind(case.data), params)
    (table,) = stats[case.latent].arrays
    share = name == "beta"
    for cell in range(len(table)):
        total = np.zeros(3)
        for unit in case.units:
            chosen = unit.configurations[cell]
            latent = chosen.latents[0]
            first = latent.expected(lambda g: g.log_u)
            second = latent.expected(lambda g: g.log_rest if share else g.u)
            total += unit.weights[cell] * np.array([1.0, first, second])
        np.testing.assert_allclose(table[cell], total, rtol=1e-8)


def test_statistics_of_children_weigh_by_the_expected_latent() -> None:
    case = gamma_poisson(np.random.default_rng(3))
    program = case.model.compile(case.data)
    _, stats = sum_statistics(program.bind(case.data), case.params)
    (counts,), (waits,) = stats["x"].arrays, stats["y"].arrays
    exposure, events, slope, weight = np.zeros(3), np.zeros(3), np.zeros(2), np.zeros(2)
    d = case.data
    for n, unit in enumerate(case.units):
        if n != 1:
            exposure[d["w"][n]] += d["years"][n] * unit.expected(lambda g: g.u)
            events[d["w"][n]] += d["x"][n]
        for k, chosen in enumerate(unit.configurations):
            if n != 2:
                mean = chosen.latents[0].expected(lambda g: g.u)
                weight[k] += unit.weights[k]
                slope[k] += unit.weights[k] * d["y"][n] / d["years"][n] * mean
    np.testing.assert_allclose(counts, np.stack([exposure, events], axis=1), rtol=1e-9)
    np.testing.assert_allclose(waits, np.stack([weight, slope], axis=1), rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_score_is_the_slope_of_q(name: str) -> None:
    """The expected statistics of every component have the right slope."""
    case = CASES[name](np.random.default_rng(4))
    slopes_agree(case.model, case.data, case.params)
