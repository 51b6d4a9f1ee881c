"""Members read several at a time: the same sums as one by one."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from numpy.typing import NDArray

from pgem.routines.collect import ScopeData
from pgem.routines.tally import Spread, make_tally

tally = import_module("pgem.routines.tally")
Floats = NDArray[np.float64]


@pytest.mark.parametrize("threshold", [0, 1 << 60], ids=["compiled", "NumPy"])
@pytest.mark.parametrize("axes", [(3,), (2, 1, 4), (1,)])
@pytest.mark.parametrize(("n", "members", "n_rows"), [(700, 9, 5), (3, 4, 2), (1300, 2, 600)])
def test_sums_and_counts(
    n: int,
    members: int,
    n_rows: int,
    axes: tuple[int, ...],
    threshold: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tally, "COMPILED_FROM", threshold)
    rng = np.random.default_rng(n)
    reads = rng.integers(n_rows, size=(n, members))
    reads[:, 0] = 1  # a member that always reads the same
    made = make_tally(reads, n_rows)
    assert made is not None
    table, posterior = rng.normal(size=(n_rows, *axes)), rng.random((n, *axes))
    np.testing.assert_allclose(made.total(table), table[reads].sum(axis=1), rtol=1e-12, atol=1e-12)
    expected = np.zeros(table.shape)
    for column in reads.T:
        np.add.at(expected, column, posterior)
    np.testing.assert_allclose(made.count(posterior, n_rows), expected, rtol=1e-12, atol=1e-12)


def test_minus_infinity_stays_where_it_is() -> None:
    made = make_tally(np.array([[0, 1], [1, 1], [0, 0]]), 2)
    assert made is not None
    with np.errstate(invalid="ignore"):
        found = made.total(np.array([[-np.inf], [2.0]]))
    np.testing.assert_array_equal(found[:, 0], [-np.inf, 4.0, -np.inf])


def test_members_are_taken_together_as_far_as_it_goes() -> None:
    rng = np.random.default_rng(0)
    made = make_tally(rng.integers(4, size=(1000, 20)), 4)
    assert made is not None
    assert made.codes.shape == (5, 1000)  # four members of four values each
    assert made.rows.shape == (5 * 256, 4)


def test_too_many_values_are_read_one_by_one() -> None:
    assert make_tally(np.arange(80_000).reshape(2, -1), 80_000) is None
    assert make_tally(np.zeros((0, 3), dtype=np.int64), 4) is None


def test_a_spread_posterior_is_an_array_when_needed() -> None:
    scope = ScopeData("p", np.array([0, 2, 5]), 4, 3)
    parent = np.random.default_rng(0).random((2, 3, 2))
    spread = Spread(parent, scope)
    whole = np.repeat(parent, [2, 3], axis=0)[..., None]
    assert spread.shape == whole.shape
    assert spread.ndim == whole.ndim
    np.testing.assert_array_equal(np.asarray(spread), whole)
    np.testing.assert_array_equal(spread * np.full((5, 1, 1, 2), 0.5), whole * np.full(2, 0.5))
    np.testing.assert_array_equal(
        spread.sum(axis=(2,), keepdims=True), whole.sum(axis=2, keepdims=True)
    )
