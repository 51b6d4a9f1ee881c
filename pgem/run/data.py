"""Reading data: nested arrays and lists → one flat column per node, with offsets per scope."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.declare import UNIT
from pgem.errors import DataError
from pgem.graph import NodeOutline, Outline, Schema
from pgem.run.values import Levels, to_codes, to_numbers


@dataclass(eq=False)
class Columns:
    """All data of a model, flat.

    Attributes:
        outline: the model's names.
        n_units: number of units.
        starts: per scope, first row of each parent row's members and the end.
        numbers: values of nodes and covariates that are numbers [rows] or [rows, D].
        codes: values that are categories [rows], -1 where missing.
        levels: labels of categories, where there are any.
        sizes: number of categories, as the declaration or the data say.
        styles: how the values of a scope came: `array`, `list` or `single`.
        weights: frequency of each unit.
    """

    outline: Outline
    n_units: int
    starts: dict[str, Integers]
    numbers: dict[str, Floats]
    codes: dict[str, Integers]
    levels: dict[str, Levels]
    sizes: dict[str, int]
    styles: dict[str, str]
    weights: Floats

    def n_rows(self, scope: str) -> int:
        """Rows of a scope."""
        return self.n_units if scope == UNIT else int(self.starts[scope][-1])

    def has(self, node: str) -> bool:
        """Whether a node has values at all."""
        return node in self.numbers or node in self.codes

    def missing(self, node: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Which cells of a node are holes."""
        if node in self.codes:
            return self.codes[node] < 0
        return np.isnan(self.numbers[node])


@dataclass
class _Flat:
    """One node's values, flattened."""

    counts: list[Integers]
    rows: Any
    style: str


@dataclass(eq=False)
class _Shape:
    """The rows of the scopes, as far as they are known."""

    n_units: int | None = None
    unit_owner: str = ""
    counts: dict[str, Integers] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)


def read_data(
    data: Mapping[str, Any],
    outline: Outline,
    *,
    weights: Any = None,
    levels: Mapping[str, Levels] | None = None,
    sizes: Mapping[str, int] | None = None,
    fitting: bool = True,
) -> Columns:
    """Flatten and check all data.

    Args:
        data: node or covariate → values, in the layout of the language reference.
        outline: the model.
        weights: frequency per unit.
        levels: labels fixed by an earlier fit.
        sizes: numbers of categories fixed by an earlier fit.
        fitting: observed nodes must be there.

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
    shape, flats, styles = _Shape(), {}, {}
    for name, value in data.items():
        scope, event, origin = _place(outline, name)
        path = outline.path(scope)
        flats[name] = _flatten(value, path, event, name, outline)
        styles.setdefault(scope, flats[name].style)
        _fit_shape(shape, flats[name], path, name, origin)
    starts = _starts(shape, outline, data)
    n_units = shape.n_units or 0
    columns = Columns(
        outline, n_units, starts, {}, {}, dict(levels or {}), dict(sizes or {}), styles,
        _weights(weights, n_units),
    )  # fmt: skip
    for name, flat in flats.items():
        _convert(columns, name, flat.rows)
    _check_scope_sizes(columns)
    return columns


# --- names and shapes ---------------------------------------------------------------------------


def _check_names(data: Mapping[str, Any], outline: Outline, fitting: bool) -> None:
    known = [*outline.nodes, *outline.covariates]
    for name in data:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise DataError(
                f"the data hold '{name}', which is no node or covariate of model "
                f"'{outline.name}'",
                expected=", ".join(known),
                advice=f"{hint}rename or leave it out",
            )
    for name, covariate in outline.covariates.items():
        if name not in data:
            raise DataError(
                f"covariate '{name}' has no data",
                where=covariate.origin,
                advice=f"add '{name}' to the data",
            )
    absent = [n for n, node in outline.nodes.items() if node.kind == "observed" and n not in data]
    if absent and (fitting or len(absent) == len(outline.nodes)):
        raise DataError(
            f"observed node '{absent[0]}' has no data",
            where=outline.nodes[absent[0]].origin,
            received=f"keys {', '.join(map(repr, data)) or '(none)'}",
            advice=f"add '{absent[0]}' to the data (NaN where a value is missing)",
        )


def _place(outline: Outline, name: str) -> tuple[str, int, str]:
    if name in outline.nodes:
        node = outline.nodes[name]
        return node.scope, node.event_ndim, node.origin
    covariate = outline.covariates[name]
    return covariate.scope, 0, covariate.origin


def _flatten(value: Any, path: Sequence[str], event: int, name: str, outline: Outline) -> _Flat:
    """Counts per level and the flat rows of nested values."""
    if isinstance(value, str) or (not hasattr(value, "__len__") and np.ndim(_first(value)) == 0):
        raise DataError(
            f"node '{name}' has a single value where one per unit is needed",
            received=f"'{value!r}'",
            advice="give an array whose leading axis is the units",
        )
    depth = len(path)
    array = _as_array(value)
    sequential = depth == 1 and outline.scopes[path[0]].kind == "sequence"
    if array is not None:
        if array.ndim == depth + event and sequential:
            return _Flat([np.array([len(array)])], array, "single")
        if array.ndim < 1 + depth + event or array.ndim > 2 + depth:
            raise DataError(
                f"node '{name}' has the wrong number of axes",
                expected=_expected_axes(path, event),
                received=f"an array of shape '{array.shape}'",
            )
        counts = [
            np.full(int(np.prod(array.shape[: k + 1])), array.shape[k + 1]) for k in range(depth)
        ]
        rows = array.reshape(-1, *array.shape[1 + depth :])
        return _Flat([np.array([len(array)]), *counts][1:] if depth else [], rows, "array")
    if sequential and np.ndim(_first(value)) == event:
        return _Flat([np.array([len(value)])], _stack(list(value), name), "single")
    return _ragged(value, depth, name, path, event)


def _ragged(value: Any, depth: int, name: str, path: Sequence[str], event: int) -> _Flat:
    counts: list[Integers] = []
    level = list(value)
    for _ in range(depth):
        for k, item in enumerate(level):
            if not hasattr(item, "__len__") or isinstance(item, str):
                raise DataError(
                    f"node '{name}' is not nested deeply enough",
                    expected=_expected_axes(path, event),
                    received=f"'{item!r}' at position '{k}'",
                )
        counts.append(np.array([len(item) for item in level], dtype=np.int64))
        level = [inner for item in level for inner in item]
    return _Flat(counts, _stack(level, name), "list")


def _stack(items: list[Any], name: str) -> Any:
    """A list of values as one array; of different lengths, an error."""
    try:
        return np.array(items)
    except ValueError:
        pass
    shapes = {np.shape(item) for item in items}
    if len(shapes) == 1:
        return np.array(items, dtype=object)
    raise DataError(
        f"node '{name}' has values of different lengths",
        received=", ".join(f"'{shape}'" for shape in sorted(shapes)),
        advice="every value of a vector node has the same length",
    )


def _as_array(value: Any) -> Any:
    """A regular array, or None for ragged input."""
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if isinstance(value, np.ndarray):
        ragged = value.dtype == object and len(value) and np.ndim(_first(value)) > 0
        return None if ragged else value
    try:
        return np.array(value)
    except ValueError:
        return None


def _first(value: Any) -> Any:
    try:
        return next(iter(value), 0.0)
    except TypeError:
        return value


def _expected_axes(path: Sequence[str], event: int) -> str:
    return "[" + ", ".join(["units", *path, *(["coordinates"] if event else [])]) + "]"


def _fit_shape(shape: _Shape, flat: _Flat, path: Sequence[str], name: str, origin: str) -> None:
    n_units = len(flat.counts[0]) if flat.counts else len(flat.rows)
    if shape.n_units is None:
        shape.n_units, shape.unit_owner = n_units, name
    if n_units != shape.n_units:
        raise DataError(
            f"'{name}' has another number of units than '{shape.unit_owner}'",
            where=origin,
            expected=f"'{shape.n_units}' units",
            received=f"'{n_units}'",
        )
    for scope, counts in zip(path, flat.counts, strict=True):
        if scope not in shape.counts:
            shape.counts[scope], shape.owners[scope] = counts, name
        elif not np.array_equal(counts, shape.counts[scope]):
            other = shape.counts[scope]
            unit = 0 if len(counts) != len(other) else int(np.argmax(counts != other))
            raise DataError(
                f"'{name}' and '{shape.owners[scope]}' have different numbers of values in "
                f"'{scope}'",
                where=origin,
                expected=f"'{other[unit]}' in row '{unit}'",
                received=f"'{counts[unit]}'",
            )


def _starts(shape: _Shape, outline: Outline, data: Mapping[str, Any]) -> dict[str, Integers]:
    if not shape.n_units:
        raise DataError(
            "the data are empty",
            expected="at least one unit",
            received=f"'{shape.n_units or 0}' units in {', '.join(map(repr, data)) or 'no node'}",
        )
    starts = {}
    for name, scope in outline.scopes.items():
        counts = shape.counts.get(name)
        if counts is None and scope.size is not None:
            parents = shape.n_units if scope.parent == UNIT else int(starts[scope.parent][-1])
            counts = np.full(parents, scope.size)
        if counts is None:
            raise DataError(
                f"no data tell how many members {scope.kind} '{name}' has",
                advice="give at least one node or covariate inside it",
            )
        if scope.kind == "sequence" and (counts == 0).any():
            raise DataError(
                f"sequence '{name}' is empty in row '{int(np.argmax(counts == 0))}'",
                expected="at least one step",
                advice="leave such units out",
            )
        starts[name] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return starts


def _check_scope_sizes(columns: Columns) -> None:
    for name, scope in columns.outline.scopes.items():
        counts = np.diff(columns.starts[name])
        if scope.size is not None and (counts != scope.size).any():
            row = int(np.argmax(counts != scope.size))
            raise DataError(
                f"plate '{name}' has a size, and the data have another",
                expected=f"'{scope.size}' members",
                received=f"'{counts[row]}' in row '{row}'",
            )


def _weights(weights: Any, n_units: int) -> Floats:
    if weights is None:
        return np.ones(n_units)
    try:
        values = np.asarray(weights, dtype=float)
    except (TypeError, ValueError):
        values = np.full(1, np.nan)
    if values.shape != (n_units,) or not np.isfinite(values).all() or (values < 0).any():
        raise DataError(
            "the weights do not fit",
            expected=f"'{n_units}' finite numbers of at least zero, one per unit",
            received=f"shape '{values.shape}'" + (
                f", smallest '{np.nanmin(values)}'" if values.size else ""
            ),
        )
    if not values.any():
        raise DataError("all weights are zero", expected="at least one positive weight")
    return values


# --- values -------------------------------------------------------------------------------------


def _convert(columns: Columns, name: str, rows: Any) -> None:
    outline = columns.outline
    if name in outline.covariates:
        covariate = outline.covariates[name]
        if covariate.size is None:
            columns.numbers[name] = to_numbers(rows, name, covariate.origin)
        else:
            codes, levels = to_codes(
                rows, name, covariate.size, columns.levels.get(name, covariate.levels),
                covariate.origin,
            )  # fmt: skip
            columns.codes[name] = codes
            if levels is not None:
                columns.levels[name] = levels
        if columns.missing(name).any():
            raise DataError(
                f"covariate '{name}' has a missing value in row "
                f"'{int(np.argmax(columns.missing(name)))}'",
                where=covariate.origin,
                expected="covariates are conditioned on and must be complete",
                advice="leave these units out, or declare it as an observed node",
            )
        return
    node = outline.nodes[name]
    if node.finite:
        _convert_categories(columns, node, rows)
    else:
        columns.numbers[name] = to_numbers(rows, name, node.origin)


def _convert_categories(columns: Columns, node: NodeOutline, rows: Any) -> None:
    known = columns.levels.get(node.name, node.levels)
    domain = node.families[0].domain()
    size = len(domain) if domain is not None else None
    size = columns.sizes.get(node.name, size)
    codes, levels = to_codes(rows, node.name, size, known, node.origin)
    columns.codes[node.name] = codes
    if levels is not None:
        columns.levels[node.name] = levels
    if node.name not in columns.sizes:
        columns.sizes[node.name] = (
            size if size is not None else len(levels) if levels is not None
            else int(codes.max(initial=0)) + 1
        )


def make_schema(
    columns: Columns, *, holes_as_axes: bool = False, queries: tuple[Any, ...] = ()
) -> Schema:
    """What the compiler may know about the data."""
    outline = columns.outline
    axes, evidence, given = set(), set(), set()
    vectors = {n: v.shape[1] for n, v in columns.numbers.items() if v.ndim == 2}
    for name, node in outline.nodes.items():
        if not node.finite:
            continue
        holes = columns.missing(name) if name in columns.codes else np.ones(1, dtype=bool)
        if node.kind == "latent" and not holes.any():
            given.add(name)
        elif node.kind == "observed" and holes.any() and (node.has_children or holes_as_axes):
            axes.add(name)
        if holes.any() and not holes.all() and (node.kind == "latent" or name in axes):
            evidence.add(name)
    sizes = {n: s for n, s in columns.sizes.items()}
    return Schema(
        sizes, vectors, frozenset(axes), frozenset(evidence), frozenset(given), queries
    )
