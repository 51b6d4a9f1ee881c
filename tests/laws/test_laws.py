"""Laws that hold for every model: what must not change, and what must add up."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from free import Free
from law_cases import CASES, N_UNITS
from numpy.typing import NDArray
from oracle import Oracle, components, look_up, node_gates
from scipy.special import logsumexp
from strategies import Case

import pgem as pg
from pgem.declare.records import CovariateRecord, ModelRecord, NodeRecord

Floats = NDArray[np.float64]

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
N = np.arange(N_UNITS)


def iterate(case: Case, data: Any = None, **options: Any) -> Any:
    """One iteration of EM from the case's parameters."""
    settings = {"start": case.params, "max_iter": 1, "tol": 0, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.errors.FitWarning)
        fit = case.model.fit(case.data if data is None else data, **settings)
    assert fit.verdict not in ("decreased", "degenerate")
    return fit


def take(data: dict[str, Any], units: Any) -> dict[str, Any]:
    """Some units, in this order."""
    return {
        name: values[units] if isinstance(values, np.ndarray) else [values[n] for n in units]
        for name, values in data.items()
    }


def same_fit(one: Any, other: Any, rtol: float = 1e-8) -> None:
    """The same trace and parameters."""
    np.testing.assert_allclose(one.trace, other.trace, rtol=1e-10)
    for name, value in other.params.items():
        np.testing.assert_allclose(one.params[name], value, rtol=rtol, atol=1e-10, err_msg=name)


# --- units --------------------------------------------------------------------------------------


@every_case
def test_weight_two_is_the_row_twice(case: Case) -> None:
    times = N % 3
    weighted = iterate(case, weights=times)
    same_fit(weighted, iterate(case, take(case.data, np.repeat(N, times))))


@every_case
def test_units_are_independent(case: Case) -> None:
    whole = case.model.log_likelihood(case.data, case.params)
    parts = [
        case.model.log_likelihood(take(case.data, units), case.params)
        for units in (N[:3], N[3:4], N[4:])
    ]
    np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-12)
    shuffled = N[::-1]
    turned = case.model.log_likelihood(take(case.data, shuffled), case.params)
    np.testing.assert_allclose(whole[shuffled], turned, rtol=1e-12)


@every_case
@pytest.mark.parametrize("shard_size", [1, 5])
def test_shards_merge(case: Case, shard_size: int) -> None:
    same_fit(iterate(case, shard_size=shard_size), iterate(case))


# --- labels -------------------------------------------------------------------------------------


@every_case
def test_permuting_labels_permutes_results(case: Case) -> None:
    for name in free_labels(case.record):
        order = np.roll(np.arange(case.sizes[name]), 1)
        other = replace(case, data=relabel_data(case, name, order))
        moved = relabel(case.record, case.params, name, order)
        one, two = iterate(case), iterate(other, start=moved)
        np.testing.assert_allclose(two.trace, one.trace, rtol=1e-10)
        expected = relabel(case.record, one.params, name, order)
        for param, value in expected.items():
            np.testing.assert_allclose(two.params[param], value, rtol=1e-7, atol=1e-10)
        before = case.model.posterior(case.data, case.params)[name]
        after = case.model.posterior(other.data, moved)[name]
        for unit, path in case.oracle.replicas(name):
            np.testing.assert_allclose(
                look_up(after, unit, path), look_up(before, unit, path)[order], atol=1e-10
            )


def free_labels(record: ModelRecord) -> list[str]:
    """Latents whose labels mean nothing: no switch and no constant depends on them."""
    bound = {node.switch.name for node in record.nodes if node.switch}
    return [n.name for n in record.nodes if n.kind == "latent" and n.name not in bound]


def relabel(
    record: ModelRecord, params: dict[str, Floats], node: str, order: Any
) -> dict[str, Floats]:
    """Parameters with the values of a node renamed: new k is old `order[k]`."""
    moved = {name: np.asarray(value) for name, value in params.items()}
    done: set[str] = set()
    for key, leaf in components(record).items():
        for slot in leaf.slots.values():
            if slot.kind != "param" or slot.name in done:
                continue
            done.add(slot.name)
            for axis, gate in enumerate(slot.gates):
                if gate.kind == "node" and gate.name == node:
                    moved[slot.name] = np.take(moved[slot.name], order, axis=axis)
            if key.split(".")[0] == node:
                moved[slot.name] = np.take(moved[slot.name], order, axis=-1)
    return moved


def relabel_data(case: Case, node: str, order: Any) -> dict[str, Any]:
    """Data with given values of a node renamed."""
    if node not in case.data:
        return case.data
    new = np.append(np.argsort(order).astype(float), np.nan)
    values = case.data[node]
    codes = np.where(np.isnan(values), len(order), values).astype(int)
    return {**case.data, node: new[codes]}


# --- missing values -----------------------------------------------------------------------------


@every_case
def test_a_missing_node_is_a_node_left_out(case: Case) -> None:
    parents = {gate.name for node in case.record.nodes for gate in node_gates(node)}
    leaves = [n for n in case.record.nodes if n.kind == "observed" and n.name not in parents]
    for node in leaves:
        values = case.data[node.name]
        holes = {**case.data, node.name: [np.full_like(v, np.nan) for v in values]}
        if isinstance(values, np.ndarray):
            holes[node.name] = np.full_like(values, np.nan)
        found = case.model.log_likelihood(holes, case.params)
        expected = Oracle(without(case.record, node), holes, case.params).log_likelihood
        np.testing.assert_allclose(found, expected, atol=1e-10)


def without(record: ModelRecord, node: NodeRecord) -> ModelRecord:
    """A declaration without one node, whose data only show lengths any more."""
    rest = tuple(n for n in record.nodes if n.name != node.name)
    lengths = CovariateRecord(node.name, node.scope)
    return replace(record, nodes=rest, covariates=(*record.covariates, lengths))


FINITE = {
    k: c
    for k, c in CASES.items()
    if {n.name for n in c.record.nodes if n.kind == "observed"} & set(c.sizes)
}


@pytest.mark.parametrize("case", FINITE.values(), ids=FINITE)
def test_a_missing_category_is_summed_over(case: Case) -> None:
    finite = [n.name for n in case.record.nodes if n.kind == "observed" and n.name in case.sizes]
    for name in finite:
        logs = [
            case.model.log_likelihood(with_last(case.data, name, value), case.params)
            for value in range(case.sizes[name])
        ]
        found = case.model.log_likelihood(with_last(case.data, name, np.nan), case.params)
        changed = [n for n in N if np.ndim(case.data[name][n]) == 0 or len(case.data[name][n]) > 1]
        np.testing.assert_allclose(found[changed], logsumexp(logs, axis=0)[changed], atol=1e-10)


def with_last(data: dict[str, Any], name: str, value: float) -> dict[str, Any]:
    """Data with the last cell of every unit replaced (conditioned first steps stay)."""
    if np.ndim(data[name][0]) == 0:
        return {**data, name: np.full(len(data[name]), value)}
    changed = [np.array(values) for values in data[name]]
    for values in changed:
        if len(values) > 1:
            values[-1] = value
    return {**data, name: changed}


# --- the likelihood -----------------------------------------------------------------------------


@every_case
def test_score_is_the_slope_of_q(case: Case) -> None:
    free = Free(case.shapes, case.params)
    step = 1e-5
    for k in range(free.size):
        shift = np.zeros(free.size)
        shift[k] = step
        up, down = free.unpack(free.start + shift), free.unpack(free.start - shift)
        found = (
            case.model.log_likelihood(case.data, up).sum()
            - case.model.log_likelihood(case.data, down).sum()
        ) / (2 * step)
        expected = (case.oracle.q(up) - case.oracle.q(down)) / (2 * step)
        assert found == pytest.approx(expected, rel=1e-5, abs=2e-6)


NESTED = {
    "spherical in diagonal": (
        "m = pg.templates.mixture(pg.MvNormal(cov=pg.spherical()), 2)",
        "m = pg.templates.mixture(pg.MvNormal(cov=pg.diagonal()), 2)",
        lambda p: p | {"x.cov": np.repeat(p["x.cov"][:, None], 2, axis=1)},
    ),
    "diagonal in full": (
        "m = pg.templates.mixture(pg.MvNormal(cov=pg.diagonal()), 2)",
        "m = pg.templates.mixture(pg.MvNormal(), 2)",
        lambda p: p | {"x.cov": p["x.cov"][:, :, None] * np.eye(2)},
    ),
    "shared in separate": (
        'with pg.Model("m") as m:\n'
        '    z = pg.latent("z", pg.Categorical(size=2))\n'
        '    x = pg.observed("x", pg.MvNormal(mean=pg.param("mean")[z], cov=pg.param("cov")))\n',
        "m = pg.templates.mixture(pg.MvNormal(), 2)",
        lambda p: {
            "z.probs": p["z.probs"],
            "x.mean": p["mean"],
            "x.cov": np.stack([p["cov"]] * 2),
        },
    ),
    "equal weights in free weights": (
        'with pg.Model("m") as m:\n'
        '    z = pg.latent("z", pg.Categorical([0.5, 0.5]))\n'
        '    x = pg.observed("x", pg.MvNormal(), given=z)\n',
        "m = pg.templates.mixture(pg.MvNormal(), 2)",
        lambda p: p | {"z.probs": np.array([0.5, 0.5])},
    ),
}


@pytest.mark.parametrize(("small", "large", "embed"), NESTED.values(), ids=NESTED)
def test_a_larger_model_fits_at_least_as_well(small: str, large: str, embed: Any) -> None:
    rng = np.random.default_rng(0)
    data = {"x": np.concatenate([rng.normal(0, 1, (30, 2)), rng.normal(2, [1, 2], (30, 2))])}
    inner = fitted(small, data)
    outer = fitted(large, data, start=embed(dict(inner.params)))
    assert outer.trace[0] == pytest.approx(inner.log_likelihood, rel=1e-12)
    assert outer.log_likelihood >= inner.log_likelihood - 1e-9
    assert outer.n_parameters > inner.n_parameters


def test_longer_memory_fits_at_least_as_well() -> None:
    rng = np.random.default_rng(1)
    rates = np.where(np.arange(40) // 5 % 2, 6.0, 1.0)
    data = {"y": rng.poisson(rates, (6, 40))}
    independent = fitted(
        'with pg.Model("m") as m:\n'
        '    with pg.sequence("t"):\n'
        '        s = pg.latent("s", pg.Categorical(size=2))\n'
        '        y = pg.observed("y", pg.Poisson(), given=s)\n',
        data,
    )
    start = dict(independent.params)
    start |= {"s.first.probs": start["s.probs"], "s.probs": np.stack([start["s.probs"]] * 2)}
    chain = fitted("m = pg.templates.hmm(pg.Poisson(), 2)", data, start=start)
    assert chain.trace[0] == pytest.approx(independent.log_likelihood, rel=1e-12)
    assert chain.log_likelihood > independent.log_likelihood
    start = dict(chain.params)
    start |= {"s.first2.probs": start["s.probs"], "s.probs": np.stack([start["s.probs"]] * 2)}
    second = fitted(
        'with pg.Model("m") as m:\n'
        '    with pg.sequence("t"):\n'
        '        s = pg.latent("s", pg.Categorical(size=2), given=pg.prev("s", 2), after="s")\n'
        '        y = pg.observed("y", pg.Poisson(), given=s)\n',
        data,
        start=start,
    )
    assert second.trace[0] == pytest.approx(chain.log_likelihood, rel=1e-12)
    assert second.log_likelihood >= chain.log_likelihood - 1e-9


def fitted(source: str, data: dict[str, Any], start: Any = None) -> Any:
    """A model fitted to its end."""
    model = Case(source, 0, {}, {}, data).model
    return model.fit(data, start=start, seed=1, max_iter=300, tol=1e-10)
