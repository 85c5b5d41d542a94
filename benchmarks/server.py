"""The server of the I/O cases: protocols on the loop under test, a client in its own process."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from benchmarks.measure import resident_bytes, resident_bytes_before
from benchmarks.model import LoopFactory, WrongResult

CLIENT = Path(__file__).with_name("client.py")
RECEIVE = 256 * 1024  # bytes asked for by one `sock_recv`: what asyncio's transports ask for


class Counter:
    """How many connections the server has open."""

    def __init__(self) -> None:
        self.open = 0


class Echo(asyncio.Protocol):
    """Sends back whatever arrives: the least a server can do."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._counter.open += 1

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._counter.open -= 1


class DatagramEcho(asyncio.DatagramProtocol):
    """Sends each datagram back to where it came from."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(data, addr)


class Goodbye(Echo):
    """Closes every connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        transport.close()


def _tls_context() -> ssl.SSLContext:
    """A server's settings, with a certificate of its own making."""
    import trustme  # not needed for anything else

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    return context


# Opens what is measured; returns its port or path, and what closes it.
Service = Callable[[asyncio.AbstractEventLoop, Counter], Awaitable[tuple[str, Callable[[], object]]]]


def tcp(protocol: Callable[[Counter], asyncio.Protocol], *, tls: bool = False) -> Service:
    """A TCP server."""

    async def start(loop: asyncio.AbstractEventLoop, counter: Counter) -> tuple[str, Callable[[], object]]:
        context = _tls_context() if tls else None
        server = await loop.create_server(lambda: protocol(counter), "127.0.0.1", 0, backlog=1024, ssl=context)
        return str(server.sockets[0].getsockname()[1]), server.close

    return start


async def unix_echo(loop: asyncio.AbstractEventLoop, counter: Counter) -> tuple[str, Callable[[], object]]:
    """The echo server on a Unix socket."""
    folder = tempfile.mkdtemp(prefix="echo-")
    path = f"{folder}/socket"
    server = await loop.create_unix_server(lambda: Echo(counter), path, backlog=1024)

    def close() -> None:
        server.close()
        shutil.rmtree(folder)

    return path, close


async def socket_echo(loop: asyncio.AbstractEventLoop, counter: Counter) -> tuple[str, Callable[[], object]]:
    """The echo server of `sock_accept`, `sock_recv` and `sock_sendall`: a task for each connection."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    tasks: set[asyncio.Task[None]] = set()

    async def serve_one(connection: socket.socket) -> None:
        counter.open += 1
        with connection:
            while data := await loop.sock_recv(connection, RECEIVE):
                await loop.sock_sendall(connection, data)
        counter.open -= 1

    async def accept_all() -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tasks.add(asyncio.ensure_future(serve_one(connection)))

    accepting = asyncio.ensure_future(accept_all())

    def close() -> None:
        for task in (accepting, *tasks):
            task.cancel()
        listener.close()

    return str(listener.getsockname()[1]), close


async def datagram_echo(loop: asyncio.AbstractEventLoop, _counter: Counter) -> tuple[str, Callable[[], object]]:
    """The echo server of datagrams."""
    endpoint, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=("127.0.0.1", 0))
    return str(endpoint.get_extra_info("sockname")[1]), endpoint.close


class Control(asyncio.Protocol):
    """Answers the client's questions about this process; its end is the end of the run."""

    def __init__(self, counter: Counter, stop: Callable[[], None]) -> None:
        self._answers: dict[bytes, Callable[[], float]] = {
            b"cpu": time.process_time,
            b"memory": resident_bytes,
            b"memory-before": resident_bytes_before,
            b"open": lambda: counter.open,
        }
        self._stop = stop
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        answer = self._answers[data.strip()]()
        self._transport.write(f"{answer!r}\n".encode("ascii"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


async def _serve(service: Service, mode: str, numbers: tuple[float, ...]) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    stopped = loop.create_future()
    counter = Counter()

    def stop() -> None:
        if not stopped.done():
            stopped.set_result(None)

    address, close = await service(loop, counter)
    control = await loop.create_server(lambda: Control(counter, stop), "127.0.0.1", 0)
    port = control.sockets[0].getsockname()[1]
    command = [sys.executable, str(CLIENT), str(port), address, mode, *map(str, numbers)]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        await stopped
    finally:
        output, _ = client.communicate(timeout=30)
        close()
        control.close()
    if client.returncode:
        raise WrongResult(f"the client failed with status {client.returncode}")
    return cast("dict[str, float]", json.loads(output))


TCP_ECHO = tcp(Echo)
TLS_ECHO = tcp(Echo, tls=True)


def serve(factory: LoopFactory, mode: str, *numbers: float, service: Service = TCP_ECHO) -> dict[str, float]:
    """Serves one run of the client on a fresh loop and returns what the client measured."""
    _raise_descriptor_limit()
    loop = factory()
    try:
        return loop.run_until_complete(_serve(service, mode, numbers))
    finally:
        loop.close()
