"""Tasks and futures of a loop: CPython's own, with every keyword that the running version knows."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from .support import Loop, run, turn, turns

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def answer() -> int:
    return 42


def test_tasks_and_futures_are_those_of_cpython(loop: Loop) -> None:
    async def main() -> None:
        task = loop.create_task(answer())
        assert type(task) is asyncio.Task
        assert type(loop.create_future()) is asyncio.Future
        assert task.get_loop() is loop
        assert await task == 42

    run(loop, main())


def test_a_task_starts_in_a_later_iteration(loop: Loop) -> None:
    seen: list[str] = []

    async def body() -> None:
        seen.append("body")

    task = loop.create_task(body())
    seen.append("created")
    turn(loop)
    assert task.done()
    assert seen == ["created", "body"]


def test_a_task_has_the_name_it_was_given(loop: Loop) -> None:
    async def main() -> None:
        named, unnamed = loop.create_task(answer(), name="mine"), loop.create_task(answer())
        assert named.get_name() == "mine"
        assert unnamed.get_name().startswith("Task-")
        await asyncio.gather(named, unnamed)

    run(loop, main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="create_task(context=) is new in CPython 3.11")
def test_a_task_runs_in_the_context_it_was_given(loop: Loop) -> None:
    context = contextvars.copy_context()

    async def body() -> None:
        variable.set("set in the task")

    run(loop, loop.create_task(body(), context=context))
    assert context[variable] == "set in the task"
    assert variable.get() == "unset"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="create_task(eager_start=) is new in CPython 3.14")
def test_a_task_can_start_eagerly(loop: Loop) -> None:
    async def main() -> None:
        seen: list[str] = []

        async def body() -> None:
            seen.append("started")
            await asyncio.sleep(0)
            seen.append("went on")

        task = loop.create_task(body(), eager_start=True)
        assert seen == ["started"]
        await task
        assert seen == ["started", "went on"]

    run(loop, main())


def test_unknown_keywords_are_refused(loop: Loop) -> None:
    coroutine = answer()
    with pytest.raises(TypeError):
        loop.create_task(coroutine, nonsense=1)  # type: ignore[call-arg]
    coroutine.close()


def test_what_is_no_coroutine_is_refused(loop: Loop) -> None:
    with pytest.raises(TypeError, match="a coroutine was expected"):
        loop.create_task(42)  # type: ignore[arg-type]


def test_a_task_factory_makes_the_tasks(loop: Loop) -> None:
    made: list[dict[str, Any]] = []

    class MyTask(asyncio.Task):  # type: ignore[type-arg]
        pass

    def factory(given: Loop, coroutine: Coroutine[Any, Any, Any], **keywords: Any) -> asyncio.Task[Any]:
        assert given is loop
        made.append(keywords)
        return MyTask(coroutine, loop=given, **keywords)

    assert loop.get_task_factory() is None
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory

    async def main() -> None:
        task = asyncio.create_task(answer(), name="mine")
        assert type(task) is MyTask
        assert task.get_name() == "mine"
        assert await task == 42

    run(loop, main())
    assert made
    loop.set_task_factory(None)
    task = loop.create_task(answer())
    assert type(task) is asyncio.Task
    run(loop, task)


def test_a_task_factory_must_be_callable(loop: Loop) -> None:
    with pytest.raises(TypeError, match="callable or None"):
        loop.set_task_factory(42)  # type: ignore[arg-type]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in CPython 3.12")
def test_the_eager_task_factory_starts_tasks_at_once(loop: Loop) -> None:
    loop.set_task_factory(asyncio.eager_task_factory)

    async def main() -> None:
        seen: list[str] = []

        async def body(wait: bool) -> str:
            seen.append("started")
            if wait:
                await asyncio.sleep(0)
            return "result"

        finished = asyncio.create_task(body(wait=False))
        assert finished.done()
        assert finished.result() == "result"
        waiting = asyncio.create_task(body(wait=True))
        assert seen == ["started", "started"]
        assert not waiting.done()
        assert await waiting == "result"
        assert await asyncio.gather(*(body(wait=True) for _ in range(10))) == ["result"] * 10

    run(loop, main())


def test_current_task_and_all_tasks_know_the_tasks_of_the_loop(loop: Loop) -> None:
    async def main() -> None:
        me = asyncio.current_task()
        assert me is not None
        other = asyncio.create_task(asyncio.sleep(0))
        assert {me, other} <= asyncio.all_tasks()
        assert asyncio.current_task(loop) is me
        await other
        assert other not in asyncio.all_tasks()

    run(loop, main())
    assert asyncio.all_tasks(loop) == set()
    assert asyncio.current_task(loop) is None


def test_cancelling_a_task_at_any_point(loop: Loop) -> None:
    async def main() -> None:
        for delay in range(4):
            task = asyncio.create_task(asyncio.sleep(3600))
            await turns(delay)
            assert task.cancel("why")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()

    run(loop, main())


def test_ten_thousand_tasks(loop: Loop) -> None:
    async def one(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def main() -> list[int]:
        return await asyncio.gather(*(one(number) for number in range(10_000)))

    assert run(loop, main()) == list(range(10_000))


def test_deep_chains_of_futures_do_not_recurse(loop: Loop) -> None:
    depth = sys.getrecursionlimit() * 3
    futures = [loop.create_future() for _ in range(depth)]
    for one, following in itertools.pairwise(futures):
        one.add_done_callback(lambda _done, following=following: following.set_result(None))  # type: ignore[misc]
    loop.call_soon(futures[0].set_result, None)
    run(loop, futures[-1])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is new in CPython 3.11")
def test_task_groups_and_timeouts_work(loop: Loop) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer()) for _ in range(5)]
        assert [task.result() for task in tasks] == [42] * 5
        with pytest.raises(ExceptionGroup):  # noqa: F821 - the test is skipped where there is none
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(3600))
                group.create_task(asyncio.wait_for(loop.create_future(), 0.001))

    run(loop, main())


def test_locks_events_and_queues_work(loop: Loop) -> None:
    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(3)
        lock, event = asyncio.Lock(), asyncio.Event()

        async def produce() -> None:
            for number in range(20):
                await queue.put(number)
            event.set()

        async def consume() -> list[int]:
            async with lock:
                return [await queue.get() for _ in range(20)]

        _, got = await asyncio.gather(produce(), consume())
        assert got == list(range(20))
        assert await event.wait()

    run(loop, main())


def test_the_methods_have_the_parameters_of_the_abstract_loop(loop: Loop) -> None:
    """What a caller may pass by name to stock asyncio must be accepted by name here."""
    stock = asyncio.SelectorEventLoop
    for name in ("run_until_complete", "run_in_executor", "create_server", "create_connection"):
        expected = list(inspect.signature(getattr(stock, name)).parameters)[1:]
        assert list(inspect.signature(getattr(loop, name)).parameters) == expected, name
