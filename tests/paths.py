"""Every way to run a model, by name: what has to be set so that nothing else is used.

`pytest --path NAME` runs any tests on one of them; `python -m tests.paths` the whole suite on each
in turn (an hour on two cores; further arguments go to pytest).  Tests that look at which path is
chosen are marked `chooses_path` and left out there.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

NEVER = 1 << 60
Setting = tuple[str, str, Any]
"""Module, name in it, value."""

COMPILED: list[Setting] = [
    ("routines.scan", "COMPILED_FROM", 0),
    ("routines.tree", "COMPILED_FROM", 0),
    ("routines.tally", "COMPILED_FROM", 0),
    ("routines.segments", "COMPILED_FROM", 0),
    ("routines.region_matrices", "LONG", 0),
    ("routines.region_matrices", "MANY", 0),
]
NO_LANES: list[Setting] = [("routines.lane_plan", "LEAST_LANES", NEVER)]
LANES: list[Setting] = [
    ("routines.lane_plan", "LEAST_PIECE", 2),
    ("routines.lane_plan", "LEAST_LANES", 1),
    ("routines.lane_plan", "LEAST_ENTRIES", 0),
]
SETTINGS: dict[str, list[Setting]] = {
    "numpy": [
        *((module, name, NEVER) for module, name, _ in COMPILED),
        ("run.bind", "LARGE_FROM", NEVER),
    ],
    "one by one": [*COMPILED, *NO_LANES],
    "lanes": [*COMPILED, *LANES],
    "tiles": [("run.bind", "LARGE_FROM", 0)],
    "tiles of lanes": [*COMPILED, *LANES, ("run.bind", "LARGE_FROM", 0)],
    "members one by one": [("routines.collect", "make_tally", lambda *ignored: None)],
    "merged": [
        ("run.merge", "MERGE_FROM", 0),
        ("run.merge", "WORTH", 1.0),
        ("run.moments", "PAYS_FROM", 1),
        ("run.moments", "WORTH", 1e9),
    ],
    "unit by unit": [("run.merge", "MERGE_FROM", NEVER), ("run.moments", "WIDEST", -1)],
    "small shards": [
        ("run.bind", "SHARD_ENTRIES", 1),
        ("run.bind", "KEEP_ROWS", 0),
        ("run.threads", "PAYS_FROM", 0),
        ("run.threads", "_n_cores", lambda: 2),
    ],
    "by listing": [
        ("routines.log_linear", "LARGEST", 0),
        ("routines.region_alike", "LARGEST", 0),
        ("routines.scan", "WHOLE", 0),
        ("routines.equations", "SOUND", np.inf),
    ],
    "own centres": [("families._gaussian", "LARGEST_TERM", 0.0)],
    "rows as products": [*COMPILED, ("routines.region_direct", "FEW", 0)],
    "rows as products, by NumPy": [
        *((module, name, NEVER) for module, name, _ in COMPILED),
        ("routines.region_direct", "FEW", 0),
    ],
    "value by value": [*COMPILED, ("routines.region_direct", "FEW", NEVER)],
    "group by group": [("routines.region_groups", "FEW", 0), ("routines.region_groups", "LONG", 1)],
    "row by row": [
        ("routines.region_groups", "FEW", NEVER),
        ("routines.region_groups", "LONG", NEVER),
        ("routines.region_groups", "BLOCK", 1),
    ],
}
"""Logarithms are set by `_logarithms`, since they stand in for classes."""
NAMES = (*SETTINGS, "logarithms")

Set = Callable[[Any, str, Any], None]


def force(name: str, put: Set = setattr) -> None:
    """Leave one path only.

    Args:
        name: of the path.
        put: sets a name of a module, for good or as a fixture does.
    """
    settings = SETTINGS[name] if name in SETTINGS else _logarithms()
    for module, attribute, value in settings:
        found = import_module(f"pgem.{module}")
        if not hasattr(found, attribute):
            raise AttributeError(f"pgem.{module} has no '{attribute}'")
        put(found, attribute, value)


def _logarithms() -> list[Setting]:
    """Compiled loops that were to be rescued from underflow."""
    chain, kernels, trees = (
        import_module(f"pgem.routines.{name}") for name in ("chain", "kernels", "tree_kernels")
    )
    return [
        *COMPILED,
        *NO_LANES,
        ("routines.paths", "ChainPass", chain.ChainLogPass),
        ("routines.paths", "CompiledPass", kernels.LogPass),
        ("routines.tree_kernels", "CompiledTree", trees.LogTree),
    ]


def main(arguments: list[str]) -> int:
    """Run the suite on every path; the number of paths on which it fails."""
    failed = []
    for name in NAMES:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--path", name, *arguments]
        if subprocess.run(command, cwd=Path(__file__).parent.parent, check=False).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else f"{len(NAMES)} paths: all passed")
    return len(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
