"""A periodic timer that three processes share, through a real Redis and a real PostgreSQL.

Each tick runs at most once, whoever is killed.
"""

from __future__ import annotations

import collections
import contextlib
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from .conftest import Certificates
from .services import postgresql, redis_server
from .shared_tick import LOCK_SECONDS

MACHINE = pathlib.Path(__file__).with_name("shared_tick.py")
INTERVAL = 0.1
TICKS = 60
# Ticks are a matter of seconds; a busy machine leaves some out.
SECONDS = 45.0


@pytest.fixture(params=["redis", "postgresql"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """The kind of a server, and where it is. A test that asks for it runs with both."""
    if request.param == "redis":
        pytest.importorskip("redis", reason="redis is not installed: install it to run these programs")
        with redis_server() as redis:
            yield "redis", str(redis.port)
    else:
        pytest.importorskip("asyncpg", reason="asyncpg is not installed: install it to run these programs")
        certificates: Certificates = request.getfixturevalue("certificates")
        with postgresql(certificates.certificate, certificates.key) as found:
            yield "postgresql", str(found.port)


class Machines:
    """Processes that share a timer, and what they print: key, machine, when."""

    def __init__(self, loop_name: str, server: tuple[str, ...]) -> None:
        self.ran: list[tuple[str, int, float]] = []
        self.ready = 0
        self._changed = threading.Condition()
        command = [sys.executable, str(MACHINE), loop_name, *server, str(INTERVAL)]
        self.processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        self._readers = [
            threading.Thread(target=self._read, args=(number, process)) for number, process in enumerate(self.processes)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._changed:
                if line.strip() == "ready":
                    self.ready += 1
                else:
                    self.ran.append((line.strip(), number, time.monotonic()))
                self._changed.notify_all()

    def wait_until_ran(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ran) >= count, SECONDS), f"only {len(self.ran)} ticks ran"

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(SECONDS)
        for reader in self._readers:
            reader.join(SECONDS)
        for process in self.processes:
            assert process.stdout is not None
            process.stdout.close()


@contextlib.contextmanager
def machines(loop_name: str, server: tuple[str, ...]) -> Iterator[Machines]:
    started = Machines(loop_name, server)
    try:
        yield started
    finally:
        started.end()


def test_every_tick_runs_at_most_once_and_work_moves_on_from_the_dead(loop_name: str, server: tuple[str, ...]) -> None:
    with machines(loop_name, server) as shared:
        shared.wait_until_ran(TICKS // 3)
        # The one that ran last is killed, with its locks held.
        holder = shared.ran[-1][1]
        shared.processes[holder].kill()
        killed = time.monotonic()
        shared.wait_until_ran(TICKS)
    counts = collections.Counter(key for key, _, _ in shared.ran)
    assert set(counts.values()) == {1}, counts.most_common(3)
    after = [at for _, number, at in shared.ran if number != holder and at > killed]
    assert after[0] - killed <= LOCK_SECONDS
    assert shared.ready == 3
