"""Reading data: nested arrays and lists → one flat column per node, with offsets per scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.declare import UNIT
from pgem.errors import DataError, did_you_mean
from pgem.graph import NodeOutline, Outline, Schema
from pgem.routines.levels import depths
from pgem.run.nested import flatten
from pgem.run.parents import to_parents
from pgem.run.scopes import Rows, read_weights
from pgem.run.stored import Codes, Numbers
from pgem.run.values import Levels, to_codes, to_numbers


@dataclass(eq=False)
class Columns:
    """All data of a model, flat.

    Attributes:
        outline: the model's names.
        n_units: number of units.
        starts: per scope, first row of each parent row's members and the end.
        numbers: values of nodes and covariates that are numbers [rows], [rows, D] or [rows, D, D].
        codes: values that are categories [rows], -1 where missing.
        levels: labels of categories, where there are any.
        sizes: number of categories, as the declaration or the data say.
        styles: how the values of a scope came: `array`, `list` or `single`.
        weights: frequency of each unit.
        units: number of each unit in the user's data, where equal ones were merged.
        parents: per tree, the row of each member's parent, -1 for roots.
    """

    outline: Outline
    n_units: int
    starts: dict[str, Integers]
    numbers: dict[str, Numbers]
    codes: dict[str, Codes]
    levels: dict[str, Levels]
    sizes: dict[str, int]
    styles: dict[str, str]
    weights: Floats
    units: Integers | None = None
    parents: dict[str, Integers] = field(default_factory=dict)

    def n_rows(self, scope: str) -> int:
        """Rows of a scope."""
        return self.n_units if scope == UNIT else int(self.starts[scope][-1])

    def place(self, scope: str, row: int) -> str:
        """A flat row in words: `unit '1', step '4'`."""
        words: list[str] = []
        while scope != UNIT:
            starts, kind = self.starts[scope], self.outline.scopes[scope].kind
            parent = int(np.searchsorted(starts, row, side="right")) - 1
            what = "step" if kind == "sequence" else "member"
            words.insert(0, f"{what} '{row - int(starts[parent])}' of '{scope}'")
            row, scope = parent, self.outline.scopes[scope].parent
        row = row if self.units is None else int(self.units[row])
        return ", ".join([f"unit '{row}'", *words])

    def first_hole(self, name: str) -> str:
        """The first row, in words, in which a node has no value, or not all of it."""
        row = self.values(name).first_hole if self.has(name) else 0
        return self.place(self.outline.nodes[name].scope, row)

    def number(self, scope: str) -> Integers:
        """How many steps (in a tree ancestors, in a plate members) precede each row."""
        if scope in self.parents:
            return depths(self.parents[scope])
        starts = self.starts[scope]
        return np.arange(starts[-1]) - np.repeat(starts[:-1], np.diff(starts))

    def earlier(self, scope: str, lag: int) -> Integers:
        """Row of the step `lag` before each row (in a tree of its parent), -1 for none."""
        return self.earlier_of(scope, lag, np.arange(self.n_rows(scope)))

    def earlier_of(self, scope: str, lag: int, rows: Integers) -> Integers:
        """Row of the step `lag` before some rows (in a tree of their parent), -1 for none."""
        if scope in self.parents:
            return self.parents[scope][rows]
        starts = self.starts[scope]
        first = starts[np.searchsorted(starts, rows, side="right") - 1]
        return np.where(rows - lag >= first, rows - lag, -1)

    def has(self, node: str) -> bool:
        """Whether a node has values at all."""
        return node in self.numbers or node in self.codes

    def values(self, node: str) -> Numbers | Codes:
        """Values of a node or covariate that has some."""
        return self.codes[node] if node in self.codes else self.numbers[node]

    def codes_or_holes(self, node: str, scope: str) -> Codes:
        """Categories of a node; without any, as many holes as its scope has rows."""
        if node in self.codes:
            return self.codes[node]
        return Codes(np.broadcast_to(-1, (self.n_rows(scope),)))

    def missing(self, node: str) -> Mask:
        """Which cells of a node are holes."""
        return self.values(node).missing()

    def has_holes(self, node: str) -> bool:
        """Whether a value of a node is missing, or all are."""
        return not self.has(node) or self.values(node).has_holes


def read_data(
    data: Mapping[str, Any],
    outline: Outline,
    *,
    weights: Any = None,
    levels: Mapping[str, Levels] | None = None,
    sizes: Mapping[str, int] | None = None,
    fitting: bool = True,
    drawn: bool = False,
) -> Columns:
    """Flatten and check all data.

    Args:
        data: node or covariate → values, in the layout of the language reference.
        outline: the model.
        weights: frequency per unit.
        levels: labels fixed by an earlier fit.
        sizes: numbers of categories fixed by an earlier fit.
        fitting: observed nodes must be there.
        drawn: what is not there will be drawn, and what that is conditioned on is asked for then.

    Raises:
        DataError: whatever does not fit, naming the node and the unit.
    """
    if not isinstance(data, Mapping):
        raise DataError(
            "the data are not a mapping from node names to values",
            expected="{'x': array, ...}, a data frame, or pg.Data(...)",
            received=f"'{type(data).__name__}'",
        )
    _check_names(data, outline, fitting)
    rows, flats = Rows(outline), {}
    styles: dict[str, str] = {}
    for name, value in data.items():
        scope, event, origin = _place(outline, name)
        path = outline.path(scope)
        flats[name] = flatten(value, path, event, _words(outline, name), outline)
        styles.setdefault(scope, flats[name].style)
        rows.add(name, flats[name], path, origin)
    starts = rows.starts()
    columns = Columns(
        outline, rows.n_units, starts, {}, {}, dict(levels or {}), dict(sizes or {}), styles,
        read_weights(weights, rows.n_units),
    )  # fmt: skip
    for name, flat in flats.items():
        tree = outline.parent_keys.get(name)
        if tree is not None:
            place = partial(columns.place, tree)
            columns.parents[tree] = to_parents(flat.rows, outline.scopes[tree], starts[tree], place)
        else:
            _convert(columns, name, flat.rows, is_own=flat.is_own)
    _check_holes(columns, fitting, drawn)
    return columns


# --- names and shapes ---------------------------------------------------------------------------


def _check_names(data: Mapping[str, Any], outline: Outline, fitting: bool) -> None:
    known = [*outline.nodes, *outline.covariates, *outline.parent_keys]
    for name in data:
        if name not in known:
            hint = did_you_mean(name, known)
            raise DataError(
                f"the data hold '{name}', which is no node or covariate of model '{outline.name}'",
                expected=", ".join(known),
                advice=f"{hint} rename or leave it out".strip(),
            )
    for name, covariate in outline.covariates.items():
        if name not in data:
            raise DataError(
                f"covariate '{name}' has no data",
                where=covariate.origin,
                advice=f"add '{name}' to the data",
            )
    for key, tree in outline.parent_keys.items():
        if key not in data:
            raise DataError(
                f"tree '{tree}' has no parents in the data",
                where=outline.scopes[tree].origin,
                expected=f"'{key}': per unit, the index of each member's parent, -1 for roots",
                received=f"keys {', '.join(map(repr, data)) or '(none)'}",
                advice=f"add '{key}' to the data",
            )
    absent = [n for n, node in outline.nodes.items() if node.kind == "observed" and n not in data]
    if absent and (fitting or len(absent) == len(outline.nodes)):
        offered = getattr(data, "offered", data)
        hint = did_you_mean(absent[0], offered)
        raise DataError(
            f"observed node '{absent[0]}' has no data",
            where=outline.nodes[absent[0]].origin,
            received=f"keys {', '.join(map(repr, offered)) or '(none)'}",
            advice=f"{hint} add '{absent[0]}' to the data (NaN where a value is missing)".strip(),
        )


def _words(outline: Outline, name: str) -> str:
    if name in outline.parent_keys:
        return f"'{name}'"
    return f"{'covariate' if name in outline.covariates else 'node'} '{name}'"


def _place(outline: Outline, name: str) -> tuple[str, int, str]:
    if name in outline.nodes:
        node = outline.nodes[name]
        return node.scope, node.event_ndim, node.origin
    if name in outline.parent_keys:
        scope = outline.scopes[outline.parent_keys[name]]
        return scope.name, 0, scope.origin
    covariate = outline.covariates[name]
    return covariate.scope, 0, covariate.origin


# --- values -------------------------------------------------------------------------------------


def _convert(columns: Columns, name: str, rows: Any, *, is_own: bool) -> None:
    outline, what = columns.outline, _words(columns.outline, name)
    if name not in outline.covariates:
        node = outline.nodes[name]
        if node.finite:
            _convert_categories(columns, node, rows)
        else:
            columns.numbers[name] = to_numbers(rows, what, node.origin, is_own=is_own)
        return
    covariate = outline.covariates[name]
    if covariate.size is None and not covariate.gates:
        columns.numbers[name] = to_numbers(rows, what, covariate.origin, is_own=is_own)
        return
    known = columns.levels.get(name, covariate.levels)
    size = columns.sizes.get(name, covariate.size)
    codes, levels = to_codes(rows, what, size, known, covariate.origin)
    _keep_codes(columns, name, codes, levels, size)


def _convert_categories(columns: Columns, node: NodeOutline, rows: Any) -> None:
    known = columns.levels.get(node.name, node.levels)
    domain = node.families[0].domain()
    size = len(domain) if domain is not None else None
    size = columns.sizes.get(node.name, size)
    codes, levels = to_codes(rows, f"node '{node.name}'", size, known, node.origin)
    _keep_codes(columns, node.name, codes, levels, size)


def _keep_codes(
    columns: Columns, name: str, codes: Codes, levels: Levels | None, size: int | None
) -> None:
    """Categories with their labels and number, as far as the data tell."""
    columns.codes[name] = codes
    if levels is not None:
        columns.levels[name] = levels
    found = len(levels) if levels is not None else int(codes.array.max(initial=0)) + 1
    columns.sizes.setdefault(name, found if size is None else size)


def _check_holes(columns: Columns, fitting: bool, drawn: bool) -> None:
    """Covariates and first values that are conditioned on are complete; a fit has values."""
    outline = columns.outline
    for name, covariate in outline.covariates.items():
        if columns.has_holes(name):
            raise DataError(
                f"covariate '{name}' has a missing value in row '{_first(columns.missing(name))}'",
                where=covariate.origin,
                expected="complete values: covariates are conditioned on",
                advice="leave these units out, or declare it as an observed node",
            )
    for name, node in outline.nodes.items():
        if node.kind == "observed" and (columns.has(name) or (node.conditioned and not drawn)):
            if node.conditioned:
                _check_first_values(columns, node)
            if fitting and (not columns.has(name) or columns.values(name).is_empty):
                raise DataError(
                    f"node '{name}' has no value at all",
                    where=node.origin,
                    advice="leave it out of the model: its parameters cannot be learned",
                )


def _check_first_values(columns: Columns, node: NodeOutline) -> None:
    first = np.flatnonzero(columns.number(node.scope) < node.lag)
    gone = np.ones(len(first), dtype=bool)
    holes = columns.values(node.name).missing(first) if columns.has(node.name) else gone
    if not holes.any():
        return
    row, kind = int(first[_first(holes)]), columns.outline.scopes[node.scope].kind
    if kind == "tree":
        raise DataError(
            f"node '{node.name}' has no value at the root {columns.place(node.scope, row)}",
            where=node.origin,
            expected="values at all roots, which their children are conditioned on",
            advice="model the roots with first=",
        )
    unit = int(np.searchsorted(columns.starts[node.scope], row, side="right")) - 1
    raise DataError(
        f"node '{node.name}' has no value at the first steps of sequence '{node.scope}' in "
        f"row '{unit}'",
        where=node.origin,
        expected=f"the first '{node.lag}' values, which later ones are conditioned on",
        advice="start the sequence at its first value, or model it with first=",
    )


def _first(mask: Mask) -> int:
    rows: Mask = np.asarray(mask.reshape(len(mask), -1).any(axis=1))
    return int(np.argmax(rows))


def make_schema(
    columns: Columns, *, holes_as_axes: bool = False, queries: tuple[Any, ...] = ()
) -> Schema:
    """What the compiler may know about the data."""
    outline = columns.outline
    axes, evidence, given, opened = set[str](), set[str](), set[str](), set[str]()
    places: dict[str, str] = {}
    vectors = {n: v.shape[1] for n, v in columns.numbers.items() if v.ndim > 1}
    for name, node in outline.nodes.items():
        if not node.finite:
            holed = columns.has_holes(name)
            asked = node.is_opened_by_holes or (holes_as_axes and node.linear)
            if node.kind == "observed" and asked and holed:
                opened.add(name)
                places[name] = columns.first_hole(name)
            continue
        holed = columns.has_holes(name)
        if node.kind == "latent" and not holed:
            (evidence if node.in_segments else given).add(name)
        elif (
            node.kind == "observed"
            and holed
            and (node.is_opened_by_holes or (holes_as_axes and not node.below_latent))
        ):
            axes.add(name)
            places[name] = columns.first_hole(name)
        partly = holed and columns.has(name) and not columns.values(name).is_empty
        if partly and (node.kind == "latent" or name in axes):
            evidence.add(name)
    return Schema(
        dict(columns.sizes),
        vectors,
        frozenset(axes),
        frozenset(evidence),
        frozenset(given),
        queries,
        frozenset(opened),
        places,
    )
