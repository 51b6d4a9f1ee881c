"""Equal units merged with counts: less to compute, and the same result.

Units are equal only if everything that was read of them is: the length of every plate and sequence
inside them, and bit by bit every value, hole, covariate and given latent.  They are found by a hash
of their whole content, and compared in full before they are merged, so that nothing rests on the
hash.  A sample tells beforehand whether the search can pay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Integers
from pgem.declare import UNIT
from pgem.run.data import Columns
from pgem.run.stored import Codes, Numbers, blocks_of

Hashes: TypeAlias = NDArray[np.uint64]

MERGE_FROM = 1_000
"""Rows in all from which it is looked for equal units: fewer take no time anyway."""
SAMPLE = 4_096
"""Units that are compared first; if no two of them are equal, all are taken to differ."""
SAMPLE_ROWS = 1 << 16
"""Rows that such a sample may have where units are long."""
WIDER = 16
"""A second sample holds one unit of so many, if there are enough."""
SAMPLE_NUMBERS = 1 << 21
"""Numbers of it, at most."""
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
    note = _try_sample(columns)
    if note:
        return Merged(columns, None, f"units not merged: {note}")
    which, first = _find_groups(columns)
    if len(first) > WORTH * n_units:
        note = f"{len(first):,} of {len(which):,} differ"
        return Merged(columns, None, f"units not merged: {note}")
    if not _all_equal(columns, which, first):  # two contents under one hash
        return Merged(columns, None, "units not merged: their hashes clash")
    weights = np.zeros(len(first))
    for units in runs_of_units(columns):
        np.add.at(weights, which[units], columns.weights[units])
    merged = replace(take_units(columns, first), weights=weights, units=first)
    note = f"{n_units:,} units are {len(first):,} distinct ones: equal units merged with counts"
    return Merged(merged, which, note)


def take_units(columns: Columns, units: Integers) -> Columns:
    """The data of some units, in the given order."""
    rows, starts = rows_of_units(columns, units)
    return replace(
        columns,
        n_units=len(units),
        starts=starts,
        numbers={n: v.take(rows[scope_of(columns, n)]) for n, v in columns.numbers.items()},
        codes={n: v.take(rows[scope_of(columns, n)]) for n, v in columns.codes.items()},
        weights=columns.weights[units],
    )


def run_of_units(columns: Columns, units: slice) -> Columns:
    """The data of units that stand one behind the other, without copies of the values."""
    rows, starts = {UNIT: units}, {}
    for name, scope in columns.outline.scopes.items():
        parents = rows[scope.parent]
        own = columns.starts[name][parents.start : parents.stop + 1]
        starts[name], rows[name] = own - own[0], slice(int(own[0]), int(own[-1]))
    return replace(
        columns,
        n_units=units.stop - units.start,
        starts=starts,
        numbers={n: v.take(rows[scope_of(columns, n)]) for n, v in columns.numbers.items()},
        codes={n: v.take(rows[scope_of(columns, n)]) for n, v in columns.codes.items()},
        weights=columns.weights[units],
    )


def runs_of_units(columns: Columns) -> Iterator[slice]:
    """All units in runs of about `BLOCK` numbers."""
    return blocks_of(columns.n_units, _width(columns))


def _width(columns: Columns) -> int:
    """Numbers of a unit, on average."""
    names = [*columns.numbers, *columns.codes]
    size = sum(int(columns.values(name).array.size) for name in names)
    return max(1, size // columns.n_units)


# --- whether it pays ----------------------------------------------------------------------------


def _try_sample(columns: Columns) -> str:
    """Why a sample tells that it cannot pay, or nothing."""
    n_units = columns.n_units
    rows = sum(columns.n_rows(scope) for scope in columns.outline.scopes)
    size = max(2, min(SAMPLE, SAMPLE_ROWS * n_units // max(rows, 1)))
    n_found, n_seen = _sampled(columns, size)
    if n_found == n_seen:
        return f"no two of {n_seen:,} sampled ones are equal"
    if n_units > WIDER * size:
        most = max(size, SAMPLE_NUMBERS // _width(columns))
        n_found, n_seen = _sampled(columns, min(n_units // WIDER, most))
        if n_found > STILL_FEW * n_seen:
            return f"{n_found:,} of {n_seen:,} sampled ones differ"
    return ""


def _sampled(columns: Columns, size: int) -> tuple[int, int]:
    """Distinct ones among some units chosen at random (always the same), and their count."""
    n_units = columns.n_units
    if size < n_units:
        chosen = np.unique(np.random.default_rng(0).integers(n_units, size=size))
    else:
        chosen = np.arange(n_units)
    return len(np.unique(_hash(take_units(columns, chosen)))), len(chosen)


# --- finding equal units ------------------------------------------------------------------------


def _find_groups(columns: Columns) -> tuple[Integers, Integers]:
    """The group of every unit [N], numbered in the order of their first units, and these.

    Units are hashed some thousand at a time; once there are too many groups, the rest is left out.
    """
    n_units = columns.n_units
    which, first = np.empty(n_units, dtype=np.uint32), [np.zeros(0, dtype=np.int64)]
    known, numbers = np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint32)
    for units in runs_of_units(columns):
        hashes = _hash(run_of_units(columns, units))
        place = np.searchsorted(known, hashes)
        seen = np.zeros(len(hashes), dtype=bool)
        inside = place < len(known)
        seen[inside] = known[place[inside]] == hashes[inside]
        here = which[units]
        here[seen] = numbers[place[seen]]
        if seen.all():
            continue
        new = np.flatnonzero(~seen)
        distinct, begin, group = np.unique(hashes[new], return_index=True, return_inverse=True)
        own = np.empty(len(distinct), dtype=np.uint32)
        own[np.argsort(begin)] = np.arange(len(known), len(known) + len(distinct))
        here[new] = own[group]
        first.append(units.start + new[np.sort(begin)])
        at = np.searchsorted(known, distinct)
        known, numbers = np.insert(known, at, distinct), np.insert(numbers, at, own)
        if len(known) > WORTH * n_units:
            which = which[: units.stop]
            break
    return which.astype(np.min_scalar_type(len(known))), np.concatenate(first)


def _all_equal(columns: Columns, which: Integers, first: Integers) -> bool:
    """Whether every unit has the same content as the first one of its group."""
    for units in runs_of_units(columns):
        here, twins = run_of_units(columns, units), take_units(columns, first[which[units]])
        if not all(np.array_equal(twins.starts[s], here.starts[s]) for s in here.starts):
            return False
        for name in (*columns.numbers, *columns.codes):
            if not np.array_equal(_bits(here.values(name)), _bits(twins.values(name))):
                return False
    return True


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
    for name in sorted([*columns.numbers, *columns.codes]):
        scope, values = scope_of(columns, name), columns.values(name)
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


def _bits(values: Numbers | Codes) -> Hashes:
    return values[:].view(np.uint64)


def scope_of(columns: Columns, name: str) -> str:
    """The scope of a node or covariate."""
    outline = columns.outline
    return (outline.nodes.get(name) or outline.covariates[name]).scope
