"""Posteriors, joint decoding, prediction and imputation: queries to variants of the program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.declare import UNIT
from pgem.errors import DataError
from pgem.graph import Schema
from pgem.plan import Program
from pgem.result.ahead import ahead_queries, fill_ahead
from pgem.result.barren import barren_cells
from pgem.result.containers import labelled, nest, unweighted
from pgem.result.holes import Query, axis_gates, hole_moments, keys_of, shared_tables
from pgem.routines import Semiring
from pgem.run import Bound, Codes, Columns, answer, make_schema


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
    *,
    modes: bool = False,
) -> tuple[dict[str, Floats], dict[str, tuple[Floats, Floats]], list[Floats]]:
    """Flat marginals [rows, K], moments of numeric holes, and joint tables of queries.

    With `modes`, of nodes that nothing else is told by there is the most probable value [rows] in
    place of the marginal.
    """
    columns = unweighted(columns)
    schema = _schema(program, columns)
    axes = _axes(program, columns, schema.axes, schema.given)
    holes = _numeric_holes(program, columns)
    queries: list[Query] = [((name, 0),) for name in axes]
    apart = [name for name in holes if not _is_integrated(program, schema, name)]
    for name in apart:
        for key in keys_of(program, name):
            gates = axis_gates(program, key, axes)
            if gates:
                queries.append(gates)
    queries += ahead_queries(program.variant(schema), columns)
    for query in joint:
        _check_query(query, axes, program)
    wanted = tuple(dict.fromkeys([*queries, *joint]))
    told = {*queries[len(axes) :], *joint} if modes else set(wanted)
    short = [number for number, query in enumerate(wanted) if query not in told]
    variant = program.variant(replace(schema, queries=wanted))
    bound = Bound(variant, columns, asked="moments")
    answers = answer(bound, params, modes=short)
    found = {
        q: t if q not in told else _squeeze(t, q, variant)
        for q, t in zip(wanted, answers.tables, strict=True)
    }
    fill_ahead(bound, params, answers.moments, found)
    flat = {name: found[((name, 0),)] for name in axes}
    flat |= shared_tables(bound, answers.moments)
    for name in schema.given:
        size = program.analysis.layout.sizes[name]
        flat[name] = (columns.codes[name][:][:, None] == np.arange(size)).astype(float)
    order = [n for n in program.outline.nodes if n in flat]
    integrated = {
        n: _certain(columns, n, *_own_axes(m, n, variant)) for n, m in answers.moments.items()
    }
    integrated |= {n: m for n in _continuous(program) if (m := _given_moments(columns, n, variant))}
    moments = {
        name: integrated[name]
        if name in integrated
        else hole_moments(variant, columns, params, name, found)
        for name in program.outline.nodes
        if name in integrated or name in holes
    }
    return {n: flat[n] for n in order}, moments, [found[q] for q in joint]


def _schema(program: Program, columns: Columns) -> Schema:
    """What is asked about holes: discrete ones are axes; vectors are as long as in the fit."""
    schema = make_schema(columns, holes_as_axes=True)
    return replace(schema, vectors={**program.schema.vectors, **schema.vectors})


def decode(program: Program, columns: Columns, params: dict[str, Floats]) -> dict[str, Any]:
    """The jointly most probable values of all discrete latents and discrete holes."""
    codes = decoded_codes(program, columns, params)
    seen = {n: o for n, o in program.outline.nodes.items() if o.kind == "observed" and o.finite}
    barren = [name for name in seen if _still_open(columns, codes, name)]
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
    """Codes [rows] of the joint mode; childless holes are left out, barren cells are -1."""
    columns = unweighted(columns)
    schema = make_schema(columns)
    axes = _axes(program, columns, schema.axes, schema.given)
    queries = tuple(((name, 0),) for name in axes)
    codes = {name: columns.codes[name][:] for name in schema.given}
    if queries:
        barren = barren_cells(program, columns, schema.axes)
        pinned = {
            name: np.where(mask, 0, columns.codes_or_holes(name, _scope(program, name))[:])
            for name, mask in barren.items()
        }
        variant = program.variant(
            replace(schema, queries=queries, evidence=schema.evidence | set(pinned))
        )
        bound = Bound(variant, _given(columns, pinned), barren=barren)
        answers = answer(bound, params, Semiring("max"), modes=range(len(queries)))
        for (pair,), found in zip(queries, answers.tables, strict=True):
            codes[pair[0]] = found.astype(np.int64)
        for name, mask in barren.items():
            codes[name] = np.where(mask, -1, codes[name])
    return codes


def predict(program: Program, columns: Columns, params: dict[str, Floats]) -> dict[str, Any]:
    """Marginal mode of discrete nodes, mean of the others, where they are latent or have holes."""
    flat, moments, _ = marginals(program, columns, params, modes=True)
    result = {}
    for name in program.outline.nodes:
        if name in flat:
            found = flat[name] if flat[name].ndim == 1 else flat[name].argmax(axis=1)
            values = labelled(columns, name, found.astype(np.int64))
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
        if node.finite and ((node.kind == "latent" and name not in given) or name in holes)
    ]


def _continuous(program: Program) -> list[str]:
    """Latent nodes with infinitely many values."""
    nodes = program.outline.nodes
    return [name for name, node in nodes.items() if node.kind == "latent" and not node.finite]


def _is_integrated(program: Program, schema: Schema, name: str) -> bool:
    """Whether a node is part of a region for these data."""
    analysis = program.variant(schema).analysis
    inside = {n for region in analysis.regions for n in region.nodes}
    inside |= {n for block in analysis.conjugates for n in block.nodes}
    return name in inside


def _own_axes(moments: tuple[Floats, Floats], name: str, program: Program) -> tuple[Floats, Floats]:
    """Mean [rows, d] and covariance [rows, d, d], a scalar's without own axes."""
    family = program.parts[keys_of(program, name)[0]].family
    if family.event_shape:
        return moments
    return moments[0][:, 0], moments[1][:, 0, 0]


def _certain(columns: Columns, name: str, mean: Floats, cov: Floats) -> tuple[Floats, Floats]:
    """Moments of which those of seen values are what the data say, to the last digit."""
    if name not in columns.numbers:
        return mean, cov
    values = columns.numbers[name][:]
    gone = np.isnan(values)
    either = gone[..., :, None] & gone[..., None, :] if values.ndim > 1 else gone
    return np.where(gone, mean, values), np.where(either, cov, 0.0)


def _given_moments(columns: Columns, name: str, program: Program) -> tuple[Floats, Floats] | None:
    """Certain values of a latent node that the data give in every row."""
    if _has_holes(columns, name):
        return None
    values = columns.numbers[name][:].reshape(columns.n_rows(_scope(program, name)), -1)
    return _own_axes((values, np.zeros((*values.shape, values.shape[1]))), name, program)


def _has_holes(columns: Columns, name: str) -> bool:
    return columns.has_holes(name)


def _still_open(columns: Columns, codes: Mapping[str, Integers], name: str) -> bool:
    """Whether cells of a node wait for their value after joint decoding."""
    return bool((codes[name] < 0).any()) if name in codes else _has_holes(columns, name)


def _numeric_holes(program: Program, columns: Columns) -> list[str]:
    return [
        name
        for name, node in program.outline.nodes.items()
        if not node.finite and node.kind == "observed" and _has_holes(columns, name)
    ]


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
            finite = program.outline.nodes[name].finite
            raise DataError(
                f"a joint posterior is asked for '{name}', which is "
                + ("not latent in these data" if finite else "not discrete"),
                expected=", ".join(axes) or "no node",
            )
        if lag > _longest_lag(program, name):
            raise DataError(
                f"a joint posterior is asked for '{name}' '{lag}' steps earlier, which nothing "
                "looks back at",
                where=program.outline.nodes[name].origin,
                advice="declare a node of the sequence with that lag, or decode whole sequences",
            )
    if len(set(query)) < len(query):
        raise DataError(
            "a joint posterior is asked for the same node twice",
            received=", ".join(repr(name) for name, _ in query),
        )
    paths = [program.outline.path(_scope(program, name)) for name, _ in query]
    deepest = max(paths, key=len)
    for (name, _), path in zip(query, paths, strict=True):
        if path != deepest[: len(path)]:
            raise DataError(
                f"a joint posterior is asked for '{name}', which lives in another plate or "
                "sequence than the others",
                expected="nodes of one scope and those around it",
                received=", ".join(repr(other) for other, _ in query),
            )


def _longest_lag(program: Program, name: str) -> int:
    gates = [gate for node in program.analysis.graph.nodes.values() for gate in node.gates()]
    return max((gate.lag for gate in gates if gate.name == name), default=0)


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
    filled = {name: Codes(values) for name, values in codes.items()}
    return replace(columns, codes={**columns.codes, **filled})
