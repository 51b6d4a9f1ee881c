"""Sets of values, for authors of families: `from pgem.families.supports import POSITIVE`."""

from __future__ import annotations

from pgem.families._parts import (
    BINARY,
    COUNT_ROWS,
    COUNTS,
    NON_NEGATIVE,
    POSITIVE,
    POSITIVE_COUNTS,
    REALS,
    UNIT_INTERVAL,
    Support,
)

__all__ = [
    "BINARY",
    "COUNTS",
    "COUNT_ROWS",
    "NON_NEGATIVE",
    "POSITIVE",
    "POSITIVE_COUNTS",
    "REALS",
    "UNIT_INTERVAL",
    "Support",
]
