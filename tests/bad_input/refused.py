"""The form of the tables: one line per case, and how a case is checked."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import pgem as pg


class Case(NamedTuple):
    """Code that must be refused.

    Attributes:
        name: what is wrong.
        code: run with `np`, `pg`, `nan` and the models of the table's file.
        error: its class.
        words: all of them stand in the message.
    """

    name: str
    code: str
    error: type[pg.PgemError]
    words: tuple[str, ...]


def cases(*table: tuple[Any, ...]) -> Any:
    """The decorator that runs a test once per line."""
    listed = [Case(name, code, error, words) for name, code, error, *words in table]
    return pytest.mark.parametrize("case", listed, ids=[case.name for case in listed])


def check(case: Case, **names: Any) -> None:
    """The code raises that error, with these words, and nothing shows from below."""
    with pytest.raises(pg.PgemError) as caught:
        exec(case.code, {"np": np, "pg": pg, "nan": float("nan"), "inf": float("inf"), **names})
    error, text = caught.value, str(caught.value)
    assert type(error) is case.error, text
    for word in case.words:
        assert word in text, text
    assert error.__cause__ is None, text
    assert error.__context__ is None or error.__suppress_context__, repr(error.__context__)
