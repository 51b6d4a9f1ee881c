"""What a fit remembers of its data: labels, lengths and counts, but no value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.declare import UNIT
from pgem.families import Family
from pgem.families._parts import flat_rows
from pgem.plan import Program
from pgem.run import Columns, within_trees


@dataclass(frozen=True, eq=False)
class DataFacts:
    """The facts about the fitted data that later questions need.

    Attributes:
        n_units: number of units.
        n_observations: weighted number of observations (language reference, section 7).
        levels: labels of categories, by node or covariate.
        counts: per plate, sequence or tree, the members of each parent row.
        styles: how the values of a scope came: `array`, `list` or `single`.
        totals: per node whose density is given a row total, those totals [rows].
        parents: per tree, the index of each member's parent within its tree, -1 for roots [rows].
    """

    n_units: int
    n_observations: float
    levels: dict[str, tuple[Any, ...]]
    counts: dict[str, Integers]
    styles: dict[str, str]
    totals: dict[str, Floats]
    parents: dict[str, Integers]

    def n_rows(self, scope: str) -> int:
        """Rows of a scope."""
        return self.n_units if scope == UNIT else int(self.counts[scope].sum())


def data_facts(columns: Columns, program: Program) -> DataFacts:
    """The facts about these data."""
    totals = {
        node: np.nan_to_num(columns.numbers[node].sum(axis=-1))
        for node in total_nodes(program)
        if node in columns.numbers
    }
    return DataFacts(
        columns.n_units,
        count_observations(columns),
        {name: tuple(labels) for name, labels in columns.levels.items()},
        {name: np.diff(starts) for name, starts in columns.starts.items()},
        dict(columns.styles),
        totals,
        {n: within_trees(rows, columns.starts[n]) for n, rows in columns.parents.items()},
    )


def total_nodes(program: Program) -> dict[str, str]:
    """Nodes whose draws need each row's total, with the name that the family reads it by."""
    found = {}
    for part in program.parts.values():
        extra = draw_inputs(part.family)
        if extra:
            found[part.node] = extra[0]
    return found


def draw_inputs(family: Family) -> list[str]:
    """What `draw` reads beside the slots: the row total that the density conditions on."""
    slots = {slot.name for slot in family.slots}
    return [name for name in family.examples if name not in slots]


def count_observations(columns: Columns) -> float:
    """Weighted number of observations (language reference, section 7)."""
    seen_in: dict[str, Any] = {}
    for name, node in columns.outline.nodes.items():
        if node.kind == "observed":
            scope, seen = _countable(columns, node.scope, _seen(columns, name))
            seen_in[scope] = seen_in.get(scope, False) | seen
    repeated = {scope: seen for scope, seen in seen_in.items() if scope != UNIT}
    if not repeated:
        return float(columns.weights.sum())
    return sum(float(_row_weights(columns, s)[seen].sum()) for s, seen in repeated.items())


def _seen(columns: Columns, name: str) -> Any:
    """Which rows of a node have at least one value."""
    if not columns.has(name):
        return np.zeros(columns.n_rows(columns.outline.nodes[name].scope), dtype=bool)
    present = ~columns.missing(name)
    return np.asarray(flat_rows(present[:, None]).any(axis=1))


def _countable(columns: Columns, scope: str, seen: Any) -> tuple[str, Any]:
    """The nearest enclosing scope whose rows are observations: plates with a size are not."""
    outline = columns.outline
    while scope != UNIT and outline.scopes[scope].size is not None:
        starts = columns.starts[scope]
        owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        seen = np.bincount(owner, weights=seen, minlength=len(starts) - 1) > 0
        scope = outline.scopes[scope].parent
    return scope, seen


def _row_weights(columns: Columns, scope: str) -> Floats:
    weights = columns.weights
    for name in columns.outline.path(scope):
        weights = np.repeat(weights, np.diff(columns.starts[name]))
    return weights
