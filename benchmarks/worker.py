"""One case with one system, in a process of its own: prints its figures as JSON.

Nothing is imported before it is timed.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import Arrays, System

ENOUGH = 0.25
"""Seconds that the timed iterations take at least, far more than what happens once varies by."""
MOST = 256
"""How many times as many iterations are timed where they are quick."""


def run_case(name: str, system: str, share: float, repeats: int, clock: str) -> dict[str, Any]:
    """Seconds per iteration, memory above the data, and the log-likelihood that was reached."""
    from benchmarks import floors
    from benchmarks.cases import CASES

    case = CASES[name]
    data, start = case.make(share)
    found = timed(case.systems[system], data, start, case.iterations, repeats, clock)
    params = found.pop("params")
    return found | {
        "floor": floors.seconds(case.work(data, start)),
        "log_likelihood": case.log_likelihood(data, params),
    }


def run_growth(name: str, value: int, repeats: int, clock: str) -> dict[str, Any]:
    """Seconds per iteration and memory above the data at one size."""
    from benchmarks.scaling import GROWTHS

    growth = GROWTHS[name]
    data, start = growth.make(value)
    found = timed(growth.fit, data, start, growth.iterations, repeats, clock)
    return {key: found[key] for key in ("seconds", "memory")}


def timed(
    fit: System, data: Arrays, start: Arrays, iterations: int, repeats: int, clock: str
) -> dict[str, Any]:
    """Seconds per iteration and of what happens once, memory above the data, parameters.

    The parameters are those after 1 + `iterations`; quick iterations are timed over more of them.
    """
    now: Callable[[], float] = time.process_time if clock == "cpu" else time.perf_counter
    fit(data, start, 1)  # imports, compiled loops
    before = reset_peak()
    params, timed_over = fit(data, start, 1 + iterations), iterations
    times, once = [], []
    while len(times) < repeats:
        # the difference leaves out what happens once: checks, starts, a last E-step
        t0 = now()
        fit(data, start, 1)
        t1 = now()
        fit(data, start, 1 + timed_over)
        t2 = now()
        spent = (t2 - t1) - (t1 - t0)
        if spent < ENOUGH and timed_over < MOST * iterations:
            timed_over, times, once = 4 * timed_over, [], []
            continue
        times.append(spent / timed_over)
        once.append((t1 - t0) - times[-1])
    peak = memory("VmHWM")
    return {
        "seconds": times,
        "once": once,
        "memory": max(0, peak - before),
        "params": params,
    }


def reset_peak() -> int:
    """Forget what making the data took; bytes of memory that the process holds now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return memory("VmRSS")
    return memory("VmHWM")


def memory(what: str) -> int:
    """Bytes of memory, now (VmRSS) or at most (VmHWM); elsewhere than on Linux always at most."""
    path = Path("/proc/self/status")
    if path.exists():
        lines = [line.split() for line in path.read_text().splitlines()]
        return 1024 * next(int(line[1]) for line in lines if line and line[0] == f"{what}:")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_import() -> dict[str, Any]:
    """Seconds for `import pgem`, and which heavy packages came along."""
    t0 = time.perf_counter()
    import pgem  # noqa: F401

    heavy = ("numba", "scipy", "networkx", "pandas", "matplotlib")
    return {"seconds": time.perf_counter() - t0, "also": [m for m in heavy if m in sys.modules]}


def run_first_fit() -> dict[str, Any]:
    """Seconds from the start of `import pgem` to the end of a fit of 150 rows."""
    t0 = time.perf_counter()
    import numpy as np

    import pgem as pg

    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 4)) + 3.0 * (np.arange(150) % 3)[:, None]
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=3))
        pg.observed("x", pg.MvNormal(), given=z)
    t1 = time.perf_counter()
    fit = model.fit({"x": x})
    return {
        "seconds": time.perf_counter() - t0,
        "fit": time.perf_counter() - t1,
        "iterations": len(fit.trace) - 1,
    }


def run_compile() -> dict[str, Any]:
    """Seconds to declare and compile each template, the least of five."""
    import pgem as pg
    from pgem import templates

    make: dict[str, Callable[[], Any]] = {
        "mixture": lambda: templates.mixture(pg.MvNormal(size=4), 5),
        "kmeans": lambda: templates.kmeans(5, 4),
        "naive_bayes": lambda: templates.naive_bayes({"a": pg.Normal(), "b": pg.Poisson()}, 3),
        "latent_class": lambda: templates.latent_class(20, 4),
        "hmm": lambda: templates.hmm(pg.Normal(), 4),
        "gmm_hmm": lambda: templates.gmm_hmm(3, 2, pg.MvNormal(size=2)),
        "factorial_hmm": lambda: templates.factorial_hmm(pg.Normal(), (2, 3)),
        "mixture_of_hmms": lambda: templates.mixture_of_hmms(pg.Poisson(), 2, 3),
    }
    found = {}
    for name, build in make.items():
        times = []
        for _ in range(5):
            t0 = time.perf_counter()
            build().compile()
            times.append(time.perf_counter() - t0)
        found[name] = min(times)
        if len(found) == 1:
            found["the first in a process"] = times[0]
    return {"seconds": found, "missing": sorted(set(templates.__all__) - set(make) - {"template"})}


def main() -> None:
    """Run what the first argument asks for (JSON) and print the result."""
    what = json.loads(sys.argv[1])
    kind = what.pop("kind")
    run = {
        "case": run_case, "growth": run_growth, "import": run_import, "fit": run_first_fit,
        "compile": run_compile,
    }  # fmt: skip
    print(json.dumps(run[kind](**what)))


if __name__ == "__main__":
    main()
