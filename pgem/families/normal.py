"""The normal family, for a scalar or for independent coordinates of a vector."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pgem.arrays import Floats
from pgem.families._family import REALS, Family, Observations, Slot, Slots, Statistics
from pgem.families._gaussian import (
    LOG_2PI,
    coordinate_form,
    coordinate_log_density,
    coordinate_moments,
    recentre,
)
from pgem.families._roles import MEAN, VARIANCE
from pgem.families._tiles import TileForm

T = TypeVar("T", bound=np.generic)


class Normal(Family):
    r"""A Gaussian; over a vector [N, D], independent coordinates with a mean and variance each.

    $$p(x) = (2\pi v)^{-1/2} \exp\{-(x - m)^2 / 2v\}$$

    Args:
        mean: mean.
        var: variance (not the standard deviation).
    """

    slots: ClassVar[tuple[Slot, ...]] = (
        Slot("mean", MEAN, free_of=("var",)),
        Slot("var", VARIANCE),
    )
    support = REALS
    options = ()
    formula = r"-\tfrac12 \log 2\pi v - (x - m)^2 / 2v"

    conjugate_to = MEAN
    gaussian = True

    def pseudo_statistics(self, **slots: Floats) -> Statistics:
        return 1 / slots["var"], slots["mean"] / slots["var"]

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return x, x**2

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return slots["mean"] / slots["var"], -0.5 / slots["var"]

    def log_partition(self, *eta: Floats) -> Floats:
        return -(eta[0] ** 2) / (4 * eta[1]) + 0.5 * np.log(np.pi / -eta[1])

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        return mean[0], mean[1] - mean[0] ** 2

    def log_density(self, data: Observations, slots: Slots) -> Floats:
        if data.complete:
            return coordinate_log_density(_rows(data.x), None, *_cells(slots), data.span)
        return coordinate_log_density(_rows(data.x), _rows(data.observed), *_cells(slots))

    def accumulate(self, data: Observations, weights: Floats, slots: Slots) -> Statistics:
        observed = None if data.complete else _rows(data.observed)
        span = data.span if data.complete else None
        return coordinate_moments(_rows(data.x), observed, weights, *_cells(slots), span)

    def tile_form(
        self, data: Observations, slots: Slots, held: frozenset[str] = frozenset()
    ) -> TileForm | None:
        if not data.complete:
            return None
        return coordinate_form(_rows(data.x), *_cells(slots), data.span)

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, first, second = stats
        (reference, _), (mean, var) = _cells(origin), _cells(slots)
        if slot == "mean":
            precision = count if cancel else count / var
            linear = first + count * reference
            found = (precision, linear if cancel else linear / var)
        else:
            found = (count, recentre(first, second, count, mean - reference))
        return tuple(part.reshape(slots[slot].shape) for part in found)

    def estimate(self, stats: Statistics, previous: Slots) -> dict[str, Floats]:
        # moments are kept about the current mean, and the mean does not depend on the variance
        return self.estimate_by_roles(stats, previous) or {}

    def expected_log_density(self, stats: Statistics, slots: Slots, origin: Slots) -> float:
        count, first, second = stats
        (reference, _), (mean, var) = _cells(origin), _cells(slots)
        squares = recentre(first, second, count, mean - reference)
        return float(-0.5 * (count * (LOG_2PI + np.log(var)) + squares / var).sum())

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        return slots["mean"], slots["var"]

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        shape = slots["mean"].shape
        return slots["mean"] + np.sqrt(slots["var"]) * generator.standard_normal(shape)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.norm(slots["mean"], np.sqrt(slots["var"]))


def _rows(x: NDArray[T]) -> NDArray[T]:
    return x.reshape(len(x), -1)


def _cells(slots: Slots) -> tuple[Floats, Floats]:
    return _rows(slots["mean"]), _rows(slots["var"])
