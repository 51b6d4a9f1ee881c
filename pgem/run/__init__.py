"""Stage 5 of 7 — run: Program + data → expected statistics, posteriors, samples."""

from pgem.run.bind import Bound
from pgem.run.data import Columns, make_schema, read_data
from pgem.run.execute import answer, expect, log_likelihood, sum_statistics
from pgem.run.parents import to_parents, within_trees
from pgem.run.shard import Shard
from pgem.run.stored import ByRow, Codes, Numbers, absent, blocks_of, codes_type

__all__ = [
    "Bound",
    "ByRow",
    "Codes",
    "Columns",
    "Numbers",
    "Shard",
    "absent",
    "answer",
    "blocks_of",
    "codes_type",
    "expect",
    "log_likelihood",
    "make_schema",
    "read_data",
    "sum_statistics",
    "to_parents",
    "within_trees",
]
