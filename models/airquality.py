"""New York air in the summer of 1973: a multivariate normal with holes.

Daily ozone, solar radiation, wind and temperature from May to September (Chambers, Cleveland,
Kleiner and Tukey 1983).  On 42 of the 153 days ozone or radiation was not recorded.  Leaving those
days out would throw away the wind and temperature that were; here every missing coordinate is
integrated out given the coordinates of its day, which is one of the examples of Dempster, Laird and
Rubin (1977).  There is no latent node at all: what is missing is what is hidden.

`fit.impute(data())` fills the holes with their conditional means.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "airquality.csv"

with pg.Model("airquality") as model:
    day = pg.observed("day", pg.MvNormal())

columns = {"day": ["ozone", "solar", "wind", "temp"]}
options = {"tol": 1e-10}
known = {
    "log_likelihood": -2326.6974,
    "tolerance": 1e-3,
    "source": "direct maximisation of the density of the recorded coordinates (BFGS)",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """The recorded values, NaN where there is none."""
    with Path(path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [[row[name] or "nan" for name in columns["day"]] for row in rows]
    return {"day": np.array(cells, dtype=float)}


if __name__ == "__main__":
    print(model.fit(data(), **options).summary())
