"""The normal family truncated to a known interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask
from pgem.families._family import REALS, Examples, Family, Observations, Slot, Slots, Statistics
from pgem.families._gaussian import LOG_2PI
from pgem.families._numeric import climb
from pgem.families._roles import KNOWN, MEAN, VARIANCE
from pgem.families.normal import Normal

WIDEST = 1e6
"""A variance beyond this many times the data's has run off: the density bends no longer down."""


class TruncatedNormal(Normal):
    r"""A Gaussian of which only values between two known bounds are seen.

    $$p(x) \propto \exp\{-(x - m)^2 / 2v\}, \quad a \le x \le b$$

    $T$ and $\eta$ are those of the normal family, and $A$ is larger by
    $\log\{\Phi((b - m) / s) - \Phi((a - m) / s)\}$ with $s = \sqrt v$.  Where the data are flatter
    than any such density (the maximum lies at a second natural parameter of zero or above), the
    variance becomes infinite, which a fit reports as degenerate.  For one bound only, put the other
    beyond all that is likely.

    Args:
        mean: mean m of the whole Gaussian.
        var: variance v of the whole Gaussian.
        low: lower bound a, a value, or `pg.constant([...])[gate]`; never estimated.
        high: upper bound b, likewise.
    """

    slots: ClassVar[tuple[Slot, ...]] = (
        Slot("mean", MEAN),
        Slot("var", VARIANCE),
        Slot("low", KNOWN, per_cell=True),
        Slot("high", KNOWN, per_cell=True),
    )
    support = replace(REALS, name="numbers from `low` to `high`")
    formula = r"-\tfrac12 \log 2\pi v - (x - m)^2 / 2v - \log Z(m, v)"
    written: ClassVar[Mapping[str, str]] = {
        "A": "-(eta1**2) / (4 * eta2) + log(-pi / eta2) / 2 + log("
        "normal((high + eta1 / (2 * eta2)) * sqrt(-2 * eta2))"
        " - normal((low + eta1 / (2 * eta2)) * sqrt(-2 * eta2)))",
    }
    rung = "Newton"
    examples: ClassVar[Examples] = {"low": (-2.5,), "high": (4.0,)}
    role_statistics = Family.role_statistics  # type: ignore[assignment]
    conjugate_to = None  # type: ignore[assignment]
    gaussian = False

    def possible(self, x: Floats, **known: Floats) -> Mask:
        """Numbers between the bounds."""
        fits = np.asarray(np.isfinite(x))
        if "low" in known:
            fits = fits & (x >= known["low"])
        return fits & (x <= known["high"]) if "high" in known else fits

    def inside(self, **known: Floats) -> Floats:
        return (known["low"] + known["high"]) / 2

    def log_partition(self, *eta: Floats, **known: Floats) -> Floats:
        var = -0.5 / eta[1]
        whole = super().log_partition(*eta)
        return np.asarray(whole + log_share(eta[0] * var, var, known["low"], known["high"]))

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return np.where(self.possible(x, **known), 0.0, -np.inf)

    def from_mean(self, *mean: Floats, **known: Floats) -> tuple[Floats, ...]:
        return _solve(mean[0], mean[1] - mean[0] ** 2, known["low"], known["high"])

    def log_density(self, data: Observations, slots: Slots) -> Floats:
        out = super().log_density(data, slots)
        level = log_share(*self.aligned(slots, "mean", "var", "low", "high"))
        here = data.observed.reshape(len(data.x), -1).astype(float)
        out -= here @ level.reshape(len(level), -1).T
        low, high = (part.reshape(len(level), -1) for part in self.aligned(slots, "low", "high"))
        x = data.filled.reshape(len(data.x), -1)
        if (x < low.max(initial=-np.inf)).any() or (x > high.min(initial=np.inf)).any():
            outside = (x[:, None] < low) | (x[:, None] > high)
            out[(outside & (here[:, None] > 0)).any(axis=2)] = -np.inf
        return out

    def estimate(self, stats: Statistics, previous: Slots) -> dict[str, Floats]:
        count, *sums = (part.reshape(previous["mean"].shape) for part in stats)
        centre, _, low, high = self.aligned(previous, "mean", "var", "low", "high")
        some = count > 0
        first, second = (np.where(some, part / np.where(some, count, 1), 0.0) for part in sums)
        mean, var = _solve(first, second - first**2, low - centre, high - centre)
        return {
            "mean": np.where(some, mean + centre, centre),
            "var": np.where(some, var, previous["var"]),
        }

    def expected_log_density(self, stats: Statistics, slots: Slots, origin: Slots) -> float:
        level = log_share(*self.aligned(slots, "mean", "var", "low", "high"))
        with np.errstate(invalid="ignore"):
            lost = stats[0].reshape(level.shape) * level
        return super().expected_log_density(stats, slots, origin) - float(lost.sum())

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        mean, var, low, high = self.aligned(slots, "mean", "var", "low", "high")
        sd, level = np.sqrt(var), log_share(mean, var, low, high)
        ends = np.stack([(low - mean) / sd, (high - mean) / sd])
        heights = np.exp(-0.5 * (ends**2 + LOG_2PI) - level)
        shift = heights[0] - heights[1]
        bend = np.where(heights > 0, ends * heights, 0.0)
        return mean + sd * shift, var * (1 + bend[0] - bend[1] - shift**2)

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        """By inverting the distribution function, in logs and from the nearer tail."""
        from scipy.special import log_ndtr, ndtri_exp

        mean, var, low, high = self.aligned(slots, "mean", "var", "low", "high")
        sd = np.sqrt(var)
        sign, left, right = _flipped((low - mean) / sd, (high - mean) / sd)
        uniform = np.log(1 - generator.random(mean.shape))
        level = np.logaddexp(log_ndtr(left), uniform + _log_gap(left, right))
        x = mean + sign * sd * ndtri_exp(np.minimum(level, log_ndtr(right)))
        return np.asarray(np.clip(x, low, high))

    def scipy_twin(self, stats: Any, **slots: Any) -> Any:
        mean, sd = slots["mean"], np.sqrt(slots["var"])
        ends = [(slots[name] - mean) / sd for name in ("low", "high")]
        return stats.truncnorm(*ends, loc=mean, scale=sd)


def log_share(mean: Floats, var: Floats, low: Floats, high: Floats) -> Floats:
    """The log of a Gaussian's mass between two bounds."""
    sd = np.sqrt(var)
    return _log_gap(*_flipped((low - mean) / sd, (high - mean) / sd)[1:])


def _flipped(left: Floats, right: Floats) -> tuple[Floats, Floats, Floats]:
    """Sign and ends, mirrored where both are positive, since the left tail keeps its digits."""
    sign = np.where(left > 0, -1.0, 1.0)
    return sign, np.where(left > 0, -right, left), np.where(left > 0, -left, right)


def _log_gap(left: Floats, right: Floats) -> Floats:
    """log(Φ(right) - Φ(left)) for left ≤ 0."""
    from scipy.special import log_ndtr, ndtr

    with np.errstate(divide="ignore", over="ignore"):
        tails = np.log1p(-np.minimum(ndtr(left) + ndtr(-right), 1.0))
        ratio = np.minimum(log_ndtr(left) - log_ndtr(right), 0.0)
        near = log_ndtr(right) + np.log(-np.expm1(ratio))
    return np.asarray(np.where(right > 0, tails, near))


def _solve(mean: Floats, var: Floats, low: Floats, high: Floats) -> tuple[Floats, ...]:
    """Mean and variance of the whole Gaussian from those of the truncated one.

    Newton's method in (η₁, log v) for data scaled to mean 0 and variance 1, where the gain is
    -½ / v - A(η); the variance is infinite where it leaves all bounds.
    """
    shape = np.broadcast_shapes(mean.shape, low.shape)
    spread = np.sqrt(np.maximum(np.broadcast_to(var, shape), 1e-300)).ravel()
    ends = [((np.broadcast_to(end, shape) - mean).ravel() / spread) for end in (low, high)]

    def gain(free: Floats) -> Floats:
        whole = np.exp(np.minimum(free[:, 1], np.log(10 * WIDEST)))
        level = log_share(free[:, 0] * whole, whole, *ends)
        bend = 1 / whole + free[:, 0] ** 2 * whole + np.log(whole)
        return np.asarray(-0.5 * bend - level)

    with np.errstate(all="ignore"):
        found = climb(gain, np.zeros((len(spread), 2)), rounds=100)
    whole = np.exp(found[:, 1])
    run_off = whole > WIDEST
    centre = np.where(run_off, 0.0, found[:, 0] * whole)
    scaled = np.where(run_off, np.inf, whole) * spread**2
    return mean + (centre * spread).reshape(shape), scaled.reshape(shape)
