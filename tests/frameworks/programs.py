"""Programs in processes of their own, with the loop under test as asyncio's."""

from __future__ import annotations

import contextlib
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

# How long a program may take to say something, or to end, on a busy machine.
PROGRAM_SECONDS = 40.0

# What a program begins with: from there on, the policy makes loops of the kind under test.
BEGIN = {
    "asyncio": "import asyncio\nnew_loop = asyncio.SelectorEventLoop\n",
    "pyloop": "import asyncio, pyloop\nnew_loop = pyloop.new_event_loop\npyloop.install()\n",
}

# The module of the loop under test, as a program can find it out.
MODULE = {"asyncio": "asyncio.unix_events", "pyloop": "pyloop._loop"}


def environment(**changes: str) -> dict[str, str]:
    """Returns the variables for a program: its output comes at once, and installing a policy is no warning."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore::DeprecationWarning", **changes}


class Program:
    """A process whose output is looked at line by line while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Returns the first match of a pattern in a line that the program has yet to say."""
        while True:
            try:
                line = self._lines.get(timeout=PROGRAM_SECONDS)
            except queue.Empty:
                raise AssertionError(f"no line with {pattern!r} in time, but {self.said}") from None
            assert line is not None, f"ended without a line with {pattern!r}: {self.said}"
            self.said.append(line)
            if found := re.search(pattern, line):
                return found

    def end(self, signum: int) -> int:
        """Sends a signal and returns the status that the program ends with."""
        self.process.send_signal(signum)
        return self.process.wait(PROGRAM_SECONDS)


@contextlib.contextmanager
def program(command: list[str], folder: pathlib.Path, **variables: str) -> Iterator[Program]:
    """Runs a Python program (the words after the interpreter's) and kills it if the block leaves it running."""
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        running = Program(process)
        try:
            yield running
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
            running._thread.join()
