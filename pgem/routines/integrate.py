"""Instruction `integrate`: Gaussian latents and their children, given the variables that gate them.

Given the discrete gates, the nodes of a region are one joint Gaussian.  Forward, the density of
what is seen is a log-table over the gates; in reverse, the posterior moments of what is not seen
give the expected statistics of every node.  The numerics are in `region.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers, Mask
from pgem.families._gaussian import LOG_2PI
from pgem.families._linear import Linear
from pgem.families._parts import flat_rows
from pgem.gating import Cells
from pgem.routines.collect import ScopeData
from pgem.routines.region import Link, Member, Piece, Region, RegionLayout, RegionStatistics
from pgem.routines.region_alike import AlikeLayout, AlikeRegion, lay_out_alike
from pgem.routines.region_switch import (
    Alternatives,
    Share,
    join_pieces,
    joint_parameters,
    own_statistics,
)
from pgem.routines.tables import (
    Axis,
    Entry,
    Gated,
    Index,
    Joint,
    LogTable,
    NodeData,
    aligned,
    arrange,
    cells_of,
    flat_index,
    slot_values,
)

AnyArray = TypeVar("AnyArray", Floats, Mask)


class Gaussian(NamedTuple):
    """One component of a region with what stands in its slots.

    Attributes:
        node: its values.
        slots: what stands in its slots.
        switch: the variable that is summed over and picks it, if there is one.
        value: of that variable, where it applies.
    """

    node: NodeData
    slots: dict[str, Gated]
    switch: Axis | None = None
    value: int = 0


class Switched(NamedTuple):
    """Components of a node, one per value of what picks them."""

    parts: tuple[Gaussian, ...]


def gaussian(node: NodeData, **slots: Gated) -> Gaussian:
    """A linear-Gaussian conditional, to be integrated together with others."""
    return Gaussian(node, slots)


def switched(gate: Axis | Index, *parts: Gaussian) -> Switched:
    """Linear-Gaussian conditionals of a node, picked by a variable.

    Where it is seen, it picks rows; where it is summed over, configurations.
    """
    if isinstance(gate, Index):
        return Switched(parts)
    return Switched(tuple(p._replace(switch=gate, value=k) for k, p in enumerate(parts)))


def components_of(parts: Iterable[Gaussian | Switched]) -> list[Gaussian]:
    """All components, those of switches one by one."""
    return [one for part in parts for one in (part.parts if isinstance(part, Switched) else [part])]


@dataclass(eq=False)
class RegionData:
    """The rows of a region in a shard.

    Attributes:
        home: the scope whose rows its table has.
        n_rows: rows of that scope.
        n_dims: dimensions of a table of that scope.
        chain: the sequence that its states run along, or None.
        scopes: the scopes inside.
        parents: the scope around each of them.
        members: per node its scope, and its components with the rows that each describes.
        given: nodes whose values are read with the covariates, since holes of them that others
            depend on are integrated out elsewhere.
        elsewhere: rows of `home` that are.
    """

    home: str
    n_rows: int
    n_dims: int
    chain: str | None
    scopes: dict[str, ScopeData]
    parents: dict[str, str]
    members: dict[str, tuple[str, dict[str, Integers | None]]]
    given: tuple[str, ...] = ()
    elsewhere: Mask | None = None
    cache: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class GaussianPart:
    """A component with its parameters by coefficient set and configuration of the gates.

    Attributes:
        node: its values.
        cells: its cells.
        slots: slot values per cell.
        cell: the cell of each coefficient set and configuration [K, G], -1 where another component
            of its switch applies.
        in_order: whether the configurations of the only coefficient set are the cells, in order.
    """

    node: NodeData
    cells: Cells
    slots: dict[str, Floats]
    cell: Integers
    in_order: bool = False

    @property
    def family(self) -> Linear:
        assert isinstance(self.node.family, Linear)
        return self.node.family

    @property
    def is_learned(self) -> bool:
        """Whether there is something to learn about it, so that its statistics are asked for."""
        return not self.node.held.issuperset(self.slots)

    @cached_property
    def coefs(self) -> Floats:
        """C for each coefficient set and configuration [K, G, d, columns]."""
        return self._by_configuration(self.family.coefs(self.slots))

    @cached_property
    def noise(self) -> Floats:
        """V for each of them [K, G, d, d], or variances [K, G, d]."""
        return self._by_configuration(self.family.noise(self.slots))

    def _by_configuration(self, values: Floats) -> Floats:
        return values[None] if self.in_order else values[self.cell]

    def entry(self, sums: RegionStatistics) -> Entry:
        """Statistics by cell from those of its own piece."""
        arrays = (sums.count, sums.weight, sums.phi, sums.cross, sums.square)
        if self.in_order:
            added = tuple(np.asarray(array[0]) for array in arrays)
        else:
            added = tuple(self.by_cell(array, self.cell) for array in arrays)
        return Entry(self.family, self.cells, added, self.slots)

    def shared_entry(self, sums: RegionStatistics, share: Share) -> Entry:
        """Statistics by cell from those of a piece for all components of its switch."""
        own = own_statistics(sums, share, diagonal=self.family.diagonal)
        arrays = (own.count, own.weight, own.phi, own.cross, own.square)
        added = tuple(self.by_cell(array, self.cell[share.code]) for array in arrays)
        return Entry(self.family, self.cells, added, self.slots)

    def by_cell(self, array: Floats, cell: Integers) -> Floats:
        """Add what coefficient sets and configurations of one cell have: [K, G, ...] → [C, ...]."""
        total: Floats = np.zeros((self.cells.n_cells, *array.shape[2:]))
        applies = cell >= 0
        np.add.at(total, cell[applies], array[applies])
        return total


def integrate(region: RegionData, axes: Sequence[Axis], *parts: Gaussian | Switched) -> LogTable:
    """log p(all that is seen in the region | gates): [rows, axes...].

    Args:
        region: its rows.
        axes: the discrete variables that gate it.
        parts: all of its components.
    """
    order = sorted(axes, key=lambda axis: axis.position)
    made = {part.node.key: _part(part, order) for part in components_of(parts)}
    if "layout" not in region.cache:
        codes = {key: flat_index(part.cells, part.node.n_rows) for key, part in made.items()}
        nodes = {key: part.node for key, part in made.items()}
        values = {
            name: flat_rows(nodes[next(iter(keys))].points.x)
            for name, (_, keys) in region.members.items()
        }
        region.cache["layout"] = lay_out(region, values, nodes, codes)
    found, array = evaluate(region.cache["layout"], made)
    shape = aligned(region.n_dims, order)
    flat = any(part.node.flat for part in made.values())
    array = np.zeros_like(array) if flat else array
    source = Integrated(found, made, region, region.cache["layout"])
    return LogTable(array.reshape(-1, *shape), region.n_rows, None, source)


@dataclass(frozen=True, eq=False)
class LaidOut:
    """What does not depend on parameters.

    Attributes:
        layout: of the region.
        started: per piece of values that are conditioned on, their length and their number per
            home row.
        joint: per piece of several components of a switch, these.
        alike: the same region where all of its rows are alike, or None.
    """

    layout: RegionLayout
    started: Mapping[str, tuple[int, Floats]]
    joint: Mapping[str, Alternatives]
    alike: AlikeLayout | None = None

    @cached_property
    def shared(self) -> set[str]:
        """Components without a piece of their own."""
        return {key for joint in self.joint.values() for key in joint.shares}


def evaluate(
    laid_out: LaidOut, parts: Mapping[str, GaussianPart]
) -> tuple[Region | AlikeRegion, Floats]:
    """The region at the parameters of its parts, and log p [rows, G]."""
    coefs = {key: part.coefs for key, part in parts.items() if key not in laid_out.shared}
    noise = {key: parts[key].noise for key in coefs}
    for key, joint in laid_out.joint.items():
        coefs[key], noise[key] = joint_parameters(
            joint,
            {name: parts[name].family for name in joint.shares},
            {name: parts[name].slots for name in joint.shares},
            {name: parts[name].cell for name in joint.shares},
        )
    n_configurations = next(iter(parts.values())).cell.shape[1]
    for key, (size, _) in laid_out.started.items():
        coefs[key] = np.broadcast_to(np.eye(size), (1, n_configurations, size, size))
        noise[key] = np.ones((1, n_configurations, size))
    alike = laid_out.alike
    if alike is not None and alike.fits(n_configurations):
        whole = partial(laid_out.layout.evaluate, coefs, noise)
        one = AlikeRegion(alike, coefs, noise, whole)
        return one, one.log_p
    found = laid_out.layout.evaluate(coefs, noise)
    log_p = found.log_p
    for size, count in laid_out.started.values():
        log_p = log_p + 0.5 * LOG_2PI * size * count[:, None]
    return found, log_p


def _part(part: Gaussian, axes: Sequence[Axis]) -> GaussianPart:
    node, slots = part.node, part.slots
    same = node.cache.get("part")
    if same is not None and _is_same(same[0], slots) and same[1] == axes:
        return same[2]  # type: ignore[no-any-return]
    cells = cells_of(node, slots)
    values = slot_values(cells, slots, node.family)
    key = ("configurations", cells, *axes)
    if key not in node.cache:
        cell = _configurations(cells, axes)
        if part.switch is not None:
            grid = np.indices([axis.size for axis in axes])[axes.index(part.switch)].ravel()
            cell = np.where(grid == part.value, cell, -1)
        in_order = len(cell) == 1 and np.array_equal(cell[0], np.arange(cells.n_cells))
        node.cache[key] = cell, in_order
    made = GaussianPart(node, cells, values, *node.cache[key])
    node.cache["part"] = slots, axes, made
    return made


def _is_same(kept: Mapping[str, Gated], slots: Mapping[str, Gated]) -> bool:
    """Whether the very same values stand in all slots, as where all are constants."""
    return all(kept[name].value is gated.value for name, gated in slots.items())


def _configurations(cells: Cells, axes: Sequence[Axis]) -> Integers:
    """The cell of each coefficient set and configuration [K, G]."""
    numbered = arrange(np.arange(cells.n_cells, dtype=float)[None], cells)
    own = [gate for gate in cells.gates if isinstance(gate, Axis)]
    shape = [axis.size if axis in own else 1 for axis in axes]
    cell = numbered.reshape(len(numbered), *shape).astype(np.int64)
    sizes = [axis.size for axis in axes]
    return np.broadcast_to(cell, (len(cell), *sizes)).reshape(len(cell), math.prod(sizes))


def lay_out(
    region: RegionData,
    values: Mapping[str, Floats],
    nodes: Mapping[str, NodeData],
    codes: Mapping[str, Integers | None],
) -> LaidOut:
    """Members with their pieces, in order.

    The first values of a node that are conditioned on get a density of their own, about
    themselves, whose constant is taken back.  Components of a switch that describe the same rows
    are one piece.

    Args:
        region: its rows.
        values: of each node [rows, d], NaN where missing.
        nodes: what each component is made of.
        codes: which coefficient set each row of each component uses; None if all use one.
    """
    members, started, joint = [], dict[str, tuple[int, Floats]](), dict[str, Alternatives]()
    for name, (scope, keys) in region.members.items():
        pieces = []
        for same in _same_rows(keys):
            found = [_piece(nodes[key], codes[key], keys[key], region.given) for key in same]
            if len(found) > 1:
                found[0], shares = join_pieces(found)
                joint[found[0].key] = shares
            pieces.append(found[0])
        described = [piece.rows for piece in pieces if piece.rows is not None]
        if len(described) == len(pieces):
            none = np.zeros(0, dtype=np.int64)
            rest = np.setdiff1d(np.arange(len(values[name])), np.concatenate([none, *described]))
            if len(rest):
                key = f"{name} at the start"
                shown = ~np.isnan(values[name][rest]).all(axis=1)  # not all: integrated elsewhere
                about = np.nan_to_num(values[name][rest])
                pieces.append(Piece(key, rest, None, about, (), None, diagonal=True))
                home = _home_rows(region, scope, len(values[name]))[rest[shown]]
                count = np.bincount(home, minlength=region.n_rows).astype(float)
                started[key] = values[name].shape[1], count
        members.append(Member(name, scope, values[name], tuple(pieces)))
    layout = RegionLayout(
        members, region.scopes, region.parents, region.home, region.n_rows, region.chain
    )
    here = region.chain is None and not region.scopes
    alike = lay_out_alike(members, region.n_rows) if here else None
    return LaidOut(layout, started, joint, alike)


def _same_rows(keys: Mapping[str, Integers | None]) -> list[list[str]]:
    """Components of a node, those together that describe the same rows."""
    found: list[list[str]] = []
    for key, rows in keys.items():
        for same in found:
            if _describe_alike(keys[same[0]], rows):
                same.append(key)
                break
        else:
            found.append([key])
    return found


def _describe_alike(first: Integers | None, second: Integers | None) -> bool:
    """Whether two components describe the same rows, and there are any."""
    if first is None or second is None:
        return first is second
    return len(first) > 0 and np.array_equal(first, second)


def _home_rows(region: RegionData, scope: str, n_rows: int) -> Integers:
    """The home row of each row of a scope."""
    rows = np.arange(n_rows)
    while scope != region.home:
        rows = region.scopes[scope].parent[rows]
        scope = region.parents[scope]
    return rows


def _piece(
    node: NodeData, code: Integers | None, rows: Integers | None, given: Sequence[str]
) -> Piece:
    known, family = node.points.known, node.family
    assert isinstance(family, Linear)
    chosen: Any = slice(None) if rows is None else rows
    design = known["design"][chosen]
    if len(design) and (design == design[:1]).all():
        design = design[:1]
    links = []
    for k, term in enumerate(family.terms):
        if term.parent is not None and term.parent[0] not in given:
            scale = known.get(f"scale_{k}")
            links.append(
                Link(*term.parent, term.start, term.stop,
                     None if scale is None else scale[chosen], term.contracts)
            )  # fmt: skip
    spread = known.get("spread")
    return Piece(
        node.key,
        rows,
        None if code is None else code[chosen],
        design,
        tuple(links),
        None if spread is None else spread[chosen],
        family.diagonal,
    )


@dataclass(frozen=True, eq=False)
class Integrated(Joint):
    """Where the table of a region came from.

    Attributes:
        region: the evaluated region.
        parts: its components by key.
        data: its rows.
        laid_out: what does not depend on parameters.
    """

    region: Region | AlikeRegion
    parts: Mapping[str, GaussianPart]
    data: RegionData
    laid_out: LaidOut

    def weights(self, posterior: Floats) -> Floats:
        """The posterior of the gates' configurations [rows, G]."""
        n_rows, elsewhere = self.data.n_rows, self.data.elsewhere
        full = np.broadcast_to(posterior, (n_rows, *posterior.shape[1:])).reshape(n_rows, -1)
        return full if elsewhere is None else np.where(elsewhere[:, None], 0.0, full)

    def entries(self, posterior: Floats) -> dict[str, Entry]:
        """Expected statistics of every component, under the posterior of its gates."""
        return entries_of(self.laid_out, self.region, self.parts, self.weights(posterior))

    def moments(self, posterior: Floats) -> dict[str, tuple[Floats, Floats]]:
        """Mean [rows, d] and covariance [rows, d, d] of what is not seen, gates averaged.

        Means are NaN where rows are integrated out elsewhere.
        """
        found = {}
        for name, (mean, cov) in self.region.moments().items():
            if name in self.data.given:
                continue
            weight = self.rows_of(name, self.weights(posterior))
            found[name] = mixed_moments(mean, cov, weight)
            if self.data.elsewhere is not None:
                found[name][0][self.rows_of(name, self.data.elsewhere)] = np.nan
        return found

    def draw(self, generator: Generator, posterior: Floats) -> dict[str, Floats]:
        """One joint draw of what is not seen [rows, d], given the gates that were drawn.

        It is NaN where rows are integrated out elsewhere.
        """
        drawn = self.region.draw(generator, self.weights(posterior).argmax(axis=1))
        found = {name: values for name, values in drawn.items() if name not in self.data.given}
        if self.data.elsewhere is not None:
            for name, values in found.items():
                values[self.rows_of(name, self.data.elsewhere)] = np.nan
        return found

    def rows_of(self, name: str, values: AnyArray) -> AnyArray:
        """What the home row of each row of a member has."""
        scope, keys = self.data.members[name]
        n_rows = self.parts[next(iter(keys))].node.n_rows
        return values[_home_rows(self.data, scope, n_rows)]


def entries_of(
    laid_out: LaidOut,
    region: Region | AlikeRegion,
    parts: Mapping[str, GaussianPart],
    weights: Floats,
) -> dict[str, Entry]:
    """Expected statistics of every component of which something is learned.

    Args:
        laid_out: what the region was evaluated with.
        region: evaluated at the parameters of the parts.
        parts: components by key.
        weights: posterior of the configurations of the gates [rows, G].
    """
    learned = {key for key, part in parts.items() if part.is_learned}
    shared = {key for key, joint in laid_out.joint.items() if learned & joint.shares.keys()}
    found = {}
    for key, sums in region.statistics(weights, (learned - laid_out.shared) | shared).items():
        if key in parts:
            found[key] = parts[key].entry(sums)
            continue
        for name, share in laid_out.joint[key].shares.items():
            if name in learned:
                found[name] = parts[name].shared_entry(sums, share)
    return found


def mixed_moments(mean: Floats, cov: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Moments of a mixture: mean [rows, d] and covariance [rows, d, d].

    Args:
        mean: of the components [rows, G, d].
        cov: of the components, of one or of all [rows, 1 or G, d, d].
        weight: of the components [rows, G].
    """
    total = np.einsum("ng,ngd->nd", weight, mean)
    apart = mean - total[:, None]
    spread = np.einsum("ng,ngij->nij", weight, np.broadcast_to(cov, (*mean.shape, mean.shape[2])))
    return total, spread + np.einsum("ng,ngi,ngj->nij", weight, apart, apart)
