"""The program: everything that crosses from the compiler to the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

from pgem.analyse import (
    Analysis,
    Climb,
    Collect,
    ParamLayout,
    Scan,
    Segments,
    Step,
    analyse,
    is_axis,
    survey,
)
from pgem.arrays import Floats
from pgem.declare import SlotRecord
from pgem.errors import IntractableError
from pgem.families import Family
from pgem.graph import ModelGraph, Outline, Schema, make_outline
from pgem.plan.e_step import is_last, n_dims
from pgem.plan.holes import hole_rows
from pgem.plan.naming import on_shelf
from pgem.plan.report import Report, make_report, refusal_report
from pgem.plan.source import prior_families, write_source

if TYPE_CHECKING:
    import networkx

    from pgem.plan.script import Reader


@dataclass(frozen=True, eq=False)
class Part:
    """One component, as the run needs it.

    Attributes:
        key: name of its data and statistics.
        node: the node that holds its values.
        scope: whose rows it has.
        family: with size and structures settled.
        component: number within a switch.
        n_dims: dimensions of a table of its scope.
        is_axis: whether the node is summed over.
        evidence: whether its value is given in some rows.
        is_duration: whether it tells how long values of the node last; it has no data.
        known: known slot → its value, where the declaration gives it.
        held: slots that are never learned: what only they need, nobody asks for.
    """

    key: str
    node: str
    scope: str
    family: Family
    component: int
    n_dims: int
    is_axis: bool
    evidence: bool
    is_duration: bool
    known: dict[str, Any] = field(default_factory=dict)
    held: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled model.

    Attributes:
        name: the model's name.
        source: the generated code, and the code that runs.
        outline: names and places, for reading data.
        schema: what the data told the compiler.
        parts: components by key.
        params: parameters by name.
        scope_dims: dimensions of a table of each scope.
        row_cost: table entries per row of each scope that are computed.
        row_room: table entries per row of each scope that are made at once, for the shard size.
        queries: (node, lag) groups whose joint posterior the program answers, in order.
        report: what was found: blocks, exactness, cost, M-step.
        e_step: the generated E-step of one shard.
        m_step: the generated M-step.
        analysis: where all of this comes from.
        binder: reads data for `bind`; the pipeline sets it too.
        reader: reads data for `to_script`; the pipeline sets it, for no stage before `run` does.
    """

    name: str
    source: str
    outline: Outline
    schema: Schema
    parts: dict[str, Part]
    params: dict[str, ParamLayout]
    scope_dims: dict[str, int]
    row_cost: dict[str, int]
    row_room: dict[str, int]
    report: Report
    e_step: Callable[..., Floats]
    m_step: Callable[..., dict[str, Floats]]
    analysis: Analysis
    reader: ClassVar[Reader | None] = None
    binder: ClassVar[Callable[[Program, Any], Any] | None] = None

    def __reduce__(self) -> tuple[Any, ...]:
        return make_program, (self.analysis,)

    def bind(self, data: Any) -> Any:
        """This program with data: `.report` says what was read and how it will be run.

        Args:
            data: data in any accepted form.
        """
        assert Program.binder is not None
        return Program.binder(self, data)

    def log_prior(self, params: Mapping[str, Floats], names: Iterable[str] | None = None) -> float:
        """Log-density of all priors at these parameters; tied ones count once.

        Args:
            params: parameters by name.
            names: those whose priors are meant; all by default.
        """
        chosen = self.params if names is None else {name: self.params[name] for name in names}
        priors = [layout.prior for layout in chosen.values() if layout.prior is not None]
        return sum(prior.log_density(params) for prior in priors)

    @property
    def has_priors(self) -> bool:
        """Whether a parameter has a prior, so that the estimate is the posterior mode."""
        return any(layout.prior is not None for layout in self.params.values())

    @property
    def reads(self) -> dict[str, dict[str, str]]:
        """Per component and slot, the parameter that it reads."""
        return {
            key: {n: s.name for n, s in item.component.leaf.slots.items() if s.kind == "param"}
            for key, item in self.analysis.layout.components.items()
        }

    @property
    def graph(self) -> networkx.DiGraph:
        """The model as a networkx graph."""
        return self.analysis.graph.to_networkx()

    @property
    def queries(self) -> tuple[tuple[tuple[str, int], ...], ...]:
        """Groups whose joint posterior the program answers."""
        return self.schema.queries

    @property
    def n_parameters(self) -> int:
        """Number of free parameters; tied ones count once, fixed ones and zeros not at all."""
        return sum(p.n_free for p in self.params.values())

    def variant(self, schema: Schema) -> Program:
        """The same model compiled for data of another missing pattern, or with other queries."""
        return program_for(self.analysis.graph, schema)

    def explain(self, format: str = "text") -> str:
        """The derivation: factorisation, posterior, expected statistics, M-step.

        Args:
            format: `text`, or `markdown` with LaTeX.
        """
        from pgem.plan.explain import explain

        return explain(self.analysis, format)

    def to_script(
        self,
        data: Any = None,
        start: Mapping[str, Any] | None = None,
        *,
        weights: Any = None,
        seed: int | None = 0,
        max_iter: int = 500,
        tol: float = 1e-8,
        path: str | Path | None = None,
    ) -> str:
        """One Python file that runs this fit with NumPy and SciPy, and without pgem.

        With priors it finds the posterior mode.

        Args:
            data: data in any accepted form; up to 20,000 numbers are written into the script,
                more into an .npz beside `path`, which the script takes as `--data`.
            start: start values as for `Model.fit`; by default those of its first run.
            weights: frequency of each unit.
            seed: of the default start.
            max_iter: default of the script's `--max-iter`.
            tol: default of the script's `--tol`.
            path: where to write it.

        Returns:
            The text of the script.

        Raises:
            DataError: the data do not fit. FitError: the start does not.
            PgemError: a family's source cannot be copied.
        """
        from pgem.plan.script import Contents, write_script

        program, contents = self, Contents()
        if data is not None:
            assert Program.reader is not None
            program, contents = Program.reader(self, data, weights, start, seed)
        scopes = program.analysis.graph.scopes
        return write_script(
            program.source,
            {key: (part.family, part.scope) for key, part in program.parts.items()},
            {s: (n, scopes[s].parent, scopes[s].size) for s, n in program.scope_dims.items()},
            contents,
            priors=prior_families(program.analysis),
            max_iter=max_iter,
            tol=tol,
            path=path,
        )


def program_for(graph: ModelGraph, schema: Schema) -> Program:
    """The program of a graph for a schema; kept with the graph.

    Raises:
        IntractableError: no exact E-step within the limits; its `report` says what would be exact.
    """
    kept = graph.__dict__.setdefault("_programs", {})
    key = schema.key()
    if key not in kept:
        try:
            kept[key] = make_program(analyse(graph, schema))
        except IntractableError as problem:
            problem.with_report(lambda: refusal_report(survey(graph, schema)))
            problem.add_note("  model.report() says what would be exact, and all that blocks")
            raise
    return kept[key]  # type: ignore[no-any-return]


def make_program(analysis: Analysis) -> Program:
    """Print the listing, and load it."""
    source = write_source(analysis)
    own = {name: kind for kind, name in prior_families(analysis).items() if not on_shelf(kind)}
    functions: dict[str, Any] = dict(own)
    exec(compile(source, f"<pgem program of {analysis.graph.name}>", "exec"), functions)
    return Program(
        analysis.graph.name,
        source,
        make_outline(analysis.graph),
        analysis.schema,
        {key: _part(analysis, key) for key in analysis.layout.components},
        {name: p for name, p in analysis.layout.params.items() if p.uses},
        {scope: n_dims(analysis, scope) for scope in analysis.graph.scopes},
        _row_costs(analysis, 1),
        _row_costs(analysis, TILED),
        make_report(analysis, cache(lambda: hole_rows(analysis))),
        functions["e_step"],
        functions["m_step"],
        analysis,
    )


def _part(analysis: Analysis, key: str) -> Part:
    settled = analysis.layout.components[key]
    component = settled.component
    record = analysis.graph.nodes[component.node]
    known = {
        name: component.leaf.slots[name].value
        for name in settled.family.known_slots
        if component.leaf.slots[name].kind == "constant" and not component.leaf.slots[name].gates
    }
    keys = [c.key for c in analysis.graph.leaves_of(record.name)]
    return Part(
        key,
        record.name,
        record.scope,
        settled.family,
        keys.index(key) if key in keys else 0,
        n_dims(analysis, record.scope),
        is_axis(analysis.graph, analysis.schema, record.name),
        record.name in analysis.schema.evidence,
        component.is_duration,
        known,
        frozenset(name for name, s in component.leaf.slots.items() if _is_held(s, analysis)),
    )


def _is_held(slot: SlotRecord, analysis: Analysis) -> bool:
    if slot.kind == "param":
        return not analysis.layout.params[slot.name].is_free
    return slot.kind == "constant"


TILED = 8
"""How much smaller the room of tables counts that are made a few rows at a time where they are
large."""


def is_chain(step: Step) -> TypeGuard[Scan]:
    """Whether a step is a sequence along one variable, whose tiles are made where they are used."""
    if not isinstance(step, Scan) or isinstance(step, Climb | Segments):
        return False
    return len(step.shift) == 1 and not step.outer and not step.stretches


def _row_costs(analysis: Analysis, tiled: int) -> dict[str, int]:
    """Table entries per row of each scope; most rows share the tables of latent nodes.

    Args:
        analysis: the model.
        tiled: what entries are divided by that are made a few rows at a time.
    """
    costs = dict.fromkeys(analysis.graph.scopes, 1)
    sizes = analysis.layout.sizes
    last = [step for step in analysis.schedule.steps if is_last(step, analysis)]
    chains = [step for step in analysis.schedule.steps if is_chain(step)]
    inside = {factor for step in last for factor in step.inputs}
    for chain in chains:
        inside |= {f for f in chain.inputs if f.kind == "node" and set(f.axes) <= set(chain.shift)}
    for factor in analysis.schedule.factors:
        shared = factor.kind == "node" and is_axis(analysis.graph, analysis.schema, factor.node)
        entries = 1 if shared else math.prod(sizes[v.node] for v in factor.axes)
        costs[factor.scope] += -(-entries // tiled) if factor in inside else entries
    for step in analysis.schedule.steps:
        if isinstance(step, Scan):
            entries = math.prod(sizes[v.node] for v in (*step.outer, *step.shift))
            costs[step.scope] += -(-entries // tiled) if step in chains else entries
        elif isinstance(step, Collect):
            costs[step.scope] += 1
        else:
            cost = -(-step.cost // tiled) if step in last else step.cost
            costs[step.message.scope] += cost
    return costs
