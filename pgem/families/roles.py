"""What a slot may mean, for authors of families: `from pgem.families.roles import RATE`."""

from __future__ import annotations

from pgem.families._parts import Multiplier
from pgem.families._roles import (
    ANGLE,
    CONCENTRATION,
    CONCENTRATIONS,
    COVARIANCE,
    DIRECTION,
    INVERSESCALE,
    KNOWN,
    LEVEL,
    MEAN,
    OPENPROB,
    POSITIVE,
    PROB,
    PROBS,
    RATE,
    ROOTSCALE,
    SCALE,
    SHAPE,
    VARIANCE,
    DegreesOfFreedom,
    Role,
)

__all__ = [
    "ANGLE",
    "CONCENTRATION",
    "CONCENTRATIONS",
    "COVARIANCE",
    "DIRECTION",
    "INVERSESCALE",
    "KNOWN",
    "LEVEL",
    "MEAN",
    "OPENPROB",
    "POSITIVE",
    "PROB",
    "PROBS",
    "RATE",
    "ROOTSCALE",
    "SCALE",
    "SHAPE",
    "VARIANCE",
    "DegreesOfFreedom",
    "Multiplier",
    "Role",
]
