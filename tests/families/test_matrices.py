"""Nodes whose values are matrices: layouts, posteriors, draws, scripts, bad values.

The judge is SciPy's density, summed over states by hand.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize
from scipy.special import logsumexp, multigammaln

import pgem as pg
from pgem.errors import DataError, DeclarationError, FitError

SCALES = np.array(
    [
        [[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 0.5]],
        [[1.0, -0.3, 0.1], [-0.3, 3.0, 0.0], [0.1, 0.0, 2.0]],
    ]
)
DF = np.array([6.0, 14.0])
TWINS = {"Wishart": stats.wishart, "InverseWishart": stats.invwishart}
KINDS = pytest.mark.parametrize("kind", [pg.Wishart, pg.InverseWishart])


def drawn(kind: type, codes: np.ndarray, seed: int = 0) -> np.ndarray:
    rng, twin = np.random.default_rng(seed), TWINS[kind.__name__]
    return np.stack([twin(DF[k], SCALES[k]).rvs(random_state=rng) for k in codes])


def log_density(kind: type, x: np.ndarray, params: dict) -> np.ndarray:
    """log p(x | k) by SciPy [N, K]."""
    twin = TWINS[kind.__name__]
    pairs = zip(params["x.df"], params["x.scale"], strict=True)
    return np.stack([twin(n, v).logpdf(np.moveaxis(x, 0, -1)) for n, v in pairs], axis=1)


def mixture(kind: type, **slots: object) -> pg.Model:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", kind(**slots), given=z)
    return model


def chain(kind: type) -> pg.Model:
    with pg.Model("chain") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("x", kind(), given=s)
    return model


@KINDS
def test_mixture_is_that_of_scipys_densities(kind: type) -> None:
    codes = np.arange(400) % 2
    x = drawn(kind, codes)
    fit = mixture(kind).fit({"x": x}, start={"z": codes})
    assert fit.verdict == "converged"
    np.testing.assert_allclose(fit.params["x.df"], DF, rtol=0.2)
    np.testing.assert_allclose(fit.params["x.scale"], SCALES, atol=0.5)
    joint = np.log(fit.params["z.probs"]) + log_density(kind, x, fit.params)
    np.testing.assert_allclose(fit.log_likelihood, logsumexp(joint, axis=1).sum(), rtol=1e-10)
    posterior = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(fit.posterior({"x": x})["z"], posterior, atol=1e-9)
    assert fit.n_parameters == 1 + 2 * (6 + 1)


@KINDS
def test_sequences_in_every_container(kind: type) -> None:
    codes = np.repeat([0, 1, 0, 1], 30)
    x = drawn(kind, codes)
    model = chain(kind)
    single = model.fit({"x": x}, start={"s": codes})
    params = single.params
    log_b = log_density(kind, x, params)
    with np.errstate(divide="ignore"):
        first, step = np.log(params["s.first.probs"]), np.log(params["s.probs"])
    forward = first + log_b[0]
    for t in range(1, len(x)):
        forward = logsumexp(forward[:, None] + step, axis=0) + log_b[t]
    np.testing.assert_allclose(single.log_likelihood, logsumexp(forward), rtol=1e-10)
    halves = model.log_likelihood({"x": x.reshape(2, 60, 3, 3)}, params)
    listed = model.log_likelihood({"x": [x[:60], x[60:]]}, params)
    ragged = model.log_likelihood({"x": [x[:60], x[60:100], x[100:]]}, params)
    nested = model.log_likelihood({"x": [list(x[:60]), x[60:].tolist()]}, params)
    np.testing.assert_allclose(halves, listed)
    np.testing.assert_allclose(halves, nested)
    np.testing.assert_allclose(ragged[0], halves[0])
    drawn_again = single.sample(2, sizes={"t": [3, 5]}, seed=1)["x"]
    assert [np.shape(part) for part in drawn_again] == [(3, 3, 3), (5, 3, 3)]


@KINDS
def test_missing_matrices(kind: type) -> None:
    codes = np.arange(300) % 2
    x = drawn(kind, codes)
    x[[3, 7]] = np.nan
    model = mixture(kind)
    fit = model.fit({"x": x}, start={"z": codes})
    shown = ~np.isnan(x).any(axis=(1, 2))
    alone = model.fit({"x": x[shown]}, start={"z": codes[shown]})
    np.testing.assert_allclose(fit.log_likelihood, alone.log_likelihood, rtol=1e-9)
    mean, cov = fit.posterior({"x": x})["x"]
    assert mean.shape == (300, 3, 3)
    assert cov.shape == (300, 3, 3, 3, 3)
    assert (cov[0] == 0).all()
    np.testing.assert_array_equal(mean[shown], x[shown])
    draws = TWINS[kind.__name__]
    expected = sum(
        p * draws(n, v).mean()
        for p, n, v in zip(
            fit.params["z.probs"], fit.params["x.df"], fit.params["x.scale"], strict=True
        )
    )
    np.testing.assert_allclose(mean[3], expected, rtol=1e-9)
    filled = fit.impute({"x": x})["x"]
    np.testing.assert_allclose(filled[7], expected, rtol=1e-9)
    hole = fit.impute({"x": x}, how="draw", seed=1)["x"][3]
    assert np.linalg.eigvalsh(hole).min() > 0


def test_covariance_of_the_entries() -> None:
    family = pg.Wishart().settled(3, {})
    slots = {"scale": SCALES, "df": DF}
    rng = np.random.default_rng(2)
    sample = family.draw(rng, {k: np.repeat(v[:1], 200_000, axis=0) for k, v in slots.items()})
    mean, cov = family.moments(slots)
    flat = sample.reshape(-1, 9)
    np.testing.assert_allclose(flat.mean(axis=0), mean[0].ravel(), atol=0.06)
    np.testing.assert_allclose(np.cov(flat.T), cov[0].reshape(9, 9), atol=0.9)
    np.testing.assert_allclose(family.entropy(slots)[0], stats.wishart(6.0, SCALES[0]).entropy())


@KINDS
def test_fisher_information_is_the_covariance_of_the_statistics(kind: type) -> None:
    family = kind().settled(3, {})
    slots = {"scale": SCALES[:1], "df": DF[1:]}
    table = family.fisher_information(slots)[0]
    rng = np.random.default_rng(3)
    x = family.draw(rng, {k: np.repeat(v, 200_000, axis=0) for k, v in slots.items()})
    sampled = np.cov(family.features(family.observe(x)).T)
    np.testing.assert_allclose(table, sampled, atol=0.03 * np.abs(table).max())
    np.testing.assert_allclose(
        family.expected_features(slots)[0],
        family.features(family.observe(x)).mean(axis=0),
        rtol=0.02,
        atol=0.02,
    )


def test_joint_maximum_is_that_of_an_optimiser() -> None:
    x = drawn(pg.Wishart, np.zeros(60, dtype=int))
    with pg.Model("one") as model:
        pg.observed("x", pg.Wishart())
    fit = model.fit({"x": x})
    logs = np.linalg.slogdet(x)[1].sum()

    def loss(free: np.ndarray) -> float:
        lower = np.zeros((3, 3))
        lower[np.tril_indices(3)] = free[1:]
        v, n = lower @ lower.T, 2 + np.exp(free[0])
        value = (n - 4) / 2 * logs - np.trace(np.linalg.solve(v, x.sum(axis=0))) / 2
        constant = n / 2 * np.linalg.slogdet(2 * v)[1] + multigammaln(n / 2, 3)
        return -(value - len(x) * constant)

    start = np.r_[1.0, np.linalg.cholesky(x.mean(axis=0) / 5)[np.tril_indices(3)]]
    best = -minimize(loss, start, method="BFGS", options={"gtol": 1e-6}).fun
    np.testing.assert_allclose(fit.log_likelihood, best, rtol=1e-9)


@KINDS
def test_tied_fixed_and_with_priors(kind: type) -> None:
    codes = np.arange(200) % 2
    x = drawn(kind, codes)
    free = mixture(kind).fit({"x": x}, start={"z": codes})
    held = mixture(kind, df=8.0).fit({"x": x}, start={"z": codes})
    assert held.verdict == "converged"
    assert held.log_likelihood < free.log_likelihood
    assert "x.df" not in held.params
    tied = mixture(kind, scale=pg.param("scale")).fit({"x": x}, start={"z": codes})
    assert tied.params["scale"].shape == (3, 3)
    assert tied.log_likelihood < free.log_likelihood
    assert np.diff(tied.trace).min() > -1e-8 * abs(tied.log_likelihood)
    prior = pg.InverseWishart(1.0, 8.0) if kind is pg.Wishart else pg.Wishart(1.0, 8.0)
    other = mixture(kind, scale=pg.param("scale", prior=prior), df=8.0)
    fit = other.fit({"x": x}, start={"z": codes})
    again = other.fit({"x": x}, start=fit.params, max_iter=0)
    assert fit.objective > other.fit({"x": x}, start=held_at(held, fit), max_iter=0).objective
    np.testing.assert_allclose(fit.objective, again.objective, rtol=1e-9)
    structured = mixture(kind, scale=pg.diagonal()).fit({"x": x}, start={"z": codes})
    assert structured.params["x.scale"].shape == (2, 3)
    assert structured.log_likelihood < free.log_likelihood


def held_at(held: pg.Fit, like: pg.Fit) -> dict[str, np.ndarray]:
    """The first component's scale of another fit, as a start."""
    return {"scale": held.params["x.scale"][0], "z.probs": like.params["z.probs"]}


@KINDS
def test_script_json_and_saving(kind: type, tmp_path) -> None:
    codes = np.arange(60) % 2
    x = drawn(kind, codes)
    model = mixture(kind)
    fit = model.fit({"x": x}, start={"z": codes}, max_iter=5, tol=0)
    path = tmp_path / "alone.py"
    model.compile({"x": x}).to_script({"x": x}, path=path, start={"z": codes})
    run = [sys.executable, "-I", str(path), "--json", "--max-iter", "5", "--tol", "0"]
    found = subprocess.run(run, capture_output=True, text=True, check=True, cwd=tmp_path)
    told = json.loads(found.stdout)
    np.testing.assert_allclose(told["log_likelihood"], fit.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(told["params"]["x.df"], fit.params["x.df"], rtol=1e-7)
    assert pg.Model.from_json(model.to_json()).to_json() == model.to_json()
    fit.save(tmp_path / "fit")
    loaded = pg.load(tmp_path / "fit")
    np.testing.assert_array_equal(loaded.posterior({"x": x})["z"], fit.posterior({"x": x})["z"])


def test_standard_errors_are_those_of_the_spread_over_samples() -> None:
    with pg.Model("one") as model:
        pg.observed("x", pg.Wishart())
    fits = [model.fit({"x": drawn(pg.Wishart, np.zeros(150, dtype=int), k)}) for k in range(60)]
    errors = fits[0].standard_errors()
    for name in ("x.df", "x.scale"):
        spread = np.std([fit.params[name] for fit in fits], axis=0)
        np.testing.assert_allclose(errors[name], spread, rtol=0.5)


def test_frames_hold_matrices_in_cells_or_columns() -> None:
    codes = np.arange(40) % 2
    x = drawn(pg.Wishart, codes)
    model = mixture(pg.Wishart)
    plain = model.fit({"x": x}, start={"z": codes}, max_iter=3)
    names = [f"x{i}{j}" for i in range(3) for j in range(3)]
    wide = pd.DataFrame(x.reshape(40, 9), columns=names)
    cells = pd.DataFrame({"x": list(x)})
    block = pg.Data(wide, columns={"x": names})
    for data in (block, cells):
        fit = model.fit(data, start={"z": codes}, max_iter=3)
        np.testing.assert_allclose(fit.log_likelihood, plain.log_likelihood)


def test_plates_and_switches() -> None:
    codes = np.arange(30) % 2
    x = drawn(pg.Wishart, np.repeat(codes, 4)).reshape(30, 4, 3, 3)
    with pg.Model("plate") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        with pg.plate("scan", size=4):
            pg.observed("x", pg.Wishart(), given=z)
    fit = model.fit({"x": x}, start={"z": codes})
    joint = log_density(pg.Wishart, x.reshape(-1, 3, 3), fit.params).reshape(30, 4, 2).sum(axis=1)
    total = logsumexp(joint + np.log(fit.params["z.probs"]), axis=1).sum()
    np.testing.assert_allclose(fit.log_likelihood, total, rtol=1e-10)
    with pg.Model("switch") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.switch(z, pg.Wishart(), pg.InverseWishart()))
    mixed = np.concatenate(
        [drawn(pg.Wishart, np.zeros(80, dtype=int)), drawn(pg.InverseWishart, np.zeros(80, int))]
    )
    fit = model.fit({"x": mixed})
    assert fit.verdict == "converged"
    assert (fit.decode({"x": mixed})["z"] == np.repeat([0, 1], 80)).mean() in (0.0, 1.0)


X = drawn(pg.Wishart, np.zeros(6, dtype=int))


def changed(*place: int, to: float) -> np.ndarray:
    x = X.copy()
    x[place] = to
    return x


BAD = {
    "not symmetric": (changed(2, 0, 1, to=9.0), ("'x'", "symmetric positive definite", "unit '2'")),
    "not positive definite": (changed(1, 2, 2, to=-1.0), ("'x'", "positive definite", "unit '1'")),
    "singular": (np.ones((6, 3, 3)), ("'x'", "positive definite", "unit '0'")),
    "vectors": (X[:, 0], ("'x'", "[units, rows, columns]", "(6, 3)")),
    "too many axes": (X[None, None], ("'x'", "[units, rows, columns]", "(1, 1, 6, 3, 3)")),
    "not square": (X[:, :2], ("'x'", "matrices", "(3, 3)", "(2, 3)")),
    "one entry missing": (changed(4, 0, 1, to=np.nan), ("'x'", "single entries", "unit '4'")),
    "infinite": (changed(5, 0, 0, to=np.inf), ("'x'", "infinite", "'5'")),
    "of different sizes": ([X[0], X[1][:2, :2]], ("'x'", "different lengths")),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_values_are_named(case: str) -> None:
    x, words = BAD[case]
    with pytest.raises(DataError) as caught:
        mixture(pg.Wishart, size=3).fit({"x": x})
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_bad_parameters_are_named() -> None:
    model = mixture(pg.Wishart)
    with pytest.raises(FitError, match=r"'x\.df'[\s\S]*above 2"):
        model.fit({"x": X}, start={"x.df": [1.9, 5.0]})
    with pytest.raises(FitError, match=r"'x\.scale'[\s\S]*positive definite"):
        model.fit({"x": X}, start={"x.scale": -SCALES})
    with pytest.raises(DeclarationError, match=r"'x\.df'[\s\S]*above 2"):
        mixture(pg.Wishart, df=2.0, size=3).compile()


def test_equal_matrices_are_reported_as_degenerate() -> None:
    with pg.Model("one") as model:
        pg.observed("x", pg.Wishart())
    with pytest.warns(pg.errors.FitWarning):
        fit = model.fit({"x": np.broadcast_to(SCALES[0], (5, 3, 3)).copy()})
    assert fit.verdict == "degenerate"
    assert "x.df" in fit.verdict.describe()
