"""Cervical cancer: a risk factor that was measured well in few and badly in all.

Is infection with herpes simplex virus a risk factor of cervical cancer?  All 2044 women of a
case-control study had a western blot that errs in both directions; in 115 of them a refined assay
told the truth (Carroll, Gail & Lubin 1993).  The latent `infected` is given where it was measured
and summed out elsewhere, so that the few teach how the blot errs and the many count.  The blot may
err differently in women with cancer: it is gated by both.

The answer is the log odds ratio of cancer by infection, 0.608 with a standard error of 0.350.  The
naive one of the blot would be 0.453, and seem nearly four times as certain.  (Later another virus
turned out to be the cause.)
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "cervical_cancer.csv"

with pg.Model("cervical_cancer") as model:
    infected = pg.latent("infected", pg.Bernoulli())
    cancer = pg.observed("cancer", pg.Bernoulli(), given=infected)
    blot = pg.observed("blot", pg.Bernoulli(), given=[infected, cancer])

options = {"tol": 1e-12, "max_iter": 5000}
known = {
    "log_likelihood": -2802.62675,
    "tolerance": 1e-4,
    "answers": {"log_odds_ratio": 0.60808, "standard_error": 0.35034},
    "source": "closed form: P(infected | cancer, blot) of the 115 women times P(cancer, blot) of "
    "all; OpenBUGS prints a posterior median of 0.610 for its example Cervix",
}


def data(path: Path | str = DEFAULT) -> dict[str, list[int | None]]:
    """The twelve rows of the table, 1 = yes; infection is None where it was not measured."""
    names = ("infected", "cancer", "blot")
    return {n: [int(row[n]) if row[n] else None for row in _rows(path)] for n in names}


def weights(path: Path | str = DEFAULT) -> np.ndarray:
    """Number of women in each row, [12]."""
    return np.array([int(row["count"]) for row in _rows(path)])


def log_odds_ratio(params: dict[str, np.ndarray]) -> float:
    """Log odds ratio of cancer, infected against not infected."""
    without, with_it = np.log(params["cancer.prob"] / (1 - params["cancer.prob"]))
    return float(with_it - without)


def answers(fit: pg.Fit) -> dict[str, float]:
    """The log odds ratio and its standard error."""
    error = float(fit.standard_errors(of=log_odds_ratio))
    return {"log_odds_ratio": log_odds_ratio(fit.params), "standard_error": error}


def _rows(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    fit = model.fit(data(), weights=weights(), **options)
    print(fit.summary())
    print(answers(fit))
