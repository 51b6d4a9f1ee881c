"""One pass over tiles of rows: log-likelihoods and statistics against SciPy, path against path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax, logsumexp

import pgem as pg
from pgem.arrays import Floats
from pgem.arrays import log_softmax as by_numpy
from pgem.families import Family, Slot
from pgem.families.roles import RATE
from pgem.families.supports import NON_NEGATIVE
from pgem.routines import columns, tile_pass
from pgem.run import bind

RNG = np.random.default_rng(11)
N, K, D = 700, 4, 3
NEVER = 1 << 60


class Waits(Family):
    """A user's own family: what the base class does is enough for tiles."""

    slots = (Slot("rate", RATE),)
    support = NON_NEGATIVE

    def sufficient_statistics(self, x: Floats, **_: Floats) -> tuple[Floats, ...]:
        return (x,)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (-slots["rate"],)

    def log_partition(self, *eta: Floats) -> Floats:
        return -np.log(-eta[0])

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        return (1 / mean[0],)


def with_class(declare: Callable[[Any], object]) -> pg.Model:
    with pg.Model("mixture") as model:
        declare(pg.latent("z", pg.Categorical(size=K)))
    return model


def full(z: Any) -> object:
    return pg.observed("x", pg.MvNormal(), given=z)


def shared(z: Any) -> object:
    return pg.observed("x", pg.MvNormal(mean=pg.param("mean")[z], cov=pg.param("cov")))


def diagonal(z: Any) -> object:
    return pg.observed("x", pg.MvNormal(cov=pg.diagonal()), given=z)


def spherical(z: Any) -> object:
    return pg.observed("x", pg.MvNormal(cov=pg.spherical()), given=z)


def fixed(z: Any) -> object:
    return pg.observed("x", pg.MvNormal(cov=pg.identity(D)), given=z)


def own(z: Any) -> object:
    return pg.observed("w", Waits(), given=z)


def mixed(z: Any) -> object:
    return full(z), own(z), pg.observed("u", pg.Normal(), given=z)


DECLARED = [full, shared, diagonal, spherical, fixed, own, mixed]
LABEL = RNG.integers(K, size=N)
DATA = {
    "x": RNG.normal(size=(N, D)) + 3.0 * RNG.normal(size=(K, D))[LABEL],
    "w": RNG.exponential(1.0 + LABEL),
    "u": RNG.normal(size=N) + LABEL,
}


def data_of(model: pg.Model) -> dict[str, Any]:
    names = [node.name for node in model.record.nodes]
    return {name: DATA[name] for name in names if name in DATA}


def both_ways(
    monkeypatch: pytest.MonkeyPatch,
    model: pg.Model,
    data: Any,
    slack: float = 1e-11,
    **options: Any,
) -> Any:
    """A fit by tiles, checked against the same fit by whole tables."""
    ran = []
    real = tile_pass.run_tiles
    found = []
    for threshold in (0, NEVER):
        with monkeypatch.context() as patch:
            patch.setattr(bind, "LARGE_FROM", threshold)
            patch.setattr(tile_pass, "run_tiles", lambda *a: ran.append(real(*a)) or ran[-1])
            found.append(model.fit(data, tol=0, **options))
    assert ran
    assert ran[0] is not None  # an empty cluster has log-probability -inf: no tiles later on
    tiled, plain = found
    np.testing.assert_allclose(tiled.trace, plain.trace, rtol=1e-10)
    for name, value in plain.params.items():
        np.testing.assert_allclose(tiled.params[name], value, rtol=1e-8, atol=slack)
    return tiled


@pytest.mark.parametrize("posterior", ["soft", "hard"])
@pytest.mark.parametrize("declare", DECLARED)
def test_tiles_and_tables_agree(
    declare: Callable[[Any], object], posterior: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_class(declare)
    weights = RNG.integers(0, 3, size=N).astype(float)
    both_ways(
        monkeypatch, model, data_of(model), max_iter=6, posterior=posterior, weights=weights,
        shard_size=300, start={"z": LABEL},
    )  # fmt: skip


def test_the_log_likelihood_and_the_means_are_those_of_scipy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = {
        "z.probs": [0.1, 0.2, 0.3, 0.4],
        "x.mean": RNG.normal(size=(K, D)),
        "x.cov": [np.cov(RNG.normal(size=(D, 9))) for _ in range(K)],
    }
    x = DATA["x"]
    fit = both_ways(monkeypatch, with_class(full), {"x": x}, start=start, max_iter=1)
    joint = np.log(start["z.probs"]) + np.stack(
        [
            stats.multivariate_normal(mean, cov).logpdf(x)
            for mean, cov in zip(start["x.mean"], start["x.cov"], strict=True)
        ],
        axis=1,
    )
    posterior = np.exp(log_softmax(joint, axis=1))
    assert fit.trace[0] == pytest.approx(logsumexp(joint, axis=1).sum(), rel=1e-12)
    expected = posterior.T @ x / posterior.sum(axis=0)[:, None]
    np.testing.assert_allclose(fit.params["x.mean"], expected, rtol=1e-9)
    for k in range(K):
        deviation = x - expected[k]
        cov = (posterior[:, k, None] * deviation).T @ deviation / posterior[:, k].sum()
        np.testing.assert_allclose(fit.params["x.cov"][k], cov, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_offsets_and_scales(scale: float, offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits that the common centre would cost are bounded beforehand, row by row of a shard."""
    x = DATA["x"] * scale + offset * scale
    ulp = np.spacing(offset) * scale**2  # means are rounded at this size
    both_ways(monkeypatch, with_class(full), {"x": x}, 1e-11 + ulp, start={"z": LABEL}, max_iter=3)


def test_far_apart_rows_have_posterior_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.where(LABEL[:, None] == 0, 0.0, 60.0) + DATA["x"]
    start = {"x.mean": [[0.0] * D, [60.0] * D, [61.0] * D, [62.0] * D], "z.probs": [0.25] * K}
    fit = both_ways(monkeypatch, with_class(fixed), {"x": x}, start=start, max_iter=4)
    posterior = fit.posterior({"x": x})["z"]
    assert (posterior[LABEL == 0, 1:] < 1e-300).all()


def test_what_has_no_such_form_goes_by_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holes in full covariances, weights of zero in the start, and narrow components."""
    found = []
    real = tile_pass.run_tiles
    monkeypatch.setattr(bind, "LARGE_FROM", 0)
    monkeypatch.setattr(tile_pass, "run_tiles", lambda *a: found.append(real(*a)) or found[-1])
    holed = DATA["x"].copy()
    holed[3, 1] = np.nan
    narrow = {"x.cov": [1e-9 * np.eye(D)] * K, "z.probs": [0.25] * K}
    cases: list[tuple[Any, dict[str, Any]]] = [
        (holed, {"z": LABEL}),
        (DATA["x"], {"z.probs": [0.0, 0.2, 0.3, 0.5]}),
        (DATA["x"], narrow),
    ]
    for x, start in cases:
        found.clear()
        fit = with_class(full).fit({"x": x}, start=start, max_iter=0, tol=0)
        assert np.isfinite(fit.log_likelihood)
        assert found == [None]


def test_exponentials_and_logarithms() -> None:
    import numba as nb

    from pgem.routines.elementary import exp, log

    @nb.njit(error_model="numpy")
    def fill(x, out, power):  # type: ignore[no-untyped-def]
        for i in range(len(x)):
            out[i] = exp(x[i]) if power else log(x[i])

    x = np.concatenate([-np.logspace(-20, np.log10(708), 5_000), [0.0, -0.0]])
    found = np.empty_like(x)
    fill(x, found, True)
    np.testing.assert_allclose(found, np.exp(x), rtol=1e-15)
    fill(np.array([-709.0, -1e5, -1e300]), found[:3], True)
    assert (found[:3] == 0.0).all()
    x = np.concatenate([np.logspace(-300, 300, 5_000), 1 + np.logspace(-15, 0, 500)])
    found = np.empty_like(x)
    fill(x, found, False)
    np.testing.assert_allclose(found, np.log(x), rtol=2e-15)


def test_a_tile_is_a_power_of_two_within_bounds() -> None:
    found = [tile_pass._tile(n) for n in (2, 16, 17, 170, 600, 2152, 10**6)]
    assert found == [1024, 1024, 256, 256, 64, 32, 32]


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_softmax_along_an_axis(axis: int) -> None:
    table = 50 * RNG.normal(size=(600, 3, 4, 2))
    table[RNG.random(table.shape) < 0.2] = -np.inf
    table[7] = -np.inf
    before = table.copy()
    message, shares = columns.softmax_by_columns(table, axis)
    np.testing.assert_array_equal(table, before)
    expected, expected_shares = by_numpy(table, axis)
    np.testing.assert_allclose(message, expected, rtol=1e-13)
    np.testing.assert_allclose(shares, expected_shares, rtol=1e-13, atol=1e-300)
    table[5, 0, 0, 0] = np.nan
    assert np.isnan(columns.softmax_by_columns(table, axis)[0][5]).any()
