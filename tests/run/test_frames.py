"""Tables, wide and long, say the same as nested arrays, in every kind of frame."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pgem as pg

Table = dict[str, Any]


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


def mixture() -> pg.Model:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.MvNormal(cov=pg.diagonal()), given=z)
        pg.observed("kind", pg.Categorical(), given=z)
    return model


def chain() -> pg.Model:
    with pg.Model("chain") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Normal(), given=s)
    return model


def nested() -> pg.Model:
    with pg.Model("nested") as model:
        g = pg.latent("g", pg.Categorical(size=2))
        pg.observed("size", pg.Poisson(), given=g)
        with pg.plate("patient"):
            c = pg.latent("c", pg.Categorical(size=2), given=g)
            with pg.plate("item", size=3) as item:
                pg.observed("x", pg.Categorical(size=3), given=[c, item])
    return model


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
    assert weighted.log_likelihood == model.fit(
        {"k": [0, 1, 5, 9]}, weights=[3, 0, 2, 1], max_iter=3
    ).log_likelihood


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

X = [RNG.integers(0, 3, (n, 3)) for n in (2, 3, 1)]
SIZE = [5, 0, 2]


def items_table(rows: Any = None) -> Table:
    """One row per clinic, patient and item."""
    cells = [
        ("cba"[u], f"p{p}", "xyz"[k], int(X[u][p, k]), SIZE[u])
        for u in range(3)
        for p in range(len(X[u]))
        for k in range(3)
    ]
    columns = zip(*(cells if rows is None else [cells[r] for r in rows]), strict=True)
    return dict(zip(["clinic", "who", "question", "answer", "beds"], columns, strict=True))


NAMES = {"x": "answer", "size": "beds"}
KEYS = {"patient": "who", "item": "question"}


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


# --- what is refused -----------------------------------------------------------------------------

LONG = {"who": [1, 1, 2], "day": [0, 1, 0], "y": [0.1, 0.2, 0.3]}


@pytest.mark.parametrize(
    ("model", "table", "settings", "words"),
    [
        (chain, LONG, {"columns": {"y": "Y"}, "unit": "who"}, ["'Y'", "did you mean 'y'"]),
        (chain, LONG, {"unit": "whom"}, ["unit=", "'whom'", "'who'"]),
        (chain, LONG, {"unit": "who", "order": {"t": "date"}}, ["order=", "'date'"]),
        (chain, LONG, {"unit": "who", "order": {"T": "day"}}, ["order=", "'T'", "t"]),
        (chain, LONG, {"unit": "who", "plates": {"t": "day"}}, ["plates=", "'t'"]),
        (chain, LONG, {"unit": "who", "weights": "n"}, ["weights=", "'n'"]),
        (chain, LONG, {"columns": {"x": "y"}}, ["columns=", "'x'", "s, y"]),
        (
            chain,
            {**LONG, "day": [0, 0, 0]},
            {"unit": "who", "order": {"t": "day"}},
            ["'t'", "who = '1', day = '0'", "merge"],
        ),
        (
            nested,
            {**items_table(), "beds": range(18)},
            {"columns": NAMES, "unit": "clinic", "plates": KEYS},
            ["'size'", "different values", "'0' as in row '0'"],
        ),
        (
            nested,
            items_table(),
            {"columns": NAMES, "unit": "clinic", "plates": {"item": "question"}},
            ["'patient'", "plates={'patient': ...}"],
        ),
        (
            nested,
            {**items_table(), "question": [f"q{k % 5}" for k in range(18)]},
            {"columns": NAMES, "unit": "clinic", "plates": KEYS},
            ["'item'", "'3' different keys", "'5' keys"],
        ),
        (chain, {"y": [1.0, 2.0], "who": [1]}, {"unit": "who"}, ["different lengths", "y: '2'"]),
        (chain, {**LONG, "who": [1.0, np.nan, 2.0]}, {"unit": "who"}, ["'who'", "row '1'"]),
        (chain, {**LONG, "Y": LONG["y"], "y": LONG["y"]}, {"weights": "who"}, ["the weights"]),
    ],
)
def test_is_refused(model: Any, table: Table, settings: Any, words: list[str]) -> None:
    with pytest.raises(pg.DataError) as caught:
        model().fit(pg.Data(table, **settings))
    for word in words:
        assert word in str(caught.value)


def test_a_column_of_nearly_the_right_name_is_suggested() -> None:
    pytest.importorskip("narwhals")
    with pytest.raises(pg.DataError, match=r"'kind' has no data(.|\n)*did you mean 'Kind'"):
        mixture().fit(_pandas({"Kind": ["a", "b"], "x": [1.0, 2.0]}))


def test_something_else_is_no_frame() -> None:
    pytest.importorskip("narwhals")
    with pytest.raises(pg.DataError, match=r"no data frame(.|\n)*'int'"):
        mixture().fit(pg.Data(3))


def test_without_narwhals_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    table = _pandas({"y": [0.1, 0.2, 0.3]})
    imported = builtins.__import__

    def refuse(name: str, *args: Any, **named: Any) -> Any:
        if name == "narwhals":
            raise ImportError(name)
        return imported(name, *args, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(pg.MissingExtraError, match=r"pip install 'pgem\[frames\]'"):
        chain().fit(table)
    data = pg.Data({"day": np.array([1, 0]), "y": np.array([0.2, 0.1])}, order={"t": "day"})
    assert chain().fit(data, max_iter=0).log_likelihood
