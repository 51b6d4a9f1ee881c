"""Where EM begins: starts that break symmetry for any graph, and checks of the user's start.

Every latent node gets soft labels.  Each row of its scope is described by the observed values
below it (standardised numbers, one-hot categories, averaged over plates and sequences of free
length); seeds are spread by k-means++ on randomly scaled descriptions, a few Lloyd iterations
follow, and the labels are softened with random noise, so that two latents with the same
observations start differently.  One M-step under these labels gives the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.analyse import ParamLayout
from pgem.arrays import Floats, Integers
from pgem.declare import UNIT
from pgem.errors import FitError, did_you_mean
from pgem.families._linear import Linear, Term
from pgem.families._link import Linked
from pgem.learn.degenerate import data_mean, data_variance
from pgem.plan import Program
from pgem.routines import at_least
from pgem.run import Bound, sum_statistics

SAMPLE = 5_000
"""Rows among which seeds are sought."""
LLOYD = 10
"""Iterations of k-means behind a start."""
MOST_COLUMNS = 16
"""Columns that a node with many categories takes: beyond, each category has a random place."""
DECAY = 0.8
"""What is left of a state after one step."""
NOISE = 0.25
"""Share of random noise in the labels."""


def neutral_params(bound: Bound, generator: Generator) -> dict[str, Floats]:
    """Values inside all constraints, at the scale of the data: what an M-step starts from."""
    params = {}
    for name, layout in bound.program.params.items():
        centre, scale = data_mean(bound, layout), data_variance(bound, layout)
        term = _term_of(bound, layout)
        if term is None:
            value = layout.role.neutral(layout.shape, centre, scale)
        else:
            value = _coefficients(bound, layout, term, scale, generator)
        if layout.value is not None:
            value = np.where(layout.fixed, layout.value, value)
        value = layout.role.complete(value, layout.fixed)
        params[name] = at_least(layout.lower, value, layout.fixed)
    return params


def _term_of(bound: Bound, layout: ParamLayout) -> Term | None:
    """The term that a parameter is the coefficient of; not of the intercept of a mean."""
    key, slot = layout.uses[0]
    family = bound.program.parts[key].family
    if not isinstance(family, Linear | Linked):
        return None
    term = next((t for t in family.terms if t.slot == slot), None)
    if isinstance(family, Linked):
        return term
    return term if term is not None and (term.factors or term.over or term.parent) else None


def _coefficients(
    bound: Bound, layout: ParamLayout, term: Term, scale: Floats, generator: Generator
) -> Floats:
    """Zeros for what is seen, a slow decay for a state, random loadings for other latents."""
    shape = layout.shape
    if term.parent is None:
        return np.zeros(shape)
    name, lag = term.parent
    if lag and name == bound.program.parts[layout.uses[0][0]].node:
        own = np.zeros(int(np.prod(term.own)))
        diagonal = [term.placement[k, k] for k in range(min(term.placement.shape))]
        own[diagonal] = DECAY
        return np.broadcast_to(own.reshape(term.own), shape).copy()
    spread = np.sqrt(np.mean(variances_of(scale)) / max(term.stop - term.start, 1))
    return np.asarray(generator.normal(size=shape) * spread)


def variances_of(scale: Floats) -> Floats:
    """The variances in a variance or covariance."""
    return np.asarray(np.diagonal(scale) if scale.ndim == 2 else scale)


def params_from_labels(program: Program, bound: Bound, generator: Generator) -> dict[str, Floats]:
    """One M-step under given responsibilities of the latents.

    Args:
        program: the program of the fit, whose M-step is used.
        bound: data bound with responsibilities, all conditionals left out.
        generator: of random loadings.
    """
    neutral = neutral_params(bound, generator)
    _, stats = sum_statistics(bound, neutral)
    with np.errstate(all="ignore"):
        found = program.m_step(neutral, stats, set())
    for name, layout in program.params.items():
        if not np.isfinite(found[name]).all():
            found[name] = neutral[name]
        if layout.value is not None:
            given = layout.fixed | layout.is_start
            start = np.where(given, layout.value, found[name])
            found[name] = layout.role.complete(start, layout.fixed)
    return _sound(found, bound)


def _sound(params: dict[str, Floats], bound: Bound) -> dict[str, Floats]:
    """A start must not be degenerate: spreads are at least a thousandth of the data's."""
    for name, layout in bound.program.params.items():
        if not layout.is_free or layout.value is not None:
            continue
        rows = params[name].reshape(-1, *layout.shape[layout.n_gates :])
        scale = data_variance(bound, layout)
        if layout.role.collapsed(rows, 1e7 * scale).any():
            raised = layout.role.raised(rows, 1e-3 * scale).reshape(layout.shape)
            params[name] = np.where(layout.fixed, params[name], raised)
    return params


def random_labels(bound: Bound, generator: Generator, *, vary: bool = False) -> dict[str, Floats]:
    """Soft labels for every latent that is summed over.

    Args:
        bound: program and data.
        generator: source of random numbers.
        vary: settle the clusters less, and blur them differently: restarts shall end elsewhere.

    Raises:
        FitError: more values than rows to tell them apart.
    """
    labels = {}
    rounds, noise = LLOYD, NOISE
    if vary:
        rounds = int(generator.integers(LLOYD))
        noise = 2 * NOISE * float(generator.beta(0.5, 0.5))  # often hard, often blurred
    sizes = bound.program.analysis.layout.sizes
    for name, node in bound.program.outline.nodes.items():
        if node.kind != "latent" or not node.finite or name in bound.program.schema.given:
            continue
        n_rows, size = bound.columns.n_rows(node.scope), sizes[name]
        if size > n_rows:
            raise FitError(
                f"latent node '{name}' has more values than there are rows to start from",
                where=node.origin,
                expected=f"at most '{n_rows}' values",
                received=f"'{size}'",
                advice="fewer values, more data, or start= with all parameters",
            )
        described = describe(bound, name)
        codes = cluster(described, size, generator, rounds) if described is not None else None
        labels[name] = _soften(codes, n_rows, size, generator, noise)
    return labels


def given_labels(values: Any, name: str, bound: Bound) -> Floats:
    """Responsibilities of one latent from the user's labels or [rows, K] table.

    Raises:
        FitError: shape or values do not fit.
    """
    node = bound.program.outline.nodes[name]
    n_rows, size = bound.columns.n_rows(node.scope), bound.program.analysis.layout.sizes[name]
    levels = bound.columns.levels.get(name) or node.levels
    if levels is not None:
        values = _codes_of(values, {level: k for k, level in enumerate(levels)})
    flat = _flat_labels(values, n_rows)
    if flat.ndim == 1 and flat.shape == (n_rows,):
        ok = (flat >= 0) & (flat < size) & (flat == np.floor(flat))
        if ok.all():
            return one_hot_rows(flat, size)
    elif flat.shape == (n_rows, size):
        sums_to_one = np.allclose(flat.sum(axis=1), 1, atol=1e-6)
        if sums_to_one and (flat >= 0).all():
            return flat
    raise FitError(
        f"start value of latent node '{name}' does not fit",
        expected=f"labels 0 … {size - 1} for '{n_rows}' rows, or responsibilities "
        f"[{n_rows}, {size}] whose rows sum to one",
        received=f"an array of shape '{flat.shape}'",
    )


def _codes_of(values: Any, places: Mapping[Any, int]) -> Any:
    """Nested labels as codes; what is no label stays."""
    if isinstance(values, str) or np.ndim(values) == 0:
        plain = values.item() if isinstance(values, np.generic) else values
        return places.get(plain, values)
    return [_codes_of(value, places) for value in values]


def _flat_labels(values: Any, n_rows: int) -> Floats:
    """Labels [rows] or responsibilities [rows, K] without their nesting; empty if no numbers."""
    try:
        if isinstance(values, list | tuple) and values and np.ndim(values[0]) > 0:
            parts = [np.asarray(v, dtype=float) for v in values]
            if len({part.shape[1:] for part in parts}) == 1:
                values = np.concatenate(parts)
        table = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        return np.zeros(0)
    if table.size == n_rows and table.shape != (n_rows, 1):
        return table.reshape(-1)
    return table.reshape(-1, table.shape[-1]) if table.ndim > 2 else table


def describe(bound: Bound, latent: str) -> Floats | None:
    """One row per row of the latent's scope: the observed values below it."""
    outline = bound.program.outline
    home = outline.nodes[latent].scope
    blocks = []
    for name in _descendants(bound, latent):
        values = _numbers_of(bound, name)
        if values is None:
            continue
        values = _with_regressors(bound, name, values)
        scope = outline.nodes[name].scope
        while scope not in (home, UNIT):
            values = _to_parent(bound, scope, values)
            scope = outline.scopes[scope].parent
        if scope == home:
            blocks.append(values)
    if not blocks:
        return None
    table = np.concatenate(blocks, axis=1)
    return described if (described := _standard(table)).shape[1] else None


def _with_regressors(bound: Bound, name: str, values: Floats) -> Floats:
    """Values, what they are regressed on, and the products: components may differ in slopes."""
    parts = [part for part in bound.program.parts.values() if part.node == name]
    designs = [bound.design(p, p.family) for p in parts if isinstance(p.family, Linear | Linked)]
    if not designs or not designs[0]["design"].shape[1]:
        return values
    design = _standard(designs[0]["design"])
    products = _standard(values)[:, :, None] * design[:, None, :]
    return np.concatenate([values, design, products.reshape(len(values), -1)], axis=1)


def _standard(table: Floats) -> Floats:
    """Columns that vary, with mean 0 and variance 1."""
    table = table[:, table.std(axis=0) > 0]
    return np.asarray((table - table.mean(axis=0)) / table.std(axis=0))


def _descendants(bound: Bound, latent: str) -> list[str]:
    nodes = bound.program.outline.nodes
    below, found = {latent}, []
    while new := [n for n, node in nodes.items() if n not in below and below & set(node.parents)]:
        below |= set(new)
        found += [n for n in new if nodes[n].kind == "observed" and bound.columns.has(n)]
    return found


def _numbers_of(bound: Bound, name: str) -> Floats | None:
    """Values as numbers without holes [rows, features]."""
    columns = bound.columns
    if name in columns.codes:
        codes = columns.codes[name]
        size = bound.program.analysis.layout.sizes[name]
        if size <= MOST_COLUMNS:
            return one_hot_rows(codes, size)
        places = np.random.default_rng(size).normal(size=(size + 1, MOST_COLUMNS))
        places[-1] = 0.0  # for holes
        return places[codes]
    values = columns.numbers[name]
    values = values.reshape(len(values), -1)
    gone = np.isnan(values)
    if gone.all():
        return None
    count = np.maximum((~gone).sum(axis=0), 1)
    mean = np.where(gone, 0.0, values).sum(axis=0) / count
    return np.where(gone, mean, values)


def _to_parent(bound: Bound, scope: str, values: Floats) -> Floats:
    """Side by side for members that have a fixed place, the mean otherwise."""
    starts = bound.columns.starts[scope]
    if bound.program.outline.scopes[scope].size is not None:
        return values.reshape(len(starts) - 1, -1)
    lengths = np.diff(starts)
    total = np.zeros((len(lengths), values.shape[1]))
    np.add.at(total, np.repeat(np.arange(len(lengths)), lengths), values)
    return total / np.maximum(lengths, 1)[:, None]


def cluster(table: Floats, size: int, generator: Generator, rounds: int = LLOYD) -> Integers:
    """k-means++ seeds and a few Lloyd iterations on randomly scaled columns."""
    table = table * generator.gamma(2.0, 0.5, table.shape[1])
    chosen = generator.permutation(len(table))[:SAMPLE]
    sample = table[chosen]
    centres = _seeds(sample, size, generator)
    for _ in range(rounds):
        codes = _nearest(sample, centres)
        for k in range(size):
            if (codes == k).any():
                centres[k] = sample[codes == k].mean(axis=0)
    order = np.argsort(centres.sum(axis=1), kind="stable")
    return _nearest(table, centres[order])


def _seeds(sample: Floats, size: int, generator: Generator) -> Floats:
    """k-means++ (Arthur & Vassilvitskii 2007)."""
    centres = [sample[generator.integers(len(sample))]]
    distance = ((sample - centres[0]) ** 2).sum(axis=1)
    for _ in range(size - 1):
        total = distance.sum()
        weights = distance / total if total > 0 else None
        centres.append(sample[generator.choice(len(sample), p=weights)])
        distance = np.minimum(distance, ((sample - centres[-1]) ** 2).sum(axis=1))
    return np.array(centres)


def _nearest(table: Floats, centres: Floats) -> Integers:
    squares = (centres**2).sum(axis=1) - 2 * table @ centres.T
    return np.asarray(squares.argmin(axis=1))


def one_hot_rows(codes: Floats | Integers, size: int) -> Floats:
    """Codes [N] as rows of zeros with a single one [N, size]."""
    return np.asarray(codes[:, None] == np.arange(size), dtype=float)


def _soften(
    codes: Integers | None, n_rows: int, size: int, generator: Generator, share: float
) -> Floats:
    noise = generator.dirichlet(np.ones(size), n_rows)
    if codes is None:
        return noise
    return (1 - share) * one_hot_rows(codes, size) + share * noise


def check_start(start: Mapping[str, Any], program: Program) -> dict[str, Floats]:
    """The user's start values as arrays.

    Raises:
        FitError: unknown name, wrong shape, or a value outside its constraint, naming the key.
    """
    latents = {n for n, node in program.outline.nodes.items() if node.kind == "latent"}
    checked = {}
    for name, value in start.items():
        if name in latents:
            _check_labelled(program, name)
            continue
        if name not in program.params:
            known = [*program.params, *sorted(latents)]
            raise FitError(
                f"start value '{name}' belongs to no parameter",
                expected=", ".join(known),
                advice=did_you_mean(name, known),
            )
        checked[name] = check_value(name, value, program.params[name])
    return checked


def _check_labelled(program: Program, name: str) -> None:
    node = program.outline.nodes[name]
    if not node.finite:
        raise FitError(
            f"start value of latent node '{name}': it has not finitely many values, so there are "
            "no labels to start from",
            where=node.origin,
            expected="start values of parameters, or labels of discrete latents",
            advice=f"put known values of '{name}' into the data",
        )


def check_value(name: str, value: Any, layout: ParamLayout) -> Floats:
    """One start value as an array of the right shape, inside its constraint."""
    try:
        table = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise FitError(f"start value '{name}' is no array of numbers") from None
    if table.shape != layout.shape:
        raise FitError(
            f"start value '{name}' has the wrong shape",
            where=layout.origin,
            expected=f"'{layout.shape}' ({', '.join(layout.axes) or 'a single number'})",
            received=f"'{table.shape}'",
        )
    if not layout.role.accepts(table).all():
        raise FitError(
            f"start value '{name}' is outside its constraint",
            where=layout.origin,
            expected=layout.role.expected,
            received=f"'{table.tolist()}'",
        )
    if layout.lower is not None and (table < layout.lower)[~layout.fixed].any():
        raise FitError(
            f"start value '{name}' is below the lower bound of the parameter",
            where=layout.origin,
            expected=f"at least '{layout.lower.tolist()}'",
            received=f"'{table.tolist()}'",
        )
    held = np.zeros(layout.shape) if layout.value is None else layout.value
    if (np.abs(table - held)[layout.fixed] > 1e-9).any():
        raise FitError(
            f"start value '{name}' differs from the fixed entries of the parameter",
            where=layout.origin,
            expected=f"'{held.tolist()}' where fixed",
            received=f"'{table.tolist()}'",
        )
    return table
