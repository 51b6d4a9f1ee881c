"""The declaration as JSON, and back: what is read is checked as strictly as what is written.

Records are validated by pydantic (imported on first use).  Then every name, number and reference
is checked again, since names and tables are printed into the generated source, and a text may
come from anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pgem.declare.checks import check_record
from pgem.declare.model import Declaration
from pgem.declare.records import UNIT, Gate, ModelRecord
from pgem.declare.references import check_gates, check_lags
from pgem.declare.written import qualified
from pgem.errors import DeclarationError
from pgem.families import Family

if TYPE_CHECKING:
    import pydantic

D = TypeVar("D", bound=Declaration)
VERSION = 1
"""The version of the records that this release reads and writes."""


def record_to_plain(record: ModelRecord) -> dict[str, Any]:
    """A record as dictionaries, lists and numbers.

    Raises:
        DeclarationError: a setting, such as a label, has a type that JSON does not know.
    """
    found: dict[str, Any] = _plain(record, "the declaration")
    return found


def record_from_plain(plain: Any) -> ModelRecord:
    """The inverse of `record_to_plain`, types checked.

    Raises:
        DeclarationError: a field is missing, unknown or of the wrong type.
    """
    return record_from_json(json.dumps(plain))


def record_from_json(text: str) -> ModelRecord:
    """Parse and type-check a record.

    Raises:
        DeclarationError: no JSON, or fields that are missing, unknown or of the wrong type.
    """
    import pydantic

    try:
        given = json.loads(text)
        record: ModelRecord = _adapter().validate_json(text, strict=True)
    except pydantic.ValidationError as problem:
        raise _misfit(problem) from None
    except (ValueError, TypeError, RecursionError) as problem:
        raise DeclarationError(
            "the text is no declaration", expected="JSON as Model.to_json() writes it",
            received=str(problem)[:200],
        ) from None  # fmt: skip
    if record.version != VERSION:
        raise DeclarationError(
            "the declaration was written by another version of pgem",
            expected=f"format version '{VERSION}'",
            received=f"'{record.version}'",
        )
    _check_fields(given, record, "declaration")
    tupled: ModelRecord = _tupled(record)
    return tupled


def restore(declaration: D, record: ModelRecord, families: Iterable[type[Family]] = ()) -> D:
    """Fill an empty declaration from a record, with all checks of a written one.

    Args:
        declaration: a new declaration.
        record: what it declares.
        families: the user's own families that the record names; they are never imported.

    Raises:
        DeclarationError: a name, number, family or reference does not fit.
    """
    found = find_families(record, families)
    check_record(record, found)
    declaration.name = record.name
    declaration.families.update(found)
    for scope in record.scopes:
        if scope.name != UNIT:
            declaration.claim(scope.name, scope.kind, scope.origin)
        declaration._scopes[scope.name] = scope
    for covariate in record.covariates:
        declaration.claim(covariate.name, "covariate", covariate.origin)
        declaration._covariates[covariate.name] = covariate
    for param in record.params:
        if "." not in param.name:
            declaration.claim(param.name, "parameter", param.origin)
        declaration._params[param.name] = param
    for node in record.nodes:
        declaration.claim(node.name, "node", node.origin)
        declaration._nodes[node.name] = node
        family = found[node.leaf.family]
        if node.switch is None and family.domain is not Family.domain:
            declaration._discrete[node.name] = node.leaf.settings.get("size")
    for node in record.nodes:
        check_gates(node, declaration._nodes, declaration._scopes, declaration._covariates)
    check_lags(declaration._nodes, declaration._scopes, declaration._discrete)
    return declaration


def find_families(record: ModelRecord, families: Iterable[type[Family]]) -> dict[str, type[Family]]:
    """The families that a record names: from the shelf, or among those passed.

    Raises:
        DeclarationError: a family is not known here.
    """
    from pgem import families as shelf

    own = {qualified(family): family for family in families}
    wanted = [
        (leaf.family, f"node '{node.name}'", node.origin)
        for node in record.nodes
        for leaf in node.leaves
    ]
    wanted += [
        (param.prior.family, f"the prior of parameter '{param.name}'", param.origin)
        for param in record.params
        if param.prior is not None
    ]
    found: dict[str, type[Family]] = {}
    for name, what, origin in wanted:
        kind = own.get(name)
        if kind is None and name in shelf.__all__:
            kind = getattr(shelf, name)
        if not (isinstance(kind, type) and issubclass(kind, Family)) or kind is Family:
            raise DeclarationError(
                f"{what} has family '{name}', which is not known here",
                where=origin,
                expected=", ".join([*_shelf_names(), *own]),
                advice="a family of your own is never imported from a text: pass it with "
                f"families=[{name.rpartition('.')[2]}]",
            )
        found[name] = kind
    return found


def _shelf_names() -> list[str]:
    from pgem import families as shelf

    things = {name: getattr(shelf, name) for name in shelf.__all__}
    return [n for n, t in things.items() if isinstance(t, type) and issubclass(t, Family)
            and t is not Family]  # fmt: skip


# --- reading ------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _adapter() -> pydantic.TypeAdapter[ModelRecord]:
    import pydantic

    return pydantic.TypeAdapter(ModelRecord)


def _misfit(problem: pydantic.ValidationError) -> DeclarationError:
    first = problem.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole text"
    return DeclarationError(
        f"the declaration does not fit at '{place}': {first['msg']}",
        received=f"'{first['input']!r:.120}'",
        advice="write declarations with Model.to_json()",
    )


def _check_fields(given: Any, record: Any, place: str) -> None:
    """No field that the records do not have: a misspelt one would be lost silently."""
    if is_dataclass(record) and isinstance(given, dict):
        known = {field.name for field in fields(record)}
        for name in given:
            if name not in known:
                raise DeclarationError(
                    f"'{place}' has a field '{name}', which is not known",
                    expected=", ".join(sorted(known)),
                )
            _check_fields(given[name], getattr(record, name), f"{place}.{name}")
    elif isinstance(given, dict) and isinstance(record, dict):
        for name in given:
            _check_fields(given[name], record[name], f"{place}.{name}")
    elif isinstance(given, list) and isinstance(record, tuple | list):
        for k, (one, other) in enumerate(zip(given, record, strict=True)):
            _check_fields(one, other, f"{place}.{k}")


def _tupled(record: Any) -> Any:
    """Records whose gates hold nested tuples again, so that they are equal and hashable."""
    from dataclasses import replace

    if isinstance(record, Gate):
        return replace(record, table=_tuples(record.table), gates=_tupled(record.gates))
    if is_dataclass(record) and not isinstance(record, type):
        return replace(record, **{f.name: _tupled(getattr(record, f.name)) for f in fields(record)})
    if isinstance(record, tuple):
        return tuple(_tupled(part) for part in record)
    if isinstance(record, dict):
        return {name: _tupled(part) for name, part in record.items()}
    return record


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value


# --- writing ------------------------------------------------------------------------------------


def _plain(value: Any, place: str) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        name = getattr(value, "name", "")
        place = f"'{name}'" if name else place
        return {f.name: _plain(getattr(value, f.name), place) for f in fields(value)}
    if isinstance(value, dict):
        return {str(name): _plain(part, place) for name, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(part, place) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise DeclarationError(
        f"{place} holds '{value!r}', which JSON cannot hold",
        expected="numbers, texts and lists of them",
        received=f"'{type(value).__name__}'",
        advice="use texts or whole numbers as levels",
    )
