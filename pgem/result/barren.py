"""Barren cells: missing, with no observed or decoded descendant; decoding sums them out first."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Mask
from pgem.graph import NodeOutline
from pgem.plan import Program
from pgem.run import Bound, Columns


def barren_cells(program: Program, columns: Columns, axes: frozenset[str]) -> dict[str, Mask]:
    """Per observed node with holes and children, which of its cells [rows] are barren.

    Args:
        program: any program of the model.
        columns: the data.
        axes: observed nodes that the schema makes axes.
    """
    nodes = program.outline.nodes
    gone = {name: _missing(columns, node) for name, node in nodes.items()}
    bound = Bound(program, columns)
    changed = True
    while changed:
        changed = False
        for name in axes:
            still = gone[name] & ~_has_live_child(bound, name, gone)
            changed |= bool((still != gone[name]).any())
            gone[name] = still
    return {name: gone[name] for name in axes if gone[name].any()}


def _missing(columns: Columns, node: NodeOutline) -> Mask:
    """Cells without any value; latent ones are decoded, so they count as there."""
    n_rows = columns.n_rows(node.scope)
    if node.kind == "latent":
        return np.zeros(n_rows, dtype=bool)
    if not columns.has(node.name):
        return np.ones(n_rows, dtype=bool)
    return np.asarray(columns.missing(node.name).reshape(n_rows, -1).all(axis=1))


def _has_live_child(bound: Bound, name: str, gone: dict[str, Mask]) -> Mask:
    """Cells of a node with a child that is there."""
    outline, graph = bound.program.outline, bound.program.analysis.graph
    home = outline.nodes[name].scope
    live = np.zeros(len(gone[name]), dtype=bool)
    for child, record in graph.nodes.items():
        for gate in record.gates():
            if gate.kind != "node" or gate.name != name:
                continue
            rows = np.flatnonzero(~gone[child])
            parents = bound.beside.rows_of(record.scope, home)[rows]
            if gate.lag:
                parents = bound.columns.earlier(home, gate.lag)[parents]
            live[parents[parents >= 0]] = True
    return live
