"""The commands."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import pgem
from pgem._cli.check import check_data, check_program
from pgem._cli.modules import ModelFile, load_model
from pgem._cli.tables import BadFile
from pgem.errors import FitWarning, IntractableError, PgemError
from pgem.graph import build_graph

app = typer.Typer(
    name="pgem",
    help="Compile declared latent-variable models into exact EM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ModelPath = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Python file that defines `model`.")
]
DataPath = Annotated[
    Path | None, typer.Option("--data", help="CSV file; by default the module's own data.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pgem {pgem.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print and exit."),
    ] = False,
) -> None:
    """Compile declared latent-variable models into exact EM."""


@app.command()
def fit(
    model: ModelPath,
    data: DataPath = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; by default results/<model name>.")
    ] = None,
    restarts: Annotated[int | None, typer.Option(help="Number of runs.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random starts.")] = None,
    max_iter: Annotated[int | None, typer.Option(help="Most iterations of a run.")] = None,
    tol: Annotated[float | None, typer.Option(help="Gain per observation to stop at.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no summary.")] = False,
) -> None:
    """Fit a model; write the result and a picture of it."""
    with _guarded():
        file = load_model(model)
        values, weights = file.read(data)
        asked = {"restarts": restarts, "seed": seed, "max_iter": max_iter, "tol": tol}
        options = {**file.options, **{k: v for k, v in asked.items() if v is not None}}
        with _progress(options, quiet) as callback:
            result = file.model.fit(values, weights=weights, callback=callback, **options)
        if not quiet:
            typer.echo(str(result.summary()))
        folder = out or Path("results") / re.sub(r"[^\w.-]+", "_", file.model.name)
        _write(result, values, weights, folder)


@app.command()
def explain(
    model: ModelPath,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown with LaTeX.")] = False,
) -> None:
    """Print the derivation: factorisation, posterior, statistics and M-step."""
    with _guarded():
        program = load_model(model).compile()
        typer.echo(program.explain("markdown" if markdown else "text"))


@app.command()
def source(
    model: ModelPath,
    script: Annotated[
        bool, typer.Option("--script", help="A script with the data that runs without pgem.")
    ] = False,
) -> None:
    """Print the generated EM code."""
    with _guarded():
        file = load_model(model)
        program = file.compile()
        if not script:
            typer.echo(program.source)
        elif file.brings_data:
            values, weights = file.read(None)
            typer.echo(program.to_script(values, weights=weights))
        else:
            typer.echo(program.to_script())


@app.command()
def draw(
    model: ModelPath,
    out: Annotated[
        Path | None, typer.Option(help="SVG or PNG; by default <model name>.svg.")
    ] = None,
) -> None:
    """Draw the plate diagram."""
    from pgem.graph.draw import draw as draw_graph

    with _guarded():
        declared = load_model(model).model
        graph = build_graph(declared.record, declared.families)
        path = out or Path(re.sub(r"[^\w.-]+", "_", declared.name) + ".svg")
        path.parent.mkdir(parents=True, exist_ok=True)
        typer.echo(f"wrote {draw_graph(graph, path)}")


@app.command()
def check(
    model: ModelPath,
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="CSV file.", show_default=False)
    ] = None,
) -> None:
    """Say what a fit would do, before anything runs."""
    with _guarded():
        file = load_model(model)
        values: tuple[Any, Any] | None = None
        if data is not None or file.brings_data:
            values = file.read(data)
        try:
            typer.echo(_checked(file, values))
        except IntractableError as problem:
            typer.echo(f"model '{file.model.name}' is refused\n\n{problem.report}\n")
            raise


def _checked(file: ModelFile, values: tuple[Any, Any] | None) -> str:
    if values is None:
        return check_program(file.model, file.model.compile()) + "\n\nno data to check"
    program = file.model.compile(values[0])
    return f"{check_program(file.model, program)}\n\n{check_data(program, *values)}"


def _write(result: Any, values: Any, weights: Any, folder: Path) -> None:
    from pgem.bridges.plotting import plot_fit

    try:
        folder.mkdir(parents=True, exist_ok=True)
        result.save(folder / "result.json")
    except OSError as problem:
        raise BadFile(f"cannot write to '{folder}': {problem.strerror or problem}") from problem
    typer.echo(f"wrote {folder / 'result.json'}")
    typer.echo(f"wrote {plot_fit(result, values, folder / 'fit.png', weights=weights)}")


@contextmanager
def _progress(
    options: dict[str, Any], quiet: bool
) -> Iterator[Callable[[int, float], object] | None]:
    """A live line on standard error: run, iteration, log-likelihood."""
    if quiet:
        yield None
        return
    run, of = 0, options.get("restarts", 1)
    with Console(stderr=True).status("starting") as status:

        def callback(iteration: int, log_likelihood: float) -> None:
            nonlocal run
            run += iteration == 1
            runs = f"run {run} of {of}, " if of > 1 else ""
            status.update(f"{runs}iteration {iteration}, log-likelihood {log_likelihood:,.4f}")

        yield callback


@contextmanager
def _guarded() -> Iterator[None]:
    """Errors in red without a traceback; warnings of a fit in yellow."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", FitWarning)
            yield
    except BadFile as problem:
        console.print(str(problem), style="red")
        raise typer.Exit(2) from None
    except PgemError as problem:
        console.print(str(problem), style="red")
        raise typer.Exit(1) from None
    finally:
        for warning in caught:
            console.print(f"warning: {warning.message}", style="yellow")
