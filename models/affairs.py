"""Affairs: who has none because of what, and how many do the others have.

601 readers of a magazine told how often they had an extramarital affair in a year (Fair 1978); 451
said never.  There are two ways to say never: some would not, and some would have.  The latent
`faithful` is regressed on what is known of a person through a logit, the number of affairs of the
others through the logarithm of its rate: a zero-inflated Poisson regression, every part of which
is a line of its own in the declaration.  Religion and a happy marriage make people faithful, and
the affairs of the others fewer; years of marriage do the opposite of both.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "affairs.csv"

with pg.Model("affairs") as model:
    person = pg.covariate("person")
    faithful = pg.latent("faithful", pg.Bernoulli(logit=pg.param("of_faith") @ person))
    count = pg.Poisson(log_rate=pg.param("of_count") @ person)
    pg.observed("affairs", pg.switch(faithful, count, pg.Dirac(0)))

options = {"tol": 1e-12, "max_iter": 2000}
known = {
    "log_likelihood": -765.86596,
    "tolerance": 1e-4,
    "params": {
        "of_faith": [-1.74073, 0.39765, -1.02974, 0.31701, -0.07191, 0.46379],
        "of_count": [2.20186, -0.07243, 0.49223, -0.13171, 0.01603, -0.11872],
    },
    "answers": {"of_religion": 0.31701, "its_error": 0.0898},
    "source": "the likelihood maximised directly",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """Affairs [601]; one, age and years of marriage in tens, religion, occupation, rating of the
    marriage, [601, 6].
    """
    with Path(path).open(newline="") as file:
        rows = np.array([[float(cell) for cell in row] for row in list(csv.reader(file))[1:]])
    person = np.column_stack([np.ones(len(rows)), rows[:, :5] / [10, 10, 1, 1, 1]])
    return {"person": person, "affairs": rows[:, 5]}


def answers(fit: pg.Fit) -> dict[str, float]:
    """What religion does to the log-odds of being faithful, and its standard error."""
    errors = fit.standard_errors()["of_faith"]
    return {"of_religion": float(fit.params["of_faith"][3]), "its_error": float(errors[3])}


if __name__ == "__main__":
    fit = model.fit(data(), **options)
    print(fit.summary())
    print(answers(fit))
