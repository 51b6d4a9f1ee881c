"""Titanic: a classifier is a model with its question left open.

How the 2201 people on board travelled, their sex, age group and fate (Dawson 1995).  Naive Bayes
takes the three as independent given the fate.  The fate is declared latent and given in the data,
so that nothing is hidden while the model learns and EM is done at once; to classify, leave it out
and ask for its posterior.  A Dirichlet(2) prior on each table adds one to each count, so that what
was never seen with a fate does not rule the fate out: Laplace's rule, a posterior mode.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "titanic.csv"
LEVELS = {
    "travelled": ["1st", "2nd", "3rd", "crew"],
    "sex": ["female", "male"],
    "age": ["adult", "child"],
}

with pg.Model("titanic") as model:
    survived = pg.latent("survived", pg.Categorical(size=2, levels=["no", "yes"]))
    for name, levels in LEVELS.items():
        smoothed = pg.param(prior=pg.Dirichlet(2.0))
        pg.observed(name, pg.Categorical(smoothed, size=len(levels), levels=levels), given=survived)

known = {
    "log_likelihood": -5455.90543,
    "tolerance": 1e-4,
    "params": {"survived.probs": [0.67697, 0.32303]},
    "answers": {"right": 1713},
    "source": "the counts, with one added to each; without them as many are guessed right",
}


def data(path: Path | str = DEFAULT) -> dict[str, list[str]]:
    """The kinds of people that there were, as labels, four lists of 24."""
    return {name: [row[name] for row in _rows(path)] for name in ("survived", *LEVELS)}


def weights(path: Path | str = DEFAULT) -> np.ndarray:
    """Number of people of each kind, [24]."""
    return np.array([int(row["count"]) for row in _rows(path)])


def answers(fit: pg.Fit) -> dict[str, float]:
    """Number of people whose fate the model guesses right from the rest."""
    rest = {name: values for name, values in data().items() if name != "survived"}
    right = np.array(fit.predict(rest)["survived"]) == np.array(data()["survived"])
    return {"right": float(weights() @ right)}


def _rows(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    fit = model.fit(data(), weights=weights())
    print(fit.summary())
    print(answers(fit))
