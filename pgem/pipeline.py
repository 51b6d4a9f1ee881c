"""A model goes through seven stages, in this order.

    declare   what the user writes         → Declaration
    graph     Declaration                  → ModelGraph, Outline
    analyse   ModelGraph, Schema           → Analysis
    plan      Analysis                     → Program
    run       Program, data                → expected statistics, posteriors
    learn     Program, data, options       → Run (parameters, trace, verdict)
    result    Run                          → Fit

`compile_model` goes through the first four, `Model.fit` through all.  The first four never see
data: reading the data yields a small `Schema`, which is all that crosses back.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pgem.analyse import vector_sizes
from pgem.arrays import Floats
from pgem.declare import Declaration, ModelRecord
from pgem.errors import DeclarationError, FitWarning, IntractableError
from pgem.families import Family
from pgem.graph import ModelGraph, Outline, Schema, build_graph, make_outline
from pgem.learn import Options, Run, best_run, check_hard, check_options, start_params
from pgem.plan import Program, Report, program_for
from pgem.result import Fit, as_mapping, full_params, posterior
from pgem.run import Bound, Columns, expect, log_likelihood, make_schema, read_data

if TYPE_CHECKING:
    from pgem.plan.script import Contents


def compile_model(declaration: Declaration, schema: Schema | None = None) -> Program:
    """Declaration → program.

    Raises:
        DeclarationError: the declaration does not fit together.
        IntractableError: no exact E-step within the limits.
    """
    graph = build_graph(declaration.record, declaration.families)
    return program_for(graph, schema or Schema())


def bind(program: Program, data: Any) -> Bound:
    """A program with data, recompiled for their missing pattern.

    Raises:
        DataError: the data do not fit the declaration.
    """
    mapping, weights = as_mapping(data, program.outline)
    columns = read_data(mapping, program.outline, weights=weights, fitting=False)
    bound = Bound(program.variant(make_schema(columns)), columns, merge=True, n_jobs=None)
    bound.timer = partial(_seconds_of_iteration, bound)
    return bound


def _seconds_of_iteration(bound: Bound) -> float:
    """Seconds of one E- and one M-step from a start that is always the same."""
    params = start_params(bound, None, np.random.default_rng(0))
    expect(bound, params)  # whatever happens only once
    begin = perf_counter()
    stats = expect(bound, params).stats
    with np.errstate(all="ignore"):
        bound.program.m_step(params, stats, set())
    return perf_counter() - begin


class Model(Declaration):
    """A latent-variable model: declare its nodes inside `with`, then compile or fit it.

    Args:
        name: shown in reports and files.
    """

    def compile(self, data: Any = None) -> Program:
        """The program of this model, for these data or for data without holes.

        Args:
            data: data in any accepted form; they settle sizes and the missing pattern.
        """
        if data is None:
            return self._program(Schema())
        mapping, _ = as_mapping(data, self._outline())
        return self._program(make_schema(read_data(mapping, self._outline(), fitting=False)))

    def report(self, data: Any = None) -> Report:
        """What is exact, block by block, at which cost, and what blocks the rest.

        That of the program, or if the model is refused that of the refusal.

        Args:
            data: as for `compile`.

        Raises:
            DeclarationError: the declaration does not fit together. DataError: the data do not.
        """
        try:
            return self.compile(data).report
        except IntractableError as problem:
            found: Report = problem.report
            return found

    def fit(
        self,
        data: Any,
        *,
        weights: Any = None,
        start: Mapping[str, Any] | None = None,
        restarts: int = 1,
        seed: int | None = 0,
        max_iter: int = 500,
        tol: float = 1e-8,
        estimate: str | None = None,
        posterior: str = "soft",
        m_step: str = "full",
        degenerate: str = "stop",
        floor: float | None = None,
        callback: Callable[[int, float], object] | None = None,
        shard_size: int | None = None,
        schedule: str = "batch",
        accelerate: str | None = None,
        n_jobs: int | None = None,
    ) -> Fit:
        """Maximum likelihood, or with priors the posterior mode, by EM.

        Args:
            data: node name → values (leading axis = units), a data frame, or `pg.Data`.
            weights: frequency of each unit [N].
            start: start values by parameter name (complete or partial), or labels or
                responsibilities by latent node name.
            restarts: number of runs; the first uses `start`, the others random starts.
            seed: of the random starts.
            max_iter: most iterations; 0 evaluates `start`, 1 is one E- and one M-step.
            tol: gain per observation at which the run has converged; 0 runs all iterations.
            estimate: `map` (the default where a parameter has a prior), or `ml`, which ignores
                priors.
            posterior: `soft`, or `hard` for the jointly most probable latents (k-means, Viterbi
                training).
            m_step: `full`, or `once` for a single pass where conditional maxima are taken in turn.
            degenerate: `stop`, `raise`, `floor` or `restart`, when a component collapses.
            floor: with `degenerate="floor"`, the share of the data's variance to raise it to
                (1e-6 by default).
            callback: called with (iteration, log-likelihood); returning True stops.
            schedule: `batch`; others are not available yet.
            accelerate: None; others are not available yet.
            shard_size: units per shard; chosen to fit the processor's cache by default.
            n_jobs: threads over the shards: a number, -1 for all cores, -2 for all but one; None
                for all cores where that pays.  The result does not depend on it.

        Raises:
            DataError: the data do not fit the declaration.
            FitError: an option or a start value cannot be used.
        """
        check_options(
            start=start,
            restarts=restarts,
            seed=seed,
            max_iter=max_iter,
            tol=tol,
            estimate=estimate,
            posterior=posterior,
            m_step=m_step,
            degenerate=degenerate,
            floor=floor,
            callback=callback,
            shard_size=shard_size,
            schedule=schedule,
            accelerate=accelerate,
            n_jobs=n_jobs,
        )
        mapping, own_weights = as_mapping(data, self._outline())
        columns = read_data(
            mapping,
            self._outline(),
            weights=own_weights if weights is None else weights,
            fitting=max_iter > 0,
        )
        program = self._program(make_schema(columns))
        check_hard(posterior, program)
        bound = Bound(program, columns, shard_size, merge=True, n_jobs=n_jobs)
        kind = estimate or ("map" if program.has_priors else "ml")
        options = Options(kind, posterior, max_iter, tol, m_step, degenerate, floor, callback)
        fit = Fit(self.record, dict(self.families), program, bound, posterior, kind, m_step)
        best = best_run(bound, start, options, restarts, seed, fit.n_observations)
        _warn(best)
        fit.settle(best)
        return fit

    def log_likelihood(self, data: Any, params: Mapping[str, Any]) -> Floats:
        """log p of every unit [N] at given parameters, not weighted.

        Raises:
            DataError: the data do not fit. FitError: the parameters do not.
        """
        program, columns = self._read(data, params)
        bound = Bound(program, columns)
        return log_likelihood(bound, full_params(program, params))

    def posterior(self, data: Any, params: Mapping[str, Any], *, joint: Any = ()) -> dict[str, Any]:
        """Posterior of every latent node, and of every observed node with holes.

        Args:
            data: data in any accepted form.
            params: parameters by name.
            joint: pairs (or longer tuples) of nodes whose joint posterior is wanted as well;
                `pg.prev(node)` stands for the step before.
        """
        program, columns = self._read(data, params)
        return posterior(program, columns, full_params(program, params), joint)

    def to_json(self) -> str:
        """The declaration as JSON text, for `from_json`.

        Raises:
            DeclarationError: a label has a type that JSON does not know.
        """
        from pgem.declare import spec

        return json.dumps(spec.record_to_plain(self.record), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, families: Iterable[type[Family]] = ()) -> Self:
        """An equal model from the text of `to_json`.

        Args:
            text: JSON.
            families: families of your own that the model uses; a text never imports them.

        Raises:
            DeclarationError: the text does not fit, with the field and the value.
        """
        from pgem.declare import spec

        return cls._from_record(spec.record_from_json(text), families)

    @classmethod
    def _from_record(cls, record: ModelRecord, families: Iterable[type[Family]]) -> Self:
        from pgem.declare import spec

        model = spec.restore(cls(record.name), record, families)
        model._graph()
        return model

    def _read(self, data: Any, params: Mapping[str, Any]) -> tuple[Program, Columns]:
        mapping, _ = as_mapping(data, self._outline())
        columns = read_data(mapping, self._outline(), fitting=False)
        schema = make_schema(columns)
        shown = vector_sizes(self._graph(), params if isinstance(params, Mapping) else {})
        return self._program(replace(schema, vectors={**shown, **schema.vectors})), columns

    def _graph(self) -> ModelGraph:
        kept = self.__dict__.get("_kept_graph")
        if kept is None or kept[0] != self.record:
            kept = (self.record, build_graph(self.record, self.families))
            self.__dict__["_kept_graph"] = kept
        return kept[1]

    def _outline(self) -> Outline:
        return make_outline(self._graph())

    def _program(self, schema: Schema) -> Program:
        return program_for(self._graph(), schema)


def load(path: str | Path, families: Iterable[type[Family]] = ()) -> Fit:
    """Read a fit that `Fit.save` wrote.

    Args:
        path: the file.
        families: families of your own that the model uses; they are never imported from a file.

    Returns:
        A fit that answers everything that does not need the data it was fitted to.

    Raises:
        DataError: the file is missing, truncated, corrupt or foreign, or needs `families`.
    """
    from pgem.result import saving

    saved = saving.read(path)
    try:
        model = Model._from_record(saved.record, saving.check_families(families))
        program = compile_model(model, saved.schema)
    except (DeclarationError, IntractableError) as problem:
        raise saving.unusable(saved, problem) from None
    fit = Fit(model.record, dict(model.families), program, None, saved.posterior)
    return saving.restore(saved, fit)


def _read_for_script(
    program: Program, data: Any, weights: Any, start: Mapping[str, Any] | None, seed: int | None
) -> tuple[Program, Contents]:
    """Data and start of the first run, as `Program.to_script` writes them."""
    mapping, own = as_mapping(data, program.outline)
    weights = own if weights is None else weights
    columns = read_data(mapping, program.outline, weights=weights)
    bound = Bound(program.variant(make_schema(columns)), columns)
    generator = np.random.default_rng(None if seed is None else [seed, 0, 0])
    from pgem.result.handover import hand_over

    return bound.program, hand_over(bound, start_params(bound, start, generator))


def _describe(kind: type[Family], style: str) -> str:
    """A family in words and formulas, for `Family.explain`."""
    from pgem.plan.describe import describe

    return describe(kind, style)


def _warn(run: Run) -> None:
    if run.verdict in ("decreased", "degenerate"):
        warnings.warn(run.verdict.describe(), FitWarning, stacklevel=3)


Program.reader = staticmethod(_read_for_script)
Program.binder = staticmethod(bind)
Family.describer = staticmethod(_describe)
