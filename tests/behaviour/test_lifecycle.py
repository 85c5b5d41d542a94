"""How a loop starts, stops, closes, and refuses what makes no sense."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from typing import Any

import pytest

from .support import Loop, LoopFactory, run, run_in_thread, socket_pair, turn


async def answer() -> int:
    return 42


def test_a_new_loop_neither_runs_nor_is_closed(loop: Loop) -> None:
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert not loop.is_running()
    assert not loop.is_closed()


def test_time_is_the_monotonic_clock(loop: Loop) -> None:
    before = time.monotonic()
    now = loop.time()
    assert isinstance(now, float)
    assert before <= now <= time.monotonic()


def test_run_until_complete_returns_the_result_of_a_coroutine(loop: Loop) -> None:
    assert loop.run_until_complete(answer()) == 42


def test_run_until_complete_takes_a_future_of_this_loop(loop: Loop) -> None:
    future = loop.create_future()
    loop.call_soon(future.set_result, "done")
    assert loop.run_until_complete(future) == "done"


def test_run_until_complete_returns_at_once_for_a_done_future(loop: Loop) -> None:
    future = loop.create_future()
    future.set_result("done")
    assert loop.run_until_complete(future) == "done"


def test_run_until_complete_takes_any_awaitable(loop: Loop) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            return answer().__await__()

    assert loop.run_until_complete(Awaitable()) == 42


def test_run_until_complete_raises_what_the_coroutine_raises(loop: Loop) -> None:
    async def fail() -> None:
        raise ValueError("from the coroutine")

    with pytest.raises(ValueError, match="from the coroutine"):
        loop.run_until_complete(fail())
    assert not loop.is_running()
    assert run(loop, answer()) == 42


def test_run_until_complete_refuses_what_cannot_be_awaited(loop: Loop) -> None:
    with pytest.raises(TypeError):
        loop.run_until_complete(42)  # type: ignore[arg-type]


def test_run_until_complete_refuses_a_future_of_another_loop(loop: Loop, loop_factory: LoopFactory) -> None:
    other = loop_factory()
    try:
        future = other.create_future()
        with pytest.raises(ValueError, match="loop"):
            loop.run_until_complete(future)
    finally:
        other.close()


def test_run_until_complete_says_when_the_loop_stopped_first(loop: Loop) -> None:
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="Event loop stopped before Future completed"):
        loop.run_until_complete(future)


def test_run_until_complete_leaves_no_callback_on_the_future(loop: Loop) -> None:
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError):
        loop.run_until_complete(future)
    seen: list[str] = []
    loop.call_soon(future.set_result, None)
    loop.call_soon(seen.append, "a")
    loop.call_later(0, seen.append, "b")
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert seen == ["a", "b"]


def test_run_forever_runs_until_it_is_stopped(loop: Loop) -> None:
    seen: list[bool] = []
    loop.call_soon(lambda: seen.append(loop.is_running()))
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert seen == [True]
    assert not loop.is_running()


def test_stop_before_a_run_makes_it_run_one_iteration(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_soon(seen.append, "ready")
    loop.stop()
    loop.run_forever()
    assert seen == ["ready"]


def test_stop_before_a_run_still_polls_the_sockets_once(loop: Loop) -> None:
    left, right = socket_pair()
    seen: list[str] = []
    loop.add_reader(left, seen.append, "readable")
    right.send(b"x")
    loop.stop()
    loop.run_forever()
    loop.stop()
    loop.run_forever()
    loop.remove_reader(left)
    left.close()
    right.close()
    assert seen[:1] == ["readable"]


def test_stop_twice_stops_once(loop: Loop) -> None:
    loop.stop()
    loop.stop()
    loop.run_forever()
    seen: list[str] = []
    loop.call_later(0.001, seen.append, "second run went on")
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert seen == ["second run went on"]


def test_a_loop_runs_again_and_again(loop: Loop) -> None:
    assert [loop.run_until_complete(answer()) for _ in range(50)] == [42] * 50


def test_what_was_scheduled_survives_from_one_run_to_the_next(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_soon(loop.stop)
    loop.call_soon(lambda: loop.call_soon(seen.append, "later run"))
    loop.run_forever()
    assert seen == []
    turn(loop)
    assert seen == ["later run"]


# One refused call per run: CPython 3.13.0 forgets after the first that the loop is running.


@pytest.mark.parametrize("entry", ["run_forever", "run_until_complete"])
def test_running_a_running_loop_is_refused(loop: Loop, entry: str) -> None:
    seen: list[str] = []

    def nested() -> None:
        with pytest.raises(RuntimeError, match="already running"):
            enter(loop, entry)
        seen.append("refused")

    loop.call_soon(nested)
    turn(loop)
    assert seen == ["refused"]


@pytest.mark.parametrize("entry", ["run_forever", "run_until_complete"])
def test_running_a_second_loop_in_the_thread_is_refused(loop: Loop, loop_factory: LoopFactory, entry: str) -> None:
    other = loop_factory()
    seen: list[str] = []

    def nested() -> None:
        with pytest.raises(RuntimeError, match="Cannot run the event loop while another loop is running"):
            enter(other, entry)
        assert not other.is_running()
        seen.append("refused")

    loop.call_soon(nested)
    turn(loop)
    other.close()
    assert seen == ["refused"]


def enter(loop: Loop, entry: str) -> None:
    if entry == "run_forever":
        loop.run_forever()
    else:
        loop.run_until_complete(loop.create_future())


def test_running_a_loop_that_runs_in_another_thread_is_refused(loop: Loop) -> None:
    def attempt() -> None:
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()

    async def main() -> None:
        await loop.run_in_executor(None, attempt)
        await loop.shutdown_default_executor()

    run(loop, main())


def test_loops_run_side_by_side_in_threads(loop_factory: LoopFactory) -> None:
    barrier = threading.Barrier(4, timeout=20)

    def body() -> int:
        loop = loop_factory()

        async def main() -> int:
            barrier.wait()
            await asyncio.sleep(0.001)
            assert asyncio.get_running_loop() is loop
            return await answer()

        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()

    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(body())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [42] * 4


def test_a_loop_may_run_in_one_thread_and_then_in_another(loop: Loop) -> None:
    assert run_in_thread(lambda: run(loop, answer())) == 42
    assert run(loop, answer()) == 42


def test_the_running_loop_is_known_during_the_run_only(loop: Loop) -> None:
    seen: list[Loop] = []
    loop.call_soon(lambda: seen.append(asyncio.get_running_loop()))
    turn(loop)
    assert seen == [loop]
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_close_is_idempotent(loop: Loop) -> None:
    loop.close()
    loop.close()
    assert loop.is_closed()
    assert not loop.is_running()


def test_a_running_loop_cannot_be_closed(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()

    run(loop, main())
    assert not loop.is_closed()


@pytest.mark.parametrize(
    "call",
    [
        lambda loop: loop.run_forever(),
        lambda loop: loop.call_soon(print),
        lambda loop: loop.call_soon_threadsafe(print),
        lambda loop: loop.call_later(1, print),
        lambda loop: loop.call_at(loop.time() + 1, print),
        lambda loop: loop.run_in_executor(None, print),
        lambda loop: loop.add_signal_handler(10, print),
        lambda loop: loop.add_reader(0, print),
        lambda loop: loop.add_writer(0, print),
    ],
    ids=["run_forever", "call_soon", "call_soon_threadsafe", "call_later", "call_at", "run_in_executor",
         "add_signal_handler", "add_reader", "add_writer"],
)  # fmt: skip
def test_a_closed_loop_refuses_calls(loop: Loop, call: Any) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        call(loop)


def test_a_closed_loop_refuses_coroutines(loop: Loop) -> None:
    loop.close()
    coroutine = answer()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_until_complete(coroutine)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coroutine)
    coroutine.close()


def test_stop_and_time_work_on_a_closed_loop(loop: Loop) -> None:
    loop.close()
    loop.stop()
    assert loop.time() > 0
    assert loop.get_debug() in (True, False)
    assert loop.create_future().get_loop() is loop


def test_closing_drops_what_was_scheduled(loop: Loop) -> None:
    seen: list[str] = []
    soon = loop.call_soon(seen.append, "soon")
    later = loop.call_later(0, seen.append, "later")
    loop.close()
    assert seen == []
    soon.cancel()
    later.cancel()


def test_repr_tells_the_state(loop: Loop) -> None:
    assert "running=False" in repr(loop)
    assert "closed=False" in repr(loop)
    assert f"debug={loop.get_debug()}" in repr(loop)
    loop.close()
    assert "closed=True" in repr(loop)


def test_dropping_a_loop_that_was_never_closed_warns(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    loop.run_until_complete(asyncio.sleep(0))
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        gc.collect()


def test_dropping_a_closed_loop_is_silent(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del loop
    gc.collect()


# Coroutine origin tracking follows the debug mode


def test_debug_mode_tracks_where_coroutines_come_from(loop: Loop) -> None:
    before = sys.get_coroutine_origin_tracking_depth()
    depths: list[int] = []
    loop.set_debug(True)
    assert loop.get_debug() is True
    loop.call_soon(lambda: depths.append(sys.get_coroutine_origin_tracking_depth()))
    turn(loop)
    loop.set_debug(False)
    loop.call_soon(lambda: depths.append(sys.get_coroutine_origin_tracking_depth()))
    turn(loop)
    assert depths[0] > 0
    assert depths[1] == before
    assert sys.get_coroutine_origin_tracking_depth() == before
