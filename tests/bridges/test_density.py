"""Families from formulas: the shelf's densities, the conformance kit, fits, refusals, copies."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

import pgem as pg
from pgem.testing import check_family
from pgem.testing._case import random_slots
from tests.bridges.density_shelf import EXAMPLES, Example

pytest.importorskip("sympy")

RAYLEIGH = "x / s**2 * exp(-x**2 / (2*s**2))"
SCALE = {"x": "positive", "s": "positive"}
FITTED = [
    "Poisson", "Rayleigh", "Normal", "Gamma", "Beta", "Geometric", "Logarithmic",
    "InverseGaussian", "Weibull", "Laplace", "Binomial", "LogNormal", "Pareto",
]  # fmt: skip
REAL = {"x": "real", "m": "real"}


def in_mixture(family: pg.Normal) -> pg.Model:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", family, given=z)
    return model


def in_chain(family: pg.Normal) -> pg.Model:
    with pg.Model("chain") as model, pg.sequence("t"):
        z = pg.latent("z", pg.Categorical(size=2), after="z")
        pg.observed("x", family, given=z)
    return model


def drawn(name: str, example: Example, n_rows: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Values of three parameters in turn, drawn by the twin, and the formula's slots [3]."""
    family = example.family(f"{name}Formula")()
    rng = np.random.default_rng(7)
    slots = random_slots(family, 3, rng)
    theirs = example.slots(**slots) | {k: np.full(3, float(v)) for k, v in example.known.items()}
    twin = example.twin(**example.known).settled(None, {})
    turn = np.arange(n_rows) % 3
    return twin.draw(rng, {k: v[turn] for k, v in theirs.items()}), slots


@pytest.mark.parametrize("name", EXAMPLES)
def test_density_is_that_of_the_shelf(name: str) -> None:
    example = EXAMPLES[name]
    x, slots = drawn(name, example, 60)
    ours = example.family(f"{name}Formula")()
    theirs = example.slots(**slots) | {k: np.full(3, float(v)) for k, v in example.known.items()}
    twin = example.twin(**example.known).settled(None, {})
    expected = twin.log_density(twin.observe(x), theirs)
    np.testing.assert_allclose(
        ours.log_density(ours.observe(x), slots), expected, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_passes_the_kit(name: str) -> None:
    kind = EXAMPLES[name].family(f"{name}Formula")
    assert kind.rung == EXAMPLES[name].rung
    assert check_family(kind).passed


@pytest.mark.parametrize("make", [in_mixture, in_chain])
@pytest.mark.parametrize("name", FITTED)
def test_fits_like_the_shelf(name: str, make: type) -> None:
    example = EXAMPLES[name]
    x, _ = drawn(name, example, 150)
    options = {"seed": 1, "max_iter": 40, "tol": 0.0}
    ours = make(example.family(f"{name}Formula")()).fit({"x": x}, **options)
    theirs = make(example.twin(**example.known)).fit({"x": x}, **options)
    assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, rel=1e-8)
    assert ours.verdict == theirs.verdict
    assert ours.n_parameters == theirs.n_parameters


def test_a_bernoulli_chain_is_the_same_model() -> None:
    """The shelf's own has other starts, since it is finite."""
    example = EXAMPLES["Bernoulli"]
    x, _ = drawn("Bernoulli", example, 150)
    ours = in_chain(example.family("BernoulliFormula")()).fit({"x": x}, seed=1, max_iter=9)
    start = {("x.prob" if name == "x.p" else name): v for name, v in ours.params.items()}
    theirs = in_chain(pg.Bernoulli()).fit({"x": x}, start=start, max_iter=1)
    assert theirs.trace[0] == pytest.approx(ours.log_likelihood, rel=1e-12)


@pytest.mark.parametrize(
    ("density", "kinds"),
    [
        ("exp(k*cos(x-m)) / (2*pi*besseli(0, k))",
         {"x": (-np.pi, np.pi), "m": "real", "k": "positive"}),
        ("exp(-(x-m) - exp(-(x-m)))", REAL),
        ("exp(-r)*r**x/factorial(x)/(1-exp(-r))", {"x": "positive_count", "r": "positive"}),
        ("x**(a-1)*exp(-x/s)/(gamma(a)*s**a)", {"x": "positive", "a": "positive", "s": "positive"}),
        ("exp(-(x-m)**2/(2*s**2))/(s*sqrt(2*pi))", {"x": "real", "m": "real", "s": "positive"}),
        ("exp(-(x-m)**2/(2*m**2))/(m*sqrt(2*pi))", {"x": "real", "m": "positive"}),
        ("s**2/(1+s)*(1+x)*exp(-s*x)", {"x": "positive", "s": "positive"}),
        ("exp(-x**4/s)/(2*gamma(1.25)*s**0.25)", {"x": "real", "s": "positive"}),
        ("exp(t*x)/(exp(t)+exp(2*t)+1+exp(-t))", {"x": range(-1, 3), "t": "real"}),
    ],
    ids=["von Mises", "Gumbel", "truncated Poisson", "gamma", "normal", "curved normal", "Lindley",
         "quartic", "tilted"],
)  # fmt: skip
def test_others_pass_the_kit(density: str, kinds: dict[str, str]) -> None:
    assert check_family(pg.family_from_density(density, **kinds)).passed


def test_slots_are_shared_fixed_and_given_priors() -> None:
    poisson = EXAMPLES["Poisson"].family("PoissonFormula")
    x = np.random.default_rng(0).poisson(4.0, 50).astype(float)
    for ours, theirs in ((poisson, pg.Poisson),):
        found = []
        for kind, slot in ((ours, "r"), (theirs, "rate")):
            with pg.Model("m") as model:
                rate = pg.param("rate", prior=pg.Gamma(shape=3.0, rate=2.0))
                pg.observed("x", kind(**{slot: rate}))
                pg.observed("y", kind(**{slot: rate}))
            found.append(model.fit({"x": x, "y": x + 1}, estimate="map").params["rate"])
        np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_scales_and_offsets() -> None:
    rng = np.random.default_rng(3)
    gamma = EXAMPLES["Gamma"].family("GammaFormula")
    for factor in (1e-6, 1e6):
        x = rng.gamma(3.0, 2.0, 400) * factor
        ours, theirs = (in_mixture(f).fit({"x": x}, max_iter=5) for f in (gamma(), pg.Gamma()))
        assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, rel=1e-8)


def test_spreads_are_compared_with_data_only_in_their_unit() -> None:
    names = {name: EXAMPLES[name].family(f"{name}Formula") for name in ("Normal", "LogNormal")}
    spreads = {name: kind.slots[1].role.has_spread for name, kind in names.items()}
    assert spreads == {"Normal": True, "LogNormal": False}
    quartic = pg.family_from_density("exp(-x**4/s)/(2*gamma(1.25)*s**0.25)", x="real", s="positive")
    x = np.random.default_rng(0).normal(size=200) * 1e-4
    assert in_mixture(quartic()).fit({"x": x}, max_iter=5).verdict == "iteration_limit"


def test_a_latent_has_to_be_finite_on_the_shelf() -> None:
    kind = EXAMPLES["Bernoulli"].family("BernoulliFormula")
    with pytest.raises(pg.PgemError), pg.Model("m") as model:
        pg.observed("x", pg.Normal(), given=pg.latent("z", kind()))
        model.compile()


def test_the_class_is_one_and_copies_keep_it() -> None:
    kind = pg.family_from_density(RAYLEIGH, name="Rayleigh2", **SCALE)
    assert pg.family_from_density(RAYLEIGH, name="Rayleigh2", **SCALE) is kind
    assert pickle.loads(pickle.dumps(kind)) is kind
    assert type(pickle.loads(pickle.dumps(kind()))) is kind


def test_pickles_are_read_in_another_process() -> None:
    kind = pg.family_from_density(RAYLEIGH, name="Rayleigh2", **SCALE)
    code = f"import pickle; print(pickle.loads({pickle.dumps(kind())!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Rayleigh2()"


def test_declarations_and_fits_are_read_with_the_class(tmp_path) -> None:
    kind = pg.family_from_density(RAYLEIGH, name="Rayleigh2", **SCALE)
    model = in_mixture(kind())
    text = model.to_json()
    assert '"pgem.bridges.Rayleigh2"' in text
    assert pg.Model.from_json(text, families=[kind]).to_json() == text
    with pytest.raises(pg.DeclarationError, match="pass it with families="):
        pg.Model.from_json(text)
    fit = model.fit({"x": np.random.default_rng(0).rayleigh(2.0, 40)}, max_iter=5)
    fit.save(tmp_path / "fit.json")
    again = pg.load(tmp_path / "fit.json", families=[kind])
    assert again.log_likelihood == fit.log_likelihood


def test_without_a_name_the_formula_names_it() -> None:
    kind = pg.family_from_density(RAYLEIGH, **SCALE)
    assert kind.__name__.startswith("Density_")
    other = pg.family_from_density(RAYLEIGH, x="positive", s="positive", name="Other")
    assert other.__name__ == "Other"


def test_a_script_is_refused() -> None:
    kind = pg.family_from_density(RAYLEIGH, name="Rayleigh2", **SCALE)
    with pytest.raises(pg.PgemError):
        in_mixture(kind()).compile().to_script()


def test_explain_tells_what_was_derived() -> None:
    kind = pg.family_from_density(RAYLEIGH, name="Rayleigh2", **SCALE)
    text = kind.explain()
    for line in ("T(x) = x**2", "η = -1/(2*s**2)", "A = 2*log(s)", "log h(x) = log(x)", "closed"):
        assert line in text
    assert r"$$\eta = - \frac{1}{2 s^{2}}$$" in kind.explain("markdown")
    with pytest.raises(pg.DeclarationError, match="style 'pdf'"):
        kind.explain("pdf")


def test_values_outside_are_named() -> None:
    model = in_mixture(pg.family_from_density(RAYLEIGH, name="Rayleigh2", **SCALE)())
    with pytest.raises(pg.DataError, match="x"):
        model.fit({"x": [1.0, -2.0, 3.0]})


T = "gamma((v+1)/2)/(sqrt(v*pi)*gamma(v/2))*(1+x**2/v)**(-(v+1)/2)"
SKELLAM = "exp(-a-b)*(a/b)**(x/2)*besseli(0, 2*sqrt(a*b)*x)"


@pytest.mark.parametrize(
    ("density", "kinds", "quoted"),
    [
        (T, {"x": "real", "v": "positive"}, r"term 'log\(1 \+ x\*\*2/v\)' couples 'x' with 'v'"),
        ("1/(pi*(1+(x-m)**2))", REAL, r"no exponential family: the term 'log\(.*' couples"),
        ("exp(-abs(x-m))/2", REAL, "couples 'x' with 'm'"),
        (SKELLAM, {"x": "count", "a": "positive", "b": "positive"}, "couples 'x' with 'a', 'b'"),
        ("k/s*(x/s)**(k-1)*exp(-(x/s)**k)", {**SCALE, "k": "positive"}, "couples"),
        ("exp(-x/s)", SCALE, "total mass 0.8, not 1, at s = 0.8"),
        ("exp(-x/s)/s", {"x": "real", "s": "positive"}, "total mass"),
        ("exp(-x/s)/s", {**SCALE, "t": "real"}, "slot 't' does not appear"),
        ("exp(-x)*m", {"x": "positive", "m": "positive"}, "both the value 'x' and a slot"),
        ("-exp(-x*m)*m", {"x": "positive", "m": "positive"}, "couples"),
        ("sqrt(-1)*exp(-x*m)", {"x": "positive", "m": "positive"}, "no positive function"),
        ("__import__('os').system('x')", REAL, r"'__import__\('os'\).system\('x'\)'"),
        ("x.real * m", REAL, "piece 'x.real'"),
        ("(lambda: x)()*m", REAL, r"piece '\(lambda: x\)\(\)'"),
        ("[x for x in m]", REAL, "piece"),
        ("x[0] * m", REAL, r"piece 'x\[0\]'"),
        ("eval(x) * m", REAL, "calls 'eval'"),
        ("gama(x) * m", REAL, "did you mean 'gamma'"),
        ("exp(x, m)", REAL, "exp with 1 argument"),
        ("exp(-x*q) * m", REAL, "name 'q', which is not declared"),
        ("x ^ m", REAL, "written \\*\\*"),
        ("'a' * m", REAL, "piece ''a''"),
        ("True * m * x", REAL, "piece 'True'"),
        ("1j * m * x", REAL, "piece '1j'"),
        ("x * m / 0", REAL, "denominator"),
        ("9**9**9 * x * m", REAL, "powers of numbers"),
        ("(x + m + 1)**400", REAL, "powers of sums"),
        ("factorial(100000) * x * m", REAL, "functions of numbers"),
        ("besseli(1, x) * m", REAL, "besseli\\(0"),
        ("x * m +", REAL, "no formula"),
        ("x; m", REAL, "no formula"),
        ("(" * 300 + "x" + ")" * 300, REAL, "no formula"),
        ("x" * 3000, REAL, "a density is a formula"),
        ("", REAL, "a density is a formula"),
        ("x*m", {"x": "complex", "m": "real"}, "x has the kind 'complex'"),
        ("x*m", {"x": range(0, 9, 2), "m": "real"}, "x has the kind"),
        ("x*m", {"x": {}, "m": "real"}, "x has the kind"),
        ("x*m", {"x": (3, 1), "m": "real"}, "x has the kind"),
        ("x*m", {"x": "real", "m": "count"}, "slot 'm' has the kind 'count'"),
        ("x*size", {"x": "real", "size": "real"}, "a name that is taken"),
        ("x", {"x": "real"}, "at least one slot"),
        ("x*m", {**REAL, "name": "a b"}, "no name of a class"),
    ],
)
def test_refusals_quote_the_piece(density: str, kinds: dict, quoted: str) -> None:
    with pytest.raises(pg.DeclarationError, match=quoted):
        pg.family_from_density(density, **kinds)


def test_without_sympy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sympy", None)
    with pytest.raises(pg.MissingExtraError, match="pgem\\[sympy\\]"):
        pg.family_from_density(RAYLEIGH, **SCALE)
