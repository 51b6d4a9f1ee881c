"""A family from two functions: its log-density and its weighted fit, for research prototypes.

Such a family has no finite statistic.  What it accumulates are samples: the values and, per cell,
their posterior weights; adding two samples puts one behind the other, so that shards and groups of
rows merge as sums do.  The M-step hands every cell's sample to the author's `fit`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Mask
from pgem.errors import DataError, DeclarationError, FitError, PgemError, did_you_mean
from pgem.families import _derived
from pgem.families._family import Family, Observations, Slot, Slots, Statistics, Support, every
from pgem.families._parts import (
    BINARY,
    COUNTS,
    NON_NEGATIVE,
    POSITIVE_COUNTS,
    REALS,
    UNIT_INTERVAL,
)
from pgem.families._parts import POSITIVE as POSITIVE_NUMBERS
from pgem.families._roles import COVARIANCE, MEAN, POSITIVE, PROB, SCALE, VARIANCE, Role

LogDensity = Callable[..., Any]
"""`log_density(x, **slots)` → one number per value."""
Fit = Callable[[Floats, Floats], Any]
"""`fit(x, weights)` → the slots, by name."""
Draw = Callable[..., Any]
"""`draw(generator, n, **slots)` → n values."""

CONSTRAINTS: dict[str, tuple[Role, str]] = {
    "real": (MEAN, ""),
    "positive": (POSITIVE, ""),
    "scale": (SCALE, ""),
    "variance": (VARIANCE, ""),
    "probability": (PROB, ""),
    "vector": (MEAN, "d"),
    "positive vector": (POSITIVE, "d"),
    "covariance": (COVARIANCE, "dd"),
}
SUPPORTS = {
    "real": REALS,
    "positive": POSITIVE_NUMBERS,
    "non-negative": NON_NEGATIVE,
    "unit": UNIT_INTERVAL,
    "count": COUNTS,
    "positive count": POSITIVE_COUNTS,
    "binary": BINARY,
    "vector": Support("rows of finite real numbers", lambda x: every(np.isfinite(x), -1), False, 0),
}


@dataclass(frozen=True, eq=False)
class Sample:
    """Weighted values of one cell, in pieces [n], [n] or [n, D], [n]; `+` chains the pieces."""

    pieces: tuple[tuple[Floats, Floats], ...] = ()

    def __add__(self, other: object) -> Sample:
        return Sample(self.pieces + other.pieces) if isinstance(other, Sample) else self

    __radd__ = __add__  # a sum begins with the number zero

    def rows(self) -> tuple[Floats, Floats]:
        """Values and weights of the rows that count at all."""
        pieces = [(x[weights > 0], weights[weights > 0]) for x, weights in self.pieces]
        if len(pieces) == 1:
            return pieces[0]
        if not pieces:
            return np.zeros(0), np.zeros(0)
        values, weights = zip(*pieces, strict=True)
        return np.concatenate(values), np.concatenate(weights)


class TwoFunctions(Family):
    """The families that `family_from_functions` makes."""

    own_fit = True
    rung = "the family's own fit"
    user_density: ClassVar[LogDensity]
    user_fit: ClassVar[Callable[..., Any]]
    user_draw: ClassVar[Draw | None]

    # --- density ------------------------------------------------------------------------------

    def log_density(self, data: Observations, slots: Slots) -> Floats:
        """log p(x | cell) [N, C], from the author's function."""
        n_cells = len(next(iter(slots.values())))
        out = np.zeros((len(data.x), n_cells))
        for cell in range(n_cells):
            here = {name: value[cell] for name, value in slots.items()}
            for place in self._places():
                x, seen = self._seen(data.x, place)
                out[seen, cell] += self._density(x[seen], self._at_place(here, place))
        return out

    def _places(self) -> list[tuple[int, ...]]:
        """The independent coordinates of a vector; one empty place for whole values."""
        return [()] if self.coordinates is None else [(d,) for d in range(self.coordinates)]

    def _seen(self, x: Floats, place: tuple[int, ...]) -> tuple[Floats, Mask]:
        """Values at a place, and which of them are there."""
        x = x[:, place[0]] if place else x
        gone = np.isnan(x)
        return x, np.asarray(~(gone.any(axis=1) if gone.ndim > 1 else gone))

    def _at_place(self, slots: Slots, place: tuple[int, ...]) -> dict[str, Any]:
        values = {name: value[place] for name, value in slots.items()}
        return {name: v.copy() if np.ndim(v) else float(v) for name, v in values.items()}

    def _density(self, x: Floats, slots: dict[str, Any]) -> Floats:
        if not len(x):
            return np.zeros(0)
        problem = f"{self._function(self.user_density)} (log_density)"
        try:
            with np.errstate(all="ignore"):
                found = np.asarray(self.user_density(_locked(x), **slots), dtype=float)
        except Exception as error:
            raise DataError(
                f"{problem} failed: {type(error).__name__}: {error}", received=f"slots '{slots}'"
            ) from error
        if found.shape != (len(x),):
            raise DataError(
                f"{problem} returns the wrong shape",
                expected=f"one number per value: '{(len(x),)}'",
                received=f"'{found.shape}'",
            )
        if np.isnan(found).any():
            raise DataError(
                f"{problem} returns NaN at '{x[int(np.argmax(np.isnan(found)))]}'",
                expected="a number, or -inf where the density is zero",
                received=f"slots '{slots}'",
            )
        return found

    # --- statistics and M-step ----------------------------------------------------------------

    def accumulate(self, data: Observations, weights: Floats, slots: Slots) -> Statistics:
        """One sample per cell [C]."""
        x = data.x
        whole = ~every(np.isnan(x.reshape(len(x), -1)), 1)
        if not whole.all():
            x, weights = x[whole], weights[whole]
        columns = np.array(weights.T, order="C")
        samples = np.empty(len(columns), dtype=object)
        samples[:] = [Sample(((x, column),)) for column in columns]
        return (cast(Floats, samples),)

    def estimate(self, stats: Statistics, previous: Slots) -> dict[str, Floats]:
        """The author's fit, cell by cell; cells without data keep their previous values."""
        found = {name: np.array(previous[name], dtype=float) for name in self.estimable}
        for cell, place, x, weights in self._samples(stats):
            for name, value in self._fitted(x, weights, found).items():
                found[name][(cell, *place)] = value
        return found

    def expected_log_density(self, stats: Statistics, slots: Slots, origin: Slots) -> float:
        """Σ of weight times log-density over rows and cells."""
        return sum(
            float(
                weights
                @ self._density(x, self._at_place({k: v[cell] for k, v in slots.items()}, place))
            )
            for cell, place, x, weights in self._samples(stats)
        )

    def _samples(self, stats: Statistics) -> Iterator[tuple[int, tuple[int, ...], Floats, Floats]]:
        """Cell, place, values and weights, wherever there are any."""
        for cell, sample in enumerate(stats[0]):
            values, weights = sample.rows() if isinstance(sample, Sample) else Sample().rows()
            for place in self._places() if len(values) else ():
                x, seen = self._seen(values, place)
                if seen.any():
                    yield cell, place, x[seen], weights[seen]

    def _fitted(self, x: Floats, weights: Floats, like: Slots) -> dict[str, Floats]:
        problem = f"{self._function(self.user_fit)} (fit)"
        try:
            found = self.user_fit(_locked(x), _locked(weights))
        except Exception as error:
            raise FitError(f"{problem} failed: {type(error).__name__}: {error}") from error
        names = list(self.estimable)
        if not isinstance(found, Mapping) or set(found) != set(names):
            shown = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise FitError(
                f"{problem} does not return the slots",
                expected=f"a dict with the keys {names}",
                received=f"'{shown}'",
            )
        return {name: self._checked(problem, name, found[name]) for name in names}

    def _checked(self, problem: str, slot: str, value: Any) -> Floats:
        role = self.role_of(slot)
        shape = () if self.coordinates is not None else self.own_shape(slot)
        try:
            table = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            table = np.full(1, np.nan)
        fits = table.shape == shape and np.isfinite(table).all()
        if not (fits and np.all(role.accepts(_off_edge(table) if role.has_spread else table))):
            raise FitError(
                f"{problem} returns a value for slot '{slot}' that cannot be",
                expected=f"{role.expected}, of shape '{shape}'",
                received=f"'{value}'",
            )
        return table

    def _function(self, function: Callable[..., Any]) -> str:
        """A function in errors: its node, its name and its family."""
        node = f"node '{self.owner}': " if self.owner else ""
        name = getattr(function, "__name__", repr(function))
        return f"{node}the function '{name}' of {type(self).__name__}"

    # --- draws and moments --------------------------------------------------------------------

    def draw(self, generator: Generator, slots: Slots) -> Floats:
        """One value per row, from the author's function or by inverting the distribution."""
        if self.user_draw is None:
            self._needs("draw=", "be drawn from")
            return super().draw(generator, slots)
        size = self.size if self.event_ndim else self.coordinates
        flat = np.concatenate([v.reshape(len(v), -1) for v in slots.values()], axis=1)
        _, first, group = np.unique(flat, axis=0, return_index=True, return_inverse=True)
        out = np.empty((len(flat),) if size is None else (len(flat), size))
        for index, row in enumerate(first.tolist()):
            rows = np.flatnonzero(group.reshape(-1) == index)
            here = {name: value[row] for name, value in slots.items()}
            for place in self._places():
                drawn = self._drawn(generator, len(rows), self._at_place(here, place))
                column = out[:, place[0]] if place else out
                column[rows] = drawn
        return out

    def _drawn(self, generator: Generator, count: int, slots: dict[str, Any]) -> Floats:
        assert self.user_draw is not None
        problem = f"{self._function(self.user_draw)} (draw)"
        try:
            found = np.asarray(self.user_draw(generator, count, **slots), dtype=float)
        except Exception as error:
            raise DataError(f"{problem} failed: {type(error).__name__}: {error}") from error
        shape = (count, *self.event_shape) if self.event_ndim else (count,)
        if found.shape != shape:
            raise DataError(
                f"{problem} returns the wrong shape",
                expected=f"'{shape}'",
                received=f"'{found.shape}'",
            )
        return found

    def moments(self, slots: Slots) -> tuple[Floats, Floats]:
        """Mean and variance, by quadrature of the density."""
        self._needs("its own class", "have moments")
        mean, variance = _derived.moments(self, slots)
        shape = (-1,) if self.coordinates is None else (-1, self.coordinates)
        return mean.reshape(shape), variance.reshape(shape)

    def divergence(self, slots: Slots, other: Slots) -> Floats:
        """Kullback-Leibler divergence of `other` from `slots` [C], by quadrature."""
        found = []
        pairs = zip(self.cells(slots), self.cells(other), strict=True)
        for (single, cell), (_, second) in pairs:
            x, mass, log_density = _derived.atoms(single, cell)
            found.append(mass @ (log_density - single.log_density_at(x, second)))
        n_cells = len(next(iter(slots.values())))
        return np.asarray(np.maximum(np.array(found).reshape(n_cells, -1).sum(axis=1), 0.0))

    def _location(self, slots: Slots) -> tuple[float, float] | None:
        return None  # moments are found from nodes, not the other way round

    def _needs(self, missing: str, what: str) -> None:
        if self.event_ndim:
            raise PgemError(
                f"{type(self).__name__} is a vector given by two functions and cannot {what}",
                advice=f"give it {missing}",
            )


def family_from_functions(
    name: str,
    log_density: LogDensity,
    fit: Fit,
    slots: Mapping[str, str] | None = None,
    support: str = "real",
    *,
    draw: Draw | None = None,
) -> type[Family]:
    """A family from its log-density and its weighted fit, for observed nodes of any graph.

    EM is as good as `fit`: if it does not maximise `weights @ log_density(x, **slots)`, the
    likelihood may fall, and the verdict of the run is then `decreased`.

    Args:
        name: of the class; bind the result to the same name, so that fits can be pickled.
        log_density: `log_density(x, **slots)` of values [N] (vectors: [N, D]) under the slots of
            one cell, numbers or arrays; returns [N].
        fit: `fit(x, weights)` of the values and their posterior weights in one cell; returns a
            dict of all slots.
        slots: constraint of each slot: `real`, `positive`, `scale` or `variance` (positive, and
            watched for a collapse), `probability`; over vectors also `vector`, `positive vector`,
            `covariance`.  Default: mean `real` and scale `scale`.
        support: `real`, `positive`, `non-negative`, `unit`, `count`, `positive count`, `binary`
            or `vector`.
        draw: `draw(generator, n, **slots)`; returns n values.  Scalars are drawn from the density
            without it.

    Returns:
        The class; `pg.observed("x", Mine(), given=z)`.

    Raises:
        DeclarationError: an argument does not fit.
    """
    chosen = dict(slots) if slots is not None else {"mean": "real", "scale": "scale"}
    _check_names(name, chosen, support)
    for what, function in (("log_density", log_density), ("fit", fit), ("draw", draw)):
        if not callable(function) and (what != "draw" or function is not None):
            raise DeclarationError(
                f"{what} of family '{name}' is no function", received=f"'{function!r}'"
            )
    return type(
        name,
        (TwoFunctions,),
        {
            "__module__": sys._getframe(1).f_globals.get("__name__", "__main__"),
            "__qualname__": name,
            "__doc__": log_density.__doc__ or f"{name}, given by two functions.",
            "rung": TwoFunctions.rung,
            "slots": tuple(Slot(slot, *CONSTRAINTS[kind]) for slot, kind in chosen.items()),
            "support": SUPPORTS[support],
            "event_ndim": int(support == "vector"),
            "user_density": staticmethod(log_density),
            "user_fit": staticmethod(fit),
            "user_draw": draw if draw is None else staticmethod(draw),
        },
    )


def _check_names(name: str, slots: Mapping[str, str], support: str) -> None:
    if not (isinstance(name, str) and name.isidentifier()):
        raise DeclarationError("the name of a family must be a Python name", received=f"'{name!r}'")
    if not slots:
        raise DeclarationError(f"family '{name}' has no slots")
    if support not in SUPPORTS:
        raise _unknown(f"support of family '{name}'", support, SUPPORTS)
    for slot, kind in slots.items():
        if not str(slot).isidentifier() or slot in ("x", "size", "weights"):
            raise DeclarationError(
                f"slot '{slot}' of family '{name}' cannot have this name",
                expected="a Python name other than x, weights and size",
            )
        if kind not in CONSTRAINTS:
            raise _unknown(f"constraint of slot '{slot}' of family '{name}'", kind, CONSTRAINTS)
        if CONSTRAINTS[kind][1] and support != "vector":
            raise DeclarationError(
                f"slot '{slot}' of family '{name}' is a {kind}, but its values are no vectors",
                expected="support='vector'",
                received=f"'{support}'",
            )


def _unknown(what: str, received: object, known: Mapping[str, object]) -> DeclarationError:
    return DeclarationError(
        f"the {what} is not known",
        expected=", ".join(known),
        received=f"'{received}'",
        advice=did_you_mean(received, known),
    )


def _off_edge(spread: Floats) -> Floats:
    """A spread of zero is a collapse, which the run reports, and no mistake of the fit."""
    if spread.ndim < 2:
        return spread + np.finfo(float).tiny
    return spread + 1e-12 * (np.abs(spread).max() or 1.0) * np.eye(len(spread))


def _locked(x: Floats) -> Floats:
    """A view that the author's function cannot write into."""
    view = x.view()
    view.flags.writeable = False
    return view
