"""The handles that scheduling gives back: state, cancellation, identity, memory."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import weakref
from typing import Any

import pytest

from .support import Loop, collect_until_dead, thread_running, turn


def callback(*_args: Any) -> None:
    """Named, so that `repr` has something to show."""


class Payload:
    """Something whose life can be watched."""

    def __call__(self, *_args: Any) -> None: ...


def soon(loop: Loop, function: Any, *args: Any) -> asyncio.Handle:
    return loop.call_soon(function, *args)


def threadsafe(loop: Loop, function: Any, *args: Any) -> asyncio.Handle:
    return loop.call_soon_threadsafe(function, *args)


def later(loop: Loop, function: Any, *args: Any) -> asyncio.Handle:
    return loop.call_later(3600, function, *args)


def at(loop: Loop, function: Any, *args: Any) -> asyncio.Handle:
    return loop.call_at(loop.time() + 3600, function, *args)


every_kind = pytest.mark.parametrize("schedule", [soon, threadsafe, later, at], ids=lambda kind: kind.__name__)
timers_only = pytest.mark.parametrize("schedule", [later, at], ids=lambda kind: kind.__name__)


@every_kind
def test_a_handle_is_an_asyncio_handle(loop: Loop, schedule: Any) -> None:
    handle = schedule(loop, callback)
    assert isinstance(handle, asyncio.Handle)
    handle.cancel()


@timers_only
def test_a_timer_is_an_asyncio_timer_handle(loop: Loop, schedule: Any) -> None:
    handle = schedule(loop, callback)
    assert isinstance(handle, asyncio.TimerHandle)
    handle.cancel()


@every_kind
def test_cancel_is_idempotent_and_shows(loop: Loop, schedule: Any) -> None:
    handle = schedule(loop, callback)
    assert handle.cancelled() is False
    assert handle.cancel() is None
    assert handle.cancelled() is True
    handle.cancel()
    assert handle.cancelled() is True


@every_kind
def test_a_cancelled_handle_lets_go_of_callback_and_arguments_at_once(loop: Loop, schedule: Any) -> None:
    function, argument = Payload(), Payload()
    watched = weakref.ref(function), weakref.ref(argument)
    handle = schedule(loop, function, argument)
    del function, argument
    assert None not in [reference() for reference in watched]
    handle.cancel()
    collect_until_dead(*watched)
    assert handle.cancelled()


@every_kind
def test_a_handle_cancelled_in_another_thread_lets_go_there(loop: Loop, schedule: Any) -> None:
    function = Payload()
    watched = weakref.ref(function)
    handle = schedule(loop, function)
    del function
    with thread_running(handle.cancel):
        pass
    collect_until_dead(watched)
    assert handle.cancelled()
    turn(loop)


def test_a_callback_that_ran_is_let_go_of(loop: Loop) -> None:
    function, argument = Payload(), Payload()
    watched = weakref.ref(function), weakref.ref(argument)
    loop.call_soon(function, argument)
    loop.call_later(0, function, argument)
    del function, argument
    turn(loop, 2)
    collect_until_dead(*watched)


@every_kind
def test_closing_the_loop_lets_go_of_what_was_scheduled(loop: Loop, schedule: Any) -> None:
    function = Payload()
    watched = weakref.ref(function)
    schedule(loop, function)
    del function
    loop.close()
    collect_until_dead(watched)


@every_kind
def test_a_handle_can_be_weakly_referenced(loop: Loop, schedule: Any) -> None:
    handle = schedule(loop, callback)
    assert weakref.ref(handle)() is handle
    handle.cancel()  # type: ignore[union-attr]


@every_kind
def test_cancelling_while_running_and_afterwards_is_harmless(loop: Loop, schedule: Any) -> None:
    handles: list[asyncio.Handle] = []
    handles.append(loop.call_soon(lambda: handles[0].cancel()))
    handles.append(loop.call_later(0, lambda: handles[1].cancel()))
    handles.append(loop.call_soon(callback))
    turn(loop, 2)
    handles[2].cancel()
    assert [handle.cancelled() for handle in handles] == [True, True, True]


@every_kind
def test_a_handle_that_ran_is_not_cancelled(loop: Loop, schedule: Any) -> None:
    handle = loop.call_soon(callback)
    timer = loop.call_later(0, callback)
    turn(loop, 2)
    assert not handle.cancelled()
    assert not timer.cancelled()


@every_kind
def test_the_argument_finalizer_may_use_the_loop(loop: Loop, schedule: Any) -> None:
    seen: list[str] = []

    class Final:
        def __call__(self) -> None: ...

        def __del__(self) -> None:
            loop.call_soon(seen.append, "finalized")

    schedule(loop, Final()).cancel()
    gc.collect()
    turn(loop)
    assert seen == ["finalized"]


def test_when_is_the_deadline(loop: Loop) -> None:
    before = loop.time()
    timer = loop.call_later(10, callback)
    after = loop.time()
    assert isinstance(timer.when(), float)
    assert before + 10 <= timer.when() <= after + 10
    timer.cancel()
    assert before + 10 <= timer.when() <= after + 10
    exact = loop.call_at(12345.678, callback)
    assert exact.when() == 12345.678
    exact.cancel()


@pytest.mark.skipif(not hasattr(asyncio.Handle, "get_context"), reason="Handle.get_context is new in CPython 3.12")
@every_kind
def test_get_context_gives_the_context_the_callback_runs_in(loop: Loop, schedule: Any) -> None:
    context = contextvars.copy_context()
    assert loop.call_soon(callback, context=context).get_context() is context
    timer = loop.call_later(3600, callback, context=context)
    assert timer.get_context() is context
    timer.cancel()
    assert isinstance(schedule(loop, callback).get_context(), contextvars.Context)


# repr


def test_repr_of_a_handle_names_the_callback(loop: Loop) -> None:
    handle = loop.call_soon(callback, 1, "two")
    text = repr(handle)
    assert text.startswith("<Handle ")
    # From CPython 3.13 on, the arguments are shown in debug mode only.
    assert ("callback()" if sys.version_info >= (3, 13) else "callback(1, 'two')") in text
    handle.cancel()
    assert repr(handle) == "<Handle cancelled>"


def test_repr_of_a_timer_names_the_deadline(loop: Loop) -> None:
    timer = loop.call_at(loop.time() + 3600, callback)
    text = repr(timer)
    assert text.startswith("<TimerHandle ")
    assert f"when={timer.when()}" in text
    assert "callback()" in text
    timer.cancel()
    assert repr(timer) == f"<TimerHandle cancelled when={timer.when()}>"


def test_repr_tells_where_the_callback_is_defined(loop: Loop) -> None:
    handle = loop.call_soon(callback)
    line = callback.__code__.co_firstlineno
    assert f"at {__file__}:{line}" in repr(handle)
    handle.cancel()


def test_repr_in_debug_mode_tells_who_scheduled(loop: Loop) -> None:
    loop.set_debug(True)
    handle = loop.call_soon(callback)
    assert f"created at {__file__}:" in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle)
    assert "created at" in repr(handle)


def test_repr_of_a_handle_that_ran_does_not_fail(loop: Loop) -> None:
    handles = loop.call_soon(callback), loop.call_later(0, callback)
    turn(loop, 2)
    assert all("Handle" in repr(handle) for handle in handles)


# Order and equality


def test_timers_compare_by_deadline(loop: Loop) -> None:
    early, late = loop.call_at(1e9, callback), loop.call_at(2e9, callback)
    assert early < late
    assert early <= late
    assert late > early
    assert late >= early
    assert early != late
    assert sorted([late, early]) == [early, late]
    early.cancel()
    late.cancel()


def test_timers_with_the_same_deadline_callback_and_arguments_are_equal(loop: Loop) -> None:
    one, same = loop.call_at(1e9, callback, 1), loop.call_at(1e9, callback, 1)
    other_argument, other_callback = loop.call_at(1e9, callback, 2), loop.call_at(1e9, print, 1)
    assert one == same
    assert one <= same
    assert one >= same
    assert hash(one) == hash(same)
    assert one != other_argument
    assert one != other_callback
    same.cancel()
    assert one != same
    for timer in (one, other_argument, other_callback):
        timer.cancel()


def test_timers_compare_with_nothing_else(loop: Loop) -> None:
    timer = loop.call_at(1e9, callback)
    assert timer != 1e9
    assert timer.__eq__(1e9) is NotImplemented
    assert timer.__lt__(1e9) is NotImplemented  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = timer < 1e9  # type: ignore[operator]
    timer.cancel()


def test_the_hash_of_a_timer_is_that_of_its_deadline(loop: Loop) -> None:
    timer = loop.call_at(1e9, callback)
    assert hash(timer) == hash(timer.when())
    timer.cancel()
    assert hash(timer) == hash(1e9)


def test_handles_are_equal_to_themselves_only_and_hashable(loop: Loop) -> None:
    one, other = loop.call_soon(callback), loop.call_soon(callback)
    assert one == one
    assert one != other
    assert len({one, other}) == 2
