"""The fit: parameters, how the run ended, and everything that can be asked afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from pgem.arrays import Floats
from pgem.declare import UNIT, ModelRecord
from pgem.families import Family
from pgem.learn import Run, Verdict, weighted_total
from pgem.plan import Program, Report
from pgem.result import posterior as queries
from pgem.result.containers import as_mapping
from pgem.routines import Semiring
from pgem.run import Bound, Columns, log_likelihood, make_schema, read_data


class Fit:
    """A fitted model.

    Attributes:
        params: parameters by public name, plain arrays.
        trace: the objective before each M-step; the last entry belongs to `params`.
        verdict: how the run ended; compares equal to its status.
        log_likelihood: weighted log-likelihood at `params`.
        objective: what was maximised: the log-likelihood, or log p(data, decoded) in hard EM.
        program: the compiled model.
        record: the declaration.
    """

    params: dict[str, Floats]
    trace: Floats
    verdict: Verdict
    log_likelihood: float
    objective: float

    def __init__(
        self,
        record: ModelRecord,
        families: dict[str, type[Family]],
        program: Program,
        bound: Bound | None,
        posterior: str = "soft",
    ) -> None:
        self.record, self.families, self.program = record, families, program
        self.posterior_kind = posterior
        self._bound = bound

    def settle(self, run: Run) -> None:
        """Take over the winning run."""
        self.params = run.params
        self.trace = np.array(run.trace)
        notes = tuple(f"'{name}' has rows without data, which kept their values" for name in
                      sorted(run.empty))
        self.verdict = Verdict(str(run.verdict), run.verdict.message.partition(": ")[2], notes)
        self.objective = run.objective
        assert self._bound is not None
        if self.posterior_kind == "soft":
            self.log_likelihood = run.objective
        else:
            log_p = log_likelihood(self._bound, self.params)
            self.log_likelihood = weighted_total(self._bound.columns.weights, log_p)

    def __repr__(self) -> str:
        return (
            f"Fit('{self.record.name}', {self.verdict!s}, "
            f"log_likelihood={self.log_likelihood:.6g}, iterations={self.iterations})"
        )

    # --- counts and criteria ------------------------------------------------------------------

    @property
    def iterations(self) -> int:
        """Number of M-steps."""
        return len(self.trace) - 1

    @property
    def n_parameters(self) -> int:
        """Number of free parameters; tied ones count once, fixed ones and zeros not at all."""
        return self.program.n_parameters

    @cached_property
    def n_observations(self) -> float:
        """Weighted number of observations: units, or steps and members with a value."""
        assert self._bound is not None
        return count_observations(self._bound.columns)

    @property
    def aic(self) -> float:
        """-2 log-likelihood + 2 k; small is good."""
        return -2 * self.log_likelihood + 2 * self.n_parameters

    @property
    def bic(self) -> float:
        """-2 log-likelihood + k log n; small is good."""
        return self.bic_for(self.n_observations)

    def bic_for(self, n: float) -> float:
        """BIC with another number of observations."""
        return -2 * self.log_likelihood + self.n_parameters * float(np.log(n))

    @cached_property
    def icl(self) -> float:
        """-2 log p(data, decoded latents) + k log n; small is good."""
        assert self._bound is not None
        columns = self._bound.columns
        joint = joint_log_probability(self.program, columns, self.params)
        penalty = self.n_parameters * float(np.log(self.n_observations))
        return -2 * weighted_total(columns.weights, joint) + penalty

    @property
    def report(self) -> Report:
        """What the compiler decided for these data."""
        return self.program.report

    # --- questions ----------------------------------------------------------------------------

    def posterior(self, data: Any, *, joint: Any = ()) -> dict[Any, Any]:
        """Posterior of latent nodes and of holes (see `Model.posterior`)."""
        program, columns, _ = self.read(data)
        return queries.posterior(program, columns, self.params, joint)

    def decode(self, data: Any) -> dict[str, Any]:
        """The jointly most probable configuration of all discrete latents."""
        program, columns, _ = self.read(data)
        return queries.decode(program, columns, self.params)

    def predict(self, data: Any) -> dict[str, Any]:
        """Marginal mode (discrete) or mean (others) of latent nodes and holes."""
        program, columns, _ = self.read(data)
        return queries.predict(program, columns, self.params)

    def impute(self, data: Any) -> dict[str, Any]:
        """The data with holes and latent nodes filled by `predict`."""
        program, columns, mapping = self.read(data)
        return queries.impute(program, columns, self.params, mapping)

    def log_likelihoods(self, data: Any) -> Floats:
        """log p of every unit [N] of other data, not weighted."""
        program, columns, _ = self.read(data)
        return log_likelihood(Bound(program, columns), self.params)

    def score(self, data: Any, weights: Any = None) -> float:
        """Weighted total log-likelihood of other data."""
        program, columns, _ = self.read(data, weights)
        return weighted_total(
            columns.weights, log_likelihood(Bound(program, columns), self.params)
        )

    def expanded(self, name: str) -> Floats:
        """A covariance parameter of reduced structure as matrices [gates…, D, D]."""
        layout = self.program.params[name]
        value = self.params[name]
        if layout.structure == "full":
            return value
        size = self.program.parts[layout.uses[0][0]].family.size or 1
        if layout.structure == "spherical":
            value = np.repeat(value[..., None], size, axis=-1)
        return np.asarray(value[..., None] * np.eye(size))

    def read(
        self, data: Any, weights: Any = None
    ) -> tuple[Program, Columns, Mapping[str, Any]]:
        """Other data, read with this fit's categories, and the program for their holes."""
        outline = self.program.outline
        mapping, own = as_mapping(data, outline)
        columns = read_data(
            mapping,
            outline,
            weights=own if weights is None else weights,
            levels=self.levels,
            sizes=self.sizes,
            fitting=False,
        )
        schema = make_schema(columns)
        vectors = {**self.program.schema.vectors, **schema.vectors}
        from dataclasses import replace

        return self.program.variant(replace(schema, vectors=vectors)), columns, mapping

    @cached_property
    def levels(self) -> dict[str, Any]:
        """Labels of categories, by node."""
        assert self._bound is not None
        return dict(self._bound.columns.levels)

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of categories, by node."""
        nodes = self.program.outline.nodes
        return {n: s for n, s in self.program.analysis.layout.sizes.items() if n in nodes}


def joint_log_probability(
    program: Program, columns: Columns, params: dict[str, Floats]
) -> Floats:
    """log p(data, jointly most probable latents) of every unit [N]."""
    from pgem.run import sum_statistics

    return sum_statistics(Bound(program, columns), params, Semiring("max"))[0]


def count_observations(columns: Columns) -> float:
    """Weighted number of observations (language reference, section 7)."""
    outline = columns.outline
    scopes: dict[str, np.ndarray[Any, np.dtype[np.bool_]]] = {}
    for name, node in outline.nodes.items():
        if node.kind != "observed":
            continue
        seen = (
            ~columns.missing(name) if columns.has(name)
            else np.zeros(columns.n_rows(node.scope), dtype=bool)
        )
        seen = seen.reshape(len(seen), -1).any(axis=1)
        scope = node.scope
        while scope != UNIT and outline.scopes[scope].size is not None:
            starts = columns.starts[scope]
            owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
            seen = np.bincount(owner, weights=seen, minlength=len(starts) - 1) > 0
            scope = outline.scopes[scope].parent
        scopes[scope] = scopes.get(scope, np.zeros(len(seen), dtype=bool)) | seen
    repeated = {s: seen for s, seen in scopes.items() if s != UNIT}
    total = 0.0
    for scope, seen in (repeated or {UNIT: np.ones(columns.n_units, dtype=bool)}).items():
        total += float(_unit_weights(columns, scope)[seen].sum())
    return total


def _unit_weights(columns: Columns, scope: str) -> Floats:
    weights = columns.weights
    for name in columns.outline.path(scope):
        weights = np.repeat(weights, np.diff(columns.starts[name]))
    return weights
