"""What the base derives: entropy, divergence, information, moments, draws, Newton's method."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pgem.families import (
    Bernoulli,
    Binomial,
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
from pgem.families._numeric import climb, gradient, hessian

A, B = np.array([0.7, 4.0]), np.array([2.0, 0.3])
P, Q = np.array([0.2, 0.9]), np.array([0.5, 0.6])

ENTROPIES = [
    (Bernoulli(), {"prob": P}, stats.bernoulli(P)),
    (Geometric(), {"prob": P}, stats.geom(P)),
    (Poisson(), {"rate": A}, stats.poisson(A)),
    (Exponential(), {"rate": A}, stats.expon(scale=1 / A)),
    (Gamma(), {"shape": A, "rate": B}, stats.gamma(A, scale=1 / B)),
    (Normal(), {"mean": A, "var": B}, stats.norm(A, B**0.5)),
    (Binomial(), {"prob": P, "trials": np.array([3.0, 8.0])}, stats.binom([3, 8], P)),
]


@pytest.mark.parametrize(("family", "slots", "twin"), ENTROPIES)
def test_entropy(family: Family, slots, twin) -> None:
    np.testing.assert_allclose(family.entropy(slots), twin.entropy(), rtol=1e-6)


@pytest.mark.parametrize(("family", "slots", "twin"), ENTROPIES)
def test_plotting_range(family: Family, slots, twin) -> None:
    low, high = family.plotting_range(slots, 0.95).T
    if family.support.discrete:
        shift = 1 if type(family) is Geometric else 0  # SciPy counts trials, not failures
        np.testing.assert_array_equal(low, twin.ppf(0.025) - shift)
        np.testing.assert_array_equal(high, twin.ppf(0.975) - shift)
    else:
        np.testing.assert_allclose(twin.cdf(low), 0.025, atol=0.02)
        np.testing.assert_allclose(twin.cdf(high), 0.975, atol=0.02)


def test_plotting_range_of_vectors() -> None:
    slots = {"mean": np.array([[1.0, -2.0]]), "cov": np.array([[[4.0, 1.0], [1.0, 9.0]]])}
    found = MvNormal().settled(2, {}).plotting_range(slots, 0.95)
    reach = stats.norm.ppf(0.975) * np.array([2.0, 3.0])
    np.testing.assert_allclose(found[0], np.stack([slots["mean"][0] - reach,
                                                   slots["mean"][0] + reach], axis=1))  # fmt: skip
    pair = Poisson().settled(2, {}).plotting_range({"rate": np.array([[0.5, 20.0]])}, 0.95)
    np.testing.assert_array_equal(pair[0, :, 1], stats.poisson([0.5, 20.0]).ppf(0.975))


def test_entropy_of_vectors() -> None:
    cov = np.diag([1.0, 2.0, 3.0])[None] + 0.3
    slots = {"mean": np.ones((1, 3)), "cov": cov}
    expected = stats.multivariate_normal(np.ones(3), cov[0]).entropy()
    np.testing.assert_allclose(MvNormal().settled(3, {}).entropy(slots), expected)
    counts = {"probs": np.array([[0.2, 0.5, 0.3]]), "trials": np.array([4.0])}
    found = Multinomial().settled(3, {}).entropy(counts)
    np.testing.assert_allclose(found, stats.multinomial(4, counts["probs"][0]).entropy())


def test_entropy_adds_over_coordinates() -> None:
    pair = {"rate": np.array([[0.5, 2.0]])}
    expected = Poisson().entropy({"rate": np.array([0.5, 2.0])}).sum()
    np.testing.assert_allclose(Poisson().settled(2, {}).entropy(pair), expected)


DIVERGENCES = [
    (
        Bernoulli(),
        {"prob": P},
        {"prob": Q},
        P * np.log(P / Q) + (1 - P) * np.log((1 - P) / (1 - Q)),
    ),
    (Poisson(), {"rate": A}, {"rate": B}, A * np.log(A / B) - A + B),
    (Exponential(), {"rate": A}, {"rate": B}, np.log(A / B) + B / A - 1),
    (
        Normal(),
        {"mean": A, "var": B},
        {"mean": B, "var": A},
        0.5 * (np.log(A / B) + (B + (A - B) ** 2) / A - 1),
    ),
]


@pytest.mark.parametrize(("family", "slots", "other", "expected"), DIVERGENCES)
def test_divergence(family: Family, slots, other, expected) -> None:
    np.testing.assert_allclose(family.divergence(slots, other), expected, rtol=1e-9)


def test_divergence_at_the_boundary() -> None:
    certain, even = {"prob": np.array([0.0, 1.0])}, {"prob": np.array([0.5, 0.5])}
    np.testing.assert_allclose(Bernoulli().divergence(certain, even), np.log(2))
    np.testing.assert_array_equal(Bernoulli().divergence(even, certain), np.inf)
    np.testing.assert_array_equal(Bernoulli().divergence(certain, certain), 0)
    atoms = {"value": np.array([0.0, 1.0])}, {"value": np.array([0.0, 2.0])}
    np.testing.assert_array_equal(Dirac().divergence(*atoms), [0, np.inf])


def test_fisher_information() -> None:
    poisson = Poisson().fisher_information({"rate": A})
    np.testing.assert_allclose(poisson[:, 1, 1], A)
    exponential = Exponential().settled(2, {}).fisher_information({"rate": A[None]})
    np.testing.assert_allclose(exponential[0, :, 1, 1], 1 / A**2)


@pytest.mark.parametrize("size", [1, 3])
def test_fisher_information_of_vectors(size: int) -> None:
    """Against the fourth moments of a Gaussian, by Isserlis' theorem."""
    generator = np.random.default_rng(size)
    root = generator.standard_normal((size, size))
    cov, mean = root @ root.T + np.eye(size), generator.standard_normal(size)
    slots = {"mean": mean[None], "cov": cov[None]}
    found = MvNormal().settled(size, {}).fisher_information(slots)[0, 1:, 1:]
    first = np.einsum("ij,k->ijk", cov, mean)
    cross = first + np.swapaxes(first, 1, 2)
    outer = np.einsum("i,j,kl->ikjl", mean, mean, cov)
    pairs = np.einsum("ij,kl->ikjl", cov, cov)
    square = pairs + np.swapaxes(pairs, 2, 3)
    mixed = outer + np.swapaxes(outer, 2, 3)
    square = square + mixed + np.swapaxes(mixed, 0, 1)
    table = np.block(
        [
            [cov, cross.reshape(size, -1)],
            [cross.reshape(size, -1).T, square.reshape(size**2, -1)],
        ]
    )
    np.testing.assert_allclose(found, table, rtol=1e-6, atol=1e-6)


class Plain(Gamma):
    """A gamma family that leaves everything optional to the base."""

    moments = Family.moments
    draw = Family.draw
    from_mean = Family.from_mean
    role_statistics = Family.role_statistics


def test_derived_moments() -> None:
    slots = {"shape": A, "rate": B}
    np.testing.assert_allclose(Plain().moments(slots), Gamma().moments(slots), rtol=1e-9)
    pair = {name: value[None] for name, value in slots.items()}
    assert Plain().settled(2, {}).moments(pair)[0].shape == (1, 2)


def test_derived_draws_are_row_by_row() -> None:
    turn = np.arange(4000) % 2
    slots = {"shape": A[turn], "rate": B[turn]}
    drawn = Plain().draw(np.random.default_rng(0), slots)
    for cell in (0, 1):
        twin = stats.gamma(A[cell], scale=1 / B[cell])
        assert stats.kstest(drawn[turn == cell], twin.cdf).pvalue > 1e-3


@pytest.mark.parametrize("start", [(1.0, 1.0), (1e-3, 1e3), (200.0, 1e-2)])
def test_newton_agrees_with_the_mean_map_from_afar(start: tuple[float, float]) -> None:
    x = np.random.default_rng(1).gamma(2.5, 2.0, size=200)
    slots = {"shape": np.array([start[0]] * 2), "rate": np.array([start[1]] * 2)}
    weights = np.stack([np.linspace(0, 1, 200), np.zeros(200)], axis=1)
    stats_ = Gamma().accumulate(Gamma().observe(x), weights, slots)
    exact, found = Gamma().estimate(stats_, slots), Plain().estimate(stats_, slots)
    for name, value in exact.items():
        np.testing.assert_allclose(found[name][0], value[0], rtol=1e-6)
        assert found[name][1] == slots[name][1]


def test_free_coordinates_round_trip() -> None:
    family = MvNormal().settled(2, {})
    slots = {"mean": np.ones((3, 2)), "cov": np.tile(np.array([[2.0, 0.5], [0.5, 1.0]]), (3, 1, 1))}
    free = family.to_free(slots)
    assert free.shape == (3, 5)
    for name, value in family.from_free(free, slots).items():
        np.testing.assert_allclose(value, slots[name])


def bowl(points):
    return -((points[:, 0] - 3) ** 4) - np.cosh(points[:, 1]) * (2 + np.sin(points[:, 0]))


def test_differences() -> None:
    points = np.array([[0.3, -0.2], [1.0, 0.4]])
    x, y = points.T
    steps = np.full_like(points, 2e-3)
    slope = gradient(bowl, points, steps)
    expected = [-4 * (x - 3) ** 3 - np.cosh(y) * np.cos(x), -np.sinh(y) * (2 + np.sin(x))]
    np.testing.assert_allclose(slope.T, expected, rtol=1e-9)
    curvature = hessian(bowl, points, steps)
    np.testing.assert_allclose(curvature[:, 0, 1], -np.sinh(y) * np.cos(x), rtol=1e-6)


def test_climb_reaches_a_stationary_point() -> None:
    found = climb(bowl, np.array([[-2.0, 2.0], [8.0, -1.0]]))
    assert np.abs(gradient(bowl, found, np.full_like(found, 2e-3))).max() < 1e-6
