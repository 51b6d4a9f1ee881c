"""Continuous states along trees, against joint Gaussians written down, and against sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checks import script_repeats, slopes_agree
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

import pgem as pg
from pgem.routines.collect import ScopeData
from pgem.routines.region_nodes import number_ancestries, number_branches

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def forest(rng: np.random.Generator, size: int, roots: float = 0.1) -> Integers:
    """Parents of the members of random trees, in any order."""
    above = [-1 if k == 0 or rng.random() < roots else int(rng.integers(k)) for k in range(size)]
    place, found = rng.permutation(size), np.full(size, -1)
    for k, parent in enumerate(above):
        found[place[k]] = -1 if parent < 0 else place[parent]
    return found


def states(size: int = 2) -> pg.Model:
    """Vector states, outputs that are linear in them."""
    with pg.Model("states") as model, pg.tree("cell"):
        h = pg.latent(
            "h",
            pg.MvNormal(mean=pg.param("A") @ pg.prev("h"), cov=pg.param("Q"), size=size),
            first=pg.MvNormal(mean=pg.param("m"), cov=pg.param("P")),
        )
        pg.observed("y", pg.MvNormal(mean=pg.param("C") @ h, cov=pg.diagonal(), size=3))
    return model


def spread(rng: np.random.Generator, size: int) -> Floats:
    root = rng.normal(size=(size, size)) * 0.5
    return np.asarray(root @ root.T + 0.3 * np.eye(size))


def values(rng: np.random.Generator) -> dict[str, Floats]:
    return {
        "A": rng.normal(size=(2, 2)) * 0.5,
        "Q": spread(rng, 2),
        "m": rng.normal(size=2),
        "P": spread(rng, 2),
        "C": rng.normal(size=(3, 2)),
        "y.cov": rng.gamma(3, 0.3, 3),
    }


def joint(parents: Integers, p: dict[str, Floats]) -> tuple[Floats, Floats]:
    """Mean and covariance of all states of a tree, side by side."""
    n, d = len(parents), len(p["m"])
    mean, load = np.zeros((n, d)), np.zeros((n, d, n * d))
    done: set[int] = set()

    def make(k: int) -> None:
        if k in done:
            return
        own = slice(k * d, (k + 1) * d)
        if parents[k] < 0:
            mean[k], load[k][:, own] = p["m"], np.linalg.cholesky(p["P"])
        else:
            make(int(parents[k]))
            mean[k] = p["A"] @ mean[parents[k]]
            load[k] = p["A"] @ load[parents[k]]
            load[k][:, own] = np.linalg.cholesky(p["Q"])
        done.add(k)

    for k in range(n):
        make(k)
    flat = load.reshape(n * d, -1)
    return mean.ravel(), flat @ flat.T


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_joint_gaussian_of_the_whole_tree(seed: int) -> None:
    """Likelihood, smoothed states, predicted holes and their covariances; trees of up to forty."""
    rng = np.random.default_rng(seed)
    p, sizes = values(rng), [40, 1, 17]
    parents = [forest(rng, size) for size in sizes]
    y = [rng.normal(size=(size, 3)) for size in sizes]
    for part in y:
        part[rng.random(part.shape) < 0.3] = np.nan
        part[rng.random(len(part)) < 0.2] = np.nan
    data = {"y": y, "cell.parent": parents}
    found, posterior = states().log_likelihood(data, p), states().posterior(data, p)
    for n, above in enumerate(parents):
        mean, cov = joint(above, p)
        out = np.kron(np.eye(len(above)), p["C"])
        noise = np.tile(p["y.cov"], len(above))
        seen = ~np.isnan(y[n].ravel())
        whole = out @ cov @ out.T + np.diag(noise)
        shown = whole[np.ix_(seen, seen)]
        gap = y[n].ravel()[seen] - (out @ mean)[seen]
        if seen.any():
            expected = multivariate_normal(np.zeros(len(gap)), shown).logpdf(gap)
            assert found[n] == pytest.approx(expected, rel=1e-10, abs=1e-8)
        gain = np.linalg.solve(shown, (cov @ out.T)[:, seen].T).T
        left = cov - gain @ (cov @ out.T)[:, seen].T
        np.testing.assert_allclose(posterior["h"].mean[n].ravel(), mean + gain @ gap, atol=1e-8)
        for k in range(len(above)):
            own = slice(2 * k, 2 * k + 2)
            np.testing.assert_allclose(posterior["h"].cov[n][k], left[own, own], atol=1e-8)
        filled = np.where(seen, y[n].ravel(), out @ (mean + gain @ gap))
        np.testing.assert_allclose(posterior["y"].mean[n].ravel(), filled, atol=1e-8)


def test_a_tree_without_branches_is_a_sequence() -> None:
    """Also when its members stand in another order, and when it is deep."""
    rng = np.random.default_rng(0)
    with pg.Model("sequence") as along, pg.sequence("t"):
        h = pg.latent("h", pg.Normal(mean=pg.param("a") * pg.prev("h")), first=pg.Normal(0.0, 2.0))
        pg.observed("y", pg.Normal(mean=h))
    with pg.Model("tree") as below, pg.tree("t"):
        h = pg.latent("h", pg.Normal(mean=pg.param("a") * pg.prev("h")), first=pg.Normal(0.0, 2.0))
        pg.observed("y", pg.Normal(mean=h))
    y = rng.normal(size=400)
    y[rng.random(400) < 0.1] = np.nan
    place = rng.permutation(400)
    parents, shuffled = np.full(400, -1), np.empty(400)
    parents[place[1:]] = place[:-1]
    shuffled[place] = y
    one = along.fit({"y": y}, start={"a": 0.5, "h.var": 1.0, "y.var": 1.0}, max_iter=5, tol=0)
    tree = {"y": shuffled, "t.parent": parents}
    other = below.fit(tree, start={"a": 0.5, "h.var": 1.0, "y.var": 1.0}, max_iter=5, tol=0)
    np.testing.assert_allclose(one.trace, other.trace, rtol=1e-11)
    for name, value in one.params.items():
        np.testing.assert_allclose(other.params[name], value, rtol=1e-9)
    first, second = one.posterior({"y": y})["h"], other.posterior(tree)["h"]
    np.testing.assert_allclose(second.mean[place], first.mean, rtol=1e-9)
    np.testing.assert_allclose(second.cov[place], first.cov, rtol=1e-9)


def motion() -> pg.Model:
    """A trait that is only seen at the leaves; what it was at the root is a parameter."""
    with pg.Model("motion") as model, pg.tree("node"):
        length = pg.covariate("length")
        cov = pg.param("rate") * length
        first = pg.MvNormal(mean=pg.param("root"), cov=cov)
        pg.observed("trait", pg.MvNormal(mean=pg.prev("trait"), cov=cov, size=2), first=first)
    return model


def phylogeny(rng: np.random.Generator, leaves: int) -> tuple[Integers, Floats, Floats]:
    """A random binary tree without its root: parents, lengths, shared path of any two leaves."""
    parents, lengths, alive = [], [], [-1, -1]
    while len(alive) < leaves:
        k = int(rng.integers(len(alive)))
        parents.append(alive.pop(k))
        lengths.append(rng.uniform(0.1, 1.0))
        alive += [len(parents) - 1] * 2
    parents += alive
    lengths += rng.uniform(0.1, 1.0, len(alive)).tolist()
    n, first = len(parents), len(parents) - leaves
    paths = np.zeros((n, n))
    for k in range(n):
        paths[k] = paths[parents[k]] if parents[k] >= 0 else 0.0
        paths[k, k] = 1.0
    shared = (paths * np.array(lengths)) @ paths.T
    return np.array(parents), np.array(lengths), shared[first:, first:]


def test_brownian_motion_is_generalised_least_squares() -> None:
    """EM ends at the closed forms: root = (1ᵀC⁻¹1)⁻¹1ᵀC⁻¹x, rate = (x - root)ᵀC⁻¹(x - root) / n."""
    rng = np.random.default_rng(4)
    parents, lengths, shared = phylogeny(rng, 12)
    leaves = rng.multivariate_normal(np.zeros(12), shared, 2).T @ [[1.0, 0.5], [0.0, 0.7]] + 3.0
    trait = np.full((len(parents), 2), np.nan)
    trait[-12:] = leaves
    data = {"trait": [trait], "length": [lengths], "node.parent": [parents]}
    fit = motion().fit(data, tol=1e-13, max_iter=5000)
    inverse = np.linalg.inv(shared)
    root = inverse.sum(axis=0) @ leaves / inverse.sum()
    rate = (leaves - root).T @ inverse @ (leaves - root) / 12
    np.testing.assert_allclose(fit.params["root"], root, atol=1e-4)
    np.testing.assert_allclose(fit.params["rate"], rate, rtol=1e-4)
    flat = multivariate_normal(np.kron(np.ones(12), root), np.kron(shared, rate))
    assert fit.log_likelihood == pytest.approx(flat.logpdf(leaves.ravel()), abs=1e-6)
    ancestors = fit.impute(data)["trait"][0]
    assert np.isfinite(ancestors).all()
    np.testing.assert_allclose(ancestors[-12:], leaves)


def test_the_slope_of_q_is_the_score() -> None:
    """For every parameter: the covariances of parents and children are right."""
    rng = np.random.default_rng(5)
    parents = [forest(rng, size) for size in (9, 6, 12)]
    y = [rng.normal(size=(len(a), 3)) for a in parents]
    y[0][3] = np.nan
    data = {"y": y, "cell.parent": parents}
    model, p = states(), values(rng)
    slopes_agree(model, data, p)
    fit = model.fit(data, start=p, max_iter=30, tol=0)
    assert np.diff(fit.trace).min() >= -1e-9


def gated() -> pg.Model:
    """A mixture of trees: the dynamics depend on a class of the tree, the output on an observed
    kind of member, and each member has leaves of its own."""
    with pg.Model("gated") as model:
        c = pg.latent("c", pg.Categorical(size=2))
        with pg.tree("cell"):
            kind = pg.covariate("kind", size=2)
            mean = pg.param("a")[c] * pg.prev("h") + pg.param("b")[kind]
            h = pg.latent(
                "h", pg.Normal(mean=mean, var=pg.param("q")[c]), first=pg.Normal(0.0, 1.0)
            )
            with pg.plate("image"):
                pg.observed("y", pg.Normal(mean=pg.param("l")[kind] * h, var=0.3))
    return model


def test_mixtures_of_trees_with_plates_inside() -> None:
    rng = np.random.default_rng(6)
    sizes = [5, 3, 7]
    parents = [forest(rng, size) for size in sizes]
    kind = [rng.integers(0, 2, size) for size in sizes]
    y = [[rng.normal(size=rng.integers(0, 3)) for _ in range(size)] for size in sizes]
    p = {"c.probs": np.array([0.3, 0.7]), "a": np.array([0.8, -0.5]), "b": rng.normal(size=2),
         "q": np.array([0.4, 1.3]), "l": rng.normal(size=2)}  # fmt: skip
    data = {"y": y, "cell.parent": parents, "kind": kind}
    found, posterior = gated().log_likelihood(data, p), gated().posterior(data, p)
    for n, above in enumerate(parents):
        logs = []
        for c in range(2):
            mean, load = np.zeros(len(above)), np.zeros((len(above), len(above)))
            order = [k for _, k in sorted((depth(above, k), k) for k in range(len(above)))]
            for k in order:
                load[k, k] = 1.0
                if above[k] >= 0:
                    mean[k] = p["a"][c] * mean[above[k]] + p["b"][kind[n][k]]
                    load[k] = p["a"][c] * load[above[k]]
                    load[k, k] = np.sqrt(p["q"][c])
            rows = [k for k in range(len(above)) for _ in y[n][k]]
            out = np.diag(p["l"][kind[n]])[rows]
            cov = out @ load @ load.T @ out.T + 0.3 * np.eye(len(rows))
            flat = np.concatenate(y[n])
            density = multivariate_normal(out @ mean, cov).logpdf(flat) if len(flat) else 0.0
            logs.append(np.log(p["c.probs"][c]) + density)
        assert found[n] == pytest.approx(np.logaddexp(*logs), abs=1e-8)
        np.testing.assert_allclose(
            posterior["c"][n], np.exp(np.array(logs) - np.logaddexp(*logs)), atol=1e-8
        )
    fit = gated().fit(data, start=p, max_iter=20, tol=0)
    assert np.diff(fit.trace).min() >= -1e-9


def depth(parents: Integers, k: int) -> int:
    return 0 if parents[k] < 0 else 1 + depth(parents, int(parents[k]))


def test_samples_and_draws_have_the_moments_of_the_tree() -> None:
    rng = np.random.default_rng(7)
    p, parents = values(rng), np.array([-1, 0, 0, 1, 1, 3])
    y = rng.normal(size=(6, 3))
    y[2:] = np.nan
    data = {"y": [y], "cell.parent": [parents]}
    fit = states().fit(data, start=p, max_iter=0)
    n = 6000
    drawn = fit.sample(n, data={"cell.parent": [parents] * n}, seed=0)
    mean, cov = joint(parents, p)
    flat = np.array(drawn["h"]).reshape(n, -1)
    deviation = np.sqrt(np.diag(cov))
    assert (np.abs(flat.mean(axis=0) - mean) < 5 * deviation / np.sqrt(n)).all()
    bound = np.sqrt((np.outer(deviation, deviation) ** 2 + cov**2) / n)
    assert (np.abs(np.cov(flat.T) - cov) < 5.5 * bound).all()
    posterior = fit.posterior(data)
    many = {"y": [y] * n, "cell.parent": [parents] * n}
    states_drawn = np.array(fit.draw(many, seed=1)["h"])
    wanted = posterior["h"].cov[0]
    for k in range(6):
        error = np.abs(states_drawn[:, k].mean(axis=0) - posterior["h"].mean[0][k])
        assert (error < 5 * np.sqrt(np.diag(wanted[k]) / n)).all()
        scale = np.sqrt(np.diag(wanted[k]))
        spread_of = np.sqrt((np.outer(scale, scale) ** 2 + wanted[k] ** 2) / n)
        assert (np.abs(np.cov(states_drawn[:, k].T) - wanted[k]) < 5.5 * spread_of).all()


def test_equal_subtrees_are_computed_once() -> None:
    """Full binary trees of seven levels without holes need one node per height and per depth."""
    parents = np.concatenate([(np.arange(127) - 1) // 2 + 127 * k for k in range(50)])
    parents[::127] = -1
    data = ScopeData("cell", 127 * np.arange(51), 2, 1, parents=parents)
    kinds = (parents < 0).astype(np.int64)
    back = number_branches(kinds, data)
    assert len(back.keys) == 7 and back.levels == list(range(8))
    forth = number_ancestries(back.ids, data.levels, np.zeros(50, dtype=np.int64))
    assert len(forth.keys) == 7
    rng = np.random.default_rng(9)
    other = number_branches(rng.integers(0, 3, 127 * 50), data)
    found: dict[int, str] = {}

    def written(k: int) -> str:
        below = sorted(written(int(c)) for c in np.flatnonzero(parents == k))
        return f"{other.keys[other.ids[k]]}({','.join(below)})"

    for k in range(127):  # equal numbers are equal subtrees, written out
        assert found.setdefault(int(other.ids[k]), written(k)) == written(k)
    assert len(set(found.values())) == len(found)


def test_texts_speak_of_trees() -> None:
    program = states().compile()
    told = " ".join(program.explain().split())
    assert "from the leaves to the roots" in told and "add up over its children" in told
    assert "with a single root it collapses" in str(program.report)
    assert "along cell" in str(program.report)


def test_a_script_repeats_the_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    parents = [forest(rng, size) for size in (9, 6)]
    y = [rng.normal(size=(len(a), 3)) for a in parents]
    y[0][3] = np.nan
    data = {"y": y, "cell.parent": parents}
    script_repeats(states(), data, tmp_path, start=values(rng))
