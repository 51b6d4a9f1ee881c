"""Stage 5 of 7 — run: Program + data → expected statistics, posteriors, samples."""

from pgem.run.bind import Bound
from pgem.run.data import Columns, make_schema, read_data
from pgem.run.execute import answer, expect, log_likelihood, sum_statistics
from pgem.run.parents import to_parents, within_trees
from pgem.run.shard import Shard

__all__ = [
    "Bound",
    "Columns",
    "Shard",
    "answer",
    "expect",
    "log_likelihood",
    "make_schema",
    "read_data",
    "sum_statistics",
    "to_parents",
    "within_trees",
]
