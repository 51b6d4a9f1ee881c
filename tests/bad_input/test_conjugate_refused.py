"""Conjugate latents and multipliers that must be refused, with the reason and a way out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refused import Case, cases, check

import pgem as pg

BAD, HARD, DATA, FIT = pg.DeclarationError, pg.IntractableError, pg.DataError, pg.FitError
M = "with pg.Model('m') as m:\n "
G = M + "u = pg.latent('u', pg.Gamma())\n "
B = M + "u = pg.latent('u', pg.Beta())\n "
X = M + "x = pg.covariate('x')\n "
END = "\nm.compile()"


@cases(
    # what has no closed posterior
    ("an inner latent gate", G + "with pg.plate('p'):\n  z = pg.latent('z', pg.Categorical(size=2))\n  pg.observed('y', pg.Poisson(rate=pg.param('r')[z] * u))" + END, HARD, "'y'", "'u'", "'z'", "inner scope 'p'", "mixture over all members", "declare 'u' inside 'p'"),
    ("a child that is not conjugate", G + "pg.observed('y', pg.TruncatedPoisson(rate=u))" + END, HARD, "'y'", "TruncatedPoisson", "Gamma", "'u'", "no closed form", "Categorical"),
    ("a Gamma as a mean", G + "pg.observed('y', pg.Normal(mean=u))" + END, HARD, "'y'", "Normal", "'u'", "'mean'", "a variance or covariance that it divides"),
    ("a Gamma that multiplies a variance", G + "pg.observed('y', pg.Normal(var=pg.param('v') * u))" + END, HARD, "'y'", "'var'", "it divides"),
    ("a Gamma below a rate", G + "pg.observed('y', pg.Poisson(rate=pg.param('r') / u))" + END, HARD, "'y'", "below the line", "'rate'"),
    ("a Gamma as a shape", G + "pg.observed('y', pg.Gamma(shape=u, rate=1.0))" + END, HARD, "'y'", "'shape'", "no closed form"),
    ("a Beta as a rate", B + "pg.observed('y', pg.Poisson(rate=u))" + END, HARD, "'y'", "Beta", "'rate'", "probability that it fills alone"),
    ("a Beta times a parameter", B + "pg.observed('y', pg.Bernoulli(prob=pg.param('a') * u))" + END, BAD, "y.prob", "'u'", "prob=u and nothing beside it"),
    ("a Dirichlet as a probability", M + "u = pg.latent('u', pg.Dirichlet(size=2))\n pg.observed('y', pg.Bernoulli(prob=u))" + END, HARD, "'y'", "Dirichlet", "'prob'"),
    ("two conjugate latents", G + "v = pg.latent('v', pg.Gamma())\n pg.observed('y', pg.Gamma(shape=u, rate=v))" + END, HARD, "'y'"),
    ("two scales of one child", G + "v = pg.latent('v', pg.Gamma())\n pg.observed('y', pg.Normal(mean=v, var=1.0 / u))" + END, HARD, "'y'"),
    ("a Gamma scale over a Gaussian factor", G + "f = pg.latent('f', pg.Normal(0.0, 1.0))\n pg.observed('y', pg.Normal(mean=pg.param('a') * f, var=pg.param('v') / u))" + END, HARD, "'y'", "'f'", "'u'", "different kinds", "leave 'u' out"),
    ("latent Dirichlet allocation", M + "u = pg.latent('u', pg.Dirichlet(size=3))\n with pg.sequence('word'):\n  k = pg.latent('k', pg.Categorical(probs=u, size=3))\n  pg.observed('y', pg.Categorical(size=5), given=k)" + END, HARD, "'k'", "'u'", "latent Dirichlet allocation", "observed children", "pg.covariate('document'"),
    ("a latent below a latent", G + "v = pg.latent('v', pg.Gamma(shape=2.0, rate=u))\n pg.observed('y', pg.Poisson(rate=v))" + END, HARD, "'v'", "'u'"),
    ("a latent of another family", M + "u = pg.latent('u', pg.LogNormal())\n pg.observed('y', pg.Poisson(rate=u))" + END, HARD, "'u'", "LogNormal", "Gamma for rates"),
    ("a switch as a latent", M + "z = pg.latent('z', pg.Categorical(size=2))\n u = pg.latent('u', pg.switch(z, pg.Gamma(), pg.Exponential()))\n pg.observed('y', pg.Poisson(rate=u))" + END, BAD, "'u'", "a switch"),
    ("a vector of gammas", M + "u = pg.latent('u', pg.Gamma(size=3))\n pg.observed('y', pg.Poisson(rate=u))" + END, HARD, "'u'", "vector", "pg.plate('item', size=3)"),
    ("a latent with covariates", X + "u = pg.latent('u', pg.Gamma(shape=2.0, rate=pg.param('b') * x))\n pg.observed('y', pg.Poisson(rate=u))" + END, HARD, "'u'", "covariates or other nodes"),
    ("holes in a child that is looked back at", "with pg.Model('m') as m, pg.sequence('t'):\n u = pg.latent('u', pg.Gamma(2.0, 2.0))\n pg.observed('x', pg.Normal(mean=pg.param('a') * pg.prev('x'), var=pg.param('v') / u))\nm.fit({'x': [[1.0, nan, 2.0]]})", HARD, "'x'", "has holes", "unit '0', step '1' of 't'", "'u'", "complete values"),
    ("a chain of conjugate latents", "with pg.Model('m') as m, pg.sequence('t'):\n u = pg.latent('u', pg.Gamma(shape=2.0, rate=pg.param('a') * pg.prev('u')), first=pg.Gamma())\n pg.observed('y', pg.Poisson(rate=u))" + END, HARD, "'u'", "depends on covariates or other nodes", "of no known family"),
    # multipliers
    ("a product in a family without one", X + "pg.observed('y', pg.Geometric(prob=pg.param('p') * x))" + END, BAD, "y.prob", "Geometric", "no exponential family in a prob"),
    ("a covariate in a family without one", X + "pg.observed('y', pg.TruncatedPoisson(rate=x))" + END, BAD, "y.rate", "TruncatedPoisson"),
    ("a negative factor", X + "pg.observed('y', pg.Poisson(rate=-2.0 * x))" + END, BAD, "y.rate", "not positive", "'-2'"),
    ("products in two slots", X + "pg.observed('y', pg.Gamma(shape=pg.param('a') * x, rate=pg.param('b') * x))" + END, BAD, "'y'", "two slots"),
    ("a sum as a rate", X + "pg.observed('y', pg.Poisson(rate=pg.param('a') * x + 1.0))" + END, BAD, "y.rate", "holds a sum"),
    ("a structure in a product", G + "pg.observed('y', pg.MvNormal(cov=pg.diagonal(pg.param('s')) / u))", BAD, "y.cov", "diagonal", "pg.diagonal(pg.param('psi') / u)"),
    ("a category as a factor", M + "z = pg.latent('z', pg.Categorical(size=2))\n pg.observed('y', pg.Poisson(rate=pg.param('r') * z))" + END, BAD, "'y'", "'z'", "categories"),
)  # fmt: skip
def test_is_refused(case: Case) -> None:
    check(case)


def poisson() -> pg.Model:
    with pg.Model("m") as model:
        u = pg.latent("u", pg.Gamma())
        pg.observed("y", pg.Poisson(rate=u * pg.covariate("x")))
    return model


def shares() -> pg.Model:
    with pg.Model("m") as model:
        u = pg.latent("u", pg.Dirichlet(size=3))
        pg.observed("y", pg.Multinomial(probs=u, size=3))
    return model


def products() -> pg.Model:
    with pg.Model("m") as model:
        n = pg.observed("n", pg.TruncatedPoisson())
        pg.observed("y", pg.Poisson(rate=pg.param("r") * n))
    return model


@cases(
    ("holes in an observed factor", "products().fit({'n': [1, nan], 'y': [1, 2]})", HARD, "'n'", "TruncatedPoisson", "has holes", "complete values"),
    ("an exposure of zero", "poisson().fit({'y': [1, 2], 'x': [1.0, 0.0]})", DATA, "'y'", "'rate'", "not positive", "'0'", "unit '1'"),
    ("a negative exposure", "poisson().log_likelihood({'y': [1], 'x': [-1.0]}, {'u.shape': 1.0, 'u.rate': 1.0})", DATA, "'y'", "positive numbers", "'-1'"),
    ("a negative given latent", "poisson().fit({'y': [1, 2], 'x': [1.0, 1.0], 'u': [-1.0, nan]})", DATA, "'u'", "support"),
    ("half of a given vector", "shares().fit({'y': [[1, 2, 3]], 'u': [[0.5, nan, nan]]})", DATA, "'u'", "whole vectors"),
    ("labels of a continuous latent", "poisson().fit({'y': [1, 2], 'x': [1.0, 1.0]}, start={'u': [0, 1]})", FIT, "'u'", "not finitely many values"),
    ("hard decisions without anything discrete", "poisson().fit({'y': [1, 2], 'x': [1.0, 1.0]}, posterior='hard')", FIT, "'hard'", "'u'", "discrete latent"),
    ("a joint table of a continuous latent", "poisson().posterior({'y': [1], 'x': [1.0]}, {'u.shape': 1.0, 'u.rate': 1.0}, joint=[('u', 'y')])", DATA, "'u'", "not discrete"),
    ("a negative start", "poisson().fit({'y': [1, 2], 'x': [1.0, 1.0]}, start={'u.shape': -1.0})", FIT, "u.shape", "above zero"),
)  # fmt: skip
def test_bad_data_are_refused(case: Case) -> None:
    check(case, poisson=poisson, shares=shares, products=products)


@pytest.mark.parametrize("name", ["BetaBinomial", "DirichletMultinomial", "StudentT", "Cauchy",
                                  "MvT", "ZeroInflatedPoisson"])  # fmt: skip
def test_families_that_are_templates_say_so(name: str) -> None:
    with pytest.raises(AttributeError, match=r"pg\.templates\.\w+"):
        getattr(pg, name)


def advice(error: Any) -> str:
    return str(error).rpartition("what to do:")[2]


def test_a_refusal_ends_with_something_that_compiles() -> None:
    """What is proposed for an inner gate: the latent moves inside."""
    with pg.Model("m") as model, pg.plate("p"):
        u = pg.latent("u", pg.Gamma())
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("y", pg.Poisson(rate=pg.param("r")[z] * u))
    data = {"y": [np.array([1.0, 2.0]), np.array([3.0])]}
    assert np.isfinite(model.fit(data, max_iter=2).log_likelihood)
