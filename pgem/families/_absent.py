"""Names that are looked for on the shelf and are not there: what to write instead."""

from __future__ import annotations

NO_FAMILY = "is no exponential family"

INSTEAD = {
    "BetaBinomial": "is pg.templates.beta_binomial(): a Binomial whose probability is latent, "
    "p = pg.latent('p', pg.Beta()), pg.Binomial(prob=p, trials=...)",
    "Cauchy": f"{NO_FAMILY}; it is Student-t with one degree of freedom, "
    "pg.templates.student_t(df=1): a Normal whose variance is divided by a latent "
    "pg.Gamma(shape=0.5, rate=0.5)",
    "DirichletMultinomial": "is pg.templates.dirichlet_multinomial(size): a Multinomial whose "
    "probabilities are latent, p = pg.latent('p', pg.Dirichlet(size=3)), pg.Multinomial(probs=p)",
    "DiscreteUniform": "is pg.Categorical with fixed equal probs",
    "Erlang": "is pg.Gamma with a fixed whole shape: pg.Gamma(shape=3)",
    "F": f"{NO_FAMILY}",
    "Gaussian": "is called pg.Normal, with a variance",
    "Gumbel": f"{NO_FAMILY} unless its scale is known; exp(-x / scale) is then exponential: "
    "transform the data and use pg.Exponential",
    "Hypergeometric": f"{NO_FAMILY}",
    "InvGamma": "is called pg.InverseGamma",
    "LogSeries": "is called pg.Logarithmic",
    "Logistic": f"{NO_FAMILY}",
    "Lognormal": "is called pg.LogNormal",
    "MatrixNormal": "is pg.MvNormal of the stacked columns; a Kronecker covariance is not offered",
    "MultivariateNormal": "is called pg.MvNormal",
    "MultivariateStudent": "is pg.templates.student_t(vectors=True): an MvNormal whose covariance "
    "is divided by a latent Gamma, u = pg.latent('u', pg.Gamma(shape=2, rate=2)), "
    "pg.MvNormal(cov=pg.param('scale') / u)",
    "MvNormalKnownCovariance": "is pg.MvNormal(cov=pg.constant(matrix))",
    "NormalKnownVariance": "is pg.Normal(var=value)",
    "Skellam": f"{NO_FAMILY}: it is the difference of two latent Poisson counts, and its Bessel "
    "function does not separate; where both counts are seen, model them as two nodes",
    "Student": f"{NO_FAMILY}; it is pg.templates.student_t(): a Normal whose variance is divided "
    "by a latent Gamma, u = pg.latent('u', pg.Gamma(shape=2, rate=2)), "
    "pg.Normal(var=pg.param('scale') / u)",
    "ZeroInflated": "is pg.templates.zero_inflated(family), a switch with an atom at zero: "
    "y = pg.observed('y', pg.switch(z, pg.Dirac(0), pg.Poisson())) "
    "with z = pg.latent('z', pg.Categorical(size=2))",
}
ALIASES = {
    "MvStudent": "MultivariateStudent",
    "MvT": "MultivariateStudent",
    "Polya": "DirichletMultinomial",
    "StudentT": "Student",
    "T": "Student",
    "ZeroInflatedBinomial": "ZeroInflated",
    "ZeroInflatedNegativeBinomial": "ZeroInflated",
    "ZeroInflatedPoisson": "ZeroInflated",
}


def instead_of(name: str) -> str:
    """What to write instead of a family of this name; empty where nothing is known of it."""
    text = INSTEAD.get(ALIASES.get(name, name), "")
    return f"{name} {text}" if text else ""
