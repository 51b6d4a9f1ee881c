"""Priors, bounds and fixed parts that must be refused."""

from __future__ import annotations

import pytest
from refused import Case, cases, check

import pgem as pg

ERROR = pg.DeclarationError
M = "with pg.Model('m') as m: "
Z = M + "z = pg.latent('z', pg.Categorical(size=2)); w = pg.latent('w', pg.Categorical(size=3)); "
END = "\nm.compile()"
WISHART = "pg.InverseWishart(np.eye(2), 5.0)"


@cases(
    # families of matrices
    ("a matrix as a latent node", M + "pg.observed('y', pg.MvNormal(cov=pg.latent('x', pg.InverseWishart(size=2))))" + END, pg.IntractableError, "'x'", "InverseWishart"),
    ("a matrix beside a number in a switch", Z + f"pg.observed('x', pg.switch(z, pg.Normal(), {WISHART}))", ERROR, "'x'", "'InverseWishart'", "matrices"),
    ("degrees of freedom too few", M + "pg.observed('x', pg.MvNormal(cov=pg.param('c', prior=pg.InverseWishart(np.eye(3), 2.0))))" + END, ERROR, "'c'", "'df'", "above 2", "'2.0'"),
    ("a scale that is not positive definite", M + "pg.observed('x', pg.MvNormal(cov=pg.param('c', prior=pg.InverseWishart([[1.0, 2.0], [2.0, 1.0]], 5.0))))" + END, ERROR, "'c'", "'scale'", "positive definite"),
    ("a scale of another size", M + "pg.observed('x', pg.MvNormal(cov=pg.param('c', prior=pg.InverseWishart(np.eye(3), 5.0)), size=2))" + END, ERROR, "'c'", "(2, 2)", "(3, 3)"),
    ("a matrix prior of variances", M + "pg.observed('x', pg.MvNormal(cov=pg.diagonal(pg.param('c', prior=pg.InverseWishart(np.eye(2), 5.0))), size=2))" + END, ERROR, "'c'", "variance", "InverseWishart"),
    ("a vector prior of a number", M + "pg.observed('x', pg.Normal(pg.param('c', prior=pg.MvNormal(0.0, 1.0))))" + END, ERROR, "'c'", "MvNormal", "axes"),
    ("an inverse gamma prior of a matrix", M + "pg.observed('x', pg.MvNormal(cov=pg.param('c', prior=pg.InverseGamma(2.0, 1.0)), size=2))" + END, ERROR, "'c'", "covariance matrix", "InverseGamma"),
    # what stands in the slots
    ("text in a prior", M + "pg.observed('x', pg.Poisson(pg.param('a', prior=pg.Gamma('two', 1.0))))", ERROR, "'a'", "'shape'", "'two'"),
    ("a prior that is not finite", M + "pg.observed('x', pg.Poisson(pg.param('a', prior=pg.Gamma(nan, 1.0))))", ERROR, "'a'", "'shape'", "finite"),
    ("a flat Beta's fall", M + "pg.observed('x', pg.Bernoulli(pg.param('a', prior=pg.Beta(0.5, 1.0))))" + END, ERROR, "'a'", "unbounded", "a='0.5'"),
    ("a concentration below one", M + "pg.observed('x', pg.Categorical(pg.param('a', prior=pg.Dirichlet([2.0, 0.5])), size=2))" + END, ERROR, "'a'", "unbounded"),
    ("concentrations of another length", M + "pg.observed('x', pg.Categorical(pg.param('a', prior=pg.Dirichlet([2.0, 2.0, 2.0])), size=2))" + END, ERROR, "'a'", "(2,)", "(3,)"),
    ("a variance of zero", M + "pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, 0.0))))" + END, ERROR, "'a'", "'var'", "above zero"),
    ("a node in a prior", Z + "pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(z, 1.0))))", ERROR, "'mean'", "'a'", "needs a value"),
    ("a structure around a scalar", M + "pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(pg.diagonal(1.0), 1.0))))", ERROR, "'mean'", "'a'", "diagonal"),
    # links
    ("an indexed parameter in a prior", Z + "v = pg.param('v'); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, v[z]))[z], v[z]))", ERROR, "'var'", "'a'", "without gates"),
    ("a sum in a prior", M + "v = pg.param('v'); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, v + 1.0)), v))", ERROR, "'var'", "'a'", "var / 0.01"),
    ("two parameters in a prior", M + "v = pg.param('v'); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, v * v)), v))", ERROR, "'var'", "'a'", "times a number"),
    ("a number over a parameter", M + "v = pg.param('v'); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, 1.0 / v)), v))", ERROR, "'var'", "'a'", "times a number"),
    ("a parameter over zero", M + "v = pg.param('v'); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, v / 0.0)), v))", ERROR, "the factor", "'var'", "finite"),
    ("a parameter times nothing", M + "v = pg.param('v'); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, 0.0 * v)), v))" + END, ERROR, "'a'", "'v'", "not positive"),
    ("a variance with a minus", M + "v = pg.param('v'); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, -v)), v))" + END, ERROR, "'a'", "'v'", "not positive", "-1.0"),
    ("a factor that does not broadcast", Z + "v = pg.param('v'); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, v * np.ones(3)))[z], v[z]))" + END, ERROR, "the factor", "'a'", "(2,)", "(3,)"),
    ("a parameter without a name", M + "v = pg.param(); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, v)), v))", ERROR, "without a name", "pg.param("),
    ("a parameter that only a prior knows", M + "v = pg.param('v'); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, v))))" + END, ERROR, "'v'", "only in a prior"),
    ("a mean where a variance belongs", M + "b = pg.param('b'); pg.observed('y', pg.Normal(b)); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, b))))" + END, ERROR, "'var'", "'a'", "'b'", "a mean", "a variance"),
    ("a parameter as the shape of a prior", M + "k = pg.param('k'); pg.observed('y', pg.Gamma(k, 1.0)); pg.observed('x', pg.Poisson(pg.param('a', prior=pg.Gamma(k, 1.0))))" + END, ERROR, "'shape'", "'a'", "'k'", "not conjugate"),
    ("a link without a conditional maximum", M + "v = pg.param('v'); pg.observed('y', pg.MvNormal(cov=v, size=2)); pg.observed('x', pg.MvNormal(cov=pg.param('a', prior=pg.InverseWishart(v, 5.0)), size=2))" + END, ERROR, "'scale'", "'a'", "'v'", "covariance matrix", "scale matrix of an inverse"),
    ("other gates", Z + "v = pg.param('v'); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, v))[z], v[w]))" + END, ERROR, "'var'", "'a'", "'v'", "same gates"),
    ("gates of the same sizes, but other nodes", M + "z = pg.latent('z', pg.Categorical(size=2)); w = pg.latent('w', pg.Categorical(size=2)); v = pg.param('v'); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, v))[z], v[w]))" + END, ERROR, "'var'", "'a'", "'v'", "same gates"),
    ("more gates", Z + "v = pg.param('v'); pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, v)), v[z]))" + END, ERROR, "'var'", "'a'", "'v'", "same gates"),
    ("axes of another length", M + "v = pg.param('v'); pg.observed('y', pg.MvNormal(cov=pg.diagonal(v), size=3)); pg.observed('x', pg.MvNormal(pg.param('a', prior=pg.Normal(0.0, v)), size=2))" + END, ERROR, "'var'", "'a'", "'v'", "(3,)", "(2,)"),
    ("a circle of priors", M + "v = pg.param('v', prior=None); b = pg.param('b', prior=None); object.__setattr__(v, 'prior', pg.Normal(b, 1.0)); object.__setattr__(b, 'prior', pg.Normal(v, 1.0)); pg.observed('x', pg.Normal(v)); pg.observed('y', pg.Normal(b))" + END, ERROR, "circle", "'v", "b"),
    # fixing
    ("a prior of what is wholly fixed", M + "pg.observed('x', pg.Normal(pg.param('a', prior=pg.Normal(0.0, 1.0), fixed=True, value=2.0)))" + END, ERROR, "'a'", "wholly fixed", "prior="),
    ("a matrix prior of a partly fixed matrix", M + "pg.observed('x', pg.MvNormal(cov=pg.param('c', prior=pg.InverseWishart(1.0, 5.0), fixed=~np.eye(2, dtype=bool), value=np.eye(2))))" + END, ERROR, "'c'", "partly fixed", "InverseWishart"),
    ("a linked prior of a partly fixed vector", M + "c = pg.param('c'); pg.observed('x', pg.MvNormal(pg.param('a', prior=pg.MvNormal(0.0, c), fixed=[True, False], value=[0.0, 0.0]), c))" + END, ERROR, "'a'", "partly fixed", "linked MvNormal"),
    ("a value at a structural zero", M + "pg.observed('x', pg.Categorical(pg.param('a', zeros=[True, False, False], value=[0.2, 0.4, 0.4])))" + END, ERROR, "'a'", "structural zero"),
    ("fixed entries that leave nothing", M + "pg.observed('x', pg.Categorical(pg.param('a', fixed=[True, True, False], value=[0.5, 0.5, 0.0])))" + END, ERROR, "'a'", "leave nothing", "zeros="),
    ("a fixed row that does not sum to one", M + "pg.observed('x', pg.Categorical(pg.param('a', fixed=True, value=[0.2, 0.4])))" + END, ERROR, "'a'", "sum to one"),
    ("a mask that is not symmetric", M + "pg.observed('x', pg.MvNormal(cov=pg.param('c', fixed=[[False, True], [False, False]], value=np.eye(2))))" + END, ERROR, "'c'", "not symmetric"),
    ("a fixed diagonal", M + "pg.observed('x', pg.MvNormal(cov=pg.param('c', fixed=np.eye(2, dtype=bool), value=np.eye(2))))" + END, ERROR, "'c'", "partly fixed", "no closed form", "pg.diagonal"),
    ("a fixed covariance that is not zero", M + "pg.observed('x', pg.MvNormal(cov=pg.param('c', fixed=~np.eye(2, dtype=bool), value=[[1.0, 0.5], [0.5, 1.0]])))" + END, ERROR, "'c'", "partly fixed", "no closed form"),
    ("zeros that do not separate", M + "pg.observed('x', pg.MvNormal(cov=pg.param('c', fixed=[[0, 0, 1], [0, 0, 0], [1, 0, 0]], value=np.eye(3))))" + END, ERROR, "'c'", "partly fixed", "no closed form"),
    ("half a direction", M + "pg.observed('x', pg.VonMisesFisher(pg.param('d', fixed=[True, False], value=[1.0, 0.0]), size=2))" + END, ERROR, "'d'", "as a whole"),
    # bounds
    ("a bound of a mean", M + "pg.observed('x', pg.Normal(pg.param('a', lower=0.1)))" + END, ERROR, "'a'", "mean", "lower="),
    ("a bound of a probability", M + "pg.observed('x', pg.Bernoulli(pg.param('a', lower=0.1)))" + END, ERROR, "'a'", "probability", "lower="),
    ("a bound of a matrix", M + "pg.observed('x', pg.MvNormal(cov=pg.param('a', lower=0.1), size=2))" + END, ERROR, "'a'", "covariance matrix", "lower="),
    ("a bound of zero", M + "pg.observed('x', pg.Poisson(pg.param('a', lower=0.0)))" + END, ERROR, "'a'", "lower=", "not positive"),
    ("a bound of text", M + "pg.observed('x', pg.Poisson(pg.param('a', lower='low')))", ERROR, "'a'", "lower=", "'low'"),
    ("a bound of another shape", M + "pg.observed('x', pg.Poisson(pg.param('a', lower=[1.0, 2.0])))" + END, ERROR, "'a'", "lower=", "(2,)"),
    ("a bound above the value", M + "pg.observed('x', pg.Poisson(pg.param('a', lower=2.0, value=1.0)))" + END, ERROR, "'a'", "below its lower bound"),
    ("a bound of what is wholly fixed", M + "pg.observed('x', pg.Poisson(pg.param('a', lower=2.0, value=3.0, fixed=True)))" + END, ERROR, "'a'", "wholly fixed", "lower="),
    ("a start below the bound", M + "pg.observed('x', pg.Poisson(pg.param('a', lower=2.0)))\nm.fit({'x': [1.0, 5.0]}, start={'a': 1.0})", pg.FitError, "'a'", "lower bound", "2.0"),
)  # fmt: skip
def test_is_refused(case: Case) -> None:
    check(case)


def text(old: str = "", new: str = "") -> str:
    """A declaration with a linked prior as JSON, a part of it replaced."""
    with pg.Model("m") as model:
        var = pg.param("var", prior=pg.InverseGamma(1.5, 2.0), lower=0.5)
        mean = pg.param("mean", prior=pg.Normal(mean=21.0, var=var / 0.01))
        pg.observed("x", pg.Normal(mean, var))
    found = model.to_json()
    assert old in found
    return found.replace(old, new) if old else found


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"param": "var"', '"param": "vat"', ("'mean'", "vat", "mean, var")),
        ('"factor": 100.0', '"factor": "a"', ("'mean'", "factor", "'a'")),
        ('"shape": 1.5', '"shap": 1.5', ("'var'", "InverseGamma", "shape, scale")),
        ('"lower": 0.5', '"lower": "x"', ("'var'", "lower=")),
        ('"structures": {}', '"structures": {"var": "diagonal"}', ("prior", "Normal")),
    ],
)
def test_a_text_that_does_not_fit_is_refused(old: str, new: str, words: tuple[str, ...]) -> None:
    assert pg.Model.from_json(text()).to_json() == text()
    with pytest.raises(pg.DeclarationError) as caught:
        pg.Model.from_json(text(old, new))
    for word in words:
        assert word in str(caught.value)
