r"""Derivation, third part: expected statistics, the M-step of every block, and the guarantee."""

from __future__ import annotations

from collections.abc import Iterable

from pgem.analyse import Block, ParamLayout
from pgem.analyse.blocks import CLOSED, ECM, NEWTON, NUMERIC, OWN_FIT
from pgem.declare import UNIT
from pgem.families._linear import Linear
from pgem.families._link import Linked
from pgem.families._roles import COVARIANCE, MEAN, PROBS
from pgem.plan.explain_conjugate import expectation_sentence, filled
from pgem.plan.explain_links import how_linked, newton_steps
from pgem.plan.explain_model import listed, slot_reference
from pgem.plan.explain_priors import add_parts, prior_parts, total_of, write_priors
from pgem.plan.explain_regions import (
    is_regression,
    regression_solution,
    regression_statistic,
)
from pgem.plan.latex import replace_letters
from pgem.plan.notation import DATA, Notation, avoid, escape
from pgem.plan.page import Page
from pgem.plan.statistic import Summed, letters_of_parameter
from pgem.plan.symbolic import LINEAR, features_of, slot_letters


def write_statistics(page: Page, notation: Notation) -> None:
    """Section 4: which posterior weighs which statistics."""
    page.heading("4. The expected statistics")
    total = rf"\sum_{{{notation.indices[UNIT]}}}"
    lines = [
        line
        for key in notation.analysis.layout.components
        if (line := _statistic_line(notation, key))
    ]
    own = [b for b in notation.analysis.blocks if b.rung == OWN_FIT]
    linked = [key for block in notation.analysis.blocks for key in block.linked]
    rest = (
        "."
        if linked and not lines
        else (
            ", and each of them needs the data only through sums of its statistics under the "
            "posterior of its gates:"
        )
    )
    page.say(
        rf"The M-step maximises $Q(\theta) = {total} E[\log p(\text{{data}}, \text{{latents}} "
        rf"\mid \theta) \mid {notation.data()}]$, the expectation under the posterior at the "
        "current parameters. $Q$ is a sum over the conditionals of section 2" + rest
    )
    if lines or not linked:
        page.formula(*(lines or [r"\text{(nothing is learned)}"]))
    for block in own:
        page.say(
            f"{listed(f'`{key}`' for key in block.components)} has no finite statistic: the "
            "posterior weight of every value in every cell is kept."
        )
    if linked:
        page.say(
            "Under a link with covariates there is no finite statistic: of "
            f"{listed(f'`{key}`' for key in linked)} the posterior weight of every row in every "
            "cell is kept, beside what multiplies the coefficients there; equal rows count as one."
        )
        under = {family.latent for family in _linked(notation, linked) if family.latent}
        if under:
            means = listed(rf"$\mathrm{{E}}[{notation.variable(name)}]$" for name in sorted(under))
            page.say(
                f"Where a latent stands beside the link, the weight times {means} is kept too."
            )
    if sentence := expectation_sentence(notation):
        page.say(sentence)
    _write_partial(page, notation)
    cut = [f"`{key}`" for key, s in notation.analysis.layout.components.items()
           if s.component.is_duration]  # fmt: skip
    if cut:
        page.say(
            f"In {listed(cut)} a segment that the end cuts off after $d$ steps counts with the "
            "statistics that are expected of its whole duration, given that it is at least $d$."
        )


def _write_partial(page: Page, notation: Notation) -> None:
    """What enters the statistics of vectors whose coordinates may be missing one by one."""
    components = notation.analysis.layout.components.items()
    nodes = notation.graph.nodes
    partial = [
        key
        for key, s in components
        if s.family.takes_partial
        and not s.family.factorises
        and nodes[s.component.node].kind == "observed"
    ]
    if partial:
        page.say(
            f"Where single coordinates of {listed(f'`{key}`' for key in partial)} are missing, "
            "they are integrated out given the coordinates that are there: their conditional means "
            "stand for them in the sums, and their conditional covariance, given the same cell, "
            "is added to the second moments."
        )


def _statistic_line(notation: Notation, key: str) -> str:
    """`S_x[k] = Σ_n p(z_n = k | D_n) (1, x_n, …)` of one component."""
    settled = notation.analysis.layout.components[key]
    follows = settled.component.leaf.follows
    params = [s for s in settled.component.leaf.slots.values() if s.kind == "param"]
    if not (params or follows) or settled.family.own_fit or isinstance(settled.family, Linked):
        return ""
    if is_regression(notation, key):
        return regression_statistic(notation, key)
    summed = Summed(notation, key)
    letters = {gate: notation.value(gate) for gate in settled.cells.gates}
    axes = [letters[gate] for gate in settled.cells.gates]
    node = settled.component.node
    own = notation.values.get(node)
    if settled.component.is_duration:
        own = avoid(own or "k", axes)
    if summed.is_axis or (own and settled.family.domain() is not None):
        name, axes = "N", [*axes, str(own)]
        seen = "1" if summed.is_axis else f"[{summed.value()} = {own}]"
        inside = summed.term(seen, letters, own if summed.is_axis else None)
    else:
        name, inside = "S", summed.term(_all_statistics(notation, key), letters, None)
    bracket = f"[{', '.join(axes)}]" if axes else ""
    return rf"{name}_{{\text{{{escape(key)}}}}}{bracket} &= {inside}"


def _all_statistics(notation: Notation, key: str) -> str:
    """(1, T(x)) with the node's symbol."""
    settled = notation.analysis.layout.components[key]
    family = settled.family
    summed = Summed(notation, key)
    features = features_of(family, slot_letters(family), expected=summed.expected)
    parts = None if features is None else tuple(part.latex for part in features)
    own = summed.value()
    letters = {"x": own}
    for name in family.known_slots:
        slot = settled.component.leaf.slots[name]
        letters[slot_letters(family)[name]] = slot_reference(notation, settled.component, slot)
    shown = ("1", "T(x)") if parts is None else tuple(dict.fromkeys(["1", *parts]))
    if parts is not None and "1" not in parts:
        shown = parts
    if isinstance(family, Linear) and family.latent:
        shown = ("1", LINEAR, f"{LINEAR} T(x)")
    inside = ", ".join(replace_letters(part, letters) for part in shown)
    return f"({filled(notation, settled.component, inside)})"


def _linked(notation: Notation, keys: Iterable[str]) -> list[Linked]:
    """The families with a link among those of some components."""
    families = [notation.analysis.layout.components[key].family for key in keys]
    return [family for family in families if isinstance(family, Linked)]


# --- M-step -------------------------------------------------------------------------------------


def write_m_step(page: Page, notation: Notation) -> None:
    """Section 5: one entry per parameter block."""
    page.heading("5. The M-step")
    params = notation.analysis.layout.params
    for block in notation.analysis.blocks:
        _write_block(page, notation, block)
    blocks = [block for block in notation.analysis.blocks if block.linked and block.regression]
    if blocks:
        page.say(newton_steps(_linked(notation, [key for b in blocks for key in b.linked])))
    held = [f"`{name}`" for name, p in params.items() if not p.is_free]
    if held:
        page.say(f"Held fixed: {listed(held)}.")
    if any(p.fixed.any() and p.is_free for p in params.values()):
        page.say("Fixed entries keep their values; free probabilities share what is left.")
    page.say("A row whose expected count is zero keeps its value.")
    write_priors(page, notation)


def _write_block(page: Page, notation: Notation, block: Block) -> None:
    params = [notation.analysis.layout.params[name] for name in block.params]
    names = listed(f"`{name}`" for name in block.params)
    page.item(f"{names}{_tied(params)}: {_how(block, params)}")
    if block.rung == OWN_FIT or (block.rung == NUMERIC and block.joint is None):
        return
    if not block.linked and any(is_regression(notation, key) for key in block.components):
        page.formula(*regression_solution(notation, block))
        return
    if block.linked:
        params = [p for p in params if p.name not in block.regression]
        if not params or not all(solution(notation, p, block) for p in params):
            return
    lines = [solution(notation, p, block) for p in params]
    if any(not line for line in lines):
        page.formula(_moments(notation, block))
        return
    page.formula(*lines)


def _how(block: Block, params: list[ParamLayout]) -> str:
    """The rung of the ladder, in words."""
    if block.firsts:
        return (
            f"no closed form, since {listed(f'`{key}`' for key in block.firsts)} follows from it. "
            "The expected first values times $\\log \\delta$ are not concave in the table, and "
            "$Q$ is climbed from the current values (local maximum)."
        )
    if block.rung == NUMERIC:
        return (
            "no closed form; $Q$ is climbed from the current values with all cells of "
            f"{listed(f'`{key}`' for key in block.components)} (local maximum)."
        )
    if block.rung == OWN_FIT:
        return (
            "what the family's own fit returns for the values of each cell and their posterior "
            "weights."
        )
    if block.linked and block.regression:
        return how_linked(block)
    if block.regression and block.rung != ECM and len(block.params) > 1:
        return "weighted least squares for the coefficients, then the covariances (closed form):"
    if block.joint is not None and len(block.params) > 1:
        how = "one-dimensional Newton" if block.rung != CLOSED else "closed form"
        return f"solved together ({how}):"
    if block.rung == ECM:
        return "each in closed form given the others, in turn until $Q$ gains no more (ECM):"
    if block.rung == NEWTON:
        return "by Newton's method:"
    order = " in this order" if len(block.params) > 1 else ""
    over = ", normalised over the last index" if params[0].role is PROBS else ""
    return f"closed form{order}{over}:"


def _tied(params: list[ParamLayout]) -> str:
    """Which conditionals share a parameter."""
    notes = []
    for param in params:
        keys = list(dict.fromkeys(key for key, _ in param.uses))
        if len(keys) > 1:
            notes.append(f"`{param.name}` pools {listed(f'`{key}`' for key in keys)}")
    return f" ({'; '.join(notes)})" if notes else ""


def solution(notation: Notation, param: ParamLayout, block: Block) -> str:
    """The maximiser of one parameter from its role and its uses; empty where nothing tells."""
    letters, own = letters_of_parameter(notation, param)
    cancels = param.name in block.cancels
    uses = [
        Summed(notation, key).parts(slot, letters, own, cancels=cancels)
        for key, slot in param.uses
        if set(Summed(notation, key).per_value(slot, cancels=cancels) or ()) != {"0"}
    ]
    if any(parts is None for parts in uses) or not param.role.solution:
        return ""
    found = [parts for parts in uses if parts is not None]
    priors = prior_parts(notation, param, letters, own, cancels=cancels)
    summed = [
        " + ".join([*add_parts(priors, k), *(parts[k] for parts in found)])
        for k in range(len(found[0]))
    ]
    text = param.role.solution
    if param.role is MEAN and not cancels and _has_matrices(notation, param):
        text = r"@= = \Big( @0 \Big)^{-1} \Big( @1 \Big)"
    if "@+" in text:
        total = _total(notation, param, letters, own, cancels)
        text = text.replace("@+", " + ".join([*total_of(priors), total]))
    for k, part in enumerate(summed):
        text = text.replace(f"@{k}", part)
    text = text.replace("@=", notation.parameter(param.name, [*letters, *([own] if own else [])]))
    return (
        text.replace(" = ", " &= ", 1)
        if r"\propto" not in text
        else text.replace(r"\propto", r"&\propto", 1)
    )


def _has_matrices(notation: Notation, param: ParamLayout) -> bool:
    """Whether a mean stands under a full covariance, so that precisions are matrices."""
    families = [notation.analysis.layout.components[key].family for key, _ in param.uses]
    return any(f.role_of(s.name) is COVARIANCE for f in families for s in f.slots)


def _total(
    notation: Notation, param: ParamLayout, letters: list[str], own: str, cancels: bool
) -> str:
    """The sum of both parts of a statistic, simplified where the parts cancel."""
    terms = [
        Summed(notation, key).total(slot, letters, own, cancels=cancels) for key, slot in param.uses
    ]
    return " + ".join(terms)


def _moments(notation: Notation, block: Block) -> str:
    """Matching of moments: what the joint maximum of an exponential family solves."""
    key = block.joint or block.components[0]
    summed = Summed(notation, key)
    gates = notation.analysis.layout.components[key].cells.gates
    letters = {gate: notation.value(gate) for gate in gates}
    value = summed.value()
    shown = rf"\mathrm{{E}}[T({value})]" if summed.expected else f"T({value})"
    above, below = summed.term(shown, letters, None), summed.term("1", letters, None)
    return rf"E[T({value}) \mid \theta] = \frac{{{above}}}{{{below}}}"


# --- guarantee ----------------------------------------------------------------------------------


def write_guarantee(page: Page, notation: Notation) -> None:
    """Section 6: why the likelihood cannot fall."""
    blocks = notation.analysis.blocks
    local = [name for b in blocks if b.rung == NUMERIC for name in b.params]
    page.heading("6. What is guaranteed")
    page.say("For any distribution $q$ of the latents,")
    page.formula(
        rf"\log p({DATA} \mid \theta) &= L(q, \theta) + \text{{KL}}(q \,\|\, "
        rf"p(\text{{latents}} \mid {DATA}, \theta))",
        rf"L(q, \theta) &= E_q[\log p({DATA}, \text{{latents}} \mid \theta)] + H(q)",
    )
    priors = any(p.prior is not None for p in notation.analysis.layout.params.values())
    raised = "$L$ plus the log-priors" if priors else "$L$"
    what = "log-likelihood plus the log-priors" if priors else "log-likelihood"
    page.say(
        "The E-step above is exact: it sets $q$ to the posterior, so that KL is zero and $L$ "
        f"touches the log-likelihood. The M-step raises {raised} in $\\theta$ and cannot lower KL "
        f"below zero. So the {what} never falls, and where it stops rising it is stationary; "
        "which of its maxima that is depends on the start."
    )
    theirs = [name for b in blocks if b.rung == OWN_FIT for name in b.params]
    if theirs:
        page.say(
            f"For {listed(f'`{name}`' for name in theirs)} this rests on the family's own fit: a "
            "fit that lowers $Q$ may lower the likelihood, and the run then ends as `decreased`."
        )
    if local:
        page.say(
            f"The M-step of {listed(f'`{name}`' for name in local)} finds a local maximum of $Q$ "
            "and never accepts a lower $Q$ (generalised EM); all other blocks attain the maximum."
        )
    elif any(b.rung == ECM for b in blocks):
        page.say(
            "Conditional maxima in turn (ECM) never lower $Q$; all other blocks attain its maximum."
        )
    else:
        page.say(f"Every {'other ' if theirs else ''}block attains the maximum of $Q$.")
