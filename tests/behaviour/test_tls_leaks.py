"""A thousand TLS connections, good and bad, leave no descriptor, no object and no memory behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sysconfig
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .support import Loop, Recorder, open_descriptors, run, turns, until
from .tls_support import NEW_TLS, Contexts, make_contexts

pytestmark = NEW_TLS

CONNECTIONS = 1000
# Objects that a thousand connections may add for other reasons than that they are kept: caches fill up.
SLACK_OBJECTS = 300
SLACK_BYTES = 300_000


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
    if sysconfig.get_config_var("Py_GIL_DISABLED") and type(loop).__module__.startswith("asyncio"):
        pytest.skip("asyncio itself misses the bounds on free-threaded builds; pyloop is held to them")

    async def repeat(address: Any, times: int) -> None:
        for start in range(0, times, 20):
            await asyncio.gather(*(life(address, contexts) for _ in range(min(20, times - start))))

    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=contexts.server)
        address = server.sockets[0].getsockname()
        await repeat(address, 40)
        await turns(20)
        gc.collect()
        descriptors, objects = open_descriptors(), len(gc.get_objects())
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            await repeat(address, CONNECTIONS)
            await until(lambda: open_descriptors() <= descriptors)
            await turns(20)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert len(gc.get_objects()) - objects < SLACK_OBJECTS
        assert grown < SLACK_BYTES
        server.close()
        await server.wait_closed()

    run(loop, main(), seconds=55)
