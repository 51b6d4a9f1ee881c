"""Expected statistics of a region's pieces, and the moments of its values.

With posterior mean x̂ and covariance S of the noise, E[φ φᵀ] = φ̂ φ̂ᵀ + Φ S Φᵀ: the first part is a
product over rows, the second is summed over groups of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers, Mask, square_root
from pgem.routines.region_eliminate import transpose
from pgem.routines.region_forms import Forms, PieceAt
from pgem.routines.region_groups import Groups, as_slice, block_size, sum_groups
from pgem.routines.region_kernels import masked_total
from pgem.routines.region_layout import Designs
from pgem.routines.region_parts import RegionStatistics


@dataclass(eq=False)
class Posterior:
    """Posterior covariances of x in the rows of a scope.

    Attributes:
        groups: rows by posterior.
        local: local group of each group of rows.
        matrices: the distinct covariances [G, n, X, X].
        matrix: which of them each group of rows has; None: one each.
        node: group of rows of each posterior group of the layout; None: the same.
    """

    groups: Groups
    local: Integers
    matrices: Floats
    matrix: Integers | None = None
    node: Integers | None = None

    def of(self, groups: Integers) -> Floats:
        """Covariances of some groups of rows [G, len(groups), X, X]."""
        return self.matrices[:, as_slice(groups if self.matrix is None else self.matrix[groups])]

    def groups_of(self, layout: Integers) -> Integers:
        """Groups of rows of some posterior groups of the layout."""
        return layout if self.node is None else self.node[layout]


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
    forms: Forms, at: PieceAt, given: PieceRows, designs: Integers
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
    phi, cross, square = at.grams(forms, known)
    for part in _covariance_parts(forms, given, designs):
        for target, addend in zip((phi, cross, square), part, strict=True):
            target += addend
    return RegionStatistics(
        _outwards(codes.totals(own, n_codes)),
        _outwards(codes.totals(known, n_codes)),
        _outwards(phi),
        _outwards(cross),
        _outwards(square),
    )


def _outwards(values: Floats) -> Floats:
    """[G, K, ...] → [K, G, ...]."""
    return np.ascontiguousarray(np.swapaxes(values, 0, 1))


def _covariance_parts(
    forms: Forms, given: PieceRows, designs: Integers
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """What the posterior covariance adds to phi, cross and square [G, K, ...], in blocks."""
    piece = forms.piece
    groups, mine = piece.find(designs[given.posterior.local])
    order = np.argsort(mine, kind="stable")
    groups, mine = groups[order], mine[order]
    n_g, _, _, width = forms.phi.shape
    step = block_size(n_g * width * width)
    for first in range(0, piece.designs.n, step):
        block = slice(*np.searchsorted(mine, [first, first + step]))
        here = piece.design[first : first + step]
        weight, total = _by_design(forms, here, given, groups[block], mine[block] - first)
        yield _block_parts(forms, here, weight, total)


def _by_design(
    forms: Forms, here: Designs, given: PieceRows, groups: Integers, design: Integers
) -> tuple[Floats, Floats]:
    """Σ w [G, designs] and Σ w/s S [G, designs, X, X] over groups of rows, by their designs."""
    piece, n = forms.piece, len(here)
    weights = given.by_group[:, groups]
    if piece.counted is not None:
        weights = weights * piece.shown[here.kernel[design]].any(axis=1)
    covariance = given.posterior.of(groups)
    if not (weights > 0).all():
        covariance = np.where(weights[..., None, None] > 0, covariance, 0.0)
    if n == 1:
        total = (weights[:, None] @ covariance.reshape(*weights.shape, -1)).reshape(
            len(weights), 1, *covariance.shape[2:]
        )
    else:
        total = sum_groups(weights[..., None, None] * covariance, design, n)
    if piece.piece.spread is not None:
        total = total / here.spread[:, None, None]
    return sum_groups(weights, design, n), total


def _block_parts(
    forms: Forms, here: Designs, weight: Floats, total: Floats
) -> tuple[Floats, Floats, Floats]:
    """What some designs add to phi, cross and square [G, K, ...].

    Args:
        forms: of the piece.
        here: the designs.
        weight: Σ w of each design [G, designs].
        total: Σ w/s S of each design [G, designs, X, X].
    """
    piece, n_codes = forms.piece, forms.coefs.shape[1]
    plain = piece.is_complete or (forms.is_diagonal and forms.root is None)
    if plain and (here.share_forms or here.n_forms == 1):
        found = _by_form(forms, here, total)
        some = sum_groups(weight, here.form, here.n_forms) > 0
        code = piece.form_code
    else:
        phi, residual = forms.phi[:, here.form], forms.residual(here)
        half = total @ transpose(phi)
        square = _square(forms.is_diagonal, residual, total)
        found = (phi @ half, residual @ half, square)
        some, code = weight > 0, piece.form_code[here.form]
    phi, cross, square = (sum_groups(_clear(part, some), code, n_codes) for part in found)
    if not piece.is_complete and forms.root is None:
        square = square + _rest_part(forms, here, weight)
    return phi, cross, square


def _rest_part(forms: Forms, here: Designs, weight: Floats) -> Floats:
    """What the missing coordinates of a leaf add to its square [G, K, ...]."""
    kernel, n_codes = forms.kernel, forms.coefs.shape[1]
    code = kernel.code[here.kernel]
    if kernel.is_diagonal:
        total = np.zeros(kernel.noise.shape)
        for k, which in Groups(code, n_codes).slices:
            gone = ~kernel.shown[here.kernel[which]]
            total[:, k] = masked_total(gone, weight[:, which, None])[..., 0]
        return np.where(total > 0, total * kernel.noise, 0.0)
    rest = weight[..., None, None] * kernel.noise[:, here.kernel]
    return sum_groups(_clear(rest, weight > 0), code, n_codes)


def _by_form(forms: Forms, here: Designs, total: Floats) -> tuple[Floats, Floats, Floats]:
    """phi, cross and square by form, where few forms serve many patterns of a leaf."""
    whole = sum_groups(total, here.form, here.n_forms)
    half = whole @ transpose(forms.phi)
    phi = forms.phi @ half
    if forms.piece.is_complete:
        square = _square(forms.is_diagonal, forms.predicted, whole)
        return phi, -forms.predicted @ half, square
    n_g, n_forms, size, width = forms.predicted.shape
    cross = np.zeros((n_g, n_forms, size, forms.phi.shape[2]))
    square = np.zeros((n_g, n_forms, size))
    for k, which in here.by_form.slices:
        mine = total[:, which]
        flat = mine.reshape(*mine.shape[:2], width * width)
        seen = masked_total(forms.piece.shown[here.kernel[which]], flat)
        seen = seen.reshape(n_g, size, width, width)
        part = np.einsum("gdx,gdxy->gdy", forms.predicted[:, k], seen)
        cross[:, k] = -part @ transpose(forms.phi[:, k])
        square[:, k] = np.einsum("gdy,gdy->gd", part, forms.predicted[:, k])
    return phi, cross, square


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


def value_covariance(forms: Sequence[Forms], designs: Integers, given: Posterior) -> Floats:
    """Posterior covariance of a member's value in each group of rows [G, groups, d, d].

    Args:
        forms: of all pieces of the member.
        designs: its design in each local group.
        given: posterior of its scope.
    """
    size = forms[0].coefs.shape[2]
    found = np.zeros((len(given.matrices), given.groups.n, size, size))
    for form in forms:
        mine, design = form.piece.find(designs[given.local])
        here = form.piece.design[design]
        value = form.value(here)
        part = value @ given.of(mine) @ transpose(value)
        if not form.piece.is_complete and form.root is None:
            part += _matrices(form)[:, here.kernel] * here.spread[:, None, None]
        found[:, mine] = part
    return found


def _matrices(forms: Forms) -> Floats:
    """Covariance of the missing coordinates given the shown [G, B, d, d]."""
    rest = forms.kernel.rest()
    return rest if rest.ndim == 4 else rest[..., None] * np.eye(rest.shape[-1])


def draw_rest(forms: Forms, generator: Generator) -> Floats:
    """Noise of the missing coordinates of a leaf's rows [G, R, d]."""
    piece = forms.piece
    n_rows, size = len(piece.kernels.ids), forms.coefs.shape[2]
    noise = generator.standard_normal((len(forms.coefs), n_rows, size))
    if piece.is_complete:
        return np.zeros_like(noise)
    if forms.is_diagonal:
        noise = piece.kernels.spread(np.sqrt(forms.kernel.rest())) * noise
    else:
        noise = piece.kernels.times(noise, transpose(square_root(forms.kernel.rest())))
    spread = piece.piece.spread
    return noise if spread is None else noise * np.sqrt(spread)[:, None]
