"""Loops of `region_rows`, compiled by Numba when first called and then kept on disk.

A tile of rows stands with its columns first, so that the innermost loops run along the rows, and
the products go to BLAS.  Most rows of a tile are of one form: all are multiplied by its matrix, and
the others put right one by one.
"""

from __future__ import annotations

import numpy as np

from pgem.routines.region_loops import jit

TILE = 256
"""Rows at a time: their columns stay in the nearest cache."""


@jit
def _load(rows, x, inputs, used, tile):  # type: ignore[no-untyped-def]
    """Fill a tile with x and some of the inputs of its rows."""
    n_x = x.shape[1]
    for j in range(n_x):
        column = tile[j]
        for c in range(len(rows)):
            column[c] = x[rows[c], j]
    for j in range(len(used)):
        column, source = tile[n_x + j], used[j]
        for c in range(len(rows)):
            column[c] = inputs[rows[c], source]


@jit
def _multiply(forms, maps, tile, out):  # type: ignore[no-untyped-def]
    """Each column of the tile times the matrix of its form."""
    main = forms[len(forms) // 2]
    np.dot(maps[main], tile, out)
    for c in range(len(forms)):
        form = forms[c]
        if form != main:
            for i in range(maps.shape[1]):
                value = 0.0
                for j in range(maps.shape[2]):
                    value += maps[form, i, j] * tile[j, c]
                out[i, c] = value


@jit
def _add_values(rows, values, seen, residual):  # type: ignore[no-untyped-def]
    """Turn what was predicted, times -1, into residuals of what is seen."""
    for i in range(values.shape[1]):
        column = residual[i]
        for c in range(len(rows)):
            column[c] += values[rows[c], i]
        if len(seen) > 0:
            for c in range(len(rows)):
                column[c] = column[c] if seen[rows[c], i] else 0.0


@jit
def slopes(rows, forms, inputs, used, maps, values, seen, weighted, gradient):  # type: ignore[no-untyped-def]
    """Add (C φ)ᵀ V⁻¹ e to the gradient of each row, e being the residual without noise.

    Args (others as in `squares`):
        maps: from the inputs to -C φ [forms, d, U].
        weighted: (C φ)ᵀ V⁻¹, C φ being its map from x [forms, X, d].
        gradient: added to [rows, X].
    """
    nothing = np.empty((0, 0))
    for first in range(0, len(rows), TILE):
        some, form = rows[first : first + TILE], forms[first : first + TILE]
        n = len(some)
        e, out = np.zeros((values.shape[1], n)), np.empty((gradient.shape[1], n))
        if len(used) > 0:
            tile = np.empty((len(used), n))
            _load(some, nothing, inputs, used, tile)
            _multiply(form, maps, tile, e)
        _add_values(some, values, seen, e)
        _multiply(form, weighted, e, out)
        for j in range(len(out)):
            column = out[j]
            for c in range(n):
                gradient[some[c], j] += column[c]


@jit
def squares(  # type: ignore[no-untyped-def]
    rows, forms, form_code, x, inputs, used, maps, values, seen, precision, found
):
    """Fill eᵀ V⁻¹ e of each row.

    Args:
        rows: rows of the scope [R].
        forms: form of each [R].
        form_code: coefficient set of each form.
        x: noise [rows, X].
        inputs: [rows, Z]. used: those that count [U].
        maps: from [x | inputs] to -C φ [forms, d, X + U].
        values: [rows, d]. seen: [rows, d], or empty if all are.
        precision: V⁻¹ [K, d, d], or its diagonal [K, 1, d].
        found: filled [R].
    """
    size = values.shape[1]
    for first in range(0, len(rows), TILE):
        some = rows[first : first + TILE]
        form, n = forms[first : first + TILE], len(some)
        tile, e, half = np.empty((maps.shape[2], n)), np.empty((size, n)), np.empty((size, n))
        _load(some, x, inputs, used, tile)
        _multiply(form, maps, tile, e)
        _add_values(some, values, seen, e)
        code = form_code[form]
        if precision.shape[1] == size:
            _multiply(code, precision, e, half)
        else:
            for i in range(size):
                for c in range(n):
                    half[i, c] = precision[code[c], 0, i] * e[i, c]
        total = found[first : first + TILE]
        total[:] = 0.0
        for i in range(size):
            one, other = half[i], e[i]
            for c in range(n):
                total[c] += one[c] * other[c]


@jit
def _weigh(code, codes, weights, both, half, chosen):  # type: ignore[no-untyped-def]
    """Rows of one code times their weights; nothing of others and of those without weight."""
    for c in range(len(codes)):
        chosen[c] = weights[c] if codes[c] == code and weights[c] > 0.0 else 0.0
    for i in range(len(both)):
        row, other = half[i], both[i]
        for c in range(len(codes)):
            row[c] = chosen[c] * other[c]


@jit
def _drop_weightless(weights, both):  # type: ignore[no-untyped-def]
    """Nothing of rows without weight, whatever they hold."""
    for i in range(len(both)):
        row = both[i]
        for c in range(len(weights)):
            row[c] = row[c] if weights[c] > 0.0 else 0.0


@jit
def _add_squares(half, residual, square):  # type: ignore[no-untyped-def]
    """Add Σ w e², `half` being w e."""
    for i in range(len(residual)):
        one, other, value = half[i], residual[i], 0.0
        for c in range(len(one)):
            value += one[c] * other[c]
        square[i] += value


@jit
def moments(  # type: ignore[no-untyped-def]
    rows, forms, form_code, x, inputs, used, maps, values, seen, weights, sums, square
):
    """Add Σ w [φ e] φᵀ by code, and Σ w [φ e] eᵀ or Σ w e²; rows of weight 0 count for nothing.

    Args (others as in `squares`):
        maps: from [x | inputs] to [φ | -C φ], or to [φ | e] [forms, M + d, X + U].
        weights: of the rows [R].
        sums: added to [K, M + d, M + d], or [K, M + d, M].
        square: in the second case Σ w e² is added to it [K, d].
    """
    n_both, n_right = maps.shape[1], sums.shape[2]
    n_phi = n_both - values.shape[1]
    part = np.empty((n_both, n_right))
    for first in range(0, len(rows), TILE):
        some, weight = rows[first : first + TILE], weights[first : first + TILE]
        form, n = forms[first : first + TILE], len(some)
        if not weight.max() > 0.0:
            continue
        tile, both = np.empty((maps.shape[2], n)), np.empty((n_both, n))
        half, chosen = np.empty((n_both, n)), np.empty(n)
        _load(some, x, inputs, used, tile)
        _multiply(form, maps, tile, both)
        _add_values(some, values, seen, both[n_phi:])
        _drop_weightless(weight, both)
        codes = form_code[form]
        for code in range(codes.min(), codes.max() + 1):
            _weigh(code, codes, weight, both, half, chosen)
            np.dot(half, both[:n_right].T, part)
            sums[code] += part
            if n_right < n_both:
                _add_squares(half[n_phi:], both[n_phi:], square[code])
