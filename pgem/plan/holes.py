"""What missing values of each observed node would mean, as the report's last table.

A node that others depend on becomes a variable where it is missing, so the model is analysed with
it opened, just as for data with such holes; a node that nobody depends on is left out there.
"""

from __future__ import annotations

from dataclasses import replace

from pgem.analyse import Analysis, Elimination, Scan, Survey, Var, survey
from pgem.graph import NodeOutline, Schema, make_outline
from pgem.plan.report import REFUSED, Row, integrated_row, reasons, summed_row


def hole_rows(analysis: Analysis) -> tuple[Row, ...]:
    """One row per observed node and covariate, equal ones together."""
    outline, found = make_outline(analysis.graph), dict[tuple[str, ...], list[str]]()
    for name, node in outline.nodes.items():
        if node.kind == "observed":
            row = _row(analysis, node)
            found.setdefault((row.how, row.exact, row.cost), []).append(name)
    if outline.covariates:
        found["must be complete: they are conditioned on", REFUSED, ""] = [*outline.covariates]
    return tuple(Row(", ".join(names), *told) for told, names in found.items())


def _row(analysis: Analysis, node: NodeOutline) -> Row:
    row = _opened(analysis, node) if node.is_opened_by_holes else _left_out(analysis, node)
    if not node.conditioned or row.exact == REFUSED:
        return row
    first = f"the first {node.lag} values" if node.lag > 1 else "the first value"
    where = "of a root" if analysis.graph.scopes[node.scope].kind == "tree" else "of a sequence"
    return replace(row, how=f"{row.how}; {first} {where} must be there")


def _left_out(analysis: Analysis, node: NodeOutline) -> Row:
    """A node that nobody depends on: its conditional integrates to one."""
    families = [
        settled.family
        for settled in analysis.layout.components.values()
        if settled.component.node == node.name
    ]
    if any(node.name in region.nodes for region in analysis.regions):
        how = "left out of the joint Gaussian, cell by cell"
    elif not any(family.event_ndim for family in families):
        how = "left out of the product"
    elif all(family.takes_partial for family in families):
        how = "left out of the product; single coordinates are integrated out"
    else:
        how = "left out of the product, as a whole only"
    return Row(node.name, how, "exact", "")


def _opened(analysis: Analysis, node: NodeOutline) -> Row:
    """A node that others depend on: it is a latent variable where it is missing."""
    found = survey(analysis.graph, with_holes(analysis.schema, node))
    if found.refused:
        return Row(node.name, _reasons_beside(found, node.name), REFUSED, "")
    how, exact, cost = _eliminated(found.rest, node.name)
    return Row(node.name, how, exact, cost)


def with_holes(schema: Schema, node: NodeOutline) -> Schema:
    """The schema of data in which some values of a node that others depend on are missing."""
    name = frozenset({node.name})
    if node.finite:
        return replace(schema, axes=schema.axes | name, evidence=schema.evidence | name)
    return replace(schema, open=schema.open | name)


def _reasons_beside(found: Survey, name: str) -> str:
    """What stands in the way; of other nodes that holes put there, with their names."""
    told = []
    for names, text in reasons(found):
        told.append(text if names == (name,) else f"{', '.join(names)}: {text}")
    return "; ".join(told)


def _eliminated(found: Elimination, name: str) -> tuple[str, str, str]:
    """How a variable is eliminated: what the report of data with holes says of it."""
    for factor in found.schedule.factors:
        inside = [r for r in found.regions if r.name == factor.node and name in r.nodes]
        if inside and factor.kind in ("region", "stretch"):
            row = integrated_row(found, factor)
            return row.how, row.exact, row.cost
    for step in found.schedule.steps:
        scanned = isinstance(step, Scan) and name in {v.node for v in (*step.sum_out, *step.shift)}
        if scanned or getattr(step, "var", None) == Var(name):
            row = summed_row(found, step)
            return row.how, row.exact, row.cost
    return "one more axis", "exact", ""
