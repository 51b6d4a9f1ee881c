"""The listing: one module of Python with constants, E-step and M-step; it is the code that runs."""

from __future__ import annotations

from collections.abc import Iterable

from pgem.analyse import Analysis, Block, ParamLayout
from pgem.analyse.blocks import ECM, NUMERIC, OWN_FIT
from pgem.arrays import Floats
from pgem.families import Family
from pgem.plan.e_step import EStepWriter, is_whole
from pgem.plan.naming import (
    ROUTINES,
    WIDTH,
    array,
    call,
    family_code,
    import_line,
    mapping,
    on_shelf,
)
from pgem.routines import Prior, Times


def write_source(analysis: Analysis) -> str:
    """The whole listing of a model."""
    writer = EStepWriter(analysis)
    body = [*writer.lines(), "", "", *m_step(analysis)]
    families = prior_families(analysis)
    fixed = [
        *_axes(writer),
        *_constants(analysis),
        *_reads(analysis),
        *_priors(analysis, families),
        *_learned(analysis),
    ]
    used = {name for name in ROUTINES if any(f"{name}(" in line for line in [*body, *fixed])}
    shelf = sorted(name for kind, name in families.items() if on_shelf(kind))
    own = {kind: name for kind, name in families.items() if not on_shelf(kind)}
    roles = sorted({p.role.code.partition("(")[0] for p in free_params(analysis)})
    head = [
        f'"""EM for the model \'{analysis.graph.name}\', derived by pgem.',
        "",
        *(f"    {writer.conditional_name(node)}" for node in analysis.graph.nodes),
        '"""',
        "",
        *(f"# {name} is {kind.__module__}.{kind.__qualname__}" for kind, name in own.items()),
        *(["import numpy as np", ""] if any("np." in line for line in fixed) else []),
        *(import_line("pgem.families", shelf) if shelf else []),
        *(import_line("pgem.families._roles", roles) if roles else []),
        *(import_line("pgem.routines", sorted(used)) if used else []),
        "",
    ]
    return "\n".join([*head, *fixed, "", "", *body]) + "\n"


def free_params(analysis: Analysis) -> list[ParamLayout]:
    """Parameters that the M-step solves, in order of declaration."""
    return [p for p in analysis.layout.params.values() if p.is_free and p.uses]


def _axes(writer: EStepWriter) -> list[str]:
    sizes, positions = writer.layout.sizes, writer.positions
    return [
        f'{name} = Axis({positions[var]}, {sizes[var.node]}, "{var}")'
        for var, name in writer.axis_names.items()
    ]


def _constants(analysis: Analysis) -> list[str]:
    """Known tables; not where a conjugate latent is the whole slot."""
    filled = {child for block in analysis.conjugates for child in block.children}
    lines = [
        f'    "{key}.{name}": {array(slot.value)},'
        for key, settled in analysis.layout.components.items()
        for name, slot in settled.component.leaf.slots.items()
        if slot.kind == "constant" and not (is_whole(slot) and settled.component.node in filled)
    ]
    return ["CONSTANTS = {", *lines, "}"] if lines else []


def _reads(analysis: Analysis) -> list[str]:
    """Which parameter every slot reads."""
    lines = []
    for key, settled in analysis.layout.components.items():
        slots = settled.component.leaf.slots.items()
        reads = {name: slot.name for name, slot in slots if slot.kind == "param"}
        if reads:
            lines.append(f'    "{key}": {mapping(reads)},')
    return ["READS = {", *lines, "}"]


def _learned(analysis: Analysis) -> list[str]:
    """The parameters that are learned: role, gates, what is fixed, uses."""
    lines = []
    for param in free_params(analysis):
        uses = ", ".join(f'("{key}", "{slot}")' for key, slot in param.uses)
        cancels = any(param.name in block.cancels for block in analysis.blocks)
        arguments = [
            f'"{param.name}"',
            param.role.code,
            f"n_gates={param.n_gates}",
            f"fixed={_mask(param)}",
            f"uses=({uses},)",
            *([] if cancels else ["cancels=False"]),
            *([f'prior=PRIORS["{param.name}"]'] if param.prior is not None else []),
            *_links(param, analysis),
            *([f"lower={array(param.lower)}"] if param.lower is not None else []),
        ]
        broken = call(f'"{param.name}": Learned', arguments, "),")
        lines += [f"    {line}" for line in broken]
    return ["LEARNED = {", *lines, "}"]


def _links(param: ParamLayout, analysis: Analysis) -> list[str]:
    """Priors of other parameters that this one stands in."""
    found = [
        f'(PRIORS["{other.name}"], "{slot}")'
        for other in analysis.layout.params.values()
        if other.prior is not None
        for slot, link in other.prior.links.items()
        if link.name == param.name
    ]
    return [f"links=({', '.join(found)},)"] if found else []


def _priors(analysis: Analysis, families: dict[type[Family], str]) -> list[str]:
    """The priors: family, what is held, and what stands in the slots."""
    lines = []
    for param in analysis.layout.params.values():
        if param.prior is not None:
            lines += [f"    {line}" for line in _prior(param, param.prior, families)]
    return ["PRIORS = {", *lines, "}"] if lines else []


def _prior(param: ParamLayout, prior: Prior, families: dict[type[Family], str]) -> list[str]:
    family = prior.family
    made = family_code(families[type(family)], family)
    held = [f'"{slot}": {_held(held)}' for slot, held in prior.slots.items()]
    slots = ", ".join(held)
    if len(slots) > WIDTH - 20:
        slots = "".join(f"\n            {line}," for line in held) + "\n        "
    arguments = [
        f'"{param.name}"', param.role.code, made, f"fixed={_mask(param)}",
        f"slots={{{slots}}}",
    ]  # fmt: skip
    return call(f'"{param.name}": Prior', arguments, "),")


def _held(held: Floats | Times) -> str:
    if not isinstance(held, Times):
        return array(held)
    rows = "" if held.rows is None else f", rows={array(held.rows)}"
    return f'Times("{held.name}", {array(held.factor)}{rows})'


def _mask(param: ParamLayout) -> str:
    return array(param.fixed) if param.fixed.any() else f"free({', '.join(map(str, param.shape))})"


def prior_families(analysis: Analysis) -> dict[type[Family], str]:
    """The families of the priors, and what the listing calls them."""
    found: dict[type[Family], str] = {}
    for param in analysis.layout.params.values():
        kind = type(param.prior.family) if param.prior is not None else None
        if kind is not None and kind not in found:
            name = kind.__name__
            while name in found.values():
                name += "_"
            found[kind] = name
    return found


def _with_priors(param: ParamLayout, analysis: Analysis) -> str:
    """What priors and bounds change in a solve, in words."""
    own = [f"its {type(param.prior.family).__name__} prior"] if param.prior is not None else []
    found = own + [f"the prior of {name}" for name in linked_from(param, analysis)]
    parts = [f"with {' and '.join(found)}"] if found else []
    return ", ".join([*parts, *(["raised to its lower bound"] if param.lower is not None else [])])


def linked_from(param: ParamLayout, analysis: Analysis) -> list[str]:
    """Parameters in whose priors this one stands."""
    return [
        other.name
        for other in analysis.layout.params.values()
        if other.prior is not None
        and param.name in [link.name for link in other.prior.links.values()]
    ]


def m_step(analysis: Analysis) -> list[str]:
    """The M-step: one solve a parameter, block by block."""
    priors = any(p.prior is not None for p in analysis.layout.params.values())
    what = "log-likelihood and the log-priors" if priors else "log-likelihood"
    lines = [
        "def m_step(params, stats, empty):",
        f'    """The parameters that maximise the expected complete-data {what}."""',
        "    new = dict(params)",
    ]
    for block in analysis.blocks:
        lines += ["", *(f"    {line}" for line in _block(block, analysis))]
    return [*lines, "    return new"]


def _block(block: Block, analysis: Analysis) -> list[str]:
    head = [f"# {', '.join(block.params)}: {block.rung}"]
    if block.joint is not None:
        return [*head, f'new |= estimate(stats, "{block.joint}", new, READS)']
    keys = "[" + ", ".join(f'"{key}"' for key in block.components) + "]"
    if block.regression:
        return _regression(block, keys, analysis)
    if block.rung == OWN_FIT:
        return [*head, *call("new |= fit_cells", ["stats", keys, "new", "READS"])]
    if block.firsts:
        (name,), follows = block.params, analysis.layout.stationary
        firsts = ", ".join(f'("{first}", "{follows[first].key}")' for first in block.firsts)
        arguments = ["stats", f'LEARNED["{name}"]', "new", "READS", "empty", f"firsts=[{firsts}]"]
        note = f"# with what the stationary {' and '.join(block.firsts)} adds to Q"
        return [*head, note, *call(f'new["{name}"] = maximise_stationary', arguments)]
    if block.rung == NUMERIC:
        learned = ", ".join(f'LEARNED["{name}"]' for name in block.params)
        arguments = ["stats", keys, f"[{learned}]", "new", "READS"]
        return [*head, *call("new |= climb", arguments)]
    solves = _solves(block.params, analysis)
    if block.rung == ECM:
        return [*head, *_loop(block, keys, solves)]
    if len(block.params) > 1:
        return [*head, *solves]
    return [f"{solves[0]} ({block.rung})", *solves[1:]]


def _regression(block: Block, keys: str, analysis: Analysis) -> list[str]:
    """Coefficients together, then covariances and rates."""
    learned = ", ".join(f'LEARNED["{name}"]' for name in block.regression)
    reads = {key for name in block.regression for key, _ in analysis.layout.params[name].uses}
    least = "[" + ", ".join(f'"{key}"' for key in block.components if key in reads) + "]"
    arguments = ["stats", least, f"[{learned}]", "new", "READS", "empty"]
    others = [name for name in block.params if name not in block.regression]
    coefs = [analysis.layout.params[name] for name in block.regression]
    priors = ", with their priors" if any(p.prior is not None for p in coefs) else ""
    routine, method = "regress", "weighted least squares"
    if block.linked:
        routine, method = "newton", "Newton's method"
    lines = [
        f"# {', '.join(block.regression)} by {method}{priors}",
        *call(f"new |= {routine}", arguments),
        *_solves(others, analysis),
    ]
    if block.linked and not others:
        return lines
    head = [f"# {', '.join(block.params)}: {block.rung}"]
    return [*head, *(_loop(block, keys, lines) if block.rung == ECM else lines)]


def _loop(block: Block, keys: str, solves: list[str]) -> list[str]:
    """Conditional maxima in turn."""
    learned = ", ".join(f'LEARNED["{name}"]' for name in block.params)
    loop = call("for _ in sweeps", ["stats", keys, f"[{learned}]", "new", "READS"], "):")
    return [*loop, *(f"    {line}" for line in solves)]


def _solves(names: Iterable[str], analysis: Analysis) -> list[str]:
    """One conditional maximum a parameter."""
    solves = []
    for name in names:
        uses = " and ".join(f"{key}.{slot}" for key, slot in analysis.layout.params[name].uses)
        formula = analysis.layout.params[name].role.formula
        pooled = f", pooled over {uses}" if " and " in uses else ""
        also = _with_priors(analysis.layout.params[name], analysis)
        solves.append(f"# {name} = {formula}{pooled}")
        solves += [f"# {also}"] if also else []
        solves.append(f'new["{name}"] = maximise(stats, LEARNED["{name}"], new, READS, empty)')
    return solves
