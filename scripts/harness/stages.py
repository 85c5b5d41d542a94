"""One stage: a command that is run within a bound, its output kept, and its tests counted."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .layout import LOGS, ROOT, child_environment

# Of a failed stage's output this much is shown; the rest is in its log.
_SHOWN_LINES = 250
# The status of a command that cannot be started, as shells have it.
_NOT_STARTED = 127
_PRINTING = threading.Lock()
# Process groups of the commands that run now; a list because stages are added and removed by several threads.
_RUNNING: list[int] = []


@dataclass(frozen=True)
class Counts:
    """What a stage has counted."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


def one_check(_output: str) -> Counts:
    """A command that either holds or fails: one check."""
    return Counts(passed=1)


def no_check(_output: str) -> Counts:
    """A command that prepares something: it counts only when it fails."""
    return Counts()


def cargo_tests(output: str) -> Counts:
    """Adds up the results of cargo's test binaries, and of tests that print their own `N passed, N failed`."""
    found = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", output, re.MULTILINE)
    own = re.findall(r"^(\d+) passed, (\d+) failed$", output, re.MULTILINE)
    return sum((Counts(*map(int, row)) for row in [*found, *own]), Counts())


def pytest_tests(output: str) -> Counts:
    """Reads pytest's last line."""
    lines = [line for line in output.splitlines() if re.search(r"\d+ \w+.* in [\d.]+s", line)]
    numbers = dict.fromkeys(("passed", "failed", "error", "errors", "skipped", "xfailed", "xpassed"), 0)
    for number, word in re.findall(r"(\d+) (\w+)", lines[-1] if lines else ""):
        if word in numbers:
            numbers[word] += int(number)
    return Counts(
        passed=numbers["passed"] + numbers["xfailed"],
        failed=numbers["failed"] + numbers["error"] + numbers["errors"] + numbers["xpassed"],
        skipped=numbers["skipped"],
    )


def conformance_tests(output: str) -> Counts:
    """Reads the closing line of the conformance suite; without one, the suite was skipped."""
    found = re.findall(r"^(\d+) passed, (\d+) failed$", output, re.MULTILINE)
    if not found:
        return Counts(skipped=1)
    passed, failed = map(int, found[-1])
    return Counts(passed, failed)


@dataclass(frozen=True)
class Stage:
    """A command of the plan."""

    name: str
    command: list[str]
    # Finds the counts in the output. A command that fails without a failed test counts as one failure.
    count: Callable[[str], Counts] = one_check
    variables: dict[str, str] = field(default_factory=dict)
    # Names of stages without whose success this one cannot run.
    needs: tuple[str, ...] = ()
    # Minutes after which it is taken to hang; far above what it takes on a slow machine.
    minutes: float = 15
    # Lines of a stage that went well which the reader should see all the same.
    notable: tuple[str, ...] = ("LEFT OUT", "SKIPPED:")
    # Keeps to one processor, so that it may run beside others of its kind. What builds uses all of them.
    beside_others: bool = False


@dataclass(frozen=True)
class Result:
    """How a stage ended."""

    stage: Stage
    counts: Counts
    seconds: float
    succeeded: bool


def judge(count: Callable[[str], Counts], output: str, status: int) -> Counts:
    """Counts the tests of a command; one that fails without naming a failed test has failed itself."""
    if status == 0:
        return count(output)
    counts = Counts() if count is one_check else count(output)
    return counts if counts.failed else counts + Counts(failed=1)


def run_stage(stage: Stage, position: str) -> Result:
    """Runs a stage; prints one line when it went well, and its output when it did not.

    Stages that run at the same time print one after the other.
    """
    if not stage.beside_others:
        print(f"{position} {stage.name} ...", flush=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{re.sub(r'[^a-z0-9.]+', '-', stage.name.lower())}.log"
    started = time.monotonic()
    status = _run(stage, str(log))
    seconds = time.monotonic() - started
    output = log.read_text(errors="replace")
    counts = judge(stage.count, output, status)
    result = Result(stage, counts, seconds, succeeded=status == 0 and counts.failed == 0)
    with _PRINTING:
        _report(result, position, output, status, str(log))
    return result


def _report(result: Result, position: str, output: str, status: int, log: str) -> None:
    stage, counts = result.stage, result.counts
    if not result.succeeded:
        _show(stage, output, status, log)
    skipped = f", {counts.skipped} skipped" if counts.skipped else ""
    told = (
        "ready"
        if stage.count is no_check and result.succeeded
        else f"{counts.passed} passed, {counts.failed} failed{skipped}"
    )
    print(f"{position} {stage.name}: {told} ({result.seconds:.0f} s)")
    for line in output.splitlines():
        if line.startswith(stage.notable):
            print(f"        {line}")
    sys.stdout.flush()


def not_run(stage: Stage, position: str, missing: str) -> Result:
    """A stage that cannot run, because one that it needs has failed: a failure as well."""
    print(f"{position} {stage.name}: NOT RUN, because this failed: {missing}", flush=True)
    return Result(stage, Counts(failed=1), 0.0, succeeded=False)


def _run(stage: Stage, log: str) -> int:
    """Returns the status of the command; its whole process group ends with the bound."""
    with open(log, "wb") as output:
        try:
            process = subprocess.Popen(
                stage.command,
                cwd=ROOT,
                env=child_environment(**stage.variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            output.write(f"CANNOT BE STARTED: {error}\n".encode())
            return _NOT_STARTED
        _RUNNING.append(process.pid)
        try:
            return process.wait(stage.minutes * 60)
        except subprocess.TimeoutExpired:
            output.write(f"\nENDED: it took longer than {stage.minutes:g} minutes\n".encode())
            return -signal.SIGKILL
        finally:
            # What a test left behind, and what an interrupted run leaves: nothing outlives its stage.
            _end(process.pid)
            _RUNNING.remove(process.pid)
            process.wait()


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def end_running() -> None:
    """Ends every command that runs now: the run was interrupted."""
    for group in list(_RUNNING):
        _end(group)


def _show(stage: Stage, output: str, status: int, log: str) -> None:
    lines = output.splitlines()
    print("-" * 100)
    print("$ " + " ".join([f"{name}={value}" for name, value in stage.variables.items()] + stage.command))
    if len(lines) > _SHOWN_LINES:
        print(f"... the last {_SHOWN_LINES} of {len(lines)} lines; all of it is in {log}")
    print("\n".join(lines[-_SHOWN_LINES:]))
    print(f"{'-' * 100}\n        FAILED {stage.name}, status {status}", flush=True)
