"""Signals: handlers in the loop, Ctrl-C, and the wake-up descriptor of the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .support import FACTORY_SOURCE, PATIENCE, Loop, python, run, run_in_thread, run_until, thread_running, turn, until


def wakeup_descriptor() -> int:
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return descriptor


@pytest.fixture(autouse=True)
def unchanged_signals() -> Any:
    before = signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGINT), wakeup_descriptor()
    yield
    assert (signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGINT), wakeup_descriptor()) == before


def test_a_signal_handler_runs_in_the_loop_with_its_arguments(loop: Loop) -> None:
    seen: list[Any] = []

    def handler(*args: Any) -> None:
        assert asyncio.get_running_loop() is loop
        seen.append(args)

    loop.add_signal_handler(signal.SIGUSR1, handler, 1, "two")
    os.kill(os.getpid(), signal.SIGUSR1)
    run_until(loop, lambda: seen)
    assert seen == [(1, "two")]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True


def test_a_signal_wakes_an_idle_loop(loop: Loop) -> None:
    idle = threading.Event()

    def send() -> None:
        assert idle.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGUSR1)

    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    with thread_running(send):
        loop.call_soon(idle.set)
        loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)


@contextlib.contextmanager
def python_level_handler(handler: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """A handler of `signal.signal`, and what starts to send the signal until the handler was called.

    To the main thread, and again and again: a signal that another thread takes, or that comes just before the
    poll begins, does not wake a loop that has no wake-up descriptor.
    """
    start, called = threading.Event(), threading.Event()

    def on_signal(*_: Any) -> None:
        called.set()
        handler()

    def send() -> None:
        assert start.wait(PATIENCE)
        main = threading.main_thread().ident
        assert main is not None
        while not called.is_set():
            signal.pthread_kill(main, signal.SIGUSR1)
            called.wait(0.01)

    previous = signal.signal(signal.SIGUSR1, on_signal)
    try:
        with thread_running(send):
            yield start.set
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_a_python_level_handler_runs_while_the_loop_is_idle(loop: Loop) -> None:
    with python_level_handler(lambda: loop.call_soon_threadsafe(loop.stop) and None) as start:  # type: ignore[arg-type]
        loop.call_soon(loop.call_soon, start)
        loop.run_forever()


def test_an_exception_of_a_python_level_handler_leaves_the_run(loop: Loop) -> None:
    class Left(SystemExit):
        """Leaves the run even if the signal comes while a callback runs."""

    def handler() -> None:
        raise Left

    with python_level_handler(handler) as start, pytest.raises(Left):
        loop.call_soon(start)
        loop.run_forever()
    assert not loop.is_running()
    assert run(loop, asyncio.sleep(0, "again")) == "again"


def test_a_second_handler_replaces_the_first(loop: Loop) -> None:
    seen: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "first")
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "second")
    os.kill(os.getpid(), signal.SIGUSR1)
    run_until(loop, lambda: seen)
    assert seen == ["second"]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_removing_a_handler_restores_the_default(loop: Loop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_removing_the_interrupt_handler_restores_the_interrupt(loop: Loop) -> None:
    loop.add_signal_handler(signal.SIGINT, print)
    assert loop.remove_signal_handler(signal.SIGINT) is True
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_closing_the_loop_removes_its_handlers_and_the_wakeup_descriptor(loop: Loop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    assert wakeup_descriptor() != -1
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert wakeup_descriptor() == -1


def test_removing_the_last_handler_restores_the_wakeup_descriptor(loop: Loop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGUSR2, print)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert wakeup_descriptor() != -1
    loop.remove_signal_handler(signal.SIGUSR2)
    assert wakeup_descriptor() == -1


def test_a_run_leaves_the_wakeup_descriptor_as_it_was(loop: Loop) -> None:
    before = wakeup_descriptor()
    turn(loop)
    assert wakeup_descriptor() == before


def test_other_threads_cannot_add_handlers(loop: Loop) -> None:
    with pytest.raises((RuntimeError, ValueError), match="main thread"):
        run_in_thread(lambda: loop.add_signal_handler(signal.SIGUSR1, print))


@pytest.mark.parametrize("wrong", [0, -1, 10_000])
def test_numbers_that_are_no_signals_are_refused(loop: Loop, wrong: int) -> None:
    with pytest.raises(ValueError, match="signal"):
        loop.add_signal_handler(wrong, print)
    with pytest.raises(ValueError, match="signal"):
        loop.remove_signal_handler(wrong)


@pytest.mark.parametrize("wrong", ["SIGUSR1", None, 1.5])
def test_what_is_no_number_is_refused(loop: Loop, wrong: Any) -> None:
    with pytest.raises(TypeError):
        loop.add_signal_handler(wrong, print)
    with pytest.raises(TypeError):
        loop.remove_signal_handler(wrong)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_signals_that_cannot_be_caught_are_refused(loop: Loop, number: int) -> None:
    with pytest.raises(RuntimeError, match="cannot be caught"):
        loop.add_signal_handler(number, print)


def test_a_handler_that_raises_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    def fail() -> None:
        raise ValueError("in the handler")

    loop.add_signal_handler(signal.SIGUSR1, fail)
    os.kill(os.getpid(), signal.SIGUSR1)
    run_until(loop, lambda: reports)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert str(reports[0]["exception"]) == "in the handler"


def test_many_signals_are_not_lost_and_do_not_hang_the_loop(loop: Loop) -> None:
    seen: list[int] = []
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        loop.add_signal_handler(number, seen.append, int(number))

    async def main() -> None:
        for _ in range(20):
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR2)
        while {signal.SIGUSR1, signal.SIGUSR2} - set(seen):
            await asyncio.sleep(0)

    run(loop, main())
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        loop.remove_signal_handler(number)


@pytest.mark.pyloop_only("a socket pair, asyncio's choice, is full after fewer than three hundred signals")
def test_a_signal_is_not_lost_behind_many_others(loop: Loop) -> None:
    seen = {int(number): 0 for number in (signal.SIGUSR1, signal.SIGUSR2)}

    def count(number: int) -> None:
        seen[number] += 1

    for number in seen:
        loop.add_signal_handler(number, count, number)

    async def main() -> None:
        for _ in range(5000):
            signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR2)
        await until(lambda: seen[signal.SIGUSR2])
        assert seen == {signal.SIGUSR1: 5000, signal.SIGUSR2: 1}

    run(loop, main())
    for number in seen:
        loop.remove_signal_handler(number)


# Ctrl-C


# The jump back to the start of stock asyncio's loop is compiled outside of its `try` from CPython 3.14 on: a
# KeyboardInterrupt there (one in 75 with a busy loop) leaves it "running" for good, and `close()` refuses.
INTERRUPTIBLE_FACTORY = """
class new_loop(asyncio.SelectorEventLoop):
    def run_forever(self):
        try:
            super().run_forever()
        finally:
            self._run_forever_cleanup()
"""


def interrupted(loop_name: str, source: str) -> tuple[int, str]:
    """Starts the program, sends Ctrl-C when it printed `ready`, and returns how it ended."""
    factory = FACTORY_SOURCE[loop_name]
    if loop_name == "asyncio" and sys.version_info >= (3, 14):
        factory += INTERRUPTIBLE_FACTORY
    with subprocess.Popen([sys.executable, "-c", factory + source], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    return process.returncode, output


def test_ctrl_c_interrupts_an_idle_loop(loop_name: str) -> None:
    source = """
loop = new_loop()
loop.call_soon(lambda: print("ready", flush=True))
try:
    loop.run_forever()
except KeyboardInterrupt:
    print("interrupted, running:", loop.is_running())
loop.run_until_complete(asyncio.sleep(0))
loop.close()
"""
    assert interrupted(loop_name, source) == (0, "interrupted, running: False\n")


def test_ctrl_c_interrupts_a_busy_loop(loop_name: str) -> None:
    source = """
loop = new_loop()
def spin():
    loop.call_soon(spin)
loop.call_soon(spin)
loop.call_soon(lambda: print("ready", flush=True))
try:
    loop.run_forever()
except KeyboardInterrupt:
    print("interrupted")
loop.close()
"""
    assert interrupted(loop_name, source) == (0, "interrupted\n")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.Runner is new in CPython 3.11")
def test_ctrl_c_cancels_the_main_task_of_a_runner(loop_name: str) -> None:
    source = """
async def main():
    print("ready", flush=True)
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        print("cancelled")
        raise
try:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    assert interrupted(loop_name, source) == (0, "cancelled\ninterrupted\n")


def test_a_loop_in_another_thread_leaves_the_signals_alone(loop_name: str) -> None:
    source = """
import signal, threading
before = signal.getsignal(signal.SIGINT)
def body():
    loop = new_loop()
    loop.run_until_complete(asyncio.sleep(0.001))
    loop.close()
thread = threading.Thread(target=body)
thread.start()
thread.join()
print(signal.getsignal(signal.SIGINT) is before, signal.set_wakeup_fd(-1))
"""
    result = python(loop_name, source)
    assert (result.returncode, result.stdout) == (0, "True -1\n"), result.stderr
