"""Nothing is left behind: descriptors, memory and objects, after a thousand connections good and bad."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ports import LOCALHOST, REFUSING_PORT

from .leak_support import (
    REPETITIONS,
    Growth,
    allowed,
    is_exempt,
    is_stock,
    read_memory,
    repetitions,
    resident,
    traced_memory,
)
from .support import (
    Loop,
    LoopFactory,
    Recorder,
    collect_until_dead,
    descriptor_names,
    open_descriptors,
    run,
    socket_pair,
    turns,
    until,
)


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Client(Recorder):
    pass


async def exchange_and_close(address: Any) -> None:
    transport, protocol = await asyncio.get_running_loop().create_connection(Client, *address)
    transport.write(b"hello")
    await until(lambda: protocol.received == b"hello")
    transport.close()
    await until(lambda: protocol.lost)


async def abort_in_the_middle(address: Any) -> None:
    transport, protocol = await asyncio.get_running_loop().create_connection(Client, *address)
    transport.write(bytes(500_000))
    transport.abort()
    await until(lambda: protocol.lost)


async def reset_from_outside(address: Any) -> None:
    """The server's transport meets a peer that resets while it is being written to."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await loop.sock_connect(client, address)
    client.send(bytes(10_000))
    client.close()
    await turns(2)


async def streams(address: Any) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"hello")
    await writer.drain()
    assert await reader.readexactly(5) == b"hello"
    writer.close()
    await writer.wait_closed()


async def cancelled_receive(address: Any) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, address)
        task = asyncio.ensure_future(loop.sock_recv(client, 10))
        await turns(1)
        task.cancel()
        await asyncio.wait([task])


async def refused(_address: Any) -> None:
    with pytest.raises(ConnectionRefusedError):
        await asyncio.get_running_loop().create_connection(Client, LOCALHOST, REFUSING_PORT)


every_ending = pytest.mark.parametrize(
    "ending",
    [exchange_and_close, abort_in_the_middle, reset_from_outside, streams, cancelled_receive, refused],
    ids=lambda ending: ending.__name__,
)


@every_ending
def test_a_thousand_connections_leave_no_descriptors_and_no_memory(
    loop: Loop, ending: Callable[[Any], Awaitable[None]]
) -> None:
    times = repetitions(loop)

    async def main() -> tuple[int, int]:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()

        async def quiet() -> None:
            await until(lambda: open_descriptors() <= baseline, "the return to the first count of descriptors")
            gc.collect()

        baseline = open_descriptors()
        for _ in range(50):
            await ending(address)
        await quiet()
        with traced_memory() as growth:
            for _ in growth.series():
                for _ in range(times):
                    await ending(address)
                await quiet()
        left = open_descriptors() - baseline
        server.close()
        await server.wait_closed()
        return left, growth.least()

    left, grown = run(loop, main(), seconds=50)
    assert left == 0
    # Less than a hundred bytes per connection: a transport or protocol that stayed would be several hundred.
    assert is_exempt(loop) or grown < allowed(times, 100)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident size from /proc")
def test_native_memory_does_not_grow_with_connections(loop: Loop) -> None:
    async def main() -> int:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        for _ in range(300):
            await exchange_and_close(address)
        gc.collect()
        growth = Growth(resident)
        for _ in growth.series():
            for _ in range(REPETITIONS):
                await exchange_and_close(address)
            gc.collect()
        server.close()
        await server.wait_closed()
        return growth.least()

    # Room for the allocator's fragmentation; one kept 4 KiB buffer per connection would be 2 MB.
    assert run(loop, main(), seconds=50) < 1_500_000


def test_a_hundred_loops_leave_nothing(loop_factory: LoopFactory) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        await exchange_and_close(server.sockets[0].getsockname())
        loop.call_later(3600, print)
        server.close()
        await server.wait_closed()

    def one_life() -> weakref.ref[Loop]:
        loop = loop_factory()
        try:
            loop.run_until_complete(body())
            loop.run_until_complete(asyncio.sleep(0))
        finally:
            loop.close()
        return weakref.ref(loop)

    one_life()
    gc.collect()
    before = open_descriptors()
    watched = [one_life() for _ in range(100)]
    collect_until_dead(*watched)
    assert open_descriptors() == before


def test_a_closed_loop_keeps_no_memory_to_read_into(loop: Loop) -> None:
    async def main() -> None:
        ours, theirs = socket_pair()
        with theirs:
            transport, protocol = await loop.create_connection(Client, sock=ours)
            theirs.send(b"hello")
            await until(lambda: protocol.received == b"hello")
            transport.close()

    with traced_memory():
        run(loop, main())
        assert is_stock(loop) or len(read_memory()) == 1
        loop.close()
        assert not read_memory()


def test_a_closed_connection_is_free_of_reference_cycles(loop: Loop) -> None:
    """Transport and protocol refer to each other; losing the connection breaks the circle."""

    async def main() -> list[weakref.ref[Any]]:
        server_side: list[weakref.ref[Any]] = []

        class Watched(Recorder):
            def connection_lost(self, exc: BaseException | None) -> None:
                super().connection_lost(exc)
                server_side.extend((weakref.ref(self), weakref.ref(self.transport)))
                self.transport = None

        server = await loop.create_server(Watched, "127.0.0.1", 0)
        transport, protocol = await loop.create_connection(Client, *server.sockets[0].getsockname())
        watched = [weakref.ref(transport), weakref.ref(protocol)]
        transport.write(b"x")
        transport.close()
        await until(lambda: protocol.lost and server_side)
        server.close()
        await server.wait_closed()
        await turns(2)
        protocol.transport = None
        return watched + server_side  # type: ignore[return-value]

    collect_until_dead(*run(loop, main()))


def test_a_loop_that_refers_to_itself_is_collected(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    watched = weakref.ref(loop)
    loop.set_exception_handler(lambda _loop, _context, loop=loop: None)  # type: ignore[misc]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del loop
    collect_until_dead(watched)


def test_pending_callbacks_of_a_closed_loop_are_collected(loop_factory: LoopFactory) -> None:
    class Payload:
        def __call__(self) -> None: ...

    loop = loop_factory()
    payload = Payload()
    payload.loop = loop  # type: ignore[attr-defined]
    watched = weakref.ref(payload), weakref.ref(loop)
    loop.call_soon(payload)
    loop.call_later(3600, payload)
    loop.call_soon_threadsafe(payload)
    loop.close()
    del payload, loop
    collect_until_dead(*watched)


def test_descriptors_are_not_inherited_by_other_programs(loop_factory: LoopFactory) -> None:
    before = set(descriptor_names())
    loop = loop_factory()

    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await turns(5)
        after = set(descriptor_names())
        for name in after - before:
            # The descriptor of the listing itself is closed by now.
            with contextlib.suppress(OSError):
                assert os.get_inheritable(int(name)) is False
        writer.close()
        await writer.wait_closed()
        await turns(3)
        server.close()
        await server.wait_closed()

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
