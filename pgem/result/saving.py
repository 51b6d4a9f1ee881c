"""A fit in a file: JSON that a person can read, whose numbers come back bit by bit.

The file holds the declaration, the parameters, how the run ended, and the facts about the data
that later questions need; never the data, and never code.  A decimal number is written with the
shortest digits that round to it, so that reading gives the same float.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pgem.arrays import Floats
from pgem.declare import ModelRecord
from pgem.declare.spec import record_from_plain, record_to_plain
from pgem.errors import DataError, PgemError
from pgem.families import Family
from pgem.graph import Schema
from pgem.learn import Verdict, check_value
from pgem.learn.verdict import STATUSES
from pgem.plan import Program
from pgem.result.facts import DataFacts
from pgem.run import to_parents

if TYPE_CHECKING:
    from pgem.result.fit import Fit

FORMAT = "pgem fit"
VERSION = 1
"""The version of the files that this release writes, and the newest that it reads."""


@dataclass(frozen=True, eq=False)
class Saved:
    """A file that was read: the parts of a fit before its model is compiled again.

    Attributes:
        path: where it came from.
        record: the declaration.
        schema: what the data told the compiler.
        content: everything else, as in the file.
    """

    path: Path
    record: ModelRecord
    schema: Schema
    content: Mapping[str, Any]

    @property
    def posterior(self) -> str:
        """Whether the latents were soft or hard."""
        return str(self.content.get("posterior", "soft"))


# --- writing ------------------------------------------------------------------------------------


def save(fit: Fit, path: str | Path) -> None:
    """Write a fit (see `Fit.save`)."""
    text = _pretty(_content(fit)) + "\n"
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}")  # never half a file in its place
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    except OSError as problem:
        raise DataError(f"'{target}' cannot be written: {problem.strerror}") from None


def _content(fit: Fit) -> dict[str, Any]:
    schema, facts, icl = fit.program.schema, fit.facts, fit.icl
    return {
        "format": FORMAT,
        "version": VERSION,
        "verdict": {
            "status": str(fit.verdict),
            "detail": fit.verdict.detail,
            "notes": list(fit.verdict.notes),
        },
        "criteria": {
            "log_likelihood": _number(fit.log_likelihood),
            "objective": _number(fit.objective),
            "icl": _number(icl),
            "n_observations": _number(facts.n_observations),
        },
        "posterior": fit.posterior_kind,
        "params": {name: _numbers(value) for name, value in fit.params.items()},
        "trace": _numbers(fit.trace),
        "data": {
            "n_units": facts.n_units,
            "levels": {name: [_label(v, name) for v in labels]
                       for name, labels in facts.levels.items()},
            "styles": facts.styles,
            "counts": {name: counts.tolist() for name, counts in facts.counts.items()},
            "totals": {name: _numbers(totals) for name, totals in facts.totals.items()},
            "parents": {name: rows.tolist() for name, rows in facts.parents.items()},
        },
        "schema": {
            "sizes": {name: int(size) for name, size in schema.sizes.items()},
            "vectors": {name: int(size) for name, size in schema.vectors.items()},
            **{kind: sorted(getattr(schema, kind)) for kind in ("axes", "evidence", "given")},
        },
        "model": record_to_plain(fit.record),
    }  # fmt: skip


def _number(value: float) -> float | str:
    """A float; JSON has no infinities and no nan, so these are texts."""
    return float(value) if np.isfinite(value) else str(float(value))


def _numbers(values: Any) -> Any:
    values = np.asarray(values, dtype=float)
    if values.ndim == 0:
        return _number(float(values))
    return values.tolist() if np.isfinite(values).all() else [_numbers(v) for v in values]


def _label(value: Any, name: str) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str | bool | int | float) and value not in (np.inf, -np.inf):
        return value
    raise DataError(
        f"node '{name}' has label '{value!r}', which a file cannot hold",
        expected="texts or finite numbers",
        received=f"'{type(value).__name__}'",
        advice="convert the labels to texts before fitting",
    )


def _pretty(value: Any, indent: str = "") -> str:
    """JSON with one line per entry of a mapping, and arrays on one line."""
    deeper = indent + "  "
    if isinstance(value, dict) and value and indent.count("  ") < 2:
        parts = [f"{deeper}{json.dumps(name)}: {_pretty(part, deeper)}"
                 for name, part in value.items()]  # fmt: skip
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        parts = [deeper + json.dumps(part, allow_nan=False, ensure_ascii=False) for part in value]
        return "[\n" + ",\n".join(parts) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


# --- reading ------------------------------------------------------------------------------------


def read(path: str | Path) -> Saved:
    """Read and check a file.

    Raises:
        DataError: the file is missing, truncated, corrupt or foreign, naming it and the problem.
    """
    target = Path(path)
    content = _parse(target)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _broken(target, "it is no file that Fit.save wrote")
    if content.get("version") != VERSION:
        raise _broken(
            target,
            f"it has version '{content.get('version')}', and this release reads '{VERSION}'",
            "install the release of pgem that wrote it",
        )
    try:
        record = record_from_plain(content.get("model"))
        return Saved(target, record, _schema(content), content)
    except (PgemError, *_MISFITS) as problem:
        raise _broken(target, _short(problem)) from None


def restore(saved: Saved, fit: Fit) -> Fit:
    """Fill a fit whose model was compiled again with what the file holds.

    Raises:
        DataError: something does not fit the declaration.
    """
    content = saved.content
    try:
        fit.params = _params(content["params"], fit.program)
        fit.trace = np.array([float(value) for value in content["trace"]])
        fit.verdict = _verdict(content["verdict"])
        criteria = {name: float(value) for name, value in content["criteria"].items()}
        fit.log_likelihood, fit.objective = criteria["log_likelihood"], criteria["objective"]
        fit.icl = criteria["icl"]
        fit.facts = _facts(content["data"], criteria["n_observations"], fit.program)
    except (PgemError, *_MISFITS) as problem:
        raise _broken(saved.path, _short(problem)) from None
    return fit


def unusable(saved: Saved, problem: PgemError) -> DataError:
    """The error of a file whose declaration cannot be built here, such as for want of a family."""
    return _broken(saved.path, problem.what, problem.advice or "")


_MISFITS = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


def _parse(target: Path) -> Any:
    try:
        return json.loads(target.read_bytes().decode("utf-8"))
    except OSError as problem:
        raise DataError(
            f"'{target}' cannot be read: {problem.strerror}", expected="a file that Fit.save wrote"
        ) from None
    except (ValueError, RecursionError) as problem:
        raise _broken(target, f"it is no JSON, or only the beginning of it ({problem})") from None


def _broken(path: Path, problem: str, advice: str = "") -> DataError:
    return DataError(
        f"'{path}' cannot be loaded: {problem}",
        advice=advice or "save the fit again, or load another file",
    )


def _short(problem: Exception) -> str:
    if isinstance(problem, KeyError):
        return f"{problem} is missing"
    return str(problem).replace("\n", ";")


def _schema(content: Mapping[str, Any]) -> Schema:
    plain = content["schema"]
    sizes, vectors = ({str(n): _size(k) for n, k in plain[part].items()}
                      for part in ("sizes", "vectors"))  # fmt: skip
    axes, evidence, given = (frozenset(str(name) for name in plain[part])
                             for part in ("axes", "evidence", "given"))  # fmt: skip
    return Schema(sizes, vectors, axes, evidence, given)


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"'{value}' is no size")
    return value


def _params(plain: Mapping[str, Any], program: Program) -> dict[str, Floats]:
    if set(plain) != set(program.params):
        odd = sorted(set(plain) ^ set(program.params))
        raise ValueError(f"its parameters are not those of its declaration: '{odd[0]}'")
    found = {}
    for name, layout in program.params.items():
        value = np.asarray(plain[name], dtype=float)
        if value.size == 0:
            value = value.reshape(layout.shape)
        found[name] = check_value(name, value, layout)
    return found


def _verdict(plain: Mapping[str, Any]) -> Verdict:
    if plain["status"] not in STATUSES:
        raise ValueError(f"'{plain['status']}' is no verdict")
    return Verdict(plain["status"], str(plain["detail"]), tuple(map(str, plain["notes"])))


def _facts(plain: Mapping[str, Any], n_observations: float, program: Program) -> DataFacts:
    counts = {name: np.asarray(plain["counts"][name], dtype=np.int64)
              for name in program.outline.scopes}  # fmt: skip
    facts = DataFacts(
        _size(plain["n_units"]),
        n_observations,
        {str(name): tuple(labels) for name, labels in plain["levels"].items()},
        counts,
        {str(name): str(style) for name, style in plain["styles"].items()},
        {str(name): np.asarray(row, dtype=float) for name, row in plain["totals"].items()},
        {name: np.asarray(plain["parents"][name]) for name in program.outline.parent_keys.values()},
    )
    for name, scope in program.outline.scopes.items():
        if counts[name].shape != (facts.n_rows(scope.parent),) or (counts[name] < 0).any():
            raise ValueError(f"the lengths of '{name}' do not fit")
    for name, rows in facts.parents.items():
        starts = np.concatenate([[0], np.cumsum(counts[name])])
        if rows.shape != (starts[-1],):
            raise ValueError(f"the parents of '{name}' do not fit")
        to_parents(rows, program.outline.scopes[name], starts, lambda row: f"row '{row}'")
    return facts


def check_families(families: Iterable[Any]) -> list[type[Family]]:
    """The user's own families, as a list of classes.

    Raises:
        DataError: something else than family classes.
    """
    listed: list[Any] = [families] if isinstance(families, type) else list(families)
    for family in listed:
        if not (isinstance(family, type) and issubclass(family, Family)):
            raise DataError("families= holds something that is no family",
                            expected="classes derived from pg.Family",
                            received=f"'{family!r}'")  # fmt: skip
    return listed
