"""Bundling: definitions and all that they need, copied from their modules into one text.

From every module only what is used is taken: functions, constants, classes, and of a class the
methods whose names occur anywhere in the text.  Imports inside the package disappear, names that
clash are prefixed with their module, and a branch that begins with an import inside the package
(a compiled twin of a routine) is replaced by its `else`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from importlib.util import find_spec

from pgem.errors import PgemError
from pgem.plan.copying import Copy
from pgem.plan.modules import PACKAGE, Module, compiled_branches, inner_imports, read_module
from pgem.plan.scopes import attributes_of, global_uses

ALLOWED = {"numpy", "scipy"}
"""Packages that a bundle may import, besides the standard library."""

Target = tuple[str, str]
"""A module and a name in it."""


@dataclass(eq=False)
class Bundle:
    """What is taken so far.

    Attributes:
        taken: names that the text around the bundle uses.
        names: definition → its name in the bundle.
        imports: local name → (module, name) of imports from outside.
        modules: sources by name.
        attributes: all attribute names that the text mentions: methods that may be called.
        edges: pairs of modules of which the first uses the second.
    """

    taken: set[str]
    names: dict[Target, str] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    modules: dict[str, Module] = field(default_factory=dict)
    attributes: set[str] = field(default_factory=set)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)

    def need(self, module: str, name: str) -> str:
        """Take a definition with all that it needs; its name in the bundle.

        Raises:
            PgemError: something that a script cannot contain.
        """
        target = self.resolve(module, name)
        if target[1] == "":
            raise PgemError(f"'{name}' of module '{module}' is a module and cannot be bundled")
        return self.take(target)

    def resolve(self, module: str, name: str) -> Target:
        """Where a name is defined; ("module", "") for a module."""
        source = self.module(module)
        if name in source.definitions:
            return module, name
        if name in source.imports:
            origin, inner = source.imports[name]
            if inner and self.is_ours(origin):
                return self.resolve(origin, inner)
            return origin, inner
        with suppress(ModuleNotFoundError, ValueError):
            if find_spec(f"{module}.{name}") is not None:
                return f"{module}.{name}", ""
        raise PgemError(f"module '{module}' has no '{name}'")

    def is_ours(self, module: str) -> bool:
        """Whether a module is copied instead of imported."""
        return module.split(".")[0] == PACKAGE or module in self.modules

    def module(self, name: str) -> Module:
        """A module's source."""
        if name not in self.modules:
            self.modules[name] = read_module(name)
        return self.modules[name]

    def take(self, target: Target) -> str:
        """Take one definition, under a free name."""
        if target not in self.names:
            module, name = target
            stem = module.rpartition(".")[2].strip("_")
            free = name
            while free in self.taken:
                free = f"_{stem}_{free.lstrip('_')}" if name.startswith("_") else f"{stem}_{free}"
            self.taken.add(free)
            self.names[target] = free
            self.follow(target)
        return self.names[target]

    def follow(self, target: Target) -> None:
        """Take what a definition uses; methods that are called elsewhere come in later."""
        module = self.module(target[0])
        node = module.definitions[target[1]]
        skipped = self.skipped(node)
        self.check(module, target[1], node, skipped)
        for use in global_uses(node, skipped):
            self.use(module, use.name, use.attribute)
        fresh = attributes_of(node, skipped) - self.attributes
        if fresh:
            self.attributes |= fresh
            for known in [t for t in self.names if self.has_methods(t, fresh)]:
                self.follow(known)

    def check(self, module: Module, name: str, node: ast.AST, skipped: frozenset[ast.AST]) -> None:
        """No import inside the package is left in a function.

        Raises:
            PgemError: one is left.
        """
        for statement in inner_imports(node, skipped):
            raise PgemError(
                f"'{name}' of module '{module.name}' imports from '{statement.module}' inside",
                expected="imports at the top, or as the first line of an `if` with an `else`",
            )

    def has_methods(self, target: Target, names: set[str]) -> bool:
        """Whether a class that is taken has methods of these names."""
        node = self.module(target[0]).definitions[target[1]]
        return isinstance(node, ast.ClassDef) and any(
            isinstance(part, ast.FunctionDef) and part.name in names for part in node.body
        )

    def use(self, module: Module, name: str, attribute: str) -> str | None:
        """The text that stands for a name (or `module.attribute`), where it changes."""
        if name in module.definitions:
            return self.take((module.name, name)) + (f".{attribute}" if attribute else "")
        if name not in module.imports:
            return None
        origin, inner = module.imports[name]
        if not self.is_ours(origin):
            self.add_import(name, origin, inner)
            return None
        target = self.resolve(module.name, name)
        if not target[1]:  # a module of ours: what is meant is the attribute
            target, attribute = self.resolve(target[0], attribute), ""
        if not self.is_ours(target[0]):
            return None
        if not target[1]:
            raise PgemError(
                f"module '{module.name}' reaches into '{target[0]}' through '{name}'",
                advice="import what is used by name, so that a script can contain it",
            )
        self.edges[module.name, target[0]] = None
        return self.take(target) + (f".{attribute}" if attribute else "")

    def add_import(self, name: str, origin: str, inner: str) -> None:
        """An import from outside, the same under the same name everywhere.

        Raises:
            PgemError: a package that a script may not need.
        """
        top = origin.split(".")[0]
        if top not in ALLOWED and not _is_standard(top):
            raise PgemError(
                f"a script cannot contain '{name}': it is imported from '{origin}'",
                expected="NumPy, SciPy and the standard library",
            )
        if self.imports.get(name, (origin, inner)) != (origin, inner):
            raise PgemError(f"two modules import different things as '{name}'")
        self.imports[name] = (origin, inner)
        self.taken.add(name)

    # --- text ---------------------------------------------------------------------------------

    def skipped(self, node: ast.AST) -> frozenset[ast.AST]:
        """Methods that nothing calls, and branches for compiled twins."""
        found: set[ast.AST] = {
            part for branch in compiled_branches(node) for part in (branch.test, *branch.body)
        }
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and not self.is_called(part.name):
                    found.add(part)
        return frozenset(found)

    def is_called(self, method: str) -> bool:
        """Whether a method is needed: Python itself or some text calls it."""
        dunder = method.startswith("__") and method.endswith("__")
        return dunder or method in self.attributes

    def order(self) -> list[str]:
        """Modules that give something, each after those that it needs."""
        needs: dict[str, set[str]] = {module: set() for module, _ in self.names}
        for user, used in self.edges:
            if user != used:
                needs[user].add(used)
        return list(TopologicalSorter(needs).static_order())

    def text(self, modules: Iterable[str] | None = None) -> str:
        """The definitions, module by module."""
        parts = []
        for name in self.order() if modules is None else modules:
            module = self.module(name)
            path = name.replace(".", "/") + ".py"
            parts.append(f"# --- {path}\n# {module.summary}".rstrip("# \n"))
            chosen = {target[1] for target in self.names if target[0] == name}
            nodes = dict.fromkeys(node for n, node in module.definitions.items() if n in chosen)
            parts += [Copy(module, node, self.use, self.skipped(node)).text() for node in nodes]
        return "\n\n\n".join(parts)


def _is_standard(name: str) -> bool:
    return name in sys.stdlib_module_names
