"""Links that must be refused: when they are written, compiled, or given data and starts."""

from __future__ import annotations

from refused import Case, cases, check

import pgem as pg

ERROR = pg.DeclarationError
M = "with pg.Model('m') as m: "
X = M + "x = pg.covariate('x'); "
END = "\nm.compile()"
FIT = "\nm.fit({'x': np.arange(4.0), 'y': np.array([0, 1, 1, 0])}"


@cases(
    ("a probability and its logit", M + "pg.observed('y', pg.Bernoulli(0.5, logit=pg.param('a')))", ERROR, "'y'", "prob=", "logit=", "one of the two"),
    ("probabilities and logits", M + "pg.observed('y', pg.Categorical([0.5, 0.5], logits=pg.param('a')))", ERROR, "probs=", "logits="),
    ("a link that the family has not", M + "pg.observed('y', pg.Poisson(logit=pg.param('a')))", ERROR, "'logit'", "log_rate"),
    ("a link of a family without one", M + "pg.observed('y', pg.Gamma(log_rate=pg.param('a')))", ERROR, "'log_rate'", "Gamma"),
    ("a sum in a probability", X + "pg.observed('y', pg.Bernoulli(prob=pg.param('a') * x + pg.param('b')))", ERROR, "y.prob", "a sum", "logit="),
    ("a product in a probability", X + "pg.observed('y', pg.Bernoulli(prob=pg.param('a') * x))" + END, ERROR, "y.prob", "logit="),
    ("two parameters in a term", X + "pg.observed('y', pg.Poisson(log_rate=pg.param('a') * pg.param('b') * x))", ERROR, "y.log_rate", "two parameters"),
    ("a parameter without a name in a sum", X + "pg.observed('y', pg.Poisson(log_rate=pg.param() * x))", ERROR, "y.log_rate", "no name"),
    ("text in a link", M + "pg.observed('y', pg.Bernoulli(logit='a'))", ERROR, "y.logit", "'a'"),
    ("nan in a link", M + "pg.observed('y', pg.Bernoulli(logit=nan))", ERROR, "y.logit"),
    ("a diagonal link", M + "pg.observed('y', pg.Poisson(log_rate=pg.diagonal(pg.param('a'))))", ERROR, "y.log_rate", "diagonal"),
    ("a table of the wrong size", X + "pg.observed('y', pg.Categorical(logits=pg.constant([0.0, 1.0]) * x, size=3))" + END, ERROR, "y.logits", "'(3,)'", "'(2,)'"),
    ("a value for category 0", X + "pg.observed('y', pg.Categorical(logits=pg.param('a', value=[1.0, 0.0]) * x, size=2))" + END, ERROR, "'a'", "category 0", "zero"),
    ("logits without a size", X + "pg.latent('z', pg.Categorical(logits=pg.param('a') * x))" + END, ERROR, "'z'", "size="),
    ("a tie with a probability", M + "a = pg.param('a'); pg.observed('y', pg.Bernoulli(a)); pg.observed('w', pg.Bernoulli(logit=a))" + END, ERROR, "'a'", "y.prob", "w.logit"),
    ("a tie of logit and logits", M + "a = pg.param('a'); pg.observed('y', pg.Categorical(logits=a, size=3)); pg.observed('w', pg.Bernoulli(logit=a))" + END, ERROR, "'a'", "shape (3,)"),
    ("a tie with a mean that is no Gaussian's", M + "a = pg.param('a'); pg.observed('y', pg.TruncatedNormal(a, 1.0, 0.0, 9.0)); pg.observed('w', pg.Bernoulli(logit=a))" + END, ERROR, "'a'"),
    ("a prior for probabilities", M + "pg.observed('y', pg.Bernoulli(logit=pg.param('a', prior=pg.Beta(2.0, 2.0))))" + END, ERROR, "'a'", "Beta"),
    ("a Gaussian latent behind a logit", M + "f = pg.latent('f', pg.Normal(0.0, 1.0)); pg.observed('y', pg.Bernoulli(logit=pg.param('a') * f))" + END, pg.IntractableError, "'y'", "Bernoulli", "'f'", "no closed form", "pg.latent('f', pg.Categorical"),
    ("a Gamma latent behind a link", M + "u = pg.latent('u', pg.Gamma(shape=2.0, rate=2.0)); pg.observed('y', pg.Poisson(log_rate=pg.param('a') * u))" + END, pg.IntractableError, "'y'", "'u'", "'log_rate'", "a link"),
    ("a Gamma latent below the line beside a link", X + "u = pg.latent('u', pg.Gamma(shape=2.0, rate=2.0)); pg.observed('y', pg.Poisson(rate=1.0 / u, log_rate=pg.param('a') * x))" + END, pg.IntractableError, "'y'", "'u'", "below the line", "'rate'"),
    ("two Gamma latents beside a link", X + "u = pg.latent('u', pg.Gamma()); v = pg.latent('v', pg.Gamma()); pg.observed('y', pg.Poisson(rate=u * v, log_rate=pg.param('a') * x))" + END, ERROR, "y.rate", "two"),
    ("an effect beside a link gated from inside", X + "u = pg.latent('u', pg.Gamma());\nwith m, pg.plate('i'): z = pg.latent('z', pg.Categorical(size=2)); pg.observed('y', pg.Poisson(rate=u, log_rate=pg.param('a')[z] * x))" + END, pg.IntractableError, "'y'", "'u'", "'z'", "mixture over all members"),
    ("a Gaussian latent behind latent logits", M + "f = pg.latent('f', pg.Normal(0.0, 1.0)); pg.latent('z', pg.Categorical(logits=pg.param('a') * f, size=2))" + END, pg.IntractableError, "'z'", "'f'"),
    ("a latent category as a number", M + "z = pg.latent('z', pg.Categorical(size=2)); pg.observed('y', pg.Bernoulli(logit=pg.param('a') * z))" + END, ERROR, "'y'", "'z'", "[z]"),
    ("a node beside a link", M + "f = pg.latent('f', pg.Normal()); pg.observed('y', pg.Poisson(rate=pg.param('a') * f, log_rate=pg.param('b')))" + END, pg.IntractableError, "'y'", "'f'"),
    ("a vector that nothing contracts", X + "pg.observed('y', pg.Bernoulli(logit=pg.param('a') * x))\nm.fit({'x': np.ones((4, 2)), 'y': np.array([0, 1, 1, 0])})", ERROR, "'x'", "'2'", "@ x"),
    ("a missing covariate", X + "pg.observed('y', pg.Bernoulli(logit=pg.param('a') * x))\nm.fit({'x': np.array([1, nan, 2, 3]), 'y': np.array([0, 1, 1, 0])})", pg.DataError, "'x'", "missing"),
    ("a covariate of zero below the line", X + "pg.observed('y', pg.Bernoulli(logit=pg.param('a') / x))" + FIT + ")", pg.DataError, "'y'", "not finite"),
    ("an exposure of zero", X + "pg.observed('y', pg.Poisson(rate=pg.param('r') * x, log_rate=pg.param('a')))" + FIT + ")", pg.DataError, "'y'", "not positive"),
    ("holes in a regressor", M + "v = pg.observed('v', pg.Normal()); pg.observed('y', pg.Bernoulli(logit=pg.param('a') * v))\nm.fit({'v': np.array([1, nan, 2, 3]), 'y': np.array([0, 1, 1, 0])})", pg.IntractableError, "'v' has holes (the first in unit '1')", "'y'", "Bernoulli", "leave out"),
    ("a start of the wrong shape", X + "pg.observed('y', pg.Categorical(logits=pg.param('a') * x, size=2))" + FIT + ", start={'a': 1.0})", pg.FitError, "'a'", "'(2,)'"),
    ("a start for category 0", X + "pg.observed('y', pg.Categorical(logits=pg.param('a') * x, size=2))" + FIT + ", start={'a': [1.0, 0.0]})", pg.FitError, "'a'", "fixed"),
)  # fmt: skip
def test_links_are_refused(case: Case) -> None:
    check(case)
