"""Tables, wide and long, say the same as nested arrays, in every kind of frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from frame_models import KEYS, NAMES, SIZE, Table, X, chain, items_table, mixture, nested

import pgem as pg


def _pandas(table: Table) -> Any:
    return pytest.importorskip("pandas").DataFrame(table)


def _polars(table: Table) -> Any:
    return pytest.importorskip("polars").DataFrame(table)


def _polars_lazy(table: Table) -> Any:
    return pytest.importorskip("polars").LazyFrame(table)


def _pyarrow(table: Table) -> Any:
    return pytest.importorskip("pyarrow").table(table)


KINDS: dict[str, Callable[[Table], Any]] = {
    "mapping": lambda table: {name: np.array(column) for name, column in table.items()},
    "pandas": _pandas,
    "polars": _polars,
    "lazy polars": _polars_lazy,
    "pyarrow": _pyarrow,
}


@pytest.fixture(params=KINDS)
def frame(request: pytest.FixtureRequest) -> Callable[[Table], Any]:
    if request.param != "mapping":
        pytest.importorskip("narwhals")
    return KINDS[request.param]


RNG = np.random.default_rng(11)


def agree(model: pg.Model, table: Any, nested: Any) -> pg.Fit:
    """Both give the same log-likelihoods and the same fit."""
    fit = model.fit(nested, max_iter=3)
    assert np.array_equal(fit.log_likelihoods(table), fit.log_likelihoods(nested))
    other = model.fit(table, max_iter=3)
    assert other.log_likelihood == fit.log_likelihood
    return fit


# --- wide ----------------------------------------------------------------------------------------


def test_a_block_of_columns_fills_a_vector(frame: Any) -> None:
    x, kind = RNG.normal(size=(20, 2)), RNG.choice(["b", "a"], 20).tolist()
    table = frame({"long": x[:, 0], "short": x[:, 1], "kind": kind, "unused": x[:, 0]})
    data = pg.Data(table, columns={"x": ["long", "short"]})
    agree(mixture(), data, {"x": x, "kind": kind})


def test_a_block_of_columns_fills_a_plate(frame: Any) -> None:
    with pg.Model("items") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        with pg.plate("item", size=3) as item:
            pg.observed("x", pg.Bernoulli(), given=[z, item])
    x = RNG.integers(0, 2, (15, 3))
    data = pg.Data(frame({f"q{k}": x[:, k] for k in range(3)}), columns={"x": ["q0", "q1", "q2"]})
    agree(model, data, {"x": x})


def test_a_frame_without_settings(frame: Any) -> None:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Normal(), given=z)
        pg.observed("n", pg.Poisson(), given=z)
    table = {"x": RNG.normal(size=10), "n": RNG.poisson(3, 10)}
    agree(model, frame(table), table)
    agree(model, pg.Data(frame(table)), table)


def test_nulls_are_holes(frame: Any) -> None:
    if frame is KINDS["mapping"]:
        pytest.skip("arrays have no nulls")
    x = [1.0, None, 3.0, 4.0, 5.5, 2.0]
    n = [1, 2, None, 4, 2, 3]
    kind = ["a", None, "b", "a", "b", "a"]
    with pg.Model("holes") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Normal(var=1.0), given=z)
        pg.observed("n", pg.Poisson(), given=z)
        pg.observed("kind", pg.Categorical(), given=z)
    agree(model, frame({"x": x, "n": n, "kind": kind}), {"x": x, "n": n, "kind": kind})


def test_weights_are_a_column(frame: Any) -> None:
    with pg.Model("counts") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("k", pg.Poisson(), given=z)
    table = frame({"k": [0, 1, 5, 9], "times": [3, 0, 2, 1]})
    weighted = model.fit(pg.Data(table, weights="times"), max_iter=3)
    assert (
        weighted.log_likelihood
        == model.fit({"k": [0, 1, 5, 9]}, weights=[3, 0, 2, 1], max_iter=3).log_likelihood
    )


# --- sequences -----------------------------------------------------------------------------------

LENGTHS = (4, 1, 6)
Y = [RNG.normal(size=n) for n in LENGTHS]


def long_table() -> tuple[Table, Any]:
    """Sequences as rows in a random order, and the same as lists."""
    who = np.repeat(["u", "v", "a"], LENGTHS)
    day = np.concatenate([np.arange(n) for n in LENGTHS]) * 10
    rows = RNG.permutation(len(who))
    first = list(dict.fromkeys(who[rows]))
    lists = [Y[["u", "v", "a"].index(name)] for name in first]
    return {"who": who[rows], "day": day[rows], "y": np.concatenate(Y)[rows]}, lists


def test_sequences_are_sorted_within_units(frame: Any) -> None:
    table, lists = long_table()
    data = pg.Data(frame(table), unit="who", order={"t": "day"})
    fit = agree(chain(), data, {"y": lists})
    decoded = fit.decode(data)["s"]
    assert [len(states) for states in decoded] == [len(y) for y in lists]


def test_without_a_unit_the_table_is_one_sequence(frame: Any) -> None:
    y = Y[2]
    rows = RNG.permutation(len(y))
    fit = agree(chain(), pg.Data(frame({"y": y})), {"y": y})
    agree(chain(), pg.Data(frame({"y": y[rows], "day": rows}), order={"t": "day"}), {"y": y})
    assert fit.decode(frame({"y": y}))["s"].shape == (len(y),)


def test_without_an_order_rows_are_steps_as_they_stand(frame: Any) -> None:
    table = {"who": np.repeat([3, 1, 2], LENGTHS), "y": np.concatenate(Y)}
    agree(chain(), pg.Data(frame(table), unit="who"), {"y": Y})


def test_nodes_of_units_are_constant_in_a_long_table(frame: Any) -> None:
    with pg.Model("chains") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("age", pg.Normal(), given=z)
        with pg.sequence("t"):
            s = pg.latent("s", pg.Categorical(size=2), given=z, after="s")
            pg.observed("y", pg.Normal(), given=s)
    age = np.array([20.0, 50.0, 35.0])
    who = np.repeat([0, 1, 2], LENGTHS)
    table = {"who": who, "age": age[who], "y": np.concatenate(Y)}
    agree(model, pg.Data(frame(table), unit="who"), {"age": age, "y": Y})


# --- plates --------------------------------------------------------------------------------------


def test_nested_plates_from_keys(frame: Any) -> None:
    table = {name: list(column) for name, column in items_table().items()}
    data = pg.Data(frame(table), columns=NAMES, unit="clinic", plates=KEYS)
    fit = agree(nested(), data, {"x": X, "size": SIZE})
    assert [len(part) for part in fit.decode(data)["c"]] == [2, 3, 1]


def test_absent_members_of_a_sized_plate_are_missing() -> None:
    rows = [r for r in range(18) if r != 4]
    table = {name: list(column) for name, column in items_table(rows).items()}
    data = pg.Data(
        {name: np.array(column) for name, column in table.items()},
        columns=NAMES, unit="clinic", plates=KEYS,
    )  # fmt: skip
    holes = [part.astype(float) for part in X]
    holes[0][1, 1] = np.nan
    agree(nested(), data, {"x": holes, "size": SIZE})


def test_a_block_fills_the_inner_plate_of_members(frame: Any) -> None:
    flat = np.concatenate(X)
    table = {
        "clinic": np.repeat(["c", "b", "a"], [2, 3, 1]).tolist(),
        "beds": np.repeat(SIZE, [2, 3, 1]),
        **{name: flat[:, k] for k, name in enumerate(["q1", "q2", "q3"])},
    }
    columns = {"x": ["q1", "q2", "q3"], "size": "beds"}
    data = pg.Data(frame(table), columns=columns, unit="clinic")
    agree(nested(), data, {"x": X, "size": SIZE})
