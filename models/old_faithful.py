"""Old Faithful: two kinds of eruption.

The geyser's eruptions are either short and soon followed by the next, or long and followed by a
long wait.  The latent `kind` says which of the two an eruption was; given its kind, the length of
the eruption and the waiting time (minutes, one vector) are normal with their own mean and
covariance.  272 eruptions, Azzalini & Bowman (1990), as printed by Härdle (1991).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "old_faithful.csv"

with pg.Model("old_faithful") as model:
    kind = pg.latent("kind", pg.Categorical(size=2))
    x = pg.observed("x", pg.MvNormal(), given=kind)

columns = {"x": ["eruptions", "waiting"]}
options = {"restarts": 5, "seed": 0}
known = {
    "log_likelihood": -1130.264,
    "tolerance": 1e-3,
    "source": "two components, free covariances: scikit-learn without regularisation agrees",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """Length and waiting time, [272, 2]."""
    with Path(path).open(newline="") as file:
        rows = [[float(row[name]) for name in columns["x"]] for row in csv.DictReader(file)]
    return {"x": np.array(rows)}


if __name__ == "__main__":
    print(model.fit(data(), **options).summary())
