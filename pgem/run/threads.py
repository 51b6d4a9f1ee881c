"""Shards on Python threads: compiled loops, NumPy and BLAS let go of the interpreter's lock.

Every shard is run by one thread, with BLAS held to one thread of its own (its own threads fight
with each other on small matrices), and what comes out is taken in the order of the shards.  So a
result does not depend on the number of threads, not by a bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")
S = TypeVar("S")

LARGE_FROM = 1 << 19
"""Table entries of one iteration (some milliseconds of NumPy) from which compiled loops are used
and BLAS is held to one thread: its own threads cost more than they give on matrices that fit into
the cache, above all where other work wants a core."""
PAYS_FROM = 2_000_000
"""Table entries of one iteration from which all cores are used by default: some ten
milliseconds."""


def count_threads(n_jobs: int | None, n_shards: int, entries: int) -> tuple[int, str]:
    """How many threads to use, and why, for the report.

    Args:
        n_jobs: the user's wish: a number, -1 for all cores, -2 for all but one, …; None for all
            cores where that pays.
        n_shards: shards of the data.
        entries: table entries of one iteration.
    """
    cores = _n_cores()
    if n_jobs is None:
        wanted = cores if entries >= PAYS_FROM else 1
    else:
        wanted = n_jobs if n_jobs > 0 else max(1, cores + 1 + n_jobs)
    wanted = min(wanted, n_shards)
    return wanted, f"{wanted} threads, BLAS held to one each" if wanted > 1 else "one thread"


def in_order(
    work: Callable[[S], T], items: Iterable[S], n_threads: int, *, is_large: bool = False
) -> Iterator[T]:
    """The results of `work` in the order of the items.

    Args:
        work: what is done with an item.
        items: the items.
        n_threads: threads over them.
        is_large: whether BLAS is worth holding to one thread where there is a single one.
    """
    if n_threads == 1 and not is_large:
        yield from map(work, items)
        return
    with _controller().limit(limits=1, user_api="blas"):
        if n_threads == 1:
            yield from map(work, items)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(n_threads) as pool:
            yield from pool.map(work, items)


def _n_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _controller() -> Any:
    """The thread pools of NumPy and of SciPy, whose BLAS the compiled loops call."""
    import scipy.linalg.cython_blas  # noqa: F401  # only what is loaded is found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
