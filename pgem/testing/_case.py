"""Parameters and data for one family, drawn from its roles and from its own density."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers, Mask
from pgem.families._derived import atoms
from pgem.families._family import Family, Observations
from pgem.families._roles import KNOWN, Role
from pgem.testing._report import Fault

Index = slice | Integers | Mask

N_CELLS = 3
N_CATEGORIES, N_COORDINATES = 3, 2


@dataclass
class Case:
    """A family with parameters per cell and rows of data; nothing here uses its sampler.

    Attributes:
        family: settled; over one coordinate if it is a scalar family.
        slots: values [C, ...] of all slots, the known ones too.
        n_rows: rows of data.
        seed: of everything that is random.
    """

    family: Family
    slots: dict[str, Floats]
    n_rows: int
    seed: int

    @property
    def name(self) -> str:
        """The family and its structure, for titles."""
        structures = "".join(f", {kind} {slot}" for slot, kind in self.family.structures.items())
        return type(self.family).__name__ + structures

    def generator(self, stream: int) -> Generator:
        """A generator of its own for each use."""
        return np.random.default_rng([self.seed, stream])

    def cell(self, index: int) -> dict[str, Floats]:
        """Slots [1, ...] of one cell."""
        return {name: value[index : index + 1] for name, value in self.slots.items()}

    @property
    def cells(self) -> range:
        """Indices of the cells."""
        return range(len(next(iter(self.slots.values()))))

    @property
    def estimated(self) -> list[str]:
        """Slots that are estimated."""
        return [slot.name for slot in self.family.slots if slot.role is not KNOWN]

    @property
    def elsewhere(self) -> dict[str, Floats]:
        """Other values of the estimated slots: those of the next cell."""
        moved = {name: np.roll(self.slots[name], 1, axis=0) for name in self.estimated}
        return self.slots | moved

    @cached_property
    def atoms(self) -> list[tuple[Floats, Floats, Floats]]:
        """Per cell: values, their masses and their log-densities."""
        return [atoms(self.family, self.cell(index)) for index in self.cells]

    @cached_property
    def data(self) -> Observations:
        """Rows that the cells in turn have drawn, from the density."""
        generator, drawn = self.generator(1), []
        for row in range(self.n_rows):
            x, mass, _ = self.atoms[row % len(self.cells)]
            finite = np.where(np.isfinite(mass), mass, 0.0)
            if not finite.max(initial=0.0) > 0:
                raise Fault("support or base measure", "no value has a positive, finite mass")
            share = np.cumsum(finite / finite.max())
            drawn.append(x[np.searchsorted(share, generator.random() * share[-1])])
        return self.family.observe(np.array(drawn), self.known(self.n_rows))

    @cached_property
    def weights(self) -> Floats:
        """Responsibilities [N, C] that are nobody's posterior."""
        return self.generator(2).gamma(1.0, size=(self.n_rows, len(self.cells)))

    def known(self, n_rows: int) -> dict[str, Floats]:
        """Known values per row, from the cells in turn."""
        turn = np.arange(n_rows) % len(self.cells)
        return {name: self.slots[name][turn] for name in self.family.known_slots}

    def seen_by(self, index: int) -> Observations:
        """The data under the values that are known per cell."""
        known = self.family.known_of_cells(self.cell(index))
        return self.data.under(known) if known else self.data

    def rows(self, data: Observations, index: Index) -> Observations:
        """Some rows of the data."""
        known = {name: value[index] for name, value in data.known.items()}
        return data.family.observe(data.x[index], known)


def make_case(
    family: Family | type[Family],
    slots: Mapping[str, object] | None,
    known: Mapping[str, object] | None,
    n_rows: int,
    seed: int,
) -> Case:
    """A case with the given slots, and random values in the others."""
    instance = family() if isinstance(family, type) else copy.copy(family)
    if instance.coordinates is not None:
        instance = instance.settled(None, instance.structures)
    elif instance.size is None:
        axes = "".join(slot.axes for slot in instance.slots)
        size = N_CATEGORIES if "k" in axes else N_COORDINATES if axes else None
        instance = instance.settled(size, instance.structures)
    given = {name: np.asarray(value, dtype=float) for name, value in (slots or {}).items()}
    n_cells = len(next(iter(given.values()))) if given else N_CELLS
    examples = {**instance.examples, **(known or {})}
    found = random_slots(instance, n_cells, np.random.default_rng([seed, 0]))
    found |= {name: np.resize(np.asarray(v, dtype=float), n_cells) for name, v in examples.items()}
    return Case(instance, found | given, n_rows, seed)


def random_slots(family: Family, n_cells: int, generator: Generator) -> dict[str, Floats]:
    """Moderate values of every slot that is estimated, drawn in its role's free coordinates.

    Cells are kept apart, so that a method which confuses them cannot pass by chance.
    """
    found = {}
    for slot in family.slots:
        if slot.role is KNOWN:
            continue
        role = family.role_of(slot.name)
        shape = role.to_free(_neutral(role, family.own_shape(slot.name))[None]).shape[1:]
        places = np.broadcast_to(np.linspace(-1, 1, n_cells), (*shape, n_cells))
        apart = np.moveaxis(generator.permuted(places, axis=-1), -1, 0)
        jitter = generator.uniform(-0.3, 0.3, apart.shape)
        found[slot.name] = role.from_free(0.2 + 0.6 * (apart + jitter))
    return found


def _neutral(role: Role, shape: tuple[int, ...]) -> Floats:
    """A value that the role accepts, whose free coordinates show their shape."""
    size = (shape or (1,))[-1]
    plain = [np.full(shape, value) for value in (0.5, 1.0, 0.0, 1.0 / size, size**-0.5)]
    matrices = [np.eye(shape[0])] if len(shape) == 2 else []
    for value in [*plain, *matrices, role.neutral(shape, np.zeros(()), np.ones(()))]:
        if np.all(role.accepts(value)):
            return value
    raise Fault(f"role '{role.name}'", f"accepts no simple value of shape {shape}")
