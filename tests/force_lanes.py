"""Chains are scanned in lanes however little there is to do, or never."""

from __future__ import annotations

import pytest

from pgem.routines import lane_plan


def always_lanes(patch: pytest.MonkeyPatch, piece: int = 2) -> None:
    """Wherever a chain's transitions stay the same, cut into pieces of about so many steps."""
    patch.setattr(lane_plan, "LEAST_PIECE", piece)
    patch.setattr(lane_plan, "LEAST_LANES", 1)
    patch.setattr(lane_plan, "LEAST_ENTRIES", 0)


def never_lanes(patch: pytest.MonkeyPatch) -> None:
    """One sequence after the other."""
    patch.setattr(lane_plan, "LEAST_LANES", 1 << 60)
