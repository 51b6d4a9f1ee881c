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

from collections.abc import Container, Iterator, Mapping
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers
from pgem.routines.region_direct import DirectVectors, find_main
from pgem.routines.region_inputs import Inputs, make_inputs
from pgem.routines.region_layout import Layout, MemberLayout, ScopeLayout
from pgem.routines.region_matrices import Matrices
from pgem.routines.region_parts import Link, Member, Piece, RegionStatistics
from pgem.routines.region_statistics import (
    PieceRows,
    draw_rest,
    piece_statistics,
    value_covariance,
)
from pgem.routines.region_vectors import Point, Vectors

AnyArray = TypeVar("AnyArray", Floats, Integers)

__all__ = ["Link", "Member", "Piece", "Region", "RegionLayout", "RegionStatistics"]


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

    @cached_property
    def main(self) -> tuple[ScopeLayout, Inputs] | None:
        """The scope that few matrices serve, with the columns of its rows, if there is one."""
        scope = find_main(self)
        return None if scope is None else (scope, make_inputs(self, scope))

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
        self._scopes = list(layout.scopes.values())
        self._matrices = Matrices(layout, coefs, covs)
        self._vectors = (
            Vectors(layout, self._matrices)
            if layout.main is None
            else DirectVectors(layout, self._matrices, *layout.main)
        )
        self._at = self._vectors.find_means()
        self.log_p = self._vectors.log_density(self._at)

    def statistics(
        self, weights: Floats, keys: Container[str] | None = None
    ) -> dict[str, RegionStatistics]:
        """Expected statistics of every piece.

        Args:
            weights: posterior of the gate configurations of each top row, times the weight of the
                row [n_top, G]; where it is 0, nothing is added.
            keys: pieces that are asked for; all by default.
        """
        with np.errstate(all="ignore"):
            posteriors = self._matrices.posteriors()
            rows = self._to_rows(np.ascontiguousarray(weights.T))
            given = {name: PieceRows(rows[name], part) for name, part in posteriors.items()}
            return {
                piece.piece.key: piece_statistics(
                    self._matrices.forms[piece.piece.key],
                    self._at.pieces[piece.piece.key],
                    given[scope.name],
                    scope.designs[member.member.name],
                )
                for scope in self._scopes
                for member in scope.members
                for piece in member.pieces
                if keys is None or piece.piece.key in keys
            }

    def moments(self) -> dict[str, tuple[Floats, Floats]]:
        """Posterior mean [rows, G, d] and covariance [rows, G, d, d] of members with holes."""
        found = {}
        with np.errstate(all="ignore"):
            posteriors = self._matrices.posteriors()
            for scope, member in self._with_holes():
                name, given = member.member.name, posteriors[scope.name]
                forms = [self._matrices.forms[piece.piece.key] for piece in member.pieces]
                cov = value_covariance(forms, scope.designs[name], given)[:, given.groups.ids]
                mean = self._vectors.values(member, self._at.pieces)
                found[name] = (np.swapaxes(mean, 0, 1).copy(), np.swapaxes(cov, 0, 1).copy())
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
                noise = generator.standard_normal((self._matrices.n_g, scope.n_rows, scope.own))
                root = self._matrices.steps[scope.name].root[:, self._matrices.step_of_row(scope)]
                means[scope.name] = np.einsum("grij,gri->grj", root, noise)
            vectors, at = self._vectors.to_move(self._at)
            point = vectors.move_to(at, vectors.positions(means, None))
            chosen = self._to_rows(np.asarray(choice)[None])
            return {
                member.member.name: self._values(member, point, generator)[
                    chosen[scope.name][0], np.arange(scope.n_rows)
                ]
                for scope, member in self._with_holes()
            }

    def _values(self, member: MemberLayout, point: Point, generator: Generator) -> Floats:
        """Values at a point, with the noise of leaves [G, rows, d]."""
        values = self._vectors.values(member, point.pieces)
        if not member.is_parent:
            for piece in member.pieces:
                piece.add(values, draw_rest(self._matrices.forms[piece.piece.key], generator))
        return values

    def _with_holes(self) -> Iterator[tuple[ScopeLayout, MemberLayout]]:
        """Members with a missing cell."""
        for scope in self._scopes:
            for member in scope.members:
                if len(member.free):
                    yield scope, member

    def _to_rows(self, values: AnyArray) -> dict[str, AnyArray]:
        """Give the rows of every scope what their top row has [G, n_top] → [G, rows]."""
        found: dict[str, AnyArray] = {}
        for scope in self._scopes:
            found[scope.name] = (
                found[scope.parent.name][:, scope.parent_rows] if scope.parent else values
            )
        return found
