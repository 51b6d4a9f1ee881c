"""The known values of the gallery, found without pgem.

One function a model, by the name of its file.  Each returns what the file states under `known`: the
log-likelihood, its answers and the parameters it names, from the CSV file with NumPy and SciPy
alone.  Values from the literature that a likelihood with other conventions gives are
asserted where they are computed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, brentq, minimize
from scipy.special import expit, logsumexp, softmax, xlog1py, xlogy
from scipy.stats import binom, multivariate_normal, nbinom, norm, poisson

Array = NDArray[np.float64]
Known = dict[str, Any]
DATA = Path(__file__).parent.parent / "models" / "data"


def table(name: str) -> dict[str, Array]:
    """Columns of a file as numbers, nan where a cell is empty; + and - are 1 and 0."""
    with (DATA / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    read = {"": "nan", "+": "1", "-": "0"}
    return {key: np.array([float(read.get(r[key], r[key])) for r in rows]) for key in rows[0]}


def labelled(name: str) -> dict[str, float]:
    """A file of one label and one number a row."""
    with (DATA / f"{name}.csv").open(newline="") as file:
        return {key: float(value) for key, value in list(csv.reader(file))[1:]}


def lowest(loss: Callable[[Array], float], starts: Iterable[Any]) -> OptimizeResult:
    """The best of several runs of BFGS."""
    runs = [minimize(loss, np.asarray(x, float), options={"gtol": 1e-8}) for x in starts]
    return min(runs, key=lambda run: float(run.fun))


def shares(x: Array) -> Array:
    """Probabilities of free numbers; the last stands at zero."""
    return np.asarray(softmax(np.append(x, 0.0)))


def error_of(
    loss: Callable[[Array], float], x: Array, answer: Callable[[Array], float], step: float = 1e-4
) -> float:
    """Standard error of an answer by the delta method, from second differences of a loss."""
    steps = step * np.eye(x.size)
    slope = np.array([answer(x + e) - answer(x - e) for e in steps]) / (2 * step)
    curvature = [
        [loss(x + a + b) - loss(x + a - b) - loss(x - a + b) + loss(x - a - b) for a in steps]
        for b in steps
    ]
    return float(np.sqrt(slope @ np.linalg.solve(np.array(curvature) / (4 * step**2), slope)))


def saturated(counts: Array) -> float:
    return float(np.sum(xlogy(counts, counts / counts.sum())))


def forward(first: Array, moves: Array, densities: Array) -> float:
    """Log-likelihood of a hidden Markov chain: [K], [K, K], [T, K]."""
    total, ahead = 0.0, first
    for density in densities:
        joint = ahead * density
        total += np.log(joint.sum())
        ahead = joint / joint.sum() @ moves
    return float(total)


def stationary(moves: Array) -> Array:
    equations = np.vstack([moves.T - np.eye(len(moves)), np.ones(len(moves))])
    right = np.append(np.zeros(len(moves)), 1.0)
    solution: Array = np.linalg.lstsq(equations, right, rcond=None)[0]
    return np.clip(solution, 1e-12, 1.0)


# --- mixtures -----------------------------------------------------------------------------------


def airquality() -> Known:
    days = np.column_stack([table("airquality")[k] for k in ("ozone", "solar", "wind", "temp")])
    centre, scale = np.nanmean(days, axis=0), np.nanstd(days, axis=0)
    scaled, seen = (days - centre) / scale, ~np.isnan(days)
    patterns = [(p, scaled[(seen == p).all(1)][:, p]) for p in np.unique(seen, axis=0) if p.any()]
    jacobian = float(np.sum(seen * np.log(scale)))

    def loss(x: Array) -> float:
        root = np.zeros((4, 4))
        root[np.tril_indices(4)] = x[4:]
        cov = root @ root.T
        return jacobian - sum(
            float(np.sum(multivariate_normal(x[:4][p], cov[np.ix_(p, p)]).logpdf(rows)))
            for p, rows in patterns
        )

    start = np.append(np.zeros(4), np.eye(4)[np.tril_indices(4)])
    return {"log_likelihood": -lowest(loss, [start]).fun}


def old_faithful() -> Known:
    x = np.column_stack(list(table("old_faithful").values()))
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)

    def component(p: Array) -> Array:
        root = np.array([[np.exp(p[2]), 0.0], [p[3], np.exp(p[4])]])
        return np.asarray(multivariate_normal(p[:2], root @ root.T).logpdf(scaled))

    def loss(p: Array) -> float:
        parts = np.stack([component(p[1:6]), component(p[6:])], axis=1)
        return -float(np.sum(logsumexp(parts + np.log(shares(p[:1])), axis=1)))

    start = [0.0, -1.0, -1.0, -1.0, 0.0, -1.0, 1.0, 1.0, -1.0, 0.0, -1.0]
    return {"log_likelihood": -lowest(loss, [start]).fun - len(x) * np.log(x.std(axis=0)).sum()}


def iris() -> Known:
    flowers = np.column_stack(list(table("iris").values()))

    def lloyd(centres: Array) -> tuple[float, Array]:
        """Sum of squared distances and centres of k-means."""
        for _ in range(100):
            nearest = np.sum((flowers[:, None] - centres) ** 2, axis=2).argmin(axis=1)
            centres = np.array([flowers[nearest == k].mean(axis=0) for k in range(3)])
        return float(np.sum((flowers - centres[nearest]) ** 2)), centres

    starts = [np.random.default_rng(k).choice(150, 3, replace=False) for k in range(20)]
    inertia, centres = min((lloyd(flowers[rows]) for rows in starts), key=lambda run: run[0])
    assert round(inertia, 2) == 78.85
    logs = norm.logpdf(flowers[:, None] - centres).sum(axis=2) - np.log(3)
    return {"log_likelihood": float(np.sum(logsumexp(logs, axis=1))), "inertia": inertia}


def death_notices() -> Known:
    deaths, days = table("death_notices").values()

    def loss(x: Array) -> float:
        parts = np.log(shares(x[:1])) + poisson.logpmf(deaths[:, None], np.exp(x[1:]))
        return -float(days @ logsumexp(parts, axis=1))

    best = lowest(loss, [[-0.5, 0.2, 1.0]])
    found = {"season.probs": shares(best.x[:1]), "deaths.rate": np.exp(best.x[1:])}
    return {"log_likelihood": -best.fun, **found}


def cholera() -> Known:
    cases, households = table("cholera").values()
    ill = households[1:].sum()
    mean = float(cases @ households / ill)
    rate = float(brentq(lambda r: r / -np.expm1(-r) - mean, 0.1, 5.0, xtol=1e-14))
    exposed = ill / -np.expm1(-rate)
    density = exposed / households.sum() * poisson.pmf(cases, rate)
    density[0] = households[0] / households.sum()
    total = float(households @ np.log(density))
    return {"log_likelihood": total, "cases.1.rate": rate, "exposed": exposed}


def beta_blockers() -> Known:
    columns = table("beta_blockers")
    deaths, patients = (
        np.column_stack([columns[f"{arm}_{what}"] for arm in ("control", "treated")])
        for what in ("deaths", "patients")
    )

    def loss(x: Array, kinds: Array) -> float:
        logs = binom.logpmf(deaths[:, None], patients[:, None], expit(kinds)).sum(axis=2)
        return -float(np.sum(logsumexp(logs + np.log(shares(x)), axis=1)))

    free = float(np.sum(binom.logpmf(deaths, patients, deaths / patients)))
    starts = [np.array([0.0, 0.0, -3.0, -3.0, -2.3, -2.5, -1.5, -1.8])]
    best = lowest(lambda x: loss(x[:2], x[2:].reshape(3, 2)), starts)
    # one effect for all kinds: the deviance that Aitkin (1999) prints
    same = np.array([[0.0, 1.0]])
    shared = lowest(
        lambda x: loss(x[:2], x[2:5, None] + x[5] * same), [[0.0, 0.0, -2.8, -2.2, -1.6, -0.2]]
    )
    assert round(2 * (free + shared.fun), 2) == 101.29
    known = {"log_likelihood": -best.fun, "deviance": 2 * (free + best.fun)}
    return {**known, "kind.probs": shares(best.x[:2])}


# --- tables of counts ---------------------------------------------------------------------------


def blood_groups() -> Known:
    counts = labelled("blood_groups")

    def loss(x: Array) -> float:
        a, b, o = shares(x)
        groups = {"A": a * a + 2 * a * o, "B": b * b + 2 * b * o, "AB": 2 * a * b, "O": o * o}
        return -sum(counts[group] * float(np.log(share)) for group, share in groups.items())

    best = lowest(loss, [[0.0, 0.0]])
    return {"log_likelihood": -best.fun, "allele": shares(best.x)}


def linkage() -> Known:
    counts = np.array([labelled("linkage")[key] for key in ("AB", "Ab", "aB", "ab")])
    pi = float(np.roots([197.0, -15.0, -68.0]).max())
    cells = np.array([0.5 + pi / 4, (1 - pi) / 4, (1 - pi) / 4, pi / 4])
    information = counts[0] / (2 + pi) ** 2 + counts[1:3].sum() / (1 - pi) ** 2 + counts[3] / pi**2
    error = information**-0.5
    return {"log_likelihood": counts @ np.log(cells), "pi": pi, "standard_error": error}


def carcinoma() -> Known:
    columns = table("carcinoma")
    ratings = np.column_stack([columns[name] for name in "ABCDEFG"]) - 1
    slides = columns["count"]

    def loss(x: Array) -> float:
        yes = expit(x[2:]).reshape(3, 7)
        logs = xlogy(ratings[:, None], yes) + xlog1py(1 - ratings[:, None], -yes)
        return -float(slides @ logsumexp(logs.sum(axis=2) + np.log(shares(x[:2])), axis=1))

    start = np.concatenate(
        [[0.0, 0.0], [-3.0] * 7, [2.0, 2.0, -2.0, -2.0, 2.0, -2.0, 2.0], [3] * 7]
    )
    best = lowest(loss, [start])
    assert round(2 * (saturated(slides) + best.fun), 2) == 15.26
    return {"log_likelihood": -best.fun}


def quine() -> Known:
    """One negative binomial, by its size and the odds of a success."""
    days = table("quine")["days"]

    def loss(x: Array) -> float:
        return -float(nbinom.logpmf(days, np.exp(x[0]), expit(x[1])).sum())

    best = lowest(loss, [[0.0, 0.0], [1.0, -2.0]])
    size, odds = np.exp(best.x)
    known = {"log_likelihood": -best.fun, "rate.shape": size, "rate.rate": odds}
    assert days.var(ddof=1) > 16 * days.mean()
    assert np.isclose(poisson.logpmf(days, days.mean()).sum(), -1331.00492)
    return known


def role_conflict() -> Known:
    columns = table("role_conflict")
    answers = np.column_stack([columns[name] for name in "ABCD"])
    counts = columns["count"]
    scale = np.array([(answers == (np.arange(4) < k)).all(axis=1) for k in range(5)], dtype=float)

    def loss(x: Array) -> float:
        yes, kinds = expit(x[5:]), shares(x[:5])
        free = np.prod(np.where(answers == 1, yes, 1 - yes), axis=1)
        return -float(counts @ np.log(kinds[:5] @ scale + kinds[5] * free))

    best = lowest(loss, [np.append([-1.0] * 5, np.zeros(4))])
    fit = 2 * (saturated(counts) + best.fun)
    assert round(fit, 2) == 0.99
    return {"log_likelihood": -best.fun, "G2": fit, "unscalable": shares(best.x[:5])[-1]}


def leading_crowd() -> Known:
    counts = table("leading_crowd")["count"].reshape(2, 2, 2, 2)

    def loss(x: Array) -> float:
        both, plus = shares(x[:3]).reshape(2, 2), expit(x[3:]).reshape(4, 2)
        items = np.stack([plus, 1 - plus], axis=-1)
        cells = np.einsum("mv,ma,vb,mc,vd->abcd", both, *items)
        return -float(np.sum(counts * np.log(cells)))

    best = lowest(loss, [np.append(np.zeros(3), [-2, 1, 1, -1] * 2)])
    fit = 2 * (saturated(counts) + best.fun)
    assert round(fit, 2) == 1.27
    return {"log_likelihood": -best.fun, "G2": fit}


def cervical_cancer() -> Known:
    infected, cancer, blot, count = table("cervical_cancer").values()
    cell = (2 * cancer + blot).astype(int)
    totals = np.bincount(cell, count)
    refined = np.array([np.bincount(cell, count * (infected == k), 4) for k in (0, 1)])

    def loss(x: Array) -> float:
        cells, share = shares(x[:3]), expit(x[3:])
        few = xlogy(refined[0], 1 - share) + xlogy(refined[1], share)
        return -float(np.sum(xlogy(totals, cells) + few))

    def log_odds_ratio(x: Array) -> float:
        cells, share = shares(x[:3]), expit(x[3:])
        (a, b), (c, d) = ((cells * k).reshape(2, 2).sum(axis=1) for k in (share, 1 - share))
        return float(np.log(b * c / (a * d)))

    # what the refined assay says of a cell holds for all women of the cell
    x = np.append(np.log(totals[:3] / totals[3]), np.log(refined[1] / refined[0]))
    naive = totals.reshape(2, 2)
    assert round(np.log(naive[1, 1] * naive[0, 0] / (naive[1, 0] * naive[0, 1])), 3) == 0.453
    answers = {
        "log_odds_ratio": log_odds_ratio(x),
        "standard_error": error_of(loss, x, log_odds_ratio),
    }
    return {"log_likelihood": -loss(x), **answers}


def anaesthetists() -> Known:
    judged = np.column_stack(list(table("anaesthetists").values())[1:]).astype(int) - 1
    who = [0, 0, 0, 1, 2, 3, 4]
    counts = np.zeros((45, 5, 4))
    for column, person in zip(judged.T, who, strict=True):
        counts[np.arange(45), person, column] += 1

    def iterate(labels: Array) -> tuple[float, Array]:
        """The iterations of Dawid & Skene (1979): log-likelihood and shares of the classes."""
        totals = [-np.inf, -np.inf]
        while len(totals) < 4 or totals[-1] - totals[-2] > 1e-12:
            classes = labels.mean(axis=0)
            errors = np.einsum("nj,nkl->kjl", labels, counts)
            errors /= errors.sum(axis=2, keepdims=True)
            logs = xlogy(counts[:, :, None], errors).sum(axis=(1, 3)) + np.log(classes)
            labels = np.asarray(softmax(logs, axis=1))
            totals.append(float(np.sum(logsumexp(logs, axis=1))))
        return totals[-1], classes

    found, classes = iterate(counts.sum(axis=1) / 7)
    assert np.array_equal(classes.round(2), [0.40, 0.42, 0.11, 0.07])
    others = [iterate(np.random.default_rng(k).dirichlet(np.ones(4), 45))[0] for k in range(100)]
    assert 1.3 < max(others) - found < 1.4
    return {"log_likelihood": found, "state.probs": classes}


def titanic() -> Known:
    with (DATA / "titanic.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    people = np.array([float(row["count"]) for row in rows])
    fates = np.array([row["survived"] == "yes" for row in rows]).astype(int)
    fate = np.bincount(fates, people) / people.sum()

    def joint(added: float) -> Array:
        """Log-probability of each row with either fate, [24, 2]."""
        logs = np.tile(np.log(fate), (len(rows), 1))
        for name in ("travelled", "sex", "age"):
            _, codes = np.unique([row[name] for row in rows], return_inverse=True)
            counts = np.stack([np.bincount(codes, people * (fates == k)) for k in (0, 1)]) + added
            logs += np.log(counts / counts.sum(axis=1, keepdims=True))[:, codes].T
        return logs

    with np.errstate(divide="ignore"):
        assert people @ (joint(0.0).argmax(axis=1) == fates) == 1713
    logs = joint(1.0)
    right = people @ (logs.argmax(axis=1) == fates)
    total = people @ logs[np.arange(len(rows)), fates]
    return {"log_likelihood": total, "survived.probs": fate, "right": right}


# --- sequences ----------------------------------------------------------------------------------


def earthquakes() -> Known:
    quakes = table("earthquakes")["quakes"]

    def loss(x: Array) -> float:
        moves = np.array([shares(row) for row in x[3:9].reshape(3, 2)])
        moves = np.array([np.roll(row, k + 1) for k, row in enumerate(moves)])
        first = shares(x[9:])
        return -forward(first, moves, poisson.pmf(quakes[:, None], np.exp(x[:3])))

    start = [*np.log([13.0, 20.0, 30.0]), *[-2.0] * 6, 5.0, 0.0]
    return {"log_likelihood": -lowest(loss, [start]).fun}


def coal() -> Known:
    years, disasters = table("coal").values()

    def parts(rates: Array) -> Array:
        """Log-likelihood of the counts if the old era ends after 1, 2, … 112 years."""
        old, new = poisson.logpmf(disasters, rates[:, None])
        return np.asarray(np.cumsum(old) + new.sum() - np.cumsum(new))

    def loss(x: Array) -> float:
        end, stay = expit(x[2]), expit(-x[2])
        waits = np.log(stay) * np.arange(years.size) + np.append([np.log(end)] * 111, 0.0)
        return -float(logsumexp(parts(np.exp(x[:2])) + waits))

    best = lowest(loss, [[1.0, 0.0, -3.5]])
    splits = [(disasters[:k].mean(), disasters[k:].mean()) for k in range(1, years.size)]
    likelihoods = [parts(np.array(rates))[k] for k, rates in enumerate(splits)]
    last = float(years[int(np.argmax(likelihoods))])
    rates = np.exp(best.x[:2])
    return {"log_likelihood": -best.fun, "disasters.rate": rates, "last_year": last}


def eruption_order() -> Known:
    long = table("eruption_order")["long"].astype(int)
    eruptions = np.stack([1 - long, long], axis=1)
    assert not any(a == b == 0 for a, b in pairwise(long))

    def parts(x: Array) -> tuple[Array, Array]:
        """Moves of pairs of states, and densities of the eruptions, both of the later state."""
        ahead, emissions = expit(x[:4]).reshape(2, 2), expit(x[4:6])
        moves = np.zeros((2, 2, 2, 2))
        for state in (0, 1):
            moves[:, state, state] = np.stack([1 - ahead[:, state], ahead[:, state]], axis=1)
        densities = eruptions @ np.stack([1 - emissions, emissions])
        return moves.reshape(4, 4), np.tile(densities, 2)

    def free(x: Array) -> float:
        moves, densities = parts(x)
        first, second = expit(x[6]), expit(x[7:9])
        pairs = np.outer([1 - first, first], [1, 1]) * np.stack([1 - second, second], axis=1)
        pairs = pairs * densities[0, :2][:, None]
        scale = pairs.sum()
        return -float(np.log(scale)) - forward(pairs.ravel() / scale, moves, densities[1:])

    def settled(x: Array) -> float:
        moves, densities = parts(x)
        return -forward(stationary(moves), moves, densities)

    start = np.array([3.0, -1.0, 3.0, 0.0, -2.0, 3.0, 2.0, -2.0, -2.0])
    assert round(lowest(settled, [start[:6]]).fun, 2) == 126.90
    return {"log_likelihood": -lowest(free, [start]).fun}


def fedfunds() -> Known:
    rate = table("fedfunds")["rate"]

    def parts(x: Array) -> tuple[Array, Array]:
        stay = expit(x[:2])
        moves = np.array([[stay[0], 1 - stay[0]], [1 - stay[1], stay[1]]])
        lines = x[2:4] + np.outer(rate[:-1], x[4:6])
        return moves, norm.pdf(rate[1:, None], lines, np.exp(x[6]))

    def loss(x: Array) -> float:
        moves, densities = parts(x)
        return -forward(stationary(moves), moves, densities)

    best = lowest(loss, [[0.5, 2.0, 0.7, -0.1, 0.76, 1.06, -0.4]])
    assert round(best.fun, 5) == 264.71069  # Stata
    drift, explosion = (error_of(loss, best.x, lambda x, k=k: float(x[k])) for k in (4, 5))
    found = {"mood.probs": parts(best.x)[0], "slope": best.x[4:6], "intercept": best.x[2:4]}
    errors = {"error_of_drift": drift, "error_of_explosion": explosion}
    return {"log_likelihood": -best.fun, **found, **errors}


# --- Normal latents and regressions -------------------------------------------------------------


def nile() -> Known:
    flow = table("nile")["flow"]
    years = np.arange(flow.size, dtype=float)

    def loss(x: Array) -> float:
        """By the Kalman filter: a level of 10^10 variance is too much for a dense matrix."""
        noise, step = np.exp(x)
        total, mean, var = 0.0, 0.0, 1e10
        for value in flow:
            total -= float(norm.logpdf(value, mean, np.sqrt(var + noise)))
            gain = var / (var + noise)
            mean, var = mean + gain * (value - mean), gain * noise + step
        return total

    def level(seen: NDArray[np.bool_], year: int = 29) -> tuple[float, float]:
        """Mean and variance of a year's level."""
        gain = np.linalg.solve(total[np.ix_(seen, seen)], levels[seen, year])
        return float(gain @ flow[seen]), float(levels[year, year] - gain @ levels[seen, year])

    best = lowest(loss, [[9.0, 7.0]])
    noise, step = np.exp(best.x)
    levels = 1e10 + step * np.minimum.outer(years, years)
    total = levels + noise * np.eye(flow.size)
    # Durbin & Koopman (2001) leave the first year out of the likelihood
    first = norm.logpdf(flow[0], 0.0, np.sqrt(total[0, 0]))
    assert round(best.fun + first, 4) == 632.5456
    assert max(abs(noise - 15099), abs(step - 1469.1)) < 1
    holed = np.ones(flow.size, dtype=bool)
    holed[20:40] = holed[60:80] = False
    whole, gap = level(np.ones(flow.size, dtype=bool)), level(holed)
    answers = {
        "var_of_flow": noise / 1000,
        "var_of_step": step / 1000,
        "level_1900": whole[0] / 100,
        "var_1900": whole[1] / 1000,
        "level_1900_in_gap": gap[0] / 100,
        "var_1900_in_gap": gap[1] / 1000,
    }
    return {"log_likelihood": -best.fun, **answers}


def dyestuff() -> Known:
    grams = table("dyestuff")["yield"].reshape(6, 5)
    means = grams.mean(axis=1)
    within = float(np.sum((grams - means[:, None]) ** 2)) / 24
    between = float(means.var()) - within / 5
    assert np.array_equal(np.sqrt([between, within]).round(2), [37.26, 49.51])
    total = between * np.ones((5, 5)) + within * np.eye(5)
    pull = between / (between + within / 5)
    answers = {
        "mean": float(means.mean()),
        "error_of_mean": float(means.std()) / np.sqrt(6),
        "var_between": between,
        "var_within": within,
        "worst": float(means.mean() + pull * (means.min() - means.mean())),
        "best": float(means.mean() + pull * (means.max() - means.mean())),
    }
    row = np.full(5, means.mean())
    return {"log_likelihood": float(multivariate_normal(row, total).logpdf(grams).sum()), **answers}


def pigs() -> Known:
    columns = table("pigs")
    pigs = [columns["pig"] == k for k in np.unique(columns["pig"])]
    herds: dict[tuple[float, ...], list[Array]] = {}
    for pig in pigs:
        herds.setdefault(tuple(columns["week"][pig]), []).append(columns["weight"][pig])

    def loss(x: Array) -> float:
        root = np.array([[x[2], 0.0], [x[3], x[4]]])
        total = 0.0
        for weeks, weights in herds.items():
            design = np.column_stack([np.ones(len(weeks)), weeks])
            cov = design @ root @ root.T @ design.T + np.exp(x[5]) * np.eye(len(weeks))
            total += multivariate_normal(design @ x[:2], cov).logpdf(np.array(weights)).sum()
        return -float(total)

    best = lowest(loss, [[16.0, 7.0, 4.0, 0.0, 0.6, 2.0]])
    root = np.array([[best.x[2], 0.0], [best.x[3], best.x[4]]])
    cov = root @ root.T
    spread = np.sqrt(np.diag(cov))
    assert round(-best.fun, 3) == -2215.753  # lme4
    return {
        "log_likelihood": -best.fun,
        "own.mean": best.x[:2],
        "sd_intercept": spread[0],
        "sd_slope": spread[1],
        "correlation": cov[0, 1] / spread.prod(),
    }


def primates() -> Known:
    """Generalised least squares on the species, whose covariance is the path that they share."""
    with (DATA / "primates.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}

    def path(name: str) -> dict[str, float]:
        row = rows.get(name)
        return {name: float(row["length"]), **path(row["parent"])} if row else {}

    def shared(one: str, other: str) -> float:
        return sum(length for name, length in path(one).items() if name in path(other))

    species = [name for name, row in rows.items() if row["body"]]
    x = np.array([[float(rows[n]["body"]), float(rows[n]["longevity"])] for n in species])
    between = np.array([[shared(a, b) for b in species] for a in species])
    inverse = np.linalg.inv(between)
    root = inverse.sum(axis=0) @ x / inverse.sum()
    assert np.allclose(root, [1.183724613, 3.011356599], atol=1e-9)  # DendroPy
    rate = (x - root).T @ inverse @ (x - root) / len(x)
    to_hominid = np.array([shared("hominids", b) for b in species])
    hominid = root + to_hominid @ inverse @ (x - root)
    log_p = multivariate_normal(np.tile(root, len(x)), np.kron(between, rate)).logpdf(x.ravel())
    return {
        "log_likelihood": log_p,
        "root": root,
        "mass_rate": rate[0, 0],
        "slope": rate[0, 1] / rate[0, 0],
        "hominid": np.exp(hominid[0]),
    }


def meta_analysis() -> Known:
    c = table("beta_blockers")
    cells = np.array([[c[f"{arm}_deaths"], c[f"{arm}_patients"] - c[f"{arm}_deaths"]]
                      for arm in ("control", "treated")])  # fmt: skip
    ratio = np.log(cells[1, 0] / cells[1, 1] / (cells[0, 0] / cells[0, 1]))
    variance = np.sum(1 / cells, axis=(0, 1))

    def loss(x: Array) -> float:
        return -float(norm.logpdf(ratio, x[0], np.sqrt(x[1] ** 2 + variance)).sum())

    best = lowest(loss, [[0.0, 0.2]])
    answers = {"common": best.x[0], "scatter": abs(best.x[1])}
    error = error_of(loss, best.x, lambda x: float(x[0]))
    return {"log_likelihood": -best.fun, **answers, "standard_error": error}


def affairs() -> Known:
    columns = table("affairs")
    affairs = columns.pop("affairs")
    person = np.column_stack([np.ones(601), *columns.values()]) / [1, 10, 10, 1, 1, 1]

    def loss(x: Array) -> float:
        faith, rate = person @ x[:6], np.exp(person @ x[6:])
        never = np.log(expit(faith) + expit(-faith) * np.exp(-rate))
        others = np.log(expit(-faith)) + poisson.logpmf(affairs, rate)
        return -float(np.sum(np.where(affairs == 0, never, others)))

    best = lowest(loss, [[0.0] * 6 + [1.0] + [0.0] * 5])
    found = {"of_faith": best.x[:6], "of_count": best.x[6:], "of_religion": best.x[3]}
    error = error_of(loss, best.x, lambda x: float(x[3]))
    return {"log_likelihood": -best.fun, **found, "its_error": error}


def co2_gnp() -> Known:
    gnp, co2 = table("co2_gnp").values()

    def loss(x: Array) -> float:
        logs = norm.logpdf(co2[:, None], x[1:3] + np.outer(gnp, x[3:5]), np.exp(x[5:7]))
        return -float(np.sum(logsumexp(logs + np.log(shares(x[:1])), axis=1)))

    best = lowest(loss, [[1.0, 8.0, 2.0, 0.0, 0.6, 0.7, 0.0]])
    assert round(best.fun, 2) == 66.94
    names = {"way.probs": shares(best.x[:1]), "intercept": best.x[1:3], "slope": best.x[3:5]}
    return {"log_likelihood": -best.fun, **names, "var": np.exp(2 * best.x[5:7])}


def ozone() -> Known:
    columns = table("airquality")
    weather = np.column_stack([np.ones(153), columns["wind"] / 10, columns["temp"] / 100])
    sun, ozone = columns["solar"] / 100, columns["ozone"] / 100

    def loss(x: Array) -> float:
        a, b, slope, var_sun, var_ozone = x[:3], x[3:6], x[6], np.exp(x[7]), np.exp(x[8])
        hole = np.isnan(sun)
        known = np.where(hole, weather @ a, sun)
        spread = np.where(hole, var_ozone + slope**2 * var_sun, var_ozone)
        logs = [norm.logpdf(sun, weather @ a, np.sqrt(var_sun)),
                norm.logpdf(ozone, weather @ b + slope * known, np.sqrt(spread))]  # fmt: skip
        return -float(np.nansum(logs))

    best = lowest(loss, [[0.0, 0.0, 3.0, 0.0, 0.0, 1.0, 0.1, 0.0, -2.0]])
    return {"log_likelihood": -best.fun, "of_sun": best.x[6], "a": best.x[:3], "b": best.x[3:6]}


def wine() -> Known:
    columns = list(table("wine").values())
    chemistry, cultivar = np.column_stack(columns[:13]), columns[13]
    scaled = (chemistry - chemistry.mean(axis=0)) / chemistry.std(axis=0)
    correlations = np.cov(scaled.T, bias=True)

    def spectrum(x: Array) -> tuple[Array, Array]:
        """Eigenvalues, from the largest, and vectors of the correlations over what is left."""
        values, vectors = np.linalg.eigh(correlations / np.exp(x + x[:, None]))
        return values[::-1], vectors[:, ::-1]

    def loss(x: Array) -> float:
        values = spectrum(x)[0]
        fit = np.log(values[:2]).sum() + 2 + values[2:].sum() + 2 * x.sum()
        return 89 * float(fit + 13 * np.log(2 * np.pi))

    best = lowest(loss, [np.full(13, -0.3)])
    values, vectors = spectrum(best.x)
    loadings = np.exp(best.x)[:, None] * vectors[:, :2] * np.sqrt(values[:2] - 1)
    total = loadings @ loadings.T + np.diag(np.exp(2 * best.x))
    place = scaled @ np.linalg.solve(total, loadings)
    centres = np.array([place[cultivar == k].mean(axis=0) for k in (1, 2, 3)])
    nearest = 1 + np.sum((place[:, None] - centres) ** 2, axis=2).argmin(axis=1)
    left = np.exp(2 * best.x)
    return {
        "log_likelihood": -best.fun - 178 * float(np.log(chemistry.std(axis=0)).sum()),
        "flavanoids_left": left[6],
        "ash_left": left[2],
        "near": float(np.sum(nearest == cultivar)),
    }


def fitness() -> Known:
    men = np.column_stack(list(table("fitness").values()))
    cov = np.cov(men.T, bias=True)
    body, exercise, across = cov[:3, :3], cov[3:, 3:], cov[:3, 3:]
    squares = np.linalg.eigvals(np.linalg.solve(body, across) @ np.linalg.solve(exercise, across.T))
    first = float(np.max(squares.real))
    assert round(np.sqrt(first), 4) == 0.7956
    logs = np.linalg.slogdet(body)[1] + np.linalg.slogdet(exercise)[1] + np.log(1 - first)
    total = -10 * float(logs + 6 * np.log(2 * np.pi * np.e))
    return {"log_likelihood": total, "correlation": np.sqrt(first)}
