"""The loops behind `chain.py`, compiled by Numba when first called and then kept on disk.

One sequence after the other.  `T` is the transition table over its peak [R, K, K], read in row
`index[t]` by step t; `b` are the probabilities of what is seen, over their peak [Rows, K], read in
row `seen[t]`, or in row t where `seen` is empty.  Before the first step stands state 0.
"""

from __future__ import annotations

import numpy as np

from pgem.routines.loops import _inline, compiled

ZERO, ONE = np.uint64(0), np.uint64(1)
TINY = 1e-280
"""A sum that is larger has lost no digit by what underflow dropped from it."""
AT_ONCE = 64
"""Steps whose scales are multiplied before a logarithm is taken."""


@compiled
def forward(  # type: ignore[no-untyped-def]
    starts, index, turned, peaks, seen, b, b_peaks, messages, scales, total
):
    """Fill the messages after each step, their scales, and log p of each sequence.

    `turned` is T with the earlier state last.  Returns the faintest message entry and scale.
    """
    size = np.uint64(b.shape[1])
    before, new = np.empty(size), np.empty(size)
    own = len(seen) == 0
    faintest, least = 1.0, 1.0
    for s in range(len(starts) - 1):
        before[:] = 0.0
        before[ZERO] = 1.0
        product, level, waiting = 1.0, 0.0, 0
        for t in range(np.uint64(starts[s]), np.uint64(starts[s + 1])):
            r, row = index[t], t if own else seen[t]
            scale = 0.0
            for j in range(size):
                value = 0.0
                for a in range(size):
                    value += before[a] * turned[r, j, a]
                value *= b[row, j]
                new[j] = value
                scale += value
            scales[t] = scale
            inverse = 1.0 / scale
            for j in range(size):
                value = new[j] * inverse
                before[j] = value
                messages[t, j] = value
                faintest = min(faintest, value if value > 0.0 else 1.0)
            if not scale >= least:
                least = scale if scale > 0.0 else 0.0
            product *= scale
            level += peaks[r] + b_peaks[row]
            waiting += 1
            if waiting == AT_ONCE or not 1e-150 < product < 1e150:
                total[s] += np.log(product) + level
                product, level, waiting = 1.0, 0.0, 0
        total[s] += np.log(product) + level
    return faintest, least


@compiled
def backward(  # type: ignore[no-untyped-def]
    starts, index, table, seen, b, messages, scales, weights, found, found_b
):
    """Add the posteriors of the entries: of T divided by the entries themselves, and of b.

    What goes backwards is the derivative of log p by the message.  Returns the largest.
    """
    size = np.uint64(b.shape[1])
    slopes, here = np.empty(size), np.empty(size)
    own = len(seen) == 0
    largest = 0.0
    for s in range(len(starts) - 1):
        slopes[:] = weights[s]
        first = np.uint64(starts[s])
        for back in range(np.uint64(starts[s + 1]) - first):
            t = np.uint64(starts[s + 1]) - ONE - back
            r, row = index[t], t if own else seen[t]
            inverse = 1.0 / scales[t]
            for j in range(size):
                slope = slopes[j]
                found_b[row, j] += messages[t, j] * slope
                here[j] = slope * inverse * b[row, j]
            for a in range(size if t > first else ONE):
                weight = messages[t - ONE, a] if t > first else 1.0
                slope = 0.0
                for j in range(size):
                    slope += table[r, a, j] * here[j]
                for j in range(size):
                    found[r, a, j] += weight * here[j]
                slopes[a] = slope
                if not slope <= largest:
                    largest = slope if slope == slope else np.inf
    return largest


@_inline
def _exact(a0, message, logs, r, j, size, joint):  # type: ignore[no-untyped-def]
    """Log of the sum over the earlier state, with logarithms; fills its terms."""
    peak = a0
    for a in range(size):
        joint[a] = message[a] + logs[r, a, j]
        if joint[a] > peak or joint[a] != joint[a]:
            peak = joint[a]
    total = 0.0
    if peak > -np.inf:
        for a in range(size):
            joint[a] = np.exp(joint[a] - peak)
            total += joint[a]
        for a in range(size):
            joint[a] /= total
        peak += np.log(total)
    return peak


@compiled
def forward_log(  # type: ignore[no-untyped-def]
    starts, index, turned, peaks, logs, seen, b, messages, total
):
    """`forward` with logarithms of messages (their maximum 0) and of b."""
    size = np.uint64(b.shape[1])
    message, share, joint = np.empty(size), np.empty(size), np.empty(size)
    own = len(seen) == 0
    for s in range(len(starts) - 1):
        message[:] = -np.inf
        message[ZERO] = 0.0
        for t in range(np.uint64(starts[s]), np.uint64(starts[s + 1])):
            r, row = index[t], t if own else seen[t]
            for a in range(size):
                share[a] = np.exp(message[a])
            top = -np.inf
            for j in range(size):
                value = 0.0
                for a in range(size):
                    value += share[a] * turned[r, j, a]
                if value > TINY:
                    value = np.log(value) + peaks[r]
                else:
                    value = _exact(-np.inf, message, logs, r, j, size, joint)
                value += b[row, j]
                messages[t, j] = value
                if value > top or value != value:
                    top = value
            shift = 0.0 if top == -np.inf else top
            for j in range(size):
                messages[t, j] -= shift
                message[j] = messages[t, j]
            total[s] += shift
        value = 0.0
        for a in range(size):
            value += np.exp(message[a])
        total[s] += np.log(value)


@_inline
def _share_out(total, logs, out):  # type: ignore[no-untyped-def]
    """Split `total` by the shares of the logs; nothing of what is impossible."""
    whole = 0.0
    for j in range(len(out)):
        out[j] = np.exp(logs[j])
        whole += out[j]
    for j in range(len(out)):
        out[j] *= total / whole if whole > 0.0 else 0.0


@_inline
def _add_exact(  # type: ignore[no-untyped-def]
    lost, message, logs, r, size, joint, weight, found
):
    """Posteriors under later states whose sum had underflowed."""
    for j in range(size):
        if lost[j] > 0.0:
            _exact(-np.inf, message, logs, r, j, size, joint)
            for a in range(size):
                weight[a] += lost[j] * joint[a]
                found[r, a, j] += lost[j] * joint[a]


@compiled
def backward_log(  # type: ignore[no-untyped-def]
    starts, index, turned, logs, seen, messages, weights, found, found_exact, found_b
):
    """`backward` with logarithms of messages; `found_exact` holds what is not to be multiplied."""
    size = np.uint64(messages.shape[1])
    weight, message = np.empty(size), np.empty(size)
    share, ratio, joint, lost = np.empty((4, size))
    own = len(seen) == 0
    for s in range(len(starts) - 1):
        first, end = np.uint64(starts[s]), np.uint64(starts[s + 1])
        if end > first:
            _share_out(weights[s], messages[end - ONE], weight)
        for back in range(end - first):
            t = end - ONE - back
            r, row = index[t], t if own else seen[t]
            for a in range(size):
                start = 0.0 if a == ZERO else -np.inf
                message[a] = messages[t - ONE, a] if t > first else start
                share[a] = np.exp(message[a])
            for j in range(size):
                found_b[row, j] += weight[j]
                value = 0.0
                for a in range(size):
                    value += share[a] * turned[r, j, a]
                ratio[j] = weight[j] / value if value > TINY else 0.0
                lost[j] = weight[j] if value <= TINY else 0.0
            for a in range(size):
                value = 0.0
                for j in range(size):
                    value += turned[r, j, a] * ratio[j]
                    found[r, a, j] += share[a] * ratio[j]
                weight[a] = share[a] * value
            _add_exact(lost, message, logs, r, size, joint, weight, found_exact)
