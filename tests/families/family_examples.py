"""One example per family: how it is declared, two well separated parameter values, known slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

import pgem as pg
from pgem.families import Family


@dataclass(frozen=True)
class Example:
    """Two components of one family.

    Attributes:
        family: as it stands in a declaration.
        truth: values of the estimated slots, one per component.
        known: values of the known slots.
        size: coordinates of a vector, categories.
        loose: how far estimates may be from the truth, relative to 1 + |truth|.
    """

    family: Family
    truth: Mapping[str, list]
    known: Mapping[str, float] = field(default_factory=dict)
    size: int | None = None
    loose: float = 0.25

    def draw(self, rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
        """One value per component code."""
        slots = {name: np.asarray(value, dtype=float)[codes] for name, value in self.truth.items()}
        slots |= {name: np.full(len(codes), value) for name, value in self.known.items()}
        return self.family.settled(self.size, {}).draw(rng, slots)


EXAMPLES = {
    "Bernoulli": Example(pg.Bernoulli(), {"prob": [0.1, 0.9]}),
    "Beta": Example(pg.Beta(), {"a": [2.0, 9.0], "b": [10.0, 2.0]}),
    "Binomial": Example(pg.Binomial(trials=12), {"prob": [0.2, 0.8]}, {"trials": 12.0}),
    "Categorical": Example(
        pg.Categorical(size=3), {"probs": [[0.8, 0.15, 0.05], [0.05, 0.15, 0.8]]}, size=3
    ),
    "ChiSquared": Example(pg.ChiSquared(), {"df": [2.0, 20.0]}),
    "Dirac": Example(pg.Dirac(0.0), {}, {"value": 0.0}),
    "Dirichlet": Example(
        pg.Dirichlet(), {"concentration": [[6.0, 2.0, 1.0], [1.0, 3.0, 8.0]]}, size=3
    ),
    "Exponential": Example(pg.Exponential(), {"rate": [0.05, 5.0]}),
    "Gamma": Example(pg.Gamma(), {"shape": [3.0, 20.0], "rate": [2.0, 1.0]}),
    "Geometric": Example(pg.Geometric(), {"prob": [0.02, 0.8]}),
    "HalfNormal": Example(pg.HalfNormal(), {"scale": [0.5, 10.0]}),
    "InverseGamma": Example(
        pg.InverseGamma(), {"shape": [6.0, 8.0], "scale": [2.0, 60.0]}, loose=0.35
    ),
    "InverseGaussian": Example(
        pg.InverseGaussian(), {"mean": [1.0, 15.0], "shape": [4.0, 90.0]}, loose=0.35
    ),
    "InverseWishart": Example(
        pg.InverseWishart(),
        {
            "scale": [[[4.0, 1.0], [1.0, 3.0]], [[60.0, -20.0], [-20.0, 90.0]]],
            "df": [9.0, 12.0],
        },
        size=2,
        loose=0.35,
    ),
    "Laplace": Example(pg.Laplace(location=0.0), {"scale": [0.2, 8.0]}, {"location": 0.0}),
    "LogNormal": Example(pg.LogNormal(), {"mean": [0.0, 3.0], "var": [0.3, 0.2]}),
    "Logarithmic": Example(pg.Logarithmic(), {"prob": [0.1, 0.99]}),
    "Maxwell": Example(pg.Maxwell(), {"scale": [0.5, 4.0]}),
    "Multinomial": Example(
        pg.Multinomial(size=3),
        {"probs": [[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]},
        {"trials": 8.0},
        size=3,
    ),
    "MvNormal": Example(
        pg.MvNormal(),
        {"mean": [[0.0, 0.0], [5.0, 3.0]], "cov": [[[1.0, 0.5], [0.5, 1.0]], [[2.0, 0], [0, 1.0]]]},
        size=2,
    ),
    "NegativeBinomial": Example(pg.NegativeBinomial(size=3.5), {"prob": [0.8, 0.1]}, {"size": 3.5}),
    "Normal": Example(pg.Normal(), {"mean": [0.0, 6.0], "var": [1.0, 2.0]}),
    "Pareto": Example(pg.Pareto(scale=2.0), {"shape": [0.5, 12.0]}, {"scale": 2.0}),
    "Poisson": Example(pg.Poisson(), {"rate": [1.0, 12.0]}),
    "Rayleigh": Example(pg.Rayleigh(), {"scale": [0.5, 5.0]}),
    "TruncatedNormal": Example(
        pg.TruncatedNormal(low=0.0, high=10.0),
        {"mean": [3.0, 8.0], "var": [1.0, 1.5]},
        {"low": 0.0, "high": 10.0},
        loose=0.4,
    ),
    "TruncatedPoisson": Example(pg.TruncatedPoisson(), {"rate": [0.8, 11.0]}),
    "Uniform": Example(pg.Uniform(low=-1.0, high=4.0), {}, {"low": -1.0, "high": 4.0}),
    "VonMises": Example(pg.VonMises(), {"mean": [-1.5, 1.0], "concentration": [5.0, 8.0]}),
    "VonMisesFisher": Example(
        pg.VonMisesFisher(),
        {"mean": [[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]], "concentration": [8.0, 12.0]},
        size=3,
    ),
    "Wishart": Example(
        pg.Wishart(),
        {
            "scale": [[[1.0, 0.3], [0.3, 0.5]], [[6.0, -2.0], [-2.0, 9.0]]],
            "df": [5.0, 8.0],
        },
        size=2,
        loose=0.35,
    ),
    "Weibull": Example(pg.Weibull(shape=2.5), {"scale": [1.0, 7.0]}, {"shape": 2.5}),
    "Zipf": Example(pg.Zipf(ranks=60), {"exponent": [0.2, 4.0]}, {"ranks": 60.0}),
}
LEARNED = {name: example for name, example in EXAMPLES.items() if example.truth}
SCALAR = {name: e for name, e in LEARNED.items() if e.size is None}
