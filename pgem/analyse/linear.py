"""Linear means: the terms of an expression with their sizes, as a family of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pgem.arrays import Integers
from pgem.declare import SlotRecord, TimesRecord, slot_of
from pgem.errors import DeclarationError
from pgem.families import Family
from pgem.families._linear import Linear, Regressor, Term
from pgem.families._link import Linked, links_of
from pgem.graph import Component

Length = Callable[[str], int | None]
"""The length of a vector-valued covariate or node; None for a scalar."""


def has_terms(component: Component) -> bool:
    """Whether a slot holds a product or a sum."""
    return any(slot.times is not None for slot in component.leaf.slots.values())


def own_axes(family: Family, slot: str, node: str, n_own: int) -> tuple[str, ...]:
    """What the own axes of a slot run over: the node's coordinates, and what is contracted."""
    terms = family.terms if isinstance(family, Linear | Linked) else ()
    for term in terms:
        wide, placement = term.vector or term.parent, term.placement
        contracts = term.own[-1:] == placement.shape[1:] and placement.min() >= 0
        if term.slot == slot and wide and contracts:
            return (*[node] * (n_own - 1), wide[0])
    return (node,) * n_own


def make_linear(
    component: Component, base: Family, length: Length, random: Callable[[str], bool], where: str
) -> Linear:
    """The family of a component whose mean is a sum of terms.

    Args:
        component: the component.
        base: its family, settled.
        length: lengths of vectors.
        random: whether a node is integrated over.
        where: origin of the node.

    Raises:
        DeclarationError: shapes of a term do not fit, or the family has no linear mean.
    """
    if not base.gaussian:
        raise DeclarationError(
            f"'{component.key}' holds an expression: {type(base).__name__} has no linear mean",
            where=where,
            expected="an expression in the mean of Normal or MvNormal, or in a link"
            + (f" ({', '.join(links_of(base))})" if links_of(base) else ""),
            advice=f"pg.{type(base).__name__}({next(iter(links_of(base)))}=...)"
            if links_of(base)
            else "transform the values, or give the slot a parameter with gates",
        )
    maker = Maker(component.key, base, length, random, where)
    mean, spread = base.slots
    written = component.leaf.slots
    terms = [maker.term(name, slot) for name, slot in written.items() if slot_of(name) == mean.name
             or name == mean.name]  # fmt: skip
    over = written[spread.name].times
    latent = over.parent if over is not None and over.parent and random(over.parent) else ""
    return Linear(base, terms, spread, maker.spread(written[spread.name]), latent)


class Maker:
    """Terms with their places in φ, which are counted up from one to the next."""

    def __init__(
        self, key: str, base: Family, length: Length, random: Callable[[str], bool], where: str
    ) -> None:
        self.key, self.base, self.length, self.random = key, base, length, random
        self.where, self.column = where, 0
        self.vector = bool(base.event_ndim) or base.size is not None
        self.dim = base.size or 1

    def fail(self, slot: str, problem: str, **labels: Any) -> DeclarationError:
        return DeclarationError(f"slot '{self.key}.{slot}' {problem}", where=self.where, **labels)

    def term(self, name: str, slot: SlotRecord) -> Term:
        """One term with its place in φ."""
        times = slot.times or TimesRecord()
        if times.inverse:
            raise self.fail(name, f"divides by node '{times.parent}'",
                            expected="a mean that is linear in its parents")  # fmt: skip
        factors: tuple[Regressor, ...] = tuple((c, 0) for c in times.covariates)
        parent: Regressor | None = (times.parent, times.lag) if times.parent else None
        if parent is not None and not self.random(times.parent):
            factors, parent = (*factors, parent), None
        vectors = [f for f in factors if self.length(f[0]) is not None]
        for over in times.over:
            if self.length(over) is not None:
                raise self.fail(name, f"divides by the vector '{over}'")
        own, placement, contracts = self.shape(name, slot, vectors, parent)
        start = self.column
        self.column += placement.shape[1]
        return Term(
            name, own, start, self.column, placement, times.scale, factors,
            tuple((c, 0) for c in times.over), vectors[0] if vectors else None, parent, contracts,
        )  # fmt: skip

    def shape(
        self, name: str, slot: SlotRecord, vectors: list[Regressor], parent: Regressor | None
    ) -> tuple[tuple[int, ...], Integers, bool]:
        """Own axes of the coefficient, its placement in C, whether a vector meets the parent."""
        tail = (self.dim,) if self.vector else ()
        wide = [*vectors, *([parent] if parent and self.length(parent[0]) is not None else [])]
        table = slot.kind == "param" or np.ndim(slot.value) > len(slot.gates)
        times = slot.times or TimesRecord()
        if len(wide) > 2 or len(vectors) > 1 or (len(wide) == 2 and (table or not times.contracts)):
            raise self.fail(
                name, "multiplies vectors in a way that is no linear map",
                expected="one vector in a term, or vector @ vector without a parameter",
                received=" and ".join(f"'{n}'" for n, _ in wide),
            )  # fmt: skip
        if not wide:
            return tail, np.arange(self.dim)[:, None], False
        sizes = [self.length(n) or 1 for n, _ in wide]
        if len(wide) == 2:
            if sizes[0] != sizes[1] or self.vector:
                raise self.fail(
                    name, f"contracts '{wide[0][0]}' with '{wide[1][0]}'",
                    expected="vectors of the same length, in a scalar mean",
                    received=f"lengths '{sizes[0]}' and '{sizes[1]}'",
                )  # fmt: skip
            return tail, np.zeros((1, 1), dtype=np.int64), True
        size = sizes[0]
        if table and times.contracts:
            count = self.dim * size
            return (*tail, size), np.arange(count).reshape(self.dim, size), False
        if times.contracts and times.covariates and parent and not vectors and not table:
            raise self.fail(
                name, f"contracts '{times.covariates[-1]}' with the vector '{parent[0]}'",
                expected=f"a covariate whose values are vectors of length '{size}'",
                received="a covariate that is not known to be one",
                advice="compile with data: model.compile(data), whose values of "
                f"'{times.covariates[-1]}' are [units, …, {size}]",
            )  # fmt: skip
        if not self.vector or size != self.dim:
            raise self.fail(
                name, f"holds the vector '{wide[0][0]}' of length '{size}'",
                expected=f"length '{self.dim}', as the node has" if self.vector else "a scalar",
                advice="contract it with a parameter: pg.param(...) @ " + wide[0][0],
            )  # fmt: skip
        diagonal = np.where(np.eye(size, dtype=bool), np.arange(size)[:, None], -1)
        return tail, diagonal, False

    def spread(
        self, slot: SlotRecord
    ) -> tuple[float, tuple[Regressor, ...], tuple[Regressor, ...]] | None:
        """What multiplies the covariance."""
        times = slot.times
        if times is None:
            return None
        for name in (*times.covariates, *times.over, *([times.parent] if times.parent else [])):
            if self.length(name) is not None:
                raise self.fail("var", f"is multiplied by the vector '{name}'",
                                expected="one number per row")  # fmt: skip
        return known_product(times, self.random)


def known_product(
    times: TimesRecord, random: Callable[[str], bool]
) -> tuple[float, tuple[Regressor, ...], tuple[Regressor, ...]]:
    """A number, and the covariates and observed nodes that multiply and that divide."""
    seen = ((times.parent, times.lag),) if times.parent and not random(times.parent) else ()
    above, below = ((), seen) if times.inverse else (seen, ())
    return (
        times.scale,
        (*((c, 0) for c in times.covariates), *above),
        (*((c, 0) for c in times.over), *below),
    )
