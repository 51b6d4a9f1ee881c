"""Eight numbers at a time, for compiled loops over rows that add to places which others share.

Two rows may add to the same place, so their order has to stay, which a compiler takes as a reason
to use no vector instructions at all.  Within the numbers of one row there is no such reason.
Arrays are flat, and what belongs together is padded to a multiple of eight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

WIDTH = 8
"""Numbers that are taken together."""
EIGHT = np.uint64(WIDTH)
_VECTOR = ir.VectorType(ir.DoubleType(), WIDTH)
_SAME = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)


def _on_eight(combine: str) -> Any:
    """A compiled function (a, i, b, j, w) that combines the eight numbers of `a` from i on with
    those of `b` from j on, times w."""

    def typed(_context: Any, a: Any, i: Any, b: Any, j: Any, w: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def place(k: int) -> Any:
                data = context.make_array(signature.args[k])(context, builder, arguments[k]).data
                start = builder.gep(data, [arguments[k + 1]])
                return builder.bitcast(start, _VECTOR.as_pointer())

            here, there = place(0), place(2)
            left, right = (builder.load(at, align=8) for at in (here, there))
            empty = ir.Constant(_VECTOR, ir.Undefined)
            weight = builder.insert_element(empty, arguments[4], ir.Constant(ir.IntType(32), 0))
            right = builder.fmul(right, builder.shuffle_vector(weight, empty, _SAME))
            builder.store(getattr(builder, combine)(left, right), here, align=8)
            return context.get_dummy_value()

        return types.void(a, i, b, j, w), code

    return intrinsic(typed)


add = _on_eight("fadd")
"""(a, i, b, j, w): a += w b."""
multiply = _on_eight("fmul")
"""(a, i, b, j, w): a *= w b."""
