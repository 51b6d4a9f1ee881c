"""A family in words and formulas: its density, its facts, its slots, what is conjugate to it."""

from __future__ import annotations

from pgem import families
from pgem.errors import DeclarationError
from pgem.families import Family, Slot
from pgem.families._roles import KNOWN, RATE, Role
from pgem.plan.page import Page
from pgem.plan.symbolic import (
    log_partition_of,
    natural_parameters_of,
    slot_letters,
    statistics_of,
)


def describe(kind: type[Family], style: str) -> str:
    """All that is known of a family.

    Args:
        kind: the class.
        style: `text`, or `markdown` with formulas in LaTeX.

    Raises:
        DeclarationError: another style.
    """
    if style not in ("text", "markdown"):
        raise DeclarationError(
            f"a family cannot be explained as '{style}'", expected="'text' or 'markdown'"
        )
    page = Page()
    page.title(kind.__name__)
    lines = formulas(kind())
    if lines:
        page.formula(*lines)
    page.say(f"Values: {kind.support.name}; {coordinates(kind())}.")
    letters = slot_letters(kind())
    for slot in kind.slots:
        page.item(slot_line(kind, slot, letters[slot.name]))
    page.say(f"M-step: {kind.rung}.")
    if kind.conjugate_to is not None:
        page.say(f"It is the conjugate prior of a {kind.conjugate_to.name}.")
    return page.text() if style == "text" else page.markdown()


def formulas(family: Family) -> list[str]:
    """log p, T, η and A, aligned at `&`; what the family does not tell is left out."""
    letters = slot_letters(family)
    lines = [rf"\log p(x) &= {family.formula}"] if family.formula else []
    statistics = statistics_of(family, letters)
    natural = natural_parameters_of(family, letters)
    if statistics is None and any(slot.axes == "k" for slot in family.slots):
        statistics = ("([x = k])_k",)
    if statistics:
        lines.append(f"T(x) &= {_tuple(statistics)}")
    if natural:
        lines.append(rf"\eta &= {_tuple(natural)}")
    if statistics is not None or natural:
        partition = log_partition_of(family, letters, len(statistics or ()))
        lines += [rf"A(\eta) &= {partition}"] if partition else []
    return lines


def _tuple(parts: tuple[str, ...]) -> str:
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def coordinates(family: Family) -> str:
    """What a value with several entries is."""
    if family.event_ndim:
        return "whole matrices" if family.event_ndim > 1 else "whole vectors"
    if any(slot.axes for slot in family.slots):
        return "one value"
    return "over a vector, independent coordinates"


def slot_line(kind: type[Family], slot: Slot, letter: str) -> str:
    """A slot: its letter, what it may hold, what is conjugate to it."""
    shown = f" ${letter}$" if len(letter) == 1 or "\\" in letter else ""
    what = "positive known value" if slot.positive else slot.role.name
    where = " per cell" if slot.per_cell else ""
    expected = "" if slot.role is KNOWN else f", {slot.role.expected}"
    priors = [
        k.__name__
        for k in shelf()
        if k.conjugate_to is slot.role and k.event_ndim <= len(slot.axes)
    ]
    prior = f"; conjugate prior: {' or '.join(priors)}" if priors else ""
    more = f"; link: `{slot.link}`" if slot.link else ""
    latents = latent_parents(kind, slot)
    if latents:
        times = "multiplied by covariates and a latent" if slot.multiplier else "a latent"
        times = "linear in covariates and a latent" if kind.gaussian and slot.linear else times
        more += f"; may be {times} {' or '.join(latents)}"
    return f"`{slot.name}`{shown}: {what}{where}{expected}{prior}{more}"


def latent_parents(kind: type[Family], slot: Slot) -> list[str]:
    """Families of latents that may stand in a slot and be integrated out."""
    if kind.gaussian and slot.linear:
        return [other.__name__ for other in shelf() if other.gaussian]
    if slot.multiplier is not None:
        return _conjugate(RATE)
    return _conjugate(slot.role) if slot.role.name.startswith("probability") else []


def _conjugate(role: Role) -> list[str]:
    return [k.__name__ for k in shelf() if k().is_conjugate and k.conjugate_to is role]


def shelf() -> list[type[Family]]:
    """All families of the shelf."""
    things = [getattr(families, name) for name in families.__all__]
    kinds = [t for t in things if isinstance(t, type) and issubclass(t, Family)]
    return [kind for kind in kinds if kind is not Family]
