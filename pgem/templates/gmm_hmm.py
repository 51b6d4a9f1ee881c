"""GMM-HMM: a hidden Markov model whose emissions are mixtures."""

from __future__ import annotations

from typing import Any

import pgem as pg
from pgem.templates.template import template


@template
def gmm_hmm(states: int, components: int, family: Any = None, *, prefix: str = "") -> Any:
    """A chain `s`, and in every state a mixture `z` of components.

    Args:
        states: number of states.
        components: number of components of each state.
        family: of the components, `pg.MvNormal()` by default.
        prefix: put before all names.
    """
    with pg.sequence(f"{prefix}t"):
        s = pg.latent(f"{prefix}s", pg.Categorical(size=states), after=f"{prefix}s")
        z = pg.latent(f"{prefix}z", pg.Categorical(size=components), given=s)
        pg.observed(f"{prefix}y", pg.MvNormal() if family is None else family, given=[s, z])
    return s, z
