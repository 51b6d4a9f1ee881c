"""Stage 3 of 7 — analyse: ModelGraph + Schema → Analysis (sizes, elimination order, M-step)."""

from __future__ import annotations

from dataclasses import dataclass

from pgem.analyse.blocks import Block, make_blocks
from pgem.analyse.conjugate import Conjugate, find_conjugates
from pgem.analyse.elimination import (
    Climb,
    Collect,
    Eliminate,
    Factor,
    Scan,
    Schedule,
    Segments,
    Step,
    Var,
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
from pgem.analyse.regions import Region, find_regions, is_axis, is_random
from pgem.analyse.survey import Elimination, Survey, survey
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
        regions: Gaussian nodes that are integrated out together.
        conjugates: other latents that are integrated out under their children.
    """

    graph: ModelGraph
    schema: Schema
    layout: Layout
    schedule: Schedule
    blocks: list[Block]
    regions: list[Region]
    conjugates: list[Conjugate]

    @property
    def elimination(self) -> Elimination:
        """The part that is about what is not observed."""
        return Elimination(
            self.graph, self.schema, self.layout.sizes, self.schedule, self.regions, self.conjugates
        )


def analyse(graph: ModelGraph, schema: Schema) -> Analysis:
    """Sizes, elimination order and M-step of a model.

    Raises:
        DeclarationError: sizes do not fit.
        IntractableError: no exact E-step within the limits.
    """
    conjugates = find_conjugates(graph, schema)
    regions = find_regions(graph, schema, {name for block in conjugates for name in block.nodes})
    layout = make_layout(graph, schema, regions)
    schedule = make_schedule(graph, schema, layout.sizes, [*regions, *conjugates])
    return Analysis(graph, schema, layout, schedule, make_blocks(layout), regions, conjugates)


__all__ = [
    "Analysis",
    "Block",
    "Climb",
    "Collect",
    "Conjugate",
    "Eliminate",
    "Elimination",
    "Factor",
    "Layout",
    "ParamLayout",
    "Region",
    "Scan",
    "Schedule",
    "Segments",
    "Settled",
    "Step",
    "Survey",
    "Transitions",
    "Var",
    "analyse",
    "gate_token",
    "is_axis",
    "is_random",
    "survey",
    "vector_sizes",
]
