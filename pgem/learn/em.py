"""The EM loop: the only iteration over E- and M-steps in the project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pgem.arrays import Floats
from pgem.errors import FitError
from pgem.learn.degenerate import find_collapsed, raise_spread
from pgem.learn.verdict import Verdict
from pgem.plan import Program
from pgem.routines import Semiring, Stats, expected_log_density
from pgem.run import Bound, expect

Params = dict[str, Floats]
Callback = Callable[[int, float], object]
SLACK = 1e-10
"""Share of the absolute unit terms by which the objective may fall through rounding."""
FLOOR = 1e-6
"""Share of the data's variance that `degenerate="floor"` raises spreads to by default."""
SEMIRINGS = {"soft": "sum", "hard": "max"}


@dataclass(frozen=True)
class Options:
    """How to run EM.

    Attributes:
        estimate: `ml`, or `map`: priors enter the M-step and the objective.
        posterior: `soft` (EM) or `hard` (the jointly most probable latents: k-means, Viterbi).
        max_iter: most iterations.
        tol: gain per observation below which the run has converged; 0 runs all iterations.
        m_step: `full`, or `once` for a single pass over conditional maxima (ECM).
        degenerate: `stop`, `raise`, `floor` or `restart`.
        floor: share of the data's variance that a spread is raised to.
        callback: called with (iteration, objective) after every iteration; True stops.
    """

    estimate: str = "ml"
    posterior: str = "soft"
    max_iter: int = 500
    tol: float = 1e-8
    m_step: str = "full"
    degenerate: str = "stop"
    floor: float | None = None
    callback: Callback | None = None


@dataclass
class Run:
    """One run of EM.

    Attributes:
        params: the parameters it ended with.
        trace: the objective before each M-step; the last entry belongs to `params`.
        verdict: how it ended.
        empty: parameters with rows that no data reached in the last M-step.
        floored: parameters whose spread was raised to the floor in it.
        climbed: parameters whose conditional maxima crawled in it, and were climbed numerically.
    """

    params: Params
    trace: list[float]
    verdict: Verdict
    empty: set[str] = field(default_factory=set)
    floored: set[str] = field(default_factory=set)
    climbed: tuple[str, ...] = ()

    @property
    def objective(self) -> float:
        """The last entry of the trace."""
        return self.trace[-1]


def run_em(bound: Bound, params: Params, options: Options, n_observations: float) -> Run:
    """Iterate from the given parameters.

    Raises:
        FitError: the start has probability zero, or a collapse under `degenerate="raise"`.
    """
    semiring = Semiring(SEMIRINGS[options.posterior])
    found = expect(bound, params, semiring)
    start = found.total + log_prior(bound, params, options)
    run = Run(params, [start], Verdict("iteration_limit"))
    for iteration in range(1, options.max_iter + 1):
        size, used = found.size, found.stats
        new, collapsed = _maximise(bound.program, run.params, used, bound, options, run)
        if collapsed:
            return _degenerate(run, collapsed, options)
        try:
            found = expect(bound, new, semiring)
        except FitError as problem:
            return _degenerate(run, problem.what, options)
        objective = found.total + log_prior(bound, new, options)
        before = run.objective
        if objective < before - SLACK * (size + n_observations) and options.degenerate != "floor":
            run.verdict = Verdict("decreased", _blame(bound.program, run.params, new, used))
            return run
        run.params = new
        run.trace.append(objective)
        if options.callback is not None and options.callback(iteration, objective) is True:
            run.verdict = Verdict("stopped")
            return run
        if options.tol > 0 and _converged(objective - before, size, options.tol, n_observations):
            run.verdict = Verdict("converged")
            return run
    return run


def log_prior(bound: Bound, params: Params, options: Options) -> float:
    """What priors add to the objective."""
    return bound.program.log_prior(params) if options.estimate == "map" else 0.0


def weighted_total(weights: Floats, log_p: Floats) -> float:
    """Σ w log p, where weight 0 times -inf is 0."""
    return float((weights * np.where(weights > 0, log_p, 0.0)).sum())


def _converged(gain: float, size: float, tol: float, n_observations: float) -> bool:
    return gain <= max(tol * n_observations, 1e-15 * size)


def _maximise(
    program: Program, params: Params, stats: Stats, bound: Bound, options: Options, run: Run
) -> tuple[Params, str]:
    """The M-step, and the name of what collapsed in it."""
    run.empty = set()
    with np.errstate(all="ignore"):
        stats.use_priors = options.estimate == "map"
        stats.most_sweeps = 1 if options.m_step == "once" else stats.most_sweeps
        try:
            new = program.m_step(params, stats, run.empty)
        except np.linalg.LinAlgError as problem:
            return params, f"a covariance became singular in the M-step ({problem})"
        run.climbed = stats.climbed
        if stats.runaways:
            names = ", ".join(map(str, stats.runaways))
            return new, (
                f"no finite maximum in {names} (separated classes, or counts that are all zero); "
                "a Normal prior gives one"
            )
        if options.degenerate == "floor":
            raised = raise_spread(new, bound, options.floor or FLOOR)
            run.floored = {name for name in new if not np.array_equal(new[name], raised[name])}
            new = raised
        return new, find_collapsed(new, bound)


def _degenerate(run: Run, what: str, options: Options) -> Run:
    if options.degenerate == "raise":
        raise FitError(
            f"the fit degenerated: {what}",
            advice="fewer components, another start, degenerate='floor' with floor=, or "
            "degenerate='restart'",
        )
    run.verdict = Verdict("degenerate", what)
    return run


def _blame(program: Program, before: Params, after: Params, stats: Stats) -> str:
    """The parameter block whose part of Q (and of the log-priors) fell most in the M-step."""
    losses = {}
    for block in program.analysis.blocks:
        reads = program.reads
        low = expected_log_density(stats, block.components, before, reads)
        high = expected_log_density(stats, block.components, after, reads)
        if stats.use_priors:
            low += program.log_prior(before, block.params)
            high += program.log_prior(after, block.params)
        losses[", ".join(block.params)] = low - high
    worst = max(losses, key=losses.__getitem__, default="")
    if losses and losses[worst] > 0:
        return f"the M-step of {worst} lowered its part of Q by {losses[worst]:.3g}"
    return "no M-step lowered Q, so suspect a family's density or statistics"
