"""What the rows of a scope are given, as columns of numbers.

Where every missing value is 0, the regressors φ of a piece are known numbers; those that differ
between rows are columns here, and the others multiples of the first column, which is 1.  So what a
row predicts without any noise is a matrix times these columns, one matrix for all rows of a form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.routines.region_forms import Forms, add_parent, add_value
from pgem.routines.region_layout import Layout, MemberLayout, PieceLayout, ScopeLayout


@dataclass(eq=False)
class Inputs:
    """The columns of a scope's rows.

    Attributes:
        values: [rows, Z].
        known: per piece, the map from the columns to φ, missing values taken as 0 [M, Z].
        shown: per member, the map from the columns to its values, missing ones taken as 0 [d, Z];
            only of members whose missing coordinates follow from the shown.
    """

    values: Floats
    known: dict[str, Floats]
    shown: dict[str, Floats]


def make_inputs(layout: Layout, scope: ScopeLayout) -> Inputs:
    """The columns of a scope's rows, of its own members and of random ones around it."""
    columns: list[Floats] = [np.ones(scope.n_rows)]
    known: dict[str, dict[int, tuple[int, float]]] = {}
    shown: dict[str, dict[int, tuple[int, float]]] = {}
    for member, home in _members(scope):
        if _completes(member):
            places = {int(i): (len(columns) + k, 1.0) for k, i in enumerate(_partly_seen(member))}
            columns += [member.values[home, i] for i in places]
            shown[member.member.name] = places
        for piece in member.pieces:
            phi = known_regressors(layout, piece)
            places = {}
            for j, column in enumerate(phi.T):
                if (column == column[:1]).all():
                    places[j] = (0, float(column[0]) if len(column) else 0.0)
                    continue
                whole = np.zeros(len(member.values))
                whole[piece.span] = column
                places[j] = (len(columns), 1.0)
                columns.append(whole[home])
            known[piece.piece.key] = places
    size = len(columns)
    return Inputs(
        np.ascontiguousarray(np.stack(columns, axis=1)),
        {key: _as_matrix(places, len(places), size) for key, places in known.items()},
        {
            name: _as_matrix(places, layout.members[name].values.shape[1], size)
            for name, places in shown.items()
        },
    )


def _members(main: ScopeLayout) -> Iterator[tuple[MemberLayout, Integers | slice]]:
    """Members of a scope and random ones around it, outermost first, with the scope's rows."""
    path: list[tuple[ScopeLayout, Integers | slice]] = [(main, slice(None))]
    rows, scope = np.arange(main.n_rows), main
    while scope.parent is not None:
        rows, scope = scope.parent_rows[rows], scope.parent
        path.append((scope, rows))
    for scope, home in reversed(path):
        for member in scope.members:
            if scope is main or member.has_forms:
                yield member, home


def _completes(member: MemberLayout) -> bool:
    """Whether its missing coordinates are expected from those that it shows."""
    whole = all(piece.piece.diagonal or piece.is_hidden for piece in member.pieces)
    return member.has_forms and not whole


def _partly_seen(member: MemberLayout) -> Integers:
    return np.flatnonzero(member.seen.any(axis=0))


def _as_matrix(places: Mapping[int, tuple[int, float]], n_rows: int, n_columns: int) -> Floats:
    matrix = np.zeros((n_rows, n_columns))
    for row, (column, value) in places.items():
        matrix[row, column] = value
    return matrix


def known_regressors(layout: Layout, piece: PieceLayout) -> Floats:
    """φ of a piece where every missing value is 0 [R, M]."""
    n_rows = len(piece.forms.ids)
    phi = np.empty((1, n_rows, piece.piece.const.shape[-1]))
    phi[:] = piece.piece.const
    for link in piece.links:
        values = layout.members[link.link.parent].values[None]
        add_value(phi, link, values if link.rows is None else values[:, link.rows])
    return np.asarray(phi[0])


class Expected:
    """What the inputs alone lead one to expect, without any noise: matrices per group of rows.

    Args:
        scope: whose rows they are.
        inputs: the columns of its rows.
        forms: of all pieces.

    Attributes:
        phi: maps to φ, by piece [G, forms, M, Z].
        predicted: maps to C φ, by piece [G, forms, d, Z].
        missing: maps to the missing coordinates of members that are random for others, by member
            [G, designs, d, Z].
    """

    def __init__(self, scope: ScopeLayout, inputs: Inputs, forms: Mapping[str, Forms]) -> None:
        self.phi: dict[str, Floats] = {}
        self.predicted: dict[str, Floats] = {}
        self.missing: dict[str, Floats] = {}
        for member, _ in _members(scope):
            for piece in member.pieces:
                self._add_piece(forms[piece.piece.key], inputs.known[piece.piece.key])
            if member.has_forms:
                shown = inputs.shown.get(member.member.name)
                parts = [self._missing(forms[piece.piece.key], shown) for piece in member.pieces]
                self.missing[member.member.name] = np.concatenate(parts, axis=1)

    def both(self, key: str) -> Floats:
        """Maps to [φ | C φ] [G, forms, M + d, Z]."""
        return np.concatenate([self.phi[key], self.predicted[key]], axis=2)

    def _add_piece(self, forms: Forms, known: Floats) -> None:
        piece, n_g = forms.piece, len(forms.coefs)
        phi = np.empty((n_g, piece.forms.n, *known.shape))
        phi[:] = known
        for link in piece.links:
            if link.design is not None:
                add_parent(phi, link, link.design, self.missing[link.link.parent])
        self.phi[piece.piece.key] = phi
        self.predicted[piece.piece.key] = forms.coefs[:, piece.form_code] @ phi

    def _missing(self, forms: Forms, shown: Floats | None) -> Floats:
        """Maps to the missing coordinates in each design of a piece [G, designs, d, Z]."""
        piece, design = forms.piece, forms.piece.design
        value = self.predicted[piece.piece.key][:, design.form]
        if forms.kernel.fill is not None and shown is not None:
            value = value + forms.kernel.fill[:, design.kernel] @ (shown - value)
        return np.where(piece.shown[design.kernel][:, :, None], 0.0, value)
