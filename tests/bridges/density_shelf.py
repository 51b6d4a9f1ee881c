"""Densities of the shelf as formulas, with the shelf's family and its slots for the formula's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pgem as pg


@dataclass(frozen=True)
class Example:
    """A formula and its twin.

    Attributes:
        density, kinds: what `pg.family_from_density` takes.
        twin: the family of the shelf.
        slots: values of the formula's slots → those of the twin, known ones too.
        rung: how the M-step is solved.
    """

    density: str
    kinds: Mapping[str, Any]
    twin: Any
    slots: Callable[..., dict[str, Any]]
    rung: str = "closed form"
    known: Mapping[str, Any] = field(default_factory=dict)

    def family(self, name: str) -> Any:
        return pg.family_from_density(self.density, name=name, **self.kinds)


POSITIVE = {"x": "positive", "s": "positive"}
GAMMA = {"x": "positive", "a": "positive", "b": "positive"}
GAUSS = {"m": "real", "v": "positive"}
EXAMPLES = {
    "Poisson": Example(
        "exp(-r) * r**x / factorial(x)", {"x": "count", "r": "positive"},
        pg.Poisson, lambda r: {"rate": r}),
    "Exponential": Example(
        "r * exp(-r * x)", {"x": "nonnegative", "r": "positive"},
        pg.Exponential, lambda r: {"rate": r}),
    "Rayleigh": Example(
        "x / s**2 * exp(-x**2 / (2*s**2))", POSITIVE, pg.Rayleigh, lambda s: {"scale": s}),
    "Geometric": Example(
        "p * (1-p)**x", {"x": "count", "p": "probability"}, pg.Geometric, lambda p: {"prob": p}),
    "Bernoulli": Example(
        "p**x * (1-p)**(1-x)", {"x": "binary", "p": "probability"},
        pg.Bernoulli, lambda p: {"prob": p}),
    "Binomial": Example(
        "binomial(5, x) * p**x * (1-p)**(5-x)", {"x": range(6), "p": "probability"},
        pg.Binomial, lambda p: {"prob": p}, known={"trials": 5}),
    "NegativeBinomial": Example(
        "binomial(x + 2, x) * p**3 * (1-p)**x", {"x": "count", "p": "probability"},
        pg.NegativeBinomial, lambda p: {"prob": p}, known={"size": 3}),
    "Logarithmic": Example(
        "-p**x / (x * log(1-p))", {"x": "positive_count", "p": "unit"},
        pg.Logarithmic, lambda p: {"prob": p}, "Newton"),
    "Normal": Example(
        "exp(-(x-m)**2 / (2*v)) / sqrt(2*pi*v)", {"x": "real", **GAUSS},
        pg.Normal, lambda m, v: {"mean": m, "var": v}),
    "LogNormal": Example(
        "exp(-(log(x)-m)**2 / (2*v)) / (x*sqrt(2*pi*v))", {"x": "positive", **GAUSS},
        pg.LogNormal, lambda m, v: {"mean": m, "var": v}),
    "Gamma": Example(
        "b**a * x**(a-1) * exp(-b*x) / gamma(a)", GAMMA,
        pg.Gamma, lambda a, b: {"shape": a, "rate": b}, "Newton"),
    "InverseGamma": Example(
        "b**a * x**(-a-1) * exp(-b/x) / gamma(a)", GAMMA,
        pg.InverseGamma, lambda a, b: {"shape": a, "scale": b}, "Newton"),
    "Maxwell": Example(
        "sqrt(2/pi) * x**2 / s**3 * exp(-x**2 / (2*s**2))", POSITIVE,
        pg.Maxwell, lambda s: {"scale": s}),
    "HalfNormal": Example(
        "sqrt(2/pi) / s * exp(-x**2 / (2*s**2))", {"x": "nonnegative", "s": "positive"},
        pg.HalfNormal, lambda s: {"scale": s}),
    "Weibull": Example(
        "1.5/s * (x/s)**0.5 * exp(-(x/s)**1.5)", POSITIVE,
        pg.Weibull, lambda s: {"scale": s}, known={"shape": 1.5}),
    "Pareto": Example(
        "a * 2**a / x**(a+1)", {"x": (2, float("inf")), "a": "positive"},
        pg.Pareto, lambda a: {"shape": a}, known={"scale": 2.0}),
    "Laplace": Example(
        "exp(-abs(x)/s) / (2*s)", {"x": "real", "s": "positive"},
        pg.Laplace, lambda s: {"scale": s}, known={"location": 0.0}),
    "Beta": Example(
        "x**(a-1) * (1-x)**(b-1) / beta(a, b)", {"x": "unit", "a": "positive", "b": "positive"},
        pg.Beta, lambda a, b: {"a": a, "b": b}, "Newton"),
    "InverseGaussian": Example(
        "sqrt(b / (2*pi*x**3)) * exp(-b*(x-m)**2 / (2*m**2*x))",
        {"x": "positive", "m": "positive", "b": "positive"},
        pg.InverseGaussian, lambda m, b: {"mean": m, "shape": b}),
    "ChiSquared": Example(
        "x**(k/2-1) * exp(-x/2) / (2**(k/2) * gamma(k/2))", {"x": "positive", "k": "positive"},
        pg.ChiSquared, lambda k: {"df": k}, "Newton"),
}  # fmt: skip
