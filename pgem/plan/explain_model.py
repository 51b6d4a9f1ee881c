r"""Derivation, first part: the factorisation, and the conditional of every node."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pgem.analyse import Settled, is_random
from pgem.declare import UNIT, Gate, SlotRecord, slot_of
from pgem.families import Family
from pgem.families._link import Linked
from pgem.graph import Component
from pgem.plan.explain_conjugate import multiplied
from pgem.plan.explain_links import where_linked
from pgem.plan.explain_segments import duration_symbol, duration_value, say_segments
from pgem.plan.latex import replace_letters
from pgem.plan.notation import Notation, clashes, escape
from pgem.plan.page import Page
from pgem.plan.symbolic import slot_letters, statistics_of


def write_model(page: Page, notation: Notation) -> None:
    """Section 1: scopes, nodes, factorisation."""
    page.heading("1. The model")
    page.say(_setting(notation))
    for kind, text in (("latent", "Latent"), ("observed", "Observed")):
        nodes = [n for n, node in notation.graph.nodes.items() if _kind(notation, n) == kind]
        if nodes:
            page.say(f"{text}: {', '.join(_introduce(notation, n) for n in nodes)}.")
    page.say("The joint probability factorises into one conditional per node,")
    page.formula(f"p({_everything(notation)} \\mid \\theta) = {_product(notation, UNIT)}")
    for name, node in notation.graph.nodes.items():
        if node.lag():
            page.say(_first_steps(notation, name))
        say_segments(page, notation, name)
    page.say(
        f"In what follows ${notation.data()}$ stands for everything that is observed of unit "
        f"${notation.indices[UNIT]}$, and every sum over units is weighted by the units' "
        "frequencies where the data have weights. Missing values drop out of the product."
    )


def _kind(notation: Notation, node: str) -> str:
    integrated = is_random(notation.graph, notation.analysis.schema, node)
    latent = notation.is_latent(Gate("node", node)) or integrated
    return "latent" if latent else "observed"


def _setting(notation: Notation) -> str:
    sentences = []
    for name, scope in notation.graph.scopes.items():
        letter = notation.indices[name]
        if name == UNIT:
            sentences.append(f"The data are independent units ${letter} = 1, \\ldots, N$.")
            continue
        whole = "unit" if scope.parent == UNIT else f"member of `{scope.parent}`"
        end = str(scope.size) if scope.size else f"{letter.upper()}_{{{_outer(notation, name)}}}"
        what = {"sequence": "a sequence of steps", "tree": "a tree of members"}.get(scope.kind)
        parent = f" ${notation.place(name, 1)}$ is the parent of ${letter}$."
        sentences.append(
            f"Each {whole} has {what or 'members'} `{name}`, ${letter} = 1, \\ldots, {end}$."
            + (parent if scope.kind == "tree" else "")
        )
    return " ".join(sentences)


def _outer(notation: Notation, scope: str) -> str:
    return ",".join(notation.indices_of(notation.graph.scopes[scope].parent))


def _introduce(notation: Notation, node: str) -> str:
    size = notation.analysis.layout.sizes.get(node)
    values = f" ({size} values)" if size else ""
    return f"${notation.variable(node)}${values}"


def _everything(notation: Notation) -> str:
    kinds = {_kind(notation, node) for node in notation.graph.nodes}
    parts = [
        rf"\text{{{text}}}"
        for kind, text in (("observed", "data"), ("latent", "latents"))
        if kind in kinds
    ]
    return ", ".join(parts)


def _product(notation: Notation, scope: str) -> str:
    """The product over a scope's rows of its nodes and inner scopes."""
    letter = notation.indices[scope]
    factors = [notation.conditional(node.name) for node in notation.graph.nodes_of(scope)]
    inner = [_product(notation, child) for child in notation.graph.children(scope)]
    body = r" \, ".join([*factors, *inner])
    if len(inner) > 1 or (inner and scope != UNIT) or (len(factors) > 1 and scope != UNIT):
        body = rf"\Big[ {body} \Big]"
    return rf"\prod_{{{letter}}} {body}"


def _first_steps(notation: Notation, name: str) -> str:
    """What happens before a node has steps to look back at."""
    node = notation.graph.nodes[name]
    letter, lag = notation.indices[node.scope], node.lag()
    if notation.graph.scopes[node.scope].kind == "tree":
        if not node.firsts:
            return f"The values of `{name}` at the roots are conditioned on and not modelled."
        shown = [notation.conditional(name, most_lag=0)]
        return f"At the roots, `{name}` has its own distribution, ${shown[0]}$."
    steps = f"${letter} = 1$" if lag == 1 else f"${letter} \\le {lag}$"
    if not node.firsts:
        return f"The first values of `{name}` ({steps}) are conditioned on and not modelled."
    shown = [
        notation.conditional(name, times={node.scope: str(k)}, most_lag=k - 1)
        for k in range(1, lag + 1)
    ]
    if node.firsts[0].follows:
        return (
            f"At {steps}, `{name}` has the stationary distribution $\\delta$ of its transition "
            f"table, ${shown[0]} = \\delta$ with $\\delta = \\delta P$."
        )
    return f"At {steps}, `{name}` has its own distribution, ${', '.join(shown)}$."


# --- conditionals -------------------------------------------------------------------------------


def write_conditionals(page: Page, notation: Notation) -> None:
    """Section 2: family, density and statistics of every component."""
    page.heading("2. The conditionals")
    tables = {
        g.table
        for c in notation.graph.components.values()
        for slot in c.leaf.slots.values()
        for g in slot.gates
        if g.kind == "constant"
    }
    for table in tables:
        page.say(f"$\\text{{table}}$ stands for the known index {list(table)}.")
    for node in notation.graph.nodes.values():
        components = [*notation.graph.firsts_of(node.name), *notation.graph.leaves_of(node.name)]
        lasting = notation.graph.duration_of(node.name)
        for component in [*components, *([lasting] if lasting else [])]:
            _write_component(page, notation, component)


def _write_component(page: Page, notation: Notation, component: Component) -> None:
    settled = notation.analysis.layout.components[component.key]
    family = settled.family
    times = times_of(notation, component)
    own = notation.variable(component.node, times=times)
    head = notation.conditional(component.node, times=times, most_lag=most_lag(component))
    given = head[2:-1].partition(r"\mid")[2]
    if component.is_duration:
        own, head = duration_value(notation, component), duration_symbol(notation, component)
        head, given = f"p({head})", ""
    subject = rf"{own} \mid {given.strip()}" if given else own
    page.item(
        rf"${subject} \sim \text{{{family.title}}}({_arguments(notation, settled)})$"
        f"{_when(notation, component)}"
    )
    if not family.formula:
        return
    letters = slot_letters(family)
    own_letter, formula, letters = _fit_letters(notation, component, family, letters, own)
    lines = [f"\\log {head} &= {formula}"]
    statistics = statistics_of(family, letters)
    if type(family).sufficient_statistics is Family.sufficient_statistics:
        statistics = (
            (f"[x = {notation.values[component.node]}]",) if family.domain() is not None else None
        )
    if statistics and not isinstance(family, Linked):
        inside = ", ".join(replace_letters(part, {"x": own_letter}) for part in statistics)
        shown = f"({inside})" if len(statistics) > 1 else inside
        bracket = own_letter if own_letter.startswith("(") else f"({own_letter})"
        lines.append(f"T{bracket} &= {shown}")
    page.formula(*lines)
    values, behind = slot_values(notation, settled), ""
    if isinstance(family, Linked):
        behind = where_linked(family, values)
        values = {k: v for k, v in values.items() if k not in (family.link_slot, family.target)}
    where = ", ".join(filter(None, [behind, _where(values, letters, own_letter, own)]))
    if where:
        page.note(f"where {where}.")


def _when(notation: Notation, component: Component) -> str:
    node = notation.graph.nodes[component.node]
    letter = notation.indices[node.scope]
    if component.is_duration:
        return f", the duration of a segment of `{node.name}`"
    tree = notation.graph.scopes[node.scope].kind == "tree"
    if component.step:
        return " at the roots" if tree else f" for ${letter} = {component.step}$"
    if node.switch is not None:
        gate = notation.gate(node.switch)
        keys = [c.key for c in notation.graph.leaves_of(node.name)]
        return f" where ${gate} = {keys.index(component.key)}$"
    if not node.lag():
        return ""
    return " below the roots" if tree else f" for ${letter} > {node.lag()}$"


def times_of(notation: Notation, component: Component) -> dict[str, str]:
    """The step that a first-step component stands for, or the segment of a duration.

    In a tree it is any root.
    """
    scope = notation.graph.nodes[component.node].scope
    if component.is_duration:
        return {scope: notation.segments[component.node][0]}
    tree = notation.graph.scopes[scope].kind == "tree"
    return {scope: str(component.step)} if component.step and not tree else {}


def most_lag(component: Component) -> int:
    """How far a component can look back."""
    return component.step - 1 if component.step else 99


def _arguments(notation: Notation, settled: Settled) -> str:
    values = slot_values(notation, settled)
    return r",\; ".join(rf"\text{{{escape(name)}}} = {value}" for name, value in values.items())


def slot_values(notation: Notation, settled: Settled) -> dict[str, str]:
    """What stands in every slot of the family as declared; the terms of a sum are added up."""
    values: dict[str, str] = {}
    for name, slot in settled.component.leaf.slots.items():
        value = structured_reference(notation, settled.component, slot)
        whole = slot_of(name) if slot.times is not None else name
        if whole not in values:
            values[whole] = value
        elif value.startswith("-1 "):
            values[whole] += " - " + value.removeprefix(r"-1 \, ")
        else:
            values[whole] += f" + {value}"
    return values


def structured_reference(notation: Notation, component: Component, slot: SlotRecord) -> str:
    """What stands in a slot, with the structure around it."""
    value = slot_reference(notation, component, slot)
    return value if slot.structure == "full" else rf"\text{{{slot.structure}}}({value})"


def slot_reference(notation: Notation, component: Component, slot: SlotRecord) -> str:
    """What stands in a slot, indexed by variables, with what multiplies it."""
    return multiplied(notation, slot.times, _slot_value(notation, component, slot))


def _slot_value(notation: Notation, component: Component, slot: SlotRecord) -> str:
    times = times_of(notation, component)
    if slot.kind == "covariate":
        return notation.variable(slot.name)
    gates = [notation.gate(gate, times=times) for gate in slot.gates]
    if slot.kind == "stationary":
        table = notation.graph.components[component.node].leaf.slots
        name = next(t.name for n, t in table.items() if component.leaf.slots[n] is slot)
        shown = notation.parameter(name, gates) if name else r"\text{known table}"
        return rf"\delta({shown})"
    if slot.kind == "param":
        return notation.parameter(slot.name, gates)
    if not slot.gates and np.ndim(slot.value) == 0:
        return f"{float(slot.value):g}"
    return rf"\text{{known table}}{'[' + ', '.join(gates) + ']' if gates else ''}"


def _fit_letters(
    notation: Notation,
    component: Component,
    family: Family,
    letters: dict[str, str],
    variable: str,
) -> tuple[str, str, dict[str, str]]:
    """The node's letter, the formula and the slots' letters, free of clashes."""
    changes: dict[str, str] = {}
    indices = set(notation.indices.values())
    for name, letter in letters.items():
        if letter in indices:
            changes[letter] = letters[name] = r"\nu"
    if component.node in notation.values:
        changes["k"] = notation.values[component.node]
    symbol = notation.names[component.node]
    own = variable if not clashes(family.formula, [symbol]) else "x"
    shown = f"{{{own}}}" if "x_" in family.formula else own
    return own, replace_letters(family.formula, {**changes, "x": shown}), letters


def _where(values: dict[str, str], letters: dict[str, str], own: str, variable: str) -> str:
    """`m = x.mean[z_n]` and so on."""
    shown = [f"${own} = {variable}$"] if own != variable else []
    named = {**{slot_of(n): letter for n, letter in reversed(letters.items())}, **letters}
    for name, value in values.items():
        letter = named.get(name, name)
        if letter != name:
            shown.append(f"${letter} = {value}$")
    return ", ".join(shown)


def listed(parts: Iterable[Any]) -> str:
    """a, b and c."""
    words = [str(part) for part in parts]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
