"""The passes of a tree agree with each other, with scans of paths and sums over all states."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from pgem.routines import ScopeData, tree
from pgem.routines.contract import Semiring
from pgem.routines.levels import depths, make_levels
from pgem.routines.scan import NumpyPass
from pgem.routines.scan_plan import Pass, Rows, ScanPlan, make_plan
from pgem.routines.tables import Axis, LogTable
from pgem.routines.tree import TreePass
from pgem.routines.tree_kernels import CompiledTree, LogTree

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass
class Structure:
    """Axes by position (earlier ones first), own variables in turn, and the tables' axes."""

    axes: dict[str, int]
    sum_out: str
    shift: dict[str, str]
    tables: tuple[str, ...]
    outer: str = ""


STRUCTURES = {
    "one state variable": Structure({"P": 3, "S": 3}, "S", {"P": "S"}, ("PS", "S")),
    "factorial": Structure(
        {"P": 2, "Q": 3, "S": 2, "T": 3}, "ST", {"P": "S", "Q": "T"}, ("PS", "QT", "ST")
    ),
    "coupled": Structure(
        {"P": 2, "Q": 3, "S": 2, "T": 3}, "TS", {"P": "S", "Q": "T"}, ("PQS", "PQT", "S", "T")
    ),
    "outer": Structure({"O": 3, "P": 2, "S": 2}, "S", {"P": "S"}, ("OPS", "OS"), "O"),
    "two outer": Structure(
        {"O": 2, "R": 2, "P": 3, "S": 3}, "S", {"P": "S"}, ("OPS", "RS", "OR"), "OR"
    ),
    "inner": Structure({"P": 2, "S": 2, "W": 3}, "SW", {"P": "S"}, ("PS", "PW", "SW")),
    "parent's value only": Structure({"P": 2, "S": 2}, "S", {"P": "S"}, ("PS", "P")),
}
Kind = type[TreePass] | type[CompiledTree] | type[LogTree]
every_pass = pytest.mark.parametrize("kind", [TreePass, CompiledTree, LogTree])
every_structure = pytest.mark.parametrize("name", STRUCTURES)


def forest(rng: np.random.Generator, sizes: list[int], roots: float = 0.1) -> ScopeData:
    """Random forests with members in random order."""
    parents = []
    for size in sizes:
        order, above = rng.permutation(size), np.full(size, -1)
        for k in range(1, size):
            above[order[k]] = -1 if rng.random() < roots else order[rng.integers(0, k)]
        parents.append(above + np.where(above >= 0, sum(map(len, parents)), 0))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return ScopeData("cell", starts, 6, 3, None, np.concatenate(parents))


def draw_tables(
    structure: Structure, scope: ScopeData, seed: int, spread: float = 2.0
) -> list[LogTable]:
    """Random tables: shared, one row per member, or a few rows with an index; some zeros.

    Roots read rows that do not depend on earlier variables, as the compiler makes them.
    """
    rng = np.random.default_rng(seed)
    tables = []
    for names in structure.tables:
        shape = [s if n in names else 1 for n, s in structure.axes.items()]
        values = spread * rng.normal(size=(5, *shape))
        if seed % 2:
            values[rng.random(values.shape) < 0.05] = -np.inf
        first = tuple(slice(0, 1) if n in structure.shift else slice(None) for n in structure.axes)
        values[:2] = values[:2][(slice(None), *first)]
        index = np.where(
            scope.depth == 0, rng.integers(0, 2, scope.n_rows), rng.integers(2, 5, scope.n_rows)
        )
        dense = rng.random() < 0.5
        tables.append(LogTable(values[index], scope.n_rows) if dense
                      else LogTable(values, scope.n_rows, index))  # fmt: skip
    return tables


def axes_of(structure: Structure) -> dict[str, Axis]:
    return {n: Axis(k, s, n) for k, (n, s) in enumerate(structure.axes.items(), start=1)}


def plan_of(structure: Structure) -> ScanPlan:
    axes = axes_of(structure)
    return make_plan(
        tuple(tuple(sorted(axes[n] for n in names)) for names in structure.tables),
        tuple(axes[n] for n in structure.sum_out),
        tuple((axes[a], axes[b]) for a, b in structure.shift.items()),
        tuple(axes[n] for n in structure.outer),
    )


def run(
    kind: Kind,
    structure: Structure,
    scope: ScopeData,
    tables: list[LogTable],
    semiring: str = "sum",
) -> Pass:
    factors = [Rows(table, scope.n_rows) for table in tables]
    generator = np.random.default_rng(3)
    return kind(plan_of(structure), factors, scope, Semiring(semiring, generator))


def brute(structure: Structure, scope: ScopeData, tables: list[LogTable]) -> tuple[Floats, Floats]:
    """log p [outer], and the best log probability [outer], of a single small forest."""
    own = [*structure.shift.values(), *(n for n in structure.sum_out if n not in
                                        structure.shift.values())]  # fmt: skip
    cells = list(itertools.product(*(range(structure.axes[n]) for n in own)))
    outers = list(itertools.product(*(range(structure.axes[n]) for n in structure.outer)))
    logs = np.full((len(outers), len(cells) ** scope.n_rows), -np.inf)
    full = [np.broadcast_to(t.full(), (scope.n_rows, *t.array.shape[1:])) for t in tables]
    assert scope.parents is not None
    for u, outer in enumerate(outers):
        for c, chosen in enumerate(itertools.product(cells, repeat=scope.n_rows)):
            total = 0.0
            for row, above in enumerate(scope.parents):
                state = dict(zip(structure.outer, outer, strict=True))
                state |= dict(zip(own, chosen[row], strict=True))
                for earlier, now in structure.shift.items():
                    state[earlier] = chosen[above][own.index(now)] if above >= 0 else 0
                place = tuple(state[n] for n in structure.axes)
                total += sum(
                    table[(row, *(k if s > 1 else 0 for k, s in zip(place, table.shape[1:],
                                                                    strict=True)))]
                    for table in full
                )  # fmt: skip
            logs[u, c] = total
    best = logs.max(axis=1)
    return best + np.log(np.exp(logs - best[:, None]).sum(axis=1)), best


@every_structure
@every_pass
def test_sums_and_maxima_over_all_states(name: str, kind: Kind) -> None:
    structure, rng = STRUCTURES[name], np.random.default_rng(7)
    for size in (1, 3):
        scope = forest(rng, [size], roots=0.3)
        tables = draw_tables(structure, scope, 2 * size)
        total, best = brute(structure, scope, tables)
        found = run(kind, structure, scope, tables).forward()
        np.testing.assert_allclose(found, total[None], rtol=1e-12)
        if kind is not CompiledTree:
            found = run(kind, structure, scope, tables, "max").forward()
            np.testing.assert_allclose(found, best[None], rtol=1e-12)


@every_structure
@pytest.mark.parametrize("kind", [CompiledTree, LogTree])
@pytest.mark.parametrize("semiring", ["sum", "max"])
@pytest.mark.parametrize("seed", range(6))
def test_compiled_loops_agree(name: str, kind: Kind, semiring: str, seed: int) -> None:
    if semiring == "max" and kind is CompiledTree:
        kind = LogTree
    structure, rng = STRUCTURES[name], np.random.default_rng(seed)
    scope = forest(rng, [6, 1, 25, 2])
    tables = draw_tables(structure, scope, seed)
    one = run(TreePass, structure, scope, tables, semiring)
    other = run(kind, structure, scope, tables, semiring)
    log_p = one.forward()
    np.testing.assert_allclose(other.forward(), log_p, rtol=1e-12)
    posterior = np.where(np.isfinite(log_p), rng.random(log_p.shape), 0.0)
    for a, b in zip(one.backward(posterior), other.backward(posterior), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12)


@every_pass
def test_posteriors_are_slopes(kind: Kind) -> None:
    structure = STRUCTURES["coupled"]
    scope = forest(np.random.default_rng(1), [7])
    tables = draw_tables(structure, scope, 4)
    passed = run(kind, structure, scope, tables)
    passed.forward()
    found = passed.backward(np.ones((1, 1)))
    for k, table in enumerate(tables):
        flat = table.array.reshape(-1)
        for place in range(0, flat.size, 7):
            totals = []
            for step in (1e-5, -1e-5):
                moved = flat.copy()
                moved[place] += step
                shifted = LogTable(moved.reshape(table.array.shape), table.n_rows, table.index)
                changed = [*tables[:k], shifted, *tables[k + 1 :]]
                totals.append(float(run(kind, structure, scope, changed).forward()[0, 0]))
            slope = (totals[0] - totals[1]) / 2e-5
            assert found[k].reshape(-1)[place] == pytest.approx(slope, abs=1e-8)


@every_pass
def test_a_path_is_a_sequence(kind: Kind) -> None:
    structure = STRUCTURES["factorial"]
    lengths = [5, 1, 8]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    parents = np.arange(14) - 1
    parents[starts[:-1]] = -1
    scope = ScopeData("cell", starts, 5, 1, None, parents)
    tables = draw_tables(structure, scope, 6)
    axes = axes_of(structure)
    plan = make_plan(
        tuple(tuple(sorted(axes[n] for n in names)) for names in structure.tables),
        (axes["P"], axes["Q"]),
        ((axes["S"], axes["P"]), (axes["T"], axes["Q"])),
        (),
    )
    factors = [Rows(table, scope.n_rows) for table in tables]
    chain = NumpyPass(plan, factors, starts, Semiring())
    passed = run(kind, structure, scope, tables)
    np.testing.assert_allclose(passed.forward(), chain.forward(), rtol=1e-12)
    weight = np.array([[1.0], [0.5], [2.0]])
    for a, b in zip(chain.backward(weight), passed.backward(weight), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [TreePass, LogTree])
def test_draws_follow_the_posterior_and_fit_together(kind: Kind) -> None:
    """Many copies of one tree: mean draws are posteriors; a child sees what its parent drew."""
    structure, n = STRUCTURES["one state variable"], 4000
    one = forest(np.random.default_rng(5), [6], roots=0.2)
    tables = draw_tables(structure, one, 8)
    exact = run(TreePass, structure, one, tables)
    exact.forward()
    expected = exact.backward(np.ones((1, 1)))
    assert one.parents is not None
    copies = np.concatenate([np.where(one.parents >= 0, one.parents + 6 * k, -1) for k in range(n)])
    scope = ScopeData("cell", 6 * np.arange(n + 1), 6, 3, None, copies)
    dense = [
        LogTable(np.tile(t.full(), (n, *(1,) * (t.array.ndim - 1))), scope.n_rows) for t in tables
    ]
    passed = run(kind, structure, scope, dense, "sample")
    passed.forward()
    drawn = passed.backward(np.ones((n, 1)))
    for part, table, draws in zip(expected, tables, drawn, strict=True):
        mean = draws.reshape(n, 6, -1).mean(axis=0)
        if table.index is None:
            np.testing.assert_allclose(mean, part, atol=0.05)
        else:
            summed = np.zeros_like(part)
            np.add.at(summed, table.index, mean)
            np.testing.assert_allclose(summed, part, atol=0.15)
    pairs = drawn[0].reshape(-1, 3, 3)
    assert set(np.unique(pairs)) <= {0.0, 1.0}
    below = np.flatnonzero(copies >= 0)
    np.testing.assert_array_equal(
        pairs[below].sum(axis=2).argmax(axis=1), pairs[copies[below]].sum(axis=1).argmax(axis=1)
    )


def test_a_star_and_a_long_path_do_not_underflow() -> None:
    structure = STRUCTURES["one state variable"]
    star, path = np.full(3000, 0), np.arange(3000) - 1
    star[0] = -1
    for parents in (star, path):
        scope = ScopeData("cell", np.array([0, 3000]), 5, 1, None, parents)
        tables = draw_tables(structure, scope, 0, spread=20.0)
        one, ones = run(TreePass, structure, scope, tables), np.ones((1, 1))
        total, posterior = one.forward(), one.backward(ones)
        assert np.isfinite(total).all()
        for kind in (CompiledTree, LogTree):
            other = run(kind, structure, scope, tables)
            np.testing.assert_allclose(other.forward(), total, rtol=1e-12)
            for a, b in zip(posterior, other.backward(ones), strict=True):
                np.testing.assert_allclose(b, a, rtol=1e-7, atol=1e-9)


def contrast(scope: ScopeData, gap: float, rare: float) -> list[LogTable]:
    """Two states that hardly switch; leaves speak for the one that the others speak against."""
    stay = np.log(np.array([[1.0, rare], [rare, 1.0]]))
    states = np.stack([np.zeros((2, 2)), stay])
    rows = np.zeros((scope.n_rows, 1, 2))
    leaf = ~np.isin(np.arange(scope.n_rows), scope.parents)
    rows[:, 0, 1] = np.where(leaf, gap, -gap)
    index = (scope.depth > 0).astype(np.int64)
    return [LogTable(states, scope.n_rows, index), LogTable(rows, scope.n_rows)]


@pytest.mark.parametrize("gap", [5.0, 200.0, 800.0])
@pytest.mark.parametrize(("rare", "rescued"), [(0.1, False), (1e-30, False), (1e-90, True)])
def test_faint_messages_are_not_lost(gap: float, rare: float, rescued: bool) -> None:
    """What underflow may drop is harmless, or logarithms take over."""
    structure = Structure({"P": 2, "S": 2}, "S", {"P": "S"}, ("PS", "S"))
    scope = forest(np.random.default_rng(2), [60, 40])
    tables = contrast(scope, gap, rare)
    one = run(TreePass, structure, scope, tables)
    other = run(CompiledTree, structure, scope, tables)
    np.testing.assert_allclose(other.forward(), one.forward(), rtol=1e-11)
    assert isinstance(other, CompiledTree)
    assert (other.rescue is not None) is (rescued and gap > 5)
    weight = np.array([[1.0], [0.5]])
    for a, b in zip(one.backward(weight), other.backward(weight), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-7, atol=1e-11)


@pytest.mark.chooses_path
def test_large_shards_use_compiled_loops() -> None:
    structure = STRUCTURES["one state variable"]
    axes = axes_of(structure)
    kinds = []
    for sizes in ([4], [40_000]):
        scope = forest(np.random.default_rng(0), sizes)
        scope = ScopeData("cell", scope.starts, 3, 1, None, scope.parents)
        tables = draw_tables(structure, scope, 0)
        found = tree(scope, Semiring(), tables, [axes["S"]], {axes["P"]: axes["S"]})
        kinds.append(type(found.run))
    assert kinds == [TreePass, CompiledTree]


def test_depths_and_circles() -> None:
    parents = np.array([3, -1, 0, 1, -1, 6, 5, 6, 8])
    np.testing.assert_array_equal(depths(parents), [2, 0, 3, 1, 0, -1, -1, -1, -1])
    np.testing.assert_array_equal(depths(np.zeros(0, dtype=np.int64)), [])
    path = np.random.default_rng(0).permutation(999)
    above = np.full(999, -1)
    above[path[1:]] = path[:-1]
    np.testing.assert_array_equal(depths(above)[path], np.arange(999))


def test_levels_hold_brothers_together() -> None:
    parents = np.array([-1, 0, 3, 0, 3, 0, -1, 6])
    levels = make_levels(parents, depths(parents))
    assert [level.rows.tolist() for level in levels] == [[0, 6], [1, 3, 5, 7], [2, 4]]
    assert levels[1].parents.tolist() == [0, 6]
    np.testing.assert_array_equal(
        levels[1].to_parents(np.array([[1.0], [2], [4], [8]])), [[7], [8]]
    )
    np.testing.assert_array_equal(levels[1].parents[levels[1].place], parents[levels[1].rows])
