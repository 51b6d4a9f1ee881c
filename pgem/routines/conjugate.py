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

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers, Mask
from pgem.families._family import Family
from pgem.families._linear import Linear
from pgem.families._parts import every, flat_rows
from pgem.routines.choice import joined
from pgem.routines.conjugate_children import (
    Child,
    Conditional,
    Either,
    Leaf,
    below,
    components,
    entries,
    reduced,
    sum_tables,
    tables,
)
from pgem.routines.conjugate_unseen import Posterior, mixed, root_of, rows_of_points, unseen_moments
from pgem.routines.tables import Axis, Entry, Joint, LogTable


def conjugate(latent: Leaf, *children: Child) -> LogTable:
    """log p(children | gates) with the latent integrated out: [rows, axes...]."""
    block = Block(latent, children)
    array = np.zeros_like(block.log_p) if latent.node.flat else block.log_p
    return LogTable(array, latent.node.n_rows, None, block)


@dataclass(frozen=True, eq=False)
class Block(Joint):
    """A latent with its children, and its posterior given the gates.

    Attributes:
        latent: its conditional, or those of its first steps and of the steady ones.
        children: what lies below it.
    """

    latent: Leaf
    children: tuple[Child, ...]

    @cached_property
    def family(self) -> Family:
        """The latent's family."""
        return self.latent.node.family

    @cached_property
    def eta(self) -> Floats:
        """Natural parameters of the prior [rows or 1, axes..., statistics]."""
        if isinstance(self.latent, Conditional):
            return self._natural(self.latent)
        parts = [part for part in self.latent.parts if part is not None]
        n_rows = self.latent.node.n_rows
        return joined(self.latent.gate, [self._natural(part) for part in parts], n_rows)

    def _natural(self, part: Conditional) -> Floats:
        """Natural parameters of one conditional of the latent [rows, axes..., statistics]."""
        plain = {name: part.slots[name] for name in self.family.estimable}
        by_cell = np.concatenate(
            [flat_rows(table) for table in self.family.natural_parameters(**plain)], axis=1
        )
        n_rows, shape = part.node.n_rows, part.shape
        out = np.empty((n_rows, int(np.prod(shape)), by_cell.shape[1]))
        for rows, chosen, _ in part.groups():
            out[rows] = by_cell[chosen]
        return out.reshape(n_rows, *shape, by_cell.shape[1])

    @cached_property
    def messages(self) -> tuple[Floats, Floats]:
        """Σ base [rows, axes...] and Σ δ [rows, axes..., statistics]."""
        if not self.children:
            return np.zeros(self.eta.shape[:-1]), np.zeros_like(self.eta)
        count = self.eta.shape[-1]
        return sum_tables([tables(child, self.family, count) for child in self.children])

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
        found = {
            part.node.key: self._own_entry(part, own)
            for part, own in components(self.latent, joint)
        }
        for child in self.children:
            found |= entries(child, joint)
        return found

    def _own_entry(self, part: Conditional, joint: Floats) -> Entry:
        """Σ w E[φ(u)] per cell, φ = (1, T)."""
        table = reduced(joint, part)
        total = np.zeros((part.cells.n_cells, table.shape[-1]))
        for rows, chosen, _ in part.groups():
            total[chosen] += table[rows].sum(axis=0)
        return Entry(part.node.family, part.cells, (total,), part.slots)

    def moments(self, posterior: Floats) -> dict[str, tuple[Floats, Floats]]:
        """Mean [rows, d] and covariance [rows, d, d] of what is not seen, gates averaged."""
        weights = np.broadcast_to(posterior, self.posterior.shape[:-1])
        own = mixed(weights.reshape(len(weights), -1), *self._latent_moments())
        found = {self.latent.node.key: own}
        for child, rows in below(self.children, np.arange(len(weights))):
            if np.isnan(child.values).any() and child.node.family.domain() is None:
                name = child.node.key.partition(".")[0]
                found[name] = self._child_moments(child, rows, weights[rows])
        return found

    def _child_moments(self, child: Leaf, rows: Integers, weights: Floats) -> tuple[Floats, Floats]:
        """Mean [members, d] and covariance [members, d, d] of a child, in rows with holes."""
        x = child.values
        mean, cov = np.where(np.isnan(x), 0.0, x), np.zeros((*x.shape, x.shape[1]))
        gone = np.flatnonzero(np.isnan(x).any(axis=1))
        if isinstance(child, Conditional):
            parts = self._unseen(child, rows, gone)
        else:
            found = [None if p is None else self._unseen(p, rows, gone) for p in child.parts]
            parts = self._picked(child, found, gone)
        found_mean, found_cov = mixed(weights[gone].reshape(len(gone), -1), *parts)
        holes = np.isnan(x[gone])  # what is seen is certain
        mean[gone] = np.where(holes, found_mean, x[gone])
        cov[gone] = np.where(holes[:, :, None] & holes[:, None], found_cov, 0.0)
        return mean, cov

    def _unseen(
        self, child: Conditional, rows: Integers, wanted: Integers
    ) -> tuple[Floats, Floats]:
        """Mean [n, G, d] and covariance [n, G, d, d] of some members, given each configuration."""
        place = self._places(child)
        dim, n_rows = child.values.shape[1], len(self.given)
        latents = {k: v.reshape(n_rows, -1, *v.shape[1:]) for k, v in self._slots().items()}
        mean = np.empty((len(wanted), len(place), dim))
        cov = np.empty((*mean.shape, dim))
        order = np.full(child.node.n_rows, -1)
        order[wanted] = np.arange(len(wanted))
        for some, chosen, points in child.groups():
            to = order[some]
            local, to = np.flatnonzero(to >= 0), to[to >= 0]
            if not len(local):
                continue
            home = rows[wanted[to]]
            values = {k: v[chosen][place] for k, v in child.slots.items()}
            u = {k: v[home] for k, v in latents.items()}
            given = self.given[home], flat_rows(self.latent.node.points.x)[home]
            here = rows_of_points(points, local)
            latent = Posterior(self.family, u, *given)
            mean[to], cov[to] = unseen_moments(child.node.family, here, values, latent)
        return mean, cov

    def _picked(
        self, child: Either, found: list[tuple[Floats, Floats] | None], wanted: Integers
    ) -> tuple[Floats, Floats]:
        """The moments of the component that each configuration, or row, picks."""
        shape, first = self.posterior.shape[1:-1], next(part for part in found if part is not None)
        mean, cov = np.zeros_like(first[0]), np.zeros_like(first[1])
        for k, part in enumerate(found):
            if part is None:
                continue
            if isinstance(child.gate, Axis):
                here = (np.indices(shape)[child.gate.position - 1].ravel() == k)[None]
            else:
                here = (child.gate.codes[wanted] == k)[:, None]
            mean = np.where(here[..., None], part[0], mean)
            cov = np.where(here[..., None, None], part[1], cov)
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
            if not isinstance(child, Conditional) or not isinstance(child.node.family, Linear):
                continue
            if np.isnan(child.values).any():
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
                deviation = np.einsum("nij,nj->ni", root_of(cov), noise)
                x[to] = mean + deviation / np.sqrt(u[to])[:, None]
        return np.asarray(x)

    def _places(self, child: Conditional) -> Integers:
        """For each configuration of the gates, the configuration of a child's own axes."""
        shape = self.posterior.shape[1:-1]
        own = child.shape[: len(shape)]
        numbers = np.arange(int(np.prod(own))).reshape(own)
        return np.broadcast_to(numbers, shape).ravel()

    @property
    def _dim(self) -> int:
        return self.posterior.shape[-1] if self.family.event_ndim else 1
