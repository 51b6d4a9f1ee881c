"""The fit: parameters, how the run ended, and everything that can be asked afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pgem.arrays import Floats
from pgem.declare import ModelRecord
from pgem.errors import DataError, FitError, did_you_mean
from pgem.families import Family
from pgem.learn import Run, Verdict, weighted_total
from pgem.plan import Program, Report
from pgem.result import posterior as queries
from pgem.result.cells import derived
from pgem.result.containers import as_mapping
from pgem.result.facts import DataFacts, data_facts
from pgem.routines import Semiring
from pgem.run import (
    Bound,
    Codes,
    Columns,
    absent,
    log_likelihood,
    make_schema,
    read_data,
    sum_statistics,
)

if TYPE_CHECKING:
    from pgem.result.information import Information

# What only some sessions need (samples, errors, files, tables) is imported when it is asked for:
# `import pgem` stays quick.


class Fit:
    """A fitted model.

    Attributes:
        params: parameters by public name, plain arrays.
        trace: the objective before each M-step; the last entry belongs to `params`.
        verdict: how the run ended; compares equal to its status.
        log_likelihood: weighted log-likelihood at `params`.
        objective: what was maximised: the log-likelihood (log p(data, decoded) in hard EM), plus
            the log-density of the priors under MAP.
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
        estimate: str = "ml",
        m_step: str = "full",
    ) -> None:
        self.record, self.families, self.program = record, families, program
        self.posterior_kind, self.estimate, self.m_step = posterior, estimate, m_step
        self._bound = bound

    def settle(self, run: Run) -> None:
        """Take over the winning run."""
        self.params = run.params
        self.trace = np.array(run.trace)
        solved = {name for block in self.program.analysis.blocks for name in block.regression}
        notes = tuple(
            f"'{name}' has entries that no data determine (no rows, or collinear regressors), "
            "which kept their values"
            if name in solved
            else f"'{name}' has rows without data, which kept their values"
            for name in sorted(run.empty)
        )
        notes += tuple(f"'{name}' was raised to the floor" for name in sorted(run.floored))
        if run.climbed:
            names = ", ".join(map(repr, run.climbed))
            notes += (f"conditional maxima of {names} crawled: Q was climbed numerically",)
        if self._bound is not None:
            notes += tuple(_unseen(self._bound))
        self.verdict = Verdict(str(run.verdict), run.verdict.detail, notes)
        self.objective = run.objective
        if self.posterior_kind == "soft":
            prior = self.program.log_prior(run.params) if self.estimate == "map" else 0.0
            self.log_likelihood = run.objective - prior
        else:
            bound = self._training()
            log_p = log_likelihood(bound, self.params)
            self.log_likelihood = weighted_total(bound.columns.weights, log_p)

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

    @property
    def n_observations(self) -> float:
        """Weighted number of observations: units, or steps and members with a value."""
        return self.facts.n_observations

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
        bound = self._training()
        joint, _ = sum_statistics(bound, self.params, Semiring("max"))
        penalty = self.n_parameters * float(np.log(self.n_observations))
        return -2 * weighted_total(bound.weights, joint) + penalty

    @property
    def report(self) -> Report:
        """What the compiler decided for these data, and which form of the M-step ran."""
        report = self.program.report
        bound = self._bound
        if bound is not None:
            told = bound.is_compressed or bound.n_threads > 1
            chosen = [*(bound.choices if told else ()), *bound.scans()]
            report = replace(report, notes=(*report.notes, *chosen))
        if self.m_step == "full":
            return report
        once = "a single pass over conditional maxima (m_step='once')"
        rows = [replace(r, how=once) if "in turn" in r.how else r for r in report.m_step]
        return replace(report, m_step=tuple(rows))

    # --- questions ----------------------------------------------------------------------------

    def posterior(self, data: Any, *, joint: Any = ()) -> dict[Any, Any]:
        """Posterior of latent nodes and of holes (see `Model.posterior`)."""
        program, columns, _ = self.read(data)
        return queries.posterior(program, columns, self.params, joint)

    def decode(self, data: Any) -> dict[str, Any]:
        """The jointly most probable configuration of all discrete latents."""
        program, columns, _ = self.read(data)
        return queries.decode(program, columns, self.params)

    def predict(self, data: Any, node: str | None = None) -> Any:
        """Marginal mode (discrete) or mean (others) of latent nodes and holes.

        Args:
            data: data in any accepted form.
            node: predict this node from all others, whatever its own values are; the first values
                of a sequence that are conditioned on stay.

        Returns:
            A mapping over nodes; with `node`, its predictions.

        Raises:
            DataError: the data do not fit, or `node` is no node.
        """
        if node is None:
            program, columns, _ = self.read(data)
            return queries.predict(program, columns, self.params)
        program, columns, _ = self._read_without(data, node)
        return queries.predict(program, columns, self.params)[node]

    def impute(self, data: Any, how: str = "mean", seed: int | None = None) -> dict[str, Any]:
        """The data with holes and latent nodes filled.

        Args:
            data: data in any accepted form.
            how: `mean` (as `predict`: marginal modes and means), `mode` (discrete nodes jointly
                decoded, means of the others given these) or `draw` (one joint posterior draw).
            seed: of the draw.

        Raises:
            DataError: the data do not fit, or `how` is none of these.
        """
        if how not in ("mean", "mode", "draw"):
            raise DataError(
                f"holes cannot be filled by '{how}'", expected="'mean', 'mode' or 'draw'"
            )
        program, columns, mapping = self.read(data)
        if how == "mean":
            return queries.impute(program, columns, self.params, mapping)
        if how == "draw":
            return {**mapping, **self.draw(data, seed)}
        decoded = {**mapping, **queries.decode(program, columns, self.params)}
        program, columns, _ = self.read(decoded)
        return queries.impute(program, columns, self.params, decoded)

    def draw(self, data: Any, seed: int | None = None) -> dict[str, Any]:
        """One joint draw of all latent nodes and holes from their posterior.

        Args:
            data: data in any accepted form.
            seed: of the random numbers; the same seed gives the same draw.

        Raises:
            DataError: the data do not fit. FitError: a unit has probability zero.
        """
        from pgem.result.draws import draw

        program, columns, _ = self.read(data)
        return draw(program, columns, self.params, np.random.default_rng(seed))

    def _read_without(self, data: Any, node: str) -> tuple[Program, Columns, Mapping[str, Any]]:
        """Data whose values of one node are taken away, but those that it is conditioned on."""
        outline = self.program.outline
        if node not in outline.nodes:
            raise DataError(
                f"'{node}' is no node of model '{outline.name}'",
                expected=", ".join(outline.nodes),
                advice=did_you_mean(node, outline.nodes),
            )
        program, columns, mapping = self.read(data)
        codes, numbers = dict(columns.codes), dict(columns.numbers)
        record = outline.nodes[node]
        gone = np.full(columns.n_rows(record.scope), fill_value=True)
        if record.conditioned:
            gone = columns.number(record.scope) >= record.lag
        if node in codes:
            codes[node] = Codes(np.where(gone, -1, codes[node][:]))
        if node in numbers:
            if gone.all():
                numbers[node] = absent(numbers[node].shape)
            else:
                numbers[node] = numbers[node].copy()
                numbers[node][gone] = np.nan
        return program, replace(columns, codes=codes, numbers=numbers), mapping

    def log_likelihoods(self, data: Any) -> Floats:
        """log p of every unit [N] of other data, not weighted."""
        program, columns, _ = self.read(data)
        return log_likelihood(Bound(program, columns), self.params)

    def score(self, data: Any, weights: Any = None) -> float:
        """Weighted total log-likelihood of other data."""
        program, columns, _ = self.read(data, weights)
        return weighted_total(columns.weights, log_likelihood(Bound(program, columns), self.params))

    def expanded(self, name: str) -> Floats:
        """A parameter written out, or a table that follows from parameters.

        Args:
            name: a covariance of reduced structure gives matrices [gates…, D, D]; the first step
                of a node with `first="stationary"` its distribution [gates…, K]; any other
                parameter itself.

        Raises:
            FitError: neither a parameter nor such a table.
        """
        if name not in self.params:
            return self._derived(name)
        layout = self.program.params[name]
        value = self.params[name]
        if layout.structure == "full":
            return value
        size = self.program.parts[layout.uses[0][0]].family.size or 1
        if layout.structure == "spherical":
            value = np.repeat(value[..., None], size, axis=-1)
        return np.asarray(value[..., None] * np.eye(size))

    def _derived(self, name: str) -> Floats:
        """A table that follows from parameters, by name."""
        found = derived(self.program, self.params)
        if name not in found:
            known = [*self.params, *found]
            raise FitError(
                f"'{name}' is no parameter of this fit",
                expected=", ".join(known),
                advice=did_you_mean(name, known),
            )
        return found[name]

    def sample(
        self,
        n: int,
        sizes: Mapping[str, Any] | None = None,
        data: Any = None,
        seed: int | None = None,
    ) -> dict[str, Any]:
        """Draw new units: every node given its gates, latents included.

        Args:
            n: number of units.
            sizes: members of plates and steps of sequences by name, `{"t": 100, "visit": [3, 5]}`:
                one number, or one for each parent row; for a Multinomial node, its row totals.
                By default those of the given data, then those of the fitted units in turn.
            data: covariates (always needed), and nodes to hold at their values: holes in them are
                drawn, but nothing above them is conditioned on them; for trees of other shapes
                than those of the fitted data their `<tree>.parent`.
            seed: of the random numbers; the same seed gives the same sample.

        Returns:
            All nodes (and the covariates as given, and the parents of trees), in the containers of
            the fitted data.

        Raises:
            DataError: sizes or data do not fit, or lack what the sample needs.
        """
        from pgem.result.sample import sample

        return sample(self.program, self.facts, self.params, n, sizes, data, seed)

    def standard_errors(
        self, data: Any = None, of: Callable[[dict[str, Floats]], Any] | None = None
    ) -> Any:
        """Standard errors of the parameters, from the observed information.

        Args:
            data: other data than those of the fit; a loaded fit needs them.
            of: a function of the parameters by name, whose errors (delta method) are returned.

        Returns:
            Arrays with the names and shapes of `params`, or in the form of what `of` returns: 0
            where fixed, nan on the boundary (a probability of 0 or 1) and where the likelihood
            is flat, with a warning that names the parameters.  See `pgem.result.information`.
        """
        from pgem.result.information import delta_errors, named_errors

        found = self._information(data)
        return named_errors(found) if of is None else delta_errors(found, of)

    def covariance(self, data: Any = None) -> Floats:
        """Covariance matrix of all parameter entries, in the order of `table()`."""
        return self._information(data).covariance

    def summary(self) -> str:
        """How the fit ended, its criteria and its parameters, as text."""
        from pgem.result.summary import summary

        return summary(self)

    def table(self) -> list[tuple[str, tuple[int, ...], float]]:
        """All parameter entries as (name, index, value)."""
        from pgem.result.summary import entries

        return entries(self)

    def save(self, path: str | Path) -> None:
        """Write the fit to a JSON file, without the data; `pgem.load` reads it.

        Raises:
            DataError: the file cannot be written, or labels have a type that JSON does not know.
        """
        from pgem.result.saving import save

        save(self, path)

    def _information(self, data: Any) -> Information:
        bound = self._training() if data is None else Bound(*self.read(data)[:2])
        from pgem.result.information import information

        return information(bound, self.params, priors=self.estimate == "map")

    def _training(self) -> Bound:
        """The data of the fit.

        Raises:
            DataError: the fit was loaded from a file, which does not hold them.
        """
        if self._bound is None:
            raise DataError(
                "a loaded fit does not hold the data it was fitted to", advice="pass data="
            )
        return self._bound

    def read(self, data: Any, weights: Any = None) -> tuple[Program, Columns, Mapping[str, Any]]:
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
        vectors = self._vectors(columns, schema.vectors)
        return self.program.variant(replace(schema, vectors=vectors)), columns, mapping

    def _vectors(self, columns: Columns, found: Mapping[str, int]) -> dict[str, int]:
        """Lengths of vectors, which other data share with those of the fit."""
        known = self.program.schema.vectors
        for name in columns.numbers:
            if found.get(name) != known.get(name):
                raise DataError(
                    f"'{name}' has values of another length than in the data of the fit",
                    expected=f"'{known[name]}' coordinates" if name in known else "single numbers",
                    received=f"'{found[name]}' coordinates" if name in found else "single numbers",
                )
        return {**known, **found}

    @cached_property
    def facts(self) -> DataFacts:
        """What later questions need to know of the fitted data: labels, lengths, counts."""
        return data_facts(self._training().columns, self.program)

    @property
    def levels(self) -> dict[str, Any]:
        """Labels of categories, by node."""
        return dict(self.facts.levels)

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of categories, by node and covariate."""
        known = {**self.program.outline.nodes, **self.program.outline.covariates}
        return {n: s for n, s in self.program.analysis.layout.sizes.items() if n in known}


def _unseen(bound: Bound) -> Iterator[str]:
    """Remarks on coordinates of vectors that no row of the data shows, alone or together."""
    for name, node in bound.program.outline.nodes.items():
        values = bound.columns.numbers.get(name)
        if node.kind != "observed" or values is None or values.ndim != 2 or not len(values):
            continue
        if not values.has_holes:
            continue
        together = np.zeros((values.shape[1], values.shape[1]))
        for rows in values.blocks():
            seen = (~values.missing(rows)).astype(np.float32)
            together += seen.T @ seen
        alone = np.diagonal(together) > 0
        if alone.any() and not alone.all():
            listed = ", ".join(f"'{k}'" for k in np.flatnonzero(~alone))
            yield (
                f"'{name}' has no value in coordinate {listed}: what concerns it alone is not "
                "determined by the data"
            )
        covariances = _free_covariances(bound.program, name)
        apart = np.argwhere(np.triu((together == 0) & np.outer(alone, alone)))
        if covariances and len(apart):
            listed = ", ".join(f"'{i}' and '{j}'" for i, j in apart[:5].tolist())
            more = f" (and {len(apart) - 5} more pairs)" if len(apart) > 5 else ""
            yield (
                f"'{name}' has no row with both coordinates {listed}{more}: these entries of "
                f"{', '.join(map(repr, covariances))} are not determined by the data"
            )


def _free_covariances(program: Program, node: str) -> list[str]:
    """Matrices without a prior that are learned as the spread of a node."""
    return [
        name
        for name, layout in program.params.items()
        if layout.role.has_spread and layout.n_own == 2 and layout.is_free and not layout.prior
        if any(program.parts[key].node == node for key, _ in layout.uses)
    ]
