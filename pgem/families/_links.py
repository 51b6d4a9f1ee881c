r"""Link functions: what maps a linear predictor η to the slot of a family.

A role's statistic fixes the log-density as a function of its slot, so that one link serves every
family whose slot has that role:

    probability   s log p + f log(1 - p)    p = 1 / (1 + e^-η)
    rate          a log r - b r             r = e^η
    probabilities Σ_k t_k log p_k           p = softmax(η)

All three are concave in η.  They are evaluated without forming p or r, so nothing overflows where
a predictor is large.
"""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats
from pgem.families._roles import PROB, PROBS, RATE, Role, Statistic


class Link:
    """A link; predictors are [N, d], statistics a tuple of arrays [N, d]."""

    name: str
    inverse: str
    """The slot as a function of η, in LaTeX."""
    joint = False
    """Whether the d predictors of one value belong together (categories, not coordinates)."""

    def values(self, eta: Floats) -> Floats:
        """The slot [N, d]."""
        raise NotImplementedError(type(self).__name__)

    def log_density(self, statistic: Statistic, eta: Floats) -> Floats:
        """The log-density without its base measure [N]."""
        raise NotImplementedError(type(self).__name__)

    def slope(self, statistic: Statistic, eta: Floats) -> Floats:
        """Its derivative in η [N, d]."""
        raise NotImplementedError(type(self).__name__)

    def curvature(self, statistic: Statistic, eta: Floats) -> Floats:
        """Minus its second derivative: [N, d], or [N, d, d] if `joint`."""
        raise NotImplementedError(type(self).__name__)

    def reference(self, statistic: Statistic) -> Floats:
        """The size [N, d] that a curvature is compared with to see that it has vanished."""
        raise NotImplementedError(type(self).__name__)


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

    def log_density(self, statistic: Statistic, eta: Floats) -> Floats:
        successes, failures = statistic
        tail = np.log1p(np.exp(-np.abs(eta)))  # log(1 + e^|η|) is |η| more
        below, above = np.maximum(-eta, 0.0) + tail, np.maximum(eta, 0.0) + tail
        return -np.asarray((successes * below + failures * above).sum(axis=1))

    def slope(self, statistic: Statistic, eta: Floats) -> Floats:
        successes, failures = statistic
        return np.asarray(successes * logistic(-eta) - failures * logistic(eta))

    def curvature(self, statistic: Statistic, eta: Floats) -> Floats:
        return np.asarray((statistic[0] + statistic[1]) * logistic(eta) * logistic(-eta))

    def reference(self, statistic: Statistic) -> Floats:
        return statistic[0] + statistic[1]


class Log(Link):
    """The logarithm of a rate; statistic: (events a, exposure b)."""

    name = "log"
    inverse = r"e^{\eta}"

    def values(self, eta: Floats) -> Floats:
        return np.asarray(np.exp(eta))

    def log_density(self, statistic: Statistic, eta: Floats) -> Floats:
        events, exposure = statistic
        seen = np.where(events == 0, 0.0, events * eta)  # a rate of zero and no events
        return np.asarray((seen - _times(exposure, np.exp(eta))).sum(axis=1))

    def slope(self, statistic: Statistic, eta: Floats) -> Floats:
        return statistic[0] - _times(statistic[1], np.exp(eta))

    def curvature(self, statistic: Statistic, eta: Floats) -> Floats:
        return _times(statistic[1], np.exp(eta))

    def reference(self, statistic: Statistic) -> Floats:
        return np.asarray(((statistic[0] > 0) | (statistic[1] > 0)).astype(float))


def _times(exposure: Floats, rate: Floats) -> Floats:
    """The product, 0 without exposure to a rate that overflows."""
    return np.where(exposure == 0, 0.0, exposure * rate)


class Softmax(Link):
    """Logits of categories; statistic: (counts,) [N, K]."""

    name = "logits"
    inverse = r"\text{softmax}(\eta)"
    joint = True

    def values(self, eta: Floats) -> Floats:
        weights = np.exp(eta - eta.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def log_density(self, statistic: Statistic, eta: Floats) -> Floats:
        shifted = eta - eta.max(axis=1, keepdims=True)
        log_total = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return np.asarray((statistic[0] * (shifted - log_total)).sum(axis=1))

    def slope(self, statistic: Statistic, eta: Floats) -> Floats:
        (counts,) = statistic
        return np.asarray(counts - counts.sum(axis=1, keepdims=True) * self.values(eta))

    def curvature(self, statistic: Statistic, eta: Floats) -> Floats:
        probs, total = self.values(eta), statistic[0].sum(axis=1)
        inside = probs[:, :, None] * np.eye(probs.shape[1]) - probs[:, :, None] * probs[:, None, :]
        return np.asarray(total[:, None, None] * inside)

    def reference(self, statistic: Statistic) -> Floats:
        total = statistic[0].sum(axis=1, keepdims=True)
        return np.broadcast_to(total, statistic[0].shape)


LINKS: dict[Role, Link] = {PROB: Logit(), RATE: Log(), PROBS: Softmax()}
"""The link of each role."""
