"""Stage 6 of 7 — learn: program + data + options → Run (parameters, trace, verdict)."""

from pgem.learn.em import Options, Run, run_em, weighted_total
from pgem.learn.options import check_hard, check_options
from pgem.learn.restarts import best_run, start_params
from pgem.learn.start import check_value
from pgem.learn.verdict import Verdict

__all__ = [
    "Options",
    "Run",
    "Verdict",
    "best_run",
    "check_hard",
    "check_options",
    "check_value",
    "run_em",
    "start_params",
    "weighted_total",
]
