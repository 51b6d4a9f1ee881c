"""Every way to run a model gives the same result: each path is forced in turn."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from force_lanes import always_lanes, never_lanes
from law_cases import N_UNITS
from strategies import Case
from test_laws import every_case, iterate, same_fit, take

from pgem.routines import region_direct, region_matrices
from pgem.run import bind, merge

collect, scan, tally = (  # the package's `scan` is the function
    import_module(f"pgem.routines.{name}") for name in ("collect", "scan", "tally")
)

N = np.arange(N_UNITS)
NEVER = 1 << 60

Force = Callable[[pytest.MonkeyPatch], None]


def force(**settings: int) -> Force:
    """Set thresholds by the name of their module."""
    modules = {"scan": scan, "tally": tally}

    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in settings.items():
            monkeypatch.setattr(modules[name], "COMPILED_FROM", value)

    return apply


def with_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last variable is summed out a few rows at a time, however few there are."""
    monkeypatch.setattr(bind, "LARGE_FROM", 0)


def without_tallies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members of plates are read one by one."""
    monkeypatch.setattr(collect, "make_tally", lambda *ignored: None)


def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled loops, with sequences cut into pieces of two steps."""
    force(scan=0)(monkeypatch)
    always_lanes(monkeypatch)


def in_pieces_by_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where variables of single steps are summed out in tiles of lanes."""
    in_pieces(monkeypatch)
    with_tiles(monkeypatch)


def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled loops, one sequence after the other."""
    force(scan=0)(monkeypatch)
    never_lanes(monkeypatch)


def regions(few: int, long: int) -> Force:
    """Rows per form, and steps of a chain, from which regions take other paths."""

    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(region_direct, "FEW", few)
        for limit in ("LONG", "MANY"):
            monkeypatch.setattr(region_matrices, limit, long)

    return apply


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
def test_compiled_or_not(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    paths = (
        force(scan=0, tally=0),
        force(scan=NEVER, tally=NEVER),
        without_tallies,
        with_tiles,
        in_pieces,
        in_pieces_by_tiles,
        one_by_one,
        regions(few=0, long=1),
        regions(few=0, long=NEVER),
        regions(few=NEVER, long=1),
    )
    for apply in paths:
        with monkeypatch.context() as patch:
            apply(patch)
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
