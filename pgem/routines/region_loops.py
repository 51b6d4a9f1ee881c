"""The loops of `region_chain`, compiled by Numba when first called and then kept on disk.

Matrices that no longer change along a run of equal steps are computed once: a node is *settled* when
its matrices equal those of its neighbour to rounding, and the next node with the same key shares
them.  (What is neglected is then no more than what rounding adds at every step.)
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

ROUNDING = 1e-15
"""Relative change along a chain at which matrices count as settled."""


def _jit(function: Any) -> Any:
    return nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})(
        function
    )


@_jit
def _is_settled(a, b):  # type: ignore[no-untyped-def]
    """Whether two covariance-like matrices agree to rounding."""
    for i in range(len(a)):
        for j in range(i + 1):
            if not abs(a[i, j] - b[i, j]) <= ROUNDING * np.sqrt(a[i, i] * a[j, j]):
                return False
    return True


@_jit
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


@_jit
def _factorise(whole, root, inverse):  # type: ignore[no-untyped-def]
    """Fill R and M⁻¹ = Rᵀ R for M = I + the first block; return log |M|, NaN if M is not definite."""
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


@_jit
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


@_jit
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


@_jit
def covariances(  # type: ignore[no-untyped-def]
    keys, follows, n_first, back, back_keys, move, outer, inverse, gain, shared, found
):
    """Posterior covariances of x node by node; return the number of distinct ones.

    `back` tells which matrices of the elimination a node of it has.
    """
    n_g, n_rest, width = len(move), move.shape[2], move.shape[3]
    n_own, n_outer = width - n_rest, outer.shape[2]
    settled = np.zeros(len(keys), dtype=np.bool_)
    half = np.empty((n_rest, width))
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
        for g in range(n_g):
            s = found[g, n]
            if k < n_first:
                for i in range(n_rest):
                    for j in range(n_rest):
                        inside = min(i, j) >= n_rest - n_outer
                        p, q = i - n_rest + n_outer, j - n_rest + n_outer
                        s[n_own + i, n_own + j] = outer[g, before, p, q] if inside else 0.0
            else:
                known = found[g, shared[before]]
                t = move[g, back_keys[keys[before]]]
                for i in range(n_rest):
                    half[i] = 0.0
                    for x in range(width):
                        if t[i, x] != 0.0:
                            for y in range(width):
                                half[i, y] += t[i, x] * known[x, y]
                for i in range(n_rest):
                    for j in range(i + 1):
                        value = 0.0
                        for y in range(width):
                            value += half[i, y] * t[j, y]
                        s[n_own + i, n_own + j] = value
                        s[n_own + j, n_own + i] = value
            for i in range(n_own):
                for r in range(n_rest):
                    value = 0.0
                    for q in range(n_rest):
                        value -= gain[g, step, i, q] * s[n_own + q, n_own + r]
                    s[i, n_own + r] = value
                    s[n_own + r, i] = value
            for i in range(n_own):
                for j in range(i + 1):
                    value = inverse[g, step, i, j]
                    for r in range(n_rest):
                        value -= s[i, n_own + r] * gain[g, step, j, r]
                    s[i, j] = value
                    s[j, i] = value
            if same:
                settled[k] &= _is_settled(s, found[g, shared[before]])
        n += 1
    return n


@_jit
def gradients(  # type: ignore[no-untyped-def]
    starts, local, step, move, inverse, gain, message, gradient, defect, means, told
):
    """Fill M⁻¹ h of each row and the messages to the enclosing rows; return the largest square."""
    n_g, _, n_rest, width = move.shape
    n_own, n_state = width - n_rest, defect.shape[2]
    total, pull, largest = np.empty(width), np.empty(n_rest), 0.0
    for g in range(n_g):
        for s in range(len(starts) - 1):
            rest = told[g, s]
            for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
                total[:] = gradient[g, t]
                if t < starts[s + 1] - 1:
                    square, p = 0.0, message[g, step[t + 1]]
                    for i in range(n_rest):
                        value = 0.0
                        for j in range(n_state):
                            value += p[i, j] * defect[g, t, j]
                        pull[i] = rest[i] - value
                        if i < n_state:
                            square += value * defect[g, t, i]
                    largest = max(largest, square)
                    for i in range(n_rest):
                        for x in range(width):
                            total[x] += move[g, local[t], i, x] * pull[i]
                square = 0.0
                for i in range(n_own):
                    value = 0.0
                    for j in range(n_own):
                        value += inverse[g, step[t], i, j] * total[j]
                    means[g, t, i] = value
                    square += value * total[i]
                largest = max(largest, square)
                for i in range(n_rest):
                    value = total[n_own + i]
                    for j in range(n_own):
                        value -= gain[g, step[t], j, i] * total[j]
                    rest[i] = value
    return largest


@_jit
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
