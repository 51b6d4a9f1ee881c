r"""Derivation of links: what a slot is under its link, and how its coefficients are solved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pgem.analyse import Block
from pgem.families._link import Linked
from pgem.plan.latex import letters_of


def where_linked(family: Linked, slots: Mapping[str, str]) -> str:
    """What the slot of the family's formula is under its link.

    Args:
        family: the family with its link.
        slots: what stands in every slot, the terms of the link added up, as formulas.
    """
    used = letters_of(family.formula)
    letter = next((s for s in family.base.role_of(family.target).symbols if s in used), "p")
    inverse = family.link.inverse
    if family.factor:
        inverse = rf"{slots[family.target]} \, {inverse}"
    return rf"${letter} = {inverse}$, $\eta = {slots[family.link_slot]}$"


def how_linked(block: Block) -> str:
    """How the coefficients of a block are solved, in words and formulas."""
    rest = [f"`{name}`" for name in block.params if name not in block.regression]
    if not rest:
        return "together by damped Newton steps, as below."
    coefs = ", ".join(f"`{name}`" for name in block.regression)
    return (
        f"{coefs} together by damped Newton steps, as "
        f"below, in turn with {', '.join(rest)} until $Q$ gains no more (ECM):"
    )


def newton_steps(families: Iterable[Linked]) -> str:
    """What a Newton step is, and what f is where a latent multiplies the slot."""
    if not any(family.latent for family in families):
        return NEWTON_STEPS
    return NEWTON_STEPS + (
        r" Where a latent stands beside a link, $f$ is its mean over the latent, with "
        r"$\mathrm{E}$ of the latent in the place of the latent."
    )


NEWTON_STEPS = (
    r"A Newton step takes coefficients $\theta$ behind links to $\theta + s H^{-1} g$, where $s$ "
    r"is the first of $1, 1/2, 1/4, \ldots$ with which $Q$ rises; $Q$ is concave in them, and the "
    r"steps end when it rises no more. With $\phi$ what multiplies the coefficients, $w$ the "
    r"posterior weight of a row in a cell and $f(\eta)$ its log-density, "
    r"$g = \sum w \, f'(\eta) \, \phi$ and $H = -\sum w \, f''(\eta) \, \phi \phi^T$."
)
