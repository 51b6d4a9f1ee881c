"""The shelf of families: one exponential family a file, and one line here."""

from pgem.families._family import Family, Observations, Slot, Support
from pgem.families.bernoulli import Bernoulli
from pgem.families.beta import Beta
from pgem.families.binomial import Binomial
from pgem.families.categorical import Categorical
from pgem.families.chi_squared import ChiSquared
from pgem.families.dirac import Dirac
from pgem.families.dirichlet import Dirichlet
from pgem.families.exponential import Exponential
from pgem.families.gamma import Gamma
from pgem.families.geometric import Geometric
from pgem.families.half_normal import HalfNormal
from pgem.families.inverse_gamma import InverseGamma
from pgem.families.inverse_gaussian import InverseGaussian
from pgem.families.inverse_wishart import InverseWishart
from pgem.families.laplace import Laplace
from pgem.families.log_normal import LogNormal
from pgem.families.logarithmic import Logarithmic
from pgem.families.maxwell import Maxwell
from pgem.families.multinomial import Multinomial
from pgem.families.mv_normal import MvNormal
from pgem.families.negative_binomial import NegativeBinomial
from pgem.families.normal import Normal
from pgem.families.pareto import Pareto
from pgem.families.poisson import Poisson
from pgem.families.rayleigh import Rayleigh
from pgem.families.truncated_normal import TruncatedNormal
from pgem.families.truncated_poisson import TruncatedPoisson
from pgem.families.uniform import Uniform
from pgem.families.von_mises import VonMises
from pgem.families.von_mises_fisher import VonMisesFisher
from pgem.families.weibull import Weibull
from pgem.families.wishart import Wishart
from pgem.families.zipf import Zipf

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "ChiSquared",
    "Dirac",
    "Dirichlet",
    "Exponential",
    "Family",
    "Gamma",
    "Geometric",
    "HalfNormal",
    "InverseGamma",
    "InverseGaussian",
    "InverseWishart",
    "Laplace",
    "LogNormal",
    "Logarithmic",
    "Maxwell",
    "Multinomial",
    "MvNormal",
    "NegativeBinomial",
    "Normal",
    "Observations",
    "Pareto",
    "Poisson",
    "Rayleigh",
    "Slot",
    "Support",
    "TruncatedNormal",
    "TruncatedPoisson",
    "Uniform",
    "VonMises",
    "VonMisesFisher",
    "Weibull",
    "Wishart",
    "Zipf",
]
