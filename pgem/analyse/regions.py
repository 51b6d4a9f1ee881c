"""Regions: connected Gaussian latents with their children, integrated out as one factor.

A region is a connected set of linear-Gaussian nodes, some of them random (latent, or observed with
holes while others depend on them).  Given the discrete variables that gate it, it is one joint
Gaussian, so it leaves a table over these variables, in the scope where its outermost latent lives
(for a chain of states, in the scope around the sequence).

Where only holes of observed nodes are random, and gates change along the sequence, values that are
seen cut the sequence up: a region is then integrated out stretch by stretch, each over the gates of
its own steps.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

from pgem.analyse.alternatives import discrete_parent, gate_outside, latent_inside, suggest
from pgem.analyse.refuse import Refuse, stop
from pgem.declare import Gate, leaf_parents
from pgem.errors import IntractableError
from pgem.graph import Component, ModelGraph, Schema


@dataclass(frozen=True)
class Region:
    """Linear-Gaussian nodes that are integrated out together.

    Attributes:
        name: its first random node.
        nodes: all of its nodes, parents first.
        home: the scope whose rows its table has.
        chain: the sequence that its states run along, or "".
        gates: discrete variables that gate it: node and lag.
        in_stretches: whether only the stretches of the chain that holes tie together are
            integrated out, and the nodes have tables of their own elsewhere.
    """

    name: str
    nodes: tuple[str, ...]
    home: str
    chain: str
    gates: tuple[tuple[str, int], ...]
    in_stretches: bool = False


def is_axis(graph: ModelGraph, schema: Schema, node: str) -> bool:
    """Whether a node is summed over (otherwise it is an index or a leaf)."""
    record = graph.nodes[node]
    if node in schema.given or not graph.is_finite(node):
        return False
    return record.kind == "latent" or node in schema.axes


def is_random(graph: ModelGraph, schema: Schema, name: str) -> bool:
    """Whether a node with infinitely many values is integrated over."""
    if name in schema.given:
        return False
    return name in schema.open or (graph.nodes[name].kind == "latent" and not graph.is_finite(name))


def find_regions(
    graph: ModelGraph, schema: Schema, apart: Container[str] = (), refuse: Refuse = stop
) -> list[Region]:
    """All regions, by their first node.

    Args:
        graph: the model.
        schema: what the data told.
        apart: nodes that are integrated out otherwise.
        refuse: told of every obstacle.

    Raises:
        IntractableError: a region is not linear-Gaussian, or gated from inside.
    """
    random = {n for n in graph.nodes if is_random(graph, schema, n) and n not in apart}
    groups: list[set[str]] = []
    for name in graph.nodes:
        linked = {parent for parent, _ in _parents(graph, name) if parent in random}
        if name in random or linked:
            new = {name} | linked
            touched = [group for group in groups if group & new]
            groups = [g for g in groups if g not in touched] + [new.union(*touched)]
            for problem in _not_linear(graph, schema, name, linked):
                refuse(problem)
    order = list(graph.nodes)
    groups.sort(key=lambda group: min(map(order.index, group)))
    return [_region(graph, schema, sorted(g, key=order.index), random, refuse) for g in groups]


def _parents(graph: ModelGraph, name: str) -> list[tuple[str, int]]:
    """Nodes multiplied into any slot of any component of a node."""
    components = [*graph.leaves_of(name), *graph.firsts_of(name)]
    times = [slot.times for c in components for slot in c.leaf.slots.values() if slot.times]
    return [(t.parent, t.lag) for t in times if t.parent]


def _not_linear(
    graph: ModelGraph, schema: Schema, name: str, parents: set[str]
) -> Iterator[IntractableError]:
    """A node of a region is Gaussian; its latent parents stand in its mean."""
    node = graph.nodes[name]
    for component in [*graph.leaves_of(name), *graph.firsts_of(name)]:
        if not component.family.gaussian:
            beside = parents - {p for p, _ in leaf_parents(component.leaf)}
            if node.switch is not None and beside:
                yield _other_family(graph, name, component, sorted(beside))
            else:
                family = type(component.family).__name__
                yield _not_gaussian(graph, schema, name, family, parents)
            continue
        for slot_name, slot in component.leaf.slots.items():
            if slot.times is not None and slot.times.parent in parents and not _linear(slot_name):
                yield IntractableError(
                    f"node '{name}' has the latent '{slot.times.parent}' in its slot '{slot_name}'",
                    where=node.origin,
                    expected="a Gaussian latent in the mean: there the posterior stays Gaussian",
                    advice=f"pg.Normal(mean=pg.param('loading') * {slot.times.parent})",
                    blocks=[slot.times.parent],
                    because=f"stands in '{slot_name}' of '{name}', not in its mean",
                )


def _linear(slot: str) -> bool:
    return slot.rpartition("_")[2].isdigit()


def _not_gaussian(
    graph: ModelGraph, schema: Schema, name: str, family: str, parents: set[str]
) -> IntractableError:
    node = graph.nodes[name]
    holed = [parent for parent in sorted(parents) if graph.nodes[parent].kind == "observed"]
    if holed:
        return IntractableError(
            f"'{holed[0]}' has {schema.holes_of(holed[0])}, and node '{name}' ({family}) depends "
            "on these values: their posterior has no closed form",
            where=node.origin,
            expected=f"complete values of '{holed[0]}'",
            advice=f"leave out the units in which '{holed[0]}' has holes, or fill these beforehand",
            blocks=sorted(parents),
            because=f"'{name}' below it is {family}",
        )
    if parents:
        latent = min(parents)
        return IntractableError(
            f"node '{name}' is {family} and depends on the Gaussian latent '{latent}': their "
            "posterior has no closed form",
            where=node.origin,
            expected=f"a Gaussian child of '{latent}', or a latent that is conjugate to {family}",
            received=f"'{family}'",
            advice=suggest(
                f"a discrete latent '{latent}' is exact for every family",
                graph,
                discrete_parent(graph, latent, name),
            ),
            blocks=sorted(parents),
            because=f"'{name}' below it is {family}",
        )
    return IntractableError(
        f"node '{name}' is {family} and has {schema.holes_of(name)}, and other nodes are "
        "multiplied by it: what it may be there has infinitely many values and is not Gaussian",
        where=node.origin,
        expected=f"complete values of '{name}', or a Gaussian node",
        advice=f"leave the rows without '{name}' out, or declare it as a covariate",
        blocks=[name],
        because=f"is {family}, and others are multiplied by it",
    )


def _other_family(
    graph: ModelGraph, name: str, component: Component, parents: list[str]
) -> IntractableError:
    """A component of a switch that is not Gaussian, beside one that knows a Gaussian latent."""
    family, number = type(component.family).__name__, component.key.rpartition(".")[2]
    return IntractableError(
        f"component {number} of the switch '{name}' is {family}, and another component depends on "
        f"the Gaussian latent '{parents[0]}': all components are integrated together",
        where=graph.nodes[name].origin,
        expected="Gaussian components, with or without the latent in their means",
        received=f"'{family}'",
        advice=f"pg.Normal(mean=pg.param('{name}_mean'), var=pg.param('{name}_var')) instead of "
        f"pg.{family}(...): a wide Normal takes what is far from the others",
        blocks=parents,
        because=f"component {number} of '{name}' is {family}",
    )


def _region(
    graph: ModelGraph, schema: Schema, nodes: list[str], random: set[str], refuse: Refuse
) -> Region:
    inside = [name for name in nodes if name in random]
    top = min((graph.nodes[n].scope for n in inside), key=lambda s: len(graph.path(s)))
    chains = {
        graph.nodes[n].scope
        for n in nodes
        for parent, lag in _parents(graph, n)
        if lag and parent in random
    }
    if len(chains) > 1:
        along = " and ".join(map(repr, sorted(chains)))
        refuse(
            IntractableError(
                f"the latents {', '.join(map(repr, inside))} run along two sequences",
                where=graph.nodes[inside[0]].origin,
                received=along,
                expected="one sequence",
                blocks=inside,
                because=f"run along {along} together",
            )
        )
    chain = min(chains, default="")
    home = graph.scopes[chain].parent if chain == top else top
    gates = _axis_gates(graph, schema, nodes)
    variables = tuple(dict.fromkeys((gate.name, gate.lag) for _, gate in gates))
    for name, gate in gates:
        if graph.nodes[gate.name].scope not in graph.path(home):
            if _falls_apart(graph, nodes, inside, chain):
                return Region(inside[0], tuple(nodes), chain, chain, variables, True)
            refuse(_gated_inside(graph, _states_first(graph, inside, nodes), name, gate, chain))
    return Region(inside[0], tuple(nodes), home, chain, variables)


def _states_first(graph: ModelGraph, inside: list[str], nodes: list[str]) -> list[str]:
    """The random nodes of a region, first those that later steps look back at."""
    links = {pair for name in nodes for pair in _parents(graph, name)}
    states = {parent for parent, lag in links if lag}
    return sorted(inside, key=lambda name: name not in states)


def _falls_apart(graph: ModelGraph, nodes: list[str], inside: list[str], chain: str) -> bool:
    """Whether values that are seen cut a region's sequence up into stretches."""
    if not chain or graph.scopes[chain].kind != "sequence":  # branches tie too many members
        return False
    seen = all(graph.nodes[name].kind == "observed" for name in inside)
    return seen and all(graph.nodes[name].scope == chain for name in nodes)


def _axis_gates(graph: ModelGraph, schema: Schema, nodes: list[str]) -> list[tuple[str, Gate]]:
    """Gates that are summed over, with a node that they gate."""
    found = []
    for name in nodes:
        switch = graph.nodes[name].switch
        picks = switch.base() if switch is not None else ()
        found += [(name, g) for g in picks if g.kind == "node" and is_axis(graph, schema, g.name)]
        for component in [*graph.leaves_of(name), *graph.firsts_of(name)]:
            for slot in component.leaf.slots.values():
                gates = [base for gate in slot.gates for base in gate.base()]
                found += [
                    (name, gate)
                    for gate in gates
                    if gate.kind == "node" and is_axis(graph, schema, gate.name)
                ]
    return found


def _gated_inside(
    graph: ModelGraph, inside: list[str], name: str, gate: Gate, chain: str
) -> IntractableError:
    where, scope = graph.nodes[name].origin, graph.nodes[gate.name].scope
    latent = graph.nodes[inside[0]]
    if chain and graph.nodes[gate.name].scope == chain:
        holed, tree = latent.kind == "observed", graph.scopes[chain].kind == "tree"
        missed = graph.nodes[gate.name].kind == "observed"
        return IntractableError(
            (f"'{inside[0]}' has holes, so it is a state like a latent one: " if holed else "")
            + (f"'{gate.name}' has holes, so it is summed over: " if missed else "")
            + f"node '{name}' is gated by '{gate.name}', which changes from "
            + ("member to member" if tree else "step to step")
            + f", while the continuous state '{inside[0]}' runs along the same "
            + ("tree" if tree else "sequence")
            + " (a switching linear dynamical system): the exact posterior is a mixture that "
            f"doubles at every {'member' if tree else 'step'}",
            where=where,
            expected=f"gates of a Gaussian {'tree' if tree else 'chain'} that are observed, or "
            f"live outside '{chain}'" + (f", or complete values of '{inside[0]}'" if holed else ""),
            advice=suggest(
                (
                    f"cut the {'trees' if tree else 'sequences'} at the holes of '{inside[0]}'"
                    if holed
                    else f"give '{inside[0]}' no lag (a hidden Markov model with a Gaussian factor)"
                )
                + f", or declare '{gate.name}' outside pg.{graph.scopes[chain].kind}('{chain}') "
                "(a mixture)",
                graph,
                gate_outside(graph, inside[0], gate.name, chain),
            ),
            blocks=inside,
            because=f"'{gate.name}', which gates '{name}', changes along '{chain}' too",
        )
    return IntractableError(
        f"node '{name}' depends on the continuous latent '{inside[0]}' of scope '{latent.scope}' "
        f"and is gated by '{gate.name}' of the inner scope '{scope}': the exact posterior of "
        f"'{inside[0]}' is a mixture over all members' values of '{gate.name}' together",
        where=where,
        expected=f"gates that live with '{inside[0]}' or around it, or are observed",
        advice=suggest(
            f"declare '{gate.name}' outside '{scope}', or '{inside[0]}' inside it",
            graph,
            latent_inside(graph, inside[0], name, gate.name),
        ),
        blocks=inside,
        because=f"'{gate.name}' of the inner scope '{scope}' gates '{name}'",
    )
