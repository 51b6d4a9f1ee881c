"""Exponential and logarithm as polynomials, for compiled loops.

Calls of the C library keep loops from being vectorised.  Both are power series after a reduction
by powers of two (Muller 2016, chapters 6 and 11), right to 5e-16; that of the exponential is
Taylor's, economised by Chebyshev polynomials (chapter 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.polynomial import chebyshev

from pgem.routines.loops import _inline

LOWEST = -708.0
"""exp of less counts as 0: it is below the smallest number that has all its digits."""
LOG2_E = float(np.log2(np.e))
LN_2, LN_2_REST = 0.693145751953125, 1.42860682030941723212e-6
"""log 2 as a number of few digits, and the rest."""


def _economised(n: int) -> tuple[float, ...]:
    """Coefficients of n powers of r for (exp(r) - 1 - r) / r² within ½ log 2 of 0, to 2e-17."""
    terms = np.arange(2, 30)
    half = np.log(2) / 2
    taylor = half ** (terms - 2) / np.cumprod([1.0, *range(2, 30)])[1:]
    shortened = chebyshev.cheb2poly(chebyshev.poly2cheb(taylor)[:n])
    return tuple((shortened / half ** np.arange(n)).tolist())


SERIES = _economised(10)
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
    """exp(x) for x ≤ 0, right to about an ulp."""
    inside = max(x, LOWEST)
    whole = np.floor(inside * LOG2_E + 0.5)
    r = (inside - whole * LN_2) - whole * LN_2_REST
    p = SERIES[9]
    p = p * r + SERIES[8]
    p = p * r + SERIES[7]
    p = p * r + SERIES[6]
    p = p * r + SERIES[5]
    p = p * r + SERIES[4]
    p = p * r + SERIES[3]
    p = p * r + SERIES[2]
    p = p * r + SERIES[1]
    p = p * r + SERIES[0]
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
