"""Data and settings at the edge: each ends in a clear error or a verdict with finite numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from refused import Case, cases, check

import pgem as pg

DATA, FIT, DECLARED = pg.DataError, pg.FitError, pg.DeclarationError
RNG = np.random.default_rng(0)
X, E = RNG.normal(size=30), RNG.normal(size=30)
Y = X + E
ROWS = RNG.normal(size=(50, 3))
nan = np.nan


def two_covariates() -> None:
    x, w = pg.covariate("x"), pg.covariate("w")
    pg.observed("y", pg.Normal(mean=pg.param("a") * x + pg.param("b") * w + pg.param("c")))


def two_lines() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    x, w = pg.covariate("x"), pg.covariate("w")
    mean = pg.param("a")[z] * x + pg.param("b")[z] * w + pg.param("c")[z]
    pg.observed("y", pg.Normal(mean=mean, var=pg.param("v")[z]))


def count_line() -> None:
    x, w = pg.covariate("x"), pg.covariate("w")
    pg.observed("y", pg.Poisson(log_rate=pg.param("a") * x + pg.param("b") * w + pg.param("c")))


def factor() -> None:
    f = pg.latent("f", pg.Normal(0.0, 1.0))
    mean = pg.param("load") @ f + pg.param("centre")
    pg.observed("x", pg.MvNormal(mean=mean, cov=pg.diagonal(), size=3))


def vectors() -> None:
    pg.observed("x", pg.MvNormal(size=2))


def chain() -> None:
    with pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Normal(), given=s)


def state() -> None:
    with pg.sequence("t"):
        mean = pg.param("a") * pg.prev("h")
        h = pg.latent("h", pg.Normal(mean=mean), first=pg.Normal(0.0, 1.0))
        pg.observed("y", pg.Normal(mean=h))


def echoed() -> None:
    with pg.sequence("t"):
        y = pg.observed("y", pg.Normal(mean=pg.param("a") * pg.prev("y")))
        pg.observed("e", pg.Normal(mean=pg.param("b") * y))


def echo() -> None:
    with pg.sequence("t"):
        pg.observed("y", pg.Normal(mean=pg.param("a") * pg.prev("y") + pg.param("c")))


def items() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    with pg.plate("item", size=3) as item:
        pg.observed("y", pg.Bernoulli(), given=[z, item])


def levels() -> None:
    pg.observed("y", pg.Normal(), given=pg.covariate("g", size=3))


def intercepts() -> None:
    a = pg.latent("a", pg.Normal(mean=0.0))
    with pg.plate("k"):
        pg.observed("y", pg.Normal(mean=pg.param("mu") + a))


def counts() -> None:
    lam = pg.latent("lam", pg.Gamma())
    pg.observed("y", pg.Poisson(rate=lam))


def made(declare: Any) -> pg.Model:
    with pg.Model(declare.__name__) as model:
        declare()
    return model


def settled(model: pg.Model, data: Any, **options: Any) -> pg.Fit:
    """The fit: everything that it shows is finite, and the objective never fell."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", pg.FitWarning)
        fit = model.fit(data, **{"max_iter": 100, **options})
    for name, value in fit.params.items():
        assert np.isfinite(value).all(), name
    assert np.isfinite(fit.trace).all()
    assert np.diff(fit.trace).min(initial=0.0) >= -1e-9 * max(1.0, abs(fit.trace[-1]))
    assert np.isfinite(model.log_likelihood(data, fit.params)).all()
    return fit


# --- singular designs ---------------------------------------------------------------------------

DESIGNS = {
    "collinear covariates": (2 * X, ("'a'", "'b'")),
    "nearly collinear covariates": (2 * X + 1e-9 * E, ("'a'", "'b'")),
    "a covariate beside an intercept": (np.ones(30), ("'b'", "'c'")),
    "a covariate of zeros": (np.zeros(30), ("'b'",)),
}


@pytest.mark.parametrize("declare", [two_covariates, two_lines, count_line])
@pytest.mark.parametrize(("w", "named"), DESIGNS.values(), ids=DESIGNS)
def test_singular_designs_name_what_is_not_determined(declare: Any, w: Any, named: Any) -> None:
    y = RNG.poisson(np.exp(0.5 * X)) if declare is count_line else Y
    fit = settled(made(declare), {"x": X, "w": w, "y": y})
    assert fit.verdict in ("converged", "iteration_limit")
    for name in named:
        assert name in " ".join(fit.verdict.notes)
    assert len(fit.verdict.notes) == len(named)


def test_a_singular_design_predicts_like_the_smaller_one() -> None:
    whole = settled(made(two_covariates), {"x": X, "w": 2 * X, "y": Y})
    slope, level = np.polyfit(X, Y, 1)
    assert whole.params["a"] + 2 * whole.params["b"] == pytest.approx(slope)
    assert whole.params["c"] == pytest.approx(level)


DEGENERATE = {
    "fewer rows than coefficients": (
        two_covariates,
        {"x": X[:2], "w": X[2:4], "y": Y[:2]},
        "y.var",
    ),
    "points on a line": (two_covariates, {"x": X, "w": X**2, "y": 3 * X + 1}, "y.var"),
    "a coordinate without spread": (factor, {"x": np.stack([X, Y, 0 * X], axis=1)}, "x.cov"),
    "one unit": (factor, {"x": ROWS[:1]}, "x.cov"),
    "rows on a line": (factor, {"x": np.outer(X, [1.0, 2.0, 3.0])}, "x.cov"),
    "a constant series": (state, {"y": np.ones((2, 10))}, "var"),
    "a constant echo": (echo, {"y": np.ones((2, 8))}, "y.var"),
    "members without spread": (intercepts, {"y": np.ones((4, 3))}, "var"),
}


@pytest.mark.parametrize(("declare", "data", "name"), DEGENERATE.values(), ids=DEGENERATE)
def test_no_spread_ends_with_a_named_verdict(declare: Any, data: Any, name: str) -> None:
    fit = settled(made(declare), data)
    assert fit.verdict == "degenerate"
    assert name in fit.verdict.describe()


# --- patterns -----------------------------------------------------------------------------------

UNSEEN = {
    "an item that nobody answered": (items, {"y": np.where([1, 1, 0], ROWS > 0, nan)}, ("y.prob",)),
    "a level that never occurs": (levels, {"g": np.arange(30) % 2, "y": Y}, ("y.mean", "y.var")),
    "sequences of one step": (echo, {"y": Y[:, None]}, ("'a'", "'c'", "y.var")),
    "states that never move": (state, {"y": Y[:, None]}, ("'a'", "h.var")),
    "a coordinate that is never seen": (
        vectors,
        {"x": np.stack([X, X * nan], axis=1)},
        ("'x'", "'1'"),
    ),
    "an output that is never seen": (factor, {"x": ROWS * [1.0, nan, 1.0]}, ("'x'", "'1'")),
}


@pytest.mark.parametrize(("declare", "data", "named"), UNSEEN.values(), ids=UNSEEN)
def test_parameters_without_data_are_named(declare: Any, data: Any, named: Any) -> None:
    fit = settled(made(declare), data)
    for name in named:
        assert name in " ".join(fit.verdict.notes)


def test_coordinates_that_are_never_seen_together() -> None:
    x = np.where(np.stack([X > 0, X <= 0], axis=1), ROWS[:30, :2], nan)
    fit = settled(made(vectors), {"x": x})
    assert "both coordinates '0' and '1'" in " ".join(fit.verdict.notes)
    assert "both" not in " ".join(settled(made(vectors), {"x": ROWS[:30, :2]}).verdict.notes)
    np.testing.assert_allclose(fit.params["x.mean"], np.nanmean(x, axis=0), rtol=1e-4)
    with pytest.warns(pg.FitWarning, match="x.cov"):
        assert np.isnan(fit.standard_errors()["x.cov"][0, 1])


@pytest.mark.parametrize("declare", [chain, state])
def test_a_sequence_of_nothing_but_holes(declare: Any) -> None:
    model = made(declare)
    with pytest.raises(DATA, match="'y' has no value at all"):
        model.fit({"y": np.full((2, 10), nan)})
    seen = RNG.normal(size=40)
    whole = settled(model, {"y": [seen]}, max_iter=20)
    both = settled(model, {"y": [np.full(5, nan), seen]}, start=whole.params, max_iter=0)
    assert model.log_likelihood({"y": [np.full(5, nan)]}, both.params) == pytest.approx(0.0)
    assert both.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-12)


def test_units_of_nothing_but_holes_change_nothing() -> None:
    model = made(counts)
    y = RNG.negative_binomial(2, 0.3, 200).astype(float)
    one = settled(model, {"y": y}, max_iter=10, tol=0)
    two = settled(model, {"y": np.append(y, [nan] * 9)}, start=one.params, max_iter=0)
    assert two.log_likelihood == pytest.approx(one.log_likelihood, rel=1e-12)


# --- what must be refused -----------------------------------------------------------------------

M = "with pg.Model('m') as m: "
END = "\nm.compile()"
Z = (
    M
    + "z = pg.latent('z', pg.Categorical(pg.param('w', {}), size=3)); pg.observed('x', pg.Normal(), given=z)"
)
LINE = "LINE.fit({{'x': {0}, 'w': np.arange(3.0), 'y': np.arange(3.0)}})"


@cases(
    # covariates
    ("a covariate with a hole", LINE.format("[1.0, nan, 2.0]"), DATA, "'x'", "row '1'", "complete"),
    ("an infinite covariate", LINE.format("[1.0, 2.0, inf]"), DATA, "'x'", "row '2'", "infinite"),
    ("a covariate of text", LINE.format("['a', 'b', 'c']"), DATA, "'x'", "numbers"),
    ("a covariate that is not there", "LINE.fit({'w': np.arange(3.0), 'y': np.arange(3.0)})", DATA, "'x'"),
    # starts
    ("a start that is not positive definite", "VECTORS.fit({'x': np.eye(2)}, start={'x.cov': [[1.0, 2.0], [2.0, 1.0]]})", FIT, "'x.cov'", "positive definite"),
    ("a start that is not symmetric", "VECTORS.fit({'x': np.eye(2)}, start={'x.cov': [[1.0, 0.5], [0.2, 1.0]]})", FIT, "'x.cov'", "symmetric"),
    ("a start of a coefficient that is NaN", "LINE.fit({'x': [1.0], 'w': [1.0], 'y': [1.0]}, start={'a': nan})", FIT, "'a'", "nan"),
    ("parameters that are not positive definite", "VECTORS.log_likelihood({'x': np.eye(2)}, {'x.mean': [0.0, 0.0], 'x.cov': np.ones((2, 2))})", FIT, "'x.cov'", "positive definite"),
    # priors
    ("a prior below one", Z.format("prior=pg.Dirichlet(0.5)") + END, DECLARED, "'w'", "at least 1"),
    ("a negative concentration", Z.format("prior=pg.Dirichlet(-1.0)") + END, DECLARED, "'w'", "'-1.0'"),
    ("a prior rate of zero", M + "pg.observed('x', pg.Poisson(pg.param('a', prior=pg.Gamma(2.0, 0.0))))" + END, DECLARED, "'a'", "'rate'", "no finite integral"),
    ("a prior scale of zero", M + "pg.observed('x', pg.Normal(var=pg.param('a', prior=pg.InverseGamma(2.0, 0.0))))" + END, DECLARED, "'a'", "'scale'", "no finite integral"),
    ("a prior scale below zero", M + "pg.observed('x', pg.Normal(var=pg.param('a', prior=pg.InverseGamma(2.0, -1.0))))" + END, DECLARED, "'a'", "'scale'", "'-1.0'"),
    ("a prior without spread", M + "pg.observed('x', pg.Normal(mean=pg.param('a', prior=pg.Normal(0.0, 0.0))))" + END, DECLARED, "'a'", "'var'", "'0.0'"),
    ("a prior that is NaN", M + "pg.observed('x', pg.Normal(mean=pg.param('a', prior=pg.Normal(nan, 1.0))))" + END, DECLARED, "'a'", "'mean'", "'nan'"),
    ("a prior whose covariance is none", M + "pg.observed('x', pg.MvNormal(mean=pg.param('a', prior=pg.MvNormal([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]])), size=2))" + END, DECLARED, "'a'", "'cov'", "positive definite"),
    ("too few degrees of freedom", M + "pg.observed('x', pg.MvNormal(cov=pg.param('a', prior=pg.InverseWishart(np.eye(2), 0.5)), size=2))" + END, DECLARED, "'a'", "above 1"),
    # fixing
    ("a value at a structural zero", Z.format("fixed=[True, False, False], value=[0.5, 0.0, 0.0], zeros=[True, False, False]") + END, DECLARED, "'w'", "structural zero"),
    ("fixed rows that do not sum to one", Z.format("fixed=True, value=[0.5, 0.2, 0.2]") + END, DECLARED, "'w'", "sum to one"),
    ("a fixed covariance that is none", M + "pg.observed('x', pg.MvNormal(cov=pg.param('a', fixed=True, value=[[1.0, 2.0], [2.0, 1.0]]), size=2))" + END, DECLARED, "'a'", "positive definite"),
    ("a fixed variance below zero", M + "pg.observed('x', pg.Normal(var=pg.param('a', fixed=True, value=-1.0)))" + END, DECLARED, "'a'", "above zero"),
    ("a start against a fixed value", M + "pg.observed('x', pg.Normal(var=pg.param('a', fixed=True, value=1.0)))\nm.fit({'x': [1.0, 2.0]}, start={'a': 2.0})", FIT, "'a'", "'1.0' where fixed"),
    ("a start against a zero", Z.format("zeros=[True, False, False]") + "\nm.fit({'x': [1.0, 2.0, 3.0]}, start={'w': [0.2, 0.4, 0.4]})", FIT, "'w'", "where fixed"),
    ("a name for two parameters", M + "pg.observed('x', pg.Normal(pg.param('a', value=1.0), 1.0)); pg.observed('y', pg.Normal(pg.param('a', value=2.0), 1.0))", DECLARED, "'a'", "twice"),
    # steps
    ("a hole at a first value that is conditioned on", "ECHO.fit({'y': [[nan, 1.0, 2.0]]})", DATA, "'y'", "first steps", "row '0'"),
    ("no value of a node that is conditioned on its first ones", "ECHOED.posterior({'e': [[1.0, 2.0]]}, {'a': 0.5, 'b': 1.0, 'y.var': 1.0, 'e.var': 1.0})", DATA, "'y'", "first steps", "row '0'"),
    ("an empty sequence", "ECHO.fit({'y': [[1.0, 2.0], []]})", DATA, "'t'"),
)  # fmt: skip
def test_is_refused(case: Case) -> None:
    check(
        case, LINE=made(two_covariates), VECTORS=made(vectors), ECHO=made(echo), ECHOED=made(echoed)
    )
