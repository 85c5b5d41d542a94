"""The command: chooses classes, runs them side by side, prints the failures, the counts and the closing line."""

from __future__ import annotations

import argparse
import concurrent.futures
import pathlib
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator

from .process import Settings, list_tests
from .rules import Interpreter
from .substitute import LOOPS
from .testlib import find_test_lib
from .verdicts import ClassReport, Judge

# The share of all tests that run from which on expected failures fail the run.
_MOST_EXPECTED = 0.01

_NAMED = ("void", "unsteady")  # verdicts that a reader should see by name although they fail nothing


def running_interpreter() -> Interpreter:
    """Returns the facts about the interpreter that runs this."""
    return Interpreter(sys.version_info[:2], bool(sysconfig.get_config_var("Py_GIL_DISABLED")))


def main() -> int:
    """Runs the suite and returns the exit status."""
    arguments = _parse()
    interpreter = running_interpreter()
    test_lib = find_test_lib(arguments.test_lib, interpreter)
    if isinstance(test_lib, str):
        print(f"SKIPPED: {test_lib}", file=sys.stderr)
        return 1 if arguments.require else 0
    settings = Settings(arguments.loop, arguments.limit, test_lib.path)
    classes = _classes(settings, arguments.only)
    judge = Judge(settings, interpreter)
    reports = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(judge.judge, *item) for item in classes]):
            reports.append(done.result())
            _print_class(reports[-1], verbose=arguments.verbose)
    reports.sort(key=lambda report: report.class_id)
    complaints = []
    if not arguments.only:
        complaints = judge.stale_rules(f"{name}.{test}" for name, tests in classes for test in tests)
        complaints += _too_many_expected(_count(reports))
    return _summarise(reports, complaints, arguments.loop, interpreter)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description="Runs CPython's own asyncio tests on an event loop."
    )
    parser.add_argument("--loop", choices=LOOPS, default="pyloop", help="the loop under test (default: pyloop)")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="classes at a time (default: 2)")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that one test may take (default: 60)")
    parser.add_argument("--test-lib", type=pathlib.Path, help="folder that holds CPython's `test` package")
    parser.add_argument("--require", action="store_true", help="fail, not skip, when there is no `test` package")
    parser.add_argument("-v", "--verbose", action="store_true", help="name every test and its verdict")
    parser.add_argument("only", nargs="*", help="run classes whose `module.Class` contains one of these words")
    return parser.parse_args()


def _classes(settings: Settings, only: list[str]) -> list[tuple[str, list[str]]]:
    """Returns each class with its tests, the largest first, so that no long one starts last."""
    found = [
        (f"{module}.{name}", tests)
        for module, classes in list_tests(settings).items()
        for name, tests in classes.items()
        if not only or any(word in f"{module}.{name}" for word in only)
    ]
    return sorted(found, key=lambda item: -len(item[1]))


def _print_class(report: ClassReport, *, verbose: bool) -> None:
    counts = report.count()
    print(
        f"{report.class_id}: "
        + ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts) if counts[verdict])
    )
    for finding in report.findings if verbose else []:
        print(f"    {finding.verdict:15} {finding.test_id}")
    for finding in report.failures():
        print(f"{'=' * 100}\nFAILED {finding.test_id}\n{finding.detail.rstrip()}")
    for error in report.fixture_errors:
        print(f"{'=' * 100}\nFAILED {report.class_id} outside its tests\n{error.rstrip()}")
    sys.stdout.flush()


def _summarise(reports: list[ClassReport], complaints: list[str], loop: str, interpreter: Interpreter) -> int:
    counts = _count(reports)
    print(f"{'-' * 100}\nCPython {interpreter.tag} ({sys.version.split()[0]}), {loop}")
    print("\n".join(_counts(counts)))
    for verdict in _NAMED:
        for report in reports:
            for finding in report.findings:
                if finding.verdict == verdict:
                    print(f"{verdict}: {finding.test_id}")
    for report in reports:
        for finding in report.failures():
            print(f"FAILED {finding.test_id}: {_last_line(finding.detail)}")
    failed = counts["failed"] + len(complaints)
    for complaint in complaints:
        print(f"FAILED list: {complaint}")
    print(f"{counts['passed'] + counts['unsteady']} passed, {failed} failed")
    return 1 if failed else 0


def _count(reports: list[ClassReport]) -> Counter[str]:
    return sum((report.count() for report in reports), Counter[str]())


def _run(counts: Counter[str]) -> int:
    return counts["passed"] + counts["unsteady"] + counts["differs"] + counts["failed"]


def _too_many_expected(counts: Counter[str]) -> list[str]:
    """Returns a complaint if the list of expected failures has grown beyond what a list of exceptions may be."""
    share = counts["differs"] / max(_run(counts), 1)
    return [f"expected failures are {100 * share:.2f} % of the tests"] if share >= _MOST_EXPECTED else []


def _counts(counts: Counter[str]) -> Iterator[str]:
    passed = counts["passed"] + counts["unsteady"]
    run = _run(counts)
    for name, number in (
        ("run on a real loop", run),
        ("passed", passed),
        ("of these only when run again", counts["unsteady"]),
        ("expected failures", counts["differs"]),
        ("failed", counts["failed"]),
        ("void: stock asyncio fails as well", counts["void"]),
        ("skipped by CPython", counts["skipped"]),
        ("passed without making a loop", counts["without a loop"]),
        ("not applicable", counts["not applicable"]),
    ):
        share = (
            f"  ({100 * number / run:.2f} %)"
            if run and name.startswith(("passed", "expected")) and "without" not in name
            else ""
        )
        yield f"  {name:38} {number:5}{share}"


def _last_line(detail: str) -> str:
    lines = [line for line in detail.splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else ""
