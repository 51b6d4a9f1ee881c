"""The inverse Wishart family of covariance matrices, and the conjugate prior of a covariance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.families import _derived, _matrices
from pgem.families._family import Examples, Family, Slot, Slots, Statistics
from pgem.families._multigamma import log_multigamma, multidigamma, solve_df
from pgem.families._roles import COVARIANCE, INVERSESCALE, RATE, DegreesOfFreedom, Role


class InverseWishart(Family):
    r"""A covariance matrix, the inverse of a Wishart matrix.

    $$p(X) = \frac{|V|^{\nu / 2} |X|^{-(\nu + d + 1) / 2} e^{-\mathrm{tr}(V X^{-1}) / 2}}
    {2^{\nu d / 2} \Gamma_d(\nu / 2)}$$

    $T(X) = (X^{-1}, \log |X|)$, $\eta = (-V / 2, -(\nu + d + 1) / 2)$,
    $A(\eta) = \log \Gamma_d(a) - a \log |-\eta_1|$ with $a = -\eta_2 - (d + 1) / 2$, $h = 1$.  The
    mode is $V / (\nu + d + 1)$ and the mean $V / (\nu - d - 1)$.  Matrices that are all equal have
    no maximum: ν runs off, which a fit reports as degenerate.

    Args:
        scale: scale matrix V [D, D]; one number stands for that multiple of the identity.
        df: degrees of freedom ν, above D - 1.
        size: D, where nothing else shows it.
    """

    slots = (Slot("scale", INVERSESCALE, "dd"), Slot("df", DegreesOfFreedom()))
    support = _matrices.MATRICES
    event_ndim = 2
    formula = (
        r"\tfrac{\nu}{2} \log |V| - \tfrac{\nu + d + 1}{2} \log |x|"
        r" - \tfrac12 \mathrm{tr}(V x^{-1})"
        r" - \tfrac{\nu d}{2} \log 2 - \log \Gamma_d(\tfrac{\nu}{2})"
    )
    written: ClassVar[Mapping[str, str]] = {
        "T": "inv(x); log(det(x))",
        "eta": "-scale / 2; -((df + d + 1) / 2)",
        "A": "lmgamma(-eta2 - (d + 1) / 2, d) + (eta2 + (d + 1) / 2) * log(det(-eta1))",
    }
    rung = "Newton"
    conjugate_to = COVARIANCE
    pseudo_formula = (r"\nu + d + 1", "V")
    examples: ClassVar[Examples] = {"df": (12.0, 15.0, 24.0)}  # few have no variance

    def role_of(self, slot: str) -> Role:
        """The least degrees of freedom follow from the size; a reduced scale is rates."""
        if slot == "df":
            return DegreesOfFreedom(self.size or 1)
        return RATE if self.structures.get(slot, "full") != "full" else INVERSESCALE

    def pseudo_statistics(self, **slots: Floats) -> Statistics:
        return slots["df"] + slots["scale"].shape[-1] + 1, slots["scale"]

    def inside(self, **known: Floats) -> Floats:
        return np.eye(self.size or 1)

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        sign, logs = np.linalg.slogdet(x)
        return _matrices.inverse(x, sign), np.where(sign > 0, logs, np.nan)[:, None]

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        scale = self._scale(slots)
        return -0.5 * scale, -(slots["df"] + scale.shape[-1] + 1) / 2

    def log_partition(self, *eta: Floats) -> Floats:
        size = eta[0].shape[-1]
        a = -eta[1] - (size + 1) / 2
        return np.asarray(log_multigamma(a, size) - a * _matrices.log_determinant(-eta[0]))

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        size, structure = self.size or 1, self.structures.get("scale", "full")
        inverted = _matrices.reduced(mean[0][:, :-1].reshape(-1, size, size), structure)
        gap = _matrices.log_determinant(_matrices.expanded(inverted, size)) + mean[0][:, -1]
        df = solve_df(gap, size)
        unit = _matrices.inverse(inverted) if structure == "full" else 1 / inverted
        return unit * df.reshape(-1, *(1,) * (unit.ndim - 1)), df

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        size, structure = self.size or 1, self.structures.get("scale", "full")
        count, (sums,) = self.totals(stats)
        if slot == "df":
            level = _matrices.log_determinant(self._scale(slots)) - size * np.log(2)
            return count, count * level - sums[:, -1]
        events, inverted = count * slots["df"], sums[:, :-1].reshape(-1, size, size)
        return _matrices.of_structure(events, inverted, structure)

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        scale, size = self._scale(slots), self.size or 1
        over = (slots["df"] - size - 1).reshape(-1, *(1,) * 4)
        spread = _matrices.entry_covariance(scale, over.ravel())
        spread = spread + 2 * np.einsum("cij,ckl->cijkl", scale, scale)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = scale / over[..., 0, 0]
            spread = spread / ((over + 1) * over**2 * (over - 2))
        return (
            np.where(over[..., 0, 0] > 0, mean, np.inf),
            np.where(over > 2, spread, np.inf),
        )

    def nodes(self, slots: Slots) -> tuple[Floats, Floats]:
        inverted = _matrices.inverse(self._scale(slots)[0])
        x, log_weight = _matrices.cone_rule(inverted, float(slots["df"][0]))
        return _matrices.inverse(x), log_weight - (len(inverted) + 1) * _matrices.log_determinant(x)

    def expected_features(self, slots: Slots) -> Floats:
        scale, df = self._scale(slots), slots["df"]
        size = scale.shape[-1]
        mean = df[:, None, None] * _matrices.inverse(scale)
        level = _matrices.log_determinant(scale) - size * np.log(2)
        return _matrices.joined(mean, level - multidigamma(df / 2, size))

    def entropy(self, slots: Slots) -> Floats:
        return -_derived.inner(self.expected_features(slots), self.coefficients(slots))

    def fisher_information(self, slots: Slots) -> Floats:
        inverted = _matrices.inverse(self._scale(slots))
        return _matrices.information(inverted, slots["df"], sign=-1.0)

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        inverted = _matrices.inverse(self._scale(slots))
        return _matrices.inverse(_matrices.draw_wishart(generator, inverted, slots["df"]))

    def measured(self, x: Floats) -> Floats:
        return _matrices.columns_of(x)

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        scale = _matrices.expanded(np.asarray(slots["scale"])[None], self.size or 1)[0]
        return _matrices.Rows(stats.invwishart(slots["df"], scale))

    def _scale(self, slots: Slots) -> Floats:
        return _matrices.expanded(slots["scale"], self.size or 1)
