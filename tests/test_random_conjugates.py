"""Random models with a conjugate latent, against quadrature: scopes, gates, children, holes.

A unit has a latent class z; in plates inside it live further classes w and observed classes o; the
continuous latent u lives in the unit or in the outer plate, its children there or further inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import conjugate_oracle as oracle
import numpy as np
import pytest
from conjugate_oracle import Floats, Grid
from scipy.special import logsumexp

import pgem as pg

UNIT, OUTER, INNER = range(3)
N = 4


@dataclass
class Drawn:
    """One random model, its parameters and data.

    Attributes:
        share: a Beta latent instead of a Gamma.
        home: where the latent lives.
        own: classes that gate the latent.
        children: family, scope, classes that gate it, whether it has an exposure.
        p: parameters.
        d: data per scope as nested lists.
    """

    rng: np.random.Generator
    share: bool = False
    home: int = UNIT
    own: tuple[str, ...] = ()
    children: list[tuple[str, int, tuple[str, ...], bool]] = field(default_factory=list)
    p: dict[str, Any] = field(default_factory=dict)
    d: dict[str, Any] = field(default_factory=dict)


def draw(seed: int) -> Drawn:
    """A random structure."""
    rng = np.random.default_rng(seed)
    share, home = bool(rng.random() < 0.3), int(rng.integers(0, 2))
    classes = ["z"] + (["w"] if home == OUTER else [])
    own = tuple(c for c in classes if rng.random() < 0.6)
    kinds = ["Bernoulli", "Binomial", "Geometric"] if share else [
        "Poisson", "Exponential", "Gamma", "Normal"]  # fmt: skip
    children = []
    for _ in range(rng.integers(1, 4)):
        scope = int(rng.integers(home, 3))
        free = [*classes, *(["o"] if scope >= OUTER else [])]
        gates = () if share else tuple(c for c in free if rng.random() < 0.4)
        children.append((str(rng.choice(kinds)), scope, gates, bool(rng.random() < 0.5)))
    return Drawn(rng, share, home, own, children)


def declare(m: Drawn) -> pg.Model:
    """The model in the language."""
    with pg.Model("random") as model:
        nodes: dict[str, Any] = {"z": pg.latent("z", pg.Categorical(size=2))}
        _declare_scope(m, UNIT, nodes)
        with pg.plate("outer"):
            if m.home == OUTER:
                nodes["w"] = pg.latent("w", pg.Categorical(size=2))
            nodes["o"] = pg.observed("o", pg.Categorical(size=2))
            _declare_scope(m, OUTER, nodes)
            with pg.plate("inner"):
                pg.observed("any", pg.Poisson(rate=1.0))
                _declare_scope(m, INNER, nodes)
    return model


def _declare_scope(m: Drawn, scope: int, nodes: dict[str, Any]) -> None:
    if scope == m.home:
        gates = [nodes[name] for name in m.own]
        nodes["u"] = pg.latent("u", pg.Beta() if m.share else pg.Gamma(), given=gates or None)
    for k, (kind, home, gates_, exposed) in enumerate(m.children):
        if home != scope:
            continue
        u = nodes["u"]
        if m.share:
            family = {"trials": 4} if kind == "Binomial" else {}
            pg.observed(f"x{k}", getattr(pg, kind)(prob=u, **family))
            continue
        c = pg.param(f"c{k}")
        product: Any = c[tuple(nodes[g] for g in gates_)] if gates_ else c
        if exposed:
            product = product * pg.covariate(f"e{k}")
        if kind == "Normal":
            pg.observed(f"x{k}", pg.Normal(mean=0.5, var=product / u))
        elif kind == "Gamma":
            pg.observed(f"x{k}", pg.Gamma(shape=1.5, rate=product * u))
        else:
            pg.observed(f"x{k}", getattr(pg, kind)(rate=product * u))


def fill(m: Drawn) -> None:
    """Random parameters and data, with holes and given latents."""
    rng = m.rng
    m.p = {"z.probs": rng.dirichlet([1, 1]), "o.probs": rng.dirichlet([1, 1])}
    if m.home == OUTER:
        m.p["w.probs"] = rng.dirichlet([1, 1])
    for slot in ("a", "b") if m.share else ("shape", "rate"):
        m.p[f"u.{slot}"] = rng.gamma(2, 1, (2,) * len(m.own)) + 0.2
    for k, (_, _, gates, _) in enumerate(m.children):
        if not m.share:
            m.p[f"c{k}"] = rng.gamma(2, 1, (2,) * len(gates)) + 0.1
    outer = rng.integers(0, 3, N)
    outer[0] = 2
    inner = [rng.integers(0, 3, size) for size in outer]
    inner[0][0] = 1
    m.d = {"o": [rng.integers(0, 2, size).tolist() for size in outer]}
    m.d["any"] = [[[1.0] * s for s in sizes] for sizes in inner]

    def shaped(scope: int, make: Callable[[], float]) -> Any:
        if scope == UNIT:
            return [make() for _ in range(N)]
        if scope == OUTER:
            return [[make() for _ in range(size)] for size in outer]
        return [[[make() for _ in range(s)] for s in sizes] for sizes in inner]

    makers: dict[str, Callable[[], float]] = {
        "Poisson": lambda: float(rng.poisson(2)), "Exponential": lambda: float(rng.gamma(1)),
        "Gamma": lambda: float(rng.gamma(1)), "Normal": lambda: float(rng.normal()),
        "Bernoulli": lambda: float(rng.integers(0, 2)),
        "Binomial": lambda: float(rng.integers(0, 5)),
        "Geometric": lambda: float(rng.integers(0, 4)),
    }  # fmt: skip
    for k, (kind, scope, _, exposed) in enumerate(m.children):
        m.d[f"x{k}"] = shaped(scope, lambda f=makers[kind]: np.nan if rng.random() < 0.15 else f())  # type: ignore[misc]
        if exposed and not m.share:
            m.d[f"e{k}"] = shaped(scope, lambda: float(rng.gamma(3)))
    if rng.random() < 0.3:
        value = (lambda: float(rng.beta(2, 2))) if m.share else (lambda: float(rng.gamma(2)))
        m.d["u"] = shaped(m.home, lambda: value() if rng.random() < 0.4 else np.nan)


# --- the oracle ----------------------------------------------------------------------------------


def log_child(m: Drawn, k: int, x: float, exposure: float, c: float, g: Grid) -> Any:
    """log p(x | u) at all nodes of a grid."""
    kind = m.children[k][0]
    if np.isnan(x):
        return 0.0
    if kind == "Poisson":
        return oracle.poisson(x, c * exposure * g.u)
    if kind == "Exponential":
        return oracle.exponential(x, c * exposure * g.u)
    if kind == "Gamma":
        return oracle.gamma(x, 1.5, c * exposure * g.u)
    if kind == "Normal":
        return oracle.normal(x, 0.5, c * exposure / g.u)
    if kind == "Geometric":
        return g.log_u + x * g.log_rest
    return oracle.binomial(x, 1.0 if kind == "Bernoulli" else 4.0)(g)


def rows_below(m: Drawn, n: int, place: tuple[int, ...], scope: int) -> list[tuple[int, ...]]:
    """Rows of a scope below one row of the latent's scope."""
    if scope == len(place):
        return [place]
    o = range(len(m.d["o"][n])) if not place else [place[0]]
    if scope == OUTER:
        return [(i,) for i in o]
    return [(i, j) for i in o for j in range(len(m.d["any"][n][i]))]


def read(values: Any, n: int, place: tuple[int, ...]) -> Any:
    """One value of nested lists."""
    found = values[n]
    for k in place:
        found = found[k]
    return found


def log_home_row(
    m: Drawn, n: int, place: tuple[int, ...], seen: dict[str, int]
) -> tuple[Any, Grid]:
    """Log of the joint density of u and all its children, at the nodes of a grid."""
    index = tuple(seen[name] for name in m.own)
    first, second = (m.p[f"u.{s}"][index] for s in (("a", "b") if m.share else ("shape", "rate")))
    grid = (oracle.beta_grid if m.share else oracle.gamma_grid)(float(first), float(second))
    given = read(m.d["u"], n, place) if "u" in m.d else np.nan
    if not np.isnan(given):
        log = np.log(given)
        rest = np.log1p(-given) if m.share else 0.0
        density = (
            oracle.betaln(first, second)
            if m.share
            else oracle.gammaln(first) - first * np.log(second)
        )
        prior = (first - 1) * log + ((second - 1) * rest if m.share else -second * given) - density
        grid = Grid(np.array([given]), np.array([log]), np.array([rest]), np.array([prior]))
    total = grid.log_weight
    for k, (_, scope, gates, exposed) in enumerate(m.children):
        for row in rows_below(m, n, place, scope):
            values = {**seen, "o": m.d["o"][n][row[0]] if row else 0}
            c = 1.0 if m.share else m.p[f"c{k}"][tuple(values[g] for g in gates)]
            e = read(m.d[f"e{k}"], n, row) if exposed and not m.share else 1.0
            total = total + log_child(m, k, read(m.d[f"x{k}"], n, row), e, c, grid)
    return total, grid


def log_unit(m: Drawn, n: int) -> tuple[float, Floats, Any]:
    """log p(unit), posterior of z, and the posterior means of u per home row."""
    places = [()] if m.home == UNIT else [(i,) for i in range(len(m.d["o"][n]))]
    logs, means = [], []
    for z in range(2):
        total, found = float(np.log(m.p["z.probs"][z])), []
        for place in places:
            tables, nodes = [], []
            for w in range(2) if m.home == OUTER else [0]:
                table, grid = log_home_row(m, n, place, {"z": z, "w": w})
                prior = np.log(m.p["w.probs"][w]) if m.home == OUTER else 0.0
                tables.append(table + prior)
                nodes.append(grid.u)
            joint, u = np.concatenate(tables), np.concatenate(nodes)
            level = float(logsumexp(joint))
            total += level
            found.append(float(np.exp(joint - level) @ u))
        logs.append(total)
        means.append(found)
    level = float(logsumexp(logs))
    weights = np.exp(np.array(logs) - level)
    seen = sum(float(np.log(m.p["o.probs"][o])) for o in m.d["o"][n])
    seen += sum(-1.0 for sizes in m.d["any"][n] for _ in sizes)  # Poisson(1; 1)
    return level + seen, weights, weights @ np.array(means).reshape(2, len(places))


@pytest.mark.parametrize("seed", range(40))
def test_equals_quadrature(seed: int) -> None:
    m = draw(seed)
    fill(m)
    model = declare(m)
    found = model.log_likelihood(m.d, m.p)
    posterior = model.posterior(m.d, m.p)
    for n in range(N):
        log_p, weights, means = log_unit(m, n)
        assert found[n] == pytest.approx(log_p, abs=1e-8)
        np.testing.assert_allclose(posterior["z"][n], weights, atol=1e-8)
        np.testing.assert_allclose(np.ravel(posterior["u"].mean[n]), np.ravel(means), rtol=1e-7)


@pytest.mark.parametrize("seed", range(40, 48))
def test_em_climbs(seed: int) -> None:
    """The likelihood never falls, and where it stops every score is small."""
    m = draw(seed)
    fill(m)
    fit = declare(m).fit(m.d, start=m.p, max_iter=40, tol=0)
    assert np.diff(fit.trace).min() >= -1e-9 * (1 + abs(fit.log_likelihood))
