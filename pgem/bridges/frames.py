"""Data frames (pandas, polars, pyarrow through narwhals): tables → the layout that is read.

A *wide* table has one row per unit; a block of columns fills a vector, a matrix row by row, or the
axis of a plate.  A *long* table has one row per step or member; key columns tell whose.  Units, and
members of plates without a size, stand in the order of their first appearance; members of a plate
with a size in the order of their sorted keys (integers 0 … size-1 are places), absent ones being
missing; steps in the order of their key, or of the table.  Members of a tree stand as those of a
plate without a size; where they have a key, the column of `<tree>.parent` names the parent's (null
at roots).  Results come back as arrays, or as nested lists of arrays where lengths differ, in this
order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isqrt, prod
from typing import Any, NoReturn

import numpy as np

from pgem.arrays import factorise
from pgem.bridges import _rows
from pgem.bridges._rows import Groups
from pgem.bridges._tables import check_known, read_table
from pgem.declare import UNIT
from pgem.errors import DataError
from pgem.graph import Outline

Names = str | Sequence[str]


class Data:
    """A table and what its columns mean.

    Args:
        frame: a data frame, or a mapping from column names to arrays.
        columns: node or covariate (or `<tree>.parent`) → its column, or the list of columns of a
            block; what is left out reads the column of its own name, unless that has another
            meaning here.
        unit: the column that tells the units apart; without it every row is a unit, or the whole
            table is one unit if its rows are steps or members.
        plates: plate or tree → the column that tells its members apart (null: the row has none).
        order: sequence → the column that its steps are sorted by.
        weights: frequency of each unit: a column, constant within units, or an array.
    """

    def __init__(
        self,
        frame: Any,
        *,
        columns: Mapping[str, Names] | None = None,
        unit: str | None = None,
        plates: Mapping[str, str] | None = None,
        order: Mapping[str, str] | None = None,
        weights: Any = None,
    ) -> None:
        self.frame, self.unit, self.weights = frame, unit, weights
        self.columns = dict(columns or {})
        self.keys = {**(plates or {}), **(order or {})}
        self._declared = {"plate": list(plates or {}), "sequence": list(order or {})}

    def as_mapping(self, outline: Outline) -> tuple[Mapping[str, Any], Any]:
        """The data in the layout of the language reference, and the weights.

        Raises:
            DataError: a column is missing, keys repeat, or values contradict the scopes.
            MissingExtraError: a data frame without narwhals.
        """
        if isinstance(self.frame, Mapping) and not (self.columns or self.unit or self.keys):
            named = self.weights if isinstance(self.weights, str) else None
            rest = {name: value for name, value in self.frame.items() if name != named}
            return rest, self.weights if named is None else _Reader(self, outline).weights()
        self._check_names(outline)
        reader = _Reader(self, outline)
        return reader.mapping(), reader.weights()

    def _check_names(self, outline: Outline) -> None:
        known = [*outline.nodes, *outline.covariates, *outline.parent_keys]
        for name in self.columns:
            check_known("columns=", name, known, "node or covariate")
        for kind, names in self._declared.items():
            scopes = [s.name for s in outline.scopes.values()
                      if s.kind == kind or (s.kind == "tree" and kind == "plate")]  # fmt: skip
            for name in names:
                check_known("plates=" if kind == "plate" else "order=", name, scopes, kind)


class FrameMapping(dict[str, Any]):
    """What was read, with the names of all columns that the table offers."""

    offered: tuple[str, ...] = ()


class _Reader:
    """One table, read for one model."""

    def __init__(self, data: Data, outline: Outline) -> None:
        self.data, self.outline = data, outline
        self.table = read_table(data.frame)
        self.units = self._units()

    def mapping(self) -> FrameMapping:
        """Node or covariate → values."""
        named = self._named()
        found = FrameMapping({name: self._values(name, names) for name, names in named.items()})
        found.offered = tuple(self.table.names)
        return found

    def weights(self) -> Any:
        """One weight per unit."""
        if not isinstance(self.data.weights, str):
            return self.data.weights
        values = self._column(self.data.weights, "weights=")
        return self._one_per_group(values, self.units, "the weights")

    def _named(self) -> dict[str, Names]:
        names = [*self.outline.nodes, *self.outline.covariates, *self.outline.parent_keys]
        given = self.data.columns
        free = set(self.table.names) - self._spoken_for()
        return {n: given.get(n, n) for n in names if n in given or n in free}

    def _spoken_for(self) -> set[str]:
        """Columns that have a meaning already, and are not read for a node of their name."""
        blocks = [[b] if isinstance(b, str) else b for b in self.data.columns.values()]
        keys = [self.data.unit, *self.data.keys.values()]
        weights = self.data.weights if isinstance(self.data.weights, str) else None
        return {*(name for block in blocks for name in block), *filter(None, [*keys, weights])}

    # --- scopes -------------------------------------------------------------------------------

    def _units(self) -> Groups:
        n_rows = self.table.n_rows
        if self._rows_are_units():
            return Groups(np.arange(n_rows), n_rows)
        if self.data.unit is None:
            return Groups(np.zeros(n_rows, int), 1)
        codes, _ = factorise(self._column(self.data.unit, "unit="))
        if (codes < 0).any():
            raise DataError(
                f"column '{self.data.unit}' does not name the unit of row "
                f"'{int(np.argmax(codes < 0))}'",
                expected="a unit in every row",
                advice="leave these rows out",
            )
        rank = _rows.by_appearance(np.zeros(n_rows, int), codes)
        units = Groups(np.zeros(n_rows, int), 1).inner(rank, None)
        return Groups(units.of_row, units.n)

    def _rows_are_units(self) -> bool:
        scopes = self.outline.scopes
        outer = [scope for name, scope in scopes.items() if self.outline.path(name) == [name]]
        plain = self.data.unit is None and not self.data.keys
        return plain and not any(scope.looks_back for scope in outer)

    def _groups(self, path: Sequence[str], name: str) -> Groups:
        groups = self.units
        for scope in path:
            groups = groups.inner(self._rank(scope, groups, name), self._size(scope))
        others = set(self.data.keys) - set(path)
        row = groups.repeated() if path and not others else None
        if row is not None:
            keys = [self.data.keys[s] for s in path if s in self.data.keys]
            raise DataError(
                f"two rows tell of the same place of '{path[-1]}'",
                expected=f"each combination of {', '.join(map(repr, self._keys(keys)))} once",
                received=f"row '{row}' repeats {self._described(row, keys)}",
                advice="merge these rows, or name a further key in unit=, plates= or order=",
            )
        return groups

    def _keys(self, keys: Iterable[str]) -> list[str]:
        return [*([self.data.unit] if self.data.unit else []), *keys]

    def _described(self, row: int, keys: Iterable[str]) -> str:
        values = [f"{key} = '{self._column(key, '')[row]}'" for key in self._keys(keys)]
        return ", ".join(values) or f"row '{row}'"

    def _size(self, scope: str) -> int | None:
        return self.outline.scopes[scope].size if scope in self.data.keys else None

    def _rank(self, scope: str, groups: Groups, name: str) -> Any:
        key = self.data.keys.get(scope)
        if key is None:
            return np.arange(self.table.n_rows)
        option = "order=" if self.outline.scopes[scope].kind == "sequence" else "plates="
        codes, levels = factorise(self._column(key, option))
        if self.outline.scopes[scope].kind == "sequence":
            return codes
        if self._size(scope) is None:
            return _rows.by_appearance(groups.of_row, codes)
        return _places(codes, levels, scope, self.outline.scopes[scope].size or 0, key)

    def _split(self, name: str, block: int) -> tuple[list[str], list[str]]:
        """The scopes of a node: those that rows tell of, and those that a block fills.

        A block fills the innermost plate without a key; outer ones too, until it is used up.
        """
        tree = self.outline.parent_keys.get(name)
        place = self.outline.nodes.get(name) or self.outline.covariates.get(name)
        home = place.scope if place is not None else tree or UNIT
        path, wide, filled = self.outline.path(home), list[str](), 1
        keyless = {s for s in path if self._is_plate(s)} - set(self.data.keys)
        while filled < block and path and path[-1] in keyless:
            wide.insert(0, path.pop())
            filled *= self.outline.scopes[wide[0]].size or block
        for k, scope in enumerate(path):
            alone = k < len(path) - 1 or (self._rows_are_units() and self._is_plate(scope))
            if scope not in self.data.keys and alone:
                self._refuse(name, scope)
        return path, wide

    def _refuse(self, name: str, scope: str) -> NoReturn:
        option = "order" if self.outline.scopes[scope].kind == "sequence" else "plates"
        raise DataError(
            f"the table does not tell which members of '{scope}' the values of '{name}' belong to",
            expected=f"a key column: {option}={{'{scope}': ...}}, with unit= where there are "
            "several units",
            advice=f"or fill a plate from a block of columns: columns={{'{name}': [...]}}",
        )

    def _is_plate(self, scope: str) -> bool:
        return self.outline.scopes[scope].kind == "plate"

    # --- values -------------------------------------------------------------------------------

    def _values(self, name: str, names: Names) -> Any:
        path, wide = self._split(name, 1 if isinstance(names, str) else max(2, len(names)))
        values = self._block(name, names, wide)
        groups = self._groups(path, name)
        picked = self._one_per_group(values, groups, f"node '{name}'")
        if name in self.outline.parent_keys:
            picked = self._parents(name, picked, groups)
        one_sequence = self.data.unit is None and len(path) == 1 and not wide
        if one_sequence and not self._is_plate(path[0]):
            return picked
        return groups.nest(picked)

    def _parents(self, name: str, parents: Any, groups: Groups) -> Any:
        """Keys of parents → indices within the tree; without a key column they are these."""
        tree = self.outline.parent_keys[name]
        if tree not in self.data.keys:
            return parents
        own = _rows.pick(self._column(self.data.keys[tree], ""), groups.first_rows())
        place, unknown = _rows.within_groups(own, parents, groups.counts[-1])
        if unknown is not None:
            raise DataError(
                f"the table names a parent in tree '{tree}' that is no member of the same tree",
                where=self.outline.scopes[tree].origin,
                expected=f"a key of column '{self.data.keys[tree]}' in the same tree, or null for "
                "a root",
                received=f"'{parents[unknown]}' as the parent of '{own[unknown]}'",
            )
        return place

    def _block(self, name: str, names: Names, wide: Sequence[str]) -> Any:
        if isinstance(names, str):
            return _stacked(self._column(names, f"node '{name}'"))
        columns = [self._column(one, f"node '{name}'") for one in names]
        if len({c.dtype.kind in "iufb" for c in columns}) > 1:
            columns = [c.astype(object) for c in columns]
        values = np.stack(columns, axis=1)
        place = self.outline.nodes.get(name)
        sizes = [self.outline.scopes[scope].size for scope in wide]
        event = place.event_ndim if place is not None else 0
        side = isqrt(len(columns) // prod(size or 1 for size in sizes))
        own = [side, side] if event > 1 else [-1] if wide and event else []
        shape = [size or -1 for size in sizes] + own
        try:
            return values.reshape(len(values), *shape) if shape else values
        except ValueError:
            raise DataError(
                f"the block of columns of '{name}' does not fill '{', '.join(wide)}'",
                expected=f"sizes '{sizes}'",
                received=f"'{len(columns)}' columns",
            ) from None

    def _column(self, column: str, purpose: str) -> Any:
        if column not in self.table.names:
            check_known(f"column '{column}' for {purpose}", column, self.table.names, "column")
        return self.table.read(column)

    def _one_per_group(self, values: Any, groups: Groups, what: str) -> Any:
        if groups.is_plain:
            return values
        row = _rows.differing(values, groups)
        if row is not None:
            first = int(groups.first_rows()[groups.of_row[row]])
            raise DataError(
                f"{what} has different values within one unit or member",
                expected=f"'{values[first]}' as in row '{first}'",
                received=f"'{values[row]}' in row '{row}'",
                advice="make it constant, or declare the node in the inner plate or sequence",
            )
        return _rows.pick(values, groups.first_rows())


def _places(codes: Any, levels: list[Any], scope: str, size: int, key: str) -> Any:
    """Members of a plate with a size: integers are places, other keys are sorted."""
    if all(isinstance(v, int | float) and v == int(v) and 0 <= v < size for v in levels):
        return np.where(codes < 0, -1, np.array([*map(int, levels), 0])[codes])
    if len(levels) == size:
        return codes
    raise DataError(
        f"column '{key}' does not tell the places of plate '{scope}'",
        expected=f"'{size}' different keys, or integers 0 … {size - 1}",
        received=f"'{len(levels)}' keys: {', '.join(map(repr, levels[:10]))}",
    )


def _stacked(values: Any) -> Any:
    """A column whose cells are vectors or matrices as one array [rows, D] or [rows, D, D]."""
    cells = values.dtype.kind == "O" and len(values) and np.ndim(values[0])
    return np.stack([np.asarray(cell) for cell in values]) if cells else values
