"""Values at and beyond the edges: zero probabilities, equal data, offsets, bad values."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma

from pgem.errors import DataError
from pgem.families import (
    Bernoulli,
    Binomial,
    Categorical,
    Dirac,
    Exponential,
    Family,
    Gamma,
    Geometric,
    Multinomial,
    MvNormal,
    Normal,
    Poisson,
)
from pgem.families._shape import solve_shape


def fitted(family: Family, x, slots, weights=None, known=None) -> dict[str, np.ndarray]:
    data = family.observe(np.asarray(x, dtype=float), known)
    weights = np.ones((len(data.x), 1)) if weights is None else weights
    return family.estimate(family.accumulate(data, weights, slots), slots)


def test_certain_probabilities_have_exact_densities() -> None:
    family, slots = Bernoulli(), {"prob": np.array([0.0, 1.0])}
    found = family.log_density(family.observe(np.array([0.0, 1.0, np.nan])), slots)
    np.testing.assert_array_equal(found, [[0, -np.inf], [-np.inf, 0], [0, 0]])


def test_certain_probabilities_are_estimated() -> None:
    start = {"prob": np.array([0.5])}
    assert fitted(Bernoulli(), [1, 1], start)["prob"] == [1.0]
    assert fitted(Bernoulli(), [0, 0], start)["prob"] == [0.0]
    assert fitted(Geometric(), [0, 0], start)["prob"] == [1.0]
    assert fitted(Poisson(), [0, 0], {"rate": np.array([2.0])})["rate"] == [0.0]


def test_binomial_at_the_edges() -> None:
    family, known = Binomial(), {"trials": np.array([3.0, 3.0, 0.0])}
    data = family.observe(np.array([3.0, 2.0, 0.0]), known)
    found = family.log_density(data, {"prob": np.array([1.0, 0.0])})
    np.testing.assert_array_equal(found, [[0, -np.inf], [-np.inf, -np.inf], [0, 0]])


def test_binomial_values_are_checked_against_trials() -> None:
    family, x = Binomial(), np.array([3.0, 4.0, np.nan, 0.5, 0.0])
    trials = np.array([3.0, 3.0, 3.0, 3.0, 1.5])
    np.testing.assert_array_equal(family.check_values(x), [0, 0, 0, 1, 0])
    np.testing.assert_array_equal(family.check_values(x, {"trials": trials}), [0, 1, 0, 1, 1])


def test_missing_value_with_zero_trials() -> None:
    family = Binomial()
    data = family.observe(np.array([np.nan, 2.0]), {"trials": np.array([0.0, 4.0])})
    slots = {"prob": np.array([0.5])}
    assert family.log_density(data, slots)[0, 0] == 0.0
    assert fitted(family, data.x, slots, known=data.known)["prob"] == [0.5]


def test_rows_without_trials_keep_the_probability() -> None:
    found = fitted(Binomial(), [0, 0], {"prob": np.array([0.3])}, known={"trials": np.zeros(2)})
    assert found["prob"] == [0.3]


def test_bernoulli_takes_no_size() -> None:
    """So that a vector of items is never mistaken for a number of categories."""
    assert "size" not in Bernoulli().settings
    assert Bernoulli().settled(20, {}).own_shape("prob") == (20,)


def test_zero_probability_of_a_category() -> None:
    family, slots = Multinomial().settled(3, {}), {"probs": np.array([[0.5, 0.5, 0.0]])}
    found = family.log_density(family.observe(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])), slots)
    np.testing.assert_allclose(found[:, 0], [np.log(0.5), -np.inf])


def test_multinomial_draws_have_the_asked_totals() -> None:
    family = Multinomial().settled(3, {})
    slots = {"probs": np.tile([0.2, 0.0, 0.8], (4, 1))}
    totals = np.array([0.0, 1.0, 5.0, 1000.0])
    drawn = family.draw(np.random.default_rng(0), {**slots, "trials": totals})
    np.testing.assert_array_equal(drawn.sum(axis=1), totals)
    assert (drawn[:, 1] == 0).all()
    assert (family.draw(np.random.default_rng(0), slots).sum(axis=1) == 1).all()


def test_categorical_codes_are_checked() -> None:
    family = Categorical(size=3).settled(3, {})
    bad = family.check_values(np.array([0.0, 2.0, 3.0, -1.0, 0.5, np.nan]))
    np.testing.assert_array_equal(bad, [0, 0, 1, 1, 1, 0])


def test_dirac_compares_with_each_cell() -> None:
    family, slots = Dirac(), {"value": np.array([0.0, 2.0])}
    data = family.observe(np.array([0.0, 2.0, np.nan, 7.0]))
    expected = [[0, -np.inf], [-np.inf, 0], [0, 0], [-np.inf, -np.inf]]
    np.testing.assert_array_equal(family.log_density(data, slots), expected)
    (count,) = family.accumulate(data, np.ones((4, 2)), slots)
    np.testing.assert_array_equal(count[:, 0], [3, 3])
    assert family.estimate((count,), slots) == {}


def test_dirac_over_a_vector() -> None:
    family = Dirac().settled(2, {})
    data = family.observe(np.array([[0.0, 0.0], [0.0, 1.0], [0.0, np.nan]]))
    for value in (np.zeros(1), np.zeros((1, 2))):
        found = family.log_density(data, {"value": value})
        np.testing.assert_array_equal(found[:, 0], [0, -np.inf, 0])


def test_equal_values_stop_the_gamma_shape() -> None:
    start = {"shape": np.array([2.0]), "rate": np.array([1.0])}
    found = fitted(Gamma(), [3.0, 3.0, 3.0], start)
    assert 0.9e10 < found["shape"][0] < 1.1e10
    np.testing.assert_allclose(found["shape"] / found["rate"], 3.0)


def test_equal_zeros_have_no_rate() -> None:
    """Events without exposure: the likelihood is unbounded, which a fit reports as degenerate."""
    assert fitted(Exponential(), [0.0, 0.0], {"rate": np.array([2.0])})["rate"] == [np.inf]


@given(st.floats(-6, 9))
def test_gamma_shape_solves_its_equation(log10_shape: float) -> None:
    shape = np.array([10.0**log10_shape])
    # where the direct difference cancels, its series is the reference
    series = 0.5 / shape + 1 / (12 * shape**2) - 1 / (120 * shape**4)
    gap = series if shape > 200 else np.log(shape) - digamma(shape)
    np.testing.assert_allclose(solve_shape(gap), shape, rtol=1e-10)


@pytest.mark.parametrize("offset", [0.0, 1e8, -1e12])
def test_normal_keeps_its_digits_at_an_offset(offset: float) -> None:
    x = np.array([-1.0, 0.0, 1.0, 2.0]) + offset
    start = {"mean": np.array([offset + 0.25]), "var": np.array([4.0])}
    found = fitted(Normal(), x, start)
    np.testing.assert_allclose(found["var"], 1.25, rtol=1e-3 if abs(offset) > 1e11 else 1e-7)
    wide = {"mean": start["mean"][:, None], "cov": start["var"][:, None, None]}
    assert fitted(MvNormal().settled(1, {}), x[:, None], wide)["cov"].shape == (1, 1, 1)


def test_diagonal_normal_uses_what_is_there() -> None:
    family = MvNormal().settled(2, {"cov": "diagonal"})
    slots = {"mean": np.zeros((1, 2)), "cov": np.ones((1, 2))}
    data = family.observe(np.array([[1.0, np.nan]]))
    np.testing.assert_allclose(family.log_density(data, slots), -0.5 * np.log(2 * np.pi) - 0.5)


@pytest.mark.parametrize("family", [Bernoulli(), Exponential(), Multinomial().settled(2, {})])
def test_text_is_a_data_error(family: Family) -> None:
    with pytest.raises(DataError, match=type(family).__name__):
        family.check_values(np.array([["a", "b"]]))


def test_booleans_and_integers_are_numbers() -> None:
    assert not Bernoulli().check_values(np.array([True, False])).any()
    assert not Poisson().check_values(np.array([0, 3])).any()


def test_shelf_does_not_import_scipy() -> None:
    code = "import sys, pgem.families; sys.exit(any(m.startswith('scipy') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
