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
        node: np.nan_to_num(columns.numbers[node][:].sum(axis=-1))
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
            scope = _countable(columns, node.scope)
            seen = None if scope == UNIT else _seen(columns, name, scope)
            seen_in[scope] = seen if scope == UNIT else seen_in.get(scope, False) | seen
    repeated = {scope: seen for scope, seen in seen_in.items() if scope != UNIT}
    if not repeated:
        return float(columns.weights.sum())
    return sum(float(columns.weights @ _by_unit(columns, *item)) for item in repeated.items())


def _seen(columns: Columns, name: str, scope: str) -> Any:
    """Which rows of a scope have at least one value of a node inside."""
    home = columns.outline.nodes[name].scope
    if not columns.has(name):
        return np.zeros(columns.n_rows(scope), dtype=bool)
    values = columns.values(name)
    seen = np.ones(len(values), dtype=bool)
    for rows in values.blocks() if values.has_holes else ():
        seen[rows] = ~flat_rows(values.missing(rows)[:, None]).all(axis=1)
    while home != scope:
        seen, home = _added(columns, home, seen) > 0, columns.outline.scopes[home].parent
    return seen


def _countable(columns: Columns, scope: str) -> str:
    """The nearest enclosing scope whose rows are observations: plates with a size are not."""
    scopes = columns.outline.scopes
    while scope != UNIT and scopes[scope].size is not None:
        scope = scopes[scope].parent
    return scope


def _by_unit(columns: Columns, scope: str, seen: Any) -> Integers:
    """How many rows of a scope hold in each unit [N]."""
    counts = seen
    while scope != UNIT:
        counts, scope = _added(columns, scope, counts), columns.outline.scopes[scope].parent
    return np.asarray(counts)


def _added(columns: Columns, scope: str, values: Any) -> Integers:
    """Sums over the members of every parent row."""
    starts = columns.starts[scope]
    found = np.zeros(len(starts) - 1, dtype=np.int64)
    filled = starts[1:] > starts[:-1]
    if filled.any():
        found[filled] = np.add.reduceat(values, starts[:-1][filled], dtype=np.int64)
    return found
