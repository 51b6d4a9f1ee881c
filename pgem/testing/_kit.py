"""`check_family`: all checks in order of dependence, collected in a report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

from pgem.errors import PgemError
from pgem.families._family import Family
from pgem.testing import _behaviour, _conjugacy, _estimation, _facts
from pgem.testing._case import Case, make_case
from pgem.testing._report import Check, Fault, Outcome, Report, Skip

Entry = tuple[str, str, Callable[[Case], str]]

DENSITY: tuple[Entry, ...] = (
    ("support", "support", _facts.check_support),
    ("log_density = facts", "log_density", _facts.check_log_density),
    ("density = scipy.stats", "log_density", _facts.check_twin),
    ("normalisation", "log_density", _facts.check_normalisation),
)
"""(name, what to look at if the family raises, check); if one fails the others cannot judge."""

REST: tuple[Entry, ...] = (
    ("∇A = E[T]", "log-partition A", _facts.check_gradient),
    ("∇²A = Cov[T]", "log-partition A", _facts.check_curvature),
    ("written formulas", "written formulas", _facts.check_written),
    ("moments", "moments", _facts.check_moments),
    ("slots → E[T] → slots", "mean map", _facts.check_mean_map),
    ("entropy and divergence", "entropy", _facts.check_information),
    ("missing values", "accumulate", _estimation.check_missing),
    ("weights = replication", "accumulate", _estimation.check_weights),
    ("merge = concatenation", "accumulate", _estimation.check_merge),
    ("M-step slot by slot", "role_statistics", _estimation.check_roles),
    ("conjugate prior", "pseudo_statistics", _estimation.check_prior),
    ("multipliers", "multiplier", _conjugacy.check_multipliers),
    ("conjugate latent", "mean_statistics", _conjugacy.check_latent),
    ("joint M-step", "estimate", _estimation.check_estimate),
    ("no data, equal data", "estimate", _behaviour.check_empty),
    ("extreme values", "log_density", _behaviour.check_extremes),
    ("boundary values", "natural parameters", _behaviour.check_boundary),
    ("independent coordinates", "log_density", _estimation.check_coordinates),
    ("draws", "draw", _behaviour.check_draw),
    ("bad values", "check_values", _behaviour.check_bad_values),
    ("pickle and copy", "pickling", _behaviour.check_copies),
    ("JSON", "declaration", _behaviour.check_json),
)
"""Causes before effects: the first failure is the one to look at."""

OF_FACTS = ("log_density = facts", "∇A = E[T]", "∇²A = Cov[T]")
"""Checks that mean nothing for a family without statistics."""


def check_family(
    family: Family | type[Family],
    slots: Mapping[str, object] | None = None,
    *,
    known: Mapping[str, object] | None = None,
    n_rows: int = 48,
    seed: int = 0,
) -> Report:
    """Check that a family's facts and methods agree with each other.

    The judges are summation or quadrature over the support, a numerical optimiser, and the
    distribution of `scipy.stats` that `scipy_twin` names, if any.

    Args:
        family: a family class, or an instance (settled, for a structure or a size).
        slots: values [C, ...] per cell, where those that the roles draw do not fit.
        known: values of known slots to try, one per cell in turn; default `family.examples`.
        n_rows: rows of data in the checks of the M-step.
        seed: of parameters, data and draws.

    Returns:
        The report; `print` shows it as a table.

    Raises:
        AssertionError: naming the fact or method that is wrong, above the table.
        PgemError: the family is a vector given by two functions, which the judges cannot integrate.
    """
    if family.own_fit and family.event_ndim:
        raise PgemError(
            f"{family.__name__ if isinstance(family, type) else type(family).__name__} is a vector "
            "given by two functions, whose density the kit cannot integrate",
            advice="check log_density and fit on a scalar case",
        )
    try:
        case = make_case(family, slots, known, n_rows, seed)
    except Fault as fault:
        raise AssertionError(f"{family}: wrong {fault.culprit}: {fault.evidence}") from None
    report = Report(case.name, _run_all(case))
    if not report.passed:
        raise AssertionError(report.verdict())
    return report


def _run_all(case: Case) -> tuple[Check, ...]:
    density = tuple(_run(case, *entry) for entry in DENSITY)
    if any(check.outcome is Outcome.FAILED for check in density):
        return density + tuple(
            Check(name, Outcome.SKIPPED, "the density is wrong") for name, *_ in REST
        )
    return density + tuple(_run(case, *entry) for entry in REST)


def _run(case: Case, name: str, suspect: str, check: Callable[[Case], str]) -> Check:
    if case.family.own_fit and name in OF_FACTS:
        return Check(name, Outcome.SKIPPED, "it is given by two functions, not by facts")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return Check(name, Outcome.PASSED, check(case))
    except Skip as reason:
        return Check(name, Outcome.SKIPPED, str(reason))
    except Fault as fault:
        return Check(name, Outcome.FAILED, fault.evidence, fault.culprit)
    except Exception as error:  # whatever the family raises is a finding
        return Check(name, Outcome.FAILED, f"{type(error).__name__}: {error}", suspect)
