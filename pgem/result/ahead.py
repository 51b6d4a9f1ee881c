"""Moments of what lies behind the last value of a switching autoregression.

Nothing that is seen depends on these values, so they leave the posterior of the discrete variables
alone.  The mean of a step is linear in the steps before, given what gates it; so first and second
moments under every value of what later steps look back at (the interface of the sequence) follow
from one step to the next, whatever the number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgem.analyse import Region
from pgem.arrays import Floats, Integers, Mask
from pgem.families._linear import Linear
from pgem.gating import Pick
from pgem.plan import Program
from pgem.result.cells import cell_slots
from pgem.run import Bound, Columns, Shard

Query = tuple[tuple[str, int], ...]
Moments = tuple[Floats, Floats]


def query_of(program: Program, region: Region) -> Query:
    """What a step depends on and hands on: discrete variables of the sequence and around it."""
    graph, positions = program.analysis.graph, program.analysis.schedule.positions
    own = {v for v in positions if graph.nodes[v.node].scope == region.chain}
    held = {v for v in positions if (v.node, v.lag) in region.gates}
    return tuple((v.node, v.lag) for v in sorted(own | held, key=positions.__getitem__))


@dataclass
class Ahead:
    """All sequences of a region that end with steps of which nothing is seen.

    Attributes:
        bound: the data, with `asked="moments"`.
        params: parameters by name.
        region: the region.
        query: the discrete variables of a step.
        weights: their joint posterior [rows, values...].
    """

    bound: Bound
    params: dict[str, Floats]
    region: Region
    query: Query
    weights: Floats

    def __post_init__(self) -> None:
        program, nodes = self.bound.program, self.region.nodes
        self.shard = Shard(self.bound, 0, self.bound.n_units)
        self.sizes = self.weights.shape[1:]
        self.weights = self.weights.reshape(len(self.weights), math.prod(self.sizes))
        grid = np.indices(self.sizes).reshape(len(self.sizes), math.prod(self.sizes))
        self.digits = dict(zip(self.query, grid, strict=True))
        self.parts = {key: p for key, p in program.parts.items() if p.node in nodes}
        self.rows = {k: r for node in nodes for k, r in self.shard.rows_of_components(node).items()}
        self.lag = max(lag for family in self._families() for _, lag in _parents(family))
        self.start: dict[tuple[str, int], int] = {}
        width = 0
        for lag in range(self.lag + 1):
            for node in nodes:
                self.start[node, lag] = width
                width += next(f.dim for key, f in self._by_key() if self.parts[key].node == node)
        self.width = width

    def _by_key(self) -> Iterator[tuple[str, Linear]]:
        for key, part in self.parts.items():
            assert isinstance(part.family, Linear)
            yield key, part.family

    def _families(self) -> list[Linear]:
        return [family for _, family in self._by_key()]

    def fill(self, moments: Mapping[str, Moments]) -> None:
        """Write mean and covariance of every such step into those of all rows, in place."""
        tail = self.bound.tails[self.region.name]
        mean, cov = self._seen(tail[0].rows, moments)
        for step, (rows, origin) in enumerate(tail):
            if step:
                mean, cov = mean[origin], cov[origin]
            for node in self.region.nodes:
                self._add(node, rows, mean, cov)
                own = slice(self.start[node, 0], self.start[node, 0] + moments[node][0].shape[1])
                weight = self.weights[rows]
                mixed = _mix(weight, mean[..., own], cov[..., own, own])
                moments[node][0][rows], moments[node][1][rows] = mixed
            mean, cov = self._hand_on(rows, mean, cov)

    def _seen(self, first: Integers, moments: Mapping[str, Moments]) -> Moments:
        """The values before the first step, which are certain [n, combinations, width]."""
        n, n_all = len(first), self.weights.shape[1]
        mean = np.zeros((n, n_all, self.width))
        scope = self.shard.scope(self.region.chain)
        for (node, lag), start in self.start.items():
            if lag:
                before = scope.earlier(lag)[first]
                values = np.nan_to_num(moments[node][0][before])
                there = (before >= 0)[:, None]
                mean[:, :, start : start + values.shape[1]] = np.where(there, values, 0.0)[:, None]
        return mean, np.zeros((n, n_all, self.width, self.width))

    def _add(self, node: str, rows: Integers, mean: Floats, cov: Floats) -> None:
        """Put a node's value of this step, given what stands before it, among the others."""
        for key, family in self._by_key():
            own = self.rows[key]
            here = np.arange(len(rows)) if own is None else np.flatnonzero(np.isin(rows, own))
            if self.parts[key].node != node or not len(here):
                continue
            matrix, shift, noise = self._map(key, family, rows[here])
            place = slice(self.start[node, 0], self.start[node, 0] + family.dim)
            above = matrix @ cov[here]
            centre = mean[here]
            centre[..., place] = (matrix @ centre[..., None])[..., 0] + shift
            within = above @ np.swapaxes(matrix, -1, -2) + noise
            block = cov[here]
            block[..., place, :], block[..., :, place] = above, np.swapaxes(above, -1, -2)
            block[..., place, place] = within
            applies = self._applies(key)
            mean[here] = np.where(applies[:, None], centre, mean[here])
            cov[here] = np.where(applies[:, None, None], block, cov[here])

    def _applies(self, key: str) -> Mask:
        """Under which combinations a component describes its rows: all, without a switch."""
        graph, part = self.bound.program.analysis.graph, self.parts[key]
        switch = graph.nodes[part.node].switch
        if switch is None or (switch.name, switch.lag) not in self.digits:
            return np.ones(self.weights.shape[1], dtype=bool)
        codes = self.digits[switch.name, switch.lag]
        return np.asarray(codes == part.component)

    def _map(self, key: str, family: Linear, rows: Integers) -> tuple[Floats, Floats, Floats]:
        """x = A z + b + noise: A [n, combinations, d, width], b and the noise's covariance."""
        slots = cell_slots(self.bound.program, key, self.params)
        cell, known = self._cells(key, rows), self.bound.tied(key)[1]
        coefs, noise = family.coefs(slots)[cell], family.noise(slots)[cell]
        if family.diagonal:
            noise = noise[..., None] * np.eye(family.dim)
        spread = known.get("spread")
        if spread is not None:
            noise = noise * spread[rows][:, None, None, None]
        shift = np.einsum("ncdm,nm->ncd", coefs, known["design"][rows])
        lead = np.zeros((len(rows), family.width, self.width))
        for k, term in enumerate(family.terms):
            if term.parent is None:
                continue
            scale = known.get(f"scale_{k}", np.ones(int(rows.max()) + 1))[rows]
            start = self.start[term.parent]
            if term.contracts:
                lead[:, term.start, start : start + scale.shape[1]] += scale
                continue
            for j in range(term.stop - term.start):
                lead[:, term.start + j, start + j] += scale
        return coefs @ lead[:, None], shift, noise

    def _cells(self, key: str, rows: Integers) -> Integers:
        """The cell of a component under every combination [n, combinations]."""
        cells = self.bound.program.analysis.layout.components[key].cells
        found = np.zeros((len(rows), self.weights.shape[1]), dtype=np.int64)
        for gate, size in zip(cells.gates, cells.shape, strict=True):
            found = found * size + self._codes(gate, rows)
        return found

    def _codes(self, gate: Any, rows: Integers) -> Integers:
        if isinstance(gate, Pick):
            inner = tuple(self._codes(each, rows) for each in gate.gates)
            return np.asarray(gate.table[inner])
        if (gate.name, gate.lag) in self.digits:
            return self.digits[gate.name, gate.lag][None]
        codes = self.shard.index(gate.name, self.region.chain, gate.lag).codes[rows]
        return np.asarray(np.maximum(codes, 0)[:, None])

    def _hand_on(self, rows: Integers, mean: Floats, cov: Floats) -> Moments:
        """Moments under what the next step looks back at, for every combination of that step."""
        graph = self.bound.program.analysis.graph
        weight, n = self.weights[rows], len(rows)
        now = np.zeros(weight.shape[1], dtype=np.int64)
        before, total = now.copy(), 1
        for (node, lag), size in zip(self.query, self.sizes, strict=True):
            inside = graph.nodes[node].scope == self.region.chain
            if inside and not lag:
                continue  # told by what the next step calls it
            now = now * size + self.digits[node, lag - 1 if inside else lag]
            before = before * size + self.digits[node, lag]
            total *= size
        means = np.zeros((n, total, self.width))
        covs = np.zeros((n, total, self.width, self.width))
        for value in range(total):
            chosen = now == value
            means[:, value], covs[:, value] = _mix(
                weight[:, chosen], mean[:, chosen], cov[:, chosen]
            )
        size = self.width // (self.lag + 1)
        later, moved = np.zeros_like(means), np.zeros_like(covs)
        later[..., size:] = means[..., : self.width - size]
        moved[..., size:, size:] = covs[..., : self.width - size, : self.width - size]
        return later[:, before], moved[:, before]


def _parents(family: Linear) -> list[tuple[str, int]]:
    return [term.parent for term in family.terms if term.parent is not None]


def _mix(weight: Floats, mean: Floats, cov: Floats) -> Moments:
    """Moments of mixtures: weights [n, G], means [n, G, d], covariances [n, G, d, d]."""
    total = weight.sum(axis=1, keepdims=True)
    share = weight / np.where(total > 0, total, 1.0)
    centre = np.einsum("ng,ngd->nd", share, mean)
    apart = mean - centre[:, None]
    inside = np.einsum("ng,ngij->nij", share, cov)
    return centre, inside + np.einsum("ng,ngi,ngj->nij", share, apart, apart)


def ahead_queries(program: Program, columns: Columns) -> list[Query]:
    """What `fill_ahead` needs to know of these data."""
    regions = [region for region in program.analysis.regions if region.in_stretches]
    if not regions:
        return []
    tails = Bound(program, columns, asked="moments").tails
    return [query_of(program, region) for region in regions if tails[region.name]]


def fill_ahead(
    bound: Bound,
    params: dict[str, Floats],
    moments: Mapping[str, Moments],
    tables: Mapping[Query, Floats],
) -> None:
    """Write the moments of what lies behind the last values into those of all rows, in place.

    Args:
        bound: the program that answered, with data.
        params: parameters by name.
        moments: mean [rows, d] and covariance [rows, d, d] by node.
        tables: joint posteriors by query.
    """
    for region in bound.program.analysis.regions:
        if region.in_stretches and bound.tails[region.name]:
            query = query_of(bound.program, region)
            Ahead(bound, params, region, query, tables[query]).fill(moments)
