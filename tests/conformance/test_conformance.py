"""Lets pytest run the suite: one test per class of `test.test_asyncio`, and one for the lists themselves."""

from __future__ import annotations

import functools

import pytest

from .cli import running_interpreter
from .process import Settings, list_tests
from .testlib import Library, find_test_lib
from .verdicts import Judge


@functools.lru_cache(maxsize=1)
def _suite() -> tuple[Judge, dict[str, list[str]]] | str:
    """Returns the judge and every class with its tests, or the reason why there are none."""
    interpreter = running_interpreter()
    test_lib = find_test_lib(None, interpreter)
    if not isinstance(test_lib, Library):
        return test_lib
    settings = Settings("pyloop", test_lib=test_lib.path)
    found = list_tests(settings)
    classes = {f"{module}.{name}": tests for module, each in found.items() for name, tests in each.items()}
    return Judge(settings, interpreter), classes


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes one test of every class, or a single skipped one where CPython's tests are missing."""
    if "class_id" in metafunc.fixturenames:
        suite = _suite()
        missing = pytest.param("", marks=pytest.mark.skip(reason=suite), id="none") if isinstance(suite, str) else None
        metafunc.parametrize("class_id", [missing] if isinstance(suite, str) else sorted(suite[1]))


def test_cpython_class(class_id: str) -> None:
    suite = _suite()
    assert not isinstance(suite, str)
    judge, classes = suite
    report = judge.judge(class_id, classes[class_id])
    problems = [f"{finding.test_id}\n{finding.detail}" for finding in report.failures()] + report.fixture_errors
    if problems:
        pytest.fail("\n\n".join(problems), pytrace=False)
    counts = report.count()
    if not counts["passed"] + counts["unsteady"] and set(counts) - {"failed"} <= {"not applicable", "skipped"}:
        pytest.skip(report.findings[0].detail if report.findings else "nothing ran")


def test_every_line_of_the_lists_decides_about_a_test() -> None:
    suite = _suite()
    if isinstance(suite, str):
        pytest.skip(suite)
    judge, classes = suite
    assert judge.stale_rules(f"{name}.{test}" for name, tests in classes.items() for test in tests) == []
