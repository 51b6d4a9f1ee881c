"""Exponential and logarithm as polynomials, for compiled loops.

Calls of the C library keep loops from being vectorised.  Both are Taylor series after a reduction
by powers of two (Muller 2016, chapters 6 and 11), right to 5e-16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from pgem.routines.loops import _inline

LOWEST = -708.0
"""exp of less counts as 0: it is below the smallest number that has all its digits."""
LOG2_E = float(np.log2(np.e))
LN_2, LN_2_REST = 0.693145751953125, 1.42860682030941723212e-6
"""log 2 as a number of few digits, and the rest."""
SHIFT, BIAS = np.int64(52), np.int64(1023)
"""Where the exponent stands among the bits of a number, and what is added to it."""


def _same_bits(source: Any, target: Any) -> Any:
    """A compiled function that reads the bits of one type as another."""

    def typed(_context: Any, _value: Any) -> Any:
        def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(target))

        return target(source), code

    return intrinsic(typed)


_bits = _same_bits(types.float64, types.int64)
_double = _same_bits(types.int64, types.float64)


@_inline
def exp(x):  # type: ignore[no-untyped-def]
    """exp(x) for x ≤ 0, right to about an ulp: Taylor's series within ½ log 2 of 0."""
    inside = max(x, LOWEST)
    whole = np.floor(inside * LOG2_E + 0.5)
    r = (inside - whole * LN_2) - whole * LN_2_REST
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    power = np.int64((np.int64(whole) + BIAS) << SHIFT).view(np.float64)
    return p * power if x > LOWEST else (0.0 if x == x else x)


@_inline
def log(x):  # type: ignore[no-untyped-def]
    """log x for normal x > 0."""
    bits = _bits(x)
    mantissa = _double((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000)
    power = _double(((bits >> 52) & 0x7FF) | 0x4330000000000000) - 4503599627370496.0 - 1023.0
    large = mantissa > 1.4142135623730951
    mantissa = mantissa * 0.5 if large else mantissa
    power = power + 1.0 if large else power
    s = (mantissa - 1.0) / (mantissa + 1.0)
    q = s * s
    p = 1 / 21.0
    p = p * q + 1 / 19.0
    p = p * q + 1 / 17.0
    p = p * q + 1 / 15.0
    p = p * q + 1 / 13.0
    p = p * q + 1 / 11.0
    p = p * q + 1 / 9.0
    p = p * q + 1 / 7.0
    p = p * q + 1 / 5.0
    p = p * q + 1 / 3.0
    tail = 2.0 * s * q * p + power * LN_2_REST
    return power * LN_2 + (2.0 * s + tail)
