"""Blood groups: the frequencies of genes that nobody saw.

A person has two alleles, one from the mother and one from the father, each A, B or O.  Only the
blood group shows: A and B are dominant over O.  Both latents draw from the *same* parameter
`allele` (Hardy–Weinberg equilibrium), and the group follows from them by a known table; EM counts
genes (Ceppellini, Siniscalco & Smith 1955), without being told to.  521 ulcer patients, Clarke et
al. (1959).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "blood_groups.csv"
ALLELES = ["A", "B", "O"]
GROUPS = ["A", "B", "AB", "O"]
GROUP_OF = [["A", "AB", "A"], ["AB", "B", "B"], ["A", "B", "O"]]
PHENOTYPE = [[[float(group == shown) for group in GROUPS] for shown in row] for row in GROUP_OF]

with pg.Model("blood_groups") as model:
    allele = pg.param("allele")
    mother = pg.latent("mother", pg.Categorical(allele, size=3, levels=ALLELES))
    father = pg.latent("father", pg.Categorical(allele, size=3, levels=ALLELES))
    phenotype = pg.constant(PHENOTYPE)[mother, father]
    group = pg.observed("group", pg.Categorical(phenotype, size=4, levels=GROUPS))

known = {
    "log_likelihood": -511.57147,
    "tolerance": 1e-4,
    "params": {"allele": [0.213591, 0.050145, 0.736264]},
    "source": "direct maximisation of the multinomial likelihood of the four groups",
}


def data(path: Path | str = DEFAULT) -> dict[str, list[str]]:
    """The four groups, as labels."""
    return {"group": [row["type"] for row in _rows(path)]}


def weights(path: Path | str = DEFAULT) -> np.ndarray:
    """Number of people with each group, [4]."""
    return np.array([int(row["count"]) for row in _rows(path)])


def _rows(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    print(model.fit(data(), weights=weights()).summary())
