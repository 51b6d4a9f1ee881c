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

import pgem as pg

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
def test_script(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @given(cases(kind))
    def check(case: Case) -> None:
        options: dict[str, Any] = {"weights": case.weights, "max_iter": 2, "tol": 0.0}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pg.errors.FitWarning)
                fit = case.model.fit(case.data, start=case.params, **options)
        except pg.FitError:
            return  # a unit that is impossible at these parameters
        program = case.model.compile(case.data)
        text = program.to_script(case.data, case.params, **options)
        script = ModuleType("random_script")
        monkeypatch.setitem(sys.modules, "random_script", script)
        exec(compile(text, "<script>", "exec"), vars(script))
        script.declare()
        start = {name: np.asarray(value, dtype=float) for name, value in script.START.items()}
        outcome = script.iterate(
            script.e_step, script.m_step, script.BOUND, script.LEARNED, start, 2, 0.0
        )
        assert outcome.verdict == fit.verdict
        assert outcome.trace == pytest.approx(fit.trace.tolist(), rel=1e-9, abs=1e-9)
        for name, value in fit.params.items():
            assert outcome.params[name] == pytest.approx(value, rel=1e-9, abs=1e-9)

    check()
