"""The matrices of a region: forms, eliminations and posterior covariances, per group of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.routines.region_chain import Chain
from pgem.routines.region_eliminate import Elimination, eliminate, empty_elimination, join
from pgem.routines.region_forms import Forms, make_forms
from pgem.routines.region_groups import Groups, block_size
from pgem.routines.region_layout import Layout, MemberLayout, ScopeLayout
from pgem.routines.region_nodes import ChainLayout
from pgem.routines.region_statistics import Posterior

LONG = 100
"""Steps with one row each that take NumPy about ten milliseconds: from there on compiled loops are
used, so that some tens of iterations pay for importing Numba."""
MANY = 20_000
"""Rows in few steps that take as long."""


class Matrices:
    """The matrices of a region at given parameters.

    Args:
        layout: of the region.
        coefs: C of each piece [K, G, d, M].
        covs: V of each piece [K, G, d, d] or [K, G, d].

    Attributes:
        n_g: number of gate configurations.
        forms: of each piece.
        steps: the elimination of each scope's own noise.
        chain: the elimination along the chain, if there is one.
    """

    def __init__(
        self, layout: Layout, coefs: Mapping[str, Floats], covs: Mapping[str, Floats]
    ) -> None:
        self.n_g = next(iter(coefs.values())).shape[1]
        self.forms: dict[str, Forms] = {}
        self.steps: dict[str, Elimination] = {}
        self.chain: Chain | None = None
        self._values: dict[str, Floats] = {}
        self._layout = layout
        self._posteriors: dict[str, Posterior] = {}
        for scope in layout.scopes.values():
            for member in scope.members:
                self._make_forms(scope, member, coefs, covs)
        for scope in reversed(layout.scopes.values()):
            self._eliminate(scope)

    def step_of_row(self, scope: ScopeLayout) -> Integers:
        """Which matrices of the elimination each row has."""
        return self.chain.step_of_row if scope.chain and self.chain else scope.local.ids

    def compiles(self, scope: ScopeLayout) -> bool:
        """Whether compiled loops go through the rows of a scope."""
        if scope.chain:
            return type(self.chain) is not Chain
        return bool(scope.n_rows * self.n_g > MANY)

    def posteriors(self) -> dict[str, Posterior]:
        """Posterior covariances of x, by scope; kept."""
        if not self._posteriors:
            found: dict[str, Posterior] = {}
            for scope in self._layout.scopes.values():
                outer = found[scope.parent.name] if scope.parent else None
                found[scope.name] = self._posterior(scope, outer)
            self._posteriors = found
        return self._posteriors

    def _make_forms(
        self,
        scope: ScopeLayout,
        member: MemberLayout,
        coefs: Mapping[str, Floats],
        covs: Mapping[str, Floats],
    ) -> None:
        for piece in member.pieces:
            key = piece.piece.key
            self.forms[key] = make_forms(
                member, piece, scope.size, coefs[key], covs[key], self._values
            )
        if member.has_forms:
            parts = [self.forms[piece.piece.key].value(piece.design) for piece in member.pieces]
            self._values[member.member.name] = np.concatenate(parts, axis=1)

    def _eliminate(self, scope: ScopeLayout) -> None:
        n_g, n = self.n_g, scope.local.n
        if scope.is_leaf:  # nothing to integrate out: rows tell the enclosing ones directly
            empty = empty_elimination(n_g, n, 0, scope.outer, n_messages=0)
            self.steps[scope.name] = replace(empty, log_det=np.zeros((n_g, n)))
            return
        information = self._information(scope, np.arange(n))
        if scope.chain:
            kind = _choose_chain(scope.chain, n_g)
            self.chain = kind(scope.chain, information, self._move(scope), scope.own)
            self.steps[scope.name] = self.chain.steps
        else:
            self.steps[scope.name] = eliminate(information, scope.own)

    def _information(self, scope: ScopeLayout, groups: Integers) -> Floats:
        """Information on x from the rows of some local groups [G, len(groups), X, X]."""
        total = np.zeros((self.n_g, len(groups), scope.size, scope.size))
        for member in scope.members:
            designs = scope.designs[member.member.name][groups]
            for piece in member.pieces:
                mine, design = piece.find(designs)
                wanted, place = np.unique(design, return_inverse=True)
                part = self.forms[piece.piece.key].information(piece.design[wanted])
                same = len(mine) == len(groups) and (len(wanted) == 1 or _is_range(place))
                if same:
                    total += part
                else:
                    total[:, mine] += part[:, place]
        for inner in scope.inner:
            total += self._messages(scope, inner)[:, scope.composition[inner.name][groups]]
        return total

    def _total_information(self, scope: ScopeLayout, groups: Integers, counts: Floats) -> Floats:
        """Information on x from rows of a leaf, so many of each local group [G, X, X]."""
        total = np.zeros((self.n_g, scope.size, scope.size))
        for member in scope.members:
            designs = scope.designs[member.member.name][groups]
            for piece in member.pieces:
                mine, design = piece.find(designs)
                forms = self.forms[piece.piece.key]
                total += forms.total_information(piece.design[design], counts[mine])
        return total

    def _messages(self, scope: ScopeLayout, inner: ScopeLayout) -> Floats:
        """What the members of an inner scope tell, by composition [G, compositions, X, X]."""
        made = scope.compositions[inner.name]
        if inner.is_leaf and made.is_long(inner.size):
            parts = [self._total_information(inner, *part) for part in made.parts()]
            return np.stack(parts, axis=1)
        if inner.is_leaf:
            step = block_size(self.n_g * inner.size**2)
            return made.total(lambda groups: self._information(inner, groups), step)
        message = self.steps[inner.name].message
        if inner.chain and self.chain:
            step_of, first = self.chain.step, inner.state
            return made.total(lambda nodes: message[:, step_of[nodes], first:, first:])
        return made.total(lambda groups: message[:, groups])

    def _move(self, scope: ScopeLayout) -> Floats:
        """From the x of a step to the [state | outer] of the next."""
        n_rest = scope.state + scope.outer
        move = np.zeros((self.n_g, scope.local.n, n_rest, scope.size))
        for member in scope.members:
            n_free, first = len(member.free), member.slot
            if not (member.lags and n_free):
                continue
            forms = self._values[member.member.name]
            mine = forms[:, scope.designs[member.member.name]]
            move[:, :, first : first + n_free] = mine[:, :, member.free]
            older = np.arange(first + n_free, first + n_free * member.lags)
            move[:, :, older, scope.own + older - n_free] = 1.0
        outer = np.arange(scope.outer)
        move[:, :, scope.state + outer, scope.own + scope.state + outer] = 1.0
        return move

    def _posterior(self, scope: ScopeLayout, outer: Posterior | None) -> Posterior:
        step, local = self.steps[scope.name], scope.posterior_local
        if outer is None:
            return Posterior(scope.posterior, local, step.inverse, local)
        above = outer.groups_of(scope.posterior_outer)
        if scope.is_leaf:
            matrix = above if outer.matrix is None else outer.matrix[above]
            return Posterior(scope.posterior, local, outer.matrices, matrix)
        if not scope.chain:
            covariance = join(step.inverse[:, local], step.gain[:, local], outer.of(above))
            return Posterior(scope.posterior, local, covariance)
        assert self.chain
        n_outer = outer.groups.n if outer.node is None else len(outer.node)
        whole = outer.of(outer.groups_of(np.arange(n_outer)))
        covariance, node = self.chain.covariances(whole)
        first = Groups(node, covariance.shape[1]).first
        groups = Groups(node[scope.posterior.ids], covariance.shape[1])
        return Posterior(groups, local[first], covariance, None, node)


def _is_range(values: Integers) -> bool:
    return np.array_equal(values, np.arange(len(values)))


def _choose_chain(layout: ChainLayout, n_configurations: int) -> type[Chain]:
    """Compiled loops along sequences, where there is enough to do."""
    if layout.branches:
        return Chain
    n_steps, n_rows = len(layout.back.levels), len(layout.back.ids) * n_configurations
    if n_steps * MANY + n_rows * LONG > LONG * MANY:
        from pgem.routines.region_compiled import CompiledChain

        kind: type[Chain] = CompiledChain
    else:
        kind = Chain
    return kind
