"""Beta blockers with one effect of treatment for all kinds of centre, on the log-odds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

import pgem as pg
from pgem.arrays import Floats
from tests.links.direct import best, expit, log_softmax, logsumexp

FILE = Path(__file__).parents[2] / "models" / "data" / "beta_blockers.csv"
PUBLISHED = {2: (-181.3308, 377.7984), 3: (-159.3605, 341.4262)}
"""Log-likelihood and BIC by number of kinds: Grün & Leisch (2008), J. Stat. Softw. 28(4)."""


def table() -> dict[str, Floats]:
    rows = np.genfromtxt(FILE, delimiter=",", names=True, dtype=float)
    return {
        "deaths": np.stack([rows["control_deaths"], rows["treated_deaths"]], axis=1),
        "patients": np.stack([rows["control_patients"], rows["treated_patients"]], axis=1),
        "treated": np.tile([0.0, 1.0], (len(rows), 1)),
    }


@pytest.mark.parametrize("size", list(PUBLISHED))
def test_published_values_are_found(size: int) -> None:
    data = table()
    with pg.Model("beta_blockers") as model:
        kind = pg.latent("kind", pg.Categorical(size=size))
        with pg.plate("arm", size=2):
            patients, treated = pg.covariate("patients"), pg.covariate("treated")
            logit = pg.param("level")[kind] + pg.param("effect") * treated
            pg.observed("deaths", pg.Binomial(logit=logit, trials=patients))
    fit = model.fit(data, tol=1e-11, max_iter=3000)

    def likelihood(p: dict[str, Floats]) -> float:
        chance = expit(p["level"] + p["effect"] * data["treated"][..., None])
        deaths = binom.logpmf(data["deaths"][..., None], data["patients"][..., None], chance)
        return float(logsumexp(log_softmax(p["kind"]) + deaths.sum(axis=1), axis=1).sum())

    at = {"kind": np.log(fit.params["kind.probs"]), "level": fit.params["level"],
          "effect": fit.params["effect"]}  # fmt: skip
    free = {"kind": np.arange(size) > 0}
    log_likelihood, bic = PUBLISHED[size]
    assert fit.log_likelihood == pytest.approx(log_likelihood, abs=1e-4)
    assert fit.bic_for(44) == pytest.approx(bic, abs=1e-4)
    assert likelihood(at) == pytest.approx(fit.log_likelihood, abs=1e-8)
    assert best(likelihood, at, free) <= fit.log_likelihood + 1e-6
    if size == 3:
        assert fit.params["effect"] == pytest.approx(-0.2582, abs=1e-4)
        order = np.sort(fit.params["level"])
        assert order == pytest.approx([-2.8337, -2.2502, -1.6097], abs=1e-4)
