"""Joint draws of everything that is not seen, from its posterior.

Discrete nodes are drawn by the sampling semiring, Gaussian ones from their joint posterior given
these; what is left (missing values that nothing else depends on) is drawn given its gates.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.declare import UNIT
from pgem.errors import DataError
from pgem.graph import Schema
from pgem.plan import Program
from pgem.result.containers import labelled, nest, unweighted
from pgem.result.facts import total_nodes
from pgem.result.rows import Rows
from pgem.result.sample import Sampler
from pgem.routines import Semiring
from pgem.run import Bound, Codes, Columns, Numbers, answer, make_schema


def draw(
    program: Program, columns: Columns, params: dict[str, Floats], generator: Generator
) -> dict[str, Any]:
    """One joint draw of all latent nodes and all holes, in the containers of the data.

    Args:
        program: the program for these data.
        columns: the data.
        params: parameters by name.
        generator: source of random numbers.

    Raises:
        DataError: a row total is missing, which a draw conditions on.
    """
    wanted = [
        name
        for name, node in program.outline.nodes.items()
        if node.kind == "latent" or _has_holes(columns, name)
    ]
    filled = fill(program, unweighted(columns), params, generator)
    return {
        name: nest(filled, program.outline.nodes[name].scope, _values(filled, name))
        for name in wanted
    }


def fill(
    program: Program, columns: Columns, params: dict[str, Floats], generator: Generator
) -> Columns:
    """The data with every latent node and every hole drawn."""
    schema = _schema(program, columns)
    axes = [v.node for v in program.variant(schema).analysis.schedule.positions if not v.lag]
    queries = tuple(((name, 0),) for name in axes)
    bound = Bound(program.variant(replace(schema, queries=queries)), columns, asked="draws")
    found = answer(bound, params, Semiring("sample", generator), modes=range(len(queries)))
    # copies: what is left is filled in place
    codes = {name: values.copy() for name, values in columns.codes.items()}
    numbers = {name: values.copy() for name, values in columns.numbers.items()}
    for name, drawn in zip(axes, found.tables, strict=True):
        codes[name] = Codes(drawn.astype(np.int64))
    for name, drawn in found.draws.items():
        part = next(p for p in program.parts.values() if p.node == name)
        drawn = drawn if part.family.event_shape else drawn[:, 0]
        if name in numbers:
            seen = numbers[name][:]
            drawn = np.where(np.isnan(seen), drawn, seen)
        numbers[name] = Numbers(drawn)
    drawn_so_far = replace(columns, codes=codes, numbers=numbers)
    for name in total_nodes(program):
        if _has_holes(drawn_so_far, name):
            raise DataError(
                f"node '{name}' has holes (the first in {drawn_so_far.first_hole(name)}), whose "
                "row totals are not known",
                where=program.outline.nodes[name].origin,
                expected="whole rows: a draw conditions on their totals",
            )
    sampler = Sampler(program, params, Rows(drawn_so_far, {}), generator)
    for scope in [UNIT, *program.outline.scopes]:
        sampler.fill(scope)
    return sampler.columns


def _schema(program: Program, columns: Columns) -> Schema:
    """All Gaussian nodes with holes are integrated over, so that they are drawn jointly."""
    schema = make_schema(columns, holes_as_axes=True)
    opened = {
        name
        for name, node in program.outline.nodes.items()
        if node.kind == "observed"
        and all(family.gaussian for family in node.families)
        and _has_holes(columns, name)
    }
    vectors = {**program.schema.vectors, **schema.vectors}
    return replace(schema, open=schema.open | opened, vectors=vectors)


def _has_holes(columns: Columns, name: str) -> bool:
    return columns.has_holes(name)


def _values(columns: Columns, name: str) -> Any:
    if name in columns.codes:
        return labelled(columns, name, columns.codes[name][:])
    return columns.numbers[name][:]
