"""`pyloop.timers` in trouble: the end of the process or a loop, forks, mailboxes and locks that fail, odd arguments."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import itertools
import math
import os
import queue
import random
import sys
import threading
import time
import weakref
from typing import Any, ClassVar

import pytest
from pyloop.timers import (
    InvalidRegistration,
    MissedTick,
    TimerExpired,
    TimerFired,
    TimerManager,
    TimerRegistration,
    TimerScope,
    call_every,
    interval,
)

from .support import (
    Loop,
    LoopFactory,
    collect_until_dead,
    open_descriptors,
    python,
    run,
    run_in_thread,
    run_until,
    turns,
    until,
)

# The end of the process, of a loop, of a fork.

BUSY_MANAGERS = """
import threading, time, pyloop
from pyloop.timers import TimerManager, TimerScope, call_every

received = 0

async def receive(manager):
    global received
    while await manager.recv_event():
        received += 1
        manager.try_set_timer("a", 0.0003)

async def busy(enough):
    loop = asyncio.get_running_loop()
    managers = [TimerManager(str(number)) for number in range(20)]
    tasks = [asyncio.ensure_future(receive(manager)) for manager in managers]
    for manager in managers:
        manager.try_set_timer("a", 0.0003)
    loop.kept = tasks, call_every(0.001, int)
    while not enough():
        await asyncio.sleep(0.001)

def run(enough):
    loop = new_loop()
    loop.run_until_complete(busy(enough))
    return loop

"""


def test_a_program_that_ends_while_managers_tell_ends_in_order(loop_name: str) -> None:
    source = BUSY_MANAGERS + "kept = run(lambda: received > 500)\nprint('end')\n"
    for _ in range(3):
        result = python(loop_name, source)
        assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr


def test_a_program_that_ends_while_daemon_threads_have_managers_ends_in_order(loop_name: str) -> None:
    source = BUSY_MANAGERS + (
        "for _ in range(2):\n"
        "    threading.Thread(target=run, args=(lambda: False,), daemon=True).start()\n"
        "while received < 1000:\n"
        "    time.sleep(0.001)\n"
        "print('end')\n"
    )
    for _ in range(3):
        result = python(loop_name, source)
        assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr


def test_an_event_for_a_closed_loop_is_said_to_nobody_and_kept(loop_name: str) -> None:
    source = """
import time
from pyloop.timers import TimerManager
manager = TimerManager()
loop = new_loop()
async def main():
    task = asyncio.ensure_future(manager.recv_event())
    task._log_destroy_pending = False
    await asyncio.sleep(0.01)
    return task
task = loop.run_until_complete(main())
loop.close()
manager.try_set_timer("a", 0)
while True:
    try:
        print(manager.try_recv_event().name)
        break
    except asyncio.QueueEmpty:
        time.sleep(0.001)
# Another loop is told, although the receiver of the closed one waited first.
manager.try_set_timer("b", 0.01)
loop = new_loop()
print(loop.run_until_complete(asyncio.wait_for(manager.recv_event(), 20)).name)
loop.close()
"""
    result = python(loop_name, source)
    assert (result.returncode, result.stdout, result.stderr) == (0, "a\nb\n", "")


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux shows them")
def test_waiting_for_events_takes_no_threads(loop: Loop) -> None:
    async def main() -> None:
        async with TimerManager() as manager:
            await manager.set_timer("a", 0)
            await manager.recv_event()
            before = len(os.listdir("/proc/self/task"))
            most = 0
            for _ in range(300):
                receiver = asyncio.ensure_future(manager.recv_event())
                await turns(2)
                receiver.cancel()
                await asyncio.wait([receiver])
                most = max(most, len(os.listdir("/proc/self/task")))
            assert most <= before

    run(loop, main())


async def arm_every() -> object:
    return call_every(3600, print)


async def arm_scope() -> object:
    scope = TimerScope("owner")
    scope.attach()
    scope.register_periodic("a", 3600)
    return scope


async def arm_interval() -> object:
    return await pending(interval(3600, first=3600).tick())


async def arm_manager() -> object:
    manager = TimerManager()
    return manager, await pending(manager.recv_event())


async def pending(coroutine: Any) -> asyncio.Task[Any]:
    task: Any = asyncio.ensure_future(coroutine)
    task._log_destroy_pending = False
    await turns(3)
    return task  # type: ignore[no-any-return]


@pytest.mark.parametrize("arm", [arm_every, arm_scope, arm_interval, arm_manager])
def test_a_loop_that_is_closed_with_something_armed_is_freed(loop_factory: LoopFactory, arm: Any) -> None:
    def life() -> weakref.ref[Loop]:
        loop = loop_factory()
        armed = loop.run_until_complete(arm())
        loop.close()
        assert armed is not None
        return weakref.ref(loop)

    collect_until_dead(life())
    before = open_descriptors()
    collect_until_dead(*[life() for _ in range(5)])
    assert open_descriptors() == before


@pytest.mark.parametrize("arm", [arm_every, arm_scope, arm_interval, arm_manager])
def test_a_loop_that_is_closed_has_no_descriptors(loop_factory: LoopFactory, arm: Any) -> None:
    def life() -> Loop:
        loop = loop_factory()
        armed = loop.run_until_complete(arm())
        loop.close()
        assert armed is not None
        return loop

    first = life()  # The driver has descriptors, too.
    before = open_descriptors()
    second = life()
    assert open_descriptors() == before
    del first, second


def test_a_forked_child_is_refused_by_its_parents_manager(loop_name: str) -> None:
    source = """
import os
from pyloop.timers import ManagerClosed, TimerManager

manager = TimerManager("parents")
manager.try_set_timer("a", 3600)

async def refused():
    for attempt in (lambda: manager.set_timer("b", 1), manager.recv_event, manager.shutdown):
        try:
            await attempt()
        except ManagerClosed as error:
            assert "fork" in str(error), error
        else:
            return False
    async with manager:
        pass
    own = TimerManager()
    await own.set_timer("c", 0)
    return manager.is_closed() and "closed" in repr(manager) and (await own.recv_event()).name == "c"

def run(coroutine):
    loop = new_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(coroutine, 20))
    finally:
        loop.close()

pid = os.fork()
if pid == 0:
    code = 1
    try:
        code = 0 if run(refused()) else 2
        del manager
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert not manager.is_closed() and len(manager) == 1
manager.try_set_timer("a", 0)
print(run(manager.recv_event()).name)
"""
    result = python(loop_name, source)
    assert (result.returncode, result.stdout) == (0, "a\n"), result.stderr


def test_a_scope_that_a_closed_loop_left_behind_serves_a_new_one(loop_factory: LoopFactory) -> None:
    scope = TimerScope("owner")

    async def left_behind() -> None:
        scope.attach()
        scope.register_periodic("old", 0.001)
        scope.task = await pending(scope.recv())  # type: ignore[attr-defined]

    async def used() -> None:
        async with scope:
            assert scope.list_timers() == []
            scope.register_one_shot("new", 0.001)
            fired = await scope.recv()
            assert fired is not None and fired.timer_name == "new"

    first, second = loop_factory(), loop_factory()
    first.run_until_complete(left_behind())
    first.close()
    run(second, used())
    second.close()


# Intervals.


def test_reset_brings_a_waiting_tick_forward(loop: Loop) -> None:
    async def main() -> None:
        ticks = interval(0.001, first=3600)
        waiting = await pending(ticks.tick())
        before = loop.time()
        ticks.reset()
        tick = await waiting
        assert before + 0.001 <= tick.scheduled <= tick.actual

    run(loop, main())


def test_deadlines_are_in_order_to_the_nanosecond(loop: Loop) -> None:
    order: list[int] = []
    chance = random.Random(1)
    handles = [call_every(10, order.append, n, first=0.05 + chance.random() * 1e-5, loop=loop) for n in range(500)]
    deadlines = [handle.when() for handle in handles]
    run_until(loop, lambda: len(order) == 500)
    for handle in handles:
        handle.cancel()
    assert all(deadlines[a] <= deadlines[b] + 1e-9 for a, b in itertools.pairwise(order))


def test_a_loop_with_a_clock_of_its_own_is_served_by_it() -> None:
    class Shifted(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return super().time() - 1000.0

    loop = Shifted()
    ran: list[float] = []
    deadlines: list[float] = []
    for delay in (0.003, 0.001, 0.002):
        handle = call_every(3600, lambda: ran.append(loop.time()), first=delay, loop=loop)
        deadlines.append(handle.when())
    run_until(loop, lambda: len(ran) == 3)
    loop.close()
    assert all(at >= deadline for at, deadline in zip(ran, sorted(deadlines), strict=True))


def signaling() -> Any:
    return decimal.Decimal("sNaN")


@pytest.mark.parametrize("value", [b"1", bytearray(b"1"), "1", None, 1j, [1]], ids=repr)
def test_what_is_no_number_is_no_time(loop: Loop, value: Any) -> None:
    with pytest.raises(TypeError):
        call_every(value, print, loop=loop)
    with pytest.raises(TypeError):
        interval(value)
    with pytest.raises(TypeError):
        TimerManager().try_set_timer("a", value)
    if value is not None:
        with pytest.raises(TypeError):
            TimerRegistration("a", value)


@pytest.mark.parametrize("value", [10**400, signaling(), math.nan, 5e-324, 1e-10], ids=lambda value: repr(value)[:10])
def test_intervals_beyond_the_clock_are_refused(loop: Loop, value: Any) -> None:
    with pytest.raises(InvalidRegistration):
        call_every(value, print, loop=loop)
    with pytest.raises(InvalidRegistration):
        interval(value)
    with pytest.raises(InvalidRegistration):
        TimerRegistration("a", interval=value)


def test_the_shortest_interval_is_followed(loop: Loop) -> None:
    ran = 0

    def count() -> None:
        nonlocal ran
        ran += 1
        if ran < 3:
            time.sleep(0.006)  # Later than what is tolerated.

    handles = [call_every(1e-9, count, missed=missed, loop=loop) for missed in MissedTick]
    run_until(loop, lambda: ran > 20)
    for handle in handles:
        handle.cancel()


def test_a_context_that_is_none_is_refused(loop: Loop) -> None:
    with pytest.raises(TypeError, match=r"context must be a contextvars\.Context or None, not int"):
        call_every(1, print, context=5, loop=loop)  # type: ignore[arg-type]
    call_every(1, print, context=contextvars.copy_context(), loop=loop).cancel()


def test_debug_mode_checks_what_call_later_checks(loop: Loop) -> None:
    async def coroutine() -> None: ...

    async def main() -> None:
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            call_every(1, coroutine)
        with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
            run_in_thread(lambda: call_every(1, print, loop=loop))

    loop.set_debug(True)
    loop.slow_callback_duration = 60  # type: ignore[attr-defined]
    run(loop, main())
    call_every(1, print, loop=loop).cancel()


# Scopes and their mailboxes.


def test_a_resumed_timer_waits_for_the_mailboxs_coroutine(loop: Loop) -> None:
    async def main() -> None:
        running: list[str] = []
        runs = most = 0
        go_on = asyncio.Event()

        async def mailbox(fired: TimerFired) -> None:
            nonlocal runs, most
            running.append(fired.timer_name)
            runs += 1
            most = max(most, running.count("tick"))
            await go_on.wait()
            running.remove(fired.timer_name)

        async with TimerScope("owner", mailbox) as scope:
            scope.register_periodic("tick", 0.001)
            await until(lambda: running)
            scope.pause()
            scope.resume()
            # Due later than the next tick would be.
            scope.register_one_shot("other", 0.01)
            await until(lambda: "other" in running)
            assert running == ["tick", "other"]
            scope.pause("tick")
            go_on.set()
            await until(lambda: not running)
            scope.resume("tick")
            await until(lambda: runs >= 5)
        assert most == 1

    run(loop, main())


def test_a_queue_that_fails_is_reported_and_tried_again(loop: Loop, reports: list[dict[str, Any]]) -> None:
    class Failing(asyncio.Queue[TimerFired]):
        failures = 0

        async def put(self, item: TimerFired) -> None:
            if self.failures < 3:
                self.failures += 1
                raise asyncio.CancelledError if self.failures == 2 and sys.version_info >= (3, 11) else OSError
            await super().put(item)

    async def main() -> None:
        mailbox = Failing(1)
        async with TimerScope("owner", mailbox) as scope:
            scope.register_periodic("tick", 0.001)
            await until(lambda: mailbox.failures == 3)
            for _ in range(5):
                assert (await mailbox.get()).timer_name == "tick"

    run(loop, main())
    assert [report["timer"] for report in reports] == ["tick"] * 3


@pytest.mark.skipif(sys.version_info < (3, 13), reason="queues can be shut down from 3.13 on")
def test_a_queue_that_is_shut_down_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        mailbox: Any = asyncio.Queue(1)
        async with TimerScope("owner", mailbox) as scope:
            scope.register_periodic("tick", 0.001)
            await until(lambda: mailbox._putters)
            mailbox.shutdown(immediate=True)
            await until(lambda: len(reports) >= 3)
            assert [info.name for info in scope.list_timers()] == ["tick"]

    run(loop, main())
    assert {type(report["exception"]).__name__ for report in reports} == {"QueueShutDown"}


def test_what_waited_for_room_was_handed_over_when_there_was(loop: Loop) -> None:
    async def main() -> None:
        mailbox: Any = asyncio.Queue(1)
        async with TimerScope("owner", mailbox) as scope:
            scope.register_periodic("tick", 0.001)
            await until(lambda: mailbox._putters)
            room = loop.time()
            await mailbox.get()
            fired = await mailbox.get()
            assert fired.scheduled_at < room <= fired.fired_at <= loop.time()

    run(loop, main())


class Half:
    def put_nowait(self, item: object) -> None: ...

    def qsize(self) -> int:
        return 0


@pytest.mark.parametrize("mailbox", [queue.Queue(), queue.SimpleQueue(), Half(), 5], ids=lambda box: type(box).__name__)
def test_what_is_no_mailbox_is_refused(mailbox: Any) -> None:
    with pytest.raises(TypeError, match="mailbox"):
        TimerScope("owner", mailbox)


@pytest.mark.parametrize("interrupt", [SystemExit, KeyboardInterrupt])
def test_an_interrupt_in_a_mailbox_leaves_the_run_and_the_timer(loop: Loop, interrupt: type[BaseException]) -> None:
    calls = 0

    def mailbox(fired: TimerFired) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise interrupt

    async def attach() -> None:
        scope.attach()

    scope = TimerScope("owner", mailbox)
    run(loop, attach())
    scope.register_periodic("tick", 0.001)
    loop.call_later(20, loop.stop)
    with pytest.raises(interrupt):
        loop.run_forever()
    run_until(loop, lambda: calls >= 3)
    scope.detach()


def test_detaching_ends_receivers_even_if_attached_again(loop: Loop) -> None:
    async def main() -> None:
        scope = TimerScope("owner")
        scope.attach()
        waiting = [await pending(scope.recv()) for _ in range(2)]
        scope.detach()
        scope.attach()
        assert await asyncio.gather(*waiting) == [None, None]
        scope.register_one_shot("a", 0)
        assert await scope.recv() is not None
        scope.detach()

    run(loop, main())


# Locks.


class TryLock:
    """A lock of a name that everybody shares, which is only tried; its methods are no coroutines."""

    taken: ClassVar[dict[str, object]] = {}

    def __init__(self, name: str) -> None:
        self.name = name

    def acquire(self, blocking: bool = True) -> bool:
        assert not blocking
        return self.taken.setdefault(self.name, self) is self

    def release(self) -> None:
        assert self.taken.pop(self.name) is self


@pytest.mark.parametrize("kind", ["asyncio", "named"])
def test_one_lock_for_all_ticks_runs_them_all(loop: Loop, kind: str) -> None:
    async def main() -> None:
        lock = asyncio.Lock()
        TryLock.taken.clear()
        numbers: list[int] = []

        def follow_each_other() -> bool:
            return any(number + 1 in numbers and number + 2 in numbers for number in numbers)

        async with TimerScope("owner", lambda fired: numbers.append(fired.sequence)) as scope:
            scope.register_periodic("tick", 0.05, lock=lambda key: lock if kind == "asyncio" else TryLock("one"))
            await until(follow_each_other)

    run(loop, main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks do not tell before 3.11 whether they were cancelled")
def test_a_lock_that_cancels_itself_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    class Cancelled:
        def __init__(self, key: str) -> None: ...

        async def acquire(self) -> bool:
            raise asyncio.CancelledError

        async def release(self) -> None: ...

    async def main() -> None:
        async with TimerScope("owner") as scope:
            scope.register_one_shot("once", 0, lock=Cancelled)
            await until(lambda: reports)
            assert scope.list_timers() == []

    run(loop, main())
    assert [report["timer"] for report in reports] == ["once"]


def test_managers_serve_more_loops_than_one_at_a_time(loop_factory: LoopFactory) -> None:
    manager = TimerManager()
    names: list[str] = []

    def receive() -> None:
        loop = loop_factory()
        event = run(loop, manager.recv_event())
        assert isinstance(event, TimerExpired)
        names.append(event.name)
        loop.close()

    threads = [threading.Thread(target=receive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(4):
        manager.try_set_timer(str(number), 0.001)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert sorted(names) == ["0", "1", "2", "3"]
    manager.try_shutdown()
