"""The oracle itself, against closed forms of tiny models."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from oracle import Oracle, TooManyConfigurations
from scipy import stats

from pgem import declare as pg
from pgem.families import Bernoulli, Categorical, Dirac, Exponential, MvNormal, Normal, Poisson

WEIGHTS = np.array([0.3, 0.7])
MEANS = np.array([-1.0, 2.0])
VARIANCES = np.array([0.5, 1.5])
START = np.array([0.6, 0.4])
MOVE = np.array([[0.9, 0.1], [0.2, 0.8]])
RATES = np.array([1.0, 4.0])


def mixture() -> pg.ModelRecord:
    with pg.Declaration() as model:
        z = pg.latent("z", Categorical(size=2))
        pg.observed("x", Normal(), given=z)
    return model.record


def hmm() -> pg.ModelRecord:
    with pg.Declaration() as model, pg.sequence("t"):
        s = pg.latent("s", Categorical(size=2), after="s")
        pg.observed("y", Poisson(), given=s)
    return model.record


MIXTURE_PARAMS = {"z.probs": WEIGHTS, "x.mean": MEANS, "x.var": VARIANCES}
HMM_PARAMS = {"s.probs": MOVE, "s.first.probs": START, "y.rate": RATES}


def joint_of_mixture(x: np.ndarray) -> np.ndarray:
    return WEIGHTS * stats.norm.pdf(x[:, None], MEANS, np.sqrt(VARIANCES))


def paths_of_hmm(y: list[int]) -> dict[tuple[int, ...], float]:
    emit = stats.poisson.pmf(np.array(y)[:, None], RATES)
    found = {}
    for path in itertools.product([0, 1], repeat=len(y)):
        p = START[path[0]] * np.prod([MOVE[a, b] for a, b in itertools.pairwise(path)])
        found[path] = p * np.prod([emit[t, s] for t, s in enumerate(path)])
    return found


def test_mixture_matches_bayes_rule():
    x = np.array([-0.5, 0.3, 2.5])
    joint = joint_of_mixture(x)
    oracle = Oracle(mixture(), {"x": x}, MIXTURE_PARAMS)
    np.testing.assert_allclose(oracle.log_likelihood, np.log(joint.sum(axis=1)), rtol=1e-13)
    for n in range(3):
        expected = joint[n] / joint[n].sum()
        np.testing.assert_allclose(oracle.marginal("z", n, ()), expected, rtol=1e-12)
    np.testing.assert_allclose(oracle.modes, np.log(joint.max(axis=1)), rtol=1e-13)


def test_mixture_expected_statistics_are_weighted():
    x, weights = np.array([-0.5, 0.3, 2.5]), np.array([1.0, 0.0, 2.5])
    joint = joint_of_mixture(x)
    resp = weights[:, None] * joint / joint.sum(axis=1, keepdims=True)
    oracle = Oracle(mixture(), {"x": x}, MIXTURE_PARAMS, weights)
    found = oracle.expected_statistics()
    np.testing.assert_allclose(found["z"][()]["values"], resp.sum(axis=0))
    for k in range(2):
        cell = found["x"][(k,)]
        np.testing.assert_allclose(cell["count"], resp[:, k].sum())
        np.testing.assert_allclose(cell["x"], resp[:, k] @ x)
        np.testing.assert_allclose(cell["xx"], resp[:, k] @ x**2)
    expected = (resp * np.log(joint)).sum()
    assert oracle.q(MIXTURE_PARAMS) == pytest.approx(expected, rel=1e-12)


def test_closed_form_m_step_is_the_top_of_q():
    x = np.array([-0.5, 0.3, 2.5, 1.0])
    oracle = Oracle(mixture(), {"x": x}, MIXTURE_PARAMS)
    found = oracle.expected_statistics()
    count = found["z"][()]["values"]
    mean = np.array([found["x"][(k,)]["x"] for k in range(2)]) / count
    var = np.array([found["x"][(k,)]["xx"] for k in range(2)]) / count - mean**2
    best = {"z.probs": count / count.sum(), "x.mean": mean, "x.var": var}
    top = oracle.q(best)
    for name in best:
        for sign in (-1, 1):
            moved = {**best, name: best[name] + sign * np.array([1e-3, -1e-3])}
            assert oracle.q(moved) < top


def test_hmm_matches_a_sum_over_paths():
    data = {"y": [np.array([0, 3, 5]), np.array([2])]}
    oracle = Oracle(hmm(), data, HMM_PARAMS)
    for n, y in enumerate(data["y"]):
        paths = paths_of_hmm(y.tolist())
        total = sum(paths.values())
        assert oracle.log_likelihood[n] == pytest.approx(np.log(total), rel=1e-13)
        assert oracle.modes[n] == pytest.approx(np.log(max(paths.values())), rel=1e-13)
        for t in range(len(y)):
            expected = [sum(p for path, p in paths.items() if path[t] == k) for k in range(2)]
            found = oracle.marginal("s", n, (t,))
            np.testing.assert_allclose(found, np.array(expected) / total)
    paths = paths_of_hmm([0, 3, 5])
    pair = np.zeros((2, 2))
    for path, p in paths.items():
        pair[path[2], path[1]] += p / sum(paths.values())
    np.testing.assert_allclose(oracle.pair("s", 0, (2,), "s", lag=1), pair)


def test_hmm_counts_transitions_and_first_states():
    data = {"y": [np.array([0, 3, 5])]}
    oracle = Oracle(hmm(), data, HMM_PARAMS)
    found = oracle.expected_statistics()
    np.testing.assert_allclose(found["s.first"][()]["values"], oracle.marginal("s", 0, (0,)))
    moves = np.array([found["s"][(k,)]["values"] for k in range(2)])
    expected = sum(oracle.pair("s", 0, (t,), "s", lag=1).T for t in (1, 2))
    np.testing.assert_allclose(moves, expected)


def test_a_missing_value_is_summed_out():
    y = np.array([0.0, np.nan, 5.0])
    whole = Oracle(hmm(), {"y": [y]}, HMM_PARAMS).log_likelihood[0]
    parts = [Oracle(hmm(), {"y": [[0.0, k, 5.0]]}, HMM_PARAMS).total for k in range(40)]
    assert whole == pytest.approx(np.logaddexp.reduce(parts), rel=1e-12)


def test_a_given_latent_is_its_joint_probability():
    oracle = Oracle(hmm(), {"y": [[0, 3]], "s": [[1.0, np.nan]]}, HMM_PARAMS)
    paths = paths_of_hmm([0, 3])
    expected = np.log(paths[1, 0] + paths[1, 1])
    assert oracle.log_likelihood[0] == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(oracle.marginal("s", 0, (0,)), [0, 1])


def test_plates_multiply_and_index():
    with pg.Declaration() as model:
        c = pg.latent("c", Categorical(size=2))
        with pg.plate("item", size=3) as item:
            pg.observed("x", Bernoulli(), given=[c, item])
    prob = np.array([[0.1, 0.5, 0.9], [0.8, 0.3, 0.6]])
    x = np.array([[1, 0, 1]])
    oracle = Oracle(model.record, {"x": x}, {"c.probs": WEIGHTS, "x.prob": prob})
    terms = WEIGHTS * np.prod(np.where(x == 1, prob, 1 - prob), axis=1)
    assert oracle.log_likelihood[0] == pytest.approx(np.log(terms.sum()), rel=1e-13)
    assert set(oracle.expected_statistics()["x"]) == {(k, i) for k in range(2) for i in range(3)}


def test_a_continuous_component_has_no_mass_at_an_atom():
    with pg.Declaration() as model:
        z = pg.latent("z", Categorical(size=2))
        pg.observed("y", pg.switch(z, Dirac(0), Exponential()))
    params = {"z.probs": WEIGHTS, "y.1.rate": np.array(2.0)}
    oracle = Oracle(model.record, {"y": np.array([0.0, 0.4])}, params)
    expected = np.log([0.3, 0.7 * 2 * np.exp(-0.8)])
    np.testing.assert_allclose(oracle.log_likelihood, expected)


def test_mv_normal_and_its_missing_coordinates():
    with pg.Declaration() as model:
        pg.observed("x", MvNormal())
        pg.observed("y", MvNormal(cov=pg.diagonal()))
    cov = np.array([[2.0, 0.5], [0.5, 1.0]])
    params = {"x.mean": [1.0, 2.0], "x.cov": cov, "y.mean": [0.0, 1.0], "y.cov": [1.0, 4.0]}
    data = {"x": np.array([[0.3, 1.0]]), "y": np.array([[np.nan, 2.0]])}
    expected = stats.multivariate_normal([1.0, 2.0], cov).logpdf([0.3, 1.0])
    expected += stats.norm(1.0, 2.0).logpdf(2.0)
    found = Oracle(model.record, data, params).log_likelihood[0]
    assert found == pytest.approx(expected, rel=1e-12)


def test_observed_values_that_look_back_are_conditioned_on():
    with pg.Declaration() as model, pg.sequence("t"):
        pg.observed("y", Bernoulli(), after="y")
    params = {"y.prob": np.array([0.2, 0.9])}
    oracle = Oracle(model.record, {"y": [[1, 1, 0]]}, params)
    assert oracle.log_likelihood[0] == pytest.approx(np.log(0.9 * 0.1))


def test_second_order_chains_have_two_first_steps():
    with pg.Declaration() as model, pg.sequence("t"):
        s = pg.latent("s", Categorical(size=2), given=pg.prev("s", 2), after="s")
        pg.observed("y", Bernoulli(), given=s)
    generator = np.random.default_rng(0)
    table = generator.dirichlet([1, 1], size=(2, 2))
    params = {
        "s.probs": table,
        "s.first.probs": START,
        "s.first2.probs": MOVE,
        "y.prob": np.array([0.0, 1.0]),
    }
    path = [1, 0, 0, 1]
    found = Oracle(model.record, {"y": [path]}, params).log_likelihood[0]
    expected = START[1] * MOVE[1, 0] * table[1, 0, 0] * table[0, 0, 1]
    assert found == pytest.approx(np.log(expected))


def test_barren_holes_are_summed_out_of_the_mode():
    with pg.Declaration() as model:
        z = pg.latent("z", Categorical(size=2))
        pg.observed("x", Categorical(size=3), given=z)
        pg.observed("y", Bernoulli(), given=z)
    params = {
        "z.probs": WEIGHTS,
        "x.probs": np.array([[0.98, 0.01, 0.01], [0.4, 0.3, 0.3]]),
        "y.prob": np.array([0.5, 0.5]),
    }
    oracle = Oracle(model.record, {"x": np.array([np.nan]), "y": np.array([1.0])}, params)
    best, decoded = oracle.units[0].mode()
    assert decoded == {("z", ()): 1}
    assert best == pytest.approx(np.log(0.7 * 0.5))


def test_large_models_are_refused():
    with pytest.raises(TooManyConfigurations):
        Oracle(hmm(), {"y": [np.zeros(12)]}, HMM_PARAMS, limit=1000)
