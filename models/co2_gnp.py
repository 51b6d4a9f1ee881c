"""CO₂ and wealth: two lines through one cloud of countries.

Gross national product and emissions of carbon dioxide a head, 28 countries, 1996 (Hurn, Justel &
Robert 2003).  One line says that rich countries pollute a little more.  Two lines say something
else: in three countries of four emissions do not depend on wealth, in the others they grow with it.
The latent `way` picks slope, intercept and variance of the regression; wealth is a covariate, so
nothing is said about how it is distributed.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "co2_gnp.csv"

with pg.Model("co2_gnp") as model:
    way = pg.latent("way", pg.Categorical(size=2))
    gnp = pg.covariate("gnp")
    line = pg.param("slope")[way] * gnp + pg.param("intercept")[way]
    pg.observed("co2", pg.Normal(mean=line, var=pg.param("var")[way]))

options = {"restarts": 20, "seed": 0, "tol": 1e-12, "max_iter": 5000}
known = {
    "log_likelihood": -66.93977,
    "tolerance": 1e-4,
    "params": {
        "way.probs": [0.75492, 0.24508],
        "slope": [-0.02334, 0.6766],
        "intercept": [8.67897, 1.41514],
        "var": [4.1997, 0.65511],
    },
    "source": "Hurn, Justel & Robert (2003); the R package mixtools finds the same maximum. "
    "Likelihoods of such mixtures are unbounded, this is the largest sound one",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """Product (1000 dollars) and emissions (tons) a head, [28] each."""
    with Path(path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in ("gnp", "co2")}


if __name__ == "__main__":
    fit = model.fit(data(), **options)
    print(fit.summary())
    print(fit.params["way.probs"], fit.params["slope"], fit.params["intercept"])
