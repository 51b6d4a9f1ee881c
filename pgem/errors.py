"""The exception tree.

* `PgemError`: everything that pgem raises on purpose
    * `DeclarationError`: the declaration contradicts itself or the language
    * `IntractableError`: no exact E-step exists within the limits for this graph
    * `DataError`: the data do not fit the declaration
    * `FitError`: a start value, an option or the run itself cannot go on
    * `MissingExtraError`: an optional dependency is needed and not installed
* `FitWarning`: a fit came to an end that its user should know about
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, Self


class PgemError(Exception):
    """Base of all errors raised by pgem.

    The text says what is wrong (with the node quoted), where it was declared, what was expected
    and received, and what to do.

    Args:
        what: one sentence, naming the node.
        where: file and line of the declaration.
        expected: what would have been accepted.
        received: what was given.
        advice: what to do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        received: object = None,
        advice: str | None = None,
    ) -> None:
        labels = {
            "declared at": where,
            "expected": expected,
            "received": received,
            "what to do": advice,
        }
        lines = [f"  {label}: {text}" for label, text in labels.items() if text not in (None, "")]
        super().__init__("\n".join([what, *lines]))
        self.what = what
        self.advice = advice

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), str(self), self.what, self.advice)


def _restore(kind: type[PgemError], text: str, what: str, advice: str | None) -> PgemError:
    error = kind(text)
    error.what, error.advice = what, advice
    return error


class DeclarationError(PgemError):
    """The declaration contradicts itself or the language."""


class IntractableError(PgemError):
    """The posterior of this graph cannot be computed exactly within the limits.

    Args:
        what, where, expected, received, advice: as for `PgemError`.
        blocks: nodes that cannot be integrated or summed out.
        because: what stands in their way, in a few words.
        cost: what they would cost, if it is that.

    Attributes:
        blocks, because, cost: as given.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        received: object = None,
        advice: str | None = None,
        blocks: Iterable[str] = (),
        because: str = "",
        cost: str = "",
    ) -> None:
        super().__init__(what, where=where, expected=expected, received=received, advice=advice)
        self.blocks, self.because, self.cost = tuple(blocks), because, cost
        self._make_report: Callable[[], Any] | None = None

    @property
    def report(self) -> Any:
        """Per latent block of the whole model what would be exact, and what blocks the others.

        A `Report`, like `program.report`; None where the data alone are the obstacle.
        """
        return None if self._make_report is None else self._make_report()

    def with_report(self, make: Callable[[], Any]) -> Self:
        """The same error with a report, which is made when it is looked at."""
        self._make_report = make
        return self

    def __reduce__(self) -> tuple[object, ...]:
        state = (self.blocks, self.because, self.cost, self.report)
        return _restore_intractable, (str(self), self.what, self.advice, *state)


def _restore_intractable(
    text: str, what: str, advice: str | None, blocks: tuple[str, ...], because: str, cost: str,
    report: Any,
) -> IntractableError:  # fmt: skip
    error = IntractableError(text, blocks=blocks, because=because, cost=cost)
    error.what, error.advice = what, advice
    return error if report is None else error.with_report(lambda: report)


class DataError(PgemError):
    """The data do not fit the declaration."""


class FitError(PgemError):
    """A start value, an option or the run itself cannot go on."""


class MissingExtraError(PgemError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"'{package}' is needed to {purpose}, and is not installed",
            advice=f"pip install 'pgem[{extra}]'",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return PgemError.__reduce__(self)


class FitWarning(UserWarning):
    """A fit came to an end that its user should know about."""


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """`did you mean 'x'?` for names that are nearly the same, in any case; or nothing."""
    by_folded = {str(other).casefold(): str(other) for other in known}
    close = get_close_matches(str(name).casefold(), by_folded, n=3)
    return f"did you mean {' or '.join(repr(by_folded[c]) for c in close)}?" if close else ""
