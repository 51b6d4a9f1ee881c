"""Hidden Markov trees from the declaration to the fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from plan.test_script import check as check_script

import pgem as pg

Floats = NDArray[np.float64]
LENGTHS = (5, 1, 9, 3)
PARAMS: dict[str, Any] = {
    "s.probs": [[0.9, 0.1], [0.2, 0.8]],
    "s.first.probs": [0.6, 0.4],
    "y.mean": [-1.0, 1.5],
    "y.var": [1.0, 0.5],
}


def chain(scope: str) -> pg.Model:
    """The same declaration in a sequence or a tree."""
    with pg.Model(scope) as model, getattr(pg, scope)("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Normal(), given=s)
    return model


def mixed() -> pg.Model:
    """A mixture of coupled trees with autoregressive and switched emissions."""
    with pg.Model("mixed") as model:
        c = pg.latent("c", pg.Categorical(size=2))
        with pg.tree("cell"):
            a = pg.latent("a", pg.Categorical(size=2), given=c, after="a")
            b = pg.latent("b", pg.Bernoulli(), given=[pg.prev("a")], after="b")
            pg.observed("x", pg.switch(b, pg.Dirac(0), pg.Poisson()), given=a)
            pg.observed("w", pg.Categorical(size=3), given=a, after="w")
    return model


def parents_of_paths(orders: list[Any]) -> list[Any]:
    """Parents of paths whose steps are the members in these orders."""
    found = []
    for order in orders:
        above = np.full(len(order), -1)
        above[order[1:]] = order[:-1]
        found.append(above)
    return found


def random_parents(rng: np.random.Generator, size: int) -> Any:
    """A tree with two children a member, members in random order."""
    order, above = rng.permutation(size), np.full(size, -1)
    above[order[1:]] = order[(np.arange(1, size) - 1) // 2]
    return above


def data_of_mixed(rng: np.random.Generator, n: int) -> dict[str, Any]:
    sizes = [int(k) for k in rng.integers(2, 9, n)]
    return {
        "cell.parent": [random_parents(rng, k) for k in sizes],
        "x": [np.where(rng.random(k) < 0.3, 0.0, rng.poisson(3.0, k)) for k in sizes],
        "w": [rng.integers(0, 3, k).astype(float) for k in sizes],
    }


def test_a_path_is_a_sequence() -> None:
    """Likelihood, posteriors, pairs, decoding, fits and errors; members in any order."""
    rng = np.random.default_rng(0)
    steps = [rng.normal(size=n) for n in LENGTHS]
    steps[2][4] = np.nan
    orders = [rng.permutation(n) for n in LENGTHS]
    members = [y[np.argsort(order)] for y, order in zip(steps, orders, strict=True)]
    hmm, hmt = chain("sequence"), chain("tree")
    one, other = {"y": steps}, {"y": members, "t.parent": parents_of_paths(orders)}
    np.testing.assert_allclose(
        hmt.log_likelihood(other, PARAMS), hmm.log_likelihood(one, PARAMS), rtol=1e-13
    )
    pair = ("s", pg.prev("s"))
    first, second = (m.posterior(d, PARAMS, joint=[pair]) for m, d in ((hmm, one), (hmt, other)))
    fits = [m.fit(d, start=PARAMS, max_iter=30, tol=0) for m, d in ((hmm, one), (hmt, other))]
    np.testing.assert_allclose(fits[1].trace, fits[0].trace, rtol=1e-11)
    decoded = [fit.decode(d)["s"] for fit, d in zip(fits, (one, other), strict=True)]
    for k, order in enumerate(orders):
        for key in ("s", pair):
            np.testing.assert_allclose(second[key][k][order], first[key][k], atol=1e-13)
        np.testing.assert_allclose(second["y"].mean[k][order], first["y"].mean[k], atol=1e-12)
        np.testing.assert_array_equal(decoded[1][k][order], decoded[0][k])
    errors = [fit.standard_errors() for fit in fits]
    for name, value in errors[0].items():
        np.testing.assert_allclose(fits[1].params[name], fits[0].params[name], rtol=1e-8)
        np.testing.assert_allclose(errors[1][name], value, rtol=1e-5)
    assert fits[1].n_observations == fits[0].n_observations == sum(LENGTHS) - 1
    assert fits[1].bic == pytest.approx(fits[0].bic)


BODIES = {
    "second state": """
        a = pg.latent("a", pg.Categorical(size=2), given=pg.prev("b"), after="a")
        b = pg.latent("b", pg.Categorical(size=3), given=a, after="b")
        pg.observed("y", pg.Normal(), given=[a, b])""",
    "looking back at holes": """
        a = pg.latent("a", pg.Categorical(size=2), after="a")
        pg.observed("w", pg.Categorical(size=2), given=a, after="w", first=pg.Categorical(size=2))
        pg.observed("y", pg.Poisson(), given=[a, pg.prev("w")], first=pg.Poisson())""",
    "a switch that looks back": """
        a = pg.latent("a", pg.Categorical(size=2), after="a")
        pg.observed("y", pg.switch(pg.prev("a"), pg.Poisson(), pg.Geometric()))""",
    "regression on the step before": """
        a = pg.latent("a", pg.Categorical(size=2), after="a")
        pg.observed("y", pg.Normal(mean=pg.param("slope")[a] * pg.prev("y") + pg.param("level"),
                                   var=pg.param("var")), first=pg.Normal())""",
    "a Gaussian factor": """
        a = pg.latent("a", pg.Categorical(size=2), after="a")
        f = pg.latent("f", pg.Normal(mean=0.0, var=1.0))
        pg.observed("y", pg.Normal(mean=pg.param("load")[a, pg.prev("a")] * f,
                                   var=pg.param("var")), first=pg.Normal())""",
    "chains that nothing couples": """
        a = pg.latent("a", pg.Categorical(size=2), after="a")
        pg.observed("y", pg.Poisson(), given=a)
        b = pg.latent("b", pg.Categorical(size=2), after="b")
        pg.observed("w", pg.Categorical(size=2), given=b)""",
}


def declared(body: str, scope: str) -> pg.Model:
    """A declaration inside a sequence or tree, under a class of the unit."""
    space: dict[str, Any] = {"pg": pg}
    exec(f"with pg.Model('m') as m:\n    with pg.{scope}('t'):{body}", space)
    model: pg.Model = space["m"]
    return model


@pytest.mark.parametrize("name", BODIES)
def test_whatever_stands_inside(name: str) -> None:
    """Path-shaped trees and sequences have the same fits and posteriors, holes included."""
    rng = np.random.default_rng(8)
    body, lengths = BODIES[name], LENGTHS * 8
    orders = [rng.permutation(n) for n in lengths]
    steps: dict[str, Any] = {}
    for node in ("y", "w"):
        if f'"{node}", pg' in body:
            values = [rng.integers(0, 2 if node == "w" else 6, n).astype(float) for n in lengths]
            if "Normal" in body:
                values = [v + rng.normal(size=len(v)) for v in values]
            if node == "w":
                values[2][[3, 5]] = values[0][1] = np.nan
            steps[node] = values
    members = {
        node: [v[np.argsort(order)] for v, order in zip(values, orders, strict=True)]
        for node, values in steps.items()
    }
    hmm, hmt = declared(body, "sequence"), declared(body, "tree")
    data = {**members, "t.parent": parents_of_paths(orders)}
    options: dict[str, Any] = {"max_iter": 4, "tol": 0}
    start = hmm.fit(steps, max_iter=2, tol=0).params
    one, other = hmm.fit(steps, start=start, **options), hmt.fit(data, start=start, **options)
    np.testing.assert_allclose(other.trace, one.trace, rtol=1e-9)
    for key, value in one.params.items():
        np.testing.assert_allclose(other.params[key], value, rtol=1e-6, atol=1e-9, err_msg=key)
    expected, found = one.posterior(steps), other.posterior(data)
    for node, tables in expected.items():
        whole = (
            (tables.mean, found[node].mean) if hasattr(tables, "mean") else (tables, found[node])
        )
        for a, b, order in zip(*whole, orders, strict=True):
            np.testing.assert_allclose(np.asarray(b)[order], a, rtol=1e-6, atol=1e-7, err_msg=node)


def test_a_forest_is_its_trees() -> None:
    """Several roots in a unit: their likelihoods multiply."""
    rng = np.random.default_rng(1)
    model = chain("tree")
    y = rng.normal(size=7)
    whole = model.log_likelihood({"y": y, "t.parent": [-1, 0, 0, -1, 3, 4, 3]}, PARAMS)
    parts = model.log_likelihood(
        {"y": [y[:3], y[3:]], "t.parent": [[-1, 0, 0], [-1, 0, 1, 0]]}, PARAMS
    )
    assert whole.shape == (1,)
    assert whole.sum() == pytest.approx(parts.sum(), rel=1e-13)


def test_shards_and_containers_agree() -> None:
    rng = np.random.default_rng(2)
    parents = np.stack([random_parents(rng, 6) for _ in range(20)])
    y = rng.normal(size=(20, 6))
    y[3, 2] = np.nan
    model = chain("tree")
    options: dict[str, Any] = {"start": PARAMS, "max_iter": 5, "tol": 0}
    whole = model.fit({"y": y, "t.parent": parents}, **options)
    shards = model.fit({"t.parent": list(parents), "y": list(y)}, shard_size=3, **options)
    np.testing.assert_allclose(shards.trace, whole.trace, rtol=1e-12)
    assert isinstance(whole.posterior({"y": y, "t.parent": parents})["s"], np.ndarray)
    single = whole.posterior({"y": y[0], "t.parent": parents[0]})["s"]
    assert single.shape == (6, 2)
    bound = whole.program.bind({"y": y, "t.parent": parents})
    assert "120 rows in tree 't'" in bound.report


def test_latents_given_in_some_members() -> None:
    """Given states are conditioned on: the likelihood is that of the joint with them."""
    model = chain("tree")
    data = {"y": [0.1, -1.0, 2.0, 0.3], "t.parent": [-1, 0, 0, 1]}
    total = []
    for first in (0, 1):
        for third in (0, 1):
            given = {**data, "s": [first, np.nan, np.nan, third]}
            total.append(float(model.log_likelihood(given, PARAMS)[0]))
    assert np.logaddexp.reduce(total) == pytest.approx(
        float(model.log_likelihood(data, PARAMS)[0]), rel=1e-12
    )
    fit = model.fit(data, start=PARAMS, max_iter=0)
    joint = model.log_likelihood({**data, **fit.decode(data)}, PARAMS)
    best = max(
        float(model.log_likelihood({**data, "s": np.array(states)}, PARAMS)[0])
        for states in np.ndindex(2, 2, 2, 2)
    )
    assert float(joint[0]) == pytest.approx(best, rel=1e-12)


def test_draws_are_joint() -> None:
    """Draws given the data: states of parent and child come together as often as they should."""
    model = chain("tree")
    data = {"y": [0.1, -0.4, 0.9, np.nan], "t.parent": [-1, 0, 0, 1]}
    fit = model.fit(data, start=PARAMS, max_iter=0)
    drawn = np.stack([fit.draw(data, seed=k)["s"] for k in range(1500)])
    pair = fit.posterior(data, joint=[("s", pg.prev("s"))])["s", pg.prev("s")]
    for child, above in ((1, 0), (2, 0), (3, 1)):
        for own in (0, 1):
            for earlier in (0, 1):
                share = ((drawn[:, child] == own) & (drawn[:, above] == earlier)).mean()
                assert share == pytest.approx(pair[child][own, earlier], abs=0.05)


def test_parameters_are_recovered() -> None:
    """Simulated trees, fitted from another start: every parameter within four standard errors."""
    rng = np.random.default_rng(3)
    model = chain("tree")
    truth = {name: np.asarray(value) for name, value in PARAMS.items()}
    small = model.fit({"y": [0.0, 1.0], "t.parent": [-1, 0]}, start=PARAMS, max_iter=0)
    parents = [random_parents(rng, 31) for _ in range(80)]
    drawn = small.sample(80, data={"t.parent": parents}, seed=5)
    data = {name: drawn[name] for name in ("y", "t.parent")}
    fit = model.fit(data, start={"y.mean": [-0.5, 0.5]})
    assert fit.verdict == "converged"
    errors = fit.standard_errors()
    for name, value in truth.items():
        off = np.abs(fit.params[name] - value) / errors[name]
        assert (off < 4).all(), (name, fit.params[name], errors[name])
    hits = np.mean([
        (a == b).mean() for a, b in zip(fit.decode(data)["s"], drawn["s"], strict=True)
    ])  # fmt: skip
    assert hits > 0.85


def test_samples_follow_the_tree() -> None:
    """Pairs of parent and child are drawn with the transition table, roots with their own."""
    model = chain("tree")
    parents = [np.array([1, -1, 0, 1])]
    fit = model.fit({"y": [np.arange(4.0)], "t.parent": parents}, start=PARAMS, max_iter=0)
    drawn = fit.sample(4000, seed=1)
    assert all((above == parents[0]).all() for above in drawn["t.parent"])
    s = np.stack(drawn["s"])
    assert s[:, 1].mean() == pytest.approx(0.4, abs=0.03)
    for child, above in ((0, 1), (2, 0), (3, 1)):
        for state, row in enumerate(PARAMS["s.probs"]):
            assert s[s[:, above] == state, child].mean() == pytest.approx(row[1], abs=0.04)
    again = fit.sample(2, data={"t.parent": [[-1, 0], [2, 2, -1]]}, seed=2)
    assert [len(y) for y in again["y"]] == [2, 3]
    assert again["t.parent"][1].tolist() == [2, 2, -1]
    filled = fit.sample(1, data={"t.parent": [[-1, 0, 0]], "s": [[1, np.nan, 0]]}, seed=2)
    assert filled["s"][0][[0, 2]].tolist() == [1, 0]


def test_kept_fits_remember_their_trees(tmp_path: Path) -> None:
    model = mixed()
    data = data_of_mixed(np.random.default_rng(4), 12)
    fit = model.fit(data, max_iter=5, tol=0)
    fit.save(tmp_path / "fit.json")
    loaded = pg.load(tmp_path / "fit.json")
    np.testing.assert_allclose(loaded.log_likelihoods(data), fit.log_likelihoods(data), rtol=1e-13)
    given = {"w": [np.where(p < 0, 1.0, np.nan) for p in data["cell.parent"]],
             "cell.parent": data["cell.parent"]}  # fmt: skip
    one, other = (f.sample(12, data=given, seed=7) for f in (fit, loaded))
    for name in one:
        for a, b in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(a, b)
    text = (tmp_path / "fit.json").read_text()
    (tmp_path / "bad.json").write_text(
        re.sub(r'"parents": \{"cell": \[[^]]*\]', '"parents": {"cell": [7]', text)
    )
    with pytest.raises(pg.DataError, match="the parents of 'cell' do not fit"):
        pg.load(tmp_path / "bad.json")


def test_a_kept_tree_is_sampled_again(tmp_path: Path) -> None:
    fit = chain("tree").fit(
        {"y": [[0.0, 1.0, 2.0], [3.0]], "t.parent": [[2, 2, -1], [-1]]}, start=PARAMS, max_iter=0
    )
    fit.save(tmp_path / "fit.json")
    drawn = pg.load(tmp_path / "fit.json").sample(5, seed=0)
    assert [above.tolist() for above in drawn["t.parent"]] == [[2, 2, -1], [-1]] * 2 + [[2, 2, -1]]


def test_scripts_run_alone(tmp_path: Path) -> None:
    data = data_of_mixed(np.random.default_rng(5), 15)
    check_script(mixed(), data, tmp_path)


def test_regressions_on_the_parent() -> None:
    """A numeric child of a numeric parent: weighted least squares over members below the roots."""
    rng = np.random.default_rng(6)
    with pg.Model("growth") as model, pg.tree("cell"):
        pg.observed(
            "x", pg.Normal(mean=pg.param("a") * pg.prev("x") + pg.param("b"), var=pg.param("v"))
        )
    parents = [random_parents(rng, 20) for _ in range(5)]
    x = [rng.normal(size=20) for _ in parents]
    fit = model.fit({"x": x, "cell.parent": parents})
    below = [above >= 0 for above in parents]
    child = np.concatenate([v[b] for v, b in zip(x, below, strict=True)])
    parent = np.concatenate([v[p[b]] for v, p, b in zip(x, parents, below, strict=True)])
    design = np.stack([parent, np.ones(len(parent))], axis=1)
    expected, *_ = np.linalg.lstsq(design, child, rcond=None)
    np.testing.assert_allclose([fit.params["a"], fit.params["b"]], expected, rtol=1e-9)
    residual = child - design @ expected
    np.testing.assert_allclose(fit.params["v"], (residual**2).mean(), rtol=1e-9)


def test_the_report_and_the_derivation_tell_of_trees() -> None:
    program = mixed().compile()
    report, text = str(program.report), program.explain()
    assert "climbed up and down, summing out a, b in this order" in report
    assert "entries summed a member" in report
    for words in (
        "a tree of members 'cell'",
        "pa(i) is the parent of i",
        "at the roots are conditioned on",
        "β_i(b_{pa(i)}, a_{pa(i)}; c)",
        "Π_{i' : pa(i') = i}",
        "i ∉ roots",
    ):
        assert words in text, words
    assert "tree_cell = tree(" in program.source
