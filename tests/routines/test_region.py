"""Regions agree with the joint Gaussian of all their cells, written down and conditioned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pgem.routines import region_direct, region_groups, region_matrices, region_row_loops
from pgem.routines.collect import ScopeData
from pgem.routines.region import Link, Member, Piece
from pgem.routines.region_compiled import CompiledChain
from pgem.routines.region_direct import DirectVectors
from pgem.routines.region_rows import MadeRows
from tests.routines.dense_region import (
    Builder,
    Case,
    Joint,
    Wishes,
    empty_statistics,
    joints,
    tile,
)

KINDS = {
    "one scope": Wishes(plates=False),
    "plates": Wishes(),
    "gates": Wishes(gates=3),
    "complete": Wishes(holes=0.0),
    "zero variances": Wishes(zero_variances=True, holes=0.0),
    "chain": Wishes(plates=False, chain=True),
    "chain of two lags": Wishes(plates=False, chain=True, lags=2, gates=2),
    "chain with plates": Wishes(chain=True, plate_in_chain=True, lags=2),
    "chain in a plate": Wishes(chain=True, chain_in_plate=True, plate_in_chain=True, gates=2),
    "chain without holes": Wishes(plates=False, chain=True, lags=3, holes=0.0),
    "tree": Wishes(plates=False, chain=True, tree=True),
    "tree with plates": Wishes(chain=True, tree=True, plate_in_chain=True, gates=2),
    "tree in a plate": Wishes(chain=True, tree=True, chain_in_plate=True, plate_in_chain=True),
    "deterministic tree": Wishes(
        plates=False, chain=True, tree=True, holes=0.0, zero_variances=True, gates=2
    ),
    "deterministic chain": Wishes(plates=False, chain=True, lags=2, holes=0.0, zero_variances=True),
}


def check(case: Case, seed: int) -> None:
    region = case.evaluate()
    truth = joints(case)
    expected = np.array(
        [[truth[n, g].log_p for g in range(case.n_gates)] for n in range(case.n_top)]
    )
    np.testing.assert_allclose(region.log_p, expected, rtol=1e-8, atol=1e-8)
    moments = region.moments()
    assert set(moments) == {m.name for m in case.members if np.isnan(m.values).any()}
    for (_, gate), joint in truth.items():
        for (name, row), place in joint.places.items():
            if name in moments:
                mean, cov = moments[name]
                np.testing.assert_allclose(mean[row, gate], joint.post_mean[place], atol=1e-8)
                np.testing.assert_allclose(cov[row, gate], joint.post_cov[place, place], atol=1e-8)
    weights = np.random.default_rng(seed).uniform(0.1, 2.0, size=(case.n_top, case.n_gates))
    weights[np.random.default_rng(seed + 1).random(weights.shape) < 0.2] = 0.0
    statistics = empty_statistics(case)
    for (n, g), joint in truth.items():
        joint.statistics(statistics, weights[n, g])
    found = region.statistics(weights)
    assert set(found) == set(statistics)
    for key, parts in statistics.items():
        for name, value in parts.items():
            np.testing.assert_allclose(
                getattr(found[key], name), value, atol=1e-8, rtol=1e-8, err_msg=f"{key} {name}"
            )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_joint_gaussian(kind: str, seed: int) -> None:
    check(Builder(seed, KINDS[kind]).build(), seed)


@pytest.mark.parametrize("seed", range(12, 18))
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "chain" in kind])
def test_compiled_loops_agree_too(kind: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_matrices, "LONG", 0)
    check(Builder(seed, KINDS[kind]).build(), seed)


STEP_BY_STEP, AT_ONCE = 10**9, 0


def force_loops(monkeypatch: pytest.MonkeyPatch, *, compiled: bool) -> None:
    for limit in ("LONG", "MANY"):
        monkeypatch.setattr(region_matrices, limit, 1 if compiled else 10**9)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("seed", range(60, 63))
@pytest.mark.parametrize("kind", KINDS)
def test_few_products_agree_too(
    kind: str, seed: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """φ and C φ as one matrix times noise and inputs, kept or made tile by tile."""
    monkeypatch.setattr(region_direct, "FEW", AT_ONCE)
    force_loops(monkeypatch, compiled=compiled)
    case = Builder(seed, KINDS[kind]).build()
    check(case, seed)
    region = case.evaluate()
    if region._matrices.chain is not None and case.scopes["steps"].parents is None:
        assert isinstance(region._matrices.chain, CompiledChain) == compiled
    assert isinstance(region._vectors, DirectVectors) or not (region._scopes[0].own or case.chain)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("seed", range(66, 69))
@pytest.mark.parametrize("kind", KINDS)
def test_paths_give_the_same_numbers(
    kind: str, seed: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    force_loops(monkeypatch, compiled=compiled)
    case = tile(Builder(seed, KINDS[kind]).build(), 30)
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.1, 2.0, size=(case.n_top, case.n_gates))
    weights[rng.random(weights.shape) < 0.2] = 0.0
    monkeypatch.setattr(region_direct, "FEW", STEP_BY_STEP)
    plain = case.evaluate()
    monkeypatch.setattr(region_direct, "FEW", AT_ONCE)
    direct = case.evaluate()
    np.testing.assert_allclose(direct.log_p, plain.log_p, rtol=1e-10, atol=1e-10)
    expected = plain.statistics(weights)
    for key, parts in direct.statistics(weights).items():
        for name, value in vars(parts).items():
            right = getattr(expected[key], name)
            size = 1e-10 * max(1.0, float(np.abs(right).max(initial=0.0)))
            np.testing.assert_allclose(value, right, rtol=1e-10, atol=size, err_msg=f"{key} {name}")


@pytest.mark.parametrize("few", [0, 10**9])
@pytest.mark.parametrize("seed", range(20, 24))
def test_group_by_group_and_row_by_row_agree(
    few: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region_groups, "FEW", few)
    monkeypatch.setattr(region_groups, "BLOCK", 1 if few else 100)
    monkeypatch.setattr(region_groups, "LONG", 10**9 if few else 1)
    for wishes in (Wishes(gates=2), Wishes(chain=True, plate_in_chain=True, lags=2)):
        check(Builder(seed, wishes).build(), seed)


@pytest.mark.parametrize("seed", range(30, 36))
@pytest.mark.parametrize(
    "kind", ["gates", "chain in a plate", "chain with plates", "tree", "tree in a plate"]
)
def test_equal_rows_share_their_matrices(kind: str, seed: int) -> None:
    """Many rows of each group take other paths than single ones; nothing else may change."""
    case = Builder(seed, KINDS[kind]).build()
    once, often = case.evaluate(), tile(case, 40).evaluate()
    np.testing.assert_allclose(often.log_p, np.tile(once.log_p, (40, 1)), rtol=1e-10, atol=1e-10)
    weights = np.random.default_rng(seed).uniform(size=(case.n_top, case.n_gates))
    expected, found = once.statistics(weights), often.statistics(np.tile(weights, (40, 1)))
    for key, parts in expected.items():
        for name, value in vars(parts).items():
            np.testing.assert_allclose(
                getattr(found[key], name), 40 * value, rtol=1e-8, atol=1e-8, err_msg=f"{key} {name}"
            )
    moments = often.moments()
    for name, (mean, cov) in once.moments().items():
        np.testing.assert_allclose(moments[name][0], np.tile(mean, (40, 1, 1)), atol=1e-9)
        np.testing.assert_allclose(moments[name][1], np.tile(cov, (40, 1, 1, 1)), atol=1e-9)


@pytest.mark.parametrize("seed", range(40, 44))
@pytest.mark.parametrize("kind", ["plates", "gates", "chain with plates", "tree"])
def test_draws_have_the_posterior_moments(kind: str, seed: int) -> None:
    case, times = Builder(seed, KINDS[kind]).build(), 4000
    choice = np.random.default_rng(seed).integers(0, case.n_gates, size=case.n_top)
    drawn = tile(case, times).evaluate().draw(
        np.random.default_rng(seed), np.tile(choice, times)
    )  # fmt: skip
    assert set(drawn) == {m.name for m in case.members if np.isnan(m.values).any()}
    for top in range(case.n_top):
        joint = Joint(case, top, int(choice[top]))
        values = np.tile(joint.post_mean, (times, 1))
        for (name, row), place in joint.places.items():
            if name in drawn:
                values[:, place] = drawn[name].reshape(times, -1, place.stop - place.start)[:, row]
        deviation = np.sqrt(np.diag(joint.post_cov))
        error = np.abs(values.mean(axis=0) - joint.post_mean)
        assert (error <= 5 * deviation / np.sqrt(times) + 1e-9).all()
        cov = (values - joint.post_mean).T @ (values - joint.post_mean) / times
        outer = np.outer(deviation, deviation)
        spread = np.sqrt((outer**2 + joint.post_cov**2) / times)
        assert (np.abs(cov - joint.post_cov) <= 5.5 * spread + 1e-9).all()


def state_space(lengths: list[int], *, holes: float, seed: int) -> Case:
    """A rotating state of two dimensions, three outputs."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    steps, n = ScopeData("t", starts, 2, 1), int(starts[-1])
    y = rng.normal(size=(n, 3))
    y[rng.random(y.shape) < holes] = np.nan
    first, later = np.flatnonzero(steps.number == 0), np.flatnonzero(steps.number > 0)
    h = Member(
        "h", "t", np.full((n, 2), np.nan),
        (
            Piece("h.first", first, None, np.ones((1, 1)), (), None, False),
            Piece("h", later, None, np.zeros((1, 2)), (Link("h", 1, 0, 2, None),), None, True),
        ),
    )  # fmt: skip
    const = np.array([[1.0, 0.0, 0.0]])
    out = Member("y", "t", y, (Piece("y", None, None, const, (Link("h", 0, 1, 3, None),), None, False),))  # fmt: skip  # noqa: E501
    turn = 0.95 * np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])
    coefs = {
        "h.first": rng.normal(size=(1, 2, 2, 1)),
        "h": np.stack([turn, turn.T])[None],
        "y": rng.normal(size=(1, 2, 3, 3)),
    }
    covs = {
        "h.first": np.tile(np.eye(2), (1, 2, 1, 1)),
        "h": np.full((1, 2, 2), 0.2),
        "y": np.tile(np.eye(3) + 0.3, (1, 2, 1, 1)),
    }
    return Case([h, out], {"t": steps}, {"t": "top"}, len(lengths), "t", coefs, covs)


@pytest.mark.chooses_path
@pytest.mark.parametrize("holes", [0.0, 0.02])
def test_long_chains_settle_on_the_right_matrices(holes: float) -> None:
    case = state_space([150, 40, 0, 150, 1, 120], holes=holes, seed=5)
    check(case, 5)
    chain = case.evaluate()._matrices.chain
    assert isinstance(chain, CompiledChain)
    if holes == 0.0:
        assert chain.steps.log_det.shape[1] < 80


@pytest.mark.chooses_path
@pytest.mark.parametrize("tile", [3, 256])
def test_long_chains_are_made_tile_by_tile(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles with several forms, tiles that are not full, and rows without weight."""
    case = state_space([150, 40, 0, 150, 1, 120], holes=0.0, seed=8)
    region = case.evaluate()
    assert isinstance(region._at.pieces["y"], MadeRows)
    monkeypatch.setattr(region_row_loops, "TILE", tile)
    for loop in (region_row_loops.squares, region_row_loops.moments):
        monkeypatch.setattr(f"pgem.routines.region_rows.{loop.__name__}", loop.py_func)
    check(case, 8)


@pytest.mark.chooses_path
def test_wide_outputs_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """What later steps tell is the small difference of large numbers, whose rounding goes on."""
    rng, n, size = np.random.default_rng(9), 400, 60
    steps = ScopeData("t", np.array([0, n]), 2, 1)
    back, down, none = Link("h", 1, 0, 5, None), Link("h", 0, 0, 5, None), np.zeros((1, 5))
    first = Piece("h.first", np.array([0]), None, np.ones((1, 1)), (), None, False)
    later = Piece("h", np.arange(1, n), None, none, (back,), None, False)
    h = Member("h", "t", np.full((n, 5), np.nan), (first, later))
    shown = Piece("y", None, None, none, (down,), None, True)
    y = Member("y", "t", rng.normal(size=(n, size)), (shown,))
    coefs = {
        "h.first": np.zeros((1, 1, 5, 1)),
        "h": 0.95 * np.linalg.qr(rng.normal(size=(5, 5)))[0][None, None],
        "y": rng.normal(size=(1, 1, size, 5)),
    }
    eye = np.eye(5)[None, None]
    covs = {"h.first": eye, "h": eye, "y": np.ones((1, 1, size))}
    case = Case([h, y], {"t": steps}, {"t": "top"}, 1, "t", coefs, covs)
    found = case.evaluate()
    assert found._matrices.chain is not None
    assert found._matrices.chain.steps.log_det.shape[1] < 100
    monkeypatch.setattr(region_matrices, "LONG", 10**9)
    np.testing.assert_allclose(found.log_p, case.evaluate().log_p, rtol=1e-13)


def test_no_rows_at_all() -> None:
    case = state_space([], holes=0.0, seed=6)
    region = case.evaluate()
    assert region.log_p.shape == (0, 2)
    for parts in region.statistics(np.zeros((0, 2))).values():
        assert all((value == 0).all() for value in vars(parts).values())
    assert region.moments() == {}


@pytest.mark.parametrize("seed", range(50, 56))
@pytest.mark.parametrize("what", ["nan", "singular", "huge"])
@pytest.mark.parametrize("kind", ["gates", "chain of two lags", "tree with plates"])
def test_a_broken_configuration_harms_no_other(kind: str, what: str, seed: int) -> None:
    case = Builder(seed, KINDS[kind]).build()
    whole = case.evaluate()
    weights = np.random.default_rng(seed).uniform(0.1, 1.0, size=(case.n_top, case.n_gates))
    weights[:, 1] = 0.0
    expected = whole.statistics(weights)
    broken = replace(case, coefs={k: c.copy() for k, c in case.coefs.items()},
                     covs={k: v.copy() for k, v in case.covs.items()})  # fmt: skip
    for key in broken.coefs:
        if what == "nan":
            broken.coefs[key][:, 1] = np.nan
        elif what == "singular":
            broken.covs[key][:, 1] = 0.0
        else:
            broken.coefs[key][:, 1] = 1e200
    region = broken.evaluate()
    np.testing.assert_allclose(np.delete(region.log_p, 1, 1), np.delete(whole.log_p, 1, 1))
    assert (region.log_p[:, 1] <= 0).all()
    for key, parts in region.statistics(weights).items():
        for name, value in vars(parts).items():
            np.testing.assert_allclose(value, getattr(expected[key], name), atol=1e-12)
            assert (value[:, 1] == 0).all()


def test_a_singular_covariance_of_given_values_has_no_density() -> None:
    case = state_space([3], holes=0.0, seed=7)
    case.covs["y"][0, 1] = 0.0
    assert np.isfinite(case.evaluate().log_p[0, 0])
    assert case.evaluate().log_p[0, 1] == -np.inf
