"""The shelf of routines: one kind of instruction a file, forward and reverse."""

from pgem.routines.choice import choose
from pgem.routines.collect import ScopeData, collect, spread, total
from pgem.routines.conjugate import conjugate
from pgem.routines.conjugate_children import either, inside, message, over, prior, staged, times
from pgem.routines.contract import Semiring, keep
from pgem.routines.durations import durations
from pgem.routines.holes import Holes, Places, Tail, find_branches, find_stretches, find_tails
from pgem.routines.integrate import RegionData, gaussian, integrate, switched
from pgem.routines.maximise import (
    Learned,
    at_least,
    climb,
    estimate,
    expected_log_density,
    free,
    maximise,
    sweeps,
)
from pgem.routines.newton import newton
from pgem.routines.own_fit import fit_cells
from pgem.routines.priors import Prior, Times
from pgem.routines.regress import regress
from pgem.routines.scan import scan
from pgem.routines.segments import segments
from pgem.routines.stationary import (
    closed_classes,
    listed_classes,
    maximise_stationary,
    stationary,
    stationary_gradient,
    stationary_value,
    transition_tables,
)
from pgem.routines.stretches import StretchData, make_stretches, stretches
from pgem.routines.tables import (
    Axis,
    Gated,
    Index,
    Joint,
    LogTable,
    NodeData,
    Stats,
    at,
    density,
    evidence,
    pick,
    query,
    steps,
    table,
)
from pgem.routines.tiles import sum_out
from pgem.routines.tree import tree

__all__ = [
    "Axis",
    "Gated",
    "Holes",
    "Index",
    "Joint",
    "Learned",
    "LogTable",
    "NodeData",
    "Places",
    "Prior",
    "RegionData",
    "ScopeData",
    "Semiring",
    "Stats",
    "StretchData",
    "Tail",
    "Times",
    "at",
    "at_least",
    "choose",
    "climb",
    "closed_classes",
    "collect",
    "conjugate",
    "density",
    "durations",
    "either",
    "estimate",
    "evidence",
    "expected_log_density",
    "find_branches",
    "find_stretches",
    "find_tails",
    "fit_cells",
    "free",
    "gaussian",
    "inside",
    "integrate",
    "keep",
    "listed_classes",
    "make_stretches",
    "maximise",
    "maximise_stationary",
    "message",
    "newton",
    "over",
    "pick",
    "prior",
    "query",
    "regress",
    "scan",
    "segments",
    "spread",
    "staged",
    "stationary",
    "stationary_gradient",
    "stationary_value",
    "steps",
    "stretches",
    "sum_out",
    "sweeps",
    "switched",
    "table",
    "times",
    "total",
    "transition_tables",
    "tree",
]
