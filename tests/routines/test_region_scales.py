"""Regions keep their digits where offsets and variances lie many orders of magnitude apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from pgem.routines import region_direct
from pgem.routines.collect import ScopeData
from pgem.routines.region import Link, Member, Piece
from tests.routines.dense_region import Array, Case, Joint

NOISE, OFFSET = 1e-3, 1e6
ONE = np.ones((1, 1))


def root(name: str, size: int, rows: Array | None = None, key: str = "") -> Piece:
    return Piece(key or name, rows, None, ONE, (), None, False)


def below(
    name: str, parent: str, size: int, rows: Array | None = None, lag: int = 0, **more: Array
) -> Piece:
    link = Link(parent, lag, 1, 1 + size, more.get("scale"))
    const = np.zeros((1, 1 + size))
    const[0, 0] = 1.0
    return Piece(name, rows, None, const, (link,), None, False)


def case(
    members: list[Member], scope: str, n: int, chain: str | None,
    coefs: Mapping[str, Any], covs: Mapping[str, Any],
) -> Case:  # fmt: skip
    scopes = {scope: ScopeData(scope, np.array([0, n]), 2, 1)}
    four = {key: np.asarray(value, dtype=float)[None, None] for key, value in coefs.items()}
    return Case(
        members, scopes, {scope: "top"}, 1, chain, four,
        {key: np.asarray(value, dtype=float)[None, None] for key, value in covs.items()},
    )  # fmt: skip


def random_intercept(prior_mean: float, prior_deviation: float) -> Case:
    """Values about 1e6, known to 1e-3."""
    rng = np.random.default_rng(1)
    y = OFFSET + NOISE * rng.normal(size=(6, 1))
    y[4] = np.nan
    u = Member("u", "top", np.full((1, 1), np.nan), (root("u", 1),))
    leaf = Member("y", "rows", y, (below("y", "u", 1),))
    coefs = {"u": [[prior_mean]], "y": [[0.0, 1.0]]}
    return case([u, leaf], "rows", 6, None, coefs, {"u": [[prior_deviation**2]], "y": [[NOISE**2]]})


def random_slopes(prior_deviation: float) -> Case:
    rng = np.random.default_rng(2)
    t = np.arange(7.0)
    y = OFFSET + 3.0 * t + NOISE * rng.normal(size=7)
    u = Member("u", "top", np.full((1, 2), np.nan), (root("u", 2),))
    const = np.zeros((7, 2))
    const[:, 0] = 1.0
    link = Link("u", 0, 1, 2, np.stack([np.ones(7), t], axis=1), contracts=True)
    leaf = Member("y", "rows", y[:, None], (Piece("y", None, None, const, (link,), None, True),))
    coefs = {"u": [[OFFSET], [3.0]], "y": [[0.0, 1.0]]}
    covs = {"u": np.eye(2) * prior_deviation**2, "y": [NOISE**2]}
    return case([u, leaf], "rows", 7, None, coefs, covs)


def local_level(first_mean: float, first_deviation: float, walk: float) -> Case:
    rng = np.random.default_rng(3)
    n = 12
    y = OFFSET + walk * np.cumsum(rng.normal(size=n)) + NOISE * rng.normal(size=n)
    y[5] = np.nan
    later = np.arange(1, n)
    first = root("h", 1, np.array([0]), "h.first")
    h = Member("h", "t", np.full((n, 1), np.nan), (first, below("h", "h", 1, later, 1)))
    leaf = Member("y", "t", y[:, None], (below("y", "h", 1),))
    coefs = {"h.first": [[first_mean]], "h": [[0.0, 1.0]], "y": [[0.0, 1.0]]}
    covs = {"h.first": [[first_deviation**2]], "h": [[walk**2]], "y": [[NOISE**2]]}
    return case([h, leaf], "t", n, "t", coefs, covs)


def trend(first_deviation: float) -> Case:
    """A level that grows by a slope, both without noise: a straight line."""
    rng = np.random.default_rng(4)
    n = 9
    y = OFFSET + 2.5 * np.arange(n) + NOISE * rng.normal(size=n)
    first = root("h", 2, np.array([0]), "h.first")
    h = Member("h", "t", np.full((n, 2), np.nan), (first, below("h", "h", 2, np.arange(1, n), 1)))
    leaf = Member("y", "t", y[:, None], (below("y", "h", 2),))
    coefs = {
        "h.first": [[0.0], [0.0]],
        "h": [[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]],
        "y": [[0.0, 1.0, 0.0]],
    }
    covs = {"h.first": np.eye(2) * first_deviation**2, "h": np.zeros((2, 2)), "y": [[NOISE**2]]}
    return case([h, leaf], "t", n, "t", coefs, covs)


CASES: dict[str, Callable[[], Case]] = {
    "known offset": lambda: random_intercept(OFFSET, 1.0),
    "offset far from the prior": lambda: random_intercept(0.0, 1.0),
    "vague offset": lambda: random_intercept(0.0, OFFSET),
    "slopes": lambda: random_slopes(1.0),
    "vague slopes": lambda: random_slopes(1e3),
    "level": lambda: local_level(OFFSET, 1.0, 0.01),
    "level far from the prior": lambda: local_level(0.0, 1.0, 0.01),
    "vague level": lambda: local_level(0.0, OFFSET, 0.01),
    "still level": lambda: local_level(0.0, OFFSET, 0.0),
    "trend": lambda: trend(1.0),
    "vague trend": lambda: trend(1e3),
}


@pytest.mark.parametrize("few", [0, 10**9])
@pytest.mark.parametrize("name", CASES)
def test_keeps_digits(name: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_direct, "FEW", few)
    case = CASES[name]()
    region, truth = case.evaluate(), Joint(case, 0, 0, exact=True)
    # y itself is known to 1e-10, a 1e-7 of its noise
    error = {"log_p": float(abs(region.log_p[0, 0] - truth.log_p) / max(1, abs(truth.log_p)))}
    for member, (mean, cov) in region.moments().items():
        for row in range(len(mean)):
            place = truth.places[member, row]
            true_cov = truth.post_cov[place, place].astype(float)
            if not true_cov.any():
                continue
            scale = np.sqrt(np.diag(true_cov))
            off = np.abs((mean[row, 0] - truth.post_mean[place].astype(float)) / scale).max()
            error["mean"] = max(error.get("mean", 0), off)
            off = np.abs((cov[row, 0] - true_cov) / np.outer(scale, scale)).max()
            error["cov"] = max(error.get("cov", 0), off)
    print(name, error)
    assert error["log_p"] < 1e-7
    assert error["mean"] < 1e-5
    assert error["cov"] < 1e-6
