"""Days absent from school: a negative binomial with a free size, as a Gamma–Poisson mixture.

In a year, 146 children of a school in New South Wales were absent on between 0 and 81 days
(S. Quine, in Aitkin 1978).  The variance is sixteen times the mean, so one rate for all children
cannot be: a Poisson has the log-likelihood -1331.  Here every child has a rate of its own, drawn
from a Gamma, which is integrated out: a negative binomial whose size is `rate.shape`, 1.07.

`fit.posterior(data())["rate"]` gives each child's own rate: the days it was absent, pulled towards
the school's mean.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "quine.csv"

with pg.Model("quine") as model:
    rate = pg.latent("rate", pg.Gamma())
    days = pg.observed("days", pg.Poisson(rate=rate))

options = {"tol": 1e-12, "max_iter": 2000}
known = {
    "log_likelihood": -559.13348,
    "tolerance": 1e-4,
    "params": {"rate.shape": 1.06678, "rate.rate": 0.06482},
    "source": "direct maximisation of the negative binomial density (BFGS)",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """The number of days of every child."""
    return {"days": np.loadtxt(path, skiprows=1)}


if __name__ == "__main__":
    fit = model.fit(data(), **options)
    print(fit.summary())
