"""Linkage: how close two genes are, from what four coins did.

197 animals are offspring of parents that are double heterozygotes, AB/ab.  Each parent passes on
one strand of the two, and with the recombination fraction `crossed` what stands on it is swapped
between the genes.  Capital letters are dominant, so only four kinds of animal are told apart, and
none of the four coins, two a parent, shows itself.  The swaps share one parameter, the choice of a
strand is fair, and the phenotype is a known table of the four (Rao 1965).

In the notation of Dempster, Laird & Rubin (1977), who open the paper that named EM with these
counts, pi = (1 - crossed)², and its maximum is 0.6268214980.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "linkage.csv"
PHENOTYPES = ["AB", "Ab", "aB", "ab"]
GAMETES = [["AB", "ab"], ["Ab", "aB"]]  # [crossed, strand]


def looks(one: str, other: str) -> list[float]:
    """The phenotype of two gametes, as a row of probabilities."""
    shown = "".join(min(pair) for pair in zip(one, other, strict=True))
    return [float(shown == phenotype) for phenotype in PHENOTYPES]


ROWS = [[[[looks(m, f) for f in fs] for fs in GAMETES] for m in ms] for ms in GAMETES]

with pg.Model("linkage") as model:
    crossed = pg.param("crossed")
    mother_crossed = pg.latent("mother_crossed", pg.Bernoulli(crossed))
    mother_strand = pg.latent("mother_strand", pg.Bernoulli(0.5))
    father_crossed = pg.latent("father_crossed", pg.Bernoulli(crossed))
    father_strand = pg.latent("father_strand", pg.Bernoulli(0.5))
    probs = pg.constant(ROWS)[mother_crossed, mother_strand, father_crossed, father_strand]
    phenotype = pg.observed("phenotype", pg.Categorical(probs, size=4, levels=PHENOTYPES))

options = {"tol": 1e-13}
known = {
    "log_likelihood": -205.71589,
    "tolerance": 1e-4,
    "answers": {"pi": 0.6268215, "standard_error": 0.0514674},
    "source": "Dempster, Laird & Rubin (1977): the root of 197 pi² - 15 pi - 68 = 0",
}


def data(path: Path | str = DEFAULT) -> dict[str, list[str]]:
    """The four phenotypes, as labels."""
    return {"phenotype": [row["phenotype"] for row in _rows(path)]}


def weights(path: Path | str = DEFAULT) -> np.ndarray:
    """Number of animals of each, [4]."""
    return np.array([int(row["count"]) for row in _rows(path)])


def pi(params: dict[str, np.ndarray]) -> float:
    """Probability that neither parent's genes were swapped."""
    return float((1 - params["crossed"]) ** 2)


def answers(fit: pg.Fit) -> dict[str, float]:
    """The parameter of the paper and its standard error."""
    return {"pi": pi(fit.params), "standard_error": float(fit.standard_errors(of=pi))}


def _rows(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    fit = model.fit(data(), weights=weights(), **options)
    print(fit.summary())
    print(answers(fit))
