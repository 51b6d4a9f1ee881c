"""Drawing new data from a fitted model: all nodes, parents before children, steps in order.

A sample is data whose unknown cells are filled in.  The rows of every scope are laid out first
(`sizes`, else the given data, else the lengths of the fitted data), holes stand everywhere, and
then each node is drawn given the values of its gates.  Nodes of a sequence that depend on one
another over time are drawn step by step, for all sequences at once, those of a tree level by level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers
from pgem.declare import UNIT
from pgem.errors import DataError
from pgem.families._linear import Linear
from pgem.families._link import Linked
from pgem.families._scaled import Scaled
from pgem.gating import Pick
from pgem.plan import Part, Program
from pgem.result.cells import cell_slots
from pgem.result.containers import as_mapping, labelled, nest
from pgem.result.facts import DataFacts, draw_inputs
from pgem.result.rows import Rows, lay_out
from pgem.result.sample_segments import Clock
from pgem.run import Columns, absent, within_trees


def sample(
    program: Program,
    facts: DataFacts,
    params: dict[str, Floats],
    n: int,
    sizes: Mapping[str, Any] | None = None,
    data: Any = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Draw `n` units (see `Fit.sample`)."""
    mapping = {} if data is None else dict(as_mapping(data, program.outline)[0])
    rows = lay_out(program, facts, n, dict(sizes or {}), mapping)
    sampler = Sampler(program, params, rows, np.random.default_rng(seed))
    for scope in [UNIT, *program.outline.scopes]:
        sampler.fill(scope)
    columns = rows.columns
    found = {name: mapping[name] for name in program.outline.covariates}
    for key, tree in program.outline.parent_keys.items():
        found[key] = nest(columns, tree, within_trees(columns.parents[tree], columns.starts[tree]))
    for name, node in program.outline.nodes.items():
        values: Any = columns.values(name)[:]
        if node.finite:
            values = labelled(columns, name, values)
        found[name] = nest(columns, node.scope, values)
    return found


@dataclass(eq=False)
class Sampler:
    """One sample in the making: the columns of `rows` are filled in place."""

    program: Program
    params: dict[str, Floats]
    rows: Rows
    generator: Generator

    def __post_init__(self) -> None:
        self._slots: dict[str, dict[str, Floats]] = {}
        self._clocks: dict[str, Clock] = {}
        for name, node in self.program.outline.nodes.items():
            self._open(name, node.scope, finite=node.finite)

    @property
    def columns(self) -> Columns:
        """The values drawn so far, holes elsewhere."""
        return self.rows.columns

    def fill(self, scope: str) -> None:
        """Draw all nodes of a scope, whose outer scopes are filled."""
        starts = self.columns.starts.get(scope)
        for group, in_turn in turns(self.program, scope):
            if not in_turn or starts is None:
                self._draw(group[0], np.arange(self.columns.n_rows(scope)))
                continue
            number = self.rows.number(scope)
            cuts = np.cumsum(np.bincount(number))[:-1]
            for rows in np.split(np.argsort(number, kind="stable"), cuts):
                for name in group:
                    self._draw(name, rows)

    def _open(self, name: str, scope: str, *, finite: bool) -> None:
        """Room for the values of a node: given ones, holes elsewhere."""
        columns, n_rows = self.columns, self.columns.n_rows(scope)
        if finite:
            # copies: nothing is written into the user's arrays
            columns.codes[name] = columns.codes_or_holes(name, scope).copy()
            return
        family = next(p.family for p in self.program.parts.values() if p.node == name)
        empty = absent((n_rows, *family.event_shape))
        columns.numbers[name] = (columns.numbers.get(name) or empty).copy()

    def _draw(self, name: str, rows: Integers) -> None:
        """Draw the holes of a node among these rows."""
        if self.program.outline.nodes[name].in_segments:
            self._draw_segments(name, rows)
            return
        self._draw_holes(name, rows)

    def _draw_segments(self, name: str, rows: Integers) -> None:
        """Draw one step of a chain with explicit durations: segments that last go on."""
        codes = self.columns.codes[name].array
        clock = self._clocks.setdefault(name, Clock(len(codes)))
        going = clock.going_on(rows)
        codes[going] = np.where(codes[going] < 0, codes[going - 1], codes[going])
        self._draw_holes(name, np.setdiff1d(rows, going))
        fresh = clock.begin(rows, going, codes)
        part = self.program.parts[f"{name}.duration"]
        if len(fresh):
            drawn = part.family.draw(self.generator, self._at(part, fresh))
            clock.start(fresh, drawn, part.family)

    def _draw_holes(self, name: str, rows: Integers) -> None:
        for part, chosen in self._split(name, self.rows.missing(name, rows)):
            if len(chosen):
                self._store(part, chosen, part.family.draw(self.generator, self._at(part, chosen)))

    def _store(self, part: Part, rows: Integers, drawn: Floats) -> None:
        domain = part.family.domain()
        if self.program.outline.nodes[part.node].finite and domain is not None:
            order = np.argsort(domain)
            self.columns.codes[part.node][rows] = order[np.searchsorted(domain[order], drawn)]
            return
        values = self.columns.numbers[part.node]
        here = ~np.isnan(values[rows])
        if here.any() and not part.family.factorises:
            raise DataError(
                f"node '{part.node}' is given in part in row "
                f"'{int(rows[np.argmax(here.reshape(len(rows), -1).any(axis=1))])}'",
                expected="whole vectors, or none: its coordinates depend on one another",
            )
        values[rows] = np.where(here, values[rows], drawn)

    def _split(self, name: str, rows: Integers) -> list[tuple[Part, Integers]]:
        """Which component each row belongs to: first steps, then the families of a switch."""
        graph = self.program.analysis.graph
        record = graph.nodes[name]
        parts = []
        if record.lag():
            number = self.rows.number(record.scope)[rows]
            for component in graph.firsts_of(name):
                chosen = rows[number == component.step - 1]
                parts.append((self.program.parts[component.key], chosen))
            if record.conditioned:
                self._refuse_first(name, record.lag(), rows[number < record.lag()])
            rows = rows[number >= record.lag()]
        leaves = graph.leaves_of(name)
        if record.switch is None:
            return [*parts, (self.program.parts[leaves[0].key], rows)]
        codes = self.rows.codes(_token(record.switch), record.scope, rows)
        return parts + [
            (self.program.parts[leaf.key], rows[codes == k]) for k, leaf in enumerate(leaves)
        ]

    def _refuse_first(self, name: str, lag: int, rows: Integers) -> None:
        if len(rows):
            node = self.program.outline.nodes[name]
            tree = self.program.outline.scopes[node.scope].kind == "tree"
            first = "the roots are" if tree else f"first '{lag}' steps are"
            raise DataError(
                f"node '{name}' is conditioned on its first values, so they cannot be drawn",
                where=node.origin,
                expected=f"data={{'{name}': ...}} {'where' if tree else 'whose'} {first} given, "
                "and NaN at what is to be drawn",
                advice="or declare the node with first=",
            )

    def _at(self, part: Part, rows: Integers) -> dict[str, Floats]:
        """Slot values, known values and totals of a component for these rows [n, ...]."""
        settled = self.program.analysis.layout.components[part.key]
        if part.key not in self._slots:
            self._slots[part.key] = cell_slots(self.program, part.key, self.params)
        cell = np.zeros(len(rows), dtype=np.int64)
        for gate, size in zip(settled.cells.gates, settled.cells.shape, strict=True):
            cell = cell * size + self.rows.codes(gate, part.scope, rows)
        slots = {name: value[cell] for name, value in self._slots[part.key].items()}
        for name, slot in settled.component.leaf.slots.items():
            if slot.kind == "covariate":
                slots[name] = self.rows.covariate(slot.name, part.scope, rows)
        if isinstance(part.family, Linear | Linked):
            slots |= self._design(part.family, part.scope, rows)
        if isinstance(part.family, Scaled):
            values = self._regressors(part.family, part.scope, rows)
            slots["multiplier"] = part.family.multiplier(values, len(rows))
        for name in draw_inputs(part.family):
            slots[name] = self.rows.totals[part.node][rows]
        return slots

    def _design(self, family: Linear | Linked, scope: str, rows: Integers) -> dict[str, Floats]:
        """Regressors of a linear mean, and what multiplies its covariance, for these rows."""
        values = self._regressors(family, scope, rows)
        found = {"design": family.design(values, len(rows))}
        spread = family.multiplier(values, len(rows))
        return found if spread is None else {**found, "spread": spread}

    def _regressors(
        self, family: Linear | Linked | Scaled, scope: str, rows: Integers
    ) -> dict[tuple[str, int], Floats]:
        """Values of everything that slots are multiplied by, latents included, for these rows."""
        return {
            (name, lag): self.rows.number_of(name, lag, scope, rows)
            for name, lag in family.regressors(parents=True)
        }


def _token(gate: Any) -> Any:
    """A recorded gate in the form that cells hold."""
    if gate.kind != "constant":
        return gate
    inner = tuple(_token(part) for part in gate.gates)
    return Pick(np.asarray(gate.table), inner, gate.size or 1)


def turns(program: Program, scope: str) -> list[tuple[list[str], bool]]:
    """Nodes of a scope in the order of drawing; those that recur through time form one group.

    Returns:
        (names, whether they are drawn step by step).
    """
    graph = program.analysis.graph
    names = [node.name for node in graph.nodes_of(scope)]
    parents = {
        name: {
            *(g.name for g in graph.nodes[name].gates() if g.kind == "node"),
            *(parent for parent, _ in graph.nodes[name].parents()),
        }
        & set(names)
        for name in names
    }
    above = {name: _reached(name, parents) for name in names}
    group_of = {
        name: frozenset(o for o in above[name] if name in above[o]) or frozenset([name])
        for name in names
    }
    edges = {
        group: {group_of[p] for name in group for p in parents[name]} - {group}
        for group in group_of.values()
    }
    rank = {group: min(map(names.index, group)) for group in edges}
    order = TopologicalSorter(
        {g: sorted(edges[g], key=rank.__getitem__) for g in sorted(edges, key=rank.__getitem__)}
    ).static_order()
    found = []
    for group in order:
        recurs = any(name in above[name] for name in group)
        found.append((sorted(group, key=names.index), recurs))
    return found


def _reached(name: str, parents: Mapping[str, set[str]]) -> set[str]:
    """All ancestors, itself included if it recurs."""
    found: set[str] = set()
    front = set(parents[name])
    while front:
        found |= front
        front = set().union(*(parents[p] for p in front)) - found
    return found
