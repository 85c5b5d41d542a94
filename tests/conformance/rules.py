"""What a line of the two lists (`not_applicable.py`, `expected_failures.py`) means and what it matches."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["not applicable", "differs"]


@dataclass(frozen=True)
class Interpreter:
    """The facts of an interpreter that decide which lines count for it."""

    version: tuple[int, int]
    free_threaded: bool

    @property
    def tag(self) -> str:
        """Returns the name used in reports: `3.13`, or `3.13t` for a free-threaded build."""
        return f"{self.version[0]}.{self.version[1]}{'t' if self.free_threaded else ''}"


@dataclass(frozen=True)
class Rule:
    """One line of a list: which tests, on which Pythons, and why.

    `pattern` is a shell pattern over `module.Class.test`; `since` and `until` are both inclusive.
    """

    pattern: str
    kind: Kind
    reason: str
    since: tuple[int, int] = (3, 10)
    until: tuple[int, int] = (3, 99)
    free_threaded: bool | None = None
    # CPython brings the test to older minor versions with their patch releases, so the line may match nothing.
    backported: bool = False
    # The test ends in a hang: it gets a few seconds only.
    hangs: bool = False

    def counts_for(self, interpreter: Interpreter) -> bool:
        """Tells whether this line speaks about `interpreter` at all."""
        if self.free_threaded is not None and self.free_threaded != interpreter.free_threaded:
            return False
        return self.since <= interpreter.version <= self.until

    def matches(self, test_id: str) -> bool:
        """Tells whether `module.Class.test` is one of the tests that this line is about."""
        return fnmatch.fnmatchcase(test_id, self.pattern)


class Rules:
    """The lines that count for one interpreter, in order; the first that matches a test decides."""

    def __init__(self, rules: Iterable[Rule], interpreter: Interpreter) -> None:
        self._rules = [rule for rule in rules if rule.counts_for(interpreter)]

    def find(self, test_id: str) -> Rule | None:
        """Returns the first line that matches `test_id`."""
        return next((rule for rule in self._rules if rule.matches(test_id)), None)

    def unmatched(self, test_ids: Iterable[str]) -> list[Rule]:
        """Returns the lines that decide about none of `test_ids`: they are out of date, or shadowed by earlier ones."""
        used = {id(rule) for rule in map(self.find, test_ids) if rule is not None}
        return [rule for rule in self._rules if id(rule) not in used and not rule.backported]
