"""Role conflict: six kinds of people, five of them fixed in advance.

216 people were asked what they would do for a friend in four situations of rising temptation
(Stouffer & Toby 1951), and answered by a general rule (`universalistic`) or for the friend.  Were
the situations a perfect scale, whoever keeps to the rule in one would keep to it in all that tempt
less, and only five patterns of answers would occur.  Goodman (1975) lets five latent types answer
exactly so, and adds a sixth, `unscalable`, whose answers are independent.  Of the table of answers
[type, situation] twenty entries are therefore fixed at zero or one and only the last row is
learned.

Two thirds of the people do not follow the scale, and the model fits almost perfectly.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "role_conflict.csv"
SITUATIONS = "ABCD"
SCALE = [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
FIXED = [[True] * 4] * 5 + [[False] * 4]

with pg.Model("role_conflict") as model:
    kind = pg.latent("kind", pg.Categorical(size=6))
    with pg.plate("situation", size=4) as situation:
        prob = pg.param(fixed=FIXED, value=[*SCALE, [0.5] * 4])
        universalistic = pg.observed("universalistic", pg.Bernoulli(prob), given=[kind, situation])

options = {"tol": 1e-12, "max_iter": 5000}
known = {
    "log_likelihood": -503.60196,
    "tolerance": 1e-4,
    "answers": {"G2": 0.98849, "unscalable": 0.68261},
    "source": "Goodman (1975): G² = 0.99 with 6 degrees of freedom; "
    "direct maximisation of the multinomial likelihood agrees",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """The sixteen patterns of answers, [16, 4], 1 = universalistic (+ in the file)."""
    rows = [[int(row[name] == "+") for name in SITUATIONS] for row in _rows(path)]
    return {"universalistic": np.array(rows)}


def weights(path: Path | str = DEFAULT) -> np.ndarray:
    """Number of people with each pattern, [16]."""
    return np.array([int(row["count"]) for row in _rows(path)])


def answers(fit: pg.Fit) -> dict[str, float]:
    """Likelihood-ratio statistic against the free table, and the share of the last kind."""
    counts = weights()
    free = float(np.sum(counts * np.log(counts / counts.sum())))
    share = float(fit.params["kind.probs"][-1])
    return {"G2": 2 * (free - fit.log_likelihood), "unscalable": share}


def _rows(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    fit = model.fit(data(), weights=weights(), **options)
    print(fit.summary())
    print(answers(fit))
