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
)
from pgem.families import (
    Bernoulli,
    Binomial,
    Categorical,
    Dirac,
    Exponential,
    Gamma,
    Geometric,
    Multinomial,
    MvNormal,
    Normal,
    Poisson,
)
from pgem.pipeline import Model, load
from pgem.plan import Program
from pgem.result import Fit

if TYPE_CHECKING:
    from pgem import templates, testing
    from pgem.bridges.frames import Data

__version__ = "0.1.0"

__all__ = [
    "Bernoulli",
    "Binomial",
    "Categorical",
    "Data",
    "DataError",
    "DeclarationError",
    "Dirac",
    "Exponential",
    "Fit",
    "FitError",
    "FitWarning",
    "Gamma",
    "Geometric",
    "IntractableError",
    "MissingExtraError",
    "Model",
    "Multinomial",
    "MvNormal",
    "Normal",
    "PgemError",
    "Poisson",
    "Program",
    "constant",
    "covariate",
    "diagonal",
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
    raise AttributeError(f"module 'pgem' has no attribute '{name}'")


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__version__"]
