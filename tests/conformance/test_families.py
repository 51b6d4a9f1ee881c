"""Every family on the shelf passes the conformance kit, in every structure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import pgem.families as shelf
from pgem.families import Family
from pgem.testing import check_family

FAMILIES = [
    thing
    for name in shelf.__all__
    if isinstance(thing := getattr(shelf, name), type)
    and issubclass(thing, Family)
    and thing is not Family
]


def variants() -> list[object]:
    """Each family, and each structure of its matrix slot."""
    found: list[object] = []
    for family in FAMILIES:
        matrix = next((slot.name for slot in family.slots if slot.axes == "dd"), None)
        found.append(pytest.param(family(), id=family.__name__))
        if family in (shelf.Dirichlet, shelf.VonMisesFisher):
            found.append(pytest.param(family().settled(3, {}), id=f"{family.__name__}-3"))
        for structure in ("diagonal", "spherical") if matrix else ():
            settled = family().settled(2, {matrix: structure})
            found.append(pytest.param(settled, id=f"{family.__name__}-{structure}"))
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", variants())
def test_conforms(family: Family, seed: int) -> None:
    report = check_family(family, seed=seed)
    assert report.passed
    assert type(family).__name__ in str(report)


def test_shelf_is_complete_and_sorted() -> None:
    assert sorted(shelf.__all__) == shelf.__all__
    assert {"Bernoulli", "Binomial", "Dirac", "Exponential", "Gamma", "Geometric"} <= {
        family.__name__ for family in FAMILIES
    }


@pytest.mark.parametrize("family", [f for f in FAMILIES if f is not shelf.Dirac])
def test_every_density_has_a_twin_in_scipy(family: type[Family]) -> None:
    assert family.scipy_twin is not Family.scipy_twin


ROWS = np.array([0.5, 2.0, 7.25])
COUNTS = np.array([0.0, 1.0, 4.0])
P = np.array([0.2, 0.7])
POSITIVE = np.array([0.3, 11.0])
DIRECT = [
    (shelf.Bernoulli, {"prob": P}, COUNTS[:2], stats.bernoulli(P).logpmf),
    (shelf.Geometric, {"prob": P}, COUNTS, stats.geom(P, loc=-1).logpmf),
    (shelf.Poisson, {"rate": POSITIVE}, COUNTS, stats.poisson(POSITIVE).logpmf),
    (shelf.Exponential, {"rate": POSITIVE}, ROWS, stats.expon(scale=1 / POSITIVE).logpdf),
    (
        shelf.Gamma,
        {"shape": POSITIVE, "rate": POSITIVE[::-1]},
        ROWS,
        stats.gamma(POSITIVE, scale=1 / POSITIVE[::-1]).logpdf,
    ),
    (shelf.Normal, {"mean": P, "var": POSITIVE}, ROWS, stats.norm(P, POSITIVE**0.5).logpdf),
]


@pytest.mark.parametrize(("family", "slots", "x", "log_density"), DIRECT)
def test_log_density_of_scalars(family, slots, x, log_density) -> None:
    found = family().log_density(family().observe(x), slots)
    np.testing.assert_allclose(found, log_density(x[:, None]), rtol=1e-11, atol=1e-12)


def test_log_density_of_binomial_rows() -> None:
    x, trials = np.array([0.0, 3.0, 9.0]), np.array([0.0, 8.0, 9.0])
    family = shelf.Binomial()
    found = family.log_density(family.observe(x, {"trials": trials}), {"prob": P})
    expected = stats.binom(trials[:, None], P).logpmf(x[:, None])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_log_density_of_multinomial_rows() -> None:
    x, probs = np.array([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), np.array([[0.2, 0.5, 0.3]])
    family = shelf.Multinomial().settled(3, {})
    found = family.log_density(family.observe(x), {"probs": probs})
    np.testing.assert_allclose(found[0], stats.multinomial(3, probs[0]).logpmf(x[0]))
    assert found[1, 0] == 0.0


def test_log_density_of_vectors() -> None:
    mean, cov = np.array([[1e6, 0.0]]), np.array([[[2.0, 0.9], [0.9, 1.0]]])
    x = mean + np.array([[0.5, -1.0], [3.0, 2.0]])
    family = shelf.MvNormal().settled(2, {})
    found = family.log_density(family.observe(x), {"mean": mean, "cov": cov})[:, 0]
    np.testing.assert_allclose(found, stats.multivariate_normal(mean[0], cov[0]).logpdf(x))
