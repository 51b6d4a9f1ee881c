"""A family of one's own: fifteen lines in a module of one's own, and a place in every graph."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import pgem as pg
from pgem.errors import DeclarationError
from pgem.testing import check_family

SOURCE = '''
"""Radial errors, for a test."""

import numpy as np

from pgem.families import Family, Slot
from pgem.families.roles import RATE
from pgem.families.supports import POSITIVE


class Radial(Family):
    """The length of a Gaussian vector in the plane, by its precision."""

    slots = (Slot("precision", RATE),)
    support = POSITIVE

    def sufficient_statistics(self, x, **known):
        return (x**2 / 2,)

    def natural_parameters(self, **slots):
        return (-slots["precision"],)

    def log_partition(self, *eta):
        return -np.log(-eta[0])

    def log_base_measure(self, x, **known):
        return np.log(x)

    def role_statistics(self, slot, stats, slots, origin, *, cancel):
        return self.totals(stats)[0], self.totals(stats)[1][0]
'''


@pytest.fixture
def radial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "radial_errors.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("radial_errors")
    monkeypatch.delitem(importlib.sys.modules, "radial_errors")  # type: ignore[attr-defined]


def test_it_is_short() -> None:
    body = SOURCE[SOURCE.index("class Radial") :]
    code = [line for line in body.splitlines() if line.strip() and '"""' not in line]
    assert len(code) <= 15


def test_it_conforms(radial: ModuleType) -> None:
    assert check_family(radial.Radial).passed


def two_scales(n: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.rayleigh(1.0, n), rng.rayleigh(12.0, n)])


def test_as_a_mixture_component(radial: ModuleType) -> None:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", radial.Radial(), given=z)
    fit = model.fit({"x": two_scales()})
    assert fit.verdict == "converged"
    np.testing.assert_allclose(np.sort(fit.params["x.precision"]), [1 / 144, 1.0], rtol=0.15)


def test_as_an_emission(radial: ModuleType) -> None:
    with pg.Model("hmm") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("x", radial.Radial(), given=s)
    fit = model.fit({"x": two_scales()})
    np.testing.assert_allclose(np.sort(fit.params["x.precision"]), [1 / 144, 1.0], rtol=0.15)


def test_with_a_prior(radial: ModuleType) -> None:
    """Gamma is conjugate to every rate: a - 1 more events, b more exposure."""
    x = two_scales()
    with pg.Model("map") as model:
        prior = pg.Gamma(shape=101.0, rate=50.0)
        pg.observed("x", radial.Radial(precision=pg.param("precision", prior=prior)))
    fit = model.fit({"x": x})
    expected = (len(x) + 100) / ((x**2).sum() / 2 + 50)
    np.testing.assert_allclose(fit.params["precision"], expected)


def test_in_a_text_that_names_it(radial: ModuleType) -> None:
    with pg.Model("text") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", radial.Radial(), given=z)
    text = model.to_json()
    again = pg.Model.from_json(text, families=[radial.Radial])
    x = {"x": two_scales()}
    assert again.fit(x).log_likelihood == model.fit(x).log_likelihood
    with pytest.raises(DeclarationError, match=r"families=\[Radial\]"):
        pg.Model.from_json(text)


def test_in_a_script(radial: ModuleType) -> None:
    with pg.Model("script") as model:
        pg.observed("x", radial.Radial())
    script = model.compile().to_script({"x": two_scales()})
    assert textwrap.dedent("class Radial(Family)") in script


PRIORS = [
    (pg.Bernoulli, "prob", pg.Beta(a=3.0, b=2.0), [0, 1, 1, 1], (3 + 2) / (4 + 3)),
    (
        pg.Categorical, "probs", pg.Dirichlet(concentration=2.0), [0, 2, 2, 1, 2],
        [2 / 8, 2 / 8, 4 / 8],
    ),
    (pg.Laplace, "scale", None, [1.0, -3.0], 2.0),
    (pg.LogNormal, "var", pg.InverseGamma(shape=1.5, scale=2.0), [1.0, np.e**2], (2 + 4) / (2 + 5)),
    (pg.Exponential, "rate", pg.Gamma(shape=2.0, rate=3.0), [1.0, 2.0], 3 / 6),
]  # fmt: skip


@pytest.mark.parametrize(("family", "slot", "prior", "x", "expected"), PRIORS)
def test_conjugate_priors_of_the_shelf(family, slot: str, prior, x: list, expected) -> None:
    """Pseudo-statistics beside the data's, by hand."""
    options = {"size": 3} if family is pg.Categorical else {}
    options |= {"location": 0.0} if family is pg.Laplace else {}
    with pg.Model("map") as model:
        pg.observed("x", family(**{slot: pg.param("theta", prior=prior)}, **options))
    fit = model.fit({"x": x}, tol=0, max_iter=5)
    np.testing.assert_allclose(fit.params["theta"], expected)
