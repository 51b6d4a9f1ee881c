"""`first="stationary"`: a first step whose distribution follows from the transition table."""

from __future__ import annotations

import numpy as np

from pgem.declare.records import Gate, LeafRecord, NodeRecord, SlotRecord
from pgem.errors import DeclarationError
from pgem.families import Family
from pgem.families._roles import PROB, PROBS


def stationary_leaf(node: NodeRecord, kind: type[Family]) -> LeafRecord:
    """The first step of a chain, by the slot that holds its transition table.

    Args:
        node: the chain, its steady step filled in.
        kind: its family.

    Raises:
        DeclarationError: no stationary distribution follows from what the node depends on.
    """
    where = f"node '{node.name}' has first='stationary'"
    slot = transition_slot(kind)
    if node.switch is not None or slot is None:
        raise DeclarationError(
            f"{where}, but is no chain of categories",
            where=node.origin,
            expected="a Categorical or Bernoulli node that looks back at itself",
            received=kind.__name__ if node.switch is None else "a switch",
        )
    own = Gate("node", node.name, 1)
    back = [gate for gate in node.gates() if gate.lag]
    others = [gate for gate in back if not is_self(gate, node)]
    if others or len(back) != 1:
        raise DeclarationError(
            f"{where}, but its transitions depend on more than its own last value",
            where=node.origin,
            expected=f"'{own}' as the only gate that looks back",
            received=", ".join(f"'{gate}'" for gate in others or back),
            advice="leave first= out for a free first distribution",
        )
    table = node.leaf.slots[slot]
    gates = [gate for part in table.gates for gate in part.base() if not gate.lag]
    record = SlotRecord("stationary", gates=tuple(dict.fromkeys(gates)))
    return LeafRecord(node.leaf.family, dict(node.leaf.settings), {slot: record})


def is_self(gate: object, node: NodeRecord) -> bool:
    """Whether a gate is the node's own value one step earlier."""
    return isinstance(gate, Gate) and (gate.kind, gate.name, gate.lag) == ("node", node.name, 1)


def transition_slot(kind: type[Family]) -> str | None:
    """The slot that holds all probabilities of a family, if there is one."""
    if kind.domain is Family.domain or len(kind.slots) != 1:
        return None
    slot = kind.slots[0]
    if slot.role is PROBS:
        return slot.name
    domain = kind().domain()
    two = slot.role is PROB and domain is not None and np.array_equal(domain, [0.0, 1.0])
    return slot.name if two else None
