"""Timers with locks, within one process: which ticks run, what locks answer, how long they are kept."""

from __future__ import annotations

import asyncio
import contextlib
import math
import weakref
from typing import Any, ClassVar

import pyloop
import pytest
from pyloop.testing import VirtualClock
from pyloop.timers import TimerFired, TimerRegistration, TimerScope, _locks

from .support import Loop, collect_until_dead, run, turns, until
from .test_timer_turns import Free, late_at_most


@pytest.fixture
def virtual() -> Any:
    """A loop on a virtual clock, whose zero is that of the ticks."""
    with contextlib.closing(pyloop.PyLoop(clock=VirtualClock())) as loop:
        yield loop


# Locks of all kinds.


@pytest.mark.parametrize(
    ("answer", "asked", "waited"),
    [(True, True, True), (False, False, False), (1, True, True), (0, False, False), (None, False, True)],
)
def test_answers_of_locks(loop: Loop, answer: object, asked: bool, waited: bool) -> None:
    class Asked:
        async def acquire(self, blocking: bool = True) -> object:
            assert not blocking
            return answer

    class Waited:
        async def acquire(self) -> object:
            return answer

    class Entered:
        async def __aenter__(self) -> object:
            return answer

    async def main() -> None:
        assert await _locks.acquire(Asked(), 1.0) is asked
        assert await _locks.acquire(Waited(), 1.0) is waited
        # What a context manager enters with may be anything.
        assert await _locks.acquire(Entered(), 1.0) is (answer is not False)

    run(loop, main())


def test_a_lock_that_cannot_be_given_back_is_given_up(
    loop: Loop, reports: list[dict[str, Any]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_locks, "MOST_PATIENCE", 0.02)

    class Stuck(Free):
        async def release(self) -> None:
            await asyncio.sleep(3600)

    async def main() -> None:
        async with TimerScope("owner", lambda fired: None) as scope:
            scope.register_periodic("tick", 0.02, lock=Stuck)
            await until(lambda: len(warned()) >= 5)
            # Those of the last ticks: a lock is kept for an interval, and given 0.02 s to be released.
            await until(lambda: len(asyncio.all_tasks()) < 5)

    def warned() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "pyloop.timers"]

    run(loop, main())
    assert all("was not released within 0.02 s" in message for message in warned())
    assert late_at_most(reports)


def test_a_lock_that_is_kept_keeps_no_owner(loop: Loop) -> None:
    class Owner: ...

    async def main() -> weakref.ref[Owner]:
        owner = Owner()
        fired: list[object] = []
        async with TimerScope(owner, lambda _: fired.append(1)) as scope:
            # Its lock is kept for a minute.
            scope.register_one_shot("once", 0, lock=Free)
            await until(lambda: fired)
        return weakref.ref(owner)

    dead = loop.run_until_complete(main())
    # The last firing has its handles still.
    run(loop, turns(3))
    collect_until_dead(dead)


@pytest.mark.parametrize(
    "times", [{"interval": math.inf}, {"interval": 0.01, "due_time": math.inf}, {"interval": 1e-9, "due_time": 1e308}]
)
def test_a_timer_with_a_lock_may_be_due_never(loop: Loop, times: dict[str, Any]) -> None:
    async def main() -> None:
        async with TimerScope("owner") as scope:
            scope.register_timer(TimerRegistration("never", lock=Free, **times))
            for _ in range(2):
                (info,) = scope.list_timers()
                assert info.remaining == math.inf
                scope.pause()
                scope.resume()

    run(loop, main())


def test_a_first_tick_that_is_far_away_stays_far_away(loop: Loop) -> None:
    async def main() -> None:
        async with TimerScope("owner") as scope:
            scope.register_periodic("tick", 10.0, due_time=3600.0, lock=Free)
            scope.pause()
            scope.resume()
            (info,) = scope.list_timers()
            assert 3580 < info.remaining < 3620

    run(loop, main())


# Which ticks, on a virtual clock.


class Shared:
    """Locks by key, which end by themselves 150 s after they were had."""

    had: ClassVar[dict[str, float]] = {}
    asked: ClassVar[list[tuple[str, float]]] = []

    def __init__(self, key: str) -> None:
        self.key = key

    async def acquire(self, blocking: bool = True) -> bool:
        now = asyncio.get_running_loop().time()
        self.asked.append((self.key, now))
        if now - self.had.get(self.key, -math.inf) < 150:
            return False
        self.had[self.key] = now
        return True

    async def release(self) -> None:
        del self.had[self.key]


@pytest.fixture(autouse=True)
def forgotten() -> None:
    Shared.had.clear()
    Shared.asked.clear()


def test_ticks_with_a_lock_go_by_a_virtual_clock(virtual: pyloop.PyLoop) -> None:
    async def main() -> None:
        async with TimerScope("owner") as scope:
            scope.register_periodic("tick", 60.0, lock=Shared)
            for number in range(1, 6):
                await scope.recv()
                assert virtual.time() == pytest.approx(60.0 * number)

    virtual.run_until_complete(main())
    assert [key for key, _ in Shared.asked][:5] == [f"tick/{number}" for number in range(1, 6)]


def test_locks_are_asked_for_near_their_ticks(virtual: pyloop.PyLoop) -> None:
    ran: list[int] = []

    def count(fired: TimerFired) -> None:
        ran.append(round(fired.scheduled_at / 60))

    async def main() -> None:
        # Two machines, the second one started later. A lock that the first had taken at once would have ended by then.
        async with TimerScope("a", count) as first, TimerScope("b", count) as second:
            first.register_periodic("tick", 60.0, due_time=600.0, lock=Shared)
            await asyncio.sleep(200)
            second.register_periodic("tick", 60.0, due_time=600.0, lock=Shared)
            await asyncio.sleep(1000)

    virtual.run_until_complete(main())
    assert ran == sorted(set(ran))
    assert ran[0] == 11
    assert all(float(key.partition("/")[2]) * 60 - asked <= 120 for key, asked in Shared.asked)


def test_a_tick_that_was_not_asked_for_is_not_used_up(virtual: pyloop.PyLoop) -> None:
    async def main() -> None:
        async with TimerScope("owner") as scope:
            scope.register_periodic("tick", 60.0, lock=Shared)
            for _ in range(100):
                scope.pause()
                scope.resume()
            await scope.recv()
            assert virtual.time() == pytest.approx(60.0)

    virtual.run_until_complete(main())
    assert Shared.asked[0][0] == "tick/1"


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_long_job_loses_no_tick(virtual: pyloop.PyLoop, one: bool, part: float) -> None:
    ran: list[int] = []
    lock = Free("for all")

    async def job(fired: TimerFired) -> None:
        ran.append(round(fired.scheduled_at / 60))
        await asyncio.sleep(part * 60)

    async def main() -> None:
        async with TimerScope("owner", job) as scope:
            scope.register_periodic("tick", 60.0, lock=(lambda _: lock) if one else Shared)
            await asyncio.sleep(630)

    virtual.run_until_complete(main())
    assert ran == list(range(1, 11))


# Firings that the owner does not take.


def test_a_firing_whose_lock_was_had_is_not_lost_by_a_pause(loop: Loop) -> None:
    had: set[str] = set()

    class Once(Free):
        async def acquire(self, blocking: bool = True) -> bool:
            return self.key not in had and not had.add(self.key)  # type: ignore[func-returns-value]

    async def main() -> None:
        async with TimerScope("owner") as scope:
            scope.register_one_shot("once", 0.001, lock=Once)
            await until(lambda: scope._ready)
            scope.pause()
            scope.resume()
            fired = await asyncio.wait_for(scope.recv(), 20)
            assert fired is not None and fired.timer_name == "once"

    run(loop, main())


def test_a_firing_with_a_lock_waits_for_room(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue(1)
        queue.put_nowait("first")
        async with TimerScope("owner", queue) as scope:
            scope.register_one_shot("once", 0.001, lock=Free)
            await until(lambda: queue._putters)  # type: ignore[attr-defined]
            assert await queue.get() == "first"
            assert (await queue.get()).timer_name == "once"
            assert scope.list_timers() == []

    run(loop, main())
    assert reports == []


def test_the_bound_of_a_queue_counts_if_it_has_one(
    loop: Loop, reports: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyloop.timers._mailbox.MOST_UNREAD", 1)

    async def main() -> None:
        queue: asyncio.Queue[TimerFired] = asyncio.Queue(3)
        async with TimerScope("owner", queue) as scope:
            scope.register_periodic("tick", 0.02, lock=Free)
            await until(queue.full)

    run(loop, main())
    assert late_at_most(reports)
