"""Expressions in slots: sums of terms, each a coefficient times covariates and a parent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pgem.declare import expressions as ex
from pgem.declare.records import Gate, SlotRecord, TimesRecord
from pgem.errors import DeclarationError

Register = Callable[[ex.Param, str], str]


PLAIN = TimesRecord()


@dataclass(frozen=True)
class _Term:
    """A product in the making.

    Attributes:
        base: the parameter or constant table, or None.
        gates: what indexes it.
        times: everything else.
    """

    base: ex.Param | ex.Constant | None = None
    gates: tuple[Gate, ...] = ()
    times: TimesRecord = PLAIN


def parse(written: ex.Operand, slot: str, origin: str, register: Register) -> list[SlotRecord]:
    """The terms of an expression.

    Args:
        written: what the user wrote.
        slot: the slot that it stands in, for errors.
        origin: file and line of the node.
        register: gives a parameter object its public name.

    Raises:
        DeclarationError: not a sum of terms, or a term with two parameters or two random parents.
    """
    return [_record(term, slot, origin, register) for term in _Parser(slot, origin).sum(written)]


def is_expression(written: object) -> bool:
    """Whether something must be parsed: anything but one parameter, constant or covariate."""
    return isinstance(written, ex.Expression | ex.Node | ex.Prev)


def _record(term: _Term, slot: str, origin: str, register: Register) -> SlotRecord:
    if isinstance(term.base, ex.Param):
        if term.base.name is None:
            raise DeclarationError(
                f"slot '{slot}' holds an expression with a parameter that has no name",
                where=origin,
                advice='name it: pg.param("slope")',
            )
        name = register(term.base, slot)
        return SlotRecord("param", name, gates=term.gates, times=term.times)
    value = 1.0 if term.base is None else np.asarray(term.base.value, dtype=float).tolist()
    return SlotRecord("constant", value=value, gates=term.gates, times=term.times)


class _Parser:
    def __init__(self, slot: str, origin: str) -> None:
        self.slot, self.origin = slot, origin

    def fail(self, problem: str, **labels: Any) -> DeclarationError:
        return DeclarationError(f"slot '{self.slot}' {problem}", where=self.origin, **labels)

    def sum(self, thing: object) -> list[_Term]:
        """All terms of what was written."""
        if not isinstance(thing, ex.Expression):
            return [self.atom(thing)]
        left, right = thing.parts
        if thing.operator == "+":
            return self.sum(left) + self.sum(right)
        if thing.operator == "-":
            minus = _Term(times=TimesRecord(scale=-1.0))
            return self.sum(left) + [self.multiply(minus, term) for term in self.sum(right)]
        if thing.operator == "/":
            return [self.divide(term, self.single(right)) for term in self.sum(left)]
        contracts = thing.operator == "@"
        return [
            self.multiply(one, other, contracts=contracts)
            for one in self.sum(left)
            for other in self.sum(right)
        ]

    def single(self, thing: object) -> _Term:
        terms = self.sum(thing)
        if len(terms) > 1:
            raise self.fail(
                "divides by a sum", expected="one covariate, number or latent below the line"
            )
        return terms[0]

    def atom(self, thing: object) -> _Term:
        """A number, table, parameter, covariate or node."""
        if isinstance(thing, ex.Param):
            return _Term(thing)
        if isinstance(thing, ex.Indexed):
            return _Term(thing.base, thing.gates)
        if isinstance(thing, ex.Covariate):
            return _Term(times=TimesRecord(covariates=(thing.name,)))
        if isinstance(thing, ex.Node):
            return _Term(times=TimesRecord(parent=thing.name))
        if isinstance(thing, ex.Prev):
            return _Term(times=TimesRecord(parent=thing.name, lag=thing.lag))
        if isinstance(thing, ex.Structured):
            raise self.fail(
                f"multiplies or divides a {thing.kind} covariance as a whole",
                expected="the product inside",
                advice=f"pg.{thing.kind}(pg.param('psi') / u) for pg.{thing.kind}(...) / u",
            )
        table = thing if isinstance(thing, ex.Constant) else self.numbers(thing)
        if np.ndim(table.value) == 0:
            return _Term(times=TimesRecord(scale=float(table.value)))
        return _Term(table)

    def numbers(self, thing: object) -> ex.Constant:
        try:
            value = np.asarray(thing, dtype=float)
        except (TypeError, ValueError):
            value = np.array(np.nan)
        if not np.isfinite(value).all():
            raise self.fail(
                "holds something that cannot stand in an expression",
                expected="parameters, constants, covariates and nodes",
                received=f"'{thing!r:.120}'",
            )
        return ex.Constant(value, None, self.origin)

    def multiply(self, one: _Term, other: _Term, *, contracts: bool = False) -> _Term:
        """The product of two terms."""
        if one.base is not None and other.base is not None:
            params = [t.base.name for t in (one, other) if isinstance(t.base, ex.Param)]
            raise self.fail(
                "multiplies two parameters"
                if len(params) == 2
                else "multiplies a parameter or constant table by another constant table",
                expected="at most one parameter or table in a term: the mean must be linear in the "
                "parameters",
                received=" and ".join(map(repr, params)) or "two tables",
                advice="use one parameter for the product"
                if len(params) == 2
                else "multiply the tables beforehand",
            )
        if one.times.parent and other.times.parent:
            raise self.fail(
                "multiplies two nodes",
                expected="at most one latent or earlier node in a term",
                received=f"'{one.times.parent}' and '{other.times.parent}'",
                advice="let one of them be a covariate, or give the product a node of its own",
            )
        left, right = one.times, other.times
        times = TimesRecord(
            left.scale * right.scale,
            left.covariates + right.covariates,
            left.over + right.over,
            left.parent or right.parent,
            left.lag or right.lag,
            left.inverse or right.inverse,
            contracts or left.contracts or right.contracts,
        )
        holder = one if one.base is not None else other
        return _Term(holder.base, holder.gates, times)

    def divide(self, one: _Term, other: _Term) -> _Term:
        """A term over a number, covariates or a latent."""
        below = other.times
        if other.base is not None or below.over or below.inverse or below.scale == 0:
            raise self.fail(
                "divides by a parameter, a table or a fraction",
                expected="a covariate, number or latent below the line",
                advice="multiply by a parameter for the inverse",
            )
        if one.times.parent and below.parent:
            raise self.fail(
                "multiplies two nodes",
                expected="at most one latent in a term",
                received=f"'{one.times.parent}' and '{below.parent}'",
            )
        times = replace(
            one.times,
            scale=one.times.scale / below.scale,
            over=one.times.over + below.covariates,
            parent=one.times.parent or below.parent,
            lag=one.times.lag or below.lag,
            inverse=bool(below.parent) or one.times.inverse,
        )
        return replace(one, times=times)
