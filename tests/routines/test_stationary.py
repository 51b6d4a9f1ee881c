"""Chains that begin in their stationary distribution, against enumeration and optimisers."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import xlogy
from scipy.stats import norm

import pgem as pg
from pgem.result.information import information
from pgem.result.score import score
from pgem.routines.stationary import closed_classes, distributions, stationary_value
from pgem.run import Bound, make_schema, read_data, sum_statistics

Floats = NDArray[np.float64]


def random_table(generator: np.random.Generator, *shape: int) -> Floats:
    return generator.dirichlet(np.full(shape[-1], 0.8), shape[:-1])


def by_eigenvector(table: Floats) -> Floats:
    """δ in another way: the left eigenvector of eigenvalue 1."""
    roots, vectors = np.linalg.eig(table.T)
    found = np.real(vectors[:, np.argmin(np.abs(roots - 1))])
    return np.asarray(found / found.sum())


def hidden(size: int = 3, zeros: Any = None) -> pg.Model:
    with pg.Model("hidden") as model, pg.sequence("t"):
        table = pg.param(zeros=zeros)
        s = pg.latent("s", pg.Categorical(table, size=size), after="s", first="stationary")
        pg.observed("y", pg.Normal(), given=s)
    return model


def mixture() -> pg.Model:
    with pg.Model("mixture") as model:
        c = pg.latent("c", pg.Categorical(size=2))
        with pg.sequence("t"):
            s = pg.latent("s", pg.Categorical(size=3), given=c, after="s", first="stationary")
            pg.observed("y", pg.Normal(), given=s)
    return model


def draw(seed: int, n: int = 30, longest: int = 5) -> list[Floats]:
    generator = np.random.default_rng(seed)
    return [2 * generator.normal(size=generator.integers(1, longest + 1)) for _ in range(n)]


def params_of(model: pg.Model, data: dict[str, Any], seed: int) -> dict[str, Floats]:
    """Random parameters inside their constraints."""
    generator = np.random.default_rng(seed)
    found: dict[str, Floats] = {}
    for name, value in model.fit(data, max_iter=0).params.items():
        if name.endswith("probs"):
            weights = generator.gamma(1.0, size=value.shape) * (value > 0)
            found[name] = weights / weights.sum(axis=-1, keepdims=True)
        elif name.endswith("var"):
            found[name] = generator.gamma(3.0, 0.5, size=value.shape)
        else:
            found[name] = generator.normal(size=value.shape)
    return found


def enumerated(y: Floats, table: Floats, mean: Floats, var: Floats) -> float:
    """Likelihood of one sequence: a sum over all paths."""
    first = by_eigenvector(table)
    density = norm.pdf(y[:, None], mean, np.sqrt(var))
    total = 0.0
    for path in itertools.product(range(len(mean)), repeat=len(y)):
        chain = first[path[0]] * np.prod([table[a, b] for a, b in itertools.pairwise(path)])
        total += float(chain * np.prod(density[range(len(y)), path]))
    return total


def test_the_distribution_is_invariant() -> None:
    tables = random_table(np.random.default_rng(0), 20, 5, 5)
    found = distributions(tables)
    for table, row in zip(tables, found, strict=True):
        np.testing.assert_allclose(row, by_eigenvector(table), atol=1e-12)


def test_transient_states_have_probability_zero() -> None:
    table = np.array([[[0.5, 0.4, 0.1], [0.0, 0.3, 0.7], [0.0, 0.6, 0.4]]])
    found = distributions(table)[0]
    assert found[0] == 0.0
    np.testing.assert_allclose(found[1:], by_eigenvector(table[0, 1:, 1:]), atol=1e-14)


def test_nearly_separate_states_keep_their_digits() -> None:
    tiny = 1e-17
    table = np.array([[[1 - tiny, tiny], [2 * tiny, 1 - 2 * tiny]]])
    np.testing.assert_allclose(distributions(table)[0], [2 / 3, 1 / 3], rtol=1e-14)


def test_closed_classes() -> None:
    possible = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 1]], dtype=bool)
    assert [states.tolist() for states in closed_classes(possible)] == [[0, 1], [3]]


def test_likelihood_against_enumeration() -> None:
    model, y = hidden(), draw(1)
    params = params_of(model, {"y": y}, 2)
    table, mean, var = (params[name] for name in ("s.probs", "y.mean", "y.var"))
    expected = [np.log(enumerated(row, table, mean, var)) for row in y]
    np.testing.assert_allclose(model.log_likelihood({"y": y}, params), expected, atol=1e-10)


def test_mixture_likelihood_against_enumeration() -> None:
    model, y = mixture(), draw(3, n=10)
    params = params_of(model, {"y": y}, 4)
    mean, var = params["y.mean"], params["y.var"]
    expected = [
        np.log(
            sum(
                weight * enumerated(row, table, mean, var)
                for weight, table in zip(params["c.probs"], params["s.probs"], strict=True)
            )
        )
        for row in y
    ]
    np.testing.assert_allclose(model.log_likelihood({"y": y}, params), expected, atol=1e-10)


def q_of(first: Floats, pairs: Floats, table: Floats) -> float:
    logs = xlogy(pairs, table).sum()
    return float(logs + xlogy(first, by_eigenvector(table)).sum())


ZEROS = np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=bool)


@pytest.mark.parametrize("zeros", [None, ZEROS])
def test_m_step_against_an_optimiser(zeros: Any) -> None:
    model, y = hidden(zeros=zeros), draw(5, n=40, longest=3)
    start = params_of(model, {"y": y}, 6)
    fit = model.fit({"y": y}, start=start, max_iter=1)
    _, stats = sum_statistics(bound_of(model, {"y": y}), start)
    first, pairs = stats["s.first"].arrays[0][0], stats["s"].arrays[0]
    allowed = np.ones((3, 3), dtype=bool) if zeros is None else ~zeros

    def table_of(free: Floats) -> Floats:
        logits = np.full((3, 3), -np.inf)
        logits[allowed] = free
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    found = minimize(
        lambda free: -q_of(first, pairs, table_of(free)),
        np.log(start["s.probs"][allowed]),
        method="Nelder-Mead",
        options={"maxiter": 4000, "maxfev": 4000, "xatol": 1e-8, "fatol": 1e-11, "adaptive": True},
    )  # fmt: skip
    reached = q_of(first, pairs, fit.params["s.probs"])
    assert reached >= -found.fun - 1e-8
    assert reached >= q_of(first, pairs, start["s.probs"])
    assert (fit.params["s.probs"][~allowed] == 0).all()


def bound_of(model: pg.Model, data: dict[str, Any]) -> Bound:
    program = model.compile(data)
    columns = read_data(data, program.outline)
    return Bound(program.variant(make_schema(columns)), columns)


@pytest.mark.parametrize("model", [hidden(), hidden(zeros=ZEROS), mixture()])
def test_em_never_falls(model: pg.Model) -> None:
    fit = model.fit({"y": draw(7, n=50, longest=4)}, max_iter=60, tol=0)
    assert np.diff(fit.trace).min() >= -1e-9
    assert fit.verdict == "iteration_limit"


@pytest.mark.parametrize("model", [hidden(), hidden(zeros=ZEROS), mixture()])
def test_score_against_differences(model: pg.Model) -> None:
    data = {"y": draw(8, n=20)}
    params = params_of(model, data, 9)
    slope = score(bound_of(model, data), params)["s.probs"]
    table = params["s.probs"]
    generator = np.random.default_rng(10)
    for _ in range(5):
        step = generator.normal(size=table.shape) * (table > 0)
        step -= (
            (table > 0) * step.sum(axis=-1, keepdims=True) / (table > 0).sum(axis=-1, keepdims=True)
        )
        h = 1e-6 * table[table > 0].min()

        def total(k: float, step: Floats = step, h: float = h) -> float:
            moved = {**params, "s.probs": table + k * h * step}
            return float(model.log_likelihood(data, moved).sum())

        expected = (total(1) - total(-1)) / (2 * h)
        assert abs((slope * step).sum() - expected) < 1e-4 * max(1.0, abs(expected))


def test_a_visible_chain_against_an_optimiser() -> None:
    with pg.Model("visible") as model, pg.sequence("t"):
        pg.observed("x", pg.Bernoulli(), after="x", first="stationary")
    generator = np.random.default_rng(11)
    x = [(generator.random(generator.integers(1, 5)) < 0.4).astype(int) for _ in range(40)]
    fit = model.fit({"x": x}, tol=1e-13)

    def loss(free: Floats) -> float:
        up, stay = 1 / (1 + np.exp(-free))
        on = up / (1 - stay + up)
        total = 0.0
        for row in x:
            total += np.log(on if row[0] else 1 - on)
            for a, b in itertools.pairwise(row):
                p = stay if a else up
                total += np.log(p if b else 1 - p)
        return -float(total)

    found = minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-9})
    assert fit.log_likelihood == pytest.approx(-found.fun, abs=1e-9)
    up, stay = fit.params["x.prob"]
    assert fit.expanded("x.first.prob") == pytest.approx(up / (1 - stay + up), abs=1e-12)


def test_what_follows_is_shown_and_no_parameter() -> None:
    fit = mixture().fit({"y": draw(12)}, max_iter=5)
    assert "s.first.probs" not in fit.params
    assert fit.n_parameters == 1 + 12 + 6
    shown = fit.expanded("s.first.probs")
    for row, table in zip(shown, fit.params["s.probs"], strict=True):
        np.testing.assert_allclose(row, by_eigenvector(table), atol=1e-12)
    assert ("s.probs", "numeric", "local") in [
        (row.what, row.how, row.exact) for row in fit.report.m_step
    ]
    with pytest.raises(pg.FitError, match=r"'s\.first\.prob'"):
        fit.expanded("s.first.prob")


def test_rows_that_are_tied_by_a_table() -> None:
    """A constant that maps the last value to a row: the table is written out first."""
    rows = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    with pg.Model("tied") as model, pg.sequence("t"):
        table = pg.param("table")[pg.constant([0, 0, 1])[pg.prev("s")]]
        s = pg.latent("s", pg.Categorical(table, size=3), first="stationary")
        pg.observed("y", pg.Normal(), given=s)
    y = draw(13)
    params = {"table": rows, "y.mean": np.arange(3.0), "y.var": np.ones(3)}
    expected = [np.log(enumerated(r, rows[[0, 0, 1]], np.arange(3.0), np.ones(3))) for r in y]
    np.testing.assert_allclose(model.log_likelihood({"y": y}, params), expected, atol=1e-10)
    fit = model.fit({"y": y}, start=params, max_iter=30, tol=0)
    assert np.diff(fit.trace).min() >= -1e-9


def test_priors_and_ties() -> None:
    """A prior on the table raises the posterior; two chains may share one table."""
    with pg.Model("pair") as model, pg.sequence("t"):
        table = pg.param("table", prior=pg.Dirichlet(3.0))
        for name in ("a", "b"):
            law = pg.Categorical(table[pg.prev(name)], size=2)
            chain = pg.latent(name, law, first="stationary")
            pg.observed(f"y_{name}", pg.Normal(), given=chain)
    data = {"y_a": draw(22), "y_b": [-row for row in draw(22)]}
    fit = model.fit(data, max_iter=40, tol=0)
    assert np.diff(fit.trace).min() >= -1e-9
    assert fit.n_parameters == 2 + 8
    ml = model.fit(data, max_iter=40, tol=0, estimate="ml", start=fit.params)
    assert np.diff(ml.trace).min() >= -1e-9
    for name in ("a", "b"):
        shown = fit.expanded(f"{name}.first.probs")
        np.testing.assert_allclose(shown, by_eigenvector(fit.params["table"]), atol=1e-12)
    slope = score(bound_of(model, data), fit.params)["table"]
    h, step = 1e-6, np.array([[1.0, -1.0], [0.0, 0.0]])
    ends = [
        model.log_likelihood(data, {**fit.params, "table": fit.params["table"] + k * h * step})
        for k in (1, -1)
    ]
    expected = (ends[0].sum() - ends[1].sum()) / (2 * h)
    assert (slope * step).sum() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_known_tables_have_known_beginnings() -> None:
    rows = random_table(np.random.default_rng(14), 3, 3)
    with pg.Model("known") as model, pg.sequence("t"):
        known = pg.Categorical(pg.constant(rows)[pg.prev("s")], size=3)
        s = pg.latent("s", known, first="stationary")
        pg.observed("y", pg.Normal(), given=s)
    fit = model.fit({"y": draw(15)}, max_iter=3)
    np.testing.assert_allclose(fit.expanded("s.first.probs"), by_eigenvector(rows), atol=1e-12)


def test_information_against_second_differences() -> None:
    model = hidden(2)
    params = {
        "s.probs": np.array([[0.7, 0.3], [0.5, 0.5]]),
        "y.mean": np.array([-2.0, 2.0]),
        "y.var": np.array([1.0, 2.0]),
    }
    start = model.fit({"y": draw(15)}, start=params, max_iter=0)
    data = {"y": start.sample(80, sizes={"t": 4}, seed=1)["y"]}
    fit = model.fit(data, start=params, tol=1e-12)
    assert np.isfinite(fit.standard_errors()["s.probs"]).all()
    found = information(bound_of(model, data), fit.params)
    tangent, h = found.tangent, 1e-4

    def total(*steps: float) -> float:
        moved = found.at + tangent.basis[:, : len(steps)] @ (h * np.array(steps))
        return float(model.log_likelihood(data, tangent.named(moved)).sum())

    expected = np.array(
        [
            [
                sum(a * b * total(*(a * (i == k) + b * (j == k) for k in range(2)))
                    for a in (1, -1) for b in (1, -1)) / (4 * h * h)
                for j in range(2)
            ]
            for i in range(2)
        ]
    )  # fmt: skip
    bound = bound_of(model, data)

    def slope(k: int, sign: float) -> Floats:
        moved = tangent.named(found.at + sign * h * tangent.basis[:, k])
        return np.asarray(tangent.basis.T @ tangent.flat(score(bound, moved)))[:2]

    by_score = np.array([(slope(k, 1) - slope(k, -1)) / (2 * h) for k in range(2)])
    np.testing.assert_allclose(by_score, expected, rtol=1e-3, atol=1e-3)


def test_samples_begin_where_they_stay() -> None:
    fit = hidden().fit({"y": draw(17)}, max_iter=3)
    drawn = fit.sample(4000, sizes={"t": 2}, seed=0)
    first = np.bincount([row[0] for row in drawn["s"]], minlength=3) / 4000
    np.testing.assert_allclose(first, fit.expanded("s.first.probs"), atol=0.04)


def test_saved_and_spelt(tmp_path: Path) -> None:
    model = mixture()
    fit = model.fit({"y": draw(18)}, max_iter=4)
    fit.save(tmp_path / "fit.json")
    again = pg.load(tmp_path / "fit.json")
    np.testing.assert_array_equal(again.expanded("s.first.probs"), fit.expanded("s.first.probs"))
    assert pg.Model.from_json(model.to_json()).record == model.record
    spoilt = model.to_json().replace('"stationary"', '"constant"')
    with pytest.raises(pg.DeclarationError):
        pg.Model.from_json(spoilt)


@pytest.mark.chooses_path
def test_the_script_runs_alone(tmp_path: Path) -> None:
    model, data = hidden(), {"y": draw(19)}
    fit = model.fit(data, max_iter=5, tol=0)
    path = tmp_path / "script.py"
    fit.program.to_script(data, max_iter=5, tol=0, path=path)
    command = [sys.executable, "-I", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout)["log_likelihood"] == pytest.approx(fit.trace[-1], rel=1e-12)


def test_a_start_of_two_classes_is_refused() -> None:
    model = hidden(2)
    params = {"s.probs": np.eye(2), "y.mean": np.arange(2.0), "y.var": np.ones(2)}
    with pytest.raises(pg.FitError, match=r"closed classes '\{0\}' and '\{1\}'"):
        model.log_likelihood({"y": draw(20)}, params)


def test_other_gates_keep_their_order() -> None:
    generator = np.random.default_rng(21)
    tables = random_table(generator, 2, 3, 4, 3)  # gates a, prev, b
    sizes = {"a": 2, "prev": 3, "b": 4}
    found, others = stationary_value(tables, ("a", "prev", "b"), "prev", sizes.__getitem__)
    assert others == ("a", "b")
    for a, b in itertools.product(range(2), range(4)):
        np.testing.assert_allclose(found[a, b], by_eigenvector(tables[a, :, b]), atol=1e-12)
