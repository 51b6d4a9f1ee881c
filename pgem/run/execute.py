"""Running a program over all shards."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats
from pgem.errors import FitError
from pgem.routines import Joint, Semiring, Stats
from pgem.run.bind import Bound
from pgem.run.shard import Shard
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

    semiring = replace(semiring, is_large=bound.is_large)
    stats, parts = Stats(), []
    n_threads = 1 if semiring.name == "sample" else bound.n_threads
    for by_unit, part in in_order(work, bound.shards(), n_threads, is_large=bound.is_large):
        parts.append(by_unit)
        stats.merge(part)
    log_p = np.concatenate(parts)
    check_units(log_p, bound)
    return log_p if bound is asked else log_p[asked.rows.units], stats


@dataclass(frozen=True, eq=False)
class Expected:
    """What an E-step found.

    Attributes:
        total: the log-likelihood.
        size: sum of the units' absolute log-likelihoods, which tells what rounding may do.
        stats: the expected statistics.
    """

    total: float
    size: float
    stats: Stats


def expect(bound: Bound, params: dict[str, Floats], semiring: Semiring = SUM) -> Expected:
    """Log-likelihood and expected statistics of all units, with their weights.

    Raises:
        FitError: a unit of positive weight has probability zero, or a value that is no number.
    """
    found = _expect_jointly(bound, params) if semiring.name == "sum" else None
    if found is not None:
        return found
    if semiring.is_large != bound.is_large:
        semiring = replace(semiring, is_large=bound.is_large)

    def work(shard: Shard) -> tuple[float, float, Stats]:
        part = Stats()
        with np.errstate(all="ignore"):  # a thread starts with the default
            log_p = bound.program.e_step(shard, params, part, semiring)
            weights = bound.weights[shard.first : shard.last]
            terms = weights * log_p
            total = float(np.add.reduce(terms))
            if not math.isfinite(total):
                check_units(log_p, bound, shard.first)
                terms = np.where(weights > 0, terms, 0.0)  # 0 times -inf is 0
                total = float(np.add.reduce(terms))
            return total, float(np.add.reduce(np.abs(terms, out=terms))), part

    if bound.only is not None and not bound.is_large:
        return Expected(*work(bound.only))
    total, size, stats = 0.0, 0.0, Stats()
    for value, absolute, part in in_order(
        work, bound.shards(), bound.n_threads, is_large=bound.is_large
    ):
        total += value
        size += absolute
        stats.merge(part)
    return Expected(total, size, stats)


def _expect_jointly(bound: Bound, params: dict[str, Floats]) -> Expected | None:
    """The same for small units in one product; None where they are not, or the total is no number.

    What is wrong with a total is left to the listing to find.
    """
    joint = bound.joint(params)
    if joint is None:
        return None
    with np.errstate(all="ignore"):
        found = joint.expect(params)
        if found is None:
            return None
        log_p, stats = found
        terms = joint.weights * log_p
        total = float(np.add.reduce(terms))
    if not math.isfinite(total):
        return None
    return Expected(total, float(np.add.reduce(np.abs(terms))), stats)


def check_units(log_p: Floats, bound: Bound, first: int = 0) -> None:
    """Every unit that counts has a finite log-likelihood.

    Args:
        log_p: of units that are run.
        bound: the data.
        first: number of the first of these units.

    Raises:
        FitError: one has not.
    """
    bad = ~np.isfinite(log_p) & (bound.weights[first : first + len(log_p)] > 0)
    if bad.any():
        place = first + int(np.argmax(bad))
        unit = place if bound.rows.units is None else int(bound.rows.units[place])
        raise FitError(
            f"unit '{unit}' has log-likelihood '{log_p[place - first]}' at the current parameters",
            expected="a finite number",
            advice="look for values that no component can produce (structural zeros, a start "
            "value of probability zero), or give the unit weight 0",
        )


def log_likelihood(bound: Bound, params: dict[str, Floats]) -> Floats:
    """log p of every unit [N]."""
    if bound.which is None:  # units may have been replaced by others of the same moments
        bound = bound.unmerged()
    parts, semiring = [], Semiring(is_large=bound.is_large)
    with np.errstate(all="ignore"):
        for shard in bound.shards():
            answers: tuple[dict[str, Floats], ...] = ({},) if bound.program.queries else ()
            parts.append(bound.program.e_step(shard, params, Nothing(), semiring, *answers))
    return bound.expand(np.concatenate(parts))


@dataclass(frozen=True)
class Answer:
    """What was asked of a program.

    Attributes:
        tables: per query, the joint posterior [rows, axes...], or the most probable value [rows].
        moments: of nodes that are integrated out, mean [rows, d] and covariance [rows, d, d].
        draws: of the same nodes, a joint draw [rows, d] (in the sampling semiring).
    """

    tables: list[Floats]
    moments: dict[str, tuple[Floats, Floats]]
    draws: dict[str, Floats]


def answer(
    bound: Bound,
    params: dict[str, Floats],
    semiring: Semiring = SUM,
    modes: Container[int] = (),
) -> Answer:
    """Joint posteriors of all queries, and what is known of the nodes that are integrated out.

    Args:
        bound: program and data.
        params: parameters by name.
        semiring: sum, max or sampling.
        modes: queries (by number) of single nodes of which the most probable value is wanted,
            [rows], and not the table.

    Raises:
        FitError: a unit has probability zero, so that it has no posterior.
    """
    bound = bound.unmerged()
    semiring = replace(semiring, is_large=bound.is_large)
    moments, draws = [], []
    tables: list[Any] = [None for _ in bound.program.queries]
    with np.errstate(all="ignore"):
        for shard in bound.shards():
            answers: dict[str, Floats] = {}
            asked = (answers,) if bound.program.queries else ()
            listener = Unseen(semiring.generator)
            log_p = bound.program.e_step(shard, params, listener, semiring, *asked)
            check_units(log_p, bound, shard.first)
            for number in range(len(tables)):
                table = answers.pop(f"query_{number}")
                if number in modes:
                    table = _modes(table)
                tables[number] = _put(tables[number], table, bound, shard, number)
            moments.append(listener.moments)
            draws.append(listener.draws)
    joined = {
        name: (
            np.concatenate([part[name][0] for part in moments if name in part]),
            np.concatenate([part[name][1] for part in moments if name in part]),
        )
        for name in dict.fromkeys(name for part in moments for name in part)
    }
    drawn = {name: np.concatenate([part[name] for part in draws]) for name in draws[0]}
    return Answer(tables, joined, drawn)


def _modes(table: Floats) -> Any:
    """The most probable value of one node [rows], in the smallest type."""
    flat = table.reshape(len(table), -1)
    return flat.argmax(axis=1).astype(np.min_scalar_type(flat.shape[1]))


def _put(whole: Any, rows: Any, bound: Bound, shard: Shard, number: int) -> Any:
    """Write what a shard tells of a query into its place, so that nothing is joined at the end."""
    nodes, outline = bound.program.queries[number], bound.program.outline
    scopes = [outline.nodes[name].scope for name, _ in nodes]
    scope = max(scopes, key=lambda s: len(outline.path(s)))
    if whole is None:
        whole = np.empty((bound.rows.n_rows(scope), *rows.shape[1:]), rows.dtype)
    whole[slice(*shard.ranges[scope])] = rows
    return whole


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
                for name, (mean, cov) in table.source.moments(posterior).items():
                    other = self.moments.get(name, (mean, cov))
                    gone = np.asarray(np.isnan(mean).any(axis=1))  # told by another table
                    self.moments[name] = (
                        np.where(gone[:, None], other[0], mean),
                        np.where(gone[:, None, None], other[1], cov),
                    )
            else:
                for name, drawn in table.source.draw(self.generator, posterior).items():
                    gone = np.isnan(drawn)
                    self.draws[name] = np.where(gone, self.draws.get(name, drawn), drawn)
