"""The loops behind `segment_kernels.py`, compiled by Numba when first called and kept on disk."""

from __future__ import annotations

import numpy as np

from pgem.routines.loops import _jit

SUM, MAX = 0, 1


@_jit
def forward(  # type: ignore[no-untyped-def]
    mode, starts, emit, transitions, reads, pairs, has_pairs, lasts, ends, group, begins, finishes,
    scales, message,
):  # fmt: skip
    """Fill where segments begin and end, what is taken off at each row, and the messages."""
    n_outer, size, n_long = lasts.shape[1], lasts.shape[2], lasts.shape[3]
    running, terms = np.empty((size, n_long)), np.empty(n_long)
    for s in range(len(starts) - 1):
        for u in range(n_outer):
            for t in range(starts[s], starts[s + 1]):
                age = min(t - starts[s] + 1, n_long)
                peak = -np.inf
                for k in range(size):
                    if t == starts[s]:
                        begin = transitions[reads[t], u, 0, k]
                        if has_pairs:
                            begin += pairs[t, u, 0, k]
                    else:
                        top = -np.inf
                        for j in range(size):
                            value = -np.inf
                            if j != k:
                                value = finishes[t - 1, u, j] + transitions[reads[t], u, j, k]
                                if has_pairs:
                                    value += pairs[t, u, j, k]
                            terms_j = value
                            if terms_j > top:
                                top = terms_j
                        begin = top
                        if mode == SUM and top > -np.inf:
                            total = 0.0
                            for j in range(size):
                                if j != k:
                                    value = finishes[t - 1, u, j] + transitions[reads[t], u, j, k]
                                    if has_pairs:
                                        value += pairs[t, u, j, k]
                                    total += np.exp(value - top)
                            begin = top + np.log(total)
                    begins[t, u, k] = begin
                    stay = emit[t, u, k]
                    if has_pairs:
                        stay += pairs[t, u, k, k]
                    for d in range(age - 1, 0, -1):
                        running[k, d] = running[k, d - 1] + stay
                        peak = max(peak, running[k, d])
                    running[k, 0] = begin + emit[t, u, k]
                    peak = max(peak, running[k, 0])
                if not (peak > -np.inf):
                    peak = 0.0
                scales[t, u] = peak
                for k in range(size):
                    top = -np.inf
                    for d in range(age):
                        running[k, d] -= peak
                        terms[d] = running[k, d] + lasts[group[t - d], u, k, d]
                        top = max(top, terms[d])
                    finish = top
                    if mode == SUM and top > -np.inf:
                        total = 0.0
                        for d in range(age):
                            total += np.exp(terms[d] - top)
                        finish = top + np.log(total)
                    finishes[t, u, k] = finish
            t = starts[s + 1] - 1
            age = min(starts[s + 1] - starts[s], n_long)
            top = -np.inf
            for k in range(size):
                for d in range(age):
                    top = max(top, running[k, d] + ends[group[t - d], u, k, d])
            message[s, u] = top
            if mode == SUM and top > -np.inf:
                total = 0.0
                for k in range(size):
                    for d in range(age):
                        total += np.exp(running[k, d] + ends[group[t - d], u, k, d] - top)
                message[s, u] = top + np.log(total)


@_jit
def expect(  # type: ignore[no-untyped-def]
    starts, emit, transitions, reads, pairs, has_pairs, lasts, ends, group, begins, finishes,
    scales, message, weights, states, post_moves, post_pairs, post_lasts, cut,
):  # fmt: skip
    """Add posterior expectations in the sum semiring."""
    n_outer, size, n_long = lasts.shape[1], lasts.shape[2], lasts.shape[3]
    ahead, after = np.empty((size, n_long)), np.zeros(size)
    whole = np.empty(size)
    for s in range(len(starts) - 1):
        for u in range(n_outer):
            weight, total = weights[s, u], message[s, u]
            if weight == 0.0 or not (total > -np.inf):
                continue
            for t in range(starts[s + 1] - 1, starts[s] - 1, -1):
                left = starts[s + 1] - t
                g = group[t]
                for k in range(size):
                    here = emit[t, u, k] - scales[t, u]
                    if left > 1:
                        stay = here
                        if has_pairs:
                            stay += pairs[t + 1, u, k, k]
                        for d in range(min(left, n_long) - 1, 0, -1):
                            ahead[k, d] = ahead[k, d - 1] + stay
                        ahead[k, 0] = here + after[k]
                    else:
                        ahead[k, 0] = here
                    top = -np.inf
                    for d in range(min(left, n_long)):
                        lasting = ends[g, u, k, d] if d == left - 1 else lasts[g, u, k, d]
                        top = max(top, ahead[k, d] + lasting)
                    whole[k] = top
                    if not (top > -np.inf):
                        continue
                    sum_, reached = 0.0, 0.0
                    factor = weight * np.exp(begins[t, u, k] + top - total)
                    for d in range(min(left, n_long) - 1, -1, -1):
                        lasting = ends[g, u, k, d] if d == left - 1 else lasts[g, u, k, d]
                        share = np.exp(ahead[k, d] + lasting - top)
                        sum_ += share
                        if factor > 0.0:
                            share *= factor
                            reached += share
                            if d == left - 1:
                                cut[g, u, k, d] += share
                            else:
                                post_lasts[g, u, k, d] += share
                            states[t + d, u, k] += reached
                            if has_pairs and d > 0:
                                post_pairs[t + d, u, k, k] += reached
                    whole[k] = top + np.log(sum_)
                    if reached > 0.0:
                        r = reads[t]
                        if t == starts[s]:
                            post_moves[r, u, 0, k] += reached
                            if has_pairs:
                                post_pairs[t, u, 0, k] += reached
                        else:
                            for j in range(size):
                                if j != k:
                                    value = finishes[t - 1, u, j] + transitions[r, u, j, k]
                                    if has_pairs:
                                        value += pairs[t, u, j, k]
                                    value = reached * np.exp(value - begins[t, u, k])
                                    post_moves[r, u, j, k] += value
                                    if has_pairs:
                                        post_pairs[t, u, j, k] += value
                if t > starts[s]:
                    for j in range(size):
                        top = -np.inf
                        for k in range(size):
                            if k != j:
                                value = transitions[reads[t], u, j, k] + whole[k]
                                if has_pairs:
                                    value += pairs[t, u, j, k]
                                top = max(top, value)
                        after[j] = top
                        if top > -np.inf:
                            sum_ = 0.0
                            for k in range(size):
                                if k != j:
                                    value = transitions[reads[t], u, j, k] + whole[k]
                                    if has_pairs:
                                        value += pairs[t, u, j, k]
                                    sum_ += np.exp(value - top)
                            after[j] = top + np.log(sum_)
