"""Models with links: likelihoods against direct formulas, maxima against a numerical optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import gammaln
from scipy.stats import invgamma, norm

import pgem as pg
from pgem.arrays import Floats
from tests.links.direct import best, log_bernoulli, log_chain, log_poisson, log_softmax, logsumexp


def rising(fit: pg.Fit) -> bool:
    """Whether the objective never falls beyond rounding."""
    trace = np.array(fit.trace)
    return bool((np.diff(trace) >= -1e-9 * np.abs(trace[1:])).all())


def counts(rng: np.random.Generator, n: int = 200) -> tuple[Floats, Floats]:
    """Two groups of counts that rise and fall with a covariate."""
    x, z = rng.normal(size=(n, 2)), rng.integers(0, 2, n)
    slopes, levels = np.array([[0.5, -0.8], [-0.6, 0.4]]), np.array([0.5, 2.0])
    rate = np.exp(levels[z] + (slopes[z] * x).sum(axis=1))
    return x, rng.poisson(rate).astype(float)


def test_mixture_of_poisson_regressions_with_an_offset() -> None:
    rng = np.random.default_rng(1)
    x, y = counts(rng)
    years = rng.uniform(0.5, 2.0, len(y))
    with pg.Model("regressions") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        slope, level = pg.param("slope"), pg.param("level")
        eta = slope[z] @ pg.covariate("x") + level[z] + pg.covariate("log_years")
        pg.observed("y", pg.Poisson(log_rate=eta))
    data = {"x": x, "y": y, "log_years": np.log(years)}
    fit = model.fit(data, tol=1e-13, max_iter=3000)

    def likelihood(p: dict[str, Floats]) -> float:
        eta = x @ p["slope"].T + p["level"] + np.log(years)[:, None]
        joint = log_softmax(p["z"]) + log_poisson(y[:, None], eta)
        return float(logsumexp(joint, axis=1).sum())

    at = {"z": np.log(fit.params["z.probs"]), **{k: fit.params[k] for k in ("slope", "level")}}
    assert fit.verdict == "converged" and rising(fit)
    assert likelihood(at) == pytest.approx(fit.log_likelihood, abs=1e-9)
    assert best(likelihood, at, {"z": np.array([0, 1])}) <= fit.log_likelihood + 1e-6
    assert fit.n_parameters == 7


def test_mixture_of_logistic_regressions_with_equal_rows() -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(0, 4, size=(500, 1)) / 2.0
    z = rng.integers(0, 2, 500)
    eta = np.array([-1.5, 1.0])[z] + np.array([2.0, -1.5])[z] * x[:, 0]
    y = rng.binomial(6, 1 / (1 + np.exp(-eta))).astype(float)
    with pg.Model("logistic") as model:
        g = pg.latent("z", pg.Categorical(size=2))
        eta_ = pg.param("slope")[g] @ pg.covariate("x") + pg.param("level")[g]
        pg.observed("y", pg.Binomial(logit=eta_, trials=6))
    fit = model.fit({"x": x, "y": y}, tol=1e-13, max_iter=3000)

    def likelihood(p: dict[str, Floats]) -> float:
        eta = x @ p["slope"].T + p["level"]
        y_ = y[:, None]
        one = y_ * log_bernoulli(np.ones(1), eta) + (6 - y_) * log_bernoulli(np.zeros(1), eta)
        choose = gammaln(7) - gammaln(y_ + 1) - gammaln(7 - y_)
        return float(logsumexp(log_softmax(p["z"]) + one + choose, axis=1).sum())

    at = {"z": np.log(fit.params["z.probs"]), **{k: fit.params[k] for k in ("slope", "level")}}
    assert fit.verdict == "converged" and rising(fit)
    assert likelihood(at) == pytest.approx(fit.log_likelihood, abs=1e-9)
    assert best(likelihood, at, {"z": np.array([0, 1])}) <= fit.log_likelihood + 1e-6
    column = fit.program.bind({"x": x, "y": y}).column("y")
    assert len(column.points.x) <= 28  # pairs of 7 counts and 4 covariate values


def experts(rng: np.random.Generator, n: int = 250) -> tuple[pg.Model, dict[str, Floats]]:
    x = rng.normal(size=n) * 1.5
    z = (x + rng.normal(size=n) > 0).astype(int)
    y = np.array([1.0, -1.0])[z] * x + np.array([0.0, 2.0])[z] + 0.5 * rng.normal(size=n)
    with pg.Model("experts") as model:
        u = pg.covariate("x")
        g = pg.latent("z", pg.Categorical(logits=pg.param("W") * u + pg.param("w"), size=2))
        mean = pg.param("slope")[g] * u + pg.param("level")[g]
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("var")[g]))
    return model, {"x": x, "y": y}


def test_mixture_of_experts() -> None:
    model, data = experts(np.random.default_rng(3))
    x, y = data["x"], data["y"]
    fit = model.fit(data, tol=1e-13, max_iter=3000)

    def likelihood(p: dict[str, Floats]) -> float:
        gate = log_softmax(np.outer(x, p["W"]) + p["w"], axis=1)
        mean = np.outer(x, p["slope"]) + p["level"]
        expert = norm.logpdf(y[:, None], mean, np.sqrt(np.abs(p["var"])))
        return float(logsumexp(gate + expert, axis=1).sum())

    assert fit.verdict == "converged" and rising(fit)
    assert likelihood(fit.params) == pytest.approx(fit.log_likelihood, abs=1e-9)
    free = {"W": np.array([0, 1]), "w": np.array([0, 1])}
    assert best(likelihood, fit.params, free) <= fit.log_likelihood + 1e-6
    assert (fit.params["W"][0], fit.params["w"][0]) == (0, 0)
    assert fit.n_parameters == 2 + 4 + 2
    gate = log_softmax(np.outer(x, fit.params["W"]) + fit.params["w"], axis=1)
    mean = np.outer(x, fit.params["slope"]) + fit.params["level"]
    joint = gate + norm.logpdf(y[:, None], mean, np.sqrt(fit.params["var"]))
    assert fit.posterior(data)["z"] == pytest.approx(
        np.exp(joint - logsumexp(joint, axis=1)[:, None])
    )
    given = {**data, "z": (joint[:, 0] < joint[:, 1]).astype(int)}
    assert model.log_likelihood(given, fit.params) == pytest.approx(joint.max(axis=1))


def input_output() -> tuple[pg.Model, dict[str, Any], dict[str, Floats]]:
    rng = np.random.default_rng(4)
    lengths = [5, 3, 6, 4, 6, 6]
    x = [rng.normal(size=n) for n in lengths]
    u = [rng.integers(0, 2, n).astype(float) for n in lengths]
    y = [rng.poisson(3, n).astype(float) for n in lengths]
    with pg.Model("io") as model, pg.sequence("t"):
        x_, u_ = pg.covariate("x"), pg.covariate("u")
        before = pg.prev("s")
        steps = pg.param("W")[before] * x_ + pg.param("c")[before]
        first = pg.Categorical(logits=pg.param("f") * u_ + pg.param("f0"))
        s = pg.latent("s", pg.Categorical(logits=steps, size=3), first=first)
        pg.observed("y", pg.Poisson(log_rate=pg.param("b")[s] * u_ + pg.param("a")[s]))
    params = {name: 0.7 * rng.normal(size=(3, 3)) for name in ("W", "c")}
    params |= {name: 0.7 * rng.normal(size=3) for name in ("f", "f0", "b", "a")}
    for name in ("W", "c", "f", "f0"):
        params[name][..., 0] = 0.0
    return model, {"x": x, "u": u, "y": y}, params


def chains(data: dict[str, Any], p: dict[str, Floats]) -> Floats:
    found = []
    for x, u, y in zip(data["x"], data["u"], data["y"], strict=True):
        first = log_softmax(p["f"] * u[0] + p["f0"])
        steps = log_softmax(p["W"] * x[1:, None, None] + p["c"], axis=-1)
        emission = log_poisson(y[:, None], np.outer(u, p["b"]) + p["a"])
        found.append(log_chain(first, steps, emission))
    return np.array(found)


def test_input_output_hidden_markov_model() -> None:
    model, data, params = input_output()
    assert model.log_likelihood(data, params) == pytest.approx(chains(data, params), abs=1e-10)
    fit = model.fit(data, start=params, max_iter=4, tol=0)
    assert rising(fit)
    assert fit.log_likelihood == pytest.approx(chains(data, fit.params).sum(), abs=1e-10)
    cut = model.fit(data, start=params, max_iter=4, tol=0, shard_size=2)
    assert cut.trace == pytest.approx(fit.trace, abs=1e-9)


def test_the_m_step_of_an_input_output_chain_maximises_q() -> None:
    """One iteration from given parameters reaches the maximum of Q, found numerically."""
    model, data, params = input_output()
    fit = model.fit(data, start=params, max_iter=1, tol=0)
    queries = model.posterior(data, params, joint=[("s", pg.prev("s"))])
    pairs, states = queries["s", pg.prev("s")], queries["s"]

    def q(p: dict[str, Floats]) -> float:
        total = 0.0
        for k, (x, u) in enumerate(zip(data["x"], data["u"], strict=True)):
            first = log_softmax(p["f"] * u[0] + p["f0"])
            steps = log_softmax(p["W"] * x[1:, None, None] + p["c"], axis=-1)
            total += states[k][0] @ first + (pairs[k][1:].transpose(0, 2, 1) * steps).sum()
        return float(total)

    names = ("W", "c", "f", "f0")
    free = {name: np.broadcast_to(np.array([0, 1, 1]), params[name].shape) for name in names}
    found = {name: fit.params[name] for name in names}
    assert q(found) >= q({n: params[n] for n in names})
    assert best(q, found, free) <= q(found) + 1e-7


def test_zero_inflated_poisson_regression() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=300)
    y = np.where(rng.random(300) < 0.4, 0.0, rng.poisson(np.exp(1 + 0.6 * x)))
    with pg.Model("zero_inflated") as model:
        u = pg.covariate("x")
        z = pg.latent("z", pg.Categorical(logits=pg.param("g") * u + pg.param("g0"), size=2))
        counts = pg.Poisson(log_rate=pg.param("b") * u + pg.param("a"))
        pg.observed("y", pg.switch(z, pg.Dirac(0), counts))
    fit = model.fit({"x": x, "y": y}, tol=1e-13, max_iter=3000)

    def likelihood(p: dict[str, Floats]) -> float:
        gate = log_softmax(np.outer(x, p["g"]) + p["g0"], axis=1)
        zero = np.where(y == 0, 0.0, -np.inf)
        both = np.stack([zero, log_poisson(y, p["b"] * x + p["a"])], axis=1)
        return float(logsumexp(gate + both, axis=1).sum())

    free = {"g": np.array([0, 1]), "g0": np.array([0, 1])}
    assert fit.verdict == "converged" and rising(fit)
    assert likelihood(fit.params) == pytest.approx(fit.log_likelihood, abs=1e-9)
    assert best(likelihood, fit.params, free) <= fit.log_likelihood + 1e-6


def test_rate_and_log_rate_multiply() -> None:
    rng = np.random.default_rng(6)
    x, group = rng.normal(size=200), rng.integers(0, 3, 200)
    y = rng.exponential(1 / (np.array([0.5, 1.0, 3.0])[group] * np.exp(0.7 * x)))
    with pg.Model("frailty") as model:
        g = pg.covariate("group", size=3)
        rate = pg.param("rate")[g] / pg.covariate("scale")
        pg.observed("y", pg.Exponential(rate=rate, log_rate=pg.param("b") * pg.covariate("x")))
    scale = rng.uniform(0.5, 2, 200)
    fit = model.fit({"x": x, "group": group, "y": y, "scale": scale}, tol=1e-14)

    def likelihood(p: dict[str, Floats]) -> float:
        rate = np.abs(p["rate"][group]) / scale * np.exp(p["b"] * x)
        return float((np.log(rate) - rate * y).sum())

    assert fit.verdict == "converged" and rising(fit)
    assert likelihood(fit.params) == pytest.approx(fit.log_likelihood, abs=1e-9)
    assert best(likelihood, fit.params, {}) <= fit.log_likelihood + 1e-7


def test_multinomial_logits_and_vectors_of_counts() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(120, 2))
    rows = rng.multinomial(9, [0.2, 0.5, 0.3], size=120).astype(float)
    many = rng.poisson(np.exp(x @ rng.normal(size=(2, 3)))).astype(float)
    many[rng.random(many.shape) < 0.1] = np.nan
    with pg.Model("vectors") as model:
        u = pg.covariate("x")
        pg.observed("rows", pg.Multinomial(logits=pg.param("W") @ u + pg.param("w")))
        pg.observed("many", pg.Poisson(log_rate=pg.param("B") @ u + pg.param("b")))
    fit = model.fit({"x": x, "rows": rows, "many": many}, tol=1e-14)

    def likelihood(p: dict[str, Floats]) -> float:
        logs = log_softmax(x @ p["W"].T + p["w"], axis=1)
        total = (rows * logs).sum() + (gammaln(10) - gammaln(rows + 1).sum(axis=1)).sum()
        return float(total + np.nansum(log_poisson(many, x @ p["B"].T + p["b"])))

    free = {"W": np.repeat([[0], [1], [1]], 2, axis=1), "w": np.array([0, 1, 1])}
    assert likelihood(fit.params) == pytest.approx(fit.log_likelihood, abs=1e-9)
    assert best(likelihood, fit.params, free) <= fit.log_likelihood + 1e-7
    assert fit.n_parameters == 4 + 2 + 6 + 3


def test_coefficients_tied_between_a_mean_and_links() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=150)
    data = {"x": x, "v": 0.8 * x + rng.normal(size=150), "y": (x + rng.normal(size=150) > 0) * 1,
            "c": rng.poisson(np.exp(0.8 * x)).astype(float)}  # fmt: skip
    with pg.Model("tied") as model:
        u, b = pg.covariate("x"), pg.param("b")
        pg.observed("v", pg.Normal(mean=b * u, var=pg.param("var")))
        pg.observed("y", pg.Bernoulli(logit=b * u + pg.param("a")))
        pg.observed("c", pg.Poisson(log_rate=b * u))
    fit = model.fit(data, tol=1e-14)

    def likelihood(p: dict[str, Floats]) -> float:
        eta = p["b"] * x
        total = norm.logpdf(data["v"], eta, np.sqrt(np.abs(p["var"])))
        total = total + log_bernoulli(data["y"], eta + p["a"]) + log_poisson(data["c"], eta)
        return float(total.sum())

    assert rising(fit) and fit.n_parameters == 3
    assert likelihood(fit.params) == pytest.approx(fit.log_likelihood, abs=1e-9)
    assert best(likelihood, fit.params, {}) <= fit.log_likelihood + 1e-7


def test_fixed_entries_stay_and_are_not_counted() -> None:
    rng = np.random.default_rng(9)
    x = rng.normal(size=(200, 2))
    y = (x[:, 0] - x[:, 1] + rng.normal(size=200) > 0).astype(int)
    with pg.Model("fixed") as model:
        slope = pg.param("slope", fixed=[True, False], value=[0.7, 0.0])
        pg.observed("y", pg.Bernoulli(logit=slope @ pg.covariate("x") + pg.param("level")))
    fit = model.fit({"x": x, "y": y}, tol=1e-14)

    def likelihood(p: dict[str, Floats]) -> float:
        return float(log_bernoulli(y, x @ p["slope"] + p["level"]).sum())

    assert fit.params["slope"][0] == 0.7 and fit.n_parameters == 2
    assert best(likelihood, fit.params, {"slope": np.array([0, 1])}) <= fit.log_likelihood + 1e-8


@pytest.mark.parametrize("kind", ["entries", "vectors"])
def test_ridge_is_the_penalised_likelihood(kind: str) -> None:
    rng = np.random.default_rng(10)
    x = rng.normal(size=(60, 2))
    y = rng.integers(0, 3, 60)
    cov = np.array([[0.5, 0.2], [0.2, 0.4]])
    prior = pg.Normal(0.1, 0.5) if kind == "entries" else pg.MvNormal([0.1, 0.0], cov)
    with pg.Model("ridge") as model:
        weights = pg.param("W", prior=prior)
        logits = weights @ pg.covariate("x") + pg.param("w")
        pg.observed("y", pg.Categorical(logits=logits, size=3))
    fit = model.fit({"x": x, "y": y}, tol=1e-14)

    def objective(p: dict[str, Floats]) -> float:
        logs = log_softmax(x @ p["W"].T + p["w"], axis=1)
        free = p["W"][1:]
        if kind == "entries":
            penalty = norm.logpdf(free, 0.1, np.sqrt(0.5)).sum()
        else:
            off = free - np.array([0.1, 0.0])
            penalty = -0.5 * np.einsum("ki,ij,kj->", off, np.linalg.inv(cov), off)
            penalty -= np.log(np.linalg.det(2 * np.pi * cov))
        return float(np.take_along_axis(logs, y[:, None], 1).sum() + penalty)

    free = {"W": np.repeat([[0], [1], [1]], 2, axis=1), "w": np.array([0, 1, 1])}
    assert objective(fit.params) == pytest.approx(fit.objective, abs=1e-9)
    assert best(objective, fit.params, free) <= fit.objective + 1e-8


def test_earlier_values_and_plates_stand_in_links() -> None:
    rng = np.random.default_rng(11)
    y = rng.poisson(2.0, size=(20, 8)).astype(float)
    level = rng.normal(size=20)
    with pg.Model("counts") as model:
        u = pg.covariate("u")
        with pg.sequence("t"):
            eta = pg.param("b") * pg.prev("y") + pg.param("c") * u + pg.param("a")
            pg.observed("y", pg.Poisson(log_rate=eta))
    fit = model.fit({"y": y, "u": level}, tol=1e-14)

    def likelihood(p: dict[str, Floats]) -> float:
        eta = p["b"] * y[:, :-1] + p["c"] * level[:, None] + p["a"]
        return float(log_poisson(y[:, 1:], eta).sum())

    assert likelihood(fit.params) == pytest.approx(fit.log_likelihood, abs=1e-9)
    assert best(likelihood, fit.params, {}) <= fit.log_likelihood + 1e-7


def test_a_link_without_covariates_is_the_plain_slot() -> None:
    rng = np.random.default_rng(12)
    y = np.stack([rng.poisson(2.0, 80), rng.poisson(9.0, 80)]).T.reshape(-1).astype(float)
    with pg.Model("plain") as plain:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("y", pg.Poisson(), given=z)
    with pg.Model("linked") as linked:
        z = pg.latent("z", pg.Categorical(logits=pg.param("w"), size=2))
        pg.observed("y", pg.Poisson(log_rate=pg.param("a")[z]))
    one = plain.fit({"y": y}, tol=1e-13)
    start = {"a": np.log(one.params["y.rate"]), "w": np.array([0, 0.3])}
    two = linked.fit({"y": y}, start=start, tol=1e-13)
    assert two.log_likelihood == pytest.approx(one.log_likelihood, abs=1e-8)
    assert np.exp(two.params["a"]) == pytest.approx(one.params["y.rate"], abs=1e-5)


def test_a_slot_of_its_own_behind_a_link() -> None:
    """`pg.param()` without a name is the slot's own parameter, gated by `given`."""
    with pg.Model("own") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("y", pg.Bernoulli(logit=pg.param(prior=pg.Normal(0.0, 4.0))), given=z)
    program = model.compile()
    assert program.params["y.logit"].shape == (2,)
    fit = model.fit({"y": np.array([0, 1, 1, 1])}, max_iter=5)
    assert np.isfinite(fit.params["y.logit"]).all()


def test_index_and_table_gates_of_links() -> None:
    rng = np.random.default_rng(13)
    who, x = rng.integers(0, 4, 300), rng.normal(size=300)
    y = (rng.random(300) < 1 / (1 + np.exp(-np.array([-1, 0, 0.5, 1])[who] - x))).astype(int)
    with pg.Model("raters") as model:
        j = pg.covariate("who", size=4)
        half = pg.constant([0, 0, 1, 1])[j]
        eta = pg.param("level")[j] + pg.param("slope")[half] * pg.covariate("x")
        pg.observed("y", pg.Bernoulli(logit=eta))
    fit = model.fit({"who": who, "x": x, "y": y}, tol=1e-14)

    def likelihood(p: dict[str, Floats]) -> float:
        return float(log_bernoulli(y, p["level"][who] + p["slope"][who // 2] * x).sum())

    assert likelihood(fit.params) == pytest.approx(fit.log_likelihood, abs=1e-9)
    assert best(likelihood, fit.params, {}) <= fit.log_likelihood + 1e-8


def test_an_observed_node_of_the_same_step_is_a_regressor() -> None:
    rng = np.random.default_rng(14)
    x = rng.normal(1.0, 2.0, size=4000)
    y = (rng.random(4000) < 1 / (1 + np.exp(-x))).astype(int)
    with pg.Model("chain of two") as model:
        node = pg.observed("x", pg.Normal())
        pg.observed("y", pg.Bernoulli(logit=pg.param("b") * node - pg.param("a")))
    fit = model.fit({"x": x, "y": y}, tol=1e-14)
    both = norm.logpdf(x, fit.params["x.mean"], np.sqrt(fit.params["x.var"]))
    both = both + log_bernoulli(y, fit.params["b"] * x - fit.params["a"])
    assert fit.log_likelihood == pytest.approx(both.sum(), abs=1e-7)
    drawn = fit.sample(20_000, seed=0)
    high = drawn["x"] > 1
    chance = 1 / (1 + np.exp(-fit.params["b"] * drawn["x"] + fit.params["a"]))
    for part in (high, ~high):
        assert np.asarray(drawn["y"])[part].mean() == pytest.approx(chance[part].mean(), abs=0.02)


def test_a_prior_leaves_category_zero_and_counts_free_entries_once() -> None:
    with pg.Model("prior") as model:
        weights = pg.param("w", prior=pg.Normal(0.0, 2.0))
        pg.observed("y", pg.Categorical(logits=weights, size=3))
    y = np.array([0, 0, 1, 2, 2, 2])
    fit = model.fit({"y": y}, tol=1e-14)
    logs = log_softmax(fit.params["w"])
    prior = norm.logpdf(fit.params["w"][1:], 0, np.sqrt(2)).sum()
    assert fit.objective == pytest.approx(logs[y].sum() + prior)
    gradient = np.bincount(y, minlength=3) - 6 * np.exp(logs) - fit.params["w"] / 2
    assert gradient[1:] == pytest.approx(0, abs=1e-8)


def test_trials_of_a_table_and_of_a_covariate() -> None:
    rng = np.random.default_rng(15)
    g, x = rng.integers(0, 2, 150), rng.normal(size=150)
    trials = np.array([3.0, 8.0])[g]
    y = rng.binomial(trials.astype(int), 1 / (1 + np.exp(-x))).astype(float)
    with pg.Model("table") as one:
        h = pg.covariate("g", size=2)
        eta = pg.param("b") * pg.covariate("x") + pg.param("a")[h]
        pg.observed("y", pg.Binomial(logit=eta, trials=pg.constant([3, 8])[h]))
    with pg.Model("covariate") as two:
        h = pg.covariate("g", size=2)
        eta = pg.param("b") * pg.covariate("x") + pg.param("a")[h]
        pg.observed("y", pg.Binomial(logit=eta, trials=pg.covariate("n")))
    data = {"g": g, "x": x, "y": y}
    first, second = one.fit(data, tol=1e-14), two.fit({**data, "n": trials}, tol=1e-14)
    assert first.log_likelihood == pytest.approx(second.log_likelihood, abs=1e-9)
    assert first.params["a"] == pytest.approx(second.params["a"], abs=1e-8)


def test_a_prior_under_a_link_with_a_learned_variance() -> None:
    rng = np.random.default_rng(0)
    g, v = rng.integers(0, 4, 80), rng.normal(size=80)
    y = (rng.random(80) < np.array([0.2, 0.4, 0.6, 0.8])[g]).astype(int)
    with pg.Model("shrunk") as model:
        var = pg.param("var", prior=pg.InverseGamma(3.0, 1.0))
        pg.observed("v", pg.Normal(mean=0.0, var=var))
        level = pg.param("level", prior=pg.Normal(0.0, var))
        pg.observed("y", pg.Bernoulli(logit=level[pg.covariate("g", size=4)]))
    fit = model.fit({"g": g, "v": v, "y": y}, tol=1e-13)

    def objective(p: dict[str, Floats]) -> float:
        spread = np.exp(p["log_var"])
        total = log_bernoulli(y, p["level"][g]).sum() + norm.logpdf(v, 0, np.sqrt(spread)).sum()
        total += norm.logpdf(p["level"], 0, np.sqrt(spread)).sum()
        return float(total + invgamma.logpdf(spread, 3.0, scale=1.0))

    at = {"level": fit.params["level"], "log_var": np.log(fit.params["var"])}
    assert rising(fit)
    assert objective(at) == pytest.approx(fit.objective, abs=1e-9)
    assert best(objective, at, {}) <= fit.objective + 1e-7


def test_a_covariate_of_a_mean_that_also_multiplies_a_rate_counts_row_by_row() -> None:
    """Units are not replaced by points of equal second moments where more than these count."""
    rng = np.random.default_rng(15)
    x = rng.uniform(0.5, 2.0, size=4000)
    data = {"x": x, "y": 1.0 + x + rng.normal(size=4000), "n": rng.poisson(2.0 * x)}
    with pg.Model("both") as model:
        seen = pg.covariate("x")
        pg.observed("y", pg.Normal(mean=pg.param("a") * seen + pg.param("b")))
        pg.observed("n", pg.Poisson(pg.param("r") * seen))
    fit = model.fit(data, tol=1e-14)
    p, n = fit.params, data["n"]
    rate = p["r"] * x
    both = norm.logpdf(data["y"], p["a"] * x + p["b"], np.sqrt(p["y.var"]))
    both = both + n * np.log(rate) - rate - gammaln(n + 1)
    assert fit.log_likelihood == pytest.approx(both.sum(), abs=1e-7)
    assert p["r"] == pytest.approx(n.sum() / x.sum())
