"""Sums over long tails at few values, against closed forms and SciPy."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as sp
from scipy.special import logsumexp

import pgem as pg
from pgem.families._tails import last_value, lowest_value, steps_before, tail_rule

Floats = NDArray[np.float64]


def tail(family: Any, slots: dict[str, float], after: float) -> tuple[Floats, Floats]:
    """Values beyond `after`, and log p(x) w."""
    values = {name: np.array([value]) for name, value in slots.items()}
    known = {name: values[name] for name in family.known_slots}
    x, log_weight = tail_rule(
        lambda x: family.log_density_at(x, values), after, last_value(family, known)
    )
    with np.errstate(divide="ignore"):
        return x, family.log_density_at(x, values) + log_weight if len(x) else np.zeros(0)


@pytest.mark.parametrize("prob", [0.9, 0.1, 1e-3, 1e-6, 1e-12])
@pytest.mark.parametrize("after", [0.0, 7.0, 1000.0])
def test_geometric(prob: float, after: float) -> None:
    """S = (1 - p)^(after + 1), and without memory E[x | x > after] = after + 1 + (1 - p) / p."""
    x, logs = tail(pg.Geometric(), {"prob": prob}, after)
    total = logsumexp(logs)
    assert total == pytest.approx((after + 1) * np.log1p(-prob), rel=1e-12, abs=1e-12)
    mean = float((np.exp(logs - total) * x).sum())
    assert mean == pytest.approx(after + 1 + (1 - prob) / prob, rel=1e-11)
    assert len(x) < 5000


CASES: list[tuple[Any, dict[str, float], Any, float]] = [
    (pg.Poisson(), {"rate": 5.0}, sp.poisson(5.0), 3),
    (pg.Poisson(), {"rate": 5.0}, sp.poisson(5.0), 60),
    (pg.Poisson(), {"rate": 2e4}, sp.poisson(2e4), 10),
    (pg.Poisson(), {"rate": 2e4}, sp.poisson(2e4), 21_000),
    (pg.NegativeBinomial(size=0.5), {"prob": 1e-2, "size": 0.5}, sp.nbinom(0.5, 1e-2), 7),
    (pg.NegativeBinomial(size=50), {"prob": 0.05, "size": 50.0}, sp.nbinom(50, 0.05), 7),
    (pg.Binomial(trials=5000), {"prob": 0.3, "trials": 5000.0}, sp.binom(5000, 0.3), 7),
    (pg.Binomial(trials=20), {"prob": 0.3, "trials": 20.0}, sp.binom(20, 0.3), 7),
    (pg.Zipf(ranks=3000), {"exponent": 1.5, "ranks": 3000.0}, sp.zipfian(1.5, 3000), 9),
    (pg.Logarithmic(), {"prob": 0.999}, sp.logser(0.999), 40),
]


@pytest.mark.parametrize(("family", "slots", "law", "after"), CASES)
def test_against_scipy(family: Any, slots: dict[str, float], law: Any, after: float) -> None:
    x, logs = tail(family, slots, after)
    far = np.arange(after + 1, after + 60_000)
    with np.errstate(all="ignore"):
        terms = law.logpmf(far)
    assert logsumexp(logs) == pytest.approx(logsumexp(terms), abs=1e-9)
    mean = (np.exp(logs - logsumexp(logs)) * x).sum()
    expected = (np.exp(terms - logsumexp(terms)) * far).sum()
    assert mean == pytest.approx(expected, rel=1e-9)


def test_nothing_beyond() -> None:
    """A tail without mass, and one that cannot be."""
    assert np.exp(tail(pg.Poisson(), {"rate": 0.0}, 3)[1]).sum() == 0.0
    assert np.exp(tail(pg.Geometric(), {"prob": 1.0}, 3)[1]).sum() == 0.0
    assert len(tail(pg.Zipf(ranks=5), {"exponent": 1.0, "ranks": 5.0}, 5)[0]) == 0


def test_a_million_steps_are_summed_quickly() -> None:
    tail(pg.Geometric(), {"prob": 1e-6}, 10)
    start = time.process_time()
    for _ in range(10):
        tail(pg.Geometric(), {"prob": 1e-6}, 10)
    assert time.process_time() - start < 2.0


def test_where_steps_are_counted_from() -> None:
    assert lowest_value(pg.Poisson()) == 0.0
    assert lowest_value(pg.Zipf(ranks=5)) == 1.0
    assert lowest_value(pg.Categorical(size=4)) == 0.0
    assert lowest_value(pg.Normal()) is None
    assert lowest_value(pg.Dirac(2.0)) is None
    assert [steps_before(f) for f in (pg.Poisson(), pg.Logarithmic())] == [1.0, 0.0]
