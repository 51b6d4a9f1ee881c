"""The contract of a family: what its author writes, and what the base class gives in return.

A density `h(x) exp(<η, T(x)> - A(η))` is evaluated as one matrix product (`_evaluation.py`).  A
missing value has features zero, so it neither contributes to the density nor to the statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask
from pgem.errors import DataError
from pgem.families import _derived, _evaluation, _fitting, _integration
from pgem.families._evaluation import feature_product
from pgem.families._facts import Examples, Facts, Slots, Statistics
from pgem.families._parts import (
    BINARY,
    COUNT_ROWS,
    COUNTS,
    NON_NEGATIVE,
    POSITIVE,
    POSITIVE_COUNTS,
    REALS,
    UNIT_INTERVAL,
    Multiplier,
    Observations,
    Slot,
    Support,
    every,
    flat_rows,
    like,
    some,
)
from pgem.families._tiles import TileForm


class Family(Facts):
    """An exponential family: subclass, and write five facts.

    You write:

    * `slots`: the parameters, with their roles; `support`: the possible values;
    * `sufficient_statistics(x, **known)` -> tuple of arrays shaped like `x`;
    * `natural_parameters(**slots)` -> tuple of arrays, one per statistic;
    * `log_partition(*eta)` -> A(η) (default 0, for overcomplete forms);
    * `log_base_measure(x, **known)` -> log h(x) (default 0);
    * `from_mean(*mean)` -> tuple of slot values with E[T] = mean, in the order of `slots`; and/or
      `role_statistics`, which lets slots be shared, fixed and given priors one by one.

    Also `moments` and `draw`, whose defaults sum over `nodes` and are slow; `domain` where the
    support is finite; `possible` and `inside` where it depends on a known slot.  The three maps of
    the parameters receive known slots where these are `per_cell`, as further `**known`.

    You get: gated log-densities, weighted maximum likelihood, missing values, values that are
    independent over the coordinates of a vector, sampling, entropy, divergence and information,
    checks with clear errors, latent nodes (finite supports), and a place in every graph.
    `pgem.testing.check_family` tells whether the facts agree with each other.
    """

    rung = "closed form"
    describer: ClassVar[Callable[[type[Family], str], str]]
    """What `explain` calls; set where the stages are put together."""

    def conditional_moments(self, x: Floats, slots: Slots) -> tuple[Floats, Floats]:
        """Mean [N, C, ...] and (co)variance [C, ...] given the coordinates that are shown.

        Args:
            x: rows that show the same coordinates [N] or [N, D], NaN for the others; matrices are
                shown as a whole or not at all.
            slots: slot values per cell.
        """
        mean, spread = self.moments(slots)
        return np.broadcast_to(mean, (len(x), *mean.shape)), spread

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        """Mean [C, ...] and variance [C, ...].

        For vectors the covariance [C, D, D], for matrices that of the entries [C, D, D, D, D].
        """
        self._needs_scalar("moments")
        mean, variance = _derived.moments(self, slots)
        shape = (-1,) if self.coordinates is None else (-1, self.coordinates)
        return mean.reshape(shape), variance.reshape(shape)

    def plotting_range(self, slots: Slots, share: float = 0.999) -> Floats:
        """Where to draw a density: the range that holds `share` of the mass, per coordinate.

        Args:
            slots: slot values per cell.
            share: of the mass, between 0 and 1; both tails are cut alike.

        Returns:
            Least and greatest value [C, 2], for vectors [C, D, 2], for matrices [C, D, D, 2].
        """
        if self.event_ndim:
            mean, cov = self.moments(slots)
            n_entries = int(np.prod(mean.shape[1:]))
            variance = np.einsum("cdd->cd", cov.reshape(-1, n_entries, n_entries))
            reach = np.sqrt(variance).reshape(mean.shape) * NormalDist().inv_cdf((1 + share) / 2)
            return np.stack([mean - reach, mean + reach], axis=-1)
        found = _derived.plotting_range(self, slots, share)
        return found if self.coordinates is None else found.reshape(-1, self.coordinates, 2)

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        """One value per row of the slots [N, ...] -> [N], [N, D] or [N, D, D]."""
        self._needs_scalar("draw")
        drawn = _derived.draw(self, generator, slots, discrete=self.support.discrete)
        return drawn[:, 0] if self.coordinates is None else drawn

    def nodes(self, slots: Slots) -> tuple[Floats, Floats]:
        """Values and log weights that sum or integrate functions of one cell over the support."""
        domain = self.domain()
        if domain is not None:
            return domain, np.zeros(len(domain))

        def log_density(x: Floats) -> Floats:
            with np.errstate(all="ignore"):
                return self.log_density_at(x, slots)

        contains, inside = self.support.contains, self.support.inside
        if self.event_ndim:
            mean, cov = self.moments(slots)
            return _integration.plane_rule(contains, mean[0], cov[0])
        known = {name: slots[name][:1] for name in self.known_slots if name in slots}
        if known:
            contains = partial(self.possible, **known)
            inside = float(np.ravel(self.inside(**known))[0])
        if self.support.discrete:
            return _integration.count_rule(log_density, contains, inside)
        return _integration.line_rule(log_density, contains, inside, self._location(slots))

    # --- what follows from them ---------------------------------------------------------------

    def features(self, data: Observations) -> Floats:
        """φ(x) = (1, T(x)) per coordinate, flattened to [N, P]; zero where missing."""
        return _evaluation.features(self, data)

    def coefficients(self, slots: Slots) -> Floats:
        """θ = (-A(η), η) per cell, flattened to [C, P]; infinite where a probability is zero."""
        return _evaluation.coefficients(self, slots)

    def log_density(self, data: Observations, slots: Slots) -> Floats:
        """log p(x | cell) [N, C]; zero where the whole value is missing."""
        return _evaluation.log_density(self, data, slots)

    def log_conditional(self, x: Floats, free: Mask, slots: Slots) -> Floats | None:
        """log p(free entries | the other entries) [N] of one cell; None where it is not known.

        Args:
            x: values [N, D], nothing missing.
            free: which entries [D].
            slots: of one cell.
        """
        if not self.takes_partial:
            return None
        whole = self.log_density(self.observe(x), slots)
        rest = self.log_density(self.observe(np.where(free, np.nan, x)), slots)
        return np.asarray((whole - rest)[:, 0])

    def accumulate(self, data: Observations, weights: Floats, slots: Slots) -> Statistics:
        """Expected statistics per cell from responsibilities [N, C]."""
        return (_evaluation.accumulate(self, data, weights, slots),)

    def tile_form(
        self, data: Observations, slots: Slots, held: frozenset[str] = frozenset()
    ) -> TileForm | None:
        """The gated density as coefficients times features of a few rows, if it is one.

        Args:
            data: the values.
            slots: slot values per cell.
            held: slots that are not learned; statistics that only they need may be left out.
        """
        plain = type(self).log_density is Family.log_density
        if not plain or type(self).accumulate is not Family.accumulate:
            return None
        return _evaluation.tile_form(self, data, slots)

    @classmethod
    def has_form(cls) -> bool:
        """Whether `tile_form` speaks of this very density: a subclass that has a density or
        statistics of its own, but inherits the form, has none."""

        def place(name: str) -> int:
            return next(k for k, kind in enumerate(cls.__mro__) if name in vars(kind))

        return place("tile_form") <= min(place("log_density"), place("accumulate"))

    def total_log_base(self, data: Observations) -> Floats:
        """log h(x) summed over coordinates [N]."""
        return _evaluation.total_log_base(self, data)

    def totals(self, stats: Statistics) -> tuple[Floats, tuple[Floats, ...]]:
        """Expected count and sums of T, [C] or [C, D] each, from the base accumulator.

        For vector families the sums are one array [C, P - 1].
        """
        (table,) = stats
        if self.event_ndim:
            return table[:, 0], (table[:, 1:],)
        n_coordinates = self.size or 1
        table = table.reshape(len(table), n_coordinates, -1)
        if self.size is None:
            table = table[:, 0]
        columns = [table[..., k] for k in range(table.shape[-1])]
        return columns[0], tuple(columns[1:])

    def estimate(self, stats: Statistics, previous: Slots) -> dict[str, Floats]:
        """Joint weighted maximum likelihood of all slots per cell.

        From the mean map; without one by the roles in turn; without those by Newton's method.
        Cells without data keep their previous values.
        """
        if self.has_mean_map:
            return _fitting.by_mean(self, stats, previous)
        found = self.estimate_by_roles(stats, previous)
        return _fitting.by_newton(self, stats, previous) if found is None else found

    def estimate_by_roles(
        self, stats: Statistics, previous: Slots, *, rounds: int = 200
    ) -> dict[str, Floats] | None:
        """The conditional maximisers in turn until nothing moves; None where one is missing."""
        return _fitting.by_roles(self, stats, previous, rounds)

    def to_free(self, slots: Slots) -> Floats:
        """Unconstrained coordinates [C, F] of all slots that are estimated."""
        parts = [self.role_of(name).to_free(slots[name]) for name in self.estimable]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    def from_free(self, free: Floats, like: Slots) -> dict[str, Floats]:
        """The inverse of `to_free`; `like` shows the shapes."""
        found, start = {}, 0
        for name in self.estimable:
            role = self.role_of(name)
            shape = role.to_free(like[name]).shape[1:]
            stop = start + int(np.prod(shape))
            found[name] = role.from_free(free[:, start:stop].reshape(len(free), *shape))
            start = stop
        return found

    def expected_log_density(self, stats: Statistics, slots: Slots, origin: Slots) -> float:
        """Σ over cells of statistics · θ: this component's part of Q, without the base measure.

        Args:
            stats: expected statistics per cell.
            slots: slot values per cell at which Q is evaluated.
            origin: the slot values that the E-step ran with.
        """
        (table,) = stats
        theta = self.coefficients(slots)
        with np.errstate(invalid="ignore"):
            return float(np.where(table == 0, 0.0, table * theta).sum())

    @property
    def has_base(self) -> bool:
        """Whether the family gives a base measure."""
        kind = type(self)
        plain = (Family.log_base_measure, Family.total_log_base)
        return (kind.log_base_measure, kind.total_log_base) != plain

    @property
    def has_mean_map(self) -> bool:
        """Whether the family gives its mean map."""
        return type(self).from_mean is not Family.from_mean

    def sample(self, generator: Generator, slots: Slots) -> Floats:
        """One value per row of the slots."""
        return self.draw(generator, slots)

    def check_values(self, x: Floats, known: Mapping[str, Floats] | None = None) -> Mask:
        """Which values [N] (vectors, matrices) lie outside the support; missing ones do not.

        Args:
            x: the values.
            known: values of the known slots [N], on which the support may depend.
        """
        x = np.asarray(x)
        if x.dtype.kind not in "biuf":
            raise DataError(
                f"values of {type(self).__name__} are no numbers",
                expected=self.support.name,
                received=f"{x.ravel()[:3].tolist()!r} of type '{x.dtype}'",
            )
        x = x.astype(float)
        missing = np.isnan(x)
        with np.errstate(invalid="ignore"):
            fits = self.possible(x, **like(known or {}, x))
        if self.event_ndim:
            return np.asarray(~(fits | some(missing, self.event_ndim)))
        return np.asarray(~flat_rows(fits | missing).all(axis=1))

    @classmethod
    def explain(cls, style: str = "text") -> str:
        """The family's density, T, η and A, its slots, its M-step and what is conjugate to it.

        Args:
            style: `text`, or `markdown` with formulas in LaTeX.
        """
        return cls.describer(cls, style)

    # --- what follows from the density --------------------------------------------------------

    def observe(self, x: Floats, known: Mapping[str, Floats] | None = None) -> Observations:
        """Values made ready for this family."""
        return Observations(self, x, dict(known or {}))

    def cells(self, slots: Slots) -> Iterator[tuple[Family, dict[str, Floats]]]:
        """One cell, and one of independent coordinates, at a time: family and slots [1, ...]."""
        n_coordinates = self.coordinates
        single = self if n_coordinates is None else self.settled(None, self.structures)
        for row in range(len(next(iter(slots.values())))):
            for axis in range(n_coordinates or 1):
                yield (
                    single,
                    {
                        name: value[row : row + 1, axis]
                        if n_coordinates is not None and value.ndim > 1
                        else value[row : row + 1]
                        for name, value in slots.items()
                    },
                )

    def log_density_at(self, x: Floats, slots: Slots) -> Floats:
        """log p(x) [M] of one cell, whose slots hold the known values too."""
        return self.log_density(self._at(x, slots), slots)[:, 0]

    def features_at(self, x: Floats, slots: Slots) -> Floats:
        """φ(x) [M, P] under the known values of one cell."""
        return self.features(self._at(x, slots))

    def expected_features(self, slots: Slots) -> Floats:
        """E[φ(x)] = (1, E[T]) per cell, laid out like `features` [C, P]."""
        return _derived.expected_features(self, slots)

    def entropy(self, slots: Slots) -> Floats:
        """-E[log p(x)] per cell [C]."""
        return _derived.entropy(self, slots)

    def divergence(self, slots: Slots, other: Slots) -> Floats:
        """Kullback-Leibler divergence of `other` from `slots`, per cell [C]."""
        return _derived.divergence(self, slots, other)

    def fisher_information(self, slots: Slots) -> Floats:
        """Cov[φ(x)] [C, P, P], per independent coordinate [C, D, P, P]; row and column 0 are zero.

        The rest is the information about the natural parameters, ∇²A in a minimal form.
        """
        table = _derived.fisher_information(self, slots)
        if self.coordinates is None:
            return table
        return table.reshape(-1, self.coordinates, *table.shape[1:])

    def _at(self, x: Floats, slots: Slots) -> Observations:
        known = {name: np.repeat(slots[name], len(x)) for name in self.known_slots if name in slots}
        return self.observe(x, known)

    def _location(self, slots: Slots) -> tuple[float, float] | None:
        if type(self).moments is Family.moments:
            return None
        mean, variance = (float(part.ravel()[0]) for part in self.moments(slots))
        sound = np.isfinite(mean) and 0 < variance < np.inf
        return (mean, float(np.sqrt(variance))) if sound else None

    def _needs_scalar(self, method: str) -> None:
        if self.event_ndim:
            raise NotImplementedError(f"{type(self).__name__} is no number: give it `{method}`")


__all__ = [
    "BINARY",
    "COUNTS",
    "COUNT_ROWS",
    "NON_NEGATIVE",
    "POSITIVE",
    "POSITIVE_COUNTS",
    "REALS",
    "UNIT_INTERVAL",
    "Examples",
    "Family",
    "Multiplier",
    "Observations",
    "Slot",
    "Slots",
    "Statistics",
    "Support",
    "every",
    "feature_product",
]
