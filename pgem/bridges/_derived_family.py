"""The family class that stands on a derived form."""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from pgem.arrays import Floats, safe_divide
from pgem.bridges._derivation import Derivation, Recipe
from pgem.bridges._derived_page import write
from pgem.bridges._numbers import evaluate
from pgem.families import Family, _fitting
from pgem.families._family import Slots, Statistics
from pgem.families._roles import OPENPROB, PROB

TINY = 1e-14
"""Share of its terms below which a positive statistic is rounding."""


class DerivedClass(type):
    """The class of derived families, which are pickled as what they are made from."""

    derivation: Derivation


def _recipe(kind: DerivedClass) -> Any:
    return Recipe.make, (kind.derivation.recipe,)


copyreg.pickle(DerivedClass, _recipe)


class DerivedFamily(Family, metaclass=DerivedClass):
    """A family derived from its density; `explain` tells how."""

    derivation: ClassVar[Derivation]

    @classmethod
    def explain(cls, style: str = "text") -> str:
        """What was derived: T, η, A, h, the M-step and the meaning of the slots.

        Args:
            style: "text", or "markdown" with formulas in LaTeX.
        """
        return write(cls.__name__, cls.rung, cls.derivation, style)

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        form = self.derivation.form
        return tuple(evaluate(part, {form.x.name: x}) for part in form.statistics)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        shape = np.broadcast_shapes(*(np.shape(value) for value in slots.values()))
        parts = (evaluate(part, slots) for part in self.derivation.form.natural)
        return tuple(np.broadcast_to(part, shape) for part in parts)

    def log_partition(self, *eta: Floats) -> Floats | float:
        """A is known in terms of the slots, which `coefficients` uses."""
        raise NotImplementedError(f"{type(self).__name__} has A in terms of its slots, not of η")

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats | float:
        form = self.derivation.form
        return np.broadcast_to(evaluate(form.log_base, {form.x.name: x}), x.shape)

    def coefficients(self, slots: Slots) -> Floats:
        inputs = {name: self._off_edge(name, slots[name]) for name in self.estimable}
        eta = self.natural_parameters(**inputs)
        lead = evaluate(self.derivation.form.log_partition, inputs)
        parts = [-np.broadcast_to(lead, eta[0].shape), *eta]
        theta = np.stack(parts, axis=-1)
        return np.asarray(theta.reshape(len(theta), -1))

    def _off_edge(self, slot: str, value: Floats) -> Floats:
        """Zero is the limit of small probabilities, where a form that is no sum has none."""
        return PROB.interior(value) if self.role_of(slot) is OPENPROB else value


class ByFormula(DerivedFamily):
    """The joint M-step is a formula."""

    rung = "closed form"

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        values = {f"t{k}": part for k, part in enumerate(mean, start=1)}
        parts = (evaluate(part, values) for part in self.derivation.maximum)
        return tuple(np.broadcast_to(part, mean[0].shape).copy() for part in parts)


class ByNewton(DerivedFamily):
    """The joint M-step is Newton's method on the averages of T."""

    rung = "Newton"

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        start = {
            name: self.role_of(name).from_free(np.zeros(mean[0].shape)) for name in self.estimable
        }
        return tuple(self._climbed(mean, start).values())

    def estimate(self, stats: Statistics, previous: Slots) -> dict[str, Floats]:
        count, sums = self.totals(stats)
        means = [safe_divide(total, count, np.nan) for total in sums]
        found = self._climbed(means, previous)
        return {name: np.where(count > 0, value, previous[name]) for name, value in found.items()}

    def _climbed(self, mean: Sequence[Floats], start: Slots) -> dict[str, Floats]:
        """The maximum for averages of any shape, each by itself."""
        shape = mean[0].shape
        some = np.isfinite(np.stack(mean)).all(axis=0).ravel()
        columns = [np.broadcast_to(part, shape).ravel()[some] for part in mean]
        flat = {name: start[name].reshape(-1)[some] for name in self.estimable}
        found = {name: start[name].reshape(-1).copy() for name in self.estimable}
        if some.any():
            table = np.stack([np.ones(len(columns[0])), *columns], axis=1)
            with np.errstate(all="ignore"):
                new = _fitting.by_newton(self.settled(None, {}), (table,), flat)
            for name, value in new.items():
                found[name][some] = value
        return {name: value.reshape(shape) for name, value in found.items()}


class _Roles(DerivedFamily):
    """Every slot has a conditional maximum that its role knows."""

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, sums = self.totals(stats)
        meaning = self.derivation.meanings[slot]
        parts = meaning.short if cancel and meaning.short else meaning.parts
        return tuple(_weighed(part, (count, *sums), slots) for part in parts)


class ByFormulaWithRoles(_Roles, ByFormula):
    """The joint M-step is a formula, and so are those of single slots."""


class ByNewtonWithRoles(_Roles, ByNewton):
    """The joint M-step is Newton's method; single slots have their roles' own."""


def _weighed(factors: Sequence[Any], features: Sequence[Floats], slots: Slots) -> Floats:
    """Σ factor · sum of a feature; what is only rounding below zero is not below zero."""
    terms = [
        evaluate(factor, slots) * feature
        for factor, feature in zip(factors, features, strict=True)
        if factor != 0
    ]
    total = np.sum(np.broadcast_arrays(*terms), axis=0)
    rounding = TINY * np.sum(np.abs(np.broadcast_arrays(*terms)), axis=0)
    return np.asarray(np.where(np.abs(total) < rounding, rounding, total))
