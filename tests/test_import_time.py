"""`import pgem` loads nothing heavy: those imports wait until they are needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["scipy", "numba", "networkx", "pydantic", "pandas", "polars", "matplotlib", "narwhals"]
SMALL_FIT = """
with pg.Model("m") as m:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.Normal(), given=z)
m.fit({"x": [0.0, 0.1, 0.2, 5.0, 5.1, 5.2]}, max_iter=3)
"""


def loaded(code: str) -> set[str]:
    """Top-level modules after running the code in a fresh interpreter."""
    show = f"import pgem as pg\n{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("code", ["", SMALL_FIT], ids=["import", "a small fit"])
def test_nothing_heavy_is_imported(code: str) -> None:
    assert not loaded(code) & set(HEAVY)


def test_templates_and_testing_wait() -> None:
    show = "import pgem, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    lazy = ("pgem.templates", "pgem.testing", "pgem.bridges")
    assert not [name for name in done.stdout.split() if name.startswith(lazy)]
