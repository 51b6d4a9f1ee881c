"""Random graphs: a derivation can be written of each, and each script computes what pgem does."""

from __future__ import annotations

import re
import sys
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from strategies import KINDS, Case, cases
from zoo import ZOO, Animal, with_holes

import pgem as pg
from tests.links.test_random_links import GRAPHS, make

every_kind = pytest.mark.parametrize("kind", list(KINDS))


@every_kind
def test_derivation(kind: str) -> None:
    @given(cases(kind))
    def check(case: Case) -> None:
        program = case.model.compile(case.data)
        text, markdown = program.explain(), program.explain("markdown")
        assert text.count("(") == text.count(")")
        assert "@" not in text
        for name in program.params:
            assert name in text
        for formula in markdown.split("$$")[1::2]:
            assert formula.count("{") == formula.count("}")
            assert not re.search(r"_\{[^{}]*\}_", formula), "two subscripts in a row"

    check()


@every_kind
def test_script(kind: str) -> None:
    @given(cases(kind))
    def check(case: Case) -> None:
        agrees(case.model, case.data, case.params, weights=case.weights)

    check()


@pytest.mark.parametrize("kind", list(GRAPHS))
@pytest.mark.parametrize("seed", range(6))
def test_script_with_links(kind: str, seed: int) -> None:
    """Links in emissions, class memberships and transitions; equal rows of covariates or not."""
    pair, linked, _, data = make(kind, seed, 40)
    if seed % 2:
        rng = np.random.default_rng(seed)
        data |= {name: moved(data[name], rng) for name in ("u", "v") if name in data}
    agrees(linked, data, pair.params, weights=np.arange(40) % 3 / 2)


def moved(values: Any, rng: np.random.Generator) -> Any:
    """Covariates of which no two are equal."""
    if isinstance(values, list):
        return [moved(part, rng) for part in values]
    return values + 0.1 * rng.normal(size=len(values))


@pytest.mark.parametrize("animal", ZOO.values(), ids=ZOO)
def test_script_of_the_zoo(animal: Animal) -> None:
    data = animal.observe(8, animal.few, seed=4)
    for node in animal.model.record.nodes:
        if node.kind == "observed" and node.leaf.family != "Multinomial":
            data[node.name] = with_holes(data[node.name], 0.1, np.random.default_rng(4))
    agrees(animal.model, data, animal.truth)


def agrees(model: pg.Model, data: Any, start: Any, weights: Any = None) -> None:
    """A script runs here as the fit does, over two iterations."""
    options: dict[str, Any] = {"weights": weights, "max_iter": 2, "tol": 0.0}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pg.errors.FitWarning)
            fit = model.fit(data, start=start, **options)
    except pg.FitError:
        return  # a unit that is impossible at these parameters
    text = model.compile(data).to_script(data, start, **options)
    script = ModuleType("random_script")
    sys.modules["random_script"] = script
    try:
        exec(compile(text, "<script>", "exec"), vars(script))
        script.declare()
        first = {name: np.asarray(value, dtype=float) for name, value in script.START.items()}
        outcome = script.iterate(
            script.e_step, script.m_step, script.BOUND, script.LEARNED, first, 2, 0.0
        )
    finally:
        del sys.modules["random_script"]
    assert outcome.verdict == fit.verdict
    assert outcome.trace == pytest.approx(fit.trace.tolist(), rel=1e-9, abs=1e-9)
    for name, value in fit.params.items():
        assert outcome.params[name] == pytest.approx(value, rel=1e-9, abs=1e-9)
