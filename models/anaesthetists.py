"""Anaesthetists: what is true when nobody knows, and who errs how.

Five anaesthetists judged from the same forms whether 45 patients are fit for an anaesthetic, on a
scale of four; the first judged every form three times (Dawid & Skene 1979, the paper behind all
models of crowd work since).  The latent `state` is the patient's true one.  A judgement depends on
it and on who judges: `who` is a covariate that indexes, so that everyone has an error table of his
own.  `form` is a plate without a size: how many judgements there are, and whose, may differ between
patients.

EM starts where the paper starts, at each patient's shares of the four judgements, and ends at the
published estimates.  They are a local maximum: random labels lead to others, some of them higher by
up to 1.3.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "anaesthetists.csv"
FORMS = ["1a", "1b", "1c", "2", "3", "4", "5"]

with pg.Model("anaesthetists") as model:
    state = pg.latent("state", pg.Categorical(size=4))
    with pg.plate("form"):
        who = pg.covariate("who", size=5)
        judgement = pg.observed("judgement", pg.Categorical(size=4), given=[state, who])


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """Judgements 0–3 (1–4 in the file) and who gave them, both [45, 7]."""
    with Path(path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    judgements = np.array([[int(row[name]) - 1 for name in FORMS] for row in rows])
    people = [int(name[0]) - 1 for name in FORMS]
    return {"judgement": judgements, "who": np.tile(people, (len(rows), 1))}


SHARES = np.array([np.bincount(row, minlength=4) / row.size for row in data()["judgement"]])

options = {"start": {"state": SHARES}}
known = {
    "log_likelihood": -192.89088,
    "tolerance": 1e-4,
    "params": {"state.probs": [0.39955, 0.42198, 0.11180, 0.06667]},
    "source": "Dawid & Skene (1979): classes 0.40, 0.42, 0.11, 0.07; their EM written out anew",
}

if __name__ == "__main__":
    print(model.fit(data(), **options).summary())
