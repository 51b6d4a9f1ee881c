"""How time and memory grow: one size is varied, the others stay.

The slope is that of a straight line through the logarithms: 1 is proportional, 2 quadratic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.chains import hmm_pgem, symbols
from benchmarks.common import Arrays, System, fit_pgem
from benchmarks.gaussian import gaussian_data, gaussian_pgem

Made = tuple[Arrays, Arrays]


@dataclass(frozen=True)
class Growth:
    """One size and what is fitted.

    Attributes:
        title: for the table.
        values: sizes.
        make: size → data and start.
        fit: pgem.
        iterations: iterations that are timed.
        threads: whether the size is the number of threads.
    """

    title: str
    values: tuple[int, ...]
    make: Callable[[int], Made]
    fit: System
    iterations: int = 6
    threads: bool = False


def holed(n_patterns: int) -> Made:
    """50,000 rows of 8 numbers; each row shows one of so many subsets of them."""
    data, start = gaussian_data(50_000, full=True, k=4, d=8)(1.0)
    rng = np.random.default_rng(8)
    shown = np.ones((n_patterns, 8), dtype=bool)
    codes = rng.permutation(255)[: n_patterns - 1] + 1  # the first pattern shows all
    shown[1:] = (codes[:, None] >> np.arange(8)) & 1
    rows = shown[rng.integers(n_patterns, size=len(data["x"]))]
    return {"x": np.where(rows, data["x"], np.nan)}, start


def threaded(data: Arrays, start: Arrays, iterations: int) -> Arrays:
    """The mixture with as many threads as the data say."""
    import pgem as pg

    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=len(start["weights"])))
        pg.observed("x", pg.MvNormal(), given=z)
    names = {"z.probs": "weights", "x.mean": "mean", "x.cov": "cov"}
    n_jobs: Any = int(data["threads"])
    return fit_pgem(model, {"x": data["x"]}, start, iterations, names, n_jobs=n_jobs)


def _with_threads(n: int) -> Made:
    data, start = gaussian_data(400_000, full=True)(1.0)
    return {**data, "threads": np.asarray(n)}, start


GROWTHS = {
    "rows": Growth(
        "rows: Gaussian mixture, 16 full components in 16 dimensions",
        (50_000, 100_000, 200_000, 400_000),
        lambda n: gaussian_data(n, full=True)(1.0), gaussian_pgem,
    ),
    "components": Growth(
        "components: 100,000 × 16, full", (4, 8, 16, 32, 64),
        lambda k: gaussian_data(100_000, full=True, k=k)(1.0), gaussian_pgem,
    ),
    "dimensions": Growth(
        "dimensions: 50,000 rows, 8 full components", (4, 8, 16, 32, 64),
        lambda d: gaussian_data(50_000, full=True, k=8, d=d)(1.0), gaussian_pgem,
    ),
    "steps": Growth(
        "steps: one sequence of 32 symbols, 8 states", (100_000, 200_000, 400_000, 800_000),
        lambda n: symbols(n, 8, 32)(1.0), hmm_pgem,
    ),
    "states": Growth(
        "states: one sequence of 100,000 steps, 32 symbols", (4, 8, 16, 32, 64),
        lambda k: symbols(100_000, k, 32)(1.0), hmm_pgem,
    ),
    "patterns": Growth(
        "missing patterns: 50,000 × 8, 4 full components", (1, 10, 50, 250),
        holed, gaussian_pgem, 3,
    ),
    "threads": Growth(
        "threads, elapsed time: 400,000 × 16, 16 full components", (1, 2), _with_threads, threaded,
        threads=True,
    ),
}  # fmt: skip


def slope(sizes: tuple[int, ...], figures: list[float]) -> float:
    """Of the line through the logarithms."""
    positive = np.maximum(figures, 1e-9)
    return float(np.polyfit(np.log(sizes), np.log(positive), 1)[0])


def row(growth: Growth, found: list[dict[str, Any]]) -> str:
    """A line of the table."""
    times = [1e3 * float(np.median(figures["seconds"])) for figures in found]
    memory = [figures["memory"] / 2**20 for figures in found]
    sizes = growth.values
    return (
        f"| {growth.title} | {', '.join(f'{n:,}' for n in sizes)} "
        f"| {', '.join(f'{t:.3g}' for t in times)} | {slope(sizes, times):.2f} "
        f"| {', '.join(f'{m:.0f}' for m in memory)} | {slope(sizes, memory):.2f} |"
    )
