r"""Derivation of a tree's posterior: messages from the leaves to the roots, then downwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from pgem.analyse import Climb, Factor
from pgem.plan.notation import DATA, Notation
from pgem.plan.page import Page


class Terms(Protocol):
    """How factors are written."""

    def term(self, factor: Factor) -> str:
        """A factor as it stands in a product."""

    def product(self, factors: Iterable[Factor]) -> str:
        """The product of factors."""


class TreeText:
    """The two halves of a tree's recursion.

    Args:
        page: what is written to.
        notation: the symbols.
        terms: how factors are written.
    """

    def __init__(self, page: Page, notation: Notation, terms: Terms) -> None:
        self.page, self.notation, self.terms = page, notation, terms

    def forward(self, step: Climb) -> None:
        """The recursion upwards."""
        letter = self.notation.indices[step.scope]
        above = self.notation.variables(step.shift)
        below = rf"{DATA}_{{\ge {letter}}}"
        self.page.item(
            f"Up `{step.scope}`. What lies below a member reaches its parent only through "
            f"${above}$; the message $\\beta_{letter}$ is the probability of ${below}$, what was "
            f"observed at ${letter}$ and below it, given these:"
        )
        text = self.children(step)
        unused = list(step.inputs)
        for var in step.sum_out:
            chosen = [f for f in unused if var in f.axes]
            unused = [f for f in unused if f not in chosen]
            text = rf"\sum_{{{self.notation.var(var)}}} {self.joined(chosen, text)}"
        self.page.formula(f"{self.message(step)} = {self.joined(unused, text)}")
        nodes = self.notation.graph.nodes
        held = [f"`{f.node}`" for f in step.inputs if f.node and nodes[f.node].conditioned]
        left = f" ({', '.join(held)} left out)" if held else ""
        self.page.note(
            f"A leaf has no children, and the product over them is 1. At the roots the same "
            f"without ${above}$, with the roots' own distributions{left}; what they send is the "
            "message of the whole tree:"
        )
        outer = self.notation.variables(step.outer)
        root = rf"\beta_{{{letter}}}" + (f"({outer})" if outer else "")
        self.page.formula(
            rf"{self.terms.term(step.message)} = "
            rf"\prod_{{{letter} \in \text{{roots}}}} {root}"
        )

    def backward(self, step: Climb) -> None:
        """The recursion downwards: the conditionals of the sums, recomputed."""
        letter = self.notation.indices[step.scope]
        outer = self.notation.variables(step.outer)
        given = f", {outer}" if outer else ""
        condition = f"{outer}, {DATA}" if outer else DATA
        below = rf"{DATA}_{{\ge {letter}}}"
        self.page.item(f"Down `{step.scope}`, from the roots, where nothing is known from above:")
        known, lines = self.notation.variables(step.shift), []
        if len(step.sum_out) == 1:
            var = self.notation.var(step.sum_out[0])
            numerator = self.joined(step.inputs, self.children(step))
            lines.append(
                rf"p({var} \mid {known}{given}, {below}) &= "
                rf"\frac{{{numerator}}}{{{self.message(step)}}}"
            )
        for place in range(len(step.sum_out) - 1, -1, -1):
            own = step.sum_out[place]
            var = self.notation.var(own)
            rest = [v for v in step.cliques[place] if v != own and v not in step.outer]
            lines.append(
                rf"p({known}, {var} \mid {condition}) &= p({known} \mid {condition}) \, "
                rf"p({var} \mid {self.notation.variables(rest)}{given}, {below})"
            )
            known = f"{known}, {var}"
        self.page.formula(*lines)
        if outer:
            self.page.say(
                f"These are conditional on ${outer}$; the posterior of ${outer}$, which "
                "is known by now, weights them."
            )

    def message(self, step: Climb) -> str:
        """What a member sends to its parent."""
        outer = self.notation.variables(step.outer)
        inside = self.notation.variables(step.shift) + (f"; {outer}" if outer else "")
        return rf"\beta_{{{self.notation.indices[step.scope]}}}({inside})"

    def children(self, step: Climb) -> str:
        """The product of what a member's children send it."""
        letter = self.notation.indices[step.scope]
        outer = self.notation.variables(step.outer)
        inside = self.notation.variables(step.shift.values()) + (f"; {outer}" if outer else "")
        child = f"{letter}'"
        return rf"\prod_{{{child} : \text{{pa}}({child}) = {letter}}} \beta_{{{child}}}({inside})"

    def joined(self, factors: Sequence[Factor], text: str) -> str:
        """A product of factors and what follows."""
        return rf"{self.terms.product(factors)} \, {text}" if factors else text
