"""The gallery's files, for the suites that run them."""

from __future__ import annotations

from pathlib import Path

MODELS = Path(__file__).parent.parent / "models"
FILES = sorted(MODELS.glob("*.py"))
