"""Families with a slot that is multiplied: by covariates, by a conjugate latent, or by both.

    log p(x | m r) = Σ_j θ_j (m^[j scaled] φ_j + [j logged] φ_0 log m) + log m φ_power + log h

A covariate m changes features and the base measure, row by row, and nothing else: the M-step is
that of the family.  A latent u is integrated out.  As a function of u the density is
`exp(base + δ · T(u))`, with δ what the row adds to the natural parameters of u; given the other
rows, u counts by its expected statistics E[T(u)], so the row's features are scaled by E[u].
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.families._evaluation import feature_product
from pgem.families._family import Family, Observations, Slots, Statistics
from pgem.families._linear import Regressor
from pgem.families._parts import Multiplier, flat_rows

Product = tuple[float, tuple[Regressor, ...], tuple[Regressor, ...]]
"""A number, and the covariates (or observed nodes, with lags) that multiply and divide."""
UNTOUCHED: Product = (1.0, (), ())


class Scaled(Family):
    """What a family gains when one of its slots is multiplied; `scaled` makes such families.

    Attributes:
        plain: the family without the multiplier.
        slot: the slot that is multiplied.
        rule: how a multiplier enters; None where a latent is the slot's whole value.
        times: the known multiplier, or None.
        latent: the conjugate latent that multiplies, or "".
    """

    plain: Family
    slot: str
    rule: Multiplier | None
    times: Product | None
    latent: str

    def __reduce__(self) -> tuple[Any, ...]:
        return scaled, (self.plain, self.slot, self.times, self.latent)

    @property
    def has_base(self) -> bool:
        return True

    def regressors(self, *, parents: bool = False) -> list[Regressor]:
        """What multiplies and divides the slot, the latent on demand."""
        found = [name for group in (self.times or UNTOUCHED)[1:] for name in group]
        return [*found, (self.latent, 0)] if parents and self.latent else found

    def multiplier(self, values: Mapping[Regressor, Floats], n_rows: int) -> Floats:
        """The multiplier per row [N], or [N, K] of a latent vector; the latent if it is given."""
        scale, factors, over = self.times or UNTOUCHED
        product: Any = np.full(n_rows, scale)
        for name in factors:
            product = product * values[name]
        for name in over:
            product = product / values[name]
        latent = values.get((self.latent, 0))
        if latent is None:
            return np.asarray(product)
        return np.asarray(product.reshape(-1, *(1,) * (latent.ndim - 1)) * latent)

    # --- under a known multiplier -------------------------------------------------------------

    def features(self, data: Observations) -> Floats:
        table = super().features(data)
        known = data.known.get("multiplier")
        if known is None or self.rule is None:
            return table
        parts, log = self._by_feature(table).copy(), np.log(known)[:, None]
        for j in self.rule.logged:
            parts[:, :, j] += log * parts[:, :, 0]
        for j in self.rule.scaled:
            parts[:, :, j] *= known[:, None]
        return parts.reshape(table.shape)

    def total_log_base(self, data: Observations) -> Floats:
        base = np.broadcast_to(super().total_log_base(data), (len(data.x),))
        known = data.known.get("multiplier")
        if known is None or self.rule is None or self.rule.power is None:
            return base
        power = self._by_feature(super().features(data))[:, :, self.rule.power].sum(axis=1)
        return np.asarray(base + power * np.log(known))

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        return super().draw(generator, self._multiplied(slots))

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        return super().moments(self._multiplied(slots))

    def _multiplied(self, slots: Slots) -> Slots:
        """Slot values with the entry `multiplier` [n] or [n, K] multiplied in."""
        if "multiplier" not in slots:
            return slots
        value, by = slots[self.slot], slots["multiplier"]
        by = by.reshape(by.shape + (1,) * (value.ndim - by.ndim))
        others = {name: held for name, held in slots.items() if name != "multiplier"}
        return {**others, self.slot: value * by}

    def _by_feature(self, table: Floats) -> Floats:
        """[N, P of all coordinates] → [N, coordinates, P]."""
        return table.reshape(len(table), self.coordinates or 1, -1)

    # --- under a latent -----------------------------------------------------------------------

    def message(self, data: Observations, slots: Slots, latent: Family) -> tuple[Floats, Floats]:
        """log p(x | u, cell) = base + δ · T(u): base [N, C] and δ [N, C, statistics of u]."""
        if self.rule is None:
            return self._whole_message(data, slots, latent)
        table, theta = self.features(data), self.coefficients(slots)
        linear = np.isin(np.arange(theta.shape[1]) % self._width(theta), self.rule.scaled)
        slope = feature_product(table[:, linear], theta[:, linear])
        base = feature_product(table[:, ~linear], theta[:, ~linear]) + data.log_base[:, None]
        return base, np.stack([self._power(table, theta), slope], axis=-1)

    def _power(self, table: Floats, theta: Floats) -> Floats:
        """The power of u in the density [N, C]."""
        assert self.rule is not None
        power = np.zeros((len(table), len(theta)))
        parts, coefs = self._by_feature(table), self._by_feature(theta)
        if self.rule.power is not None:
            power += parts[:, :, self.rule.power].sum(axis=1)[:, None]
        for j in self.rule.logged:
            power += parts[:, :, 0] @ coefs[:, :, j].T
        return power

    def _width(self, theta: Floats) -> int:
        return int(theta.shape[1]) // (self.coordinates or 1)

    def _whole_message(
        self, data: Observations, slots: Slots, latent: Family
    ) -> tuple[Floats, Floats]:
        """Where u is the slot itself: δ is the statistic of the slot's role."""
        table = super().features(data)
        n_rows = len(table)
        found = self.role_statistics(self.slot, (table,), slots, slots, cancel=True)
        assert found is not None
        steps = [flat_rows(part) for part in found]
        if not latent.event_ndim:  # the same u in all coordinates
            steps = [step.sum(axis=1, keepdims=True) for step in steps]
        delta = np.concatenate(steps, axis=1)
        inside = self.role_of(self.slot).neutral(slots[self.slot].shape, np.zeros(()), np.ones(()))
        at = flat_rows(inside) if latent.event_ndim else inside.reshape(len(inside), -1)[:, 0]
        here = np.concatenate([flat_rows(t) for t in latent.sufficient_statistics(at)], axis=1)
        base = super().log_density(data, {**slots, self.slot: inside}) - delta @ here.T
        cells = np.broadcast_to(delta[:, None], (n_rows, len(here), delta.shape[1]))
        return np.asarray(base), cells

    def accumulate_scaled(
        self, data: Observations, weights: Floats, expected: Floats, slots: Slots
    ) -> Statistics:
        """Expected statistics from weights [N, C] and weights times E[T(u)] [N, C, statistics]."""
        assert self.rule is not None
        table = self.features(data)
        total = self._by_feature(weights.T @ table).copy()
        for j in self.rule.scaled:
            total[:, :, j] = expected[:, :, 1].T @ self._by_feature(table)[:, :, j]
        for j in self.rule.logged:
            total[:, :, j] += expected[:, :, 0].T @ self._by_feature(table)[:, :, 0]
        return (total.reshape(len(total), -1),)


_CLASSES: dict[type[Family], type[Scaled]] = {}


def _class_of(kind: type[Family]) -> type[Scaled]:
    if kind not in _CLASSES:
        _CLASSES[kind] = type(kind.__name__, (Scaled, kind), {"__module__": __name__})
    return _CLASSES[kind]


def scaled(plain: Family, slot: str, times: Product | None, latent: str = "") -> Scaled:
    """A settled family whose slot is multiplied.

    Args:
        plain: the family.
        slot: the slot.
        times: the known multiplier, or None.
        latent: the conjugate latent that multiplies, or "".
    """
    kind = _class_of(type(plain))
    made = kind.__new__(kind)
    made.__dict__.update(copy.copy(plain).__dict__)
    made.plain, made.slot, made.times, made.latent = plain, slot, times, latent
    made.rule = next(s.multiplier for s in plain.slots if s.name == slot)
    return made
