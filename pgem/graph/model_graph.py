"""The declaration as a graph: families resolved, scopes nested, every pair of nodes checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from pgem.declare import (
    UNIT,
    CovariateRecord,
    Gate,
    LeafRecord,
    ModelRecord,
    NodeRecord,
    ParamRecord,
    ScopeRecord,
)
from pgem.errors import DeclarationError
from pgem.families import Family

if TYPE_CHECKING:
    import networkx

Key = str
"""Name of a component: `x`, `y.1` in a switch, `s.first` on a first step, `s.duration`."""


@dataclass(frozen=True)
class Component:
    """One leaf of a node.

    Attributes:
        key: `x`, `y.1`, `s.first` or `s.duration`.
        node: the node that it belongs to.
        leaf: family and slots as declared.
        family: an instance of the family with its settings, structures not yet settled.
        step: 0 for the steady step, k for the k-th first step.
        is_duration: whether it tells how many steps a value of the node lasts.
    """

    key: Key
    node: str
    leaf: LeafRecord
    family: Family
    step: int = 0
    is_duration: bool = False


@dataclass(frozen=True)
class Schema:
    """The little that data tell the compiler.

    Attributes:
        sizes: numbers of values of nodes and covariates whose declaration leaves them open.
        vectors: length of vector-valued nodes.
        axes: observed discrete nodes with holes: they are summed over.
        evidence: discrete nodes that are axes and whose value is given in some rows.
        given: latent nodes whose values are given in every row.
        queries: groups of (node, lag) whose joint posterior is asked for.
        open: observed nodes with infinitely many values and holes, on which others depend.
        holes: where the first hole of each node in `axes` or `open` is, in words; nothing but
            errors depends on it.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    vectors: Mapping[str, int] = field(default_factory=dict)
    axes: frozenset[str] = frozenset()
    evidence: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()
    queries: tuple[tuple[tuple[str, int], ...], ...] = ()
    open: frozenset[str] = frozenset()
    holes: Mapping[str, str] = field(default_factory=dict)

    def holes_of(self, name: str) -> str:
        """The holes of a node for a sentence: `holes (the first in unit '0', step '3' of 't')`."""
        first = self.holes.get(name)
        return f"holes (the first in {first})" if first else "holes"

    def key(self) -> tuple[Any, ...]:
        """A hashable form, to keep programs by."""
        return (
            tuple(sorted(self.sizes.items())),
            tuple(sorted(self.vectors.items())),
            self.axes,
            self.evidence,
            self.given,
            self.queries,
            self.open,
        )


@dataclass(frozen=True)
class ModelGraph:
    """Nodes, scopes and parameters by name.

    Attributes:
        name: the model's name.
        nodes: in an order in which every node follows its gates of the same step.
        scopes: plates, sequences and trees, outer before inner.
        covariates: inputs.
        params: parameters.
        components: all leaves, by key.
        families: classes by the name that records use.
    """

    name: str
    nodes: dict[str, NodeRecord]
    scopes: dict[str, ScopeRecord]
    covariates: dict[str, CovariateRecord]
    params: dict[str, ParamRecord]
    components: dict[Key, Component]
    families: Mapping[str, type[Family]]

    def __getstate__(self) -> dict[str, Any]:
        """Programs that were compiled for this graph are not part of it."""
        return {name: value for name, value in self.__dict__.items() if name != "_programs"}

    def path(self, scope: str) -> list[str]:
        """A scope and those around it, outermost first."""
        path = [scope]
        while self.scopes[path[0]].parent:
            path.insert(0, self.scopes[path[0]].parent)
        return path

    def children(self, scope: str) -> list[str]:
        """Scopes directly inside."""
        return [name for name, record in self.scopes.items() if record.parent == scope]

    def nodes_of(self, scope: str) -> list[NodeRecord]:
        """Nodes of one scope, parents first."""
        return [node for node in self.nodes.values() if node.scope == scope]

    def leaves_of(self, node: str) -> list[Component]:
        """Steady components of a node."""
        own = [c for c in self.components.values() if c.node == node and not c.is_duration]
        return [c for c in own if c.step == 0]

    def firsts_of(self, node: str) -> list[Component]:
        """First-step components of a node, in order of the step."""
        return [c for c in self.components.values() if c.node == node and c.step > 0]

    def duration_of(self, node: str) -> Component | None:
        """How long a value of a node lasts, where that is explicit."""
        return self.components.get(f"{node}.duration")

    def is_finite(self, node: str) -> bool:
        """Whether a node has finitely many values, so that it may be an axis or an index."""
        record = self.nodes[node]
        return record.switch is None and type(self.components[node].family).domain is not (
            Family.domain
        )

    def to_networkx(self) -> networkx.DiGraph:
        """The graph for drawing and for graph algorithms; imports networkx."""
        import networkx as nx

        graph = nx.DiGraph(name=self.name)
        for name, node in self.nodes.items():
            family = " | ".join(type(c.family).__name__ for c in self.leaves_of(name))
            graph.add_node(name, kind=node.kind, scope=node.scope, family=family)
            for gate in node.gates():
                lags = graph.get_edge_data(gate.name, name, {"lags": ()})["lags"]
                graph.add_edge(gate.name, name, lags=(*lags, gate.lag))
        for name, covariate in self.covariates.items():
            graph.add_node(name, kind="covariate", scope=covariate.scope, family="")
        for name, node in self.nodes.items():
            for parent, lag in node.parents():
                lags = graph.get_edge_data(parent, name, {"lags": ()})["lags"]
                graph.add_edge(parent, name, lags=(*lags, lag))
        for component in self.components.values():
            for slot in component.leaf.slots.values():
                times = slot.times
                inputs = (*times.covariates, *times.over) if times else ()
                for name in (slot.name,) if slot.kind == "covariate" else inputs:
                    graph.add_edge(name, component.node, lags=(0,))
        for name, scope in self.scopes.items():
            if name in graph:
                graph.nodes[name].update(kind=scope.kind, scope=scope.parent, family="")
        return graph


def build_graph(record: ModelRecord, families: Mapping[str, type[Family]]) -> ModelGraph:
    """Resolve families and check the whole model.

    Raises:
        DeclarationError: empty model, cycle, unknown name, gates that do not fit.
    """
    if not record.nodes:
        raise DeclarationError(
            f"model '{record.name}' declares no node",
            advice="declare at least one node with pg.observed(...) inside the `with` block",
        )
    nodes = {node.name: node for node in record.nodes}
    _check_known(record, nodes)
    components: dict[Key, Component] = {}
    for node in record.nodes:
        for component in _components(node, families):
            components[component.key] = component
    graph = ModelGraph(
        record.name,
        {name: nodes[name] for name in _order(nodes)},
        {scope.name: scope for scope in record.scopes},
        {covariate.name: covariate for covariate in record.covariates},
        {param.name: param for param in record.params},
        components,
        families,
    )
    for node in record.nodes:
        _check_gates(graph, node)
    return graph


def _components(node: NodeRecord, families: Mapping[str, type[Family]]) -> list[Component]:
    found = []
    for k, leaf in enumerate(node.components):
        key = node.name if node.switch is None else f"{node.name}.{k}"
        found.append(Component(key, node.name, leaf, _instance(leaf, families, node)))
    for step, leaf in enumerate(node.firsts, start=1):
        key = f"{node.name}.first" + (str(step) if step > 1 else "")
        found.append(Component(key, node.name, leaf, _instance(leaf, families, node), step))
    if (lasts := node.duration) is not None:
        family = _instance(lasts, families, node)
        found.append(Component(f"{node.name}.duration", node.name, lasts, family, 0, True))
    return found


def _instance(leaf: LeafRecord, families: Mapping[str, type[Family]], node: NodeRecord) -> Family:
    if leaf.family not in families:
        raise DeclarationError(
            f"node '{node.name}' has family '{leaf.family}', which is not known here",
            where=node.origin,
            advice="pass it: families=[...]",
        )
    settings = {k: v for k, v in leaf.settings.items() if v is not None}
    return families[leaf.family](**settings)


def _check_known(record: ModelRecord, nodes: Mapping[str, NodeRecord]) -> None:
    known = {
        "node": set(nodes),
        "plate": {scope.name for scope in record.scopes},
        "covariate": {covariate.name for covariate in record.covariates},
    }
    for node in record.nodes:
        for gate in node.gates():
            if gate.name not in known[gate.kind]:
                raise DeclarationError(
                    f"node '{node.name}' is gated by {gate.kind} '{gate.name}', which is not part "
                    "of this model",
                    where=node.origin,
                    advice=f"declared are: {', '.join(sorted(known[gate.kind])) or 'none'}",
                )


def _order(nodes: Mapping[str, NodeRecord]) -> list[str]:
    parents = {
        name: [
            *(g.name for g in node.gates() if g.kind == "node" and not g.lag),
            *(parent for parent, lag in node.parents() if not lag),
        ]
        for name, node in nodes.items()
    }
    try:
        return list(TopologicalSorter(parents).static_order())
    except CycleError as problem:
        cycle = " → ".join(map(str, problem.args[1]))
        raise DeclarationError(
            f"the nodes depend on one another in a circle: '{cycle}'",
            where=nodes[problem.args[1][0]].origin,
            advice="break the circle, or look back in time with pg.prev(...)",
        ) from None


def _check_gates(graph: ModelGraph, node: NodeRecord) -> None:
    for parent, _ in node.parents():
        if graph.is_finite(parent):
            raise DeclarationError(
                f"node '{node.name}' multiplies by '{parent}', which has categories for values",
                where=node.origin,
                expected="a Gaussian node; categories index parameters",
                advice=f"pg.param('effect')[{parent}]",
            )
    for gate in node.gates():
        if gate.kind == "node" and not graph.is_finite(gate.name):
            raise DeclarationError(
                f"node '{node.name}' is gated by '{gate.name}', which does not have finitely many "
                "values",
                where=node.origin,
            )
        home = _home(graph, gate)
        if home not in graph.path(node.scope):
            raise DeclarationError(
                f"node '{node.name}' is gated by '{gate.name}' of scope '{home}', which does not "
                f"enclose it",
                where=node.origin,
            )


def _home(graph: ModelGraph, gate: Gate) -> str:
    if gate.kind == "plate":
        return gate.name
    if gate.kind == "covariate":
        return graph.covariates[gate.name].scope
    return graph.nodes[gate.name].scope


__all__ = ["UNIT", "Component", "Key", "ModelGraph", "Schema", "build_graph"]
