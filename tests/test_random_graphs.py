"""Random graphs: whatever pgem answers must be what enumeration answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from free import Free
from hypothesis import assume, given
from numpy.typing import NDArray
from oracle import Oracle, Path, look_up
from scipy.optimize import minimize
from strategies import KINDS, Case, Shape, cases

import pgem as pg

Floats = NDArray[np.float64]
TOLERANCE = 1e-9
DIFFERENTIATED = 60
"""Largest number of free coordinates along which Q is differentiated."""
OPTIMISED = 14
"""Largest number of free coordinates that are handed to a numerical optimiser."""

every_kind = pytest.mark.parametrize("kind", list(KINDS))


def run(check: Callable[[Case], None], kind: str, **options: bool) -> None:
    """Check a property on random cases."""
    given(cases(kind, **options))(check)()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of fits that end early or degenerate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.errors.FitWarning)
        yield


def close(found: Any, expected: Any, what: str) -> None:
    """Equal to 1e-9, relative and absolute."""
    np.testing.assert_allclose(
        np.asarray(found, dtype=float), expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what
    )


# --- E-step -------------------------------------------------------------------------------------


@every_kind
def test_log_likelihood(kind: str) -> None:
    def check(case: Case) -> None:
        found = case.model.log_likelihood(case.data, case.params)
        close(found, case.oracle.log_likelihood, "log-likelihood per unit")

    run(check, kind, absent=True)


@every_kind
def test_posterior(kind: str) -> None:
    def check(case: Case) -> None:
        assume(case.possible)
        found = case.model.posterior(case.data, case.params)
        for name in asked_for(case):
            for unit, path in case.oracle.replicas(name):
                expected = case.oracle.marginal(name, unit, path)
                close(look_up(found[name], unit, path), expected, f"{name} {unit} {path}")

    run(check, kind, absent=True)


@every_kind
def test_moments_of_numeric_holes(kind: str) -> None:
    def check(case: Case) -> None:
        assume(case.possible)
        units = case.oracle.units
        families = {n.name: {leaf.family for leaf in n.components} for n in case.record.nodes}
        holes = [(u, r) for u, unit in enumerate(units) for r in sorted(unit.missing)]
        holes = [(u, r) for u, r in holes if "Multinomial" not in families[r[0]]]
        assume(holes)
        found = case.model.posterior(case.data, case.params)
        for unit, (name, path) in holes:
            mean, cov = units[unit].moments(name, path)
            close(np.squeeze(look_up(found[name].mean, unit, path)), np.squeeze(mean), name)
            close(np.squeeze(look_up(found[name].cov, unit, path)), np.squeeze(cov), name)

    run(check, kind)


def asked_for(case: Case) -> list[str]:
    """Latent nodes, and finite observed nodes with holes."""
    kinds = {node.name: node.kind for node in case.record.nodes}
    holes = {name for unit in case.oracle.units for name, _ in unit.variables}
    return [n for n in case.oracle.sizes if kinds[n] == "latent" or n in holes]


@pytest.mark.parametrize("kind", ["sequence", "nested", "tree"])
def test_joint_posterior_of_neighbouring_steps(kind: str) -> None:
    def check(case: Case) -> None:
        assume(case.possible)
        chains = looked_back_at(case)
        joint = {(name, lag): (name, pg.prev(name, lag)) for name, lag in chains}
        found = case.model.posterior(case.data, case.params, joint=list(joint.values()))
        for (name, lag), key in joint.items():
            scope = case.oracle.homes[name]
            for unit, path in case.oracle.replicas(name):
                if case.oracle.scopes.earlier(scope, unit, path, lag):
                    expected = case.oracle.pair(name, unit, path, name, lag)
                    close(look_up(found[key], unit, path), expected, f"{key} {unit} {path}")

    run(check, kind)


def looked_back_at(case: Case) -> list[tuple[str, int]]:
    """Latent nodes of which something is unknown, with the lag that a gate reads them at."""
    unknown = {name for unit in case.oracle.units for name, _ in unit.variables}
    latents = {n.name for n in case.record.nodes if n.kind == "latent"} & unknown
    pairs = {(g.name, g.lag) for node in case.record.nodes for g in node.gates() if g.lag}
    return sorted(pair for pair in pairs if pair[0] in latents)


# --- decoding -----------------------------------------------------------------------------------


@every_kind
def test_decoding_finds_the_mode(kind: str) -> None:
    def check(case: Case) -> None:
        assume(case.possible)
        with quiet():
            fit = case.model.fit(case.data, start=case.params, max_iter=0)
        decoded = fit.decode(case.data)
        filled = {**case.data, **{n: without_barren(case, n, v) for n, v in decoded.items()}}
        score = Oracle(case.record, filled, case.params).log_likelihood
        close(score, case.oracle.modes, "log p(observed, decoded)")
        close(case.model.log_likelihood(filled, case.params), score, "as pgem scores it")

    run(check, kind)


def without_barren(case: Case, name: str, values: Any) -> Any:
    """Decoded values with holes that were summed out made holes again."""
    barren = {(u, r) for u, unit in enumerate(case.oracle.units) for r in unit.barren}
    known = {r for u, r in barren if r[0] == name}
    if not known:
        return values
    nested = to_lists(values)
    for unit, replica in barren:
        if replica[0] == name:
            put(nested, unit, replica[1], np.nan)
    return nested


def to_lists(values: Any) -> Any:
    """Nested arrays and lists as nested lists of numbers."""
    if isinstance(values, np.ndarray):
        return values.astype(float).tolist()
    return [to_lists(v) if isinstance(v, np.ndarray | list) else float(v) for v in values]


def put(nested: Any, unit: int, path: Path, value: float) -> None:
    """Replace one entry."""
    places = (unit, *path)
    for place in places[:-1]:
        nested = nested[place]
    nested[places[-1]] = value


# --- M-step -------------------------------------------------------------------------------------


@every_kind
def test_one_iteration_maximises_q(kind: str) -> None:
    def check(case: Case) -> None:
        assume(case.possible and not collapses(case))
        with quiet():
            fit = case.model.fit(
                case.data, start=case.params, max_iter=1, tol=0, weights=case.weights
            )
        assume(fit.verdict != "degenerate")  # a component may collapse onto one value
        oracle = case.oracle
        new, old = oracle.q(fit.params), oracle.q(case.params)
        slack = 1e-10 * (1 + abs(old))
        assert new >= old - slack
        close(fit.trace[0], oracle.total, "weighted log-likelihood at the start")
        again = Oracle(case.record, case.data, fit.params, case.weights)
        close(fit.log_likelihood, again.total, "weighted log-likelihood at the end")
        free = Free(case.shapes, case.params)
        if 0 < free.size <= OPTIMISED:
            assert new >= climbed(free, oracle) - 1e-7 * (1 + abs(old))

    run(check, kind, fitted=True, weighted=True)


@every_kind
def test_one_iteration_ends_where_q_is_flat(kind: str) -> None:
    def check(case: Case) -> None:
        assume(case.possible and not collapses(case))
        with quiet():
            fit = case.model.fit(
                case.data, start=case.params, max_iter=1, tol=0, weights=case.weights
            )
        free = Free(interior(case, fit.params), fit.params)
        assume(0 < free.size <= DIFFERENTIATED)
        scale = 1 + sum(sum(rows.weights) for rows in case.oracle.rows.values())
        for k, slope in enumerate(slopes(free, case.oracle)):
            assert abs(slope) <= 1e-4 * scale, (k, slope, free.labels[k])

    run(check, kind, fitted=True, weighted=True)


def interior(case: Case, params: Mapping[str, Floats]) -> dict[str, Shape]:
    """Shapes with entries at the boundary of their range held."""
    found = {}
    for name, shape in case.shapes.items():
        edge = {"mean": shape.held, "prob": (params[name] <= 0) | (params[name] >= 1)}
        below = edge.get(shape.role, params[name] <= 0 if len(shape.own) < 2 else shape.held)
        found[name] = replace(shape, held=shape.held | below)
    return found


def slopes(free: Free, oracle: Oracle, step: float = 1e-4) -> Iterator[float]:
    """Derivatives of Q, by central differences."""
    for k in range(free.size):
        shift = np.zeros(free.size)
        shift[k] = step
        up, down = (oracle.q(free.unpack(free.start + s)) for s in (shift, -shift))
        yield (up - down) / (2 * step)


def climbed(free: Free, oracle: Oracle) -> float:
    """The best Q that a numerical optimiser reaches from the old parameters."""

    def loss(point: Floats) -> float:
        with np.errstate(all="ignore"):
            value = -oracle.q(free.unpack(point))
        return value if np.isfinite(value) else 1e10

    found = minimize(loss, free.start, method="L-BFGS-B", bounds=[(-30, 30)] * free.size)
    return -float(found.fun)


def collapses(case: Case) -> bool:
    """Whether the spread of some component is zero after one iteration, or nearly."""
    statistics = case.oracle.rows
    for key, rows in statistics.items():
        if rows.leaf.family not in ("Normal", "MvNormal", "Gamma") or not rows.weights:
            continue
        groups: dict[tuple[Any, ...], list[int]] = {}
        for row, weight in enumerate(rows.weights):
            if weight > 1e-9:
                groups.setdefault(rows.cells[row], []).append(row)
        for cell, members in groups.items():
            if thin(np.stack([rows.x[r] for r in members]), np.array(rows.weights)[members]):
                return True
            assert key and len(cell) >= 0
    return False


def thin(x: Floats, weights: Floats) -> bool:
    """Whether weighted values lie (nearly) in a point, a line or a plane."""
    table = x.reshape(len(x), -1)
    here = ~np.isnan(table)
    if (here.sum(axis=0) < 2).any():
        return True
    if not here.all():
        spread = [np.ptp(column[seen]) for column, seen in zip(table.T, here.T, strict=True)]
        return min(spread) < 1e-3
    centred = table - np.average(table, axis=0, weights=weights)
    cov = (centred * weights[:, None]).T @ centred / weights.sum()
    return bool(np.linalg.eigvalsh(cov).min() < 1e-4)


@every_kind
def test_em_never_decreases(kind: str) -> None:
    def check(case: Case) -> None:
        assume(case.possible)
        with quiet():
            fit = case.model.fit(
                case.data, start=case.params, max_iter=5, tol=0, weights=case.weights
            )
        assert fit.verdict != "decreased"
        assert len(fit.trace) <= 6
        gains = np.diff(fit.trace)
        assert (gains >= -1e-10 * (1 + np.abs(fit.trace[:-1]))).all(), fit.trace

    run(check, kind, fitted=True, weighted=True)


@every_kind
def test_weights_are_frequencies(kind: str) -> None:
    def check(case: Case) -> None:
        times = np.random.default_rng(case.seed).integers(0, 3, len(case.oracle.units))
        weighted = replace(case, weights=times.tolist())
        assume(times.any() and case.possible and not collapses(weighted))
        copied = {name: repeated(values, times) for name, values in case.data.items()}
        assume(all(has_value(copied[n.name]) for n in case.record.nodes if n.kind == "observed"))
        with quiet():
            options: Mapping[str, Any] = {"start": case.params, "max_iter": 1, "tol": 0}
            one = case.model.fit(case.data, weights=times, **options)
            other = case.model.fit(copied, **options)
        close(one.trace, other.trace, "trace")
        for name, value in other.params.items():
            np.testing.assert_allclose(one.params[name], value, rtol=1e-7, atol=1e-9, err_msg=name)

    run(check, kind, fitted=True)


def repeated(values: Any, times: Any) -> Any:
    """Units repeated."""
    if isinstance(values, np.ndarray):
        return np.repeat(values, times, axis=0)
    return [v for v, n in zip(values, times, strict=True) for _ in range(n)]


def has_value(values: Any) -> bool:
    """Whether anything is not missing."""
    if isinstance(values, list):
        return any(has_value(part) for part in values)
    return not bool(np.isnan(values).all())
