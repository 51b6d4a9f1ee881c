"""The shelf of families: one exponential family a file, and one line here."""

from pgem.families._family import Family, Observations, Slot, Support
from pgem.families.bernoulli import Bernoulli
from pgem.families.binomial import Binomial
from pgem.families.categorical import Categorical
from pgem.families.dirac import Dirac
from pgem.families.exponential import Exponential
from pgem.families.gamma import Gamma
from pgem.families.geometric import Geometric
from pgem.families.multinomial import Multinomial
from pgem.families.mv_normal import MvNormal
from pgem.families.normal import Normal
from pgem.families.poisson import Poisson

__all__ = [
    "Bernoulli",
    "Binomial",
    "Categorical",
    "Dirac",
    "Exponential",
    "Family",
    "Gamma",
    "Geometric",
    "Multinomial",
    "MvNormal",
    "Normal",
    "Observations",
    "Poisson",
    "Slot",
    "Support",
]
