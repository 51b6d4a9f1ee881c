"""A saved fit comes back bit by bit, and a broken file is refused by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgem as pg
from pgem.errors import DataError
from pgem.families import Family, Slot
from pgem.families._family import POSITIVE
from pgem.families._roles import RATE

RNG = np.random.default_rng(11)


class Halflife(Family):
    """A user's own family."""

    slots = (Slot("rate", RATE),)
    support = POSITIVE

    def sufficient_statistics(self, x: Any, **known: Any) -> Any:
        return (x,)

    def natural_parameters(self, **slots: Any) -> Any:
        return (-slots["rate"],)

    def log_partition(self, *eta: Any) -> Any:
        return -np.log(-eta[0])

    def from_mean(self, *mean: Any) -> Any:
        return (1 / mean[0],)

    def draw(self, generator: Any, slots: Any) -> Any:
        return generator.exponential(1 / slots["rate"])


def mixture_fit() -> tuple[pg.Fit, dict[str, Any]]:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.MvNormal(), given=z)
        pg.observed("c", pg.Categorical(), given=z)
    data = {"x": RNG.normal(size=(50, 2)), "c": RNG.choice(["red", "green"], 50)}
    return model.fit(data, max_iter=20), data


def chain_fit() -> tuple[pg.Fit, dict[str, Any]]:
    with pg.Model("chain") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Poisson(), given=s)
    data = {"y": [RNG.poisson(3, n) for n in (4, 9, 6)]}
    return model.fit(data, max_iter=20), data


def totals_fit() -> tuple[pg.Fit, dict[str, Any]]:
    with pg.Model("words") as model:
        z = pg.latent("topic", pg.Categorical(levels=["a", "b"]))
        pg.observed("w", pg.Multinomial(), given=z)
    data = {"w": RNG.poisson(2, (12, 4))}
    return model.fit(data, posterior="hard", max_iter=20), data


@pytest.mark.parametrize("make", [mixture_fit, chain_fit, totals_fit])
def test_round_trip(make: Any, tmp_path: Path) -> None:
    fit, data = make()
    path = tmp_path / "fit"
    fit.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["fit"]
    again = pg.load(path)
    for name, value in fit.params.items():
        np.testing.assert_array_equal(again.params[name], value)
        assert again.params[name].dtype == float
    np.testing.assert_array_equal(again.trace, fit.trace)
    assert again.verdict == fit.verdict
    assert again.verdict.describe() == fit.verdict.describe()
    for name in ("aic", "bic", "icl", "log_likelihood", "objective", "n_observations",
                 "n_parameters", "iterations", "levels", "sizes"):  # fmt: skip
        assert getattr(again, name) == getattr(fit, name)
    assert again.summary() == fit.summary()
    assert again.record == fit.record
    assert again.program.source == fit.program.source
    assert again.score(data) == fit.score(data)
    assert_same(again.posterior(data), fit.posterior(data))
    assert_same(again.decode(data), fit.decode(data))
    assert_same(again.predict(data), fit.predict(data))
    assert_same(again.sample(5, seed=3), fit.sample(5, seed=3))
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_text() == path.read_text()


def assert_same(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for name in one:
        if isinstance(one[name], list):
            for a, b in zip(one[name], other[name], strict=True):
                np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_array_equal(one[name], other[name])


def test_expanded_and_impute_of_a_loaded_fit(tmp_path: Path) -> None:
    with pg.Model("reduced") as model:
        pg.observed("x", pg.MvNormal(cov=pg.diagonal()))
    x = RNG.normal(size=(20, 3))
    fit = model.fit({"x": x})
    fit.save(tmp_path / "f.json")
    again = pg.load(str(tmp_path / "f.json"))
    np.testing.assert_array_equal(again.expanded("x.cov"), fit.expanded("x.cov"))
    x[0, 1] = np.nan
    np.testing.assert_array_equal(again.impute({"x": x})["x"], fit.impute({"x": x})["x"])


def test_a_family_of_ones_own_is_passed_and_never_imported(tmp_path: Path) -> None:
    with pg.Model("own") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", Halflife(), given=z)
    fit = model.fit({"x": RNG.exponential(size=50)}, max_iter=5)
    path = tmp_path / "own.json"
    fit.save(path)
    with pytest.raises(DataError, match=r"(?s)own.json.*Halflife.*families=\[Halflife\]"):
        pg.load(path)
    with pytest.raises(DataError, match="no family"):
        pg.load(path, families=["Halflife"])  # type: ignore[list-item]
    again = pg.load(path, families=[Halflife])
    assert_same(again.sample(5, seed=1), fit.sample(5, seed=1))


def broken(change: Any) -> Any:
    def write(text: str) -> str:
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return write


def put(*path: Any) -> Any:
    *outer, last, value = path

    def change(content: Any) -> None:
        for key in outer:
            content = content[key]
        content[last] = value

    return broken(change)


def drop(*path: Any) -> Any:
    *outer, last = path

    def change(content: Any) -> None:
        for key in outer:
            content = content[key]
        del content[last]

    return broken(change)


BAD = {
    "empty": lambda text: "",
    "truncated": lambda text: text[: len(text) // 2],
    "truncated late": lambda text: text[:-3],
    "text": lambda text: "hello",
    "list": lambda text: "[1, 2]",
    "null": lambda text: "null",
    "number": lambda text: "3",
    "foreign": lambda text: '{"format": "other"}',
    "deep": lambda text: "[" * 100_000,
    "older": put("version", 0),
    "newer": put("version", 99),
    "no model": drop("model"),
    "no params": drop("params"),
    "no parameter": drop("params", "x.rate"),
    "foreign parameter": put("params", "y.rate", [1.0]),
    "wrong shape": put("params", "x.rate", [1.0, 2.0, 3.0]),
    "ragged": put("params", "z.probs", [[0.5], 0.5]),
    "text for a number": put("params", "x.rate", ["a", "b"]),
    "outside": put("params", "x.rate", [-1.0, 2.0]),
    "no sum": put("params", "z.probs", [0.5, 0.6]),
    "no trace": drop("trace"),
    "trace": put("trace", ["x"]),
    "verdict": put("verdict", "status", "splendid"),
    "criteria": put("criteria", "icl", None),
    "data": put("data", 3),
    "units": put("data", "n_units", -4),
    "schema": put("schema", "sizes", {"z": "2; import os"}),
    "schema list": put("schema", []),
    "name": put("model", "nodes", 0, "name", "z'; import os"),
    "family": put("model", "nodes", 0, "components", 0, "family", "os.system"),
    "gate": put("model", "nodes", 1, "components", 0, "slots", "rate", "gates", 0, "name", "w"),
    "record": put("model", "nodes", []),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_broken_files(name: str, tmp_path: Path) -> None:
    with pg.Model("small") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Poisson(), given=z)
    path = tmp_path / "fit.json"
    model.fit({"x": [1, 2, 30, 40]}, max_iter=5).save(path)
    pg.load(path)
    path.write_text(BAD[name](path.read_text()))
    with pytest.raises(DataError, match=r"fit\.json"):
        pg.load(path)


def test_no_file_binary_file_and_pickle(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)nowhere.*cannot be read"):
        pg.load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="cannot be read"):
        pg.load(tmp_path)
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    (tmp_path / "pickle").write_bytes(pickle.dumps({"format": "pgem fit"}))
    for name in ("bytes", "pickle"):
        with pytest.raises(DataError, match="no JSON"):
            pg.load(tmp_path / name)
    with pytest.raises(DataError, match="cannot be written"):
        mixture_fit()[0].save(tmp_path / "no" / "such" / "folder")
