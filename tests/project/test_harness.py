"""What `make test` counts: no failure may get lost between a command and the closing line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.harness import plan
from scripts.harness.stages import (
    Counts,
    Stage,
    cargo_tests,
    conformance_tests,
    judge,
    no_check,
    one_check,
    pytest_tests,
    run_stage,
)

CARGO = """
     Running unittests src/lib.rs
test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s
     Running tests/driver_fork.rs
3 passed, 1 failed
   Doc-tests engine
test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.30s
"""


def test_the_results_of_all_test_binaries_are_added_up() -> None:
    assert cargo_tests(CARGO) == Counts(passed=19, failed=3, skipped=1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("12 passed in 1.20s", Counts(12)),
        ("1 failed, 11 passed, 3 skipped in 75.03s (0:01:15)", Counts(11, 1, 3)),
        ("2 passed, 1 error in 0.50s", Counts(2, 1)),
        ("2 passed, 2 errors in 0.50s", Counts(2, 2)),
        # Strict: an unexpected pass is reported as a failure by pytest itself, an expected failure has done its part.
        ("1 failed, 2 passed, 1 xfailed in 0.50s", Counts(3, 1)),
        ("no tests ran in 0.01s", Counts()),
    ],
)
def test_the_last_line_of_pytest_is_understood(line: str, expected: Counts) -> None:
    assert pytest_tests(f"....\n{line}\n") == expected


def test_a_suite_that_was_skipped_counts_as_skipped() -> None:
    assert conformance_tests("SKIPPED: there is no `test` package\n") == Counts(skipped=1)
    assert conformance_tests("...\n1500 passed, 2 failed\n") == Counts(1500, 2)


@pytest.mark.parametrize("count", [one_check, no_check, cargo_tests, pytest_tests, conformance_tests])
def test_a_command_that_fails_without_a_failed_test_is_a_failure(count: object) -> None:
    counts = judge(count, "it crashed", 1)  # type: ignore[arg-type]
    assert counts.failed == 1
    assert counts.passed == 0


def test_failed_tests_are_not_counted_twice() -> None:
    assert judge(pytest_tests, "1 failed, 3 passed in 1.00s", 1) == Counts(3, 1)


def run(code: str, minutes: float = 1) -> Counts:
    result = run_stage(
        Stage("a stage of the harness's own tests", [sys.executable, "-c", code], minutes=minutes), "[1/1]"
    )
    assert result.succeeded == (result.counts.failed == 0)
    return result.counts


def test_a_command_counts_by_its_status() -> None:
    assert run("pass") == Counts(passed=1)
    assert run("raise SystemExit(3)") == Counts(failed=1)


def test_a_command_that_hangs_is_ended_with_all_that_it_started(capfd: pytest.CaptureFixture[str]) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    assert run(code, minutes=0.01) == Counts(failed=1)
    assert "took longer" in capfd.readouterr().out


def test_a_command_that_is_missing_fails_its_stage_alone(capfd: pytest.CaptureFixture[str]) -> None:
    result = run_stage(Stage("a stage of the harness's own tests", ["no-such-command"]), "[1/1]")
    assert (result.succeeded, result.counts) == (False, Counts(failed=1))
    assert "CANNOT BE STARTED: [Errno 2] No such file or directory: 'no-such-command'" in capfd.readouterr().out


def test_every_interpreter_is_tested_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"3.10": "/a/python", "3.13": "/b/python", "3.13t": "/c/python", "3.14": "/d/python"}
    monkeypatch.setattr(plan, "interpreters", lambda: found)
    names = [stage.name for stage in plan.everything()]
    for tag in found:
        for what in ("behaviour", "sidebyside", "project", "frameworks", "CPython's tests"):
            assert f"{what} on {tag}" in names
    assert len(names) == len(set(names))
    assert any("3.11" in sentence for sentence in plan.left_out(found))


def test_a_machine_without_rust_is_told_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "clippy for macOS" not in [stage.name for stage in plan.rust_lints({"3.13": "/a/python"})]
    assert any("rustup target add" in sentence for sentence in plan.left_out({}))


def test_every_need_is_an_earlier_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "interpreters", lambda: {"3.12": "/a/python", "3.14": "/d/python"})
    for stages in (plan.everything(), plan.lint(), plan.quick()):
        earlier: set[str] = set()
        for stage in stages:
            assert set(stage.needs) <= earlier, stage.name
            earlier.add(stage.name)
