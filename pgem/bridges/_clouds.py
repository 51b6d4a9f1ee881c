"""Observed values side by side with the component that each comes from, in flat rows.

Everything is found from the scopes and shapes of nodes, so it works for any model whose latent
nodes are discrete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeVar

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.run import Columns

MOST_COMPONENTS = 12
"""As many as there are colours."""
Rows = TypeVar("Rows", Floats, Integers)


@dataclass(frozen=True)
class Cloud:
    """The rows of one observed numeric node.

    Attributes:
        node: its name.
        values: [rows, D].
        weights: frequency of each row.
        posterior: [rows, K] of the component.
        component: [rows], as decoded.
        gates: latent nodes whose combination is the component.
        labels: what the components are called.
        sequence: rows of the longest unit, if rows are steps.
        curves: a grid of values, and the density of every component there, [rows, K]; only of a
            number that is all that a unit holds.
        fitted: covariances of the components as parameters, [K, D, D], where they are that.
    """

    node: str
    values: Floats
    weights: Floats
    posterior: Floats
    component: Integers
    gates: tuple[str, ...]
    labels: tuple[str, ...]
    sequence: slice | None
    curves: tuple[Floats, Floats] | None = None
    fitted: Floats | None = None

    @property
    def in_time(self) -> bool:
        """Whether the values are numbers along a sequence."""
        return self.sequence is not None and self.values.shape[1] == 1

    def means(self) -> Floats:
        """Mean of each component, [K, D]; nan where a component is empty."""
        share = self.posterior * self.weights[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((share.T @ self.values) / share.sum(axis=0)[:, None])

    def covariances(self) -> Floats:
        """Covariance of each component, [K, D, D]: as fitted, else weighted by the posterior."""
        if self.fitted is not None:
            return self.fitted
        share = self.posterior * self.weights[:, None]
        away = self.values[:, None, :] - self.means()[None]
        with np.errstate(invalid="ignore", divide="ignore"):
            moments = np.einsum("nk,nki,nkj->kij", share, away, away)
            return np.asarray(moments / share.sum(axis=0)[:, None, None])


def find_clouds(fit: Any, data: Any, weights: Any = None) -> list[Cloud]:
    """A cloud for every numeric observed node, in order of declaration."""
    columns: Columns = fit.read(data, weights)[1]
    gates = {node.name: _gates(fit, node) for node in fit.record.nodes}
    decoded = fit.decode(data) if any(gates.values()) else {}
    clouds = [
        _cloud(fit, columns, name, gates[name], data, decoded)
        for name, node in fit.program.outline.nodes.items()
        if node.kind == "observed" and name in columns.numbers
    ]
    return [_with_fitted(_with_curves(cloud, fit), fit) for cloud in clouds if cloud is not None]


def _gates(fit: Any, node: Any) -> tuple[str, ...]:
    """Latent nodes of the same step that gate a node, as many as can be told apart by colour."""
    kinds = {name: outline.kind for name, outline in fit.program.outline.nodes.items()}
    names = [g.name for g in node.gates() if g.kind == "node" and not g.lag]
    gates = [name for name in names if kinds[name] == "latent"]
    while len(gates) > 1 and prod(fit.sizes[name] for name in gates) > MOST_COMPONENTS:
        gates.pop()
    return tuple(gates)


def _cloud(
    fit: Any,
    columns: Columns,
    name: str,
    gates: tuple[str, ...],
    data: Any,
    decoded: Mapping[str, Any],
) -> Cloud | None:
    """One cloud, or nothing where the rows do not fit together."""
    scope = columns.outline.nodes[name].scope
    values = columns.numbers[name][:]
    values = values.reshape(len(values), -1)
    belief, component = np.ones((len(values), 1)), np.zeros(len(values), dtype=np.int64)
    sizes = [fit.sizes[gate] for gate in gates]
    if gates:
        paths = {gate: len(columns.outline.path(_home(columns, gate))) for gate in gates}
        home = _home(columns, max(gates, key=paths.__getitem__))
        belief = _down(columns, _belief(fit, data, gates), home, scope)
        codes = [
            _down(columns, _codes(columns, gate, decoded[gate]), _home(columns, gate), scope)
            for gate in gates
        ]
        if any(len(rows) != len(values) for rows in (belief, *codes)):
            return None
        component = np.ravel_multi_index(tuple(codes), sizes)
    known = ~np.isnan(values).any(axis=1)
    return Cloud(
        name,
        values[known],
        _down(columns, columns.weights, "unit", scope)[known],
        belief[known],
        component[known],
        gates,
        _labels(columns, gates, sizes),
        _longest(columns, scope, known),
    )


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
    density = np.exp(fit.log_likelihoods(data))[:, None]
    if cloud.gates:
        density = density * _belief(fit, data, cloud.gates)
    return replace(cloud, curves=(grid, density))


def _with_fitted(cloud: Cloud, fit: Any) -> Cloud:
    """Add the fitted covariances, where there is one for each component or one for all."""
    name, n_values = f"{cloud.node}.cov", cloud.values.shape[1]
    if name not in fit.params:
        return cloud
    matrices = np.asarray(fit.expanded(name)).reshape(-1, n_values, n_values)
    if len(matrices) not in (1, len(cloud.labels)):
        return cloud
    shape = (len(cloud.labels), n_values, n_values)
    return replace(cloud, fitted=np.broadcast_to(matrices, shape))


def _belief(fit: Any, data: Any, gates: tuple[str, ...]) -> Floats:
    """Joint posterior of some latent nodes in rows, [rows, K]."""
    if len(gates) == 1:
        return _flat(fit.posterior(data)[gates[0]], 1)
    return _flat(fit.posterior(data, joint=[gates])[gates], len(gates))


def _flat(nested: Any, n_own: int) -> Floats:
    """The posterior in rows, from any container; its last `n_own` axes are those of the gates."""
    if isinstance(nested, list | tuple):
        return np.concatenate([_flat(part, n_own) for part in nested])
    array = np.asarray(nested, dtype=float)
    return array.reshape(-1, prod(array.shape[-n_own:]))


def _home(columns: Columns, node: str) -> str:
    return columns.outline.nodes[node].scope


def _codes(columns: Columns, gate: str, decoded: Any) -> Integers:
    """Decoded categories in rows, labels turned back into codes."""
    if isinstance(decoded, list | tuple):
        return np.concatenate([_codes(columns, gate, part) for part in decoded])
    flat = np.asarray(decoded).ravel()
    levels = columns.levels.get(gate) or columns.outline.nodes[gate].levels
    if levels and (gate in columns.levels or flat.dtype.kind not in "iu"):
        places = {label: k for k, label in enumerate(levels)}
        flat = np.array([places[label] for label in flat.tolist()])
    return flat.astype(np.int64)


def _down(columns: Columns, rows: Rows, scope: str, target: str) -> Rows:
    """Rows of a scope, repeated for the members of the scopes inside."""
    path = columns.outline.path(target)
    for inner in path[len(columns.outline.path(scope)) :]:
        if len(rows) != len(columns.starts[inner]) - 1:
            return rows[:0]
        rows = np.repeat(rows, np.diff(columns.starts[inner]), axis=0)
    return rows


def _labels(columns: Columns, gates: Sequence[str], sizes: Sequence[int]) -> tuple[str, ...]:
    if not gates:
        return ("all",)
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
