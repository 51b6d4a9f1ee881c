"""Random autoregressions whose parameters switch from step to step, with holes in their values."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from dense import Cell, Dense, Params, Path, World, look
from numpy.typing import NDArray

import pgem as pg
from pgem.result.cells import cell_slots
from pgem.routines import Stats
from pgem.run import sum_statistics

Floats = NDArray[np.float64]
CLOSE = {"rtol": 1e-8, "atol": 1e-8}
GATING = {
    "a chain": ('s = pg.latent("s", pg.Categorical(size={k}), after="s")', "[s]"),
    "a chain, and the step before": (
        's = pg.latent("s", pg.Categorical(size={k}), after="s")',
        '[s, pg.prev("s")]',
    ),
    "a chain of second order": (
        's = pg.latent("s", pg.Categorical(size=2), given=[pg.prev("s", 2), pg.prev("s", 1)])',
        "[s]",
    ),
    "two steps of a chain of second order": (
        's = pg.latent("s", pg.Categorical(size=2), given=[pg.prev("s", 2), pg.prev("s", 1)])',
        '[pg.prev("s", 2), s]',
    ),
    "a chain and a state of each step": (
        's = pg.latent("s", pg.Categorical(size=2), after="s")\n'
        '    z = pg.latent("z", pg.Categorical(size=2), given=s)',
        "[z, s]",
    ),
    "a state of each step": ('z = pg.latent("z", pg.Categorical(size={k}))', "[z]"),
    "two chains": (
        's = pg.latent("s", pg.Categorical(size=2), after="s")\n'
        '    u = pg.latent("u", pg.Categorical(size=2), after="u", given=s)',
        "[u]",
    ),
    "a chain in a mixture": (
        's = pg.latent("s", pg.Categorical(size=2), given=c, after="s")',
        "[s, c]",
    ),
    "a mixture of means": (
        's = pg.latent("s", pg.Categorical(size=2), after="s")',
        "[c, s]",
    ),
    "a chain and a regime that is seen": (
        's = pg.latent("s", pg.Categorical(size=2), after="s")\n    w = pg.covariate("w", size=2)',
        "[s, w]",
    ),
    "a chain, beside a factor of each step": (
        's = pg.latent("s", pg.Categorical(size={k}), after="s")\n'
        '    f = pg.latent("f", pg.Normal(0.0, 1.0))',
        "[s]",
    ),
    "a chain that moves a factor of each step": (
        's = pg.latent("s", pg.Categorical(size=2), after="s")\n'
        '    f = pg.latent("f", pg.Normal(mean=pg.param("m")[s], var=1.0))',
        '[s, pg.prev("s")]',
    ),
}
"""What gates the values: the declaration, and the gates of the mean."""


@dataclass
class Case:
    """A model with data and parameters.

    Attributes:
        code: the declaration.
        data: by node.
        sizes: members of plates and sequences, for the oracle.
        n_units: number of units.
    """

    code: str
    data: dict[str, Any]
    sizes: dict[str, Any]
    n_units: int
    dims: dict[str, int]
    categories: dict[str, int]
    model: pg.Model = field(init=False)

    def __post_init__(self) -> None:
        names: dict[str, Any] = {"pg": pg, "np": np}
        exec(self.code, names)
        self.model = names["m"]

    def oracle(self) -> Dense:
        """The dense oracle of these data."""
        dense = Dense(self.model.record, self.data, self.sizes, self.n_units, self.categories)
        dense.dims = self.dims
        return dense

    def params(self, rng: np.random.Generator) -> dict[str, Floats]:
        """Random parameters inside their constraints."""
        found = {}
        for name, layout in self.model.compile(self.data).params.items():
            role, shape = layout.role.name, layout.shape
            if role == "probability vector":
                value = rng.dirichlet(np.full(shape[-1], 2.0), shape[:-1])
            elif role == "mean":
                value = rng.normal(size=shape) * 0.7
            elif role == "variance":
                value = rng.gamma(4.0, 0.25, shape) + 0.1
            elif role == "rate":
                value = rng.gamma(2.0, 0.7, shape)
            elif role == "probability":
                value = rng.uniform(0.2, 0.8, shape)
            else:
                root = rng.normal(size=shape) * 0.5
                value = root @ np.swapaxes(root, -1, -2) + 0.4 * np.eye(shape[-1])
            if layout.value is not None:
                value = np.where(layout.fixed, layout.value, value)
            found[name] = np.asarray(value)
        return found


class Switching(Case):
    """A case whose oracle knows which values say nothing.

    Attributes:
        all_tied: whether every value looks back at the one before, so that only the last missing
            ones say nothing.
    """

    all_tied = True

    def oracle(self) -> Dense:
        dense = Forgetful(self.model.record, self.data, self.sizes, self.n_units, self.categories)
        dense.dims = self.dims
        return dense


class Forgetful(Dense):
    """Values that are missing, with nothing that is seen after them, teach nothing."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.kept: dict[tuple[int, int], tuple[Params, list[World]]] = {}

    def worlds(self, unit: int, params: Params) -> list[World]:
        """All configurations, made once for the same parameters."""
        key = unit, id(params)
        if key not in self.kept:
            self.kept[key] = params, self.new_worlds(unit, params)
        return self.kept[key][1]

    def new_worlds(self, unit: int, params: Params) -> list[World]:
        """All configurations that have positive probability."""
        return super().worlds(unit, params)

    def is_idle(self, name: str, unit: int, path: Path) -> NDArray[np.bool_]:
        idle = super().is_idle(name, unit, path)
        if not self.is_gaussian(name):
            return idle
        scope = self.nodes[name].scope
        later = [
            (other, home)
            for other, home in self.cells(unit)
            if self.is_gaussian(other) and self._follows(scope, unit, home, path)
        ]
        return np.ones_like(idle) if all(self._gone(cell, unit) for cell in later) else idle

    def _follows(self, scope: str, unit: int, path: Path, start: Path) -> bool:
        """Whether a step is some step or a later one, a member one of its descendants."""
        if self.scopes[scope].kind != "tree":
            return path[-1] >= start[-1]
        while path != start and path[-1] >= 0:
            path = self.parent_path(scope, unit, path, 1)
        return path == start

    def _gone(self, cell: Cell, unit: int) -> bool:
        return bool(np.isnan(self.seen(cell[0], unit, cell[1])).all())


def make_case(
    seed: int,
    n_units: int = 3,
    gating: str = "",
    kinds: Mapping[str, tuple[str, str]] = GATING,
    made: type[Switching] = Switching,
    *,
    tree: bool = False,
) -> Switching:
    """A random declaration with data, along sequences or trees."""
    rng = np.random.default_rng(seed)
    gating = gating or list(kinds)[int(rng.integers(len(kinds)))]
    chain, gates = kinds[gating]
    k = int(rng.integers(2, 4))
    lags = [[1], [1], [1, 2], [2]][0 if tree else int(rng.integers(4))]
    dim = [None, None, 2][int(rng.integers(3))]
    lines = ['with pg.Model("m") as m:']
    if "mixture" in gating:
        lines.append('  c = pg.latent("c", pg.Categorical(size=2))')
    lines.append(f'  with pg.{"tree" if tree else "sequence"}("t"):')
    body = chain.format(k=k).split("\n    ")
    longest = 6 if k == 2 or "second" in gating else 5
    longest += 2 if "duration" in chain and k == 2 else 0
    back = 2 if '"s", 2' in gates else 1 if "prev" in gates else 0
    given = max(*lags, back)
    sizes = [int(rng.integers(given + 1, longest)) for _ in range(n_units)]
    data: dict[str, Any] = {}
    if tree:
        data["t.parent"] = [_parents(rng, n) for n in sizes]
    terms = [f'pg.param("b"){gates}']
    for lag in lags:
        own = gates if rng.random() < 0.7 else ""
        product = "@" if dim else "*"
        terms.append(f'pg.param("a{lag}"){own} {product} pg.prev("y", {lag})')
    if "factor" in gating:
        terms.append('pg.param("l") * f')
    if rng.random() < 0.3:
        body.append('x = pg.covariate("x")')
        terms.append('pg.param("r") * x')
        data["x"] = [rng.normal(size=n) for n in sizes]
    own = gates if rng.random() < 0.6 else ""
    scaled = ""
    if dim is None and rng.random() < 0.2:
        body.append('v = pg.covariate("v")')
        scaled = " * v"
        data["v"] = [rng.gamma(3.0, 0.4, n) for n in sizes]
    first, spread = _first(rng, dim), _spread(rng, dim, own, scaled)
    kind = "MvNormal" if dim else "Normal"
    now = _current(gates)
    family = f"pg.{kind}(mean={' + '.join(terms)}, {spread})"
    if not first and rng.random() < 0.4:  # families of their own instead of rows of parameters
        others = [_other(rng, dim, c, terms) for c in range(1, k if "size={k}" in chain else 2)]
        family = f"pg.switch({now}, {', '.join([family, *others])})"
    body.append(f'y = pg.observed("y", {family}{first})')
    data["y"] = [_values(rng, n, dim, 0 if first else given) for n in sizes]
    for values, above in zip(data["y"], data.get("t.parent", []), strict=False):
        if not first:  # roots are conditioned on
            values[above < 0] = rng.normal(size=values[above < 0].shape)
    _add_others(rng, chain, gating, gates, dim, sizes, body, data)
    categories = {"s": 2 if "size=2" in chain.split("\n")[0] else k, "c": 2, "o": 2, "u": 2,
                  "z": k if "size={k}" in chain else 2, "w": 2}  # fmt: skip
    lines += [f"    {line}" for line in body]
    dims = {"y": dim} if dim else {}
    case = made("\n".join(lines), data, {"t": sizes}, n_units, dims, categories)
    case.all_tied = lags[0] == 1 and (not first or given == 1) and "moves" not in gating
    return case


def _current(gates: str) -> str:
    """The gate of a step itself."""
    return next(gate for gate in ("s", "z", "u") if gate in gates[1:-1].split(", "))


def _add_others(
    rng: np.random.Generator, chain: str, gating: str, gates: str, dim: int | None,
    sizes: list[int], body: list[str], data: dict[str, Any],
) -> None:  # fmt: skip
    """Other children of the gates and of the values, and what is given."""
    now = _current(gates)
    if rng.random() < 0.3:
        body.append('o = pg.observed("o", pg.Categorical(size=2), given=' + now + ")")
        data["o"] = [rng.integers(0, 2, n) for n in sizes]
    if dim is None and rng.random() < 0.25:
        gate = f"[{now}]" if rng.random() < 0.5 else ""
        body.append(f'e = pg.observed("e", pg.Normal(mean=pg.param("d"){gate} * y, var=0.7))')
        data["e"] = [np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)) for n in sizes]
    if "factor" in gating and rng.random() < 0.5:
        body.append('h = pg.observed("h", pg.Normal(mean=pg.param("k") * f, var=0.5))')
        data["h"] = [np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)) for n in sizes]
    if "w = " in chain:
        data["w"] = [rng.integers(0, 2, n) for n in sizes]
    if "s = " in chain and "mixture" not in gating and rng.random() < 0.2:
        data["s"] = [np.where(rng.random(n) < 0.7, np.nan, rng.integers(0, 2, n)) for n in sizes]


def _parents(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """A random forest, its members in random order."""
    above = [-1, *(int(rng.integers(-1 if rng.random() < 0.2 else 0, k)) for k in range(1, n))]
    place = rng.permutation(n)
    found = np.empty(n, dtype=np.int64)
    found[place] = [-1 if k < 0 else int(place[k]) for k in above]
    return found


def _other(rng: np.random.Generator, dim: int | None, number: int, terms: list[str]) -> str:
    """Another component of a switch: with some of the terms, and a variance of its own."""
    own = f'pg.param("of{number}_'
    kept = [term.replace('pg.param("', own) for term in terms[1:] if rng.random() < 0.5]
    mean = " + ".join([f'pg.param("m{number}")', *kept])
    if dim is None:
        return f'pg.Normal(mean={mean}, var=pg.param("w{number}"))'
    inside = f'pg.param("w{number}")'
    cov = inside if rng.random() < 0.5 else f"pg.diagonal({inside})"
    return f"pg.MvNormal(mean={mean}, cov={cov})"


def _first(rng: np.random.Generator, dim: int | None) -> str:
    if rng.random() < 0.4:
        return ""
    return f", first=pg.MvNormal(0.0, pg.identity({dim}))" if dim else ", first=pg.Normal()"


def _spread(rng: np.random.Generator, dim: int | None, gates: str, scaled: str) -> str:
    if dim is None:
        return f'var=pg.param("v2"){gates}{scaled}'
    if rng.random() < 0.5:
        return f'cov=pg.param("v2"){gates}'
    return f'cov=pg.diagonal(pg.param("v2"){gates})'


def _values(rng: np.random.Generator, n: int, dim: int | None, given: int) -> Floats:
    """Values with a third of the cells missing, complete at the first ones."""
    values = rng.normal(size=(n, dim) if dim else n)
    gone = rng.random(values.shape) < 0.35
    gone[:given] = False
    return np.where(gone, np.nan, values)


# --- what is compared ---------------------------------------------------------------------------


def agree(case: Switching, params: dict[str, Floats], message: str = "") -> None:
    """Log-likelihoods, moments and marginals are the oracle's."""
    oracle, close = case.oracle(), {**CLOSE, "err_msg": message}
    found = case.model.log_likelihood(case.data, params)
    np.testing.assert_allclose(found, oracle.log_likelihood(params), **close)
    posterior = case.model.posterior(case.data, params)
    for (unit, name, path), (mean, cov) in oracle.moments(params).items():
        if name not in posterior:
            assert np.abs(cov).max() < 1e-9, "a value that is not seen has no posterior"
            continue
        means, covs = posterior[name]
        np.testing.assert_allclose(np.ravel(look(means[unit], path)), mean, **close)
        np.testing.assert_allclose(np.ravel(look(covs[unit], path)), cov.ravel(), **close)
    for (unit, name, path), table in oracle.marginals(params).items():
        if name in posterior:
            np.testing.assert_allclose(look(posterior[name][unit], path), table, **close)


def q_of(program: pg.Program, stats: Stats, params: Params) -> float:
    """Q from expected statistics, but for what does not depend on parameters."""
    return sum(
        entry.family.expected_log_density(
            entry.arrays, cell_slots(program, key, dict(params)), entry.origin
        )
        for key, entry in stats.items()
    )


def expected_statistics(
    case: Switching, params: Params, weights: Floats
) -> tuple[pg.Program, Stats]:
    fit = case.model.fit(case.data, start=params, max_iter=0, weights=weights)
    return fit.program, sum_statistics(fit._training(), fit.params)[1]


def agree_on_statistics(case: Switching, params: Params, seed: int, message: str = "") -> None:
    """Q as a function of new parameters; where values at the ends count or not, its slope."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.2, 2.0, case.n_units)
    program, stats = expected_statistics(case, params, weights)
    q = case.oracle().q(params, weights)
    new = case.params(rng)
    if case.all_tied:
        found = q_of(program, stats, new) - q_of(program, stats, params)
        assert found == pytest.approx(q(new) - q(params), rel=1e-8, abs=1e-8), message
    step = 1e-4
    ahead, behind = (
        {name: params[name] + sign * step * (new[name] - params[name]) for name in params}
        for sign in (1, -1)
    )
    slope = q_of(program, stats, ahead) - q_of(program, stats, behind)
    assert slope == pytest.approx(q(ahead) - q(behind), rel=1e-6, abs=1e-8), message


def climbs(case: Switching, params: Params, max_iter: int, message: str = "") -> None:
    """EM never decreases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.errors.FitWarning)
        fit = case.model.fit(case.data, start=params, max_iter=max_iter, tol=0)
    assert fit.verdict != "decreased", message
    assert (np.diff(fit.trace) >= -1e-9 * (1 + np.abs(fit.trace[:-1]))).all(), message
