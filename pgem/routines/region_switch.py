"""Components of a switch that describe the same rows: one piece of a region for all of them.

Which of them applies is told by the configuration of the gates, so their regressors stand side by
side, φ = (φ_0, φ_1, …), and under each configuration the coefficients of all but one are zero.  A
component that does not know the latent values has no coefficient for them there: what is seen then
tells nothing of them.  Where rows differ in the components' known multipliers of the covariance,
each combination that occurs is a coefficient set of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.families._linear import Linear
from pgem.routines.region_groups import Groups, number_rows
from pgem.routines.region_parts import Piece, RegionStatistics


@dataclass(frozen=True, eq=False)
class Share:
    """A component's part of a joint piece.

    Attributes:
        code: its coefficient set in each of the joint piece's [K].
        columns: its regressors among the joint ones.
        spread: its multiplier of the covariance in each coefficient set [K]; None: the piece's.
    """

    code: Integers
    columns: slice
    spread: Floats | None


@dataclass(frozen=True, eq=False)
class Alternatives:
    """Components of which one applies, by key, and how many coefficient sets and regressors."""

    shares: Mapping[str, Share]
    n_codes: int
    width: int


def join_pieces(pieces: Sequence[Piece]) -> tuple[Piece, Alternatives]:
    """One piece for components that describe the same rows.

    Args:
        pieces: of one node, with the same rows.
    """
    n_rows = max((len(column) for piece in pieces for column in _columns(piece)), default=1)
    spreads = [np.ones(n_rows) if p.spread is None else p.spread for p in pieces]
    alike = all(np.array_equal(spread, spreads[0]) for spread in spreads)
    codes = [np.zeros(n_rows, dtype=np.int64) if p.code is None else p.code for p in pieces]
    joint = number_rows(n_rows, [*codes, *([] if alike else spreads)])
    first = Groups(joint).first
    widths = [piece.const.shape[1] for piece in pieces]
    starts = np.concatenate([[0], np.cumsum(widths)]).tolist()
    places = [slice(start, stop) for start, stop in pairwise(starts)]
    rows = max(len(piece.const) for piece in pieces)
    whole = [np.broadcast_to(p.const, (rows, p.const.shape[1])) for p in pieces]
    made = Piece(
        " or ".join(piece.key for piece in pieces),
        pieces[0].rows,
        joint if len(first) > 1 else None,
        np.concatenate(whole, axis=1),
        tuple(
            replace(link, start=link.start + place.start, stop=link.stop + place.start)
            for piece, place in zip(pieces, places, strict=True)
            for link in piece.links
        ),
        pieces[0].spread if alike else None,
        all(piece.diagonal for piece in pieces),
    )
    shares = {
        piece.key: Share(code[first], place, None if alike else spread[first])
        for piece, code, place, spread in zip(pieces, codes, places, spreads, strict=True)
    }
    return made, Alternatives(shares, len(first), starts[-1])


def _columns(piece: Piece) -> list[Floats | Integers]:
    """What a piece holds by row."""
    found = [piece.const, piece.code, piece.spread, piece.rows]
    found += [link.scale for link in piece.links]
    return [column for column in found if column is not None]


def joint_parameters(
    joint: Alternatives,
    families: Mapping[str, Linear],
    slots: Mapping[str, Mapping[str, Floats]],
    cells: Mapping[str, Integers],
) -> tuple[Floats, Floats]:
    """Coefficients [K, G, d, M] and covariances [K, G, d, d] (or variances [K, G, d]).

    Args:
        joint: the components.
        families: of each.
        slots: slot values per cell of each.
        cells: of each the cell of its coefficient sets and configurations, -1 where it does not
            apply [K of the component, G].
    """
    n_configurations = next(iter(cells.values())).shape[1]
    dim = next(iter(families.values())).dim
    diagonal = all(families[key].diagonal for key in joint.shares)
    shape = (joint.n_codes, n_configurations)
    coefs = np.zeros((*shape, dim, joint.width))
    noise = np.zeros((*shape, dim) if diagonal else (*shape, dim, dim))
    for key, share in joint.shares.items():
        family, cell = families[key], cells[key][share.code]
        applies = cell >= 0
        coefs[..., share.columns][applies] = family.coefs(slots[key])[cell[applies]]
        own = family.noise(slots[key])[cell[applies]]
        if share.spread is not None:
            known = np.broadcast_to(share.spread[:, None], shape)[applies]
            own = own * known.reshape(-1, *(1,) * (own.ndim - 1))
        if family.diagonal and not diagonal:
            own = own[..., None] * np.eye(dim)
        noise[applies] = own
    return coefs, noise


def own_statistics(sums: RegionStatistics, share: Share, *, diagonal: bool) -> RegionStatistics:
    """What a component counts, by the joint piece's coefficient sets and configurations.

    Args:
        sums: of the joint piece.
        share: the component's part.
        diagonal: whether its covariance is diagonal.
    """
    own, square = share.columns, sums.square
    if diagonal and square.ndim == 4:
        square = np.diagonal(square, axis1=2, axis2=3)
    phi, cross = sums.phi[..., own, own], sums.cross[..., own]
    if share.spread is None:
        return RegionStatistics(sums.count, sums.weight, phi, cross, square)
    known = share.spread[:, None]
    return RegionStatistics(
        sums.count,
        sums.weight / known,
        phi / known[..., None, None],
        cross / known[..., None, None],
        square / known.reshape(-1, 1, *(1,) * (square.ndim - 2)),
    )
