r"""Sums over data under a posterior: what the M-step formula of a role is made of.

A component's contribution to a parameter is a sum over its rows of a posterior times what one
value adds, `Σ_n p(z_n = k | D_n) x_n`.  Gates that do not index the parameter are summed over;
they are written out only where the summand depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgem.analyse import ParamLayout, is_axis
from pgem.declare import UNIT, Gate, SlotRecord
from pgem.families._linear import Linear
from pgem.families._link import Linked
from pgem.families._roles import COVARIANCE, MEAN, VARIANCE
from pgem.plan.explain_conjugate import filled
from pgem.plan.explain_model import slot_reference, times_of
from pgem.plan.explain_segments import duration_value
from pgem.plan.latex import is_sum, letters_of, replace_letters
from pgem.plan.notation import Notation, avoid
from pgem.plan.symbolic import LINEAR, role_statistic_of, slot_letters

Letters = Mapping[Gate, str]
"""Which letter stands for the value of each gate."""


def letters_of_parameter(notation: Notation, param: ParamLayout) -> tuple[list[str], str]:
    """Letters of a parameter's gates, and of its category axis (empty without one)."""
    key, slot_name = param.uses[0]
    component = notation.analysis.layout.components[key].component
    letters: list[str] = []
    for gate in component.leaf.slots[slot_name].gates:
        wanted = "k" if gate.kind == "constant" else notation.value(gate)
        letters.append(avoid(wanted, letters))
    if param.role.per_value != ("[x = k]",):
        return letters, ""
    return letters, avoid(notation.values.get(component.node, "k"), letters)


class Summed:
    """The sums of one component.

    Args:
        notation: the symbols.
        key: the component.
    """

    def __init__(self, notation: Notation, key: str) -> None:
        self.notation = notation
        self.settled = notation.analysis.layout.components[key]
        self.component = self.settled.component
        self.node = notation.graph.nodes[self.component.node]
        self.times = times_of(notation, self.component)
        self.is_axis = not self.component.is_duration and is_axis(
            notation.graph, notation.analysis.schema, self.node.name
        )
        self.expected = self.node.name in {c.name for c in notation.analysis.conjugates}

    def value(self) -> str:
        """The node's own variable, or how long a segment of it lasts."""
        if self.component.is_duration:
            return duration_value(self.notation, self.component)
        return self.notation.variable(self.node.name, times=self.times)

    # --- what one value adds ------------------------------------------------------------------

    def per_value(self, slot: str, *, cancels: bool) -> tuple[str, ...] | None:
        """What one value x adds to the statistic of a slot's role, in the formula's letters."""
        family = self.settled.family
        if isinstance(family, Linked):
            return self._linked_value(family, slot)
        found = self._plain_value(slot, cancels=cancels)
        if found is None or not isinstance(family, Linear) or not family.latent:
            return found
        if slot != family.spread:
            found = (LINEAR if found[0] == "1" else f"{LINEAR} {found[0]}", *found[1:])
        return (*found[:-1], f"{LINEAR} {found[-1]}")

    def _linked_value(self, family: Linked, slot: str) -> tuple[str, ...] | None:
        """Events and exposure of a rate beside its link, if its gates are all that matters."""
        slots = self.component.leaf.slots
        gates = {gate for term in family.terms for gate in slots[term.slot].gates}
        within = {gate for gate in gates if any(map(self.notation.is_latent, gate.base()))}
        if slot != family.target or not within <= set(slots[slot].gates):
            return None
        found = role_statistic_of(family.base, slot, slot_letters(family.base))
        return found and (found[0], LINEAR if found[1] == "1" else f"{LINEAR} {found[1]}")

    def _plain_value(self, slot: str, *, cancels: bool) -> tuple[str, ...] | None:
        family = self.settled.family
        letters = slot_letters(family)
        found = role_statistic_of(family, slot, letters, expected=self.expected)
        if found is not None:
            return found
        role = family.role_of(slot)
        if family.structures.get(slot) == "spherical":
            return (r"\dim(x)", r"\|x - m\|^2")
        if role is MEAN and not cancels:
            spreads = [letters[s.name] for s in family.slots if s.role in (COVARIANCE, VARIANCE)]
            return (f"{spreads[0]}^{{-1}}", f"{spreads[0]}^{{-1}} x") if spreads else None
        return role.per_value or None

    def parts(self, slot: str, letters: list[str], own: str, *, cancels: bool) -> list[str] | None:
        """The summed statistic, one formula per part."""
        found = self.per_value(slot, cancels=cancels)
        if found is None:
            return None
        return [self.summed(part, slot, letters, own) for part in found]

    def total(self, slot: str, letters: list[str], own: str, *, cancels: bool) -> str:
        """The sum of two parts; `x` and `n - x` make `n`."""
        found = self.per_value(slot, cancels=cancels) or ("1",)
        first, second = found[0], found[-1]
        whole = second.removesuffix(f" - {first}")
        text = whole if whole != second else f"{first} + {second}"
        return self.summed(text, slot, letters, own)

    # --- sums ---------------------------------------------------------------------------------

    def summed(self, part: str, slot: str, letters: list[str], own: str) -> str:
        """Σ over rows and over gates that matter, of posterior times one part."""
        slots = self.component.leaf.slots
        chosen = dict(zip(slots[slot].gates, letters, strict=True))
        names = slot_letters(self.settled.family)
        others = [n for n in slots if n != slot and names[n] in letters_of(part)]
        extra = self.extra_gates(others, chosen, {*letters, own})
        values = {**chosen, **extra}
        inside = {names[n]: self.reference(slots[n], values) for n in others}
        category = own or None
        if part == "[x = k]" and self.is_axis:
            part = "1"
        elif not self.is_axis:
            category = None
        vector = own and self.settled.family.event_ndim
        symbol = f"{self.value()}[{own}]" if vector else self.value()
        text = replace_letters(part, {**inside, "x": symbol, **({"k": own} if own else {})})
        text = filled(self.notation, self.component, text)
        if is_sum(part):
            text = f"({text})"
        return self.term(text, values, category, summing=list(extra.values()))

    def extra_gates(self, others: list[str], chosen: Letters, taken: set[str]) -> dict[Gate, str]:
        """Latent gates of other slots that the summand depends on, with free letters."""
        extra: dict[Gate, str] = {}
        for name in others:
            for gate in self.component.leaf.slots[name].gates:
                known = gate in chosen or gate in extra
                if not known and any(map(self.notation.is_latent, gate.base())):
                    wanted = "k" if gate.kind == "constant" else self.notation.value(gate)
                    extra[gate] = avoid(wanted, {*taken, *extra.values()})
        return extra

    def reference(self, slot: SlotRecord, values: Letters) -> str:
        """Another slot's value inside a sum."""
        if slot.kind != "param":
            return slot_reference(self.notation, self.component, slot)
        inside = [values.get(g) or self.notation.gate(g, times=self.times) for g in slot.gates]
        return self.notation.parameter(slot.name, inside)

    def term(
        self, summand: str, values: Letters, own: str | None, summing: list[str] | None = None
    ) -> str:
        """`Σ_{n} Σ_{k} p(z_n = k | D_n) summand`.

        Args:
            summand: what is summed.
            values: letters of the gates that are held.
            own: letter of the node's own value, if it is summed over itself.
            summing: letters that are summed over.
        """
        events, seen = self.events(values, own)
        if self.component.is_duration:
            return self.over_segments(summand, [f"[{event}]" for event in events] + seen)
        weight = f"p({', '.join(events)} \\mid {self.notation.data()})" if events else ""
        factors = [weight, *seen, "" if summand == "1" and (events or seen) else summand]
        sums = rf"\sum_{{{self.rows(values)}}} "
        sums += "".join(rf"\sum_{{{letter}}} " for letter in summing or ())
        return sums + r" \, ".join(factor for factor in factors if factor)

    def over_segments(self, summand: str, held: list[str]) -> str:
        """`Σ_n E[Σ_g [s_g = k] summand | D_n]`, a sum over the segments of a sequence."""
        outer = ",".join(self.notation.indices_of(self.node.scope, {self.node.scope}))
        segment = self.notation.segments[self.node.name][0]
        inside = r" \, ".join([*held, *([summand] if summand != "1" or not held else [])])
        expected = rf"E[\sum_{{{segment}}} {inside} \mid {self.notation.data()}]"
        return rf"\sum_{{{outer}}} {expected}"

    def events(self, values: Letters, own: str | None) -> tuple[list[str], list[str]]:
        """Events about latents, for the posterior; indicators of what is seen."""
        events, seen = [], []
        held = [(gate, letter) for gate, letter in values.items() if gate.kind != "plate"]
        if self.node.switch is not None:
            keys = [c.key for c in self.notation.graph.leaves_of(self.node.name)]
            held.append((self.node.switch, str(keys.index(self.component.key))))
        for gate, letter in held:
            text = f"{self.notation.gate(gate, times=self.times)} = {letter}"
            if any(map(self.notation.is_latent, gate.base())):
                events.append(text)
            else:
                seen.append(f"[{text}]")
        if own is not None:
            events.append(f"{self.value()} = {own}")
        return events, seen

    def rows(self, values: Letters) -> str:
        """What the sum runs over: rows of the scope, without held plates and single steps."""
        held = {gate.name for gate in values if gate.kind == "plate"} | set(self.times)
        marks = self.notation.indices_of(self.node.scope, held)
        lag = self.node.lag()
        if lag and self.notation.graph.scopes[self.node.scope].kind == "tree":
            within = r"\in" if self.component.step else r"\notin"
            marks[-1] += rf" {within} \text{{roots}}"
        elif lag and not self.component.step:
            marks[-1] = f"{marks[-1]} > {lag}"
        return ",".join(marks)


__all__ = ["UNIT", "Summed", "letters_of_parameter"]
