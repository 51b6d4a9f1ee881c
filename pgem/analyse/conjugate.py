"""Conjugate latents: a latent and the children whose densities are linear in its statistics.

One latent u per row of its scope, its children there or in plates and sequences inside.  Given the
discrete variables that gate them, each child adds to the natural parameters of u, so u is
integrated out in closed form and leaves a table over the gates, in the latent's scope.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgem.analyse.alternatives import indexed_by_document, latent_inside, suggest, without
from pgem.analyse.regions import is_axis
from pgem.declare import Gate, SlotRecord, slot_of
from pgem.errors import IntractableError, PgemError
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


def find_conjugates(graph: ModelGraph, schema: Schema) -> list[Conjugate]:
    """All conjugate latents, in order.

    Raises:
        IntractableError: a continuous latent that is not Gaussian has no closed posterior.
    """
    latents = [name for name in graph.nodes if _is_candidate(graph, name)]
    found = [_conjugate(graph, schema, name) for name in latents]
    _check_apart(graph, found)
    return found


def _is_candidate(graph: ModelGraph, name: str) -> bool:
    """Whether a node is a continuous latent that is not Gaussian."""
    node = graph.nodes[name]
    gaussian = all(component.family.gaussian for component in graph.leaves_of(name))
    return node.kind == "latent" and not graph.is_finite(name) and not gaussian


def _conjugate(graph: ModelGraph, schema: Schema, name: str) -> Conjugate:
    node = graph.nodes[name]
    family = graph.leaves_of(name)[0].family
    children = tuple(n for n in graph.nodes if name in {p for p, _ in graph.nodes[n].parents()})
    _check_latent(graph, name, family)
    for child in children:
        _check_child(graph, schema, name, family, child)
    gates = []
    for member in (name, *children):
        for gate in _gates(graph, member):
            if gate.kind == "node" and is_axis(graph, schema, gate.name):
                _check_gate(graph, name, member, gate)
                gates.append((gate.name, gate.lag))
    return Conjugate(name, children, node.scope, tuple(dict.fromkeys(gates)))


def _gates(graph: ModelGraph, name: str) -> list[Gate]:
    """All gates of a node, its first steps' included."""
    slots = [slot for c in graph.firsts_of(name) for slot in c.leaf.slots.values()]
    firsts = [base for slot in slots for gate in slot.gates for base in gate.base()]
    return list(dict.fromkeys([*graph.nodes[name].gates(), *firsts]))


# --- the latent ---------------------------------------------------------------------------------


def _check_latent(graph: ModelGraph, name: str, family: Family) -> None:
    node, kind = graph.nodes[name], type(family).__name__
    if not family.is_conjugate:
        raise IntractableError(
            f"latent node '{name}' is {kind}: it has infinitely many values, is not Gaussian, and "
            "no child is known to keep its posterior closed",
            where=node.origin,
            expected="a latent with finitely many values, a Gaussian one, or a conjugate one "
            "(Gamma for rates and precisions, Beta and Dirichlet for probabilities)",
            advice=f"pg.latent('{name}', pg.Categorical(size=5)), "
            f"pg.latent('{name}', pg.Normal()) or pg.latent('{name}', pg.Gamma())",
        )
    if family.size is not None and not family.event_ndim:
        raise IntractableError(
            f"latent node '{name}' is a vector of independent {kind} values",
            where=node.origin,
            expected="one value per row",
            advice=f"with pg.plate('item', size={family.size}): pg.latent('{name}', pg.{kind}())",
        )
    leaves = [c.leaf for c in [*graph.leaves_of(name), *graph.firsts_of(name)]]
    if any(slot.times for leaf in leaves for slot in leaf.slots.values()):
        raise IntractableError(
            f"latent node '{name}' is {kind} and depends on covariates or other nodes: its "
            "posterior is of no known family",
            where=node.origin,
            expected=f"a {kind} whose parameters are indexed by discrete nodes",
            advice=f"pg.latent('{name}', pg.{kind}(), given=...), and covariates in the children: "
            f"rate=pg.param('rate') * pg.covariate('x') * {name}",
        )


def _check_gate(graph: ModelGraph, name: str, member: str, gate: Gate) -> None:
    node, latent = graph.nodes[member], graph.nodes[name]
    scope = graph.nodes[gate.name].scope
    if scope not in graph.path(latent.scope):
        raise IntractableError(
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
        )


def _check_apart(graph: ModelGraph, found: list[Conjugate]) -> None:
    """No node belongs to two blocks."""
    owner: dict[str, str] = {}
    for block in found:
        for name in block.nodes:
            if name in owner:
                node = graph.nodes[name]
                raise IntractableError(
                    f"node '{name}' depends on two continuous latents, '{owner[name]}' and "
                    f"'{block.name}', which are not jointly Gaussian: their posterior has no "
                    "closed form",
                    where=node.origin,
                    expected="one conjugate latent above a node",
                    advice=f"leave '{block.name}' out of '{name}', or give each its own child",
                )
            owner[name] = block.name


# --- its children -------------------------------------------------------------------------------


def _check_child(graph: ModelGraph, schema: Schema, name: str, latent: Family, child: str) -> None:
    node = graph.nodes[child]
    if node.kind == "latent" or is_axis(graph, schema, child):
        raise _latent_child(graph, name, latent, child)
    if child in schema.open and any(
        child in {parent for parent, _ in other.parents()} for other in graph.nodes.values()
    ):
        raise IntractableError(
            f"node '{child}' has {schema.holes_of(child)}, stands in the mean of others, and "
            f"depends on the conjugate latent '{name}': what it may be there is not Gaussian",
            where=node.origin,
            expected=f"complete values of '{child}'",
            advice=f"leave the rows without '{child}' out, or leave '{name}' out",
        )
    for component in [*graph.leaves_of(child), *graph.firsts_of(child)]:
        for slot_name, slot in component.leaf.slots.items():
            if slot.times is None or not slot.times.parent:
                continue
            if slot.times.parent == name:
                _check_slot(graph, name, latent, component, slot_name, slot)
            elif graph.nodes[slot.times.parent].kind == "latent":
                raise _mixed(graph, name, slot.times.parent, child)


def _latent_child(graph: ModelGraph, name: str, latent: Family, child: str) -> PgemError:
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
        )
    return IntractableError(
        f"latent node '{child}' has the latent '{name}' for a parent: two continuous latents "
        f"in a row are integrated out only if both are Gaussian, and '{name}' is {kind}",
        where=node.origin,
        expected=f"observed children of '{name}'",
        advice=f"give '{child}' parameters instead of '{name}'",
    )


def _mixed(graph: ModelGraph, name: str, other: str, child: str) -> PgemError:
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
    )


def _check_slot(
    graph: ModelGraph, name: str, latent: Family, component: Component, slot_name: str,
    written: SlotRecord,
) -> None:  # fmt: skip
    """A child's density is linear in the latent's statistics."""
    stem = slot_of(slot_name)
    slot = next((s for s in component.family.slots if s.name == stem), None)  # None: a link
    times = written.times
    assert times is not None
    if (
        slot is not None
        and not times.lag
        and _is_conjugate(latent, component.family, slot, inverse=times.inverse)
    ):
        return
    kind, family = type(latent).__name__, type(component.family).__name__
    raise IntractableError(
        f"node '{component.node}' is {family} with the {kind} latent '{name}' "
        + ("below the line " if times.inverse else "")
        + f"in its slot '{stem}': the posterior of '{name}' has no closed form",
        where=graph.nodes[component.node].origin,
        expected=_homes(latent),
        received=f"a {slot.role.name if slot is not None else 'link'} of '{family}'",
        advice=f"{name} = pg.latent('{name}', pg.Categorical(size=5)), with parameters indexed by "
        "it, is exact for every family",
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
