"""Bound data as plain arrays, for a script that runs without pgem (see `Program.to_script`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pgem.arrays import Floats
from pgem.families._link import EveryValue
from pgem.learn.degenerate import data_variance
from pgem.plan import Program
from pgem.plan.script import Contents, StretchShape, read_listing
from pgem.result.facts import count_observations
from pgem.run import Bound, Shard


def hand_over(bound: Bound, start: Mapping[str, Floats]) -> Contents:
    """All that a script's e_step reads, as one shard, and the start."""
    program = bound.program
    shard = Shard(bound, 0, bound.n_units)
    arrays: dict[str, Any] = {
        "weights": bound.columns.weights,
        "n_observations": count_observations(bound.columns),
    }
    for name in shard.scopes:
        members = shard.scope(name)
        arrays[f"{name} starts"] = members.starts
        if members.parents is not None:
            arrays[f"{name} parents"] = members.parents
    for key in program.parts:
        arrays |= _node(shard, key)
    indices = {}
    listing, regions = read_listing(program.source), {}
    for name in listing.regions:
        data = shard.region(name)
        shown = {node: (scope, tuple(rows)) for node, (scope, rows) in data.members.items()}
        regions[name] = data.home, data.chain, data.parents, shown, data.given
        if data.elsewhere is not None:
            arrays[f"{name} elsewhere"] = data.elsewhere
        for _, keys in data.members.values():
            arrays |= {f"{name} rows {key}": rows for key, rows in keys.items() if rows is not None}
    stretched = {}
    for name in listing.stretches:
        stretched[name], own = _stretches(shard, name)
        arrays |= own
    for name, scope, lag in listing.calls:
        index = shard.index(name, scope, lag)
        arrays[f"{name} in {scope} lag {lag}"] = index.codes
        indices[name, scope, lag] = index.size
    scales = _scales(program, bound)
    return Contents(arrays | scales, dict(start), indices, regions, stretched)


def _stretches(shard: Shard, name: str) -> tuple[StretchShape, dict[str, Any]]:
    """Where holes tie steps together, and what is read there."""
    bound = shard.bound
    region = next(r for r in bound.program.analysis.regions if r.name == name)
    found = bound.stretches[name]._asdict()
    arrays: dict[str, Any] = {f"{name} stretches {what}": found[what] for what in found}
    nodes = {}
    for node in region.nodes:
        rows = shard.rows_of_components(node)
        nodes[node] = tuple(rows)
        for key, own in rows.items():
            arrays[f"{key} tied"], known = bound.tied(key)
            arrays |= {f"{key} tied known {slot}": value for slot, value in known.items()}
            if own is not None:
                arrays[f"{name} rows {key}"] = own
    return (region.chain, nodes), arrays


def _node(shard: Shard, key: str) -> dict[str, Any]:
    """Values, known slots, index and further facts of one component."""
    node = shard[key]
    arrays: dict[str, Any] = {key: node.points.x}
    arrays |= {f"{key} known {slot}": value for slot, value in node.points.known.items()}
    if node.index is not None:
        arrays[f"{key} rows"] = node.index
    if isinstance(node.points, EveryValue):
        single = np.zeros(0, dtype=np.int64)  # one row of inputs serves all
        arrays[f"{key} inputs"] = single if node.inputs is None else node.inputs
    facts = {name: value for name, value in node.cache.items() if isinstance(name, str)}
    return arrays | {f"{key} fact {name}": value for name, value in facts.items()}


def _scales(program: Program, bound: Bound) -> dict[str, Any]:
    """The variances beside which a collapsed spread is found."""
    return {
        f"{name} scale": np.asarray(data_variance(bound, layout))
        for name, layout in program.params.items()
        if layout.is_free and layout.role.has_spread
    }
