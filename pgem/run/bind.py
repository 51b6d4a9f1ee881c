"""Program + columns → shards: the objects that the generated code reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import proxy

import numpy as np

from pgem.analyse import Region
from pgem.arrays import Floats, Integers, Mask
from pgem.declare import UNIT
from pgem.errors import DataError
from pgem.families import Family, Observations
from pgem.families._linear import Linear
from pgem.families._link import EveryValue, Linked
from pgem.families._parts import flat_rows
from pgem.families._scaled import UNTOUCHED, Scaled
from pgem.plan import Part, Program
from pgem.routines import (
    Index,
    NodeData,
    RegionData,
    ScopeData,
    StretchData,
    find_stretches,
    find_tails,
    make_stretches,
)
from pgem.routines.lane_plan import MOST_PARTS, describe
from pgem.run.data import Columns
from pgem.run.memory import expected_bytes
from pgem.run.merge import merge_units
from pgem.run.moments import reduce_units
from pgem.run.support import outside_support
from pgem.run.threads import LARGE_FROM, count_threads

SHARD_ENTRIES = 3 << 17
"""Table entries that one shard may hold, so that it stays in the processor's cache."""
LEAST_SHARDS = 4
"""Shards that large data are cut into at least."""
KEEP_ROWS = 100_000
"""Up to this many rows in all, shards are kept from one iteration to the next; a single one is
always kept."""
NOUNS = {1: "vectors", 2: "matrices"}
"""Values by their number of axes."""
ENTRIES = {1: "coordinates", 2: "entries"}


@dataclass(eq=False)
class _Column:
    """One component's values over all rows, distinct ones merged where that saves work."""

    x: Floats | None
    known: dict[str, Floats]
    points: Observations | None
    index: Integers | None
    inputs: Integers | None = None
    barred: Mask | None = None


class Bound:
    """A program with its data.

    Args:
        program: the compiled model.
        columns: the data.
        shard_size: units per shard; by default as many as fit into the processor's cache.
        flat: leave all conditionals out (used to start from responsibilities).
        responsibilities: per latent node, [rows, K] to start from.
        barren: per node, rows whose conditional counts nothing (it sums to one).
        merge: merge equal units with counts, where that pays; statistics and totals stay the same.
        n_jobs: threads over the shards: a number, -1 for all cores, None for all where that pays.
        asked: what of missing values that later ones look back at, beside what a fit needs:
            "", "draws" (those behind the last value that is seen are drawn by steps) or "moments".

    Attributes:
        columns: all data.
        rows: what the shards read: the data, or their distinct units.
        which: the unit among `rows` of every unit; None if units were not merged.
        stretches: per region that holes cut up, first row and length of every stretch.
        tails: per such region, first row and length of what is left to `result/ahead.py`: steps
            at the end of a sequence of which nothing is seen, with `asked="moments"`.
        n_threads: threads over the shards.
        scan_threads: threads over the pieces of sequences, where there is one shard.
        choices: what was done to make the run quicker and why, for the report.
        is_large: whether compiled loops, and BLAS held to one thread, pay.
        timer: runs an iteration and tells its seconds, for the report.

    Raises:
        DataError: values outside a family's support.
    """

    def __init__(
        self,
        program: Program,
        columns: Columns,
        shard_size: int | None = None,
        *,
        flat: bool = False,
        responsibilities: dict[str, Floats] | None = None,
        barren: dict[str, Mask] | None = None,
        merge: bool = False,
        n_jobs: int | None = 1,
        asked: str = "",
    ) -> None:
        self.barren, self.asked = barren or {}, asked
        self.program, self.columns, self.flat = program, columns, flat
        self.responsibilities = responsibilities or {}
        self.rows, self.which, self.choices = columns, None, list[str]()
        if merge:
            merged = reduce_units(program, columns) or merge_units(columns)
            self.rows, self.which = merged.columns, merged.which
            self.choices.append(merged.note)
        regions = [region for region in program.analysis.regions if region.in_stretches]
        self.tails: dict[str, tuple[Integers, Integers]] = {}
        self.stretches = {region.name: self._find_stretches(region) for region in regions}
        self._columns = {key: self._column(part) for key, part in program.parts.items()}
        entries = sum(self._cost(scope) * self.rows.n_rows(scope) for scope in program.row_cost)
        n_units = self.rows.n_units
        self.shard_size = shard_size or self._shard_size(entries)
        self.n_jobs, n_shards = n_jobs, -(-n_units // self.shard_size)
        self.n_threads, note = count_threads(n_jobs, n_shards, entries)
        self.scan_threads = 1 if n_shards > 1 else count_threads(n_jobs, MOST_PARTS, entries)[0]
        self.choices.append(note)
        self.is_large = entries >= LARGE_FROM
        self.timer: Callable[[], float] | None = None
        self._kept: list[Shard] | None = None
        self._tied: dict[str, tuple[Floats, dict[str, Floats]]] = {}
        self.kept: dict[tuple[int, int, str], dict[str, Any]] = {}

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.columns.n_units

    @property
    def is_compressed(self) -> bool:
        """Whether other units are run than those of the data, with the same totals."""
        return self.rows is not self.columns

    @property
    def weights(self) -> Floats:
        """Weights of the units that are run: of the distinct ones, if equal units were merged."""
        return self.rows.weights

    def expand(self, by_unit: Floats) -> Floats:
        """A value per unit that was run, for every unit of the data [N]."""
        return by_unit if self.which is None else by_unit[self.which]

    def unmerged(self) -> Bound:
        """The same data run unit by unit."""
        if not self.is_compressed:
            return self
        columns, size = self.columns, self.shard_size
        return Bound(self.program, columns, size, n_jobs=self.n_jobs, asked=self.asked)

    @property
    def report(self) -> str:
        """What was read and how it will be run, then the program's own report."""
        lines = [f"{self.n_units} units in shards of {self.shard_size}", *self.choices]
        lines += [
            f"{self.columns.n_rows(scope.name)} rows in {scope.kind} '{scope.name}'"
            for scope in self.program.outline.scopes.values()
        ]
        for key, part in self.program.parts.items():
            column = self._columns[key]
            if column.points is not None and not part.is_axis:
                lines.append(f"'{key}': densities computed at {len(column.points.x)} values")
        lines += [
            f"members of '{scope}' look up several values at a time"
            for scope in self.program.outline.scopes
            if self._looks_up(scope)
        ]
        lines += [_stretch_line(name, found[1]) for name, found in self.stretches.items()]
        holes = {
            name: int(self.columns.missing(name).sum())
            for name in self.program.outline.nodes
            if self.columns.has(name)
        }
        lines += [f"'{name}': {count} missing cells" for name, count in holes.items() if count]
        lines.append(f"about {max(1, round(expected_bytes(self) / 2**20))} MB above the data")
        if self.timer is not None:
            lines.append(f"one iteration was measured: {1e3 * self.timer():.3g} ms")
        lines += self.scans()
        return "\n".join(["Data", *(f"  {line}" for line in lines), "", str(self.program.report)])

    def scans(self) -> list[str]:
        """How the last iteration went through chains, for the report; nothing before the first."""
        return [
            f"'{scope}': {note}"
            for scope in self.program.outline.scopes
            for note in describe(
                [
                    memory
                    for (_, _, name), kept in self.kept.items()
                    if name == f"scope {scope}"
                    for memory in kept.values()
                ]
            )
        ]

    def shards(self) -> Iterator[Shard]:
        """The shards in order; small data are cut up only once."""
        if self._kept is None:
            n_units = self.rows.n_units
            cuts = range(0, n_units, self.shard_size)
            fresh = (Shard(self, k, min(k + self.shard_size, n_units)) for k in cuts)
            rows = sum(self.rows.n_rows(s) for s in self.program.scope_dims)
            if rows > KEEP_ROWS and self.shard_size < n_units:
                yield from fresh
                return
            self._kept = list(fresh)
        yield from self._kept

    def column(self, key: str) -> _Column:
        """Values of one component."""
        return self._columns[key]

    def _shard_size(self, entries: int) -> int:
        """Units whose tables fit into the cache: more where tables are made a few rows at a time,
        as long as there are a few shards for the threads."""
        n_units = self.rows.n_units
        least = int(SHARD_ENTRIES * n_units / max(entries, 1))
        most = int(SHARD_ENTRIES * n_units / max(self.entries_at_once, 1))
        return max(1, least, min(most, -(-n_units // LEAST_SHARDS)))

    @property
    def entries_at_once(self) -> int:
        """Table entries of all shards that are not made a few rows at a time."""
        room, n_rows = self.program.row_room, self.rows.n_rows
        return sum(n_rows(s) // 8 if self._looks_up(s) else room[s] * n_rows(s) for s in room)

    def _cost(self, scope: str) -> int:
        """Table entries per row; where members only look tables up, their codes."""
        return 1 if self._looks_up(scope) else self.program.row_cost[scope]

    def _looks_up(self, scope: str) -> bool:
        """Whether the members of a plate of one size do nothing but read rows of tables."""
        parts = [part for part in self.program.parts.values() if part.scope == scope]
        record = self.program.outline.scopes.get(scope)
        if record is None or record.kind != "plate" or record.size is None:
            return False
        return all(not p.is_axis and self._columns[p.key].points is not None for p in parts)

    # --- columns ------------------------------------------------------------------------------

    def _column(self, part: Part) -> _Column:
        if part.is_duration:
            return _Column(None, {}, Observations(part.family, np.zeros(0)), None)
        domain = part.family.domain()
        if isinstance(part.family, Linked):
            return self._linked_column(part, part.family)
        if domain is not None and part.node in self._finite():
            codes = self.rows.codes.get(part.node)
            points = Observations(part.family, domain, _known(part, len(domain)))
            return _Column(None, {}, points, codes)
        x = self._numbers(part)
        known = self.known_values(part)
        tied = self._tied_rows(part.node)
        if isinstance(part.family, Linear):
            known = self.design(part, part.family, given=tied is not None)
        self._check(part, x, known)
        if tied is not None:
            x = np.where(tied.reshape(-1, *(1,) * (x.ndim - 1)), np.nan, x)
        barred = self._barred(part, x, known)
        if barred is not None:
            x = np.where(barred.reshape(-1, *(1,) * (x.ndim - 1)), np.nan, x)
        column = _merge_equal(part, x, known) or _Column(x, known, None, None)
        column.barred = barred
        return column

    # --- stretches ----------------------------------------------------------------------------

    def _find_stretches(self, region: Region) -> tuple[Integers, Integers]:
        """Where holes tie steps together."""
        parts = [part for part in self.program.parts.values() if part.node in region.nodes]
        families = [part.family for part in parts]
        terms = [term for family in families if isinstance(family, Linear) for term in family.terms]
        lags = [term.parent for term in terms if term.parent is not None]
        missing = {}
        for part in parts:
            holes = np.isnan(self._numbers(part))
            missing[part.node] = holes.reshape(len(holes), -1)
        known = (
            self.rows.starts[region.chain],
            {name: np.asarray(holes.any(axis=1)) for name, holes in missing.items()},
            {name: np.asarray(~holes.all(axis=1)) for name, holes in missing.items()},
            {n: max((lag for node, lag in lags if node == n), default=-1) for n in missing},
        )
        if self.asked != "moments":
            return find_stretches(*known, leaves=bool(self.asked))
        first, length = find_tails(*known)
        ahead = length > 0
        self.tails[region.name] = first[ahead], length[ahead]
        return find_stretches(*known, leaves=True, ends=~ahead)

    def _tied_rows(self, node: str) -> Mask | None:
        """Rows of a node that are integrated out stretch by stretch; None if its region is not."""
        for region in self.program.analysis.regions:
            if region.in_stretches and node in region.nodes:
                tied = np.zeros(self.rows.n_rows(region.chain) + 1, dtype=np.int64)
                first, length = self.stretches[region.name]
                np.add.at(tied, first, 1)
                np.add.at(tied, first + length, -1)
                return np.asarray(np.cumsum(tied[:-1]) > 0)
        return None

    def tied(self, key: str) -> tuple[Floats, dict[str, Floats]]:
        """Values of a component with their holes, and what its terms are multiplied by.

        What later values look back at is left out of `design`, as in a region.
        """
        if key not in self._tied:
            part = self.program.parts[key]
            assert isinstance(part.family, Linear)
            self._tied[key] = self._numbers(part), self.design(part, part.family)
        return self._tied[key]

    # --- values under a link ------------------------------------------------------------------

    def _linked_column(self, part: Part, family: Linked) -> _Column:
        """Values, and what the coefficients of their link are multiplied by."""
        known = self.known_values(part) | self.design(part, family)
        codes, domain = self.rows.codes.get(part.node), family.domain()
        if part.is_axis:
            found = _few_distinct(_side_by_side(known, len(known["design"])))
            if found is None:
                return _Column(None, known, None, codes)
            points = _every_value(family, _apart(found[0], known))
            return _Column(None, {}, points, codes, found[1])
        if domain is None or part.node not in self._finite():
            x = self._numbers(part)
            self._check(part, x, known)
        elif codes is None:
            x = np.full(self.rows.n_rows(part.scope), np.nan)
        else:
            x = np.where(codes < 0, np.nan, domain[codes])
        barred = self._barred(part, x, known)
        if barred is not None:
            x = np.where(barred.reshape(-1, *(1,) * (x.ndim - 1)), np.nan, x)
        column = _merge_equal(part, x, known) or _Column(x, known, None, None)
        column.barred = barred
        return column

    def _finite(self) -> set[str]:
        return {name for name, node in self.program.outline.nodes.items() if node.finite}

    def _numbers(self, part: Part) -> Floats:
        x = self.rows.numbers.get(part.node)
        n_rows = self.rows.n_rows(part.scope)
        if x is None:
            return np.full((n_rows, *part.family.event_shape), np.nan)
        return x

    def known_values(self, part: Part) -> dict[str, Floats]:
        """Values of a component's known slots per row of its scope."""
        node = self.program.outline.nodes[part.node]
        known = _known(part, self.rows.n_rows(part.scope))
        for slot, name in node.known[part.component].items():
            values = self.rows.numbers.get(name)
            if values is None:
                values = self.rows.codes[name].astype(float)
            home = self.program.outline.covariates[name].scope
            known[slot] = values[self.rows_of(part.scope, home)]
        if isinstance(part.family, Scaled) and part.family.times not in (None, UNTOUCHED):
            known["multiplier"] = self._multiplier(part, part.family)
        return known

    def _multiplier(self, part: Part, family: Scaled) -> Floats:
        """What a slot is multiplied by, per row; 1 before the start of a sequence."""
        values = {name: self._regressor(*name, part) for name in family.regressors()}
        values = self._one_at_the_start(values, part)
        product = family.multiplier(values, self.rows.n_rows(part.scope))
        bad = ~(np.isfinite(product) & (product > 0))
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"node '{part.node}' has its slot '{family.slot}' multiplied by a number that is "
                "not positive",
                where=self.program.outline.nodes[part.node].origin,
                expected="positive numbers",
                received=f"'{product[row]:g}' in {self.rows.place(part.scope, row)}",
                advice="correct the covariates, or leave these units out",
            )
        return product

    def design(
        self, part: Part, family: Linear | Linked, *, given: bool = False
    ) -> dict[str, Floats]:
        """What the terms of a mean or link are multiplied by, per row of the component's scope.

        Args:
            part: the component.
            family: its family.
            given: random parents are read, too, as 0 where they are missing.

        Returns:
            `design` [rows, columns], `spread` [rows] if the covariance (or the rate beside a link)
            has a multiplier, and
            `scale_k` for each term k whose random parent is multiplied by something.
        """
        n_rows = self.rows.n_rows(part.scope)
        values = {name: self._regressor(*name, part) for name in family.regressors()}
        parents = set(family.regressors(parents=True)) - set(values) if given else ()
        seen = {name: np.nan_to_num(self._regressor(*name, part)) for name in parents}
        known = {"design": family.design({**values, **seen}, n_rows)}
        spread = family.multiplier(self._one_at_the_start(values, part), n_rows)
        if spread is not None:
            known["spread"] = spread
        for k, term in enumerate(family.terms):
            if term.parent is not None and (term.factors or term.over or term.scale != 1):
                scale = np.broadcast_to(np.asarray(term.multiplier(values)), (n_rows,))
                if term.contracts and term.vector is not None:
                    scale = scale[:, None] * values[term.vector]
                known[f"scale_{k}"] = scale
        self._check_design(part, known)
        return known

    def _regressor(self, name: str, lag: int, part: Part) -> Floats:
        """A covariate or observed node, for each row of a component's scope; 0 before the start."""
        outline = self.program.outline
        place = outline.nodes.get(name) or outline.covariates[name]
        values = self.rows.numbers.get(name)
        if values is None:
            values = self.rows.codes[name].astype(float)
        if lag:
            rows = self.rows.earlier(place.scope, lag)
            values = values[rows]
            values[rows < 0] = 0.0
        return values[self.rows_of(part.scope, place.scope)]

    def _one_at_the_start(self, values: dict[Any, Floats], part: Part) -> dict[Any, Floats]:
        """Numbers that multiply a variance or rate, 1 where there is no earlier value yet."""
        starts = {lag: self.rows.earlier(part.scope, lag) < 0 for _, lag in values if lag}
        return {
            (name, lag): np.where(starts[lag], 1.0, table) if lag and table.ndim == 1 else table
            for (name, lag), table in values.items()
        }

    def _check_design(self, part: Part, known: dict[str, Floats]) -> None:
        """Multipliers are finite, and those of a covariance positive."""
        node = self.program.outline.nodes[part.node]
        for name, table in known.items():
            fits = np.isfinite(table) & ((name != "spread") | (table > 0))
            good = np.asarray(fits.reshape(len(table), -1).all(axis=1))
            if not good.all():
                row = int(np.argmin(good))
                raise DataError(
                    f"node '{node.name}' has a variance or rate that is multiplied by a number "
                    "that is not positive"
                    if name == "spread"
                    else f"node '{node.name}' has a regressor that is not finite",
                    where=node.origin,
                    expected="positive numbers" if name == "spread" else "finite numbers",
                    received=f"'{table[row]}' in {self.rows.place(part.scope, row)}",
                    advice="correct the covariates, or leave these units out",
                )

    def rows_of(self, scope: str, home: str) -> Integers:
        """For each row of `scope`, its row of the enclosing scope `home`."""
        rows = np.arange(self.rows.n_rows(scope))
        while scope != home:
            starts = self.rows.starts[scope]
            parent = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
            rows, scope = parent[rows], self.program.outline.scopes[scope].parent
        return rows

    def _check(self, part: Part, x: Floats, known: dict[str, Floats]) -> None:
        node = self.program.outline.nodes[part.node]
        event_ndim, shape = part.family.event_ndim, part.family.event_shape
        if event_ndim and x.ndim != 1 + event_ndim:
            raise DataError(
                f"node '{node.name}' takes {NOUNS[event_ndim]}",
                where=node.origin,
                expected="an array whose last axis is the coordinates"
                if event_ndim == 1
                else f"an array whose last '{event_ndim}' axes are those of one value",
                received=f"values of shape '{x.shape}'",
            )
        if shape and x.ndim > 1 and x.shape[1:] != shape:
            raise DataError(
                f"node '{node.name}' has {NOUNS[len(shape)]} of the wrong "
                + ("length" if len(shape) == 1 else "shape"),
                where=node.origin,
                expected=f"'{shape[0]}' coordinates" if len(shape) == 1 else f"'{shape}'",
                received=f"'{x.shape[1]}'" if x.ndim == 2 else f"'{x.shape[1:]}'",
            )
        self._check_support(part, x, known)
        self._check_noise(part, x)
        self._check_holes(part, x)

    def _check_support(self, part: Part, x: Floats, known: dict[str, Floats]) -> None:
        node = self.program.outline.nodes[part.node]
        bad = outside_support(part.family, x, known)
        for other in self.program.parts.values():  # another component may take the value
            if other.node == part.node and other.component != part.component:
                bad = bad & outside_support(other.family, x, self.known_values(other))
        if bad.any():
            row = int(np.argmax(bad))
            beside = [f"{n}='{known[n][row]:g}'" for n in part.family.known_slots if n in known]
            received = " with ".join([f"'{x[row]}'", *([", ".join(beside)] if beside else [])])
            raise DataError(
                f"node '{node.name}' has a value outside the support of "
                f"{' and '.join(type(family).__name__ for family in node.families)}",
                where=node.origin,
                expected=", or ".join(family.support.name for family in node.families),
                received=f"{received} in {self.rows.place(part.scope, row)}",
                advice="correct it, use NaN for a missing value, or choose another family",
            )

    def _check_noise(self, part: Part, x: Floats) -> None:
        """Values of a latent are given only where it has noise of its own, and so a density."""
        node = self.program.outline.nodes[part.node]
        if node.kind != "latent" or np.isnan(x).all():
            return
        leaf = self.program.analysis.layout.components[part.key].component.leaf
        for slot in part.family.slots:
            record, role = leaf.slots[slot.name], part.family.role_of(slot.name)
            if not role.has_spread or record.kind != "constant":
                continue
            table = np.asarray(record.value, dtype=float)
            whole = table.ndim == len(record.gates) + len(part.family.own_shape(slot.name))
            if not (role.accepts(table) if whole else table > 0).all():
                raise DataError(
                    f"latent node '{node.name}' has values in the data, but no noise of its own in "
                    f"slot '{slot.name}', and so no density",
                    where=node.origin,
                    received=f"'{table.tolist()}'",
                    advice=f"leave '{node.name}' out of the data, or give it a variance",
                )

    def _barred(self, part: Part, x: Floats, known: dict[str, Floats]) -> Mask | None:
        """Values that a component of a switch cannot take."""
        if len(self.program.outline.nodes[part.node].families) == 1:
            return None
        bad = outside_support(part.family, x, known)
        return bad if bad.any() else None

    def _check_holes(self, part: Part, x: Floats) -> None:
        """Single coordinates may be missing only where they factorise."""
        if x.ndim == 1 or part.family.event_ndim == 0:
            return
        holes = flat_rows(np.isnan(x))
        partly = holes.any(axis=1) & ~holes.all(axis=1)
        if partly.any() and not part.family.takes_partial:
            node = self.program.outline.nodes[part.node]
            raise DataError(
                f"node '{node.name}' misses single {ENTRIES[x.ndim - 1]} in "
                f"{self.rows.place(part.scope, int(np.argmax(partly)))}",
                where=node.origin,
                expected=f"whole {NOUNS[x.ndim - 1]} of {type(part.family).__name__}, or NaN "
                "throughout",
                advice="leave these units out, or set the whole value to NaN",
            )


def _place(columns: Columns, scope: str, low: int, row: int) -> str:
    """A row of a shard in words."""
    return columns.place(scope, low + row)


def _stretch_line(name: str, lengths: Integers) -> str:
    """What holes tie together, for the report."""
    if not len(lengths):
        return f"'{name}': no hole ties steps together"
    return (
        f"'{name}': holes tie steps together in {len(lengths)} stretches, "
        f"the longest of {int(lengths.max())} steps"
    )


def _known(part: Part, n_rows: int) -> dict[str, Floats]:
    values = {name: value for name, value in part.known.items() if np.ndim(value) == 0}
    return {name: np.full(n_rows, float(value)) for name, value in values.items()}


def _merge_equal(part: Part, x: Floats, known: dict[str, Floats]) -> _Column | None:
    """Distinct values of a discrete node with their index, if there are few."""
    if not part.family.support.discrete or x.ndim != 1:
        return None
    rows = np.concatenate([x[:, None], _side_by_side(known, len(x))], axis=1)
    missing = np.asarray(np.isnan(rows).any(axis=1))
    found = _few_distinct(np.where(missing[:, None], np.nan, rows))
    if found is None:
        return None
    distinct, index = found
    points = Observations(part.family, distinct[:, 0], _apart(distinct[:, 1:], known))
    return _Column(None, {}, points, np.where(missing, -1, index))


def _every_value(family: Family, known: dict[str, Floats]) -> Observations:
    """All values under every row of the covariates."""
    domain = family.domain()
    assert domain is not None
    return EveryValue(family, domain, known)


def _side_by_side(known: dict[str, Floats], n_rows: int) -> Floats:
    return np.concatenate([np.zeros((n_rows, 0)), *(flat_rows(v) for v in known.values())], axis=1)


def _apart(rows: Floats, known: dict[str, Floats]) -> dict[str, Floats]:
    """The inverse of `_side_by_side`, for any rows."""
    cuts = np.cumsum([flat_rows(value).shape[1] for value in known.values()])
    parts = np.split(rows, cuts[:-1], axis=1) if known else []
    return {
        name: part.reshape(len(rows), *value.shape[1:])
        for (name, value), part in zip(known.items(), parts, strict=True)
    }


def _few_distinct(rows: Floats) -> tuple[Floats, Integers] | None:
    """Distinct rows and which of them each row is, if they are fewer than a quarter."""
    if rows.shape[1] > 1:  # a first look that is much faster than a comparison of whole rows
        mixed = np.nan_to_num(rows) @ np.sqrt(np.arange(2.0, 2.0 + rows.shape[1]))
        if len(np.unique(mixed)) * 4 > len(rows):
            return None
    distinct, index = _distinct(rows)
    return None if len(distinct) * 4 > len(rows) else (distinct, index)


def _distinct(rows: Floats) -> tuple[Floats, Integers]:
    """Distinct rows [U, ...] and which of them each row is [N]."""
    if rows.shape[1] == 1:  # much faster than by rows
        distinct, index = np.unique(rows[:, 0], return_inverse=True)
        return distinct[:, None], index
    distinct, index = np.unique(rows, axis=0, return_inverse=True)
    return distinct, index.reshape(-1)


class Shard:
    """A run of units, as the generated code reads it: `data["x"]`, `data.scope("t")`, …"""

    def __init__(self, bound: Bound, first: int, last: int) -> None:
        self.bound, self.first, self.last = bound, first, last
        self.n_units = last - first
        self.ranges = {UNIT: (first, last)}
        self.scopes: dict[str, ScopeData] = {}
        program, columns = bound.program, bound.rows
        for name, scope in program.outline.scopes.items():
            low, high = self.ranges[scope.parent]
            starts = columns.starts[name][low : high + 1]
            self.ranges[name] = (int(starts[0]), int(starts[-1]))
            self.scopes[name] = ScopeData(
                name, starts - starts[0], program.scope_dims[name],
                program.scope_dims[scope.parent], scope.size, self._parents(name),
                kept=bound.kept.setdefault((first, last, f"scope {name}"), {}),
                n_threads=bound.scan_threads,
            )  # fmt: skip
        self._nodes: dict[str, NodeData] = {}
        self._regions: dict[str, RegionData] = {}
        self._stretches: dict[str, StretchData] = {}
        self._indices: dict[tuple[str, str, int], Index] = {}

    @property
    def weights(self) -> Floats:
        """Weights of the units [n, 1, ...]."""
        weights = self.bound.rows.weights[self.first : self.last]
        return weights.reshape(-1, *(1,) * (self.bound.program.scope_dims[UNIT] - 1))

    def __getitem__(self, key: str) -> NodeData:
        if key not in self._nodes:
            self._nodes[key] = self._node(self.bound.program.parts[key])
        return self._nodes[key]

    def scope(self, name: str) -> ScopeData:
        """Rows of a plate, sequence or tree."""
        return self.scopes[name]

    def region(self, name: str) -> RegionData:
        """Rows of the Gaussian nodes that are integrated out together."""
        if name not in self._regions:
            self._regions[name] = self._region(name)
        return self._regions[name]

    def stretches(self, name: str) -> StretchData:
        """Steps of a sequence that the holes of a region tie together."""
        if name not in self._stretches:
            self._stretches[name] = self._tied(name)
        return self._stretches[name]

    def index(self, name: str, scope: str, lag: int) -> Index:
        """Codes of a seen node, covariate or plate, for each row of `scope`."""
        key = (name, scope, lag)
        if key not in self._indices:
            self._indices[key] = self._index(name, scope, lag)
        return self._indices[key]

    def _parents(self, scope: str) -> Integers | None:
        """Parents of a tree's members as rows of the shard."""
        whole = self.bound.rows.parents.get(scope)
        if whole is None:
            return None
        rows = whole[self._slice(scope)]
        return np.where(rows >= 0, rows - self.ranges[scope][0], -1)

    def _slice(self, scope: str) -> slice:
        return slice(*self.ranges[scope])

    def _node(self, part: Part) -> NodeData:
        column = self.bound.column(part.key)
        low, high = self.ranges[part.scope]
        rows = slice(low, high)
        if isinstance(part.family, Linked) and part.is_axis:
            return self._linked_axis(part, column)
        kept = self.bound.kept.setdefault((self.first, self.last, part.key), {})
        if column.points is None:
            assert column.x is not None
            known = {name: value[rows] for name, value in column.known.items()}
            memory = kept.setdefault("memory", {})
            points, index = Observations(part.family, column.x[rows], known, memory=memory), None
        else:
            points = column.points
            index = None if column.index is None else column.index[rows]
            if index is None and not part.is_axis:
                index = np.full(high - low, -1)
        node = NodeData(
            part.key, part.family, high - low, part.n_dims, points,
            None if part.is_axis else index, self.bound.flat,
            kept=kept, held=part.held,
        )  # fmt: skip
        if column.barred is not None:
            node.cache["barred"] = column.barred[rows]
        self._mark(node, part, index)
        return node

    def _linked_axis(self, part: Part, column: _Column) -> NodeData:
        """A node that is summed over, with all its values under every row of its covariates."""
        low, high = self.ranges[part.scope]
        rows = slice(low, high)
        if column.points is None or column.inputs is None:
            known = {name: value[rows] for name, value in column.known.items()}
            points, inputs = _every_value(part.family, known), np.arange(high - low)
        else:
            points, inputs = column.points, column.inputs[rows]
        node = NodeData(
            part.key, part.family, high - low, part.n_dims, points, None, self.bound.flat,
            None if len(points.known["design"]) == 1 else inputs,
        )  # fmt: skip
        self._mark(node, part, None if column.index is None else column.index[rows])
        return node

    def _mark(self, node: NodeData, part: Part, codes: Integers | None) -> None:
        """What is told of single rows: given values, responsibilities, and what counts nothing."""
        rows = slice(*self.ranges[part.scope])
        if part.node in self.bound.barren:
            node.cache["barren"] = self.bound.barren[part.node][rows]
        if part.evidence and codes is not None:
            node.cache["given"] = codes
        soft = self.bound.responsibilities.get(part.node)
        if soft is not None:
            node.cache["responsibilities"] = soft[rows]

    def _region(self, name: str) -> RegionData:
        program = self.bound.program
        region = next(r for r in program.analysis.regions if r.name == name)
        outline, members = program.outline, {}
        inside: dict[str, ScopeData] = {}
        for node in region.nodes:
            scope = outline.nodes[node].scope
            members[node] = (scope, self.rows_of_components(node))
            while scope != region.home:
                inside[scope] = self.scopes[scope]
                scope = outline.scopes[scope].parent
        low, high = self.ranges[region.home]
        return RegionData(
            region.home, high - low, program.scope_dims[region.home], region.chain or None,
            inside, {name: outline.scopes[name].parent for name in inside}, members,
        )  # fmt: skip

    def _tied(self, name: str) -> StretchData:
        bound = self.bound
        region = next(r for r in bound.program.analysis.regions if r.name == name)
        low, high = self.ranges[region.chain]
        members = {}
        for node in region.nodes:
            rows = self.rows_of_components(node)
            members[node] = {key: (self._tied_node(key, low, high), rows[key]) for key in rows}
        first, length = bound.stretches[name]
        here = slice(*np.searchsorted(first, [low, high]))
        found = first[here] - low, length[here]
        place = partial(_place, bound.rows, region.chain, low)
        return make_stretches(name, self.scopes[region.chain], members, found, place)

    def _tied_node(self, key: str, low: int, high: int) -> NodeData:
        part, rows = self.bound.program.parts[key], slice(low, high)
        x, known = self.bound.tied(key)
        points = Observations(part.family, x[rows], {n: v[rows] for n, v in known.items()})
        return NodeData(key, part.family, high - low, part.n_dims, points, flat=self.bound.flat)

    def rows_of_components(self, node: str) -> dict[str, Integers | None]:
        """The rows that each component of a node describes; None for all."""
        components = self.bound.program.analysis.layout.components
        found = {key: s.component.step for key, s in components.items() if s.component.node == node}
        lag = self.bound.program.outline.nodes[node].lag
        if not lag:
            return dict.fromkeys(found)
        number = self.scopes[self.bound.program.outline.nodes[node].scope].depth
        return {
            key: np.flatnonzero(number == step - 1 if step else number >= lag)
            for key, step in found.items()
        }

    def _index(self, name: str, scope: str, lag: int) -> Index:
        size = self.scopes[name].index.size if name in self.scopes else self._size(name)
        shard = proxy(self)  # a cycle would keep every shard's arrays until the next collection
        return Index(name, lambda: shard._codes(name, scope, lag), size)

    def _codes(self, name: str, scope: str, lag: int) -> Integers:
        outline = self.bound.program.outline
        if name in outline.scopes:
            home, codes = name, self.scopes[name].number
        else:
            home = (outline.nodes.get(name) or outline.covariates[name]).scope
            codes = self.bound.rows.codes[name][self._slice(home)]
        if scope != home:
            parent = self.scopes[scope].parent
            return self.index(name, outline.scopes[scope].parent, lag).codes[parent]
        if not lag:
            return codes
        rows = self.scopes[home].earlier(lag)
        return np.where(rows >= 0, codes[rows], -1)

    def _size(self, name: str) -> int:
        return self.bound.program.analysis.layout.sizes[name]


__all__ = ["Bound", "Shard"]
