"""How many units, members and steps there are, as all nodes together tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.declare import UNIT
from pgem.errors import DataError
from pgem.graph import Outline
from pgem.run.nested import Flat


class Rows:
    """The rows of all scopes, collected node by node; nodes that disagree are an error."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self.n_units = 0
        self._counts: dict[str, Integers] = {}
        self._owners: dict[str, str] = {}

    def add(self, name: str, flat: Flat, path: Sequence[str], origin: str) -> None:
        """Take over the counts of one node, and compare them with those of the others.

        Raises:
            DataError: another node has other numbers of units or members.
        """
        owner = self._owners.setdefault(UNIT, name)
        if owner == name:
            self.n_units = flat.n_units
        if flat.n_units != self.n_units:
            raise DataError(
                f"'{name}' has another number of units than '{owner}'",
                where=origin,
                expected=f"'{self.n_units}' units",
                received=f"'{flat.n_units}'",
            )
        for scope, counts in zip(path, flat.counts, strict=True):
            self._compare(scope, counts, name, origin)

    def _compare(self, scope: str, counts: Integers, name: str, origin: str) -> None:
        owner, known = self._owners.setdefault(scope, name), self._counts.setdefault(scope, counts)
        if np.array_equal(counts, known):
            return
        row = int(np.argmax(counts != known)) if len(counts) == len(known) else 0
        raise DataError(
            f"'{name}' and '{owner}' have different numbers of values in '{scope}'",
            where=origin,
            expected=f"'{known[row]}' in row '{row}'",
            received=f"'{counts[row]}'",
        )

    def starts(self) -> dict[str, Integers]:
        """Per scope, the first row of each parent row's members, and the end.

        Raises:
            DataError: no units, an empty sequence, a plate of another size than declared.
        """
        if not self.n_units:
            raise DataError(
                "the data are empty",
                expected="at least one unit",
                received=f"'0' units in {', '.join(map(repr, self._owners.values())) or 'no node'}",
            )
        starts: dict[str, Integers] = {}
        for name, scope in self.outline.scopes.items():
            parents = self.n_units if scope.parent == UNIT else int(starts[scope.parent][-1])
            counts = self._members(name, parents)
            starts[name] = np.zeros(len(counts) + 1, dtype=np.int64)
            np.cumsum(counts, out=starts[name][1:])
        return starts

    def _members(self, name: str, n_parents: int) -> Integers:
        scope = self.outline.scopes[name]
        if name not in self._counts:
            if scope.size is not None:
                return np.broadcast_to(scope.size, (n_parents,))
            raise DataError(
                f"no data tell how many members {scope.kind} '{name}' has",
                advice="give at least one node or covariate inside it",
            )
        counts = self._counts[name]
        if scope.looks_back and (counts == 0).any():
            raise DataError(
                f"{scope.kind} '{name}' is empty in row '{int(np.argmax(counts == 0))}'",
                expected=f"at least one {'step' if scope.kind == 'sequence' else 'member'}",
                advice="leave such units out",
            )
        if scope.size is not None and (counts != scope.size).any():
            row = int(np.argmax(counts != scope.size))
            raise DataError(
                f"plate '{name}' has a size, and the data have another",
                expected=f"'{scope.size}' members",
                received=f"'{counts[row]}' in row '{row}'",
            )
        return counts


def read_weights(weights: Any, n_units: int) -> Floats:
    """One finite weight of at least zero per unit, not all zero.

    Raises:
        DataError: they are not.
    """
    if weights is None:
        return np.broadcast_to(1.0, n_units)  # no memory for what is the same everywhere
    expected = f"'{n_units}' finite numbers of at least zero, one per unit"
    try:
        values = np.asarray(weights, dtype=float)
    except (TypeError, ValueError):
        raise DataError(
            "the weights are no array of numbers", expected=expected, received=f"'{weights}'"
        ) from None
    if values.shape != (n_units,):
        raise DataError(
            "the weights have the wrong shape", expected=expected, received=f"'{values.shape}'"
        )
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        unit = int(np.argmax(bad))
        raise DataError(
            f"the weights do not fit in unit '{unit}'",
            expected=expected,
            received=f"'{values[unit]}'",
        )
    if not values.any():
        raise DataError("all weights are zero", expected="at least one positive weight")
    return values
