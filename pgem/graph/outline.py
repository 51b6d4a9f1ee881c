"""The little about a model that reading data needs: the only part of the graph that `run` sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pgem.declare import UNIT
from pgem.families import Family
from pgem.graph.model_graph import ModelGraph


@dataclass(frozen=True, eq=False)
class NodeOutline:
    """One node, as far as its data are concerned.

    Attributes:
        name: key of its data.
        kind: latent or observed.
        scope: where it lives.
        finite: whether its values are categories.
        levels: labels, if declared.
        size: number of categories or vector length, if declared.
        families: one per component of a switch.
        known: per family, known slot → covariate that holds it.
        parents: nodes that gate it or stand in its mean, at any lag.
        has_children: whether it gates another node.
        feeds: whether it stands in another node's mean.
        linear: whether it is Gaussian, and a slot is a product, or the mean a sum, with covariates
            or other nodes.
        below_latent: whether a continuous latent stands in one of its slots.
        lag: how far it looks back.
        conditioned: whether its first steps are conditioned on.
        in_segments: whether its values last for explicit durations.
        origin: where it was declared.
    """

    name: str
    kind: str
    scope: str
    finite: bool
    levels: tuple[Any, ...] | None
    size: int | None
    families: tuple[Family, ...]
    known: tuple[dict[str, str], ...]
    parents: tuple[str, ...]
    has_children: bool
    feeds: bool
    linear: bool
    below_latent: bool
    lag: int
    conditioned: bool
    in_segments: bool
    origin: str

    @property
    def event_ndim(self) -> int:
        """Own axes of one value."""
        return max(family.event_ndim for family in self.families)

    @property
    def is_opened_by_holes(self) -> bool:
        """Whether it is a variable where it is missing: others depend on its value."""
        return self.has_children if self.finite else self.feeds


@dataclass(frozen=True)
class ScopeOutline:
    """A plate, sequence or tree: its place and size, and whether nodes inside may look back."""

    name: str
    kind: str
    parent: str
    size: int | None
    looks_back: bool
    origin: str


@dataclass(frozen=True)
class CovariateOutline:
    """An input: where it lives, and its categories if it has any.

    `gates` tells whether it indexes parameters: without a size its categories come from the data.
    """

    name: str
    scope: str
    size: int | None
    levels: tuple[Any, ...] | None
    gates: bool
    origin: str


@dataclass(frozen=True, eq=False)
class Outline:
    """Nodes, scopes (outer before inner) and covariates."""

    name: str
    nodes: dict[str, NodeOutline]
    scopes: dict[str, ScopeOutline]
    covariates: dict[str, CovariateOutline]

    @property
    def parent_keys(self) -> dict[str, str]:
        """Key of the data that holds the members' parents → the tree."""
        return {f"{name}.parent": name for name, s in self.scopes.items() if s.kind == "tree"}

    def path(self, scope: str) -> list[str]:
        """Scopes from the unit inwards, the unit left out."""
        path: list[str] = []
        while scope != UNIT:
            path.insert(0, scope)
            scope = self.scopes[scope].parent
        return path


def make_outline(graph: ModelGraph) -> Outline:
    """The outline of a model."""
    gating = {gate.name for node in graph.nodes.values() for gate in node.gates()}
    feeding = {parent for node in graph.nodes.values() for parent, _ in node.parents()}
    nodes = {name: _node(graph, name, name in gating, name in feeding) for name in graph.nodes}
    scopes = {
        s.name: ScopeOutline(s.name, s.kind, s.parent, s.size, s.looks_back, s.origin)
        for s in graph.scopes.values()
        if s.name != UNIT
    }
    covariates = {
        c.name: CovariateOutline(c.name, c.scope, c.size, c.levels, c.name in gating, c.origin)
        for c in graph.covariates.values()
    }
    return Outline(graph.name, nodes, scopes, covariates)


def _node(graph: ModelGraph, name: str, has_children: bool, feeds: bool) -> NodeOutline:
    record = graph.nodes[name]
    leaves = graph.leaves_of(name)
    known = tuple(
        {
            slot: written.name
            for slot, written in leaf.leaf.slots.items()
            if written.kind == "covariate"
        }
        for leaf in leaves
    )
    levels = leaves[0].family.settings.get("levels")
    gates = [g.name for g in record.gates() if g.kind == "node"]
    return NodeOutline(
        name,
        record.kind,
        record.scope,
        graph.is_finite(name),
        None if levels is None else tuple(levels),
        leaves[0].family.size,
        tuple(leaf.family for leaf in leaves),
        known,
        tuple(dict.fromkeys([*gates, *(parent for parent, _ in record.parents())])),
        has_children,
        feeds,
        all(leaf.family.gaussian for leaf in leaves)
        and any(slot.times for leaf in leaves for slot in leaf.leaf.slots.values()),
        any(_is_continuous(graph, parent) for parent, _ in record.parents()),
        record.lag(),
        record.conditioned,
        record.duration is not None,
        record.origin,
    )


def _is_continuous(graph: ModelGraph, name: str) -> bool:
    """Whether a node is a latent with infinitely many values."""
    return graph.nodes[name].kind == "latent" and not graph.is_finite(name)
