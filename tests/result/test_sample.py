"""Samples have the moments, shapes, labels and dependences that the model says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pgem as pg
from pgem.errors import DataError


def mixture() -> pg.Model:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Normal(), given=z)
    return model


MIXTURE = {"z.probs": [0.3, 0.7], "x.mean": [0.0, 5.0], "x.var": [1.0, 0.25]}


def chain() -> pg.Model:
    with pg.Model("chain") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Poisson(), given=s)
    return model


CHAIN = {"s.probs": [[0.9, 0.1], [0.2, 0.8]], "s.first.probs": [1.0, 0.0], "y.rate": [2.0, 20.0]}


def at(model: pg.Model, data: Any, params: dict[str, Any]) -> pg.Fit:
    return model.fit(data, start=params, max_iter=0)


def test_frequencies_and_moments_of_a_mixture() -> None:
    fit = at(mixture(), {"x": [0.0, 1.0]}, MIXTURE)
    found = fit.sample(40_000, seed=1)
    assert set(found) == {"z", "x"}
    assert found["z"].shape == found["x"].shape == (40_000,)
    assert abs((found["z"] == 1).mean() - 0.7) < 0.01
    for k, (mean, var) in enumerate(zip(MIXTURE["x.mean"], MIXTURE["x.var"], strict=True)):
        x = found["x"][found["z"] == k]
        assert abs(x.mean() - mean) < 0.03
        assert abs(x.var() - var) < 0.04


def test_a_seed_reproduces_and_another_does_not() -> None:
    fit = at(mixture(), {"x": [0.0, 1.0]}, MIXTURE)
    one, two, other = fit.sample(9, seed=4), fit.sample(9, seed=4), fit.sample(9, seed=5)
    np.testing.assert_array_equal(one["x"], two["x"])
    assert (one["x"] != other["x"]).any()


def test_a_mixture_is_recovered_from_its_sample() -> None:
    fit = at(mixture(), {"x": [0.0, 1.0]}, MIXTURE)
    drawn = fit.sample(20_000, seed=2)
    again = mixture().fit({"x": drawn["x"]}, start=MIXTURE)
    np.testing.assert_allclose(again.params["z.probs"], [0.3, 0.7], atol=0.015)
    np.testing.assert_allclose(again.params["x.mean"], [0, 5], atol=0.05)
    np.testing.assert_allclose(again.params["x.var"], [1, 0.25], atol=0.05)


def test_transitions_of_a_chain() -> None:
    fit = at(chain(), {"y": np.ones(5)}, CHAIN)
    found = fit.sample(300, sizes={"t": 100}, seed=3)
    assert isinstance(found["y"], list)
    s = np.array(found["s"])
    assert (s[:, 0] == 0).all()
    for k, row in enumerate(CHAIN["s.probs"]):
        after = s[:, 1:][s[:, :-1] == k]
        assert abs((after == 1).mean() - row[1]) < 0.015
    y = np.array(found["y"])
    assert abs(y[s == 1].mean() - 20) < 0.2


def test_a_chain_is_recovered_from_its_sample() -> None:
    fit = at(chain(), {"y": np.ones(5)}, CHAIN)
    drawn = fit.sample(50, sizes={"t": 200}, seed=5)
    again = chain().fit({"y": drawn["y"]}, start=CHAIN)
    np.testing.assert_allclose(again.params["s.probs"], CHAIN["s.probs"], atol=0.02)
    np.testing.assert_allclose(again.params["y.rate"], CHAIN["y.rate"], rtol=0.02)


@pytest.mark.parametrize("kind", ["single", "array", "list"])
def test_sequences_come_in_the_container_of_the_data(kind: str) -> None:
    data = {
        "single": np.ones(7),
        "array": np.ones((3, 4)),
        "list": [np.ones(2), np.ones(5), np.ones(3)],
    }[kind]
    fit = at(chain(), {"y": data}, CHAIN)
    one = fit.sample(1, seed=0)
    four = fit.sample(4, seed=0)
    if kind == "single":
        assert one["y"].shape == one["s"].shape == (7,)
        assert [len(y) for y in four["y"]] == [7, 7, 7, 7]
    elif kind == "array":
        assert four["y"].shape == (4, 4)
    else:
        assert [len(y) for y in four["s"]] == [2, 5, 3, 2]
    assert np.isfinite(fit.score({"y": four["y"]}))


def test_sizes_are_given_per_sequence() -> None:
    fit = at(chain(), {"y": np.ones(7)}, CHAIN)
    assert [len(y) for y in fit.sample(3, sizes={"t": [1, 4, 2]})["y"]] == [1, 4, 2]


def nested() -> pg.Model:
    with pg.Model("nested") as model:
        g = pg.latent("g", pg.Categorical(size=2))
        with pg.plate("patient"):
            c = pg.latent("c", pg.Categorical(size=2), given=g)
            with pg.plate("item", size=3) as item:
                pg.observed("x", pg.Bernoulli(), given=[c, item])
    return model


NESTED = {
    "g.probs": [0.5, 0.5],
    "c.probs": [[0.9, 0.1], [0.1, 0.9]],
    "x.prob": [[0.1, 0.2, 0.3], [0.7, 0.8, 0.9]],
}


def test_nested_ragged_and_sized_plates() -> None:
    data = {"x": [[[0, 1, 0], [1, 1, 0]], [[1, 1, 1]], []]}
    fit = at(nested(), {"x": data["x"][:2]}, NESTED)
    found = fit.sample(5, seed=1)
    assert [len(unit) for unit in found["x"]] == [2, 1, 2, 1, 2]
    assert [len(unit) for unit in found["c"]] == [2, 1, 2, 1, 2]
    assert all(len(member) == 3 for unit in found["x"] for member in unit)
    big = fit.sample(400, sizes={"patient": 50}, seed=2)
    c, x = np.array(big["c"]), np.array(big["x"])
    assert abs((c[big["g"] == 1] == 1).mean() - 0.9) < 0.02
    np.testing.assert_allclose(x[c == 1].mean(axis=0), NESTED["x.prob"][1], atol=0.02)
    assert np.isfinite(fit.score({"x": big["x"]}))


def test_labels_come_back() -> None:
    with pg.Model("labels") as model:
        z = pg.latent("z", pg.Categorical(size=2, levels=["low", "high"]))
        pg.observed("x", pg.Categorical(), given=z)
    params = {"z.probs": [0.5, 0.5], "x.probs": [[1, 0, 0], [0, 0.5, 0.5]]}
    fit = at(model, {"x": ["a", "b", "c"]}, params)
    found = fit.sample(200, seed=1)
    assert set(found["z"]) == {"low", "high"}
    assert set(found["x"][found["z"] == "low"]) == {"a"}
    assert set(found["x"][found["z"] == "high"]) == {"b", "c"}
    assert np.isfinite(fit.score({"x": found["x"]}))


def test_switch_and_atoms() -> None:
    with pg.Model("inflated") as model:
        z = pg.latent("z", pg.Bernoulli())
        pg.observed("y", pg.switch(z, pg.Dirac(0), pg.Poisson()))
    fit = at(model, {"y": [0, 1, 2]}, {"z.prob": 0.25, "y.1.rate": 3.0})
    found = fit.sample(20_000, seed=1)
    assert (found["y"][found["z"] == 0] == 0).all()
    assert abs(found["y"][found["z"] == 1].mean() - 3) < 0.1
    assert abs(found["z"].mean() - 0.25) < 0.01


def test_gates_by_covariate_and_by_a_table() -> None:
    with pg.Model("gates") as model:
        who = pg.covariate("who", levels=["ann", "bob"])
        z = pg.latent("z", pg.Categorical(size=3))
        pg.observed("x", pg.Normal(mean=pg.param("mean")[who, pg.constant([0, 0, 1])[z]], var=1e-6))
    means = [[0.0, 1.0], [10.0, 11.0]]
    start = {"z.probs": [0.2, 0.3, 0.5], "mean": means}
    fit = at(model, {"x": [0.0, 1.0, 2.0], "who": ["ann", "bob", "bob"]}, start)
    who = np.array(["ann", "bob"] * 50)
    found = fit.sample(100, data={"who": who}, seed=3)
    expected = np.array(means)[(who == "bob").astype(int), (found["z"] == 2).astype(int)]
    np.testing.assert_allclose(found["x"], expected, atol=0.01)
    assert np.isfinite(fit.score({"x": found["x"], "who": found["who"]}))
    with pytest.raises(DataError, match=r"(?s)covariates.*'who' \[units\].*data="):
        fit.sample(2)


def test_known_slots_and_totals() -> None:
    with pg.Model("totals") as model:
        n = pg.covariate("n")
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("k", pg.Binomial(trials=n), given=z)
        pg.observed("w", pg.Multinomial(), given=z)
    params = {"z.probs": [0.5, 0.5], "k.prob": [0.2, 0.9], "w.probs": [[0.5, 0.5], [1, 0]]}
    data = {"n": [3, 5], "k": [1, 4], "w": [[1, 2], [10, 0]]}
    fit = at(model, data, params)
    found = fit.sample(4, data={"n": [10, 20, 30, 40]}, seed=1)
    assert (found["k"] <= [10, 20, 30, 40]).all()
    np.testing.assert_array_equal(found["w"].sum(axis=1), [3, 10, 3, 10])
    found = fit.sample(2, data={"n": [1, 1]}, sizes={"w": 7}, seed=1)
    np.testing.assert_array_equal(found["w"].sum(axis=1), [7, 7])
    assert np.isfinite(fit.score({name: found[name] for name in ("n", "k", "w")}))


def test_two_lags_and_their_first_steps() -> None:
    with pg.Model("second") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), given=[pg.prev("s", 2)], after="s")
        pg.observed("y", pg.Normal(var=1e-8), given=s)
    flip = np.zeros((2, 2, 2))
    flip[0, 0, 1] = flip[1, 1, 0] = flip[1, 0, 0] = flip[0, 1, 1] = 1.0  # 0 0 1 1 0 0 …
    start = {
        "s.probs": flip, "s.first.probs": [1.0, 0.0], "s.first2.probs": [[1.0, 0.0], [0.0, 1.0]],
        "y.mean": [0.0, 1.0],
    }  # fmt: skip
    fit = at(model, {"y": np.array([0.0, 0.0, 1.0])}, start)
    found = fit.sample(2, sizes={"t": 8}, seed=1)
    for s in found["s"]:
        expected = [0, 0]
        while len(expected) < 8:
            expected.append(int(flip[expected[-2], expected[-1]].argmax()))
        np.testing.assert_array_equal(s, expected)


def looking_back() -> pg.Model:
    with pg.Model("back") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Categorical(size=3), given=[s], after="y")
    return model


def test_conditioned_first_values_are_needed_and_held() -> None:
    start = {
        "s.probs": [[0.5, 0.5], [0.5, 0.5]], "s.first.probs": [0.5, 0.5],
        "y.probs": np.stack([np.roll(np.eye(3), 1, axis=1)] * 2),
    }  # fmt: skip
    fit = at(looking_back(), {"y": [np.array([0, 1, 2, 0])]}, start)
    with pytest.raises(DataError, match=r"(?s)'y' is conditioned on its first.*'1' steps"):
        fit.sample(2, sizes={"t": 3})
    given = np.full((2, 5), np.nan)
    given[:, 0] = [2, 1]
    found = fit.sample(2, data={"y": given}, seed=1)
    np.testing.assert_array_equal(found["y"], [[2, 0, 1, 2, 0], [1, 2, 0, 1, 2]])
    assert np.isfinite(fit.score({"y": found["y"]}))


def test_given_nodes_are_held() -> None:
    fit = at(mixture(), {"x": [0.0, 1.0]}, MIXTURE)
    found = fit.sample(4, data={"z": [1, 0, np.nan, 1]}, seed=1)
    np.testing.assert_array_equal(found["z"][[0, 1, 3]], [1, 0, 1])


def test_a_plate_inside_a_sequence() -> None:
    with pg.Model("inner") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        with pg.plate("sensor"):
            pg.observed("y", pg.Normal(), given=s)
    start = CHAIN | {"y.mean": [0.0, 9.0], "y.var": [1.0, 1.0]}
    start.pop("y.rate")
    fit = at(model, {"y": [[[0.0, 1.0], [9.0], [8.0, 7.0, 9.0]]]}, start)
    found = fit.sample(2, seed=1)
    assert [[len(step) for step in unit] for unit in found["y"]] == [[2, 1, 3]] * 2
    found = fit.sample(2, sizes={"t": [2, 3], "sensor": 4}, seed=1)
    assert [[len(step) for step in unit] for unit in found["y"]] == [[4] * 2, [4] * 3]
    assert np.isfinite(fit.score({"y": found["y"]}))


@pytest.mark.parametrize(
    ("n", "sizes", "data", "message"),
    [
        (0, None, None, "at least 1"),
        (1.5, None, None, "at least 1"),
        (2, {"u": 3}, None, "'u', which is no plate or sequence"),
        (2, {"t": 0}, None, "size of sequence 't'"),
        (2, {"t": [3]}, None, "size of sequence 't'"),
        (2, {"t": "long"}, None, "size of sequence 't'"),
        (2, {"t": 2.5}, None, "size of sequence 't'"),
        (2, None, {"y": np.full((3, 4), np.nan)}, "t"),
        (2, None, {"w": [1, 2]}, "'w', which is no node"),
    ],
)
def test_bad_requests(n: Any, sizes: Any, data: Any, message: str) -> None:
    fit = at(chain(), {"y": np.ones(7)}, CHAIN)
    with pytest.raises(DataError, match=message):
        fit.sample(n, sizes=sizes, data=data)


def test_a_declared_size_cannot_be_changed() -> None:
    fit = at(nested(), {"x": [[[0, 1, 0]]]}, NESTED)
    with pytest.raises(DataError, match="plate 'item' has a declared size"):
        fit.sample(2, sizes={"item": 4})
