"""Stage 3 of 7 — analyse: ModelGraph + Schema → Analysis (sizes, elimination order, M-step)."""

from __future__ import annotations

from dataclasses import dataclass

from pgem.analyse.blocks import Block, make_blocks
from pgem.analyse.elimination import (
    Collect,
    Eliminate,
    Factor,
    Scan,
    Schedule,
    Segments,
    Step,
    Var,
    is_axis,
    make_schedule,
)
from pgem.analyse.layout import (
    Layout,
    ParamLayout,
    Settled,
    Transitions,
    gate_token,
    make_layout,
    vector_sizes,
)
from pgem.graph import ModelGraph, Schema


@dataclass(frozen=True, eq=False)
class Analysis:
    """What the compiler found out.

    Attributes:
        graph: the model.
        schema: what the data told.
        layout: sizes.
        schedule: how the latents are eliminated.
        blocks: how the parameters are solved.
    """

    graph: ModelGraph
    schema: Schema
    layout: Layout
    schedule: Schedule
    blocks: list[Block]


def analyse(graph: ModelGraph, schema: Schema) -> Analysis:
    """Sizes, elimination order and M-step of a model.

    Raises:
        DeclarationError: sizes do not fit.
        IntractableError: no exact E-step within the limits.
    """
    layout = make_layout(graph, schema)
    schedule = make_schedule(graph, schema, layout.sizes)
    return Analysis(graph, schema, layout, schedule, make_blocks(layout))


__all__ = [
    "Analysis",
    "Block",
    "Collect",
    "Eliminate",
    "Factor",
    "Layout",
    "ParamLayout",
    "Scan",
    "Schedule",
    "Segments",
    "Settled",
    "Step",
    "Transitions",
    "Var",
    "analyse",
    "gate_token",
    "is_axis",
    "vector_sizes",
]
