r"""Derivation, second part: the posterior, step by step as the listing computes it."""

from __future__ import annotations

from collections.abc import Iterable

from pgem.analyse import Climb, Collect, Eliminate, Factor, Scan, Segments, Var
from pgem.declare import UNIT
from pgem.plan.explain_conjugate import write_conjugate
from pgem.plan.explain_regions import write_region, write_stretches
from pgem.plan.explain_segments import SegmentFormulas
from pgem.plan.explain_tree import TreeText
from pgem.plan.notation import Notation, Times, symbol_of
from pgem.plan.page import Page

DATA = r"\mathcal{D}"


def write_posterior(page: Page, notation: Notation) -> None:
    """Section 3: messages in order of elimination, then posteriors in reverse."""
    schedule = notation.analysis.schedule
    page.heading("3. The posterior (E-step)")
    integrated = [f for f in schedule.factors if f.kind in ("region", "conjugate", "stretch")]
    if not schedule.steps and not integrated:
        page.say("Nothing is latent: the log-likelihood is the sum of the log-conditionals.")
        return
    page.say(
        "For one unit, whose index is left out. $\\mu$ is what is left of a part of the model "
        "when its variables are summed out."
    )
    writer = _Posterior(page, notation)
    for factor in schedule.factors:
        writer.integrate(factor)
    for step in schedule.steps:
        writer.forward(step)
    writer.likelihood()
    if not schedule.positions:
        return
    page.say(
        "In reverse, each sum is undone: what was left is multiplied by the conditional of "
        "what was summed out."
    )
    for step in reversed(schedule.steps):
        writer.backward(step)


class _Posterior:
    def __init__(self, page: Page, notation: Notation) -> None:
        self.page, self.notation = page, notation
        self.graph = notation.graph
        self.names: dict[Factor, str] = {}
        self.tree = TreeText(page, notation, self)

    # --- terms --------------------------------------------------------------------------------

    def term(self, factor: Factor, times: Times | None = None, most_lag: int = 99) -> str:
        """A factor as it stands in a product."""
        if factor.kind == "node":
            return self.notation.conditional(
                factor.node, unit=False, times=times, most_lag=most_lag
            )
        axes = [v for v in factor.axes if v.lag <= most_lag]
        inside = self.notation.variables(axes, times)
        if factor.kind == "evidence":
            return f"e({inside})"
        name = self.names[factor]
        place = [self.notation.place(s, 0, times) for s in self.graph.path(factor.scope)[1:]]
        return rf"\mu_{{{','.join([name, *place])}}}" + (f"({inside})" if inside else "")

    def product(
        self, factors: Iterable[Factor], times: Times | None = None, most_lag: int = 99
    ) -> str:
        """The product of factors; queries are ones."""
        terms = [self.term(f, times, most_lag) for f in factors if f.kind != "query"]
        return r" \, ".join(terms) or "1"

    # --- forward ------------------------------------------------------------------------------

    def forward(self, step: Eliminate | Collect | Scan) -> None:
        """The formula of a message."""
        self.evidence(step)
        if isinstance(step, Eliminate):
            self.names[step.message] = self.notation.names[step.var.node]
            self.page.item(f"Sum out ${self.notation.var(step.var)}$:")
            self.page.formula(
                rf"{self.term(step.message)} = \sum_{{{self.notation.var(step.var)}}} "
                f"{self.product(step.inputs)}"
            )
        elif isinstance(step, Collect):
            self.names[step.message] = symbol_of(step.scope)
            letter = self.notation.indices[step.scope]
            kind = "steps" if self.graph.scopes[step.scope].kind == "sequence" else "members"
            self.page.item(f"The product over the {kind} of `{step.scope}`:")
            self.page.formula(
                rf"{self.term(step.message)} = \prod_{{{letter}}} {self.product(step.inputs)}"
            )
        elif isinstance(step, Climb):
            self.names[step.message] = symbol_of(step.label)
            self.tree.forward(step)
        elif isinstance(step, Segments):
            self.names[step.message] = symbol_of(step.label)
            self.segments(step).forward(self.page, step.scope)
        else:
            self.forward_scan(step)

    def integrate(self, factor: Factor) -> None:
        """The formula of a latent that is integrated out."""
        if factor.kind == "conjugate":
            self.names[factor] = self.notation.names[factor.node]
            write_conjugate(self.page, self.notation, factor, self.term(factor))
        elif factor.kind == "region":
            self.names[factor] = self.notation.names[factor.node]
            write_region(self.page, self.notation, factor, self.term(factor))
        elif factor.kind == "stretch":
            write_stretches(self.page, self.notation, factor)

    def segments(self, step: Segments) -> SegmentFormulas:
        """The formulas of a sequence of segments."""
        inside = self.product(step.inputs[1:], {step.scope: r"\tau"})
        return SegmentFormulas(self.notation, step, inside, self.term(step.message))

    def evidence(self, step: Eliminate | Collect | Scan) -> None:
        """Say what `e` is where it is met."""
        found = [f for f in step.inputs if f.kind == "evidence"]
        for factor in found:
            symbol = self.notation.var(Var(factor.node))
            self.page.say(
                f"Where `{factor.node}` is given in the data, $e({symbol})$ is 1 at the given "
                "value and 0 elsewhere; where it is not, it is 1 throughout."
            )

    def forward_scan(self, step: Scan) -> None:
        """The forward recursion over the interface."""
        letter = self.notation.indices[step.scope]
        self.names[step.message] = symbol_of(step.label)
        listed = self.notation.variables(step.shift)
        if not listed:
            self.forward_beads(step)
            return
        self.page.item(
            f"Along `{step.scope}`. The past reaches a step only through the interface "
            f"${listed}$; the forward message $\\alpha_{letter}$ is its joint probability with "
            f"what was observed up to ${letter}$:"
        )
        self.page.formula(*self.recursion(step))
        lags = max(v.lag for v in step.shift.values())
        if lags > 1:
            self.page.note(
                f"For ${letter} \\le {lags}$ the same without the variables that do not exist "
                "yet, with the first steps' own distributions."
            )
        end = {step.scope: letter.upper()}
        self.page.formula(
            rf"{self.term(step.message)} = \sum_{{{self.notation.variables(step.shift, end)}}} "
            f"{self.alpha(step, end)}"
        )

    def forward_beads(self, step: Scan) -> None:
        """A sequence whose steps only holes tie together."""
        letter = self.notation.indices[step.scope]
        sums = r" \, ".join(rf"\sum_{{{self.notation.var(var)}}}" for var in step.sum_out)
        self.page.item(f"The product over the steps of `{step.scope}`, or stretches of them:")
        self.page.formula(
            rf"{self.term(step.message)} = \prod_{letter} {sums} {self.product(step.inputs)}"
        )

    def recursion(self, step: Scan) -> list[str]:
        """First steps (where nothing lies before), then the steady step."""
        letter = self.notation.indices[step.scope]
        lags = max(v.lag for v in step.shift.values())
        lines = []
        for k in range(1, lags + 1) if lags == 1 else ():
            first = {step.scope: str(k)}
            lines.append(
                f"{self.alpha(step, first)} &= {self.product(self.counted(step), first, k - 1)}"
            )
        before = {step.scope: f"{letter}-1"}
        text = self.alpha(step, before)
        unused = list(step.inputs)
        for var in step.sum_out:
            chosen = [f for f in unused if var in f.axes]
            unused = [f for f in unused if f not in chosen]
            inside = r" \, ".join([self.product(chosen), text]) if chosen else text
            text = rf"\sum_{{{self.notation.var(var)}}} {inside}"
        rest = rf"{self.product(unused)} " if unused else ""
        return [*lines, f"{self.alpha(step)} &= {rest}{text}"]

    def counted(self, step: Scan) -> list[Factor]:
        """The factors of a first step: those that are conditioned on are left out."""
        nodes = self.graph.nodes
        return [f for f in step.inputs if f.kind != "node" or not nodes[f.node].conditioned]

    def alpha(self, step: Scan, times: Times | None = None) -> str:
        """The forward message at a step."""
        letter = self.notation.place(step.scope, 0, times)
        first = [v for v in step.shift if not (letter.isdigit() and v.lag >= int(letter))]
        if letter.endswith("-1"):
            plain = ", ".join(
                self.notation.var(Var(v.node, v.lag + 1)) for v in self.in_order(step.shift)
            )
        else:
            plain = self.notation.variables(first, times)
        outer = self.notation.variables(step.outer)
        return rf"\alpha_{{{letter}}}({plain}{'; ' + outer if outer else ''})"

    def in_order(self, axes: Iterable[Var]) -> list[Var]:
        """Variables by axis number."""
        return sorted(axes, key=self.notation.analysis.schedule.positions.__getitem__)

    def likelihood(self) -> None:
        """What is left when everything is summed out."""
        roots = self.product(self.notation.analysis.schedule.roots)
        self.page.item("What is left is the likelihood of the unit:")
        self.page.formula(rf"p({DATA} \mid \theta) = {roots}")

    # --- backward -----------------------------------------------------------------------------

    def backward(self, step: Eliminate | Collect | Scan) -> None:
        """The posterior of a step's variables."""
        if isinstance(step, Climb):
            self.tree.backward(step)
        elif isinstance(step, Segments):
            self.segments(step).backward(self.page, step.scope)
        elif isinstance(step, Scan):
            self.backward_scan(step)
        elif isinstance(step, Eliminate):
            var = self.notation.var(step.var)
            rest = self.notation.variables(step.clique - {step.var})
            numerator = self.product(step.inputs)
            given = f"{rest}, " if rest else ""
            lines = [
                rf"p({var} \mid {given}{DATA}) &= "
                rf"\frac{{{numerator}}}{{{self.term(step.message)}}}"
            ]
            if rest:
                lines.append(
                    rf"p({self.notation.variables(step.clique)} \mid {DATA}) &= "
                    rf"p({rest} \mid {DATA}) \, p({var} \mid {given}{DATA})"
                )
            self.page.formula(*lines)

    def backward_scan(self, step: Scan) -> None:
        """The backward recursion: the conditionals of the forward sums, recomputed."""
        letter = self.notation.indices[step.scope]
        if not step.shift:
            held, outer = (self.notation.variables(v) for v in (step.sum_out, step.outer))
            numerator = self.product(step.inputs)
            below = rf"\sum_{{{self.notation.variables(step.sum_out)}}} {numerator}"
            left = rf"p({held} \mid {f'{outer}, ' if outer else ''}{DATA})"
            self.page.item(f"In `{step.scope}`, outside the stretches:")
            self.page.formula(rf"{left} = \frac{{{numerator}}}{{{below}}}")
            return
        last = {step.scope: letter.upper()}
        outer = self.notation.variables(step.outer)
        state, given = self.notation.variables(step.shift), f", {outer}" if outer else ""
        ends = self.notation.variables(step.shift, last)
        self.page.item(f"Backwards along `{step.scope}`, from the last step:")
        condition = f"{outer}, {DATA}" if outer else DATA
        lines = [
            rf"p({ends} \mid {condition}) &= "
            rf"\frac{{{self.alpha(step, last)}}}{{{self.term(step.message)}}}"
        ]
        if len(step.sum_out) == 1:
            lines += self.one_sum(step, state, given, condition)
        else:
            lines += self.several_sums(step, state, given, condition)
        self.page.formula(*lines)
        if outer:
            self.page.say(
                f"These are conditional on ${outer}$; the posterior of ${outer}$, which "
                "is known by now, weights them."
            )

    def one_sum(self, step: Scan, state: str, given: str, condition: str) -> list[str]:
        """Undo the single sum of a step."""
        letter = self.notation.indices[step.scope]
        var = self.notation.var(step.sum_out[0])
        before = self.alpha(step, {step.scope: f"{letter}-1"})
        numerator = rf"{before} \, {self.product(step.inputs)}"
        past = rf"{DATA}_{{\le {letter}}}"
        return [
            rf"p({var} \mid {state}{given}, {past}) &= "
            rf"\frac{{{numerator}}}{{{self.alpha(step)}}}",
            rf"p({var}, {state} \mid {condition}) &= p({state} \mid {condition}) \, "
            rf"p({var} \mid {state}{given}, {past})",
        ]

    def several_sums(self, step: Scan, state: str, given: str, condition: str) -> list[str]:
        """Undo the sums of a step one at a time, the last first."""
        letter = self.notation.indices[step.scope]
        past = rf"{DATA}_{{\le {letter}}}"
        known, lines = state, []
        for place in range(len(step.sum_out) - 1, -1, -1):
            var = self.notation.var(step.sum_out[place])
            rest = self.notation.variables(
                [v for v in step.cliques[place] if v != step.sum_out[place] and v not in step.outer]
            )
            lines.append(
                rf"p({known}, {var} \mid {condition}) &= p({known} \mid {condition}) \, "
                rf"p({var} \mid {rest}{given}, {past})"
            )
            known = f"{known}, {var}"
        return lines


__all__ = ["UNIT", "write_posterior"]
