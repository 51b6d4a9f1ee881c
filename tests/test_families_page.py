"""The shelf in `docs/reference/families.md` is written from the classes.

`pytest --update-golden` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import pgem as pg
from pgem.families import Family
from pgem.plan.describe import latent_parents, shelf

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "families.md"
BEGIN, END = "<!-- the shelf, written by the suite -->\n", "<!-- end of the shelf -->\n"


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
    """What the family says of itself, below a smaller heading."""
    title, *rest = kind.explain("markdown").splitlines()
    return [f"##{title}", *rest, ""]


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
def test_every_family_tells_its_facts(kind: type[Family]) -> None:
    text = kind.explain("markdown")
    facts = [r"\log p(x) &="]
    if kind.slots and any(slot.role.name != "known value" for slot in kind.slots):
        facts += ["T(x) &=", r"\eta &=", r"A(\eta) &="]
    for fact in [*facts, "Values: ", f"M-step: {kind.rung}"]:
        assert fact in text, fact
    assert all(f"`{slot.name}`" in text for slot in kind.slots)
    plain = kind.explain()
    assert "\\" not in plain and "$" not in plain
