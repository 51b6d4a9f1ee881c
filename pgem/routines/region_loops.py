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


def jit(function: Any) -> Any:
    return nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})(
        function
    )


@jit
def _is_settled(a, b):  # type: ignore[no-untyped-def]
    """Whether two covariance-like matrices agree to rounding."""
    for i in range(len(a)):
        for j in range(i + 1):
            if not abs(a[i, j] - b[i, j]) <= ROUNDING * np.sqrt(a[i, i] * a[j, j]):
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
                settled[k] &= _is_settled(message[g, n], message[g, old])
                settled[k] &= _is_settled(inverse[g, n], inverse[g, old])
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
                settled[k] &= _is_settled(s, found[g, shared[before]])
        n += 1
    return n


@jit
def _subtract_pull(rest, message, defect):  # type: ignore[no-untyped-def]
    """Take off what a defect changes in what later steps tell; return its square."""
    largest = 0.0
    for i in range(len(rest)):
        value = 0.0
        for j in range(len(defect)):
            value += message[i, j] * defect[j]
        if i < len(defect):
            largest += value * defect[i]
        rest[i] -= value
    return largest


@jit
def gradients(  # type: ignore[no-untyped-def]
    starts, local, step, move, inverse, gain, message, gradient, defect, means, told
):
    """Fill M⁻¹ h of each row and the messages to the enclosing rows; return the largest square.

    Arrays are indexed outright and the results stand in the inner loops: a view of a row costs
    more than its numbers.
    """
    n_g, _, n_rest, width = move.shape
    n_own = width - n_rest
    total, largest = np.empty(width), 0.0
    for g in range(n_g):
        for s in range(len(starts) - 1):
            rest = told[g, s]
            for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
                here, k = local[t], step[t]
                for x in range(width):
                    total[x] = gradient[g, t, x]
                if t < starts[s + 1] - 1:
                    some = False
                    for i in range(defect.shape[2]):
                        some |= defect[g, t, i] != 0.0
                    if some:
                        square = _subtract_pull(rest, message[g, step[t + 1]], defect[g, t])
                        if square > largest:  # which NaN is not
                            largest = square
                    for i in range(n_rest):
                        value = rest[i]
                        for x in range(width):
                            total[x] += move[g, here, i, x] * value
                for i in range(n_own):
                    means[g, t, i] = 0.0
                for r in range(n_rest):
                    rest[r] = total[n_own + r]
                for j in range(n_own):
                    value = total[j]
                    for i in range(n_own):
                        means[g, t, i] += inverse[g, k, j, i] * value
                    for r in range(n_rest):
                        rest[r] -= gain[g, k, j, r] * value
                square = 0.0
                for i in range(n_own):
                    square += means[g, t, i] * total[i]
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
