"""Fitness: one factor behind two views of the same men.

Twenty men of a fitness club, three measurements of their bodies, three of their exercises (data of
A. C. Linnerud).  One factor lies behind both views; what is left of each view has a covariance of
its own, free inside the view and none across.  The maximum is canonical correlation analysis (Bach
& Jordan 2005): the two posterior means of the factor, each from one view alone, correlate at the
first canonical correlation, 0.7956.

To see the factor through one view, leave the other out of the data: a missing key is a missing
node.  The likelihood settles only the product of the two loadings, so that neither has a
standard error of its own.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "fitness.csv"
BODY, EXERCISE = ("weight", "waist", "pulse"), ("chins", "situps", "jumps")

with pg.Model("fitness") as model:
    factor = pg.latent("factor", pg.Normal(0.0, 1.0))
    pg.observed("body", pg.MvNormal(mean=pg.param("a") @ factor + pg.param("m"), cov=pg.param("A")))
    pg.observed(
        "exercise", pg.MvNormal(mean=pg.param("b") @ factor + pg.param("n"), cov=pg.param("B"))
    )

options = {"tol": 1e-11, "max_iter": 5000}
known = {
    "log_likelihood": -450.61552,
    "tolerance": 1e-4,
    "params": {},
    "answers": {"correlation": 0.79561},
    "source": "the closed form of canonical correlation analysis; 0.7956 is the first canonical "
    "correlation in the manual of SAS for these data",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """Body and exercises, [20, 3] each."""
    with Path(path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    views = {"body": BODY, "exercise": EXERCISE}
    return {
        v: np.array([[float(row[k]) for k in keys] for row in rows]) for v, keys in views.items()
    }


def answers(fit: pg.Fit) -> dict[str, float]:
    """Correlation of the factor seen through the body with the factor seen through exercises."""
    views = [fit.predict({name: values})["factor"] for name, values in data().items()]
    return {"correlation": float(np.corrcoef(*views)[0, 1])}


if __name__ == "__main__":
    fit = model.fit(data(), **options)
    print(fit.summary())
    print(answers(fit))
