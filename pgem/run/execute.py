"""Running a program over all shards."""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats
from pgem.errors import FitError
from pgem.routines import Semiring, Stats
from pgem.run.bind import Bound, Shard
from pgem.run.threads import in_order

SUM = Semiring()


def sum_statistics(
    bound: Bound, params: dict[str, Floats], semiring: Semiring = SUM
) -> tuple[Floats, Stats]:
    """Log-likelihood of every unit that is run, and the expected statistics of all of them.

    Equal units may have been merged: `bound.weights` go with the log-likelihoods.

    Raises:
        FitError: a unit of positive weight has probability zero, or a value that is no number.
    """
    asked = bound
    if semiring.name == "sample":  # equal units have draws of their own, shards one generator
        bound = bound.unmerged()

    def work(shard: Shard) -> tuple[Floats, Stats]:
        part = Stats()
        with np.errstate(all="ignore"):  # a thread starts with the default
            return bound.program.e_step(shard, params, part, semiring), part

    stats, parts = Stats(), []
    n_threads = 1 if semiring.name == "sample" else bound.n_threads
    for by_unit, part in in_order(work, bound.shards(), n_threads):
        parts.append(by_unit)
        stats.merge(part)
    log_p = np.concatenate(parts)
    check_units(log_p, bound)
    return log_p if bound is asked else log_p[asked.rows.units], stats


def check_units(log_p: Floats, bound: Bound) -> None:
    """Every unit that counts has a finite log-likelihood."""
    bad = ~np.isfinite(log_p) & (bound.weights > 0)
    if bad.any():
        place = int(np.argmax(bad))
        unit = place if bound.rows.units is None else int(bound.rows.units[place])
        raise FitError(
            f"unit '{unit}' has log-likelihood '{log_p[place]}' at the current parameters",
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
    return bound.expand(np.concatenate(parts))


def answer(
    bound: Bound, params: dict[str, Floats], semiring: Semiring = SUM
) -> tuple[Floats, list[Floats]]:
    """Joint posteriors of all queries: log p [N], and per query [rows, axes...].

    Raises:
        FitError: a unit has probability zero, so that it has no posterior.
    """
    bound = bound.unmerged()
    parts, found = [], []
    with np.errstate(all="ignore"):
        for shard in bound.shards():
            answers: dict[str, Floats] = {}
            asked = (answers,) if bound.program.queries else ()
            parts.append(bound.program.e_step(shard, params, Nothing(), semiring, *asked))
            found.append(answers)
    log_p = np.concatenate(parts)
    check_units(log_p, bound)
    names = [f"query_{k}" for k in range(len(bound.program.queries))]
    return log_p, [np.concatenate([answers[name] for answers in found]) for name in names]


class Nothing(Stats):
    """Statistics that nobody asked for."""

    def add(self, *ignored: object, **options: object) -> None:
        """Ignore them."""
