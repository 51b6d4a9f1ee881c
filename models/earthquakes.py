"""Earthquakes: a world that is calm, average or restless.

Yearly numbers of earthquakes of magnitude 7 or more, 1900–2006, are more dispersed than Poisson
counts and alike in neighbouring years.  The latent `state` of the world is a Markov chain with a
free first distribution; given the state, a year's count is Poisson with the state's rate.
107 years, Zucchini & MacDonald (2009).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "earthquakes.csv"

with pg.Model("earthquakes") as model, pg.sequence("year"):
    state = pg.latent("state", pg.Categorical(size=3), after="state")
    quakes = pg.observed("quakes", pg.Poisson(), given=state)

options = {"restarts": 5, "seed": 0}
known = {
    "log_likelihood": -328.5275,
    "tolerance": 1e-3,
    "source": "Zucchini & MacDonald (2009), three states, free first step; hmmlearn agrees",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """One sequence of counts, [107]."""
    with Path(path).open(newline="") as file:
        return {"quakes": np.array([int(row["quakes"]) for row in csv.DictReader(file)])}


if __name__ == "__main__":
    print(model.fit(data(), **options).summary())
