"""The turns of a scope's timers: called off once begun, by eager tasks, within mailboxes, interrupted, refused."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from pyloop.timers import TimerFired, TimerRegistration, TimerScope
from pyloop.timers._alarms import alarm_at

from .support import Loop, LoopFactory, python, run, turns, until


class Free:
    """A lock that is always had."""

    def __init__(self, key: str) -> None:
        self.key = key

    async def acquire(self, blocking: bool = True) -> bool:
        return True

    async def release(self) -> None: ...


def successive(numbers: list[int]) -> bool:
    """Whether three firings followed each other. Ticks with a lock may be left out, but not every second one."""
    return any(number + 1 in numbers and number + 2 in numbers for number in numbers)


def late_at_most(reports: list[dict[str, Any]]) -> bool:
    """Whether nothing was reported but locks that did not answer in time: those of a busy machine."""
    return all(isinstance(report["exception"], asyncio.TimeoutError) for report in reports)


# Turns that have begun.


def test_a_turn_that_was_called_off_does_not_come(loop: Loop) -> None:
    async def main() -> None:
        async with TimerScope("owner") as scope:
            scope.register_one_shot("once", 0.01)
            scope.register_periodic("tick", 0.1)
            time.sleep(0.11)
            # The driver tells of both in the first iteration, and their turns begin in the second.
            for _ in range(6):
                scope.pause()
                scope.resume()
                await asyncio.sleep(0)
            names: list[str] = []
            while names.count("tick") < 3:
                fired = await scope.recv()
                assert fired is not None
                assert fired.fired_at >= fired.scheduled_at
                names.append(fired.timer_name)
        assert names.count("once") == 1

    run(loop, main())


def test_an_alarm_that_took_more_waits_than_one_can_be_cancelled() -> None:
    class Manual(asyncio.SelectorEventLoop):
        now = 0.0
        asked = 0

        def time(self) -> float:
            self.asked += 1
            return self.now

    loop = Manual()
    ran: list[int] = []
    alarms = [alarm_at(loop, 0.001, functools.partial(ran.append, number)) for number in range(2)]
    # The driver tells, the clock says that it is too early, and the driver is asked again.
    asked = loop.asked
    while loop.asked < asked + 50:
        loop.run_until_complete(turns())
    alarms[0].cancel()
    loop.now = 0.5
    for _ in range(100):
        loop.run_until_complete(turns())
        time.sleep(0.001)
    loop.close()
    assert ran == [1]


@pytest.mark.parametrize("told", [True, False])
def test_firings_that_waited_when_they_were_paused_come_in_their_order_with_their_times(loop: Loop, told: bool) -> None:
    async def main() -> None:
        async with TimerScope("owner") as scope:
            before = loop.time()
            # Registered in another order than they become due.
            for name, due in (("c", 0.003), ("a", 0.001), ("b", 0.002)):
                scope.register_periodic(name, 0.001, due_time=due)
            scope.register_one_shot("later", 3600)
            time.sleep(0.02)
            if told:
                await until(lambda: len(scope._ready) == 3)
            for _ in range(2):
                scope.pause()
                await turns(3)
                assert not scope._ready
                resumed = loop.time()
                scope.resume()
            fired = [await scope.recv() for _ in range(3)]
            # Missed ticks beside it are gone.
            next_one = await scope.recv()
        assert [message and message.timer_name for message in fired] == ["a", "b", "c"]
        for message in fired:
            assert message is not None and message.sequence == 0
            assert before <= message.scheduled_at < before + 0.02 < message.fired_at
        assert next_one is not None and next_one.sequence == 1
        assert next_one.scheduled_at >= resumed + 0.001

    run(loop, main())


def test_timers_become_due_and_end_in_any_order_alike(loop: Loop) -> None:
    count = 8_000

    async def main() -> None:
        async with TimerScope("owner") as scope:
            for number in range(count):
                # The last one is due first.
                scope.register_one_shot(str(number), 1.0 - number * 1e-4)
            await until(lambda: len(scope._ready) == count)
            before = time.process_time()
            scope.pause()
            took = time.process_time() - before
        # Looking for each among all that are due takes some 0.4 s, and forgetting them 2 ms.
        assert took < 0.1

    run(loop, main())


# Tasks that run at once, and calls within the mailbox.


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks before 3.12")
@pytest.mark.parametrize("kind", ["function", "coroutine", "suspended", "queue", "iterator"])
def test_eager_tasks_lose_no_firing(loop: Loop, reports: list[dict[str, Any]], kind: str) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        seen: list[tuple[str, int]] = []

        def note(fired: TimerFired) -> None:
            seen.append((fired.timer_name, fired.sequence))

        async def noted(fired: TimerFired) -> None:
            note(fired)
            if kind == "suspended":
                await asyncio.sleep(0)

        queue: asyncio.Queue[TimerFired] = asyncio.Queue()
        mailbox = {"function": note, "queue": queue, "iterator": None}.get(kind, noted)

        async def receive() -> None:
            while (fired := await (queue.get() if kind == "queue" else scope.recv())) is not None:
                note(fired)

        async with TimerScope("owner", mailbox) as scope:
            receiver = asyncio.create_task(receive()) if kind in ("queue", "iterator") else None
            scope.register_one_shot("once", 0.01, lock=Free)
            scope.register_periodic("tick", 0.03, lock=Free)
            await until(lambda: successive([number for name, number in seen if name == "tick"]))
            await until(lambda: ("once", 0) in seen)
        if receiver is not None:
            receiver.cancel()
            await asyncio.gather(receiver, return_exceptions=True)
        assert len(seen) == len(set(seen))

    run(loop, main())
    assert late_at_most(reports)


@pytest.mark.parametrize("name", ["tick", None])
def test_a_mailbox_may_resume_its_own_timer(loop: Loop, reports: list[dict[str, Any]], name: str | None) -> None:
    async def main() -> None:
        numbers: list[int] = []

        def mailbox(fired: TimerFired) -> None:
            numbers.append(fired.sequence)
            scope.pause(name)
            scope.resume(name)

        async with TimerScope("owner", mailbox) as scope:
            scope.register_periodic("tick", 0.03, lock=Free)
            await until(lambda: successive(numbers))

    run(loop, main())
    assert late_at_most(reports)


def test_a_turn_has_the_context_of_the_registration(loop: Loop) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: dict[str, str] = {}

    class Lock(Free):
        async def acquire(self, blocking: bool = True) -> bool:
            seen[f"lock of {self.key}"] = variable.get()
            return True

    async def mailbox(fired: TimerFired) -> None:
        seen[fired.timer_name] = variable.get()
        variable.set("set by the mailbox")

    async def main() -> None:
        async with TimerScope("owner", mailbox) as scope:
            for name in ("a", "b"):
                variable.set(name)
                scope.register_one_shot(name, 0.001, lock=Lock)
            variable.set("later")
            await until(lambda: len(seen) == 4)

    run(loop, main())
    assert seen == {"lock of a": "a", "a": "a", "lock of b": "b", "b": "b"}


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("call", ["pause", "unregister_timer"])
def test_a_lock_factory_may_call_off_its_own_timer(
    loop: Loop, reports: list[dict[str, Any]], call: str, once: bool
) -> None:
    async def main() -> None:
        seen: list[int] = []
        keys: list[str] = []

        class Lock:
            def __init__(self, key: str) -> None:
                keys.append(key)
                if len(keys) == 1:
                    getattr(scope, call)("timer")

            # No coroutine: nothing waits that could be cancelled.
            def acquire(self, blocking: bool = True) -> bool:
                return True

            def release(self) -> None: ...

        async with TimerScope("owner", lambda fired: seen.append(fired.sequence)) as scope:
            scope.register_timer(TimerRegistration("timer", 0, None if once else 0.02, lock=Lock))
            await until(lambda: keys)
            await asyncio.sleep(0.05)
            assert seen == []
            if call == "pause":
                assert [info.paused for info in scope.list_timers()] == [True]
                scope.resume()
                await until(lambda: seen)
            else:
                assert scope.list_timers() == []

    run(loop, main())
    assert reports == []


def test_a_mailbox_may_detach_and_go_on(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def farewell() -> None:
            await asyncio.sleep(0.001)
            done.set()

        def mailbox(fired: TimerFired) -> Any:
            scope.detach()
            return farewell()

        scope = TimerScope("owner", mailbox)
        scope.attach()
        scope.register_periodic("tick", 0.001)
        await asyncio.wait_for(done.wait(), 20)

    run(loop, main())
    assert reports == []


# Whoever cancels all tasks, or closes the loop.


def cancel_all_but(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancels all tasks but those of the test, as frameworks do where they end."""
    for task in asyncio.all_tasks() - tasks:
        task.cancel()


def test_a_mailboxs_coroutine_that_is_cancelled_does_not_hold_up_its_timer(
    loop: Loop, reports: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        seen: list[int] = []

        async def noted(fired: TimerFired) -> None:
            seen.append(fired.sequence)

        def mailbox(fired: TimerFired) -> Any:
            if fired.sequence == 1:
                asyncio.get_running_loop().call_soon(cancel_all_but, ours)  # Before the coroutine's first step.
            return noted(fired)

        ours = asyncio.all_tasks()
        async with TimerScope("owner", mailbox) as scope:
            scope.register_periodic("tick", 0.001)
            await until(lambda: 3 in seen)
        assert 1 not in seen

    run(loop, main())
    assert reports == []


def test_a_wait_for_room_that_is_cancelled_begins_again(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        ours = asyncio.all_tasks()
        mailbox: Any = asyncio.Queue(1)
        async with TimerScope("owner", mailbox) as scope:
            scope.register_periodic("tick", 0.001)
            await until(lambda: mailbox._putters)
            cancel_all_but(ours)
            numbers = [(await mailbox.get()).sequence for _ in range(3)]
        assert numbers == [0, 1, 2]

    run(loop, main())
    assert reports == []


def test_a_wait_for_a_lock_that_is_cancelled_leaves_out_one_tick_at_most(
    loop: Loop, reports: list[dict[str, Any]]
) -> None:
    asked: list[str] = []

    class SlowAtFirst(Free):
        async def acquire(self, blocking: bool = True) -> bool:
            asked.append(self.key.partition("/")[0])
            if asked.count(asked[-1]) == 1:
                await asyncio.sleep(3600)
            return True

    async def main() -> None:
        seen: list[str] = []
        ours = asyncio.all_tasks()
        async with TimerScope("owner", lambda fired: seen.append(fired.timer_name)) as scope:
            scope.register_one_shot("once", 0, lock=SlowAtFirst)
            scope.register_periodic("tick", 0.1, lock=SlowAtFirst)
            await until(lambda: {"once", "tick"} <= set(asked))
            cancel_all_but(ours)
            await until(lambda: {"once", "tick"} <= set(seen))
        assert seen.count("once") == 1

    run(loop, main())
    assert late_at_most(reports)


def test_a_loop_that_is_closed_before_a_mailboxs_coroutine_has_ended_says_nothing_of_its_own(loop_name: str) -> None:
    source = """
import gc
from pyloop.timers import TimerScope
async def mailbox(fired):
    await asyncio.sleep(100)
async def main():
    scope = TimerScope("owner", mailbox)
    scope.attach()
    scope.register_periodic("tick", 0.001)
    await asyncio.sleep(0.02)
loop = new_loop()
loop.run_until_complete(main())
loop.close()
del loop
gc.collect()
print("ended")
"""
    result = python(loop_name, source)
    assert (result.returncode, result.stdout) == (0, "ended\n"), result.stderr
    # The coroutine is the owner's, and asyncio tells of it as of any other.
    assert result.stderr.count("Task was destroyed but it is pending!") == 1
    assert "Exception ignored" not in result.stderr


def test_the_end_of_a_run_leaves_no_task_behind(loop_name: str) -> None:
    source = """
from asyncio import runners
from pyloop.timers import TimerScope
async def busy(fired):
    await asyncio.sleep(100)
async def main():
    for mailbox in (asyncio.Queue(1), busy):
        scope = TimerScope("owner", mailbox)
        scope.attach()
        scope.register_periodic("tick", 0.001)
    await asyncio.sleep(0.02)
loop = new_loop()
loop.run_until_complete(main())
runners._cancel_all_tasks(loop)  # as asyncio.run() does
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
"""
    result = python(loop_name, source)
    assert (result.returncode, result.stderr) == (0, "")


def interrupting(count: int) -> Callable[[], None]:
    """What is interrupted the `count`-th time that it is called."""
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        if calls == count:
            raise KeyboardInterrupt

    return call


@pytest.mark.parametrize("place", ["mailbox", "put", "factory"])
@pytest.mark.parametrize("eager", [False, True])
def test_a_timer_goes_on_after_an_interrupt(loop: Loop, reports: list[dict[str, Any]], place: str, eager: bool) -> None:
    if eager and sys.version_info < (3, 12):
        pytest.skip("there are no eager tasks before 3.12")
    interrupt = interrupting(2 if place == "mailbox" else 1)
    seen: list[TimerFired] = []

    async def mailbox(fired: TimerFired) -> None:
        if place == "mailbox":
            interrupt()
        seen.append(fired)

    class Queue(asyncio.Queue[TimerFired]):
        async def put(self, item: TimerFired) -> None:
            interrupt()
            await super().put(item)

    def factory(key: str) -> Free:
        interrupt()
        return Free(key)

    async def begin() -> TimerScope:
        scope = TimerScope("owner", Queue(1) if place == "put" else mailbox)
        scope.attach()
        if place == "factory":
            scope.register_one_shot("timer", 0.001, lock=factory)
        else:
            scope.register_periodic("timer", 0.001)
        return scope

    async def end() -> None:
        if place == "put":
            queue = scope._mailbox._queue  # type: ignore[union-attr]
            await until(lambda: queue._putters)
            assert [(await queue.get()).sequence for _ in range(3)] == [0, 1, 2]
        else:
            await until(lambda: len(seen) >= (1 if place == "factory" else 3))
        scope.detach()

    scope = loop.run_until_complete(begin())
    if eager:
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.set_task_factory(None)
    run(loop, end())
    # asyncio tells of an eager task that nobody has got: its creation was interrupted.
    assert {type(report["exception"]) for report in reports} <= {KeyboardInterrupt}


def test_a_timer_goes_on_after_a_task_that_was_refused(loop: Loop, reports: list[dict[str, Any]]) -> None:
    refused = 0

    def factory(loop: Loop, work: Any, **options: Any) -> Any:
        nonlocal refused
        if refused < 3:
            refused += 1
            raise MemoryError("no task")
        return asyncio.Task(work, loop=loop, **options)

    async def main() -> None:
        seen: list[str] = []

        async def mailbox(fired: TimerFired) -> None:
            seen.append(fired.timer_name)

        queue: asyncio.Queue[TimerFired] = asyncio.Queue(1)
        async with TimerScope("owner", mailbox) as scope, TimerScope("owner", queue) as other:
            loop.set_task_factory(factory)
            scope.register_periodic("coroutine", 0.001)
            scope.register_one_shot("lock", 0.001, lock=Free)
            other.register_periodic("room", 0.001)
            await until(lambda: {"coroutine", "lock"} <= set(seen) and refused == 3)
            assert [(await queue.get()).sequence for _ in range(3)] == [0, 1, 2]

    run(loop, main())
    assert {type(report["exception"]) for report in reports} == {MemoryError}
    loop.set_task_factory(None)


def test_a_registration_that_fails_leaves_nothing(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    scope = TimerScope("owner")

    async def left_attached() -> None:
        scope.attach()

    loop.run_until_complete(left_attached())
    loop.close()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            scope.register_one_shot("timer", 1)
    assert scope.list_timers() == []


# Arguments.


def test_what_is_no_registration_is_refused(loop: Loop) -> None:
    async def main() -> None:
        scope: Any = TimerScope("owner")
        async with scope:
            with pytest.raises(TypeError, match="a TimerRegistration was expected, not 'tick'"):
                scope.register_timer("tick")
            with pytest.raises(TypeError, match="due_time must be a number of seconds or a timedelta, not None"):
                scope.register_one_shot("once", None)
            assert scope.list_timers() == []

    run(loop, main())
