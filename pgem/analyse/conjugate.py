"""Conjugate latents: a latent and the children whose densities are linear in its statistics.

One latent u per row of its scope, its children there or in plates and sequences inside.  Given the
discrete variables that gate them, each child adds to the natural parameters of u, so u is
integrated out in closed form and leaves a table over the gates, in the latent's scope.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pgem.analyse.alternatives import indexed_by_document, latent_inside, suggest, without
from pgem.analyse.refuse import Refuse, stop
from pgem.analyse.regions import is_axis, is_random
from pgem.declare import Gate, SlotRecord, slot_of
from pgem.errors import IntractableError
from pgem.families import Family, Slot
from pgem.families._roles import RATE
from pgem.graph import Component, ModelGraph, Schema


@dataclass(frozen=True)
class Conjugate:
    """A latent that is integrated out under conjugate children.

    Attributes:
        name: the latent.
        children: the nodes below it, in order.
        home: its scope.
        gates: discrete variables that gate it or its children: node and lag.
    """

    name: str
    children: tuple[str, ...]
    home: str
    gates: tuple[tuple[str, int], ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """The latent and its children."""
        return (self.name, *self.children)


def find_conjugates(graph: ModelGraph, schema: Schema, refuse: Refuse = stop) -> list[Conjugate]:
    """All conjugate latents, in order.

    Args:
        graph: the model.
        schema: what the data told.
        refuse: told of every obstacle.

    Raises:
        IntractableError: a continuous latent that is not Gaussian has no closed posterior.
    """
    latents = [name for name in graph.nodes if _is_candidate(graph, schema, name)]
    found = [_conjugate(graph, schema, name, refuse) for name in latents]
    for problem in _shared(graph, found):
        refuse(problem)
    return found


def _is_candidate(graph: ModelGraph, schema: Schema, name: str) -> bool:
    """Whether a node is a continuous latent that is not Gaussian."""
    gaussian = all(component.family.gaussian for component in graph.leaves_of(name))
    latent = graph.nodes[name].kind == "latent"
    return latent and is_random(graph, schema, name) and not gaussian


def _conjugate(graph: ModelGraph, schema: Schema, name: str, refuse: Refuse) -> Conjugate:
    node = graph.nodes[name]
    family = graph.leaves_of(name)[0].family
    children = tuple(n for n in graph.nodes if name in {p for p, _ in graph.nodes[n].parents()})
    for problem in _not_closed(graph, name, family):
        refuse(problem)
    for child in children:
        for problem in _not_conjugate(graph, schema, name, family, child):
            refuse(problem)
    gates = []
    for member in (name, *children):
        for gate in _gates(graph, member):
            if gate.kind == "node" and is_axis(graph, schema, gate.name):
                if graph.nodes[gate.name].scope not in graph.path(node.scope):
                    refuse(_gated_inside(graph, name, member, gate))
                gates.append((gate.name, gate.lag))
    return Conjugate(name, children, node.scope, tuple(dict.fromkeys(gates)))


def _gates(graph: ModelGraph, name: str) -> list[Gate]:
    """All gates of a node, its first steps' included."""
    slots = [slot for c in graph.firsts_of(name) for slot in c.leaf.slots.values()]
    firsts = [base for slot in slots for gate in slot.gates for base in gate.base()]
    return list(dict.fromkeys([*graph.nodes[name].gates(), *firsts]))


# --- the latent ---------------------------------------------------------------------------------


def _not_closed(graph: ModelGraph, name: str, family: Family) -> Iterator[IntractableError]:
    """Why a latent has no closed posterior, whatever its children."""
    node, kind = graph.nodes[name], type(family).__name__
    if not family.is_conjugate:
        yield IntractableError(
            f"latent node '{name}' is {kind}: it has infinitely many values, is not Gaussian, and "
            "no child is known to keep its posterior closed",
            where=node.origin,
            expected="a latent with finitely many values, a Gaussian one, or a conjugate one "
            "(Gamma for rates and precisions, Beta and Dirichlet for probabilities)",
            advice=f"pg.latent('{name}', pg.Categorical(size=5)), "
            f"pg.latent('{name}', pg.Normal()) or pg.latent('{name}', pg.Gamma())",
            blocks=[name],
            because=f"is {kind}, which no child keeps closed",
        )
    if family.size is not None and not family.event_ndim:
        yield IntractableError(
            f"latent node '{name}' is a vector of independent {kind} values",
            where=node.origin,
            expected="one value per row",
            advice=f"with pg.plate('item', size={family.size}): pg.latent('{name}', pg.{kind}())",
            blocks=[name],
            because=f"is a vector of independent {kind} values",
        )
    leaves = [c.leaf for c in [*graph.leaves_of(name), *graph.firsts_of(name)]]
    if any(slot.times for leaf in leaves for slot in leaf.slots.values()):
        yield IntractableError(
            f"latent node '{name}' is {kind} and depends on covariates or other nodes: its "
            "posterior is of no known family",
            where=node.origin,
            expected=f"a {kind} whose parameters are indexed by discrete nodes",
            advice=f"pg.latent('{name}', pg.{kind}(), given=...), and covariates in the children: "
            f"rate=pg.param('rate') * pg.covariate('x') * {name}",
            blocks=[name],
            because=f"is {kind} with covariates or nodes in its slots",
        )


def _gated_inside(graph: ModelGraph, name: str, member: str, gate: Gate) -> IntractableError:
    node, latent = graph.nodes[member], graph.nodes[name]
    scope = graph.nodes[gate.name].scope
    return IntractableError(
        f"node '{member}' depends on the continuous latent '{name}' of scope '{latent.scope}' "
        f"and is gated by the latent '{gate.name}' of the inner scope '{scope}': the exact "
        f"posterior of '{name}' is a mixture over all members' values of '{gate.name}' "
        "together",
        where=node.origin,
        expected=f"gates that live with '{name}' or around it, or are observed",
        advice=suggest(
            f"declare '{gate.name}' outside '{scope}', or declare '{name}' inside '{scope}'",
            graph,
            latent_inside(graph, name, member, gate.name),
        ),
        blocks=[name],
        because=f"'{gate.name}' of the inner scope '{scope}' gates '{member}'",
    )


def _shared(graph: ModelGraph, found: list[Conjugate]) -> Iterator[IntractableError]:
    """Nodes that belong to two blocks."""
    owner: dict[str, str] = {}
    for block in found:
        for name in block.nodes:
            if name in owner:
                node = graph.nodes[name]
                yield IntractableError(
                    f"node '{name}' depends on two continuous latents, '{owner[name]}' and "
                    f"'{block.name}', which are not jointly Gaussian: their posterior has no "
                    "closed form",
                    where=node.origin,
                    expected="one conjugate latent above a node",
                    advice=f"leave '{block.name}' out of '{name}', or give each its own child",
                    blocks=[owner[name], block.name],
                    because=f"'{name}' lies below both",
                )
            owner[name] = block.name


# --- its children -------------------------------------------------------------------------------


def _not_conjugate(
    graph: ModelGraph, schema: Schema, name: str, latent: Family, child: str
) -> Iterator[IntractableError]:
    """Why a child's density is not linear in the latent's statistics."""
    node = graph.nodes[child]
    hidden = node.kind == "latent" and child not in schema.given
    if hidden or is_axis(graph, schema, child):
        yield _latent_child(graph, name, latent, child)
        return
    if child in schema.open and any(
        child in {parent for parent, _ in other.parents()} for other in graph.nodes.values()
    ):
        yield IntractableError(
            f"node '{child}' has {schema.holes_of(child)}, stands in the mean of others, and "
            f"depends on the conjugate latent '{name}': what it may be there is not Gaussian",
            where=node.origin,
            expected=f"complete values of '{child}'",
            advice=f"leave the rows without '{child}' out, or leave '{name}' out",
            blocks=[child],
            because=f"stands in the mean of others and depends on '{name}'",
        )
    for component in [*graph.leaves_of(child), *graph.firsts_of(child)]:
        for slot_name, slot in component.leaf.slots.items():
            if slot.times is None or not slot.times.parent:
                continue
            other = slot.times.parent
            if other != name:
                if graph.nodes[other].kind == "latent" and other not in schema.given:
                    yield _mixed(graph, name, other, child)
            elif not _may_stand(latent, component, slot_name, slot):
                yield _misplaced(graph, name, latent, component, slot_name, slot)


def _latent_child(graph: ModelGraph, name: str, latent: Family, child: str) -> IntractableError:
    node, kind = graph.nodes[child], type(latent).__name__
    inner = node.scope != graph.nodes[name].scope
    if graph.is_finite(child):
        return IntractableError(
            f"latent node '{child}' has its probabilities from the latent '{name}'"
            + (
                f", one value of '{child}' per member of '{node.scope}' (latent Dirichlet "
                f"allocation): the exact posterior of '{name}' is a mixture over all members' "
                "values together"
                if inner
                else ": such a pair is not available"
            ),
            where=node.origin,
            expected=f"observed children of '{name}'",
            advice=suggest(
                f"index the probabilities of '{child}' by a covariate (probabilistic latent "
                "semantic analysis)",
                graph,
                indexed_by_document(graph, child),
            ),
            blocks=[name],
            because=f"gives the latent '{child}'"
            + (f" of each member of '{node.scope}'" if inner else "")
            + " its probabilities",
        )
    return IntractableError(
        f"latent node '{child}' has the latent '{name}' for a parent: two continuous latents "
        f"in a row are integrated out only if both are Gaussian, and '{name}' is {kind}",
        where=node.origin,
        expected=f"observed children of '{name}'",
        advice=f"give '{child}' parameters instead of '{name}'",
        blocks=[name],
        because=f"the latent '{child}' depends on it",
    )


def _mixed(graph: ModelGraph, name: str, other: str, child: str) -> IntractableError:
    return IntractableError(
        f"node '{child}' depends on the latents '{other}' and '{name}', which are of different "
        f"kinds: given '{name}', '{other}' has a closed posterior, and given '{other}' '{name}' "
        "has one, but not both together",
        where=graph.nodes[child].origin,
        expected="latents that are all Gaussian, or a single conjugate one",
        advice=suggest(
            f"replace '{other}' by a discrete latent, or leave '{name}' out (Gaussian noise)",
            graph,
            without(graph, other, child),
        ),
        blocks=[other, name],
        because=f"'{child}' depends on both, which are of different kinds",
    )


def _slot_of(component: Component, name: str) -> Slot | None:
    """The family's slot of a written one; None for a link."""
    return next((s for s in component.family.slots if s.name == slot_of(name)), None)


def _may_stand(latent: Family, component: Component, slot_name: str, written: SlotRecord) -> bool:
    """Whether a child's density is linear in the statistics of a latent in one of its slots."""
    slot, times = _slot_of(component, slot_name), written.times
    if slot is None or times is None or times.lag:
        return False
    return _is_conjugate(latent, component.family, slot, inverse=times.inverse)


def _misplaced(
    graph: ModelGraph, name: str, latent: Family, component: Component, slot_name: str,
    written: SlotRecord,
) -> IntractableError:  # fmt: skip
    """A latent stands where it is not conjugate."""
    slot, stem, times = _slot_of(component, slot_name), slot_of(slot_name), written.times
    assert times is not None
    kind, family = type(latent).__name__, type(component.family).__name__
    return IntractableError(
        f"node '{component.node}' is {family} with the {kind} latent '{name}' "
        + ("below the line " if times.inverse else "")
        + f"in its slot '{stem}': the posterior of '{name}' has no closed form",
        where=graph.nodes[component.node].origin,
        expected=_homes(latent),
        received=f"a {slot.role.name if slot is not None else 'link'} of '{family}'",
        advice=f"{name} = pg.latent('{name}', pg.Categorical(size=5)), with parameters indexed by "
        "it, is exact for every family",
        blocks=[name],
        because=f"{kind} is not conjugate to '{stem}' of '{component.node}' ({family})",
    )


def _is_conjugate(latent: Family, child: Family, slot: Slot, *, inverse: bool) -> bool:
    """Whether a latent may stand in a slot of a child."""
    if inverse:  # a precision: what it multiplies is linear in (log u, u)
        return child.gaussian and not slot.linear and latent.conjugate_to is RATE
    if latent.conjugate_to is not slot.role:
        return False
    if latent.conjugate_to is RATE:
        return slot.multiplier is not None
    return all(other.name in child.known_slots for other in child.slots if other != slot)


def _homes(latent: Family) -> str:
    if latent.conjugate_to is RATE:
        return (
            "a rate (of Poisson, Exponential, or Gamma), or a variance or covariance that it "
            "divides"
        )
    return f"a {latent.conjugate_to.name if latent.conjugate_to else 'slot'} that it fills alone"
