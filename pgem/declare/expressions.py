"""What may stand in a slot: parameters, constants, covariates, and what indexes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pgem.declare.origin import caller
from pgem.declare.records import Gate
from pgem.errors import DeclarationError


class Operand:
    """Anything that arithmetic may be written with; a sum or product becomes an `Expression`."""

    def __add__(self, other: object) -> Expression:
        return Expression("+", (self, other))

    def __sub__(self, other: object) -> Expression:
        return Expression("-", (self, other))

    def __mul__(self, other: object) -> Expression:
        return Expression("*", (self, other))

    def __matmul__(self, other: object) -> Expression:
        return Expression("@", (self, other))

    def __truediv__(self, other: object) -> Expression:
        return Expression("/", (self, other))

    def __rsub__(self, other: object) -> Expression:
        return Expression("-", (other, self))

    def __rmatmul__(self, other: object) -> Expression:
        return Expression("@", (other, self))

    def __rtruediv__(self, other: object) -> Expression:
        return Expression("/", (other, self))

    def __neg__(self) -> Expression:
        return Expression("*", (-1.0, self))

    __radd__ = __add__
    __rmul__ = __mul__
    __array_ufunc__ = None  # arrays leave arithmetic with an operand to the operand


@dataclass(frozen=True, eq=False)
class Expression(Operand):
    """An arithmetic expression, kept as written."""

    operator: str
    parts: tuple[object, ...]
    origin: str = field(default_factory=caller)


@dataclass(frozen=True, eq=False)
class Indexed(Operand):
    """A parameter or constant with its gates; a constant of integers is itself a gate."""

    base: Param | Constant
    gates: tuple[Gate, ...]


class _Indexable(Operand):
    def __getitem__(self, gates: object) -> Indexed:
        listed = gates if isinstance(gates, tuple) else (gates,)
        found = tuple(to_gate(gate) for gate in listed)
        for gate in found:
            if found.count(gate) > 1:
                raise DeclarationError(
                    f"'{self._title()}' is indexed by '{gate}' twice",
                    where=caller(),
                    advice="leave the second one out",
                )
        return Indexed(self, found)  # type: ignore[arg-type]

    def _title(self) -> str:
        return getattr(self, "name", None) or type(self).__name__.lower()

    def __iter__(self) -> Any:
        raise DeclarationError(
            f"'{self._title()}' is indexed by gates, it cannot be iterated over",
            where=caller(),
            advice="write one pg.param(...) or pg.constant(...) for each",
        )


@dataclass(frozen=True, eq=False)
class Param(_Indexable):
    """A parameter to be learned (see `param`)."""

    name: str | None = None
    prior: Any = None
    fixed: Any = False
    value: Any = None
    zeros: Any = None
    origin: str = field(default_factory=caller)
    lower: Any = None


@dataclass(frozen=True, eq=False)
class Constant(_Indexable):
    """A known table (see `constant`)."""

    value: Any
    size: int | None = None
    origin: str = field(default_factory=caller)


@dataclass(frozen=True, eq=False)
class Node(Operand):
    """The handle of a declared node; `discrete` nodes may index parameters."""

    name: str
    scope: str
    discrete: bool
    size: int | None
    origin: str


@dataclass(frozen=True)
class Prev(Operand):
    """A node some steps earlier (see `prev`)."""

    name: str
    lag: int


@dataclass(frozen=True, eq=False)
class Covariate(Operand):
    """The handle of a covariate."""

    name: str
    scope: str
    size: int | None
    origin: str


@dataclass(frozen=True, eq=False)
class Structured:
    """A covariance of reduced structure around a parameter, a value or nothing."""

    kind: str
    inside: Any = None


@dataclass(frozen=True, eq=False)
class Switch:
    """A family picked by a gate (see `switch`)."""

    gate: Gate
    families: tuple[Any, ...]


@dataclass(eq=False)
class Scope:
    """A plate, sequence or tree; opened by `with`, and a gate if it has a size."""

    name: str
    kind: str
    size: int | None
    model: Any
    origin: str

    def __enter__(self) -> Scope:
        self.model.open_scope(self)
        return self

    def __exit__(self, *problem: object) -> None:
        self.model.close_scope(self)


def to_gate(thing: object) -> Gate:
    """The gate that a user's object stands for."""
    if isinstance(thing, Node):
        if not thing.discrete:
            raise DeclarationError(
                f"node '{thing.name}' is continuous or unbounded and cannot index a parameter",
                where=thing.origin,
                expected="a gate: a node with finitely many values, a sized plate, or a covariate "
                "with size=",
                advice="gate by a Categorical or Bernoulli node",
            )
        return Gate("node", thing.name, size=thing.size)
    if isinstance(thing, Prev):
        return Gate("node", thing.name, lag=thing.lag)
    if isinstance(thing, Covariate):
        return Gate("covariate", thing.name, size=thing.size)
    if isinstance(thing, Scope):
        return _scope_gate(thing)
    if isinstance(thing, Indexed) and isinstance(thing.base, Constant):
        return _constant_gate(thing)
    raise DeclarationError(
        f"'{thing!r}' cannot index a parameter",
        where=caller(),
        expected="a discrete node, pg.prev(...), a plate with a size, a discrete covariate or an "
        "indexed integer constant",
        received=f"'{type(thing).__name__}'",
    )


def _scope_gate(scope: Scope) -> Gate:
    if scope.kind != "plate" or scope.size is None:
        raise DeclarationError(
            f"{scope.kind} '{scope.name}' cannot index a parameter: its length differs by unit",
            where=scope.origin,
            advice=f"give the plate a size: pg.plate('{scope.name}', size=...)",
        )
    return Gate("plate", scope.name, size=scope.size)


def _constant_gate(thing: Indexed) -> Gate:
    table = np.asarray(thing.base.value)
    if table.dtype.kind not in "iu" or (table < 0).any() or table.ndim != len(thing.gates):
        raise DeclarationError(
            "a constant that indexes must hold one integer, zero or above, per combination of its "
            "gates",
            where=thing.base.origin,
            expected=f"a {len(thing.gates)}-dimensional table of integers",
            received=f"shape '{table.shape}' of '{table.dtype}'",
        )
    size = thing.base.size if isinstance(thing.base, Constant) else None
    size = int(table.max()) + 1 if size is None else size
    return Gate("constant", table=nested(table), gates=thing.gates, size=size)


def nested(table: Any) -> Any:
    """An array as nested tuples, so that records stay hashable."""
    plain = np.asarray(table).tolist()
    return _tuples(plain)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
