"""Fits that must be refused, or must end with a named verdict and finite parameters."""

from __future__ import annotations

import numpy as np
import pytest
from refused import Case, cases, check

import pgem as pg

ERROR = pg.FitError

with pg.Model("mixture") as MIXTURE:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.Normal(), given=z)

with pg.Model("vectors") as VECTORS:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.MvNormal(), given=z)

with pg.Model("many") as MANY:
    z = pg.latent("z", pg.Categorical(size=5))
    pg.observed("x", pg.Normal(), given=z)

with pg.Model("fixed") as FIXED:
    z = pg.latent(
        "z", pg.Categorical(pg.param("w", fixed=[True, False, False], value=[0.5, 0.0, 0.0]))
    )
    pg.observed("x", pg.Normal(), given=z)

with pg.Model("chain") as CHAIN, pg.sequence("t"):
    s = pg.latent("s", pg.Categorical(size=2), after="s")
    pg.observed("y", pg.Normal(), given=s)

with pg.Model("segments") as SEGMENTS, pg.sequence("t"):
    s = pg.latent("s", pg.Categorical(size=2), after="s", duration=pg.Categorical(size=2))
    pg.observed("y", pg.Normal(), given=s)

with pg.Model("steady") as STEADY, pg.sequence("t"):
    s = pg.latent("s", pg.Categorical(size=2), after="s", first="stationary")
    pg.observed("y", pg.Normal(), given=s)

with pg.Model("coins") as COINS:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("b", pg.Bernoulli(), given=z)

MODELS = {name: value for name, value in globals().items() if isinstance(value, pg.Model)}
X = {"x": np.array([0.0, 0.1, 0.3, 5.0, 5.1, 5.4])}
Y = {"y": np.array([0.0, 0.1, 0.3, 5.0, 5.1, 5.4])}
P = {"z.probs": [0.5, 0.5], "x.mean": [0.0, 5.0], "x.var": [1.0, 1.0]}


@cases(
    # start
    ("a start of an unknown name", "MIXTURE.fit(X, start={'x.means': [0.0, 1.0]})", ERROR, "'x.means'", "x.mean", "did you mean"),
    ("a start of the wrong shape", "MIXTURE.fit(X, start={'x.mean': [0.0, 1.0, 2.0]})", ERROR, "'x.mean'", "(2,)", "(3,)"),
    ("a start outside its constraint", "MIXTURE.fit(X, start={'x.var': [1.0, -1.0]})", ERROR, "'x.var'", "above zero", "-1.0"),
    ("a start whose rows do not sum to one", "MIXTURE.fit(X, start={'z.probs': [0.5, 0.4]})", ERROR, "'z.probs'", "sum to one"),
    ("a start that is NaN", "MIXTURE.fit(X, start={'x.mean': [nan, 0.0]})", ERROR, "'x.mean'", "nan"),
    ("a start of text", "MIXTURE.fit(X, start={'x.mean': ['a', 'b']})", ERROR, "'x.mean'", "numbers"),
    ("a covariance that is not positive definite", "VECTORS.fit({'x': np.random.default_rng(0).normal(size=(20, 2))}, start={'x.cov': np.ones((2, 2, 2))})", ERROR, "'x.cov'", "positive definite"),
    ("a start against a fixed entry", "FIXED.fit(X, start={'w': [0.2, 0.4, 0.4]})", ERROR, "'w'", "fixed"),
    ("a start in which a value follows itself", "SEGMENTS.fit(Y, start={'s.probs': [[0.5, 0.5], [1.0, 0.0]]})", ERROR, "'s.probs'", "fixed", "0.5"),
    ("labels that last too long", "SEGMENTS.fit(Y, start={'s': [[0, 0, 0, 1, 1, 0]]})", ERROR, "unit '0'", "-inf"),
    ("a start of two closed classes", "STEADY.fit(Y, start={'s.probs': np.eye(2), 'y.mean': [0.0, 5.0], 'y.var': [1.0, 1.0]})", ERROR, "{0}' and '{1}", "first='stationary'"),
    ("labels of the wrong length", "MIXTURE.fit(X, start={'z': [0, 1]})", ERROR, "'z'", "'6' rows", "(2,)"),
    ("labels out of range", "MIXTURE.fit(X, start={'z': [0, 1, 2, 0, 1, 2]})", ERROR, "'z'", "labels 0 … 1"),
    ("responsibilities that do not sum to one", "MIXTURE.fit(X, start={'z': np.ones((6, 2))})", ERROR, "'z'", "sum to one"),
    ("labels of text", "MIXTURE.fit(X, start={'z': list('aabbab')})", ERROR, "'z'", "labels 0 … 1"),
    ("a start that is no mapping", "MIXTURE.fit(X, start=[0.5, 0.5])", ERROR, "start", "mapping"),
    ("a start of probability zero", "COINS.fit({'b': [0, 1, 1]}, start={'b.prob': [0.0, 0.0]})", ERROR, "unit '1'", "log-likelihood", "start value"),
    ("more values than rows", "MANY.fit({'x': [1.0, 2.0, 3.0]})", ERROR, "'z'", "'3'", "'5'", "start="),
    # options
    ("no restarts", "MIXTURE.fit(X, restarts=0)", ERROR, "'restarts'", "at least 1"),
    ("half a restart", "MIXTURE.fit(X, restarts=1.5)", ERROR, "'restarts'", "'1.5'"),
    ("a negative number of iterations", "MIXTURE.fit(X, max_iter=-1)", ERROR, "'max_iter'", "'-1'"),
    ("iterations of text", "MIXTURE.fit(X, max_iter='many')", ERROR, "'max_iter'", "'many'"),
    ("a negative tolerance", "MIXTURE.fit(X, tol=-1e-3)", ERROR, "'tol'", "'-0.001'"),
    ("a tolerance that is NaN", "MIXTURE.fit(X, tol=nan)", ERROR, "'tol'", "'nan'"),
    ("a tolerance of text", "MIXTURE.fit(X, tol='small')", ERROR, "'tol'", "'small'"),
    ("an unknown kind of posterior", "MIXTURE.fit(X, posterior='viterbi')", ERROR, "'posterior'", "'hard'", "'viterbi'"),
    ("an unknown remedy", "MIXTURE.fit(X, degenerate='ignore')", ERROR, "'degenerate'", "'stop'", "'ignore'"),
    ("a floor that is not positive", "MIXTURE.fit(X, degenerate='floor', floor=0.0)", ERROR, "'floor'", "'0.0'"),
    ("a floor of text", "MIXTURE.fit(X, degenerate='floor', floor='low')", ERROR, "'floor'", "'low'"),
    ("shards without units", "MIXTURE.fit(X, shard_size=0)", ERROR, "'shard_size'", "'0'"),
    ("no threads", "MIXTURE.fit(X, n_jobs=0)", ERROR, "'n_jobs'", "'0'"),
    ("half a thread", "MIXTURE.fit(X, n_jobs=0.5)", ERROR, "'n_jobs'", "'0.5'"),
    ("half a unit per shard", "MIXTURE.fit(X, shard_size=2.5)", ERROR, "'shard_size'", "'2.5'"),
    ("a negative seed", "MIXTURE.fit(X, seed=-1)", ERROR, "'seed'", "'-1'"),
    ("a seed of text", "MIXTURE.fit(X, seed='abc')", ERROR, "'seed'", "'abc'"),
    ("a callback that is no function", "MIXTURE.fit(X, callback=3)", ERROR, "'callback'", "'3'"),
    # parameters
    ("a parameter is missing", "MIXTURE.log_likelihood(X, {'x.mean': [0.0, 1.0]})", ERROR, "'z.probs'", "missing", "(2,)"),
    ("an unknown parameter", "MIXTURE.log_likelihood(X, {**P, 'x.sd': [1.0, 1.0]})", ERROR, "'x.sd'", "x.var"),
    ("a parameter of the wrong shape", "MIXTURE.posterior(X, {**P, 'x.mean': 0.0})", ERROR, "'x.mean'", "(2,)", "()"),
    ("parameters that are no mapping", "MIXTURE.log_likelihood(X, [0.5, 0.5])", ERROR, "mapping", "'list'"),
    ("no parameters", "MIXTURE.posterior(X, None)", ERROR, "mapping", "'NoneType'"),
    ("an unknown parameter of a fit", "MIXTURE.fit(X, max_iter=0, start=P).expanded('x.cov')", ERROR, "'x.cov'", "x.var"),
    # data that no fit can use
    ("constant vectors", "VECTORS.fit({'x': np.ones((30, 2))}, degenerate='raise')", ERROR, "'x.cov'", "spread"),
    ("a constant", "MIXTURE.fit({'x': np.ones(30)}, degenerate='raise')", ERROR, "'x.var'", "spread"),
)  # fmt: skip
def test_is_refused(case: Case) -> None:
    check(case, X=X, Y=Y, P=P, **MODELS)


def settled(fit: pg.Fit) -> bool:
    """Whether everything that a fit shows is finite."""
    numbers = [*fit.params.values(), fit.trace, fit.log_likelihood]
    return all(np.isfinite(value).all() for value in numbers)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (MIXTURE, np.ones(30)),
        (VECTORS, np.ones((30, 2))),
        (VECTORS, np.outer(np.arange(30.0), [1.0, 2.0])),
        (VECTORS, np.stack([np.arange(30.0), np.ones(30)], axis=1)),
        (MIXTURE, np.array([1.0, 1.0, 1.0, 2.0])),
    ],
    ids=["constant", "constant vectors", "vectors on a line", "a constant coordinate", "ties"],
)
def test_data_without_spread_end_with_a_named_verdict(model: pg.Model, values: np.ndarray) -> None:
    with pytest.warns(pg.FitWarning, match=r"x\.(cov|var)"):
        fit = model.fit({"x": values})
    assert fit.verdict == "degenerate"
    assert settled(fit)


def test_one_observation_of_one_component() -> None:
    with pg.Model("one") as model:
        pg.observed("x", pg.Poisson())
    fit = model.fit({"x": [3]})
    assert fit.verdict == "converged"
    assert fit.params["x.rate"] == 3.0


def test_one_observation_has_no_spread() -> None:
    with pg.Model("one") as model:
        pg.observed("x", pg.Normal())
    with pytest.warns(pg.FitWarning, match=r"x\.var"):
        fit = model.fit({"x": [3.0]})
    assert fit.verdict == "degenerate"
    assert settled(fit)


def test_a_sequence_of_nothing_but_holes_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(6, 20)) + 4 * (rng.random((6, 1)) < 0.5)
    whole = CHAIN.fit({"y": y}, max_iter=5, tol=0)
    holes = np.concatenate([y, np.full((1, 20), np.nan)])
    log_p = CHAIN.log_likelihood({"y": holes}, whole.params)
    assert log_p[-1] == pytest.approx(0.0, abs=1e-12)
    assert log_p.sum() == pytest.approx(whole.log_likelihood)


def test_a_partly_fixed_row_starts_with_the_rest_shared() -> None:
    fit = FIXED.fit(X, max_iter=0)
    assert np.allclose(fit.params["w"], [0.5, 0.25, 0.25])
