r"""Link functions: what maps a linear predictor η to the slot of a family.

A role's statistic fixes the log-density as a function of its slot, so that one link serves every
family whose slot has that role:

    probability   s log p + f log(1 - p)    p = 1 / (1 + e^-η)
    rate          a log r - b r             r = e^η
    probabilities Σ_k t_k log p_k           p = softmax(η)

All three are concave in η and linear in the statistic, so that statistics may be weighted and added
first.  They are evaluated without forming p or r, so nothing overflows where a predictor is large.
Predictors and statistics are [d, n], one row per category or coordinate.
"""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats
from pgem.families._roles import PROB, PROBS, RATE, Role, Statistic


class Link:
    """A link; predictors are [d, n], statistics a tuple of arrays [d, n]."""

    name: str
    inverse: str
    """The slot as a function of η, in LaTeX."""
    joint = False
    """Whether the d predictors of one value belong together (categories, not coordinates)."""

    def values(self, eta: Floats) -> Floats:
        """The slot [d, n]."""
        raise NotImplementedError(type(self).__name__)

    def logs(self, eta: Floats) -> tuple[Floats, ...]:
        """What each part of the statistic is multiplied by in the log-density [d, n] each."""
        raise NotImplementedError(type(self).__name__)

    def slope(self, statistic: Statistic, eta: Floats) -> Floats:
        """The derivative of the log-density in η [d, n]."""
        raise NotImplementedError(type(self).__name__)

    def curvature(self, statistic: Statistic, eta: Floats) -> Floats:
        """Minus its second derivative in each η [d, n]."""
        raise NotImplementedError(type(self).__name__)

    def log_density(self, statistic: Statistic, eta: Floats) -> Floats:
        """The log-density without its base measure [n]; a part that is zero counts nothing."""
        return sum(self._parts(statistic, eta), start=np.zeros(eta.shape[1]))

    def message(self, statistic: Statistic, eta: Floats) -> tuple[Floats, Floats]:
        """The log-density base + δ · T(u) when a latent u multiplies the slot.

        Returns:
            base [n] without the base measure; δ [n, statistics of u].
        """
        raise NotImplementedError(type(self).__name__)

    def _parts(self, statistic: Statistic, eta: Floats) -> list[Floats]:
        """What each part of the statistic adds to the log-density [n] each."""
        found = []
        for part, log in zip(statistic, self.logs(eta), strict=True):
            product = part * log
            if not np.isfinite(product).all():
                product = np.where(part == 0, 0.0, product)
            found.append(product.sum(axis=0))
        return found


def logistic(eta: Floats) -> Floats:
    """1 / (1 + e^-η)."""
    small = np.exp(-np.abs(eta))
    return np.where(eta >= 0, 1.0, small) / (1.0 + small)


class Logit(Link):
    """log p / (1 - p); statistic: (successes, failures)."""

    name = "logit"
    inverse = r"\frac{1}{1 + e^{-\eta}}"

    def values(self, eta: Floats) -> Floats:
        return logistic(eta)

    def logs(self, eta: Floats) -> tuple[Floats, ...]:
        tail = np.log1p(np.exp(-np.abs(eta)))
        return np.minimum(eta, 0.0) - tail, np.minimum(-eta, 0.0) - tail

    def slope(self, statistic: Statistic, eta: Floats) -> Floats:
        successes, failures = statistic
        return np.asarray(successes * logistic(-eta) - failures * logistic(eta))

    def curvature(self, statistic: Statistic, eta: Floats) -> Floats:
        return np.asarray((statistic[0] + statistic[1]) * logistic(eta) * logistic(-eta))


class Log(Link):
    """The logarithm of a rate; statistic: (events a, exposure b)."""

    name = "log"
    inverse = r"e^{\eta}"

    def values(self, eta: Floats) -> Floats:
        return np.asarray(np.exp(eta))

    def logs(self, eta: Floats) -> tuple[Floats, ...]:
        return eta, -np.exp(eta)

    def slope(self, statistic: Statistic, eta: Floats) -> Floats:
        return statistic[0] - self.curvature(statistic, eta)

    def curvature(self, statistic: Statistic, eta: Floats) -> Floats:
        exposure = statistic[1]
        return np.where(exposure == 0, 0.0, exposure * np.exp(eta))

    def message(self, statistic: Statistic, eta: Floats) -> tuple[Floats, Floats]:
        """a log(u r) - b u r = a log r + (a, -b r) · (log u, u)."""
        base, slope = self._parts(statistic, eta)
        return base, np.stack([statistic[0].sum(axis=0), slope], axis=-1)


class Softmax(Link):
    """Logits of categories; statistic: (counts,) [K, n]."""

    name = "logits"
    inverse = r"\text{softmax}(\eta)"
    joint = True

    def values(self, eta: Floats) -> Floats:
        weights = np.exp(eta - eta.max(axis=0))
        return np.asarray(weights / weights.sum(axis=0))

    def logs(self, eta: Floats) -> tuple[Floats, ...]:
        shifted = eta - eta.max(axis=0)
        return (np.asarray(shifted - np.log(np.exp(shifted).sum(axis=0))),)

    def slope(self, statistic: Statistic, eta: Floats) -> Floats:
        (counts,) = statistic
        return np.asarray(counts - counts.sum(axis=0) * self.values(eta))

    def curvature(self, statistic: Statistic, eta: Floats) -> Floats:
        probs = self.values(eta)
        return np.asarray(statistic[0].sum(axis=0) * probs * (1 - probs))


LINKS: dict[Role, Link] = {PROB: Logit(), RATE: Log(), PROBS: Softmax()}
"""The link of each role."""
