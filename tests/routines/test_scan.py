"""The passes of a scan agree with each other and with sums over the product of all states."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from force_lanes import always_lanes
from numpy.typing import NDArray

from pgem.arrays import log_sum_exp
from pgem.routines.chain import ChainLogPass, ChainPass, is_chain
from pgem.routines.contract import Semiring
from pgem.routines.kernels import CompiledPass, LogPass
from pgem.routines.lane_plan import Memory, make_lanes
from pgem.routines.lanes import LanePass, is_steady
from pgem.routines.scan import NumpyPass
from pgem.routines.scan_plan import Pass, Rows, ScanPlan, make_plan
from pgem.routines.tables import Axis, LogTable

Floats = NDArray[np.float64]
LENGTHS = [3, 1, 5, 0, 2, 7, 1]


@dataclass
class Structure:
    """Axes by position (earlier ones first), what is summed out, and which axes the tables have."""

    axes: dict[str, int]
    sum_out: str
    shift: dict[str, str]
    tables: Sequence[str]
    outer: str = ""


STRUCTURES = {
    "chain": Structure({"P": 3, "S": 3}, "P", {"S": "P"}, ["PS", "S"]),
    "no memory": Structure({"P": 3, "S": 3}, "P", {"S": "P"}, ["S", "S"]),
    "wide chain": Structure({"P": 13, "S": 13}, "P", {"S": "P"}, ["PS", "S"]),
    "chain, much seen": Structure({"P": 3, "S": 3}, "P", {"S": "P"}, ["S", "PS", "S", "S"]),
    "factorial": Structure(
        {"P": 2, "Q": 3, "S": 2, "T": 3}, "PQ", {"S": "P", "T": "Q"}, ["PS", "QT", "ST"]
    ),
    "coupled": Structure(
        {"P": 2, "Q": 3, "S": 2, "T": 3}, "PQ", {"S": "P", "T": "Q"}, ["PQS", "PQT", "S", "T"]
    ),
    "one drives the other": Structure(
        {"P": 2, "Q": 3, "S": 2, "T": 3}, "QP", {"S": "P", "T": "Q"}, ["PS", "QST", "T"]
    ),
    "second order": Structure(
        {"P": 2, "Q": 2, "S": 2}, "Q", {"S": "P", "P": "Q"}, ["PQS", "S", "PS"]
    ),
    "outer": Structure({"O": 3, "P": 2, "S": 2}, "P", {"S": "P"}, ["OPS", "OS"], "O"),
    "outer, shared transitions": Structure(
        {"O": 2, "P": 3, "S": 3}, "P", {"S": "P"}, ["PS", "OS", "S"], "O"
    ),
    "two outer": Structure(
        {"O": 2, "R": 2, "P": 3, "S": 3}, "P", {"S": "P"}, ["OPS", "RS", "OR"], "OR"
    ),
    "inner": Structure({"P": 2, "S": 2, "W": 3}, "PW", {"S": "P"}, ["PS", "SW", "SW", "W"]),
    "one state": Structure({"P": 1, "S": 1}, "P", {"S": "P"}, ["PS", "S"]),
}


@dataclass
class Case:
    plan: ScanPlan
    factors: list[Rows]
    starts: NDArray[np.int64]
    structure: Structure
    dense: Floats

    def run(self, kind: type[Pass], semiring: str = "sum", seed: int = 0) -> Pass:
        generator = np.random.default_rng(seed)
        return kind(self.plan, self.factors, self.starts, Semiring(semiring, generator))


def build(structure: Structure, tables: Sequence[LogTable], lengths: Sequence[int]) -> Case:
    """A plan, its tables, and the dense joint table of each step [rows, all axes...]."""
    axes = {n: Axis(k, s, n) for k, (n, s) in enumerate(structure.axes.items(), start=1)}
    plan = make_plan(
        tuple(tuple(sorted(axes[n] for n in names)) for names in structure.tables),
        tuple(axes[n] for n in structure.sum_out),
        tuple((axes[a], axes[b]) for a, b in structure.shift.items()),
        tuple(axes[n] for n in structure.outer),
    )
    starts = np.concatenate([[0], np.cumsum(lengths)])
    factors = [Rows(table, int(starts[-1])) for table in tables]
    dense = np.zeros((int(starts[-1]), *structure.axes.values()))
    for table in tables:
        dense = dense + table.full()
    return Case(plan, factors, starts, structure, dense)


def draw(structure: Structure, seed: int, lengths: Sequence[int], spread: float = 2.0) -> Case:
    """Random tables: shared, one row per step, or a few rows with an index; some zeros."""
    rng = np.random.default_rng(seed)
    n_rows = sum(lengths)
    tables = []
    for names in structure.tables:
        shape = [s if n in names else 1 for n, s in structure.axes.items()]
        kind = rng.integers(3)
        n = [1, n_rows, 4][kind]
        values = spread * rng.normal(size=(n, *shape))
        if seed % 2 and math.prod(shape) > 2:
            values[rng.random(values.shape) < 0.1] = -np.inf
        index = rng.integers(-1, 4, size=n_rows) if kind == 2 else None
        tables.append(LogTable(values, n_rows, index))
    return build(structure, tables, lengths)


def run_lanes(
    case: Case, memory: Memory | None = None, piece: int = 512, n_threads: int = 1
) -> LanePass:
    """A pass with lanes, however few of them there are, and pieces of any length."""
    with pytest.MonkeyPatch.context() as patch:
        always_lanes(patch, piece)
        found = make_lanes(case.starts, case.plan.n_state)
    assert found is not None
    assert is_steady(case.plan, case.factors)
    given = case.plan, case.factors, case.starts, Semiring("sum")
    return LanePass(*given, found, {}, memory or Memory(), n_threads)


def brute(case: Case, weight: Floats, reduce: Callable[..., Floats] = log_sum_exp):
    """log p [sequences, outer], and the posterior of the tables: by the product of all states."""
    structure = case.structure
    names = list(structure.axes)
    outer = [names.index(n) for n in structure.outer]
    earlier = [names.index(n) for n in structure.shift.values()]
    now = [names.index(n) for n in structure.shift]
    inner = [k for k in range(len(names)) if k not in {*outer, *earlier, *now}]
    sizes = list(structure.axes.values())
    n_outer = math.prod(sizes[k] for k in outer)
    shape = [sizes[k] for k in earlier]
    post = np.zeros_like(case.dense)
    totals = np.zeros((len(case.starts) - 1, n_outer))
    # every step's table as [outer, before, after, inner]; a variable that is both (second order)
    # is repeated along a diagonal
    doubled = [k for k in now if k in earlier]

    def square(table: Floats) -> Floats:
        full = np.full((n_outer, *shape, *shape, math.prod(sizes[k] for k in inner)), -np.inf)
        moved = table.transpose([*outer, *earlier, *[k for k in now if k not in doubled], *inner])
        for place in np.ndindex(*shape):
            block = moved.reshape(n_outer, *shape, *[sizes[k] for k in now if k not in doubled], -1)
            block = block[(slice(None), *place)]
            after = [place[earlier.index(k)] if k in doubled else slice(None) for k in now]
            full[(slice(None), *place, *after)] = block
        n = math.prod(shape)
        return full.reshape(n_outer, n, n, -1)

    def put_back(spread: Floats) -> Floats:
        full = spread.reshape(n_outer, *shape, *shape, -1)
        free = [sizes[k] for k in now if k not in doubled]
        moved = np.empty((n_outer, *shape, *free, full.shape[-1]))
        for place in np.ndindex(*shape):
            after = [place[earlier.index(k)] if k in doubled else slice(None) for k in now]
            moved[(slice(None), *place)] = full[(slice(None), *place, *after)]
        order = [*outer, *earlier, *[k for k in now if k not in doubled], *inner]
        wanted = moved.reshape([sizes[k] for k in order])
        return wanted.transpose(np.argsort(order))

    for s in range(len(case.starts) - 1):
        rows = range(case.starts[s], case.starts[s + 1])
        steps = [square(case.dense[t]) for t in rows]
        ahead = [np.where(np.arange(math.prod(shape)) == 0, 0.0, -np.inf) + np.zeros((n_outer, 1))]
        for step in steps:
            joint = (ahead[-1][:, :, None, None] + step).transpose(0, 2, 1, 3)
            ahead.append(reduce(joint.reshape(*joint.shape[:2], -1), 2)[:, :, 0])
        totals[s] = reduce(ahead[-1], 1)[:, 0]
        behind = np.zeros_like(ahead[0])
        for t, step in zip(reversed(rows), reversed(steps), strict=True):
            message = ahead[t - case.starts[s]]
            joint = message[:, :, None, None] + step + behind[:, None, :, None]
            safe = np.where(np.isfinite(totals[s]), totals[s], 0.0)[:, None, None, None]
            post[t] = put_back(np.exp(joint - safe) * weight[s][:, None, None, None])
            joint = step + behind[:, None, :, None]
            behind = reduce(joint.reshape(*joint.shape[:2], -1), 2)[:, :, 0]
    return totals, post


def per_table(case: Case, post: Floats) -> list[Floats]:
    """Posterior of every table's entries from that of all axes."""
    found = []
    for names, factor in zip(case.structure.tables, case.factors, strict=True):
        gone = tuple(k for k, n in enumerate(case.structure.axes, start=1) if n not in names)
        rows = post.sum(axis=gone).reshape(len(post), -1)
        total = np.zeros_like(factor.values)
        np.add.at(total, factor.index, rows)
        found.append(total)
    return found


def close(left: Sequence[Floats], right: Sequence[Floats], tol: float = 1e-12) -> None:
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


def weights_of(case: Case, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    return rng.random((len(case.starts) - 1, case.plan.n_outer))


def test_which_plans_are_chains() -> None:
    found = {n for n, structure in STRUCTURES.items() if is_chain(draw(structure, 0, [2]).plan)}
    assert found == {"chain", "wide chain", "chain, much seen", "one state"}


CASES = [(name, seed) for name in STRUCTURES for seed in range(6)]


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_sums(name: str, seed: int) -> None:
    case = draw(STRUCTURES[name], seed, LENGTHS)
    weight = weights_of(case, seed)
    with np.errstate(all="ignore"):
        totals, post = brute(case, weight)
        weight = np.where(np.isfinite(totals), weight, 0.0)
        totals, post = brute(case, weight)
        kinds: list[type[Pass]] = [NumpyPass, CompiledPass, LogPass]
        if is_chain(case.plan):
            kinds += [ChainPass, ChainLogPass]
        for kind in kinds:
            run = case.run(kind)
            np.testing.assert_allclose(run.forward(), totals, rtol=1e-12, atol=1e-12)
            close(run.backward(weight), per_table(case, post))


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_maxima(name: str, seed: int) -> None:
    case = draw(STRUCTURES[name], seed, LENGTHS)

    def highest(joint: Floats, axis: int) -> Floats:
        return joint.max(axis=axis, keepdims=True)

    with np.errstate(all="ignore"):
        totals, _ = brute(case, np.ones((len(LENGTHS), case.plan.n_outer)), highest)
        weight = np.where(np.isfinite(totals), weights_of(case, seed), 0.0)
        found = []
        for kind in (NumpyPass, LogPass):
            run = case.run(kind, "max")
            np.testing.assert_allclose(run.forward(), totals, rtol=1e-12, atol=1e-12)
            found.append(run.backward(weight))
    close(*found)
    score = sum(
        (part[part > 0] * factor.values[part > 0]).sum()
        for part, factor in zip(found[1], case.factors, strict=True)
    )
    assert score == pytest.approx((weight * np.where(weight > 0, totals, 0.0)).sum(), rel=1e-10)


@pytest.mark.parametrize("kind", [NumpyPass, LogPass])
@pytest.mark.parametrize("name", ["chain", "coupled", "second order", "outer", "inner"])
def test_draws_have_the_posterior_as_their_mean(name: str, kind: type[Pass]) -> None:
    structure, n = STRUCTURES[name], 4000
    one = draw(structure, 1, [4])
    tables = []
    for names, factor in zip(structure.tables, one.factors, strict=True):
        shape = [s if axis in names else 1 for axis, s in structure.axes.items()]
        rows = factor.values[factor.index].reshape(4, *shape)
        tables.append(LogTable(rows, 4 * n, np.tile(np.arange(4), n)))
    case = build(structure, tables, [4] * n)
    run = case.run(kind, "sample", seed=3)
    weight = np.zeros((n, case.plan.n_outer))
    weight[:, 0] = 1.0  # a drawn outer value
    with np.errstate(all="ignore"):
        run.forward()
        _, post = brute(build(structure, [_first(t) for t in tables], [4]), weight[:1])
    for draws, expected in zip(
        run.backward(weight),
        per_table(build(structure, [_first(t) for t in tables], [4]), post),
        strict=True,
    ):
        assert np.array_equal(draws, draws.round())
        error = 6 * np.sqrt(n * expected * (1 - expected).clip(0)) + 1e-9
        assert (np.abs(draws - n * expected) <= error).all()


def _first(table: LogTable) -> LogTable:
    return LogTable(table.array, 4, np.arange(4))


# --- underflow ----------------------------------------------------------------------------------


def chain(transitions: Floats, emissions: Floats, lengths: Sequence[int]) -> Case:
    """A chain that starts in its first state's row; emissions are logarithms, one row per step."""
    k = len(transitions)
    with np.errstate(divide="ignore"):
        table = np.log(transitions).reshape(1, k, k)
    n = sum(lengths)
    structure = Structure({"P": k, "S": k}, "P", {"S": "P"}, ["PS", "S"])
    return build(structure, [LogTable(table, n), LogTable(emissions.reshape(n, 1, k), n)], lengths)


def check_against_numpy(case: Case) -> CompiledPass:
    """All compiled passes; the scaled ones need logarithms in the same cases."""
    reference = case.run(NumpyPass)
    ones = np.ones((len(case.starts) - 1, 1))
    scaled: tuple[type[Pass], ...] = CompiledPass, ChainPass
    runs: dict[object, Pass] = {kind: case.run(kind) for kind in (*scaled, LogPass, ChainLogPass)}
    runs |= {piece: run_lanes(case, piece=piece) for piece in (11, 4096)}
    with np.errstate(all="ignore"):
        totals, posteriors = reference.forward(), reference.backward(ones)
        for run in runs.values():
            np.testing.assert_allclose(run.forward(), totals, rtol=1e-12)
            close(run.backward(ones), posteriors, 1e-11)
            close(run.backward(2.5 * ones), [2.5 * part for part in posteriors], 1e-11)
    run, other = runs[CompiledPass], runs[ChainPass]
    assert isinstance(run, CompiledPass)
    assert isinstance(other, ChainPass)
    assert (run.rescue is None) == (other.rescue is None)
    whole = runs[4096]
    assert isinstance(whole, LanePass)
    assert (whole.rescue is None) == (other.rescue is None)
    return run


def test_sticky_transitions_need_no_logarithms() -> None:
    rng = np.random.default_rng(0)
    transitions = np.full((4, 4), 1e-5 / 3) + np.eye(4) * (0.99999 - 1e-5 / 3)
    run = check_against_numpy(chain(transitions, rng.normal(size=(900, 4)), [500, 400]))
    assert run.rescue is None


def test_one_way_chains_need_no_logarithms() -> None:
    rng = np.random.default_rng(1)
    transitions = 0.5 * np.eye(5) + 0.5 * np.eye(5, k=1)
    transitions[4, 4] = 1.0
    run = check_against_numpy(chain(transitions, rng.normal(size=(1800, 5)), [1500, 300]))
    assert run.rescue is None
    assert run.checked is not None


def test_far_apart_components_need_no_logarithms() -> None:
    rng = np.random.default_rng(2)
    emissions = -1000.0 * rng.random((600, 3))
    run = check_against_numpy(chain(np.full((3, 3), 1 / 3), emissions, [600]))
    assert run.rescue is None


@pytest.mark.parametrize("swing", [100.0, 400.0, 1500.0])
def test_a_state_may_come_back_from_below_the_smallest_float(swing: float) -> None:
    transitions = np.eye(3)
    transitions[0] = 1 / 3
    emissions = np.zeros((40, 3))
    emissions[1:20, 0] = emissions[20:39, 1] = -swing  # as good as each other at the end
    emissions[:, 2] = -3 * swing
    check_against_numpy(chain(transitions, emissions, [40]))


def test_steps_that_only_a_lost_state_explains() -> None:
    transitions = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    emissions = np.zeros((6, 3))
    emissions[2, 0] = -900.0
    emissions[4, 1] = -np.inf
    run = check_against_numpy(chain(transitions, emissions, [6]))
    assert run.rescue is not None


def test_impossible_sequences_are_impossible() -> None:
    emissions = np.zeros((6, 2))
    emissions[4] = -np.inf
    case = chain(np.full((2, 2), 0.5), emissions, [3, 3])
    with np.errstate(all="ignore"):
        assert case.run(CompiledPass).forward()[:, 0].tolist() == pytest.approx([0.0, -np.inf])


def test_weight_zero_gives_nothing() -> None:
    case = draw(STRUCTURES["outer"], 0, LENGTHS)
    run = case.run(CompiledPass)
    run.forward()
    assert all((part == 0).all() for part in run.backward(np.zeros((len(LENGTHS), 3))))


@pytest.mark.parametrize("kind", [NumpyPass, CompiledPass, LogPass])
def test_no_steps_at_all(kind: type[Pass]) -> None:
    case = draw(STRUCTURES["chain"], 0, [0, 0])
    run = case.run(kind)
    assert run.forward().tolist() == [[0.0], [0.0]]
    assert all((part == 0).all() for part in run.backward(np.ones((2, 1))))


@pytest.mark.parametrize("kind", [NumpyPass, CompiledPass, LogPass])
def test_what_is_no_number_is_not_hidden(kind: type[Pass]) -> None:
    emissions = np.zeros((6, 2))
    emissions[3, 1] = np.nan
    run = chain(np.full((2, 2), 0.5), emissions, [2, 4]).run(kind)
    with np.errstate(all="ignore"):
        found = run.forward()[:, 0]
    assert found[0] == pytest.approx(0.0)
    assert np.isnan(found[1])
