r"""Derivation of links: the linear predictor as a formula, and how its coefficients are solved."""

from __future__ import annotations

import numpy as np

from pgem.analyse import Block, Settled
from pgem.declare import SlotRecord, TimesRecord, slot_of
from pgem.families._link import Linked
from pgem.plan.latex import letters_of
from pgem.plan.notation import Notation, escape


def family_name(settled: Settled) -> str:
    """The family as it was declared."""
    family = settled.family
    return type(family.base if isinstance(family, Linked) else family).__name__


def predictor(notation: Notation, settled: Settled, times: dict[str, str]) -> tuple[str, str]:
    """The name of the link and the sum of its terms, `b[z_n] x_n + a[z_n]`."""
    assert isinstance(settled.family, Linked)
    written = settled.component.leaf.slots
    terms = [(name, written[name]) for name in (t.slot for t in settled.family.terms)]
    text = ""
    for _, slot in terms:
        sign, term = _term(notation, slot, times)
        text += (f" {sign} " if text else sign.replace("+", "")) + term
    return slot_of(terms[0][0]), text


def _term(notation: Notation, slot: SlotRecord, times: dict[str, str]) -> tuple[str, str]:
    """The sign and the rest of one term."""
    by = slot.times or TimesRecord()
    factors = [] if abs(by.scale) == 1 else [f"{abs(by.scale):g}"]
    gates = [notation.gate(gate, times=times) for gate in slot.gates]
    if slot.kind == "param":
        factors.append(notation.parameter(slot.name, gates))
    elif gates or np.ndim(slot.value):
        factors.append(r"\text{known table}" + (f"[{', '.join(gates)}]" if gates else ""))
    elif slot.value != 1:
        factors.append(f"{float(slot.value):g}")
    factors += [notation.variable(name, times=times) for name in by.covariates]
    if by.parent:
        factors.append(notation.variable(by.parent, by.lag, times=times))
    product = r" \, ".join(factors) or "1"
    if by.over:
        below = r" \, ".join(notation.variable(name, times=times) for name in by.over)
        product = rf"\frac{{{product}}}{{{below}}}"
    return ("-" if by.scale < 0 else "+"), product


def where_linked(notation: Notation, settled: Settled, times: dict[str, str]) -> str:
    """What the slot of the family's formula is under its link."""
    family = settled.family
    assert isinstance(family, Linked)
    used = letters_of(family.formula)
    letter = next((s for s in family.base.role_of(family.target).symbols if s in used), "p")
    _, text = predictor(notation, settled, times)
    inverse = family.link.inverse
    if family.factor:
        inverse = rf"{inverse} \, \text{{{escape(family.target)}}}"
    return rf"${letter} = {inverse}$, $\eta = {text}$"


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


NEWTON_STEPS = (
    r"A Newton step takes coefficients $\theta$ behind links to $\theta + s H^{-1} g$, where $s$ "
    r"is the first of $1, 1/2, 1/4, \ldots$ with which $Q$ rises; $Q$ is concave in them, and the "
    r"steps end when it rises no more. With $\phi$ what multiplies the coefficients, $w$ the "
    r"posterior weight of a row in a cell and $f(\eta)$ its log-density, "
    r"$g = \sum w \, f'(\eta) \, \phi$ and $H = -\sum w \, f''(\eta) \, \phi \phi^T$."
)
