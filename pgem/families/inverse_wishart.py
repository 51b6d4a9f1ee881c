"""The inverse Wishart family: a prior of covariance matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgem.arrays import Floats, Mask
from pgem.families._family import Family, Observations, Slot, Slots, Statistics, Support
from pgem.families._gaussian import log_determinant
from pgem.families._roles import COVARIANCE, POSITIVE, is_positive_definite


def _sound(x: Floats) -> Mask:
    return np.array([is_positive_definite(matrix) for matrix in x], dtype=bool)


class InverseWishart(Family):
    r"""A covariance matrix; a prior only, for a node cannot hold a matrix.

    $$p(X) \propto |V|^{\nu / 2} |X|^{-(\nu + d + 1) / 2} e^{-\mathrm{tr}(V X^{-1}) / 2}$$

    Over $2^{\nu d / 2} \Gamma_d(\nu / 2)$.  The mode is $V / (\nu + d + 1)$ and the mean
    $V / (\nu - d - 1)$.

    Args:
        scale: scale matrix V [D, D]; one number stands for that multiple of the identity.
        df: degrees of freedom, above D - 1.
    """

    slots = (Slot("scale", COVARIANCE, "dd"), Slot("df", POSITIVE))
    support = Support("symmetric positive definite matrices", _sound)
    options = ()
    event_ndim = 2
    formula = (
        r"\tfrac{\nu}{2} \log |V| - \tfrac{\nu + d + 1}{2} \log |x|"
        r" - \tfrac12 \mathrm{tr}(V x^{-1})"
        r" - \tfrac{\nu d}{2} \log 2 - \log \Gamma_d(\tfrac{\nu}{2})"
    )
    rung = "none: a prior only"
    conjugate_to = COVARIANCE
    pseudo_formula = (r"\nu + d + 1", "V")

    def pseudo_statistics(self, **slots: Floats) -> Statistics:
        return slots["df"] + slots["scale"].shape[-1] + 1, slots["scale"]

    def unsound(self, **slots: Floats) -> str:
        least = slots["scale"].shape[-1] - 1
        return "" if (slots["df"] > least).all() else f"a df above {least}"

    def log_density(self, data: Observations, slots: Slots) -> Floats:
        from scipy.special import multigammaln

        scale, df, size = slots["scale"], slots["df"], slots["scale"].shape[-1]
        constant = 0.5 * df * (log_determinant(scale) - size * np.log(2))
        constant = constant - np.array([multigammaln(half, size) for half in df / 2])
        traces = np.einsum("cij,nji->nc", scale, np.linalg.inv(data.x))
        powers = (df + size + 1) * log_determinant(data.x)[:, None]
        return np.asarray(constant - 0.5 * (powers + traces))

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.invwishart(slots["df"], slots["scale"])
