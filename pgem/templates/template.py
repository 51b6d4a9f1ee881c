"""What makes a function that declares nodes a template."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import pgem as pg

P = ParamSpec("P")


def template(declare: Callable[P, Any]) -> Callable[P, Any]:
    """Let a function that declares nodes also work by itself.

    Args:
        declare: declares nodes in the open model; what it returns is the caller's, there.

    Returns:
        The same function, which with no model open opens one of its name and returns it.
    """

    @wraps(declare)
    def declared(*args: P.args, **named: P.kwargs) -> Any:
        if pg.Model.is_open():
            return declare(*args, **named)
        with pg.Model(declare.__name__) as model:
            declare(*args, **named)
        return model

    return declared
