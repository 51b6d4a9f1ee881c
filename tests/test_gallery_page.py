"""The gallery in `docs/gallery.md` and its pictures are written from the files in `models/`.

`pytest --update-golden` writes them anew.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from gallery import FILES

from pgem._cli.modules import load_model
from pgem.graph import build_graph
from pgem.graph.draw import draw

DOCS = Path(__file__).parent.parent / "docs"
PAGE, PICTURES = DOCS / "gallery.md", DOCS / "pictures"
BEGIN, END = "<!-- the gallery, written by the suite -->\n", "<!-- end of the gallery -->\n"
EVERYWHERE = {"Model", "latent", "observed"}

each_model = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def written() -> str:
    """A table of all models, then one entry each."""
    rows = ["| model | words that it uses | log-likelihood |", "| --- | --- | --- |"]
    rows += [summary(path) for path in FILES]
    return "\n".join(["", *rows, "", *(line for path in FILES for line in entry(path))]) + "\n"


def title(path: Path) -> str:
    return story(path)[0].rstrip(".")


def story(path: Path) -> list[str]:
    """The paragraphs of a file's docstring, the first of them its title."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.replace("  ", " ").split("\n\n")


def declaration(path: Path) -> str:
    """The `with pg.Model(…)` block of a file."""
    source = path.read_text(encoding="utf-8")
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.With)]
    return "\n".join(ast.get_source_segment(source, block) or "" for block in blocks)


def words(path: Path) -> list[str]:
    """The words of the language that a declaration uses, beside those of every model."""
    found = re.findall(r"\bpg\.(\w+)", declaration(path))
    return sorted(set(found) - EVERYWHERE, key=lambda word: (word[0].isupper(), word))


def anchor(text: str) -> str:
    """The link that a heading gets."""
    return re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-")


def summary(path: Path) -> str:
    known = load_model(path).module.known
    used = ", ".join(f"`{word}`" for word in words(path))
    return f"| [{title(path)}](#{anchor(title(path))}) | {used} | {known['log_likelihood']} |"


def entry(path: Path) -> list[str]:
    known = load_model(path).module.known
    stated = {**known.get("params", {}), **known.get("answers", {})}
    values = "".join(f"; `{name}` {value}" for name, value in stated.items())
    return [
        f"## {title(path)}",
        "",
        f"![plate diagram](pictures/{path.stem}.svg)",
        "",
        *(line for paragraph in story(path)[1:] for line in (paragraph, "")),
        "```py",
        declaration(path),
        "```",
        "",
        f"[The file](../models/{path.name}).",
        f"Known: log-likelihood {known['log_likelihood']}{values}.",
        f"Source: {known['source']}.",
        "",
    ]


def test_the_page_is_the_gallery(pytestconfig: pytest.Config) -> None:
    head, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    old, end, tail = rest.partition(END)
    assert begin and end
    if pytestconfig.getoption("--update-golden"):
        PAGE.write_text(head + begin + written() + end + tail, encoding="utf-8")
    else:
        assert old == written(), "pytest tests/test_gallery_page.py --update-golden"


@each_model
def test_the_picture_is_the_model(path: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    model = load_model(path).model
    drawn = draw(build_graph(model.record, model.families), tmp_path / "model.svg").read_text()
    kept = PICTURES / f"{path.stem}.svg"
    if pytestconfig.getoption("--update-golden"):
        kept.write_text(drawn, encoding="utf-8")
    else:
        assert kept.read_text(encoding="utf-8") == drawn, (
            "pytest tests/test_gallery_page.py --update-golden"
        )


def test_no_picture_is_left_over() -> None:
    assert {kept.stem for kept in PICTURES.glob("*.svg")} == {path.stem for path in FILES}
