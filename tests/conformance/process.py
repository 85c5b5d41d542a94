"""Starts worker processes and turns what they write into outcomes, also when they hang or die."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from typing import Any

# Fixture set-up and interpreter start come on top of the tests' own limit.
_START_SECONDS = 60.0
_OUTPUT_LINES = 40


@dataclass(frozen=True)
class Settings:
    """What every worker of a run has in common."""

    loop: str
    limit: float = 60.0
    test_lib: pathlib.Path | None = None


@dataclass
class Outcome:
    """What became of one test: `passed`, `skipped`, `expected by CPython`, `failed`, `hung` or `crashed`."""

    outcome: str
    detail: str = ""
    loops: int = 0

    @property
    def bad(self) -> bool:
        """Tells whether the test went wrong in any manner."""
        return self.outcome in ("failed", "hung", "crashed")


@dataclass
class ClassRun:
    """The outcomes of a class, by test name, and what went wrong outside any test."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    fixture_errors: list[str] = field(default_factory=list)


def list_tests(settings: Settings) -> dict[str, dict[str, list[str]]]:
    """Returns the tests of the running interpreter as {module: {class: [test]}}."""
    with tempfile.TemporaryDirectory() as folder:
        events = pathlib.Path(folder, "events")
        command = [*_command(), "--events", str(events)]
        done = subprocess.run(
            command, env=_environment(settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode != 0:
            raise SystemExit(f"cannot list CPython's asyncio tests:\n{done.stdout}")
        found: dict[str, dict[str, list[str]]] = json.loads(events.read_text(encoding="utf-8"))
        return found


def run_tests(settings: Settings, class_id: str, tests: list[str]) -> ClassRun:
    """Runs `tests` of one class; after a hang or a crash the rest goes on in a fresh process."""
    result = ClassRun()
    left = list(tests)
    while left:
        before = len(left)
        _run_once(settings, class_id, left, result)
        left = [test for test in left if test not in result.outcomes]
        if result.fixture_errors:
            break
        if len(left) == before:
            result.fixture_errors.append(f"the worker reported nothing about {', '.join(left)}")
            break
    return result


def _run_once(settings: Settings, class_id: str, tests: list[str], result: ClassRun) -> None:
    with tempfile.TemporaryDirectory() as folder:
        events, output = pathlib.Path(folder, "events"), pathlib.Path(folder, "output")
        command = [*_command(), "--loop", settings.loop, "--limit", str(settings.limit), "--events", str(events)]
        command += [class_id, *tests]
        with open(output, "wb") as sink:
            child = subprocess.Popen(
                command,
                cwd=folder,
                env=_environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            status = _wait(child, settings.limit * len(tests) + _START_SECONDS)
        written = output.read_text(encoding="utf-8", errors="replace")
        _read_events(events, tests, status, written, result)


def _wait(child: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Waits for the worker and then ends whatever it left in its process group; `None` means it had to be killed."""
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):  # the usual case: nothing was left
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _read_events(events: pathlib.Path, tests: list[str], status: int | None, written: str, result: ClassRun) -> None:
    running: str | None = None
    for line in events.read_text(encoding="utf-8").splitlines() if events.exists() else []:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "start":
            running = event["test"]
        elif event["event"] == "end":
            running = None
            result.outcomes[event["test"]] = Outcome(event["outcome"], event["detail"], event["loops"])
        elif event["event"] == "all skipped":
            result.outcomes.update({test: Outcome("skipped", event["detail"]) for test in tests})
        else:
            result.fixture_errors.append(event["detail"])
    tail = "\n".join(written.splitlines()[-_OUTPUT_LINES:])
    if running is not None:
        hung = status is None or "Timeout (" in written
        word = "hung" if hung else "crashed"
        result.outcomes[running] = Outcome(word, f"{word}, status {status}; the end of its output:\n{tail}", loops=1)
    elif status != 0:
        result.fixture_errors.append(f"the worker ended with status {status}:\n{tail}")


def _command() -> list[str]:
    package = __spec__.parent if __spec__ is not None else __package__
    return [sys.executable, "-m", f"{package}.worker"]


def _environment(settings: Settings) -> dict[str, str]:
    """Returns the worker's environment: this package and CPython's tests importable, no asyncio debug settings."""
    depth = len((__package__ or "").split("."))
    paths = [str(pathlib.Path(__file__).resolve().parents[depth])]
    if settings.test_lib is not None:
        paths.insert(0, str(settings.test_lib))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONASYNCIODEBUG"}
    environment["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [environment.get("PYTHONPATH")])])
    return environment
