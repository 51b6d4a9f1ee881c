r"""Gaussians whose mean is linear: regressions, autoregressions, loadings, state equations.

    x = C φ + noise,   noise ~ N(0, s V),   C φ = Σ over terms of coefficient × regressor

One accumulator serves all of them: the weighted second moments of the residual e = x - C φ and of
the regressors φ, about the coefficients that the E-step ran with,

    n,  Σ w/s,  Σ (w/s) E[φ φᵀ],  Σ (w/s) E[e φᵀ],  Σ (w/s) E[e eᵀ],

from which the M-step solves all coefficients of a block at once (`routines/regress.py`), and each
covariance from the recentred residuals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers, Mask, square_root
from pgem.families import _patterns
from pgem.families._family import Family, Observations, Slots, Statistics
from pgem.families._gaussian import LOG_2PI, full_expected_log_density, full_log_density
from pgem.families._parts import Slot, flat_rows
from pgem.families._roles import MEAN, Role

Regressor = tuple[str, int]
"""A covariate or node, and how many steps back it is read."""
Product = tuple[float, tuple[Regressor, ...], tuple[Regressor, ...]]
"""A number, what multiplies, what divides."""


@dataclass(frozen=True, eq=False)
class Term:
    """One term of the mean: a coefficient times what stands in some columns of φ.

    Attributes:
        slot: the slot of its coefficient.
        own: own axes of the coefficient.
        start: first column of φ.
        stop: end of its columns.
        placement: which entry of the coefficient stands at each place of C [d, columns], or -1.
        scale: a number.
        factors: covariates (and observed nodes, with lags) that multiply.
        over: covariates that divide.
        vector: the one of the factors that is a vector, if any.
        parent: a random node that multiplies, with its lag, or None.
        contracts: φ is the sum of vector times parent.
    """

    slot: str
    own: tuple[int, ...]
    start: int
    stop: int
    placement: Integers
    scale: float = 1.0
    factors: tuple[Regressor, ...] = ()
    over: tuple[Regressor, ...] = ()
    vector: Regressor | None = None
    parent: Regressor | None = None
    contracts: bool = False

    @cached_property
    def in_order(self) -> bool:
        """Whether the entries of the coefficient stand in C row by row."""
        return np.array_equal(self.placement.ravel(), np.arange(self.placement.size))

    def multiplier(self, values: Mapping[Regressor, Floats]) -> Any:
        """The product of its scalar factors per row [N], or a number."""
        product: Any = self.scale
        for name in self.factors:
            if name != self.vector:
                product = product * values[name]
        with np.errstate(divide="ignore", invalid="ignore"):  # refused when it is read
            for name in self.over:
                product = product / values[name]
        return product


def coefficients_of(terms: Sequence[Term], slots: Slots, shape: tuple[int, int, int]) -> Floats:
    """C [cells, d, columns], put together from the coefficients of all terms."""
    out = np.zeros(shape)
    for term in terms:
        flat = slots[term.slot]
        if term.in_order:
            out[:, :, term.start : term.stop] = flat.reshape(shape[0], *term.placement.shape)
        else:
            part = np.where(term.placement < 0, 0.0, flat_rows(flat)[:, term.placement])
            out[:, :, term.start : term.stop] = part
    return out


def design_of(terms: Sequence[Term], values: Mapping[Regressor, Floats], n_rows: int) -> Floats:
    """φ [N, columns]; 0 where a random parent stands whose values are not given."""
    out = np.zeros((n_rows, width_of(terms)))
    for term in terms:
        if term.parent is not None and term.parent not in values:
            continue
        product = np.broadcast_to(np.asarray(term.multiplier(values)), (n_rows,))
        vectors = [] if term.vector is None else [values[term.vector]]
        if term.parent is not None:
            vectors.append(values[term.parent].reshape(n_rows, -1))
        if term.contracts:
            vectors = [(vectors[0] * vectors[1]).sum(axis=1, keepdims=True)]
        whole = product[:, None] if not vectors else product[:, None] * vectors[0]
        out[:, term.start : term.stop] = whole
    return out


def regressors_of(
    terms: Sequence[Term], spread_by: Product | None, *, parents: bool = False
) -> list[Regressor]:
    """Everything that terms and the spread are multiplied by, random parents on demand."""
    found = [name for term in terms for name in (*term.factors, *term.over)]
    if spread_by is not None:
        found += [*spread_by[1], *spread_by[2]]
    if parents:
        found += [term.parent for term in terms if term.parent is not None]
    return list(dict.fromkeys(found))


def product_of(
    spread_by: Product | None, values: Mapping[Regressor, Floats], n_rows: int
) -> Floats | None:
    """The product of a multiplier per row [N], or None."""
    if spread_by is None:
        return None
    scale, factors, over = spread_by
    product: Any = np.full(n_rows, scale)
    for name in factors:
        product = product * values[name]
    with np.errstate(divide="ignore", invalid="ignore"):
        for name in over:
            product = product / values[name]
    return np.asarray(product)


def width_of(terms: Sequence[Term]) -> int:
    """Number of columns of φ."""
    return max((term.stop for term in terms), default=0)


class WithTerms(Family):
    """A family whose slots are the terms of a linear predictor C φ, and what else it has.

    Attributes:
        base: the family as declared, settled.
        terms: the terms of the predictor.
        spread_by: covariates that multiply what stands beside the terms, and those that divide it.
    """

    regresses = True
    base: Family
    terms: tuple[Term, ...]
    spread_by: Product | None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base!r})"

    @property
    def title(self) -> str:
        return self.base.title

    @cached_property
    def width(self) -> int:
        """Number of columns of φ."""
        return width_of(self.terms)

    @property
    def dim(self) -> int:
        """Number of predictors of a value: of its coordinates or categories, 1 for a scalar."""
        return self.size or 1

    @property
    def coordinates(self) -> int | None:
        return None

    def own_shape(self, slot: str) -> tuple[int, ...]:
        for term in self.terms:
            if term.slot == slot:
                return term.own
        return self.base.own_shape(slot)

    def role_of(self, slot: str) -> Role:
        return MEAN if slot in {term.slot for term in self.terms} else self.base.role_of(slot)

    def regressors(self, *, parents: bool = False) -> list[Regressor]:
        """Everything that terms and the rest are multiplied by, random parents on demand."""
        return regressors_of(self.terms, self.spread_by, parents=parents)

    def design(self, values: Mapping[Regressor, Floats], n_rows: int) -> Floats:
        """φ [N, columns]; 0 where a random parent stands whose values are not given.

        Args:
            values: covariates and parents per row.
            n_rows: N.
        """
        return design_of(self.terms, values, n_rows)

    def multiplier(self, values: Mapping[Regressor, Floats], n_rows: int) -> Floats | None:
        """What multiplies the slot beside the terms [N], or None."""
        return product_of(self.spread_by, values, n_rows)


class Linear(WithTerms):
    """A Gaussian family with terms in place of its mean.

    Args:
        base: the family as declared, settled.
        terms: the terms of the mean.
        spread: the slot of its variance or covariance.
        spread_by: covariates that multiply the covariance, and those that divide it.
        latent: a conjugate latent that divides the covariance, or "".
    """

    def __init__(
        self,
        base: Family,
        terms: Sequence[Term],
        spread: Slot,
        spread_by: Product | None = None,
        latent: str = "",
    ) -> None:
        self.latent = latent
        self.base, self.terms, self.spread, self.spread_by = (
            base,
            tuple(terms),
            spread.name,
            spread_by,
        )
        self.slots = (  # type: ignore[misc]
            *(Slot(term.slot, MEAN, free_of=(spread.name,)) for term in terms),
            spread,
        )
        self.settings, self.arguments = dict(base.settings), {}
        self.structures, self.size = dict(base.structures), base.size
        self.event_ndim = base.event_ndim  # type: ignore[misc]
        self.support = base.support  # type: ignore[misc]
        self.formula = base.formula  # type: ignore[misc]
        self.owner = base.owner

    @property
    def is_vector(self) -> bool:
        """Whether values have an own axis."""
        return bool(self.event_ndim) or self.size is not None

    @property
    def diagonal(self) -> bool:
        """Whether the noise is independent over coordinates."""
        full = next(s for s in self.base.slots if s.name == self.spread).axes == "dd"
        return not full or self.structures.get(self.spread, "full") != "full"

    @property
    def takes_partial(self) -> bool:
        return True

    @property
    def factorises(self) -> bool:
        return self.diagonal

    def check_values(self, x: Floats, known: Mapping[str, Floats] | None = None) -> Mask:
        return self.base.check_values(x)

    # --- parameters and design ----------------------------------------------------------------

    def coefs(self, slots: Slots) -> Floats:
        """C [cells, d, columns]."""
        shape = (len(slots[self.spread]), self.dim, self.width)
        return coefficients_of(self.terms, slots, shape)

    def noise(self, slots: Slots) -> Floats:
        """V per cell: variances [cells, d], or matrices [cells, d, d]."""
        value = slots[self.spread]
        if not self.diagonal:
            return value
        return np.broadcast_to(flat_rows(value), (len(value), self.dim))

    def regressors(self, *, parents: bool = False) -> list[Regressor]:
        """Everything that terms and the covariance are multiplied by, random parents on demand."""
        found = super().regressors(parents=parents)
        return [*found, (self.latent, 0)] if parents and self.latent else found

    def multiplier(self, values: Mapping[Regressor, Floats], n_rows: int) -> Floats | None:
        """What the covariance is multiplied by [N], or None; by a latent only if it is given."""
        by = self.spread_by
        if by is not None and (self.latent, 0) in values:
            by = (by[0], by[1], (*by[2], (self.latent, 0)))
        return product_of(by, values, n_rows)

    # --- E-step, where all regressors are seen ------------------------------------------------

    def log_density(self, data: Observations, slots: Slots) -> Floats:
        coefs, noise = self.coefs(slots), self.noise(slots)
        x, spread = flat_rows(data.x), data.known.get("spread")
        out = np.empty((len(x), len(coefs)))
        for cell in range(len(coefs)):
            residual = self._whitened(x - data.known["design"] @ coefs[cell].T, spread)
            out[:, cell] = self._log_normal(residual, noise[cell])
        if spread is not None:
            shown = (~np.isnan(x)).sum(axis=1)
            out -= 0.5 * (shown * np.log(spread))[:, None]
        return out

    def _whitened(self, residual: Floats, spread: Floats | None) -> Floats:
        return residual if spread is None else np.asarray(residual / np.sqrt(spread)[:, None])

    def _log_normal(self, residual: Floats, noise: Floats) -> Floats:
        """log N(residual; 0, V) [N] of what is shown."""
        if self.diagonal:
            terms = LOG_2PI + np.log(noise) + residual**2 / noise
            return -0.5 * np.asarray(np.where(np.isnan(terms), 0.0, terms).sum(axis=1))
        zero = np.zeros((1, self.dim))
        data = Observations(self.base, residual)
        if data.complete:
            return full_log_density(residual, zero, noise[None])[:, 0]
        return _patterns.log_density_of_shown(data, zero, noise[None])[:, 0]

    def accumulate(self, data: Observations, weights: Floats, slots: Slots) -> Statistics:
        coefs, noise = self.coefs(slots), self.noise(slots)
        x, design = flat_rows(data.x), data.known["design"]
        spread = data.known.get("spread")
        shown = ~np.isnan(x).all(axis=1)
        parts = []
        for cell in range(len(coefs)):
            weight = weights[:, cell] * shown
            residual = self._whitened(x - design @ coefs[cell].T, spread)
            regressors = design if spread is None else design / np.sqrt(spread)[:, None]
            over = weight if spread is None else weight / spread
            filled, extra = self._filled(residual, noise[cell], weight)
            weighted = regressors * weight[:, None]
            square = (
                (weight @ filled**2) if self.diagonal else (filled * weight[:, None]).T @ filled
            )
            parts.append(
                (weight.sum(), over.sum(), regressors.T @ weighted, filled.T @ weighted,
                 square + extra)
            )  # fmt: skip
        return tuple(np.stack(part) for part in zip(*parts, strict=True))

    def _filled(self, residual: Floats, noise: Floats, weight: Floats) -> tuple[Floats, Any]:
        """Expected residuals [N, d], and the weighted sum of their covariances."""
        gone = np.isnan(residual)
        if not gone.any():
            return residual, 0.0
        if self.diagonal:
            return np.where(gone, 0.0, residual), (weight @ gone) * noise
        filled, extra = np.zeros_like(residual), np.zeros_like(noise)
        for shown, rows in _patterns.patterns(Observations(self.base, residual)):
            to_whole, left = _patterns.regression(shown, noise[None])
            filled[rows] = residual[rows][:, shown] @ to_whole[0].T
            extra += weight[rows].sum() * left[0]
        return filled, extra

    # --- E-step under a latent u that divides the covariance ----------------------------------

    def message(self, data: Observations, slots: Slots, latent: Family) -> tuple[Floats, Floats]:
        """log p(x | u, cell) = base + δ · (log u, u): base [N, C] and δ [N, C, 2]."""
        x, spread = flat_rows(data.x), data.known.get("spread")
        noise, blank = self.noise(slots), np.where(np.isnan(x), np.nan, 0.0)
        level = np.stack([self._log_normal(blank, part) for part in noise], axis=1)
        half = 0.5 * (~np.isnan(x)).sum(axis=1)[:, None]
        if spread is not None:
            level = level - half * np.log(spread)[:, None]
        slope = self.log_density(data, slots) - level
        return level, np.stack([np.broadcast_to(half, slope.shape), slope], axis=-1)

    def accumulate_scaled(
        self, data: Observations, weights: Floats, expected: Floats, slots: Slots
    ) -> Statistics:
        """Expected statistics from weights [N, C] and weights times E[(log u, u)] [N, C, 2]."""
        spread, parts = data.known.get("spread", np.ones(len(data.x))), []
        for cell in range(weights.shape[1]):
            weight, scaled = weights[:, cell], expected[:, cell, 1]
            over = np.where(weight > 0, weight / np.where(scaled > 0, scaled, 1.0), 1.0)
            known = {**data.known, "spread": spread * over}
            here = {name: value[cell : cell + 1] for name, value in slots.items()}
            parts.append(self.accumulate(Observations(self, data.x, known), weight[:, None], here))
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def unseen(self, data: Observations, slots: Slots, cell: int) -> tuple[Floats, Floats]:
        """Mean [N, d] and covariance [N, d, d] of whole values given their shown coordinates."""
        coefs, noise = self.coefs(slots)[cell], self.noise(slots)[cell]
        matrix = np.diag(noise) if self.diagonal else noise
        mean = data.known["design"] @ coefs.T
        residual = flat_rows(data.x) - mean
        filled, cov = np.zeros_like(residual), np.zeros((*residual.shape, self.dim))
        for shown, rows in _patterns.patterns(Observations(self.base, residual)):
            to_whole, left = _patterns.regression(shown, matrix[None])
            filled[rows] = residual[rows][:, shown] @ to_whole[0].T
            cov[rows] = left[0]
        spread = data.known.get("spread")
        return mean + filled, cov if spread is None else cov * spread[:, None, None]

    def row_moments(self, data: Observations, slots: Slots) -> tuple[Floats, Floats]:
        """Mean [N, C, ...] and covariance [N, C, ...] of every row in every cell, given what of it
        is shown."""
        cells = [self.unseen(data, slots, cell) for cell in range(len(slots[self.spread]))]
        mean, cov = (np.stack(parts, axis=1) for parts in zip(*cells, strict=True))
        return (mean, cov) if self.is_vector else (mean[:, :, 0], cov[:, :, 0, 0])

    # --- M-step -------------------------------------------------------------------------------

    def residual_squares(self, stats: Statistics, slots: Slots, origin: Slots) -> Floats:
        """Σ (w/s) E[e eᵀ] about the coefficients in `slots`: [cells, d], or [cells, d, d]."""
        _, _, phi, cross, square = stats
        step = self.coefs(slots) - self.coefs(origin)
        mapped = step @ phi
        if self.diagonal:
            bent = (step * (mapped - 2 * cross)).sum(axis=2)
            return np.asarray(np.maximum(square + bent, 0.0))
        mixed = step @ np.swapaxes(cross, 1, 2)
        return np.asarray(
            square - mixed - np.swapaxes(mixed, 1, 2) + mapped @ np.swapaxes(step, 1, 2)
        )

    def gradient(self, stats: Statistics, slots: Slots, origin: Slots) -> Floats:
        """Derivative of Q in C [cells, d, columns]."""
        _, _, phi, cross, _ = stats
        left = cross - (self.coefs(slots) - self.coefs(origin)) @ phi
        noise = self.noise(slots)
        if self.diagonal:
            return np.asarray(left / noise[:, :, None])
        return np.asarray(np.linalg.solve(noise, left))

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        if slot != self.spread:
            return self._coefficient_statistics(slot, stats, slots, origin)
        squares, own = self.residual_squares(stats, slots, origin), self.own_shape(slot)
        if not self.diagonal:
            return stats[0], squares
        count = np.repeat(stats[0][:, None], self.dim, axis=1)
        if not own:
            return count.sum(axis=1), squares.sum(axis=1)
        return count, squares

    def _coefficient_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots
    ) -> Statistics:
        """Precision and precision times value of each entry, all others held."""
        term = next(t for t in self.terms if t.slot == slot)
        columns = slice(term.start, term.stop)
        gradient = self.gradient(stats, slots, origin)[:, :, columns]
        noise = self.noise(slots)
        inverse = 1 / noise if self.diagonal else np.einsum("cdd->cd", np.linalg.inv(noise))
        squares = np.einsum("cmm->cm", stats[2])[:, None, columns]
        curvature = inverse[:, :, None] * squares
        value = flat_rows(slots[slot])
        precision, slope = np.zeros_like(value), np.zeros_like(value)
        for d, column in np.argwhere(term.placement >= 0):
            entry = term.placement[d, column]
            precision[:, entry] += curvature[:, d, column]
            slope[:, entry] += gradient[:, d, column]
        shape = slots[slot].shape
        return precision.reshape(shape), (slope + precision * value).reshape(shape)

    def estimate(self, stats: Statistics, previous: Slots) -> dict[str, Floats]:
        return self.estimate_by_roles(stats, previous) or {}

    def expected_log_density(self, stats: Statistics, slots: Slots, origin: Slots) -> float:
        squares, noise = self.residual_squares(stats, slots, origin), self.noise(slots)
        count = stats[0]
        if self.diagonal:
            terms = count[:, None] * (LOG_2PI + np.log(noise)) + squares / noise
            return float(-0.5 * np.where(count[:, None] > 0, terms, 0.0).sum())
        return full_expected_log_density(count, squares, noise)

    # --- values -------------------------------------------------------------------------------

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        """One value per row; `slots` hold a `design` [N, columns] besides the slot values."""
        mean = np.einsum("ndm,nm->nd", self.coefs(slots), slots["design"])
        noise, spread = self.noise(slots), slots.get("spread")
        normal = generator.standard_normal(mean.shape)
        if self.diagonal:
            deviation = np.sqrt(noise) * normal
        else:
            deviation = np.einsum("nij,nj->ni", square_root(noise), normal)
        if spread is not None:
            deviation = deviation * np.sqrt(spread)[:, None]
        value = mean + deviation
        return np.asarray(value if self.is_vector else value[:, 0])
