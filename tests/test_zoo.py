"""Every model of the zoo compiles, agrees with an oracle, and finds the truth again."""

from __future__ import annotations

import warnings
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


def expected(animal: Animal, data: dict[str, Any], params: dict[str, Floats]) -> Floats:
    """log p per unit, by an oracle that reads the records, or by a formula."""
    if animal.name in FORMULAS:
        return FORMULAS[animal.name](data, params)
    record, n_units = animal.model.record, len(next(iter(data.values())))
    trees = any(scope.kind == "tree" for scope in record.scopes)
    if not is_linear(record) or animal.name == "multilevel_classes" or trees:
        return Oracle(record, data, params).log_likelihood
    sizes = {name: [size] * n_units for name, size in animal.few.items()}
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


@every_animal
def test_compiles_and_is_told(animal: Animal) -> None:
    program = animal.at_truth.program
    report, told = str(program.report), program.explain()
    for name in program.params:
        assert name in report
        assert name in told
    for node in animal.model.record.nodes:
        assert node.name in told
        assert node.kind == "observed" or node.name in report
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
    if animal.refused:
        with pytest.raises((pg.IntractableError, pg.DataError), match=animal.refused):
            animal.model.log_likelihood(data, params)
        return
    found = animal.model.log_likelihood(data, params)
    np.testing.assert_allclose(found, expected(animal, data, params), rtol=1e-9, atol=1e-9)


def fitted(animal: Animal, data: dict[str, Any], **options: Any) -> pg.Fit:
    """The fit of some data from the truth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.errors.FitWarning)
        return animal.model.fit(data, start=animal.truth, **{**animal.options, **options})


@every_animal
def test_finds_the_truth_again(animal: Animal) -> None:
    data = animal.observe(animal.n, animal.sizes, seed=2)
    fit = fitted(animal, data, max_iter=60, tol=1e-7)
    assert fit.verdict in ("converged", "iteration_limit")
    assert np.diff(fit.trace).min(initial=0.0) >= -1e-10 * abs(fit.trace[-1])
    if animal.options.get("posterior") != "hard":
        assert fit.log_likelihood >= animal.model.log_likelihood(data, animal.at_truth.params).sum()
    found, truth = animal.seen(fit.params), animal.seen(animal.at_truth.params)
    for name, value in truth.items():
        close = animal.close.get(name, 0.2) if isinstance(animal.close, dict) else animal.close
        np.testing.assert_allclose(found[name], value, rtol=0, atol=close, err_msg=name)


@every_animal
def test_climbs_with_holes(animal: Animal) -> None:
    n = min(animal.n, 60)
    data = punch(animal, animal.observe(n, animal.few, seed=3), 3)
    if animal.refused:
        with pytest.raises((pg.IntractableError, pg.DataError), match=animal.refused):
            fitted(animal, data)
        return
    fit = fitted(animal, data, max_iter=4, tol=0)
    assert fit.verdict in ("converged", "iteration_limit")
    assert np.diff(fit.trace).min() >= -1e-10 * abs(fit.trace[-1])
