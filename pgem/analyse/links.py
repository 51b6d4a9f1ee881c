"""Linear predictors behind a link: the terms of a slot with their sizes, as a family."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pgem.analyse.linear import Length, Maker, known_product
from pgem.arrays import Mask
from pgem.declare import LeafRecord, slot_of
from pgem.errors import DeclarationError
from pgem.families import Family, Slot
from pgem.families._linear import Product
from pgem.families._link import Linked, links_of
from pgem.families._links import LINKS
from pgem.families._scaled import UNTOUCHED
from pgem.graph import Component


def link_of(component: Component) -> Slot | None:
    """The slot of a component whose link is given as a sum of terms, if there is one."""
    return _linked_slot(component.family, component.leaf)


def _linked_slot(family: Family, leaf: LeafRecord) -> Slot | None:
    links, written = links_of(family), {slot_of(name) for name in leaf.slots}
    return next((slot for name, slot in links.items() if name in written), None)


def coefficient_slots(component: Component) -> tuple[str, ...]:
    """The slots that hold terms of the link."""
    slot = link_of(component)
    return tuple(n for n in component.leaf.slots if slot is not None and slot_of(n) == slot.link)


def make_linked(
    component: Component, base: Family, length: Length, random: Callable[[str], bool], where: str
) -> Linked:
    """The family of a component with a linear predictor.

    Args:
        component: the component.
        base: its family, settled.
        length: lengths of vectors.
        random: whether a node is integrated over.
        where: origin of the node.

    Raises:
        DeclarationError: shapes of a term do not fit.
    """
    slot = link_of(component)
    assert slot is not None
    _check_family(base, slot, where)
    written = component.leaf.slots
    maker = Maker(component.key, base, length, random, where)
    if slot.axes == "k":
        maker.vector = True
    terms = [maker.term(name, written[name]) for name in coefficient_slots(component)]
    if slot.name not in written:
        return Linked(base, slot, terms)
    by, latent = _multiplier(component, slot, length, random, where)
    return Linked(base, slot, terms, factor=True, factor_by=by, latent=latent)


def _check_family(base: Family, slot: Slot, where: str) -> None:
    """The slot has a role with a link, and is the only one that is estimated."""
    name = type(base).__name__
    if slot.role not in LINKS:
        raise DeclarationError(
            f"slot '{slot.name}' of {name} has link '{slot.link}', but a {slot.role.name} has none",
            where=where,
            expected=f"a slot with one of the roles {', '.join(role.name for role in LINKS)}",
        )
    if len(base.estimable) > 1:
        raise DeclarationError(
            f"{name} has link '{slot.link}' and several slots that are estimated",
            where=where,
            expected="a family with a single one",
            received=", ".join(base.estimable),
        )


def _multiplier(
    component: Component, slot: Slot, length: Length, random: Callable[[str], bool], where: str
) -> tuple[Product | None, str]:
    """What multiplies the slot beside its link: known numbers, and a latent or ""."""
    times, name = component.leaf.slots[slot.name].times, f"{component.key}.{slot.name}"
    if times is None:
        return None, ""
    for other in (*times.covariates, *times.over, *([times.parent] if times.parent else [])):
        if length(other) is not None:
            raise DeclarationError(
                f"slot '{name}' is multiplied by the vector '{other}'",
                where=where,
                expected="one number per row",
            )
    latent = times.parent if times.parent and random(times.parent) else ""
    product = known_product(times, random)
    return (None if product == UNTOUCHED else product), latent


def reference_category(family: Family, slot: str, shape: tuple[int, ...]) -> Mask:
    """Entries [gates…, size, …] of a coefficient that belong to category 0, which is zero."""
    held = np.zeros(shape, dtype=bool)
    if isinstance(family, Linked) and family.link.joint:
        term = next((t for t in family.terms if t.slot == slot), None)
        if term is not None:
            np.moveaxis(held, -len(term.own), 0)[0] = True
    return held
