"""Declare a latent-variable model as a graph; get its exact EM algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgem.declare import (
    constant,
    covariate,
    diagonal,
    identity,
    latent,
    observed,
    param,
    plate,
    prev,
    sequence,
    spherical,
    switch,
    tree,
)
from pgem.errors import (
    DataError,
    DeclarationError,
    FitError,
    FitWarning,
    IntractableError,
    MissingExtraError,
    PgemError,
    did_you_mean,
)
from pgem.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    ChiSquared,
    Dirac,
    Dirichlet,
    Exponential,
    Gamma,
    Geometric,
    HalfNormal,
    InverseGamma,
    InverseGaussian,
    InverseWishart,
    Laplace,
    Logarithmic,
    LogNormal,
    Maxwell,
    Multinomial,
    MvNormal,
    NegativeBinomial,
    Normal,
    Pareto,
    Poisson,
    Rayleigh,
    TruncatedNormal,
    TruncatedPoisson,
    Uniform,
    VonMises,
    VonMisesFisher,
    Weibull,
    Wishart,
    Zipf,
)
from pgem.families.from_functions import family_from_functions
from pgem.pipeline import Model, load
from pgem.plan import Program
from pgem.result import Fit

if TYPE_CHECKING:
    from pgem import templates, testing
    from pgem.bridges.density import family_from_density
    from pgem.bridges.frames import Data

__version__ = "0.1.0"

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "ChiSquared",
    "Data",
    "DataError",
    "DeclarationError",
    "Dirac",
    "Dirichlet",
    "Exponential",
    "Fit",
    "FitError",
    "FitWarning",
    "Gamma",
    "Geometric",
    "HalfNormal",
    "IntractableError",
    "InverseGamma",
    "InverseGaussian",
    "InverseWishart",
    "Laplace",
    "LogNormal",
    "Logarithmic",
    "Maxwell",
    "MissingExtraError",
    "Model",
    "Multinomial",
    "MvNormal",
    "NegativeBinomial",
    "Normal",
    "Pareto",
    "PgemError",
    "Poisson",
    "Program",
    "Rayleigh",
    "TruncatedNormal",
    "TruncatedPoisson",
    "Uniform",
    "VonMises",
    "VonMisesFisher",
    "Weibull",
    "Wishart",
    "Zipf",
    "constant",
    "covariate",
    "diagonal",
    "family_from_density",
    "family_from_functions",
    "identity",
    "latent",
    "load",
    "observed",
    "param",
    "plate",
    "prev",
    "sequence",
    "spherical",
    "switch",
    "templates",
    "testing",
    "tree",
]


def __getattr__(name: str) -> Any:
    """`templates`, `testing` and `Data` are imported when first used."""
    from importlib import import_module

    if name in ("templates", "testing"):
        return import_module(f"pgem.{name}")
    if name == "Data":
        return import_module("pgem.bridges.frames").Data
    if name == "family_from_density":
        return import_module("pgem.bridges.density").family_from_density
    instead = import_module("pgem.families._absent").instead_of(name)
    hint = instead or did_you_mean(name, __all__)
    raise AttributeError(f"module 'pgem' has no attribute '{name}'" + (f": {hint}" if hint else ""))


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__version__"]
