"""What the kit found, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How one check ended."""

    PASSED = "passed"
    FAILED = "FAILED"
    SKIPPED = "skipped"


class Fault(AssertionError):
    """A fact or a method of the family is wrong.

    Args:
        culprit: the fact or method to look at.
        evidence: what was compared, and by how much it differs.
    """

    def __init__(self, culprit: str, evidence: str) -> None:
        super().__init__(f"{culprit}: {evidence}")
        self.culprit = culprit
        self.evidence = evidence


class Skip(Exception):
    """The check does not apply to this family; the text says why."""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what was checked.
        outcome: how it ended.
        evidence: the deviation found, or why it was skipped.
        culprit: the fact or method that is wrong, if one is.
    """

    name: str
    outcome: Outcome
    evidence: str = ""
    culprit: str = ""

    def __str__(self) -> str:
        detail = f"{self.culprit}: {self.evidence}" if self.culprit else self.evidence
        return f"  {self.name:<34} {self.outcome:<8} {detail}".rstrip()


@dataclass(frozen=True)
class Report:
    """All checks of one family, those first whose failure would explain the others."""

    family: str
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.outcome is Outcome.FAILED)

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def __str__(self) -> str:
        return "\n".join([f"conformance of {self.family}", *map(str, self.checks)])

    def verdict(self) -> str:
        """The first failure, which is the likely cause of the others, above the table."""
        first = self.failures[0]
        return f"{self.family}: wrong {first.culprit}: {first.evidence}\n{self}"
