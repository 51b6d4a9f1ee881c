"""Every family of the shelf in graphs, by the generic path: mixtures, chains, holes, vectors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from family_examples import EXAMPLES, LEARNED, SCALAR, Example

import pgem as pg
from pgem import families
from pgem.errors import DataError, DeclarationError, FitWarning

N = 900
STAY = np.array([[0.95, 0.05], [0.08, 0.92]])


def near(found: dict, name: str, example: Example, loose: float | None = None) -> bool:
    """Whether the estimates are those that the data were drawn with, up to the labels' order."""
    loose = loose or example.loose
    orders = []
    for order in itertools.permutations(range(2)):
        gaps = []
        for slot, truth in example.truth.items():
            true = np.asarray(truth, dtype=float)
            gaps.append(np.abs(found[f"{name}.{slot}"][list(order)] - true) / (1 + np.abs(true)))
        orders.append(max(gap.max() for gap in gaps))
    return min(orders) <= loose


def chain(rng: np.random.Generator, n: int) -> np.ndarray:
    codes = np.zeros(n, dtype=int)
    for t in range(1, n):
        codes[t] = rng.random() > STAY[codes[t - 1], 0]
    return codes


def test_every_family_has_an_example() -> None:
    contract = {"Family", "Observations", "Slot", "Support"}
    assert set(EXAMPLES) == set(families.__all__) - contract
    assert len(EXAMPLES) >= 30


@pytest.mark.parametrize("name", LEARNED)
def test_as_a_mixture_component(name: str) -> None:
    """Two values per unit, so that components of any family can be told apart."""
    example, rng = LEARNED[name], np.random.default_rng(1)
    codes = (np.arange(N) % 3 == 0).astype(int)
    columns = {key: example.draw(rng, codes) for key in ("x", "y", "w")}
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        for key in columns:
            pg.observed(key, example.family, given=z)
    fit = model.fit(columns, tol=1e-7)
    assert fit.verdict == "converged"
    assert np.diff(fit.trace).min(initial=0.0) > -1e-8 * abs(fit.log_likelihood)
    assert near(fit.params, "x", example), fit.params
    np.testing.assert_allclose(np.sort(fit.params["z.probs"]), [1 / 3, 2 / 3], atol=0.06)


@pytest.mark.parametrize("name", LEARNED)
def test_as_an_emission_with_holes(name: str) -> None:
    example, rng = LEARNED[name], np.random.default_rng(2)
    codes = chain(rng, N)
    x = example.draw(rng, codes)
    x[rng.random(N) < 0.1] = np.nan
    with pg.Model("hmm") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("x", example.family, given=s)
    restarts = 5 if name == "Categorical" else 1  # few categories: several maxima
    fit = model.fit({"x": [x[: N // 2], x[N // 2 :]]}, tol=1e-7, restarts=restarts)
    assert fit.verdict == "converged"
    assert near(fit.params, "x", example, example.loose * 1.5), fit.params
    drawn = fit.sample(2, seed=0)["x"]
    assert np.asarray(drawn[0]).shape == x[: N // 2].shape


@pytest.mark.parametrize("name", SCALAR)
def test_over_vectors_with_holes_in_a_switch_with_uniform(name: str) -> None:
    """Independent coordinates; and beside another family in a switch."""
    example, rng = SCALAR[name], np.random.default_rng(3)
    codes = (np.arange(300) % 2).astype(int)
    pairs = np.stack([example.draw(rng, codes), example.draw(rng, codes)], axis=1)
    pairs[rng.random(pairs.shape) < 0.1] = np.nan
    if example.family.settled(example.size, {}).domain() is not None:
        pytest.skip("a vector of categories is a plate")
    with pg.Model("vectors") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", example.family, given=z)
    fit = model.fit({"x": pairs}, start={"z": codes}, max_iter=20)
    assert str(fit.verdict) in ("converged", "iteration_limit")
    for slot in example.truth:
        assert fit.params[f"x.{slot}"].shape == (2, 2)
    with pg.Model("switch") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.switch(z, example.family, pg.Normal()))
    fit = model.fit({"x": pairs[:, 0]}, max_iter=5, start={"z": codes})
    assert np.isfinite(fit.log_likelihood)


@pytest.mark.parametrize("name", LEARNED)
def test_tied_and_fixed(name: str) -> None:
    """One parameter for all components; a value in a slot is held."""
    example, rng = LEARNED[name], np.random.default_rng(4)
    x = example.draw(rng, np.zeros(400, dtype=int))
    given = {slot: example.family.arguments[slot] for slot in example.family.known_slots}
    options = {k: v for k, v in example.family.settings.items() if v is not None}
    kind = type(example.family)
    first = next(iter(example.truth))
    with pg.Model("tied") as model:
        z = pg.latent("z", pg.Categorical([0.5, 0.5]))
        pg.observed("x", kind(**{first: pg.param("tied")}, **given, **options), given=z)
    with pg.Model("plain") as plain:
        pg.observed("x", example.family)
    tied = model.fit({"x": x}, max_iter=200)
    whole = plain.fit({"x": x})
    assert tied.log_likelihood >= whole.log_likelihood - 1e-4 * abs(whole.log_likelihood)
    if len(example.truth) > 1:
        with pg.Model("held") as held:
            value = whole.params[f"x.{first}"]
            pg.observed("x", kind(**{first: pg.constant(value)}, **given, **options))
        again = held.fit({"x": x}, tol=1e-12)
        np.testing.assert_allclose(again.log_likelihood, whole.log_likelihood, rtol=1e-6)


# --- known slots --------------------------------------------------------------------------------


def test_known_slots_may_differ_between_components() -> None:
    """A constant table, gated by the latent: each component has its own location."""
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.laplace(-4, 0.5, 500), rng.laplace(3, 2.0, 500)])
    with pg.Model("peaks") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Laplace(location=pg.constant([-4.0, 3.0])[z]), given=z)
    fit = model.fit({"x": x})
    np.testing.assert_allclose(fit.params["x.scale"], [0.5, 2.0], rtol=0.15)
    direct = np.logaddexp(
        np.log(fit.params["z.probs"][0]) - np.abs(x + 4) / fit.params["x.scale"][0]
        - np.log(2 * fit.params["x.scale"][0]),
        np.log(fit.params["z.probs"][1]) - np.abs(x - 3) / fit.params["x.scale"][1]
        - np.log(2 * fit.params["x.scale"][1]),
    )  # fmt: skip
    np.testing.assert_allclose(fit.log_likelihood, direct.sum())


def test_weibull_shapes_may_differ_between_components() -> None:
    rng = np.random.default_rng(6)
    x = np.concatenate([rng.weibull(0.8, 600), 6 * rng.weibull(5.0, 600)])
    with pg.Model("failures") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Weibull(shape=pg.constant([0.8, 5.0])[z]), given=z)
    fit = model.fit({"x": x})
    np.testing.assert_allclose(fit.params["x.scale"], [1.0, 6.0], rtol=0.15)


@pytest.mark.parametrize(
    ("family", "slot", "values"),
    [(pg.NegativeBinomial, "size", [1.0, 4.0]), (pg.Pareto, "scale", [1.0, 3.0]),
     (pg.Laplace, "location", [-2.0, 5.0])],
)  # fmt: skip
def test_known_slots_may_be_covariates(family, slot: str, values: list[float]) -> None:
    rng = np.random.default_rng(7)
    column = np.array(values)[np.arange(800) % 2]
    name = next(s.name for s in family.slots if s.name != slot)
    x = family().draw(rng, {name: np.full(800, 0.6), slot: column})
    with pg.Model("known") as model:
        known = pg.covariate("known")
        pg.observed("x", family(**{slot: known}))
    fit = model.fit({"x": x, "known": column})
    np.testing.assert_allclose(fit.params[f"x.{name}"], 0.6, rtol=0.1)


def test_uniform_ends_may_be_covariates() -> None:
    rng = np.random.default_rng(8)
    top = rng.uniform(1, 3, 500)
    noise = rng.random(500) < 0.5
    x = np.where(noise, top * rng.random(500), 0.5 + 0.01 * rng.standard_normal(500))
    with pg.Model("background") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        high = pg.covariate("top")
        pg.observed("x", pg.switch(z, pg.Uniform(low=-1.0, high=high), pg.Normal()))
    fit = model.fit({"x": x, "top": top})
    np.testing.assert_allclose(fit.params["x.1.mean"], 0.5, atol=0.05)


@pytest.mark.parametrize("family", [pg.Weibull, pg.Zipf, pg.TruncatedNormal])
def test_a_slot_that_the_sums_depend_on_is_no_covariate(family: type[families.Family]) -> None:
    slot = next(s.name for s in family.slots if s.per_cell)
    others = {s.name: 2.0 for s in family.slots if s.per_cell and s.name != slot}
    with pytest.raises(DeclarationError, match=r"pg.constant\(\[...\]\)\[n\]"), pg.Model("no"):
        pg.observed("x", family(**{slot: pg.covariate("n")}, **others))


# --- limits -------------------------------------------------------------------------------------


def test_flat_data_under_a_truncated_normal_are_degenerate() -> None:
    """U-shaped data: the second natural parameter would be positive."""
    x = np.random.default_rng(9).beta(0.5, 0.5, 400)
    with pg.Model("flat") as model:
        pg.observed("x", pg.TruncatedNormal(low=0.0, high=1.0))
    with pytest.warns(FitWarning, match="not finite"):
        fit = model.fit({"x": x})
    assert fit.verdict == "degenerate"


def test_a_log_normal_is_judged_on_its_own_scale() -> None:
    """A variance of log x is no collapse, however widely x itself varies."""
    rng = np.random.default_rng(10)
    x = np.exp(np.concatenate([rng.normal(0, 0.3, 300), rng.normal(20, 0.3, 300)]))
    with pg.Model("incomes") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.LogNormal(), given=z)
    fit = model.fit({"x": x})
    assert fit.verdict == "converged"
    np.testing.assert_allclose(np.sort(fit.params["x.mean"]), [0, 20], atol=0.1)


@pytest.mark.parametrize("name", ["Weibull", "VonMises", "Zipf", "InverseGaussian"])
def test_scripts_and_explanations(name: str, tmp_path) -> None:
    example, rng = LEARNED[name], np.random.default_rng(11)
    x = example.draw(rng, (np.arange(60) % 2).astype(int))
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", example.family, given=z)
    fit = model.fit({"x": x}, max_iter=3)
    assert name in fit.program.explain("markdown")
    text = fit.program.to_script({"x": x})
    assert f"class {name}" in text
    compile(text, "script", "exec")
    again = pg.Model.from_json(model.to_json())
    assert again.to_json() == model.to_json()


def test_standard_errors_of_a_direction() -> None:
    """Across the mean the information is n k A(k), with A the mean length."""
    example, rng, n = LEARNED["VonMisesFisher"], np.random.default_rng(12), 2000
    x = example.draw(rng, np.zeros(n, dtype=int))
    with pg.Model("directions") as model:
        pg.observed("x", pg.VonMisesFisher())
    fit = model.fit({"x": x}, tol=0, max_iter=3)
    found = fit.standard_errors()["x.mean"]
    k = float(fit.params["x.concentration"])
    length = 1 / np.tanh(k) - 1 / k
    across = 1 - fit.params["x.mean"] ** 2
    np.testing.assert_allclose(found, np.sqrt(across / (n * k * length)), rtol=1e-3)


@pytest.mark.parametrize("name", ["Laplace", "Weibull", "VonMises", "Beta", "TruncatedNormal"])
def test_standard_errors(name: str) -> None:
    """Finite, and those of the Fisher information where there is a single slot."""
    example, rng, n = LEARNED[name], np.random.default_rng(13), 4000
    with pg.Model("plain") as model:
        pg.observed("x", example.family)
    fit = model.fit({"x": example.draw(rng, np.ones(n, dtype=int))}, tol=0, max_iter=3)
    found = fit.standard_errors()
    assert all(np.isfinite(found[f"x.{slot}"]).all() for slot in example.truth)
    if name == "Laplace":
        np.testing.assert_allclose(found["x.scale"], fit.params["x.scale"] / n**0.5, rtol=1e-3)
    if name == "Weibull":
        expected = fit.params["x.scale"] / (2.5 * n**0.5)
        np.testing.assert_allclose(found["x.scale"], expected, rtol=1e-3)


@pytest.mark.parametrize(
    "family",
    [pg.Weibull(shape=-1.0), pg.Zipf(ranks=0), pg.Pareto(scale=0.0), pg.NegativeBinomial(size=0)],
    ids=lambda family: type(family).__name__,
)
def test_known_values_are_checked(family: families.Family) -> None:
    with pytest.raises(DeclarationError, match="above zero"):
        with pg.Model("wrong") as model:
            pg.observed("x", family)
        model.fit({"x": [1.0, 2.0]})


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (pg.Pareto(scale=1.5), "at least `scale`"),
        (pg.Zipf(ranks=1), "from 1 to `ranks`"),
        (pg.Uniform(low=1.5, high=3.0), "from `low` to `high`"),
        (pg.TruncatedNormal(low=1.5, high=3.0), "from `low` to `high`"),
        (pg.VonMises(), "radians from -π to π"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_outside_a_known_support_are_named(family, expected: str) -> None:
    x = [1.0, 4.0 if type(family) is pg.VonMises else 2.0]
    with pg.Model("outside") as model:
        pg.observed("x", family)
    with pytest.raises(DataError, match=f"(?s){expected}.*unit"):
        model.fit({"x": x})
