"""Coal: one change, and nobody knows when.

Explosions in British coal mines with ten or more deaths, 1851–1962, by year (Jarrett 1979; Carlin,
Gelfand & Smith 1992): about three a year in the beginning, less than one in the end.  The latent
`era` starts in the first and may change once: the way back is a structural zero of the transition
table, which EM keeps and does not count.  The posterior of the era tells when things became better;
decoded jointly, the last year of the old era is 1891, which is also the split that maximises the
likelihood of two Poisson distributions, 3.1 and 0.9 a year.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "coal.csv"

with pg.Model("coal") as model, pg.sequence("year"):
    moves = pg.param(zeros=[[False, False], [True, False]])
    start = pg.Categorical([1.0, 0.0])
    era = pg.latent("era", pg.Categorical(moves, size=2), after="era", first=start)
    disasters = pg.observed("disasters", pg.Poisson(), given=era)

options = {"restarts": 5, "seed": 0, "tol": 1e-11, "max_iter": 2000}
known = {
    "log_likelihood": -172.18131,
    "tolerance": 1e-4,
    "params": {"disasters.rate": [0.92485, 3.12322]},
    "answers": {"last_year": 1891},
    "source": "the sum over all years of change, maximised directly; the best single change is "
    "after 1891 as well",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """One sequence of counts, [112]."""
    with Path(path).open(newline="") as file:
        return {"disasters": np.array([int(row["disasters"]) for row in csv.DictReader(file)])}


def answers(fit: pg.Fit) -> dict[str, float]:
    """The last year of the first era."""
    return {"last_year": 1850 + float(np.sum(fit.decode(data())["era"] == 0))}


if __name__ == "__main__":
    fit = model.fit(data(), **options)
    print(fit.summary())
    print(answers(fit))
