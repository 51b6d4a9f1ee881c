"""A region whose rows are all alike: the same forms for all, so that a step is one product.

Where nothing is missing but the latent values, and no row has regressors, multipliers or members of
its own, the affine forms of `region_forms` are the same in every row.  With ε the noise of the
latent values, x = b + F ε + e the values that are seen, and V the covariances of e,

    M = I + Σ Fᵀ V⁻¹ F,    ε̂ = M⁻¹ Σ Fᵀ V⁻¹ (x - b),    log p = log p(x | ε̂) - ½ |ε̂|² - ½ log |M|,

as in `region.py`, which such a region is an ordinary case of; here it takes a few calls instead of
some hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, square_root
from pgem.routines.region import Region
from pgem.routines.region_eliminate import Elimination, eliminate, transpose
from pgem.routines.region_kernels import LOG_2PI, cholesky, invert_lower
from pgem.routines.region_parts import Member, Piece, RegionStatistics
from pgem.routines.region_vectors import FAR

LARGEST = 1 << 16
"""Numbers that the rows hold, under all configurations, up to which they are taken at once."""


@dataclass(eq=False)
class AlikeMember:
    """A member of such a region: its only piece, and its values or its noise.

    Attributes:
        name: of the node.
        piece: its conditional.
        values: [rows, d]; None if it is latent.
        own: columns of ε that are its own noise, if it is latent.
    """

    name: str
    piece: Piece
    values: Floats | None
    own: slice


@dataclass(eq=False)
class AlikeLayout:
    """What does not depend on parameters.

    Attributes:
        members: parents before their children.
        n_rows: rows of the region.
        n_own: columns of ε.
        kept: of each member without parents, its last coefficients and covariances, and its forms.
    """

    members: list[AlikeMember]
    n_rows: int
    n_own: int
    kept: dict[str, tuple[Floats, Floats, _Forms]] = field(default_factory=dict)

    def fits(self, n_configurations: int) -> bool:
        """Whether the rows are few enough."""
        sizes = [self.n_own, *(m.values.shape[1] for m in self.members if m.values is not None)]
        return bool(self.n_rows * n_configurations * sum(sizes) <= LARGEST)


def lay_out_alike(members: Sequence[Member], n_rows: int) -> AlikeLayout | None:
    """The layout, or None where rows differ.

    Args:
        members: of one scope, parents before their children.
        n_rows: rows of that scope.
    """
    found, latent, n_own = [], set[str](), 0
    for member in members:
        gone = np.isnan(member.values)
        if (gone.any() and not gone.all()) or len(member.pieces) != 1 or not n_rows:
            return None
        (piece,), size = member.pieces, member.values.shape[1]
        plain = piece.rows is None and piece.code is None and piece.spread is None
        if not plain or len(piece.const) != 1:
            return None
        if any(link.lag or link.scale is not None or link.parent not in latent
               for link in piece.links):  # fmt: skip
            return None
        own = slice(n_own, n_own)
        if gone.all():
            latent.add(member.name)
            own = slice(n_own, n_own + size)
        n_own = own.stop
        found.append(AlikeMember(member.name, piece, None if gone.all() else member.values, own))
    parents = {link.parent for member in found for link in member.piece.links}
    return AlikeLayout(found, n_rows, n_own) if latent <= parents else None  # none is barren


@dataclass(eq=False)
class _Forms:
    """A member as an affine form in ε, under every configuration of the gates.

    Attributes:
        phi: regressors at ε = 0 [G, M].
        slopes: their slopes [G, M, E].
        level: C φ at ε = 0, for latent members the value [G, d].
        slope: slope of C φ, for latent members of the value [G, d, E].
        root: of a latent member's covariance [G, d, d].
        precision: of what is seen beside C φ, [G, d] or [G, d, d]; empty where it is latent.
        log_scale: log |2π V| of it [G].
    """

    phi: Floats
    slopes: Floats
    level: Floats
    slope: Floats
    root: Floats | None = None
    precision: Floats = field(default_factory=lambda: np.zeros(0))
    log_scale: Floats = field(default_factory=lambda: np.zeros(0))


class _Seen:
    """Residuals of what is seen of a member, and what they weigh.

    Attributes:
        weighted: V⁻¹ F [G, d, E].
        residual: x - b - F ε [G, rows, d].
        squares: of the residuals, where V is diagonal.
    """

    def __init__(self, member: AlikeMember, values: Floats, forms: _Forms) -> None:
        self.member, self.forms = member, forms
        self.precision = forms.precision
        self.residual = values - forms.level[:, None]
        self.squares: Floats | None = None
        if member.piece.diagonal:
            self.weighted = forms.precision[:, :, None] * forms.slope
        else:
            self.weighted = forms.precision @ forms.slope

    def total(self) -> Floats:
        """-2 log p of what is seen [G, rows]."""
        precision = self.precision
        if self.member.piece.diagonal:
            self.squares = self.residual * self.residual
            found = (self.squares @ precision[:, :, None])[:, :, 0]
        else:
            found = np.einsum("grd,grd->gr", self.residual @ precision, self.residual)
        return np.asarray(found + self.forms.log_scale[:, None])


class AlikeRegion:
    """Such a region at given parameters.

    Args:
        layout: of the region.
        coefs: C of each piece [1, G, d, M].
        covs: V of each piece [1, G, d, d], or variances [1, G, d].
        whole: makes the ordinary region, for what is asked of single rows.

    Attributes:
        log_p: log-density of the values of each row under each configuration [rows, G].
    """

    log_p: Floats

    def __init__(
        self,
        layout: AlikeLayout,
        coefs: Mapping[str, Floats],
        covs: Mapping[str, Floats],
        whole: Callable[[], Region],
    ) -> None:
        self._layout, self._whole = layout, whole
        self._n_g = next(iter(coefs.values())).shape[1]
        self._forms: dict[str, _Forms] = {}
        with np.errstate(all="ignore"):
            for member in layout.members:
                key = member.piece.key
                self._forms[member.name] = self._forms_of(member, coefs[key], covs[key])
            self._evaluate()

    def moments(self) -> dict[str, tuple[Floats, Floats]]:
        """As `Region.moments`."""
        return self._whole().moments()

    def draw(
        self, generator: Generator, choice: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    ) -> dict[str, Floats]:
        """As `Region.draw`."""
        return self._whole().draw(generator, choice)

    def statistics(
        self, weights: Floats, keys: Container[str] | None = None
    ) -> dict[str, RegionStatistics]:
        """Expected statistics of every piece.

        Args:
            weights: of each row under each configuration [rows, G].
            keys: pieces that are asked for; all by default.
        """
        by_gate = np.ascontiguousarray(weights.T)[:, :, None]
        count = by_gate.sum(axis=1)
        covariance = self._step.inverse[:, 0] * count[:, :, None]
        with np.errstate(all="ignore"):
            return {
                member.piece.key: self._statistics(member, by_gate, count, covariance)
                for member in self._layout.members
                if keys is None or member.piece.key in keys
            }

    def _forms_of(self, member: AlikeMember, coefs: Floats, covs: Floats) -> _Forms:
        """The forms of a member; kept where they only depend on constants."""
        kept = self._layout.kept.get(member.name)
        if kept is not None and kept[0] is coefs and kept[1] is covs:
            return kept[2]
        forms = self._make_forms(member, coefs[0], covs[0])
        if not member.piece.links:
            self._layout.kept[member.name] = coefs, covs, forms
        return forms

    def _make_forms(self, member: AlikeMember, coefs: Floats, covs: Floats) -> _Forms:
        piece, layout = member.piece, self._layout
        phi = np.empty((self._n_g, coefs.shape[2]))
        phi[:] = piece.const
        slopes = np.zeros((*phi.shape, layout.n_own))
        for link in piece.links:
            parent = self._forms[link.parent]
            phi[:, link.start : link.stop] += parent.level
            slopes[:, link.start : link.stop] += parent.slope
        forms = _Forms(phi, slopes, (coefs @ phi[:, :, None])[:, :, 0], coefs @ slopes)
        if member.values is None:
            if piece.diagonal:
                forms.root = np.sqrt(covs)[..., None] * np.eye(covs.shape[-1])
            else:
                forms.root = square_root(covs)
            forms.slope[:, :, member.own] = forms.root
        elif piece.diagonal:
            valid = covs > 0
            whole = np.where(valid, covs, 1.0)
            forms.precision = np.where(valid, 1.0 / whole, 0.0)
            log_var = np.log(whole) + LOG_2PI
            forms.log_scale = np.where(valid, log_var, np.inf).sum(axis=1)
        else:
            lower = cholesky(covs)
            inverse = invert_lower(lower)
            forms.precision = transpose(inverse) @ inverse
            diagonal = np.diagonal(lower, axis1=1, axis2=2)
            forms.log_scale = 2 * np.log(diagonal).sum(axis=1) + LOG_2PI * covs.shape[1]
        return forms

    def _evaluate(self) -> None:
        """ε̂ [G, rows, E], the residuals of what is seen there [G, rows, d], and log p."""
        seen = [
            _Seen(member, member.values, self._forms[member.name])
            for member in self._layout.members
            if member.values is not None
        ]
        self._step = self._eliminate(seen)
        self._noise = np.zeros((self._n_g, self._layout.n_rows, self._layout.n_own))
        for _ in range(2):
            gradient = -self._noise
            for own in seen:
                gradient += own.residual @ own.weighted
            step = gradient @ self._step.inverse[:, 0]
            self._noise += step
            for own in seen:
                own.residual -= step @ transpose(own.forms.slope)
            if not np.einsum("grj,grj->gr", gradient, step).max() > FAR:
                break
        total = np.einsum("grj,grj->gr", self._noise, self._noise) + self._step.log_det
        for own in seen:
            total += own.total()
        self._seen = {own.member.name: own for own in seen}
        log_p = -0.5 * total.T
        self.log_p = np.where(np.isnan(log_p), -np.inf, log_p)

    def _eliminate(self, seen: Sequence[_Seen]) -> Elimination:
        n_own = self._layout.n_own
        information = np.zeros((self._n_g, n_own, n_own))
        for own in seen:
            information += transpose(own.forms.slope) @ own.weighted
        return eliminate(information[:, None], n_own)

    def _statistics(
        self, member: AlikeMember, weights: Floats, count: Floats, covariance: Floats
    ) -> RegionStatistics:
        """Statistics of one piece, [1, G, ...] each.

        Args:
            member: whose piece it is.
            weights: of the rows [G, rows, 1].
            count: their sums [G, 1].
            covariance: Σ w times the posterior covariance of ε [G, E, E].
        """
        forms = self._forms[member.name]
        phi = self._noise @ transpose(forms.slopes) + forms.phi[:, None]
        weighted, half = phi * weights, covariance @ transpose(forms.slopes)
        if member.values is None:
            assert forms.root is not None
            residual = self._noise[:, :, member.own] @ transpose(forms.root)
            slope = np.zeros((self._n_g, forms.root.shape[1], self._layout.n_own))
            slope[:, :, member.own] = forms.root
            squares = residual * residual if member.piece.diagonal else None
        else:
            own = self._seen[member.name]
            residual, squares, slope = own.residual, own.squares, -forms.slope
        if squares is None:
            spread = slope @ covariance @ transpose(slope)
            square = transpose(residual) @ (residual * weights) + spread
        else:
            square = (transpose(squares) @ weights)[:, :, 0]
            square += np.einsum("gdx,gdx->gd", slope @ covariance, slope)
        return RegionStatistics(
            count.T,
            count.T,
            (transpose(phi) @ weighted + forms.slopes @ half)[None],
            (transpose(residual) @ weighted + slope @ half)[None],
            square[None],
        )
