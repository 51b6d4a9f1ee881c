"""The Nile: a level that wanders, and how far each year is to be believed.

The yearly flow at Aswan, 1871–1970 (Durbin & Koopman 2001): a level that takes a step every year,
and a year around it.  The first level is as good as unknown: its variance is 10¹⁰.  The variances
of a year and of a step come out as 15098.5 and 1469.2; the book prints 15099 and 1469.1.

Then someone loses the book-keeping of 1891–1910 and 1931–1950.  These years are `NaN`, the model
stays as it is, the level is interpolated, and its variance in the middle of a gap is four times
that in the whole series.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "nile.csv"

with pg.Model("nile") as model, pg.sequence("year"):
    level = pg.latent("level", pg.Normal(mean=pg.prev("level")), first=pg.Normal(0.0, 1e10))
    pg.observed("flow", pg.Normal(mean=level))

options = {"tol": 1e-13, "max_iter": 5000}
known = {
    "log_likelihood": -644.97755,
    "tolerance": 1e-3,
    "answers": {
        "var_of_flow": 15.0985,
        "var_of_step": 1.4692,
        "level_1900": 9.1949,
        "var_1900": 2.3268,
        "level_1900_in_gap": 9.0342,
        "var_1900_in_gap": 9.7156,
    },
    "source": "Durbin & Koopman (2001); without the first year, as they count it, the "
    "log-likelihood is -632.5456",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """One sequence of flows, [100]."""
    with Path(path).open(newline="") as file:
        return {"flow": np.array([float(row["flow"]) for row in csv.DictReader(file)])}


def gaps() -> dict[str, np.ndarray]:
    """The flows without the years 1891–1910 and 1931–1950."""
    flow = data()["flow"]
    flow[20:40] = flow[60:80] = np.nan
    return {"flow": flow}


def answers(fit: pg.Fit) -> dict[str, float]:
    """The two variances and the level of 1900 with its variance, in thousands and hundreds."""
    whole, holed = fit.posterior(data())["level"], fit.posterior(gaps())["level"]
    return {
        "var_of_flow": float(fit.params["flow.var"]) / 1000,
        "var_of_step": float(fit.params["level.var"]) / 1000,
        "level_1900": float(whole.mean[29]) / 100,
        "var_1900": float(whole.cov[29]) / 1000,
        "level_1900_in_gap": float(holed.mean[29]) / 100,
        "var_1900_in_gap": float(holed.cov[29]) / 1000,
    }


if __name__ == "__main__":
    fit = model.fit(data(), **options)
    print(fit.summary())
    print(answers(fit))
