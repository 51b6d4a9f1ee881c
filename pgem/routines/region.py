"""Instruction `region`: integrate a connected set of linear-Gaussian nodes out, exactly.

A region's rows hang together through its latent values and holes.  Every value is an affine form in
independent standard-normal noise (`region_forms`); the noise is integrated out scope by scope from
the inside, and along a chain from its last step (`region_eliminate`, `region_chain`).  Nothing is
ever divided by the covariance of a latent value, so zero variances and stacked lags are plain
cases.  log p is evaluated at the posterior mean of the noise,

    log p(y) = log p(y | ε̂) - ½ |ε̂|² - ½ Σ log |M|,

where an error in ε̂ enters in second order only.  If ε̂ is far from 0, the vectors are computed once
more about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers
from pgem.routines.collect import ScopeData
from pgem.routines.region_chain import Chain, make_chain
from pgem.routines.region_eliminate import (
    Elimination,
    eliminate,
    empty_elimination,
    join,
    largest_product,
    transpose,
)
from pgem.routines.region_forms import (
    Evaluation,
    Forms,
    evaluate_piece,
    log_density,
    make_forms,
    predict,
    slope,
)
from pgem.routines.region_groups import Groups, block_size, sum_members
from pgem.routines.region_layout import Layout, MemberLayout, ScopeLayout
from pgem.routines.region_parts import Link, Member, Piece, RegionStatistics
from pgem.routines.region_statistics import (
    PieceRows,
    Posterior,
    draw_rest,
    piece_statistics,
    value_covariance,
)

__all__ = ["Link", "Member", "Piece", "Region", "RegionLayout", "RegionStatistics"]

FAR = 1e8
"""Square of a correction, in posterior deviations, from which it is computed in two steps."""


class RegionLayout(Layout):
    """Everything about a region that does not depend on parameters.

    Args:
        members: nodes of the region, parents before their children.
        scopes: rows of every scope inside `top`.
        parents: enclosing scope of each of them.
        top: the outermost scope.
        n_top: its number of rows.
        chain: the sequence along which some link looks back; None if none does.
    """

    def __init__(
        self,
        members: Sequence[Member],
        scopes: Mapping[str, ScopeData],
        parents: Mapping[str, str],
        top: str,
        n_top: int,
        chain: str | None,
    ) -> None:
        super().__init__(members, scopes, parents, top, n_top, chain)

    def evaluate(self, coefs: Mapping[str, Floats], covs: Mapping[str, Floats]) -> Region:
        """Integrate the region out at given parameters.

        Args:
            coefs: C of each piece [K, G, d, M].
            covs: V of each piece [K, G, d, d], or variances [K, G, d] where it is diagonal.

        Returns:
            The region; log p is -inf where a shown coordinate has no density.
        """
        with np.errstate(all="ignore"):
            return Region(self, coefs, covs)


@dataclass(eq=False)
class _Point:
    """Noise and looked-back values about which everything is expanded, and the pieces there."""

    noise: dict[str, Floats]
    lagged: dict[str, Floats]
    values: dict[str, Floats]
    pieces: dict[str, Evaluation]


def _is_range(values: Integers) -> bool:
    return np.array_equal(values, np.arange(len(values)))


class Region:
    """A region at given parameters.

    Attributes:
        log_p: log-density of all given values of each top row under each gate configuration
            [n_top, G].
    """

    log_p: Floats

    def __init__(
        self, layout: RegionLayout, coefs: Mapping[str, Floats], covs: Mapping[str, Floats]
    ) -> None:
        self._layout = layout
        self._scopes = list(layout.scopes.values())
        self._forms: dict[str, Forms] = {}
        self._value_forms: dict[str, Floats] = {}
        for scope in self._scopes:
            for member in scope.members:
                self._make_forms(scope, member, coefs, covs)
        self._n_g = next(iter(coefs.values())).shape[1]
        self._steps: dict[str, Elimination] = {}
        self._chain: Chain | None = None
        for scope in reversed(self._scopes):
            self._eliminate(scope)
        self._at = self._find_means()
        self._posteriors: dict[str, Posterior] = {}
        self.log_p = self._log_density()

    # --- matrices ---------------------------------------------------------------------------------

    def _make_forms(
        self,
        scope: ScopeLayout,
        member: MemberLayout,
        coefs: Mapping[str, Floats],
        covs: Mapping[str, Floats],
    ) -> None:
        for piece in member.pieces:
            key = piece.piece.key
            self._forms[key] = make_forms(
                member, piece, scope.size, coefs[key], covs[key], self._value_forms
            )
        if member.has_forms:
            parts = [self._forms[piece.piece.key].value(piece.design) for piece in member.pieces]
            self._value_forms[member.member.name] = np.concatenate(parts, axis=1)

    def _eliminate(self, scope: ScopeLayout) -> None:
        n_g, n = self._n_g, scope.local.n
        if scope.is_leaf:  # nothing to integrate out: rows tell the enclosing ones directly
            empty = empty_elimination(n_g, n, 0, scope.outer, n_messages=0)
            self._steps[scope.name] = replace(empty, log_det=np.zeros((n_g, n)))
            return
        information = self._information(scope, np.arange(n))
        if scope.chain:
            move = self._move(scope)
            self._chain = make_chain(scope.chain, information, move, scope.own)
            self._steps[scope.name] = self._chain.steps
        else:
            self._steps[scope.name] = eliminate(information, scope.own)

    def _information(self, scope: ScopeLayout, groups: Integers) -> Floats:
        """Information on x from the rows of some local groups [G, len(groups), X, X]."""
        total = np.zeros((self._n_g, len(groups), scope.size, scope.size))
        for member in scope.members:
            designs = scope.designs[member.member.name][groups]
            for piece in member.pieces:
                mine, design = piece.find(designs)
                wanted, place = np.unique(design, return_inverse=True)
                part = self._forms[piece.piece.key].information(piece.design[wanted])
                same = len(mine) == len(groups) and (len(wanted) == 1 or _is_range(place))
                if same:
                    total += part
                else:
                    total[:, mine] += part[:, place]
        for inner in scope.inner:
            total += self._messages(scope, inner)[:, scope.composition[inner.name][groups]]
        return total

    def _messages(self, scope: ScopeLayout, inner: ScopeLayout) -> Floats:
        """What the members of an inner scope tell, by composition [G, compositions, X, X]."""
        made = scope.compositions[inner.name]
        if inner.is_leaf:
            step = block_size(self._n_g * inner.size**2)
            return made.total(lambda groups: self._information(inner, groups), step)
        message = self._steps[inner.name].message
        if inner.chain and self._chain:
            step_of, first = self._chain.step, inner.state
            return made.total(lambda nodes: message[:, step_of[nodes], first:, first:])
        return made.total(lambda groups: message[:, groups])

    def _step_of_row(self, scope: ScopeLayout) -> Integers:
        """Which matrices of the elimination each row has."""
        return self._chain.step_of_row if scope.chain and self._chain else scope.local.ids

    def _move(self, scope: ScopeLayout) -> Floats:
        """From the x of a step to the [state | outer] of the next."""
        n_rest = scope.state + scope.outer
        move = np.zeros((self._n_g, scope.local.n, n_rest, scope.size))
        for member in scope.members:
            n_free, first = len(member.free), member.slot
            if not (member.lags and n_free):
                continue
            forms = self._value_forms[member.member.name]
            mine = forms[:, scope.designs[member.member.name]]
            move[:, :, first : first + n_free] = mine[:, :, member.free]
            older = np.arange(first + n_free, first + n_free * member.lags)
            move[:, :, older, scope.own + older - n_free] = 1.0
        outer = np.arange(scope.outer)
        move[:, :, scope.state + outer, scope.own + scope.state + outer] = 1.0
        return move

    # --- vectors ----------------------------------------------------------------------------------

    def _find_means(self) -> _Point:
        """The point of the posterior means."""
        noise = {s.name: np.zeros((self._n_g, s.n_rows, s.own)) for s in self._scopes}
        lagged = {
            name: np.broadcast_to(member.values, (self._n_g, *member.values.shape))
            for name, member in self._layout.members.items()
            if member.lags
        }
        point = self._evaluate(noise, lagged)
        for _ in range(2):
            positions, largest = self._solve(point)
            point = self._move_to(point, positions)
            if not largest > FAR:
                break
        return point

    def _evaluate(self, noise: dict[str, Floats], lagged: dict[str, Floats]) -> _Point:
        """Evaluate all pieces at a point."""
        point = _Point(noise, lagged, {}, {})
        for scope in self._scopes:
            for member in scope.members:
                for piece in member.pieces:
                    key = piece.piece.key
                    point.pieces[key] = evaluate_piece(
                        self._forms[key], point.values, lagged, noise[scope.name]
                    )
                if member.is_parent:
                    point.values[member.member.name] = self._values(member, point.pieces)
        return point

    def _gradient(self, scope: ScopeLayout, point: _Point) -> Floats:
        """Gradient of the scope's own log-density by x [G, rows, X]."""
        gradient = np.zeros((self._n_g, scope.n_rows, scope.size))
        gradient[:, :, : scope.own] = -point.noise[scope.name]
        for member in scope.members:
            for piece in member.pieces:
                key = piece.piece.key
                piece.add(gradient, slope(self._forms[key], point.pieces[key]))
        return gradient

    def _values(self, member: MemberLayout, pieces: Mapping[str, Evaluation]) -> Floats:
        """The member's values, missing coordinates filled in [G, rows, d]."""
        values = np.empty((self._n_g, *member.values.shape))
        values[:] = member.values
        for piece in member.pieces:
            if piece.is_complete:
                continue
            found = pieces[piece.piece.key]
            rows = slice(None) if piece.rows is None else piece.rows
            predicted = found.predicted
            if predicted is None:
                predicted = predict(self._forms[piece.piece.key], found.phi)
            whole = predicted + found.residual
            values[:, rows] = np.where(member.seen[rows], member.values[rows], whole)
        return values

    def _defect(self, scope: ScopeLayout, point: _Point) -> Floats:
        """By how much the looked-back values miss what their own steps predict."""
        defect = np.zeros((self._n_g, scope.n_rows, scope.state))
        for member in scope.members:
            if member.lags:
                name, n_free = member.member.name, len(member.free)
                missed = (point.values[name] - point.lagged[name])[:, :, member.free]
                defect[:, :, member.slot : member.slot + n_free] = missed
        return defect

    def _solve(self, point: _Point) -> tuple[dict[str, Floats], float]:
        """Posterior mean of x about a point [G, rows, X], and its largest square."""
        gradients = {scope.name: self._gradient(scope, point) for scope in self._scopes}
        means: dict[str, Floats] = {}
        largest = 0.0
        for scope in reversed(self._scopes):
            gradient, n_own = gradients[scope.name], scope.own
            if scope.chain:
                assert self._chain and scope.parent
                defect = self._defect(scope, point)
                means[scope.name], message, most = self._chain.gradients(gradient, defect)
                gradients[scope.parent.name] += message
            else:
                step, own = self._steps[scope.name], gradient[..., :n_own]
                means[scope.name] = scope.local.times(own, step.inverse)
                most = largest_product(own, means[scope.name])
                if scope.parent:
                    assert scope.data is not None
                    message = gradient[..., n_own:] - scope.local.times(own, step.gain)
                    gradients[scope.parent.name] += sum_members(scope.data, message)
            largest = max(largest, most)
        return self._positions(means, point), largest

    def _positions(self, means: dict[str, Floats], point: _Point | None) -> dict[str, Floats]:
        """x of all rows, from the own noise where the rest is 0; no point: no defects."""
        positions: dict[str, Floats] = {}
        for scope in self._scopes:
            own = means[scope.name]
            if scope.parent is None:
                positions[scope.name] = own
                continue
            outer = positions[scope.parent.name]
            if scope.chain:
                assert self._chain
                defect = np.zeros((self._n_g, scope.n_rows, scope.state))
                defect = self._defect(scope, point) if point else defect
                positions[scope.name] = self._chain.positions(own, defect, outer)
                continue
            rest = outer[:, scope.parent_rows]
            if scope.own:
                gain = transpose(self._steps[scope.name].gain)
                own = own - scope.local.times(rest, gain)
            positions[scope.name] = np.concatenate([own, rest], axis=-1)
        return positions

    def _move_to(self, point: _Point, positions: dict[str, Floats]) -> _Point:
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
        assert self._chain
        return scope.local.times(x, transpose(self._chain.move[:, :, : scope.state]))

    def _log_density(self) -> Floats:
        """log p at the posterior means [n_top, G]."""
        total: dict[str, Floats] = {}
        for scope in reversed(self._scopes):
            noise = self._at.noise[scope.name]
            rows = -0.5 * np.einsum("gri,gri->gr", noise, noise)
            rows -= 0.5 * self._steps[scope.name].log_det[:, self._step_of_row(scope)]
            for member in scope.members:
                for piece in member.pieces:
                    key = piece.piece.key
                    piece.add(rows, log_density(self._forms[key], self._at.pieces[key]))
            total[scope.name] = rows + total.get(scope.name, 0.0)
            if scope.parent:
                assert scope.data is not None
                outer = total.get(scope.parent.name, 0.0)
                total[scope.parent.name] = outer + sum_members(scope.data, total[scope.name])
        found = np.ascontiguousarray(total[self._scopes[0].name].T)
        return np.where(np.isnan(found), -np.inf, found)

    # --- answers ----------------------------------------------------------------------------------

    def _posterior(self) -> dict[str, Posterior]:
        """Posterior covariances of x, by scope; kept."""
        if not self._posteriors:
            for scope in self._scopes:
                outer = self._posteriors[scope.parent.name] if scope.parent else None
                self._posteriors[scope.name] = self._posterior_of(scope, outer)
        return self._posteriors

    def _posterior_of(self, scope: ScopeLayout, outer: Posterior | None) -> Posterior:
        step, local = self._steps[scope.name], scope.posterior_local
        if outer is None:
            return Posterior(scope.posterior, local, step.inverse, local)
        above = outer.groups_of(scope.posterior_outer)
        if scope.is_leaf:
            matrix = above if outer.matrix is None else outer.matrix[above]
            return Posterior(scope.posterior, local, outer.matrices, matrix)
        if not scope.chain:
            covariance = join(step.inverse[:, local], step.gain[:, local], outer.of(above))
            return Posterior(scope.posterior, local, covariance)
        assert self._chain
        n_outer = outer.groups.n if outer.node is None else len(outer.node)
        whole = outer.of(outer.groups_of(np.arange(n_outer)))
        covariance, node = self._chain.covariances(whole)
        first = Groups(node, covariance.shape[1]).first
        groups = Groups(node[scope.posterior.ids], covariance.shape[1])
        return Posterior(groups, local[first], covariance, None, node)

    def statistics(self, weights: Floats) -> dict[str, RegionStatistics]:
        """Expected statistics of every piece.

        Args:
            weights: posterior of the gate configurations of each top row, times the weight of the
                row [n_top, G]; where it is 0, nothing is added.
        """
        with np.errstate(all="ignore"):
            posteriors = self._posterior()
            found: dict[str, RegionStatistics] = {}
            rows: dict[str, Floats] = {}
            for scope in self._scopes:
                if scope.parent is None:
                    rows[scope.name] = np.ascontiguousarray(weights.T)
                else:
                    rows[scope.name] = rows[scope.parent.name][:, scope.parent_rows]
                given = PieceRows(rows[scope.name], posteriors[scope.name])
                for member in scope.members:
                    designs = scope.designs[member.member.name]
                    for piece in member.pieces:
                        key = piece.piece.key
                        found[key] = piece_statistics(
                            self._forms[key], self._at.pieces[key], given, designs
                        )
            return found

    def moments(self) -> dict[str, tuple[Floats, Floats]]:
        """Posterior mean [rows, G, d] and covariance [rows, G, d, d] of members with holes."""
        found = {}
        with np.errstate(all="ignore"):
            posteriors = self._posterior()
            for scope in self._scopes:
                for member in scope.members:
                    if not len(member.free):
                        continue
                    name = member.member.name
                    forms = [self._forms[piece.piece.key] for piece in member.pieces]
                    given = posteriors[scope.name]
                    cov = value_covariance(forms, scope.designs[name], given)
                    mean = self._values(member, self._at.pieces)
                    rows = cov[:, given.groups.ids]
                    found[name] = (np.swapaxes(mean, 0, 1).copy(), np.swapaxes(rows, 0, 1).copy())
        return found

    def draw(self, generator: Generator, choice: Integers) -> dict[str, Floats]:
        """One joint draw of all missing cells from their posterior.

        Args:
            generator: source of randomness.
            choice: gate configuration of each top row [n_top].

        Returns:
            Values of every member with a missing cell [rows, d].
        """
        with np.errstate(all="ignore"):
            means = {}
            for scope in self._scopes:
                noise = generator.standard_normal((self._n_g, scope.n_rows, scope.own))
                root = self._steps[scope.name].root[:, self._step_of_row(scope)]
                means[scope.name] = np.einsum("grij,gri->grj", root, noise)
            point = self._move_to(self._at, self._positions(means, None))
            return self._chosen(point, generator, choice)

    def _chosen(self, point: _Point, generator: Generator, choice: Integers) -> dict[str, Floats]:
        """The values of the chosen configurations, with the noise of leaves."""
        found: dict[str, Floats] = {}
        rows: dict[str, Integers] = {}
        for scope in self._scopes:
            if scope.parent is None:
                rows[scope.name] = np.asarray(choice)
            else:
                rows[scope.name] = rows[scope.parent.name][scope.parent_rows]
            for member in scope.members:
                if not len(member.free):
                    continue
                values = self._values(member, point.pieces)
                if not member.is_parent:
                    for piece in member.pieces:
                        piece.add(values, draw_rest(self._forms[piece.piece.key], generator))
                found[member.member.name] = values[rows[scope.name], np.arange(scope.n_rows)]
        return found
