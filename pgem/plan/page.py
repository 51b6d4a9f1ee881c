"""A page of headings, sentences, formulas and items, and its two forms: text and Markdown."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from pgem.plan.latex import plain, plain_text

WIDTH = 96


@dataclass
class Page:
    """What is written, in order; formulas are LaTeX, sentences hold them between `$`.

    Attributes:
        blocks: (kind, content) pairs; kinds are `title`, `heading`, `say`, `item`,
            `formula` and `note`.
    """

    blocks: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def title(self, text: str) -> None:
        """The title."""
        self.blocks.append(("title", (text,)))

    def heading(self, text: str) -> None:
        """A section."""
        self.blocks.append(("heading", (text,)))

    def say(self, text: str) -> None:
        """A paragraph."""
        self.blocks.append(("say", (text,)))

    def item(self, text: str) -> None:
        """A paragraph that opens a list of formulas."""
        self.blocks.append(("item", (text,)))

    def note(self, text: str) -> None:
        """A remark that belongs to the formula before it."""
        self.blocks.append(("note", (text,)))

    def formula(self, *lines: str) -> None:
        """A displayed formula; `&` marks where its lines align."""
        self.blocks.append(("formula", lines))

    def text(self) -> str:
        """As plain text."""
        parts = [_TEXT[kind](lines) for kind, lines in self.blocks]
        return "\n\n".join(parts) + "\n"

    def markdown(self) -> str:
        """As Markdown with LaTeX."""
        parts = [_MARKDOWN[kind](lines) for kind, lines in self.blocks]
        return "\n\n".join(parts) + "\n"


def _underlined(lines: tuple[str, ...], sign: str) -> str:
    text = plain_text(lines[0])
    return f"{text}\n{sign * len(text)}"


def _wrapped(lines: tuple[str, ...], first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        plain_text(lines[0]), WIDTH, initial_indent=first, subsequent_indent=rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _formula_text(lines: tuple[str, ...]) -> str:
    """Lines aligned at `&`."""
    halves = [[plain(half) for half in line.split("&", 1)] for line in lines]
    width = max((len(half[0]) for half in halves if len(half) == 2), default=0)
    shown = [
        f"    {half[0].rjust(width)} {half[1]}" if len(half) == 2 else f"    {half[0]}"
        for half in halves
    ]
    return "\n".join(line.rstrip() for line in shown)


def _formula_markdown(lines: tuple[str, ...]) -> str:
    if len(lines) == 1:
        return f"$$\n{lines[0].replace('&', '')}\n$$"
    body = " \\\\\n".join(lines)
    return f"$$\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n$$"


_TEXT = {
    "title": lambda lines: _underlined(lines, "="),
    "heading": lambda lines: _underlined(lines, "-"),
    "say": _wrapped,
    "item": lambda lines: _wrapped(lines, "  · ", "    "),
    "note": lambda lines: _wrapped(lines, "    ", "    "),
    "formula": _formula_text,
}
_MARKDOWN = {
    "title": lambda lines: f"# {lines[0]}",
    "heading": lambda lines: f"## {lines[0]}",
    "say": lambda lines: lines[0],
    "item": lambda lines: f"- {lines[0]}",
    "note": lambda lines: lines[0],
    "formula": _formula_markdown,
}
