"""Dyestuff: how much of the scatter is the batch, and how much the measurement.

Six batches of an intermediate product, five preparations of dye from each (Davies & Goldsmith
1972).  The quality of a batch is a Normal latent, its preparations scatter around it: random
intercepts, the smallest linear mixed model.  Maximum likelihood finds variances 1388.3 between and
2451.25 within batches, as lme4 does.  The qualities that the posterior gives are pulled towards the
mean of all batches, by a factor that the two variances settle.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "dyestuff.csv"

with pg.Model("dyestuff") as model:
    quality = pg.latent("quality", pg.Normal())
    with pg.plate("preparation"):
        pg.observed("grams", pg.Normal(mean=quality))

options = {"tol": 1e-14, "max_iter": 5000}
known = {
    "log_likelihood": -163.66353,
    "tolerance": 1e-4,
    "answers": {
        "mean": 1527.5,
        "error_of_mean": 17.69455,
        "var_between": 1388.3333,
        "var_within": 2451.25,
        "worst": 1485.00566,
        "best": 1581.07982,
    },
    "source": "Bates, Mächler, Bolker & Walker (2015), lme4, by maximum likelihood: standard "
    "deviations 37.26 and 49.51",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """Yields by batch and preparation, grams of standard colour, [6, 5]."""
    with Path(path).open(newline="") as file:
        return {"grams": np.array([float(r["yield"]) for r in csv.DictReader(file)]).reshape(6, 5)}


def answers(fit: pg.Fit) -> dict[str, float]:
    """The mean, its standard error, the variances, and the qualities of two batches."""
    batches = fit.posterior(data())["quality"]
    return {
        "mean": float(fit.params["quality.mean"]),
        "error_of_mean": float(fit.standard_errors()["quality.mean"]),
        "var_between": float(fit.params["quality.var"]),
        "var_within": float(fit.params["grams.var"]),
        "worst": float(batches.mean.min()),
        "best": float(batches.mean.max()),
    }


if __name__ == "__main__":
    fit = model.fit(data(), **options)
    print(fit.summary())
    print(answers(fit))
