"""The facts of a family: what its author writes, and what its slots say of shapes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pgem.arrays import Floats, Mask
from pgem.errors import DeclarationError
from pgem.families._parts import Slot, Support
from pgem.families._roles import KNOWN, KNOWNPOSITIVE, VARIANCE, Role

Slots = Mapping[str, Floats]
Statistics = tuple[Floats, ...]
Examples = Mapping[str, tuple[float, ...]]


class Facts:
    """Declarations and facts with their defaults; `Family` explains them."""

    conjugate_to: ClassVar[Role | None] = None
    """The role that this family is a conjugate prior of.

    Its statistics are then those that the role's log-density is linear in: (log u, u) for a rate,
    (log u, log(1 - u)) for a probability, log u for a probability vector.
    """
    pseudo_formula: ClassVar[tuple[str, ...]] = ()
    """`pseudo_statistics` in LaTeX, for the derivation, where the code cannot be run on symbols."""
    slots: ClassVar[tuple[Slot, ...]]
    support: ClassVar[Support]
    options: ClassVar[tuple[str, ...]] = ("size",)
    event_ndim: ClassVar[int] = 0
    formula: ClassVar[str] = ""
    """The log-density in LaTeX, for the derivation."""
    written: ClassVar[Mapping[str, str]] = {}
    """Facts once more as plain formulas, where the code cannot be run on symbols: `T`, `eta` and
    `A`, parts separated by `;` (see `_written.py`; the conformance kit compares)."""
    rung: ClassVar[str]
    """How the joint M-step is solved, for the report."""
    gaussian: ClassVar[bool] = False
    """Whether the mean may be linear in other nodes and covariates: slots mean and (co)variance."""
    regresses: ClassVar[bool] = False
    """Whether the mean is a sum of terms, whose coefficients are solved together."""
    own_fit: ClassVar[bool] = False
    """Whether there is no statistic to sum: `estimate` sees all slots of a cell at once."""
    owner: str = ""
    """The component that a settled family stands in, for errors."""
    examples: ClassVar[Examples] = {}
    """Values that the conformance kit tries: of known slots, of other inputs of `draw`, of slots
    without moments elsewhere."""

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        maps = (cls.from_mean, cls.role_statistics)
        if maps == (Facts.from_mean, Facts.role_statistics) and "rung" not in vars(cls):
            cls.rung = "numeric Newton"

    def __init__(self, *values: Any, **named: Any) -> None:
        cls = type(self)
        names = [slot.name for slot in cls.slots]
        links = [slot.link for slot in cls.slots if slot.link]
        if len(values) > len(names):
            raise DeclarationError(
                f"{cls.__name__} takes at most {len(names)} positional slots",
                expected=", ".join(names),
                received=f"'{len(values)}' values",
            )
        arguments = dict(zip(names, values, strict=False))
        for name, value in named.items():
            if name in arguments or name not in (*names, *links, *cls.options):
                problem = "is given twice" if name in arguments else "is not known"
                raise DeclarationError(
                    f"slot '{name}' of {cls.__name__} {problem}",
                    expected=f"slots {', '.join([*names, *links])}; "
                    f"options {', '.join(cls.options)}",
                )
            arguments[name] = value
        self.settings: dict[str, Any] = {
            name: arguments.pop(name, None) for name in cls.options if name not in names
        }
        self.arguments: dict[str, Any] = arguments
        self.structures: dict[str, str] = {}
        self.size: int | None = self.settings.get("size")

    def __repr__(self) -> str:
        inside = {**self.arguments, **{k: v for k, v in self.settings.items() if v is not None}}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in inside.items())})"

    def settled(self, size: int | None, structures: Mapping[str, str]) -> Self:
        """A copy whose vector size (or number of categories) and structures are fixed."""
        other = copy.copy(self)
        other.size, other.structures = size, dict(structures)
        return other

    @property
    def title(self) -> str:
        """The name that the user knows it by."""
        return type(self).__name__

    # --- the facts ----------------------------------------------------------------------------

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        """T(x): arrays shaped like `x` (of whole vectors and matrices, any own axes)."""
        raise NotImplementedError(type(self).__name__)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        """η(slots), one array per statistic."""
        raise NotImplementedError(type(self).__name__)

    def log_partition(self, *eta: Floats) -> Floats | float:
        """A(η)."""
        return 0.0

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats | float:
        """log h(x)."""
        return 0.0

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        """The slots whose expected statistics are `mean`."""
        raise NotImplementedError(type(self).__name__)

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics | None:
        """The statistic of one slot's role per cell, given the other slots; None if there is none.

        Args:
            slot: the slot to be maximised.
            stats: the expected statistics per cell.
            slots: current values of all slots per cell [C, ...].
            origin: the slot values that the E-step ran with.
            cancel: the slots in `free_of` are constant within each row, so leave them out.
        """
        return None

    def pseudo_statistics(self, **slots: Floats) -> Statistics:
        """What this family, as a prior, adds to the statistic of the role it is conjugate to."""
        raise NotImplementedError(type(self).__name__)

    def from_natural(self, *eta: Floats) -> tuple[Floats, ...]:
        """The slots of natural parameters, one per slot: a conjugate latent's posterior."""
        raise NotImplementedError(type(self).__name__)

    def mean_statistics(self, *eta: Floats) -> tuple[Floats, ...]:
        """E[T] = ∇A(η), one array per statistic, of a conjugate latent."""
        raise NotImplementedError(type(self).__name__)

    def partition_rise(self, eta: Statistics, step: Statistics) -> Floats:
        """A(η + step) - A(η) of a conjugate latent, without cancellation."""
        raise NotImplementedError(type(self).__name__)

    def with_tied(self, slots: tuple[str, ...]) -> Facts | None:
        """This family with one parameter in all of these slots; None if it has no joint M-step."""
        return None

    def domain(self) -> Floats | None:
        """All possible values, if they are finitely many."""
        return None

    def possible(self, x: Floats, **known: Floats) -> Mask:
        """Which values have a density at these values of the known slots."""
        return self.support.contains(x)

    def inside(self, **known: Floats) -> Floats | float:
        """A value of the support at these values of the known slots."""
        return self.support.inside

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        """The same distribution for slots of one cell, from `scipy.stats`, or None."""
        return None

    # --- slots and shapes ----------------------------------------------------------------------

    @property
    def known_slots(self) -> tuple[str, ...]:
        """Names of slots that are never estimated."""
        return tuple(slot.name for slot in self.slots if slot.role is KNOWN)

    @property
    def is_conjugate(self) -> bool:
        """Whether it may be a latent that is integrated out under conjugate children."""
        return type(self).mean_statistics is not Facts.mean_statistics

    @property
    def estimable(self) -> tuple[str, ...]:
        """Names of slots that are estimated unless they are given."""
        return tuple(slot.name for slot in self.slots if slot.role is not KNOWN)

    def known_of_cells(self, slots: Slots, ndim: int = 1) -> dict[str, Floats]:
        """Values of the slots that are known per cell, with this many axes."""
        names = [slot.name for slot in self.slots if slot.per_cell and slot.role is KNOWN]
        return {k: slots[k].reshape(slots[k].shape + (1,) * (ndim - slots[k].ndim)) for k in names}

    @property
    def coordinates(self) -> int | None:
        """The number of independent coordinates, if this is a scalar family over a vector."""
        scalar = self.event_ndim == 0 and all(slot.axes == "" for slot in self.slots)
        return self.size if scalar else None

    def role_of(self, slot: str) -> Role:
        """The role of a slot, after `settled`: a reduced covariance is variances."""
        if self.structures.get(slot) in ("diagonal", "spherical"):
            return VARIANCE
        declared = next(s for s in self.slots if s.name == slot)
        return KNOWNPOSITIVE if declared.positive else declared.role

    @property
    def factorises(self) -> bool:
        """Whether coordinates are independent, so that single ones may be missing."""
        return self.event_ndim == 0

    @property
    def takes_partial(self) -> bool:
        """Whether single coordinates of a value may be missing."""
        return self.factorises

    def own_shape(self, slot: str) -> tuple[int, ...]:
        """Own axes of a slot's value, after `settled`."""
        axes = next(s.axes for s in self.slots if s.name == slot)
        if self.structures.get(slot) == "spherical":
            return ()
        if self.structures.get(slot) == "diagonal":
            axes = "d"
        if axes == "" and self.event_ndim == 0 and self.size is not None:
            axes = "d"  # independent coordinates of a vector
        return (self.size or 1,) * len(axes)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Axes of one value, after `settled`: () a number, (D,) a vector, (D, D) a matrix."""
        if self.event_ndim:
            return (self.size or 1,) * self.event_ndim
        labels = any(slot.axes == "k" for slot in self.slots)
        return () if self.size is None or labels else (self.size,)

    def aligned(self, slots: Slots, *names: str) -> tuple[Floats, ...]:
        """Values of some slots with as many axes each: known ones are the same over a vector."""
        values = [slots[name] for name in names]
        ndim = max(value.ndim for value in values)
        ndim = max(ndim, 2) if self.coordinates is not None else ndim
        return tuple(value.reshape(value.shape + (1,) * (ndim - value.ndim)) for value in values)

    def measured(self, x: Floats) -> Floats:
        """Values on the scale that slots of mean and spread refer to."""
        return x
