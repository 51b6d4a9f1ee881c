"""The loops behind `lanes.py`, compiled by Numba when first called and then kept on disk.

Lanes stand side by side in memory, so that one instruction serves several of them.  A tile holds a
few steps of a group of lanes: the entry of step s, state j and lane i is at (s K + j) W + i, for K
states (padded to a multiple of four with states that nothing reaches) and W lanes.  The messages
before every tile are kept, and those inside it are computed again on the way back, which costs less
than writing and reading them all.
"""

from __future__ import annotations

import numpy as np

from pgem.routines.lane_reads import add_pairs, block, collect, multiply, read
from pgem.routines.loops import _inline, compiled

ZERO, ONE, TWO, THREE, FOUR = (np.uint64(k) for k in (0, 1, 2, 3, 4))
EIGHT = np.uint64(8)
STEPS = np.uint64(16)
"""Steps of a tile."""


# --- parts of a tile ----------------------------------------------------------------------------


@compiled
def advance(table, tile, messages, scales, width, active, n_steps, size):  # type: ignore[no-untyped-def]
    """Fill the messages after each step of a tile, from those before it, and their scales.

    A message is its scale times one that sums to one, but the first, which has no scale.
    """
    slot, last, inverse = size * width, size - FOUR, np.ones(width)
    for s in range(n_steps):
        before, after = s * slot, (s + ONE) * slot
        whole = scales[s * width : (s + ONE) * width]
        for i in range(active):
            whole[i] = 0.0
        for j in range(ZERO, size, FOUR):
            multiply(table, messages, before, messages, after, width, active, last, j)
            b0, o0 = before + j * width, after + j * width
            b1, b2, b3 = b0 + width, b0 + TWO * width, b0 + THREE * width
            o1, o2, o3 = o0 + width, o0 + TWO * width, o0 + THREE * width
            i0 = before + last * width
            i1, i2, i3 = i0 + width, i0 + TWO * width, i0 + THREE * width
            (t00, t01, t02, t03, t10, t11, t12, t13,
             t20, t21, t22, t23, t30, t31, t32, t33) = block(table, last, j)  # fmt: skip
            if last == ZERO:
                for i in range(active):
                    w, x = messages[i0 + i], messages[i1 + i]
                    y, z = messages[i2 + i], messages[i3 + i]
                    over = inverse[i]
                    p = (t00 * w + t10 * x + t20 * y + t30 * z) * (tile[b0 + i] * over)
                    q = (t01 * w + t11 * x + t21 * y + t31 * z) * (tile[b1 + i] * over)
                    r = (t02 * w + t12 * x + t22 * y + t32 * z) * (tile[b2 + i] * over)
                    u = (t03 * w + t13 * x + t23 * y + t33 * z) * (tile[b3 + i] * over)
                    messages[o0 + i], messages[o1 + i] = p, q
                    messages[o2 + i], messages[o3 + i] = r, u
                    whole[i] += (p + q) + (r + u)
            else:
                for i in range(active):
                    w, x = messages[i0 + i], messages[i1 + i]
                    y, z = messages[i2 + i], messages[i3 + i]
                    over = inverse[i]
                    p = messages[o0 + i] + t00 * w + t10 * x + t20 * y + t30 * z
                    q = messages[o1 + i] + t01 * w + t11 * x + t21 * y + t31 * z
                    r = messages[o2 + i] + t02 * w + t12 * x + t22 * y + t32 * z
                    u = messages[o3 + i] + t03 * w + t13 * x + t23 * y + t33 * z
                    p, q = p * (tile[b0 + i] * over), q * (tile[b1 + i] * over)
                    r, u = r * (tile[b2 + i] * over), u * (tile[b3 + i] * over)
                    messages[o0 + i], messages[o1 + i] = p, q
                    messages[o2 + i], messages[o3 + i] = r, u
                    whole[i] += (p + q) + (r + u)
        for i in range(active):
            inverse[i] = 1.0 / whole[i] if whole[i] != 0.0 else 0.0


@compiled
def carry(messages, scales, n_steps, width, active, size):  # type: ignore[no-untyped-def]
    """The last message of a tile, without its scale, becomes the first one of the next."""
    for j in range(size):
        at, to = (n_steps * size + j) * width, j * width
        for i in range(active):
            scale = scales[(n_steps - ONE) * width + i]
            messages[to + i] = messages[at + i] / scale if scale != 0.0 else 0.0


@compiled
def settle(messages, scales, left, width, active, n_steps, size, product, level, least, final):  # type: ignore[no-untyped-def]
    """What is kept of a tile: log-scales, the least scale, last messages."""
    whole = np.ones(width)
    for s in range(n_steps):
        for i in range(active):
            scale = scales[s * width + i] if s < left[i] else 1.0
            whole[i] *= scale
            below = scale if scale > 0.0 else 0.0
            least[i] = least[i] if scale >= least[i] else below
    for i in range(active):
        if 1e-250 < whole[i] < 1e250:
            if not 1e-100 < whole[i] < 1e100:
                level[i] += np.log(whole[i])
            else:
                product[i] *= whole[i]
                if not 1e-150 < product[i] < 1e150:
                    level[i] += np.log(product[i])
                    product[i] = 1.0
        else:
            for s in range(min(n_steps, left[i])):
                level[i] += np.log(scales[s * width + i])
        if ZERO < left[i] <= n_steps:
            scale = scales[(left[i] - ONE) * width + i]
            for j in range(size):
                message = messages[(left[i] * size + j) * width + i]
                final[j, i] = message / scale if scale != 0.0 else 0.0


@compiled
def find_faintest(messages, scales, n_steps, width, active, size, faint):  # type: ignore[no-untyped-def]
    """Lower `faint` to the least positive entry of the messages of a tile, by lane."""
    for s in range(n_steps):
        for j in range(size):
            at = ((s + ONE) * size + j) * width
            for i in range(active):
                value = messages[at + i] / scales[s * width + i]
                faint[i] = value if value < faint[i] and value > 0.0 else faint[i]


@compiled
def _place(start, end, left, inverse, width, active, size, slopes):  # type: ignore[no-untyped-def]
    """Begin the way back in the lanes that end here."""
    for j in range(size):
        for i in range(active):
            if left[i] == end:
                slopes[j * width + i] = start[j, i] * inverse[i]


@compiled
def _find_top(slopes, inverse, width, active, size, top):  # type: ignore[no-untyped-def]
    """Raise `top` to the slopes, by lane; what is no number counts as infinite."""
    for j in range(size):
        for i in range(active):
            value = slopes[j * width + i]
            value = value / inverse[i] if value > 0.0 or value < 0.0 else value
            value = value if value == value else np.inf
            top[i] = value if value > top[i] else top[i]


@compiled
def retreat(  # type: ignore[no-untyped-def]
    turned,
    tile,
    messages,
    scales,
    left,
    width,
    active,
    n_steps,
    size,
    start,
    slopes,
    pulls,
    posterior,
    watch,
):
    """Fill the posteriors of a tile, and `pulls` with the slopes by what T's product gives.

    `slopes` are the derivatives by the message after the tile, then by the one before it; lanes
    that end inside it begin with `start`.  In between, both are divided by the scale of the message
    that they belong to.  Returns the largest slope, if it is watched.
    """
    slot, inverse, top, ends = size * width, np.empty(width), np.zeros(width), False
    for i in range(active):
        scale = scales[(n_steps - ONE) * width + i]
        inverse[i] = 1.0 / scale if scale != 0.0 else 0.0
        ends = ends or left[i] <= n_steps
    for j in range(size):
        for i in range(active):
            slopes[j * width + i] *= inverse[i]
    for back in range(n_steps):
        s = n_steps - ONE - back
        at = s * slot
        if ends:
            _place(start, s + ONE, left, inverse, width, active, size, slopes)
        for i in range(active):
            scale = scales[(s - ONE) * width + i] if s > ZERO else 1.0
            inverse[i] = 1.0 / scale if scale != 0.0 else 0.0
        for j in range(size):
            here, own = at + j * width, j * width
            for i in range(active):
                slope, b = slopes[own + i], tile[here + i]
                posterior[here + i] = messages[here + slot + i] * slope
                pulls[here + i] = slope * (b * inverse[i])
        for j in range(ZERO, size, FOUR):
            multiply(turned, pulls, at, slopes, ZERO, width, active, size, j)
        if watch:
            _find_top(slopes, inverse, width, active, size, top)
    largest = 0.0
    for i in range(active):
        largest = max(largest, top[i])
    return largest


@_inline
def _active(left):  # type: ignore[no-untyped-def]
    """Lanes that have steps left, with those that fill the last instruction; they come first."""
    n = ZERO
    for i in range(np.uint64(len(left))):
        n += ONE if left[i] > ZERO else ZERO
    return (n + EIGHT - ONE) // EIGHT * EIGHT


@_inline
def _put_slopes(slope, length, size, slopes):  # type: ignore[no-untyped-def]
    """Write the derivatives of lanes that have steps."""
    width = np.uint64(len(length))
    for j in range(size):
        for i in range(width):
            if length[i] > ZERO:
                slopes[j, i] = slope[j * width + i]


@_inline
def _keep(store, kept, back):  # type: ignore[no-untyped-def]
    """Keep the message before a tile, or take it back."""
    for e in range(np.uint64(len(kept))):
        if back:
            store[e] = kept[e]
        else:
            kept[e] = store[e]


@_inline
def _any_faint(lows, faint_from):  # type: ignore[no-untyped-def]
    """Whether entries of what is seen may leave entries of a message too faint."""
    least = 0.0
    for i in range(len(lows)):
        least = min(least, lows[i])
    return not least > faint_from


@_inline
def _widest(cuts):  # type: ignore[no-untyped-def]
    """Lanes of the largest group."""
    most = ZERO
    for g in range(len(cuts) - 1):
        most = max(most, cuts[g + 1] - cuts[g])
    return most


# --- passes -------------------------------------------------------------------------------------


@compiled
def sweep(  # type: ignore[no-untyped-def]
    back, table, turned, n_states, seen, first, length, cuts, tapes, start, ends, level, lows,
    faint_from, found, found_seen, collected, watch,
):  # fmt: skip
    """All tiles in order, or back: messages, or the derivatives of log p by them.

    One function for both ways, since the compiler goes through all that is called once for each.

    Args:
        back: whether this is the way back, after one in order with the same tapes.
        table: T [K, K].
        turned: T with the earlier state last.
        n_states: states, without those that only fill a message.
        seen: what is seen (`Seen`).
        first: the first row of every lane.
        length: steps of every lane, falling within each group.
        cuts: where groups begin among the lanes, and the end.
        tapes: what is kept for the way back (`Tapes`).
        start: messages before every lane [K, lanes]; back, derivatives by those after it.
        ends: messages after every lane that has steps are written; back, derivatives by those
            before it.
        level: log p of every lane, given the message before it, is added; back, anything.
        lows: lowered to the least entry of what is seen, scale and entry of a message, the first a
            logarithm [3, lanes]; back, anything.
        faint_from: entries of what is seen (logarithms) that leave no entry of a message too faint.
        found: back, posteriors of T's entries, divided by them, are added [K, K].
        found_seen: back, posteriors of what is seen are collected (`lane_reads.py`).
        collected: whether both are wanted.
        watch: whether the largest derivative is wanted, which is returned.
    """
    size, most, largest = np.uint64(len(table)), _widest(cuts), 0.0
    slope, left, to = np.empty(size * most), np.empty_like(first), np.empty_like(first)
    tile, store, scale = tapes.tile, tapes.store, tapes.scales
    for g in range(len(cuts) - 1):
        l0, l1 = cuts[g], cuts[g + 1]
        width, slot, longest = l1 - l0, size * (l1 - l0), length[l0]
        product, own = np.ones(width), slice(l0, l1)
        for j in range(size):
            for i in range(width):
                store[j * width + i] = start[j, l0 + i]
                slope[j * width + i] = 0.0
        n_tiles = (longest + STEPS - ONE) // STEPS
        for k in range(n_tiles):
            number = n_tiles - ONE - k if back else k
            t, place = number * STEPS, tapes.places[g] + number * slot
            n_steps = min(STEPS, longest - t)
            for i in range(l0, l1):
                left[i] = length[i] - min(length[i], t)
                to[i] = first[i] + t
            active = _active(left[own])
            _keep(store, tapes.kept[place : place + slot], back)
            read(seen, n_states, to[own], left[own], width, active, n_steps, size, tapes.features,
                 tapes.shares, tile, level[own], lows[0, own])  # fmt: skip
            advance(table, tile, store, scale, width, active, n_steps, size)
            if back:
                top = retreat(turned, tile, store, scale, left[own], width, active, n_steps, size,
                              start[:, own], slope, tapes.pulls, tapes.posterior,
                              watch)  # fmt: skip
                largest = max(largest, top)
                if collected:
                    add_pairs(store, size, tapes.pulls, size, n_steps, width, active, found)
                    collect(seen, tile, tapes.posterior, tapes.features, tapes.shares, to[own],
                            left[own], width, active, n_steps, size, found_seen)  # fmt: skip
            else:
                settle(store, scale, left[own], width, active, n_steps, size, product, level[own],
                       lows[1, own], ends[:, own])  # fmt: skip
                if _any_faint(lows[0, own], faint_from):
                    find_faintest(store, scale, n_steps, width, active, size, lows[2, own])
                carry(store, scale, n_steps, width, active, size)
        if back:
            _put_slopes(slope, length[own], size, ends[:, own])
        else:
            for i in range(width):
                level[l0 + i] += np.log(product[i])
    return largest
