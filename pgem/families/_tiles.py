"""What a family tells so that its gated densities can be evaluated a few rows at a time.

    log p(x | cell) = level + θ · f(z) + base(x),    z = columns of x less a centre

`f` are z alone, z and z², or z and all z_i z_j with i ≤ j, row by row.  The same features summed
under the posterior are what the family's statistics are made of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgem.arrays import Floats

AS_GIVEN, SQUARES, PRODUCTS = 0, 1, 2


@dataclass(frozen=True, eq=False)
class TileForm:
    """A gated density as coefficients times features of columns.

    Attributes:
        kind: `AS_GIVEN` (z), `SQUARES` (z, z²) or `PRODUCTS` (z, z_i z_j).
        columns: [Q, N].
        centre: what is subtracted from each column [Q].
        level: constants [C].
        theta: coefficients [C, P].
        settle: sums of 1 [C] and of the features [C, P] under the posterior → statistics.
        base: what is added to every log-density [N], or None.
    """

    kind: int
    columns: Floats
    centre: Floats
    level: Floats
    theta: Floats
    settle: Callable[[Floats, Floats], tuple[Floats, ...]]
    base: Floats | None = None
