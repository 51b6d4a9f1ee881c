"""The public names: a literal sorted list, all documented, and nothing else."""

from __future__ import annotations

import ast
import inspect
import types
from pathlib import Path

import pytest

import pgem
from pgem import errors, families

LANGUAGE = {
    "Model", "latent", "observed", "covariate", "param", "constant", "plate", "sequence", "tree",
    "prev", "switch", "identity", "diagonal", "spherical", "family_from_functions",
}  # fmt: skip
RESULTS = {"Program", "Fit", "Data", "load"}
EXTRAS = {"family_from_density"}
MODULES = {"templates", "testing"}
CONTRACT = {"Family", "Observations", "Slot", "Support"}
"""What the authors of families import from `pgem.families`."""


def subclasses(kind: type) -> set[str]:
    return {kind.__name__}.union(*(subclasses(sub) for sub in kind.__subclasses__()))


def literal_names() -> list[str]:
    """The text of `__all__`."""
    tree = ast.parse(Path(pgem.__file__).read_text())
    (found,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return ast.literal_eval(found)


def test_the_list_is_literal_and_sorted() -> None:
    assert literal_names() == pgem.__all__ == sorted(set(pgem.__all__))


def test_the_list_is_what_the_design_promises() -> None:
    shelf = set(families.__all__) - CONTRACT
    raised = subclasses(errors.PgemError) | {errors.FitWarning.__name__}
    assert set(pgem.__all__) == LANGUAGE | RESULTS | EXTRAS | MODULES | shelf | raised


def test_nothing_else_shows() -> None:
    assert [name for name in dir(pgem) if not name.startswith("_")] == pgem.__all__


def test_nothing_is_imported_by_star() -> None:
    tree = ast.parse(Path(pgem.__file__).read_text())
    stars = [node for node in ast.walk(tree) if isinstance(node, ast.alias) and node.name == "*"]
    assert not stars


@pytest.mark.parametrize("name", pgem.__all__)
def test_is_there_and_documented(name: str) -> None:
    thing = getattr(pgem, name)
    text = inspect.getdoc(thing)
    assert text and len(text) > 10
    if inspect.isfunction(thing):
        signature = inspect.signature(thing)
        hints = [p.annotation for p in signature.parameters.values()]
        assert inspect.Parameter.empty not in [*hints, signature.return_annotation]


@pytest.mark.parametrize("name", ["Model", "Fit", "Program", "Data"])
def test_public_methods_are_documented(name: str) -> None:
    kind = getattr(pgem, name)
    public = {n: member for n, member in vars(kind).items() if not n.startswith("_")}
    functions = [n for n, m in public.items() if isinstance(m, types.FunctionType | property)]
    assert functions
    assert not [n for n in functions if not inspect.getdoc(getattr(kind, n))]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'pgem' has no attribute 'Modle'"):
        pgem.Modle
