"""Which global names a piece of source uses, and where: what a bundler must find or rename."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Use(NamedTuple):
    """A global name in the source: the node to replace, the name, and an attribute of it."""

    node: ast.expr
    name: str
    attribute: str = ""


def global_uses(tree: ast.AST, skipped: frozenset[ast.AST] = frozenset()) -> Iterator[Use]:
    """Every use of a name that is not local, `module.attribute` as one.

    Args:
        tree: a definition.
        skipped: nodes to leave out (methods that are not needed).
    """
    yield from _walk(tree, frozenset(), skipped)


def attributes_of(tree: ast.AST, skipped: frozenset[ast.AST]) -> set[str]:
    """All attribute names that a piece of source mentions."""
    found: set[str] = set()
    todo = [tree]
    while todo:
        node = todo.pop()
        if node in skipped:
            continue
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        todo += ast.iter_child_nodes(node)
    return found


def _walk(node: ast.AST, local: frozenset[str], skipped: frozenset[ast.AST]) -> Iterator[Use]:
    if node in skipped:
        return
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.value.id not in local:
            yield Use(node, node.value.id, node.attr)
        return
    if isinstance(node, ast.Name):
        if node.id not in local:
            yield Use(node, node.id)
        return
    if isinstance(node, Function):
        yield from _function(node, local, skipped)
        return
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, local, skipped)


def _function(node: Function, local: frozenset[str], skipped: frozenset[ast.AST]) -> Iterator[Use]:
    """Decorators, defaults and annotations belong outside, the body inside."""
    arguments = node.args
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    listed += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    outside: list[ast.AST] = [d for d in (*arguments.defaults, *arguments.kw_defaults) if d]
    outside += [a.annotation for a in listed if a.annotation is not None]
    if not isinstance(node, ast.Lambda):
        outside += [*node.decorator_list, *([node.returns] if node.returns else [])]
    body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else [*node.body]
    inside = local | {a.arg for a in listed} | _bound(body)
    for part in outside:
        yield from _walk(part, local, skipped)
    for part in body:
        yield from _walk(part, inside, skipped)


def _bound(body: list[ast.AST]) -> set[str]:
    """Names that statements bind, functions and classes inside them left closed."""
    found: set[str] = set()
    todo = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            continue
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        if not isinstance(node, ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return found
