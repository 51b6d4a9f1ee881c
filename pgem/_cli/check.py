"""What `pgem check` says: what compiles, at which cost, and what was read."""

from __future__ import annotations

from typing import Any

from pgem import Model
from pgem.declare import UNIT
from pgem.plan import Program
from pgem.result import as_mapping
from pgem.result.facts import count_observations
from pgem.run import Bound, Columns, read_data


def check_program(model: Model, program: Program) -> str:
    """The compiler's report under a headline."""
    nodes = [f"{node.name} ({node.kind})" for node in model.record.nodes]
    head = f"model '{model.name}' compiles: {', '.join(nodes)}"
    return f"{head}\n\n{program.report}"


def check_data(program: Program, data: Any, weights: Any = None) -> str:
    """What the data hold, node by node; values outside a support raise.

    Raises:
        DataError: the data do not fit.
    """
    mapping, own = as_mapping(data, program.outline)
    weights = own if weights is None else weights
    columns = read_data(mapping, program.outline, weights=weights)
    Bound(program, columns)
    n_units, total = columns.n_units, columns.weights.sum()
    lines = ["Data", f"  {n_units} unit{'s' * (n_units != 1)}"]
    if weights is not None:
        lines[-1] += f", of total weight {total:g}"
    lines[-1] += f", {count_observations(columns):g} observations"
    lines += [f"  {_scope(columns, name)}" for name in program.outline.scopes if name != UNIT]
    return "\n".join([*lines, *(f"  {_node(columns, name)}" for name in program.outline.nodes)])


def _scope(columns: Columns, name: str) -> str:
    scope = columns.outline.scopes[name]
    unit = "steps" if scope.kind == "sequence" else "members"
    counts = columns.starts[name][1:] - columns.starts[name][:-1]
    spread = f"{counts.min()} to {counts.max()}" if len(counts) else "none"
    if len(counts) and counts.min() == counts.max():
        spread = str(counts.min())
    return f"{scope.kind} '{name}': {columns.n_rows(name)} {unit}, {spread} each"


def _node(columns: Columns, name: str) -> str:
    node = columns.outline.nodes[name]
    if not columns.has(name):
        return f"{node.kind} '{name}': no values" + (
            "" if node.kind == "latent" else ", wholly missing"
        )
    holes = int(columns.missing(name).sum())
    kind = f"{columns.sizes[name]} categories" if name in columns.sizes else "numbers"
    if name in columns.levels:
        kind += f" ({', '.join(map(str, columns.levels[name]))})"
    values = columns.missing(name)
    shape = f", vectors of {values.shape[1]}" if values.ndim > 1 else ""
    return f"{node.kind} '{name}': {kind}{shape}, {values.size - holes} cells, {holes} missing"
