"""Federal funds: an autoregression that changes its mind.

The rate at which American banks lend to each other, by quarter, 1954–2010.  The next rate is a line
through the last one, and a hidden chain of two states picks the line: in one state rates drift
down to a level, in the other they explode.  The first quarter is not modelled: an observed node
that looks back is conditioned on its first value.

It is the example of the command `mswitch` in the manual of Stata, with one difference: Stata takes
the stationary distribution of the chain for its first state, here it is free.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "fedfunds.csv"

with pg.Model("fedfunds") as model, pg.sequence("quarter"):
    mood = pg.latent("mood", pg.Categorical(size=2), after="mood")
    line = pg.param("slope")[mood] * pg.prev("rate") + pg.param("intercept")[mood]
    pg.observed("rate", pg.Normal(mean=line, var=pg.param("var")))

options = {"restarts": 3, "seed": 0, "tol": 1e-11, "max_iter": 5000}
known = {
    "log_likelihood": -264.0,
    "tolerance": 1e-4,
    "params": {},
    "source": "Stata, manual of mswitch: -264.71069 with a stationary first state",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """One sequence of rates, per cent, [226]."""
    with Path(path).open(newline="") as file:
        return {"rate": np.array([float(row["rate"]) for row in csv.DictReader(file)])}


if __name__ == "__main__":
    fit = model.fit(data(), **options)
    print(fit.summary())
    print(fit.params["mood.probs"], fit.params["slope"], fit.params["intercept"])
