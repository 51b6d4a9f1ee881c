"""Random graphs of discrete and Gaussian nodes: whatever pgem answers, the dense joint answers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from dense import Params, look
from mixed import Case, make_case
from numpy.typing import NDArray

import pgem as pg
from pgem.routines import Stats
from pgem.run import sum_statistics

Floats = NDArray[np.float64]
CLOSE = {"rtol": 1e-8, "atol": 1e-8}


def usable(
    config: pytest.Config, share: float, n_units: int = 3
) -> list[tuple[int, Case, dict[str, Floats]]]:
    """Random cases that the compiler takes, with random parameters."""
    found = []
    for seed in range(int(config.getoption("--graphs") * share)):
        case = make_case(seed, n_units)
        try:
            found.append((seed, case, case.params(np.random.default_rng(seed))))
        except pg.IntractableError:
            continue
    assert found
    return found


def test_log_likelihood(request: pytest.FixtureRequest) -> None:
    for seed, case, params in usable(request.config, 0.15):
        found = case.model.log_likelihood(case.data, params)
        expected = case.oracle().log_likelihood(params)
        np.testing.assert_allclose(found, expected, **CLOSE, err_msg=f"{seed}\n{case.code}")


def test_posteriors(request: pytest.FixtureRequest) -> None:
    """Means and covariances of what is not seen, and marginals of discrete nodes."""
    for seed, case, params in usable(request.config, 0.12):
        found = case.model.posterior(case.data, params)
        oracle = case.oracle()
        moments, marginals = oracle.moments(params), oracle.marginals(params)
        for (unit, name, path), (mean, cov) in moments.items():
            if name in found:
                here = look(found[name].mean[unit], path), look(found[name].cov[unit], path)
                message = f"{name} {unit} {path} of {seed}\n{case.code}"
                np.testing.assert_allclose(np.ravel(here[0]), mean, **CLOSE, err_msg=message)
                np.testing.assert_allclose(np.ravel(here[1]), cov.ravel(), **CLOSE, err_msg=message)
            else:
                assert np.abs(cov).max() < 1e-9, "a value that is not seen has no posterior"
        for (unit, name, path), table in marginals.items():
            if name in found:
                np.testing.assert_allclose(look(found[name][unit], path), table, **CLOSE)
            else:
                assert table.max() > 1 - 1e-9


def q_of_program(case: Case, params: Params, weights: Floats) -> tuple[Stats, Any]:
    """Expected statistics under weights, and the program."""
    fit = case.model.fit(case.data, start=params, max_iter=0, weights=weights)
    bound = fit._training()
    return sum_statistics(bound, fit.params)[1], fit.program


def test_m_step(request: pytest.FixtureRequest) -> None:
    """No step in any free coordinate raises Q above what the M-step reached."""
    rng = np.random.default_rng(0)
    for seed, case, params in usable(request.config, 0.08, 12):
        if drops_coordinates(case):
            continue
        weights = rng.uniform(0.2, 2.0, case.n_units)
        try:
            stats, program = q_of_program(case, params, weights)
            with np.errstate(all="ignore"):
                new = program.m_step({k: np.array(v) for k, v in params.items()}, stats, set())
        except pg.DataError:
            continue  # an observed node without any value cannot be fitted
        spreads = [n for n, p in program.params.items() if p.role.has_spread]
        if any(np.abs(new[name]).min() < 1e-9 for name in spreads):
            continue  # collapsed: Q has no maximum
        q = case.oracle().q(params, weights)
        reached, before = q(new), q(params)
        message = f"{seed}\n{case.code}"
        assert reached >= before - 1e-9 * abs(before), message
        for name, layout in program.params.items():
            for place in np.ndindex(layout.shape):
                if layout.fixed[place] or layout.role.name == "probability vector":
                    continue
                for step in (-1e-3, 1e-3):
                    moved = {**new, name: _moved(new[name], place, step)}
                    gain = q(moved) - reached
                    assert gain <= 1e-7 * (1 + abs(reached)), f"{name}{place} of {message}: {gain}"


def drops_coordinates(case: Case) -> bool:
    """Whether independent coordinates are missing: these add nothing to Q, here they are filled."""
    for node in case.model.record.nodes:
        slots = node.leaf.slots.values()
        plain = all(slot.times is None for slot in slots)
        reduced = any(slot.structure != "full" for slot in slots)
        if plain and reduced and node.name in case.data:
            rows = np.concatenate([np.ravel(v) for v in case.data[node.name]])
            gone = np.isnan(rows.reshape(-1, case.dims[node.name]))
            if (gone.any(axis=1) & ~gone.all(axis=1)).any():
                return True
    return False


def _moved(value: Floats, place: tuple[int, ...], step: float) -> Floats:
    """One entry moved (symmetrically, in a matrix) by a share of its size."""
    size = step * max(abs(float(value[place])), 0.1)
    other = np.array(value)
    other[place] += size
    mirrored = (*place[:-2], place[-1], place[-2]) if len(place) > 1 else place
    if value.ndim > 1 and value.shape[-1] == value.shape[-2] and np.allclose(
        value, np.swapaxes(value, -1, -2)
    ) and mirrored != place:  # fmt: skip
        other[mirrored] += size
    return other


def test_em_never_decreases(request: pytest.FixtureRequest) -> None:
    for seed, case, params in usable(request.config, 0.08):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pg.errors.FitWarning)
            try:
                fit = case.model.fit(case.data, start=params, max_iter=15, tol=0)
            except pg.DataError:
                continue
        assert fit.verdict != "decreased", f"{seed}\n{case.code}"
        gains = np.diff(fit.trace)
        assert (gains >= -1e-9 * (1 + np.abs(fit.trace[:-1]))).all(), f"{seed}\n{case.code}"


def test_weights_repeat_units(request: pytest.FixtureRequest) -> None:
    for seed, case, params in usable(request.config, 0.05, 8):
        weights = np.array([1.0, 2.0, 0.0, 1.0, 1.0, 3.0, 1.0, 1.0])
        chosen = np.repeat(np.arange(8), weights.astype(int))
        repeated = {name: [values[k] for k in chosen] for name, values in case.data.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pg.errors.FitWarning)
            try:
                once = case.model.fit(case.data, start=params, max_iter=2, tol=0, weights=weights)
                twice = case.model.fit(repeated, start=params, max_iter=2, tol=0)
            except pg.DataError:
                continue
        for name, value in once.params.items():
            message = f"{name} of {seed}\n{case.code}"
            np.testing.assert_allclose(
                twice.params[name], value, rtol=1e-6, atol=1e-7, err_msg=message
            )
