"""Roles of matrix-valued families: degrees of freedom, and scales of inverses."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats, Mask, safe_divide, safe_log
from pgem.families._multigamma import LARGEST_DF, solve_multidigamma
from pgem.families._role import PositiveRole, Statistic, with_fixed
from pgem.families._roles_gaussian import Covariance


class DegreesOfFreedom(PositiveRole):
    """The n of D × D matrices, Q = n s / 2 - N log Γ_D(n / 2); statistic: (N, s).

    Args:
        size: D, once it is known.
    """

    name = "degrees of freedom"
    formula = "the root of sum of digamma((df - i) / 2) over i < d = s / count, by Newton's method"
    symbols = ("n", r"\nu")
    solution = r"\psi_d(\tfrac12 @=) = \frac{@1}{@0}"
    has_spread = True

    def __init__(self, size: int = 1) -> None:
        self.size = size

    @property
    def expected(self) -> str:  # type: ignore[override]
        """The constraint in words."""
        return f"a finite number above {self.size - 1 if self.arguments else 'D - 1'}"

    def accepts(self, value: Floats) -> Mask:
        return np.isfinite(value) & (value > self.size - 1)

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        count, total = statistic
        target = safe_divide(total, count, 0.0)
        new = np.where(count > 0, solve_multidigamma(target, self.size), previous)
        return with_fixed(new, previous, fixed)

    def neutral(self, shape: tuple[int, ...], centre: Floats, scale: Floats) -> Floats:
        return np.full(shape, self.size + 2.0)

    def to_free(self, value: Floats) -> Floats:
        return safe_log(value - (self.size - 1))

    def from_free(self, free: Floats) -> Floats:
        return np.asarray(self.size - 1 + np.exp(free))

    def collapsed(self, value: Floats, scale: Floats) -> Mask:
        return np.asarray((value.reshape(len(value), -1) >= LARGEST_DF).any(axis=1))

    def raised(self, value: Floats, floor: Floats) -> Floats:
        return np.minimum(value, LARGEST_DF / 2)


class InverseScale(Covariance):
    """A matrix V with Q = a log |V| / 2 - tr(V S) / 2; statistic: (a [rows], S [rows, D, D])."""

    has_spread = False
    name = "scale matrix of an inverse"
    formula = "expected degrees of freedom times the inverse of the expected inverses"
    solution = r"@= = @0 (@1)^{-1}"
    per_value = ()

    def maximise(self, statistic: Statistic, previous: Floats, fixed: Mask) -> Floats:
        events, inverses = statistic
        some = (events > 0) & (np.linalg.slogdet(inverses)[0] > 0)
        safe = np.where(some[:, None, None], inverses, np.eye(inverses.shape[-1]))
        new = events[:, None, None] * np.linalg.inv(safe)
        new = (new + np.swapaxes(new, -1, -2)) / 2
        return with_fixed(np.where(some[:, None, None], new, previous), previous, fixed)

    def refusal(self, value: Floats, fixed: Mask) -> str:
        partly = fixed.any(axis=(-1, -2)) & ~fixed.all(axis=(-1, -2))
        return "it is fixed as a whole or not at all" if np.any(partly) else ""

    def is_bounded(self, statistic: Statistic) -> bool:
        return bool((statistic[0] >= 0).all())

    def scaled(self, statistic: Statistic, factor: Floats) -> Statistic:
        events, inverses = statistic
        return events, factor.reshape(-1, 1, 1) * inverses
