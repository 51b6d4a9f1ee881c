"""The conditionals of a region: as affine forms in the noise x, and evaluated at given noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pgem.arrays import Floats, square_root
from pgem.routines.region_groups import Groups
from pgem.routines.region_kernels import Kernel, make_kernel, masked_product
from pgem.routines.region_layout import Designs, LinkLayout, MemberLayout, PieceLayout
from pgem.routines.region_sums import gram, square_sums, weighted_squares


@dataclass(eq=False)
class Forms:
    """The matrices of a piece: how φ, C φ, the residual and the value depend on x.

    Attributes:
        member, piece: what they belong to.
        coefs: C [G, K, d, M].
        kernel: the noise given its shown coordinates.
        phi: of φ [G, forms, M, X].
        predicted: of C φ [G, forms, d, X].
        root: how the missing free coordinates depend on the row's own noise [G, B, free, free], or
            its diagonal [G, B, free]; None if they have none.
    """

    member: MemberLayout
    piece: PieceLayout
    coefs: Floats
    kernel: Kernel
    phi: Floats
    predicted: Floats
    root: Floats | None

    @property
    def is_diagonal(self) -> bool:
        """Whether V is diagonal."""
        return self.kernel.is_diagonal

    def residual(self, designs: Designs) -> Floats:
        """Forms of the residual [G, designs, d, X]."""
        predicted, kernel = self.predicted[:, designs.form], self.kernel
        if kernel.fill is not None:
            out = -(kernel.fill[:, designs.kernel] @ predicted)
        elif not self.piece.is_complete:
            out = -predicted * self.piece.shown[designs.kernel][:, :, None]
        else:
            out = -predicted
        if self.root is not None:
            free = self.member.free
            root = self.root if self.root.ndim == 4 else self.root[..., None] * np.eye(len(free))
            scaled = root[:, designs.kernel] * np.sqrt(designs.spread)[:, None, None]
            out[:, :, free, self.member.own] += scaled
        return np.asarray(out)

    def value(self, designs: Designs) -> Floats:
        """Forms of the value [G, designs, d, X], 0 for shown coordinates."""
        whole = self.predicted[:, designs.form] + self.residual(designs)
        return np.where(self.piece.shown[designs.kernel][:, :, None], 0.0, whole)

    def information(self, designs: Designs) -> Floats:
        """Information on x from the shown coordinates [G, designs, X, X]."""
        if self.is_diagonal and designs.share_forms:
            found = self._by_form(designs)
        else:
            forms, weighted = self._weighted(designs)
            if forms.shape[2] == 1:
                found = forms[:, :, 0, :, None] * weighted[:, :, 0, None, :]
            else:
                found = np.swapaxes(forms, -1, -2) @ weighted
        if self.piece.piece.spread is not None:
            found /= designs.spread[:, None, None]
        return np.asarray(found)

    def total_information(self, designs: Designs, counts: Floats) -> Floats:
        """The sum of `information` over designs, each counted so often [G, X, X]."""
        forms, weighted = self._weighted(designs)
        n_g, n, size, width = forms.shape
        known = np.repeat(counts / designs.spread, size)[:, None]
        flat = forms.reshape(n_g, n * size, width) * known
        return np.asarray(np.swapaxes(flat, -1, -2) @ weighted.reshape(n_g, n * size, width))

    def _weighted(self, designs: Designs) -> tuple[Floats, Floats]:
        """Forms A of C φ, and V_oo⁻¹ A [G, designs, d, X]."""
        forms, precision = self.predicted[:, designs.form], self.kernel.precision
        if not self.is_diagonal:
            return forms, precision[:, designs.kernel] @ forms
        weights = precision[:, self.kernel.code[designs.kernel]]
        if not self.piece.is_complete:
            weights = weights * self.piece.shown[designs.kernel]
        return forms, weights[..., None] * forms

    def _by_form(self, designs: Designs) -> Floats:
        """Σ_d precision_d a_d a_dᵀ, where few forms serve many patterns."""
        n_g, _, size, width = self.predicted.shape
        found = np.empty((n_g, len(designs), width * width))
        for k, which in designs.by_form.slices:
            a = self.predicted[:, k]
            weighted = self.kernel.precision[:, self.piece.form_code[k], :, None] * a
            squares = weighted[..., :, None] * a[..., None, :]
            found[:, which] = masked_product(
                self.piece.shown[designs.kernel[which]], squares.reshape(n_g, size, width * width)
            )
        return found.reshape(n_g, len(designs), width, width)


def make_forms(
    member: MemberLayout,
    piece: PieceLayout,
    width: int,
    coefs: Floats,
    covs: Floats,
    values: Mapping[str, Floats],
) -> Forms:
    """The forms of a piece.

    Args:
        member: its member.
        piece: the piece.
        width: number of columns of x in its scope.
        coefs: C [K, G, d, M].
        covs: V [K, G, d, d] or [K, G, d].
        values: forms of the members' values [G, designs, d, columns of their scope].
    """
    c = np.moveaxis(coefs, 1, 0)
    phi = np.zeros((len(c), piece.forms.n, c.shape[-1], width))
    for link in piece.links:
        if link.columns is not None:
            _add_state(phi, link)
        elif link.design is not None:
            add_parent(phi, link, link.design, values[link.link.parent])
    kernel = make_kernel(piece, covs)
    predicted = c[:, piece.form_code] @ phi
    return Forms(member, piece, c, kernel, phi, predicted, _root(member, kernel))


def add_parent(phi: Floats, link: LinkLayout, designs: Groups, value: Floats) -> None:
    """A parent of this row or an enclosing one: its forms fill the last columns of x."""
    start, stop = link.link.start, link.link.stop
    place = phi[:, :, start:stop, phi.shape[-1] - value.shape[-1] :]
    if link.scale is None:
        place += designs.spread(value)
    elif link.link.contracts:
        scale = np.broadcast_to(link.scale, (len(value), *link.scale.shape))
        place[:, :, 0] += designs.times(scale, value)
    else:
        place += link.scale[:, None, None] * designs.spread(value)


def _add_state(phi: Floats, link: LinkLayout) -> None:
    """A parent of an earlier step: its free coordinates are columns of x."""
    assert link.columns is not None
    start = link.link.start
    scale = np.ones(phi.shape[1]) if link.scale is None else link.scale
    for column, coordinate in zip(link.columns, link.free, strict=True):
        if link.link.contracts:
            phi[:, :, start, column] += scale[:, coordinate]
        else:
            phi[:, :, start + coordinate, column] += scale


def _root(member: MemberLayout, kernel: Kernel) -> Floats | None:
    """How the free coordinates depend on the row's own noise."""
    if kernel.shown.all() or not member.has_forms:
        return None
    rest = kernel.rest()
    if kernel.is_diagonal:
        return np.sqrt(np.maximum(rest[..., member.free], 0.0))
    return square_root(rest[..., member.free[:, None], member.free])


class PieceAt(ABC):
    """A piece at given noise: what density and statistics need of it."""

    @abstractmethod
    def whole(self) -> Evaluation:
        """All of its rows."""

    @abstractmethod
    def squares(self, forms: Forms) -> Floats:
        """eᵀ V⁻¹ e of the shown coordinates [G, R]."""

    @abstractmethod
    def grams(self, forms: Forms, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Σ w φ φᵀ, Σ w e φᵀ, and Σ w e eᵀ or its diagonal, by code [G, K, ...].

        Args:
            forms: of the piece.
            weights: [G, R]; rows of weight 0 count for nothing.
        """


@dataclass(eq=False)
class Evaluation(PieceAt):
    """A piece at given noise.

    Attributes:
        phi: φ [G, R, M].
        predicted: C φ [G, R, d]; None: it is not kept, since nobody reads the value.
        shown: the residual of the shown coordinates, else 0 [G, R, d].
        residual: the expectation of the whole residual given the noise [G, R, d].
        both: [φ | residual] if they stand side by side in memory [G, R, M + d].
    """

    phi: Floats
    predicted: Floats | None
    shown: Floats
    residual: Floats
    both: Floats | None = None

    def whole(self) -> Evaluation:
        return self

    def squares(self, forms: Forms) -> Floats:
        piece, kernel = forms.piece, forms.kernel
        if forms.is_diagonal:
            return weighted_squares(self.shown, piece.codes.spread(kernel.precision))
        weighted = piece.kernels.times(self.shown, kernel.precision)
        return np.asarray(np.einsum("grd,grd->gr", weighted, self.shown))

    def grams(self, forms: Forms, weights: Floats) -> tuple[Floats, Floats, Floats]:
        codes, n_codes, n_phi = forms.piece.codes, forms.coefs.shape[1], self.phi.shape[-1]
        if self.both is None or (forms.is_diagonal and self.residual.shape[-1] > n_phi):
            if forms.is_diagonal:
                square = square_sums(codes, n_codes, weights, self.residual)
            else:
                square = gram(codes, n_codes, weights, self.residual, self.residual)
            phi = gram(codes, n_codes, weights, self.phi, self.phi)
            return phi, gram(codes, n_codes, weights, self.residual, self.phi), square
        whole = gram(codes, n_codes, weights, self.both, self.both)
        square = whole[..., n_phi:, n_phi:].copy()
        if forms.is_diagonal:
            square = np.diagonal(square, axis1=-2, axis2=-1).copy()
        return whole[..., :n_phi, :n_phi].copy(), whole[..., n_phi:, :n_phi].copy(), square


def evaluate_piece(
    forms: Forms, values: Mapping[str, Floats], lagged: Mapping[str, Floats], noise: Floats
) -> Evaluation:
    """Evaluate a piece.

    Args:
        forms: of the piece.
        values: values of the members in this row or an enclosing one [G, rows, d].
        lagged: values that later steps read [G, rows, d].
        noise: own noise of the rows of the scope [G, rows, own].
    """
    piece = forms.piece
    phi = np.empty((len(forms.coefs), len(piece.forms.ids), forms.coefs.shape[-1]))
    phi[:] = piece.piece.const
    for link in piece.links:
        source = (lagged if link.link.lag else values)[link.link.parent]
        add_value(phi, link, source if link.rows is None else source[:, link.rows])
    return finish(forms, phi, predict(forms, phi), noise)


def finish(forms: Forms, phi: Floats, predicted: Floats, noise: Floats) -> Evaluation:
    """A piece of which φ and C φ are known.

    Args:
        forms: of the piece.
        phi: φ [G, R, M].
        predicted: C φ [G, R, d]; may be overwritten.
        noise: of the rows of the scope, their own first [G, rows, ...].
    """
    piece, member = forms.piece, forms.member
    if piece.is_hidden and forms.root is not None:
        shown = np.broadcast_to(0.0, predicted.shape)
        residual = np.zeros(predicted.shape)
        residual[:, :, member.free] = _own_part(forms, piece.take(noise[:, :, member.own]))
        return Evaluation(phi, predicted, shown, residual)
    keep = member.has_forms and not piece.is_complete
    shown = np.subtract(member.values[piece.span], predicted, out=None if keep else predicted)
    kept = predicted if keep else None
    if piece.is_complete:
        return Evaluation(phi, kept, shown, shown)
    shown *= member.seen[piece.span]
    residual = shown
    if forms.kernel.fill is not None:
        residual = piece.kernels.times(shown, np.swapaxes(forms.kernel.fill, -1, -2))
    if forms.root is not None:
        residual = residual.copy() if residual is shown else residual
        residual[:, :, member.free] += _own_part(forms, piece.take(noise[:, :, member.own]))
    return Evaluation(phi, kept, shown, residual)


def predict(forms: Forms, phi: Floats) -> Floats:
    """C φ [G, R, d]."""
    return forms.piece.codes.times(phi, np.swapaxes(forms.coefs, -1, -2))


def add_value(phi: Floats, link: LinkLayout, value: Floats) -> None:
    """What a parent's values [G, R, size] add to φ [G, R, M]."""
    start, stop, scale = link.link.start, link.link.stop, link.link.scale
    if scale is None:
        phi[:, :, start:stop] += value
    elif link.link.contracts:
        phi[:, :, start] += np.einsum("rd,grd->gr", scale, value)
    else:
        phi[:, :, start:stop] += scale[:, None] * value


def _own_part(forms: Forms, noise: Floats) -> Floats:
    assert forms.root is not None
    kernels = forms.piece.kernels
    if forms.root.ndim == 3:
        part = kernels.spread(forms.root) * noise
    else:
        part = kernels.times(noise, np.swapaxes(forms.root, -1, -2))
    spread = forms.piece.piece.spread
    return part if spread is None else part * np.sqrt(spread)[:, None]


def slope(forms: Forms, shown: Floats) -> Floats:
    """Gradient of a piece's log-density by x [G, R, X], from its residual [1 or G, R, d]."""
    piece, precision = forms.piece, forms.kernel.precision
    if forms.is_diagonal:
        weighted = precision[:, piece.form_code, :, None] * forms.predicted
        gradient = piece.forms.times(shown, weighted)
    elif piece.designs.few:
        weighted = precision[:, piece.design.kernel] @ forms.predicted[:, piece.design.form]
        gradient = piece.designs.times(shown, weighted)
    else:
        gradient = piece.forms.times(piece.kernels.times(shown, precision), forms.predicted)
    return gradient if piece.piece.spread is None else gradient / piece.piece.spread[:, None]


def log_density(forms: Forms, at: PieceAt) -> Floats:
    """log p of the shown coordinates [G, R]."""
    piece, kernel = forms.piece, forms.kernel
    square = at.squares(forms)
    if piece.piece.spread is not None:
        square = square / piece.piece.spread
    constant = kernel.log_scale[:, piece.design.kernel]
    if piece.piece.spread is not None:
        n_shown = piece.shown.sum(axis=1)[piece.design.kernel]
        constant = constant + n_shown * np.log(piece.design.spread)
    return np.asarray(-0.5 * (square + piece.designs.spread(constant)))
