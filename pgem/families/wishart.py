"""The Wishart family of scatter matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.families import _derived, _matrices
from pgem.families._family import Examples, Family, Slot, Slots, Statistics
from pgem.families._multigamma import log_multigamma, multidigamma, solve_df
from pgem.families._roles import COVARIANCE, INVERSESCALE, DegreesOfFreedom, Role


class Wishart(Family):
    r"""A symmetric positive definite matrix: the scatter of Gaussian vectors.

    $$p(X) = \frac{|X|^{(n - d - 1) / 2} e^{-\mathrm{tr}(V^{-1} X) / 2}}
    {2^{n d / 2} |V|^{n / 2} \Gamma_d(n / 2)}$$

    $T(X) = (X, \log |X|)$, $\eta = (-V^{-1} / 2, (n - d - 1) / 2)$,
    $A(\eta) = \log \Gamma_d(a) - a \log |-\eta_1|$ with $a = \eta_2 + (d + 1) / 2$, $h = 1$.  The
    mean is $n V$.  Values are arrays [..., D, D].  Matrices that are all equal have no maximum: n
    runs off, which a fit reports as degenerate.

    Args:
        scale: scale matrix V [D, D], `diagonal()` [D] or `spherical()` (one number).
        df: degrees of freedom n, above D - 1.
        size: D, where nothing else shows it.
    """

    slots = (Slot("scale", COVARIANCE, "dd"), Slot("df", DegreesOfFreedom()))
    support = _matrices.MATRICES
    event_ndim = 2
    formula = (
        r"\tfrac{n - d - 1}{2} \log |x| - \tfrac12 \mathrm{tr}(V^{-1} x)"
        r" - \tfrac{n}{2} \log |V| - \tfrac{n d}{2} \log 2 - \log \Gamma_d(\tfrac{n}{2})"
    )
    written: ClassVar[Mapping[str, str]] = {
        "T": "x; log(det(x))",
        "eta": "-inv(scale) / 2; (df - d - 1) / 2",
        "A": "lmgamma(eta2 + (d + 1) / 2, d) - (eta2 + (d + 1) / 2) * log(det(-eta1))",
    }
    rung = "Newton"
    conjugate_to = INVERSESCALE
    pseudo_formula = ("n - d - 1", "V^{-1}")
    examples: ClassVar[Examples] = {"df": (4.0, 5.5, 9.0)}  # fewer, and matrices are near singular

    def role_of(self, slot: str) -> Role:
        """The least degrees of freedom follow from the size."""
        return DegreesOfFreedom(self.size or 1) if slot == "df" else super().role_of(slot)

    def pseudo_statistics(self, **slots: Floats) -> Statistics:
        return slots["df"] - slots["scale"].shape[-1] - 1, _matrices.inverse(slots["scale"])

    def inside(self, **known: Floats) -> Floats:
        return np.eye(self.size or 1)

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return x, _matrices.log_determinant(x)[:, None]

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        scale = self._scale(slots)
        return -0.5 * _matrices.inverse(scale), (slots["df"] - scale.shape[-1] - 1) / 2

    def log_partition(self, *eta: Floats) -> Floats:
        size = eta[0].shape[-1]
        a = eta[1] + (size + 1) / 2
        return np.asarray(log_multigamma(a, size) - a * _matrices.log_determinant(-eta[0]))

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        size, structure = self.size or 1, self.structures.get("scale", "full")
        matrix = _matrices.reduced(mean[0][:, :-1].reshape(-1, size, size), structure)
        gap = _matrices.log_determinant(_matrices.expanded(matrix, size)) - mean[0][:, -1]
        df = solve_df(gap, size)
        return matrix / df.reshape(-1, *(1,) * (matrix.ndim - 1)), df

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        size = self.size or 1
        count, (sums,) = self.totals(stats)
        if slot == "df":
            level = size * np.log(2) + _matrices.log_determinant(self._scale(slots))
            return count, sums[:, -1] - count * level
        events, matrix = count * slots["df"], sums[:, :-1].reshape(-1, size, size)
        return _matrices.of_structure(events, matrix, self.structures.get("scale", "full"))

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        scale, df = self._scale(slots), slots["df"]
        return df[:, None, None] * scale, _matrices.entry_covariance(scale, df)

    def nodes(self, slots: Slots) -> tuple[Floats, Floats]:
        return _matrices.cone_rule(self._scale(slots)[0], float(slots["df"][0]))

    def expected_features(self, slots: Slots) -> Floats:
        scale, df = self._scale(slots), slots["df"]
        size = scale.shape[-1]
        level = size * np.log(2) + _matrices.log_determinant(scale)
        return _matrices.joined(df[:, None, None] * scale, level + multidigamma(df / 2, size))

    def entropy(self, slots: Slots) -> Floats:
        return -_derived.inner(self.expected_features(slots), self.coefficients(slots))

    def fisher_information(self, slots: Slots) -> Floats:
        return _matrices.information(self._scale(slots), slots["df"])

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        return _matrices.draw_wishart(generator, self._scale(slots), slots["df"])

    def measured(self, x: Floats) -> Floats:
        return _matrices.columns_of(x)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        scale = _matrices.expanded(np.asarray(slots["scale"])[None], self.size or 1)[0]
        return _matrices.Rows(stats.wishart(slots["df"], scale))

    def _scale(self, slots: Slots) -> Floats:
        return _matrices.expanded(slots["scale"], self.size or 1)
