"""Random graphs with links against twins without: a saturated link is a table that an index gates.

With a covariate u of values 0 and 1, `a[z] + b[z] * u` behind a link says as much as a table
`q[z, u]`.  The twin's index gates take other paths through the compiler, and random graphs hold
them against enumeration elsewhere.  So the two must agree in everything: likelihoods, posteriors,
moments of holes, decoded values, and the whole path of EM.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax

import pgem as pg
from pgem.arrays import Floats

LEAVES = {
    "Bernoulli": ("prob", "logit", ""),
    "Binomial": ("prob", "logit", "trials=4"),
    "Geometric": ("prob", "logit", ""),
    "Poisson": ("rate", "log_rate", ""),
    "Exponential": ("rate", "log_rate", ""),
    "Categorical": ("probs", "logits", "size=3"),
    "Multinomial": ("probs", "logits", "size=3"),
}
INVERSE = {"prob": expit, "rate": np.exp, "probs": lambda eta: softmax(eta, axis=-1)}


@dataclass
class Pair:
    """A model with links and its twin, with parameters for both."""

    seed: int
    lines: list[str] = field(default_factory=lambda: ['with pg.Model("case") as m:'])
    twins: list[str] = field(default_factory=lambda: ['with pg.Model("case") as m:'])
    params: dict[str, Floats] = field(default_factory=dict)
    twin_params: dict[str, Floats] = field(default_factory=dict)
    depth: int = 1

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def say(self, line: str, twin: str | None = None) -> None:
        self.lines.append("    " * self.depth + line)
        self.twins.append("    " * self.depth + (twin or line))

    def covariate(self, name: str) -> None:
        self.say(f'{name} = pg.covariate("{name}")', f'{name} = pg.covariate("{name}", size=2)')

    def slot(self, name: str, family: str, gates: dict[str, int], u: str) -> tuple[str, str]:
        """What stands in the slot of both, and values for the parameters."""
        plain, link, extra = LEAVES[family]
        inside = f"[{', '.join(gates)}]" if gates else ""
        terms = f'pg.param("{name}_a"){inside} + pg.param("{name}_b"){inside} * {u}'
        table = f'pg.param("{name}_q")[{", ".join([*gates, u])}]'
        own = (3,) if plain == "probs" else ()
        a, b = (0.8 * self.rng.normal(size=(*gates.values(), *own)) for _ in range(2))
        if own:
            a[..., 0] = b[..., 0] = 0.0
        self.params |= {f"{name}_a": a, f"{name}_b": b}
        eta = np.stack([a, a + b], axis=len(gates))
        self.twin_params[f"{name}_q"] = INVERSE[plain](eta)
        tail = f", {extra}" if extra else ""
        return f"pg.{family}({link}={terms}{tail})", f"pg.{family}({plain}={table}{tail})"

    def node(self, word: str, name: str, family: str, gates: dict[str, int], u: str,
             more: str = "") -> None:  # fmt: skip
        one, two = self.slot(name, family, gates, u)
        head = f'{name} = pg.{word}("{name}", '
        self.say(f"{head}{one}{more})", f"{head}{two}{more})")

    def some(self, gates: dict[str, int]) -> dict[str, int]:
        return {gate: size for gate, size in gates.items() if self.rng.random() < 0.6}

    def leaf(self, name: str, gates: dict[str, int], u: str) -> None:
        self.node("observed", name, str(self.rng.choice(list(LEAVES))), self.some(gates), u)

    @property
    def models(self) -> tuple[pg.Model, pg.Model]:
        found = []
        for lines in (self.lines, self.twins):
            space: dict[str, Any] = {"pg": pg}
            exec("\n".join(lines), space)
            found.append(space["m"])
        return found[0], found[1]


def latents(pair: Pair, gates: dict[str, int], u: str, stem: str) -> dict[str, int]:
    """One or two latents, the second below the first."""
    found = dict(gates)
    for k in range(int(pair.rng.integers(1, 3))):
        name = f"{stem}{k}"
        family, size = [("Bernoulli", 2), ("Categorical", 3)][int(pair.rng.integers(2))]
        pair.node("latent", name, family, pair.some(found), u)
        found[name] = size
    return found


def unit_graph(pair: Pair) -> None:
    pair.covariate("u")
    gates = latents(pair, {}, "u", "z")
    for k in range(3):
        pair.leaf(f"x{k}", gates, "u")


def plate_graph(pair: Pair) -> None:
    pair.covariate("u")
    gates = latents(pair, {}, "u", "z")
    pair.say('with pg.plate("p"):')
    pair.depth += 1
    pair.covariate("v")
    gates = latents(pair, gates, "v", "w")
    pair.leaf("x0", gates, "v")
    pair.leaf("x1", gates, "u")


def chain_graph(pair: Pair) -> None:
    pair.covariate("u")
    gates = latents(pair, {}, "u", "z")
    pair.say('with pg.sequence("t"):')
    pair.depth += 1
    pair.covariate("v")
    first = pair.slot("s_first", "Categorical", pair.some(gates), "u")
    step = pair.slot("s", "Categorical", {'pg.prev("s")': 3, **pair.some(gates)}, "v")
    texts = [f's = pg.latent("s", {a}, first={b})' for a, b in zip(step, first, strict=True)]
    pair.say(*texts)
    pair.leaf("x0", {**gates, "s": 3}, "v")
    pair.node("observed", "x1", "Poisson", {"s": 3}, "v")


GRAPHS = {"unit": unit_graph, "plate": plate_graph, "chain": chain_graph}


def make(kind: str, seed: int, n: int = 7) -> tuple[Pair, pg.Model, pg.Model, dict[str, Any]]:
    """Both models, and data with holes drawn from the first."""
    pair = Pair(seed)
    GRAPHS[kind](pair)
    linked, plain = pair.models
    rng = pair.rng
    lengths = rng.integers(1, 5, n)
    data: dict[str, Any] = {"u": rng.integers(0, 2, n)}
    for name in linked.compile().outline.covariates:
        if name == "v":
            data["v"] = [rng.integers(0, 2, k) for k in lengths]
    ragged = kind != "unit"
    for name, node in linked.compile().outline.nodes.items():
        family = type(node.families[0]).__name__
        rows = n if node.scope == "unit" else int(lengths.sum())
        if node.kind == "latent":
            if rng.random() > 0.2:
                continue
            values = rng.integers(0, 2, rows).astype(float)
            values[rng.random(rows) < 0.6] = np.nan
        else:
            values = values_of(rng, family, rows)
            values[1 + np.flatnonzero(rng.random(rows - 1) < 0.2)] = np.nan
        inner = ragged and node.scope != "unit"
        data[name] = np.split(values, np.cumsum(lengths)[:-1]) if inner else values
    return pair, linked, plain, data


def values_of(rng: np.random.Generator, family: str, rows: int) -> Floats:
    if family == "Multinomial":
        return rng.multinomial(4, [0.3, 0.3, 0.4], rows).astype(float)
    if family == "Exponential":
        return rng.exponential(1.0, rows)
    top = {"Bernoulli": 2, "Categorical": 3, "Binomial": 5}.get(family, 4)
    return rng.integers(0, top, rows).astype(float)


def flat(values: Any) -> Floats:
    """Nested or not, one array."""
    if isinstance(values, list):
        return np.concatenate([flat(part).reshape(len(part), -1) for part in values])
    array = np.asarray(values, dtype=float)
    return array.reshape(len(array), -1)


every = pytest.mark.parametrize("kind", list(GRAPHS))
seeds = pytest.mark.parametrize("seed", range(12))


@every
@seeds
def test_answers_are_those_of_the_twin(kind: str, seed: int) -> None:
    pair, linked, plain, data = make(kind, seed)
    one = linked.log_likelihood(data, pair.params)
    assert one == pytest.approx(plain.log_likelihood(data, pair.twin_params), abs=1e-9)
    found, wanted = (m.posterior(data, p) for m, p in zip(
        (linked, plain), (pair.params, pair.twin_params), strict=True))  # fmt: skip
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        if isinstance(value, tuple):
            assert flat(found[name].mean) == pytest.approx(flat(value.mean), abs=1e-9)
            assert flat(found[name].cov) == pytest.approx(flat(value.cov), abs=1e-9)
        else:
            assert flat(found[name]) == pytest.approx(flat(value), abs=1e-9)
    fits = [linked.fit(data, start=pair.params, max_iter=0),
            plain.fit(data, start=pair.twin_params, max_iter=0)]  # fmt: skip
    decoded = [fit.decode(data) for fit in fits]
    for name in decoded[0]:
        assert (flat(decoded[0][name]) == flat(decoded[1][name])).all()


@every
@seeds
def test_em_takes_the_path_of_the_twin(kind: str, seed: int) -> None:
    """Saturated links maximise Q where tables of proportions and rates do."""
    pair, linked, plain, data = make(kind, seed, 90)
    weights = np.random.default_rng(seed).choice([0.5, 1.0, 2.0], 90)
    trace, twin = (
        m.fit(data, start=p, weights=weights, max_iter=3, tol=0).trace
        for m, p in ((linked, pair.params), (plain, pair.twin_params))
    )
    assert len(trace) == 4
    assert trace == pytest.approx(twin, abs=1e-8)
