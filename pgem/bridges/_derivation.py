"""What a derived family is made from, and all that was found out about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pgem.bridges._meaning import Meaning
from pgem.bridges._separation import Form


@dataclass(frozen=True)
class Recipe:
    """What a class is made from, and made again from: the arguments of its maker."""

    maker: Callable[..., type]
    density: str
    x: Any
    name: str
    kinds: tuple[tuple[str, str], ...]

    def make(self) -> type:
        """The class."""
        return self.maker(self.density, x=self.x, name=self.name, **dict(self.kinds))


@dataclass(frozen=True)
class Derivation:
    """All that was derived.

    Attributes:
        recipe: the text and the kinds.
        form: T, η, A and h.
        meanings: the roles of the slots, by name.
        maximum: the slots in terms of the averages of T, or none.
    """

    recipe: Recipe
    form: Form
    meanings: dict[str, Meaning]
    maximum: tuple[Any, ...] = ()
