"""Scripts run alone and reproduce the fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgem as pg
from pgem.plan.bundle import Bundle
from pgem.plan.script import literal

DATA = Path(__file__).parent.parent.parent / "models" / "data"
ALONE = """
import runpy, sys

class Barrier:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pgem", "numba", "networkx", "pydantic"):
            raise ImportError(name)

sys.meta_path.insert(0, Barrier())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
OWN_FAMILY = '''
import numpy as np
from pgem.families import Family, Slot
from pgem.families._family import REALS
from pgem.families._roles import RATE

SMALLEST = 1e-12


class Laplace(Family):
    """Two-sided exponential."""

    slots = (Slot("scale", RATE),)
    support = REALS
    formula = r"-\\log 2 s - |x| / s"

    def sufficient_statistics(self, x, **known):
        return (np.abs(x),)

    def natural_parameters(self, **slots):
        return (-1 / np.maximum(slots["scale"], SMALLEST),)

    def log_partition(self, *eta):
        return np.log(-2 / eta[0])

    def from_mean(self, *mean):
        return mean
'''


def run_alone(script: Path, *arguments: str) -> dict[str, Any]:
    """The script's JSON, in an interpreter where pgem and Numba cannot be imported."""
    found = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(script), "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    result: dict[str, Any] = json.loads(found.stdout)
    return result


def check(model: pg.Model, data: Any, folder: Path, start: Any = None, **options: Any) -> float:
    """A script's result is the fit's; returns the log-likelihood."""
    path = folder / "alone.py"
    asked = {"max_iter": 60, "tol": 1e-8} | options
    fit = model.fit(data, start=start, **asked)
    model.compile(data).to_script(data, start, path=path, **asked)
    beside = path.with_suffix(".npz")
    found = run_alone(path, *(["--data", str(beside)] if beside.exists() else []))
    assert found["verdict"] == fit.verdict
    assert found["trace"] == pytest.approx(fit.trace.tolist(), rel=1e-9)
    assert set(found["params"]) == set(fit.params)
    for name, value in fit.params.items():
        assert np.asarray(found["params"][name]) == pytest.approx(value, rel=1e-9, abs=1e-9)
    return float(found["log_likelihood"])


def gaussian_mixture() -> pg.Model:
    with pg.Model("gmm") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.MvNormal(), given=z)
    return model


def poisson_chain() -> pg.Model:
    with pg.Model("hmm") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s")
        pg.observed("y", pg.Poisson(), given=s)
    return model


def test_old_faithful(tmp_path: Path) -> None:
    x = np.loadtxt(DATA / "old_faithful.csv", delimiter=",", skiprows=1)
    value = check(gaussian_mixture(), {"x": x}, tmp_path, max_iter=500)
    assert value == pytest.approx(-1130.264, abs=1e-3)


def test_earthquakes(tmp_path: Path) -> None:
    y = np.loadtxt(DATA / "earthquakes.csv", delimiter=",", skiprows=1)[:, 1]
    start = {
        "s.probs": np.full((3, 3), 0.1) + 0.7 * np.eye(3),
        "s.first.probs": np.full(3, 1 / 3),
        "y.rate": [10.0, 20.0, 30.0],
    }
    value = check(poisson_chain(), {"y": y}, tmp_path, start, max_iter=500, tol=1e-10)
    assert value == pytest.approx(-328.5275, abs=1e-3)


def test_priors_and_bounds(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(-2, 1, (40, 2)), rng.normal(2, 0.6, (30, 2))])
    data = {"x": x, "y": rng.gamma(2.0, 1.0, 70), "w": rng.normal(0, 1, 70)}
    with pg.Model("linked") as model:
        weights = pg.param("weights", prior=pg.Dirichlet(2.0), zeros=[False, False, True])
        z = pg.latent("z", pg.Categorical(weights, size=3))
        cov = pg.param("cov", prior=pg.InverseWishart(1.0, 5.0))
        mean = pg.param("mean", prior=pg.MvNormal(0.0, cov / 0.1))
        pg.observed("x", pg.MvNormal(mean[z], cov))
        rate = pg.param("rate", prior=pg.Gamma(2.0, 1.0), lower=0.8)
        pg.observed("y", pg.Gamma(pg.param("shape"), rate[z]))
        var = pg.param("var", prior=pg.InverseGamma(2.0, 1.0))
        pg.observed("w", pg.Normal(pg.param("m", prior=pg.Normal(0.0, var / 3)), var))
    fit = model.fit(data, max_iter=60)
    assert check(model, data, tmp_path) == pytest.approx(fit.log_likelihood, rel=1e-10)
    assert fit.log_likelihood != fit.objective


def test_plates(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with pg.Model("levels") as model:
        g = pg.latent("g", pg.Categorical(size=2))
        with pg.plate("patient"):
            c = pg.latent("c", pg.Categorical(size=2), given=g)
            with pg.plate("item", size=5) as item:
                pg.observed("x", pg.Categorical(size=3), given=[c, item])
    x = [rng.integers(0, 3, (rng.integers(1, 5), 5)) for _ in range(20)]
    check(model, {"x": x}, tmp_path)


def test_switch_with_weights(tmp_path: Path) -> None:
    with pg.Model("zip") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("y", pg.switch(z, pg.Dirac(0), pg.Poisson()))
    check(model, {"y": [0, 1, 2, 3, 4, 5]}, tmp_path, weights=[60, 10, 15, 10, 4, 1])


def test_values_that_a_component_cannot_produce(tmp_path: Path) -> None:
    with pg.Model("switch") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("y", pg.switch(z, pg.Bernoulli(), pg.Gamma()))
    check(model, {"y": [0.0, 1.0, 2.1, 0.4, 3.0, 1.0, 0.0, 1.7]}, tmp_path, max_iter=5)


def test_everything_else_at_once(tmp_path: Path) -> None:
    """Covariates, index constants, structures, holes, given latents, fixed entries, solves."""
    rng, n = np.random.default_rng(1), 60
    with pg.Model("mixed") as model:
        who, trials = pg.covariate("who", size=3), pg.covariate("trials")
        z = pg.latent("z", pg.Categorical(size=4))
        half = pg.constant([0, 0, 1, 1])[z]
        pg.observed("a", pg.Binomial(pg.param("hit")[half, who], trials=trials))
        pg.observed("b", pg.Gamma(), given=z)
        spread = pg.diagonal(pg.param("spread")[z])
        pg.observed("v", pg.MvNormal(mean=pg.param("centre")[half], cov=spread))
        pg.observed("w", pg.MvNormal(mean=[0.0, 0.0], cov=pg.spherical()), given=z)
    labels: list[Any] = [k % 4 if k < 12 else None for k in range(n)]
    v = rng.normal(size=(n, 2)) + np.arange(n)[:, None] % 2
    v[rng.random((n, 2)) < 0.2] = np.nan
    data = {
        "who": rng.integers(0, 3, n),
        "trials": np.full(n, 5),
        "a": rng.integers(0, 6, n),
        "b": rng.gamma(2.0, 1.0, n),
        "v": v,
        "w": rng.normal(size=(n, 2)),
        "z": labels,
    }
    check(model, data, tmp_path, max_iter=15)


def test_sequences_of_seen_states_with_holes(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    with pg.Model("chain") as model, pg.sequence("t"):
        w = pg.observed("w", pg.Categorical(size=3), after="w")
        pg.observed("y", pg.Normal(), given=w)
    w = [rng.integers(0, 3, 12).astype(float) for _ in range(6)]
    for row in w:
        row[[3, 4, 9]] = np.nan
    check(model, {"w": w, "y": [rng.normal(size=12) for _ in w]}, tmp_path)


def test_large_data_lie_beside_the_script(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    y = [rng.poisson(3 + 10 * (np.arange(300) // 100 % 2)) for _ in range(80)]
    check(poisson_chain(), {"y": y}, tmp_path, max_iter=5)
    assert (tmp_path / "alone.npz").exists()


def test_the_listing_comes_first() -> None:
    program = gaussian_mixture().compile({"x": np.eye(2)})
    text = program.to_script()
    listed = program.source.partition("def e_step")[2]
    assert listed.strip() in text
    assert text.index("def m_step") < text.index("class Bound") < text.index("class Family")
    assert "import numba" not in text
    assert "\nfrom pgem" not in text
    assert "kernels" not in text


def test_without_data_the_script_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "empty.py"
    gaussian_mixture().compile({"x": np.eye(2)}).to_script(path=path)
    found = subprocess.run(
        [sys.executable, "-I", str(path)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert "--data" in found.stderr


def test_text_output(tmp_path: Path) -> None:
    path = tmp_path / "text.py"
    data = {"x": np.random.default_rng(4).normal(size=(30, 2))}
    gaussian_mixture().compile(data).to_script(data, path=path, max_iter=3)
    found = subprocess.run(
        [sys.executable, "-I", str(path)], capture_output=True, text=True, check=True
    )
    assert "iteration_limit" in found.stdout
    assert "x.mean" in found.stdout


def test_a_bundle_refuses_packages_that_a_script_may_not_need() -> None:
    with pytest.raises(pg.PgemError, match="numba"):
        Bundle(set(), attributes={"forward"}).need("pgem.routines.kernels", "CompiledPass")


def test_a_bundle_refuses_imports_inside_functions_that_are_no_compiled_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def late():\n    from pgem.arrays import safe_log\n    return safe_log\n"
    (tmp_path / "inner_import.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(pg.PgemError, match=r"'late' of module 'inner_import'"):
        Bundle(set()).need("inner_import", "late")


def test_names_are_reached_directly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import pgem as pg\n\n\ndef near():\n    return pg.Normal\n\n\n"
    code += "def far():\n    return pg.families.Normal\n"
    (tmp_path / "reaching.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    bundle = Bundle(set())
    assert bundle.need("reaching", "near") == "near"
    assert "return Normal" in bundle.text(["reaching"])
    with pytest.raises(pg.PgemError, match=r"reaches into 'pgem\.families' through 'pg'"):
        bundle.need("reaching", "far")


def test_families_of_ones_own_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_families.py").write_text(OWN_FAMILY)
    monkeypatch.syspath_prepend(tmp_path)
    from my_families import Laplace

    with pg.Model("own") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", Laplace(), given=z)
    x = np.random.default_rng(5).normal(size=40) * (1 + 9 * (np.arange(40) % 2))
    check(model, {"x": x}, tmp_path)


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1.5),
        np.arange(3),
        np.array([True, False]),
        np.array([[1.0, np.nan], [np.inf, -np.inf]]),
        np.zeros((2, 0)),
    ],
)
def test_literals_come_back(value: Any) -> None:
    names = {"np": np, "nan": np.nan, "inf": np.inf}
    back = np.asarray(eval(literal(value), names))
    assert back.dtype == np.asarray(value).dtype
    assert np.array_equal(back, value, equal_nan=True)


def test_gaussian_latents(tmp_path: Path) -> None:
    """A chain above two factors in a mixture, random slopes in a plate: rows of every kind."""
    rng = np.random.default_rng(5)
    with pg.Model("states") as states:
        c = pg.latent("c", pg.Categorical(size=2))
        with pg.sequence("t"):
            mean = pg.param("decay")[c] * pg.prev("h")
            h = pg.latent("h", pg.Normal(mean=mean), first=pg.Normal(0.0, 1.0))
            cov = pg.diagonal()
            pg.observed("y", pg.MvNormal(mean=pg.param("loadings") @ h, cov=cov))
    y = [rng.normal(size=(n, 2)).cumsum(axis=0) for n in (5, 8, 3, 9, 6, 7)]
    y[1][2:4] = np.nan
    check(states, {"y": y}, tmp_path, max_iter=15, tol=0.0)
    with pg.Model("slopes") as slopes:
        b = pg.latent("b", pg.MvNormal(mean=0.0, size=2))
        with pg.plate("visit"):
            w = pg.covariate("w")
            pg.observed("y", pg.Normal(mean=pg.param("beta") @ w + w @ b))
    design = [np.column_stack([np.ones(n), rng.normal(size=n)]) for n in (3, 4, 2, 5, 4, 3, 6)]
    data = {"w": design, "y": [rng.normal(size=len(w)) for w in design]}
    check(slopes, data, tmp_path, max_iter=10, tol=0.0)


def clicks(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Binary outcomes of two classes, which depend on two inputs each."""
    x = rng.normal(size=(n, 2))
    z = rng.random(n) < 1 / (1 + np.exp(-2 * x[:, 0]))
    y = rng.binomial(6, 1 / (1 + np.exp(-(x @ [1.0, -1.0]) * np.where(z, 1, -1))))
    return {"x": x, "y": y.astype(float), "a": rng.poisson(np.exp(0.5 + 0.3 * x[:, 1]))}


def class_membership() -> pg.Model:
    with pg.Model("members") as model:
        x = pg.covariate("x")
        w = pg.param("w", prior=pg.Normal(0.0, 4.0))
        z = pg.latent("z", pg.Categorical(logits=w @ x + pg.param("b"), size=2))
        pg.observed("y", pg.Binomial(logit=pg.param("slope")[z] @ x, trials=6))
        pg.observed("a", pg.Poisson(pg.param("rate")[z], log_rate=pg.param("trend") @ x))
    return model


def test_links_in_class_membership_and_emissions(tmp_path: Path) -> None:
    data = clicks(np.random.default_rng(6), 80)
    data["y"][::7] = np.nan
    check(class_membership(), data, tmp_path, max_iter=12, tol=0.0)


def test_links_in_transitions(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    with pg.Model("moves") as model, pg.sequence("t"):
        x, before = pg.covariate("x"), pg.prev("s")
        moves = pg.Categorical(logits=pg.param("W")[before] * x + pg.param("b")[before], size=2)
        s = pg.latent("s", moves, first=pg.Categorical(logits=pg.param("first") * x, size=2))
        pg.observed("y", pg.Poisson(log_rate=pg.param("beta") * x + pg.param("level")[s]))
    lengths = (6, 9, 5, 12, 7)
    x = [rng.integers(0, 2, n).astype(float) for n in lengths]
    y = [rng.poisson(1 + 4 * (rng.random(n) < 0.5)).astype(float) for n in lengths]
    y[3][4:6] = np.nan
    check(model, {"x": x, "y": y}, tmp_path, max_iter=12, tol=0.0)


def test_links_with_data_beside_the_script(tmp_path: Path) -> None:
    data = clicks(np.random.default_rng(8), 6000)
    check(class_membership(), data, tmp_path, max_iter=3, tol=0.0)
    assert (tmp_path / "alone.npz").exists()


def test_separated_classes_end_a_script_as_they_end_a_fit(tmp_path: Path) -> None:
    with pg.Model("separated") as model:
        pg.observed("y", pg.Bernoulli(logit=pg.param("b") * pg.covariate("x")))
    data = {"x": np.array([-2.0, -1.0, 1.0, 2.0]), "y": np.array([0, 0, 1, 1])}
    with pytest.warns(pg.errors.FitWarning, match="separated classes"):
        check(model, data, tmp_path)
