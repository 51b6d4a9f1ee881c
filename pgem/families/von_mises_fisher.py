"""The von Mises–Fisher family of directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.families._bessel import concentration_of, log_partition, mean_length
from pgem.families._family import Family, Slot, Slots, Statistics, Support
from pgem.families._integration import sphere_rule
from pgem.families._roles import CONCENTRATION, DIRECTION

UNIT_VECTORS = Support(
    "rows of length one", lambda x: np.abs(np.linalg.norm(x, axis=-1) - 1) <= 1e-6
)


class VonMisesFisher(Family):
    r"""A direction in D dimensions that gathers around a mean direction.

    $$p(x) = C_D(k) \exp(k\, m^T x), \quad
    C_D(k) = k^{D/2 - 1} / (2 \pi)^{D/2} I_{D/2 - 1}(k)$$

    $T(x) = x$, $\eta = k m$, $A(\eta) = -\log C_D(|\eta|)$, $h = 1$ on the unit sphere.  Directions
    that are all equal have no maximum: k stops at 1e8.

    Args:
        mean: mean direction m [D], of length one.
        concentration: concentration k, zero (uniform) or above.
        size: D, where nothing else shows it.
    """

    slots = (
        Slot("mean", DIRECTION, "d", free_of=("concentration",)),
        Slot("concentration", CONCENTRATION),
    )
    support = UNIT_VECTORS
    event_ndim = 1
    formula = r"k\, m^T x + \log C_D(k)"
    written: ClassVar[Mapping[str, str]] = {
        "A": "d / 2 * log(2 * pi) + log(bessel(d / 2 - 1, norm(eta)))"
        " - (d / 2 - 1) * log(norm(eta))",
    }
    rung = "Newton"

    def inside(self, **known: Floats) -> float:
        return float((self.size or 1) ** -0.5)

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (x,)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (slots["concentration"][:, None] * slots["mean"],)

    def log_partition(self, *eta: Floats) -> Floats:
        return log_partition(np.linalg.norm(eta[0], axis=1), eta[0].shape[1])

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        length = np.linalg.norm(mean[0], axis=1)
        k = concentration_of(length, mean[0].shape[1])
        return mean[0] / np.maximum(length, 1e-300)[:, None], k

    def role_statistics(
        self, slot: str, stats: Statistics, slots: Slots, origin: Slots, *, cancel: bool
    ) -> Statistics:
        count, (total,) = self.totals(stats)
        if slot == "mean":
            return (total if cancel else slots["concentration"][:, None] * total,)
        return count, (total * slots["mean"]).sum(axis=1), count * total.shape[1]

    def nodes(self, slots: Slots) -> tuple[Floats, Floats]:
        return sphere_rule(slots["mean"].shape[1])

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        mean, k = slots["mean"], slots["concentration"]
        size = mean.shape[1]
        length = mean_length(k, size)
        across = np.where(k > 1e-8, length / np.maximum(k, 1e-8), 1 / size)
        along = 1 - length**2 - (size - 1) * across
        outer = mean[:, :, None] * mean[:, None, :]
        spread = across[:, None, None] * (np.eye(size) - outer) + along[:, None, None] * outer
        return length[:, None] * mean, spread

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        """A cosine to the mean and a uniform direction across it (Wood 1994)."""
        mean, cosine = slots["mean"], _cosines(generator, slots["concentration"], slots["mean"])
        across = generator.standard_normal(mean.shape)
        across -= (across * mean).sum(axis=1, keepdims=True) * mean
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
        drawn = cosine[:, None] * mean + np.sqrt(np.maximum(1 - cosine**2, 0))[:, None] * across
        return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        return stats.vonmises_fisher(slots["mean"], slots["concentration"])


def _cosines(generator: Generator, k: Floats, mean: Floats) -> Floats:
    """Cosines of the angles to the mean, by rejection from a transformed beta (Wood 1994)."""
    q = mean.shape[1] - 1.0
    b = q / (np.sqrt(4 * k**2 + q**2) + 2 * k)
    edge = (1 - b) / (1 + b)
    # 1 - edge² without cancellation
    level = k * edge + q * np.log(4 * b / (1 + b) ** 2)
    cosine, left = np.ones(len(k)), np.arange(len(k))
    while len(left):
        z = generator.beta(q / 2, q / 2, len(left))
        w = (1 - (1 + b[left]) * z) / (1 - (1 - b[left]) * z)
        gain = k[left] * w + q * np.log1p(-edge[left] * w) - level[left]
        good = gain >= -generator.standard_exponential(len(left))
        cosine[left[good]] = w[good]
        left = left[~good]
    return cosine
