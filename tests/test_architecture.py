"""The import table: stages in order, shelves on the ground, no cycles, no hidden ones either."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import pgem
from pgem import families

ROOT = Path(pgem.__file__).parent
STAGES = ("declare", "graph", "analyse", "plan", "run", "learn", "result")
GROUND = ("errors", "arrays", "gating")
CONCRETE = {
    name for name in families.__all__ if name not in ("Family", "Observations", "Slot", "Support")
}

ALLOWED = {
    **{ground: GROUND[:k] for k, ground in enumerate(("errors", "arrays", "gating"))},
    "families": GROUND,
    "routines": (*GROUND, "families"),
    **{stage: (*GROUND, "families", "routines", *STAGES[:k]) for k, stage in enumerate(STAGES)},
    "templates": ("",),
    "testing": ("", *GROUND, "families", "routines", *STAGES, "pipeline"),
    "bridges": ("", *GROUND, "families", "routines", *STAGES, "pipeline", "testing"),
    "_cli": ("", *GROUND, *STAGES, "bridges", "testing", "pipeline"),
    "cli": ("", "_cli", "errors"),
    "pipeline": (*GROUND, "families", *STAGES),
    "": (*GROUND, "families", *STAGES, "pipeline", "templates", "testing", "bridges"),
}
"""Part of the package (`""` is `pgem/__init__.py`) → parts that it may import."""

LAZY = {
    ("result", "bridges"): "a data frame given to `fit`, and pictures asked of a `Fit`",
    ("graph", "bridges"): "a drawing saved as PNG",
}
"""Imports against the order that are allowed inside functions, and what for."""


class Import(NamedTuple):
    """One import statement: from where, of what, and whether it runs with the module."""

    source: str
    target: str
    line: int
    at_top: bool
    typing: bool


def module_name(path: Path) -> str:
    parts = ("pgem", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def part(module: str) -> str:
    """`pgem.run.data` → `run`."""
    return module.partition(".")[2].partition(".")[0]


def targets(node: ast.AST) -> list[str]:
    """The modules of pgem that a statement (or a call of `import_module`) imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] == "pgem"]
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pgem":
        base = node.module or ""
        names = [f"{base}.{alias.name}" for alias in node.names]
        return [name if name in MODULES else base for name in names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        (name,) = node.args
        if isinstance(name, ast.Constant) and str(name.value).startswith("pgem"):
            return [str(name.value)]
    return []


def imports() -> list[Import]:
    found = []
    for source, tree in TREES.items():
        inside: set[int] = set()
        checked: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                inside |= {id(inner) for inner in ast.walk(node)}
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                checked |= {id(inner) for inner in ast.walk(node)}
        found += [
            Import(source, target, node.lineno, id(node) not in inside, id(node) in checked)
            for node in ast.walk(tree)
            for target in targets(node)
        ]
    return found


IMPORTS = imports()


def test_stages_and_shelves_import_what_the_table_allows() -> None:
    wrong = []
    for found in IMPORTS:
        source, target = part(found.source), part(found.target)
        if source == target or target in ALLOWED[source] or found.typing:
            continue
        if not found.at_top and (source, target) in LAZY:
            continue
        wrong.append(f"{found.source}:{found.line} imports {found.target}")
    assert not wrong


def test_every_part_stands_in_the_table() -> None:
    assert {part(name) for name in MODULES} <= set(ALLOWED)


def test_no_cycles_not_even_inside_functions() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for found in IMPORTS:
        lazy = not found.at_top and (part(found.source), part(found.target)) in LAZY
        root = found.target == "pgem" or found.source == "pgem"
        if not (found.typing or lazy or root or found.source == found.target):
            graph[found.source].add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as problem:
        pytest.fail(" → ".join(problem.args[1]))


def test_templates_use_the_public_language_only() -> None:
    for found in IMPORTS:
        if part(found.source) == "templates":
            assert found.target == "pgem" or part(found.target) == "templates", found


def test_only_the_front_door_imports_the_pipeline() -> None:
    assert {f.source for f in IMPORTS if part(f.target) == "pipeline"} == {"pgem"}


def test_no_other_module_names_a_concrete_family() -> None:
    free = ("families", "templates", "testing", "")
    named = [
        f"{module}:{node.lineno} {node.id if isinstance(node, ast.Name) else node.attr}"
        for module, tree in TREES.items()
        if part(module) not in free
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id in CONCRETE)
        or (isinstance(node, ast.Attribute) and node.attr in CONCRETE)
    ]
    assert not named


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    text = ast.get_docstring(TREES[module])
    assert text and text.splitlines()[0].endswith((".", "?", ")", ":")), module


@pytest.mark.parametrize(("number", "stage"), list(enumerate(STAGES, start=1)))
def test_stages_are_numbered(number: int, stage: str) -> None:
    text = ast.get_docstring(TREES[f"pgem.{stage}"]) or ""
    assert text.startswith(f"Stage {number} of 7 — {stage}")


def test_shelves_say_that_they_are_shelves() -> None:
    for shelf in ("families", "routines", "templates"):
        assert "shelf" in (ast.get_docstring(TREES[f"pgem.{shelf}"]) or "").lower()
