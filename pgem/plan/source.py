"""The listing: one module of Python with constants, E-step and M-step; it is the code that runs."""

from __future__ import annotations

from collections.abc import Iterable

from pgem.analyse import Analysis, Block, ParamLayout
from pgem.analyse.blocks import ECM, NUMERIC, OWN_FIT
from pgem.plan.e_step import EStepWriter, is_whole
from pgem.plan.naming import ROUTINES, array, call, import_line, mapping


def write_source(analysis: Analysis) -> str:
    """The whole listing of a model."""
    writer = EStepWriter(analysis)
    body = [*writer.lines(), "", "", *m_step(analysis)]
    fixed = [*_axes(writer), *_constants(analysis), *_reads(analysis), *_learned(analysis)]
    used = {name for name in ROUTINES if any(f"{name}(" in line for line in [*body, *fixed])}
    roles = sorted({type(p.role).__name__.upper() for p in free_params(analysis)})
    head = [
        f'"""EM for the model \'{analysis.graph.name}\', derived by pgem.',
        "",
        *(f"    {writer.conditional_name(node)}" for node in analysis.graph.nodes),
        '"""',
        "",
        *(["import numpy as np", ""] if any("np." in line for line in fixed) else []),
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
        mask = (
            array(param.fixed) if param.fixed.any() else f"free({', '.join(map(str, param.shape))})"
        )
        uses = ", ".join(f'("{key}", "{slot}")' for key, slot in param.uses)
        cancels = any(param.name in block.cancels for block in analysis.blocks)
        arguments = [
            f'"{param.name}"',
            type(param.role).__name__.upper(),
            f"n_gates={param.n_gates}",
            f"fixed={mask}",
            f"uses=({uses},)",
            *([] if cancels else ["cancels=False"]),
            *([_prior(param)] if param.prior is not None else []),
        ]
        broken = call(f'"{param.name}": Learned', arguments, "),")
        lines += [f"    {line}" for line in broken]
    return ["LEARNED = {", *lines, "}"]


def _prior(param: ParamLayout) -> str:
    """What the prior adds to the statistic."""
    parts = param.prior.statistic if param.prior is not None else ()
    return f"prior=({', '.join(array(part) for part in parts)},)"


def m_step(analysis: Analysis) -> list[str]:
    """The M-step: one solve a parameter, block by block."""
    lines = [
        "def m_step(params, stats, empty):",
        '    """The parameters that maximise the expected complete-data log-likelihood."""',
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
    if block.rung == NUMERIC:
        learned = ", ".join(f'LEARNED["{name}"]' for name in block.params)
        arguments = ["stats", keys, f"[{learned}]", "new", "READS"]
        return [*head, *call("new |= climb", arguments)]
    solves = _solves(block.params, analysis)
    if block.rung == ECM:
        return [*head, *_loop(block, keys, solves)]
    return [*head, *solves] if len(block.params) > 1 else [f"{solves[0]} ({block.rung})", solves[1]]


def _regression(block: Block, keys: str, analysis: Analysis) -> list[str]:
    """Coefficients by least squares, then covariances."""
    learned = ", ".join(f'LEARNED["{name}"]' for name in block.regression)
    arguments = ["stats", keys, f"[{learned}]", "new", "READS", "empty"]
    others = [name for name in block.params if name not in block.regression]
    lines = [
        f"# {', '.join(block.regression)} by weighted least squares",
        *call("new |= regress", arguments),
        *_solves(others, analysis),
    ]
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
        solves.append(f"# {name} = {formula}{pooled}")
        solves.append(f'new["{name}"] = maximise(stats, LEARNED["{name}"], new, READS, empty)')
    return solves
