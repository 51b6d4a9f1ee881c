"""Every model of the zoo compiles, agrees with an oracle, and finds the truth again."""

from __future__ import annotations

import re
import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
from dense import GAUSSIAN, Dense
from numpy.typing import NDArray
from oracle import Oracle, n_values
from zoo import VECTORS, ZOO, Animal, with_holes
from zoo_formulas import FORMULAS

import pgem as pg
from pgem.declare.records import ModelRecord

Floats = NDArray[np.float64]
every_animal = pytest.mark.parametrize("animal", ZOO.values(), ids=ZOO)


def is_linear(record: ModelRecord) -> bool:
    """Whether everything is a category or Gaussian."""
    families = {leaf.family for node in record.nodes for leaf in node.components}
    return families <= {"Categorical", *GAUSSIAN} and not any(node.switch for node in record.nodes)


def expected(
    animal: Animal, data: dict[str, Any], params: dict[str, Floats], sizes: Any = None
) -> Floats:
    """log p per unit, by an oracle that reads the records, or by a formula."""
    if animal.name in FORMULAS:
        return FORMULAS[animal.name](data, params)
    record, n_units = animal.model.record, len(next(iter(data.values())))
    if not is_linear(record) or animal.name == "multilevel_classes":
        return Oracle(record, data, params).log_likelihood
    sizes = sizes or {name: [size] * n_units for name, size in animal.few.items()}
    categories = {
        node.name: size for node in record.nodes if (size := n_values(node, params)) is not None
    }
    dense = Dense(record, data, sizes, n_units, categories)
    dense.dims = {
        node.name: node.leaf.settings["size"]
        for node in record.nodes
        if node.leaf.family in VECTORS
    }
    return dense.log_likelihood(params)


def punch(animal: Animal, data: dict[str, Any], seed: int) -> dict[str, Any]:
    """Data with 15 % of the observed cells missing, and never none."""
    rng, found = np.random.default_rng(seed), dict(data)
    for node in animal.model.record.nodes:
        if node.kind == "observed":
            rows = node.leaf.family == "Multinomial"
            found[node.name] = with_holes(data[node.name], 0.15, rng, rows=rows)
            first = found[node.name][0]
            found[node.name][0] = with_holes(first, 0.5, rng, rows=rows)
    return found


def names(text: str, name: str) -> bool:
    """Whether a name stands in a text, maybe with indices, not only inside a longer one."""
    return re.search(rf"(?<![\w.]){re.escape(name)}(?![a-zA-Z0-9]|\.\w)", text) is not None


@every_animal
def test_compiles_and_is_told(animal: Animal) -> None:
    program = animal.at_truth.program
    report, told = str(program.report), program.explain()
    for name in program.params:
        assert names(report, name)
        assert names(told, name)
    for node in animal.model.record.nodes:
        assert names(told, node.name)
        assert node.kind == "observed" or names(report, node.name)
    assert program.explain("markdown")
    compile(program.source, animal.name, "exec")


@every_animal
def test_log_likelihood_is_the_oracles(animal: Animal) -> None:
    params, data = animal.at_truth.params, animal.few_units
    found = animal.model.log_likelihood(data, params)
    np.testing.assert_allclose(found, expected(animal, data, params), rtol=1e-9, atol=1e-9)


@every_animal
@pytest.mark.parametrize("seed", [1, 2])
def test_log_likelihood_with_holes_is_the_oracles(animal: Animal, seed: int) -> None:
    params, data = animal.at_truth.params, punch(animal, animal.few_units, seed)
    found = animal.model.log_likelihood(data, params)
    np.testing.assert_allclose(found, expected(animal, data, params), rtol=1e-9, atol=1e-9)


RAGGED = {name: a for name, a in ZOO.items() if set(a.sizes) & {"t", "member"} and not a.inputs}


@pytest.mark.parametrize("animal", RAGGED.values(), ids=RAGGED)
def test_ragged_log_likelihood_is_the_oracles(animal: Animal) -> None:
    params, lengths = animal.at_truth.params, {name: [1, 4, 2] for name in animal.sizes}
    data = animal.observe(3, lengths, seed=5)
    assert [len(values) for values in data["y"]] == [1, 4, 2]
    found = animal.model.log_likelihood(data, params)
    np.testing.assert_allclose(found, expected(animal, data, params, lengths), rtol=1e-9)


def fitted(animal: Animal, data: dict[str, Any], **options: Any) -> pg.Fit:
    """The fit of some data from the truth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.errors.FitWarning)
        return animal.model.fit(data, start=animal.truth, **{**animal.options, **options})


@cache
def recovered(name: str) -> tuple[dict[str, Any], pg.Fit]:
    """A large sample of a model, and its fit."""
    animal = ZOO[name]
    data = animal.observe(animal.n, animal.sizes, seed=2)
    return data, fitted(animal, data, max_iter=60, tol=1e-7)


@every_animal
def test_finds_the_truth_again(animal: Animal) -> None:
    data, fit = recovered(animal.name)
    assert fit.verdict in ("converged", "iteration_limit")
    assert np.diff(fit.trace).min(initial=0.0) >= -1e-10 * abs(fit.trace[-1])
    if animal.options.get("posterior") != "hard":
        assert fit.log_likelihood >= animal.model.log_likelihood(data, animal.at_truth.params).sum()
    found, truth = animal.seen(fit.params), animal.seen(animal.at_truth.params)
    for name, value in truth.items():
        close = animal.close if isinstance(animal.close, float) else animal.close.get(name, 0.2)
        np.testing.assert_allclose(found[name], value, rtol=0.0, atol=close, err_msg=name)


HARD = {name: animal for name, animal in ZOO.items() if animal.options}
UNIDENTIFIED = {name: animal for name, animal in ZOO.items() if animal.seen is not dict}
IDENTIFIED = {name: animal for name, animal in ZOO.items() if name not in {**HARD, **UNIDENTIFIED}}


@pytest.mark.parametrize("animal", IDENTIFIED.values(), ids=IDENTIFIED)
def test_standard_errors_cover_the_truth(animal: Animal) -> None:
    _, fit = recovered(animal.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.errors.FitWarning)
        errors = fit.standard_errors()
    for name, layout in fit.program.params.items():
        fixed = np.asarray(layout.fixed)
        rows = layout.role.name == "probability vector"  # whose last free entry is settled too
        free = ~fixed & ((~fixed).sum(axis=-1, keepdims=True) > 1) if rows else ~fixed
        assert np.isfinite(errors[name]).all(), name
        assert (errors[name][free] > 0).all(), name
        assert (errors[name][~free] == 0).all(), name
        away = np.abs(fit.params[name] - animal.at_truth.params[name])[free] / errors[name][free]
        assert away.max(initial=0.0) < 4.5, name


@pytest.mark.parametrize("animal", UNIDENTIFIED.values(), ids=UNIDENTIFIED)
def test_what_is_not_identified_has_no_standard_error(animal: Animal) -> None:
    _, fit = recovered(animal.name)
    with pytest.warns(pg.errors.FitWarning, match="do not identify"):
        errors = fit.standard_errors()
    unknown = {name for name, value in errors.items() if np.isnan(value).any()}
    assert unknown == set(fit.params) - set(animal.seen(fit.params))


@every_animal
def test_climbs_with_holes(animal: Animal) -> None:
    n = min(animal.n, 60)
    data = punch(animal, animal.observe(n, animal.few, seed=3), 3)
    fit = fitted(animal, data, max_iter=4, tol=0)
    assert fit.verdict in ("converged", "iteration_limit")
    assert np.diff(fit.trace).min() >= -1e-10 * abs(fit.trace[-1])
