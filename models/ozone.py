"""Ozone: a regression whose regressor has holes.

The days of New York once more.  Ozone is a line in sunshine, wind and temperature; on seven days
nobody measured the sun.  Throwing these days away loses what was measured on them, and most of them
have an ozone value.  So the sun gets a regression of its own, and where it is missing it is latent:
the E-step gives its mean and variance from ozone and weather, the M-step uses both.  Days without
ozone still tell how sun and weather hang together.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "airquality.csv"

with pg.Model("ozone") as model:
    weather = pg.covariate("weather")
    sun = pg.observed("sun", pg.Normal(mean=pg.param("a") @ weather))
    line = pg.param("of_sun") * sun + pg.param("b") @ weather
    pg.observed("ozone", pg.Normal(mean=line))

options = {"tol": 1e-12, "max_iter": 5000}
known = {
    "log_likelihood": -168.39751,
    "tolerance": 1e-4,
    "params": {
        "of_sun": 0.06095,
        "a": [-0.78905, 0.23858, 3.08151],
        "b": [-0.67753, -0.31126, 1.66086],
    },
    "source": "the likelihood with the sun integrated out, maximised directly",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """Weather (one, wind in 10 mph, temperature in 100 °F), sun (100 Langley), ozone (100 ppb)."""
    with Path(path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {k: np.array([float(row[k] or "nan") for row in rows]) for k in rows[0]}
    weather = [np.ones(len(rows)), columns["wind"] / 10, columns["temp"] / 100]
    return {
        "weather": np.column_stack(weather),
        "sun": columns["solar"] / 100,
        "ozone": columns["ozone"] / 100,
    }


if __name__ == "__main__":
    fit = model.fit(data(), **options)
    print(fit.summary())
    print(fit.impute(data())["sun"][np.isnan(data()["sun"])])
