"""Equal units merged with counts: less to compute, and the same result.

Units are equal only if everything that was read of them is: the length of every plate and sequence
inside them, and bit by bit every value, hole, covariate and given latent.  They are found by a hash
of their whole content, and compared in full before they are merged, so that nothing rests on the
hash.  A sample tells beforehand whether the search can pay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Integers
from pgem.declare import UNIT
from pgem.run.data import Columns

Hashes: TypeAlias = NDArray[np.uint64]

MERGE_FROM = 1_000
"""Rows in all from which it is looked for equal units: fewer take no time anyway."""
SAMPLE = 4_096
"""Units that are compared first; if no two of them are equal, all are taken to differ."""
SAMPLE_ROWS = 1 << 16
"""Rows that such a sample may have where units are long."""
WIDER = 16
"""A second sample holds one unit of so many, if there are enough."""
STILL_FEW = 0.98
"""Share of distinct units in the second sample beyond which the search ends."""
WORTH = 0.7
"""Share of distinct units up to which they are merged."""


@dataclass(frozen=True, eq=False)
class Merged:
    """What was found.

    Attributes:
        columns: the distinct units in the order of their first occurrence, weights added up.
        which: the distinct unit of every unit [N]; None where nothing was merged.
        note: what was done and why, for the report.
    """

    columns: Columns
    which: Integers | None
    note: str


def merge_units(columns: Columns) -> Merged:
    """The distinct units with their counts, if there are few enough of them."""
    n_units = columns.n_units
    scopes = [UNIT, *columns.outline.scopes]
    if n_units < 2 or sum(columns.n_rows(scope) for scope in scopes) < MERGE_FROM:
        return Merged(columns, None, "units not merged: too few to pay")
    if columns.parents:
        return Merged(columns, None, "units not merged: they hold trees")
    known, note = _try_sample(columns)
    if known is None:
        return Merged(columns, None, f"units not merged: {note}")
    which, n_distinct = _groups(_hash(columns), known)
    if n_distinct > WORTH * n_units:
        return Merged(columns, None, f"units not merged: {n_distinct:,} of {n_units:,} differ")
    first, which = _in_order(which, n_distinct)
    if not _all_equal(columns, first[which]):  # two contents under one hash
        return Merged(columns, None, "units not merged: their hashes clash")
    weights = np.bincount(which, columns.weights, n_distinct).astype(float)
    merged = replace(take_units(columns, first), weights=weights, units=first)
    note = f"{n_units:,} units are {n_distinct:,} distinct ones: equal units merged with counts"
    return Merged(merged, which, note)


def take_units(columns: Columns, units: Integers) -> Columns:
    """The data of some units, in the given order."""
    rows, starts = rows_of_units(columns, units)
    return replace(
        columns,
        n_units=len(units),
        starts=starts,
        numbers={name: v[rows[scope_of(columns, name)]] for name, v in columns.numbers.items()},
        codes={name: v[rows[scope_of(columns, name)]] for name, v in columns.codes.items()},
        weights=columns.weights[units],
    )


# --- whether it pays ----------------------------------------------------------------------------


def _try_sample(columns: Columns) -> tuple[Hashes | None, str]:
    """Hashes of sampled units, or None and why to leave it."""
    n_units = columns.n_units
    rows = sum(columns.n_rows(scope) for scope in columns.outline.scopes)
    size = max(2, min(SAMPLE, SAMPLE_ROWS * n_units // max(rows, 1)))
    found, n_seen = _sampled(columns, size)
    if len(found) == n_seen:
        return None, f"no two of {n_seen:,} sampled ones are equal"
    if n_units > WIDER * size:
        found, n_seen = _sampled(columns, n_units // WIDER)
        if len(found) > STILL_FEW * n_seen:
            return None, f"{len(found):,} of {n_seen:,} sampled ones differ"
    return found, ""


def _sampled(columns: Columns, size: int) -> tuple[Hashes, int]:
    """Distinct hashes of some units chosen at random (always the same), sorted, and their count."""
    n_units = columns.n_units
    chosen = np.arange(n_units)
    if size < n_units:
        chosen = np.unique(np.random.default_rng(0).integers(n_units, size=size))
    return np.unique(_hash(take_units(columns, chosen))), len(chosen)


# --- finding equal units ------------------------------------------------------------------------


def _groups(hashes: Hashes, known: Hashes) -> tuple[Integers, int]:
    """Number of the group of every unit, and how many there are; `known` are some, sorted."""
    which = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    new = np.flatnonzero(known[which] != hashes)
    distinct, place = np.unique(hashes[new], return_inverse=True)
    which[new] = len(known) + place
    return which, len(known) + len(distinct)


def _in_order(which: Integers, n_groups: int) -> tuple[Integers, Integers]:
    """First member of every group, and the groups numbered in the order of these."""
    first = np.empty(n_groups, dtype=np.int64)
    first[which[::-1]] = np.arange(len(which))[::-1]  # the last that is written stays
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(n_groups)
    return first[order], rank[which]


def _all_equal(columns: Columns, twin: Integers) -> bool:
    """Whether every unit has the same content as the unit `twin` [N]."""
    rows, starts = rows_of_units(columns, twin)
    if not all(np.array_equal(starts[scope], columns.starts[scope]) for scope in starts):
        return False
    values = {**columns.numbers, **columns.codes}
    return all(
        np.array_equal(_bits(v), _bits(v[rows[scope_of(columns, name)]]))
        for name, v in values.items()
    )


def rows_of_units(
    columns: Columns, units: Integers
) -> tuple[dict[str, Integers], dict[str, Integers]]:
    """Per scope the rows of these units, and where each of their parents' members start."""
    rows, starts = {UNIT: units}, {}
    for name, scope in columns.outline.scopes.items():
        parents = rows[scope.parent]
        first = columns.starts[name][parents]
        lengths = columns.starts[name][parents + 1] - first
        starts[name] = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        rows[name] = np.repeat(first - starts[name][:-1], lengths) + np.arange(starts[name][-1])
    return rows, starts


def _hash(columns: Columns) -> Hashes:
    """A hash of the whole content of every unit [N]."""
    outline = columns.outline
    keys = {s: np.zeros(columns.n_rows(s), dtype=np.uint64) for s in [UNIT, *outline.scopes]}
    for name, values in sorted([*columns.numbers.items(), *columns.codes.items()]):
        scope = scope_of(columns, name)
        for column in _bits(values).reshape(len(values), -1).T:
            keys[scope] = _mix(keys[scope] ^ column)
    for name, record in reversed(outline.scopes.items()):  # inner scopes first
        starts = columns.starts[name]
        lengths = np.diff(starts)
        number = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        member = _mix(keys[name] + _mix(_mix(number.astype(np.uint64))))  # values are mixed once
        total = np.zeros(len(lengths), dtype=np.uint64)
        filled = lengths > 0
        if filled.any():
            total[filled] = np.add.reduceat(member, starts[:-1][filled])
        total += lengths.astype(np.uint64)
        keys[record.parent] = _mix(keys[record.parent] ^ total)
    return keys[UNIT]


def _mix(keys: Hashes) -> Hashes:
    """Every bit of the result depends on every bit of the key (a bijection; Steele et al. 2014)."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _bits(values: Any) -> Hashes:
    return np.ascontiguousarray(values).view(np.uint64)


def scope_of(columns: Columns, name: str) -> str:
    """The scope of a node or covariate."""
    outline = columns.outline
    return (outline.nodes.get(name) or outline.covariates[name]).scope
