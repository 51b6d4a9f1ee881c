"""Posteriors, joint decoding, prediction and imputation: queries to variants of the program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.declare import UNIT
from pgem.errors import DataError
from pgem.plan import Program
from pgem.result.cells import cell_slots
from pgem.result.containers import labelled, nest, unweighted
from pgem.routines import Semiring
from pgem.run import Bound, Columns, answer, make_schema

Query = tuple[tuple[str, int], ...]


class Moments(NamedTuple):
    """Posterior mean and covariance (a variance for scalars)."""

    mean: Any
    cov: Any


def posterior(
    program: Program, columns: Columns, params: dict[str, Floats], joint: Any = ()
) -> dict[Any, Any]:
    """Posterior of all latent nodes and all observed nodes with holes (see `Model.posterior`)."""
    asked = {item: _query(item, program) for item in joint}
    flat, moments, tables = marginals(program, columns, params, tuple(asked.values()))
    result: dict[Any, Any] = {}
    for name, table in flat.items():
        result[name] = nest(columns, _scope(program, name), table)
    for name, (mean, cov) in moments.items():
        scope = _scope(program, name)
        result[name] = Moments(nest(columns, scope, mean), nest(columns, scope, cov))
    for (item, query), table in zip(asked.items(), tables, strict=True):
        scope = max((_scope(program, n) for n, _ in query), key=lambda s: len(_path(program, s)))
        result[item] = nest(columns, scope, table)
    return result


def marginals(
    program: Program,
    columns: Columns,
    params: dict[str, Floats],
    joint: tuple[Query, ...] = (),
    semiring: Semiring | None = None,
) -> tuple[dict[str, Floats], dict[str, tuple[Floats, Floats]], list[Floats]]:
    """Flat marginals [rows, K], moments of numeric holes, and joint tables of queries."""
    columns = unweighted(columns)
    schema = make_schema(columns, holes_as_axes=True)
    axes = _axes(program, columns, schema.axes, schema.given)
    holes = _numeric_holes(program, columns)
    queries: list[Query] = [((name, 0),) for name in axes]
    for name in holes:
        for key in _keys(program, name):
            gates = _axis_gates(program, key, axes)
            if gates:
                queries.append(gates)
    for query in joint:
        _check_query(query, axes, program)
    wanted = tuple(dict.fromkeys([*queries, *joint]))
    variant = program.variant(make_schema(columns, holes_as_axes=True, queries=wanted))
    bound = Bound(variant, columns)
    _, answers = answer(bound, params, semiring or Semiring())
    found = {q: _squeeze(t, q, variant) for q, t in zip(wanted, answers, strict=True)}
    flat = {name: found[((name, 0),)] for name in axes}
    for name in schema.given:
        size = program.analysis.layout.sizes[name]
        flat[name] = (columns.codes[name][:, None] == np.arange(size)).astype(float)
    order = [n for n in program.outline.nodes if n in flat]
    moments = {name: _hole_moments(variant, columns, params, name, found) for name in holes}
    return {n: flat[n] for n in order}, moments, [found[q] for q in joint]


def decode(program: Program, columns: Columns, params: dict[str, Floats]) -> dict[str, Any]:
    """The jointly most probable values of all discrete latents and discrete holes."""
    codes = decoded_codes(program, columns, params)
    barren = [
        name
        for name, node in program.outline.nodes.items()
        if node.kind == "observed" and node.finite and name not in codes and _has_holes(columns, name)
    ]
    if barren:
        given = _given(columns, codes)
        flat, _, _ = marginals(program, given, params)
        for name in barren:
            codes[name] = flat[name].argmax(axis=1)
    return {
        name: nest(columns, _scope(program, name), labelled(columns, name, codes[name]))
        for name in program.outline.nodes
        if name in codes
    }


def decoded_codes(
    program: Program, columns: Columns, params: dict[str, Floats]
) -> dict[str, Integers]:
    """Codes [rows] of the joint mode, childless holes left out."""
    columns = unweighted(columns)
    schema = make_schema(columns)
    axes = _axes(program, columns, schema.axes, schema.given)
    queries = tuple(((name, 0),) for name in axes)
    codes = {name: columns.codes[name] for name in schema.given}
    if queries:
        variant = program.variant(make_schema(columns, queries=queries))
        _, answers = answer(Bound(variant, columns), params, Semiring("max"))
        for (pair,), table in zip(queries, answers, strict=True):
            codes[pair[0]] = table.reshape(len(table), -1).argmax(axis=1)
    return codes


def predict(program: Program, columns: Columns, params: dict[str, Floats]) -> dict[str, Any]:
    """Marginal mode of discrete nodes, mean of the others, where they are latent or have holes."""
    flat, moments, _ = marginals(program, columns, params)
    result = {}
    for name in program.outline.nodes:
        if name in flat:
            values = labelled(columns, name, flat[name].argmax(axis=1))
            result[name] = nest(columns, _scope(program, name), values)
        elif name in moments:
            result[name] = nest(columns, _scope(program, name), moments[name][0])
    return result


def impute(
    program: Program, columns: Columns, params: dict[str, Floats], data: Mapping[str, Any]
) -> dict[str, Any]:
    """The data with holes filled by `predict`, and the latent nodes."""
    filled = predict(program, columns, params)
    return {**data, **filled}


# --- what is asked ------------------------------------------------------------------------------


def _axes(
    program: Program, columns: Columns, holes: frozenset[str], given: frozenset[str]
) -> list[str]:
    del columns
    return [
        name
        for name, node in program.outline.nodes.items()
        if (node.kind == "latent" and name not in given) or name in holes
    ]


def _has_holes(columns: Columns, name: str) -> bool:
    return not columns.has(name) or bool(columns.missing(name).any())


def _numeric_holes(program: Program, columns: Columns) -> list[str]:
    return [
        name
        for name, node in program.outline.nodes.items()
        if not node.finite and node.kind == "observed" and _has_holes(columns, name)
    ]


def _keys(program: Program, node: str) -> list[str]:
    return [key for key, part in program.parts.items() if part.node == node]


def _axis_gates(program: Program, key: str, axes: Iterable[str]) -> Query:
    """The gates of a component (and of its switch) that are summed over."""
    graph = program.analysis.graph
    record = graph.nodes[program.parts[key].node]
    gates = [*(record.switch.base() if record.switch else ())]
    gates += list(program.analysis.layout.components[key].cells.gates)
    pairs = [(g.name, g.lag) for g in gates if g.kind == "node" and g.name in set(axes)]
    return tuple(dict.fromkeys(pairs))


def _query(item: Any, program: Program) -> Query:
    """A user's tuple of names, node handles and pg.prev(...) as (node, lag) pairs."""
    parts = item if isinstance(item, tuple | list) else (item,)
    pairs = []
    for part in parts:
        name = part if isinstance(part, str) else getattr(part, "name", None)
        if name not in program.outline.nodes:
            raise DataError(
                f"a joint posterior is asked for '{part!r}', which is no node",
                expected=", ".join(program.outline.nodes),
            )
        pairs.append((str(name), int(getattr(part, "lag", 0))))
    return tuple(pairs)


def _check_query(query: Query, axes: list[str], program: Program) -> None:
    for name, lag in query:
        if name not in axes:
            raise DataError(
                f"a joint posterior is asked for '{name}', which is not latent in these data",
                expected=", ".join(axes) or "no node",
            )
        node = program.outline.nodes[name]
        if lag and not any(name in other.parents for other in program.outline.nodes.values()):
            raise DataError(
                f"a joint posterior is asked for an earlier '{name}', which nothing looks back at",
                where=node.origin,
            )


def _squeeze(table: Floats, query: Query, program: Program) -> Floats:
    """[rows, aligned axes] → [rows, axes in the order asked]."""
    positions = program.analysis.schedule.positions
    by_pair = {(v.node, v.lag): p for v, p in positions.items()}
    places = [by_pair[pair] for pair in query]
    gone = tuple(d for d in range(1, table.ndim) if d not in places)
    table = table.squeeze(axis=gone)
    order = np.argsort(np.argsort(places))
    return table.transpose(0, *(1 + order))


def _scope(program: Program, node: str) -> str:
    return program.outline.nodes[node].scope


def _path(program: Program, scope: str) -> list[str]:
    return [UNIT, *program.outline.path(scope)]


def _given(columns: Columns, codes: Mapping[str, Integers]) -> Columns:
    """The data with decoded values filled in."""
    from dataclasses import replace

    return replace(columns, codes={**columns.codes, **codes})


# --- holes of numeric nodes ---------------------------------------------------------------------


def _hole_moments(
    program: Program,
    columns: Columns,
    params: dict[str, Floats],
    name: str,
    found: Mapping[Query, Floats],
) -> tuple[Floats, Floats]:
    """Mean and variance (covariance for vectors) of a node's values; observed cells are certain."""
    node = program.outline.nodes[name]
    n_rows = columns.n_rows(node.scope)
    keys = _keys(program, name)
    family = program.parts[keys[0]].family
    shape = (family.size or 1,) if family.event_ndim or family.size else ()
    x = columns.numbers.get(name, np.full((n_rows, *shape), np.nan))
    first, second = np.zeros((n_rows, *shape)), np.zeros((n_rows, *shape, *shape[:1]))
    bound = Bound(program, columns)
    (shard,) = [*_whole(bound)]
    for key in keys:
        rows, weights = _cell_weights(program, shard, key, found, columns)
        mean, cov = _component_moments(program, key, params)
        first[rows] += np.tensordot(weights, mean, 1)
        outer = cov + (mean[..., :, None] * mean[..., None, :] if shape else mean**2)
        second[rows] += np.tensordot(weights, outer, 1)
    cov = second - (first[..., :, None] * first[..., None, :] if shape else first**2)
    here = ~np.isnan(x)
    mean = np.where(here, x, first)
    if shape:
        gone = ~here
        return mean, cov * gone[:, :, None] * gone[:, None, :]
    return mean, np.where(here, 0.0, np.maximum(cov, 0.0))


def _component_moments(
    program: Program, key: str, params: dict[str, Floats]
) -> tuple[Floats, Floats]:
    """Mean [C, ...] and covariance [C, ..., ...] per cell."""
    family = program.parts[key].family
    mean, cov = family.moments(cell_slots(program, key, params))
    if mean.ndim == 2 and cov.ndim == 2:
        cov = cov[:, :, None] * np.eye(mean.shape[1])
    return mean, cov


def _whole(bound: Bound) -> Iterable[Any]:
    from pgem.run import Shard

    return [Shard(bound, 0, bound.n_units)]


def _cell_weights(
    program: Program, shard: Any, key: str, found: Mapping[Query, Floats], columns: Columns
) -> tuple[Any, Floats]:
    """Rows of a component and the posterior of its cells [rows, C]."""
    part = program.parts[key]
    settled = program.analysis.layout.components[key]
    record = program.analysis.graph.nodes[part.node]
    n_rows = columns.n_rows(part.scope)
    rows = np.arange(n_rows)
    step = settled.component.step
    if record.lag():
        number = shard.scope(part.scope).number
        rows = np.flatnonzero(number == step - 1 if step else number >= record.lag())
    axes = {v.node for v in program.analysis.schedule.positions}
    query = _axis_gates(program, key, axes)
    posterior = found[query][rows] if query else np.ones(len(rows))
    posterior = posterior.reshape(len(rows), *np.shape(posterior)[1:])
    letters = {pair: k + 1 for k, pair in enumerate(query)}
    if record.switch is not None:
        posterior = _pick_component(posterior, record, letters, part, shard, rows)
    operands: list[Any] = [posterior, [0, *letters.values()]]
    out = [0]
    for gate in settled.cells.gates:
        pair = (gate.name, gate.lag)
        if gate.kind == "node" and pair in letters:
            out.append(letters[pair])
            continue
        index = shard.index(gate.name, part.scope, gate.lag)
        letter = len(letters) + 1 + len(out)
        operands += [(index.codes[rows][:, None] == np.arange(index.size)).astype(float),
                     [0, letter]]
        out.append(letter)
    table = np.einsum(*operands, out)
    return rows, table.reshape(len(rows), -1)


def _pick_component(
    posterior: Floats, record: Any, letters: dict[Any, int], part: Any, shard: Any, rows: Any
) -> Floats:
    """The posterior of a switch's component: everything else gets weight zero."""
    gate = record.switch
    pair = (gate.name, gate.lag)
    if pair not in letters:
        codes = shard.index(gate.name, part.scope, gate.lag).codes[rows]
        here = (codes == part.component).astype(float)
        return np.asarray(posterior) * here.reshape(-1, *(1,) * (posterior.ndim - 1))
    axis = letters[pair]
    mask = np.arange(posterior.shape[axis]) == part.component
    return np.asarray(posterior) * mask.reshape(-1, *(1,) * (posterior.ndim - 1 - axis))
