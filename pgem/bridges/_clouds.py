"""Observed values side by side with the component that each comes from, in flat rows.

Everything is found from the scopes and shapes of nodes, so it works for any model whose latent
nodes are discrete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.run import Columns

MOST_COMPONENTS = 12


@dataclass(frozen=True)
class Cloud:
    """The rows of one observed numeric node.

    Attributes:
        node: its name.
        values: [rows, D].
        weights: frequency of each row.
        posterior: [rows, K] of the component.
        gates: latent nodes whose combination is the component.
        labels: what the components are called.
        sequence: rows of the longest unit, if rows are steps.
        curves: a grid of values, and the density of every component there, [rows, K]; only of a
            number that is all that a unit holds.
    """

    node: str
    values: Floats
    weights: Floats
    posterior: Floats
    gates: tuple[str, ...]
    labels: tuple[str, ...]
    sequence: slice | None
    curves: tuple[Floats, Floats] | None = None

    @property
    def component(self) -> Integers:
        """The most probable component of each row."""
        return np.asarray(self.posterior.argmax(axis=1))

    def means(self) -> Floats:
        """Mean of each component, [K, D]; nan where a component is empty."""
        share = self.posterior * self.weights[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((share.T @ self.values) / share.sum(axis=0)[:, None])

    def covariances(self) -> Floats:
        """Covariance of each component, [K, D, D]."""
        share = self.posterior * self.weights[:, None]
        away = self.values[:, None, :] - self.means()[None]
        with np.errstate(invalid="ignore", divide="ignore"):
            moments = np.einsum("nk,nki,nkj->kij", share, away, away)
            return np.asarray(moments / share.sum(axis=0)[:, None, None])


def find_clouds(fit: Any, data: Any, weights: Any = None) -> list[Cloud]:
    """A cloud for every numeric observed node that latent nodes gate, in order of declaration."""
    columns: Columns = fit.read(data, weights)[1]
    posterior = fit.posterior(data)
    outline = fit.program.outline
    clouds = []
    for name, node in outline.nodes.items():
        gates = [p for p in node.parents if outline.nodes[p].kind == "latent" and p in posterior]
        if node.kind == "observed" and name in columns.numbers and gates:
            clouds.append(_cloud(columns, name, gates, posterior))
    return [_with_curves(cloud, fit) for cloud in clouds if cloud is not None]


def _with_curves(cloud: Cloud, fit: Any) -> Cloud:
    """Add the densities p(x) p(component | x) on a grid, where x alone makes up a unit."""
    outline = fit.program.outline
    seen = [name for name, node in outline.nodes.items() if node.kind == "observed"]
    inside = outline.nodes[cloud.node].scope != "unit" or outline.covariates
    if seen != [cloud.node] or inside or cloud.values.shape[1] > 1:
        return cloud
    x = cloud.values[:, 0]
    if (x == np.round(x)).all():
        grid = np.arange(x.min(), x.max() + 1)
    else:
        grid = np.linspace(x.min(), x.max(), 200)
    data = {cloud.node: grid.reshape(-1, *(1,) * outline.nodes[cloud.node].event_ndim)}
    posterior = fit.posterior(data)
    shares = _product([_flat(posterior[gate]) for gate in cloud.gates])
    density = np.exp(fit.log_likelihoods(data))[:, None] * shares
    return replace(cloud, curves=(grid, density))


def _cloud(
    columns: Columns, name: str, gates: Sequence[str], posterior: Mapping[str, Any]
) -> Cloud | None:
    """One cloud, or nothing where the rows do not fit together."""
    scope = columns.outline.nodes[name].scope
    values = columns.numbers[name]
    values = values.reshape(len(values), -1)
    tables = [_table(columns, gate, posterior[gate], scope) for gate in gates]
    while len(tables) > 1 and prod(table.shape[1] for table in tables) > MOST_COMPONENTS:
        tables.pop()
    if any(len(table) != len(values) for table in tables):
        return None
    known = ~np.isnan(values).any(axis=1)
    return Cloud(
        name,
        values[known],
        _down(columns, columns.weights, "unit", scope)[known],
        _product(tables)[known],
        tuple(gates[: len(tables)]),
        _labels(columns, gates, [table.shape[1] for table in tables]),
        _longest(columns, scope, known),
    )


def _table(columns: Columns, gate: str, posterior: Any, scope: str) -> Floats:
    home = columns.outline.nodes[gate].scope
    return _down(columns, _flat(posterior), home, scope)


def _flat(nested: Any) -> Floats:
    """The posterior in rows, [rows, K], from any container."""
    if isinstance(nested, list | tuple):
        return np.concatenate([_flat(part) for part in nested])
    array = np.asarray(nested, dtype=float)
    return array.reshape(-1, array.shape[-1])


def _down(columns: Columns, rows: Floats, scope: str, target: str) -> Floats:
    """Rows of a scope, repeated for the members of the scopes inside."""
    path = columns.outline.path(target)
    for inner in path[len(columns.outline.path(scope)) :]:
        if len(rows) != len(columns.starts[inner]) - 1:
            return rows[:0]
        rows = np.repeat(rows, np.diff(columns.starts[inner]), axis=0)
    return rows


def _product(tables: Sequence[Floats]) -> Floats:
    joint = tables[0]
    for table in tables[1:]:
        joint = (joint[:, :, None] * table[:, None, :]).reshape(len(table), -1)
    return joint


def _labels(columns: Columns, gates: Sequence[str], sizes: Sequence[int]) -> tuple[str, ...]:
    names = []
    for index in np.ndindex(*sizes):
        parts = [_label(columns, gate, k) for gate, k in zip(gates, index, strict=False)]
        names.append(", ".join(parts))
    return tuple(names)


def _label(columns: Columns, gate: str, k: int) -> str:
    levels = columns.outline.nodes[gate].levels
    return f"{gate} = {levels[k] if levels else k}"


def _longest(columns: Columns, scope: str, known: Any) -> slice | None:
    """Known rows of the longest sequence."""
    if scope == "unit" or columns.outline.scopes[scope].kind != "sequence":
        return None
    starts = columns.starts[scope]
    longest = int(np.diff(starts).argmax())
    before = np.concatenate([[0], np.cumsum(known)])
    return slice(int(before[starts[longest]]), int(before[starts[longest + 1]]))
