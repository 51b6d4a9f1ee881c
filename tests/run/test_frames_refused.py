"""Tables that must be refused, naming column, node and what to do."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
from frame_models import KEYS, NAMES, Table, chain, items_table, mixture, nested

import pgem as pg

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
    table = pytest.importorskip("pandas").DataFrame({"Kind": ["a", "b"], "x": [1.0, 2.0]})
    with pytest.raises(pg.DataError, match=r"'kind' has no data(.|\n)*did you mean 'Kind'"):
        mixture().fit(table)


def test_something_else_is_no_frame() -> None:
    pytest.importorskip("narwhals")
    with pytest.raises(pg.DataError, match=r"no data frame(.|\n)*'int'"):
        mixture().fit(pg.Data(3))


def test_without_narwhals_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pytest.importorskip("pandas").DataFrame({"y": [0.1, 0.2, 0.3]})
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
