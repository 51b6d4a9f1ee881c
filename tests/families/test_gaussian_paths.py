"""Gaussian densities and moments keep their digits, whichever way they are computed."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgem.families import _gaussian
from pgem.families._parts import value_range

Floats = NDArray[np.float64]


def cells(seed: int, n_cells: int, size: int, least: float) -> tuple[Floats, Floats]:
    """Means, and covariances whose standard deviations go from 1 down to `least`."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(n_cells, size, size)))[0]
    spread = np.logspace(0, np.log10(least), size)
    return 2 * rng.normal(size=(n_cells, size)), turn * spread**2 @ np.swapaxes(turn, 1, 2)


def draw(seed: int, mean: Floats, cov: Floats, n: int = 400) -> tuple[Floats, Floats]:
    """Rows, and responsibilities that fit them."""
    rng = np.random.default_rng(seed)
    label = rng.integers(len(mean), size=n)
    normal = rng.normal(size=(n, mean.shape[1]))
    noise = np.einsum("nij,nj->ni", np.linalg.cholesky(cov)[label], normal)
    weights = rng.dirichlet(np.full(len(mean), 0.1), n) * 0.1
    weights[np.arange(n), label] += 0.9
    return mean[label] + noise, weights


def exact_diagonal(x: Floats, mean: Floats, var: Floats) -> Floats:
    """Quadratic forms in rational numbers, rounded at the end."""
    return np.array([
        [
            float(sum((Fraction(a) - Fraction(m)) ** 2 / Fraction(v)
                      for a, m, v in zip(row, mu, sigma, strict=True)))
            for mu, sigma in zip(mean.tolist(), var.tolist(), strict=True)
        ]
        for row in x.tolist()
    ])  # fmt: skip


@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("least", [1.0, 1e-1, 1e-4])
def test_full(offset: float, scale: float, least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    mean, cov = cells(0, 4, 3, least)
    x, weights = draw(1, mean, cov)
    x = scale * x + offset  # values as they are given, rounded
    mean, cov = scale * mean + offset, scale**2 * cov
    found = _gaussian.full_log_density(x, mean, cov)
    count, first, second = _gaussian.full_moments(x, weights, mean, cov)
    monkeypatch.setattr(_gaussian, "LARGEST_TERM", 0.0)
    np.testing.assert_allclose(
        found, _gaussian.full_log_density(x, mean, cov), rtol=1e-10, atol=1e-10
    )
    expected = _gaussian.full_moments(x, weights, mean, cov)
    np.testing.assert_allclose(count, expected[0], rtol=1e-12)
    white = np.linalg.inv(np.linalg.cholesky(expected[2]))
    close_to_identity = white @ second @ np.swapaxes(white, 1, 2)
    np.testing.assert_allclose(close_to_identity, np.eye(3) + np.zeros((4, 1, 1)), atol=1e-10)
    size = np.sqrt(np.einsum("cdd->cd", expected[2]) * count[:, None])
    assert (np.abs(first - expected[1]) <= 1e-10 * size).all()


@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize("narrow", [1.0, 1e-3, 1e-7])
def test_coordinates_against_rational_numbers(offset: float, narrow: float) -> None:
    rng = np.random.default_rng(2)
    mean = rng.normal(size=(5, 3)) + offset
    var = np.exp(rng.normal(size=(5, 3)))
    var[0] *= narrow**2
    x = mean[rng.integers(5, size=30)] + rng.normal(size=(30, 3))
    observed = np.ones(x.shape, dtype=bool)
    found = _gaussian.coordinate_log_density(x, observed, mean, var)
    constant = 3 * _gaussian.LOG_2PI + np.log(var).sum(axis=1)
    expected = -0.5 * (exact_diagonal(x, mean, var) + constant)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    weights = rng.dirichlet(np.ones(5), 30)
    _, first, second = _gaussian.coordinate_moments(x, observed, weights, mean, var)
    deviation = x[:, None, :] - mean
    scale = np.einsum("nc,ncd->cd", weights, deviation**2)
    np.testing.assert_allclose(second, scale, rtol=1e-10)
    wanted = np.einsum("nc,ncd->cd", weights, deviation)
    assert (np.abs(first - wanted) <= 1e-10 * np.sqrt(scale * weights.sum(0)[:, None])).all()


def test_which_way_is_taken() -> None:
    mean, cov = cells(3, 4, 3, 0.3)
    x, _ = draw(4, mean, cov)
    precision = np.linalg.inv(cov)

    def way(x: Floats, mean: Floats, precision: Floats) -> Any:
        return _gaussian._common_centre(x, mean, precision)

    assert way(x, mean, precision) is not None
    assert way(x + 1e8, mean + 1e8, precision) is not None  # about the centre, no digits are lost
    assert way(1e6 * x, 1e6 * mean, precision * 1e-12) is not None
    assert way(x, mean, precision * 1e6) is None
    assert way(x, mean + 1e8, precision) is None
    assert way(x[:0], mean, precision) is None
    assert way(x, mean, np.full_like(precision, np.nan)) is None


@pytest.mark.parametrize("n", [1, 2, 127, 128, 129, 1000])
@pytest.mark.parametrize("size", [1, 3, 16, 200])
def test_ranges(n: int, size: int) -> None:
    x = np.random.default_rng(n).normal(size=(n, size))
    low, high = value_range(x)
    assert np.array_equal(low, x.min(axis=0))
    assert np.array_equal(high, x.max(axis=0))


@pytest.mark.parametrize(("cells_", "size"), [(1, 1), (2, 3), (5, 4)])
def test_full_covariances_that_are_diagonal(cells_: int, size: int) -> None:
    rng = np.random.default_rng(7)
    mean, var = rng.normal(size=(cells_, size)), rng.gamma(2.0, size=(cells_, size))
    x = rng.normal(size=(50, size))
    cov = var[:, :, None] * np.eye(size)
    nearly = cov + 1e-300 * (1 - np.eye(size))  # takes the other way
    np.testing.assert_allclose(
        _gaussian.full_log_density(x, mean, cov),
        _gaussian.full_log_density(x, mean, nearly),
        rtol=1e-12,
    )
    with pytest.raises(np.linalg.LinAlgError):
        _gaussian.full_log_density(x, mean, 0.0 * cov)
