"""Running a program over all shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.errors import FitError
from pgem.routines import Joint, Semiring, Stats
from pgem.run.bind import Bound

SUM = Semiring()


def sum_statistics(
    bound: Bound, params: dict[str, Floats], semiring: Semiring = SUM
) -> tuple[Floats, Stats]:
    """Log-likelihood of every unit [N] and the expected statistics of all of them.

    Raises:
        FitError: a unit of positive weight has probability zero, or a value that is no number.
    """
    stats = Stats()
    parts = []
    with np.errstate(all="ignore"):
        for shard in bound.shards():
            part = Stats()
            parts.append(bound.program.e_step(shard, params, part, semiring))
            stats.merge(part)
    log_p = np.concatenate(parts)
    check_units(log_p, bound)
    return log_p, stats


def check_units(log_p: Floats, bound: Bound) -> None:
    """Every unit that counts has a finite log-likelihood."""
    bad = ~np.isfinite(log_p) & (bound.columns.weights > 0)
    if bad.any():
        unit = int(np.argmax(bad))
        raise FitError(
            f"unit '{unit}' has log-likelihood '{log_p[unit]}' at the current parameters",
            expected="a finite number",
            advice="look for values that no component can produce (structural zeros, a start "
            "value of probability zero), or give the unit weight 0",
        )


def log_likelihood(bound: Bound, params: dict[str, Floats]) -> Floats:
    """log p of every unit [N]."""
    parts = []
    with np.errstate(all="ignore"):
        for shard in bound.shards():
            answers: tuple[dict[str, Floats], ...] = ({},) if bound.program.queries else ()
            parts.append(bound.program.e_step(shard, params, Nothing(), SUM, *answers))
    return np.concatenate(parts)


@dataclass(frozen=True)
class Answer:
    """What was asked of a program.

    Attributes:
        log_p: log-likelihood of every unit [N].
        tables: per query, the joint posterior [rows, axes...].
        moments: of nodes that are integrated out, mean [rows, d] and covariance [rows, d, d].
        draws: of the same nodes, a joint draw [rows, d] (in the sampling semiring).
    """

    log_p: Floats
    tables: list[Floats]
    moments: dict[str, tuple[Floats, Floats]]
    draws: dict[str, Floats]


def answer(bound: Bound, params: dict[str, Floats], semiring: Semiring = SUM) -> Answer:
    """Joint posteriors of all queries, and what is known of the nodes that are integrated out.

    Raises:
        FitError: a unit has probability zero, so that it has no posterior.
    """
    parts, found, moments, draws = [], [], [], []
    with np.errstate(all="ignore"):
        for shard in bound.shards():
            answers: dict[str, Floats] = {}
            asked = (answers,) if bound.program.queries else ()
            listener = Unseen(semiring.generator)
            parts.append(bound.program.e_step(shard, params, listener, semiring, *asked))
            found.append(answers)
            moments.append(listener.moments)
            draws.append(listener.draws)
    log_p = np.concatenate(parts)
    check_units(log_p, bound)
    names = [f"query_{k}" for k in range(len(bound.program.queries))]
    tables = [np.concatenate([answers[name] for answers in found]) for name in names]
    joined = {
        name: (
            np.concatenate([part[name][0] for part in moments if name in part]),
            np.concatenate([part[name][1] for part in moments if name in part]),
        )
        for name in dict.fromkeys(name for part in moments for name in part)
    }
    drawn = {name: np.concatenate([part[name] for part in draws]) for name in draws[0]}
    return Answer(log_p, tables, joined, drawn)


class Nothing(Stats):
    """Statistics that nobody asked for."""

    def add(self, *ignored: object, **options: object) -> None:
        """Ignore them."""


class Unseen(Nothing):
    """What the posterior says of the nodes that are integrated out.

    Args:
        generator: of joint draws; None for moments.
    """

    def __init__(self, generator: Generator | None) -> None:
        super().__init__()
        self.generator = generator
        self.moments: dict[str, tuple[Floats, Floats]] = {}
        self.draws: dict[str, Floats] = {}

    def add(self, *found: Any, **options: object) -> None:
        """Take the moments (or a draw) of a table of integrated nodes under its posterior."""
        table, posterior = found
        if isinstance(table.source, Joint):
            if self.generator is None:
                self.moments |= table.source.moments(posterior)
            else:
                self.draws |= table.source.draw(self.generator, posterior)
