"""How the discrete latents are summed out: scope by scope, one variable at a time.

Within a scope the next variable is the one whose elimination touches the smallest table (the
min-weight heuristic).  A sequence is scanned: what lives in one step only is summed out first for
all steps at once; the rest goes along the chain, one earlier variable at a time.  A tree is climbed
likewise, from the leaves to the roots: its members' own variables are summed out, one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pgem.analyse.conjugate import Conjugate
from pgem.analyse.regions import Region, is_axis
from pgem.declare import UNIT, Gate, NodeRecord
from pgem.errors import IntractableError
from pgem.graph import ModelGraph, Schema
from pgem.routines.tables import MAX_TABLE

Integrated = Region | Conjugate
"""Nodes that are integrated out together."""


class Var(NamedTuple):
    """A discrete variable to be summed out: a node, some steps ago."""

    node: str
    lag: int = 0

    def __str__(self) -> str:
        return (
            f"prev {self.node}" + (f" ({self.lag})" if self.lag > 1 else "")
            if self.lag
            else (self.node)
        )


@dataclass(frozen=True, eq=False)
class Factor:
    """A log-table over variables.

    Attributes:
        name: what it is called in the listing.
        kind: `node` (a conditional), `region` (Gaussian nodes integrated out), `conjugate` (a
            latent integrated out under conjugate children), `stretch` (Gaussian nodes
            integrated out over several steps of a sequence), `evidence`, `query`, `message` or
            `scan` (also of a tree).
        scope: the rows that it has.
        axes: variables that it depends on.
        node: the node behind it.
    """

    name: str
    kind: str
    scope: str
    axes: frozenset[Var]
    node: str = ""


@dataclass(frozen=True, eq=False)
class Eliminate:
    """Sum one variable out of a product of factors."""

    var: Var
    inputs: tuple[Factor, ...]
    message: Factor
    clique: frozenset[Var]
    cost: int


@dataclass(frozen=True, eq=False)
class Collect:
    """Product over the members of a plate."""

    scope: str
    inputs: tuple[Factor, ...]
    message: Factor


@dataclass(frozen=True, eq=False)
class Scan:
    """Sum out a sequence.

    Attributes:
        scope: the sequence.
        label: the scope, and the chains where it has several that nothing couples.
        inputs: factors of one step.
        sum_out: earlier variables (and those of one step that depend on earlier ones), in order.
        cliques: the table of each elimination.
        shift: this step's variable → what it is called at the next step.
        outer: variables of enclosing scopes that are kept.
        message: log-probability of the whole sequence given the outer variables.
        cost: table entries per step that are summed over.
        stretches: factors over the variables of several steps, in some places of the sequence.
    """

    scope: str
    label: str
    inputs: tuple[Factor, ...]
    sum_out: tuple[Var, ...]
    cliques: tuple[frozenset[Var], ...]
    shift: dict[Var, Var]
    outer: tuple[Var, ...]
    message: Factor
    cost: int
    stretches: tuple[Factor, ...]


@dataclass(frozen=True, eq=False)
class Climb(Scan):
    """Sum out a tree, from the leaves to the roots: a scan whose next step is the parent.

    The table of a member begins as the product of its children's messages, over its own variables
    that they look back at; `sum_out` are its own variables, and what is left is its message over
    the parent's, which `shift` renames.
    """


@dataclass(frozen=True, eq=False)
class Segments(Scan):
    """A sequence along one chain whose values last for explicit durations.

    The first of the inputs is the chain's own conditional: its transitions.

    Attributes:
        state: the chain.
        duration: component of its durations.
    """

    state: Var
    duration: str


Step = Eliminate | Collect | Scan


@dataclass(eq=False)
class Schedule:
    """The order of everything.

    Attributes:
        factors: conditionals, evidence and queries, in order of declaration.
        steps: eliminations, collections and scans, in order.
        roots: what is left at the unit: its sum is log p(x).
        positions: axis number of each variable along the path of its scope.
    """

    factors: list[Factor] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    roots: list[Factor] = field(default_factory=list)
    positions: dict[Var, int] = field(default_factory=dict)


def make_schedule(
    graph: ModelGraph, schema: Schema, sizes: Mapping[str, int], regions: Sequence[Integrated] = ()
) -> Schedule:
    """Find the elimination order of the whole model, its continuous latents integrated out.

    Raises:
        IntractableError: a table passes the limit.
    """
    worker = _Worker(graph, schema, sizes, regions)
    worker.number_axes(UNIT, 1)
    worker.schedule.roots = worker.visit(UNIT)
    return worker.schedule


class _Worker:
    def __init__(
        self,
        graph: ModelGraph,
        schema: Schema,
        sizes: Mapping[str, int],
        regions: Sequence[Integrated],
    ) -> None:
        self.graph, self.schema, self.sizes, self.regions = graph, schema, sizes, regions
        self.inside = {name for r in regions if not _in_stretches(r) for name in r.nodes}
        self.schedule = Schedule()
        self.lags = _lags(graph)

    def number_axes(self, scope: str, start: int) -> None:
        """Axis numbers: outer scopes first; earlier variables before the present ones."""
        names = [n.name for n in self.graph.nodes_of(scope) if self.axis(n.name)]
        deepest = max((self.lags.get(name, 0) for name in names), default=0)
        order = [
            Var(name, lag)
            for lag in range(deepest, -1, -1)
            for name in names
            if lag <= self.lags.get(name, 0)
        ]
        for var in order:
            self.schedule.positions[var] = start
            start += 1
        for child in self.graph.children(scope):
            self.number_axes(child, start)

    def axis(self, node: str) -> bool:
        return is_axis(self.graph, self.schema, node)

    # --- one scope ----------------------------------------------------------------------------

    def visit(self, scope: str) -> list[Factor]:
        """Sum out a scope; what is left depends on outer variables only."""
        factors: list[Factor] = []
        for child in self.graph.children(scope):
            factors += self.visit(child)
        own = self.own_factors(scope)
        self.schedule.factors += own
        factors = own + factors
        if self.graph.scopes[scope].looks_back:
            factors = self.sequence(scope, factors)
        else:
            variables = {Var(n.name) for n in self.graph.nodes_of(scope) if self.axis(n.name)}
            factors = self.eliminate(scope, factors, variables)
        return factors if scope == UNIT else self.collect(scope, factors)

    def own_factors(self, scope: str) -> list[Factor]:
        found = []
        for node in self.graph.nodes_of(scope):
            if node.name in self.inside:
                continue
            axes = {Var(g.name, g.lag) for g in node.gates() if self.axis_gate(g)}
            if self.axis(node.name):
                axes.add(Var(node.name))
            found.append(Factor(node.name, "node", scope, frozenset(axes), node.name))
            if node.name in self.schema.evidence and self.axis(node.name):
                only = frozenset({Var(node.name)})
                found.append(Factor(f"given_{node.name}", "evidence", scope, only, node.name))
        for region in self.regions:
            if region.home == scope:
                gates = frozenset(Var(*gate) for gate in region.gates)
                self.check_size(gates, self.weight(gates), scope)
                kind = "region" if isinstance(region, Region) else "conjugate"
                kind = "stretch" if _in_stretches(region) else kind
                found.append(Factor(region.name, kind, scope, gates, region.name))
        for k, query in enumerate(self.schema.queries):
            if self.query_scope(query) == scope:
                axes = {Var(*pair) for pair in query}
                found.append(Factor(f"query_{k}", "query", scope, frozenset(axes)))
        return found

    def axis_gate(self, gate: Gate) -> bool:
        return gate.kind == "node" and self.axis(gate.name)

    def query_scope(self, query: Iterable[tuple[str, int]]) -> str:
        """The innermost scope of the nodes of a query."""
        scopes = [self.graph.nodes[name].scope for name, _ in query]
        return max(scopes, key=lambda scope: len(self.graph.path(scope)))

    def eliminate(self, scope: str, factors: list[Factor], variables: set[Var]) -> list[Factor]:
        while variables:
            var = min(
                variables,
                key=lambda v: (self.weight(_clique(v, factors)), self.schedule.positions[v]),
            )
            variables = variables - {var}
            factors = self.eliminate_one(scope, factors, var)
        return factors

    def eliminate_one(self, scope: str, factors: list[Factor], var: Var) -> list[Factor]:
        touched = tuple(f for f in factors if var in f.axes)
        clique = _clique(var, factors)
        cost = self.weight(clique)
        self.check_size(clique, cost, scope)
        message = Factor(f"to_{_name(var)}", "message", scope, clique - {var})
        self.schedule.steps.append(Eliminate(var, touched, message, clique, cost))
        return [f for f in factors if var not in f.axes] + [message]

    def collect(self, scope: str, factors: list[Factor]) -> list[Factor]:
        if not factors:
            return []
        parent = self.graph.scopes[scope].parent
        if all(factor.scope == parent for factor in factors):
            return factors  # scanned, so that its rows are those of the scope around it
        axes = frozenset().union(*(f.axes for f in factors))
        message = Factor(f"in_{scope}", "message", parent, axes)
        self.check_size(axes, self.weight(axes), scope)
        self.schedule.steps.append(Collect(scope, tuple(factors), message))
        return [message]

    # --- sequences and trees ------------------------------------------------------------------

    def sequence(self, scope: str, factors: list[Factor]) -> list[Factor]:
        stretches = [f for f in factors if f.kind == "stretch"]
        factors = [f for f in factors if f.kind != "stretch"]
        shared = {v for f in stretches for v in f.axes}  # with the steps around
        nodes = [n for n in self.graph.nodes_of(scope) if self.axis(n.name)]
        inside = {Var(n.name) for n in nodes if not self.lags.get(n.name)}
        while local := [v for v in inside - shared if not _looks_back(v, factors)]:
            var = min(local, key=lambda v: self.weight(_clique(v, factors)))
            factors = self.eliminate_one(scope, factors, var)
            inside.discard(var)
        interface = [Var(n.name, k + 1) for n in nodes for k in range(self.lags.get(n.name, 0))]
        if not interface and not stretches:
            return factors
        own = {Var(n.name, k) for n in nodes for k in range(self.lags.get(n.name, 0) + 1)}
        scanned = [f for f in factors if f.axes & own]
        others = [f for f in factors if not f.axes & own]
        messages = self.scans(scope, scanned, interface, inside, stretches)
        if not others:
            return messages
        parent = self.graph.scopes[scope].parent
        axes = frozenset().union(*(f.axes for f in others))
        message = Factor(f"in_{scope}", "message", parent, axes)
        self.schedule.steps.append(Collect(scope, tuple(others), message))
        return [*messages, message]

    def scans(
        self,
        scope: str,
        factors: list[Factor],
        interface: list[Var],
        inside: set[Var],
        stretches: list[Factor],
    ) -> list[Factor]:
        """One scan for every group of chains that no factor couples."""
        groups: list[set[str]] = [{v.node} for v in [*interface, *inside]]
        for factor in [*factors, *stretches]:
            own = {v.node for v in factor.axes if self.graph.nodes[v.node].scope == scope}
            touched = [group for group in groups if group & own]
            merged = set().union(*touched)
            groups = [group for group in groups if group not in touched] + [merged]
        order = [v.node for v in interface]
        groups.sort(key=lambda group: min((order.index(n) for n in group if n in order), default=0))
        messages = []
        for group in groups:
            label = (
                scope if len(groups) == 1 else "_".join([scope, *(n for n in order if n in group)])
            )
            earlier = [v for v in interface if v.node in group]
            within = {v for v in inside if v.node in group}
            chosen = [f for f in factors if {v.node for v in f.axes} & group]
            along = [f for f in stretches if {v.node for v in f.axes} & group]
            scan = self.scan(scope, label, chosen, earlier, within, along)
            lasting = [n for n in order if n in group and self.graph.nodes[n].duration]
            if lasting:
                scan = self.segments(scan, self.graph.nodes[lasting[0]], earlier, within)
            self.schedule.steps.append(scan)
            messages.append(scan.message)
        return messages

    def segments(
        self, scan: Scan, node: NodeRecord, interface: list[Var], inside: set[Var]
    ) -> Segments:
        """The scan of a chain with explicit durations, which nothing else may run along with."""
        others = [v for v in [*interface, *inside] if v != Var(node.name, 1)]
        lasting = self.graph.duration_of(node.name)
        assert lasting is not None
        here = {g.name for s in lasting.leaf.slots.values() for p in s.gates for g in p.base()}
        others += [v for v in map(Var, here) if v not in scan.outer and self.is_beside(v, node)]
        for factor in scan.stretches:
            beside = [v for v in others if v in factor.axes]
            if beside:
                raise self.gap_in_segments(factor.node, node, beside[0])
        if others:
            other = f"'{others[0]}'"
            raise IntractableError(
                f"node '{node.name}' has explicit durations, and {other} is part of the same "
                f"sequence '{scan.scope}' and cannot be summed out before it",
                where=node.origin,
                expected=f"one chain with durations; beside it latents of '{scan.scope}' that do "
                "not look back and do not gate it",
                received=", ".join(f"'{v}'" for v in dict.fromkeys(others)),
                advice="leave duration= out (durations are then geometric):\n    "
                + self.line(node, f'after="{node.name}"'),
                blocks=dict.fromkeys([node.name, *(v.node for v in others)]),
                because=f"'{node.name}' has explicit durations, beside which {other} runs along "
                f"'{scan.scope}'",
            )
        own = [f for f in scan.inputs if f.kind == "node" and f.node == node.name]
        rest = [f for f in scan.inputs if f not in own]
        given = {name: getattr(scan, name) for name in Scan.__dataclass_fields__}
        given["inputs"] = (*own, *rest)
        return Segments(**given, state=Var(node.name), duration=lasting.key)

    def gap_in_segments(self, name: str, node: NodeRecord, other: Var) -> IntractableError:
        """Steps that holes tie together have another gate than a chain with durations."""
        return IntractableError(
            f"node '{name}' has {self.schema.holes_of(name)}, and later values look back at them; "
            f"these steps are gated by '{other}', beside '{node.name}', which has explicit "
            "durations: such holes are not integrated out",
            where=self.graph.nodes[name].origin,
            expected=f"complete values of '{name}', or no gate beside '{node.name}', or geometric "
            "durations",
            advice="cut the sequences at the holes, or leave duration= out:\n    "
            + self.line(node, f'after="{node.name}"'),
            blocks=[name],
            because=f"'{other}' gates it beside '{node.name}', which has explicit durations",
        )

    def is_beside(self, var: Var, node: NodeRecord) -> bool:
        """Whether a gate is another variable of the node's sequence that is summed over."""
        known = var.node in self.graph.nodes and var.node != node.name
        return known and self.axis(var.node) and self.graph.nodes[var.node].scope == node.scope

    def scan(
        self,
        scope: str,
        label: str,
        factors: list[Factor],
        interface: list[Var],
        inside: set[Var],
        stretches: list[Factor],
    ) -> Scan:
        within = [*factors, *stretches]
        steps = {v for f in within for v in f.axes} | set(interface) | inside
        outer = sorted(
            (v for v in steps if self.graph.nodes[v.node].scope != scope),
            key=self.schedule.positions.__getitem__,
        )
        shift = {Var(v.node, v.lag - 1): v for v in interface}
        climbs = self.graph.scopes[scope].kind == "tree"
        if climbs:
            shift = {earlier: own for own, earlier in shift.items()}
        leaving = (set(shift.values()) - set(shift)) | inside
        table = frozenset(shift.values()) | frozenset(outer)
        order: list[Var] = []
        cliques: list[frozenset[Var]] = []
        unused = list(factors)
        while leaving:
            var = min(
                leaving,
                key=lambda v: (
                    self.weight(table | _clique(v, unused)),
                    self.schedule.positions[v],
                ),
            )
            clique = table | _clique(var, unused)
            unused = [f for f in unused if var not in f.axes]
            self.check_size(clique, self.weight(clique), scope)
            order.append(var)
            cliques.append(clique)
            table = clique - {var}
            leaving = leaving - {var}
        final = table | frozenset(v for f in unused for v in f.axes) | frozenset(shift)
        self.check_size(final, self.weight(final), scope)
        cost = sum(map(self.weight, cliques))
        parent = self.graph.scopes[scope].parent
        message = Factor(f"in_{label}", "scan", parent, frozenset(outer))
        return (Climb if climbs else Scan)(
            scope,
            label,
            tuple(factors),
            tuple(order),
            tuple(cliques),
            shift,
            tuple(outer),
            message,
            cost,
            tuple(stretches),
        )

    # --- sizes --------------------------------------------------------------------------------

    def weight(self, clique: Iterable[Var]) -> int:
        return math.prod(self.sizes[v.node] for v in clique)

    def check_size(self, clique: Iterable[Var], cost: int, scope: str) -> None:
        if cost <= MAX_TABLE:
            return
        names = sorted({str(v) for v in clique})
        nodes = sorted({v.node for v in clique})
        widest = max(nodes, key=lambda n: self.sizes[n])
        holed = [n for n in nodes if n in self.schema.axes]
        raise IntractableError(
            f"the exact posterior needs one table over {', '.join(map(repr, names))}"
            + "".join(f"; '{n}' has {self.schema.holes_of(n)}" for n in holed),
            where=self.graph.nodes[nodes[0]].origin,
            expected=f"at most {MAX_TABLE:,} entries",
            received=f"'{cost:,}' entries in scope '{scope}'",
            advice=self.alternative(nodes, widest),
            blocks=nodes,
            because=f"need one table, of more than {MAX_TABLE:,} entries",
            cost=f"{cost:,} entries a row",
        )

    def alternative(self, nodes: Sequence[str], widest: str) -> str:
        """The nearest declaration that compiles, as code."""
        chained = [n for n in self.graph.nodes.values() if n.name in nodes and n.lag()]
        coupled = [n for n in chained if len({g.name for g in n.gates() if g.lag}) > 1]
        if coupled:
            lines = [self.line(n, f'after="{n.name}"') for n in coupled]
            return "\n    ".join(["let every chain look back at itself only:", *lines])
        known = set(nodes)
        wide = [n for n in self.graph.nodes.values() if len(self.parents(n, known)) > 1]
        if wide:
            node = max(wide, key=lambda n: len(self.parents(n, known)))
            kept = self.affordable(self.parents(node, known))
            line = self.line(node, f"given=[{', '.join(kept)}]")
            return f"let '{node.name}' depend on fewer of them:\n    {line}"
        fewer = max(2, self.sizes[widest] // 2)
        line = f'pg.latent("{widest}", pg.Categorical(size={fewer}))'
        return f"give '{widest}' fewer values:\n    {line}"

    def parents(self, node: NodeRecord, known: set[str]) -> list[str]:
        """The nodes of a table that gate this one in the same step."""
        return [g.name for g in node.gates() if g.kind == "node" and not g.lag and g.name in known]

    def affordable(self, parents: Sequence[str]) -> list[str]:
        """As many of these gates, in order, as one table takes."""
        kept: list[str] = []
        for name in parents:
            if math.prod(self.sizes[n] for n in [*kept, name]) <= MAX_TABLE:
                kept.append(name)
        return kept

    def line(self, node: NodeRecord, gates: str) -> str:
        """A declaration of a node with other gates, as code."""
        component = self.graph.components[_key(node)]
        settings = {k: v for k, v in component.leaf.settings.items() if v is not None}
        if self.graph.is_finite(node.name) and not settings:
            settings = {"size": self.sizes[node.name]} if "size" in component.family.options else {}
        inside = ", ".join(f"{k}={v!r}" for k, v in settings.items())
        return f'pg.{node.kind}("{node.name}", pg.{component.leaf.family}({inside}), {gates})'


def _key(node: NodeRecord) -> str:
    return node.name if node.switch is None else f"{node.name}.0"


def _lags(graph: ModelGraph) -> dict[str, int]:
    """The longest lag at which each node is read."""
    lags: dict[str, int] = {}
    for node in graph.nodes.values():
        for gate in node.gates():
            if gate.kind == "node" and gate.lag:
                lags[gate.name] = max(lags.get(gate.name, 0), gate.lag)
    return lags


def _clique(var: Var, factors: Iterable[Factor]) -> frozenset[Var]:
    return frozenset({var}).union(*(f.axes for f in factors if var in f.axes))


def _in_stretches(region: Integrated) -> bool:
    return isinstance(region, Region) and region.in_stretches


def _looks_back(var: Var, factors: Iterable[Factor]) -> bool:
    return any(other.lag for other in _clique(var, factors))


def _name(var: Var) -> str:
    return var.node + (f"_{var.lag}" if var.lag else "")
