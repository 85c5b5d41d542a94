"""What newer Pythons have added to loops, each on the versions that have it."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from .support import FACTORY_SOURCE, Loop, LoopFactory, Recorder, python, run, turns, until

since_311 = pytest.mark.skipif(sys.version_info < (3, 11), reason="new in CPython 3.11")
since_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="new in CPython 3.12")
since_313 = pytest.mark.skipif(sys.version_info < (3, 13), reason="new in CPython 3.13")
since_314 = pytest.mark.skipif(sys.version_info < (3, 14), reason="new in CPython 3.14")


@since_313
@pytest.mark.parametrize("wanted", [True, False, None])
def test_a_server_can_be_asked_to_keep_connections_alive(loop: Loop, wanted: bool | None) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0, keep_alive=wanted)  # type: ignore[call-overload]
        assert bool(server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is bool(wanted)
        transport, _ = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        await until(lambda: made and made[0].transport)
        accepted = made[0].transport.get_extra_info("socket")
        assert bool(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is bool(wanted)
        transport.close()
        await until(lambda: made[0].lost)
        server.close()
        await server.wait_closed()

    run(loop, main())


@since_313
def test_a_unix_server_removes_its_path(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def main() -> None:
        server = await loop.create_unix_server(Recorder, path)
        assert path.is_socket()
        server.close()
        await server.wait_closed()
        await turns(2)

    run(loop, main())
    assert not path.exists()


@since_313
def test_a_unix_server_leaves_its_path_if_asked_to(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def main() -> None:
        server = await loop.create_unix_server(Recorder, path, cleanup_socket=False)  # type: ignore[call-overload]
        server.close()
        await server.wait_closed()
        await turns(2)

    run(loop, main())
    assert path.is_socket()


@since_313
def test_a_unix_server_of_a_given_socket_removes_the_path_too(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def main() -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        server = await loop.create_unix_server(Recorder, sock=listener)
        server.close()
        await server.wait_closed()
        await turns(2)

    run(loop, main())
    assert not path.exists()


@since_313
def test_a_path_that_another_server_has_taken_over_is_left_alone(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def main() -> None:
        first = await loop.create_unix_server(Recorder, path)
        path.rename(tmp_path / "moved")  # Keeps its inode, so that the second gets another.
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        second = await loop.create_unix_server(factory, path)
        first.close()
        await first.wait_closed()
        await turns(2)
        assert path.is_socket()
        transport, _ = await loop.create_unix_connection(Recorder, str(path))
        transport.close()
        await until(lambda: made and made[0].lost)
        second.close()
        await second.wait_closed()
        await turns(2)
        assert not path.exists()

    run(loop, main())


@since_313
def test_a_path_that_somebody_has_removed_is_no_error(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def main() -> None:
        server = await loop.create_unix_server(Recorder, path)
        path.unlink()
        server.close()
        await server.wait_closed()
        await turns(2)

    run(loop, main())


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are a Linux speciality")
@pytest.mark.parametrize("as_bytes", [False, True])
def test_abstract_addresses_serve_and_vanish(loop: Loop, as_bytes: bool) -> None:
    text = f"\0pyloop-test-{os.getpid()}"
    name: Any = text.encode() if as_bytes else text

    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await loop.create_unix_server(factory, name)
        assert server.sockets[0].getsockname() == text.encode()
        transport, protocol = await loop.create_unix_connection(Recorder, name)
        assert transport.get_extra_info("peername") == text.encode()
        transport.write(b"hello")
        await until(lambda: made and made[0].received == b"hello")
        assert made[0].transport.get_extra_info("sockname") == text.encode()
        with pytest.raises(OSError, match=r"in use"):
            await loop.create_unix_server(Recorder, name)
        transport.close()
        await until(lambda: protocol.lost and made[0].lost)
        server.close()
        await server.wait_closed()
        await turns(2)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_unix_connection(Recorder, name)

    run(loop, main())


@since_311
def test_a_runner_keeps_its_loop_and_its_context(loop_factory: LoopFactory) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    left: list[asyncio.Task[Any]] = []

    async def first() -> Loop:
        variable.set("set by the first")
        left.append(asyncio.create_task(asyncio.sleep(3600)))
        return asyncio.get_running_loop()

    async def second() -> tuple[Loop, str]:
        return asyncio.get_running_loop(), variable.get()

    async def third() -> str:
        return variable.get()

    with asyncio.Runner(loop_factory=loop_factory, debug=True) as runner:
        loop = runner.get_loop()
        assert loop.get_debug()
        assert runner.run(first()) is loop
        assert runner.run(second()) == (loop, "set by the first")
        assert runner.run(third(), context=contextvars.Context()) == "unset"
        with (
            pytest.raises(ValueError, match="a coroutine was expected")
            if sys.version_info < (3, 14)
            else (pytest.raises(TypeError))
        ):
            runner.run(42)  # type: ignore[arg-type]
    assert left[0].cancelled()
    assert loop.is_closed()
    assert variable.get() == "unset"


@since_311
def test_timeouts_expire_are_moved_and_are_nested(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(3600)

        async with asyncio.timeout(None) as moved:
            assert moved.when() is None
            moved.reschedule(loop.time() + 3600)
            assert moved.when() is not None
            await asyncio.sleep(0)
        assert not moved.expired()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600) as moved:
                moved.reschedule(loop.time() - 1)
                await asyncio.sleep(3600)
        assert moved.expired()

        async with asyncio.timeout(3600) as outer:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout_at(loop.time() + 0.01) as inner:
                    await asyncio.sleep(3600)
            assert inner.expired()
        assert not outer.expired()

    run(loop, main())


@since_312
def test_eager_tasks_run_to_their_first_wait_in_the_right_context(loop: Loop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outer")
    loop.set_task_factory(asyncio.eager_task_factory)

    async def main() -> None:
        outer = asyncio.current_task()
        seen: list[Any] = []

        async def body() -> str:
            seen.append(asyncio.current_task() is outer)
            variable.set("inner")
            await asyncio.sleep(0)
            return variable.get()

        task = asyncio.create_task(body())
        assert seen == [False]
        assert variable.get() == "outer"
        assert asyncio.current_task() is outer
        assert await task == "inner"

        async def fails() -> None:
            raise ValueError("at once")

        failed = asyncio.create_task(fails())
        assert failed.done()
        with pytest.raises(ValueError, match="at once"):
            await failed

    run(loop, main())
    loop.set_task_factory(None)


@since_314
def test_the_call_graph_shows_who_awaits_whom(loop: Loop) -> None:
    async def main() -> None:
        waited_for: asyncio.Future[None] = loop.create_future()

        async def inner() -> None:
            await waited_for

        async def outer() -> None:
            await inner()

        async def awaiter(task: asyncio.Task[None]) -> None:
            await task

        task = asyncio.create_task(outer(), name="the task")
        waiting = asyncio.create_task(awaiter(task), name="the awaiter")
        await turns(2)
        graph = asyncio.capture_call_graph(task)  # type: ignore[attr-defined]
        assert graph.future is task
        assert [entry.frame.f_code.co_name for entry in graph.call_stack] == ["inner", "outer"]
        assert [found.future for found in graph.awaited_by] == [waiting]
        text = asyncio.format_call_graph(task)  # type: ignore[attr-defined]
        assert "the task" in text and "the awaiter" in text and "inner" in text
        own = asyncio.capture_call_graph()  # type: ignore[attr-defined]
        assert own.future is asyncio.current_task()
        waited_for.set_result(None)
        await waiting

    run(loop, main())


@since_314
def test_asyncio_pstree_sees_who_awaits_whom(loop_name: str) -> None:
    source = """
import os, subprocess, sys
async def leaf():
    await asyncio.get_running_loop().create_future()
async def branch():
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(), name="first leaf")
        group.create_task(leaf(), name="second leaf")
async def main():
    task = asyncio.create_task(branch(), name="the branch")
    for _ in range(3):
        await asyncio.sleep(0)
    process = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "asyncio", "pstree", str(os.getpid())], capture_output=True, text=True)
    print(process.stdout + process.stderr)
    task.cancel()
with asyncio.Runner(loop_factory=new_loop) as runner:
    runner.run(main())
"""
    result = python(loop_name, source)
    assert result.returncode == 0, result.stderr
    if "ermission" in result.stdout:
        pytest.skip("this system does not let one process read another's memory")
    for name in ("the branch", "first leaf", "second leaf"):
        assert name in result.stdout, result.stdout + result.stderr
    assert loop_name in FACTORY_SOURCE
