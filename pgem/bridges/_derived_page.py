"""What was derived from a density, as text or as Markdown with LaTeX."""

from __future__ import annotations

from typing import Any

from pgem.bridges._derivation import Derivation
from pgem.bridges._formula import sympy_module
from pgem.errors import DeclarationError


def write(name: str, rung: str, derivation: Derivation, style: str) -> str:
    """The derivation of one family.

    Raises:
        DeclarationError: an unknown style.
    """
    if style not in ("text", "markdown"):
        raise DeclarationError(
            f"there is no style '{style}'", expected="'text' or 'markdown'", received=f"'{style}'"
        )
    rows = _rows(derivation, markdown=style == "markdown")
    recipe = derivation.recipe
    kinds = ", ".join(f"{key} {kind}" for key, kind in (("x", recipe.x), *recipe.kinds))
    if style == "markdown":
        return "\n\n".join(
            [f"**{name}**: `{recipe.density}`, {kinds}", *(f"$${row}$$" for row in rows),
             _m_step(rung, derivation, code="`")]
        )  # fmt: skip
    return "\n".join(
        [f"{name}: {recipe.density}", f"  {kinds}", *(f"  {row}" for row in rows),
         f"  {_m_step(rung, derivation, code='')}"]
    )  # fmt: skip


def _rows(derivation: Derivation, *, markdown: bool) -> list[str]:
    form, sp = derivation.form, sympy_module()
    show = sp.latex if markdown else str
    eta, theta = (r"\eta", r"\log p(x)") if markdown else ("η", "log p(x)")
    base = r"\log h(x)" if markdown else "log h(x)"
    rows = [
        f"{theta} = {show(form.log_density)}",
        f"T(x) = {_tuple(form.statistics, show)}",
        f"{eta} = {_tuple(form.natural, show)}",
        f"A = {show(form.log_partition)}",
        f"{base} = {show(form.log_base)}",
    ]
    names = [show(slot) for slot in form.slots]
    solved = zip(names, derivation.maximum, strict=False)
    return [*rows, *(f"{name} = {show(value)}" for name, value in solved)]


def _m_step(rung: str, derivation: Derivation, *, code: str) -> str:
    how = "closed form; t1, t2, … are the averages of T" if derivation.maximum else rung
    own = ", ".join(
        f"{code}{name}{code}: {meaning.role.name}{'' if meaning.parts else ' (a constraint only)'}"
        for name, meaning in derivation.meanings.items()
    )
    return f"M-step: {how}. Slots: {own}."


def _tuple(parts: Any, show: Any) -> str:
    inside = ", ".join(show(part) for part in parts)
    return f"({inside})" if len(parts) > 1 else inside
