"""What a linear-Gaussian region is made of: members, their conditionals, and their links."""

from __future__ import annotations

from dataclasses import dataclass

from pgem.arrays import Floats, Integers


@dataclass(frozen=True, eq=False)
class Link:
    """A random parent that enters the regressors φ of a piece.

    Attributes:
        parent: the member.
        lag: 0 for the same row (or the row of the enclosing scope), k for k steps earlier in the
            sequence.
        start: first column of φ that it fills.
        stop: the column after the last.
        scale: None: φ[:, start:stop] += parent; [R]: φ[:, start:stop] += scale·parent; with
            `contracts` [R, parent's size]: φ[:, start] += Σ scale·parent.
        contracts: whether the parent enters by an inner product, in one column.
    """

    parent: str
    lag: int
    start: int
    stop: int
    scale: Floats | None
    contracts: bool = False


@dataclass(frozen=True, eq=False)
class Piece:
    """One conditional p(value | φ) = N(C φ, V·spread) on some rows of its member.

    Attributes:
        key: name of its coefficients, covariances and statistics.
        rows: rows of the member that it describes; None: all.
        code: which of the K coefficient sets each of these R rows uses; None if K = 1.
        const: the observed part of φ [R, M] or [1, M], 0 in linked columns.
        links: the random part of φ.
        spread: known multiplier of the covariance [R]; None: 1.
        diagonal: whether V is given by variances [K, G, d] and not by matrices [K, G, d, d].
    """

    key: str
    rows: Integers | None
    code: Integers | None
    const: Floats
    links: tuple[Link, ...]
    spread: Floats | None
    diagonal: bool


@dataclass(frozen=True, eq=False)
class Member:
    """A node of a region.

    Attributes:
        name: of the node.
        scope: name of its scope.
        values: [rows, d], NaN where missing; all NaN for a latent node.
        pieces: its conditionals, which together describe every row once.
    """

    name: str
    scope: str
    values: Floats
    pieces: tuple[Piece, ...]


@dataclass
class RegionStatistics:
    """Expected sums over a piece's rows with the rows' weights w, s being the known spread.

    The residual e = value - C φ is that about the coefficients with which the pass ran.

    Attributes:
        count: Σ w [K, G].
        weight: Σ w / s [K, G].
        phi: Σ w / s E[φ φᵀ] [K, G, M, M].
        cross: Σ w / s E[e φᵀ] [K, G, d, M].
        square: Σ w / s E[e eᵀ] [K, G, d, d], or its diagonal [K, G, d] if V is diagonal.
    """

    count: Floats
    weight: Floats
    phi: Floats
    cross: Floats
    square: Floats
