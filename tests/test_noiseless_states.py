"""Latent Gaussians without noise of their own: companion forms, smooth trends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

import pgem as pg

Floats = NDArray[np.float64]
Y = np.random.default_rng(4).normal(size=25).cumsum()
PHI = [[0.5, 0.3], [1.0, 0.0]]
COVARIANCES: dict[str, tuple[Any, Any]] = {
    "a copy of the step before": (pg.diagonal([1.0, 0.0]), np.diag([1.0, 0.0])),
    "the same as a matrix": ([[1.0, 0.0], [0.0, 0.0]], np.diag([1.0, 0.0])),
    "one shock for both": ([[1.0, 0.5], [0.5, 0.25]], np.array([[1.0, 0.5], [0.5, 0.25]])),
    "no shocks": (np.zeros((2, 2)), np.zeros((2, 2))),
}
every_noise = pytest.mark.parametrize(("cov", "noise"), COVARIANCES.values(), ids=COVARIANCES)


def model_of(cov: Any, steps: Any = None) -> pg.Model:
    with pg.Model("states") as model, pg.sequence("t"):
        mean = (pg.constant(PHI) if steps is None else steps) @ pg.prev("h")
        start = pg.MvNormal(0.0, pg.identity(2))
        h = pg.latent("h", pg.MvNormal(mean, cov, size=2), first=start)
        pg.observed("y", pg.Normal(pg.param("a") @ h, pg.param("r")))
    return model


def joint(n: int, noise: Floats) -> Floats:
    """Covariances of the states [n, 2, n, 2]."""
    steps, found, here = np.array(PHI), np.zeros((n, 2, n, 2)), np.eye(2)
    for t in range(n):
        later = found[t, :, t] = here
        for s in range(t + 1, n):
            later = steps @ later
            found[s, :, t], found[t, :, s] = later, later.T
        here = steps @ here @ steps.T + noise
    return found


@every_noise
def test_answers_are_those_of_the_joint_gaussian(cov: Any, noise: Floats) -> None:
    model = model_of(cov)
    fit = model.fit({"y": [Y]}, max_iter=30, tol=0)
    assert (np.diff(fit.trace) >= -1e-10 * abs(fit.trace[-1])).all()
    states, a, r = joint(len(Y), noise), fit.params["a"], fit.params["r"]
    seen = np.einsum("tisj,i,j->ts", states, a, a) + r * np.eye(len(Y))
    expected = multivariate_normal.logpdf(Y, np.zeros(len(Y)), seen)
    assert fit.log_likelihood == pytest.approx(expected, rel=1e-10)
    cross = np.einsum("tisj,j->tis", states, a)
    means = np.einsum("tis,s->ti", cross, np.linalg.solve(seen, Y))
    posterior = fit.posterior({"y": [Y]})["h"]
    assert posterior.mean[0] == pytest.approx(means, abs=1e-9)
    left = np.einsum("tis,sr,tjr->tij", cross, np.linalg.inv(seen), cross)
    covs = np.einsum("titj->tij", states) - left
    assert posterior.cov[0] == pytest.approx(covs, abs=1e-9)


@every_noise
def test_draws_move_as_the_states_do(cov: Any, noise: Floats) -> None:
    fit = model_of(cov).fit({"y": [Y]}, max_iter=2)
    h = np.array(fit.sample(4000, sizes={"t": 3}, seed=1)["h"])
    shocks = h[:, 1:] - h[:, :-1] @ np.array(PHI).T
    assert np.cov(shocks.reshape(-1, 2).T) == pytest.approx(noise, abs=0.06)
    drawn = fit.draw({"y": [Y]}, seed=2)["h"][0]
    still = np.linalg.eigh(noise)[1][:, np.linalg.eigvalsh(noise) < 1e-12]
    assert (drawn[1:] - drawn[:-1] @ np.array(PHI).T) @ still == pytest.approx(0.0, abs=1e-8)


def test_a_conditional_without_noise_is_not_learned() -> None:
    free = pg.param("A")
    with pytest.raises(pg.DeclarationError, match=r"'h.cov'[\s\S]*above zero"):
        model_of(pg.diagonal([1.0, 0.0]), free).compile()
    with pg.Model("exact") as exact:
        f = pg.latent("f", pg.Normal(0.0, 1.0))
        pg.observed("y", pg.Normal(mean=pg.param("a") * f, var=0.0))
    with pytest.raises(pg.DeclarationError, match=r"'y.var'[\s\S]*above zero"):
        exact.compile()


def test_values_without_a_density_are_not_given() -> None:
    model = model_of(pg.diagonal([1.0, 0.0]))
    h = np.full((len(Y), 2), np.nan)
    h[3] = 0.5
    with pytest.raises(pg.DataError, match="latent node 'h' has values in the data, but no noise"):
        model.fit({"y": [Y], "h": [h]})
