"""The loops behind `lanes.py`, compiled by Numba when first called and then kept on disk.

Lanes stand side by side in memory, so that one instruction serves several of them.  A tile holds a
few steps of a group of lanes: the entry of step s, state j and lane i is at (s K + j) W + i, for K
states (padded to a multiple of four with states that nothing reaches) and W lanes.  Where all tiles
fit into the processor's cache, they and their messages are kept; else the messages before every
tile are, and those inside it are computed again on the way back, which costs less than writing and
reading them all.
"""

from __future__ import annotations

import numpy as np

from pgem.routines.lane_reads import add_by_row, put_rows, read_logs, read_table
from pgem.routines.loops import _inline, compiled

ZERO, ONE, TWO, THREE, FOUR = (np.uint64(k) for k in (0, 1, 2, 3, 4))
EIGHT = np.uint64(8)
STEPS = np.uint64(16)
"""Steps of a tile."""


# --- parts of a tile ----------------------------------------------------------------------------


@_inline
def _multiply(table, given, at, out, to, width, active, size):  # type: ignore[no-untyped-def]
    """Fill [K, W] at `to` with Σ_a table[a, j] given[a] of the [K, W] at `at`."""
    for j in range(ZERO, size, FOUR):
        o0 = to + j * width
        o1, o2, o3 = o0 + width, o0 + TWO * width, o0 + THREE * width
        for a in range(ZERO, size, FOUR):
            i0 = at + a * width
            i1, i2, i3 = i0 + width, i0 + TWO * width, i0 + THREE * width
            t00, t01 = table[a + ZERO, j], table[a + ZERO, j + ONE]
            t02, t03 = table[a + ZERO, j + TWO], table[a + ZERO, j + THREE]
            t10, t11 = table[a + ONE, j], table[a + ONE, j + ONE]
            t12, t13 = table[a + ONE, j + TWO], table[a + ONE, j + THREE]
            t20, t21 = table[a + TWO, j], table[a + TWO, j + ONE]
            t22, t23 = table[a + TWO, j + TWO], table[a + TWO, j + THREE]
            t30, t31 = table[a + THREE, j], table[a + THREE, j + ONE]
            t32, t33 = table[a + THREE, j + TWO], table[a + THREE, j + THREE]
            if a == ZERO:
                for i in range(active):
                    w, x, y, z = given[i0 + i], given[i1 + i], given[i2 + i], given[i3 + i]
                    out[o0 + i] = t00 * w + t10 * x + t20 * y + t30 * z
                    out[o1 + i] = t01 * w + t11 * x + t21 * y + t31 * z
                    out[o2 + i] = t02 * w + t12 * x + t22 * y + t32 * z
                    out[o3 + i] = t03 * w + t13 * x + t23 * y + t33 * z
            else:
                for i in range(active):
                    w, x, y, z = given[i0 + i], given[i1 + i], given[i2 + i], given[i3 + i]
                    out[o0 + i] += t00 * w + t10 * x + t20 * y + t30 * z
                    out[o1 + i] += t01 * w + t11 * x + t21 * y + t31 * z
                    out[o2 + i] += t02 * w + t12 * x + t22 * y + t32 * z
                    out[o3 + i] += t03 * w + t13 * x + t23 * y + t33 * z


@compiled
def advance(table, tile, messages, scales, width, active, n_steps, size):  # type: ignore[no-untyped-def]
    """Fill the messages after each step of a tile, from those before it, and their scales."""
    slot, whole = size * width, np.empty(width)
    for s in range(n_steps):
        before = s * slot
        _multiply(table, messages, before, messages, before + slot, width, active, size)
        for i in range(active):
            whole[i] = 0.0
        for j in range(ZERO, size, FOUR):
            at, out = before + j * width, before + slot + j * width
            for i in range(active):
                w = messages[out + i] * tile[at + i]
                x = messages[out + width + i] * tile[at + width + i]
                y = messages[out + TWO * width + i] * tile[at + TWO * width + i]
                z = messages[out + THREE * width + i] * tile[at + THREE * width + i]
                messages[out + i] = w
                messages[out + width + i] = x
                messages[out + TWO * width + i] = y
                messages[out + THREE * width + i] = z
                whole[i] += (w + x) + (y + z)
        for i in range(active):
            scales[s * width + i] = whole[i]
            whole[i] = 1.0 / whole[i] if whole[i] != 0.0 else 0.0
        for j in range(ZERO, size, FOUR):
            out = before + slot + j * width
            for i in range(active):
                messages[out + i] *= whole[i]
                messages[out + width + i] *= whole[i]
                messages[out + TWO * width + i] *= whole[i]
                messages[out + THREE * width + i] *= whole[i]


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
            for j in range(size):
                final[j, i] = messages[(left[i] * size + j) * width + i]


@compiled
def find_faintest(messages, n_steps, width, active, size, faint):  # type: ignore[no-untyped-def]
    """Lower `faint` to the least positive entry of the messages of a tile, by lane."""
    for k in range(size, (n_steps + ONE) * size):
        for i in range(active):
            value = messages[k * width + i]
            faint[i] = value if value < faint[i] and value > 0.0 else faint[i]


@compiled
def _place(start, end, left, width, active, size, slopes):  # type: ignore[no-untyped-def]
    """Begin the way back in the lanes that end here."""
    for j in range(size):
        for i in range(active):
            if left[i] == end:
                slopes[j * width + i] = start[j, i]


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
    that end inside it begin with `start`.  Returns the largest slope, if it is watched.
    """
    slot, inverse, top, ends = size * width, np.empty(width), np.zeros(width), False
    for i in range(active):
        ends = ends or left[i] <= n_steps
    for back in range(n_steps):
        s = n_steps - ONE - back
        at = s * slot
        for i in range(active):
            scale = scales[s * width + i]
            inverse[i] = 1.0 / scale if s < left[i] and scale != 0.0 else 0.0
        if ends:
            _place(start, s + ONE, left, width, active, size, slopes)
        for j in range(size):
            here, own = at + j * width, j * width
            for i in range(active):
                slope, b = slopes[own + i], tile[here + i]
                posterior[here + i] = messages[here + slot + i] * slope
                pulls[here + i] = slope * inverse[i] * b
        _multiply(turned, pulls, at, slopes, ZERO, width, active, size)
        for j in range(size if watch else ZERO):
            for i in range(active):
                value = slopes[j * width + i]
                value = value if value == value else np.inf
                top[i] = value if value > top[i] else top[i]
    largest = 0.0
    for i in range(active):
        largest = max(largest, top[i])
    return largest


@compiled
def add_pairs(messages, pulls, n_steps, width, active, size, found):  # type: ignore[no-untyped-def]
    """Add the products of the messages before and the pulls of all steps of a tile [K, K]."""
    slot = size * width
    if n_steps % TWO:  # steps are taken two at a time
        for k in range(n_steps * slot, (n_steps + ONE) * slot):
            pulls[k] = 0.0
    for s in range(ZERO, n_steps, TWO):
        for a in range(ZERO, size, TWO):
            for j in range(ZERO, size, FOUR):
                s00, s01, s02, s03, s10, s11, s12, s13 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                m0, p0 = s * slot + a * width, s * slot + j * width
                m1, p1, p2, p3 = m0 + width, p0 + width, p0 + TWO * width, p0 + THREE * width
                for i in range(active):
                    x, y = messages[m0 + i], messages[m1 + i]
                    v, w = messages[m0 + slot + i], messages[m1 + slot + i]
                    q0, q1, q2, q3 = pulls[p0 + i], pulls[p1 + i], pulls[p2 + i], pulls[p3 + i]
                    r0, r1 = pulls[p0 + slot + i], pulls[p1 + slot + i]
                    r2, r3 = pulls[p2 + slot + i], pulls[p3 + slot + i]
                    s00 += x * q0 + v * r0
                    s01 += x * q1 + v * r1
                    s02 += x * q2 + v * r2
                    s03 += x * q3 + v * r3
                    s10 += y * q0 + w * r0
                    s11 += y * q1 + w * r1
                    s12 += y * q2 + w * r2
                    s13 += y * q3 + w * r3
                found[a, j] += s00
                found[a, j + ONE] += s01
                found[a, j + TWO] += s02
                found[a, j + THREE] += s03
                found[a + ONE, j] += s10
                found[a + ONE, j + ONE] += s11
                found[a + ONE, j + TWO] += s12
                found[a + ONE, j + THREE] += s13


@_inline
def _active(left):  # type: ignore[no-untyped-def]
    """Lanes that have steps left, with those that fill the last instruction; they come first."""
    n = ZERO
    for i in range(np.uint64(len(left))):
        n += ONE if left[i] > ZERO else ZERO
    return (n + EIGHT - ONE) // EIGHT * EIGHT


@compiled
def _put_slopes(slope, length, size, slopes):  # type: ignore[no-untyped-def]
    """Write the derivatives of lanes that have steps."""
    width = np.uint64(len(length))
    for j in range(size):
        for i in range(width):
            if length[i] > ZERO:
                slopes[j, i] = slope[j * width + i]


@compiled
def _widest(cuts):  # type: ignore[no-untyped-def]
    """Lanes of the largest group."""
    most = ZERO
    for g in range(len(cuts) - 1):
        most = max(most, cuts[g + 1] - cuts[g])
    return most


# --- passes -------------------------------------------------------------------------------------


@compiled
def forward(  # type: ignore[no-untyped-def]
    table, b, b_peaks, seen, first, length, cuts, messages, whole, places, kept, tiles, stores,
    scales, final, level, lows, faint_from,
):  # fmt: skip
    """Messages before every tile, and after the last step of every lane.

    Args:
        table: T [K, K].
        b: probabilities [K, R] of what is seen over their peaks; logarithms [K, N] if `seen` is
            empty.
        b_peaks: logarithms of the peaks [R].
        seen: the row of b of every step.
        first: the first row of every lane.
        length: steps of every lane, falling within each group.
        cuts: where groups begin among the lanes, and the end.
        messages: messages before every lane [K, lanes].
        whole: whether all tiles, messages and scales are kept, or the messages before every tile.
        places: where those of each group begin.
        kept: messages before every tile.
        tiles, stores, scales: probabilities, messages and scales, of one tile or of all.
        final: messages after every lane that has steps are written.
        level: log p of every lane, given the message before it.
        lows: the least entry of b, scale and entry of a message, the first a logarithm [3, lanes].
        faint_from: entries of b (logarithms) that leave no entry of a message too faint.
    """
    size, own = np.uint64(len(table)), len(seen) == 0
    for g in range(len(cuts) - 1):
        l0, l1 = cuts[g], cuts[g + 1]
        width, slot = l1 - l0, size * (l1 - l0)
        to, left, product = (
            np.empty_like(first[l0:l1]),
            np.empty_like(first[l0:l1]),
            np.empty(width),
        )
        longest, at = length[l0], places[g] if whole else ZERO
        for i in range(width):
            to[i], left[i], product[i] = first[l0 + i], length[l0 + i], 1.0
            for j in range(size):
                stores[at + j * width + i] = messages[j, l0 + i]
        for t in range(ZERO, longest, STEPS):
            n_steps, active = min(STEPS, longest - t), _active(left)
            tile, store, scale = tiles[at:], stores[at:], scales[at // size :]
            if own:
                read_logs(
                    b, to, left, width, active, n_steps, size, tile, level[l0:l1], lows[0, l0:l1]
                )
            else:
                read_table(
                    b, b_peaks, seen, to, left, width, active, n_steps, size, tile, level[l0:l1]
                )
            advance(table, tile, store, scale, width, active, n_steps, size)
            settle(store, scale, left, width, active, n_steps, size, product, level[l0:l1],
                   lows[1, l0:l1], final[:, l0:l1])  # fmt: skip
            least = 0.0
            for i in range(l0, l1):
                least = min(least, lows[ZERO, i])
            if not least > faint_from:
                find_faintest(store, n_steps, width, active, size, lows[2, l0:l1])
            if whole:
                at += n_steps * slot
            else:
                place = places[g] + t // STEPS * slot
                for e in range(slot):
                    kept[place + e] = store[e]
                    store[e] = store[n_steps * slot + e]
            for i in range(width):
                left[i] -= min(left[i], n_steps)
                to[i] += n_steps
        for i in range(width):
            level[l0 + i] += np.log(product[i])


@compiled
def backward(  # type: ignore[no-untyped-def]
    table, turned, b, b_peaks, seen, first, length, cuts, whole, places, kept, tiles, stores,
    scales, start, slopes, found, found_b, collect, watch,
):  # fmt: skip
    """Derivatives of log p by the message before every lane, from those by the one after it.

    Args:
        table: T, and so on as in `forward`, which has filled `kept`, or `tiles` and the like.
        turned: T with the earlier state last.
        start: derivatives by the messages after every lane [K, lanes].
        slopes: derivatives by the messages before every lane that has steps are written.
        found: posteriors of T's entries, divided by them, are added [K, K].
        found_b: posteriors of b's entries are added [R, K]; if `seen` is empty, written [K, N].
        collect: whether posteriors are wanted.
        watch: whether the largest derivative is wanted, which is returned.
    """
    size, own = np.uint64(len(table)), len(seen) == 0
    most = _widest(cuts)
    posterior, pulls = np.empty(STEPS * size * most), np.empty(STEPS * size * most)
    slope, unused, largest = np.empty(size * most), np.zeros((2, most)), 0.0
    for g in range(len(cuts) - 1):
        l0, l1 = cuts[g], cuts[g + 1]
        width, slot, longest = l1 - l0, size * (l1 - l0), length[l0]
        left, to = np.empty_like(first[l0:l1]), np.empty_like(first[l0:l1])
        for e in range(slot):
            slope[e] = 0.0
        n_tiles = (longest + STEPS - ONE) // STEPS
        for back in range(n_tiles):
            k = n_tiles - ONE - back
            t = k * STEPS
            n_steps, at = min(STEPS, longest - t), places[g] + t * slot if whole else ZERO
            for i in range(width):
                left[i] = length[l0 + i] - min(length[l0 + i], t)
                to[i] = first[l0 + i] + t
            active = _active(left)
            tile, store, scale = tiles[at:], stores[at:], scales[at // size :]
            if not whole:
                place = places[g] + k * slot
                for e in range(slot):
                    store[e] = kept[place + e]
                if own:
                    read_logs(b, to, left, width, active, n_steps, size, tile, unused[0], unused[1])
                else:
                    read_table(
                        b, b_peaks, seen, to, left, width, active, n_steps, size, tile, unused[0]
                    )
                advance(table, tile, store, scale, width, active, n_steps, size)
            top = retreat(turned, tile, store, scale, left, width, active, n_steps, size,
                          start[:, l0:l1], slope, pulls, posterior, watch)  # fmt: skip
            largest = max(largest, top)
            if collect:
                add_pairs(store, pulls, n_steps, width, active, size, found)
                if own:
                    put_rows(posterior, to, left, width, active, n_steps, size, found_b)
                else:
                    add_by_row(posterior, seen, to, left, width, active, n_steps, size, found_b)
        _put_slopes(slope, length[l0:l1], size, slopes[:, l0:l1])
    return largest
