"""What stands behind `prior=`: a family whose slots hold numbers, or other parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pgem.declare import expressions as ex
from pgem.declare.records import LinkRecord, PriorRecord
from pgem.declare.written import check_family, plain_table, qualified
from pgem.errors import DeclarationError
from pgem.families import Slot


def prior_record(prior: Any, name: str, origin: str, name_of: Callable[[ex.Param], str]) -> Any:
    """A prior with what stands in its slots.

    Args:
        prior: what the user wrote.
        name: the parameter.
        origin: where it was written.
        name_of: the public name of a parameter object.

    Raises:
        DeclarationError: not a family instance, or a slot that holds neither numbers nor a
            parameter times a number.
    """
    what = f"the prior of parameter '{name}'"
    check_family(prior, what, origin)
    record = PriorRecord(
        qualified(type(prior)),
        settings={k: v for k, v in prior.settings.items() if v is not None and k != "size"},
    )
    for slot in prior.slots:
        written = prior.arguments.get(slot.name)
        title = f"slot '{slot.name}' of {what}"
        if isinstance(written, ex.Structured):
            record.structures[slot.name] = _structure(written, slot, title, origin)
            written = written.inside
        if isinstance(written, ex.Param | ex.Expression | ex.Indexed):
            param, factor = _times(written, title, origin)
            factor = plain_table(factor, f"the factor in {title}", origin)
            record.links[slot.name] = LinkRecord(name_of(param), factor)
        else:
            record.slots[slot.name] = _values(written, title, origin)
    return record


def _structure(written: ex.Structured, slot: Slot, title: str, origin: str) -> str:
    if slot.axes != "dd":
        raise DeclarationError(f"{title} is no matrix and cannot be {written.kind}", where=origin)
    return written.kind


def _values(written: Any, title: str, origin: str) -> Any:
    if written is None or (
        isinstance(written, ex.Operand) and not isinstance(written, ex.Constant)
    ):
        raise DeclarationError(
            f"{title} needs a value",
            where=origin,
            expected="numbers, broadcast over the parameter's gates, or a parameter with the same "
            "gates",
            received=f"'{written!r}'",
        )
    return plain_table(written, title, origin)


def _times(written: Any, title: str, origin: str) -> tuple[ex.Param, Any]:
    """A parameter, and what it is multiplied by: `var`, `2 * var`, `var / 0.01`."""
    if isinstance(written, ex.Param):
        return written, 1.0
    if isinstance(written, ex.Expression) and written.operator in ("*", "/"):
        first, second = written.parts
        if written.operator == "*" and _is_number(first):
            first, second = second, first
        if not isinstance(first, ex.Indexed) and not _is_number(first) and _is_number(second):
            param, factor = _times(first, title, origin)
            number = np.asarray(second.value if isinstance(second, ex.Constant) else second)
            with np.errstate(divide="ignore", invalid="ignore"):
                return param, factor * number if written.operator == "*" else factor / number
    raise DeclarationError(
        f"{title} holds an expression that is not a parameter times a number",
        where=origin,
        expected="for example var / 0.01, without gates: they are those of the parameter that has "
        "the prior",
        received=f"'{type(written).__name__}'",
    )


def _is_number(thing: object) -> bool:
    return isinstance(thing, ex.Constant) or not isinstance(thing, ex.Operand)
