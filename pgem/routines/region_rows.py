"""Pieces whose φ and residuals are not kept: compiled loops make them a tile at a time, twice.

Density and statistics of a piece need φ and e = y - C φ of a row once each.  Both are a matrix
times the row's noise and inputs, one matrix for all rows of a form, so that computing them again
costs less than writing and reading them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.routines.region_eliminate import transpose
from pgem.routines.region_forms import Evaluation, Forms, PieceAt
from pgem.routines.region_row_loops import moments, slopes, squares


def add_slopes(forms: Forms, inputs: Floats, given: Floats, gradient: Floats) -> None:
    """Add the gradient of a piece's log-density by x, without noise.

    Args:
        forms: of the piece.
        inputs: columns of the scope's rows [rows, Z].
        given: maps from them to C φ [G, forms, d, Z].
        gradient: added to [G, rows, X].
    """
    piece = forms.piece
    used: Integers = np.flatnonzero(given.any(axis=(0, 1, 2)))
    maps = np.ascontiguousarray(-given[..., used])
    precision, weighted = _precision(forms)[:, piece.form_code], transpose(forms.predicted)
    weighted = weighted * precision if forms.is_diagonal else weighted @ precision
    weighted = np.ascontiguousarray(weighted)
    for g, total in enumerate(gradient):
        rows = piece.places, piece.forms.ids, inputs, used
        slopes(*rows, maps[g], *_values(forms), weighted[g], total)


def _precision(forms: Forms) -> Floats:
    """V⁻¹ of each coefficient set [G, K, d, d], or its diagonal [G, K, 1, d]."""
    precision = forms.kernel.precision
    if forms.is_diagonal:
        return np.asarray(precision[:, :, None])
    return np.asarray(precision[:, _kernel_of_code(forms)])


def _values(forms: Forms) -> tuple[Floats, Mask]:
    """The values of a piece's member, and which are seen if not all are."""
    piece, member = forms.piece, forms.member
    masked = not (piece.is_complete or piece.is_hidden)
    return member.values, member.seen[: None if masked else 0]


class MadeRows(PieceAt):
    """A piece at the posterior mean of its noise, made when needed.

    Args:
        forms: of the piece.
        x: noise of the scope's rows [G, rows, X].
        inputs: columns of the scope's rows [rows, Z].
        given: maps from them to [φ | C φ] [G, forms, M + d, Z].
        whole: evaluates the piece outright, for those who ask for more than sums.
    """

    def __init__(
        self,
        forms: Forms,
        x: Floats,
        inputs: Floats,
        given: Floats,
        whole: Callable[[], Evaluation],
    ) -> None:
        self._forms, self._x, self._inputs, self._make = forms, x, inputs, whole
        self._used: Integers = np.flatnonzero(given.any(axis=(0, 1, 2)))
        n_phi = forms.phi.shape[2]
        second = -forms.predicted
        given = given[..., self._used]
        if forms.piece.is_hidden:
            second, given = _own_noise(forms), given.copy()
            given[:, :, n_phi:] = 0.0
        else:
            given = np.concatenate([given[:, :, :n_phi], -given[:, :, n_phi:]], axis=2)
        both = np.concatenate([forms.phi, second], axis=2)
        self._maps = np.concatenate([both, given], axis=3)

    def whole(self) -> Evaluation:
        return self._make()

    def squares(self, forms: Forms) -> Floats:
        precision = np.ascontiguousarray(_precision(forms))
        n_phi = forms.phi.shape[2]
        found = np.empty((len(self._x), len(forms.piece.forms.ids)))
        for g, row in enumerate(found):
            maps = np.ascontiguousarray(self._maps[g, :, n_phi:])
            squares(*self._rows(g), maps, *_values(forms), precision[g], row)
        return found

    def grams(self, forms: Forms, weights: Floats) -> tuple[Floats, Floats, Floats]:
        n_phi, n_both, n_codes = forms.phi.shape[2], self._maps.shape[2], forms.coefs.shape[1]
        n_right = n_phi if forms.is_diagonal else n_both
        sums = np.zeros((len(self._x), n_codes, n_both, n_right))
        square = np.zeros((len(self._x), n_codes, n_both - n_phi))
        for g, total in enumerate(sums):
            given = np.ascontiguousarray(weights[g])
            moments(*self._rows(g), self._maps[g], *_values(forms), given, total, square[g])
        if not forms.is_diagonal:
            square = sums[:, :, n_phi:, n_phi:].copy()
        return sums[:, :, :n_phi, :n_phi].copy(), sums[:, :, n_phi:, :n_phi].copy(), square

    def _rows(self, g: int) -> tuple[object, ...]:
        piece = self._forms.piece
        return (
            piece.places, piece.forms.ids, piece.form_code, self._x[g], self._inputs, self._used
        )  # fmt: skip


def _own_noise(forms: Forms) -> Floats:
    """Maps from x to the residual of what is not seen at all [G, forms, d, X]."""
    piece, member = forms.piece, forms.member
    found = np.zeros(forms.predicted.shape)
    if forms.root is not None:
        free = member.free
        root = forms.root if forms.root.ndim == 4 else forms.root[..., None] * np.eye(len(free))
        kernel = _kernel_of_code(forms)[piece.form_code]
        found[:, :, free, member.own] = root[:, kernel]
    return found


def _kernel_of_code(forms: Forms) -> Integers:
    """Kernel group of each coefficient set, where all rows show the same [K]."""
    found = np.zeros(forms.coefs.shape[1], dtype=np.int64)
    found[forms.piece.kernel_code] = np.arange(len(forms.piece.kernel_code))
    return found
