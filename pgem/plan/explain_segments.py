r"""The derivation of chains with explicit durations: segments, their recursions."""

from __future__ import annotations

from pgem.analyse import Segments
from pgem.families._tails import steps_before
from pgem.graph import Component
from pgem.plan.notation import Notation, symbol_of
from pgem.plan.page import Page


def say_segments(page: Page, notation: Notation, name: str) -> None:
    """What a sequence of segments is, and which factors it has."""
    component = notation.graph.duration_of(name)
    if component is None:
        return
    letter, lasts = notation.segments[name][0], duration_symbol(notation, component)
    page.say(
        f"`{name}` changes between segments ${letter} = 1, 2, \\ldots$ only, and ${lasts}$ is the "
        "number of steps of a segment. The conditional above stands where a segment begins, and "
        "gives its last value probability 0. Each segment adds the probability of its duration, "
        f"$p({lasts})$; the last one, which the end of the sequence cuts off after $d$ steps, adds "
        f"$p({lasts} \\ge d)$."
    )


def duration_symbol(notation: Notation, component: Component) -> str:
    """The number of steps of a segment, `d_{n,g}`."""
    segment, letter = notation.segments[component.node]
    scopes = notation.graph.path(notation.graph.nodes[component.node].scope)[:-1]
    marks = [*(notation.indices[scope] for scope in scopes), segment]
    return f"{letter}_{{{','.join(marks)}}}"


def duration_value(notation: Notation, component: Component) -> str:
    """The value of the durations' family: the steps of a segment, or those after the first."""
    family = notation.analysis.layout.components[component.key].family
    symbol = duration_symbol(notation, component)
    return f"({symbol} - 1)" if steps_before(family) else symbol


class SegmentFormulas:
    """The recursions of one sequence of segments.

    Args:
        notation: the symbols.
        step: the sequence.
        inside: the product of the tables of one step, at a given time.
        message: the symbol of what is left of the sequence.
    """

    def __init__(self, notation: Notation, step: Segments, inside: str, message: str) -> None:
        self.notation, self.message = notation, message
        self.letter = notation.indices[step.scope]
        self.value = notation.values[step.state.node]
        outer = notation.variables(step.outer)
        self.given = f"; {outer}" if outer else ""
        gates = notation.givens(step.state.node, unit=False, most_lag=0)
        self.alone, self.also = (rf" \mid {gates}", f", {gates}") if gates else ("", "")
        self.last = self.letter.upper()
        self.state, self.inside = symbol_of(step.state.node), inside

    def forward(self, page: Page, scope: str) -> None:
        """Beginnings and ends of segments."""
        t, k, state = self.letter, self.value, self.state
        page.item(
            f"Along `{scope}`, segment by segment. $\\alpha_{t}({k})$ is the probability that a "
            f"segment of value ${k}$ begins at ${t}$, with what was observed before, and "
            f"$\\omega_{t}({k})$ that one ends at ${t}$, with what was observed until then:"
        )
        page.formula(
            rf"\alpha_1({k}{self.given}) &= p({state}_1 = {k}{self.alone})",
            rf"\omega_{t}({k}{self.given}) &= \sum_d \alpha_{{{t}-d+1}}({k}{self.given}) \, "
            rf"p(d \mid {k}{self.also}) \, {self.steps(f'{t}-d+1', t)}",
            rf"\alpha_{t}({k}{self.given}) &= \sum_{{{k}'}} \omega_{{{t}-1}}({k}'{self.given}) \, "
            rf"p({state}_{t} = {k} \mid {state}_{{{t}-1}} = {k}'{self.also})",
        )
        page.formula(
            rf"{self.message} = \sum_{{{k}}} \sum_d \alpha_{{{self.last}-d+1}}({k}{self.given}) \, "
            rf"p(\ge d \mid {k}{self.also}) \, {self.steps(f'{self.last}-d+1', self.last)}"
        )

    def backward(self, page: Page, scope: str) -> None:
        """The posterior of every segment."""
        t, k, state = self.letter, self.value, self.state
        before = rf"{state}_{{{t}+d-1}} = {k}{self.also}"
        ahead = rf"\sum_{{{k}'}} p({state}_{{{t}+d}} = {k}' \mid {before}) \, "
        ahead += rf"\beta_{{{t}+d}}({k}'{self.given})"
        own = rf"p(d \mid {k}{self.also}) \, {self.steps(t, f'{t}+d-1')}"
        page.item(
            f"Backwards along `{scope}`. $\\beta_{t}({k})$ is the probability of what is observed "
            f"from ${t}$ on if a segment of value ${k}$ begins there; for the segment that reaches "
            f"the end, $p(\\ge d \\mid {k})$ stands alone for $p(d \\mid {k})$ and what follows:"
        )
        page.formula(
            rf"\beta_{t}({k}{self.given}) &= \sum_d {own} \, {ahead}",
            rf"p(\text{{segment of }} {k} \text{{ from }} {t} \text{{ to }} {t}+d-1 \mid "
            rf"\mathcal{{D}}) &= \frac{{\alpha_{t}({k}{self.given}) \, {own} \, {ahead}}}"
            rf"{{{self.message}}}",
        )
        page.say("The posterior of a step's value is the sum over the segments that cover it.")

    def steps(self, first: str, last: str) -> str:
        """The tables of the steps of a segment."""
        return rf"\prod_{{\tau = {first}}}^{{{last}}} {self.inside}"
