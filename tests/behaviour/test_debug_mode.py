"""The checks that a loop makes in debug mode."""

from __future__ import annotations

import _thread
import asyncio
import logging
import re
import time
from typing import Any

import pytest

from .support import PATIENCE, Loop, run, run_in_thread, socket_pair, turn


@pytest.fixture
def debug_loop(loop: Loop) -> Loop:
    loop.set_debug(True)
    return loop


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "asyncio" and record.levelno == logging.WARNING
    ]


def occupy(seconds: float) -> None:
    """Keeps the loop busy, as the slow callback that the checks look for does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_debug_mode_is_off_by_default_and_can_be_switched(loop: Loop) -> None:
    assert loop.get_debug() is False
    loop.set_debug(True)
    assert loop.get_debug() is True
    loop.set_debug(False)
    assert loop.get_debug() is False


def test_a_slow_callback_is_logged(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    debug_loop.slow_callback_duration = 0.005
    debug_loop.call_soon(occupy, 0.01)
    turn(debug_loop)
    (message,) = [text for text in warnings_of(caplog) if "occupy" in text]
    assert message.startswith("Executing <Handle ")
    took = re.search(r" took (\d+\.\d{3}) seconds$", message)
    assert took and float(took[1]) >= 0.01


def test_a_slow_timer_is_logged(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    debug_loop.slow_callback_duration = 0.005
    debug_loop.call_later(0, occupy, 0.01)
    turn(debug_loop, 2)
    assert any(text.startswith("Executing <TimerHandle ") for text in warnings_of(caplog))


def test_a_slow_task_step_is_logged_with_the_task(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    debug_loop.slow_callback_duration = 0.005

    async def slow_coroutine() -> None:
        occupy(0.01)

    debug_loop.run_until_complete(slow_coroutine())
    assert any("<Task" in text and "slow_coroutine" in text for text in warnings_of(caplog))


def test_a_quick_callback_is_not_logged(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    debug_loop.slow_callback_duration = 5
    debug_loop.call_soon(lambda: None)
    turn(debug_loop)
    assert warnings_of(caplog) == []


def test_outside_debug_mode_nothing_is_slow(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.slow_callback_duration = 0.001
    loop.call_soon(occupy, 0.005)
    turn(loop)
    assert warnings_of(caplog) == []


def test_the_threshold_is_a_tenth_of_a_second_by_default(loop: Loop) -> None:
    assert loop.slow_callback_duration == 0.1


@pytest.mark.parametrize(
    "schedule",
    [
        lambda loop: loop.call_soon(print),
        lambda loop: loop.call_later(1, print),
        lambda loop: loop.call_at(loop.time(), print),
    ],
    ids=["call_soon", "call_later", "call_at"],
)
def test_scheduling_from_the_wrong_thread_is_refused(debug_loop: Loop, schedule: Any) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="Non-thread-safe operation invoked on an event loop"):
            await asyncio.to_thread(schedule, debug_loop)
        await debug_loop.shutdown_default_executor()

    run(debug_loop, main())


def test_scheduling_safely_from_another_thread_is_allowed(debug_loop: Loop) -> None:
    seen: list[str] = []

    async def main() -> None:
        await asyncio.to_thread(debug_loop.call_soon_threadsafe, seen.append, "ran")
        await debug_loop.shutdown_default_executor()

    run(debug_loop, main())
    assert seen == ["ran"]


def test_another_thread_may_schedule_on_a_loop_that_does_not_run(debug_loop: Loop) -> None:
    seen: list[str] = []
    run_in_thread(lambda: debug_loop.call_soon(seen.append, "ran"))
    turn(debug_loop)
    assert seen == ["ran"]


def test_debug_mode_takes_effect_while_the_loop_runs(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.slow_callback_duration = 0.005

    async def main() -> None:
        loop.set_debug(True)
        await asyncio.sleep(0)
        loop.call_soon(occupy, 0.01)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(loop, main())
    assert any("occupy" in text for text in warnings_of(caplog))


def test_sockets_that_block_are_refused(debug_loop: Loop) -> None:
    left, right = socket_pair()
    left.setblocking(True)

    async def main() -> None:
        for attempt in (
            debug_loop.sock_recv(left, 1),
            debug_loop.sock_recv_into(left, bytearray(1)),
            debug_loop.sock_sendall(left, b"x"),
            debug_loop.sock_connect(left, ("127.0.0.1", 1)),
            debug_loop.sock_accept(left),
        ):
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await attempt

    run(debug_loop, main())
    left.close()
    right.close()


def test_exceptions_in_debug_mode_tell_where_the_callback_was_scheduled(
    debug_loop: Loop, reports: list[dict[str, Any]]
) -> None:
    def fail() -> None:
        raise ValueError

    debug_loop.call_soon(fail)
    turn(debug_loop)
    (context,) = reports
    assert any(frame.filename == __file__ for frame in context["source_traceback"])


def test_close_and_executor_and_timers_work_in_debug_mode(debug_loop: Loop) -> None:
    async def main() -> int:
        await asyncio.sleep(0.001)
        result = await debug_loop.run_in_executor(None, lambda: 7)
        await debug_loop.shutdown_default_executor()
        return result

    assert run(debug_loop, main()) == 7
    debug_loop.close()
    assert debug_loop.is_closed()


def test_callback_of_a_thread_without_python_code_runs(loop: Loop) -> None:
    loop.set_debug(True)
    # The thread calls the method itself: as with threads of native code, there is no frame to take a traceback from.
    _thread.start_new_thread(loop.call_soon_threadsafe, (loop.stop,))
    bound = loop.call_later(PATIENCE, loop.stop)
    loop.run_forever()
    assert loop.time() < bound.when()
    bound.cancel()
