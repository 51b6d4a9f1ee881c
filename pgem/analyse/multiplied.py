"""Slots that hold a product, other than linear means: the family with its multiplier."""

from __future__ import annotations

from collections.abc import Callable

from pgem.analyse.linear import Length, known_product
from pgem.declare import SlotRecord, TimesRecord, slot_of
from pgem.errors import DeclarationError
from pgem.families import Family
from pgem.families._parts import Slot
from pgem.families._scaled import Scaled, scaled
from pgem.graph import Component


def make_scaled(
    component: Component, base: Family, length: Length, random: Callable[[str], bool], where: str
) -> Scaled:
    """The family of a component with a product in one slot.

    Args:
        component: the component.
        base: its family, settled.
        length: lengths of vectors.
        random: whether a node is integrated over.
        where: origin of the node.

    Raises:
        DeclarationError: under the product the family is no exponential family in its parameter.
    """
    held = {name: slot for name, slot in component.leaf.slots.items() if slot.times is not None}
    name = next(iter(held))
    if len(held) > 1:
        raise DeclarationError(
            f"'{component.key}' holds products in two slots",
            where=where,
            expected="a product in one slot",
            received=" and ".join(map(repr, held)),
        )
    times = held[name].times or TimesRecord()
    slot = next(s for s in base.slots if s.name == slot_of(name))
    latent = times.parent if times.parent and random(times.parent) else ""
    if not latent or slot.multiplier is not None:
        _check_product(component, slot, times, base, length, where)
    if slot.multiplier is None:
        _check_whole(component, slot, held[name], where)
    return scaled(base, name, known_product(times, random), latent)


def _check_product(
    component: Component, slot: Slot, times: TimesRecord, base: Family, length: Length, where: str
) -> None:
    """The slot may be multiplied, by scalars and numbers above zero."""
    family, key = type(base).__name__, f"{component.key}.{slot.name}"
    if slot.multiplier is None:
        free = [s.name for s in base.slots if s.multiplier is not None]
        raise DeclarationError(
            f"slot '{key}' holds a product: {family} is no exponential family in a {slot.name} "
            "that is multiplied row by row",
            where=where,
            expected="a parameter, a value, or one per value of a discrete covariate"
            + (f"; products stand in {', '.join(free)}" if free else ""),
            advice=f"let the product stand in its link: pg.{family}({slot.link}=...)"
            if slot.link
            else "products stand in means, in variances, and in rates (Poisson, Exponential, "
            "Gamma): scale the data instead, or index the parameter by a discrete covariate",
        )
    if times.scale <= 0:
        raise DeclarationError(
            f"slot '{key}' is multiplied by a number that is not positive",
            where=where,
            received=f"'{times.scale:g}'",
        )
    names = (*times.covariates, *times.over, *([times.parent] if times.parent else []))
    for name in names:
        if length(name) is not None:
            raise DeclarationError(
                f"slot '{key}' is multiplied by the vector '{name}'",
                where=where,
                expected="one number per row",
            )


def _check_whole(component: Component, slot: Slot, held: SlotRecord, where: str) -> None:
    """A latent is the slot's whole value, with nothing beside it."""
    times = held.times or TimesRecord()
    beside = held.kind == "param" or held.gates or times.covariates or times.over
    if beside or times.scale != 1 or times.inverse or held.value != 1.0:
        raise DeclarationError(
            f"slot '{component.key}.{slot.name}' multiplies the latent '{times.parent}' by "
            "something: its posterior is then of no known family",
            where=where,
            expected=f"{slot.name}={times.parent} and nothing beside it",
        )
