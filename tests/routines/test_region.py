"""Regions agree with the joint Gaussian of all their cells, written down and conditioned."""

from __future__ import annotations

import numpy as np
import pytest

from tests.routines.dense_region import Builder, Case, Wishes, empty_statistics, joints

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
