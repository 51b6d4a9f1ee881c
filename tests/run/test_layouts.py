"""Every layout of the same data gives the same log-likelihood, and its own container back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pgem as pg

RNG = np.random.default_rng(5)


def at_random(model: pg.Model, data: Any) -> dict[str, Any]:
    """Parameters to evaluate at: a few iterations from a seeded start."""
    return model.fit(data, max_iter=3, tol=0).params


def same(model: pg.Model, layouts: dict[str, Any]) -> None:
    """All layouts have the units' log-likelihoods of the first."""
    reference = next(iter(layouts.values()))
    params = at_random(model, reference)
    expected = model.log_likelihood(reference, params)
    for name, data in layouts.items():
        found = model.log_likelihood(data, params)
        assert np.array_equal(found, expected), name


# --- one row per unit ----------------------------------------------------------------------------


def rows_model() -> pg.Model:
    with pg.Model("rows") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Normal(), given=z)
        pg.observed("kind", pg.Categorical(levels=["a", "b", "c"]), given=z)
        pg.observed("v", pg.MvNormal(cov=pg.diagonal()), given=z)
    return model


ROWS = {
    "x": RNG.normal(size=12),
    "kind": RNG.choice(["a", "b", "c"], 12),
    "v": RNG.normal(size=(12, 2)),
}


def test_rows() -> None:
    x, kind, v = ROWS["x"], ROWS["kind"], ROWS["v"]
    objects = {"x": x.astype(object), "kind": kind.astype(object), "v": v.astype(object)}
    lists = {"x": x.tolist(), "kind": kind.tolist(), "v": v.tolist()}
    tuples = {"x": tuple(x), "kind": tuple(kind), "v": tuple(map(tuple, v))}
    vectors = {"x": x, "kind": kind, "v": list(v)}
    order = {"v": v, "kind": kind, "x": x}
    same(
        rows_model(),
        {
            "arrays": ROWS,
            "objects": objects,
            "lists": lists,
            "tuples": tuples,
            "a list of vectors": vectors,
            "another order of the keys": order,
            "pg.Data of a mapping": pg.Data(ROWS),
            "pg.Data with weights": pg.Data({**ROWS, "n": np.arange(12)}, weights="n"),
        },
    )


def test_missing_values_have_many_forms() -> None:
    x = ROWS["x"].copy()
    x[3] = np.nan
    nones = [None if np.isnan(value) else value for value in x]
    masked = np.ma.masked_array(ROWS["x"], mask=np.isnan(x))
    kind = [None, *ROWS["kind"][1:]]
    nan = [float("nan"), *ROWS["kind"][1:]]
    coded = np.array([np.nan, *(ord(k) - ord("a") for k in ROWS["kind"][1:])])
    v = ROWS["v"].copy()
    v[2, 1] = np.nan
    rest = {"v": v, "kind": kind}
    same(
        rows_model(),
        {
            "NaN": {"x": x, **rest},
            "None": {"x": nones, **rest},
            "objects": {"x": np.array(nones, dtype=object), **rest},
            "masked": {"x": masked, **rest},
            "NaN for a label": {"x": x, "v": v, "kind": nan},
            "None in a vector": {"x": x, "kind": kind, "v": np.where(np.isnan(v), None, v)},
        },
    )
    with pg.Model("codes") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("kind", pg.Categorical(size=3), given=z)
    same(model, {"labels": {"kind": kind}, "codes": {"kind": coded}})


def test_pandas_na_is_missing() -> None:
    pandas = pytest.importorskip("pandas")
    x = pandas.array([1.0, 2.0, None, 4.0], dtype="Float64")
    kind = pandas.Series(["a", "b", None, "a"], dtype="category")
    with pg.Model("rows") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Normal(var=1.0), given=z)
        pg.observed("kind", pg.Categorical(), given=z)
    plain = {"x": [1.0, 2.0, None, 4.0], "kind": ["a", "b", None, "a"]}
    same(model, {"plain": plain, "pandas": {"x": x, "kind": kind}})


def test_a_node_without_a_key_is_wholly_missing() -> None:
    fit = rows_model().fit(ROWS, max_iter=3)
    absent = fit.log_likelihoods({"x": ROWS["x"], "kind": ROWS["kind"]})
    holes = fit.log_likelihoods({**ROWS, "v": np.full((12, 2), np.nan)})
    assert np.array_equal(absent, holes)


def test_booleans_are_categories() -> None:
    with pg.Model("coin") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("b", pg.Bernoulli(), given=z)
    b = RNG.random(10) < 0.4
    same(model, {"ints": {"b": b.astype(int)}, "bools": {"b": b}, "list": {"b": b.tolist()}})


# --- sequences -----------------------------------------------------------------------------------


def chain_model() -> pg.Model:
    with pg.Model("chain") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Normal(), given=s)
    return model


EQUAL = RNG.normal(size=(4, 6))
RAGGED = [RNG.normal(size=n) for n in (5, 1, 7)]


def test_sequences_of_one_length() -> None:
    layouts = {
        "array": {"y": EQUAL},
        "list of arrays": {"y": list(EQUAL)},
        "nested lists": {"y": EQUAL.tolist()},
        "tuple of arrays": {"y": tuple(EQUAL)},
        "objects": {"y": EQUAL.astype(object)},
    }
    same(chain_model(), layouts)


def test_ragged_sequences() -> None:
    boxed = np.empty(3, dtype=object)
    boxed[:] = RAGGED
    layouts = {
        "list of arrays": {"y": RAGGED},
        "nested lists": {"y": [part.tolist() for part in RAGGED]},
        "tuple": {"y": tuple(RAGGED)},
        "array of arrays": {"y": boxed},
    }
    same(chain_model(), layouts)


def test_a_single_sequence() -> None:
    y = RAGGED[2]
    layouts = {
        "one array": {"y": y},
        "one list": {"y": y.tolist()},
        "a list of one": {"y": [y]},
        "an array of one": {"y": y[None]},
    }
    same(chain_model(), layouts)


def test_a_single_sequence_of_vectors() -> None:
    with pg.Model("chain") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.MvNormal(), given=s)
    y = RNG.normal(size=(30, 2))
    layouts = {"array": {"y": y}, "vectors": {"y": list(y)}, "units": {"y": y[None]}}
    same(model, layouts)


def test_a_sequence_of_holes_is_certain() -> None:
    params = at_random(chain_model(), {"y": RAGGED})
    holes = chain_model().log_likelihood({"y": [*RAGGED, [None, None]]}, params)
    assert holes[-1] == pytest.approx(0.0, abs=1e-12)


# --- plates --------------------------------------------------------------------------------------


def nested_model() -> pg.Model:
    with pg.Model("nested") as model:
        g = pg.latent("g", pg.Categorical(size=2))
        with pg.plate("patient"):
            c = pg.latent("c", pg.Categorical(size=2), given=g)
            with pg.plate("item", size=3) as item:
                pg.observed("x", pg.Bernoulli(), given=[c, item])
    return model


NESTED = [RNG.integers(0, 2, (n, 3)) for n in (2, 4, 1)]


def test_nested_plates() -> None:
    layouts = {
        "list of arrays": {"x": NESTED},
        "lists": {"x": [part.tolist() for part in NESTED]},
        "lists of arrays": {"x": [list(part) for part in NESTED]},
    }
    same(nested_model(), layouts)
    regular = np.stack([NESTED[0], NESTED[0]])
    same(nested_model(), {"array": {"x": regular}, "lists": {"x": regular.tolist()}})


def test_a_node_without_key_in_sequences_of_one_step() -> None:
    """Its steady component has no rows at all; the first step has its own moments."""
    with pg.Model("short") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("o", pg.Categorical(size=2), given=s)
        pg.observed("x", pg.Poisson(pg.param("r")[pg.prev("s")]), first=pg.Poisson())
    half = np.full((2, 2), 0.5)
    params = {"s.probs": half, "s.first.probs": half[0], "o.probs": half}
    params |= {"r": np.array([1.0, 2.0]), "x.first.rate": np.array(3.0)}
    found = model.posterior({"o": [[1.0], [0.0]]}, params)["x"]
    np.testing.assert_allclose(np.ravel(found.mean), [3.0, 3.0])


def test_an_empty_plate_says_nothing() -> None:
    params = at_random(nested_model(), {"x": NESTED})
    empty = nested_model().log_likelihood({"x": [*NESTED, []]}, params)
    assert empty[-1] == pytest.approx(0.0, abs=1e-12)


def test_plates_that_are_all_empty() -> None:
    params = at_random(nested_model(), {"x": NESTED})
    assert np.allclose(nested_model().log_likelihood({"x": [[], []]}, params), 0.0)


# --- containers of results -----------------------------------------------------------------------


def test_results_come_back_in_the_container_of_the_data() -> None:
    fit = chain_model().fit({"y": EQUAL}, max_iter=2)
    array = fit.decode({"y": EQUAL})["s"]
    listed = fit.decode({"y": list(EQUAL)})["s"]
    single = fit.decode({"y": EQUAL[0]})["s"]
    assert array.shape == (4, 6)
    assert isinstance(listed, list)
    assert np.array_equal(listed, array)
    assert np.array_equal(single, array[0])
    assert fit.posterior({"y": EQUAL})["s"].shape == (4, 6, 2)
    assert [p.shape for p in fit.posterior({"y": RAGGED})["s"]] == [(5, 2), (1, 2), (7, 2)]
    assert fit.posterior({"y": EQUAL[0]})["s"].shape == (6, 2)


def test_results_of_nested_plates_are_nested() -> None:
    fit = nested_model().fit({"x": NESTED}, max_iter=2)
    decoded = fit.decode({"x": NESTED})
    assert decoded["g"].shape == (3,)
    assert [len(part) for part in decoded["c"]] == [2, 4, 1]
    assert [p.shape for p in fit.posterior({"x": NESTED})["c"]] == [(2, 2), (4, 2), (1, 2)]


def test_labels_come_back_as_labels() -> None:
    model = rows_model()
    fit = model.fit(ROWS, max_iter=2)
    holes = {**ROWS, "kind": [None, *ROWS["kind"][1:]]}
    decoded = fit.predict(holes)["kind"]
    assert set(decoded) <= {"a", "b", "c"}
    assert list(decoded[1:]) == list(ROWS["kind"][1:])


def test_sorted_labels_fix_the_order_of_later_data() -> None:
    with pg.Model("kinds") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("kind", pg.Categorical(), given=z)
    kinds = list("cabbacbbac")
    fit = model.fit({"kind": kinds}, max_iter=2)
    one = fit.log_likelihoods({"kind": ["b"]})
    assert one[0] == pytest.approx(fit.log_likelihoods({"kind": kinds})[2])
