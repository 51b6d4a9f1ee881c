"""Stage 2 of 7 — graph: Declaration → ModelGraph, with every check that needs two nodes."""

from pgem.graph.model_graph import UNIT, Component, Key, ModelGraph, Schema, build_graph
from pgem.graph.outline import CovariateOutline, NodeOutline, Outline, ScopeOutline, make_outline

__all__ = [
    "UNIT",
    "Component",
    "CovariateOutline",
    "Key",
    "ModelGraph",
    "NodeOutline",
    "Outline",
    "Schema",
    "ScopeOutline",
    "build_graph",
    "make_outline",
]
