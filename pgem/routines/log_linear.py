"""Small units in one product: the joint of all discrete latents as an exponential family.

Where every conditional of a unit is coefficients times features, its joint log-density is linear
in the coefficients of all conditionals together,

    log p(x_n, z | θ) = Σ_j B[(z, n), j] θ_j + log h(x_n),

and the expected statistics of all of them are Bᵀ p(z | x_n) (Wainwright & Jordan 2008, section 3).
B follows from the tables of the generated E-step: it is run once with numbers instead of
log-densities, which tell of every entry what value and cell it reads.  Summing the whole joint out
at once costs more operations than one variable after the other, and far fewer calls, which is all
that counts as long as B is small.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.families._family import Family, Statistics
from pgem.families._roles import Role
from pgem.families._tiles import AS_GIVEN, PRODUCTS, TileForm
from pgem.routines.contract import Semiring
from pgem.routines.maximise import Params, Readers
from pgem.routines.tables import (
    Axis,
    Entry,
    LogTable,
    NodeData,
    Posterior,
    Source,
    Stats,
    product,
    split_gates,
)
from pgem.routines.tally import Spread

LARGEST = 1 << 16
"""Entries of B up to which it is used: some ten microseconds each way."""
PLAIN = {"arguments", "settings", "structures", "size", "owner"}
"""What every settled family has."""
Settle = Callable[[Floats], Statistics]
"""Sums of features [cells, P] → statistics."""
EStep = Callable[..., Floats]
"""A generated E-step: (shard, params, stats, semiring) → log p [N]."""


class _Numbers(Semiring):
    """Eliminations that only note which tables take part."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[LogTable] = []
        self.tables: list[LogTable] = []

    def eliminate(self, axis: Axis, *tables: LogTable) -> tuple[LogTable, Floats]:
        self.tables += [table for table in tables if not _among(table, self.messages)]
        message, given = super().eliminate(axis, *tables)
        self.messages.append(message)
        return message, given


class _Noted(Stats):
    """Statistics that only note which tables have any."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[LogTable] = []

    def add(
        self, log_table: LogTable, posterior: Posterior | Spread, *, summed: bool = False
    ) -> None:
        self.tables.append(log_table)


class _Numbered:
    """A shard whose nodes have numbers for log-densities: value × cells + cell + 1."""

    def __init__(self, shard: Any) -> None:
        self.shard = shard

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shard, name)

    def __getitem__(self, key: str) -> NodeData:
        node: NodeData = self.shard[key]
        family = copy.copy(node.family)
        vars(family)["log_density"] = _numbers
        return replace(node, family=family, cache=dict(node.cache))


def _numbers(points: Any, slots: Mapping[str, Floats]) -> Floats:
    n_cells = len(next(iter(slots.values())))
    return np.arange(1.0, 1 + len(points.x) * n_cells).reshape(-1, n_cells)


def _among(table: LogTable, tables: Sequence[LogTable]) -> bool:
    return any(table is other for other in tables)


@dataclass(frozen=True, eq=False)
class Member:
    """A component among those whose families are alike.

    Attributes:
        key: the component.
        source: its cells and slots.
        reads: slot → parameter.
        first: its first cell in the group.
    """

    key: str
    source: Source
    reads: Mapping[str, str]
    first: int

    @cached_property
    def cells(self) -> slice:
        """Its cells in the group."""
        return slice(self.first, self.first + self.source.cells.n_cells)

    def rows(self, slot: str, params: Params) -> Floats:
        """Values of a slot per cell."""
        value, cells = self.source.slots[slot], self.source.cells
        name = self.reads.get(slot)
        if name is None:
            return value
        rows = params[name].reshape(cells.n_rows[slot], *value.shape[1:])
        return rows if slot in cells.one_to_one else rows[cells.rows[slot]]


@dataclass(eq=False)
class Group:
    """Components whose families are alike: evaluated as one family with the cells of all.

    Attributes:
        family: the family.
        members: the components.
        width: features of a value.
        form: of the density at the parameters that B was made with.
        alone: the only slot that is learned, if each member learns it by itself, so that all have
            their maximum in one solve; else "".
        kept: what was last maximised together, and the parameters that it is made of.
    """

    family: Family
    members: list[Member]
    width: int
    form: TileForm
    alone: str = ""
    kept: tuple[Floats, Params] | None = None

    @property
    def n_cells(self) -> int:
        """Cells of all members."""
        return self.members[-1].cells.stop if self.members else 0

    @cached_property
    def role(self) -> Role:
        """Of the slot that is learned alone."""
        return self.family.role_of(self.alone)

    @cached_property
    def learned(self) -> list[tuple[str, slice]]:
        """The parameters in that slot, with their cells."""
        return [(member.reads[self.alone], member.cells) for member in self.members]

    def slots(self, params: Params) -> Params:
        """Slot values of all cells [cells, own axes]."""
        if self.kept is not None:
            whole, values = self.kept
            if all(map(is_, map(params.get, values), values.values())):
                return {self.alone: whole}
        names = self.members[0].source.slots
        if len(self.members) == 1:
            return {slot: self.members[0].rows(slot, params) for slot in names}
        return {
            slot: np.concatenate([member.rows(slot, params) for member in self.members])
            for slot in names
        }

    def coefficients(self, slots: Params) -> tuple[Floats, Settle] | None:
        """θ [cells, P], and how sums of the features become statistics.

        None where the density has no such form at these values, or about another centre.
        """
        if self.form.kind == AS_GIVEN:
            return self.family.coefficients(slots), _as_given
        node = self.members[0].source.node
        form = self.family.tile_form(node.points, slots, node.held)
        if form is None or form.kind != self.form.kind:
            return None
        if not np.array_equal(form.centre, self.form.centre):
            return None
        theta = np.concatenate([form.level[:, None], form.theta], axis=1)
        return theta, partial(_settled, form.settle)

    def maxima(self, table: Floats, slots: Params, params: Params) -> Params:
        """The parameters that maximise Q, all in one solve; none where a row is without data."""
        previous = slots[self.alone]
        statistic = self.family.role_statistics(self.alone, (table,), slots, slots, cancel=True)
        if statistic is None:  # its family solves it in another way
            return {}
        if np.count_nonzero(self.role.weight(statistic) > 0) < len(previous):
            return {}
        new = self.role.maximise(statistic, previous, np.zeros(previous.shape, dtype=bool))
        values = {n: new[cells].reshape(params[n].shape) for n, cells in self.learned}
        self.kept = new, values
        return values


def _as_given(table: Floats) -> Statistics:
    return (table,)


def _settled(settle: Callable[[Floats, Floats], Statistics], table: Floats) -> Statistics:
    return settle(table[:, 0], table[:, 1:])


class Found(NamedTuple):
    """What an E-step found of a group: the sums of its features [cells, P] and its slots."""

    group: Group
    table: Floats
    slots: Params
    settle: Settle


class JointStats(Stats):
    """The expected statistics of all components, laid out when they are asked for.

    Args:
        found: of each group.
        params: the parameters of the E-step.
    """

    def __init__(self, found: list[Found], params: Params) -> None:
        super().__init__()
        self.found, self.params = found, params
        self.maxima: Params | None = None

    def __missing__(self, key: str) -> Entry:
        for group, table, slots, settle in self.found:
            arrays = settle(table)
            for member in group.members:
                here, source = member.cells, member.source
                own = {slot: value[here] for slot, value in slots.items()}
                mine = tuple(array[here] for array in arrays)
                self[member.key] = Entry(source.node.family, source.cells, mine, own)
        return self[key] if key in self else dict.__missing__(key)  # type: ignore[attr-defined]

    def maximum(self, name: str) -> Floats | None:
        if self.maxima is None:
            self.maxima = {}
            for group, table, slots, _ in self.found:
                if group.alone and not self.use_priors:
                    self.maxima |= group.maxima(table, slots, self.params)
        return self.maxima.get(name)


@dataclass(eq=False)
class LogLinear:
    """The joint of small units, ready for any parameters.

    Attributes:
        matrix: B [joint values × units, coefficients].
        base: what does not depend on parameters [joint values × units], or None.
        weights: of the units [N].
        groups: whose coefficients θ is made of, in order.
    """

    matrix: Floats
    base: Floats | None
    weights: Floats
    groups: list[Group]

    def expect(self, params: Params) -> tuple[Floats, JointStats] | None:
        """Log-likelihoods [N] and expected statistics.

        Not a number where a coefficient is infinite (a probability of 0); None where a density does
        not have the form at these parameters.
        """
        parts, ways = [], []
        for group in self.groups:
            slots = group.slots(params)
            form = group.coefficients(slots)
            if form is None:
                return None
            parts.append(form[0])
            ways.append((group, slots, form[1]))
        theta = np.concatenate(parts, axis=None) if len(parts) > 1 else parts[0].reshape(-1)
        joint = self.matrix.dot(theta)
        if self.base is not None:
            joint += self.base
        joint = joint.reshape(-1, len(self.weights))
        peak = np.maximum.reduce(joint)
        joint -= peak
        np.exp(joint, out=joint)
        total = np.add.reduce(joint)
        joint *= self.weights / total
        counts = joint.reshape(-1).dot(self.matrix)
        found, start = [], 0
        for group, slots, settle in ways:
            stop = start + group.n_cells * group.width
            table = counts[start:stop].reshape(-1, group.width)
            found.append(Found(group, table, slots, settle))
            start = stop
        return np.log(total) + peak, JointStats(found, params)


def make_log_linear(
    e_step: EStep,
    shard: Any,
    keys: Iterable[str],
    params: Params,
    readers: Readers,
    alone: Container[str],
) -> LogLinear | None:
    """The joint of a shard's units, if its E-step has that form and is small.

    Args:
        e_step: eliminates discrete variables of the units, and has no other scopes.
        shard: the units.
        keys: the components.
        params: parameters without zeros.
        readers: which parameter every slot reads.
        alone: parameters that stand in one slot, with nothing fixed, no bound and no prior.
    """
    n_units = shard.n_units
    if n_units > LARGEST or not all(_reads_whole(shard[key]) for key in keys):
        return None
    semiring, noted = _Numbers(), _Noted()
    e_step(_Numbered(shard), params, noted, semiring)
    rest = [table for table in semiring.tables if not _among(table, noted.tables)]
    forms = _forms(noted.tables, shard)
    if forms is None or any(table.source is not None for table in rest):
        return None
    shape = np.broadcast_shapes(*(table.array.shape[1:] for table in (*noted.tables, *rest)))
    n_joint = math.prod(shape)
    width = sum(_width(form) * len(form.theta) for form in forms.values())
    if n_units * n_joint * width > LARGEST:
        return None
    sources = {t.source.node.key: t.source for t in noted.tables if isinstance(t.source, Source)}
    groups = _groups({k: _own(s, shard) for k, s in sources.items()}, forms, readers)
    for group in groups:
        group.alone = _alone(group, alone)

    def laid_out(table: LogTable) -> Floats:
        """[joint values × units]."""
        whole = np.broadcast_to(product(table), (n_units, *shape))
        return np.ascontiguousarray(whole.reshape(n_units, n_joint).T).reshape(-1)

    numbers = {t.source.node.key: laid_out(t) for t in noted.tables if isinstance(t.source, Source)}
    matrix = np.concatenate([_columns(g, numbers, forms) for g in groups], axis=1)
    base = sum((laid_out(table) for table in rest), start=np.zeros(len(matrix)))
    for key, form in forms.items():
        if form.base is not None:
            values, seen = _places(numbers[key], sources[key])[0], numbers[key] > 0
            base += np.where(seen, form.base[values], 0.0)
    weights = shard.weights.reshape(-1)
    return LogLinear(matrix, base if base.any() else None, weights, groups)


def _reads_whole(node: NodeData) -> bool:
    """Whether a node's table is its density at its values, in every row."""
    return node.inputs is None and not node.cache.keys() & {"barred", "barren"}


def _own(source: Source, shard: Any) -> Source:
    """The source with the node's true family."""
    return replace(source, node=shard[source.node.key])


def _forms(tables: Sequence[LogTable], shard: Any) -> dict[str, TileForm] | None:
    """The form of every component's density; None where one has another."""
    forms = {}
    for table in tables:
        source = table.source
        if not isinstance(source, Source) or source.node.key in forms:
            return None
        node, seen = shard[source.node.key], split_gates(source.cells)[0]
        own = node.family.has_form()
        form = node.family.tile_form(node.points, source.slots, node.held) if own else None
        by_group = seen and node.index is None and source.own is None
        if form is None or by_group:
            return None
        forms[node.key] = form
    return forms


def _groups(
    sources: Mapping[str, Source], forms: Mapping[str, TileForm], readers: Readers
) -> list[Group]:
    """Components with families that are alike, side by side."""
    groups: dict[Any, Group] = {}
    for key, source in sources.items():
        family = source.node.family
        form, width = forms[key], _width(forms[key])
        shapes = tuple((slot, value.shape[1:]) for slot, value in source.slots.items())
        kind = (type(family), family.size, tuple(family.structures.items()), width, shapes)
        # with nothing else that its coefficients may depend on
        settled = set(vars(family)) <= PLAIN and form.kind == AS_GIVEN
        group = groups.setdefault(kind if settled else key, Group(family, [], width, form))
        group.members.append(Member(key, source, readers.get(key, {}), group.n_cells))
    return list(groups.values())


def _alone(group: Group, alone: Container[str]) -> str:
    """The slot that each member learns by itself, or ""."""
    slots = list(group.members[0].source.slots)
    own = len(slots) == 1 and not any(slot.free_of for slot in group.family.slots)
    fits = own and all(
        member.reads.get(slots[0], "") in alone and slots[0] in member.source.cells.one_to_one
        for member in group.members
    )
    return slots[0] if fits else ""


def _columns(group: Group, numbers: Mapping[str, Floats], forms: Mapping[str, TileForm]) -> Floats:
    """The columns of B that belong to a group [joint values × units, cells × P]."""
    n_rows = len(next(iter(numbers.values())))
    table = np.zeros((n_rows, group.n_cells, group.width))
    for member in group.members:
        values, cells = _places(numbers[member.key], member.source)
        seen = np.flatnonzero(numbers[member.key] > 0)  # in a hole there is nothing
        features = _features(forms[member.key])
        table[seen, member.first + cells[seen]] = features[values[seen]]
    return table.reshape(n_rows, -1)


def _features(form: TileForm) -> Floats:
    """What the coefficients are multiplied by [values, P]."""
    if form.kind == AS_GIVEN:
        return form.columns.T
    z = form.columns - form.centre[:, None]
    rows, columns = np.triu_indices(len(z)) if form.kind == PRODUCTS else (slice(None), slice(None))
    return np.concatenate([np.ones((1, z.shape[1])), z, z[rows] * z[columns]]).T


def _width(form: TileForm) -> int:
    """Number of features, with the 1 that the level is multiplied by."""
    return int(form.theta.shape[1]) + int(form.kind != AS_GIVEN)


def _places(numbers: Floats, source: Source) -> tuple[Integers, Integers]:
    """The value and the cell that every entry reads."""
    values, cells = np.divmod(np.maximum(numbers, 1).astype(np.int64) - 1, source.cells.n_cells)
    return values, cells
