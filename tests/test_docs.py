"""All Python of the documents runs, and prints what is printed below it.

A block of ```python is run in the namespace of its page; a block of ```text right after it is what
it prints, where a line `…` stands for any lines.  `pytest --update-golden` writes these blocks anew
where they do not fit.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)(?P<target>[^)#]+)(?:#[^)]*)?\)")


def run(code: str, names: dict[str, Any]) -> str:
    """What a block prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<document>", "exec"), names)
    lines = [line.rstrip() for line in printed.getvalue().strip("\n").splitlines()]
    return "\n".join(lines) + "\n" if any(lines) else ""


def fits(output: str, expected: str) -> bool:
    """Whether a block tells what was printed; `…` on a line stands for any lines."""
    pattern = re.escape(expected).replace(re.escape("…\n"), "(?:.*\n)*?")
    return re.fullmatch(pattern, output) is not None


def shown(match: re.Match[str], output: str) -> str:
    block = f"```python\n{match['code']}```\n"
    return f"{block}\n```text\n{output}```\n" if output else block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_runs_and_prints_what_it_says(
    page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.syspath_prepend(tmp_path)
    module = ModuleType("page")  # a real one, so that its classes can be pickled
    monkeypatch.setitem(sys.modules, "page", module)
    text, names = page.read_text(encoding="utf-8"), vars(module)
    update = pytestconfig.getoption("--update-golden")

    def check(match: re.Match[str]) -> str:
        output = run(match["code"], names)
        expected = match["output"] or ""
        if fits(output, expected):
            return match[0]
        if not update:
            assert output == expected
        return shown(match, output)

    anew = BLOCK.sub(check, text)
    if update:
        page.write_text(anew, encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        assert (page.parent / match["target"]).exists(), match["target"]
