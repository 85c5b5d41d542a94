"""A thousand TLS connections, good and bad, leave no descriptor, no object and no memory behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .leak_support import allowed, is_exempt, repetitions, resident, traced_memory
from .support import Loop, Recorder, open_descriptors, run, turns, until
from .tls_support import NEW_TLS, Contexts, make_contexts, require_openssl

pytestmark = NEW_TLS

# Objects that a thousand connections may add for other reasons than that they are kept: caches fill up.
SLACK_OBJECTS = 300


@pytest.fixture(scope="module")
def contexts() -> Contexts:
    return make_contexts()


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def exchange(address: Any, contexts: Contexts) -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(
        Recorder, *address, ssl=contexts.client, server_hostname="localhost"
    )
    transport.write(b"x" * 100)
    await until(lambda: len(protocol.received) == 100)
    transport.close()
    await until(lambda: protocol.lost)


async def abort(address: Any, contexts: Contexts) -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(
        Recorder, *address, ssl=contexts.client, server_hostname="localhost"
    )
    transport.write(bytes(100_000))
    transport.abort()
    await until(lambda: protocol.lost)


async def speak_no_tls(address: Any, _contexts: Contexts) -> None:
    _, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def give_up(address: Any, contexts: Contexts) -> None:
    loop = asyncio.get_running_loop()
    connecting = asyncio.ensure_future(
        loop.create_connection(Recorder, *address, ssl=contexts.client, server_hostname="localhost")
    )
    await turns(3)
    connecting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        transport, _ = await connecting
        transport.abort()


@pytest.mark.parametrize("life", [exchange, abort, speak_no_tls, give_up])
def test_connections_leave_nothing_behind(
    loop: Loop, contexts: Contexts, life: Callable[[Any, Contexts], Awaitable[None]], reports: list[Any]
) -> None:
    if is_exempt(loop):
        pytest.skip("asyncio itself misses the bounds on free-threaded builds; pyloop is held to them")
    times = repetitions(loop)

    async def repeat(address: Any, count: int) -> None:
        for start in range(0, count, 20):
            await asyncio.gather(*(life(address, contexts) for _ in range(min(20, count - start))))

    async def main() -> tuple[int, int]:
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=contexts.server)
        address = server.sockets[0].getsockname()
        descriptors = open_descriptors()

        async def quiet() -> None:
            await until(lambda: open_descriptors() <= descriptors, "the return to the first count of descriptors")
            await turns(20)
            gc.collect()

        await repeat(address, 40)
        await quiet()
        objects = len(gc.get_objects())
        with traced_memory() as growth:
            for _ in growth.series():
                await repeat(address, times)
                await quiet()
            grown = len(gc.get_objects()) - objects
        server.close()
        await server.wait_closed()
        return grown, growth.least()

    objects, grown = run(loop, main(), seconds=55)
    assert objects < SLACK_OBJECTS
    assert grown < allowed(times, 100)


LARGE = 300_000
HELD_OPEN = 100


class Answering(asyncio.Protocol):
    """Answers each large message that is complete."""

    received = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self.received % LARGE == 0:
            self.transport.write(b"!")


@pytest.mark.pyloop_only("asyncio keeps 256 KiB for each connection, to receive into")
@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident size from /proc")
def test_a_connection_keeps_no_memory_to_receive_into(loop: Loop, contexts: Contexts) -> None:
    """Large messages on many connections, one after the other: what they were received into is the loop's."""

    def connect(address: Any) -> ssl.SSLSocket:
        return contexts.client.wrap_socket(socket.create_connection(address), server_hostname="localhost")

    def exchange(client: ssl.SSLSocket) -> None:
        client.sendall(bytes(LARGE))
        assert client.recv(1) == b"!"

    async def main() -> int:
        await require_openssl(contexts)
        server = await loop.create_server(Answering, "127.0.0.1", 0, ssl=contexts.server)
        clients: list[ssl.SSLSocket] = []
        with contextlib.ExitStack() as stack:
            for _ in range(HELD_OPEN):
                connecting = loop.run_in_executor(None, connect, server.sockets[0].getsockname())
                clients.append(stack.enter_context(await connecting))
            # Of the client's memory, which is this process's, and of the loop's: what the first exchange takes.
            await loop.run_in_executor(None, exchange, clients[0])
            before = resident()
            for client in clients:
                await loop.run_in_executor(None, exchange, client)
            grown = resident() - before
        server.close()
        await loop.shutdown_default_executor()
        return grown

    # Both ends of each connection are in this process.
    assert run(loop, main(), seconds=50) < HELD_OPEN * 64 * 1024
