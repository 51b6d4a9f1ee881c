"""What of a model is exact, block by block, where not all of it is; and what holes would do.

An obstacle is found by the analysis itself: what cannot be eliminated is set aside as if the data
gave it, and the rest is analysed again, until nothing stands in the way.  So every obstacle is
found, and what does not meet one is shown as it would be run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pgem.analyse.conjugate import Conjugate, find_conjugates
from pgem.analyse.elimination import Schedule, make_schedule
from pgem.analyse.layout import find_sizes
from pgem.analyse.regions import Region, find_regions, is_axis, is_random
from pgem.declare import leaf_parents
from pgem.errors import IntractableError
from pgem.graph import ModelGraph, Schema


@dataclass(frozen=True, eq=False)
class Elimination:
    """How the unobserved variables of a model are eliminated.

    Attributes:
        graph: the model.
        schema: what the data told.
        sizes: number of values of each discrete variable.
        schedule: how the discrete ones are summed out.
        regions: Gaussian nodes that are integrated out together.
        conjugates: other latents that are integrated out under their children.
    """

    graph: ModelGraph
    schema: Schema
    sizes: Mapping[str, int]
    schedule: Schedule
    regions: Sequence[Region]
    conjugates: Sequence[Conjugate]


@dataclass(frozen=True, eq=False)
class Survey:
    """What is exact, and what is not.

    Attributes:
        rest: how all that is not refused is eliminated, as if what is refused were given.
        refused: the obstacles, in the order in which they were found.
    """

    rest: Elimination
    refused: list[IntractableError]

    def beside(self, names: Iterable[str]) -> list[str]:
        """The refused nodes that the posterior of some nodes hangs together with, in order."""
        graph, schema = self.rest.graph, self.rest.schema
        gone = {name for problem in self.refused for name in problem.blocks}
        linked = {near for name in names for near in (name, *_parents(graph, name))}
        unseen = gone | {
            n for n in graph.nodes if is_axis(graph, schema, n) or is_random(graph, schema, n)
        }
        families = [{name, *_parents(graph, name)} & unseen for name in graph.nodes]
        while touched := [f for f in families if f & linked and not f <= linked]:
            linked = linked.union(*touched)
        return [name for name in graph.nodes if name in linked & gone]


def _parents(graph: ModelGraph, name: str) -> set[str]:
    """All that a node depends on, at any step."""
    node = graph.nodes[name]
    gates = {gate.name for gate in node.gates() if gate.kind == "node"}
    return gates | {parent for leaf in node.leaves for parent, _ in leaf_parents(leaf)}


def survey(graph: ModelGraph, schema: Schema) -> Survey:
    """Set aside whatever cannot be eliminated, and see how the rest is.

    Raises:
        DeclarationError: sizes do not fit.
    """
    refused: list[IntractableError] = []
    while True:
        found, rest = _attempt(graph, schema)
        refused += found
        if rest is not None:
            return Survey(rest, refused)
        blocks = {name for problem in found for name in problem.blocks}
        assert blocks - schema.given, "an obstacle that blocks no node"
        schema = replace(
            schema,
            given=schema.given | blocks,
            open=schema.open - blocks,
            axes=schema.axes - blocks,
            evidence=schema.evidence - blocks,
            queries=(),
        )


def _attempt(
    graph: ModelGraph, schema: Schema
) -> tuple[list[IntractableError], Elimination | None]:
    """The obstacles, or, if there are none, the elimination."""
    found: list[IntractableError] = []
    conjugates = find_conjugates(graph, schema, found.append)
    apart = {name for block in conjugates for name in block.nodes}
    regions = find_regions(graph, schema, apart, found.append)
    if found:
        return found, None
    sizes = find_sizes(graph, schema)
    try:
        schedule = make_schedule(graph, schema, sizes, [*regions, *conjugates])
    except IntractableError as problem:
        return [problem], None
    return [], Elimination(graph, schema, sizes, schedule, regions, conjugates)
