"""Laws of chains with explicit durations, and what a fit of one can be asked."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as sp
from scipy.optimize import minimize_scalar

import pgem as pg
from pgem.result.score import score
from pgem.run import Bound, make_schema, read_data, sum_statistics

Floats = NDArray[np.float64]
MOVES = np.array([[0, 0.4, 0.6], [0.9, 0, 0.1], [0.5, 0.5, 0]])
FIRST = np.array([0.5, 0.2, 0.3])
MEAN, VAR = np.array([-2.0, 0.5, 3.0]), np.array([1.0, 0.5, 2.0])


def chain(duration: Any, size: int = 3, **options: Any) -> pg.Model:
    with pg.Model("segments") as model, pg.sequence("t"):
        family = pg.Categorical(size=size)
        s = pg.latent("s", family, after="s", duration=duration, **options)
        pg.observed("y", pg.Normal(), given=s)
    return model


def draw(seed: int, n: int = 12, longest: int = 30) -> list[Floats]:
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        length = generator.integers(1, longest + 1)
        level = np.repeat(generator.integers(0, 3, length // 3 + 1), 3)[:length]
        found.append(MEAN[level] + generator.normal(size=length))
    return found


def bound_of(model: pg.Model, data: dict[str, Any], shard_size: int | None = None) -> Bound:
    program = model.compile(data)
    columns = read_data(data, program.outline, fitting=False)
    return Bound(program.variant(make_schema(columns)), columns, shard_size)


def emissions() -> dict[str, Floats]:
    return {"y.mean": MEAN, "y.var": VAR}


def test_geometric_durations_are_self_transitions() -> None:
    """A chain with self-transitions lasts geometrically: likelihood, posterior, decoding."""
    leave = np.array([0.3, 0.6, 0.05])
    y = draw(1)
    with pg.Model("hmm") as plain, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s")
        pg.observed("y", pg.Normal(), given=s)
    table = np.diag(1 - leave) + leave[:, None] * MOVES
    ours = {"s.probs": MOVES, "s.first.probs": FIRST, "s.duration.prob": leave, **emissions()}
    theirs = {"s.probs": table, "s.first.probs": FIRST, **emissions()}
    model = chain(pg.Geometric())
    np.testing.assert_allclose(
        model.log_likelihood({"y": y}, ours), plain.log_likelihood({"y": y}, theirs), atol=1e-9
    )
    joint = [("s", pg.prev("s"))]
    one = model.posterior({"y": y}, ours, joint=joint)
    other = plain.posterior({"y": y}, theirs, joint=joint)
    for name in one:
        for a, b in zip(one[name], other[name], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-9)
    fit, hmm = (m.fit({"y": y}, start=p, max_iter=0) for m, p in ((model, ours), (plain, theirs)))
    for a, b in zip(fit.decode({"y": y})["s"], hmm.decode({"y": y})["s"], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_of_em_with_geometric_durations() -> None:
    """The expected statistics of cut durations make the M-step that of the plain chain."""
    leave = np.array([0.3, 0.6, 0.05])
    y = draw(2)
    with pg.Model("hmm") as plain, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s")
        pg.observed("y", pg.Normal(), given=s)
    table = np.diag(1 - leave) + leave[:, None] * MOVES
    ours = {"s.probs": MOVES, "s.first.probs": FIRST, "s.duration.prob": leave, **emissions()}
    theirs = {"s.probs": table, "s.first.probs": FIRST, **emissions()}
    one = chain(pg.Geometric()).fit({"y": y}, start=ours, max_iter=1).params
    other = plain.fit({"y": y}, start=theirs, max_iter=1).params
    off = other["s.probs"] * (1 - np.eye(3))
    np.testing.assert_allclose(one["s.probs"], off / off.sum(axis=1, keepdims=True), atol=1e-9)
    # both maxima are of the same likelihood, reached by EM with different missing data
    far = chain(pg.Geometric()).fit({"y": y}, start=ours, tol=1e-13, max_iter=4000)
    near = plain.fit({"y": y}, start=theirs, tol=1e-13, max_iter=4000)
    assert far.log_likelihood == pytest.approx(near.log_likelihood, abs=1e-5)
    np.testing.assert_allclose(
        1 - far.params["s.duration.prob"], np.diag(near.params["s.probs"]), atol=1e-3
    )


def test_durations_of_one_step() -> None:
    """A duration fixed at one step is a plain chain without self-transitions."""
    with pg.Model("hmm") as plain, pg.sequence("t"):
        zeros = pg.param(zeros=np.eye(3, dtype=bool))
        s = pg.latent("s", pg.Categorical(zeros, size=3), after="s")
        pg.observed("y", pg.Normal(), given=s)
    y = draw(3)
    params = {"s.probs": MOVES, "s.first.probs": FIRST, **emissions()}
    model = chain(pg.Categorical([1.0]))
    one = model.fit({"y": y}, start=params, max_iter=10, tol=0)
    other = plain.fit({"y": y}, start=params, max_iter=10, tol=0)
    np.testing.assert_allclose(one.trace, other.trace, rtol=1e-12)
    for name, value in other.params.items():
        np.testing.assert_allclose(one.params[name], value, atol=1e-9)


DURATIONS = {
    "Categorical": pg.Categorical(size=12),
    "Poisson": pg.Poisson(),
    "NegativeBinomial": pg.NegativeBinomial(size=3.0),
    "Geometric": pg.Geometric(),
    "Binomial": pg.Binomial(trials=15),
    "Logarithmic": pg.Logarithmic(),
    "Zipf": pg.Zipf(ranks=40),
    "TruncatedPoisson": pg.TruncatedPoisson(),
}


@pytest.mark.parametrize("name", list(DURATIONS))
def test_em_never_falls(name: str) -> None:
    fit = chain(DURATIONS[name]).fit({"y": draw(4)}, max_iter=25, tol=0)
    assert np.diff(fit.trace).min() >= -1e-8
    assert np.isfinite(fit.trace).all()


@pytest.mark.parametrize("name", list(DURATIONS))
def test_score_against_differences(name: str) -> None:
    model, data = chain(DURATIONS[name]), {"y": draw(5, n=5)}
    params = model.fit(data, max_iter=2).params
    slopes = score(bound_of(model, data), params)
    names = [n for n in params if n.startswith("s.duration") and not n.endswith("probs")]
    for name_ in [*names, "s.probs"]:
        generator = np.random.default_rng(6)
        step = generator.normal(size=params[name_].shape)
        if name_ == "s.probs":
            step *= params[name_] > 0
            step -= (params[name_] > 0) * step.sum(axis=1, keepdims=True) / 2
        h = 1e-6

        def total(k: float, name_: str = name_, step: Floats = step, h: float = h) -> float:
            moved = {**params, name_: params[name_] + k * h * step}
            return float(model.log_likelihood(data, moved).sum())

        expected = (total(1) - total(-1)) / (2 * h)
        assert (slopes[name_] * step).sum() == pytest.approx(expected, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("name", ["Poisson", "Logarithmic", "Zipf"])
def test_m_step_against_an_optimiser(name: str) -> None:
    """Q of each duration parameter, from the statistics, is highest at the new value."""
    model, data = chain(DURATIONS[name]), {"y": draw(7)}
    start = model.fit(data, max_iter=3).params
    _, stats = sum_statistics(bound_of(model, data), start)
    new = model.fit(data, start=start, max_iter=1).params
    entry = stats["s.duration"]
    (slot,) = [s.name for s in entry.family.slots if s.name not in entry.family.known_slots]
    for k in range(3):
        arrays = tuple(a[k : k + 1] for a in entry.arrays)
        slots = {n: v[k : k + 1] for n, v in entry.origin.items()}

        def q(value: float, arrays: Any = arrays, slots: Any = slots) -> float:
            moved = {**slots, slot: np.array([value])}
            return -float(entry.family.expected_log_density(arrays, moved, slots))

        top = 0.9999999 if name == "Logarithmic" else 60.0
        best = minimize_scalar(q, bounds=(1e-6, top), method="bounded",
                               options={"xatol": 1e-10})  # fmt: skip
        assert q(float(new[f"s.duration.{slot}"][k])) <= best.fun + 1e-7


def test_a_censored_segment() -> None:
    """One sequence in one state throughout: EM finds the maximum of log p(D ≥ T) + …"""
    with pg.Model("censored") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s", duration=pg.Poisson())
        pg.observed("y", pg.Normal(), given=s)
    s = [[0, 0, 0, 0, 1, 1], [0, 0, 0], [1, 0, 0, 0, 0, 0]]
    y = [np.array(row) * 5.0 + 0.1 * np.arange(len(row)) for row in s]
    fit = model.fit({"y": y, "s": s}, tol=1e-14, max_iter=4000)
    seen = {0: ([4], [3, 5]), 1: ([1], [2])}  # whole and cut durations

    for k, (whole, cut) in seen.items():

        def loss(rate: float, whole: list[int] = whole, cut: list[int] = cut) -> float:
            law = sp.poisson(rate, loc=1)
            ends = sum(law.logsf(d - 1) if d > 1 else 0.0 for d in cut)
            return -float(sum(law.logpmf(whole)) + ends)

        best = minimize_scalar(loss, bounds=(1e-6, 50), method="bounded",
                               options={"xatol": 1e-10})  # fmt: skip
        assert fit.params["s.duration.rate"][k] == pytest.approx(best.x, abs=1e-4)


def test_recovery() -> None:
    model = chain(pg.NegativeBinomial(size=20.0))
    true = {
        "s.probs": MOVES,
        "s.first.probs": FIRST,
        "s.duration.prob": np.array([0.8, 0.7, 0.6]),
        **emissions(),
    }
    seed = model.fit({"y": draw(8)}, start=true, max_iter=0)
    y = seed.sample(40, sizes={"t": 150}, seed=1)["y"]
    fit = model.fit({"y": y}, start=true, tol=1e-6)
    assert fit.log_likelihood >= seed.score({"y": y})
    np.testing.assert_allclose(fit.params["s.duration.prob"], [0.8, 0.7, 0.6], atol=0.03)
    np.testing.assert_allclose(fit.params["s.probs"], MOVES, atol=0.08)
    np.testing.assert_allclose(fit.params["y.mean"], MEAN, atol=0.07)
    errors = fit.standard_errors()
    far = np.abs(fit.params["s.duration.prob"] - [0.8, 0.7, 0.6]) / errors["s.duration.prob"]
    assert (far < 4).all()


def segment_lengths(paths: Any) -> dict[int, list[int]]:
    """Whole segments by value, the first and last of each path left out."""
    found: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for path in paths:
        runs = [(k, len(list(group))) for k, group in itertools.groupby(path)]
        for k, length in runs[:-1]:
            found[k].append(length)
    return found


def test_samples_last_as_long_as_they_should() -> None:
    model = chain(pg.Poisson())
    params = {"s.probs": MOVES, "s.first.probs": FIRST,
              "s.duration.rate": np.array([1.0, 4.0, 9.0]), **emissions()}  # fmt: skip
    fit = model.fit({"y": draw(9)}, start=params, max_iter=0)
    drawn = fit.sample(300, sizes={"t": 300}, seed=0)
    for k, lengths in segment_lengths(drawn["s"]).items():
        assert np.mean(lengths) == pytest.approx(1 + [1.0, 4.0, 9.0][k], rel=0.03)
        assert np.var(lengths) == pytest.approx([1.0, 4.0, 9.0][k], rel=0.08)
    assert fit.sample(3, sizes={"t": 5}, seed=4)["s"][0].shape == (5,)
    again = fit.sample(300, sizes={"t": 300}, seed=0)
    np.testing.assert_array_equal(again["s"][7], drawn["s"][7])
    held = [[2] * 4 + [np.nan] * 6]
    given = fit.sample(1, data={"s": held}, seed=0)["s"][0]
    assert given[:4].tolist() == [2] * 4


def test_a_mixture_of_such_chains() -> None:
    """An outer class picks transitions and durations: log p is the sum over classes."""
    with pg.Model("mixture") as model:
        c = pg.latent("c", pg.Categorical(size=2))
        with pg.sequence("t"):
            s = pg.latent("s", pg.Categorical(size=3), given=c, after="s", duration=pg.Poisson())
            pg.observed("y", pg.Normal(), given=s)
    generator = np.random.default_rng(10)
    moves = np.stack([MOVES, MOVES[::-1, ::-1]])
    rates = generator.gamma(2.0, 2.0, (2, 3))
    params = {"c.probs": np.array([0.3, 0.7]), "s.probs": moves,
              "s.first.probs": np.stack([FIRST, FIRST[::-1]]), "s.duration.rate": rates,
              **emissions()}  # fmt: skip
    y = draw(11)
    single = chain(pg.Poisson())
    parts = [
        single.log_likelihood(
            {"y": y},
            {"s.probs": moves[k], "s.first.probs": params["s.first.probs"][k],
             "s.duration.rate": rates[k], **emissions()},
        )
        for k in range(2)
    ]  # fmt: skip
    joint = np.stack(parts, axis=1) + np.log(params["c.probs"])
    expected = np.logaddexp.reduce(joint, axis=1)
    np.testing.assert_allclose(model.log_likelihood({"y": y}, params), expected, atol=1e-9)
    found = model.posterior({"y": y}, params)["c"]
    np.testing.assert_allclose(found, np.exp(joint - expected[:, None]), atol=1e-9)
    fit = model.fit({"y": y}, start=params, max_iter=15, tol=0)
    assert np.diff(fit.trace).min() >= -1e-8
    assert fit.params["s.duration.rate"].shape == (2, 3)


def test_an_inner_latent_plates_and_shards() -> None:
    """Mixture emissions inside the step; sequences inside a plate; any shards add up."""
    with pg.Model("wards") as model, pg.plate("ward"), pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s", duration=pg.Poisson())
        w = pg.latent("w", pg.Categorical(size=2), given=s)
        pg.observed("y", pg.Normal(), given=[s, w])
    parts = draw(12)
    y = [parts[:5], parts[5:6], parts[6:]]
    fit = model.fit({"y": y}, max_iter=8, tol=0, shard_size=1)
    whole = model.fit({"y": y}, max_iter=8, tol=0, shard_size=3)
    assert np.diff(fit.trace).min() >= -1e-8
    np.testing.assert_allclose(fit.trace, whole.trace, rtol=1e-10)
    flat = {k: v for k, v in fit.params.items() if not k.startswith(("y", "w"))}
    mean, var = fit.params["y.mean"], fit.params["y.var"]
    with pg.Model("one") as single, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s", duration=pg.Poisson())
        w = pg.latent("w", pg.Categorical(size=2), given=s)
        pg.observed("y", pg.Normal(), given=[s, w])
    params = {**flat, "w.probs": fit.params["w.probs"], "y.mean": mean, "y.var": var}
    alone = single.log_likelihood({"y": parts}, params)
    expected = [alone[:5].sum(), alone[5], alone[6:].sum()]
    np.testing.assert_allclose(model.log_likelihood({"y": y}, params), expected, atol=1e-8)


def test_durations_by_treatment() -> None:
    """A covariate of each step gates the duration of the segments that start there."""
    with pg.Model("treated") as model, pg.sequence("t"):
        x = pg.covariate("x", size=2)
        s = pg.latent("s", pg.Categorical(size=3), given=x, after="s", duration=pg.Poisson())
        pg.observed("y", pg.Normal(), given=s)
    y = draw(13)
    generator = np.random.default_rng(14)
    x = [generator.integers(0, 2, len(row)) for row in y]
    fit = model.fit({"y": y, "x": x}, max_iter=15, tol=0)
    assert np.diff(fit.trace).min() >= -1e-8
    assert fit.params["s.duration.rate"].shape == (2, 3)
    same = {name: np.stack([v[1], v[1]]) if name.startswith("s.") else v
            for name, v in fit.params.items()}  # fmt: skip
    plain = {name: v[1] if name.startswith("s.") else v for name, v in fit.params.items()}
    np.testing.assert_allclose(
        model.log_likelihood({"y": y, "x": x}, same),
        chain(pg.Poisson()).log_likelihood({"y": y}, plain),
        atol=1e-8,
    )
    half = {"y": [y[0][:3]], "x": [np.array([0, 1, 1])]}
    found = model.log_likelihood(half, fit.params)
    assert found[0] == pytest.approx(by_hand(half, fit.params), abs=1e-9)


def by_hand(data: dict[str, Any], params: dict[str, Floats]) -> float:
    """The likelihood of one sequence whose durations depend on where a segment starts."""
    y, x = data["y"][0], data["x"][0]
    logs = sp.norm.logpdf(y[:, None], params["y.mean"], np.sqrt(params["y.var"]))
    total = -np.inf
    for path in itertools.product(range(3), repeat=len(y)):
        runs = [(k, len(list(group))) for k, group in itertools.groupby(path)]
        starts = np.cumsum([0, *(n for _, n in runs)])[:-1]
        value = np.log(params["s.first.probs"][x[0], path[0]])
        value += sum(logs[t, k] for t, k in enumerate(path))
        for i, (k, n) in enumerate(runs):
            law = sp.poisson(params["s.duration.rate"][x[starts[i]], k], loc=1)
            value += law.logpmf(n) if i + 1 < len(runs) else (law.logsf(n - 1) if n > 1 else 0.0)
            if i:
                value += np.log(params["s.probs"][x[starts[i]], runs[i - 1][0], k])
        total = np.logaddexp(total, value)
    return float(total)


def test_shared_fixed_and_tied_durations() -> None:
    y = draw(15)
    with pg.Model("shared") as model, pg.sequence("t"):
        lasting = pg.Poisson(pg.param("lasting", prior=pg.Gamma(2.0, 0.5)))
        s = pg.latent("s", pg.Categorical(size=3), after="s", duration=lasting)
        pg.observed("y", pg.Normal(), given=s)
    fit = model.fit({"y": y}, max_iter=15, tol=0)
    assert fit.params["lasting"].shape == ()
    assert np.diff(fit.trace).min() >= -1e-8
    fixed = chain(pg.Poisson(4.0)).fit({"y": y}, max_iter=5, tol=0)
    assert "s.duration.rate" not in fixed.params
    partly = chain(pg.Poisson(pg.param(fixed=[True, False, False], value=[2.0, 1.0, 1.0])))
    held = partly.fit({"y": y}, max_iter=5, tol=0)
    assert held.params["s.duration.rate"][0] == 2.0
    assert held.n_parameters == 3 + 2 + 2 + 6


def test_gaussian_latents_inside_a_step() -> None:
    """Factor-analytic emissions: with geometric durations the same as a plain chain."""
    leave, moves = np.array([0.3, 0.2]), np.array([[0.0, 1.0], [1.0, 0.0]])

    def build(**options: Any) -> pg.Model:
        with pg.Model("factors") as model, pg.sequence("t"):
            s = pg.latent("s", pg.Categorical(size=2), after="s", **options)
            f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(1), size=1))
            mean = pg.param("load")[s] @ f + pg.param("centre")[s]
            pg.observed("x", pg.MvNormal(mean=mean, cov=pg.diagonal(pg.param("noise")[s])))
        return model

    generator = np.random.default_rng(21)
    x = [generator.normal(size=(n, 3)) for n in (5, 9, 1)]
    base = {
        "load": generator.normal(size=(2, 3, 1)),
        "centre": generator.normal(size=(2, 3)),
        "noise": np.ones((2, 3)),
        "s.first.probs": np.array([0.4, 0.6]),
    }
    ours = {**base, "s.probs": moves, "s.duration.prob": leave}
    theirs = {**base, "s.probs": np.diag(1 - leave) + leave[:, None] * moves}
    model, plain = build(duration=pg.Geometric()), build()
    np.testing.assert_allclose(
        model.log_likelihood({"x": x}, ours), plain.log_likelihood({"x": x}, theirs), atol=1e-9
    )
    one, other = model.posterior({"x": x}, ours), plain.posterior({"x": x}, theirs)
    for k in range(3):
        np.testing.assert_allclose(one["s"][k], other["s"][k], atol=1e-9)
        np.testing.assert_allclose(one["f"].mean[k], other["f"].mean[k], atol=1e-9)
    fit = model.fit({"x": x}, start=ours, max_iter=10, tol=0)
    assert np.diff(fit.trace).min() >= -1e-8


def test_joint_draws_keep_to_the_durations() -> None:
    """No draw has a segment that its law cannot have."""
    y = draw(22)
    fit = chain(pg.Categorical([0.0, 0.5, 0.5])).fit({"y": y}, max_iter=3)
    for seed in range(5):
        drawn = fit.draw({"y": y}, seed=seed)["s"]
        lengths = [n for part in segment_lengths(drawn).values() for n in part]
        assert set(lengths) <= {2, 3}
    imputed = fit.impute({"y": y}, how="mode")["s"]
    for a, b in zip(imputed, fit.decode({"y": y})["s"], strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_are_repetitions() -> None:
    y = draw(23, n=6)
    model = chain(pg.Poisson())
    start = model.fit({"y": y}, max_iter=2).params
    weights = np.array([2.0, 1.0, 0.0, 3.0, 1.0, 1.0])
    repeated = [row for row, n in zip(y, weights, strict=True) for _ in range(int(n))]
    one = model.fit({"y": y}, weights=weights, start=start, max_iter=5, tol=0)
    other = model.fit({"y": repeated}, start=start, max_iter=5, tol=0)
    np.testing.assert_allclose(one.trace, other.trace, rtol=1e-10)
    for name, value in other.params.items():
        np.testing.assert_allclose(one.params[name], value, rtol=1e-8, atol=1e-12)


def test_stationary_beginning() -> None:
    model = chain(pg.Poisson(), first="stationary")
    fit = model.fit({"y": draw(16)}, max_iter=10, tol=0)
    assert np.diff(fit.trace).min() >= -1e-8
    first = fit.expanded("s.first.probs")
    np.testing.assert_allclose(first @ fit.params["s.probs"], first, atol=1e-12)


def test_hard_em_never_falls() -> None:
    fit = chain(pg.Poisson()).fit({"y": draw(17)}, posterior="hard", max_iter=20, tol=0)
    assert np.diff(fit.trace).min() >= -1e-8
    assert np.isfinite(fit.icl)


def test_saved_and_spelt(tmp_path: Path) -> None:
    model = chain(pg.Categorical(size=6))
    fit = model.fit({"y": draw(18)}, max_iter=3)
    fit.save(tmp_path / "fit.json")
    again = pg.load(tmp_path / "fit.json")
    y = draw(19)
    assert again.score({"y": y}) == fit.score({"y": y})
    assert pg.Model.from_json(model.to_json()).record == model.record
    spoilt = model.to_json().replace('"family": "Normal"', '"family": "Normal"')
    plain = json.loads(spoilt)
    node = plain["nodes"][0]
    node["duration"]["family"] = "Exponential"
    with pytest.raises(pg.DeclarationError):
        pg.Model.from_json(json.dumps(plain))


@pytest.mark.parametrize("name", ["Poisson", "Categorical"])
def test_the_script_runs_alone(tmp_path: Path, name: str) -> None:
    model, data = chain(DURATIONS[name]), {"y": draw(20)}
    fit = model.fit(data, max_iter=5, tol=0)
    path = tmp_path / "script.py"
    fit.program.to_script(data, max_iter=5, tol=0, path=path)
    command = [sys.executable, "-I", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout)["log_likelihood"] == pytest.approx(fit.trace[-1], rel=1e-12)


def test_the_report_tells_the_cost() -> None:
    text = str(chain(pg.Poisson()).compile().report)
    assert "segments of s with explicit durations" in text
    assert "3 D + 9 terms a step" in text
    words = chain(pg.Poisson()).compile().explain()
    assert "cuts off" in words
    assert "s.duration.rate" in words
