"""What the user writes in one line, checked by itself: families, sizes, labels, settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pgem.declare import expressions as ex
from pgem.declare.records import Gate, ParamRecord
from pgem.errors import DeclarationError
from pgem.families import Family


def listed(thing: Any) -> list[Any]:
    """One thing or several as a list; nothing as an empty one."""
    if thing is None:
        return []
    return list(thing) if isinstance(thing, list | tuple) else [thing]


def check_distinct(gates: tuple[Gate, ...] | list[Gate], what: str, origin: str) -> None:
    """No gate indexes the same thing twice."""
    for gate in gates:
        if list(gates).count(gate) > 1:
            raise DeclarationError(
                f"{what} is gated by '{gate}' twice",
                where=origin,
                advice="leave the second one out: it would only add entries that no data reach",
            )


def check_size(size: object, what: str, origin: str) -> None:
    """A number of values or members, if given, is a whole number of at least 1."""
    whole = isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 1
    if size is not None and not whole:
        raise DeclarationError(
            f"{what} has an impossible size",
            where=origin,
            expected="a whole number of at least 1, or nothing",
            received=f"'{size}'",
        )


def check_levels(levels: Any, size: int | None, what: str, origin: str) -> None:
    """Labels, if given, are a list of different ones, as many as the size."""
    if levels is None:
        return
    plain = isinstance(levels, list | tuple | np.ndarray) and np.ndim(levels) == 1
    if not plain or not len(levels):
        raise DeclarationError(
            f"{what} has levels that are no list of labels",
            where=origin,
            expected="for example levels=['low', 'high']",
            received=f"'{levels!r}'",
        )
    if len(set(levels)) < len(levels):
        raise DeclarationError(
            f"{what} has levels= that repeat a label",
            where=origin,
            received=f"{list(levels)!r}",
        )
    if size not in (None, len(levels)):
        raise DeclarationError(
            f"{what} has a size that is not the number of its levels",
            where=origin,
            expected=f"'{len(levels)}'",
            received=f"'{size}'",
        )


def check_family(family: object, what: str, origin: str) -> None:
    """An instance of a family, with a size and labels that make sense."""
    if not isinstance(family, Family):
        raise DeclarationError(
            f"{what} needs {'an instance of the' if isinstance(family, type) else 'a'} family",
            where=origin,
            expected="for example pg.Normal() or pg.Categorical(size=3)",
            received=f"'{family!r}'",
        )
    size, levels = family.settings.get("size"), family.settings.get("levels")
    of = f"{type(family).__name__} of {what}"
    check_size(size, of, origin)
    check_levels(levels, size, of, origin)


def check_alike(families: Sequence[Family], what: str, origin: str) -> None:
    """Components of a switch are all matrices, or none is."""
    axes = [family.event_ndim for family in families]
    if max(axes) > 1 and min(axes) < max(axes):
        raise DeclarationError(
            f"{what} has components that are matrices and components that are none",
            where=origin,
            expected="families of values with equally many axes",
            received=", ".join(f"'{type(family).__name__}'" for family in families),
        )


def discrete_size(family: Family) -> int | None:
    """The number of categories, where the family's settings tell."""
    domain = family.settled(family.size, {}).domain()
    if domain is not None:
        return len(domain)
    levels = family.settings.get("levels")
    return len(levels) if levels is not None else None


def qualified(family: type[Family]) -> str:
    """The name that a family is stored under: short for the shelf, qualified for users'."""
    on_shelf = family.__module__.startswith("pgem.families.")
    return family.__name__ if on_shelf else f"{family.__module__}.{family.__qualname__}"


def param_record(param: ex.Param, name: str) -> ParamRecord:
    """A parameter with its settings as plain lists, without its prior.

    Raises:
        DeclarationError: fixed entries without values, or tables that are no tables of numbers.
    """
    fixed = plain_table(param.fixed, f"fixed= of parameter '{name}'", param.origin)
    if fixed is not False and param.value is None:
        raise DeclarationError(
            f"parameter '{name}' is fixed, but has no value",
            where=param.origin,
            advice="give value=",
        )
    tables = {
        setting: plain_table(given, f"{setting}= of parameter '{name}'", param.origin)
        for setting, given in (
            ("value", param.value),
            ("zeros", param.zeros),
            ("lower", param.lower),
        )
    }
    return ParamRecord(name, fixed, **tables, origin=param.origin)


def plain_table(value: Any, what: str, origin: str) -> Any:
    """A number or table as nested lists; nothing and truth values stay.

    Raises:
        DeclarationError: something else, or numbers that are not finite.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, ex.Constant):
        value = value.value
    try:
        table = np.asarray(value)
        finite = table.dtype.kind in "fiub" and bool(np.isfinite(table).all())
    except (TypeError, ValueError):
        finite = False
    if not finite:
        raise DeclarationError(
            f"{what} is no table of finite numbers", where=origin, received=f"'{value!r:.120}'"
        )
    return table.tolist()
