"""Which values the options of a fit may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pgem.errors import FitError
from pgem.plan import Program


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int | np.integer) and not isinstance(v, bool) and int(v) >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and bool(np.isfinite(value))


def _maybe(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or test(value)


def _one_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    return lambda v: isinstance(v, str) and v in names, " or ".join(f"'{name}'" for name in names)


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "start": (_maybe(lambda v: isinstance(v, Mapping)), "a mapping from names to values"),
    "restarts": (_whole(1), "a whole number of at least 1"),
    "seed": (_maybe(_whole(0)), "a whole number of at least 0, or None"),
    "max_iter": (_whole(0), "a whole number of at least 0"),
    "tol": (lambda v: _number(v) and v >= 0, "a number of at least 0"),
    "estimate": (_maybe(_one_of("ml", "map")[0]), "'ml', 'map' or None"),
    "posterior": _one_of("soft", "hard"),
    "m_step": _one_of("full", "once"),
    "degenerate": _one_of("stop", "raise", "floor", "restart"),
    "floor": (_maybe(lambda v: _number(v) and v > 0), "a positive share of the data's variance"),
    "callback": (_maybe(callable), "a function of (iteration, log-likelihood)"),
    "schedule": (lambda v: v == "batch", "'batch' (others are not available yet)"),
    "accelerate": (lambda v: v is None, "None (acceleration is not available yet)"),
    "shard_size": (_maybe(_whole(1)), "a whole number of at least 1"),
    "n_jobs": (
        _maybe(lambda v: _whole(1)(v) or (_whole(-(1 << 30))(v) and v < 0)),
        "a number of threads, -1 for all cores, -2 for all but one, or None",
    ),
}


def check_options(**options: Any) -> None:
    """Every option has a value that it may have.

    Raises:
        FitError: one has not, naming it.
    """
    for name, value in options.items():
        test, expected = RULES[name]
        if not test(value):
            raise FitError(
                f"option '{name}' cannot have this value",
                expected=expected,
                received=f"'{value!r}'" if not isinstance(value, str) else f"'{value}'",
            )


def check_hard(posterior: str, program: Program) -> None:
    """Hard latents are discrete: with continuous ones alone there is nothing to decide.

    Raises:
        FitError: `posterior="hard"`, and all latents are continuous.
    """
    analysis = program.analysis
    blocks = [*(r.name for r in analysis.regions), *(c.name for c in analysis.conjugates)]
    if posterior == "hard" and blocks and not analysis.schedule.positions:
        raise FitError(
            "posterior='hard' decides on discrete latents, and this model has none",
            expected="a discrete latent node",
            received=f"continuous latents {', '.join(map(repr, blocks))}, which stay integrated",
            advice="posterior='soft'",
        )
