"""Federal funds: an autoregression that changes its mind.

The rate at which American banks lend to each other, by quarter, 1954–2010.  The next rate is a line
through the last one, and a hidden chain of two states picks the line: in one state rates drift
down to a level, in the other they explode.  The first quarter is not modelled: an observed node
that looks back is conditioned on its first value.

It is the example of the command `mswitch` in the manual of Stata: the first state has the
stationary distribution of the chain, which has no parameter of its own, so that the M-step of the
transitions is a numerical one.  Log-likelihood and standard errors agree in the digits that Stata
prints.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "fedfunds.csv"

with pg.Model("fedfunds") as model, pg.sequence("quarter"):
    mood = pg.latent("mood", pg.Categorical(size=2), after="mood", first="stationary")
    line = pg.param("slope")[mood] * pg.prev("rate") + pg.param("intercept")[mood]
    pg.observed("rate", pg.Normal(mean=line, var=pg.param("var")))

options = {"restarts": 3, "seed": 0, "tol": 1e-11, "max_iter": 5000}
known = {
    "log_likelihood": -264.71069,
    "tolerance": 1e-4,
    "params": {
        "mood.probs": [[0.63782, 0.36218], [0.13063, 0.86937]],
        "slope": [0.76314, 1.06117],
        "intercept": [0.72446, -0.09888],
    },
    "answers": {"error_of_drift": 0.03372, "error_of_explosion": 0.0185},
    "source": "StataCorp, Time-Series Reference Manual, mswitch",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """One sequence of rates, per cent, [226]."""
    with Path(path).open(newline="") as file:
        return {"rate": np.array([float(row["rate"]) for row in csv.DictReader(file)])}


def answers(fit: pg.Fit) -> dict[str, float]:
    """Standard errors of the slopes."""
    errors = fit.standard_errors()["slope"]
    drift, explosion = errors[np.argsort(fit.params["slope"])]
    return {"error_of_drift": float(drift), "error_of_explosion": float(explosion)}


if __name__ == "__main__":
    fit = model.fit(data(), **options)
    print(fit.summary())
    print(answers(fit))
