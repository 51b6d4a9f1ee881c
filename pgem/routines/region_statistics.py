"""Expected statistics of a region's pieces, and the moments of its values.

With posterior mean x̂ and covariance S of the noise, E[φ φᵀ] = φ̂ φ̂ᵀ + Φ S Φᵀ: the first part is a
product over rows, the second is summed over groups of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers, Mask
from pgem.routines.region_eliminate import transpose
from pgem.routines.region_forms import Evaluation, Forms, sum_designs
from pgem.routines.region_groups import Groups, sum_groups
from pgem.routines.region_kernels import square_root
from pgem.routines.region_parts import RegionStatistics


@dataclass(eq=False)
class Posterior:
    """Posterior covariances of x in the rows of a scope.

    Attributes:
        groups: rows by equal covariance.
        covariance: the distinct ones [G, n, X, X].
        local: local group of each of them.
        node: which of them each posterior group of the layout has; None: one each.
    """

    groups: Groups
    covariance: Floats
    local: Integers
    node: Integers | None = None

    @property
    def n_groups(self) -> int:
        """Number of posterior groups of the layout."""
        return self.covariance.shape[1] if self.node is None else len(self.node)

    def shared(self, groups: Integers) -> Integers:
        """Which covariance each of these groups of the layout has."""
        return groups if self.node is None else self.node[groups]


@dataclass(eq=False)
class PieceRows:
    """What a scope tells its pieces: the weights of its rows [G, rows], and their posteriors."""

    weights: Floats
    posterior: Posterior

    @cached_property
    def by_group(self) -> Floats:
        """Sum of weights in each posterior group [G, groups]."""
        return self.posterior.groups.totals(self.weights)


def piece_statistics(
    forms: Forms, at: Evaluation, given: PieceRows, designs: Integers
) -> RegionStatistics:
    """Statistics of one piece.

    Args:
        forms: of the piece.
        at: the piece at the posterior mean.
        given: weights and covariances of its scope.
        designs: the member's design in each local group.
    """
    piece = forms.piece
    n_codes = forms.coefs.shape[1]
    own = piece.take(given.weights)
    if piece.counted is not None:
        kept = np.zeros_like(own)
        kept[:, piece.counted] = own[:, piece.counted]
        own = kept
    known = own if piece.piece.spread is None else own / piece.piece.spread
    known = np.where(own > 0, known, 0.0)
    codes = piece.codes
    phi = _gram(codes, n_codes, known, at.phi, at.phi)
    cross = _gram(codes, n_codes, known, at.residual, at.phi)
    if forms.is_diagonal:
        square = _squares(codes, n_codes, known, at.residual)
    else:
        square = _gram(codes, n_codes, known, at.residual, at.residual)
    weight, total = _by_design(forms, given, designs)
    for target, part in zip(
        (phi, cross, square), _covariance_parts(forms, weight, total), strict=True
    ):
        target += part
    return RegionStatistics(
        _outwards(_totals(codes, n_codes, own)),
        _outwards(_totals(codes, n_codes, known)),
        _outwards(phi),
        _outwards(cross),
        _outwards(square),
    )


def _outwards(values: Floats) -> Floats:
    """[G, K, ...] → [K, G, ...]."""
    return np.ascontiguousarray(np.swapaxes(values, 0, 1))


def _totals(codes: Groups, n_codes: int, weights: Floats) -> Floats:
    return np.array([np.bincount(codes.ids, row, n_codes) for row in weights])


def _gram(codes: Groups, n_codes: int, weights: Floats, a: Floats, b: Floats) -> Floats:
    """Σ w a bᵀ by code [G, K, p, q]; rows of weight 0 are left out."""
    out = np.zeros((len(a), n_codes, a.shape[-1], b.shape[-1]))
    for g, w in enumerate(weights):
        if not codes.few:
            kept = np.flatnonzero(w)
            part = (w[kept, None] * a[g, kept])[:, :, None] * b[g, kept][:, None, :]
            out[g] = sum_groups(part[None], codes.ids[kept], n_codes)[0]
            continue
        for k, rows in codes.slices:
            chosen = _positive(w, rows)
            out[g, k] = a[g, chosen].T @ (b[g, chosen] * w[chosen, None])
    return out


def _squares(codes: Groups, n_codes: int, weights: Floats, e: Floats) -> Floats:
    """Σ w e² by code [G, K, d]."""
    out = np.zeros((len(e), n_codes, e.shape[-1]))
    for g, w in enumerate(weights):
        if not codes.few:
            kept = np.flatnonzero(w)
            part = w[kept, None] * e[g, kept] ** 2
            out[g] = sum_groups(part[None], codes.ids[kept], n_codes)[0]
            continue
        for k, rows in codes.slices:
            chosen = _positive(w, rows)
            out[g, k] = w[chosen] @ e[g, chosen] ** 2
    return out


def _positive(weights: Floats, rows: Integers | slice) -> Integers | slice:
    """Those of the rows that have a weight."""
    if (weights[rows] > 0).all():
        return rows
    whole = np.arange(len(weights))[rows]
    return whole[weights[whole] > 0]


def _by_design(forms: Forms, given: PieceRows, designs: Integers) -> tuple[Floats, Floats]:
    """Σ w [G, designs] and Σ w/s S [G, designs, X, X] over the rows of each design."""
    piece = forms.piece
    mine = designs[given.posterior.local]
    groups = np.flatnonzero((mine >= piece.start) & (mine < piece.stop))
    design = mine[groups] - piece.start
    weights = given.by_group[:, groups]
    if piece.counted is not None:
        weights = weights * piece.shown[piece.kernel[design]].any(axis=1)
    covariance = given.posterior.covariance[:, groups]
    if not (weights > 0).all():
        covariance = np.where(weights[..., None, None] > 0, covariance, 0.0)
    n = piece.designs.n
    if n == 1:
        total = np.einsum("gc,gcxy->gxy", weights, covariance)[:, None]
    else:
        total = sum_groups(weights[..., None, None] * covariance, design, n)
    return sum_groups(weights, design, n), total / piece.spread[:, None, None]


def _covariance_parts(forms: Forms, weight: Floats, total: Floats) -> tuple[Floats, Floats, Floats]:
    """What the posterior covariance adds to phi, cross and square [G, K, ...].

    Args:
        forms: of the piece.
        weight: Σ w of each design [G, designs].
        total: Σ w/s S of each design [G, designs, X, X].
    """
    piece, n_codes = forms.piece, forms.coefs.shape[1]
    by_form = sum_designs(forms, total)
    some = sum_designs(forms, weight) > 0
    phi = _clear(forms.phi @ by_form @ transpose(forms.phi), some)
    if forms.is_simple:
        cross = _clear(-forms.predicted @ by_form @ transpose(forms.phi), some)
        square = _clear(_square(forms.is_diagonal, forms.predicted, by_form), some)
        code = piece.form_code
    elif forms.is_diagonal and forms.root is None and piece.forms.n * 4 <= piece.designs.n:
        cross, square = _masked(forms, total)
        cross, square, code = _clear(cross, some), _clear(square, some), piece.form_code
    else:
        residual = forms.residual()
        cross = _clear(residual @ total @ transpose(forms.phi[:, piece.form]), weight > 0)
        square = _clear(_square(forms.is_diagonal, residual, total), weight > 0)
        code = piece.form_code[piece.form]
    parts = (
        sum_groups(phi, piece.form_code, n_codes),
        sum_groups(cross, code, n_codes),
        sum_groups(square, code, n_codes),
    )
    if forms.kernel.rest is not None and forms.root is None:
        rest = forms.kernel.rest[:, piece.kernel]
        rest = _clear(weight.reshape(weight.shape + (1,) * (rest.ndim - 2)) * rest, weight > 0)
        parts[2][:] += sum_groups(rest, piece.form_code[piece.form], n_codes)
    return parts


def _clear(values: Floats, some: Mask) -> Floats:
    """0 where no weight is."""
    if some.all():
        return values
    return np.where(some.reshape(some.shape + (1,) * (values.ndim - 2)), values, 0.0)


def _square(diagonal: bool, forms: Floats, covariance: Floats) -> Floats:
    """A S Aᵀ [G, n, d, d], or its diagonal [G, n, d]."""
    half = forms @ covariance
    if diagonal:
        return np.asarray((half * forms).sum(axis=-1))
    return np.asarray(half @ transpose(forms))


def _masked(forms: Forms, total: Floats) -> tuple[Floats, Floats]:
    """cross and square by form, where few forms serve many patterns of a diagonal leaf."""
    piece = forms.piece
    n_g, n_forms, size, width = forms.predicted.shape
    cross = np.empty((n_g, n_forms, size, forms.phi.shape[2]))
    square = np.empty((n_g, n_forms, size))
    shown = piece.shown[piece.kernel].astype(float)
    for k in range(n_forms):
        mine = piece.form == k
        flat = total[:, mine].reshape(n_g, int(mine.sum()), width * width)
        seen = (shown[mine].T @ flat).reshape(n_g, size, width, width)
        half = np.einsum("gdx,gdxy->gdy", forms.predicted[:, k], seen)
        cross[:, k] = -half @ transpose(forms.phi[:, k])
        square[:, k] = np.einsum("gdy,gdy->gd", half, forms.predicted[:, k])
    return cross, square


def value_covariance(forms: Sequence[Forms], designs: Integers, given: Posterior) -> Floats:
    """Posterior covariance of a member's value in each posterior group [G, groups, d, d].

    Args:
        forms: of all pieces of the member.
        designs: its design in each local group.
        given: posterior of its scope.
    """
    covariance, designs = given.covariance, designs[given.local]
    size = forms[0].coefs.shape[2]
    found = np.zeros((*covariance.shape[:2], size, size))
    for form in forms:
        piece = form.piece
        mine = np.flatnonzero((designs >= piece.start) & (designs < piece.stop))
        design = designs[mine] - piece.start
        value = form.value()[:, design]
        part = value @ covariance[:, mine] @ transpose(value)
        if form.kernel.rest is not None and form.root is None:
            rest = _matrices(form)[:, piece.kernel[design]]
            part = part + rest * piece.spread[design][:, None, None]
        found[:, mine] = part
    return found


def _matrices(forms: Forms) -> Floats:
    """Covariance of the missing coordinates given the shown [G, B, d, d]."""
    rest = forms.kernel.rest
    assert rest is not None
    return rest if rest.ndim == 4 else rest[..., None] * np.eye(rest.shape[-1])


def draw_rest(forms: Forms, generator: Generator) -> Floats:
    """Noise of the missing coordinates of a leaf's rows [G, R, d]."""
    piece = forms.piece
    n_rows, size = len(piece.kernels.ids), forms.coefs.shape[2]
    noise = generator.standard_normal((len(forms.coefs), n_rows, size))
    if forms.kernel.rest is None:
        return np.zeros_like(noise)
    if forms.is_diagonal:
        noise = piece.kernels.spread(np.sqrt(forms.kernel.rest)) * noise
    else:
        noise = piece.kernels.times(noise, transpose(square_root(forms.kernel.rest)))
    spread = piece.piece.spread
    return noise if spread is None else noise * np.sqrt(spread)[:, None]
