"""The process that holds one test class: runs chosen tests of it and writes what happens, one JSON object a line.

Each test is announced before it starts, so that the parent knows which one hung or killed the process.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import importlib
import json
import pathlib
import sys
import unittest
from typing import Any, TextIO

from .substitute import LOOPS, LoopUnderTest, adapt, install

_ExcInfo = Any  # unittest passes the triple of sys.exc_info(), typed differently by version

# Worst last: a test with several sub-tests is as bad as the worst of them.
_SEVERITY = ("passed", "skipped", "expected by CPython", "failed")


class Recorder(unittest.TestResult):
    """Writes the start and the outcome of every test, and kills the process when one takes too long."""

    def __init__(self, out: TextIO, loop: LoopUnderTest, limit: float) -> None:
        super().__init__()
        self._out = out
        self._loop = loop
        self._limit = limit
        self._outcome = "passed"
        self._details: list[str] = []
        self._created_before = 0

    def startTest(self, test: unittest.TestCase) -> None:
        """Announces `test` and arms the watchdog."""
        super().startTest(test)
        if self._outcome != "passed":
            gc.collect()  # what a failed test left open would otherwise be told of a later test
        self._outcome, self._details = "passed", []
        self._created_before = self._loop.created
        self._write(event="start", test=_name(test))
        # Needs no interpreter lock, so a loop that blocks while holding it is seen too.
        faulthandler.dump_traceback_later(self._limit, exit=True)

    def stopTest(self, test: unittest.TestCase) -> None:
        """Writes what became of `test`; the watchdog starts anew, for the fixtures that unittest tears down next."""
        faulthandler.dump_traceback_later(self._limit, exit=True)
        super().stopTest(test)
        self._write(
            event="end",
            test=_name(test),
            outcome=self._outcome,
            detail="\n".join(self._details),
            loops=self._loop.created - self._created_before,
        )

    def addError(self, test: Any, err: _ExcInfo) -> None:
        """Records an error; one that belongs to no test is that of a class's or a module's set-up."""
        super().addError(test, err)
        if isinstance(test, unittest.TestCase):
            self._note("failed", self.errors[-1][1])
        else:
            self._write(event="fixture", detail=self.errors[-1][1])

    def addFailure(self, test: unittest.TestCase, err: _ExcInfo) -> None:
        """Records a failed assertion."""
        super().addFailure(test, err)
        self._note("failed", self.failures[-1][1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: _ExcInfo | None) -> None:
        """Records one sub-test; only a failing one counts."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note("failed", (self.errors + self.failures)[-1][1])

    def addSkip(self, test: Any, reason: str) -> None:
        """Records a skip; one of a whole class comes without a test having started."""
        super().addSkip(test, reason)
        if isinstance(test, unittest.TestCase):
            self._note("skipped", reason)
        else:
            self._write(event="all skipped", detail=reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: _ExcInfo) -> None:
        """Records a failure that CPython itself expects."""
        super().addExpectedFailure(test, err)
        self._note("expected by CPython", "")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        """Records a success that CPython does not expect."""
        super().addUnexpectedSuccess(test)
        self._note("failed", "CPython expects this test to fail, and it passed")

    def _note(self, outcome: str, detail: str) -> None:
        if _SEVERITY.index(outcome) >= _SEVERITY.index(self._outcome):
            self._outcome = outcome
        self._details.append(detail)

    def _write(self, **event: object) -> None:
        self._out.write(json.dumps(event) + "\n")
        self._out.flush()


def _name(test: unittest.TestCase) -> str:
    return test.id().rpartition(".")[2]


def list_tests() -> dict[str, dict[str, list[str]]]:
    """Returns every test of `test.test_asyncio` as {module: {class: [test]}}; a module that skips itself is empty."""
    package = importlib.import_module("test.test_asyncio")
    loader = unittest.TestLoader()
    found: dict[str, dict[str, list[str]]] = {}
    for path in sorted(pathlib.Path(package.__path__[0]).glob("test_*.py")):
        classes = found.setdefault(path.stem, {})
        try:
            module = importlib.import_module(f"{package.__name__}.{path.stem}")
        except unittest.SkipTest:
            continue
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == module.__name__:
                tests = loader.getTestCaseNames(value)
                if tests:
                    classes[name] = list(tests)
    return found


def run_class(class_id: str, tests: list[str], loop: LoopUnderTest, limit: float, out: TextIO) -> None:
    """Runs `tests` of the class `module.Class`, writing events to `out`."""
    module_name, _, class_name = class_id.partition(".")
    module = importlib.import_module(f"test.test_asyncio.{module_name}")
    case: type[unittest.TestCase] = getattr(module, class_name)
    adapt(case, loop)
    unittest.TestSuite(map(case, tests)).run(Recorder(out, loop, limit))
    faulthandler.cancel_dump_traceback_later()


def main() -> int:
    """Runs as a child of the runner; the arguments are an agreement between the two, not an interface."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    parser.add_argument("--events", required=True, help="file to write events to")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that one test may take")
    parser.add_argument("class_id", nargs="?")
    parser.add_argument("tests", nargs="*")
    arguments = parser.parse_args()
    with open(arguments.events, "w", encoding="utf-8") as out:
        if arguments.class_id is None:
            json.dump(list_tests(), out)
        else:
            run_class(arguments.class_id, arguments.tests, install(arguments.loop), arguments.limit, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
