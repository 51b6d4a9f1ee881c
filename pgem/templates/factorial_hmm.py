"""Factorial hidden Markov model: several independent chains behind one emission."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def factorial_hmm(family: Any, sizes: Sequence[int], *, prefix: str = "") -> Any:
    """Chains `s1`, `s2`, … with these numbers of states; the emission is gated by all of them.

    Args:
        family: of the emission.
        sizes: number of states of each chain.
        prefix: put before all names.
    """
    with pg.sequence(f"{prefix}t"):
        names = [f"{prefix}s{k}" for k in range(1, len(sizes) + 1)]
        chains = [
            pg.latent(name, pg.Categorical(size=size), after=name)
            for name, size in zip(names, sizes, strict=True)
        ]
        pg.observed(f"{prefix}y", family, given=chains)
    return chains
