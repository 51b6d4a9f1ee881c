"""Which compiled loops scan a sequence."""

from __future__ import annotations

from collections.abc import Sequence

from pgem.arrays import Integers
from pgem.routines.chain import ChainPass, is_chain
from pgem.routines.collect import ScopeData
from pgem.routines.contract import Semiring
from pgem.routines.kernels import CompiledPass, LogPass
from pgem.routines.lane_plan import Lanes, Memory, make_lanes
from pgem.routines.lanes import LanePass, is_steady
from pgem.routines.scan_plan import Pass, Rows, ScanPlan


def compiled_pass(
    plan: ScanPlan,
    factors: Sequence[Rows],
    starts: Integers,
    semiring: Semiring,
    scope: ScopeData | None,
) -> Pass:
    """The quickest pass that serves the plan: lanes, one sequence after the other, any plan.

    Args:
        plan: of one step.
        factors: its tables.
        starts: first row of every sequence, and the end.
        semiring: sum, max or sampling.
        scope: the sequences' rows, if they are those of the data.
    """
    given = plan, factors, starts, semiring
    if semiring.name != "sum":
        return LogPass(*given)
    if not is_chain(plan):
        return CompiledPass(*given)
    if scope is None or not is_steady(plan, factors):
        return ChainPass(*given)
    lanes = _lanes(plan, scope)
    if lanes is None:
        return ChainPass(*given)
    memory = scope.kept.setdefault(plan, Memory())
    return LanePass(*given, lanes, scope.cache, memory, scope.n_threads)


def _lanes(plan: ScanPlan, scope: ScopeData) -> Lanes | None:
    """Lanes of the sequences; kept with their rows."""
    key = "lanes", plan.n_state
    if key not in scope.cache:
        scope.cache[key] = make_lanes(scope.starts, plan.n_state)
    return scope.cache[key]  # type: ignore[no-any-return]
