"""Lanes that make densities where they need them: against the whole table, and by hand.

By hand means: the forward and the backward recursion over logarithms with SciPy's densities, and
the maximisers of a textbook (Bilmes 1998).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from force_lanes import always_lanes, never_lanes
from scipy import stats
from scipy.special import logsumexp

import pgem as pg
from pgem.arrays import Floats
from pgem.families import Family, Slot
from pgem.families.roles import RATE
from pgem.families.supports import NON_NEGATIVE
from pgem.routines import lane_plan, lanes
from pgem.run import bind

K, D = 3, 2
LENGTHS = [40, 1, 5, 17, 90, 2, 33]


class Waits(Family):
    """A user's own family."""

    slots = (Slot("rate", RATE),)
    support = NON_NEGATIVE

    def sufficient_statistics(self, x: Floats, **_: Floats) -> tuple[Floats, ...]:
        return (x,)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (-slots["rate"],)

    def log_partition(self, *eta: Floats) -> Floats:
        return -np.log(-eta[0])

    def from_mean(self, *mean: Floats) -> tuple[Floats, ...]:
        return (1 / mean[0],)


def chain(declare: Callable[[Any], object]) -> pg.Model:
    with pg.Model("hmm") as model, pg.sequence("t"):
        declare(pg.latent("s", pg.Categorical(size=K), after="s"))
    return model


def number(s: Any) -> object:
    return pg.observed("x", pg.Normal(), given=s)


def vector(s: Any) -> object:
    return pg.observed("y", pg.MvNormal(), given=s)


def independent(s: Any) -> object:
    return pg.observed("y", pg.Normal(), given=s)


def diagonal(s: Any) -> object:
    return pg.observed("y", pg.MvNormal(cov=pg.diagonal(pg.param("cov")[s])), given=s)


def one_matrix(s: Any) -> object:
    return pg.observed("y", pg.MvNormal(mean=pg.param("mean")[s], cov=pg.param("cov")))


def positive(s: Any) -> object:
    return pg.observed("w", pg.Gamma(), given=s)


def own(s: Any) -> object:
    return pg.observed("w", Waits(), given=s)


def both(s: Any) -> object:
    return number(s), vector(s), positive(s)


def mixed(s: Any) -> object:
    c = pg.latent("c", pg.Categorical(size=2), given=s)
    return pg.observed("y", pg.MvNormal(), given=[s, c])


def mixed_alike(s: Any) -> object:
    c = pg.latent("c", pg.Categorical(size=5))
    return pg.observed("x", pg.Normal(), given=[s, c])


def mixed_twice(s: Any) -> object:
    c = pg.latent("c", pg.Categorical(size=2), given=s)
    return pg.observed("x", pg.Normal(), given=[s, c]), pg.observed("w", Waits(), given=[s, c])


KINDS = [number, vector, independent, diagonal, one_matrix, positive, own, both]
MIXED = [mixed, mixed_alike, mixed_twice]


def draw(lengths: list[int], seed: int = 0, shift: float = 0.0) -> dict[str, list[Floats]]:
    """Sequences that stay in a state for about ten steps."""
    rng, data = np.random.default_rng(seed), {name: list[Floats]() for name in "xyw"}
    means = 2.0 * np.arange(K) + shift
    for n in lengths:
        path = np.repeat(rng.integers(K, size=n // 10 + 1), 10)[:n]
        data["x"].append(means[path] + rng.normal(size=n))
        data["y"].append(means[path, None] + rng.normal(size=(n, D)) @ [[1.0, 0.4], [0.0, 0.8]])
        data["w"].append(rng.gamma(2.0, 0.3 + path, size=n))
    return data


def fitted(
    model: pg.Model, data: Any, *, piece: int = 0, max_iter: int = 3, **options: Any
) -> tuple[Any, list[bool]]:
    """A fit in pieces of about so many steps, or (0) of one sequence after the other.

    Also returns whether the passes by lanes made their statistics themselves.
    """
    ran: list[bool] = []
    real = lanes.LanePass.backward

    def backward(self: Any, posterior: Floats) -> list[Floats]:
        result = real(self, posterior)
        ran.append(bool(self.collected))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("pgem.routines.scan"), "COMPILED_FROM", 0)
        patch.setattr(lanes.LanePass, "backward", backward)
        if piece:
            patch.setattr(bind, "LARGE_FROM", 0)
            always_lanes(patch, piece)
        else:
            never_lanes(patch)
        fit = model.fit(data, max_iter=max_iter, tol=0.0, **options)
    return fit, ran


def agree(one: Any, other: Any, rtol: float = 1e-10) -> None:
    np.testing.assert_allclose(one.trace, other.trace, rtol=rtol)
    for name, value in one.params.items():
        np.testing.assert_allclose(other.params[name], value, rtol=rtol, atol=rtol, err_msg=name)


def chosen(model: pg.Model, data: dict[str, Any]) -> dict[str, Any]:
    """What of the data a model reads."""
    return {name: data[name] for name in data if name in {node.name for node in model.record.nodes}}


@pytest.mark.parametrize("declare", KINDS + MIXED, ids=lambda f: f.__name__)
@pytest.mark.parametrize("piece", [5, 512])
def test_densities_made_in_lanes(declare: Callable[[Any], object], piece: int) -> None:
    model = chain(declare)
    data = chosen(model, draw(LENGTHS))
    weights = np.array([1.0, 2.0, 1.0, 0.0, 0.3, 1.0, 5.0])
    plain, none = fitted(model, data, weights=weights)
    laned, ran = fitted(model, data, weights=weights, piece=piece)
    assert not none
    # the first pass starts from responsibilities; pieces of five steps need not forget
    assert len(ran) > 2
    assert piece == 5 or all(ran[1:])
    agree(laned, plain)


def by_hand(
    data: list[Floats],
    weights: Floats,
    start: dict[str, Floats],
    log_density: Callable[..., Floats],
) -> tuple[float, dict[str, Floats]]:
    """log p at `start`, and the parameters after one iteration of EM for Gaussian vectors."""
    first, moves = np.log(start["s.first.probs"]), np.log(start["s.probs"])
    total, opened, pairs = 0.0, np.zeros(K), np.zeros((K, K))
    rows, shares = [], []
    for y, weight in zip(data, weights, strict=True):
        n = len(y)
        if not n:
            continue
        logs = np.stack([log_density(y, k) for k in range(K)], axis=1)
        ahead, behind = np.zeros((n, K)), np.zeros((n, K))
        ahead[0] = first + logs[0]
        for t in range(1, n):
            ahead[t] = logs[t] + logsumexp(ahead[t - 1, :, None] + moves, axis=0)
        for t in range(n - 2, -1, -1):
            behind[t] = logsumexp(moves + logs[t + 1] + behind[t + 1], axis=1)
        log_p = logsumexp(ahead[-1])
        total += weight * float(log_p)
        posterior = weight * np.exp(ahead + behind - log_p)
        opened += posterior[0]
        for t in range(1, n):
            joint = ahead[t - 1, :, None] + moves + logs[t] + behind[t]
            pairs += weight * np.exp(joint - log_p)
        rows.append(y.reshape(n, -1))
        shares.append(posterior)
    x, share = np.concatenate(rows), np.concatenate(shares)
    counts = share.sum(axis=0)
    mean = share.T @ x / counts[:, None]
    centred = x[:, None] - mean
    cov = np.einsum("nk,nki,nkj->kij", share, centred, centred) / counts[:, None, None]
    return total, {
        "s.first.probs": opened / opened.sum(),
        "s.probs": pairs / pairs.sum(axis=1, keepdims=True),
        "mean": mean,
        "cov": cov,
    }


def chain_start() -> dict[str, Floats]:
    return {
        "s.first.probs": np.array([0.5, 0.3, 0.2]),
        "s.probs": np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.3, 0.1, 0.6]]),
    }


@pytest.mark.parametrize("piece", [5, 512])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_one_iteration_by_hand(piece: int, shift: float) -> None:
    data = draw(LENGTHS, seed=3, shift=shift)
    weights = np.array([1.0, 2.0, 1.0, 1.0, 0.3, 1.0, 5.0])
    means = shift + np.array([[0.2, -0.1], [2.5, 1.8], [3.6, 4.4]])
    covs = np.array(
        [[[1.2, 0.3], [0.3, 0.9]], [[0.8, -0.2], [-0.2, 1.5]], [[2.0, 0.0], [0.0, 1.0]]]
    )
    start = chain_start()
    total, after = by_hand(
        data["y"],
        weights,
        start,
        lambda y, k: np.atleast_1d(stats.multivariate_normal.logpdf(y, means[k], covs[k])),
    )
    fit, ran = fitted(
        chain(vector), {"y": data["y"]}, piece=piece, max_iter=1, weights=weights,
        start={**start, "y.mean": means, "y.cov": covs},
    )  # fmt: skip
    assert piece == 5 or all(ran)
    np.testing.assert_allclose(fit.trace[0], total, rtol=1e-11)
    for name, own_name in (("y.mean", "mean"), ("y.cov", "cov")):
        np.testing.assert_allclose(fit.params[name], after[own_name], rtol=1e-9, atol=1e-9)
    for name in start:
        np.testing.assert_allclose(fit.params[name], after[name], rtol=1e-10, atol=1e-12)

    means, variances = means[:, 0], covs[:, 0, 0]
    total, after = by_hand(
        data["x"], weights, start,
        lambda x, k: np.asarray(stats.norm.logpdf(x, means[k], np.sqrt(variances[k]))),
    )  # fmt: skip
    fit, ran = fitted(
        chain(number), {"x": data["x"]}, piece=piece, max_iter=1, weights=weights,
        start={**start, "x.mean": means, "x.var": variances},
    )  # fmt: skip
    assert piece == 5 or all(ran)
    np.testing.assert_allclose(fit.trace[0], total, rtol=1e-11)
    np.testing.assert_allclose(fit.params["x.mean"], after["mean"][:, 0], rtol=1e-9)
    np.testing.assert_allclose(fit.params["x.var"], after["cov"][:, 0, 0], rtol=1e-9)


# --- adversarial numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("declare", [number, vector, both, mixed], ids=lambda f: f.__name__)
@pytest.mark.parametrize("shift", [1e4, 1e8])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_offsets_and_scales(declare: Callable[[Any], object], shift: float, scale: float) -> None:
    """A large offset is taken out by the centre; what would cost digits goes by whole tables."""
    model = chain(declare)
    data = chosen(model, draw(LENGTHS, seed=5))
    for name in {"x", "y"} & set(data):
        data[name] = [scale * (values + shift) for values in data[name]]
    plain, _ = fitted(model, data)
    laned, _ = fitted(model, data, piece=7)
    # digits of the values themselves that the offset leaves
    agree(laned, plain, rtol=max(1e-10, 1e-15 * shift))


@pytest.mark.parametrize("far", [30.0, 300.0, 3000.0])
def test_values_far_from_all_states(far: float) -> None:
    """Ratios of densities that underflow: the bound on what was dropped, and the rescue."""
    data = draw([400, 60], seed=6)
    data["x"][0][[50, 51, 200, 399]] = [far, -far, far, far]
    data["x"][1][0] = far
    start = {
        **chain_start(),
        "x.mean": np.array([0.0, 2.0, 4.0]),
        "x.var": np.array([1.0, 0.9, 1.1]),
    }
    found = [
        fitted(chain(number), {"x": data["x"]}, piece=piece, max_iter=2, start=start)
        for piece in (0, 40, 512)
    ]
    agree(found[1][0], found[0][0])
    agree(found[2][0], found[0][0])


@pytest.mark.parametrize("stay", [0.9, 0.99999])
def test_sticky_states(stay: float) -> None:
    """Pieces of a chain that hardly forgets are run through, with the same result."""
    rng = np.random.default_rng(8)
    x = np.repeat([0.0, 0.3, 0.1], 1500) + rng.normal(size=4500)
    start = {
        "s.first.probs": np.full(K, 1 / K),
        "s.probs": np.full((K, K), (1 - stay) / 2) + np.eye(K) * (stay - (1 - stay) / 2),
        "x.mean": np.array([0.0, 0.3, 0.1]),
        "x.var": np.ones(K),
    }
    plain, _ = fitted(chain(number), {"x": [x]}, start=start)
    laned, _ = fitted(chain(number), {"x": [x]}, start=start, piece=300)
    agree(laned, plain, rtol=1e-9)


@pytest.mark.parametrize("far", [30.0, 300.0, 3000.0])
def test_values_far_from_all_states_of_mixtures(far: float) -> None:
    data = draw([400, 60], seed=6)
    data["x"][0][[50, 51, 200, 399]] = [far, -far, far, far]
    data["x"][1][0] = far
    with pg.Model("hmm") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=K), after="s")
        c = pg.latent("c", pg.Categorical(size=2), given=s)
        pg.observed("x", pg.Normal(), given=[s, c])
    start = {
        **chain_start(), "c.probs": np.array([[0.4, 0.6], [0.01, 0.99], [0.5, 0.5]]),
        "x.mean": np.array([[0.0, 0.5], [2.0, 2.5], [4.0, 3.0]]), "x.var": np.full((K, 2), 0.8),
    }  # fmt: skip
    found = [
        fitted(model, {"x": data["x"]}, piece=piece, max_iter=2, start=start)
        for piece in (0, 40, 512)
    ]
    agree(found[1][0], found[0][0])
    agree(found[2][0], found[0][0])


def test_holes_and_given_states_go_by_tables() -> None:
    data = draw(LENGTHS, seed=9)
    data["x"][0][3] = data["x"][4][10] = np.nan
    plain, _ = fitted(chain(number), {"x": data["x"]})
    laned, ran = fitted(chain(number), {"x": data["x"]}, piece=7)
    assert not any(ran)
    agree(laned, plain)
    given = [np.full(n, np.nan) for n in LENGTHS]
    given[0][5] = 1.0
    data = draw(LENGTHS, seed=9)
    plain, _ = fitted(chain(number), {"x": data["x"], "s": given})
    laned, ran = fitted(chain(number), {"x": data["x"], "s": given}, piece=7)
    assert not any(ran)
    agree(laned, plain)


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_plan, "LONG_PIECE", 16)
    x = draw([40_000], seed=10)["x"]
    one, ran = fitted(chain(number), {"x": x}, piece=500, n_jobs=1)
    two, _ = fitted(chain(number), {"x": x}, piece=500, n_jobs=2)
    again, _ = fitted(chain(number), {"x": x}, piece=500, n_jobs=1)
    assert all(ran[1:])
    for name, value in one.params.items():
        np.testing.assert_array_equal(two.params[name], value)
        np.testing.assert_array_equal(again.params[name], value)


def test_what_is_asked_after_a_fit() -> None:
    """Posteriors of states have tables of their own, whatever a fit did."""
    data = draw(LENGTHS, seed=11)["y"]
    plain, _ = fitted(chain(vector), {"y": data})
    laned, _ = fitted(chain(vector), {"y": data}, piece=7)
    one, other = (fit.posterior({"y": data})["s"] for fit in (plain, laned))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
