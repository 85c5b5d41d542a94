"""Weighs the outcomes of one class against the two lists and against stock asyncio."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from .expected_failures import EXPECTED_FAILURES
from .not_applicable import NOT_APPLICABLE
from .process import Outcome, Settings, run_tests
from .rules import Interpreter, Rules
from .substitute import SCRIPTED_CLOCK

# A test that is known to hang takes this long; were it to pass, it would do so in a fraction.
_HANGING_SECONDS = 8.0

Verdict = Literal[
    "passed",  # on the loop under test, having made at least one loop
    "unsteady",  # passed, but only when run again
    "without a loop",  # passed without making a loop: shows nothing, counts nowhere
    "skipped",  # by CPython itself, for this machine or version
    "not applicable",  # listed in not_applicable.py, or driven by a scripted clock
    "differs",  # expected failure: stays different
    "void",  # stock asyncio, driven in the same way, fails it here as well
    "failed",
]


@dataclass
class Finding:
    """The verdict about one test, and the text that a reader needs to act on it."""

    test_id: str
    verdict: Verdict
    detail: str = ""


@dataclass
class ClassReport:
    """The verdicts about every test of a class."""

    class_id: str
    findings: list[Finding] = field(default_factory=list)
    fixture_errors: list[str] = field(default_factory=list)

    def count(self) -> Counter[str]:
        """Returns how many tests met which verdict; trouble outside any test counts as one failure."""
        counts = Counter[str](finding.verdict for finding in self.findings)
        counts["failed"] += len(self.fixture_errors)
        return counts

    def failures(self) -> list[Finding]:
        """Returns the tests that fail the run."""
        return [finding for finding in self.findings if finding.verdict == "failed"]


class Judge:
    """Runs classes and weighs their outcomes; safe to use from several threads at once."""

    def __init__(self, settings: Settings, interpreter: Interpreter) -> None:
        self._settings = settings
        self._impatient = dataclasses.replace(settings, limit=min(settings.limit, _HANGING_SECONDS))
        self._not_applicable = Rules(NOT_APPLICABLE, interpreter)
        # Expected failures are about pyloop; any other loop is run to check the runner itself.
        self._expected = Rules(EXPECTED_FAILURES if settings.loop == "pyloop" else (), interpreter)

    def stale_rules(self, test_ids: Iterable[str]) -> list[str]:
        """Returns a complaint per line that decides about none of all the tests there are."""
        ids = list(test_ids)
        lines = self._not_applicable.unmatched(ids) + self._expected.unmatched(ids)
        return [f"{rule.pattern} ({rule.kind}) decides about no test: remove the line" for rule in lines]

    def judge(self, class_id: str, tests: list[str]) -> ClassReport:
        """Runs the tests of one class that apply, and returns the verdict about each of `tests`."""
        report = ClassReport(class_id)
        applying = []
        for test in tests:
            rule = self._not_applicable.find(f"{class_id}.{test}")
            if rule is None:
                applying.append(test)
            else:
                report.findings.append(Finding(f"{class_id}.{test}", "not applicable", rule.reason))
        hanging = [test for test in applying if self._hangs(f"{class_id}.{test}")]
        applying = [test for test in applying if test not in hanging]
        for settings, chosen in ((self._settings, applying), (self._impatient, hanging)):
            run = run_tests(settings, class_id, chosen)
            report.fixture_errors += run.fixture_errors
            for test, outcome in run.outcomes.items():
                report.findings.append(self._weigh(f"{class_id}.{test}", outcome))
        self._try_again(report, applying)
        return report

    def _hangs(self, test_id: str) -> bool:
        rule = self._expected.find(test_id)
        return rule is not None and rule.hangs

    def _weigh(self, test_id: str, outcome: Outcome) -> Finding:
        rule = self._expected.find(test_id)
        if outcome.outcome == "skipped" and outcome.detail == SCRIPTED_CLOCK:
            return Finding(test_id, "not applicable", SCRIPTED_CLOCK)
        if outcome.outcome == "skipped":
            return Finding(test_id, "skipped", outcome.detail)
        if outcome.bad:
            if rule is not None and rule.kind != "not applicable":
                return Finding(test_id, rule.kind, rule.reason)
            return Finding(test_id, "failed", outcome.detail)
        if rule is not None:
            return Finding(test_id, "failed", f"passed, though listed as an expected failure ({rule.pattern})")
        return Finding(test_id, "passed" if outcome.loops else "without a loop")

    def _try_again(self, report: ClassReport, applying: list[str]) -> None:
        """Runs the class once more on stock asyncio, then on the loop under test: all of it, as order may matter.

        CPython's tests assume much about machine and network, and many race a clock: what stock asyncio fails here
        says nothing about another loop. Both kinds of second chance are reported by name.
        """
        retriable = [finding for finding in report.failures() if self._expected.find(finding.test_id) is None]
        if retriable and self._settings.loop != "asyncio":
            good_on_stock = _good(dataclasses.replace(self._settings, loop="asyncio"), report.class_id, applying)
            for finding in retriable:
                finding.verdict = "failed" if finding.test_id in good_on_stock else "void"
            retriable = [finding for finding in retriable if finding.verdict == "failed"]
        if 0 < len(retriable) <= _SECOND_CHANCES:
            good_now = _good(self._settings, report.class_id, applying)
            for finding in retriable:
                finding.verdict = "unsteady" if finding.test_id in good_now else "failed"


# A class in which more than this many tests fail is broken, not unsteady.
_SECOND_CHANCES = 4


def _good(settings: Settings, class_id: str, tests: list[str]) -> set[str]:
    """Runs the tests of a class again, and returns the ids of those that do not go wrong."""
    run = run_tests(settings, class_id, tests)
    return {f"{class_id}.{test}" for test, outcome in run.outcomes.items() if not outcome.bad}
