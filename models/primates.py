"""Primates: how body and life grew along the tree of the species.

Man, orang-utan, macaque, spider monkey and bush baby by the logarithms of their mass in kilograms
and their greatest age in years (Lynch 1991).  Relatives are alike, so five species are no five
observations: mass and age drift along the branches of their tree as in Brownian motion, with a
covariance that grows with the length of a branch.  The ancestors are members of the tree whose
values nobody has seen; what both were at its root is a parameter.

The covariance per unit of length is the sum of products of the independent contrasts of Felsenstein
(1985) over the number of species, and its slope, 0.43 log years per log kilogram, their regression
through the origin.
`fit.impute(data())` tells what the ancestors were like.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "primates.csv"

with pg.Model("primates") as model, pg.tree("kin"):
    drift = pg.param("rate") * pg.covariate("length")
    start = pg.MvNormal(mean=pg.param("root"), cov=drift)
    pg.observed("size", pg.MvNormal(mean=pg.prev("size"), cov=drift), first=start)

options = {"tol": 1e-14, "max_iter": 20000}
known = {
    "log_likelihood": -14.88508,
    "tolerance": 1e-5,
    "params": {"root": [1.18372, 3.01136]},
    "answers": {"mass_rate": 3.15384, "slope": 0.43193, "hominid": 33.221},
    "source": "generalised least squares on the five species; the root is that of independent "
    "contrasts, 1.183724613 and 3.011356599 in the tests of DendroPy",
}


def data(path: Path | str = DEFAULT) -> dict[str, Any]:
    """One tree: mass and age [members, 2], lengths of the branches, parents by index."""
    with Path(path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [row["name"] for row in rows]
    size = [[float(row[key] or "nan") for key in ("body", "longevity")] for row in rows]
    return {
        "size": np.array([size]),
        "length": np.array([[float(row["length"]) for row in rows]]),
        "kin.parent": [[names.index(row["parent"]) if row["parent"] else -1 for row in rows]],
    }


def answers(fit: pg.Fit) -> dict[str, float]:
    """Drift of mass, log years per log kilogram, and the mass (kg) of the hominids' ancestor."""
    rate, ancestors = fit.params["rate"], fit.impute(data())["size"]
    return {
        "mass_rate": float(rate[0, 0]),
        "slope": float(rate[0, 1] / rate[0, 0]),
        "hominid": float(np.exp(ancestors[0][5, 0])),
    }


if __name__ == "__main__":
    fit = model.fit(data(), **options)
    print(fit.summary())
    print(answers(fit))
