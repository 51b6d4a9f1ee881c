"""Stage 6 of 7 — learn: program + data + options → Run (parameters, trace, verdict)."""

from pgem.learn.em import Options, Run, run_em, weighted_total
from pgem.learn.options import check_options
from pgem.learn.start import (
    check_start,
    check_value,
    given_labels,
    neutral_params,
    params_from_labels,
    random_labels,
)
from pgem.learn.verdict import Verdict

__all__ = [
    "Options",
    "Run",
    "Verdict",
    "check_options",
    "check_start",
    "check_value",
    "given_labels",
    "neutral_params",
    "params_from_labels",
    "random_labels",
    "run_em",
    "weighted_total",
]
