"""Several runs of EM from several starts, and the best of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.learn.em import Options, Run, run_em
from pgem.learn.labels import given_labels, random_labels
from pgem.learn.start import check_start, params_from_labels
from pgem.run import Bound, ByRow

ATTEMPTS = 10
"""Starts that a run may try under `degenerate="restart"`."""


def best_run(
    bound: Bound,
    start: Mapping[str, Any] | None,
    options: Options,
    restarts: int,
    seed: int | None,
    n_observations: float,
) -> Run:
    """The run with the best objective; a degenerate one never wins over a sound one.

    Args:
        bound: program and data.
        start: where the first run begins; the others begin at random.
        options: of every run.
        restarts: number of runs.
        seed: of the random starts.
        n_observations: what the tolerance is multiplied by.
    """
    runs = [
        _one_run(bound, start if number == 0 else None, options, seed, number, n_observations)
        for number in range(restarts)
    ]
    return max(runs, key=lambda run: (run.verdict != "degenerate", run.objective))


def _one_run(
    bound: Bound,
    start: Mapping[str, Any] | None,
    options: Options,
    seed: int | None,
    number: int,
    n_observations: float,
) -> Run:
    attempts = ATTEMPTS if options.degenerate == "restart" else 1
    for attempt in range(attempts):
        generator = np.random.default_rng(None if seed is None else [seed, number, attempt])
        first = number == attempt == 0
        params = start_params(bound, start if attempt == 0 else None, generator, vary=not first)
        run = run_em(bound, params, options, n_observations)
        if run.verdict != "degenerate":
            break
    return run


def start_params(
    bound: Bound, start: Mapping[str, Any] | None, generator: Generator, *, vary: bool = False
) -> dict[str, Floats]:
    """Start values of all parameters: the user's, and what is missing from random labels.

    Raises:
        FitError: a start value does not fit, or there are more values than rows.
    """
    program, wanted = bound.program, start or {}
    held = {n: p.value for n, p in program.params.items() if not p.is_free and p.value is not None}
    values = held | check_start(wanted, program)
    if set(program.params) <= set(values):
        return values
    labels = random_labels(bound, generator, vary=vary)
    for name in set(wanted) & set(labels):
        labels[name] = given_labels(wanted[name], name, bound)
    return params_from_labels(program, _labelled(bound, labels), generator) | values


def _labelled(bound: Bound, labels: Mapping[str, ByRow]) -> Bound:
    """The same data under given responsibilities, all conditionals left out."""
    schema = bound.program.schema
    program = bound.program.variant(replace(schema, evidence=schema.evidence | set(labels)))
    return Bound(
        program, bound.columns, bound.shard_size,
        flat=True, responsibilities=labels, n_jobs=bound.n_jobs,
    )  # fmt: skip
