"""`to_script`: the listing, an EM loop, the routines and the data as one file that runs alone.

The listing comes first, word for word; its constants stand in a function, since what they are
made of follows below.  Everything below is copied from pgem's own modules by `bundle`.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pgem.errors import PgemError
from pgem.families import Family
from pgem.families._linear import Linear, Term, WithTerms
from pgem.families._link import Linked
from pgem.families._scaled import Scaled, scaled
from pgem.plan.bundle import Bundle
from pgem.plan.naming import on_shelf

EMBEDDED = 20_000
"""Up to this many numbers are written into the script."""
KINDS = {"i": "int", "u": "int", "b": "bool"}
STANDALONE = "pgem.plan.standalone"
WIDTH = 96


RegionShape = tuple[
    str, str | None, dict[str, str], dict[str, tuple[str, tuple[str, ...]]], tuple[str, ...]
]
"""Home scope, chain, scopes inside with those around them; per node its scope and components; nodes
that are read with the covariates."""

StretchShape = tuple[str, dict[str, tuple[str, ...]]]
"""The sequence of a region that is integrated out stretch by stretch; per node its components."""


@dataclass(frozen=True)
class Contents:
    """What a script holds besides code.

    Attributes:
        arrays: bound data by name (see `standalone.Bound`).
        start: start parameters by name.
        indices: (name, scope, lag) → number of values of an index that the listing reads.
        regions: region → where it lives and what it is made of (see `standalone.Bound`).
        stretched: the same of regions that are integrated out stretch by stretch.
    """

    arrays: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Any] = field(default_factory=dict)
    indices: dict[tuple[str, str, int], int] = field(default_factory=dict)
    regions: dict[str, RegionShape] = field(default_factory=dict)
    stretched: dict[str, StretchShape] = field(default_factory=dict)

    def without_numbers(self) -> Contents:
        """The same without data and start."""
        return Contents({}, {}, self.indices, self.regions, self.stretched)

    @property
    def n_numbers(self) -> int:
        """How many numbers there are."""
        return sum(np.size(a) for a in (*self.arrays.values(), *self.start.values()))

    def everything(self) -> dict[str, Any]:
        """All arrays for a file, the start under `start <name>`."""
        return {**self.arrays, **{f"start {name}": v for name, v in self.start.items()}}


Reader = Callable[..., tuple[Any, Contents]]
"""(program, data, weights, start, seed) → the program for these data, data and start."""


@dataclass(frozen=True)
class Listing:
    """The parts of a program's source.

    Attributes:
        head: the model and its conditionals.
        constants: source of the constants, and their names.
        functions: e_step and m_step.
        imports: (module, name) of what it imports from pgem.
        calls: `data.index(...)` calls as their arguments.
        regions: names in `data.region(...)` calls.
        stretches: names in `data.stretches(...)` calls.
    """

    head: str
    constants: str
    names: tuple[str, ...]
    functions: str
    imports: tuple[tuple[str, str], ...]
    calls: tuple[tuple[str, str, int], ...]
    regions: tuple[str, ...]
    stretches: tuple[str, ...]
    tree: ast.Module


def read_listing(source: str) -> Listing:
    """Take a listing apart."""
    tree, lines = ast.parse(source), source.splitlines()
    constants = [node for node in tree.body if isinstance(node, ast.Assign)]
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]

    def text(nodes: list[Any], gap: str) -> str:
        return gap.join("\n".join(lines[n.lineno - 1 : n.end_lineno]) for n in nodes)

    return Listing(
        ast.get_docstring(tree) or "",
        text(constants, "\n"),
        tuple(str(t.id) for n in constants for t in n.targets if isinstance(t, ast.Name)),
        text(functions, "\n\n\n"),
        tuple((node.module or "", alias.name) for node in imports for alias in node.names),
        tuple(_index_calls(tree)),
        tuple(_calls_of(tree, "region")),
        tuple(_calls_of(tree, "stretches")),
        tree,
    )


def _index_calls(tree: ast.Module) -> list[tuple[str, str, int]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            arguments = [a.value for a in node.args if isinstance(a, ast.Constant)]
            if node.func.attr == "index" and len(arguments) == 3:
                name, scope, lag = arguments
                found.append((str(name), str(scope), int(str(lag))))
    return found


def _calls_of(tree: ast.Module, method: str) -> list[str]:
    """What is named in calls of a method."""
    return [
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == method
        and isinstance(node.args[0], ast.Constant)
    ]


def write_script(
    source: str,
    families: Mapping[str, tuple[Family, str]],
    scopes: Mapping[str, tuple[int, str, int | None]],
    contents: Contents,
    *,
    priors: Mapping[type[Family], str],
    max_iter: int,
    tol: float,
    path: str | Path | None = None,
) -> str:
    """The text of a script; written to `path` (with an .npz beside it for large data), if given.

    Args:
        source: the program's listing.
        families: component → (settled family, scope).
        scopes: scope → (dimensions of its tables, enclosing scope, fixed size).
        contents: data and start.
        priors: families of priors, and what the listing calls them.
        max_iter: default of the script.
        tol: default of the script.
        path: where to write.
    """
    listing = read_listing(source)
    bundle = Bundle({*listing.names, "declare", "e_step", "m_step", "nan", "inf", "BOUND", "START"})
    bundle.attributes |= {n.attr for n in ast.walk(listing.tree) if isinstance(n, ast.Attribute)}
    for module, name in listing.imports:
        bundle.need(module, name)
    for kind, name in priors.items():
        _take_prior(bundle, kind, name)
    bundle.add_import("np", "numpy", "")
    run, bound = (bundle.need(STANDALONE, name) for name in ("run", "Bound"))
    shown = {key: f"({_family(bundle, f)}, {scope!r})" for key, (f, scope) in families.items()}
    embedded = contents.n_numbers <= EMBEDDED
    parts = [
        _opening(listing, embedded=embedded, path=path),
        _imports(bundle),
        f"{_declare(listing)}\n\n\n{listing.functions}",
        _banner("The EM loop, and the data as the listing reads them") + bundle.text([STANDALONE]),
        _banner("The routines, as they are in pgem")
        + bundle.text([name for name in bundle.order() if name != STANDALONE]),
        _banner("The data and the start")
        + _data(bound, shown, scopes, contents if embedded else contents.without_numbers()),
        'if __name__ == "__main__":\n    declare()\n'
        f"    {run}(e_step, m_step, BOUND, LEARNED, START, max_iter={max_iter}, tol={tol!r})",
    ]
    text = "\n\n".join(parts[:2]) + "\n\n\n" + "\n\n\n".join(parts[2:]) + "\n"
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
        if not embedded:
            np.savez_compressed(Path(path).with_suffix(".npz"), **contents.everything())
    return text


def _take_prior(bundle: Bundle, kind: type[Family], name: str) -> None:
    """The family of a prior, under the name that the listing has for it."""
    if not on_shelf(kind):
        bundle.module(kind.__module__)
    if bundle.need(kind.__module__, kind.__name__) != name:
        raise PgemError(
            f"a script cannot contain the prior family '{kind.__qualname__}': its name is taken",
            advice="give the family another name",
        )


def _opening(listing: Listing, *, embedded: bool, path: str | Path | None) -> str:
    name = "script.py" if path is None else Path(path).name
    data = "" if embedded else f" --data {Path(name).stem}.npz"
    return (
        f'"""{listing.head}\n\n'
        "This file runs alone, with NumPy and SciPy:\n\n"
        f"    python {name}{data}\n    python {name}{data} --json\n"
        '"""\n\nfrom __future__ import annotations'
    )


def _imports(bundle: Bundle) -> str:
    plain: list[str] = []
    members: dict[str, list[str]] = {}
    for name, (origin, inner) in sorted(bundle.imports.items()):
        if not inner:
            plain.append(f"import {origin}" + (f" as {name}" if name != origin else ""))
        else:
            shown = inner if inner == name else f"{inner} as {name}"
            members.setdefault(origin, []).append(shown)
    froms = [
        f"from {origin} import {', '.join(found)}" for origin, found in sorted(members.items())
    ]
    wrapped = [line if len(line) <= WIDTH else _in_brackets(line) for line in froms]
    return "\n".join([*plain, *wrapped])


def _in_brackets(line: str) -> str:
    head, _, tail = line.partition(" import ")
    body = "".join(f"    {name},\n" for name in tail.split(", "))
    return f"{head} import (\n{body})"


def _declare(listing: Listing) -> str:
    """The constants of the listing, inside a function that is called at the end."""
    names = textwrap.fill(f"global {', '.join(listing.names)}", WIDTH, break_long_words=False)
    names = names.replace("\n", " \\\n    ")
    body = f'"""Axes, known tables, what every slot reads, what is learned."""\n{names}\n'
    return f"def declare():\n{textwrap.indent(body + listing.constants, '    ')}"


def _banner(title: str) -> str:
    return f"# {'=' * (WIDTH - 2)}\n# {title}\n# {'=' * (WIDTH - 2)}\n\n\n"


def _family(bundle: Bundle, family: Family) -> str:
    """The expression that makes a settled family."""
    if isinstance(family, Scaled):
        made = bundle.need(scaled.__module__, scaled.__name__)
        plain = _family(bundle, family.plain)
        return f"{made}({plain}, {family.slot!r}, {family.times!r}, {family.latent!r})"
    if isinstance(family, Linear):
        return _linear(bundle, family)
    if isinstance(family, Linked):
        return _linked(bundle, family)
    cls = type(family)
    if family.own_fit:
        raise PgemError(
            f"a script cannot contain {cls.__name__}, which is given by two functions",
            advice="save the fit, or write the family as a class (docs/how-to/add-a-family.md)",
        )
    if cls.__module__.split(".")[0] != "pgem":
        bundle.module(cls.__module__)
    name = bundle.need(cls.__module__, cls.__name__)
    options = {
        k: v for k, v in family.settings.items() if v is not None and k not in ("size", "levels")
    }
    arguments = ", ".join(f"{k}={v!r}" for k, v in options.items())
    return f"{name}({arguments}).settled({family.size!r}, {dict(family.structures)!r})"


def _linear(bundle: Bundle, family: Linear) -> str:
    """The expression that makes a linear mean: its family, its terms, its noise."""
    base, slot = _base(bundle, family, family.spread)
    noise = f"{slot}, {family.spread_by!r}, {family.latent!r}"
    made = bundle.need(Linear.__module__, Linear.__name__)
    return f"{made}({base}, {_terms(bundle, family)}, {noise})"


def _linked(bundle: Bundle, family: Linked) -> str:
    """The expression that makes a link: its family, its terms, what stands beside it."""
    base, slot = _base(bundle, family, family.target)
    beside = f"factor={family.factor!r}, factor_by={family.spread_by!r}, latent={family.latent!r}"
    made = bundle.need(Linked.__module__, Linked.__name__)
    return f"{made}({base}, {slot}, {_terms(bundle, family)}, {beside})"


def _base(bundle: Bundle, family: WithTerms, slot: str) -> tuple[str, str]:
    """The expressions that make the family as declared, and one of its slots."""
    base = _family(bundle, family.base)
    return base, f"{base}.slots[{[s.name for s in family.base.slots].index(slot)}]"


def _terms(bundle: Bundle, family: WithTerms) -> str:
    """The expression that makes the terms of a linear predictor."""
    made = bundle.need(Term.__module__, Term.__name__)
    terms = [
        f"{made}({t.slot!r}, {t.own!r}, {t.start}, {t.stop}, {literal(t.placement)}, "
        f"{t.scale!r}, {t.factors!r}, {t.over!r}, {t.vector!r}, {t.parent!r}, {t.contracts!r})"
        for t in family.terms
    ]
    return f"[{', '.join(terms)}]"


def _data(
    bound: str,
    families: Mapping[str, str],
    scopes: Mapping[str, tuple[int, str, int | None]],
    contents: Contents,
) -> str:
    nodes = [f"        {key!r}: {shown}," for key, shown in families.items()]
    rows = [f"        {name!r}: {shown!r}," for name, shown in scopes.items()]
    indices = [f"        {key!r}: {size!r}," for key, size in contents.indices.items()]
    regions = [f"        {name!r}: {shape!r}," for name, shape in contents.regions.items()]
    stretched = [f"        {name!r}: {shape!r}," for name, shape in contents.stretched.items()]
    arrays = [f"        {name!r}: {literal(v)}," for name, v in contents.arrays.items()]
    start = [f"    {name!r}: {literal(value)}," for name, value in contents.start.items()]
    return "\n".join(
        [
            "nan, inf = np.nan, np.inf",
            f"BOUND = {bound}(",
            "    arrays={", *arrays, "    },",
            "    components={", *nodes, "    },",
            "    scopes={", *rows, "    },",
            "    indices={", *indices, "    },",
            *(["    regions={", *regions, "    },"] if regions else []),
            *(["    stretched={", *stretched, "    },"] if stretched else []),
            ")",
            "START = {", *start, "}",
        ]
    )  # fmt: skip


def literal(value: Any) -> str:
    """An array as an expression, broken into lines."""
    array = np.asarray(value)
    if array.ndim == 0:
        return repr(array.item())
    flat = ", ".join(repr(item) for item in array.ravel().tolist())
    shape = "" if array.ndim == 1 else f".reshape({', '.join(map(str, array.shape))})"
    kind = f", dtype={KINDS.get(array.dtype.kind, 'float')}"
    if len(flat) < WIDTH - 30:
        return f"np.array([{flat}]{kind}){shape}"
    body = textwrap.fill(flat, WIDTH, initial_indent=" " * 12, subsequent_indent=" " * 12)
    return f"np.array([\n{body}\n        ]{kind}){shape}"
