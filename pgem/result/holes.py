"""Moments of numeric nodes with holes: their family, mixed over the posterior of the gates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.families import Observations
from pgem.families._linear import Linear
from pgem.families._link import Linked
from pgem.families._scaled import Scaled
from pgem.plan import Part, Program
from pgem.result.cells import cell_slots
from pgem.run import Bound, Columns, Shard, absent

Query = tuple[tuple[str, int], ...]


def keys_of(program: Program, node: str) -> list[str]:
    """Components of a node."""
    return [key for key, part in program.parts.items() if part.node == node]


def axis_gates(program: Program, key: str, axes: Iterable[str]) -> Query:
    """The gates of a component (and of its switch) that are summed over."""
    record = program.analysis.graph.nodes[program.parts[key].node]
    gates = [*(record.switch.base() if record.switch else ())]
    gates += list(program.analysis.layout.components[key].cells.gates)
    pairs = [(g.name, g.lag) for g in gates if g.kind == "node" and g.name in set(axes)]
    return tuple(dict.fromkeys(pairs))


def hole_moments(
    program: Program,
    columns: Columns,
    params: dict[str, Floats],
    name: str,
    found: Mapping[Query, Floats],
) -> tuple[Floats, Floats]:
    """Mean and variance of a node's values (of vectors and matrices the covariance of the entries).

    Observed cells are certain.

    Args:
        program: the variant that answered the queries.
        columns: the data.
        params: parameters by name.
        name: the node.
        found: joint posteriors of the gates of its components.
    """
    node = program.outline.nodes[name]
    n_rows = columns.n_rows(node.scope)
    family = program.parts[keys_of(program, name)[0]].family
    shape = family.event_shape
    x = (columns.numbers.get(name) or absent((n_rows, *shape)))[:]
    first, second = np.zeros((n_rows, *shape)), np.zeros((n_rows, *shape, *shape))
    bound = Bound(program, columns)
    shard = Shard(bound, 0, bound.n_units)
    for key in keys_of(program, name):
        rows, weights = _cell_weights(shard, key, found)
        for some, mean, cov in _component_moments(bound, key, params, rows, x):
            weight = weights[some]
            first[rows[some]] += np.einsum("nc,nc...->n...", weight, mean)
            second[rows[some]] += np.einsum("nc,nc...->n...", weight, outer(mean, shape) + cov)
    cov = second - outer(first, shape)
    gone = np.isnan(x)
    mean = np.where(gone, first, x)
    if shape:
        return mean, cov * outer(gone, shape)
    return mean, np.where(gone, np.maximum(cov, 0.0), 0.0)


def outer(values: Any, shape: tuple[int, ...]) -> Any:
    """Products of the entries of each value [..., own axes] with each other, [..., own, own]."""
    lead, ones = values.shape[: values.ndim - len(shape)], (1,) * len(shape)
    return values.reshape(*lead, *shape, *ones) * values.reshape(*lead, *ones, *shape)


def shared_tables(bound: Bound, moments: Mapping[str, tuple[Floats, Floats]]) -> dict[str, Floats]:
    """Probabilities [rows, K] of categories that a conjugate latent gives, where cells are missing.

    The probability of one category is linear in the latent, so its posterior mean tells it.

    Args:
        bound: the program with data.
        moments: posterior mean and covariance of the latents, per row of their scopes.
    """
    found: dict[str, Floats] = {}
    for part in bound.program.parts.values():
        family, columns, domain = part.family, bound.columns, part.family.domain()
        if not isinstance(family, Scaled) or not family.latent or domain is None:
            continue
        if not columns.has_holes(part.node):
            continue
        codes = columns.codes_or_holes(part.node, part.scope)[:]
        home = bound.program.outline.nodes[family.latent].scope
        mean = moments[family.latent][0][bound.beside.rows_of(part.scope, home)]
        value = mean if family.own_shape(family.slot) else mean[:, 0]
        points = family.plain.observe(domain)
        table = np.exp(family.plain.log_density(points, {family.slot: value})).T
        found[part.node] = np.where(
            codes[:, None] < 0, table, codes[:, None] == np.arange(len(domain))
        )
    return found


def _component_moments(
    bound: Bound, key: str, params: dict[str, Floats], rows: Integers, x: Floats
) -> Iterator[tuple[Integers, Floats, Floats]]:
    """Rows with holes that share pattern and known slots: mean [n, C, ...], covariance [C, ...]."""
    if not len(rows):
        return  # such as all sequences of one step
    program, part = bound.program, bound.program.parts[key]
    slots = cell_slots(program, key, params)
    if isinstance(part.family, Linear | Linked):
        yield _moments_by_row(bound, part, part.family, slots, rows, x)
        return
    known = {n: v[rows] for n, v in bound.beside.known_values(part).items() if n not in slots}
    if not len(rows):
        return
    gone = np.isnan(x[rows]).reshape(len(rows), -1)
    values = np.concatenate([gone, *(v[:, None] for v in known.values())], axis=1)
    distinct, owner = np.unique(values, axis=0, return_inverse=True)
    n_cells = program.analysis.layout.components[key].cells.n_cells
    for k, row in enumerate(distinct):
        if not row[: gone.shape[1]].any():
            continue  # nothing is missing
        some = np.flatnonzero(owner.reshape(-1) == k)
        here = {n: np.full(n_cells, v) for n, v in zip(known, row[gone.shape[1] :], strict=True)}
        mean, cov = part.family.conditional_moments(x[rows[some]], {**slots, **here})
        if mean.ndim == 3 and cov.ndim == 2:
            cov = cov[:, :, None] * np.eye(mean.shape[2])
        yield some, mean, cov


def _moments_by_row(
    bound: Bound,
    part: Part,
    family: Linear | Linked,
    slots: dict[str, Floats],
    rows: Integers,
    x: Floats,
) -> tuple[Integers, Floats, Floats]:
    """Under covariates every row has its own moments: mean and covariance [n, C, ...]."""
    gone = np.isnan(x[rows]).reshape(len(rows), -1).any(axis=1)
    some = np.flatnonzero(gone)
    known = {**bound.beside.known_values(part), **bound.beside.design(part, family)}
    here = {name: value[rows[some]] for name, value in known.items() if name not in slots}
    mean, cov = family.row_moments(Observations(family, x[rows[some]], here), slots)
    if mean.ndim == 3 and cov.ndim == 3:
        cov = cov[..., None] * np.eye(mean.shape[2])
    return some, mean, cov


def _cell_weights(shard: Shard, key: str, found: Mapping[Query, Floats]) -> tuple[Integers, Floats]:
    """Rows of a component and the posterior of its cells [rows, C]."""
    program = shard.bound.program
    part, settled = program.parts[key], program.analysis.layout.components[key]
    record = program.analysis.graph.nodes[part.node]
    rows = _rows_of_step(shard, key)
    query = axis_gates(program, key, {v.node for v in program.analysis.schedule.positions})
    letters = {pair: k + 1 for k, pair in enumerate(query)}
    posterior = np.ones(len(rows))
    if query:
        homes = [program.outline.nodes[name].scope for name, _ in query]
        home = max(homes, key=lambda scope: len(program.outline.path(scope)))
        posterior = found[query][shard.bound.beside.rows_of(part.scope, home)][rows]
    if record.switch is not None:
        posterior = _pick_component(posterior, record.switch, letters, part, shard, rows)
    operands: list[Any] = [posterior, [0, *letters.values()]]
    out = [0]
    for gate in settled.cells.gates:
        pair = (gate.name, gate.lag)
        if gate.kind == "node" and pair in letters:
            out.append(letters[pair])
            continue
        index = shard.index(gate.name, part.scope, gate.lag)
        letter = len(letters) + 1 + len(out)
        hot = (index.codes[rows][:, None] == np.arange(index.size)).astype(float)
        operands += [hot, [0, letter]]
        out.append(letter)
    table = np.einsum(*operands, out)
    return rows, table.reshape(len(rows), int(np.prod(table.shape[1:])))


def _rows_of_step(shard: Shard, key: str) -> Integers:
    """Rows that this component describes: all, or those of its step (in a tree, the roots)."""
    program = shard.bound.program
    part, component = program.parts[key], program.analysis.layout.components[key].component
    lag = program.outline.nodes[part.node].lag
    if not lag:
        return np.arange(shard.bound.columns.n_rows(part.scope))
    number = shard.bound.columns.number(part.scope)
    step = component.step
    return np.flatnonzero(number == step - 1 if step else number >= lag)


def _pick_component(
    posterior: Floats, gate: Any, letters: dict[Any, int], part: Any, shard: Shard, rows: Integers
) -> Floats:
    """The posterior of a switch's component: everything else gets weight zero."""
    pair = (gate.name, gate.lag)
    if pair not in letters:
        codes = shard.index(gate.name, part.scope, gate.lag).codes[rows]
        here = (codes == part.component).astype(float)
        return np.asarray(posterior * here.reshape(-1, *(1,) * (posterior.ndim - 1)))
    axis = letters[pair]
    mask = np.arange(posterior.shape[axis]) == part.component
    return np.asarray(posterior * mask.reshape(-1, *(1,) * (posterior.ndim - 1 - axis)))
