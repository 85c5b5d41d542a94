"""Fixtures shared by every test: the loop under test, and what it may leave behind.

A test that asks for `loop` or `loop_factory` runs twice: on stock asyncio, which is the oracle, and then on
pyloop. A test marked `pyloop_only("reason")` runs on pyloop alone, because stock asyncio is known to differ.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

LOOPS = ("asyncio", "pyloop")

# A test that takes longer hangs: the slowest takes a few seconds on a busy two-core machine. Slower ones raise it.
# Tests of random cases take as long as they are told to.
TEST_SECONDS = float(os.environ.get("PYLOOP_TEST_SECONDS", "60")) + float(os.environ.get("PYLOOP_FUZZ_SECONDS", "0"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "pyloop_only(reason): stock asyncio behaves differently here, for the reason given"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "loop_name" not in metafunc.fixturenames:
        return
    own = metafunc.definition.get_closest_marker("pyloop_only")
    if own is not None and not own.args:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: pyloop_only needs a reason")
    metafunc.parametrize("loop_name", LOOPS[1:] if own else LOOPS)


def pytest_collection_finish() -> None:
    """Spares the tests' many collections the walk through what was imported and collected before the first of them."""
    gc.collect()
    gc.freeze()


class Stuck(SystemExit):
    """The test took too long. A `SystemExit`, because that leaves every event loop and not pytest."""


@pytest.fixture(autouse=True)
def bounded_time() -> Iterator[None]:
    """Ends a test that hangs, and the whole process if even that does not help."""

    def stuck(_signum: int, _frame: object) -> None:
        raise Stuck(f"the test did not end within {TEST_SECONDS} s")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGALRM, stuck)
    signal.setitimer(signal.ITIMER_REAL, TEST_SECONDS)
    faulthandler.dump_traceback_later(TEST_SECONDS + 15, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def loop_factory(loop_name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes a new loop of the kind under test."""
    if loop_name == "asyncio":
        return asyncio.SelectorEventLoop
    import pyloop

    return pyloop.new_event_loop


@pytest.fixture
def loop(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> Iterator[asyncio.AbstractEventLoop]:
    """A new loop, closed afterwards. An error it logged, or a resource it lost, fails the test.

    A test that provokes log records on purpose looks at them and calls `caplog.clear()`.
    """
    loop = loop_factory()
    try:
        yield loop
    finally:
        if not loop.is_closed():
            with contextlib.suppress(RuntimeError):
                settle(loop)
            loop.close()
        del loop
        # Finalizers report now, to this test, and not to whichever runs when the collector next does.
        gc.collect()
    errors = [
        record.getMessage()
        for record in caplog.get_records("call")
        if record.name == "asyncio" and record.levelno >= logging.ERROR
    ]
    assert not errors, f"the loop reported errors that the test did not expect: {errors}"


@pytest.fixture
def reports(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    """The contexts that the loop hands to its exception handler, in order."""
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: contexts.append(context))
    return contexts


def settle(loop: asyncio.AbstractEventLoop) -> None:
    """Lets the loop finish what it has already been told to do, such as closing transports."""

    async def a_few_turns() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(a_few_turns())
