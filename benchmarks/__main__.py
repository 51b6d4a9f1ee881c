"""Compare pgem with the libraries that people would use instead; write docs/performance.md.

Every case and system runs in a process of its own, on the same data, from the same start, for the
same number of iterations.  The parameters that come out are checked by one function that uses none
of the systems.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, NEEDS
from benchmarks.scaling import GROWTHS, row

TARGET = Path(__file__).parent.parent / "docs" / "performance.md"
LIBRARIES = (
    "pgem", "numpy", "scipy", "numba", "threadpoolctl", "scikit-learn", "hmmlearn", "stepmix",
    "pgmpy", "dynamax", "pomegranate", "torch",
)  # fmt: skip
SHORT = 0.1
AGREE = 1e-6
"""Relative difference of log-likelihoods at full size; a peer's prior weighs more on fewer rows."""


def run(what: dict[str, Any], threads: str | None = "1") -> dict[str, Any]:
    """One worker's figures."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("OPENBLAS_CORETYPE", "PYTHONDONTWRITEBYTECODE", "OPENBLAS_L2_SIZE")
    }
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.pop(name, None)
        if threads is not None:
            environment[name] = threads
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.worker", json.dumps(what)],
        capture_output=True, text=True, check=False, env=environment,
        cwd=Path(__file__).parent.parent, timeout=1200,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(name: str, share: float, repeats: int, elapsed: bool) -> list[str]:
    """Rows of the table for one case; with `elapsed` also those with all threads."""
    case = CASES[name]
    rows = []
    for threads, clock in (
        [("1", "cpu"), (None, "wall")] if case.threads and elapsed else [("1", "cpu")]
    ):
        found = {}
        for system in filter(installed, case.systems):
            what = {"kind": "case", "name": name, "system": system, "share": share,
                    "repeats": repeats, "clock": clock}  # fmt: skip
            found[system] = run(what, threads)
            print(f"{name:20} {system:15} {clock:5} {describe(found[system])}", flush=True)
        levels = [figures["log_likelihood"] for figures in found.values()]
        if max(levels) - min(levels) > AGREE / share * abs(levels[0]):
            raise SystemExit(f"{name}: the systems disagree: {levels}")
        ours = statistics.median(found["pgem"]["seconds"])
        for system, figures in found.items():
            times = figures["seconds"]
            median = statistics.median(times)
            title = case.title if threads else "the same, all threads, elapsed time"
            rows.append(
                f"| {title if system == 'pgem' else ''} | {system} | {milliseconds(median)} "
                f"| {milliseconds(min(times))}–{milliseconds(max(times))} "
                f"| {median / ours:.2f} | {over_floor(system, figures, ours)} "
                f"| {1e3 * statistics.median(figures['once']):.0f} "
                f"| {figures['memory'] / 2**20:.0f} "
                f"| {figures['log_likelihood']:.10g} |"
            )
    return rows


def over_floor(system: str, figures: dict[str, Any], median: float) -> str:
    """How many times its floor an iteration of pgem takes."""
    return f"{median / figures['floor']:.3g}" if system == "pgem" else ""


def installed(system: str) -> bool:
    """Whether the library of a system is there."""
    return system not in NEEDS or importlib.util.find_spec(NEEDS[system]) is not None


def milliseconds(seconds: float) -> str:
    """With one digit, of short times with three."""
    return f"{1e3 * seconds:.1f}" if seconds >= 1e-3 else f"{1e3 * seconds:.3f}"


def describe(figures: dict[str, Any]) -> str:
    """One line for the terminal."""
    median = statistics.median(figures["seconds"])
    memory = figures["memory"] / 2**20
    return f"{1e3 * median:9.3f} ms  {memory:6.0f} MB  {figures['log_likelihood']:.10g}"


def small(repeats: int) -> list[str]:
    """Rows for import, compilation and the first fit."""
    run({"kind": "import"})  # so that byte code exists
    loads = [run({"kind": "import"}) for _ in range(repeats)]
    fits = [run({"kind": "fit"}) for _ in range(repeats)]
    built = run({"kind": "compile"})
    also = sorted({name for load in loads for name in load["also"]})
    rows = [
        ["import pgem, NumPy included" + (f" (with {', '.join(also)})" if also else ""),
         [load["seconds"] for load in loads]],
        [f"import, and the first fit of 150 rows ({fits[0]['iterations']} iterations)",
         [fit["seconds"] for fit in fits]],
        ["that first fit alone", [fit["fit"] for fit in fits]],
    ]  # fmt: skip
    rows += [[f"declare and compile `{name}`", [t]] for name, t in built["seconds"].items()]
    if built["missing"]:
        print("templates without a benchmark:", ", ".join(built["missing"]))
    lines = [
        f"| {what} | {1e3 * statistics.median(times):.0f} "
        f"| {1e3 * min(times):.0f}–{1e3 * max(times):.0f} |"
        for what, times in rows
    ]
    print("\n".join(lines))
    return lines


def grow(name: str, repeats: int) -> str:
    """The line of the table for one size that is varied."""
    growth, found = GROWTHS[name], []
    for value in growth.values:
        what = {"kind": "growth", "name": name, "value": value, "repeats": repeats,
                "clock": "wall" if growth.threads else "cpu"}  # fmt: skip
        found.append(run(what, None if growth.threads else "1"))
    line = row(growth, found)
    print(line, flush=True)
    return line


def write_growth(lines: list[str]) -> None:
    """The page's part on how time and memory grow."""
    page = TARGET.read_text()
    head, rest = page.split("<!-- growth -->")
    tail = rest.split("<!-- end of growth -->")[1]
    table = "\n".join([
        "| size | values | ms per iteration | slope | MB above the data | slope |",
        "| --- | --- | --- | --: | --- | --: |", *lines,
    ])  # fmt: skip
    TARGET.write_text(f"{head}<!-- growth -->\n{table}\n<!-- end of growth -->{tail}")


def machine() -> str:
    """Processor, cores, versions, date."""
    model = platform.processor() or platform.machine()
    path = Path("/proc/cpuinfo")
    if path.exists():
        named = [line for line in path.read_text().splitlines() if line.startswith("model name")]
        model = named[0].partition(":")[2].strip() if named else model
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            if name == "pgem":
                import pgem

                versions.append(f"pgem {pgem.__version__}")
    return (
        f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"{', '.join(versions)}; {datetime.date.today().isoformat()}."
    )


def write(rows: list[str], lines: list[str], share: float, repeats: int, busy: bool) -> None:
    """The page, between its fixed first and last parts."""
    page = TARGET.read_text() if TARGET.exists() else "<!-- figures -->\n<!-- end -->\n"
    head, rest = page.split("<!-- figures -->")
    tail = rest.split("<!-- end -->")[1]
    size = "" if share == 1 else f"Sizes reduced to {share:g} of those named. "
    load = (
        " **Measured while other work ran on the same cores**: processor time only, and only the "
        "ratios of one row's systems mean anything." if busy else ""
    )  # fmt: skip
    table = "\n".join([
        f"{size}{machine()}{load}", "",
        "| case | system | ms per iteration (median) | spread | × pgem | × floor | ms once "
        "| MB above the data | log-likelihood |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: |",
        *rows, "",
        f"Spread: least and greatest of {repeats}.",
        *(["", "| what | ms (median) | spread |", "| --- | --: | --: |"] if lines else []), *lines,
    ])  # fmt: skip
    TARGET.write_text(f"{head}<!-- figures -->\n{table}\n<!-- end -->{tail}")


def main() -> None:
    """Run all cases, or those named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"some of: {', '.join(CASES)}; default all")
    parser.add_argument("--short", action="store_true", help="a tenth of the size; writes nothing")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--busy", action="store_true",
        help="other work runs on this machine: processor time only, nothing with all threads",
    )  # fmt: skip
    parser.add_argument(
        "--scaling", action="store_true", help="how time and memory grow with each size, instead"
    )
    options = parser.parse_args()
    if options.scaling:
        lines = [grow(name, options.repeats) for name in GROWTHS]
        write_growth(lines)
        return
    share = SHORT if options.short else 1.0
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown cases: {', '.join(sorted(unknown))}")
    rows = [
        row
        for name in options.cases or CASES
        for row in compare(name, share, options.repeats, not options.busy)
    ]
    lines = [] if options.busy else small(options.repeats)
    if not options.cases and not options.short:
        write(rows, lines, share, options.repeats, options.busy)


if __name__ == "__main__":
    main()
