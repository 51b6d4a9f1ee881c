"""The transition table of a chain with explicit durations: no value follows itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pgem.arrays import Mask
from pgem.declare import NodeRecord, ParamRecord
from pgem.declare.durations import one_value
from pgem.declare.stationary import is_self
from pgem.errors import DeclarationError
from pgem.graph import Component, Key, ModelGraph
from pgem.routines import transition_tables


def with_zero_diagonal(
    record: ParamRecord,
    uses: Iterable[tuple[Key, str]],
    graph: ModelGraph,
    shape: tuple[int, ...],
) -> ParamRecord:
    """A parameter with structural zeros where it is the transition table of such a chain.

    Args:
        record: the parameter.
        uses: components and slots that it stands in.
        graph: the model.
        shape: sizes of its gates, then of its own axes.

    Raises:
        DeclarationError: the chain has a single value, or `zeros=` does not fit.
    """
    for key, slot in uses:
        component = graph.components[key]
        node = graph.nodes[component.node]
        if node.duration is None or component.is_duration or component.step:
            continue
        if shape[-1] == 1:
            raise one_value(node)
        gates = component.leaf.slots[slot].gates
        axis = next(k for k, gate in enumerate(gates) if is_self(gate, node))
        own = _diagonal(shape, axis)
        _check_value(record, node, own)
        given = False if record.zeros is None else _zeros(record, shape)
        record = replace(record, zeros=(own | given).tolist())
    return record


def _diagonal(shape: tuple[int, ...], axis: int) -> Mask:
    """Where index `axis` equals the last one."""
    places = np.indices(shape, sparse=True)
    return np.broadcast_to(places[axis] == places[-1], shape).copy()


def _check_value(record: ParamRecord, node: NodeRecord, diagonal: Mask) -> None:
    """A value on the diagonal contradicts `duration=`."""
    if record.value is None:
        return
    value = np.asarray(record.value, dtype=float)
    fits = (
        value.ndim <= diagonal.ndim and value.shape == diagonal.shape[diagonal.ndim - value.ndim :]
    )
    if fits and np.broadcast_to(value, diagonal.shape)[diagonal].any():
        raise DeclarationError(
            f"node '{node.name}' has duration=, and parameter '{record.name}' a value with which a "
            "value follows itself",
            where=record.origin,
            expected="zeros on the diagonal",
            received=f"'{value.tolist()}'",
            advice="how long a value lasts is told by its duration alone",
        )


def _zeros(record: ParamRecord, shape: tuple[int, ...]) -> Mask:
    try:
        return np.broadcast_to(np.asarray(record.zeros, dtype=bool), shape)
    except ValueError:
        raise DeclarationError(
            f"zeros= of parameter '{record.name}' has the wrong shape",
            where=record.origin,
            expected=f"'{shape}': gates, then the slot's own axes",
            received=f"'{np.shape(record.zeros)}'",
        ) from None


def check_known_table(
    component: Component, node: NodeRecord, size_of: Callable[[Any], int], gates: Mapping[str, Any]
) -> None:
    """A known transition table of such a chain has zeros on its diagonal.

    Args:
        component: the steady step of the chain.
        node: the chain.
        size_of: number of values of a gate.
        gates: gates of each slot, as cells hold them.

    Raises:
        DeclarationError: it has not.
    """
    for name, slot in component.leaf.slots.items():
        if slot.kind != "constant":
            continue
        prev = next(gate for gate in gates[name] if is_self(gate, node))
        tables = transition_tables(np.asarray(slot.value, dtype=float), gates[name], prev, size_of)
        if tables.shape[-1] == 1:
            raise one_value(node)
        stays = np.einsum("cii->ci", tables)
        if stays.any():
            raise DeclarationError(
                f"node '{node.name}' has duration= and a known transition table with a value that "
                "follows itself",
                where=node.origin,
                expected="zeros on the diagonal",
                received=f"'{stays.max():g}'",
                advice="how long a value lasts is told by its duration alone",
            )
