"""What all cases share: their form, and how pgem is called."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, Any]
System = Callable[[Arrays, Arrays, int], Arrays]


@dataclass(frozen=True)
class Case:
    """What is fitted, by whom, and how it is checked.

    Attributes:
        title: for the table.
        make: (share of the full size) → (data, start).
        systems: by name; the first is pgem.
        log_likelihood: (data, parameters) → log p, written without any of the systems.
        iterations: iterations that are timed.
        work: (data, start) → the operations that an iteration cannot do without (`floors.Work`).
        threads: whether it is also worth running with all threads.
    """

    title: str
    make: Callable[[float], tuple[Arrays, Arrays]]
    systems: dict[str, System]
    log_likelihood: Callable[[Arrays, Arrays], float]
    iterations: int
    work: Callable[[Arrays, Arrays], Any]
    threads: bool = False


def fit_pgem(
    model: Any, data: Any, start: Arrays, iterations: int, names: dict[str, str], **options: Any
) -> Arrays:
    """Parameters after some iterations, by the names of the case."""
    fit = model.fit(
        data,
        start={name: start[own] for name, own in names.items()},
        max_iter=iterations,
        tol=0.0,
        **{"n_jobs": 1 if os.environ.get("OMP_NUM_THREADS") == "1" else None, **options},
    )
    return {own: np.asarray(fit.params[name]) for name, own in names.items()}
