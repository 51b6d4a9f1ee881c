"""One definition as text: names replaced, uncalled methods and compiled twins left out."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable

from pgem.plan.modules import Definition, Module, compiled_branches
from pgem.plan.scopes import global_uses

Renamer = Callable[[Module, str, str], str | None]
"""(module, name, attribute) → what stands for it in the copy, or None where it stays."""


class Copy:
    """One definition as text, with names replaced and parts left out.

    Args:
        module: where it stands.
        node: the definition.
        renamer: what stands for a name.
        skipped: nodes to leave out.
    """

    def __init__(
        self, module: Module, node: Definition, renamer: Renamer, skipped: frozenset[ast.AST]
    ) -> None:
        self.module, self.node, self.renamer, self.skipped = module, node, renamer, skipped
        self.lines = dict(enumerate(module.lines, start=1))

    def text(self) -> str:
        """The source of the definition."""
        self.rename()
        for part in self.skipped:
            if isinstance(part, ast.FunctionDef):
                self.remove(_first_line(part), part.end_lineno or part.lineno)
        for branch in compiled_branches(self.node):
            if branch.lineno in self.lines:  # its method may have been left out
                self.keep_else(branch)
        first, last = _first_line(self.node), self.node.end_lineno or self.node.lineno
        first, last = self.with_comments(first), self.with_docstring(last)
        kept = [self.lines[k] for k in range(first, last + 1) if k in self.lines]
        return _without_gaps([line for line in kept if not line.lstrip().startswith("# ---")])

    def rename(self) -> None:
        """Replace names that are called otherwise in the bundle."""
        edits = []
        for use in global_uses(self.node, self.skipped):
            new = self.renamer(self.module, use.name, use.attribute)
            old = use.name + (f".{use.attribute}" if use.attribute else "")
            if new is not None and new != old:
                edits.append((use.node.lineno, use.node.col_offset, use.node.end_col_offset, new))
        own = self.own_name()
        if own is not None:
            edits.append(own)
        for line, start, end, new in sorted(set(edits), reverse=True):
            raw = self.lines[line].encode()
            self.lines[line] = (raw[:start] + new.encode() + raw[end:]).decode()

    def own_name(self) -> tuple[int, int, int, str] | None:
        """The edit of the definition's own name, if it is renamed."""
        if not isinstance(self.node, ast.FunctionDef | ast.ClassDef):
            return None  # an assignment's target is a name like any other
        new = self.renamer(self.module, self.node.name, "")
        if new is None or new == self.node.name:
            return None
        line = self.node.lineno
        start = self.module.lines[line - 1].encode().index(self.node.name.encode())
        return line, start, start + len(self.node.name.encode()), new

    def remove(self, first: int, last: int) -> None:
        """Leave lines out."""
        for k in range(first, last + 1):
            self.lines.pop(k, None)

    def keep_else(self, branch: ast.If) -> None:
        """Replace an `if` by its `else`."""
        kept: list[str] = []
        if branch.orelse:
            inside = range(branch.orelse[0].lineno, (branch.end_lineno or 0) + 1)
            body = textwrap.dedent("\n".join(self.lines[k] for k in inside))
            kept = textwrap.indent(body, " " * branch.col_offset).splitlines()
        self.remove(branch.lineno, branch.end_lineno or branch.lineno)
        if kept:
            self.lines[branch.lineno] = "\n".join(kept)

    def with_comments(self, first: int) -> int:
        """The first of the comment lines right above."""
        while (
            first > 1
            and self.module.lines[first - 2].startswith("# ")
            and not (self.module.lines[first - 2].startswith("# ---"))
        ):
            first -= 1
        return first

    def with_docstring(self, last: int) -> int:
        """The end of a string right below a constant."""
        body = self.module.tree.body
        place = body.index(self.node) + 1
        if isinstance(self.node, ast.FunctionDef | ast.ClassDef) or place >= len(body):
            return last
        after = body[place]
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        return (after.end_lineno or last) if is_text else last


def _first_line(node: ast.FunctionDef | Definition) -> int:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
    return min([node.lineno, *(d.lineno for d in decorators)])


def _without_gaps(lines: list[str]) -> str:
    """No more than one empty line in a row, none at the end."""
    kept: list[str] = []
    for line in lines:
        if line.strip() or (kept and kept[-1].strip()):
            kept.append(line.rstrip())
    return "\n".join(kept).rstrip()
