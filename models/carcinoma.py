"""Carcinoma: what seven pathologists agree on.

Seven pathologists rated the same 118 slides for carcinoma of the uterine cervix.  The latent
class is the kind of slide: clearly without carcinoma, clearly with, and one on which the
pathologists split systematically; given the class they rate independently, each with a probability
of his own of saying yes.  The data are the 20 patterns that occur, with the number of slides as
weights.  Landis & Koch (1977), Agresti (2002).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "carcinoma.csv"
PATHOLOGISTS = "ABCDEFG"

with pg.Model("carcinoma") as model:
    kind = pg.latent("kind", pg.Categorical(size=3))
    with pg.plate("pathologist", size=len(PATHOLOGISTS)) as pathologist:
        rating = pg.observed("rating", pg.Bernoulli(), given=[kind, pathologist])

options = {"restarts": 10, "seed": 0}
known = {
    "log_likelihood": -293.705,
    "tolerance": 1e-3,
    "source": "G² = 15.26 against the saturated table of the 118 slides (-286.074 - 15.26 / 2)",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """Patterns of ratings, [20, 7], 1 = carcinoma (2 in the file)."""
    rows = [[int(row[name]) - 1 for name in PATHOLOGISTS] for row in _rows(path)]
    return {"rating": np.array(rows)}


def weights(path: Path | str = DEFAULT) -> np.ndarray:
    """Number of slides with each pattern, [20]."""
    return np.array([int(row["count"]) for row in _rows(path)])


def _rows(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    print(model.fit(data(), weights=weights(), **options).summary())
