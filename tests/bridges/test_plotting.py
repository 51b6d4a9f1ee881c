"""Pictures of fits: the right panel for each shape of data, and never a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import pgem as pg
from pgem.bridges._clouds import find_clouds
from pgem.bridges.plotting import plot_fit

GENERATOR = np.random.default_rng(0)
HALVES = np.r_[GENERATOR.normal(0, 1, 60), GENERATOR.normal(6, 1, 40)]
WALKS = [np.cumsum(GENERATOR.normal(0, 1, (n, 2)), axis=0) for n in (20, 40, 10)]


def normal_mixture(**settings) -> pg.Model:
    with pg.Model("normals") as model:
        z = pg.latent("z", pg.Categorical(size=2, **settings))
        pg.observed("x", pg.Normal(), given=z)
    return model


def vector_hmm() -> pg.Model:
    with pg.Model("vectors") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s")
        pg.observed("y", pg.MvNormal(cov=pg.diagonal()), given=s)
    return model


def factorial() -> pg.Model:
    with pg.Model("factorial") as model, pg.sequence("t"):
        chains = [pg.latent(k, pg.Categorical(size=2), after=k) for k in "ab"]
        pg.observed("y", pg.Normal(), given=chains)
    return model


def multilevel() -> pg.Model:
    with pg.Model("levels") as model:
        g = pg.latent("g", pg.Categorical(size=2))
        with pg.plate("patient"):
            c = pg.latent("c", pg.Categorical(size=3), given=g)
            pg.observed("age", pg.Normal(), given=c)
            with pg.plate("item", size=4) as item:
                pg.observed("x", pg.Categorical(size=3), given=[c, item])
    return model


def mixed() -> pg.Model:
    with pg.Model("mixed") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.MvNormal(), given=z)
        pg.observed("k", pg.Categorical(size=3), given=z)
    return model


def categorical_hmm() -> pg.Model:
    with pg.Model("letters") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Categorical(size=4), given=s)
    return model


def lagged() -> pg.Model:
    with pg.Model("lagged") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Normal(), given=s)
        pg.observed("w", pg.Poisson(), given=pg.prev("s"))
    return model


def plain() -> pg.Model:
    with pg.Model("plain") as model:
        pg.observed("x", pg.Normal())
    return model


AGES = [GENERATOR.normal(40, 10, n) for n in (3, 5, 2, 6)]
CASES = {
    "numbers": (normal_mixture(), {"x": HALVES}),
    "labels": (normal_mixture(levels=["low", "high"]), {"x": HALVES}),
    "holes": (normal_mixture(), {"x": np.where(np.arange(100) % 7, HALVES, np.nan)}),
    "ragged vectors": (vector_hmm(), {"y": WALKS}),
    "one sequence": (vector_hmm(), {"y": WALKS[1]}),
    "two chains": (factorial(), {"y": [HALVES, HALVES[:30]]}),
    "plates": (
        multilevel(),
        {"age": AGES, "x": [GENERATOR.integers(0, 3, (len(age), 4)) for age in AGES]},
    ),
    "mixed": (
        mixed(), {"x": GENERATOR.normal(0, 1, (60, 4)), "k": GENERATOR.integers(0, 3, 60)}
    ),
    "letters": (categorical_hmm(), {"y": [GENERATOR.integers(0, 4, n) for n in (30, 20)]}),
    "lagged": (
        lagged(), {"y": [GENERATOR.normal(0, 1, 30)], "w": [GENERATOR.poisson(2, 30)]}
    ),
    "no latent": (plain(), {"x": HALVES}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_shape_is_drawn(case: str, tmp_path: Path) -> None:
    model, data = CASES[case]
    fit = model.fit(data, max_iter=30)
    path = plot_fit(fit, data, tmp_path / "fit.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 5000


def test_weights_count(tmp_path: Path) -> None:
    model, (x, weights) = normal_mixture(), (np.array([0.0, 1, 5, 6]), np.array([3.0, 1, 2, 4]))
    fit = model.fit({"x": x}, weights=weights, max_iter=3)
    (cloud,) = find_clouds(fit, {"x": x}, weights)
    assert cloud.weights.tolist() == weights.tolist()
    assert cloud.weights @ cloud.posterior == pytest.approx(10 * fit.params["z.probs"], rel=0.2)


def test_curves_are_the_density() -> None:
    fit = normal_mixture().fit({"x": HALVES})
    (cloud,) = find_clouds(fit, {"x": HALVES})
    assert cloud.curves is not None
    grid, density = cloud.curves
    mean, var, share = (fit.params[name] for name in ("x.mean", "x.var", "z.probs"))
    expected = share * np.exp(-0.5 * (grid[:, None] - mean) ** 2 / var) / np.sqrt(2 * np.pi * var)
    assert density == pytest.approx(expected)


def test_means_are_those_of_the_components() -> None:
    fit = normal_mixture().fit({"x": HALVES}, tol=1e-12)
    (cloud,) = find_clouds(fit, {"x": HALVES})
    assert cloud.means()[:, 0] == pytest.approx(fit.params["x.mean"], abs=1e-4)
    assert cloud.covariances()[:, 0, 0] == pytest.approx(fit.params["x.var"], abs=1e-4)


def test_two_chains_make_one_component_each_pair() -> None:
    model, data = CASES["two chains"]
    (cloud,) = find_clouds(model.fit(data, max_iter=5), data)
    assert cloud.labels == ("a = 0, b = 0", "a = 0, b = 1", "a = 1, b = 0", "a = 1, b = 1")
    assert cloud.posterior.sum(axis=1) == pytest.approx(1)
    assert cloud.sequence == slice(0, 100)


def test_ellipses_follow_the_structure_of_the_model() -> None:
    model, data = CASES["ragged vectors"]
    (cloud,) = find_clouds(model.fit(data, max_iter=5), data)
    assert (cloud.covariances()[:, 0, 1] == 0).all()


def test_pyplot_is_left_alone(tmp_path: Path) -> None:
    code = (
        "import sys, pgem as pg, pgem.bridges.plotting as p\n"
        "assert 'matplotlib' not in sys.modules\n"
        "with pg.Model('m') as m:\n"
        "    z = pg.latent('z', pg.Categorical(size=2)); pg.observed('x', pg.Normal(), given=z)\n"
        "d = {'x': [0.0, 1, 5, 6]}\n"
        f"p.plot_fit(m.fit(d, max_iter=2), d, {str(tmp_path / 'fit.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch, tmp_path: Path) -> None:
    model, data = CASES["numbers"]
    fit = model.fit(data, max_iter=2)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(pg.MissingExtraError, match=r"pgem\[plot\]"):
        plot_fit(fit, data, tmp_path / "fit.png")
