"""Laws over the whole zoo: what must not change, what must add up, what must be a derivative."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp
from zoo import ZOO, Animal

import pgem as pg
from pgem.analyse.layout import ParamLayout
from pgem.declare import LeafRecord
from pgem.pipeline import bind
from pgem.result.score import score

Floats = NDArray[np.float64]
Params = Mapping[str, Floats]
N_UNITS = 12
every_animal = pytest.mark.parametrize("animal", ZOO.values(), ids=ZOO)


def units(animal: Animal) -> dict[str, Any]:
    """A dozen small units."""
    return animal.observe(N_UNITS, animal.few, seed=4)


def take(data: dict[str, Any], chosen: Any) -> dict[str, Any]:
    """Some units, in this order."""
    return {
        name: values[chosen] if isinstance(values, np.ndarray) else [values[n] for n in chosen]
        for name, values in data.items()
    }


def iterate(animal: Animal, data: dict[str, Any], **options: Any) -> pg.Fit:
    """One iteration from the truth."""
    settings = {"start": animal.at_truth.params, "max_iter": 1, "tol": 0, **animal.options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.errors.FitWarning)
        fit = animal.model.fit(data, **{**settings, **options})
    assert fit.verdict in ("iteration_limit", "converged")
    return fit


def same_fit(one: pg.Fit, other: pg.Fit) -> None:
    """The same trace and parameters."""
    np.testing.assert_allclose(one.trace, other.trace, rtol=1e-9)
    for name, value in other.params.items():
        np.testing.assert_allclose(one.params[name], value, rtol=1e-7, atol=1e-9, err_msg=name)


# --- units --------------------------------------------------------------------------------------


@every_animal
def test_weight_two_is_the_row_twice(animal: Animal) -> None:
    data, weights = units(animal), 1 + np.arange(N_UNITS) % 2
    repeated = take(data, np.repeat(np.arange(N_UNITS), weights))
    same_fit(iterate(animal, data, weights=weights), iterate(animal, repeated))


@every_animal
def test_shards_merge(animal: Animal) -> None:
    data = units(animal)
    same_fit(iterate(animal, data, shard_size=1), iterate(animal, data))


# --- labels -------------------------------------------------------------------------------------


def bound_labels(animal: Animal) -> set[str]:
    """Latents whose labels mean something: a constant, a mask or a switch depends on them."""
    bound = set()
    for node in animal.model.record.nodes:
        if node.switch is not None:
            bound.add(node.switch.name)
        for leaf in (*node.components, *node.firsts):
            for slot in leaf.slots.values():
                if slot.kind == "constant":
                    bound |= {gate.name for gate in slot.gates}
                    if np.ptp(np.asarray(slot.value, dtype=float)) > 0:
                        bound.add(node.name)
    return bound


def relabelled(layout: ParamLayout, value: Floats, node: str, order: list[int]) -> Floats:
    """A parameter with the values of a node renamed: new k is old `order[k]`."""
    for axis, name in enumerate(layout.axes):
        if name.removeprefix("prev ").split(" ")[0] == node:
            value = np.take(value, order, axis=axis)
            if layout.role.name == "mean" and axis >= layout.n_gates:  # logits, against category 0
                value = value - np.take(value, [0], axis=axis)
    return value


def mask_is_symmetric(animal: Animal, node: str, order: list[int]) -> bool:
    """Whether what is held fixed is the same after relabelling."""
    for layout in animal.at_truth.program.params.values():
        if layout.role.name != "mean":
            held = np.asarray(layout.fixed, dtype=float)
            if not np.array_equal(relabelled(layout, held, node, order), held):
                return False
    return True


@every_animal
def test_permuting_labels_permutes_results(animal: Animal) -> None:
    data, program = units(animal), animal.at_truth.program
    before, bound = iterate(animal, data), bound_labels(animal)
    for node in animal.model.record.nodes:
        if node.kind != "latent" or node.leaf.family != "Categorical" or node.name in bound:
            continue
        order = [*range(1, node.leaf.settings["size"] or 2), 0]
        if not mask_is_symmetric(animal, node.name, order):
            continue

        def moved(params: Params, name: str = node.name, order: list[int] = order) -> Params:
            return {
                k: relabelled(program.params[k], np.asarray(v), name, order)
                for k, v in params.items()
            }

        given = dict(data)
        if node.name in data:
            given[node.name] = np.append(np.argsort(order), np.nan)[
                np.where(np.isnan(data[node.name]), -1, data[node.name]).astype(int)
            ]
        after = iterate(animal, given, start=moved(animal.at_truth.params))
        np.testing.assert_allclose(after.trace, before.trace, rtol=1e-9)
        for key, value in moved(before.params).items():
            np.testing.assert_allclose(after.params[key], value, rtol=1e-6, atol=1e-8, err_msg=key)


# --- holes --------------------------------------------------------------------------------------


def grid(leaf: LeafRecord, total: float, size: int) -> tuple[Floats, Floats]:
    """All values of a cell with their log-measure: a list, or a fine grid that stretches far."""
    family = leaf.family
    if family in ("Categorical", "Bernoulli"):
        values = np.arange(float(size))
    elif family == "Binomial":
        values = np.arange(float(leaf.slots["trials"].value) + 1)
    elif family == "Poisson":
        values = np.arange(120.0)
    elif family == "Multinomial":
        rows = itertools.product(range(int(total) + 1), repeat=size)
        values = np.array([row for row in rows if sum(row) == total], dtype=float)
    elif family in ("Gamma", "Exponential"):
        u = np.linspace(-40.0, 6.0, 1501)
        return np.exp(u), u + np.log(u[1] - u[0])
    else:
        u = np.linspace(-12.0, 12.0, 1501)
        return 1.7 * np.sinh(u), np.log(1.7 * np.cosh(u) * (u[1] - u[0]))
    return values, np.zeros(len(values))


@every_animal
def test_a_missing_cell_is_summed_or_integrated_over(animal: Animal) -> None:
    data, params = units(animal), animal.at_truth.params
    for node in animal.model.record.nodes:
        if node.kind != "observed":
            continue
        family = node.components[-1].family
        first = np.asarray(data[node.name][0], dtype=float)
        rows = family == "Multinomial"
        place = (0,) * (first.ndim - rows)
        size = first.shape[-1] if rows else node.leaf.settings.get("size") or 2
        values, log_measure = grid(node.components[-1], np.nansum(first[place]), size)
        copies = take(data, np.zeros(len(values), dtype=int))
        cells = np.repeat(first[None], len(values), axis=0)
        here: tuple[Any, ...] = (slice(None), *place)
        cells[here] = values
        holes = np.array(first)
        holes[place] = np.nan
        each = animal.model.log_likelihood({**copies, node.name: cells}, params)
        one = take(data, np.zeros(1, dtype=int))
        found = animal.model.log_likelihood({**one, node.name: holes[None]}, params)[0]
        assert found == pytest.approx(logsumexp(each + log_measure), abs=1e-7)


# --- derivatives --------------------------------------------------------------------------------


def direction(layout: ParamLayout, value: Floats, rng: np.random.Generator) -> Floats:
    """A direction in which a parameter may move: rows keep their sum, matrices their symmetry."""
    step = rng.normal(size=value.shape)
    if layout.role.name == "probability vector":
        free = ~np.asarray(layout.fixed) & (value > 0)
        step = np.where(free, step, 0.0)
        count = np.maximum(free.sum(axis=-1, keepdims=True), 1)
        step = np.where(free, step - step.sum(axis=-1, keepdims=True) / count, 0.0)
    elif layout.role.name == "covariance matrix" and layout.structure == "full":
        step = (step + np.swapaxes(step, -1, -2)) / 2
    return np.where(np.asarray(layout.fixed), 0.0, step)


@every_animal
def test_score_is_the_slope_of_the_log_likelihood(animal: Animal) -> None:
    data, params = units(animal), animal.at_truth.params
    slopes = score(bind(animal.at_truth.program, data), dict(params))
    rng = np.random.default_rng(5)
    for name, layout in animal.at_truth.program.params.items():
        step = direction(layout, np.asarray(params[name]), rng)
        eps = 1e-5 * max(1.0, float(np.abs(params[name]).max()))
        up = animal.model.log_likelihood(data, {**params, name: params[name] + eps * step})
        down = animal.model.log_likelihood(data, {**params, name: params[name] - eps * step})
        found = (up.sum() - down.sum()) / (2 * eps)
        assert (slopes[name] * step).sum() == pytest.approx(found, rel=1e-5, abs=2e-5), name


# --- log p(x) = L(q) + KL(q ‖ p) ----------------------------------------------------------------


def latents(animal: Animal) -> dict[str, str]:
    """Latent nodes and their scopes."""
    return {n.name: n.scope for n in animal.model.record.nodes if n.kind == "latent"}


DISCRETE = {
    name: a
    for name, a in ZOO.items()
    if all(n.leaf.family == "Categorical" for n in a.model.record.nodes if n.kind == "latent")
    and latents(a)
    and not a.shown
    and name != "multilevel_classes"
}


def configurations(animal: Animal) -> tuple[dict[str, Any], int]:
    """All values of the latents of the first unit, one after another, as data."""
    drawn = animal.sample(1, animal.few, seed=6)
    cells, sizes = [], []
    for node in animal.model.record.nodes:
        if node.kind == "latent":
            shape = np.shape(drawn[node.name][0])
            cells += [(node.name, place) for place in np.ndindex(shape)]
            sizes += [node.leaf.settings["size"] or 2] * int(np.prod(shape, dtype=int))
    codes = np.indices(sizes).reshape(len(sizes), -1)
    data = take(drawn, np.zeros(codes.shape[1], dtype=int))
    for name in latents(animal):
        data[name] = np.zeros((codes.shape[1], *np.shape(drawn[name][0])))
    for (name, place), column in zip(cells, codes, strict=True):
        data[name][(slice(None), *place)] = column
    return data, codes.shape[1]


@pytest.mark.parametrize("animal", DISCRETE.values(), ids=DISCRETE)
def test_evidence_is_bound_plus_divergence(animal: Animal) -> None:
    params, rng = animal.at_truth.params, np.random.default_rng(7)
    complete, count = configurations(animal)
    joint = animal.model.log_likelihood(complete, params)
    unit = {
        k: v for k, v in take(complete, np.zeros(1, dtype=int)).items() if k not in latents(animal)
    }
    evidence = animal.model.log_likelihood(unit, params)[0]
    posterior = np.exp(joint - evidence)
    possible = joint > -np.inf
    for _ in range(3):
        q = np.zeros(count)
        q[possible] = rng.dirichlet(np.ones(possible.sum()))
        q = np.where(q > 0, q, 0.0)
        on = q > 0
        bound = (q[on] * (joint[on] - np.log(q[on]))).sum()
        divergence = (q[on] * np.log(q[on] / posterior[on])).sum()
        assert divergence >= 0
        assert bound + divergence == pytest.approx(evidence, rel=1e-10, abs=1e-10)
    marginals = animal.model.posterior(unit, params)
    for name in latents(animal):
        found = np.asarray(marginals[name][0])
        for place in np.ndindex(found.shape[:-1]):
            values = complete[name][(slice(None), *place)].astype(int)
            share = np.bincount(values, weights=posterior, minlength=found.shape[-1])
            np.testing.assert_allclose(found[place], share, atol=1e-9)


FLAT = {name: a for name, a in DISCRETE.items() if set(latents(a).values()) == {"unit"}}


@pytest.mark.parametrize("animal", FLAT.values(), ids=FLAT)
def test_bound_touches_at_the_posterior(animal: Animal) -> None:
    params = animal.at_truth.params
    complete, count = configurations(animal)
    names = tuple(latents(animal))
    unit = {k: v for k, v in take(complete, np.zeros(1, dtype=int)).items() if k not in names}
    found: dict[Any, Any]
    found = animal.model.posterior(unit, params, joint=[names] if len(names) > 1 else [])
    q = np.ravel(found[names if len(names) > 1 else names[0]][0])
    assert len(q) == count
    joint, on = animal.model.log_likelihood(complete, params), q > 0
    bound = (q[on] * (joint[on] - np.log(q[on]))).sum()
    assert bound == pytest.approx(animal.model.log_likelihood(unit, params)[0], rel=1e-10)


GAUSSIAN = {
    name: ZOO[name]
    for name in (
        "factor_analysis",
        "probabilistic_pca",
        "two_views_with_one_factor",
        "random_intercepts",
        "linear_mixed_model",
    )
}


def expected_log_joint(animal: Animal, unit: Any, mean: Floats, cov: Floats) -> float:
    """E_q[log p(x, f)]: the log is a quadric, so three Gauss–Hermite points a side are exact."""
    (name,) = latents(animal)
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    points = np.array(list(itertools.product(nodes, repeat=len(mean))))
    shares = np.array([np.prod(w) for w in itertools.product(weights, repeat=len(mean))])
    values: Floats = mean + points @ np.linalg.cholesky(cov).T
    data = take(unit, np.zeros(len(values), dtype=int))
    data[name] = values if len(mean) > 1 else values[:, 0]
    logs = animal.model.log_likelihood(data, animal.at_truth.params)
    return float(logs @ shares / shares.sum())


@pytest.mark.parametrize("animal", GAUSSIAN.values(), ids=GAUSSIAN)
def test_gaussian_evidence_is_bound_plus_divergence(animal: Animal) -> None:
    params, rng = animal.at_truth.params, np.random.default_rng(8)
    unit = animal.observe(1, animal.few, seed=6)
    evidence = animal.model.log_likelihood(unit, params)[0]
    (name,) = latents(animal)
    posterior = animal.model.posterior(unit, params)[name]
    mean = np.atleast_1d(posterior.mean[0])
    cov = np.reshape(posterior.cov[0], (len(mean), len(mean)))
    for k in range(3):
        root = rng.normal(size=cov.shape)
        q_mean = mean if k == 0 else rng.normal(size=mean.shape)
        q_cov = cov if k == 0 else root @ root.T + 0.3 * np.eye(len(mean))
        entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * q_cov)[1]
        bound = expected_log_joint(animal, unit, q_mean, q_cov) + entropy
        apart, ratio = mean - q_mean, np.linalg.solve(cov, q_cov)
        away = apart @ np.linalg.solve(cov, apart)
        divergence = 0.5 * (np.trace(ratio) - len(mean) + away - np.linalg.slogdet(ratio)[1])
        assert divergence >= -1e-12
        assert bound + divergence == pytest.approx(evidence, rel=1e-9, abs=1e-9)
        assert k > 0 or bound == pytest.approx(evidence, rel=1e-9, abs=1e-9)
