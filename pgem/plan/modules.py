"""The source of one module, taken apart into definitions and imports."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module

from pgem.errors import PgemError

PACKAGE = "pgem"

Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass(eq=False)
class Module:
    """The source of one module, taken apart.

    Attributes:
        name: dotted name.
        text: its source.
    """

    name: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """Source lines."""
        return self.text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def definitions(self) -> dict[str, Definition]:
        """What the module defines itself."""
        found: dict[str, Definition] = {}
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found[node.name] = node
            elif isinstance(node, ast.Assign):
                found |= {t.id: node for t in node.targets if isinstance(t, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = node
        return found

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Local name → (module, name in it), or (module, "") for a module itself."""
        found: dict[str, tuple[str, str]] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Import):
                found |= {alias.asname or alias.name: (alias.name, "") for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {a.asname or a.name: (node.module or "", a.name) for a in node.names}
        return found

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (ast.get_docstring(self.tree) or "").partition("\n")[0]


def read_module(name: str) -> Module:
    """A module's source; that of the package does not change and is kept.

    Raises:
        PgemError: the module has no file.
    """
    return _kept(name) if name.split(".")[0] == PACKAGE else _read(name)


def _read(name: str) -> Module:
    try:
        return Module(name, inspect.getsource(import_module(name)))
    except (OSError, TypeError):
        raise PgemError(
            f"the source of module '{name}' cannot be read",
            advice="define families in a file, so that a script can contain them",
        ) from None


_kept = cache(_read)


def compiled_branches(tree: ast.AST) -> list[ast.If]:
    """The branches whose body begins with an import inside the package: compiled twins."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.If) and _is_compiled(node)]


def _is_compiled(branch: ast.If) -> bool:
    first = branch.body[0]
    return isinstance(first, ast.ImportFrom) and (first.module or "").split(".")[0] == PACKAGE


def inner_imports(tree: ast.AST, skipped: frozenset[ast.AST]) -> list[ast.ImportFrom]:
    """Imports inside the package that are left in a definition."""
    found: list[ast.ImportFrom] = []
    todo = [tree]
    while todo:
        node = todo.pop()
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            found.append(node)
        todo += ast.iter_child_nodes(node)
    return found
