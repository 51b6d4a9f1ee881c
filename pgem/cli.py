"""The command line: `pgem fit`, `explain`, `source`, `draw` and `check`, each on a file.

The file is a Python module that defines `model` (or exactly one `pg.Model`) and may define
`data()`, `weights()` and `options`, as those in the gallery do.
"""

from __future__ import annotations

import sys

from pgem.errors import MissingExtraError


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; without typer and rich, name the extra that brings them."""
    try:
        import rich
        import typer

        del rich, typer
    except ModuleNotFoundError as problem:
        missing = MissingExtraError(problem.name or "typer", "cli", "use the command line")
        sys.stderr.write(f"{missing}\n")
        raise SystemExit(1) from None
    from pgem._cli.app import app

    app(args=arguments, prog_name="pgem")
