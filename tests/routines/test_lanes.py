"""Lanes give what the other passes of a chain give, and pieces what a whole sequence does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scan import Case, Structure, brute, build, close, per_table, run_lanes

from pgem.routines import lane_plan, lanes
from pgem.routines.chain import ChainLogPass
from pgem.routines.lane_plan import Memory
from pgem.routines.scan import NumpyPass
from pgem.routines.tables import LogTable, Steps


def steady_chain(
    seed: int, n_states: int, lengths: Sequence[int], kind: str, spread: float, first: bool
) -> Case:
    """A chain whose transitions do not change; what is seen by row, by index, or by several."""
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    number = np.concatenate([np.arange(m) for m in lengths])
    shape = (1 + first, n_states, n_states)
    reads = np.minimum(number, 1) if first else None
    steps = Steps((None,) * (1 + first), (1,) * (1 + first))
    tables = [LogTable(spread * rng.normal(size=shape), n, reads, steps, by_number=True)]
    if seed % 3 == 0 and n_states > 2:
        tables[0].array[-1][rng.random(shape[1:]) < 0.2] = -np.inf
    for own in {"rows": "r", "index": "i", "both": "ri"}[kind]:
        rows = n if own == "r" else 5
        values = spread * rng.normal(size=(rows, 1, n_states))
        if seed % 2 and n_states > 1:
            values[rng.random(values.shape) < 0.1] = -np.inf
        index = rng.integers(-1, 5, size=n) if own == "i" else None
        tables.append(LogTable(values, n, index))
    names = ["PS", *["S"] * (len(tables) - 1)]
    return build(Structure({"P": n_states, "S": n_states}, "P", {"S": "P"}, names), tables, lengths)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_states=st.integers(1, 9),
    lengths=st.lists(st.one_of(st.integers(0, 4), st.integers(5, 40)), min_size=1, max_size=12),
    kind=st.sampled_from(["rows", "index", "both"]),
    spread=st.sampled_from([0.1, 1.0, 5.0]),
    first=st.booleans(),
)
def test_lanes_and_pieces(
    seed: int, n_states: int, lengths: list[int], kind: str, spread: float, first: bool
) -> None:
    if not sum(lengths):
        lengths = [*lengths, 1]
    case = steady_chain(seed, n_states, lengths, kind, spread, first)
    weight = np.random.default_rng(seed).choice([0.0, 0.3, 1.0, 1e9], size=(len(lengths), 1))
    with np.errstate(all="ignore"):
        totals, _ = brute(case, weight)
        weight = np.where(np.isfinite(totals), weight, 0.0)
        _, post = brute(case, weight)
        run = run_lanes(case, piece=7)
        np.testing.assert_allclose(run.forward(), totals, rtol=1e-11, atol=1e-11)
        for part, expected in zip(run.backward(weight), per_table(case, post), strict=True):
            scale = max(1.0, float(weight.max()))
            np.testing.assert_allclose(part / scale, expected / scale, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("n_states", [2, 4, 6, 33])
@pytest.mark.parametrize("kind", ["rows", "index"])
def test_a_long_sequence_in_pieces(n_states: int, kind: str) -> None:
    case = steady_chain(2, n_states, [9000, 1, 800, 3000], kind, 1.0, True)
    memory, reference = Memory(), case.run(ChainLogPass)
    weight = np.array([[2.0], [1.0], [0.0], [0.5]])
    with np.errstate(all="ignore"):
        total, posteriors = reference.forward(), reference.backward(weight)
        for _ in range(4):  # run-ups grow until they are long enough
            run = run_lanes(case, memory)
            np.testing.assert_allclose(run.forward(), total, rtol=1e-12)
            close(run.backward(weight), posteriors, 1e-10)
            assert run.rescue is None
    assert 0.0 <= memory.gap <= lanes.GAP
    assert len(run.lanes.joined) > 10
    again = run_lanes(case, Memory(memory.run_up))
    assert np.array_equal(again.forward(), run.forward())
    for one, other in zip(again.backward(weight), run.backward(weight), strict=True):
        assert np.array_equal(one, other)


def sticky(stay: float, n: int, told: float, noise: float) -> Case:
    """States that are hardly ever left, and how well observations tell them apart."""
    rng = np.random.default_rng(0)
    table = np.log(np.full((3, 3), (1 - stay) / 2) + np.eye(3) * (stay - (1 - stay) / 2))
    logs = noise * rng.normal(size=(n, 1, 3)) + told * np.eye(3)[np.arange(n) // 900 % 3, None]
    tables = [LogTable(table[None], n), LogTable(logs, n)]
    structure = Structure({"P": 3, "S": 3}, "P", {"S": "P"}, ["PS", "S"])
    return build(structure, tables, [n])


@pytest.mark.parametrize(("told", "noise", "forgets"), [
    (0.0, 0.0, False), (0.0, 1e-3, False), (0.0, 0.3, False), (3.0, 0.3, True),
])  # fmt: skip
def test_a_chain_that_does_not_forget_is_run_through(
    told: float, noise: float, forgets: bool
) -> None:
    case, memory = sticky(0.99999, 9000, told, noise), Memory()
    ones = np.ones((1, 1))
    reference = case.run(NumpyPass)
    total, posteriors = reference.forward(), reference.backward(ones)
    for _ in range(12):
        run = run_lanes(case, memory)
        np.testing.assert_allclose(run.forward(), total, rtol=1e-12, atol=1e-10)
        close(run.backward(ones), posteriors, 1e-10)
        assert (run.rescue is None) == forgets
    assert (memory.failures == 0) == forgets


@pytest.mark.parametrize("kind", ["rows", "index"])
def test_threads_change_no_bit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_plan, "LONG_PIECE", 16)
    case = steady_chain(4, 5, [30_000, 7, 12_000], kind, 1.0, True)
    weight, found = np.array([[2.0], [1.0], [0.5]]), []
    for n_threads in (1, 2, 3):
        run = run_lanes(case, n_threads=n_threads)
        assert run.n_parts > 2
        found.append([run.forward(), *run.backward(weight)])
        assert run.rescue is None
    for one, two, three in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
    reference = case.run(ChainLogPass)
    np.testing.assert_allclose(found[0][0], reference.forward(), rtol=1e-12)
    close(found[0][1:], reference.backward(weight), 1e-10)
