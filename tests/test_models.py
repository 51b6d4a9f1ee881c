"""Every model of the gallery reaches its published value, and can be explained and drawn."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import known_values
import numpy as np
import pytest
from gallery import FILES, MODELS

import pgem as pg
from pgem._cli.modules import load_model
from pgem.graph import build_graph
from pgem.graph.draw import draw

pytestmark = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@cache
def fitted(path: Path) -> tuple[ModuleType, pg.Fit]:
    module = load_model(path).module
    weights = module.weights() if hasattr(module, "weights") else None
    options = getattr(module, "options", {})
    return module, module.model.fit(module.data(), weights=weights, **options)


def in_order(values: Any) -> np.ndarray:
    """Components come in any order; those of the gallery are told apart by their values."""
    return np.sort(np.ravel(values))


def test_reaches_the_known_value(path: Path) -> None:
    module, fit = fitted(path)
    known = module.known
    assert known["source"]
    assert fit.verdict == "converged"
    assert fit.log_likelihood == pytest.approx(known["log_likelihood"], abs=known["tolerance"])
    for name, value in known.get("params", {}).items():
        assert in_order(fit.params[name]) == pytest.approx(in_order(value), abs=1e-3)
    answers = module.answers(fit) if hasattr(module, "answers") else {}
    assert answers == pytest.approx(known.get("answers", {}), abs=1e-3)


def test_known_value_is_found_without_pgem(path: Path) -> None:
    known = load_model(path).module.known
    compute = getattr(known_values, path.stem, None)
    assert compute is not None, f"tests/known_values.py has no function {path.stem}()"
    found = compute()
    assert found.pop("log_likelihood") == pytest.approx(
        known["log_likelihood"], abs=known["tolerance"]
    )
    stated = {**known.get("params", {}), **known.get("answers", {})}
    assert found.keys() == stated.keys()
    for name, value in stated.items():
        assert in_order(found[name]) == pytest.approx(in_order(value), abs=1e-3)


def test_never_falls(path: Path) -> None:
    _, fit = fitted(path)
    assert np.diff(fit.trace).min() > -1e-9 * abs(fit.log_likelihood)


def test_is_told_and_named(path: Path) -> None:
    module = load_model(path).module
    assert module.model.name == path.stem
    assert len(ast.get_docstring(ast.parse(path.read_text())) or "") > 200
    assert f"`{module.DEFAULT.name}`" in (MODELS / "data" / "README.md").read_text()


def script_of(program: pg.Program, path: Path) -> str:
    """The script of a program; none for priors and links, which scripts refuse in words."""
    refused = program.has_priors or re.search(r"\b(log_rate|logits?)=", path.read_text())
    try:
        return program.to_script()
    except pg.PgemError as error:
        assert refused
        assert "what to do" in str(error)
        return ""


def test_is_explained(path: Path) -> None:
    program = load_model(path).compile()
    for node in program.graph:
        assert node in program.explain()
        assert node.replace("_", r"\_") in program.explain("markdown")
    compile(program.source, str(path), "exec")
    script = script_of(program, path)
    if script:
        compile(script, str(path), "exec")


def test_is_drawn(path: Path, tmp_path: Path) -> None:
    model = load_model(path).model
    graph = build_graph(model.record, model.families)
    for suffix in (".svg", ".png"):
        assert draw(graph, tmp_path / f"model{suffix}").stat().st_size > 500
