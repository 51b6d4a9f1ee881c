"""Every template compiles, fits simulated data, and finds the truth up to the order of labels."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from scipy import optimize, stats

import pgem as pg
from pgem import templates

PAIR = np.array([[0.9, 0.1], [0.2, 0.8]])


@pytest.fixture
def generator() -> Generator:
    return np.random.default_rng(7)


def chains(generator: Generator, table: Any, n_units: int = 40, n_steps: int = 50) -> Any:
    """States [units, steps] of two-state chains."""
    states = np.zeros((n_units, n_steps), dtype=int)
    for t in range(1, n_steps):
        states[:, t] = generator.random(n_units) > table[states[:, t - 1], 0]
    return states


def close_up_to_order(found: Any, truth: Any, atol: float) -> bool:
    """Whether the rows are the same in some order."""
    orders = permutations(range(len(truth)))
    return any(np.allclose(np.asarray(found)[list(o)], truth, atol=atol) for o in orders)


def agreement(found: Any, truth: Any) -> float:
    """Share of equal labels under the best renaming."""
    orders = [np.array(order) for order in permutations(range(int(truth.max()) + 1))]
    return max(float(np.mean(order[np.asarray(found)] == truth)) for order in orders)


def test_mixture(generator: Generator) -> None:
    z = generator.integers(0, 3, 600)
    data = {"x": generator.poisson(np.array([1.0, 10.0, 40.0])[z])}
    fit = templates.mixture(pg.Poisson(), 3).fit(data, restarts=3)
    assert close_up_to_order(fit.params["x.rate"], [1.0, 10.0, 40.0], atol=1.5)
    assert agreement(fit.decode(data)["z"], z) > 0.95


def test_kmeans_equals_lloyd(generator: Generator) -> None:
    z = generator.integers(0, 3, 300)
    centres = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    data = {"x": centres[z] + generator.normal(size=(300, 2))}
    fit = templates.kmeans(3, 2).fit(data, posterior="hard", restarts=5)
    labels = fit.decode(data)["z"]
    assert agreement(labels, z) == 1.0
    means = [data["x"][labels == k].mean(axis=0) for k in range(3)]
    assert np.allclose(fit.params["x.mean"], means, atol=1e-12)
    assert set(fit.params) == {"x.mean"}


def test_hmm(generator: Generator) -> None:
    s = chains(generator, PAIR)
    data = {"y": np.array([0.0, 4.0])[s] + generator.normal(size=s.shape)}
    fit = templates.hmm(pg.Normal(), 2).fit(data)
    assert close_up_to_order(fit.params["y.mean"], [0.0, 4.0], atol=0.2)
    assert close_up_to_order(np.sort(np.diag(fit.params["s.probs"])), [0.8, 0.9], atol=0.04)


def test_latent_class(generator: Generator) -> None:
    z = generator.integers(0, 2, 1000)
    yes = np.array([[0.1, 0.2, 0.1, 0.3, 0.2], [0.9, 0.8, 0.9, 0.8, 0.7]])
    data = {"x": (generator.random((1000, 5)) < yes[z]).astype(int)}
    fit = templates.latent_class(5, 2).fit(data, restarts=3)
    assert fit.params["x.probs"].shape == (2, 5, 2)
    assert close_up_to_order(fit.params["x.probs"][..., 1], yes, atol=0.08)


def test_naive_bayes_learns_from_some_labels(generator: Generator) -> None:
    z = generator.integers(0, 2, 500)
    families = {"length": pg.Normal(), "count": pg.Poisson(), "kind": pg.Categorical(size=3)}
    kinds = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    data = {
        "length": np.array([0.0, 3.0])[z] + generator.normal(size=500),
        "count": generator.poisson(np.array([2.0, 6.0])[z]),
        "kind": np.array([generator.choice(3, p=kinds[k]) for k in z]),
    }
    labels = [int(k) if unit < 30 else None for unit, k in enumerate(z)]
    fit = templates.naive_bayes(families, 2).fit({**data, "z": labels})
    assert np.mean(fit.predict(data)["z"] == z) > 0.95


def test_factorial_hmm(generator: Generator) -> None:
    a, b = chains(generator, PAIR), chains(generator, PAIR[::-1, ::-1])
    mean = np.array([[0.0, 5.0], [12.0, 20.0]])
    data = {"y": mean[a, b] + generator.normal(size=a.shape)}
    fit = templates.factorial_hmm(pg.Normal(), [2, 2]).fit(data, restarts=10)
    assert fit.params["y.mean"].shape == (2, 2)
    assert np.allclose(np.sort(fit.params["y.mean"].ravel()), mean.ravel(), atol=0.3)


def test_mixture_of_hmms(generator: Generator) -> None:
    z = generator.integers(0, 2, 60)
    tables = [np.array([[0.95, 0.05], [0.05, 0.95]]), np.array([[0.3, 0.7], [0.7, 0.3]])]
    states = [chains(generator, tables[k], 1)[0] for k in z]
    data = {"y": [3.0 * s + generator.normal(size=50) for s in states]}
    fit = templates.mixture_of_hmms(pg.Normal(var=1.0), 2, 2).fit(data, restarts=10)
    assert agreement(fit.decode(data)["z"], z) > 0.95


def test_gmm_hmm(generator: Generator) -> None:
    s = chains(generator, PAIR)
    z = generator.integers(0, 2, s.shape)
    centres = np.array([[[0.0, 0.0], [5.0, 0.0]], [[0.0, 12.0], [5.0, 12.0]]])
    data = {"y": centres[s, z] + generator.normal(size=(*s.shape, 2))}
    fit = templates.gmm_hmm(2, 2).fit(data, restarts=10)
    found = fit.params["y.mean"].reshape(4, 2)
    assert close_up_to_order(found, centres.reshape(4, 2), atol=0.4)


def test_student_t_equals_scipy(generator: Generator) -> None:
    values = stats.t.rvs(4, loc=3, scale=2, size=400, random_state=generator)
    fit = templates.student_t().fit({"x": values}, tol=1e-13, max_iter=5000)
    df, loc, scale = stats.t.fit(values)
    found = [2 * fit.params["half_df"], fit.params["mean"], np.sqrt(fit.params["scale"])]
    assert np.allclose(found, [df, loc, scale], rtol=1e-4)
    assert fit.log_likelihood >= stats.t.logpdf(values, df, loc, scale).sum() - 1e-6


def test_student_t_of_vectors_in_a_mixture(generator: Generator) -> None:
    z = generator.integers(0, 2, 600)
    noise = stats.multivariate_t.rvs([0, 0], np.eye(2), df=3, size=600, random_state=generator)
    fit = templates.student_t(2, vectors=True, df=3).fit({"x": noise + 9.0 * z[:, None]})
    assert close_up_to_order(fit.params["mean"], [[0, 0], [9, 9]], atol=0.3)
    assert set(fit.params) == {"z.probs", "mean", "scale"}


def test_beta_binomial_equals_scipy(generator: Generator) -> None:
    trials = generator.integers(5, 20, 300)
    x = generator.binomial(trials, generator.beta(2, 3, 300))
    fit = templates.beta_binomial().fit({"x": x, "trials": trials}, tol=1e-13, max_iter=5000)

    def loss(logs: Any) -> float:
        return -float(stats.betabinom.logpmf(x, trials, *np.exp(logs)).sum())

    best = optimize.minimize(loss, [0.0, 0.0], tol=1e-12)
    assert fit.log_likelihood == pytest.approx(-best.fun, abs=1e-6)
    assert np.allclose([fit.params["p.a"], fit.params["p.b"]], np.exp(best.x), rtol=1e-3)


def test_dirichlet_multinomial_equals_scipy(generator: Generator) -> None:
    shares = generator.dirichlet([1, 2, 3], 200)
    x = np.array([generator.multinomial(10, share) for share in shares])
    fit = templates.dirichlet_multinomial(3).fit({"x": x}, tol=1e-13, max_iter=5000)

    def loss(logs: Any) -> float:
        return -float(stats.dirichlet_multinomial.logpmf(x, np.exp(logs), 10).sum())

    best = optimize.minimize(loss, np.zeros(3), tol=1e-12)
    assert fit.log_likelihood == pytest.approx(-best.fun, abs=1e-6)
    assert fit.log_likelihood == pytest.approx(-loss(np.log(fit.params["p.concentration"])))


def test_negative_binomial_equals_scipy(generator: Generator) -> None:
    exposure = generator.gamma(5, 1, 300)
    x = generator.poisson(generator.gamma(2, 1.5, 300) * exposure)
    data = {"x": x, "exposure": exposure}
    fit = templates.negative_binomial(exposure=True).fit(data, tol=1e-13, max_iter=5000)

    def loss(logs: Any) -> float:
        size, rate = np.exp(logs)
        return -float(stats.nbinom.logpmf(x, size, rate / (rate + exposure)).sum())

    best = optimize.minimize(loss, [0.0, 0.0], tol=1e-12)
    assert fit.log_likelihood == pytest.approx(-best.fun, abs=1e-6)
    found = [fit.params["rate.shape"], fit.params["rate.rate"]]
    assert np.allclose(found, np.exp(best.x), rtol=1e-3)


def test_negative_binomial_mixture_separates(generator: Generator) -> None:
    z = generator.integers(0, 2, 800)
    x = generator.negative_binomial(5, np.array([0.7, 0.05])[z])
    fit = templates.negative_binomial(2).fit({"x": x}, restarts=3)
    assert agreement(fit.decode({"x": x})["z"], z) > 0.95


def test_zero_inflated_finds_the_zeros(generator: Generator) -> None:
    certain = generator.random(2000) < 0.3
    x = np.where(certain, 0, generator.poisson(3.0, 2000))
    fit = templates.zero_inflated(pg.Poisson()).fit({"x": x})
    assert fit.params["z.probs"][0] == pytest.approx(0.3, abs=0.03)
    assert fit.params["x.1.rate"] == pytest.approx(3.0, abs=0.15)


def test_zero_inflated_negative_binomial(generator: Generator) -> None:
    """A latent below the switch: the density by hand, and the maximum of an optimiser."""
    x = np.where(generator.random(600) < 0.25, 0, generator.negative_binomial(3, 0.4, 600))
    with pg.Model("zinb") as model:
        rate = pg.latent("rate", pg.Gamma())
        templates.zero_inflated(pg.Poisson(rate=rate))

    def log_p(share: float, size: float, prob: float) -> Any:
        counts = (1 - share) * stats.nbinom.pmf(x, size, prob)
        return np.log(share * (x == 0) + counts)

    def loss(free: Any) -> float:
        return -float(log_p(1 / (1 + np.exp(-free[0])), np.exp(free[1]),
                            1 / (1 + np.exp(-free[2]))).sum())  # fmt: skip

    fit = model.fit({"x": x}, tol=1e-12, max_iter=5000)
    p = fit.params
    prob = p["rate.rate"] / (1 + p["rate.rate"])
    found = log_p(p["z.probs"][0], p["rate.shape"], prob)
    assert np.allclose(model.log_likelihood({"x": x}, p), found, atol=1e-10)
    best = optimize.minimize(loss, [-1.0, 1.0, 0.0], tol=1e-10)
    assert fit.log_likelihood == pytest.approx(-best.fun, abs=1e-4)


CALLS = {
    "mixture": (pg.Poisson(), 3),
    "kmeans": (3, 2),
    "hmm": (pg.Normal(), 2),
    "latent_class": (4, 2),
    "naive_bayes": ({"a": pg.Normal()}, 2),
    "factorial_hmm": (pg.Normal(), [2, 3]),
    "mixture_of_hmms": (pg.Poisson(), 2, 2),
    "gmm_hmm": (2, 2, pg.Normal()),
    "student_t": (),
    "beta_binomial": (),
    "dirichlet_multinomial": (3,),
    "negative_binomial": (),
    "zero_inflated": (pg.Poisson(),),
}


def test_every_template_is_tried() -> None:
    assert set(CALLS) == set(templates.__all__) - {"template"}


@pytest.mark.parametrize("name", CALLS)
def test_prefix_lets_a_template_stand_twice(name: str) -> None:
    build = getattr(templates, name)
    with pg.Model("both") as both:
        build(*CALLS[name])
        build(*CALLS[name], prefix="other_")
    alone = {node.name for node in build(*CALLS[name]).record.nodes}
    assert {n.name for n in both.record.nodes} == alone | {f"other_{n}" for n in alone}
    assert both.compile().n_parameters == 2 * build(*CALLS[name]).compile().n_parameters


def test_in_an_open_model_more_can_be_hung_on_a_template() -> None:
    with pg.Model("more") as model:
        z = templates.mixture(pg.Poisson(), 2)
        pg.observed("w", pg.Bernoulli(), given=z)
    assert [node.name for node in model.record.nodes] == ["z", "x", "w"]


def test_a_template_of_your_own_is_one_decorator() -> None:
    @templates.template
    def coins(size: int) -> Any:
        z = pg.latent("z", pg.Categorical(size=size))
        pg.observed("heads", pg.Binomial(trials=10), given=z)

    assert coins(2).compile().n_parameters == 3
    assert not pg.Model.is_open()


def test_a_template_says_where_it_was_called() -> None:
    with pytest.raises(pg.DeclarationError, match=r"test_templates\.py"):
        templates.mixture("poisson", 2)
