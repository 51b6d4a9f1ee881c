r"""Derivation of what conjugate latents and multipliers change.

A latent u with statistics T(u) and natural parameters η is integrated out: each child adds a step
to η.  In the sums of section 4 its statistics are expectations, and a slot that it multiplies
counts with E[u].
"""

from __future__ import annotations

from pgem.analyse import Conjugate, Factor
from pgem.declare import TimesRecord
from pgem.families._linear import Linear
from pgem.families._link import Linked
from pgem.families._scaled import Scaled
from pgem.graph import Component
from pgem.plan.notation import Notation
from pgem.plan.page import Page
from pgem.plan.symbolic import LINEAR, LOG


def multiplied(notation: Notation, times: TimesRecord | None, value: str) -> str:
    """What stands in a slot, with everything that it is multiplied and divided by."""
    if times is None:
        return value
    above = [notation.variable(name) for name in times.covariates]
    below = [notation.variable(name) for name in times.over]
    if times.parent:
        (below if times.inverse else above).append(notation.variable(times.parent, times.lag))
    factors = [*([value] if value != "1" else []), *above]
    if times.scale != 1:
        factors.insert(0, f"{times.scale:g}")
    text = r" \, ".join(factors) or "1"
    return rf"\frac{{{text}}}{{{' '.join(below)}}}" if below else text


def filled(notation: Notation, component: Component, text: str) -> str:
    """A formula with the multiplier of the component's slot in place of its stand-ins."""
    family = notation.analysis.layout.components[component.key].family
    if isinstance(family, Linear) and family.latent:
        return text.replace(LINEAR, rf"\mathrm{{E}}[{notation.variable(family.latent)}]")
    if isinstance(family, Linked):
        return text.replace(LINEAR, _beside_link(notation, component, family))
    if not isinstance(family, Scaled):
        return text
    times = next(s.times for s in component.leaf.slots.values() if s.times is not None)
    plain = TimesRecord(times.scale, times.covariates, times.over)
    known = multiplied(notation, plain, "1")
    linear, log = [], []
    if known != "1":
        linear.append(known)
        log.append(rf"\log({known})")
    if family.latent:
        u = notation.variable(family.latent)
        linear.append(rf"\mathrm{{E}}[{u}]")
        log.append(rf"\mathrm{{E}}[\log {u}]")
    return text.replace(LINEAR, r" \, ".join(linear)).replace(LOG, " + ".join(log))


def _beside_link(notation: Notation, component: Component, family: Linked) -> str:
    """What a rate beside its link is multiplied by, in expectation."""
    times = component.leaf.slots[family.target].times
    known = "1" if times is None else multiplied(
        notation, TimesRecord(times.scale, times.covariates, times.over), "1")  # fmt: skip
    expected = [rf"\mathrm{{E}}[{notation.variable(family.latent)}]"] if family.latent else []
    return r" \, ".join([*([known] if known != "1" else []), *expected, r"e^{\eta}"])


def write_conjugate(page: Page, notation: Notation, factor: Factor, message: str) -> None:
    """How one latent is integrated out."""
    block = next(c for c in notation.analysis.conjugates if c.name == factor.node)
    u = notation.variable(block.name, unit=False)
    family = notation.analysis.layout.components[block.name].family.title
    children = [_members(notation, block, child) for child in block.children]
    gates = notation.variables(factor.axes)
    given = f"{gates}, " if gates else ""
    page.item(
        f"Integrate out ${u}$. Each child adds a step $\\delta$ to its natural parameters $\\eta$, "
        f"since $\\log p(\\text{{child}} \\mid {u}) = \\text{{const}} + \\delta \\cdot T({u})$:"
    )
    page.formula(
        rf"{message} &= \int {notation.conditional(block.name, unit=False)} "
        rf"{' '.join(children)} \, d{u} "
        r"= \exp\{A(\eta + \textstyle\sum \delta) - A(\eta) + \text{const}\}",
        rf"p({u} \mid {given}\mathcal{{D}}) &= \text{{{family}}}"
        r"(\text{natural parameters } \eta + \textstyle\sum \delta)",
    )


def _members(notation: Notation, block: Conjugate, child: str) -> str:
    """The density of a child, over all members where it lives inside."""
    inner = [
        notation.indices[scope]
        for scope in notation.graph.path(notation.graph.nodes[child].scope)
        if scope not in notation.graph.path(block.home)
    ]
    return "".join(rf"\prod_{{{i}}} " for i in inner) + notation.conditional(child, unit=False)


def expectation_sentence(notation: Notation) -> str:
    """What E stands for inside the sums."""
    if not notation.analysis.conjugates:
        return ""
    names = " and ".join(f"${notation.variable(c.name)}$" for c in notation.analysis.conjugates)
    return (
        f"Inside a sum, $\\mathrm{{E}}$ is the mean over {names} given the same gates and the data."
    )
