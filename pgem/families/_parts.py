"""What a family is made of: slots, a support, and observations made ready for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pgem.arrays import Floats, Mask
from pgem.families._roles import MEAN, Role

if TYPE_CHECKING:
    from pgem.families._family import Family


@dataclass(frozen=True)
class Multiplier:
    """How a number m > 0 that multiplies a slot r enters the density.

    With features φ = (1, T(x)) and coefficients θ(r) = (-A, η), numbered from 0,

        log p(x | m r) = Σ_j θ_j (m^[j scaled] φ_j + [j logged] φ_0 log m) + log m φ_power + log h

    so that m changes features and the base measure, and a log-density is linear in (log m, m).
    For the rate of a Poisson, x log(m r) - m r, that is `scaled=(0,), power=1`.

    Attributes:
        scaled: features that are multiplied by m.
        power: the feature whose multiple of log m does not depend on the parameters.
        logged: features to which log m is added.
    """

    scaled: tuple[int, ...]
    power: int | None = None
    logged: tuple[int, ...] = ()


@dataclass(frozen=True)
class Slot:
    """One parameter of a family.

    Attributes:
        name: the public name.
        role: the meaning: constraint and conditional maximiser.
        axes: the slot's own axes: `""` a scalar (one per coordinate over a vector), `"d"` a
            vector, `"dd"` a matrix, `"k"` one entry per category.
        free_of: slots on which the conditional maximiser does not depend, provided that they
            are the same in all cells that share this slot's value.
        per_cell: of a known slot, that η or A depends on it, so that it is given by value or by a
            table of constants and cannot be a covariate.
        positive: of a known slot, that its values are above zero.
        link: the name under which a linear predictor of the slot is given instead (`logit`).
        multiplier: how a multiplier of this slot enters the density: covariates may then multiply
            it, and so may a latent that is conjugate to it.
    """

    name: str
    role: Role
    axes: str = ""
    free_of: tuple[str, ...] = ()
    per_cell: bool = False
    positive: bool = False
    link: str = ""
    multiplier: Multiplier | None = None

    @property
    def linear(self) -> bool:
        """Whether it may hold a sum of terms."""
        return self.role is MEAN


@dataclass(frozen=True)
class Support:
    """The set of possible values.

    Attributes:
        name: in words, for errors.
        contains: elementwise test (of vectors [N, D] or matrices [N, D, D] as a whole: -> [N]).
        discrete: whether the values are atoms.
        inside: a value of the support, to stand where one is missing.

    The support of a scalar is an interval, or the integers of one; a family for which neither
    holds gives `domain` or `nodes`.
    """

    name: str
    contains: Callable[[Floats], Mask]
    discrete: bool = False
    inside: float = 0.5


def every(mask: Mask, axis: int) -> Mask:
    """Whether all entries hold along an axis."""
    return np.asarray(mask.all(axis=axis))


def some(mask: Mask, n_axes: int) -> Mask:
    """Whether an entry holds along the last axes, this many of them."""
    return np.asarray(mask.any(axis=tuple(range(-n_axes, 0))))


REALS = Support("finite real numbers", np.isfinite)
POSITIVE = Support("numbers above zero", lambda x: np.isfinite(x) & (x > 0))
NON_NEGATIVE = Support("numbers of at least zero", lambda x: np.isfinite(x) & (x >= 0))
UNIT_INTERVAL = Support("numbers strictly between 0 and 1", lambda x: (x > 0) & (x < 1))
COUNTS = Support(
    "counts 0, 1, 2, …", lambda x: np.isfinite(x) & (x >= 0) & (x == np.floor(x)), True, 1.0
)
POSITIVE_COUNTS = Support(
    "counts 1, 2, 3, …", lambda x: np.isfinite(x) & (x >= 1) & (x == np.floor(x)), True, 1.0
)
BINARY = Support("0 or 1", lambda x: (x == 0) | (x == 1), True, 1.0)
COUNT_ROWS = Support(
    "rows of counts 0, 1, 2, …", lambda x: every(COUNTS.contains(x), -1), True, 1.0
)


BLOCK = 1 << 17
"""Numbers that are looked at at a time, so that no mask of all of them is made."""


@dataclass
class Observations:
    """Values of one node made ready for its family.

    Attributes:
        family: the family with its structure settled.
        x: values [N], [N, D] or [N, D, D]; missing entries are NaN.
        known: values of the known slots, [N] each, or one for all rows ([1] or [1, D]).
        kept: the same values under other known ones.
        memory: what was found of the values, as long as the data are bound.
    """

    family: Family
    x: Floats
    known: dict[str, Floats] = field(default_factory=dict)
    kept: dict[bytes, Observations] = field(default_factory=dict, repr=False)
    memory: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def observed(self) -> Mask:
        """Which entries are there, shaped like the values."""
        return ~np.isnan(self.x)

    @cached_property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        if "complete" not in self.memory:
            size = max(1, BLOCK * len(self.x) // max(1, self.x.size))
            rows = range(0, len(self.x), size)
            holes = any(np.isnan(self.x[first : first + size]).any() for first in rows)
            self.memory["complete"] = not holes
        return bool(self.memory["complete"])

    @property
    def span(self) -> tuple[Floats, Floats]:
        """Least and greatest value of each coordinate of complete rows [D], or of numbers [1]."""
        if "span" not in self.memory:
            self.memory["span"] = value_range(self.x.reshape(len(self.x), -1))
        return self.memory["span"]  # type: ignore[no-any-return]

    @cached_property
    def filled(self) -> Floats:
        """The values, with a value of the support where one is missing."""
        if self.complete:
            return self.x
        return np.where(self.observed, self.x, self.family.inside(**self.aligned))

    @property
    def aligned(self) -> dict[str, Floats]:
        """The known values with as many axes as the values."""
        return like(self.known, self.x)

    @cached_property
    def features(self) -> Floats:
        """φ(x) [N, P]."""
        return self.family.features(self)

    @cached_property
    def log_base(self) -> Floats:
        """log h(x) [N], zero where the value is missing."""
        return self.family.total_log_base(self)

    def under(self, known: Mapping[str, Floats]) -> Observations:
        """The same values under other known ones, the same for all rows."""
        key = b"".join(value.tobytes() for value in known.values())
        if key not in self.kept:
            self.kept[key] = Observations(self.family, self.x, {**self.known, **known})
        return self.kept[key]


def value_range(x: Floats) -> tuple[Floats, Floats]:
    """Least and greatest value of each coordinate; several rows are compared as one."""
    size = x.shape[1]
    fold = max(1, 128 // size)
    whole = len(x) - len(x) % fold
    wide, rest = x[:whole].reshape(-1, fold * size), x[whole:]
    low, high = wide.min(axis=0, initial=np.inf), wide.max(axis=0, initial=-np.inf)
    return (
        np.concatenate([low.reshape(fold, size), rest]).min(axis=0),
        np.concatenate([high.reshape(fold, size), rest]).max(axis=0),
    )


def like(known: Mapping[str, Floats], x: Floats) -> dict[str, Floats]:
    """Known values [N] (or [1]) with further axes of length 1, as many as `x` has."""
    return {k: v.reshape(v.shape + (1,) * (x.ndim - v.ndim)) for k, v in known.items()}


def flat_rows(table: Any) -> Any:
    """[N, ...] → [N, entries], also for no rows at all."""
    return table.reshape(len(table), math.prod(table.shape[1:]))
