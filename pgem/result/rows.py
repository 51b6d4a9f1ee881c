"""The rows of a sample before anything is drawn: how many members each plate or sequence has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.declare import UNIT
from pgem.errors import DataError
from pgem.families._parts import flat_rows
from pgem.gating import Pick
from pgem.graph import Outline
from pgem.plan import Program
from pgem.result.facts import DataFacts, total_nodes
from pgem.run import Columns, read_data


@dataclass(eq=False)
class Rows:
    """Columns with holes to fill, and how rows of one scope belong to rows of another.

    Attributes:
        columns: given values, and the layout of all rows.
        totals: row totals of the nodes that are drawn given them.
    """

    columns: Columns
    totals: dict[str, Floats]

    def __post_init__(self) -> None:
        self._owners: dict[tuple[str, str], Integers] = {}
        self._numbers: dict[str, Integers] = {}

    def number(self, scope: str) -> Integers:
        """Step or member number of each row, from 0; in a tree its depth."""
        if scope not in self._numbers:
            self._numbers[scope] = self.columns.number(scope)
        return self._numbers[scope]

    def earlier(self, scope: str, lag: int) -> Integers:
        """Row of the step `lag` before each row, in a tree of its parent."""
        own = self.columns.parents.get(scope)
        return np.arange(self.columns.n_rows(scope)) - lag if own is None else own

    def owner(self, scope: str, home: str) -> Integers:
        """For each row of `scope`, its row of the enclosing scope `home`."""
        key = (scope, home)
        if key not in self._owners:
            rows, inner = np.arange(self.columns.n_rows(scope)), scope
            while inner != home:
                starts = self.columns.starts[inner]
                rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))[rows]
                inner = self.columns.outline.scopes[inner].parent
            self._owners[key] = rows
        return self._owners[key]

    def codes(self, gate: Any, scope: str, rows: Integers) -> Integers:
        """Codes of a gate (node, plate, covariate or pick) for these rows of `scope`."""
        if isinstance(gate, Pick):
            inner = tuple(self.codes(part, scope, rows) for part in gate.gates)
            return np.asarray(np.asarray(gate.table)[inner])
        outline = self.columns.outline
        if gate.kind == "plate":
            return self.number(gate.name)[self.owner(scope, gate.name)[rows]]
        place = outline.nodes.get(gate.name) or outline.covariates[gate.name]
        read = self.owner(scope, place.scope)[rows]
        if gate.lag:
            read = self.earlier(place.scope, gate.lag)[read]
        return np.asarray(self.columns.codes[gate.name][read])

    def missing(self, node: str, rows: Integers) -> Integers:
        """Those of these rows in which a node has no value, or not all of it."""
        gone: Mask = flat_rows(self.columns.values(node).missing(rows)[:, None]).any(axis=1)
        return rows[gone]

    def number_of(self, name: str, lag: int, scope: str, rows: Integers) -> Floats:
        """Values of a covariate or numeric node, some steps back, for these rows of `scope`."""
        outline = self.columns.outline
        if name in outline.covariates:
            return self.covariate(name, scope, rows)
        home = outline.nodes[name].scope
        read = self.owner(scope, home)[rows]
        if lag:
            read = self.earlier(home, lag)[read]
        return np.asarray(self.columns.numbers[name][read])

    def covariate(self, name: str, scope: str, rows: Integers) -> Floats:
        """Values of a covariate for these rows of `scope`."""
        home = self.columns.outline.covariates[name].scope
        read = self.owner(scope, home)[rows]
        return np.asarray(self.columns.values(name)[read], dtype=float)


def lay_out(
    program: Program, facts: DataFacts, n: int, sizes: dict[str, Any], data: dict[str, Any]
) -> Rows:
    """Rows of `n` units: lengths from `sizes`, else from `data`, else from the fitted data.

    Raises:
        DataError: `n`, a size or the data do not fit, or something that is needed is missing.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise DataError("a sample needs a number of units", expected="at least 1",
                        received=f"'{n}'")  # fmt: skip
    outline = program.outline
    _check_sizes(program, sizes)
    _check_covariates(outline, data)
    given = _given_counts(outline, data)
    counts: dict[str, Integers] = {}
    like = {UNIT: np.arange(n) % facts.n_units}
    for name, scope in outline.scopes.items():
        n_rows = n if scope.parent == UNIT else int(counts[scope.parent].sum())
        own = sizes.get(name, scope.size if scope.size is not None else given.get(name))
        if own is None:
            counts[name], like[name] = _as_fitted(facts, name, like[scope.parent])
            continue
        counts[name] = _spread(own, n_rows, n, name, scope.kind)
        like[name] = np.arange(counts[name].sum()) % max(facts.n_rows(name), 1)
        if scope.kind == "tree" and f"{name}.parent" not in data:
            _refuse_tree(outline, name)
    for key, name in outline.parent_keys.items():
        if key not in data:
            rows = facts.parents[name][like[name]]
            data = {**data, key: _nested(rows, outline.path(name), counts)}
    columns = _columns(program, facts, n, counts, data)
    return Rows(columns, _totals(program, facts, sizes, data, like))


def _refuse_tree(outline: Outline, name: str) -> NoReturn:
    raise DataError(
        f"a sample of tree '{name}' is drawn given the members' parents, and they are not known",
        where=outline.scopes[name].origin,
        expected=f"'{name}.parent' [{', '.join(['units', *outline.path(name)])}], or neither sizes "
        "nor data of this tree for trees like those of the fitted data",
        advice=f"pass them: fit.sample(n, data={{'{name}.parent': ...}})",
    )


def _as_fitted(facts: DataFacts, name: str, like: Integers) -> tuple[Integers, Integers]:
    """Counts of the fitted rows that the parent rows are like, and the fitted member of each."""
    fitted = facts.counts[name]
    counts = fitted[like]
    starts = np.concatenate([[0], np.cumsum(fitted)])[like]
    own_starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
    within = np.arange(counts.sum()) - np.repeat(own_starts, counts)
    return counts, np.repeat(starts, counts) + within


def _check_sizes(program: Program, sizes: Mapping[str, Any]) -> None:
    outline = program.outline
    totals = total_nodes(program)
    for name, value in sizes.items():
        if name not in outline.scopes and name not in totals:
            raise DataError(
                f"sizes= holds '{name}', which is no plate or sequence of model '{outline.name}'",
                expected=", ".join([*outline.scopes, *totals]) or "no entry at all",
            )
        size = None if name in totals else outline.scopes[name].size
        if size is not None and (np.asarray(value) != size).any():
            raise DataError(
                f"plate '{name}' has a declared size", expected=f"'{size}'", received=f"'{value}'"
            )


def _check_covariates(outline: Outline, data: Mapping[str, Any]) -> None:
    absent = [name for name in outline.covariates if name not in data]
    if absent:
        listed = "; ".join(
            f"'{name}' [{', '.join(['units', *outline.path(outline.covariates[name].scope)])}]"
            for name in absent
        )
        raise DataError(
            "a sample is drawn given the covariates, and some have no values",
            expected=listed,
            received=", ".join(map(repr, data)) or "no data",
            advice="pass them: fit.sample(n, data={...})",
        )


def _spread(value: Any, n_rows: int, n_units: int, name: str, kind: str) -> Integers:
    """A size for each parent row: one for all, one per parent row, or nested like the data."""
    try:
        flat = np.asarray(_flatten(value), dtype=float)
    except (TypeError, ValueError):
        flat = np.array([np.nan])
    least = 1 if kind in ("sequence", "tree") else 0
    if np.ndim(value) == 0 and flat.shape == (1,):
        flat = np.repeat(flat, n_rows)
    with np.errstate(invalid="ignore"):
        fits = (flat >= least) & (flat == np.floor(flat)) & np.isfinite(flat)
    if flat.shape != (n_rows,) or not fits.all():
        raise DataError(
            f"the size of {kind} '{name}' does not fit",
            expected=f"a whole number of at least {least}, or one for each of '{n_rows}' rows "
            f"(of '{n_units}' units)",
            received=f"'{value}'",
        )
    return flat.astype(np.int64)


def _flatten(value: Any) -> list[Any]:
    if np.ndim(value) == 0 and not isinstance(value, list | tuple):
        return [value]
    return [inner for item in value for inner in _flatten(item)]


# --- given data ---------------------------------------------------------------------------------


def _given_counts(outline: Outline, data: Mapping[str, Any]) -> dict[str, list[int]]:
    """Members per parent row of the scopes in which data are given; checked later by reading."""
    found: dict[str, list[int]] = {}
    for name, value in data.items():
        scope = _scope_of(outline, name)
        if scope is None:
            continue
        path = outline.path(scope)
        event = outline.nodes[name].event_ndim if name in outline.nodes else 0
        level = list(_unwrapped(value, path, event, outline))
        for scope in path:
            found.setdefault(scope, [len(item) if hasattr(item, "__len__") else 0
                                     for item in level])  # fmt: skip
            level = [inner for item in level if hasattr(item, "__len__") for inner in item]
    return found


def _scope_of(outline: Outline, name: str) -> str | None:
    """Where the values of a key live."""
    place = outline.nodes.get(name) or outline.covariates.get(name)
    return outline.parent_keys.get(name) if place is None else place.scope


def _unwrapped(value: Any, path: Sequence[str], event: int, outline: Outline) -> Any:
    """Values with the units axis: an array without it is one sequence or tree."""
    sequential = len(path) == 1 and outline.scopes[path[0]].looks_back
    first: Any = value[0] if hasattr(value, "__len__") and len(value) else None
    return [value] if sequential and np.ndim(first) == event else value


def _columns(
    program: Program,
    facts: DataFacts,
    n: int,
    counts: Mapping[str, Integers],
    data: Mapping[str, Any],
) -> Columns:
    """The given data, read with a wholly missing node in every scope that lays out its rows."""
    outline = program.outline
    holes = {}
    laid_out = {outline.nodes[name].scope for name in data if name in outline.nodes}
    for name, node in outline.nodes.items():
        if name not in data and node.scope not in laid_out:
            rows = n if node.scope == UNIT else int(counts[node.scope].sum())
            holes[name] = _nested(_holes(program, name, rows), outline.path(node.scope), counts)
            laid_out.add(node.scope)
    sizes = {k: s for k, s in program.analysis.layout.sizes.items() if k in outline.nodes}
    given = {**data, **holes}
    columns = read_data(given, outline, levels=facts.levels, sizes=sizes, fitting=False, drawn=True)
    if columns.n_units != n:
        raise DataError(
            "the data of the sample have another number of units",
            expected=f"'{n}', as asked for",
            received=f"'{columns.n_units}'",
        )
    styles = {s: style for s, style in facts.styles.items() if style != "single" or n == 1}
    for name in data:
        place = _scope_of(outline, name) or UNIT
        styles[place] = columns.styles[place]
    plain = {scope: styles.get(scope, "list") for scope in facts.styles}
    return replace(columns, styles=plain | styles)


def _holes(program: Program, name: str, n_rows: int) -> Floats:
    node = program.outline.nodes[name]
    family = next(part.family for part in program.parts.values() if part.node == name)
    return np.full((n_rows, *(() if node.finite else family.event_shape)), np.nan)


def _nested(rows: Any, path: Sequence[str], counts: Mapping[str, Integers]) -> Any:
    """Flat rows as lists of the members of each parent row."""
    for scope in reversed(path):
        edges = np.cumsum(counts[scope])[:-1]
        rows = np.split(rows, edges) if isinstance(rows, np.ndarray) else _cut(rows, edges)
    return rows


def _cut(rows: list[Any], edges: Integers) -> list[Any]:
    return [rows[a:b] for a, b in pairwise([0, *edges.tolist(), len(rows)])]


def _totals(
    program: Program,
    facts: DataFacts,
    sizes: Mapping[str, Any],
    data: Mapping[str, Any],
    like: Mapping[str, Integers],
) -> dict[str, Floats]:
    """Row totals: from `sizes`, else those of the fitted rows."""
    found: dict[str, Floats] = {}
    for name in total_nodes(program):
        scope = program.outline.nodes[name].scope
        if name in sizes:
            n_rows = len(like[scope])
            found[name] = _spread(sizes[name], n_rows, len(like[UNIT]), name, "node").astype(float)
        elif name in facts.totals and len(facts.totals[name]):
            found[name] = facts.totals[name][like[scope]]
        elif name not in data:
            raise DataError(
                f"node '{name}' is drawn given its row totals, and none are known",
                where=program.outline.nodes[name].origin,
                advice=f"pass them: sizes={{'{name}': 100}}",
            )
    return found
