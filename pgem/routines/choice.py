"""Tables of a node whose family is picked by a variable, put together from those of its components.

A component has density zero at a value outside its support, and a continuous one at an atom of a
discrete one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgem.arrays import Floats
from pgem.routines.tables import Axis, Choice, Index, LogTable, NodeData, Source, picked


def choose(gate: Axis | Index, *parts: LogTable) -> LogTable:
    """A table whose slice (or rows) k comes from part k: components of different families."""
    arrays = [part.full() for part in possible_parts(parts)]
    n_rows = parts[0].n_rows
    return LogTable(joined(gate, arrays, n_rows), n_rows, None, Choice(gate, tuple(parts)))


def joined(gate: Axis | Index, arrays: Sequence[Floats], n_rows: int) -> Floats:
    """Slice (or rows) k from array k [rows or 1, axes..., more].

    An array may have an axis for the gate already, where that indexes its parameters, too.
    """
    if isinstance(gate, Axis):
        own = [
            a if a.shape[gate.position] == 1 else picked(gate, k, a, whole=False)
            for k, a in enumerate(arrays)
        ]
        return np.concatenate(np.broadcast_arrays(*own), axis=gate.position)
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    whole = [np.broadcast_to(array, (n_rows, *shape[1:])) for array in arrays]
    return np.stack(whole)[gate.codes, np.arange(n_rows)]


def possible_parts(parts: Sequence[LogTable]) -> list[LogTable]:
    """The tables of a switch's components, -inf where a component cannot take the value."""
    return [_outside(part) for part in _separate_atoms(parts)]


def _outside(part: LogTable) -> LogTable:
    """A value outside a component's support has density zero under it."""
    node = part.source.node if isinstance(part.source, Source) else None
    barred = None if node is None or node.flat else node.cache.get("barred")
    if barred is None:
        return part
    array = np.where(barred.reshape(-1, *(1,) * (part.array.ndim - 1)), -np.inf, part.full())
    return LogTable(array, part.n_rows, None, part.source)


def _separate_atoms(parts: Sequence[LogTable]) -> tuple[LogTable, ...]:
    """A value that is an atom of a discrete part has density zero under a continuous one."""
    nodes = [part.source.node for part in parts if isinstance(part.source, Source)]
    kinds = {node.family.support.discrete for node in nodes}
    if len(kinds) < 2 or any(node.flat for node in nodes):
        return tuple(parts)
    discrete = [p for p, node in zip(parts, nodes, strict=True) if node.family.support.discrete]
    atom = np.zeros(parts[0].n_rows, dtype=bool)
    for part, node in zip(discrete, [n for n in nodes if n.family.support.discrete], strict=True):
        positive = np.isfinite(part.full()).reshape(len(part.full()), -1).any(axis=1)
        missing = np.isnan(_values(node))
        atom |= np.broadcast_to(positive, atom.shape) & ~missing
    barred = atom.reshape(-1, *(1,) * (parts[0].array.ndim - 1))
    return tuple(
        part
        if node.family.support.discrete
        else LogTable(np.where(barred, -np.inf, part.full()), part.n_rows, None, part.source)
        for part, node in zip(parts, nodes, strict=True)
    )


def _values(node: NodeData) -> Floats:
    x = node.points.x
    x = x if x.ndim == 1 else x[:, 0]
    if node.index is None:
        return x
    return np.where(node.index < 0, np.nan, x[node.index])
