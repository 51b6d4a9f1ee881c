"""Chains with explicit durations, against the enumeration of all segmentations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as sp
from scipy.special import logsumexp

import pgem as pg
from pgem.routines import Semiring
from pgem.run import Bound, answer, make_schema, read_data, sum_statistics

Floats = NDArray[np.float64]


@dataclass
class Oracle:
    """One sequence under given parameters, every segmentation one by one.

    Attributes:
        emit: log-densities [T, K].
        first: probabilities of the first value [K].
        moves: transition table [K, K].
        lasts: log p(a segment of value k lasts d steps).
        ends: log p(it lasts d steps or more).
        pairs: further log-tables over the values of two steps [T, K, K].
    """

    emit: Floats
    first: Floats
    moves: Floats
    lasts: Callable[[int, int], float]
    ends: Callable[[int, int], float]
    pairs: Floats | None = None
    weights: list[float] = field(default_factory=list)
    segmentations: list[list[tuple[int, int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for segmentation in self.all(len(self.emit), -1):
            self.segmentations.append(segmentation)
            self.weights.append(self.log_weight(segmentation))

    def all(self, left: int, before: int) -> Iterator[list[tuple[int, int]]]:
        """Lists of (value, duration), neighbours different."""
        if not left:
            yield []
            return
        for lasts, value in itertools.product(range(1, left + 1), range(len(self.first))):
            if value != before:
                for rest in self.all(left - lasts, value):
                    yield [(value, lasts), *rest]

    def log_weight(self, segmentation: list[tuple[int, int]]) -> float:
        with np.errstate(divide="ignore"):
            total = float(np.log(self.first[segmentation[0][0]]))
            for (a, _), (b, _) in itertools.pairwise(segmentation):
                total += float(np.log(self.moves[a, b]))
        for value, lasts in segmentation[:-1]:
            total += self.lasts(value, lasts)
        total += self.ends(*segmentation[-1])
        path = self.path(segmentation)
        total += float(sum(self.emit[t, k] for t, k in enumerate(path)))
        if self.pairs is not None:
            total += float(sum(self.pairs[t, path[t - 1], path[t]] for t in range(1, len(path))))
        return total

    @staticmethod
    def path(segmentation: list[tuple[int, int]]) -> list[int]:
        return [value for value, lasts in segmentation for _ in range(lasts)]

    @property
    def log_p(self) -> float:
        return float(logsumexp(self.weights))

    def expect(self, function: Callable[[list[tuple[int, int]]], Any]) -> Any:
        shares = np.exp(np.array(self.weights) - self.log_p)
        return sum(
            share * np.asarray(function(found), dtype=float)
            for share, found in zip(shares, self.segmentations, strict=True)
        )

    def states(self) -> Floats:
        return np.asarray(self.expect(lambda s: np.eye(len(self.first))[self.path(s)]))

    def moves_expected(self) -> Floats:
        def count(segmentation: list[tuple[int, int]]) -> Floats:
            table = np.zeros(self.moves.shape)
            for (a, _), (b, _) in itertools.pairwise(segmentation):
                table[a, b] += 1
            return table

        return np.asarray(self.expect(count))

    def best(self) -> list[int]:
        return self.path(self.segmentations[int(np.argmax(self.weights))])


FAMILIES: dict[str, tuple[Any, dict[str, Any], Callable[[int], Any]]] = {
    # family, its parameters, and (value → frozen distribution of the number of steps)
    "Poisson": (pg.Poisson(), {"rate": [0.7, 2.0, 4.0]},
                lambda k: sp.poisson([0.7, 2.0, 4.0][k], loc=1)),
    "Geometric": (pg.Geometric(), {"prob": [0.3, 0.6, 0.05]},
                  lambda k: sp.geom([0.3, 0.6, 0.05][k])),
    "NegativeBinomial": (pg.NegativeBinomial(size=2.5), {"prob": [0.3, 0.6, 0.05]},
                         lambda k: sp.nbinom(2.5, [0.3, 0.6, 0.05][k], loc=1)),
    "Binomial": (pg.Binomial(trials=3), {"prob": [0.3, 0.6, 0.05]},
                 lambda k: sp.binom(3, [0.3, 0.6, 0.05][k], loc=1)),
    "Logarithmic": (pg.Logarithmic(), {"prob": [0.3, 0.6, 0.95]},
                    lambda k: sp.logser([0.3, 0.6, 0.95][k])),
    "Zipf": (pg.Zipf(ranks=4), {"exponent": [0.3, 1.6, 2.5]},
             lambda k: sp.zipfian([0.3, 1.6, 2.5][k], 4)),
    "long Zipf": (pg.Zipf(ranks=900), {"exponent": [0.3, 1.6, 2.5]},
                  lambda k: sp.zipfian([0.3, 1.6, 2.5][k], 900)),
    "Bernoulli": (pg.Bernoulli(), {"prob": [0.3, 0.6, 0.95]},
                  lambda k: sp.bernoulli([0.3, 0.6, 0.95][k], loc=1)),
    "Categorical": (pg.Categorical(size=4), {"probs": [[0.1, 0.2, 0.3, 0.4], [0.5, 0, 0.5, 0],
                                                       [0, 0, 0.2, 0.8]]},
                    lambda k: sp.rv_discrete(values=([1, 2, 3, 4], [
                        [0.1, 0.2, 0.3, 0.4], [0.5, 0, 0.5, 0], [0, 0, 0.2, 0.8]][k]))),
    "TruncatedPoisson": (pg.TruncatedPoisson(), {"rate": [0.7, 2.0, 4.0]}, None),
}  # fmt: skip


class Truncated:
    """The zero-truncated Poisson distribution."""

    def __init__(self, rate: float) -> None:
        self.whole = sp.poisson(rate)

    def logpmf(self, d: Any) -> Any:
        return self.whole.logpmf(d) - np.log(self.whole.sf(0))

    def logsf(self, d: int) -> float:
        return float(self.whole.logsf(d) - np.log(self.whole.sf(0))) if d else 0.0


@lru_cache(maxsize=64)
def frozen(name: str, k: int) -> Any:
    if name == "TruncatedPoisson":
        return Truncated([0.7, 2.0, 4.0][k])
    return FAMILIES[name][2](k)


@lru_cache(maxsize=1000)
def log_pmf(distribution: Any, d: int) -> float:
    """log p(D = d)."""
    with np.errstate(divide="ignore"):
        return float(distribution.logpmf(d))


@lru_cache(maxsize=1000)
def log_sf(distribution: Any, d: int) -> float:
    """log p(D ≥ d)."""
    with np.errstate(divide="ignore"):
        return float(distribution.logsf(d - 1)) if d > 1 else 0.0


MEAN, VAR = np.array([-1.0, 0.5, 2.0]), np.array([1.0, 0.5, 2.0])
FIRST = np.array([0.5, 0.2, 0.3])
MOVES = np.array([[0, 0.4, 0.6], [0.9, 0, 0.1], [0.5, 0.5, 0]])


def model_of(name: str, emission: bool = True) -> pg.Model:
    with pg.Model("segments") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s", duration=FAMILIES[name][0])
        if emission:
            pg.observed("y", pg.Normal(), given=s)
    return model


def params_of(name: str) -> dict[str, Any]:
    slots = FAMILIES[name][1]
    return {
        "s.probs": MOVES,
        "s.first.probs": FIRST,
        **{f"s.duration.{slot}": np.array(value, dtype=float) for slot, value in slots.items()},
        "y.mean": MEAN,
        "y.var": VAR,
    }


def draw(seed: int, lengths: tuple[int, ...] = (1, 2, 5, 6, 4)) -> list[Floats]:
    generator = np.random.default_rng(seed)
    return [2 * generator.normal(size=n) for n in lengths]


def oracle_of(name: str, y: Floats, emit: Floats | None = None) -> Oracle:
    table = sp.norm.logpdf(y[:, None], MEAN, np.sqrt(VAR)) if emit is None else emit
    table = np.where(np.isnan(table), 0.0, table)
    return Oracle(
        table,
        FIRST,
        MOVES,
        lambda k, d: log_pmf(frozen(name, k), d),
        lambda k, d: log_sf(frozen(name, k), d),
    )


def bound_of(model: pg.Model, data: dict[str, Any]) -> Bound:
    program = model.compile(data)
    columns = read_data(data, program.outline, fitting=False)
    return Bound(program.variant(make_schema(columns)), columns)


@pytest.fixture(params=["numpy", "compiled"])
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with either twin of the recursions."""
    limit = np.inf if request.param == "numpy" else 0
    monkeypatch.setattr(import_module("pgem.routines.segments"), "COMPILED_FROM", limit)
    return str(request.param)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("name", list(FAMILIES))
def test_likelihood_and_posterior(name: str) -> None:
    model, y = model_of(name), draw(1)
    oracles = [oracle_of(name, row) for row in y]
    params = params_of(name)
    expected = [oracle.log_p for oracle in oracles]
    np.testing.assert_allclose(model.log_likelihood({"y": y}, params), expected, atol=1e-9)
    found = model.posterior({"y": y}, params, joint=[("s", pg.prev("s"))])
    for oracle, table, joint in zip(oracles, found["s"], found["s", pg.prev("s")], strict=True):
        np.testing.assert_allclose(table, oracle.states(), atol=1e-9)
        for t in range(1, len(table)):
            pairs = oracle.expect(
                lambda s, t=t, o=oracle: np.outer(
                    np.eye(3)[o.path(s)[t]], np.eye(3)[o.path(s)[t - 1]]
                )
            )
            np.testing.assert_allclose(joint[t], pairs, atol=1e-9)


@lru_cache(maxsize=1000)
def expected_steps(name: str, k: int, d: int) -> float:
    """E[T(D) | D ≥ d], summed far."""
    far = np.arange(d, 400 if name == "TruncatedPoisson" else 4000)
    law = frozen(name, k)
    with np.errstate(all="ignore"):
        logs = np.asarray(law.logpmf(far))
    share = np.exp(logs - logsumexp(logs))
    return float((share * STATISTICS[name](far)).sum())


STATISTICS: dict[str, Callable[[Floats], Floats]] = {
    "Poisson": lambda d: d - 1,
    "Geometric": lambda d: d - 1,
    "NegativeBinomial": lambda d: d - 1,
    "Binomial": lambda d: d - 1,
    "Logarithmic": lambda d: d - 1,
    "Zipf": np.log,
    "long Zipf": np.log,
    "Bernoulli": lambda d: d - 1,
    "TruncatedPoisson": lambda d: d - 1,
}


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("name", list(FAMILIES))
def test_expected_statistics(name: str) -> None:
    """Transitions, first values, durations seen in full and durations that were cut off."""
    model, y = model_of(name), draw(2)
    _, stats = sum_statistics(bound_of(model, {"y": y}), params_of(name))
    oracles = [oracle_of(name, row) for row in y]
    np.testing.assert_allclose(
        stats["s"].arrays[0], sum(o.moves_expected() for o in oracles), atol=1e-9
    )
    first = sum(o.expect(lambda s: np.eye(3)[s[0][0]]) for o in oracles)
    np.testing.assert_allclose(stats["s.first"].arrays[0][0], first, atol=1e-9)
    table = stats["s.duration"].arrays[0]
    if name == "Categorical":
        expected = sum(o.expect(categorical_durations) for o in oracles)
        np.testing.assert_allclose(table, expected, atol=1e-9)
        return
    function = STATISTICS[name]

    def count(segmentation: list[tuple[int, int]]) -> Floats:
        rows = np.zeros((3, 2))
        for k, d in segmentation[:-1]:
            rows[k] += [1.0, function(np.array([d]))[0]]
        k, d = segmentation[-1]
        if np.isfinite(log_sf(frozen(name, k), d)):
            rows[k] += [1.0, expected_steps(name, k, d)]
        return rows

    expected = sum(o.expect(count) for o in oracles)
    columns = [0, 1]
    if name in ("Geometric", "NegativeBinomial"):
        columns = [0, 2]  # (1 or size, failures)
    if name == "Binomial":
        columns = [0, 1]  # successes first
    if name == "Bernoulli":
        columns = [0, 1]
    np.testing.assert_allclose(table[:, columns], expected, rtol=1e-9, atol=1e-8)


def categorical_durations(segmentation: list[tuple[int, int]]) -> Floats:
    probs = np.array(FAMILIES["Categorical"][1]["probs"])
    rows = np.zeros((3, 4))
    for k, d in segmentation[:-1]:
        if d <= 4:
            rows[k, d - 1] += 1
    k, d = segmentation[-1]
    beyond = probs[k, d - 1 :].sum()
    if beyond > 0:
        rows[k, d - 1 :] += probs[k, d - 1 :] / beyond
    return rows


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("name", ["Poisson", "Categorical", "Zipf"])
def test_decoding(name: str) -> None:
    model, y = model_of(name), draw(3)
    params = params_of(name)
    fit = model.fit({"y": y}, start=params, max_iter=0)
    decoded = fit.decode({"y": y})["s"]
    oracles = [oracle_of(name, row) for row in y]
    for oracle, path in zip(oracles, decoded, strict=True):
        assert path.tolist() == oracle.best()
    joint = model.log_likelihood({"y": y, "s": decoded}, params)
    np.testing.assert_allclose(joint, [max(o.weights) for o in oracles], atol=1e-9)
    hard = sum_statistics(bound_of(model, {"y": y}), params, pg_max())[0]
    np.testing.assert_allclose(hard, [max(o.weights) for o in oracles], atol=1e-9)


def pg_max() -> Any:
    from pgem.routines import Semiring

    return Semiring("max")


@pytest.mark.usefixtures("loops")
def test_posterior_draws() -> None:
    model, y = model_of("Poisson"), draw(4, (5,))
    params = params_of("Poisson")
    many = [y[0]] * 4000
    program = model.compile({"y": many})
    columns = read_data({"y": many}, program.outline, fitting=False)
    asked = program.variant(replace(program.schema, queries=((("s", 0),),)))
    semiring = Semiring("sample", np.random.default_rng(0))
    drawn = answer(Bound(asked, columns), params, semiring, modes=[0]).tables[0].reshape(4000, 5)
    share = (drawn[:, :, None] == np.arange(3)).mean(axis=0)
    np.testing.assert_allclose(share, oracle_of("Poisson", y[0]).states(), atol=0.04)
    paths, counts = np.unique(drawn, axis=0, return_counts=True)
    oracle = oracle_of("Poisson", y[0])
    best = counts[(paths == oracle.best()).all(axis=1)] / 4000
    np.testing.assert_allclose(best, np.exp(max(oracle.weights) - oracle.log_p), atol=0.04)


@pytest.mark.usefixtures("loops")
def test_holes_and_given_values() -> None:
    model, params = model_of("Poisson"), params_of("Poisson")
    y, s = draw(5)[2:], [np.full(n, np.nan) for n in (5, 6, 4)]
    y[0][[1, 4]] = np.nan
    s[1][2:4] = [1, 1]
    s[2][0] = 2
    expected = []
    for row, given in zip(y, s, strict=True):
        emit = sp.norm.logpdf(row[:, None], MEAN, np.sqrt(VAR))
        emit = np.where(np.isnan(emit), 0.0, emit)
        barred = ~np.isnan(given)[:, None] & (given[:, None] != np.arange(3))
        expected.append(oracle_of("Poisson", row, np.where(barred, -np.inf, emit)).log_p)
    found = model.log_likelihood({"y": y, "s": s}, params)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.usefixtures("loops")
def test_values_given_throughout() -> None:
    model, params = model_of("Poisson"), params_of("Poisson")
    s = [np.array([0, 0, 1, 2, 2, 2]), np.array([1])]
    y = draw(6, (6, 1))
    oracle = oracle_of("Poisson", y[0])
    expected = [
        oracle.log_weight([(0, 2), (1, 1), (2, 3)]),
        oracle_of("Poisson", y[1]).log_weight([(1, 1)]),
    ]
    np.testing.assert_allclose(model.log_likelihood({"y": y, "s": s}, params), expected, atol=1e-9)
    found = model.posterior({"y": y, "s": s}, params)["s"]
    np.testing.assert_allclose(found[0], np.eye(3)[s[0]], atol=1e-12)


@pytest.mark.usefixtures("loops")
def test_a_table_over_two_steps() -> None:
    """An emission that depends on the last two values of the chain."""
    with pg.Model("pairs") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s", duration=pg.Poisson())
        pg.observed("y", pg.Normal(), given=[s, pg.prev(s)])
    generator = np.random.default_rng(7)
    mean = generator.normal(size=(3, 3))
    params = {n: v for n, v in params_of("Poisson").items() if not n.startswith("y")}
    params |= {"y.mean": mean, "y.var": np.ones((3, 3))}
    y = draw(8)
    expected, states = [], []
    for row in y:
        pairs = sp.norm.logpdf(row[:, None, None], mean.T, 1.0)
        oracle = oracle_of("Poisson", row, np.zeros((len(row), 3)))
        full = Oracle(oracle.emit, FIRST, MOVES, oracle.lasts, oracle.ends, pairs)
        expected.append(full.log_p)
        states.append(full.states())
    np.testing.assert_allclose(model.log_likelihood({"y": y}, params), expected, atol=1e-9)
    for table, wanted in zip(model.posterior({"y": y}, params)["s"], states, strict=True):
        np.testing.assert_allclose(table, wanted, atol=1e-9)
