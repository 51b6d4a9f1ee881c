"""Death notices: a mixture that EM is slow on.

The number of death notices of women over 80 in *The Times* on each of 1096 days, 1910–1912, is
too dispersed for one Poisson distribution; two fit well (Hasselblad 1969), and the usual reading
is two seasons.  The latent `season` is the component of a day.  The components overlap so much
that EM needs some two thousand iterations for full accuracy: a good test of slow convergence.  The
data are a frequency table: counts 0–9, days as weights.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "death_notices.csv"

with pg.Model("death_notices") as model:
    season = pg.latent("season", pg.Categorical(size=2))
    deaths = pg.observed("deaths", pg.Poisson(), given=season)

options = {"max_iter": 20_000, "tol": 1e-12, "seed": 0}
known = {
    "log_likelihood": -1989.946,
    "tolerance": 1e-3,
    "params": {"season.probs": [0.360, 0.640], "deaths.rate": [1.256, 2.663]},
    "source": "Hasselblad (1969); verified by direct maximisation of the likelihood",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """Numbers of notices, [10]."""
    return {"deaths": np.array([int(row["deaths"]) for row in _rows(path)])}


def weights(path: Path | str = DEFAULT) -> np.ndarray:
    """Number of days with each count, [10]."""
    return np.array([int(row["days"]) for row in _rows(path)])


def _rows(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    print(model.fit(data(), weights=weights(), **options).summary())
