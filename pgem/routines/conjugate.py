"""Instruction `integrate` for conjugate latents: one latent u, and children linear in T(u).

Given the discrete gates, every child says of u

    log p(x | u) = base + δ · T(u)

so bases and steps δ of the natural parameters η add over children and members, and

    log p(all children) = A(η + Σ δ) - A(η) + Σ base

a log-table over the gates.  In reverse, u has the natural parameters η + Σ δ, its own conditional
gets the expected statistics ∇A there, and the children count with E[T(u)].  Where the data give u,
nothing is integrated: its log-density is added, and T(u) is certain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers, Mask
from pgem.families._family import Family, Observations, Statistics
from pgem.families._linear import Linear
from pgem.families._parts import every, flat_rows
from pgem.families._scaled import Scaled
from pgem.gating import Cells
from pgem.routines.collect import ScopeData
from pgem.routines.conjugate_unseen import Posterior, mixed, root_of, rows_of_points, unseen_moments
from pgem.routines.tables import (
    Axis,
    Entry,
    Gated,
    Joint,
    LogTable,
    NodeData,
    aligned,
    cells_of,
    flat_index,
    group_cells,
    groups_of,
    slot_values,
    split_gates,
)


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

    def groups(self) -> list[tuple[Any, Integers, Observations]]:
        """Rows that read the same cells: rows, cells (axes by position), values."""
        flat = flat_index(self.cells, self.node.n_rows)
        if flat is None:
            return [(slice(None), group_cells(self.cells, 0), self.node.points)]
        found = groups_of(self.node, flat)
        return [(rows, group_cells(self.cells, code), points) for code, rows, points in found]


@dataclass(frozen=True, eq=False)
class Inside:
    """Children in a plate or sequence inside the latent's scope."""

    scope: ScopeData
    children: tuple[Conditional | Inside, ...]


Child = Conditional | Inside


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
        node.cache["by_row"] = replace(node, points=points, index=None, cache={})
    return node.cache["by_row"]  # type: ignore[no-any-return]


# --- forward ------------------------------------------------------------------------------------


def conjugate(latent: Conditional, *children: Child) -> LogTable:
    """log p(children | gates) with the latent integrated out: [rows, axes...]."""
    block = Block(latent, children)
    array = np.zeros_like(block.log_p) if latent.node.flat else block.log_p
    return LogTable(array, latent.node.n_rows, None, block)


def _tables(child: Child, latent: Family, n_statistics: int) -> tuple[Floats, Floats]:
    """Base [rows, axes...] and step [rows, axes..., statistics] of a child."""
    if isinstance(child, Inside):
        parts = [_tables(part, latent, n_statistics) for part in child.children]
        bases, steps = _sum_tables(parts)
        return _sum_members(child.scope, bases), _sum_members(child.scope, steps)
    family, n_rows = child.node.family, child.node.n_rows
    assert isinstance(family, Scaled | Linear)
    base = np.empty((n_rows, int(np.prod(child.shape))))
    step = np.empty((*base.shape, n_statistics))
    for rows, chosen, points in child.groups():
        here = {name: value[chosen] for name, value in child.slots.items()}
        base[rows], step[rows] = family.message(points, here, latent)
    shape = (n_rows, *child.shape)
    return base.reshape(shape), step.reshape(*shape, n_statistics)


def _sum_tables(tables: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    bases, steps = tables[0]
    for base, step in tables[1:]:
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


# --- the block: forward and reverse -------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Block(Joint):
    """A latent with its children, and its posterior given the gates.

    Attributes:
        latent: its conditional.
        children: what lies below it.
    """

    latent: Conditional
    children: tuple[Child, ...]

    @cached_property
    def family(self) -> Family:
        """The latent's family."""
        return self.latent.node.family

    @cached_property
    def eta(self) -> Floats:
        """Natural parameters of the prior [rows or 1, axes..., statistics]."""
        plain = {name: self.latent.slots[name] for name in self.family.estimable}
        by_cell = np.concatenate(
            [flat_rows(part) for part in self.family.natural_parameters(**plain)], axis=1
        )
        n_rows, shape = self.latent.node.n_rows, self.latent.shape
        out = np.empty((n_rows, int(np.prod(shape)), by_cell.shape[1]))
        for rows, chosen, _ in self.latent.groups():
            out[rows] = by_cell[chosen]
        return out.reshape(n_rows, *shape, by_cell.shape[1])

    @cached_property
    def messages(self) -> tuple[Floats, Floats]:
        """Σ base [rows, axes...] and Σ δ [rows, axes..., statistics]."""
        if not self.children:
            return np.zeros(self.eta.shape[:-1]), np.zeros_like(self.eta)
        count = self.eta.shape[-1]
        return _sum_tables([_tables(child, self.family, count) for child in self.children])

    @cached_property
    def posterior(self) -> Floats:
        """Natural parameters given the children [rows, axes..., statistics]."""
        return self.eta + self.messages[1]

    @cached_property
    def given(self) -> Mask:
        """Rows whose value is in the data."""
        return every(~np.isnan(flat_rows(self.latent.node.points.x)), 1)

    @cached_property
    def log_p(self) -> Floats:
        """log p(children | gates), and of u too where it is given [rows, axes...]."""
        base, step = self.messages
        eta = np.broadcast_to(self.eta, self.posterior.shape)
        rise = self._call(self.family.partition_rise, eta, np.broadcast_to(step, eta.shape))
        table = base + rise.reshape(self.posterior.shape[:-1])
        if not self.given.any():
            return table
        level = self._call(self.family.log_partition, eta).reshape(table.shape)
        known = (self.statistics * self.posterior).sum(axis=-1) - level + base
        h = self.family.total_log_base(self.latent.node.points)
        return np.where(self._rows(self.given, known), known + self._rows(h, known), table)

    @cached_property
    def statistics(self) -> Floats:
        """E[T(u)] given the children [rows, axes..., statistics]; T(u) where u is given."""
        found = self._call(self.family.mean_statistics, self.posterior)
        expected = found.reshape(self.posterior.shape)
        if not self.given.any():
            return expected
        certain = self.family.sufficient_statistics(self.latent.node.points.filled)
        flat = np.concatenate([flat_rows(part) for part in certain], axis=1)
        certain_rows = flat.reshape(len(flat), *(1,) * (expected.ndim - 2), -1)
        return np.where(self._rows(self.given, expected), certain_rows, expected)

    def _rows(self, values: Any, table: Floats) -> Any:
        return values.reshape(-1, *(1,) * (table.ndim - 1))

    def _call(self, function: Any, *tables: Floats) -> Floats:
        """A function of natural parameters, on tables of them; the results side by side."""
        if self.family.event_ndim:
            parts: list[Any] = [(t.reshape(-1, t.shape[-1]),) for t in tables]
        else:
            parts = [tuple(t.reshape(-1, t.shape[-1]).T) for t in tables]
        found = function(*parts[0]) if len(parts) == 1 else function(*parts)
        if not isinstance(found, tuple):
            return np.asarray(found)
        return np.concatenate([flat_rows(part) for part in found], axis=1)

    # --- reverse ------------------------------------------------------------------------------

    def entries(self, posterior: Floats) -> dict[str, Entry]:
        """Expected statistics of the latent and of its children."""
        weights = np.broadcast_to(posterior, self.posterior.shape[:-1])
        expected = weights[..., None] * self.statistics
        joint = np.concatenate([weights[..., None], expected], axis=-1)
        found = {self.latent.node.key: self._own_entry(joint)}
        for child in self.children:
            found |= _entries(child, joint)
        return found

    def _own_entry(self, joint: Floats) -> Entry:
        """Σ w E[φ(u)] per cell, φ = (1, T)."""
        cells = self.latent.cells
        table = _reduced(joint, self.latent)
        total = np.zeros((cells.n_cells, table.shape[-1]))
        for rows, chosen, _ in self.latent.groups():
            total[chosen] += table[rows].sum(axis=0)
        return Entry(self.family, cells, (total,), self.latent.slots)

    def moments(self, posterior: Floats) -> dict[str, tuple[Floats, Floats]]:
        """Mean [rows, d] and covariance [rows, d, d] of what is not seen, gates averaged."""
        weights = np.broadcast_to(posterior, self.posterior.shape[:-1])
        own = mixed(weights.reshape(len(weights), -1), *self._latent_moments())
        found = {self.latent.node.key: own}
        for child, rows in below(self.children, np.arange(len(weights))):
            family = child.node.family
            if np.isnan(child.node.points.x).any() and family.domain() is None:
                found[child.node.key] = self._child_moments(child, rows, weights[rows])
        return found

    def _child_moments(
        self, child: Conditional, rows: Integers, weights: Floats
    ) -> tuple[Floats, Floats]:
        """Mean [members, d] and covariance [members, d, d] of a child, in rows with holes."""
        x = flat_rows(child.node.points.x)
        mean, cov = np.where(np.isnan(x), 0.0, x), np.zeros((*x.shape, x.shape[1]))
        place = self._places(child)
        latents = {
            k: v.reshape(len(self.given), -1, *v.shape[1:]) for k, v in self._slots().items()
        }
        for some, chosen, points in child.groups():
            gone = np.flatnonzero(np.isnan(flat_rows(points.x)).any(axis=1))
            here = np.arange(len(x))[some][gone]
            if not len(here):
                continue
            values = {k: v[chosen][place] for k, v in child.slots.items()}
            u = {k: v[rows[here]] for k, v in latents.items()}
            given = self.given[rows[here]], flat_rows(self.latent.node.points.x)[rows[here]]
            parts = unseen_moments(child.node.family, rows_of_points(points, gone), values,
                                   Posterior(self.family, u, *given))  # fmt: skip
            mean[here], cov[here] = mixed(weights[here].reshape(len(here), len(place)), *parts)
        return mean, cov

    def _latent_moments(self) -> tuple[Floats, Floats]:
        """Mean [rows, G, d] and covariance [rows, G, d, d] given each configuration."""
        mean, cov = self.family.moments(self._slots())
        mean = mean.reshape(len(self.given), -1, self._dim)
        cov = cov.reshape(*mean.shape, self._dim)
        given = self.given.reshape(-1, 1, 1)
        x = flat_rows(self.latent.node.points.x)[:, None]
        return np.where(given, x, mean), np.where(given[..., None], 0.0, cov)

    def _slots(self) -> dict[str, Floats]:
        """Slot values of the posterior of every row and configuration."""
        flat = self.posterior.reshape(-1, self.posterior.shape[-1])
        eta = (flat,) if self.family.event_ndim else tuple(flat.T)
        return dict(zip(self.family.estimable, self.family.from_natural(*eta), strict=True))

    def draw(self, generator: Generator, posterior: Floats) -> dict[str, Floats]:
        """One draw of the latent [rows, d], given the gates that were drawn."""
        shape = self.posterior.shape[:-1]
        choice = np.broadcast_to(posterior, shape).reshape(shape[0], -1).argmax(axis=1)
        drawn = self.family.draw(generator, self._slots()).reshape(shape[0], -1, self._dim)
        values = drawn[np.arange(shape[0]), choice]
        x = flat_rows(self.latent.node.points.x)
        values = np.where(self.given[:, None], x, values)
        found = {self.latent.node.key: values}
        for child, rows in below(self.children, np.arange(shape[0])):
            if isinstance(child.node.family, Linear) and np.isnan(child.node.points.x).any():
                here = values[rows][:, 0], choice[rows]
                found[child.node.key] = self._child_draw(generator, child, *here)
        return found

    def _child_draw(
        self, generator: Generator, child: Conditional, u: Floats, choice: Integers
    ) -> Floats:
        """Whole values of a Gaussian child [members, d], given u and the gates of each member."""
        family, x = child.node.family, flat_rows(child.node.points.x).copy()
        assert isinstance(family, Linear)
        place = self._places(child)
        for some, chosen, points in child.groups():
            gone = np.flatnonzero(np.isnan(flat_rows(points.x)).any(axis=1))
            here = np.arange(len(x))[some][gone]
            cells = chosen[place][choice[here]]
            for cell in np.unique(cells):
                rows = gone[cells == cell]
                mean, cov = family.unseen(rows_of_points(points, rows), child.slots, int(cell))
                noise = generator.standard_normal(mean.shape)
                to = here[cells == cell]
                x[to] = (
                    mean + np.einsum("nij,nj->ni", root_of(cov), noise) / np.sqrt(u[to])[:, None]
                )
        return x

    def _places(self, child: Conditional) -> Integers:
        """For each configuration of the gates, the configuration of a child's own axes."""
        shape = self.posterior.shape[1:-1]
        own = child.shape[: len(shape)]
        return np.broadcast_to(np.arange(int(np.prod(own))).reshape(own), shape).ravel()

    @property
    def _dim(self) -> int:
        return self.posterior.shape[-1] if self.family.event_ndim else 1


def below(children: Sequence[Child], rows: Integers) -> Iterator[tuple[Conditional, Integers]]:
    """Every child with the latent's row of each of its own rows."""
    for child in children:
        if isinstance(child, Inside):
            yield from below(child.children, rows[child.scope.parent])
        else:
            yield child, rows


def _entries(child: Child, joint: Floats) -> dict[str, Entry]:
    """Statistics of a child from (w, w E[T(u)]) [rows, axes..., 1 + statistics] of the latent."""
    if isinstance(child, Inside):
        inner = joint[child.scope.parent]
        more = (1,) * (child.scope.n_dims - child.scope.parent_dims)
        inner = inner.reshape(*inner.shape[:-1], *more, inner.shape[-1])
        found: dict[str, Entry] = {}
        for part in child.children:
            found |= _entries(part, inner)
        return found
    family = child.node.family
    assert isinstance(family, Scaled | Linear)
    if isinstance(family, Scaled) and family.rule is None:
        return {}  # the latent is all there is to learn of it
    table = _reduced(joint, child)
    total: Statistics = ()
    for rows, chosen, points in child.groups():
        here = {name: value[chosen] for name, value in child.slots.items()}
        weights, expected = table[rows][..., 0], table[rows][..., 1:]
        parts = family.accumulate_scaled(points, weights, expected, here)
        if not total:
            total = tuple(np.zeros((child.cells.n_cells, *part.shape[1:])) for part in parts)
        for whole, own in zip(total, parts, strict=True):
            whole[chosen] += own
    return {child.node.key: Entry(family, child.cells, total, child.slots)}


def _reduced(joint: Floats, part: Conditional) -> Floats:
    """[rows, axes..., S] → [rows, product of a component's own axes, S]."""
    shape = part.shape
    axes = tuple(k for k in range(1, joint.ndim - 1) if shape[k - 1] == 1 < joint.shape[k])
    table = np.asarray(joint.sum(axis=axes, keepdims=True)) if axes else joint
    return table.reshape(len(table), int(np.prod(shape)), table.shape[-1])
