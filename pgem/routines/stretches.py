"""Instruction `stretches`: steps of a sequence that holes tie together, under gates of every step.

A value that is missing ties its own step to those that look back at it.  Where the gates of these
steps are summed over, the Gaussian nodes of the whole stretch are integrated out for every
combination of what gates them: a table over the variables of several steps, which the scan takes
in (`unrolled.py`).  In reverse, the posterior of these variables weights the moments of the missing
values.  Elsewhere the nodes have tables of their own, step by step.

In a tree a hole ties its own member to its children, and a stretch is a small tree of such members.

The Gaussians are regions (`region.py`) whose sequence is the stretch and the values seen before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers, Mask
from pgem.errors import IntractableError
from pgem.families import Observations
from pgem.families._linear import Linear
from pgem.families._parts import flat_rows
from pgem.gating import Cells
from pgem.routines.collect import ScopeData
from pgem.routines.holes import Places
from pgem.routines.integrate import (
    Gaussian,
    GaussianPart,
    LaidOut,
    RegionData,
    Switched,
    components_of,
    entries_of,
    evaluate,
    lay_out,
    mixed_moments,
)
from pgem.routines.region import Region
from pgem.routines.region_alike import AlikeRegion
from pgem.routines.tables import (
    MAX_TABLE,
    Axis,
    Entry,
    Joint,
    NodeData,
    arrange,
    cells_of,
    flat_index,
    slot_values,
    split_gates,
)

HOME = "stretch"
"""The scope of the stretches themselves."""
CHUNK = 1 << 20
"""Numbers that the Gaussians of one chunk of combinations take, about."""


def links_of(nodes: Mapping[str, NodeData]) -> list[tuple[str, int]]:
    """Random parents of components, with their lags."""
    families = [node.family for node in nodes.values()]
    terms = [term for family in families if isinstance(family, Linear) for term in family.terms]
    return [term.parent for term in terms if term.parent is not None]


@dataclass(eq=False)
class StretchGroup:
    """Stretches of one shape, equally far from the start of their sequence, where that matters.

    Attributes:
        first: first row of each [W].
        length: number of steps (or members).
        above: of each member of a tree the number of its parent (-1: outside); None in a sequence.
        rows: rows of the sequence that they read, those before included [W × (lead + length)].
        lead: rows before that they read.
        region: the same as a region.
        values: of each node in these rows.
        nodes: what each component is made of there.
    """

    first: Integers
    length: int
    above: tuple[int, ...] | None
    rows: Integers
    lead: int
    region: RegionData
    values: dict[str, Floats]
    nodes: dict[str, NodeData]
    cache: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def within(self) -> Mask:
        """Which of the rows are part of the stretch."""
        return np.tile(np.arange(self.lead + self.length) >= self.lead, len(self.first))

    @cached_property
    def own_rows(self) -> Integers:
        """The rows that are part of the stretches [W, length]."""
        return self.rows.reshape(len(self.first), -1)[:, self.lead :]

    def earlier(self, step: int, lag: int) -> int:
        """The step that some step looks back at, or a member's parent."""
        return step - lag if self.above is None or not lag else self.above[step]


@dataclass(eq=False)
class StretchData:
    """All stretches of a region in a shard.

    Attributes:
        name: the region.
        values: of each node in all rows [rows, d].
        groups: stretches by shape.
        place: rows in words.
        is_tree: whether they are parts of trees.
    """

    name: str
    values: dict[str, Floats]
    groups: list[StretchGroup]
    place: Callable[[int], str]
    is_tree: bool = False
    cache: dict[Any, Any] = field(default_factory=dict)


def make_stretches(
    name: str,
    scope: ScopeData,
    members: Mapping[str, Mapping[str, tuple[NodeData, Integers | None]]],
    found: Places,
    place: Callable[[int], str],
) -> StretchData:
    """Group stretches by shape.

    Args:
        name: the region.
        scope: the sequence.
        members: per node its components, with the rows that each describes (None: all).
        found: the stretches.
        place: rows in words.
    """
    nodes = {key: node for keys in members.values() for key, (node, _) in keys.items()}
    lead = max((lag for _, lag in links_of(nodes)), default=0)
    begins = [int(scope.depth[rows].min()) for keys in members.values() for _, rows in
              keys.values() if rows is not None and len(rows)]  # fmt: skip
    early = np.minimum(scope.depth[found.first], max([lead, *begins])).tolist()
    shapes: dict[tuple[int, int, tuple[int, ...] | None], list[int]] = {}
    above = _numbers_above(scope, found)
    for k, (length, number) in enumerate(zip(found.length.tolist(), early, strict=True)):
        shapes.setdefault((length, number, above[k] if above else None), []).append(k)
    starts = np.cumsum(found.length) - found.length
    groups = []
    for (length, number, shape), chosen in sorted(shapes.items()):
        rows = found.rows[starts[chosen][:, None] + np.arange(length)]
        groups.append(_group(scope, members, rows, shape, min(lead, number)))
    values = {
        node: flat_rows(next(iter(keys.values()))[0].points.x) for node, keys in members.items()
    }
    return StretchData(name, values, groups, place, scope.parents is not None)


def _group(
    scope: ScopeData,
    members: Mapping[str, Mapping[str, tuple[NodeData, Integers | None]]],
    within: Integers,
    above: tuple[int, ...] | None,
    lead: int,
) -> StretchGroup:
    first, length = within[:, 0], within.shape[1]
    size = lead + length
    if above is None:
        ahead = first[:, None] - np.arange(lead, 0, -1)
    else:
        ahead = scope.earlier(1)[first][:, None][:, :lead]
    rows = np.concatenate([ahead, within], axis=1).ravel()
    before = np.tile(np.arange(size) < lead, len(first))
    kept: dict[str, NodeData] = {}
    values: dict[str, Floats] = {}
    described: dict[str, tuple[str, dict[str, Integers | None]]] = {}
    for node, keys in members.items():
        described[node] = (scope.name, {})
        values[node] = flat_rows(next(iter(keys.values()))[0].points.x)[rows]
        values[node][before] = np.nan_to_num(values[node][before])  # nobody looks at holes there
        for key, (data, own) in keys.items():
            here = ~before if own is None else ~before & np.isin(rows, own)
            if here.any():
                kept[key] = _node_rows(data, rows)
                described[node][1][key] = np.flatnonzero(here)
    starts = np.arange(len(first) + 1) * size
    parents = None
    if above is not None:
        whole = np.array([*(-1 for _ in range(lead)), *(k + lead for k in above)])
        parents = np.where(whole < 0, -1, starts[:-1, None] + whole).ravel()
    sequence = ScopeData(scope.name, starts, 2, 1, None, parents)
    region = RegionData(
        HOME, len(first), 1, scope.name, {scope.name: sequence}, {scope.name: HOME}, described
    )
    return StretchGroup(first, length, above, rows, lead, region, values, kept)


def _numbers_above(scope: ScopeData, found: Places) -> list[tuple[int, ...]]:
    """Of each member of the stretches of a tree the number of its parent; nothing in a sequence."""
    if scope.parents is None:
        return []
    number, owner = np.full(scope.n_rows, -1), np.full(scope.n_rows, -1)
    starts = np.cumsum(found.length) - found.length
    owner[found.rows] = np.repeat(np.arange(len(found.length)), found.length)
    number[found.rows] = np.arange(len(found.rows)) - np.repeat(starts, found.length)
    above = scope.parents[found.rows]
    inside = (above >= 0) & (owner[above] == owner[found.rows])
    numbers = np.where(inside, number[above], -1)
    return [tuple(part.tolist()) for part in np.split(numbers, starts[1:])]


def _node_rows(node: NodeData, rows: Integers) -> NodeData:
    """Some rows of a component."""
    known = {name: value[rows] for name, value in node.points.known.items()}
    points = Observations(node.family, node.points.x[rows], known)
    return NodeData(node.key, node.family, len(rows), 1, points, flat=node.flat)


# --- their tables -----------------------------------------------------------------------------


class StepVar(NamedTuple):
    """A variable of a step, counted from the first, or of an enclosing scope (None)."""

    axis: Axis
    step: int | None


@dataclass(frozen=True, eq=False)
class StretchTable:
    """log p(what is seen in a stretch | what gates it) of the stretches of a group.

    Attributes:
        first: first row of each [W].
        length: number of steps.
        rows: all rows of each [W, length].
        variables: what gates them.
        array: [W, variables...].
    """

    first: Integers
    length: int
    rows: Integers
    variables: tuple[StepVar, ...]
    array: Floats


def stretches(
    data: StretchData, by_lag: Sequence[Sequence[Axis]], *parts: Gaussian | Switched
) -> Stretches:
    """Integrate out the Gaussian nodes of all stretches.

    Args:
        data: the stretches.
        by_lag: per variable of the sequence that is summed over its axes: this step's, that of the
            step before, ...
        parts: all components of the region.

    Raises:
        IntractableError: a stretch has too many combinations of what gates it.
    """
    own = {axis: (axes[0], lag) for axes in by_lag for lag, axis in enumerate(axes)}
    every = components_of(parts)
    solved = [_Solved(data, group, own, every) for group in data.groups]
    return Stretches(data, solved, [item.table() for item in solved])


@dataclass(frozen=True, eq=False)
class _Coded:
    """The coefficient sets of a component: one per step and code of what is seen.

    Attributes:
        steps: step of each [K].
        seen: code of the gates that are seen [K].
        of_row: which of them each row of the group uses.
    """

    steps: Integers
    seen: Integers
    of_row: Integers


class _Solved:
    """The Gaussians of a group at given parameters."""

    def __init__(
        self,
        data: StretchData,
        group: StretchGroup,
        own: Mapping[Axis, tuple[Axis, int]],
        parts: Sequence[Gaussian],
    ) -> None:
        self.data, self.group, self.own = data, group, own
        self.slots: dict[str, dict[str, Floats]] = {}
        self.cells: dict[str, Cells] = {}
        self.switches: dict[str, tuple[Axis, int]] = {}
        n_rows: dict[str, int] = {}
        for part in parts:
            if (key := part.node.key) in group.nodes:
                self.cells[key] = cells_of(part.node, part.slots)
                n_rows[key] = part.node.n_rows
                if part.switch is not None:
                    self.switches[key] = part.switch, part.value
                self.slots[key] = slot_values(self.cells[key], part.slots, part.node.family)
        if "coded" not in group.cache:
            coded = {key: self._code(key, n) for key, n in n_rows.items()}
            group.cache["variables"] = self._variables(coded)
            self._check(group.cache["variables"])
            codes: dict[str, Integers | None] = {key: c.of_row for key, c in coded.items()}
            group.cache["layout"] = lay_out(group.region, group.values, group.nodes, codes)
            group.cache["coded"] = coded
        self.coded: dict[str, _Coded] = group.cache["coded"]
        self.variables: tuple[StepVar, ...] = group.cache["variables"]
        self.layout: LaidOut = group.cache["layout"]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each variable."""
        return tuple(variable.axis.size for variable in self.variables)

    @cached_property
    def numbered(self) -> dict[str, Floats]:
        """Per component the number of each cell [codes of what is seen, axes by position]."""
        return {
            key: arrange(np.arange(cells.n_cells, dtype=float)[None], cells)[:, 0]
            for key, cells in self.cells.items()
        }

    def _code(self, key: str, n_rows: int) -> _Coded:
        group = self.group
        size = group.lead + group.length
        step = np.tile(np.arange(-group.lead, group.length), len(group.first))
        flat = flat_index(self.cells[key], n_rows)
        seen = np.zeros(len(step), dtype=np.int64) if flat is None else flat[group.rows]
        used = next(keys[key] for _, keys in group.region.members.values() if key in keys)
        width = int(seen.max(initial=0)) + 1
        pairs = (step + size) * width + seen
        distinct = np.unique(pairs[used])
        of_row = np.minimum(np.searchsorted(distinct, pairs), len(distinct) - 1)
        return _Coded(distinct // width - size, distinct % width, of_row)

    def _axes(self, key: str) -> list[Axis]:
        cells = self.cells[key]
        return [cells.gates[k] for k in split_gates(cells)[1]]

    def _variable(self, axis: Axis, step: int) -> StepVar:
        present, lag = self.own.get(axis, (axis, None))
        return StepVar(present, None if lag is None else self.group.earlier(step, lag))

    def _variables(self, coded: Mapping[str, _Coded]) -> tuple[StepVar, ...]:
        """All that gates some step, outer variables first, then in order of time."""
        found = {
            self._variable(axis, step)
            for key, item in coded.items()
            for step in set(item.steps.tolist())
            for axis in (*self._axes(key), *self.switches.get(key, ())[:1])
        }
        early = min((v.step for v in found if v.step is not None), default=0) - 1
        return tuple(sorted(found, key=lambda v: (early if v.step is None else v.step, v.axis)))

    def _check(self, variables: Sequence[StepVar]) -> None:
        entries = math.prod(variable.axis.size for variable in variables)
        if entries > MAX_TABLE:
            raise too_long(self.data, self.group.own_rows[0], entries)

    def table(self) -> StretchTable:
        """log p of what is seen, for every combination of what gates it."""
        found = [log_p for _, _, log_p in self.chunks()]
        array = np.concatenate(found, axis=1)
        if any(node.flat for node in self.group.nodes.values()):
            array = np.zeros_like(array)
        shaped = array.reshape(len(array), *self.sizes)
        group = self.group
        return StretchTable(group.first, group.length, group.own_rows, self.variables, shaped)

    def chunks(self) -> Iterator[tuple[slice, Region | AlikeRegion, Floats]]:
        """Regions with some combinations each, and their log p; a single one is kept."""
        total = math.prod(self.sizes)
        width = sum(node.family.dim for node in self.group.nodes.values()
                    if isinstance(node.family, Linear))  # fmt: skip
        numbers = len(self.group.rows) * width * (1 + self.group.lead)
        size = max(1, CHUNK // max(1, numbers))
        if size >= total:
            if "one" not in self.__dict__:
                self.__dict__["one"] = self.at(np.arange(total))
            yield slice(0, total), *self.__dict__["one"]
            return
        for start in range(0, total, size):
            stop = min(start + size, total)
            yield slice(start, stop), *self.at(np.arange(start, stop))

    def at(self, combinations: Integers) -> tuple[Region | AlikeRegion, Floats]:
        """The region under some combinations of what gates it, and its log p."""
        return evaluate(self.layout, self.parts(combinations))

    def parts(self, combinations: Integers) -> dict[str, GaussianPart]:
        """The components with the cell of each coefficient set and combination."""
        values = np.unravel_index(combinations, self.sizes) if self.sizes else ()
        digits = dict(zip(self.variables, values, strict=True))
        return {
            key: GaussianPart(
                self.group.nodes[key], self.cells[key], self.slots[key],
                self._cell(key, digits, len(combinations)),
            )
            for key in self.group.nodes
        }  # fmt: skip

    def _cell(self, key: str, digits: Mapping[StepVar, Integers], n: int) -> Integers:
        coded, axes = self.coded[key], self._axes(key)
        found = np.empty((len(coded.steps), n), dtype=np.int64)
        for k, (step, seen) in enumerate(zip(coded.steps.tolist(), coded.seen, strict=True)):
            where = tuple(digits[self._variable(axis, step)] for axis in axes)
            found[k] = self.numbered[key][seen][where]
            if key in self.switches:
                axis, value = self.switches[key]
                found[k, digits[self._variable(axis, step)] != value] = -1
        return found


@dataclass(frozen=True, eq=False)
class Stretches(Joint):
    """The tables of all stretches of a region; what a posterior of their variables leads to.

    Attributes:
        data: the stretches.
        solved: their Gaussians, by group.
        tables: their tables, by group.
    """

    data: StretchData
    solved: list[_Solved]
    tables: list[StretchTable]

    @property
    def source(self) -> Stretches:
        """What their posterior is collected into."""
        return self

    def _by_group(self, posterior: Sequence[Floats]) -> Iterator[tuple[_Solved, Floats]]:
        for item, weights in zip(self.solved, posterior, strict=True):
            yield item, weights.reshape(len(weights), -1)

    def entries(self, posterior: Any) -> dict[str, Entry]:
        """Expected statistics of every component, by posteriors [W, variables...] of each group."""
        found: dict[str, Entry] = {}
        for item, weights in self._by_group(posterior):
            for some, region, _ in item.chunks():
                parts = item.parts(np.arange(some.start, some.stop))
                for key, entry in entries_of(item.layout, region, parts, weights[:, some]).items():
                    if key in found:
                        found[key].add(entry.arrays)
                    else:
                        found[key] = entry
        return found

    def moments(self, posterior: Any) -> dict[str, tuple[Floats, Floats]]:
        """Posterior mean and covariance of all rows; what is seen is certain."""
        found = {
            name: (x.copy(), np.zeros((*x.shape, x.shape[1])))
            for name, x in self.data.values.items()
        }
        for item, weights in self._by_group(posterior):
            within = item.group.within
            rows = item.group.rows[within]
            for name, (mean, cov) in _moments(item, weights).items():
                found[name][0][rows], found[name][1][rows] = mean[within], cov[within]
        return found

    def draw(self, generator: Generator, posterior: Any) -> dict[str, Floats]:
        """A joint draw of all rows, where their stretch was drawn; elsewhere what is seen."""
        found = {name: x.copy() for name, x in self.data.values.items()}
        for item, weights in self._by_group(posterior):
            chosen, choice = np.unique(weights.argmax(axis=1), return_inverse=True)
            region, _ = item.at(chosen)
            within = item.group.within
            rows = item.group.rows[within]
            for name, values in region.draw(generator, choice).items():
                seen = found[name][rows]
                found[name][rows] = np.where(np.isnan(seen), values[within], seen)
        return found


def _moments(item: _Solved, weights: Floats) -> dict[str, tuple[Floats, Floats]]:
    """Moments of the rows of a group, mixed over what gates them."""
    size = item.group.lead + item.group.length
    by_row = np.repeat(weights, size, axis=0)
    parts: dict[str, list[tuple[Floats, Floats, Floats]]] = {}
    for some, region, _ in item.chunks():
        here = by_row[:, some]
        share = here.sum(axis=1, keepdims=True)
        inside = here / np.where(share > 0, share, 1.0)
        for name, (mean, cov) in region.moments().items():
            mixed = mixed_moments(mean, cov, inside)
            parts.setdefault(name, []).append((*mixed, share[:, 0]))
    found = {}
    for name, some_parts in parts.items():
        means, covs, shares = (np.stack(part, axis=1) for part in zip(*some_parts, strict=True))
        found[name] = mixed_moments(means, covs, shares)
    return found


def too_long(data: StretchData, rows: Integers, entries: int) -> IntractableError:
    """A stretch has more combinations of what gates it than a table may have."""
    what = "members" if data.is_tree else "steps"
    return IntractableError(
        f"the holes of '{data.name}' tie '{len(rows)}' {what} together, from "
        f"{data.place(int(rows[0]))} to {data.place(int(rows[-1]))}: the exact posterior there is "
        f"one Gaussian for every course of what gates these {what}",
        expected=f"at most {MAX_TABLE:,} entries in one table",
        received=f"'{entries:,}' entries",
        advice=f"cut the {'tree' if data.is_tree else 'sequence'} there into two units, or fill "
        "some of these values",
    )
