"""The vectors of a scope in few products: φ and C φ of a row are linear in its noise and inputs.

`Vectors` evaluates a row value by value, first about 0 and then about the posterior mean.  Where
few matrices serve many rows, the same numbers are one product each: what is expected without noise
from the inputs (`region_inputs`), the gradient from the residuals that this leaves, and φ and C φ
from the posterior mean x of the noise.  Where x is far from 0, digits would be lost, and `Vectors`
does it after all.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.routines.region_eliminate import transpose
from pgem.routines.region_forms import Evaluation, Forms, PieceAt, finish, slope
from pgem.routines.region_groups import Groups
from pgem.routines.region_inputs import Expected, Inputs
from pgem.routines.region_layout import Layout, MemberLayout, ScopeLayout
from pgem.routines.region_matrices import Matrices
from pgem.routines.region_vectors import FAR, Point, Vectors

FEW = 8
"""Rows per form of a piece from which its products are worth while."""


def find_main(layout: Layout) -> ScopeLayout | None:
    """The chain's scope, or the outermost one, if few matrices serve its rows."""
    scope = (
        next(iter(layout.scopes.values())) if layout.chain is None else layout.scopes[layout.chain]
    )
    pieces = [piece for member in scope.members for piece in member.pieces]
    n_forms = sum(piece.forms.n for piece in pieces)
    n_rows = sum(len(piece.forms.ids) for piece in pieces)
    pays = bool(n_rows) and n_forms * FEW <= n_rows and bool(scope.chain or scope.own)
    return scope if pays else None


class DirectVectors(Vectors):
    """The vectors of a region, those of one scope in few products.

    Args:
        layout: of the region.
        matrices: at given parameters.
        main: the scope.
        inputs: the columns of its rows.
    """

    def __init__(
        self, layout: Layout, matrices: Matrices, main: ScopeLayout, inputs: Inputs
    ) -> None:
        super().__init__(layout, matrices)
        self._main, self._inputs = main, inputs
        self._expected = Expected(main, inputs, matrices.forms)
        self._missed = self._find_missed()

    def find_means(self) -> Point:
        noise, lagged = self._origin()
        point = Point(noise, lagged, {}, {})
        for scope in self._scopes:
            if scope is self._main:
                self._expect(point)
            else:
                self._evaluate_scope(scope, point)
        positions, largest = self._solve(point)
        if largest > FAR:
            return Vectors(self._layout, self._matrices).find_means()
        moved = {
            scope.name: noise[scope.name] + positions[scope.name][..., : scope.own]
            for scope in self._scopes
        }
        at = Point(moved, dict(lagged), {}, {})
        for scope in self._scopes:
            if scope is self._main:
                self._arrive(at, positions[scope.name])
            else:
                self._evaluate_scope(scope, at)
        return at

    def to_move(self, at: Point) -> tuple[Vectors, Point]:
        plain = Vectors(self._layout, self._matrices)
        return plain, plain.find_means()

    # --- without noise ---------------------------------------------------------------------------

    def _expect(self, point: Point) -> None:
        """Values that the scopes inside read."""
        for member in self._main.members:
            if self._main.inner and member.is_parent:
                values = np.repeat(member.values[None], self._n_g, axis=0)
                self._add_missing(member, values)
                point.values[member.member.name] = values

    def _unexpected(self, forms: Forms) -> Floats:
        """Residual of the shown coordinates without noise, else 0 [1 or G, R, d]."""
        piece, member = forms.piece, forms.member
        y = member.values[None, piece.span]
        maps = self._expected.predicted[piece.piece.key]
        found = _given(piece.forms, maps, self._inputs.values[piece.span])
        if found is None:
            return y
        rows, predicted = found
        shown = np.repeat(y, self._n_g, axis=0)
        shown[:, rows] -= predicted
        if not piece.is_complete:
            shown *= member.seen[piece.span]
        return shown

    def _add_missing(self, member: MemberLayout, values: Floats) -> None:
        """Add what is expected of the missing coordinates [G, rows, d]."""
        if member.has_forms:
            maps = self._expected.missing[member.member.name]
            found = _given(member.groups, maps, self._inputs.values)
            if found is not None:
                values[:, found[0]] += found[1]

    def _find_missed(self) -> Floats:
        """What is expected of the missing values that later steps look back at [G, rows, state]."""
        scope = self._main
        missed = np.zeros((self._n_g, scope.n_rows, scope.state))
        for member in scope.members:
            if member.lags and len(member.free):
                maps = self._expected.missing[member.member.name][:, :, member.free]
                found = _given(member.groups, maps, self._inputs.values)
                if found is not None:
                    slot = slice(member.slot, member.slot + len(member.free))
                    missed[:, found[0], slot] = found[1]
        return missed

    def _defect(self, scope: ScopeLayout, point: Point) -> Floats:
        return self._missed

    def _gradient(self, scope: ScopeLayout, point: Point) -> Floats:
        if scope is not self._main:
            return super()._gradient(scope, point)
        total = np.zeros((self._n_g, scope.n_rows, scope.size))
        for member in scope.members:
            for piece in member.pieces:
                if not piece.is_hidden:
                    self._add_slope(self._matrices.forms[piece.piece.key], total)
        return total

    def _add_slope(self, forms: Forms, total: Floats) -> None:
        piece = forms.piece
        if self._compiles(forms) and piece.piece.spread is None:
            from pgem.routines.region_rows import add_slopes

            given = self._expected.predicted[piece.piece.key]
            add_slopes(forms, self._inputs.values, given, total)
        else:
            piece.add(total, slope(forms, self._unexpected(forms)))

    def _compiles(self, forms: Forms) -> bool:
        """Whether compiled loops serve a piece: its residual follows from noise and own values."""
        piece = forms.piece
        if not self._matrices.compiles(self._main):
            return False
        if piece.is_hidden:
            return piece.piece.spread is None
        return piece.is_complete or (forms.kernel.fill is None and forms.root is None)

    # --- at the posterior mean -------------------------------------------------------------------

    def _arrive(self, at: Point, x: Floats) -> None:
        """Evaluate the scope's pieces at x [G, rows, X]."""
        for member in self._main.members:
            for piece in member.pieces:
                forms = self._matrices.forms[piece.piece.key]
                at.pieces[piece.piece.key] = self._make(forms, x)
            if self._main.inner and member.is_parent:
                values = self.values(member, at.pieces)
                at.values[member.member.name] = values
                if member.lags:
                    at.lagged[member.member.name] = values

    def _make(self, forms: Forms, x: Floats) -> PieceAt:
        """A piece at x, kept only where there are few rows or more is wanted than sums."""
        if self._compiles(forms):
            from pgem.routines.region_rows import MadeRows

            given = self._expected.both(forms.piece.piece.key)
            whole = partial(self._evaluate_at, forms, x)
            made: PieceAt = MadeRows(forms, x, self._inputs.values, given, whole)
        else:
            made = self._evaluate_at(forms, x)
        return made

    def _evaluate_at(self, forms: Forms, x: Floats) -> Evaluation:
        piece, n_phi = forms.piece, forms.phi.shape[2]
        maps = np.concatenate([forms.phi, forms.predicted], axis=2)
        both = piece.forms.times(piece.take(x), transpose(maps))
        given = self._expected.both(piece.piece.key)
        found = _given(piece.forms, given, self._inputs.values[piece.span])
        if found is not None:
            both[:, found[0]] += found[1]
        predicted = both[..., n_phi:]
        made = finish(forms, both[..., :n_phi], predicted, x)
        return replace(made, both=both) if made.residual is predicted else made


def _given(groups: Groups, maps: Floats, inputs: Floats) -> tuple[Integers | slice, Floats] | None:
    """What matrices of groups [G, n, a, Z] make of inputs [R, Z], where that is not 0.

    Returns:
        Rows, and the products in these [G, rows, a]; None where all is 0.
    """
    active = np.asarray(maps.any(axis=(0, 2, 3)))
    if not active.any():
        return None
    used = np.flatnonzero(maps.any(axis=(0, 1, 2)))
    rows = np.flatnonzero(active[groups.ids])
    if len(rows) * FEW > len(groups.ids):
        return slice(None), groups.times(inputs[None][..., used], transpose(maps[..., used]))
    mine, given = maps[:, groups.ids[rows]][..., used], inputs[rows[:, None], used]
    return rows, (mine @ given[..., None])[..., 0]
