"""Identifiers, literals and line breaks of the listing."""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from typing import Any

import numpy as np

from pgem.analyse import Var
from pgem.families import Family

WIDTH = 96
RESERVED = {"data", "params", "stats", "semiring", "answers", "weight", "log_p", "new", "np"}
ROUTINES = (
    "Axis", "Learned", "Prior", "Times", "at", "choose", "climb", "collect", "conjugate",
    "density", "durations", "either", "estimate", "evidence", "fit_cells", "free", "gaussian",
    "inside", "integrate", "keep", "maximise", "maximise_stationary", "message", "newton", "over",
    "pick", "prior", "query", "regress", "scan", "segments", "spread", "staged", "stationary",
    "steps", "stretches", "sum_out", "sweeps", "switched", "table", "times", "total", "tree",
)  # fmt: skip


class Names:
    """Python identifiers for nodes, tables and posteriors; no two the same."""

    def __init__(self) -> None:
        self.taken = {*RESERVED, *ROUTINES}
        self.given: dict[Any, str] = {}

    def __call__(self, wanted: str, thing: Any) -> str:
        """The identifier of `thing`, made from `wanted` on first use."""
        if thing not in self.given:
            name = wanted.replace(".", "_").replace(" ", "_")
            if keyword.iskeyword(name):
                name += "_"
            while name in self.taken:
                name += "_"
            self.taken.add(name)
            self.given[thing] = name
        return self.given[thing]


def call(head: str, arguments: Sequence[str], tail: str = ")") -> list[str]:
    """`head(arguments)` on one line if it fits, else one argument a line."""
    line = f"{head}({', '.join(arguments)}{tail}"
    if len(line) <= WIDTH:
        return [line]
    return [f"{head}(", *(f"    {argument}," for argument in arguments), tail]


def axis_name(var: Var) -> str:
    """The constant of an axis: `Z`, `PREV_S`, `PREV_S_2`."""
    lag = f"_{var.lag}" if var.lag > 1 else ""
    return ("PREV_" if var.lag else "") + var.node.upper() + lag


def var_name(var: Var) -> str:
    """A variable inside an identifier: `s`, `prev_s`."""
    return ("prev_" if var.lag else "") + var.node + (f"_{var.lag}" if var.lag > 1 else "")


def clique_name(clique: Sequence[Var]) -> str:
    """The variables of a table inside an identifier."""
    name = "_".join(var_name(v) for v in clique)
    return name if len(name) < 30 else f"clique_{var_name(clique[0])}"


def array(value: Any) -> str:
    """An array as code."""
    return f"np.array({np.asarray(value).tolist()})"


def family_code(name: str, family: Family) -> str:
    """The expression that makes a settled family."""
    options = {
        k: v for k, v in family.settings.items() if v is not None and k not in ("size", "levels")
    }
    made = f"{name}({', '.join(f'{k}={v!r}' for k, v in options.items())})"
    plain = family.size is None and not family.structures
    return made if plain else f"{made}.settled({family.size!r}, {dict(family.structures)!r})"


def on_shelf(kind: type[Family]) -> bool:
    """Whether a family comes with pgem."""
    return kind.__module__.split(".")[0] == "pgem"


def mapping(values: dict[str, str]) -> str:
    """A small dictionary as code."""
    return "{" + ", ".join(f'"{k}": "{v}"' for k, v in values.items()) + "}"


def import_line(module: str, names: Sequence[str]) -> list[str]:
    """An import statement, broken if it is long."""
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in names), ")"]
