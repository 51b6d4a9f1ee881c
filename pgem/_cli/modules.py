"""Model files: a Python module that declares a model and may bring its data."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pgem import Model
from pgem._cli.tables import BadFile, pick_nodes, read_columns
from pgem.errors import PgemError
from pgem.plan import Program


@dataclass(frozen=True)
class ModelFile:
    """A loaded file.

    Attributes:
        path: where it was read.
        module: what it defines.
        model: its model.
    """

    path: Path
    module: ModuleType
    model: Model

    @property
    def options(self) -> dict[str, Any]:
        """Its keyword arguments for `fit`."""
        return dict(getattr(self.module, "options", {}))

    @property
    def brings_data(self) -> bool:
        """Whether it defines `data()`."""
        return callable(getattr(self.module, "data", None))

    def read(self, table: Path | None) -> tuple[Any, Any]:
        """Data and weights: of the CSV file if there is one, else those of the module.

        A module that defines `data(path)` (and `weights(path)`) reads the file itself; one that
        defines `read(columns)` turns columns into data; otherwise a column is a node, and
        `columns = {"x": ["a", "b"]}` makes a vector.

        Raises:
            BadFile: the file cannot be read, or there are no data.
        """
        if table is not None and not table.is_file():
            raise BadFile(f"there is no data file '{table}'")
        if self.brings_data:
            return self._call("data", table), self._call("weights", table)
        if table is None:
            raise BadFile(f"'{self.path}' defines no data(); name a table with --data FILE.csv")
        columns = read_columns(table)
        if callable(getattr(self.module, "read", None)):
            return _run(lambda: self.module.read(columns), self.path, "read(columns)"), None
        record = self.model.record
        names = [n.name for n in record.nodes] + [c.name for c in record.covariates]
        names += [f"{scope.name}.parent" for scope in record.scopes if scope.kind == "tree"]
        return pick_nodes(columns, names, getattr(self.module, "columns", {})), None

    def compile(self) -> Program:
        """The program for the module's own data, or for data without holes."""
        return self.model.compile(self.read(None)[0]) if self.brings_data else self.model.compile()

    def _call(self, name: str, table: Path | None) -> Any:
        """Call `data` or `weights`, with the path if there is one."""
        function = getattr(self.module, name, None)
        if not callable(function):
            return None
        if table is None:
            return _run(function, self.path, f"{name}()")
        if not inspect.signature(function).parameters:
            raise BadFile(f"{name}() of '{self.path}' takes no path, so '{table}' cannot be read")
        try:
            return _run(lambda: function(table), self.path, f"{name}('{table}')")
        except BadFile as problem:
            if not isinstance(problem.__cause__, KeyError):
                raise
            columns = ", ".join(read_columns(table))
            raise BadFile(
                f"'{table}' has no column {problem.__cause__}, which {name}() of '{self.path}' "
                f"reads; its columns are '{columns}'"
            ) from problem


def load_model(path: Path) -> ModelFile:
    """Run a model file and find its model.

    Raises:
        BadFile: no such file, the file raises, or it does not define one model.
    """
    if not path.is_file():
        raise BadFile(f"there is no model file '{path}'")
    if path.suffix != ".py":
        raise BadFile(f"a model file is Python and ends with .py, got '{path}'")
    module = _import(path)
    model = getattr(module, "model", None)
    if isinstance(model, Model):
        return ModelFile(path, module, model)
    found = {id(v): (n, v) for n, v in vars(module).items() if isinstance(v, Model)}
    if not found:
        raise BadFile(
            f"'{path}' defines no model: it needs `with pg.Model(\"name\") as model:` at the top "
            "level"
        )
    if len(found) > 1:
        names = ", ".join(name for name, _ in found.values())
        raise BadFile(f"'{path}' defines several models ('{names}'): call one of them `model`")
    return ModelFile(path, module, next(iter(found.values()))[1])


def _import(path: Path) -> ModuleType:
    name = f"pgem_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        _run(lambda: loader.exec_module(module), path, "the file")
    finally:
        sys.path.pop(0)
    return module


def _run(action: Callable[[], Any], path: Path, what: str) -> Any:
    """Run code of a model file; whatever it raises becomes one sentence with its line."""
    try:
        return action()
    except PgemError as problem:
        raise BadFile(f"{what} of '{path}' raised:\n{problem}") from problem
    except (Exception, SystemExit) as problem:
        line = _line(problem, path)
        at = f", line {line}" if line else ""
        text = f"{type(problem).__name__}: {problem}"
        raise BadFile(f"{what} of '{path}' raised (in '{path.name}'{at}):\n{text}") from problem


def _line(problem: BaseException, path: Path) -> int | None:
    """The last line of the file that took part in an error."""
    if isinstance(problem, SyntaxError):
        return problem.lineno
    frames = traceback.extract_tb(problem.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
    return lines[-1] if lines else None
