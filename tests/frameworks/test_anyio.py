"""anyio on its asyncio backend: task groups, cancel scopes, threads, TCP, Unix sockets and TLS."""

from __future__ import annotations

import asyncio
import pathlib
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .conftest import Certificates

pytest.importorskip("anyio", reason="anyio is not installed: install it to run these programs")

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.abc import ByteStream, TaskStatus
from anyio.streams.tls import TLSListener, TLSStream

Run = Callable[[Callable[[], Awaitable[Any]]], Any]

PAYLOAD = b"0123456789abcdef" * 20_000


@pytest.fixture
def run_anyio(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Run:
    """Runs a program through `anyio.run` on a loop under test."""

    def run(program: Callable[[], Awaitable[Any]]) -> Any:
        return anyio.run(program, backend="asyncio", backend_options={"loop_factory": loop_factory})

    return run


async def _echo(stream: ByteStream) -> None:
    async with stream:
        try:
            async for chunk in stream:
                await stream.send(chunk)
        except anyio.BrokenResourceError:
            pass  # a client that leaves without a TLS farewell


async def _exchange(stream: ByteStream) -> None:
    """Sends the payload while reading it back: more than fits into the buffers of both directions."""
    received = b""
    async with stream, anyio.create_task_group() as group:
        group.start_soon(stream.send, PAYLOAD)
        while len(received) < len(PAYLOAD):
            received += await stream.receive()
    assert received == PAYLOAD


def test_tcp_clients_are_echoed(run_anyio: Run, tls: Certificates | None) -> None:
    async def program() -> None:
        listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        if tls:
            listener = TLSListener(listener, tls.server_context(), standard_compatible=False)

        async def client() -> None:
            stream: Any = await anyio.connect_tcp("127.0.0.1", port)
            if tls:
                context = tls.client_context()
                stream = await TLSStream.wrap(
                    stream, hostname="localhost", ssl_context=context, standard_compatible=False
                )
            await _exchange(stream)

        with anyio.fail_after(30):
            async with listener, anyio.create_task_group() as group:
                group.start_soon(listener.serve, _echo)
                async with anyio.create_task_group() as clients:
                    for _ in range(5):
                        clients.start_soon(client)
                group.cancel_scope.cancel()

    run_anyio(program)


def test_a_unix_socket_is_echoed(run_anyio: Run, tmp_path: pathlib.Path) -> None:
    async def program() -> None:
        with anyio.fail_after(30):
            async with await anyio.create_unix_listener(tmp_path / "s") as listener, anyio.create_task_group() as group:
                group.start_soon(listener.serve, _echo)
                await _exchange(await anyio.connect_unix(tmp_path / "s"))
                group.cancel_scope.cancel()

    run_anyio(program)


def test_scopes_cancel_what_is_inside_them(run_anyio: Run) -> None:
    async def program() -> None:
        async def wait_for_ever(*, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
            task_status.started("waiting")
            await anyio.sleep_forever()

        async with anyio.create_task_group() as group:
            assert await group.start(wait_for_ever) == "waiting"
            with anyio.move_on_after(0.01) as scope:
                await anyio.sleep_forever()
            assert scope.cancelled_caught
            with pytest.raises(TimeoutError):
                with anyio.fail_after(0.01):
                    await anyio.sleep_forever()
            group.cancel_scope.cancel()

    run_anyio(program)


def test_threads_call_into_the_loop_and_back(run_anyio: Run) -> None:
    async def program() -> None:
        loop_thread = threading.get_ident()

        async def on_the_loop(number: int) -> int:
            await anyio.lowlevel.checkpoint()
            assert threading.get_ident() == loop_thread
            return number * 2

        def in_a_thread(number: int) -> int:
            assert threading.get_ident() != loop_thread
            return anyio.from_thread.run(on_the_loop, number) + 1

        async with anyio.create_task_group() as group:
            found: list[int] = []

            async def call(number: int) -> None:
                found.append(await anyio.to_thread.run_sync(in_a_thread, number))

            for number in range(20):
                group.start_soon(call, number)
        assert sorted(found) == [2 * number + 1 for number in range(20)]

    run_anyio(program)


def test_a_portal_runs_a_loop_in_its_own_thread(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def add(left: int, right: int) -> int:
        await anyio.sleep(0)
        return left + right

    options = {"loop_factory": loop_factory}
    with anyio.from_thread.start_blocking_portal("asyncio", backend_options=options) as portal:
        assert [portal.call(add, number, 1) for number in range(20)] == list(range(1, 21))
