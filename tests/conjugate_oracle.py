"""An oracle for conjugate latents: quadrature over the latent, enumeration of what gates it.

Densities are scipy's or written again here; nothing is shared with the compiler.  A unit is a list
of configurations of its discrete latents; given one, its continuous latents are independent, and
each is integrated on a fine grid (log u for positive ones, the logit for shares).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln, logsumexp

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Nodes of a latent: values, logarithms, log(1 - u) where it is a share, log weights."""

    u: Floats
    log_u: Floats
    log_rest: Floats
    log_weight: Floats


def gamma_grid(shape: float, rate: float) -> Grid:
    """Nodes of a Gamma(shape, rate), the density included in the weights."""
    t, step = np.linspace(-90.0, 12.0, 20001, retstep=True)
    u = np.exp(t)
    log_density = shape * np.log(rate) - gammaln(shape) + (shape - 1) * t - rate * u
    return Grid(u, t, np.zeros_like(t), log_density + t + np.log(step))


def beta_grid(a: float, b: float) -> Grid:
    """Nodes of a Beta(a, b), the density included in the weights."""
    t, step = np.linspace(-90.0, 90.0, 20001, retstep=True)
    log_u, log_rest = -np.logaddexp(0, -t), -np.logaddexp(0, t)
    return Grid(np.exp(log_u), log_u, log_rest, a * log_u + b * log_rest - betaln(a, b)
                + np.log(step))  # fmt: skip


Child = Callable[[Grid], Any]
"""log p(child | u) at all nodes."""


@dataclass(frozen=True)
class Latent:
    """A latent of one unit in one configuration: its prior, its children, its value if given."""

    prior: Grid
    children: Sequence[Child]
    given: float | None = None

    def table(self) -> Floats:
        """Log of the joint density times the weight, at all nodes."""
        if self.given is None:
            return np.asarray(self.prior.log_weight + sum(c(self.prior) for c in self.children))
        raise ValueError("given")

    @property
    def log_p(self) -> float:
        """log p(children)."""
        return float(logsumexp(self.table()))

    def expected(self, function: Callable[[Grid], Floats]) -> float:
        """E[f(u) | children]."""
        table = self.table()
        if not np.isfinite(table).any():
            return 0.0  # under a configuration of probability zero
        return float(np.exp(table - logsumexp(table)) @ function(self.prior))


@dataclass(frozen=True)
class Configuration:
    """Values of the discrete latents, their log-probability, and the latents given them."""

    values: tuple[int, ...]
    log_prior: float
    latents: tuple[Latent, ...]

    @property
    def log_p(self) -> float:
        """log p(values, children)."""
        return self.log_prior + sum(latent.log_p for latent in self.latents)


@dataclass(frozen=True)
class Unit:
    """All configurations of one unit."""

    configurations: tuple[Configuration, ...]

    @classmethod
    def of(cls, configurations: Iterable[Configuration]) -> Unit:
        """From any iterable."""
        return cls(tuple(configurations))

    @property
    def log_p(self) -> float:
        """log p(unit)."""
        return float(logsumexp([c.log_p for c in self.configurations]))

    @property
    def weights(self) -> Floats:
        """Posterior of the configurations."""
        logs = np.array([c.log_p for c in self.configurations])
        return np.asarray(np.exp(logs - logsumexp(logs)))

    def expected(self, function: Callable[[Grid], Floats], which: int = 0) -> float:
        """E[f(u)] of one latent."""
        found = [c.latents[which].expected(function) for c in self.configurations]
        return float(self.weights @ np.array(found))

    def moments(self, which: int = 0) -> tuple[float, float]:
        """Posterior mean and variance of one latent."""
        mean = self.expected(lambda g: g.u, which)
        return mean, self.expected(lambda g: g.u**2, which) - mean**2


# --- densities, written again -------------------------------------------------------------------


def poisson(x: float, rate: Any) -> Any:
    """log Poisson(x; rate)."""
    return x * np.log(rate) - rate - gammaln(x + 1)


def exponential(x: float, rate: Any) -> Any:
    """log Exponential(x; rate)."""
    return np.log(rate) - rate * x


def gamma(x: float, shape: float, rate: Any) -> Any:
    """log Gamma(x; shape, rate)."""
    return shape * np.log(rate) - gammaln(shape) + (shape - 1) * np.log(x) - rate * x


def normal(x: float, mean: float, var: Any) -> Any:
    """log Normal(x; mean, var)."""
    return -0.5 * (np.log(2 * np.pi * var) + (x - mean) ** 2 / var)


def mv_normal(x: Floats, mean: Floats, cov: Floats, precision: Floats) -> Any:
    """log N(x; mean, cov / precision) of the coordinates that are there, at all precisions."""
    seen = ~np.isnan(x)
    d, block = (x - mean)[seen], cov[np.ix_(seen, seen)]
    square = float(d @ np.linalg.solve(block, d)) if seen.any() else 0.0
    logdet = np.linalg.slogdet(2 * np.pi * block)[1] if seen.any() else 0.0
    return -0.5 * (logdet - seen.sum() * np.log(precision) + square * precision)


def binomial(x: float, n: float) -> Child:
    """log Binomial(x; n, u)."""
    level = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
    return lambda g: level + x * g.log_u + (n - x) * g.log_rest
