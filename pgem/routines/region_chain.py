"""Eliminating along a chain: from the last step backwards, then forwards.

In step t the columns are x_t = [own noise | state | outer]: the state holds the earlier values that
the step looks back at, as deviations from the values about which everything is expanded.  The next
step's [state | outer] is T x_t + [c_t | 0], with the defect c_t by which those values miss the
step's own prediction.  What later steps tell about it is the message J', h'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgem.arrays import Floats
from pgem.routines.region_eliminate import Elimination, eliminate, join, transpose
from pgem.routines.region_layout import ChainLayout


@dataclass(eq=False)
class ChainMatrices:
    """The matrices of a chain.

    Attributes:
        layout: of the chain.
        move: T [G, local groups, state + outer, X].
        steps: the elimination of each node.
    """

    layout: ChainLayout
    move: Floats
    steps: Elimination


def eliminate_chain(
    layout: ChainLayout, information: Floats, move: Floats, n_own: int
) -> ChainMatrices:
    """Integrate out the own noise of all steps.

    Args:
        layout: of the chain.
        information: of each step alone [G, local groups, X, X].
        move: T [G, local groups, state + outer, X].
        n_own: number of columns of own noise.
    """
    nodes, n_g, n_rest = layout.back, len(information), move.shape[2]
    n = len(nodes.keys)
    found = Elimination(
        np.empty((n_g, n, n_own, n_own)),
        np.empty((n_g, n, n_own, n_own)),
        np.empty((n_g, n, n_own, n_rest)),
        np.empty((n_g, n, n_rest, n_rest)),
        np.empty((n_g, n)),
    )
    for level, (a, b) in enumerate(zip(nodes.levels[:-1], nodes.levels[1:], strict=True)):
        whole = information[:, nodes.keys[a:b]]
        if level > 0:
            forward = move[:, nodes.keys[a:b]]
            whole = whole + transpose(forward) @ found.message[:, nodes.next[a:b]] @ forward
        step = eliminate(whole, n_own)
        found.root[:, a:b], found.inverse[:, a:b] = step.root, step.inverse
        found.gain[:, a:b], found.message[:, a:b] = step.gain, step.message
        found.log_det[:, a:b] = step.log_det
    return ChainMatrices(layout, move, found)


def chain_covariances(chain: ChainMatrices, outer: Floats) -> Floats:
    """Posterior covariance of x in each node of `forth` [G, nodes, X, X].

    Args:
        chain: the chain's matrices.
        outer: posterior covariance of the enclosing rows [G, groups, outer, outer].
    """
    nodes, back = chain.layout.forth, chain.layout.back
    n_g, _, n_rest, width = chain.move.shape
    n_state = n_rest - outer.shape[-1]
    found = np.empty((n_g, len(nodes.keys), width, width))
    for level, (a, b) in enumerate(zip(nodes.levels[:-1], nodes.levels[1:], strict=True)):
        before, node = nodes.next[a:b], nodes.keys[a:b]
        if level == 0:
            known = np.zeros((n_g, b - a, n_rest, n_rest))
            known[:, :, n_state:, n_state:] = outer[:, before]
        else:
            move = chain.move[:, back.keys[nodes.keys[before]]]
            known = move @ found[:, before] @ transpose(move)
        found[:, a:b] = join(chain.steps.inverse[:, node], chain.steps.gain[:, node], known)
    return found


def chain_gradients(
    chain: ChainMatrices, gradient: Floats, defect: Floats
) -> tuple[Floats, Floats, float]:
    """The vectors of the elimination.

    Args:
        chain: the chain's matrices.
        gradient: on x from each step alone, with the prior of its own noise [G, rows, X].
        defect: c [G, rows, state].

    Returns:
        M⁻¹ h of each row [G, rows, own], the message to the enclosing rows [G, sequences, outer],
        and the largest square of a step's correction in posterior deviations.
    """
    layout, steps, nodes = chain.layout, chain.steps, chain.layout.back
    n_g, _, n_rest, _ = chain.move.shape
    n_own, n_state = steps.inverse.shape[-1], defect.shape[-1]
    means = np.empty((n_g, gradient.shape[1], n_own))
    message, largest = np.zeros((n_g, len(layout.lengths), n_rest)), 0.0
    for t in range(int(layout.lengths.max(initial=0)) - 1, -1, -1):
        alive = np.flatnonzero(layout.lengths > t)
        rows = layout.starts[alive] + t
        node = nodes.ids[rows]
        total = gradient[:, rows]
        going = np.flatnonzero(layout.lengths[alive] > t + 1)
        if len(going):
            ahead = nodes.ids[rows[going] + 1]
            c = defect[:, rows[going]]
            pull = times(steps.message[:, ahead, :, :n_state], c)
            largest = max(largest, float(np.max(np.einsum("gri,gri->gr", c, pull[..., :n_state]))))
            told = message[:, alive[going]] - pull
            total[:, going] += times(transpose(chain.move[:, nodes.keys[node[going]]]), told)
        own = total[..., :n_own]
        means[:, rows] = times(steps.inverse[:, node], own)
        largest = max(largest, float(np.max(np.einsum("gri,gri->gr", own, means[:, rows]))))
        message[:, alive] = total[..., n_own:] - times(transpose(steps.gain[:, node]), own)
    return means, message[..., n_state:], largest


def chain_positions(chain: ChainMatrices, means: Floats, defect: Floats, outer: Floats) -> Floats:
    """x of every row [G, rows, X].

    Args:
        chain: the chain's matrices.
        means: own noise where the rest of x is 0 [G, rows, own].
        defect: c [G, rows, state].
        outer: x of the enclosing rows [G, sequences, outer].
    """
    layout, steps, nodes = chain.layout, chain.steps, chain.layout.back
    n_g, _, n_rest, width = chain.move.shape
    n_state = defect.shape[-1]
    found = np.empty((n_g, means.shape[1], width))
    rest = np.zeros((n_g, len(layout.lengths), n_rest))
    rest[..., n_state:] = outer
    for t in range(int(layout.lengths.max(initial=0))):
        alive = np.flatnonzero(layout.lengths > t)
        rows = layout.starts[alive] + t
        node = nodes.ids[rows]
        own = means[:, rows] - times(steps.gain[:, node], rest[:, alive])
        x = np.concatenate([own, rest[:, alive]], axis=-1)
        found[:, rows] = x
        moved = times(chain.move[:, nodes.keys[node]], x)
        moved[..., :n_state] += defect[:, rows]
        rest[:, alive] = moved
    return found


def times(matrices: Floats, vectors: Floats) -> Floats:
    """Matrix times vector, row by row: [G, R, a, b], [G, R, b] → [G, R, a]."""
    return np.asarray((matrices @ vectors[..., None])[..., 0])
