"""Random graphs: samples are possible, scores are slopes, and models come back from text."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from strategies import KINDS, Case, cases

import pgem as pg
from pgem.result.score import score
from pgem.result.tangent import make_tangent
from pgem.run import log_likelihood, sum_statistics

every_kind = pytest.mark.parametrize("kind", list(KINDS))


def fitted(case: Case) -> pg.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.FitWarning)
        return case.model.fit(case.data, start=case.params, max_iter=0)


def held(case: Case) -> dict[str, Any]:
    """Covariates, nodes whose first steps are conditioned on, and parents where these need them."""
    found = {c.name: case.data[c.name] for c in case.record.covariates}
    homes = [c.scope for c in case.record.covariates]
    scopes = case.oracle.scopes
    for node in case.record.nodes:
        if node.conditioned:
            homes.append(node.scope)
            path = scopes.path(node.scope)
            parents = case.data.get(f"{node.scope}.parent")
            found[node.name] = first_steps(case.data[node.name], node.lag(), len(path), parents)
    around = {name for home in homes for name in scopes.path(home)}
    return found | {key: v for key, v in case.data.items() if key.partition(".parent")[0] in around
                    and key.endswith(".parent")}  # fmt: skip


def first_steps(values: Any, lag: int, depth: int, parents: Any) -> Any:
    """Values of which only the first steps, or roots, are left."""
    if depth:
        return [
            first_steps(inner, lag, depth - 1, None if parents is None else parents[k])
            for k, inner in enumerate(values)
        ]
    cut = np.array(values, dtype=float)
    number = np.arange(len(cut)) if parents is None else np.asarray(parents) + 1
    cut[number >= lag] = np.nan
    return cut


@every_kind
def test_samples_are_possible(kind: str) -> None:
    @given(cases(kind, fitted=True))
    def check(case: Case) -> None:
        assume(case.possible)
        fit = fitted(case)
        n = len(fit.log_likelihoods(case.data))
        drawn = fit.sample(n, data=held(case) or None, seed=1)
        latents = {node.name for node in case.record.nodes if node.kind == "latent"}
        assert latents <= set(drawn)
        assert np.isfinite(fit.log_likelihoods(drawn)).all()
        seen = {name: value for name, value in drawn.items() if name not in latents}
        assert np.isfinite(fit.log_likelihoods(seen)).all()
        assert {f"{s.name}.parent" for s in case.record.scopes if s.kind == "tree"} <= set(drawn)

    check()


@every_kind
def test_the_score_is_the_slope_of_the_log_likelihood(kind: str) -> None:
    @given(cases(kind, fitted=True, weighted=True))
    def check(case: Case) -> None:
        assume(case.possible)
        fit = fitted(case)
        bound = fit._bound
        assert bound is not None
        _, stats = sum_statistics(bound, fit.params)
        tangent = make_tangent(bound.program.params, fit.params, stats)
        at, weights = tangent.flat(fit.params), bound.columns.weights

        def total(vector: Any) -> float:
            log_p = log_likelihood(bound, tangent.named(vector))
            return float((weights * np.where(weights > 0, log_p, 0.0)).sum())

        near, far = (
            np.array([total(at + h * d) - total(at - h * d) for d in tangent.basis.T])
            for h in (1e-3, 2e-3)
        )
        slopes = (8 * near - far) / 12e-3
        found = tangent.basis.T @ tangent.flat(score(bound, fit.params))
        scale = max(1.0, np.abs(slopes).max(initial=0.0))
        np.testing.assert_allclose(found, slopes, atol=1e-6 * scale)

    check()


@every_kind
def test_models_and_fits_come_back_from_text(kind: str) -> None:
    @given(cases(kind, fitted=True))
    def check(case: Case) -> None:
        assume(case.possible)
        text = case.model.to_json()
        again = pg.Model.from_json(json.dumps(json.loads(text)))
        assert again.record == case.record
        fit = fitted(case)
        with TemporaryDirectory() as folder:
            fit.save(Path(folder) / "fit")
            loaded = pg.load(Path(folder) / "fit")
        assert loaded.summary() == fit.summary()
        np.testing.assert_array_equal(
            loaded.log_likelihoods(case.data), fit.log_likelihoods(case.data)
        )

    check()
