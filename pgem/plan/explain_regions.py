r"""Derivation of linear means: Gaussian regions that are integrated out, and their least squares.

Given its gates a region is one joint Gaussian.  Written as an affine form in independent
standard-normal noise, it is integrated out with a single matrix per configuration of the gates; the
M-step needs the second moments of residuals and regressors only.
"""

from __future__ import annotations

from pgem.analyse import Block, Factor, Region, Segments
from pgem.families._linear import Linear, Term
from pgem.plan.explain_conjugate import filled
from pgem.plan.notation import Notation, escape
from pgem.plan.page import Page
from pgem.plan.statistic import Summed
from pgem.plan.symbolic import LINEAR

DATA = r"\mathcal{D}"


def write_region(page: Page, notation: Notation, factor: Factor, message: str) -> None:
    """How the nodes of a region are integrated out."""
    region = next(r for r in notation.analysis.regions if r.name == factor.node)
    shown = ", ".join(notation.variable(n, unit=False) for n in region.random)
    gates = notation.variables(factor.axes)
    given = f"{gates}, " if gates else ""
    page.item(
        f"Integrate out ${shown}$. Given {f'${gates}$' if gates else 'the parameters'} everything "
        "is jointly Gaussian, so every value is an affine form in independent noise "
        "$\\varepsilon \\sim N(0, I)$. A value that is seen with residual "
        "$r = r_0 + \\Lambda \\varepsilon$ and covariance $V$ adds $\\Lambda^T V^{-1} \\Lambda$ to "
        "the precision of $\\varepsilon$ and $-\\Lambda^T V^{-1} r_0$ to $\\lambda$:"
    )
    page.formula(
        rf"{message} &= \int {_product(notation, region)} \, d({shown})",
        r"M &= I + \sum \Lambda^T V^{-1} \Lambda, \quad e = M^{-1} \lambda",
        rf"p(\varepsilon \mid {given}{DATA}) &= N(e, M^{{-1}})",
        rf"\log {message} &= \log p({DATA} \mid \varepsilon = e) "
        r"- \tfrac12 e^T e - \tfrac12 \log |M|",
    )
    if region.chain and notation.graph.scopes[region.chain].kind == "tree":
        page.note(
            f"Along `{region.chain}` the noise of one member at a time is integrated out, from the "
            "leaves to the roots; what is left are messages to the parent's state, which add up "
            "over its children. In reverse, posterior moments go down the trees. No covariance of "
            "a state is inverted."
        )
    elif region.chain:
        page.note(
            f"Along `{region.chain}` the noise of one step at a time is integrated out, from the "
            "last step to the first; what is left is a message to the state before. In reverse, "
            "posterior moments go forward in time. No covariance of a state is inverted."
        )


def write_stretches(page: Page, notation: Notation, factor: Factor) -> None:
    """How the holes of a region whose gates change from step to step are integrated out."""
    region = next(r for r in notation.analysis.regions if r.name == factor.node)
    letter = notation.indices[region.chain]
    steps = {region.chain: r"\tau"}
    conditional = notation.conditional
    density = r" \, ".join(conditional(name, unit=False, times=steps) for name in region.nodes)
    gates = notation.variables(factor.axes, steps)
    gone = ", ".join(rf"{notation.names[name]}_\tau" for name in region.random)
    if notation.graph.scopes[region.chain].kind == "tree":
        page.item(
            f"Holes. A missing value ties its own member of `{region.chain}` to its children. Let "
            "$S$ be the members of such a part of a tree: what is seen around it cuts it off from "
            "all other holes. Given everything that gates its members it is jointly Gaussian, and "
            "what is missing is integrated out for every configuration of the gates:"
        )
        index, over = "S", r"\tau \in S"
    else:
        page.item(
            f"Holes. A missing value ties its own step of `{region.chain}` to the later ones that "
            f"look back at it. Let ${letter} = a, \\ldots, b$ be such a stretch: what is seen "
            "before and after it cuts it off from all other holes. Given everything that gates its "
            "steps it is jointly Gaussian, and what is missing is integrated out for every course "
            "of the gates:"
        )
        index, over = "a:b", r"a \le \tau \le b"
    page.formula(
        rf"\mu_{{{index}}}(\{{{gates}\}}_{{{over}}}) &= "
        rf"\int \prod_{{{over}}} {density} \prod_{{\text{{missing}}}} d {gone}"
    )
    taken_in = _taken_in(notation, factor, region)
    page.note(f"{taken_in} What is missing behind the last value that is seen integrates to one.")


def _taken_in(notation: Notation, factor: Factor, region: Region) -> str:
    """What the recursion along the sequence does with stretches."""
    steps = notation.analysis.schedule.steps
    if any(isinstance(step, Segments) and factor in step.stretches for step in steps):
        return (
            "No value of a chain with durations follows itself, so a course of values tells its "
            "segments. In the recursion below, the segment that is there when a stretch begins is "
            "followed at once by the one that is there when it ends: the courses between are "
            "multiplied with this table, their transitions and durations, and summed out."
        )
    tree = notation.graph.scopes[region.chain].kind == "tree"
    over, what = ("takes $S$ as one member", "members") if tree else (
        "goes over such a stretch in one step", "steps"
    )  # fmt: skip
    return (
        f"The recursion below {over}: it multiplies this table with the other tables of all of "
        f"its {what} and sums the {what} between out."
    )


def _product(notation: Notation, region: Region) -> str:
    """The densities of all nodes, over the members of inner scopes."""
    terms = []
    for name in region.nodes:
        path = notation.graph.path(notation.graph.nodes[name].scope)
        inner = [notation.indices[s] for s in path if s not in notation.graph.path(region.home)]
        over = "".join(rf"\prod_{{{letter}}} " for letter in inner)
        terms.append(over + notation.conditional(name, unit=False))
    return r" \, ".join(terms)


# --- sections 4 and 5 ---------------------------------------------------------------------------


def is_regression(notation: Notation, key: str) -> bool:
    """Whether a component's mean is more than a parameter of its own, or its value is not seen."""
    settled = notation.analysis.layout.components[key]
    family = settled.family
    if not isinstance(family, Linear):
        return False
    inside = any(settled.component.node in region.nodes for region in notation.analysis.regions)
    return inside or any(t.factors or t.over or t.parent or t.scale != 1 for t in family.terms)


def regression_statistic(notation: Notation, key: str) -> str:
    """`S_x[k] = Σ_n p(z_n = k | D_n) E[(1, φφᵀ, xφᵀ, xxᵀ)]` of one component."""
    settled = notation.analysis.layout.components[key]
    summed = Summed(notation, key)
    letters = {gate: notation.value(gate) for gate in settled.cells.gates}
    bracket = f"[{', '.join(letters.values())}]" if letters else ""
    x = summed.value()
    weight = _weight(notation, key)
    sums = rf"(1, \, {weight}\varphi \varphi^T, \, {weight}{x} \varphi^T, \, {weight}{x} {x}^T)"
    inside = summed.term(_expected(notation, key, sums), letters, None)
    name = rf"S_{{\text{{{escape(key)}}}}}{bracket}"
    return rf"{name} &= {inside}, \quad \varphi = ({regressors(notation, key)})"


def regressors(notation: Notation, key: str) -> str:
    """What the coefficients of a linear mean are multiplied by, in order."""
    family = notation.analysis.layout.components[key].family
    assert isinstance(family, Linear)
    return ", ".join(_regressor(notation, term) for term in family.terms)


def _regressor(notation: Notation, term: Term) -> str:
    above = [notation.variable(name, lag) for name, lag in term.factors]
    if term.parent is not None:
        above.append(notation.variable(*term.parent))
    below = [notation.variable(name, lag) for name, lag in term.over]
    if term.scale != 1:
        above.insert(0, f"{term.scale:g}")
    text = (r" \cdot " if term.contracts else r" \, ").join(above) or "1"
    return rf"\frac{{{text}}}{{{' '.join(below)}}}" if below else text


def _weight(notation: Notation, key: str) -> str:
    """What a row counts with, where a latent multiplies its precision."""
    settled = notation.analysis.layout.components[key]
    assert isinstance(settled.family, Linear)
    return f"{filled(notation, settled.component, LINEAR)} " if settled.family.latent else ""


def _expected(notation: Notation, key: str, text: str) -> str:
    """A function of x and φ, as an expectation where one of them is not seen."""
    node = notation.analysis.layout.components[key].component.node
    integrated = any(node in region.nodes for region in notation.analysis.regions)
    return rf"\mathrm{{E}}[{text}]" if integrated else text


def regression_solution(notation: Notation, block: Block) -> list[str]:
    """The normal equations of the coefficients, then the covariances."""
    lines = []
    for key in block.components:
        settled = notation.analysis.layout.components[key]
        family, slots = settled.family, settled.component.leaf.slots
        assert isinstance(family, Linear)
        summed = Summed(notation, key)
        letters = {gate: notation.value(gate) for gate in settled.cells.gates}
        named = [slots[t.slot].name for t in family.terms if slots[t.slot].kind == "param"]
        if any(name in block.regression for name in named):
            residual = _weight(notation, key) + _expected(
                notation, key, rf"({summed.value()} - C \varphi) \varphi^T"
            )
            names = ", ".join(notation.parameter(name) for name in named)
            lines.append(
                rf"0 &= {summed.term(rf'V^{{-1}} {residual}', letters, None)}"
                rf" \quad \text{{for }} {names}"
            )
        spread = slots[family.spread]
        if spread.kind == "param" and spread.name in block.params:
            square = _weight(notation, key) + _expected(
                notation, key, rf"({summed.value()} - C \varphi)({summed.value()} - C \varphi)^T"
            )
            held = {gate: letters[gate] for gate in spread.gates if gate in letters}
            own = list(held.values())
            rest = [letter for letter in letters.values() if letter not in own]
            above = summed.term(square, letters, None, summing=rest)
            below = summed.term("1", held, None)
            lines.append(rf"{notation.parameter(spread.name, own)} &= \frac{{{above}}}{{{below}}}")
    return lines
