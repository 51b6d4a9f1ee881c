"""What lies below a conjugate latent: its children, what they say of it, and what they count.

A child is a conditional, one of several (a switch, or the first steps of a node that looks back),
or the product over the members of a plate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.families._family import Family, Observations, Statistics
from pgem.families._linear import Linear
from pgem.families._link import Linked
from pgem.families._parts import flat_rows
from pgem.families._scaled import Scaled
from pgem.gating import Cells
from pgem.routines.choice import joined, possible_parts
from pgem.routines.collect import ScopeData
from pgem.routines.tables import (
    Axis,
    Entry,
    Gated,
    Index,
    LogTable,
    NodeData,
    Source,
    aligned,
    cells_of,
    flat_index,
    group_cells,
    groups_of,
    picked,
    slot_values,
    split_gates,
)

Multiplied = Scaled | Linear | Linked
"""Families that know what a latent in one of their slots does."""


@dataclass(frozen=True, eq=False)
class Conditional:
    """A component with its cells and slot values: one value per row of its scope."""

    node: NodeData
    cells: Cells
    slots: dict[str, Floats]

    @property
    def axes(self) -> list[Axis]:
        """Its gates that are summed over, by axis number."""
        return [self.cells.gates[k] for k in split_gates(self.cells)[1]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its tables after the rows."""
        return aligned(self.node.n_dims, self.axes)

    @property
    def depends(self) -> bool:
        """Whether the latent stands in one of its slots."""
        family = self.node.family
        return isinstance(family, Multiplied) and bool(family.latent)

    @property
    def values(self) -> Floats:
        """Its values [rows, d]."""
        return np.asarray(flat_rows(self.node.points.x))

    def groups(self) -> list[tuple[Any, Integers, Observations]]:
        """Rows that read the same cells: rows, cells (axes by position), values."""
        flat = flat_index(self.cells, self.node.n_rows)
        if flat is None:
            return [(slice(None), group_cells(self.cells, 0), self.node.points)]
        found = groups_of(self.node, flat)
        return [(rows, group_cells(self.cells, code), points) for code, rows, points in found]


@dataclass(frozen=True, eq=False)
class Either:
    """One of several conditionals of a node: a switch, or first steps and steady ones.

    Attributes:
        gate: what picks.
        parts: one per value of the gate; None for steps that are conditioned on.
    """

    gate: Axis | Index
    parts: tuple[Conditional | None, ...]

    @property
    def steady(self) -> Conditional:
        """The last of them."""
        return [part for part in self.parts if part is not None][-1]

    @property
    def node(self) -> NodeData:
        """The data of the last of them."""
        return self.steady.node

    @cached_property
    def values(self) -> Floats:
        """Its values [rows, d]; NaN only where none of its components sees one."""
        found = self.steady.values
        for part in self.parts:
            if part is not None:
                found = np.where(np.isnan(found), part.values, found)
        return found


@dataclass(frozen=True, eq=False)
class Inside:
    """Children in a plate or sequence inside the latent's scope."""

    scope: ScopeData
    children: tuple[Child, ...]


Leaf = Conditional | Either
Child = Leaf | Inside


# --- as the listing writes them -----------------------------------------------------------------


def times(gated: Gated, latent: NodeData) -> Gated:
    """A slot's coefficient, which the latent multiplies."""
    del latent  # the family knows how it enters
    return gated


def over(gated: Gated, latent: NodeData) -> Gated:
    """A slot's coefficient, which the latent divides."""
    del latent  # the family knows how it enters
    return gated


def prior(node: NodeData, **slots: Gated) -> Conditional:
    """The conditional of the latent itself."""
    return _conditional(node, slots)


def message(node: NodeData, **slots: Gated | NodeData) -> Conditional:
    """What a child says of the latent, which may be the whole of a slot."""
    plain = {k: Gated(np.ones(()), ()) if isinstance(v, NodeData) else v for k, v in slots.items()}
    return _conditional(node, plain)


def either(gate: Axis | Index, *parts: Conditional) -> Either:
    """What the component that a switch picks says of the latent."""
    return Either(gate, parts)


def staged(number: Integers, *parts: Conditional | None) -> Either:
    """What the first steps of a node that looks back say, and then the steady ones (the last).

    Args:
        number: step number of each row, from 0.
        parts: in order; None where a first step is conditioned on and says nothing.
    """
    return Either(Index("step", np.minimum(number, len(parts) - 1), len(parts)), parts)


def inside(scope: ScopeData, *children: Child) -> Inside:
    """The product over the members of a plate, or the steps of a sequence."""
    return Inside(scope, children)


def _conditional(node: NodeData, slots: dict[str, Gated]) -> Conditional:
    cells = cells_of(node, slots)
    return Conditional(_by_row(node), cells, slot_values(cells, slots, node.family))


def _by_row(node: NodeData) -> NodeData:
    """A node with one value per row, also where equal values were merged."""
    if node.index is None:
        return node
    if "by_row" not in node.cache:
        gone, index = node.index < 0, np.maximum(node.index, 0)
        x = node.points.x[index].astype(float)
        x[gone] = np.nan
        known = {name: value[index] for name, value in node.points.known.items()}
        points = Observations(node.family, x, known)
        kept = {"barred": node.cache.get("barred")}
        node.cache["by_row"] = replace(node, points=points, index=None, cache=kept)
    return node.cache["by_row"]  # type: ignore[no-any-return]


# --- forward: bases and steps -------------------------------------------------------------------


def tables(child: Child, latent: Family, n_statistics: int) -> tuple[Floats, Floats]:
    """Base [rows, axes...] and step [rows, axes..., statistics] of a child."""
    if isinstance(child, Inside):
        parts = [tables(part, latent, n_statistics) for part in child.children]
        bases, steps = sum_tables(parts)
        return _sum_members(child.scope, bases), _sum_members(child.scope, steps)
    if isinstance(child, Either):
        return _picked_tables(child, latent, n_statistics)
    family, n_rows = child.node.family, child.node.n_rows
    base = np.empty((n_rows, int(np.prod(child.shape))))
    step = np.zeros((*base.shape, n_statistics))
    for rows, chosen, points in child.groups():
        here = {name: value[chosen] for name, value in child.slots.items()}
        if child.depends:
            assert isinstance(family, Multiplied)
            base[rows], step[rows] = family.message(points, here, latent)
        else:
            base[rows] = family.log_density(points, here)
    shape = (n_rows, *child.shape)
    return base.reshape(shape), step.reshape(*shape, n_statistics)


def _picked_tables(child: Either, latent: Family, n_statistics: int) -> tuple[Floats, Floats]:
    """The tables of the parts, put together along the gate."""
    found = [None if part is None else tables(part, latent, n_statistics) for part in child.parts]
    n_rows, n_dims = child.node.n_rows, child.node.n_dims
    bases = [np.zeros((n_rows, *(1,) * (n_dims - 1))) if t is None else t[0] for t in found]
    steps = [
        np.zeros((n_rows, *(1,) * (n_dims - 1), n_statistics)) if t is None else t[1] for t in found
    ]
    if None not in child.parts:
        bases = _barred(child, bases)
    return joined(child.gate, bases, n_rows), joined(child.gate, steps, n_rows)


def _barred(child: Either, bases: list[Floats]) -> list[Floats]:
    """-inf where a component cannot take the value."""
    parts = [
        LogTable(base, part.node.n_rows, None, Source(part.node, part.cells, part.slots, None))
        for base, part in zip(bases, child.parts, strict=True)
        if part is not None
    ]
    return [part.full() for part in possible_parts(parts)]


def sum_tables(found: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Add bases and steps of several children."""
    bases, steps = found[0]
    for base, step in found[1:]:
        bases, steps = bases + base, steps + step
    return bases, steps


def _sum_members(scope: ScopeData, table: Floats) -> Floats:
    """Add over members: [members, axes..., more] → [parent rows, axes..., more]."""
    tail = table.shape[scope.n_dims :]
    table = table.reshape(len(table), *table.shape[1 : scope.parent_dims], *tail)
    out = np.zeros((len(scope.lengths), *table.shape[1:]))
    filled = scope.lengths > 0
    if filled.any():
        out[filled] = np.add.reduceat(table, scope.starts[:-1][filled], axis=0)
    return out


# --- reverse: what is counted -------------------------------------------------------------------


def below(children: Sequence[Child], rows: Integers) -> Iterator[tuple[Leaf, Integers]]:
    """Every child with the latent's row of each of its own rows."""
    for child in children:
        if isinstance(child, Inside):
            yield from below(child.children, rows[child.scope.parent])
        else:
            yield child, rows


def entries(child: Child, joint: Floats) -> dict[str, Entry]:
    """Statistics of a child from (w, w E[T(u)]) [rows, axes..., 1 + statistics] of the latent."""
    found: dict[str, Entry] = {}
    if isinstance(child, Inside):
        inner = joint[child.scope.parent]
        more = (1,) * (child.scope.n_dims - child.scope.parent_dims)
        inner = inner.reshape(*inner.shape[:-1], *more, inner.shape[-1])
        for part in child.children:
            found |= entries(part, inner)
    else:
        for component, own in components(child, joint):
            found |= _entry(component, own)
    return found


def components(leaf: Leaf, joint: Floats) -> Iterator[tuple[Conditional, Floats]]:
    """The conditionals of a node, each with what belongs to it of a table over all of them."""
    if isinstance(leaf, Conditional):
        yield leaf, joint
        return
    for k, part in enumerate(leaf.parts):
        if part is not None:
            gate = leaf.gate
            whole = isinstance(gate, Axis) and part.shape[gate.position - 1] > 1
            yield part, picked(gate, k, joint, whole=whole)


def _entry(child: Conditional, joint: Floats) -> dict[str, Entry]:
    family = child.node.family
    if isinstance(family, Scaled) and family.latent and family.rule is None:
        return {}  # the latent is all there is to learn of it
    table = reduced(joint, child)
    total: Statistics = ()
    for rows, chosen, points in child.groups():
        here = {name: value[chosen] for name, value in child.slots.items()}
        weights, expected = table[rows][..., 0], table[rows][..., 1:]
        if child.depends:
            assert isinstance(family, Multiplied)
            parts = family.accumulate_scaled(points, weights, expected, here)
        else:
            parts = family.accumulate(points, weights, here)
        if not total:
            shapes = [((child.cells.n_cells, *part.shape[1:]), part.dtype) for part in parts]
            total = tuple(np.zeros(shape, dtype) for shape, dtype in shapes)
        for whole, own in zip(total, parts, strict=True):
            whole[chosen] += own
    return {child.node.key: Entry(family, child.cells, total, child.slots)}


def reduced(joint: Floats, part: Conditional) -> Floats:
    """[rows, axes..., S] → [rows, product of a component's own axes, S]."""
    shape = part.shape
    axes = tuple(k for k in range(1, joint.ndim - 1) if shape[k - 1] == 1 < joint.shape[k])
    table: Floats = joint.sum(axis=axes, keepdims=True) if axes else joint
    return table.reshape(len(table), int(np.prod(shape)), table.shape[-1])
