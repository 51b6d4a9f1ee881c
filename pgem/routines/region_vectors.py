"""The vectors of a region, row by row: values and residuals at given noise, and its mean.

Everything is expanded about a *point*: noise, and values at which later steps look back.  These
need not agree with each other; by how much the values miss is the chain's defect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pgem.arrays import Floats
from pgem.routines.region_eliminate import largest_product, transpose
from pgem.routines.region_forms import PieceAt, evaluate_piece, log_density, predict, slope
from pgem.routines.region_groups import sum_members
from pgem.routines.region_layout import Layout, MemberLayout, ScopeLayout
from pgem.routines.region_matrices import Matrices

FAR = 1e8
"""Square of a correction, in posterior deviations, from which it is computed in two steps."""


@dataclass(eq=False)
class Point:
    """What everything is expanded about, and the pieces there.

    Attributes:
        noise: own noise of each scope's rows [G, rows, own].
        lagged: values that later steps read, by member [G, rows, d].
        values: values of members that are parents [G, rows, d].
        pieces: the pieces, by key.
    """

    noise: dict[str, Floats]
    lagged: dict[str, Floats]
    values: dict[str, Floats]
    pieces: dict[str, PieceAt]


class Vectors:
    """The vectors that belong to a region's matrices."""

    def __init__(self, layout: Layout, matrices: Matrices) -> None:
        self._layout, self._matrices = layout, matrices
        self._scopes = list(layout.scopes.values())
        self._n_g = matrices.n_g

    def find_means(self) -> Point:
        """The point of the posterior means."""
        point = self._evaluate(*self._origin())
        for _ in range(2):
            positions, largest = self._solve(point)
            point = self.move_to(point, positions)
            if not largest > FAR:
                break
        return point

    def _origin(self) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """No noise, and looked-back values that are 0 where missing."""
        noise = {s.name: np.zeros((self._n_g, s.n_rows, s.own)) for s in self._scopes}
        lagged = {
            name: np.broadcast_to(member.values, (self._n_g, *member.values.shape))
            for name, member in self._layout.members.items()
            if member.lags
        }
        return noise, lagged

    def to_move(self, at: Point) -> tuple[Vectors, Point]:
        """Vectors and a point of theirs that tell all that `move_to` needs."""
        return self, at

    def _evaluate(self, noise: dict[str, Floats], lagged: dict[str, Floats]) -> Point:
        """Evaluate all pieces at a point."""
        point = Point(noise, lagged, {}, {})
        for scope in self._scopes:
            self._evaluate_scope(scope, point)
        return point

    def _evaluate_scope(self, scope: ScopeLayout, point: Point) -> None:
        """Evaluate the pieces of a scope, after those of the scopes around it."""
        for member in scope.members:
            for piece in member.pieces:
                key = piece.piece.key
                point.pieces[key] = evaluate_piece(
                    self._matrices.forms[key], point.values, point.lagged, point.noise[scope.name]
                )
            if member.is_parent:
                point.values[member.member.name] = self.values(member, point.pieces)

    def _gradient(self, scope: ScopeLayout, point: Point) -> Floats:
        """Gradient of the scope's own log-density by x [G, rows, X]."""
        gradient = np.zeros((self._n_g, scope.n_rows, scope.size))
        gradient[:, :, : scope.own] = -point.noise[scope.name]
        for member in scope.members:
            for piece in member.pieces:
                key = piece.piece.key
                if not piece.is_hidden:
                    shown = point.pieces[key].whole().shown
                    piece.add(gradient, slope(self._matrices.forms[key], shown))
        return gradient

    def values(self, member: MemberLayout, pieces: Mapping[str, PieceAt]) -> Floats:
        """The member's values, missing coordinates filled in [G, rows, d]."""
        values = np.empty((self._n_g, *member.values.shape))
        values[:] = member.values
        for piece in member.pieces:
            if piece.is_complete:
                continue
            found = pieces[piece.piece.key].whole()
            rows = slice(None) if piece.rows is None else piece.rows
            predicted = found.predicted
            if predicted is None:
                predicted = predict(self._matrices.forms[piece.piece.key], found.phi)
            whole = predicted + found.residual
            if not piece.is_hidden:
                whole = np.where(member.seen[rows], member.values[rows], whole)
            values[:, rows] = whole
        return values

    def _defect(self, scope: ScopeLayout, point: Point) -> Floats:
        """By how much the looked-back values miss what their own steps predict."""
        defect = np.zeros((self._n_g, scope.n_rows, scope.state))
        for member in scope.members:
            if member.lags:
                name, n_free = member.member.name, len(member.free)
                missed = (point.values[name] - point.lagged[name])[:, :, member.free]
                defect[:, :, member.slot : member.slot + n_free] = missed
        return defect

    def _solve(self, point: Point) -> tuple[dict[str, Floats], float]:
        """Posterior mean of x about a point [G, rows, X], and its largest square."""
        gradients = {scope.name: self._gradient(scope, point) for scope in self._scopes}
        means: dict[str, Floats] = {}
        largest = 0.0
        for scope in reversed(self._scopes):
            gradient, n_own = gradients[scope.name], scope.own
            if scope.chain:
                assert self._matrices.chain and scope.parent
                defect = self._defect(scope, point)
                means[scope.name], message, most = self._matrices.chain.gradients(gradient, defect)
                gradients[scope.parent.name] += message
            else:
                step, own = self._matrices.steps[scope.name], gradient[..., :n_own]
                means[scope.name] = scope.local.times(own, step.inverse)
                most = largest_product(own, means[scope.name])
                if scope.parent:
                    assert scope.data is not None
                    message = gradient[..., n_own:] - scope.local.times(own, step.gain)
                    gradients[scope.parent.name] += sum_members(scope.data, message)
            largest = max(largest, most)
        return self.positions(means, point), largest

    def positions(self, means: dict[str, Floats], point: Point | None) -> dict[str, Floats]:
        """x of all rows, from the own noise where the rest is 0; no point: no defects."""
        positions: dict[str, Floats] = {}
        for scope in self._scopes:
            own = means[scope.name]
            if scope.parent is None:
                positions[scope.name] = own
                continue
            outer = positions[scope.parent.name]
            if scope.chain:
                assert self._matrices.chain
                defect = np.zeros((self._n_g, scope.n_rows, scope.state))
                defect = self._defect(scope, point) if point else defect
                positions[scope.name] = self._matrices.chain.positions(own, defect, outer)
                continue
            rest = outer[:, scope.parent_rows]
            if scope.own:
                gain = transpose(self._matrices.steps[scope.name].gain)
                own = own - scope.local.times(rest, gain)
            positions[scope.name] = np.concatenate([own, rest], axis=-1)
        return positions

    def move_to(self, point: Point, positions: dict[str, Floats]) -> Point:
        """The point with x added to it."""
        noise = {
            scope.name: point.noise[scope.name] + positions[scope.name][..., : scope.own]
            for scope in self._scopes
        }
        lagged = dict(point.lagged)
        for scope in self._scopes:
            if scope.chain:
                moved = self._moved_state(scope, positions[scope.name])
                defect = self._defect(scope, point)
                for member in scope.members:
                    if member.lags:
                        columns = slice(member.slot, member.slot + len(member.free))
                        values = lagged[member.member.name].copy()
                        change = moved[:, :, columns] + defect[:, :, columns]
                        values[:, :, member.free] += change
                        lagged[member.member.name] = values
        return self._evaluate(noise, lagged)

    def _moved_state(self, scope: ScopeLayout, x: Floats) -> Floats:
        """What x adds to the values that later steps read [G, rows, state]."""
        assert self._matrices.chain
        return scope.local.times(x, transpose(self._matrices.chain.move[:, :, : scope.state]))

    def log_density(self, at: Point) -> Floats:
        """log p of each top row, from the point of the posterior means [n_top, G]."""
        total: dict[str, Floats] = {}
        for scope in reversed(self._scopes):
            noise = at.noise[scope.name]
            rows = -0.5 * np.einsum("gri,gri->gr", noise, noise)
            rows -= (
                0.5 * self._matrices.steps[scope.name].log_det[:, self._matrices.step_of_row(scope)]
            )
            for member in scope.members:
                for piece in member.pieces:
                    key = piece.piece.key
                    if not piece.is_hidden:
                        piece.add(rows, log_density(self._matrices.forms[key], at.pieces[key]))
            total[scope.name] = rows + total.get(scope.name, 0.0)
            if scope.parent:
                assert scope.data is not None
                outer = total.get(scope.parent.name, 0.0)
                total[scope.parent.name] = outer + sum_members(scope.data, total[scope.name])
        found = np.ascontiguousarray(total[self._scopes[0].name].T)
        return np.where(np.isnan(found), -np.inf, found)
