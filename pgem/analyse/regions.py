"""Regions: connected Gaussian latents with their children, integrated out as one factor.

A region is a connected set of linear-Gaussian nodes, some of them random (latent, or observed with
holes while others depend on them).  Given the discrete variables that gate it, it is one joint
Gaussian, so it leaves a table over these variables, in the scope where its outermost latent lives
(for a chain of states, in the scope around the sequence).

Where only holes of observed nodes tie steps together, and gates change along the sequence, values
that are seen cut the sequence up: a region is then integrated out stretch by stretch, each over the
gates of its own steps.  Latents that live in one step only are part of the stretches; in all other
steps they and their children are regions of their own.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

from pgem.analyse.alternatives import discrete_parent, gate_outside, latent_inside, suggest
from pgem.analyse.refuse import Refuse, stop
from pgem.declare import Gate, leaf_parents
from pgem.errors import IntractableError
from pgem.graph import Component, ModelGraph, Schema


@dataclass(frozen=True)
class Region:
    """Linear-Gaussian nodes that are integrated out together.

    Attributes:
        name: its first random node; of stretches the first that is observed.
        nodes: all of its nodes, parents first.
        home: the scope whose rows its table has.
        chain: the sequence that its states run along, or "".
        gates: discrete variables that gate it: node and lag.
        in_stretches: whether only the stretches of the chain that holes tie together are
            integrated out, and the nodes have tables of their own elsewhere.
        random: those of the nodes that are integrated over.
        around: the region whose stretches are left out, or "".
    """

    name: str
    nodes: tuple[str, ...]
    home: str
    chain: str
    gates: tuple[tuple[str, int], ...]
    in_stretches: bool = False
    random: tuple[str, ...] = ()
    around: str = ""


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
    found = []
    for group in _groups(graph, schema, list(graph.nodes), random, refuse):
        region = _region(graph, schema, group, random, refuse)
        found.append(region)
        latents = {n for n in region.random if graph.nodes[n].kind == "latent"}
        if region.in_stretches and latents:
            found += [
                replace(_region(graph, schema, nodes, latents, refuse), around=region.name)
                for nodes in _groups(graph, schema, group, latents, refuse)
            ]
    return found


def _groups(
    graph: ModelGraph, schema: Schema, names: list[str], random: set[str], refuse: Refuse
) -> list[list[str]]:
    """Nodes that hang together through random ones, in order."""
    groups: list[set[str]] = []
    for name in names:
        linked = {parent for parent, _ in _parents(graph, name) if parent in random}
        if name in random or linked:
            new = {name} | linked
            touched = [group for group in groups if group & new]
            groups = [g for g in groups if g not in touched] + [new.union(*touched)]
            for problem in _not_linear(graph, schema, name, linked):
                refuse(problem)
    groups.sort(key=lambda group: min(map(names.index, group)))
    return [sorted(group, key=names.index) for group in groups]


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
                    f"node '{name}' has {_unseen(graph, schema, slot.times.parent)} in its slot "
                    f"'{slot_name}'",
                    where=node.origin,
                    expected="a Gaussian latent in the mean: there the posterior stays Gaussian",
                    advice=f"pg.Normal(mean=pg.param('loading') * {slot.times.parent})",
                    blocks=[slot.times.parent],
                    because=f"stands in '{slot_name}' of '{name}', not in its mean",
                )


def _unseen(graph: ModelGraph, schema: Schema, name: str) -> str:
    """A node that is integrated over, in words."""
    if graph.nodes[name].kind == "latent":
        return f"the latent '{name}'"
    return f"'{name}', which has {schema.holes_of(name)},"


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
            why_not = _kept_together(graph, nodes, inside, chain)
            if not why_not:
                first = next(n for n in inside if graph.nodes[n].kind == "observed")
                return Region(first, tuple(nodes), chain, chain, variables, True, tuple(inside))
            states = _states_first(graph, inside, nodes)
            refuse(_gated_inside(graph, schema, states, name, gate, chain, why_not))
    return Region(inside[0], tuple(nodes), home, chain, variables, random=tuple(inside))


def _states_first(graph: ModelGraph, inside: list[str], nodes: list[str]) -> list[str]:
    """The random nodes of a region, those that later steps look back at first, latents ahead."""
    links = {pair for name in nodes for pair in _parents(graph, name)}
    states = {parent for parent, lag in links if lag}
    return sorted(inside, key=lambda name: (name not in states, graph.nodes[name].kind != "latent"))


def _kept_together(graph: ModelGraph, nodes: list[str], inside: list[str], chain: str) -> str:
    """Why values that are seen do not cut a region's sequence up into stretches; "" if they do."""
    if not chain:
        return "it belongs to no sequence or tree"
    latents = [name for name in inside if graph.nodes[name].kind == "latent"]
    holed = [name for name in inside if name not in latents]
    for name in latents:
        if any((name, lag) in _parents(graph, other) for other in nodes for lag in range(1, 9)):
            return f"the latent '{name}' hands on a state of its own from step to step"
        above = [parent for parent, _ in _parents(graph, name) if parent in holed]
        if above:
            return f"the latent '{name}' depends on '{above[0]}' and its holes"
    for name in nodes:
        if graph.nodes[name].scope != chain:
            return f"'{name}' depends on it and lives in '{graph.nodes[name].scope}'"
    return ""


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
    graph: ModelGraph,
    schema: Schema,
    inside: list[str],
    name: str,
    gate: Gate,
    chain: str,
    why_not: str,
) -> IntractableError:
    where, first = graph.nodes[name].origin, inside[0]
    holed, scope = graph.nodes[first].kind == "observed", graph.nodes[gate.name].scope
    if chain and scope == chain:
        tree = graph.scopes[chain].kind == "tree"
        member, along = ("member", "tree") if tree else ("step", "sequence")
        missed = graph.nodes[gate.name].kind == "observed"
        state = f"'{first}' has {schema.holes_of(first)}, so it is a state like a latent one: "
        return IntractableError(
            (state if holed else "")
            + (f"'{gate.name}' has holes, so it is summed over: " if missed else "")
            + f"node '{name}' is gated by '{gate.name}', which changes from {member} to {member}, "
            f"while the continuous state '{first}' runs along the same {along} (a switching linear "
            f"dynamical system): the exact posterior is a mixture that doubles at every {member}"
            + (f"; values that are seen do not end it, since {why_not}" if holed else ""),
            where=where,
            expected=f"gates of a Gaussian {'tree' if tree else 'chain'} that are observed, or "
            f"live outside '{chain}'" + (f", or complete values of '{first}'" if holed else ""),
            advice=suggest(
                (
                    f"cut the {along}s at the holes of '{first}'"
                    if holed
                    else f"give '{first}' no lag (a hidden Markov model with a Gaussian factor)"
                )
                + f", or declare '{gate.name}' outside pg.{graph.scopes[chain].kind}('{chain}') "
                "(a mixture)",
                graph,
                gate_outside(graph, first, gate.name, chain),
            ),
            blocks=inside,
            because=f"'{gate.name}', which gates '{name}', changes along '{chain}' too",
        )
    home = graph.nodes[first].scope
    what = f"the continuous latent '{first}'"
    what = f"'{first}', which has {schema.holes_of(first)}," if holed else what
    return IntractableError(
        f"node '{name}' depends on {what} of scope '{home}' and is gated by '{gate.name}' of the "
        f"inner scope '{scope}': the exact posterior of '{first}' is a mixture over all members' "
        f"values of '{gate.name}' together",
        where=where,
        expected=f"gates that live with '{first}' or around it, or are observed"
        + (f", or complete values of '{first}'" if holed else ""),
        advice=suggest(
            f"declare '{gate.name}' outside '{scope}', or '{first}' inside it"
            + (f", or leave out the units in which '{first}' has holes" if holed else ""),
            graph,
            latent_inside(graph, first, name, gate.name),
        ),
        blocks=inside,
        because=f"'{gate.name}' of the inner scope '{scope}' gates '{name}'",
    )
