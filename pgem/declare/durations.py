"""`duration=`: a chain whose values last a number of steps with a distribution of its own."""

from __future__ import annotations

from pgem.declare.records import Gate, LeafRecord, NodeRecord
from pgem.declare.stationary import is_self, transition_slot
from pgem.errors import DeclarationError
from pgem.families import Family
from pgem.families._roles import PROBS
from pgem.families._tails import lowest_value


def check_segments(node: NodeRecord, kind: type[Family]) -> None:
    """A node that may have durations: a chain of categories that looks back at itself only.

    Args:
        node: the node, its steady step filled in.
        kind: its family.

    Raises:
        DeclarationError: it is none.
    """
    what = f"node '{node.name}' has duration="
    slot = transition_slot(kind)
    plain = node.switch is None and slot is not None and kind.slots[0].role is PROBS
    if node.kind != "latent" or not plain:
        raise DeclarationError(
            f"{what}, but is no latent chain of categories",
            where=node.origin,
            expected="a latent Categorical node",
            received=f"{node.kind} {kind.__name__}",
        )
    back = [gate for gate in node.gates() if gate.lag]
    if not any(is_self(gate, node) for gate in back) or len(back) != 1:
        raise DeclarationError(
            f"{what}, and what follows a segment depends on something else than its value"
            if back
            else f"{what}, but does not look back at itself",
            where=node.origin,
            expected=f"'prev {node.name}' as the only gate that looks back",
            received=", ".join(f"'{gate}'" for gate in back) or "no gate that looks back",
            advice=f'write after="{node.name}"' if not back else "leave the other gates out",
        )
    written = node.leaf.slots[str(slot)].gates
    if not any(is_self(gate, node) for gate in written):
        raise DeclarationError(
            f"{what}, and its transition table is indexed by a constant of 'prev {node.name}': no "
            "row can then leave out the value that it belongs to",
            where=node.origin,
            expected=f"pg.prev('{node.name}') itself as an index",
        )
    if node.leaf.settings.get("size") == 1:
        raise one_value(node)


def one_value(node: NodeRecord) -> DeclarationError:
    """The error of a chain that has nowhere to go when a segment ends."""
    return DeclarationError(
        f"node '{node.name}' has duration= and a single value, so that no segment can follow "
        "another",
        where=node.origin,
        expected="a size of at least 2",
    )


def check_duration_family(node: NodeRecord, family: Family) -> None:
    """A family on whole numbers that starts at 0 (shifted by one) or above.

    Raises:
        DeclarationError: it is none.
    """
    kind = type(family)
    expected = "a family on whole numbers: Categorical, Poisson, NegativeBinomial, Geometric, …"
    what = f"the duration of node '{node.name}'"
    low = lowest_value(family)
    if low is None:
        raise DeclarationError(
            f"{what} is no number of steps under {kind.__name__}",
            where=node.origin,
            expected=expected,
            received=f"{kind.__name__}, on {kind.support.name}",
        )
    if family.coordinates is not None or family.own_fit:
        raise DeclarationError(
            f"{what} has a family "
            + ("without a statistic to sum" if family.own_fit else "of vectors"),
            where=node.origin,
            expected=expected,
            received=repr(family),
        )


def check_duration_slots(node: NodeRecord) -> None:
    """What gates a duration is known where a segment starts.

    Raises:
        DeclarationError: a slot holds a covariate, or looks back.
    """
    leaf: LeafRecord | None = node.duration
    for name, slot in leaf.slots.items() if leaf is not None else ():
        what = f"slot '{node.name}.duration.{name}'"
        if slot.kind == "covariate":
            raise DeclarationError(
                f"{what} holds covariate '{slot.name}': durations take values and parameters only",
                where=node.origin,
                advice="index by a discrete covariate instead",
            )
        back = [gate for part in slot.gates for gate in part.base() if gate.lag]
        if back:
            raise DeclarationError(
                f"{what} looks back",
                where=node.origin,
                expected=f"gates of the step at which a segment starts, '{node.name}' among them",
                received=", ".join(f"'{gate}'" for gate in back),
            )


def own_gate(node: NodeRecord) -> Gate:
    """The gate that stands for the value of the segment itself."""
    return Gate("node", node.name, size=node.leaf.settings.get("size"))
