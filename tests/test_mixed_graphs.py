"""Random graphs of discrete and Gaussian latents: what pgem answers, the dense joint answers.

Hypothesis draws the graph, choice by choice: gates, plates, sequences, regressions, links, ties,
structures, fixed entries, bounds, priors of every conjugate kind, holes, weights (`mixed`).  The
answers are those of a dense joint Gaussian per configuration (`dense`), priors those of SciPy
(`log_priors`), maxima those of SciPy's optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from dense import Complete, look
from free import Free
from hypothesis import assume, given
from log_priors import Params, log_prior
from mixed import MIXED, MixedCase, mixed_cases
from scipy.optimize import minimize
from strategies import Floats
from test_random_graphs import has_value, quiet, repeated

import pgem as pg
from pgem.routines import expected_log_density
from pgem.run import sum_statistics

CLOSE = {"rtol": 1e-8, "atol": 1e-8}
OPTIMISED = 14
"""Largest number of free coordinates that are handed to a numerical optimiser."""
THIN = 1e-5
"""A spread below this has collapsed: Q has no maximum."""

every_kind = pytest.mark.parametrize("kind", list(MIXED))


def run(check: Callable[[MixedCase], None], kind: str, **options: bool) -> None:
    """Check a property on random graphs; what has no exact E-step is left out."""

    def tractable(case: MixedCase) -> None:
        try:
            case.model.compile(case.data)
        except pg.IntractableError:
            assume(False)
        check(case)

    given(mixed_cases(kind, **options))(tractable)()


# --- E-step -------------------------------------------------------------------------------------


@every_kind
def test_log_likelihood(kind: str) -> None:
    run(log_likelihood_is_dense, kind, absent=True)


def log_likelihood_is_dense(case: MixedCase) -> None:
    """Per unit."""
    found = case.model.log_likelihood(case.data, case.params)
    np.testing.assert_allclose(found, case.dense.log_likelihood(case.params), **CLOSE)


@every_kind
def test_posteriors(kind: str) -> None:
    run(posteriors_are_dense, kind, absent=True)


def posteriors_are_dense(case: MixedCase) -> None:
    """Means and covariances of what is not seen, and marginals of discrete nodes."""
    assume(possible(case))
    found = case.model.posterior(case.data, case.params)
    for (unit, name, path), (mean, cov) in case.dense.moments(case.params).items():
        if name not in found:
            assert not np.isnan(case.dense.seen(name, unit, path)).any(), f"{name} is not told"
            continue
        here = look(found[name].mean[unit], path), look(found[name].cov[unit], path)
        np.testing.assert_allclose(np.ravel(here[0]), mean, **CLOSE, err_msg=name)
        np.testing.assert_allclose(np.ravel(here[1]), cov.ravel(), **CLOSE, err_msg=name)
    for (unit, name, path), table in case.dense.marginals(case.params).items():
        if name in found:
            np.testing.assert_allclose(look(found[name][unit], path), table, **CLOSE)
        else:
            assert table.max() > 1 - 1e-9


@every_kind
def test_expected_statistics(kind: str) -> None:
    run(statistics_are_dense, kind)


def statistics_are_dense(case: MixedCase) -> None:
    """Q is linear in the expected statistics: differences of Q show all of them.

    Compared component by component, at three other sets of parameters.
    """
    assume(possible(case))
    fit = evaluated(case)
    stats = sum_statistics(fit._training(), fit.params)[1]
    q = q_of(case, fit)
    others = [redrawn(case, k) for k in range(3)]
    for key in sorted(stats):
        wanted = np.array([q(other, frozenset([key])) for other in others])
        found = np.array(
            [expected_log_density(stats, [key], other, fit.program.reads) for other in others]
        )
        size = 1e-8 * (1 + np.abs(wanted).max())
        np.testing.assert_allclose(np.diff(found), np.diff(wanted), atol=size, err_msg=key)


def q_of(case: MixedCase, fit: pg.Fit) -> Complete:
    """Q at the drawn parameters.

    A missing coordinate that is independent of the others may be left out or filled in; EM is right
    either way, and plain nodes leave it out.
    """
    apart = {
        key
        for key, part in fit.program.parts.items()
        if part.family.factorises and not part.family.regresses
    }
    return case.dense.q(case.params, case.frequencies, frozenset(apart))


def redrawn(case: MixedCase, k: int) -> dict[str, Floats]:
    """Other parameters that agree with what is held."""
    rng = np.random.default_rng([case.seed, 2, k])
    return {name: shape.draw(rng) for name, shape in case.shapes.items()}


def possible(case: MixedCase) -> bool:
    """Whether every unit has positive probability."""
    return bool(np.isfinite(case.dense.log_likelihood(case.params)).all())


def evaluated(case: MixedCase) -> pg.Fit:
    """The fit that stands at the drawn parameters."""
    with quiet():
        return case.model.fit(case.data, start=case.params, max_iter=0, weights=case.weights)


# --- M-step -------------------------------------------------------------------------------------


@every_kind
def test_one_iteration_maximises_q_and_the_log_priors(kind: str) -> None:
    run(iteration_is_a_maximum, kind, fitted=True)


@every_kind
def test_one_iteration_maximises_q(kind: str) -> None:
    run(iteration_is_a_maximum, kind, fitted=True, priors=False)


def iteration_is_a_maximum(case: MixedCase) -> None:
    """After one iteration, Q plus the log-priors is what an optimiser reaches, or more."""
    assume(possible(case))
    with quiet():
        fit = case.model.fit(case.data, start=case.params, max_iter=1, tol=0, weights=case.weights)
    assume(fit.verdict != "degenerate" and not collapsed(case, fit.params))
    q = q_of(case, fit)
    new, old = target(case, q, fit.params), target(case, q, case.params)
    assert new >= old - 1e-10 * (1 + abs(old))
    prior = log_prior(case.record, case.shapes, fit.params)
    np.testing.assert_allclose(fit.objective - fit.log_likelihood, prior, rtol=1e-8, atol=1e-8)
    for name, shape in case.shapes.items():
        value = fit.params[name]
        assert (value[shape.held] == case.params[name][shape.held]).all(), name
        assert shape.lower is None or (value >= shape.lower)[~shape.held].all(), name
    free = Free(case.shapes, case.params)
    if 0 < free.size <= OPTIMISED:
        best, there = climbed(case, free, q)
        assume(not collapsed(case, there))
        assert new >= best - 1e-7 * (1 + abs(old))


def target(case: MixedCase, q: Complete, params: Params) -> float:
    """Q plus the log-priors."""
    return q(params) + log_prior(case.record, case.shapes, params)


def collapsed(case: MixedCase, params: Params) -> bool:
    """Whether a variance has collapsed, or a covariance in some direction."""
    for name, shape in case.shapes.items():
        value = np.asarray(params[name])
        if shape.role == "cov" and len(shape.own) == 2:
            value = np.linalg.eigvalsh(value)
        if shape.role in ("var", "cov") and value.min() < THIN:
            return True
    return False


def climbed(case: MixedCase, free: Free, q: Complete) -> tuple[float, Params]:
    """The best that a numerical optimiser reaches from the old parameters, and where."""

    def loss(point: Floats) -> float:
        with np.errstate(all="ignore"):
            try:
                value = -target(case, q, free.unpack(point))
            except (np.linalg.LinAlgError, ValueError):  # a covariance that is none
                return 1e10
        return value if np.isfinite(value) else 1e10

    found = minimize(loss, free.start, method="L-BFGS-B", bounds=[(-30, 30)] * free.size)
    return -float(found.fun), free.unpack(found.x)


@every_kind
@pytest.mark.parametrize("priors", [False, True])
def test_em_never_decreases(kind: str, priors: bool) -> None:
    run(em_rises, kind, fitted=True, priors=priors)


def em_rises(case: MixedCase) -> None:
    """The log-likelihood, with priors the log-posterior, from each iteration to the next."""
    assume(possible(case))
    with quiet():
        fit = case.model.fit(case.data, start=case.params, max_iter=8, tol=0, weights=case.weights)
    assert fit.verdict != "decreased", fit.verdict.describe()
    trace = np.asarray(fit.trace)
    prior = log_prior(case.record, case.shapes, case.params)
    at_start = case.frequencies @ case.dense.log_likelihood(case.params) + prior
    np.testing.assert_allclose(trace[0], at_start, **CLOSE)
    assert (np.diff(trace) >= -1e-9 * (1 + np.abs(trace[:-1]))).all(), trace


@every_kind
def test_weights_repeat_units(kind: str) -> None:
    run(weights_are_frequencies, kind, fitted=True)


def weights_are_frequencies(case: MixedCase) -> None:
    """A unit of weight 2 counts as two; as far as an M-step in turn is followed to its end."""
    times = np.random.default_rng(case.seed).integers(0, 3, case.dense.n_units)
    assume(times.any() and possible(case))
    copied = {name: repeated(values, times) for name, values in case.data.items()}
    assume(all(has_value(copied[n.name]) for n in case.record.nodes if n.kind == "observed"))
    options: Mapping[str, Any] = {"start": case.params, "max_iter": 1, "tol": 0}
    with quiet():
        one = case.model.fit(case.data, weights=times, **options)
        other = case.model.fit(copied, **options)
    assume("degenerate" not in (one.verdict, other.verdict) and not collapsed(case, one.params))
    exact = all("in turn" not in row.how for row in one.report.m_step)
    np.testing.assert_allclose(one.trace, other.trace, rtol=1e-8 if exact else 1e-5, atol=1e-8)
    for name, value in other.params.items():
        near = {"rtol": 1e-6, "atol": 1e-7} if exact else {"rtol": 1e-2, "atol": 1e-3}
        np.testing.assert_allclose(one.params[name], value, **near, err_msg=name)


# --- questions ----------------------------------------------------------------------------------


@every_kind
def test_questions_are_answered(kind: str) -> None:
    run(questions_are_answered, kind)


def questions_are_answered(case: MixedCase) -> None:
    """Holes are filled with posterior means, and draws from the posterior; what is seen stays."""
    assume(possible(case) and not lacks_totals(case))
    fit, data = evaluated(case), case.data
    posterior, decoded = fit.posterior(data), fit.decode(data)
    moments = case.dense.moments(case.params)
    for how in ("mean", "mode", "draw"):
        whole = fit.impute(data, how=how, seed=1)
        for node in case.record.nodes:
            assert node.name in whole, f"{node.name} is not filled ({how})"
            for unit, path in replicas(case, node.name):
                value = np.atleast_1d(look(whole[node.name][unit], path)).astype(float)
                assert np.isfinite(value).all(), f"{node.name} {unit} {path} ({how}): {value}"
                seen = case.dense.seen(node.name, unit, path)
                here = ~np.isnan(seen)
                assert (value[here] == seen[here]).all(), (
                    f"{node.name} ({how}) changed what is seen"
                )
                if how == "mean" and (unit, node.name, path) in moments:
                    mean, _ = moments[unit, node.name, path]
                    np.testing.assert_allclose(np.ravel(value), mean, **CLOSE, err_msg=node.name)
    assert np.isfinite(case.model.log_likelihood(whole, case.params)).all(), "drawn"
    assert set(decoded) <= set(posterior)
    assert set(fit.draw(data, seed=2)) == set(posterior)


def lacks_totals(case: MixedCase) -> bool:
    """Whether a Multinomial has holes: a draw conditions on row totals, which are then unknown."""
    counts = [n.name for n in case.record.nodes if n.leaf.family == "Multinomial"]
    rows = [(name, u, path) for name in counts for u, path in replicas(case, name)]
    return any(np.isnan(case.dense.seen(*row)).any() for row in rows)


def replicas(case: MixedCase, name: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Every (unit, members and step) of a node."""
    scope = next(node.scope for node in case.record.nodes if node.name == name)
    for unit in range(case.dense.n_units):
        for path in case.dense.paths(unit, scope):
            yield unit, path
