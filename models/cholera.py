"""Cholera: an EM from 1926.

An epidemic in a village in India: in 168 of 223 households nobody fell ill, in 32 one person, in
the worst one four.  These are too many zeros for a Poisson distribution, and McKendrick (1926) took
most of them for households that were never exposed; Irwin (1963) improved his estimate by
iteration, which Meng (1997) recognised as EM.  McKendrick is the earliest reference of the paper
that gave EM its name.  The latent `exposed` switches between a certain zero and a Poisson count.

About 88 households were exposed, and more than a third of them saw no case.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "cholera.csv"

with pg.Model("cholera") as model:
    exposed = pg.latent("exposed", pg.Bernoulli())
    cases = pg.observed("cases", pg.switch(exposed, pg.Dirac(0), pg.Poisson()))

options = {"tol": 1e-12, "max_iter": 5000}
known = {
    "log_likelihood": -179.34771,
    "tolerance": 1e-4,
    "params": {"cases.1.rate": 0.97218},
    "answers": {"exposed": 88.461},
    "source": "the maximum of the zero-truncated Poisson distribution, rate / (1 - exp(-rate)) = "
    "86 / 55 cases for each household with any; all zeros are then fitted exactly",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """Numbers of cases in a household, [5]."""
    return {"cases": np.array([int(row["cases"]) for row in _rows(path)])}


def weights(path: Path | str = DEFAULT) -> np.ndarray:
    """Number of households with each number, [5]."""
    return np.array([int(row["households"]) for row in _rows(path)])


def answers(fit: pg.Fit) -> dict[str, float]:
    """Number of exposed households."""
    return {"exposed": float(fit.params["exposed.prob"] * weights().sum())}


def _rows(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    fit = model.fit(data(), weights=weights(), **options)
    print(fit.summary())
    print(answers(fit))
