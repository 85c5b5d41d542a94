"""What happens when callbacks fail: the exception handler, and the exceptions that leave the run."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from typing import Any

import pytest

from .support import Loop, run, run_until, socket_pair, turn


def fail() -> None:
    raise ValueError("expected")


async def coroutine_function() -> None: ...


def via_call_soon(loop: Loop, callback: Callable[..., Any]) -> None:
    loop.call_soon(callback)


def via_threadsafe(loop: Loop, callback: Callable[..., Any]) -> None:
    loop.call_soon_threadsafe(callback)


def via_call_later(loop: Loop, callback: Callable[..., Any]) -> None:
    loop.call_later(0, callback)


every_way = pytest.mark.parametrize(
    "schedule", [via_call_soon, via_threadsafe, via_call_later], ids=lambda way: way.__name__
)


@every_way
def test_an_exception_goes_to_the_handler_and_the_loop_goes_on(
    loop: Loop, schedule: Any, reports: list[dict[str, Any]]
) -> None:
    seen: list[str] = []
    schedule(loop, fail)
    schedule(loop, lambda: seen.append("next"))
    run_until(loop, lambda: seen)
    (context,) = reports
    assert isinstance(context["exception"], ValueError)
    assert context["message"].startswith("Exception in callback fail()")
    assert isinstance(context["handle"], asyncio.Handle)
    assert seen == ["next"]


def test_a_base_exception_goes_to_the_handler_too(loop: Loop, reports: list[dict[str, Any]]) -> None:
    class Unusual(BaseException):
        pass

    def callback() -> None:
        raise Unusual

    loop.call_soon(callback)
    loop.call_soon(callback)
    turn(loop)
    assert [type(context["exception"]) for context in reports] == [Unusual, Unusual]


def test_without_a_handler_the_exception_is_logged(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.call_soon(fail)
    turn(loop)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.name == "asyncio"
    assert "Exception in callback fail()" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)
    caplog.clear()


def test_the_handler_gets_the_loop_and_is_found_again(loop: Loop) -> None:
    seen: list[Any] = []

    def handler(given: Loop, context: dict[str, Any]) -> None:
        seen.append((given, context))

    assert loop.get_exception_handler() is None
    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    loop.call_exception_handler({"message": "by hand"})
    assert seen == [(loop, {"message": "by hand"})]
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


def test_a_handler_must_be_callable(loop: Loop) -> None:
    with pytest.raises(TypeError, match="callable object or None"):
        loop.set_exception_handler("not callable")  # type: ignore[arg-type]


def test_a_handler_that_raises_is_reported_and_the_loop_goes_on(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    def handler(_loop: Loop, _context: dict[str, Any]) -> None:
        raise LookupError("in the handler")

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.call_soon(seen.append, "next")
    turn(loop)
    assert "Unhandled error in exception handler" in caplog.text
    assert "in the handler" in caplog.text
    assert seen == ["next"]
    caplog.clear()


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
def test_a_handler_may_leave_the_run(loop: Loop, leaving: type[BaseException]) -> None:
    def handler(_loop: Loop, _context: dict[str, Any]) -> None:
        raise leaving

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    with pytest.raises(leaving):
        loop.run_forever()
    assert not loop.is_running()


@every_way
@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
def test_the_loop_runs_again_after_an_exception_left_it(
    loop: Loop, schedule: Any, leaving: type[BaseException]
) -> None:
    def leave() -> None:
        raise leaving("out")

    schedule(loop, leave)
    with pytest.raises(leaving, match="out"):
        loop.run_forever()
    assert not loop.is_running()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    seen: list[str] = []
    loop.call_soon(seen.append, "second run")
    turn(loop)
    assert seen == ["second run"]


def test_callbacks_after_the_one_that_left_stay_in_order(loop: Loop) -> None:
    seen: list[str] = []

    def leave() -> None:
        loop.call_soon(seen.append, "scheduled before leaving")
        raise KeyboardInterrupt

    loop.call_soon(leave)
    loop.call_soon(seen.append, "same batch, first")
    loop.call_soon(seen.append, "same batch, second")
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert seen == []
    turn(loop)
    assert seen == ["same batch, first", "same batch, second", "scheduled before leaving"]


def test_due_timers_survive_a_callback_that_left(loop: Loop) -> None:
    seen: list[str] = []

    def leave() -> None:
        raise SystemExit

    now = loop.time()
    loop.call_at(now - 2, leave)
    loop.call_at(now - 1, seen.append, "due with it")
    with pytest.raises(SystemExit):
        loop.run_forever()
    turn(loop, 2)
    assert seen == ["due with it"]


def test_an_interrupt_in_a_coroutine_leaves_run_until_complete(loop: Loop) -> None:
    async def leave() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(leave())
    assert run(loop, asyncio.sleep(0, "again")) == "again"


def test_an_exception_in_a_reader_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    left, right = socket_pair()

    def reader() -> None:
        left.recv(1)
        raise ValueError("in the reader")

    loop.add_reader(left, reader)
    right.send(b"x")
    run_until(loop, lambda: reports)
    loop.remove_reader(left)
    left.close()
    right.close()
    assert str(reports[0]["exception"]) == "in the reader"


def test_a_task_whose_exception_nobody_fetched_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def failing() -> None:
        raise ValueError("never fetched")

    task = loop.create_task(failing())
    turn(loop, 3)
    del task
    gc.collect()
    (context,) = reports
    assert context["message"] == "Task exception was never retrieved"


def test_call_exception_handler_needs_no_more_than_a_message(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.call_exception_handler({"message": "only this"})
    assert "only this" in caplog.text
    caplog.clear()
    loop.default_exception_handler({})
    assert "Unhandled exception in event loop" in caplog.text
    caplog.clear()


# What is not a callback


@every_way
def test_calling_what_is_not_callable_is_reported_or_refused(
    loop: Loop, schedule: Any, reports: list[dict[str, Any]]
) -> None:
    """Outside debug mode stock asyncio finds out when it calls; refusing earlier would change who is told."""
    schedule(loop, None)
    run_until(loop, lambda: reports)
    (context,) = reports
    assert isinstance(context["exception"], TypeError)
    assert "not callable" in str(context["exception"])


@every_way
def test_debug_mode_refuses_what_is_not_callable(loop: Loop, schedule: Any) -> None:
    loop.set_debug(True)
    with pytest.raises(TypeError, match="a callable object was expected by call_"):
        schedule(loop, 42)


@every_way
def test_debug_mode_refuses_coroutines_and_coroutine_functions(loop: Loop, schedule: Any) -> None:
    loop.set_debug(True)
    coroutine = coroutine_function()
    for wrong in (coroutine, coroutine_function):
        with pytest.raises(TypeError, match="coroutines cannot be used with call_"):
            schedule(loop, wrong)
    coroutine.close()


def test_a_coroutine_given_as_a_callback_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    coroutine = coroutine_function()
    loop.call_soon(coroutine)  # type: ignore[arg-type]
    turn(loop)
    coroutine.close()
    assert isinstance(reports[0]["exception"], TypeError)


@pytest.mark.parametrize("wrong", [coroutine_function, 42], ids=["coroutine function", "number"])
def test_the_executor_refuses_the_same_in_debug_mode(loop: Loop, wrong: Any) -> None:
    loop.set_debug(True)
    with pytest.raises(TypeError):
        loop.run_in_executor(None, wrong)


def test_a_coroutine_function_cannot_handle_a_signal(loop: Loop) -> None:
    with pytest.raises(TypeError, match="coroutines cannot be used with add_signal_handler"):
        loop.add_signal_handler(signal.SIGUSR1, coroutine_function)
