"""The leading crowd: two latent variables that hang together.

3398 schoolboys were asked twice, half a year apart, whether they belong to the leading crowd of
their school, and whether one must sometimes go against one's principles to belong to it (Coleman
1964).  The answers waver.  Goodman (1974) reads the sixteen patterns as two latent variables, being
a `member` and one's `view` of it, each asked for twice with error: who belongs thinks better of it.
Membership and view are associated, but given the two the four answers are independent.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "leading_crowd.csv"

with pg.Model("leading_crowd") as model:
    member = pg.latent("member", pg.Bernoulli())
    view = pg.latent("view", pg.Bernoulli(), given=member)
    with pg.plate("interview", size=2) as interview:
        membership = pg.observed("membership", pg.Bernoulli(), given=[member, interview])
        attitude = pg.observed("attitude", pg.Bernoulli(), given=[view, interview])

options = {"tol": 1e-12, "max_iter": 5000}
known = {
    "log_likelihood": -8494.67428,
    "tolerance": 1e-4,
    "answers": {"G2": 1.26988},
    "source": "Goodman (1974): G² = 1.27 with 4 degrees of freedom; "
    "direct maximisation of the multinomial likelihood agrees",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """The sixteen patterns, 1 = member or favourable (+ in the file), two arrays [16, 2]."""
    return {
        name: np.array([[int(row[f"{name}_{k}"] == "+") for k in "12"] for row in _rows(path)])
        for name in ("membership", "attitude")
    }


def weights(path: Path | str = DEFAULT) -> np.ndarray:
    """Number of boys with each pattern, [16]."""
    return np.array([int(row["count"]) for row in _rows(path)])


def answers(fit: pg.Fit) -> dict[str, float]:
    """Likelihood-ratio statistic against the free table."""
    counts = weights()
    free = float(np.sum(counts * np.log(counts / counts.sum())))
    return {"G2": 2 * (free - fit.log_likelihood)}


def _rows(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    fit = model.fit(data(), weights=weights(), **options)
    print(fit.summary())
    print(answers(fit))
