"""What stands beside a value: covariates, earlier values and other known numbers, row by row.

They are put together for the rows that are asked for, a shard at a time: together they may be much
larger than the data.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.errors import DataError
from pgem.families._linear import Linear
from pgem.families._link import Linked
from pgem.families._scaled import UNTOUCHED, Scaled
from pgem.plan import Part, Program
from pgem.run.data import Columns

ALL = slice(None)


class Beside:
    """Reads what stands beside the values of components.

    Args:
        program: the compiled model.
        rows: the data that are run.
    """

    def __init__(self, program: Program, rows: Columns) -> None:
        self.program, self.rows = program, rows

    def known_values(self, part: Part, rows: slice = ALL) -> dict[str, Floats]:
        """Values of a component's known slots per row of its scope."""
        node = self.program.outline.nodes[part.node]
        known = constants(part, len(self._span(part.scope, rows)))
        for slot, name in node.known[part.component].items():
            known[slot] = self._regressor(name, 0, part, rows)
        if isinstance(part.family, Scaled) and part.family.times not in (None, UNTOUCHED):
            known["multiplier"] = self._multiplier(part, part.family, rows)
        return known

    def _multiplier(self, part: Part, family: Scaled, rows: slice) -> Floats:
        """What a slot is multiplied by, per row; 1 before the start of a sequence."""
        values = {name: self._regressor(*name, part, rows) for name in family.regressors()}
        values = self._one_at_the_start(values, part, rows)
        span = self._span(part.scope, rows)
        product = family.multiplier(values, len(span))
        bad = ~(np.isfinite(product) & (product > 0))
        if bad.any():
            bad_row = int(np.argmax(bad))
            raise DataError(
                f"node '{part.node}' has its slot '{family.slot}' multiplied by a number that is "
                "not positive",
                where=self.program.outline.nodes[part.node].origin,
                expected="positive numbers",
                received=f"'{product[bad_row]:g}' in {self.rows.place(part.scope, span[bad_row])}",
                advice="correct the covariates, or leave these units out",
            )
        return product

    def design(
        self, part: Part, family: Linear | Linked, rows: slice = ALL, *, given: bool = False
    ) -> dict[str, Floats]:
        """What the terms of a mean or link are multiplied by, per row of the component's scope.

        Args:
            part: the component.
            family: its family.
            rows: which rows; all by default.
            given: observed parents with holes are read, too, as 0 where they are missing.

        Returns:
            `design` [rows, columns], `spread` [rows] if the covariance (or the rate beside a link)
            has a multiplier, and
            `scale_k` for each term k whose random parent is multiplied by something.
        """
        n_rows = len(self._span(part.scope, rows))
        values = {name: self._regressor(*name, part, rows) for name in family.regressors()}
        nodes = self.program.outline.nodes
        more = set(family.regressors(parents=True)) - set(values) if given else ()
        parents = {(name, lag) for name, lag in more if nodes[name].kind == "observed"}
        seen = {name: np.nan_to_num(self._regressor(*name, part, rows)) for name in parents}
        known = {"design": family.design({**values, **seen}, n_rows)}
        spread = family.multiplier(self._one_at_the_start(values, part, rows), n_rows)
        if spread is not None:
            known["spread"] = spread
        for k, term in enumerate(family.terms):
            if term.parent is not None and (term.factors or term.over or term.scale != 1):
                scale = np.broadcast_to(np.asarray(term.multiplier(values)), (n_rows,))
                if term.contracts and term.vector is not None:
                    scale = scale[:, None] * values[term.vector]
                known[f"scale_{k}"] = scale
        self._check_design(part, known, rows)
        return known

    def of_link(self, part: Part, family: Linked, rows: slice = ALL) -> dict[str, Floats]:
        """Known values, and what the coefficients of a link are multiplied by."""
        return self.known_values(part, rows) | self.design(part, family, rows)

    def _regressor(self, name: str, lag: int, part: Part, rows: slice) -> Floats:
        """A covariate or observed node, for rows of a component's scope; 0 before the start."""
        outline = self.program.outline
        place = outline.nodes.get(name) or outline.covariates[name]
        values, here = self.rows.values(name), self._span(part.scope, rows)
        if not lag and place.scope == part.scope:
            return np.asarray(values[here.start : here.stop], dtype=float)
        read = self.rows_of(part.scope, place.scope, rows)
        if not lag:
            return np.asarray(values[read], dtype=float)
        read = self.rows.earlier_of(place.scope, lag, read)
        table = np.asarray(values[np.maximum(read, 0)], dtype=float)
        table[read < 0] = 0.0
        return table

    def _one_at_the_start(
        self, values: dict[Any, Floats], part: Part, rows: slice
    ) -> dict[Any, Floats]:
        """Numbers that multiply a variance or rate, 1 where there is no earlier value yet."""
        span = self._span(part.scope, rows)
        own = np.arange(span.start, span.stop)
        lags = {lag for _, lag in values if lag}
        starts = {lag: self.rows.earlier_of(part.scope, lag, own) < 0 for lag in lags}
        return {
            (name, lag): np.where(starts[lag], 1.0, table) if lag and table.ndim == 1 else table
            for (name, lag), table in values.items()
        }

    def _check_design(self, part: Part, known: dict[str, Floats], rows: slice) -> None:
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
                    received=f"'{table[row]}' in "
                    f"{self.rows.place(part.scope, self._span(part.scope, rows)[row])}",
                    advice="correct the covariates, or leave these units out",
                )

    def rows_of(self, scope: str, home: str, rows: slice = ALL) -> Integers:
        """For rows of `scope`, their rows of the enclosing scope `home`."""
        span = self._span(scope, rows)
        low, high = span.start, span.stop
        found = np.arange(low, high)
        while scope != home and low < high:
            starts = self.rows.starts[scope]
            first = int(np.searchsorted(starts, low, side="right")) - 1
            last = int(np.searchsorted(starts, high, side="left"))
            lengths: Integers = np.diff(starts[first : last + 1].clip(low, high))
            found = np.repeat(np.arange(first, last), lengths)[found - low]
            low, high, scope = first, last, self.program.outline.scopes[scope].parent
        return found

    def _span(self, scope: str, rows: slice) -> range:
        return range(self.rows.n_rows(scope))[rows]


def constants(part: Part, n_rows: int) -> dict[str, Floats]:
    """Values of known slots that are the same in all rows [N]."""
    values = {name: value for name, value in part.known.items() if np.ndim(value) == 0}
    return {name: np.full(n_rows, float(value)) for name, value in values.items()}
