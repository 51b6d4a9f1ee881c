"""What follows from a density for every family: moments, information, divergence, draws.

All are sums over `nodes`, the family's own rule for one cell.  A family with a closed form
overrides the method of the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats

Slots = Mapping[str, Floats]


class Density(Protocol):
    """The part of a family that this module uses."""

    def cells(self, slots: Slots) -> Iterable[tuple[Any, dict[str, Floats]]]: ...

    def nodes(self, slots: Slots) -> tuple[Floats, Floats]: ...

    def log_density_at(self, x: Floats, slots: Slots) -> Floats: ...

    def features_at(self, x: Floats, slots: Slots) -> Floats: ...

    def coefficients(self, slots: Slots) -> Floats: ...

    def expected_features(self, slots: Slots) -> Floats: ...


def atoms(family: Density, slots: Slots) -> tuple[Floats, Floats, Floats]:
    """Of one cell: values, their probability masses and log-densities, zero masses left out."""
    with np.errstate(all="ignore"):
        x, log_weight = family.nodes(slots)
        log_density = family.log_density_at(x, slots)
        mass = np.exp(log_density + log_weight)
    keep = mass != 0
    return x[keep], mass[keep], log_density[keep]


def expected_features(family: Density, slots: Slots) -> Floats:
    """E[φ(x)] [C, P], coordinates side by side."""
    rows = []
    for single, cell in family.cells(slots):
        x, mass, _ = atoms(single, cell)
        rows.append(mass @ single.features_at(x, cell))
    return np.asarray(np.stack(rows).reshape(_n_cells(slots), -1))


def entropy(family: Density, slots: Slots) -> Floats:
    """-E[log p(x)] [C]; for a density, the differential entropy."""
    found = []
    for single, cell in family.cells(slots):
        _, mass, log_density = atoms(single, cell)
        found.append(-(mass @ log_density))
    return np.asarray(np.array(found).reshape(_n_cells(slots), -1).sum(axis=1))


def divergence(family: Density, slots: Slots, other: Slots) -> Floats:
    """KL(slots ‖ other) [C] = <E[φ], θ - θ'>: the base measure cancels."""
    mean = family.expected_features(slots)
    return np.maximum(inner(mean, family.coefficients(slots), family.coefficients(other)), 0.0)


def inner(mean: Floats, theta: Floats, minus: Floats | float = 0.0) -> Floats:
    """<mean, θ - θ'> per cell, where 0 × ±inf counts as 0."""
    with np.errstate(invalid="ignore"):
        terms = np.where(mean == 0, 0.0, mean * (theta - minus))
    return np.asarray(terms.sum(axis=1))


def fisher_information(family: Density, slots: Slots) -> Floats:
    """Cov[T(x)] [C, P, P] (over a vector [C, D, P, P]): the information about η."""
    tables = []
    for single, cell in family.cells(slots):
        x, mass, _ = atoms(single, cell)
        features = single.features_at(x, cell)
        centred = features - mass @ features
        tables.append((centred * mass[:, None]).T @ centred)
    return np.stack(tables)


def moments(family: Density, slots: Slots) -> tuple[Floats, Floats]:
    """Mean and variance of a scalar, one entry per cell and coordinate."""
    found = []
    for single, cell in family.cells(slots):
        x, mass, _ = atoms(single, cell)
        mean = mass @ x
        found.append((mean, mass @ (x - mean) ** 2))
    mean, variance = np.array(found).T
    return mean, variance


def plotting_range(family: Density, slots: Slots, share: float) -> Floats:
    """Least and greatest value between which `share` of the mass lies, equal tails left out.

    One row per cell and coordinate [C × D, 2].
    """
    found = []
    for single, cell in family.cells(slots):
        x, mass, _ = atoms(single, cell)
        order = np.argsort(x)
        below = np.cumsum(mass[order]) / mass.sum()
        tail = (1 - share) / 2
        places = np.searchsorted(below, [tail, 1 - tail])
        found.append(x[order][np.minimum(places, len(x) - 1)])
    return np.array(found)


def draw(family: Density, generator: Generator, slots: Slots, *, discrete: bool) -> Floats:
    """One value per row and coordinate [N, D], by inverting the distribution function."""
    flat = np.concatenate([value.reshape(len(value), -1) for value in slots.values()], axis=1)
    _, first, group = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    found = list(family.cells({name: value[first] for name, value in slots.items()}))
    n_coordinates = len(found) // len(first)
    out = np.empty((len(flat), n_coordinates))
    for index, (single, cell) in enumerate(found):
        rows = group == index // n_coordinates
        x, mass, _ = atoms(single, cell)
        uniform = generator.random(int(rows.sum()))
        out[rows, index % n_coordinates] = _invert(x, mass, uniform, discrete=discrete)
    return out


def _invert(x: Floats, mass: Floats, uniform: Floats, *, discrete: bool) -> Floats:
    below = np.cumsum(mass)
    uniform = uniform * below[-1]
    if discrete:
        return np.asarray(x[np.searchsorted(below, uniform, side="right").clip(max=len(x) - 1)])
    return np.interp(uniform, below - mass / 2, x)


def _n_cells(slots: Slots) -> int:
    return len(next(iter(slots.values())))
