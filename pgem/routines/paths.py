"""Which compiled loops scan a sequence."""

from __future__ import annotations

from collections.abc import Sequence

from pgem.routines.chain import ChainPass, is_chain
from pgem.routines.collect import ScopeData
from pgem.routines.contract import Semiring
from pgem.routines.kernels import CompiledPass, LogPass
from pgem.routines.lane_plan import Lanes, Memory, make_lanes
from pgem.routines.lanes import LanePass, is_steady
from pgem.routines.scan_plan import Pass, Rows, ScanPlan


def compiled_pass(
    plan: ScanPlan, factors: Sequence[Rows], scope: ScopeData, semiring: Semiring
) -> Pass:
    """The quickest pass that serves the plan: lanes, one sequence after the other, any plan."""
    if semiring.name != "sum":
        return LogPass(plan, factors, scope.starts, semiring)
    if not is_chain(plan):
        return CompiledPass(plan, factors, scope.starts, semiring)
    lanes = _lanes(plan, scope) if is_steady(plan, factors) else None
    if lanes is None:
        return ChainPass(plan, factors, scope.starts, semiring)
    memory = scope.kept.setdefault(plan, Memory())
    given = plan, factors, scope.starts, semiring
    return LanePass(*given, lanes, scope.cache, memory, scope.n_threads)


def _lanes(plan: ScanPlan, scope: ScopeData) -> Lanes | None:
    """Lanes of the sequences; kept with their rows."""
    key = "lanes", plan.n_state
    if key not in scope.cache:
        scope.cache[key] = make_lanes(scope.starts, plan.n_state)
    return scope.cache[key]  # type: ignore[no-any-return]
