"""Meta-analysis: 22 trials, their effects scatter, and each is known with its own precision.

The beta blocker trials once more (Yusuf et al. 1985), as medicine usually sums up trials: each
gives a log odds ratio and its variance, which is taken as known, and the true effects of the trials
scatter around a common one.  A covariate stands in the slot of the variance.  The common odds ratio
is exp(-0.25) = 0.78, and the logarithms of the true ones scatter by 0.1.  The posterior draws each
trial's effect to the common one, those of small trials most.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import pgem as pg

DEFAULT = Path(__file__).parent / "data" / "beta_blockers.csv"

with pg.Model("meta_analysis") as model:
    effect = pg.latent("effect", pg.Normal())
    pg.observed("log_odds_ratio", pg.Normal(mean=effect, var=pg.covariate("var")))

options = {"tol": 1e-13, "max_iter": 20000}
known = {
    "log_likelihood": -5.47116,
    "tolerance": 1e-4,
    "params": {},
    "answers": {"common": -0.24971, "standard_error": 0.05929, "scatter": 0.10127},
    "source": "the marginal Normal distribution, maximised directly",
}


def data(path: Path | str = DEFAULT) -> dict[str, np.ndarray]:
    """Log odds ratios (treated to control), and their variances, [22] each."""
    with Path(path).open(newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    deaths = np.array([[r["control_deaths"], r["treated_deaths"]] for r in rows])
    alive = np.array([[r["control_patients"], r["treated_patients"]] for r in rows]) - deaths
    ratio = np.log(deaths[:, 1] / alive[:, 1]) - np.log(deaths[:, 0] / alive[:, 0])
    return {"log_odds_ratio": ratio, "var": np.sum(1 / deaths + 1 / alive, axis=1)}


def answers(fit: pg.Fit) -> dict[str, float]:
    """The common effect with its standard error, and the standard deviation of the effects."""
    return {
        "common": float(fit.params["effect.mean"]),
        "standard_error": float(fit.standard_errors()["effect.mean"]),
        "scatter": float(np.sqrt(fit.params["effect.var"])),
    }


if __name__ == "__main__":
    fit = model.fit(data(), **options)
    print(fit.summary())
    print(answers(fit))
