"""Every way to run a model gives the same result: each path is forced in turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from law_cases import N_UNITS
from paths import SETTINGS, force
from strategies import Case
from test_laws import every_case, iterate, same_fit, take

from pgem.run import merge

N = np.arange(N_UNITS)


@pytest.mark.chooses_path
@every_case
def test_equal_units_merged_or_not(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    data = take(case.data, np.repeat(N, 1 + N % 3))
    plain = iterate(case, data)
    assert plain._training().which is None
    monkeypatch.setattr(merge, "MERGE_FROM", 0)
    merged = iterate(case, data)
    has_trees = bool(merged._training().columns.parents)
    assert (merged._training().which is None) == has_trees
    same_fit(merged, plain)


@every_case
def test_threads(case: Case) -> None:
    one, two = (iterate(case, shard_size=3, n_jobs=n) for n in (1, 2))
    assert two._training().n_threads == 2
    np.testing.assert_array_equal(one.trace, two.trace)
    for name, value in one.params.items():
        np.testing.assert_array_equal(two.params[name], value)


@every_case
def test_every_path_gives_the_same(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name in SETTINGS:
        with monkeypatch.context() as patch:
            force(name, patch.setattr)
            found.append(iterate(case))
    for fit in found[1:]:
        same_fit(fit, found[0])


def test_hard_posteriors_break_ties_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties go to the lowest value on every path."""
    import pgem as pg

    with pg.Model("ties") as model:
        z = pg.latent("z", pg.Categorical([1 / 3] * 3))
        pg.observed("x", pg.Normal(var=1.0), given=z)
    data: dict[str, Any] = {"x": np.repeat([0.0, 1.0, 2.0, 5.0], 5)}
    start = {"x.mean": [0.0, 2.0, 2.0]}
    plain = model.fit(data, start=start, posterior="hard", max_iter=1, tol=0)
    np.testing.assert_allclose(plain.params["x.mean"], [0.5, 3.5, 2.0])
    monkeypatch.setattr(merge, "MERGE_FROM", 0)
    merged = model.fit(data, start=start, posterior="hard", max_iter=1, tol=0)
    np.testing.assert_array_equal(merged.params["x.mean"], plain.params["x.mean"])
