"""What the compiler decided, as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from pgem.analyse import (
    Analysis,
    Block,
    Climb,
    Collect,
    Eliminate,
    Elimination,
    Factor,
    Scan,
    Segments,
    Survey,
    Var,
    is_axis,
)
from pgem.analyse.blocks import NUMERIC, OWN_FIT
from pgem.families._link import Linked
from pgem.families._roles import MEAN
from pgem.routines import Prior

REFUSED = "refused"
REFUSAL_NOTE = (
    "Refused: these have no exact posterior within the limits, so the model does not compile; "
    "the other rows are as if they were given."
)
EXACTNESS = {NUMERIC: "local", OWN_FIT: "as good as that fit"}


@dataclass(frozen=True)
class Row:
    """One line of the report: what, how, exactness, cost."""

    what: str
    how: str
    exact: str
    cost: str


@dataclass(frozen=True)
class Report:
    """Per latent block how it is eliminated; per parameter block how it is solved.

    Attributes:
        e_step: rows of the E-step.
        m_step: rows of the M-step; none where the E-step is refused.
        notes: remarks.
    """

    e_step: tuple[Row, ...]
    m_step: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    _find_holes: Callable[[], tuple[Row, ...]] = field(default=tuple, repr=False, compare=False)

    @property
    def is_exact(self) -> bool:
        """Whether the posterior is computed exactly, so that the model compiles."""
        return all(row.exact != REFUSED for row in self.e_step)

    @property
    def holes(self) -> tuple[Row, ...]:
        """Per observed node what missing values would mean: analysed when it is looked at."""
        return self._find_holes()

    def __str__(self) -> str:
        lines = ["E-step", *_table(self.e_step)]
        if self.is_exact:
            lines += ["", "M-step", *_table(self.m_step)]
        if self.holes:
            lines += ["", "Missing values", *_table(self.holes)]
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes])


def _table(rows: tuple[Row, ...]) -> list[str]:
    cells = [(r.what, r.how, r.exact, r.cost) for r in rows] or [("(nothing)", "", "", "")]
    widths = [max(len(row[k]) for row in cells) for k in range(4)]
    lines = ["  ".join(map(str.ljust, row, widths)) for row in cells]
    return [f"  {line}".rstrip() for line in lines]


def make_report(analysis: Analysis, find_holes: Callable[[], tuple[Row, ...]] = tuple) -> Report:
    """The report of an analysis.

    Args:
        analysis: what was found.
        find_holes: makes the rows on missing values.
    """
    return Report(
        tuple(row for row, _ in _e_rows(analysis.elimination)),
        tuple(_m_rows(analysis)),
        tuple(_notes(analysis)),
        find_holes,
    )


def refusal_report(found: Survey) -> Report:
    """The report of a model that is refused: what blocks, and what would be exact beside it."""
    rows = []
    for row, nodes in _e_rows(found.rest):
        beside = found.beside(nodes)
        given = f"exact given {', '.join(beside)}" if beside else row.exact
        rows.append(replace(row, exact=given))
    return Report((*_refused_rows(found), *rows), (), (REFUSAL_NOTE,))


def _refused_rows(found: Survey) -> list[Row]:
    """One row per refused block, with all that stands in its way."""
    costs = {problem.blocks: problem.cost for problem in found.refused}
    return [Row(", ".join(names), why, REFUSED, costs[names]) for names, why in reasons(found)]


def reasons(found: Survey) -> list[tuple[tuple[str, ...], str]]:
    """What is refused, block by block, and all that stands in the way of each."""
    blocks: dict[tuple[str, ...], dict[str, None]] = {}
    for problem in found.refused:
        blocks.setdefault(problem.blocks, {})[problem.because] = None
    return [(names, "; ".join(told)) for names, told in blocks.items()]


def _e_rows(found: Elimination) -> Iterator[tuple[Row, list[str]]]:
    """What is integrated out, then what is summed out, each with the nodes that it is about."""
    for factor in found.schedule.factors:
        if factor.kind in INTEGRATED:
            yield integrated_row(found, factor), [factor.node]
    for step in found.schedule.steps:
        yield summed_row(found, step), _nodes_of(step)


def _nodes_of(step: Eliminate | Collect | Scan) -> list[str]:
    """The variables of a step, or if it has none the nodes of its factors."""
    if isinstance(step, Eliminate):
        return [step.var.node]
    if isinstance(step, Scan):
        return [var.node for var in step.shift]
    return [node for factor in step.inputs for node in (factor.node, *_names(factor.axes)) if node]


def _names(axes: Iterable[Var]) -> list[str]:
    return [var.node for var in axes]


def _region_row(found: Elimination, factor: Factor) -> Row:
    """Gaussian nodes that are integrated out together."""
    size = math.prod(found.sizes[v.node] for v in factor.axes)
    region = next(r for r in found.regions if r.name == factor.node)
    others = [n for n in region.nodes if n not in region.random]
    along = f" along {region.chain}" if region.chain else f" in scope {factor.scope}"
    how = f"integrated out{along}, jointly Gaussian with {', '.join(others) or 'nothing else'}"
    cost = "1 Gaussian a row" if size == 1 else f"{size} Gaussians a row"
    if region.around:
        how += f", apart from the steps that holes of {region.around} tie together"
    return Row(", ".join(region.random), how, "exact", cost)


def _conjugate_row(found: Elimination, factor: Factor) -> Row:
    """A latent that is integrated out under conjugate children."""
    size = math.prod(found.sizes[v.node] for v in factor.axes)
    below = next(c.children for c in found.conjugates if c.name == factor.node)
    how = f"integrated out in scope {factor.scope}, conjugate to {', '.join(below) or 'nothing'}"
    return Row(factor.node, how, "exact", f"{size} entries a row")


def _stretch_row(found: Elimination, factor: Factor) -> Row:
    """Holes that tie steps of a sequence together."""
    region = next(r for r in found.regions if r.name == factor.node)
    gates = ", ".join(dict.fromkeys(v.node for v in factor.axes))
    how = f"holes integrated out along {region.chain}, where they tie steps together"
    return Row(
        ", ".join(region.random), how, "exact", f"1 Gaussian for every course of {gates} there"
    )


INTEGRATED = {"region": _region_row, "conjugate": _conjugate_row, "stretch": _stretch_row}


def integrated_row(found: Elimination, factor: Factor) -> Row:
    """How nodes are integrated out."""
    return INTEGRATED[factor.kind](found, factor)


def summed_row(found: Elimination, step: Eliminate | Collect | Scan) -> Row:
    """How discrete variables are summed out."""
    sizes = found.sizes
    if isinstance(step, Eliminate):
        names = ", ".join(sorted(str(v) for v in step.clique))
        cost = f"{step.cost} entries a row ({names})"
        return Row(str(step.var), f"summed out in scope {step.message.scope}", "exact", cost)
    if isinstance(step, Collect):
        size = math.prod(sizes[v.node] for v in step.message.axes)
        return Row(step.scope, "product over the members", "exact", f"{size} entries a member")
    if isinstance(step, Segments):
        size = math.prod(sizes[v.node] for v in (step.state, *step.outer))
        how = f"cut into segments of {step.state} with explicit durations, forward and backward"
        cost = f"{size} D + {step.cost} terms a step, D the longest duration or sequence"
        return Row(step.label, how, "exact", cost)
    widest = max((math.prod(sizes[v.node] for v in c) for c in step.cliques), default=1)
    names = ", ".join(f"prev {v.node}" if v.lag == 1 else str(v) for v in step.sum_out)
    climbs = isinstance(step, Climb)
    way = "climbed up and down" if climbs else "scanned forward and backward"
    how = f"{way}, summing out {names} in this order" if names else way
    cost = f"{step.cost} entries summed a {'member' if climbs else 'step'}, "
    cost += f"the widest table {widest}"
    return Row(step.label, how, "exact", cost)


def _m_rows(analysis: Analysis) -> list[Row]:
    rows = []
    for block in analysis.blocks:
        free = sum(analysis.layout.params[name].n_free for name in block.params)
        exact = EXACTNESS.get(block.rung, "exact")
        rows.append(Row(", ".join(block.params), block.rung, exact, f"{free} free"))
    held = [name for name, p in analysis.layout.params.items() if not p.is_free]
    return rows + [Row(name, "fixed", "", "") for name in held]


def _notes(analysis: Analysis) -> list[str]:
    total = sum(p.n_free for p in analysis.layout.params.values())
    own = [_own_fit_note(analysis, block) for block in analysis.blocks if block.rung == OWN_FIT]
    priors = [
        f"'{name}' has a prior, {type(p.prior.family).__name__}{_linked(p.prior)}, whose statistic "
        "is added (MAP)"
        for name, p in analysis.layout.params.items()
        if p.prior is not None
    ]
    priors += [
        f"'{name}' has a lower bound, to which smaller values are raised"
        for name, p in analysis.layout.params.items()
        if p.lower is not None
    ]
    linked = [_link_note(analysis, block) for block in analysis.blocks if block.linked]
    return [f"{total} free parameters", *priors, *own, *linked, *_first_notes(analysis)]


def _first_notes(analysis: Analysis) -> list[str]:
    """Chains of Gaussian states whose first covariance a single sequence cannot tell."""
    found = []
    for region in analysis.regions:
        for component in [c for name in region.nodes for c in analysis.graph.firsts_of(name)]:
            family = analysis.layout.components[component.key].family
            spread = next(s.name for s in family.slots if s.role is not MEAN)
            slot = component.leaf.slots[spread]
            known = slot.kind == "param" and not analysis.layout.params[slot.name].is_free
            if region.chain and slot.kind == "param" and not known:
                tree = analysis.graph.scopes[region.chain].kind == "tree"
                alone = "root" if tree else "sequence"
                found.append(
                    f"'{slot.name}' is learned: with a single {alone} it collapses to 0; fix it "
                    "then, first=pg.Normal(0.0, 1.0) or first=pg.MvNormal(0.0, pg.identity(k))"
                )
    return found


def _linked(prior: Prior) -> str:
    """Which parameters stand in the slots of a prior."""
    names = [f"'{link.name}' as its {slot}" for slot, link in prior.links.items()]
    return f" with {' and '.join(names)}" if names else ""


def _own_fit_note(analysis: Analysis, block: Block) -> str:
    """What rests on the author of a family that was given by two functions, and what it keeps."""
    family = type(analysis.layout.components[block.components[0]].family).__name__
    return (
        f"{', '.join(block.params)}: that no step lowers the likelihood rests on the fit of "
        f"{family}; one float is kept per row and cell: {_kept(analysis, block.components)}"
    )


def _link_note(analysis: Analysis, block: Block) -> str:
    """What has no finite statistic, and what is kept instead."""
    families = [analysis.layout.components[key].family for key in block.linked]
    under = any(isinstance(family, Linked) and family.latent for family in families)
    return (
        f"{', '.join(block.regression)}: no finite statistic under a link; "
        + ("one float, or two beside a latent, is" if under else "one float is")
        + " kept per "
        f"row (equal ones count once) and cell: {_kept(analysis, block.linked)}"
    )


def _kept(analysis: Analysis, keys: Iterable[str]) -> str:
    """How many floats the E-step keeps."""
    kept = []
    for key in keys:
        gates = analysis.layout.components[key].cells.gates
        latent = [g for g in gates if g.kind == "node" and _is_axis(analysis, g.name)]
        sizes = [analysis.layout.sizes[g.name] for g in latent]
        if _is_axis(analysis, analysis.layout.components[key].component.node):
            sizes.append(analysis.layout.sizes[analysis.layout.components[key].component.node])
        kept.append(f"{math.prod(sizes)} per row of '{key}'")
    return ", ".join(kept)


def _is_axis(analysis: Analysis, node: str) -> bool:
    return is_axis(analysis.graph, analysis.schema, node)
