r"""Generalised linear slots: a probability or rate whose link is a sum of terms.

    η = C φ,   slot = link⁻¹(η),   C φ = Σ over terms of coefficient × covariates

With covariates there is no finite statistic, so what is accumulated is the posterior weight of
every row in every cell, beside the rows' design; adding two such pieces puts one behind the other,
or adds their weights where the rows are the same.  The M-step (`routines/newton.py`) reads from
them Q, its slope and its curvature in C.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask
from pgem.families._family import Family, Observations, Slots, Statistics
from pgem.families._linear import (
    Product,
    Regressor,
    Term,
    WithTerms,
    coefficients_of,
    product_of,
)
from pgem.families._links import LINKS, Link
from pgem.families._parts import Slot, Support, flat_rows
from pgem.families._role import Statistic
from pgem.families._roles import KNOWN, MEAN, RATE


@dataclass
class EveryValue(Observations):
    """All values of a finite family [K], under every row of `known` [U, ...]."""


@dataclass(frozen=True, eq=False)
class Folded:
    """Rows with their weights multiplied into the statistic.

    Attributes:
        statistic: of the slot's role [d, n] each.
        design: what the coefficients are multiplied by [columns, n].
        offset: what is added to every predictor [n], or 0.
        weight: posterior weight of each row [n], 0 where nothing is shown.
    """

    statistic: Statistic
    design: Floats
    offset: Floats | float
    weight: Floats

    def predictor(self, coefs: Floats, factor: Floats | None) -> Floats:
        """η [d, n] under the coefficients [d, columns] and the slot of one cell."""
        eta = np.asarray(coefs @ self.design + self.offset)
        if factor is None:
            return eta
        with np.errstate(divide="ignore"):
            return np.asarray(eta + np.log(factor)[:, None])

    def squares(self, weights: Floats) -> Floats:
        """Σ weight φ φᵀ [columns, columns]."""
        return np.asarray((self.design * weights) @ self.design.T)


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows of one cell.

    Attributes:
        data: their values, for the family without its link.
        slot: the slot behind the link.
        design: what the coefficients are multiplied by [n, columns].
        offset: what is added to every predictor [n], or 0.
        weights: their posterior weights [n]; [n × K] where the data are all K values.
        scaled: weights times E[u] [n], where a latent u multiplies the slot.
    """

    data: Observations
    slot: str
    design: Floats
    offset: Floats | float
    weights: Floats
    scaled: Floats | None = None

    @cached_property
    def statistic(self) -> Statistic:
        """What each value adds to the statistic of the slot's role [n, d]; zero where missing."""
        data = self.data
        found = data.family.role_statistics(self.slot, (data.features,), {}, {}, cancel=True)
        assert found is not None
        return tuple(part.reshape(len(part), -1) for part in found)

    def pooled(self, other: Piece) -> Piece:
        """The same rows with the weights of both."""
        both = None
        if self.scaled is not None and other.scaled is not None:
            both = self.scaled + other.scaled
        return replace(self, weights=self.weights + other.weights, scaled=both)

    @cached_property
    def folded(self) -> Folded:
        """The rows that count, weights multiplied in."""
        n_rows = len(self.design)
        if len(self.weights) != n_rows:
            by_value = self.weights.reshape(n_rows, -1)
            parts, weight = [by_value @ part for part in self.statistic], by_value.sum(axis=1)
        else:
            linear = self.weights if self.scaled is None else self.scaled
            by = [self.weights, *[linear] * (len(self.statistic) - 1)]
            parts = [part * w[:, None] for part, w in zip(self.statistic, by, strict=True)]
            weight = self.weights * np.any([part.any(axis=1) for part in parts], axis=0)
        some = np.flatnonzero(weight > 0)
        chosen = slice(None) if len(some) == n_rows else some
        offset = self.offset[chosen] if isinstance(self.offset, np.ndarray) else self.offset
        return Folded(
            tuple(np.ascontiguousarray(part[chosen].T) for part in parts),
            np.ascontiguousarray(self.design[chosen].T),
            offset,
            weight[chosen],
        )


@dataclass(frozen=True, eq=False)
class Rows:
    """The weighted rows of one cell; `+` chains them, and pools equal ones."""

    pieces: tuple[Piece, ...] = ()

    def __add__(self, other: object) -> Rows:
        if not isinstance(other, Rows):
            return self
        found = {id(piece.data): piece for piece in self.pieces}
        for new in other.pieces:
            old = found.get(id(new.data))
            found[id(new.data)] = new if old is None else old.pooled(new)
        return Rows(tuple(found.values()))

    __radd__ = __add__  # a sum begins with the number zero


class Linked(WithTerms):
    """A family whose one estimated slot is given by the terms of its link.

    Args:
        base: the family as declared, settled.
        slot: its slot behind the link.
        terms: the terms of the linear predictor.
        factor: the slot itself, if it stands beside its link and multiplies.
        factor_by: what multiplies that slot.
        latent: a conjugate latent that multiplies it, or "".
    """

    def __init__(
        self,
        base: Family,
        slot: Slot,
        terms: Sequence[Term],
        *,
        factor: bool = False,
        factor_by: Product | None = None,
        latent: str = "",
    ) -> None:
        self.latent = latent
        self.base, self.target, self.terms = base, slot.name, tuple(terms)
        self.link_slot = slot.link
        self.factor, self.spread_by = factor, factor_by
        self.link: Link = LINKS[slot.role]
        kept = [s for s in base.slots if s.role is KNOWN or (s.name == slot.name and factor)]
        self.slots = (*(Slot(term.slot, MEAN) for term in terms), *kept)  # type: ignore[misc]
        self.settings, self.arguments = dict(base.settings), {}
        self.structures, self.size = dict(base.structures), base.size
        self.event_ndim = base.event_ndim  # type: ignore[misc]
        self.formula = base.formula  # type: ignore[misc]
        self.examples = base.examples  # type: ignore[misc]
        self.owner = base.owner

    @property
    def support(self) -> Support:  # type: ignore[override]
        """The possible values."""
        return self.base.support

    @property
    def factorises(self) -> bool:
        return self.base.factorises

    def domain(self) -> Floats | None:
        return self.base.domain()

    def check_values(self, x: Floats, known: Mapping[str, Floats] | None = None) -> Mask:
        own = {name: v for name, v in (known or {}).items() if name in self.base.known_slots}
        return self.base.check_values(x, own)

    def regressors(self, *, parents: bool = False) -> list[Regressor]:
        """Everything that terms and the slot are multiplied by, the latent on demand."""
        found = super().regressors(parents=parents)
        return [*found, (self.latent, 0)] if parents and self.latent else found

    def multiplier(self, values: Mapping[Regressor, Floats], n_rows: int) -> Floats | None:
        """What the slot is multiplied by [N], or None; by a latent only if it is given."""
        by = self.spread_by
        if (self.latent, 0) in values:
            scale, factors, over = by or (1.0, (), ())
            by = (scale, (*factors, (self.latent, 0)), over)
        return product_of(by, values, n_rows)

    # --- rows ---------------------------------------------------------------------------------

    def coefs(self, slots: Slots) -> Floats:
        """C [cells, d, columns]."""
        first = slots[self.terms[0].slot]
        return coefficients_of(self.terms, slots, (len(first), self.dim, self.width))

    def _piece(
        self,
        data: Observations,
        slots: Slots,
        cell: int,
        weights: Floats,
        scaled: Floats | None = None,
    ) -> Piece:
        """All rows for one cell."""
        own = {
            name: data.known[name] if name in data.known else slots[name][cell : cell + 1]
            for name in self.base.known_slots
        }
        key = b"base" + b"".join(v.tobytes() for n, v in own.items() if n not in data.known)
        if key not in data.kept:
            data.kept[key] = Observations(self.base, data.x, own)
        spread = data.known.get("spread")
        offset = 0.0 if spread is None else np.log(spread)
        return Piece(data.kept[key], self.target, data.known["design"], offset, weights, scaled)

    def _factor(self, slots: Slots, cell: int) -> Floats | None:
        return np.atleast_1d(slots[self.target][cell]) if self.factor else None

    # --- E-step -------------------------------------------------------------------------------

    def log_density(self, data: Observations, slots: Slots) -> Floats:
        coefs, columns = self.coefs(slots), []
        with np.errstate(over="ignore"):
            for cell in range(len(coefs)):
                piece = self._piece(data, slots, cell, np.ones(1))
                rows = Folded((), piece.design.T, piece.offset, piece.weights)
                eta = rows.predictor(coefs[cell], self._factor(slots, cell))
                columns.append(self._log_density(piece, eta, every=isinstance(data, EveryValue)))
        return np.stack(columns, axis=1)

    def _log_density(self, piece: Piece, eta: Floats, *, every: bool) -> Floats:
        """log p of each row, or of all values in every row, one row after the other."""
        base = piece.data.log_base if self.base.has_base else 0.0
        if not every:
            statistic = tuple(part.T for part in piece.statistic)
            return np.asarray(self.link.log_density(statistic, eta) + base)
        logs = self.link.logs(eta)
        table = sum(log.T @ part.T for log, part in zip(logs, piece.statistic, strict=True))
        return np.asarray(table + base).ravel()

    def accumulate(self, data: Observations, weights: Floats, slots: Slots) -> Statistics:
        """The expected count [C], and the weighted rows of every cell [C]."""
        columns = np.array(weights.T, order="C")
        rows = np.empty(len(columns), dtype=object)
        rows[:] = [
            Rows((self._piece(data, slots, cell, column),)) for cell, column in enumerate(columns)
        ]
        count = weights.sum(axis=0) if isinstance(data, EveryValue) else _seen(data) @ weights
        return count, cast(Floats, rows)

    # --- E-step under a latent u that multiplies the slot -------------------------------------

    def message(self, data: Observations, slots: Slots, latent: Family) -> tuple[Floats, Floats]:
        """log p(x | u, cell) = base + δ · T(u): base [N, C] and δ [N, C, statistics of u]."""
        coefs, found = self.coefs(slots), []
        for cell in range(len(coefs)):
            piece = self._piece(data, slots, cell, np.ones(1))
            rows = Folded((), piece.design.T, piece.offset, piece.weights)
            eta = rows.predictor(coefs[cell], self._factor(slots, cell))
            base, step = self.link.message(tuple(part.T for part in piece.statistic), eta)
            found.append((base + (piece.data.log_base if self.base.has_base else 0.0), step))
        bases, steps = zip(*found, strict=True)
        return np.stack(bases, axis=1), np.stack(steps, axis=1)

    def accumulate_scaled(
        self, data: Observations, weights: Floats, expected: Floats, slots: Slots
    ) -> Statistics:
        """The expected count [C], and rows that count w, and w E[u] where u multiplies [C].

        Args:
            data: the rows.
            weights: their posterior weights w [N, C].
            expected: w E[T(u)] [N, C, statistics of u].
            slots: slot values per cell.
        """
        rows = np.empty(weights.shape[1], dtype=object)
        rows[:] = [
            Rows((self._piece(data, slots, cell, weights[:, cell], expected[:, cell, -1]),))
            for cell in range(weights.shape[1])
        ]
        return _seen(data) @ weights, cast(Floats, rows)

    # --- M-step -------------------------------------------------------------------------------

    def _cells(self, stats: Statistics) -> Iterator[tuple[int, Folded]]:
        """Cells with their rows that count."""
        for cell, rows in enumerate(stats[1]):
            for piece in rows.pieces if isinstance(rows, Rows) else ():
                if len(piece.folded.weight):
                    yield cell, piece.folded

    def expected_log_density(self, stats: Statistics, slots: Slots, origin: Slots) -> float:
        coefs, total = self.coefs(slots), 0.0
        for cell, rows in self._cells(stats):
            eta = rows.predictor(coefs[cell], self._factor(slots, cell))
            total += float(self.link.log_density(rows.statistic, eta).sum())
        return total

    def derivatives(self, stats: Statistics, slots: Slots) -> tuple[Floats, Floats, float]:
        """Slope of Q in C, minus its second derivative, and the farthest predictor.

        Returns:
            [cells, d, columns]; [cells, d, columns, columns], or with categories
            [cells, d, columns, d, columns]; a number.
        """
        coefs, farthest = self.coefs(slots), 0.0
        slope, bend = np.zeros_like(coefs), self._room(coefs)
        for cell, rows in self._cells(stats):
            eta = rows.predictor(coefs[cell], self._factor(slots, cell))
            slope[cell] += self.link.slope(rows.statistic, eta) @ rows.design.T
            bend[cell] += self._bend(rows, eta)
            farthest = max(farthest, float(np.abs(eta).max(initial=0.0)))
        return slope, bend, farthest

    def references(self, stats: Statistics) -> Floats:
        """What the second derivative is compared with, to see which directions lost it."""
        room = np.zeros((len(stats[0]), self.dim, self.width, self.width))
        for cell, rows in self._cells(stats):
            room[cell] += rows.squares(rows.weight)
        return room

    def _room(self, coefs: Floats) -> Floats:
        n_cells, dim, width = coefs.shape
        tail = (dim, width) if self.link.joint else (width,)
        return np.zeros((n_cells, dim, width, *tail))

    def _bend(self, rows: Folded, eta: Floats) -> Floats:
        """Minus the second derivative of one cell's part of Q."""
        curvature = self.link.curvature(rows.statistic, eta)
        own = np.stack([rows.squares(row) for row in curvature])
        if not self.link.joint:
            return own
        found = np.empty((self.dim, self.width, self.dim, self.width))
        probs, total = self.link.values(eta), rows.statistic[0].sum(axis=0)
        for i in range(self.dim):
            found[i, :, i] = own[i]
            for j in range(i):
                found[i, :, j] = rows.squares(-total * probs[i] * probs[j])
                found[j, :, i] = found[i, :, j].T
        return found

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        if slot == self.target:
            return self._factor_statistics(stats, slots)
        term = next(t for t in self.terms if t.slot == slot)
        columns = slice(term.start, term.stop)
        slope, bend, _ = self.derivatives(stats, slots)
        own = "cdmdm->cdm" if self.link.joint else "cdmm->cdm"
        bend, slope = np.einsum(own, bend)[:, :, columns], slope[:, :, columns]
        value = flat_rows(slots[slot])
        precision, linear = np.zeros_like(value), np.zeros_like(value)
        for d, column in np.argwhere(term.placement >= 0):
            entry = term.placement[d, column]
            precision[:, entry] += bend[:, d, column]
            linear[:, entry] += slope[:, d, column]
        shape = slots[slot].shape
        return precision.reshape(shape), (linear + precision * value).reshape(shape)

    def _factor_statistics(self, stats: Statistics, slots: Slots) -> Statistics:
        """Events and exposure of the rate beside its link, whose factor joins the exposure."""
        coefs, own = self.coefs(slots), self.own_shape(self.target)
        events, exposure = (np.zeros((len(coefs), self.dim)) for _ in range(2))
        for cell, rows in self._cells(stats):
            eta = rows.predictor(coefs[cell], None)
            events[cell] += rows.statistic[0].sum(axis=1)
            exposure[cell] += self.link.curvature(rows.statistic, eta).sum(axis=1)
        shape = (len(coefs), *own)
        return events.reshape(shape), exposure.reshape(shape)

    def estimate(self, stats: Statistics, previous: Slots) -> dict[str, Floats]:
        return self.estimate_by_roles(stats, previous) or {}

    # --- values -------------------------------------------------------------------------------

    def row_moments(self, data: Observations, slots: Slots) -> tuple[Floats, Floats]:
        """Mean and variance [N, C, ...] of every row in every cell."""
        n_cells = len(slots[self.terms[0].slot])
        parts = []
        for cell in range(n_cells):
            repeated = {
                name: np.repeat(value[cell : cell + 1], len(data.x), axis=0)
                for name, value in slots.items()
            }
            parts.append(self.moments({**repeated, **data.known}))
        mean, spread = zip(*parts, strict=True)
        return np.stack(mean, axis=1), np.stack(spread, axis=1)

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        """Mean and variance [N, ...]; `slots` hold one row of `design` [N, columns] each."""
        return self.base.moments(self._base_slots(slots))

    def _base_slots(self, slots: Slots) -> dict[str, Floats]:
        """The slots of the family itself, one row of `design` [N, columns] each."""
        eta = np.einsum("ndm,nm->nd", self.coefs(slots), slots["design"])
        if "spread" in slots:
            eta = eta + np.log(slots["spread"])[:, None]
        values = self.link.values(eta.T).T
        values = values if self.link.joint or self.size is not None else values[:, 0]
        if self.factor:
            values = values * slots[self.target]
        known = {k: v for k, v in slots.items() if k in (*self.base.known_slots, *self.examples)}
        return {self.target: values, **known}

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        """One value per row; `slots` hold a `design` [N, columns] besides the slot values."""
        return self.base.draw(generator, self._base_slots(slots))


def _seen(data: Observations) -> Mask:
    """Rows that show anything."""
    return np.asarray(~np.isnan(flat_rows(data.x)).all(axis=1))


def links_of(family: Family | type[Family]) -> dict[str, Slot]:
    """The slots of a family that a linear predictor may stand behind, by the link's name."""
    return {slot.link: slot for slot in family.slots if slot.link}


def multiplies(slot: Slot) -> bool:
    """Whether a slot may stand beside its link, and multiplies it."""
    return slot.role is RATE
