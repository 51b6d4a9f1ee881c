"""Listings and derivations, word for word; `pytest --update-golden` writes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from golden_models import MODELS

FOLDER = Path(__file__).parent


def compare(path: Path, text: str, config: pytest.Config) -> None:
    """Compare with a file, or write it."""
    if config.getoption("--update-golden"):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is not there; run pytest --update-golden"
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MODELS)
def test_listing(name: str, pytestconfig: pytest.Config) -> None:
    compare(FOLDER / f"{name}.listing", MODELS[name]().compile().source, pytestconfig)


@pytest.mark.parametrize("name", MODELS)
def test_derivation(name: str, pytestconfig: pytest.Config) -> None:
    compare(FOLDER / f"{name}.txt", MODELS[name]().compile().explain(), pytestconfig)


def test_markdown(pytestconfig: pytest.Config) -> None:
    text = MODELS["hmm"]().compile().explain("markdown")
    compare(FOLDER / "hmm.md", text, pytestconfig)
