"""The shelf in `docs/reference/families.md` is written from the classes.

`pytest --update-golden` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import pgem as pg
from pgem import families
from pgem.families import Family, Slot
from pgem.plan.explain_model import slot_letters
from pgem.plan.symbolic import log_partition_of, statistics_of

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "families.md"
BEGIN, END = "<!-- the shelf, written by the suite -->\n", "<!-- end of the shelf -->\n"


def shelf() -> list[type[Family]]:
    things = [getattr(families, name) for name in families.__all__]
    kinds = [t for t in things if isinstance(t, type) and issubclass(t, Family)]
    return [kind for kind in kinds if kind is not Family]


def written() -> str:
    """A table of all families, then one entry each."""
    rows = [
        "| family | values | slots | M-step | prior of | latent parents |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    rows += [summary(kind) for kind in shelf()]
    return "\n".join([*rows, "", *(line for kind in shelf() for line in entry(kind))]) + "\n"


def summary(kind: type[Family]) -> str:
    slots = ", ".join(f"`{slot.name}`" for slot in kind.slots)
    prior = f"a {kind.conjugate_to.name}" if kind.conjugate_to else ""
    link = f"[{kind.__name__}](#{kind.__name__.lower()})"
    found = {name: None for slot in kind.slots for name in latent_parents(kind, slot)}
    row = f"| {link} | {kind.support.name} | {slots} | {kind.rung} | {prior} | {', '.join(found)} |"
    return row.replace("  ", " ")


def latent_parents(kind: type[Family], slot: Slot) -> list[str]:
    """Families of latents that may stand in a slot and be integrated out."""
    if kind.gaussian and slot.linear:
        return ["Normal", "MvNormal"]
    if slot.multiplier is not None:
        return ["Gamma"]
    if not slot.role.name.startswith("probability"):
        return []
    return [k.__name__ for k in shelf() if k().is_conjugate and k.conjugate_to is slot.role]


@pytest.mark.parametrize("kind", shelf())
def test_latent_parents_are_those_that_compile(kind: type[Family]) -> None:
    latents = {"Gamma": pg.Gamma, "Beta": pg.Beta, "Dirichlet": lambda: pg.Dirichlet(size=2)}
    for slot in kind.slots:
        for name, make in latents.items():
            told = name in latent_parents(kind, slot)
            with pg.Model("pair") as model:
                u = pg.latent("u", make())
                others = {s.name: 2.0 for s in kind.slots if s.role.name == "known value"}
                sizes = {"size": 2} if name == "Dirichlet" and "size" in kind.options else {}
                try:
                    pg.observed("y", kind(**{**others, **sizes, slot.name: u}))
                except pg.PgemError:
                    assert not told
                    continue
            try:
                model.compile()
            except pg.PgemError:
                assert not told, f"{name} in {kind.__name__}.{slot.name}"
            else:
                assert told, f"{name} in {kind.__name__}.{slot.name}"


def entry(kind: type[Family]) -> list[str]:
    family = kind()
    letters = slot_letters(family)
    lines = [f"### {kind.__name__}", "", rf"$$\log p(x) = {kind.formula}$$", ""]
    lines += [f"- values: {kind.support.name}; {coordinates(family)}"]
    lines += [f"- {slot_line(kind, slot, letters[slot.name])}" for slot in kind.slots]
    statistics = sufficient(family, letters)
    if statistics:
        partition = log_partition_of(family, 1 + statistics.count(", ") * (statistics[0] == "("))
        shown = f", $A(\\eta) = {partition}$" if partition not in ("", "0") else ""
        lines += [f"- $T(x) = {statistics}${shown}"]
    lines += [f"- M-step: {kind.rung}"]
    if kind.conjugate_to is not None:
        lines += [f"- conjugate prior of a {kind.conjugate_to.name}"]
    return [*lines, ""]


def coordinates(family: Family) -> str:
    if family.event_ndim > 1:
        return "whole matrices"
    if family.event_ndim:
        return "whole vectors"
    if any(slot.axes for slot in family.slots):
        return "one value"
    return "over a vector, independent coordinates"


def slot_line(kind: type[Family], slot: Slot, letter: str) -> str:
    shown = f"${letter}$" if len(letter) == 1 or "\\" in letter else ""
    what = "positive known value" if slot.positive else slot.role.name
    where = " per cell" if slot.per_cell else ""
    priors = [k.__name__ for k in shelf() if k.conjugate_to is slot.role]
    prior = f"; conjugate prior: {' or '.join(priors)}" if priors else ""
    expected = "" if slot.role.name == "known value" else f", {slot.role.expected}"
    more = f"; link: `{slot.link}`" if slot.link else ""
    latents = latent_parents(kind, slot)
    if latents:
        times = "multiplied by covariates and a latent" if slot.multiplier else "a latent"
        times = "linear in covariates and a latent" if kind.gaussian and slot.linear else times
        more += f"; may be {times} {' or '.join(latents)}"
    return f"`{slot.name}` {shown}: {what}{where}{expected}{prior}{more}".replace(" :", ":")


def sufficient(family: Family, letters: dict[str, str]) -> str:
    """T(x) where the code of the family tells it, and the indicators of a finite domain."""
    parts = statistics_of(family, letters)
    if parts is None and any(slot.axes == "k" for slot in family.slots):
        parts = ("([x = k])_k",)
    if not parts:
        return ""
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def test_the_page_is_the_shelf(pytestconfig: pytest.Config) -> None:
    text = PAGE.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    old, end, tail = rest.partition(END)
    assert begin and end
    new = f"\n{written()}"
    if pytestconfig.getoption("--update-golden"):
        PAGE.write_text(head + begin + new + end + tail, encoding="utf-8")
    else:
        assert old == new, "pytest tests/test_families_page.py --update-golden"


@pytest.mark.parametrize("kind", shelf())
def test_every_family_has_a_formula(kind: type[Family]) -> None:
    assert kind.formula
