"""The loops of `region_chain`, compiled by Numba when first called and then kept on disk.

Matrices that no longer change along a run of equal steps are computed once: a node is *settled*
when its matrices equal those of its neighbour to rounding, and the next node with the same key
shares them.  (What is neglected is then no more than what rounding adds at every step.)
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

ROUNDING = 1e-15
"""Relative change along a chain at which matrices count as settled."""
LAST_DIGIT = 2.0**-52
"""The same in parts of the terms that a matrix is the difference of, which are not known better."""


def jit(function: Any) -> Any:
    """A function compiled for loops that may meet NaN, with sums in any order."""
    return nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})(
        function
    )


@jit
def _is_settled(a, b, terms):  # type: ignore[no-untyped-def]
    """Whether two covariance-like matrices agree to rounding.

    The last diagonal entries of `terms` tell the size of the terms that `a` is a difference of.
    """
    ahead = len(terms) - len(a)
    for i in range(len(a)):
        for j in range(i + 1):
            change = abs(a[i, j] - b[i, j])
            if not change <= ROUNDING * np.sqrt(a[i, i] * a[j, j]):
                size = np.sqrt(terms[ahead + i, ahead + i] * terms[ahead + j, ahead + j])
                if not change <= LAST_DIGIT * size:
                    return False
    return True


@jit
def _add_congruence(total, left, middle, half):  # type: ignore[no-untyped-def]
    """total += leftᵀ middle left, for a symmetric result."""
    n_rest, width = left.shape
    for i in range(n_rest):
        for x in range(width):
            half[i, x] = 0.0
        for j in range(n_rest):
            for x in range(width):
                half[i, x] += middle[i, j] * left[j, x]
    for i in range(n_rest):
        for x in range(width):
            value = left[i, x]
            if value != 0.0:
                for y in range(x + 1):
                    total[x, y] += value * half[i, y]
    for x in range(width):
        for y in range(x):
            total[y, x] = total[x, y]


@jit
def _factorise(whole, root, inverse):  # type: ignore[no-untyped-def]
    """Fill R and M⁻¹ = Rᵀ R for M = I + the first block; return log |M|, NaN if not definite."""
    n = len(root)
    log_det = 0.0
    for i in range(n):
        for j in range(i + 1):
            value = whole[i, j] + (1.0 if i == j else 0.0)
            for k in range(j):
                value -= inverse[i, k] * inverse[j, k]
            if i == j:
                value = np.sqrt(value) if value > 0.0 else np.nan
                log_det += 2.0 * np.log(value)
                inverse[i, i] = value
            else:
                inverse[i, j] = value / inverse[j, j]
    for j in range(n):
        for i in range(n):
            root[i, j] = 0.0
        root[j, j] = 1.0 / inverse[j, j]
        for i in range(j + 1, n):
            value = 0.0
            for k in range(j, i):
                value -= inverse[i, k] * root[k, j]
            root[i, j] = value / inverse[i, i]
    for i in range(n):
        for j in range(i + 1):
            value = 0.0
            for k in range(i, n):
                value += root[k, i] * root[k, j]
            inverse[i, j] = value
            inverse[j, i] = value
    return log_det


@jit
def _message(whole, inverse, gain, spare, message):  # type: ignore[no-untyped-def]
    """Fill K and J'."""
    n_own, n_rest = gain.shape
    for i in range(n_own):
        for r in range(n_rest):
            gain[i, r] = 0.0
        for j in range(n_own):
            for r in range(n_rest):
                gain[i, r] += inverse[i, j] * whole[j, n_own + r]
    for i in range(n_own):  # J_εe - M K, which is 0 but for rounding, less J_εe
        for r in range(n_rest):
            value = whole[i, n_own + r] - gain[i, r]
            for j in range(n_own):
                value -= whole[i, j] * gain[j, r]
            spare[i, r] = value
    for q in range(n_rest):
        for r in range(q + 1):
            value = whole[n_own + q, n_own + r]
            for i in range(n_own):
                value -= whole[n_own + q, i] * gain[i, r] + gain[i, q] * spare[i, r]
            message[q, r] = value
            message[r, q] = value


@jit
def eliminate_groups(information, root, inverse, gain, message, log_det):  # type: ignore[no-untyped-def]
    """Eliminate group by group."""
    spare = np.empty(gain.shape[2:])
    for g in range(len(information)):
        for k in range(information.shape[1]):
            whole = information[g, k]
            log_det[g, k] = _factorise(whole, root[g, k], inverse[g, k])
            _message(whole, inverse[g, k], gain[g, k], spare, message[g, k])


@jit
def eliminate_steps(  # type: ignore[no-untyped-def]
    keys, follows, n_first, information, move, shared, root, inverse, gain, message, log_det
):
    """Eliminate node by node; return the number of distinct matrices.

    `shared` receives which of them each node has.
    """
    n_g, n_rest, width = len(information), move.shape[2], move.shape[3]
    settled = np.zeros(len(keys), dtype=np.bool_)
    whole, half = np.empty((width, width)), np.empty((n_rest, width))
    spare = np.empty((root.shape[2], n_rest))
    n = 0
    for k in range(len(keys)):
        key, ahead = keys[k], follows[k]
        same = k >= n_first and keys[ahead] == key
        if same and settled[ahead]:
            shared[k] = shared[ahead]
            settled[k] = True
            continue
        shared[k] = n
        settled[k] = same
        for g in range(n_g):
            whole[:] = information[g, key]
            if k >= n_first:
                _add_congruence(whole, move[g, key], message[g, shared[ahead]], half)
            log_det[g, n] = _factorise(whole, root[g, n], inverse[g, n])
            _message(whole, inverse[g, n], gain[g, n], spare, message[g, n])
            if same:
                old = shared[ahead]
                # J' is a difference, which may be much smaller than its terms
                settled[k] &= _is_settled(message[g, n], message[g, old], whole)
                settled[k] &= _is_settled(inverse[g, n], inverse[g, old], inverse[g, n])
        n += 1
    return n


@jit
def _place_outer(s, n_own, outer):  # type: ignore[no-untyped-def]
    """Before the first step the state is known, and what encloses it has its own covariance."""
    n_state = len(s) - n_own - len(outer)
    s[n_own:, n_own:] = 0.0
    s[n_own + n_state :, n_own + n_state :] = outer


@jit
def _carry(s, n_own, move, known, half):  # type: ignore[no-untyped-def]
    """Covariance T S Tᵀ of [state | outer], from that of the step before."""
    n_rest, width = move.shape
    for i in range(n_rest):
        half[i] = 0.0
        for x in range(width):
            if move[i, x] != 0.0:
                for y in range(width):
                    half[i, y] += move[i, x] * known[x, y]
    for i in range(n_rest):
        for j in range(i + 1):
            value = 0.0
            for y in range(width):
                value += half[i, y] * move[j, y]
            s[n_own + i, n_own + j] = value
            s[n_own + j, n_own + i] = value


@jit
def _join(s, inverse, gain):  # type: ignore[no-untyped-def]
    """Fill in the rows and columns of the own noise."""
    n_own, n_rest = gain.shape
    for i in range(n_own):
        for r in range(n_rest):
            value = 0.0
            for q in range(n_rest):
                value -= gain[i, q] * s[n_own + q, n_own + r]
            s[i, n_own + r] = value
            s[n_own + r, i] = value
    for i in range(n_own):
        for j in range(i + 1):
            value = inverse[i, j]
            for r in range(n_rest):
                value -= s[i, n_own + r] * gain[j, r]
            s[i, j] = value
            s[j, i] = value


@jit
def covariances(  # type: ignore[no-untyped-def]
    keys, follows, n_first, back, back_keys, move, outer, inverse, gain, shared, found
):
    """Posterior covariances of x node by node; return the number of distinct ones.

    `back` tells which matrices of the elimination a node of it has.
    """
    n_own = inverse.shape[2]
    settled = np.zeros(len(keys), dtype=np.bool_)
    half = np.empty(move.shape[2:])
    n = 0
    for k in range(len(keys)):
        step, before = back[keys[k]], follows[k]
        same = k >= n_first and back[keys[before]] == step
        if same and settled[before]:
            shared[k] = shared[before]
            settled[k] = True
            continue
        shared[k] = n
        settled[k] = same
        for g in range(len(move)):
            s = found[g, n]
            if k < n_first:
                _place_outer(s, n_own, outer[g, before])
            else:
                key = back_keys[keys[before]]
                _carry(s, n_own, move[g, key], found[g, shared[before]], half)
            _join(s, inverse[g, step], gain[g, step])
            if same:
                settled[k] &= _is_settled(s, found[g, shared[before]], s)
        n += 1
    return n


@jit
def gradients(  # type: ignore[no-untyped-def]
    starts, local, step, move, inverse, gain, message, gradient, defect, means, told
):
    """Fill M⁻¹ h of each row and the messages to the enclosing rows; return the largest square."""
    largest = 0.0
    for g in range(len(move)):
        for s in range(len(starts) - 1):
            square = _one_sequence(
                starts[s], starts[s + 1], local, step, move[g], inverse[g], gain[g], message[g],
                gradient[g], defect[g], means[g], told[g, s],
            )  # fmt: skip
            largest = max(largest, square)
    return largest


@jit
def _one_sequence(  # type: ignore[no-untyped-def]  # noqa: C901
    first, stop, local, step, move, inverse, gain, message, gradient, defect, means, rest
):
    """`gradients` for one sequence, in one piece.

    Handing an array, or a view of its row, to a function costs more than the few products that it
    would make of it; and with the results in the inner loops nothing waits for a sum.
    """
    n_rest, width = len(rest), move.shape[2]
    n_own, n_state = width - n_rest, defect.shape[1]
    total, largest = np.empty(width), 0.0
    for t in range(stop - 1, first - 1, -1):
        here, k = local[t], step[t]
        for x in range(width):
            total[x] = gradient[t, x]
        if t < stop - 1:
            missed = 0.0
            for i in range(n_state):
                missed += abs(defect[t, i])
            if missed != 0.0:
                ahead, square = step[t + 1], 0.0
                for i in range(n_rest):
                    value = 0.0
                    for j in range(n_state):
                        value += message[ahead, i, j] * defect[t, j]
                    if i < n_state:
                        square += value * defect[t, i]
                    rest[i] -= value
                if square > largest:  # which NaN is not
                    largest = square
            for i in range(n_rest):
                value = rest[i]
                for x in range(width):
                    total[x] += move[here, i, x] * value
        for i in range(n_own):
            means[t, i] = 0.0
        for r in range(n_rest):
            rest[r] = total[n_own + r]
        for j in range(n_own):
            value = total[j]
            for i in range(n_own):
                means[t, i] += inverse[k, j, i] * value
            for r in range(n_rest):
                rest[r] -= gain[k, j, r] * value
        square = 0.0
        for i in range(n_own):
            square += means[t, i] * total[i]
        if square > largest:
            largest = square
    return largest


@jit
def positions(  # type: ignore[no-untyped-def]
    starts, local, step, move, gain, means, defect, outer, found
):
    """Fill x of every row."""
    n_g, _, n_rest, width = move.shape
    n_own, n_state = width - n_rest, defect.shape[2]
    for g in range(n_g):
        for s in range(len(starts) - 1):
            for t in range(starts[s], starts[s + 1]):
                x = found[g, t]
                for i in range(n_rest):
                    if t > starts[s]:
                        value = defect[g, t - 1, i] if i < n_state else 0.0
                        for y in range(width):
                            value += move[g, local[t - 1], i, y] * found[g, t - 1, y]
                    else:
                        value = outer[g, s, i - n_state] if i >= n_state else 0.0
                    x[n_own + i] = value
                for i in range(n_own):
                    value = means[g, t, i]
                    for r in range(n_rest):
                        value -= gain[g, step[t], i, r] * x[n_own + r]
                    x[i] = value
