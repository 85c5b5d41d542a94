"""Connecting: TCP by address and by name, Unix sockets, and what fails on the way."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ports import LOCALHOST, REFUSING_PORT

from .support import Loop, Recorder, listening_socket, open_descriptors, run, turns, until


@asynccontextmanager
async def accepting(family: int = socket.AF_INET) -> AsyncIterator[tuple[Any, list[socket.socket]]]:
    """The address of a listener that accepts connections, and what it accepted."""
    loop = asyncio.get_running_loop()
    accepted: list[socket.socket] = []
    with listening_socket(family) as listener:
        loop.add_reader(listener, lambda: accepted.append(listener.accept()[0]))
        try:
            yield listener.getsockname(), accepted
        finally:
            loop.remove_reader(listener)
            for one in accepted:
                one.close()


async def finished(transport: Any, protocol: Recorder) -> None:
    transport.close()
    await until(lambda: protocol.lost)


def test_a_connection_by_address(loop: Loop) -> None:
    async def main() -> None:
        async with accepting() as (address, accepted):
            transport, protocol = await loop.create_connection(Recorder, *address)
            transport.write(b"x")
            await until(lambda: accepted)
            accepted[0].setblocking(False)
            assert await loop.sock_recv(accepted[0], 1) == b"x"
            await finished(transport, protocol)

    run(loop, main())


def test_a_connection_by_name(loop: Loop) -> None:
    async def main() -> None:
        async with accepting() as (address, _):
            transport, protocol = await loop.create_connection(Recorder, "localhost", address[1])
            assert transport.get_extra_info("peername") == address
            await finished(transport, protocol)
        await loop.shutdown_default_executor()

    run(loop, main())


def test_a_connection_over_ipv6(loop: Loop) -> None:
    async def main() -> None:
        try:
            with listening_socket(socket.AF_INET6):
                pass
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
        async with accepting(socket.AF_INET6) as (address, _):
            transport, protocol = await loop.create_connection(Recorder, "::1", address[1])
            assert transport.get_extra_info("peername")[:2] == ("::1", address[1])
            await finished(transport, protocol)

    run(loop, main())


def test_the_local_address_can_be_chosen(loop: Loop) -> None:
    async def main() -> None:
        async with accepting() as (address, _):
            transport, protocol = await loop.create_connection(Recorder, *address, local_addr=("127.0.0.3", 0))
            assert transport.get_extra_info("sockname")[0] == "127.0.0.3"
            await finished(transport, protocol)
            with pytest.raises(OSError, match="error while attempting to bind"):
                await loop.create_connection(Recorder, *address, local_addr=("203.0.113.1", 0))

    run(loop, main())


def test_happy_eyeballs_connects_to_the_address_that_answers(loop: Loop) -> None:
    async def main() -> None:
        async with accepting() as (address, _):
            transport, protocol = await loop.create_connection(
                Recorder, "localhost", address[1], happy_eyeballs_delay=0.05, interleave=1
            )
            assert transport.get_extra_info("peername") == address
            await finished(transport, protocol)
        await loop.shutdown_default_executor()

    run(loop, main())


def test_a_refused_connection_is_an_error(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, LOCALHOST, REFUSING_PORT)

    run(loop, main())


def test_several_refused_addresses_are_one_error(loop: Loop) -> None:
    async def main() -> None:
        port = REFUSING_PORT

        async def two_addresses(*_: Any, **__: Any) -> Any:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", port)) for last in (1, 2)]

        loop.getaddrinfo = two_addresses  # type: ignore[method-assign]
        with pytest.raises(OSError, match=r"refused|Connect call failed|Multiple exceptions"):
            await loop.create_connection(Recorder, "two.invalid", port)
        if sys.version_info >= (3, 12):
            with pytest.raises(ExceptionGroup) as caught:  # noqa: F821 - guarded by the version
                await loop.create_connection(Recorder, "two.invalid", port, all_errors=True)  # type: ignore[call-overload]
            assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError] * 2

    run(loop, main())


def test_a_name_that_does_not_resolve_is_an_error(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(socket.gaierror):
            await loop.create_connection(Recorder, "name.invalid", 80)
        await loop.shutdown_default_executor()

    run(loop, main())


def test_an_empty_answer_of_the_resolver_is_an_error(loop: Loop) -> None:
    async def nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    loop.getaddrinfo = nothing  # type: ignore[method-assign]

    async def main() -> None:
        with pytest.raises(OSError, match="getaddrinfo"):
            await loop.create_connection(Recorder, "empty.invalid", 80)

    run(loop, main())


def test_a_cancelled_connection_leaks_no_descriptor(loop: Loop) -> None:
    async def main() -> None:
        # A listener whose backlog is full makes the next connection wait.
        with listening_socket(backlog=0) as listener, socket.socket() as first:
            first.setblocking(False)
            await loop.sock_connect(first, listener.getsockname())
            before = open_descriptors()
            task = asyncio.ensure_future(loop.create_connection(Recorder, *listener.getsockname()))
            await turns(5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await turns(2)
            del task
            assert open_descriptors() == before

    run(loop, main())


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"host": "127.0.0.1", "port": 80, "sock": True},
        {"host": "127.0.0.1", "port": 80, "server_hostname": "name"},
        {"host": "127.0.0.1", "port": 80, "ssl_handshake_timeout": 1},
    ],
    ids=["nothing", "both", "hostname without ssl", "handshake timeout without ssl"],
)
def test_contradictory_arguments_are_refused(loop: Loop, arguments: dict[str, Any]) -> None:
    async def main() -> None:
        with socket.socket() as spare:
            spare.setblocking(False)
            given = {**arguments, "sock": spare} if "sock" in arguments else arguments
            with pytest.raises(ValueError):  # noqa: PT011 - four messages, none shared
                await loop.create_connection(Recorder, **given)

    run(loop, main())


# Stock asyncio leaves the connected socket to its finalizer.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_exception_of_the_factory_reaches_the_caller_and_leaks_no_descriptor(loop: Loop) -> None:
    def factory() -> Recorder:
        raise LookupError("in the factory")

    async def main() -> None:
        async with accepting() as (address, accepted):
            before = open_descriptors()
            for _ in range(3):
                with pytest.raises(LookupError, match="in the factory"):
                    await loop.create_connection(factory, *address)
            await until(lambda: len(accepted) == 3)
            for one in accepted:
                one.close()
            await turns(2)
            gc.collect()
            assert open_descriptors() == before

    run(loop, main())


def test_a_connection_made_that_raises_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    class Failing(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            raise ValueError("in connection_made")

    async def main() -> None:
        async with accepting() as (address, _):
            transport, protocol = await loop.create_connection(Failing, *address)
            assert str(reports[0]["exception"]) == "in connection_made"
            transport.abort()
            await until(lambda: protocol.lost)

    run(loop, main())


# Unix sockets


def test_unix_servers_and_connections(loop: Loop, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def main() -> None:
        serving: list[Recorder] = []

        def factory() -> Recorder:
            serving.append(Recorder())
            return serving[-1]

        server = await loop.create_unix_server(factory, path)
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        assert transport.get_extra_info("peername") == path
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"question")
        await until(lambda: serving and serving[0].received == b"question")
        serving[0].transport.write(b"answer")
        await until(lambda: protocol.received == b"answer")
        await finished(transport, protocol)
        await until(lambda: serving[0].lost)
        server.close()
        await server.wait_closed()
        assert os.path.exists(path) == (sys.version_info < (3, 13))

    run(loop, main())


def test_unix_paths_may_be_path_objects_and_stale_sockets_are_replaced(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))

    async def main() -> None:
        server = await loop.create_unix_server(Recorder, path)
        transport, protocol = await loop.create_unix_connection(Recorder, path)  # type: ignore[arg-type]
        await finished(transport, protocol)
        await turns(5)
        server.close()
        await server.wait_closed()

    run(loop, main())


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are a Linux speciality")
def test_abstract_unix_names(loop: Loop) -> None:
    name = f"\0behaviour-{os.getpid()}-{id(loop)}"

    async def main() -> None:
        server = await loop.create_unix_server(Recorder, name)
        transport, protocol = await loop.create_unix_connection(Recorder, name)
        await finished(transport, protocol)
        await turns(5)
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_unix_errors(loop: Loop, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, str(tmp_path / "missing"))
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="in use"):
            await loop.create_unix_server(Recorder, str(tmp_path / "file"))
        with pytest.raises(ValueError, match="path"):
            await loop.create_unix_connection(Recorder)
        with pytest.raises(ValueError, match="path"):
            await loop.create_unix_server(Recorder)

    run(loop, main())


@pytest.mark.parametrize("busy", [0, 100_000], ids=["idle", "busy"])
def test_nothing_arrives_before_the_task_that_awaits_the_connection_has_run(loop: Loop, busy: int) -> None:
    """Tunnels and proxies put their protocol in place then."""

    class Early(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise AssertionError(f"{data!r} came before its receiver")

    class Greeting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.WriteTransport)
            transport.write(b"welcome")

    async def main() -> None:
        def work() -> None:
            end = time.perf_counter_ns() + busy
            while time.perf_counter_ns() < end:
                pass
            working[0] = loop.call_soon(work)

        working = [loop.call_soon(len, ())]
        if busy:
            work()
        try:
            async with await loop.create_server(Greeting, "127.0.0.1", 0) as server:
                for _ in range(20):
                    transport, _ = await loop.create_connection(Early, *server.sockets[0].getsockname())
                    receiver = Recorder()
                    receiver.connection_made(transport)
                    transport.set_protocol(receiver)
                    await until(lambda receiver=receiver: receiver.received == b"welcome")  # type: ignore[misc]
                    transport.abort()
        finally:
            working[0].cancel()

    run(loop, main())
