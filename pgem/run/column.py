"""The values of all components, as the run needs them: checked, distinct ones merged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np

from pgem.analyse import Region, Segments
from pgem.arrays import Floats, Mask
from pgem.errors import DataError
from pgem.families import Family, Observations
from pgem.families._linear import Linear
from pgem.families._link import EveryValue, Linked
from pgem.families._parts import flat_rows
from pgem.plan import Part, Program
from pgem.routines import Holes, Places, ScopeData, Tail, find_branches, find_stretches, find_tails
from pgem.run.beside import Beside, constants
from pgem.run.data import Columns
from pgem.run.distinct import few_distinct
from pgem.run.stored import Codes, Numbers, OfDomain, absent
from pgem.run.support import outside_support

NOUNS = {1: "vectors", 2: "matrices"}
"""Values by their number of axes."""
ENTRIES = {1: "coordinates", 2: "entries"}
Known: TypeAlias = Callable[[slice], dict[str, Floats]]
"""What stands beside the values of some rows."""


@dataclass(eq=False)
class Column:
    """One component's values over all rows, distinct ones merged where that saves work.

    Attributes:
        x: the values, unless distinct ones stand for them.
        known: what stands beside them, for some rows.
        points: distinct values.
        index: which of them each row has.
        inputs: of a node that is summed over, which of the distinct rows beside it each row has.
        barred: rows whose value the component cannot take.
        tied: rows that are integrated out stretch by stretch.
    """

    x: Numbers | None
    known: Known
    points: Observations | None
    index: Codes | None
    inputs: Codes | None = None
    barred: Mask | None = None
    tied: Mask | None = None

    @cached_property
    def made(self) -> int:
        """Numbers in a row that are made anew where rows are read: converted, or put together."""
        beside = _width(self.known(slice(0, 1)))
        if self.x is None:
            return beside
        plain = self.x.is_plain and self.barred is None and self.tied is None
        return beside + (0 if plain else self.x.width)

    def read(self, rows: slice) -> Floats:
        """Values of some rows, NaN where they are missing or count nothing."""
        assert self.x is not None
        found = self.x[rows]
        for mask in (self.barred, self.tied):
            if mask is not None:
                gone = mask[rows].reshape(-1, *(1,) * (found.ndim - 1))
                found = np.where(gone, np.nan, found)
        return found


class Values:
    """Reads the values of components from columns.

    Args:
        program: the compiled model.
        rows: the data that are run.
        asked: what is asked of holes, if anything.

    Raises:
        DataError: values outside a family's support.
    """

    def __init__(self, program: Program, rows: Columns, asked: str) -> None:
        self.program, self.rows, self.asked = program, rows, asked
        self.beside = Beside(program, rows)
        regions = [region for region in program.analysis.regions if region.in_stretches]
        self.tails: dict[str, list[Tail]] = {}
        self.stretches = {region.name: self._find_stretches(region) for region in regions}
        self._tied: dict[str, tuple[Floats, dict[str, Floats]]] = {}
        self._columns = {key: self._column(part) for key, part in program.parts.items()}

    def column(self, key: str) -> Column:
        """Values of one component."""
        return self._columns[key]

    def _column(self, part: Part) -> Column:
        if part.is_duration:
            return Column(None, _nothing, Observations(part.family, np.zeros(0)), None)
        domain = part.family.domain()
        if isinstance(part.family, Linked):
            return self._linked_column(part, part.family)
        if domain is not None and part.node in self._finite():
            codes = self.rows.codes.get(part.node)
            points = Observations(part.family, domain, constants(part, len(domain)))
            return Column(None, _nothing, points, codes)
        x, tied = self._numbers(part), self._tied_rows(part.node)
        known: Known = partial(self.beside.known_values, part)
        if isinstance(part.family, Linear):
            known = partial(self.beside.design, part, part.family, given=tied is not None)
        self._check(part, x, known)
        return self._merged(part, Column(x, known, None, None, tied=tied))

    def _merged(self, part: Part, column: Column) -> Column:
        """Values that the component cannot take are left out, and equal ones merged."""
        column.barred = self._barred(part, column)
        merged = _merge_equal(part, column) or column
        merged.barred = column.barred
        return merged

    # --- stretches ----------------------------------------------------------------------------

    def _find_stretches(self, region: Region) -> Places:
        """Where holes tie steps together."""
        parts = [part for part in self.program.parts.values() if part.node in region.nodes]
        families = [part.family for part in parts]
        terms = [term for family in families if isinstance(family, Linear) for term in family.terms]
        lags = [term.parent for term in terms if term.parent is not None]
        missing = {}
        for part in parts:
            gone = self._numbers(part).missing()
            missing[part.node] = gone.reshape(len(gone), -1)
        nodes = self.program.outline.nodes
        holes = Holes(
            {
                name: np.asarray(gone.any(axis=1))
                for name, gone in missing.items()
                if nodes[name].kind == "observed"  # latents live in one step: they tie nothing
            },
            {name: np.asarray(~gone.all(axis=1)) for name, gone in missing.items()},
            {n: max((lag for node, lag in lags if node == n), default=-1) for n in missing},
        )
        starts, parents = self.rows.starts[region.chain], self.rows.parents.get(region.chain)
        scope = ScopeData(region.chain, starts, 2, 1, None, parents)
        self.tails[region.name], ends = [], None
        if self.asked == "moments":
            if not self._is_lasting(region):  # else more than the last value tells what comes next
                self.tails[region.name] = find_tails(scope, holes)
            ends = np.ones(scope.n_rows, dtype=bool)
            for tail in self.tails[region.name]:
                ends[tail.rows] = False
        if parents is not None:
            return find_branches(scope, holes, leaves=bool(self.asked), ends=ends)
        ends = None if ends is None else ends[starts[1:] - 1]
        return find_stretches(starts, holes, leaves=bool(self.asked), ends=ends)

    def _is_lasting(self, region: Region) -> bool:
        """Whether a region's steps are gated by a chain with explicit durations."""
        steps = self.program.analysis.schedule.steps
        return any(
            isinstance(step, Segments) and any(f.node == region.name for f in step.stretches)
            for step in steps
        )

    def _tied_rows(self, node: str) -> Mask | None:
        """Rows of a node that are integrated out stretch by stretch; None if its region is not."""
        for region in self.program.analysis.regions:
            if region.in_stretches and node in region.nodes:
                return self.tied_rows(region)
        return None

    def tied_rows(self, region: Region) -> Mask:
        """Rows of a region that are integrated out stretch by stretch."""
        tied = np.zeros(self.rows.n_rows(region.chain), dtype=bool)
        tied[self.stretches[region.name].rows] = True
        return tied

    def tied(self, key: str) -> tuple[Floats, dict[str, Floats]]:
        """Values of a component with their holes, and what its terms are multiplied by.

        What later values look back at is left out of `design`, as in a region.
        """
        if key not in self._tied:
            part = self.program.parts[key]
            assert isinstance(part.family, Linear)
            self._tied[key] = self._numbers(part)[:], self.beside.design(part, part.family)
        return self._tied[key]

    # --- values under a link ------------------------------------------------------------------

    def _linked_column(self, part: Part, family: Linked) -> Column:
        """Values, and what the coefficients of their link are multiplied by."""
        known: Known = partial(self.beside.of_link, part, family)
        codes, domain = self.rows.codes.get(part.node), family.domain()
        if part.is_axis:
            template = known(slice(0, 1))
            found = few_distinct(
                self.rows.n_rows(part.scope), _width(template), lambda r: _side_by_side(known(r))
            )
            if found is None:
                return Column(None, known, None, codes)
            points = every_value(family, _apart(found[0], template))
            return Column(None, _nothing, points, codes, found[1])
        if domain is None or part.node not in self._finite():
            x = self._numbers(part)
            self._check(part, x, known)
        elif codes is None:
            x = absent((self.rows.n_rows(part.scope),))
        else:
            x = OfDomain(codes, domain)
        return self._merged(part, Column(x, known, None, None))

    def _finite(self) -> set[str]:
        return {name for name, node in self.program.outline.nodes.items() if node.finite}

    def _numbers(self, part: Part) -> Numbers:
        found = self.rows.numbers.get(part.node)
        if found is None:
            return absent((self.rows.n_rows(part.scope), *part.family.event_shape))
        return found

    # --- checks -------------------------------------------------------------------------------

    def _check(self, part: Part, x: Numbers, known: Known) -> None:
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

    def _check_support(self, part: Part, x: Numbers, known: Known) -> None:
        node = self.program.outline.nodes[part.node]
        bad = outside_support(part.family, x, known)
        for other in self.program.parts.values():  # another component may take the value
            if other.node == part.node and other.component != part.component:
                own = partial(self.beside.known_values, other)
                bad = bad & outside_support(other.family, x, own)
        if bad.any():
            row = int(np.argmax(bad))
            here = known(slice(row, row + 1))
            beside = [f"{n}='{here[n][0]:g}'" for n in part.family.known_slots if n in here]
            received = " with ".join([f"'{x[row]}'", *([", ".join(beside)] if beside else [])])
            raise DataError(
                f"node '{node.name}' has a value outside the support of "
                f"{' and '.join(type(family).__name__ for family in node.families)}",
                where=node.origin,
                expected=", or ".join(family.support.name for family in node.families),
                received=f"{received} in {self.rows.place(part.scope, row)}",
                advice="correct it, use NaN for a missing value, or choose another family",
            )

    def _check_noise(self, part: Part, x: Numbers) -> None:
        """Values of a latent are given only where it has noise of its own, and so a density."""
        node = self.program.outline.nodes[part.node]
        if node.kind != "latent" or x.is_empty:
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

    def _barred(self, part: Part, column: Column) -> Mask | None:
        """Values that a component of a switch cannot take."""
        if column.x is None or len(self.program.outline.nodes[part.node].families) == 1:
            return None
        bad = outside_support(part.family, column.x, column.known)
        if column.tied is not None:
            bad &= ~column.tied
        return bad if bad.any() else None

    def _check_holes(self, part: Part, x: Numbers) -> None:
        """Single coordinates may be missing only where they factorise."""
        if x.ndim == 1 or part.family.event_ndim == 0 or part.family.takes_partial:
            return
        for rows in x.blocks() if x.has_holes else ():
            holes = flat_rows(x.missing(rows))
            partly = holes.any(axis=1) & ~holes.all(axis=1)
            if partly.any():
                node = self.program.outline.nodes[part.node]
                row = rows.start + int(np.argmax(partly))
                raise DataError(
                    f"node '{node.name}' misses single {ENTRIES[x.ndim - 1]} in "
                    f"{self.rows.place(part.scope, row)}",
                    where=node.origin,
                    expected=f"whole {NOUNS[x.ndim - 1]} of {type(part.family).__name__}, or NaN "
                    "throughout",
                    advice="leave these units out, or set the whole value to NaN",
                )


def _nothing(_: slice) -> dict[str, Floats]:
    """Nothing stands beside the values."""
    return {}


def _merge_equal(part: Part, column: Column) -> Column | None:
    """Distinct values of a discrete node with their index, if there are few."""
    x, template = column.x, column.known(slice(0, 1))
    if x is None or not part.family.support.discrete or x.ndim != 1:
        return None

    def read(rows: slice) -> Floats:
        return _side_by_side({"": column.read(rows), **column.known(rows)})

    found = few_distinct(len(x), 1 + _width(template), read)
    if found is None:
        return None
    distinct, index = found
    points = Observations(part.family, distinct[:, 0], _apart(distinct[:, 1:], template))
    return Column(None, _nothing, points, index)


def every_value(family: Family, known: dict[str, Floats]) -> Observations:
    """All values under every row of the covariates."""
    domain = family.domain()
    assert domain is not None
    return EveryValue(family, domain, known)


def _side_by_side(known: dict[str, Floats]) -> Floats:
    """What stands beside some values as rows of numbers."""
    return np.concatenate([flat_rows(value) for value in known.values()], axis=1)


def _width(known: dict[str, Floats]) -> int:
    """Numbers in such a row."""
    return sum(flat_rows(value).shape[1] for value in known.values())


def _apart(rows: Floats, known: dict[str, Floats]) -> dict[str, Floats]:
    """The inverse of `_side_by_side`, for any rows."""
    cuts = np.cumsum([flat_rows(value).shape[1] for value in known.values()])
    parts = np.split(rows, cuts[:-1], axis=1) if known else []
    return {
        name: part.reshape(len(rows), *value.shape[1:])
        for (name, value), part in zip(known.items(), parts, strict=True)
    }
