"""One shard, as the generated code reads it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from weakref import proxy

import numpy as np

from pgem.analyse import is_axis
from pgem.arrays import Floats, Integers
from pgem.declare import UNIT
from pgem.families import Observations
from pgem.families._link import Linked
from pgem.plan import Part
from pgem.routines import Index, NodeData, RegionData, ScopeData, StretchData, make_stretches
from pgem.run.column import Column, every_value
from pgem.run.data import Columns

if TYPE_CHECKING:
    from pgem.run.bind import Bound


class Shard:
    """A run of units, as the generated code reads it: `data["x"]`, `data.scope("t")`, …"""

    def __init__(self, bound: Bound, first: int, last: int) -> None:
        # no cycle: a bound that keeps its shards shall go at once when nobody wants it any more
        self.bound: Bound = proxy(bound)
        self.first, self.last = first, last
        self.n_units = last - first
        self.ranges = {UNIT: (first, last)}
        self.scopes: dict[str, ScopeData] = {}
        program, columns = bound.program, bound.rows
        for name, scope in program.outline.scopes.items():
            low, high = self.ranges[scope.parent]
            starts = columns.starts[name][low : high + 1]
            self.ranges[name] = (int(starts[0]), int(starts[-1]))
            self.scopes[name] = ScopeData(
                name, starts - starts[0], program.scope_dims[name],
                program.scope_dims[scope.parent], scope.size, self._parents(name),
                kept=bound.kept.setdefault((first, last, f"scope {name}"), {}),
                n_threads=bound.scan_threads,
            )  # fmt: skip
        self._nodes: dict[str, NodeData] = {}
        self._regions: dict[str, RegionData] = {}
        self._stretches: dict[str, StretchData] = {}
        self._indices: dict[tuple[str, str, int], Index] = {}

    @property
    def weights(self) -> Floats:
        """Weights of the units [n, 1, ...]."""
        weights = self.bound.rows.weights[self.first : self.last]
        return weights.reshape(-1, *(1,) * (self.bound.program.scope_dims[UNIT] - 1))

    def __getitem__(self, key: str) -> NodeData:
        if key not in self._nodes:
            self._nodes[key] = self._node(self.bound.program.parts[key])
        return self._nodes[key]

    def scope(self, name: str) -> ScopeData:
        """Rows of a plate, sequence or tree."""
        return self.scopes[name]

    def region(self, name: str) -> RegionData:
        """Rows of the Gaussian nodes that are integrated out together."""
        if name not in self._regions:
            self._regions[name] = self._region(name)
        return self._regions[name]

    def stretches(self, name: str) -> StretchData:
        """Steps of a sequence that the holes of a region tie together."""
        if name not in self._stretches:
            self._stretches[name] = self._tied(name)
        return self._stretches[name]

    def index(self, name: str, scope: str, lag: int) -> Index:
        """Codes of a seen node, covariate or plate, for each row of `scope`."""
        key = (name, scope, lag)
        if key not in self._indices:
            self._indices[key] = self._index(name, scope, lag)
        return self._indices[key]

    def _parents(self, scope: str) -> Integers | None:
        """Parents of a tree's members as rows of the shard."""
        whole = self.bound.rows.parents.get(scope)
        if whole is None:
            return None
        rows = whole[self._slice(scope)]
        return np.where(rows >= 0, rows - self.ranges[scope][0], -1)

    def _slice(self, scope: str) -> slice:
        return slice(*self.ranges[scope])

    def _node(self, part: Part) -> NodeData:
        column = self.bound.column(part.key)
        low, high = self.ranges[part.scope]
        rows = slice(low, high)
        if isinstance(part.family, Linked) and part.is_axis:
            return self._linked_axis(part, column)
        kept = self.bound.kept.setdefault((self.first, self.last, part.key), {})
        if column.points is None:
            x, known = column.read(rows), column.known(rows)
            memory = kept.setdefault("memory", {})
            points, index = Observations(part.family, x, known, memory=memory), None
        else:
            points = column.points
            index = None if column.index is None else column.index[rows]
            if index is None and not part.is_axis:
                index = np.full(high - low, -1)
        node = NodeData(
            part.key, part.family, high - low, part.n_dims, points,
            None if part.is_axis else index, self.bound.flat,
            kept=kept, held=part.held,
        )  # fmt: skip
        if column.barred is not None:
            node.cache["barred"] = column.barred[rows]
        self._mark(node, part, index)
        return node

    def _linked_axis(self, part: Part, column: Column) -> NodeData:
        """A node that is summed over, with all its values under every row of its covariates."""
        low, high = self.ranges[part.scope]
        rows = slice(low, high)
        if column.points is None or column.inputs is None:
            known = column.known(rows)
            points, inputs = every_value(part.family, known), np.arange(high - low)
        else:
            points, inputs = column.points, column.inputs[rows]
        node = NodeData(
            part.key, part.family, high - low, part.n_dims, points, None, self.bound.flat,
            None if len(points.known["design"]) == 1 else inputs,
        )  # fmt: skip
        self._mark(node, part, None if column.index is None else column.index[rows])
        return node

    def _mark(self, node: NodeData, part: Part, codes: Integers | None) -> None:
        """What is told of single rows: given values, responsibilities, and what counts nothing."""
        rows = slice(*self.ranges[part.scope])
        if part.node in self.bound.barren:
            node.cache["barren"] = self.bound.barren[part.node][rows]
        if part.evidence and codes is not None:
            node.cache["given"] = codes
        soft = self.bound.responsibilities.get(part.node)
        if soft is not None:
            node.cache["responsibilities"] = soft[rows]

    def _region(self, name: str) -> RegionData:
        program = self.bound.program
        region = next(r for r in program.analysis.regions if r.name == name)
        outline, members = program.outline, {}
        inside: dict[str, ScopeData] = {}
        for node in region.nodes:
            scope = outline.nodes[node].scope
            members[node] = (scope, self.rows_of_components(node))
            while scope != region.home:
                inside[scope] = self.scopes[scope]
                scope = outline.scopes[scope].parent
        low, high = self.ranges[region.home]
        elsewhere, given = None, list[str]()
        if region.around:
            tied = next(r for r in program.analysis.regions if r.name == region.around)
            elsewhere = self.bound.tied_rows(tied)[low:high]
            given = [node for node in tied.nodes if outline.nodes[node].kind == "observed"]
        return RegionData(
            region.home, high - low, program.scope_dims[region.home], region.chain or None,
            inside, {name: outline.scopes[name].parent for name in inside}, members,
            tuple(given), elsewhere,
        )  # fmt: skip

    def _tied(self, name: str) -> StretchData:
        bound = self.bound
        region = next(r for r in bound.program.analysis.regions if r.name == name)
        low, high = self.ranges[region.chain]
        members = {}
        for node in region.nodes:
            rows = self.rows_of_components(node)
            members[node] = {key: (self._tied_node(key, low, high), rows[key]) for key in rows}
        found = bound.stretches[name].between(low, high)
        place = partial(_place, bound.rows, region.chain, low)
        return make_stretches(name, self.scopes[region.chain], members, found, place)

    def _tied_node(self, key: str, low: int, high: int) -> NodeData:
        part, rows = self.bound.program.parts[key], slice(low, high)
        x, known = self.bound.tied(key)
        points = Observations(part.family, x[rows], {n: v[rows] for n, v in known.items()})
        return NodeData(key, part.family, high - low, part.n_dims, points, flat=self.bound.flat)

    def rows_of_components(self, node: str) -> dict[str, Integers | None]:
        """The rows that each component of a node describes; None for all.

        Components that a variable picks which is summed over describe the same rows.
        """
        components = self.bound.program.analysis.layout.components
        found = {key: s.component.step for key, s in components.items() if s.component.node == node}
        outline, codes = self.bound.program.outline.nodes[node], self._picks(node)
        if not outline.lag and codes is None:
            return dict.fromkeys(found)
        depth = self.scopes[outline.scope].depth if outline.lag else np.zeros(1)
        described: dict[str, Integers | None] = {}
        for key, step in found.items():
            here = depth == step - 1 if step else depth >= outline.lag
            if codes is not None and not step:
                here = here & (codes == self.bound.program.parts[key].component)
            described[key] = np.flatnonzero(here)
        return described

    def _picks(self, node: str) -> Integers | None:
        """Which component each row of a node has; None where no variable that is seen tells it."""
        analysis, scope = self.bound.program.analysis, self.bound.program.outline.nodes[node].scope
        switch = analysis.graph.nodes[node].switch
        if switch is None or any(
            gate.kind == "node" and is_axis(analysis.graph, analysis.schema, gate.name)
            for gate in switch.base()
        ):
            return None
        return self.index(switch.name, scope, switch.lag).codes

    def _index(self, name: str, scope: str, lag: int) -> Index:
        size = self.scopes[name].index.size if name in self.scopes else self._size(name)
        shard = proxy(self)  # a cycle would keep every shard's arrays until the next collection
        return Index(name, lambda: shard._codes(name, scope, lag), size)

    def _codes(self, name: str, scope: str, lag: int) -> Integers:
        outline = self.bound.program.outline
        if name in outline.scopes:
            home, codes = name, self.scopes[name].number
        else:
            home = (outline.nodes.get(name) or outline.covariates[name]).scope
            codes = self.bound.rows.codes[name][self._slice(home)]
        if scope != home:
            parent = self.scopes[scope].parent
            return self.index(name, outline.scopes[scope].parent, lag).codes[parent]
        if not lag:
            return codes
        rows = self.scopes[home].earlier(lag)
        return np.where(rows >= 0, codes[rows], -1)

    def _size(self, name: str) -> int:
        return self.bound.program.analysis.layout.sizes[name]


def _place(columns: Columns, scope: str, low: int, row: int) -> str:
    """A row of a shard in words."""
    return columns.place(scope, low + row)
