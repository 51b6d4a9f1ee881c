"""The values of all components, as the run needs them: checked, distinct ones merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pgem.analyse import Region, Segments
from pgem.arrays import Floats, Integers, Mask
from pgem.errors import DataError
from pgem.families import Family, Observations
from pgem.families._linear import Linear
from pgem.families._link import EveryValue, Linked
from pgem.families._parts import flat_rows
from pgem.families._scaled import UNTOUCHED, Scaled
from pgem.plan import Part, Program
from pgem.routines import Holes, Places, ScopeData, Tail, find_branches, find_stretches, find_tails
from pgem.run.data import Columns
from pgem.run.support import outside_support

NOUNS = {1: "vectors", 2: "matrices"}
"""Values by their number of axes."""
ENTRIES = {1: "coordinates", 2: "entries"}


@dataclass(eq=False)
class Column:
    """One component's values over all rows, distinct ones merged where that saves work."""

    x: Floats | None
    known: dict[str, Floats]
    points: Observations | None
    index: Integers | None
    inputs: Integers | None = None
    barred: Mask | None = None


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
            return Column(None, {}, Observations(part.family, np.zeros(0)), None)
        domain = part.family.domain()
        if isinstance(part.family, Linked):
            return self._linked_column(part, part.family)
        if domain is not None and part.node in self._finite():
            codes = self.rows.codes.get(part.node)
            points = Observations(part.family, domain, _known(part, len(domain)))
            return Column(None, {}, points, codes)
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
        column = _merge_equal(part, x, known) or Column(x, known, None, None)
        column.barred = barred
        return column

    # --- stretches ----------------------------------------------------------------------------

    def _find_stretches(self, region: Region) -> Places:
        """Where holes tie steps together."""
        parts = [part for part in self.program.parts.values() if part.node in region.nodes]
        families = [part.family for part in parts]
        terms = [term for family in families if isinstance(family, Linear) for term in family.terms]
        lags = [term.parent for term in terms if term.parent is not None]
        missing = {}
        for part in parts:
            gone = np.isnan(self._numbers(part))
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
            self._tied[key] = self._numbers(part), self.design(part, part.family)
        return self._tied[key]

    # --- values under a link ------------------------------------------------------------------

    def _linked_column(self, part: Part, family: Linked) -> Column:
        """Values, and what the coefficients of their link are multiplied by."""
        known = self.known_values(part) | self.design(part, family)
        codes, domain = self.rows.codes.get(part.node), family.domain()
        if part.is_axis:
            found = _few_distinct(_side_by_side(known, len(known["design"])))
            if found is None:
                return Column(None, known, None, codes)
            points = every_value(family, _apart(found[0], known))
            return Column(None, {}, points, codes, found[1])
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
        column = _merge_equal(part, x, known) or Column(x, known, None, None)
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
            given: observed parents with holes are read, too, as 0 where they are missing.

        Returns:
            `design` [rows, columns], `spread` [rows] if the covariance (or the rate beside a link)
            has a multiplier, and
            `scale_k` for each term k whose random parent is multiplied by something.
        """
        n_rows = self.rows.n_rows(part.scope)
        values = {name: self._regressor(*name, part) for name in family.regressors()}
        nodes = self.program.outline.nodes
        more = set(family.regressors(parents=True)) - set(values) if given else ()
        parents = {(name, lag) for name, lag in more if nodes[name].kind == "observed"}
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


def _known(part: Part, n_rows: int) -> dict[str, Floats]:
    values = {name: value for name, value in part.known.items() if np.ndim(value) == 0}
    return {name: np.full(n_rows, float(value)) for name, value in values.items()}


def _merge_equal(part: Part, x: Floats, known: dict[str, Floats]) -> Column | None:
    """Distinct values of a discrete node with their index, if there are few."""
    if not part.family.support.discrete or x.ndim != 1:
        return None
    rows = np.concatenate([x[:, None], _side_by_side(known, len(x))], axis=1)
    missing = np.asarray(np.isnan(rows).any(axis=1))
    some = rows[np.argmin(missing)]  # NaN would count as many values
    found = _few_distinct(np.where(missing[:, None], some, rows))
    if found is None:
        return None
    distinct, index = found
    points = Observations(part.family, distinct[:, 0], _apart(distinct[:, 1:], known))
    return Column(None, {}, points, np.where(missing, -1, index))


def every_value(family: Family, known: dict[str, Floats]) -> Observations:
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
