"""Checks that many tests make of a model with data: scripts repeat fits, slopes of Q are scores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pgem as pg
from pgem.routines import expected_log_density
from pgem.run import sum_statistics

Floats = NDArray[np.float64]
RUN = "import runpy; runpy.run_path('script.py', run_name='__main__')"


def script_repeats(model: pg.Model, data: Any, folder: Path, **options: Any) -> None:
    """A script of the model ends where its fit ends, without pgem."""
    settings = {"max_iter": 6, "tol": 0, **options}
    fit = model.fit(data, **settings)
    model.compile(data).to_script(data, path=folder / "script.py", **settings)
    command = [sys.executable, "-I", "-c", RUN]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert f"{fit.log_likelihood:.6f}" in done.stdout


def slopes_agree(model: pg.Model, data: Any, values: dict[str, Any]) -> None:
    """Fisher's identity: the slope of Q at its own parameters is that of the log-likelihood."""
    program = model.compile(data)
    params = {name: np.asarray(value, dtype=float) for name, value in values.items()}
    _, stats = sum_statistics(program.bind(data), params)
    keys = [key for key, reads in program.reads.items() if reads]

    def q(at: dict[str, Floats]) -> float:
        return expected_log_density(stats, keys, at, program.reads)

    def total(at: dict[str, Floats]) -> float:
        return float(model.log_likelihood(data, at).sum())

    step = 1e-5
    for name, layout in program.params.items():
        free = layout.role.to_free(params[name])
        for place in np.ndindex(free.shape):
            shift = np.zeros(free.shape)
            shift[place] = step
            ends = [params | {name: layout.role.from_free(free + s * shift)} for s in (1, -1)]
            found, wanted = ((f(ends[0]) - f(ends[1])) / (2 * step) for f in (q, total))
            assert found == pytest.approx(wanted, rel=1e-5, abs=1e-5), f"{name}{place}"
