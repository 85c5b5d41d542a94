"""What the tests of datagrams share: a recording protocol, endpoints that are closed again, plain sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from .support import Loop, turns


def require_pausing(loop: Loop) -> None:
    """Skips where asyncio's own datagram transports cannot pause: they learned it with Python 3.12."""
    if type(loop).__module__.startswith("asyncio"):
        own = asyncio.selector_events._SelectorDatagramTransport  # type: ignore[attr-defined]
        if own.pause_reading is asyncio.Transport.pause_reading:
            pytest.skip("asyncio's datagram transports cannot pause on this Python")


class Datagrams(asyncio.DatagramProtocol):
    """Records its callbacks by name, and what came with its sender."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.transport: Any = None
        self.lost = False
        self.lost_with: BaseException | None = None

    @property
    def data(self) -> list[bytes]:
        """What was received, without the senders."""
        return [data for data, _ in self.received]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.calls.append("connection_made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("connection_lost")
        self.lost = True
        self.lost_with = exc


class Echo(Datagrams):
    """Sends back what comes, to whom it came from."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


@contextlib.asynccontextmanager
async def endpoint(
    protocol: asyncio.DatagramProtocol | None = None, **arguments: Any
) -> AsyncIterator[tuple[Any, Any]]:
    """An endpoint, on a loopback port of the kernel's choice unless arguments say otherwise; closed at the end."""
    loop = asyncio.get_running_loop()
    if not arguments:
        arguments["local_addr"] = ("127.0.0.1", 0)
    made = protocol or Datagrams()
    transport, same = await loop.create_datagram_endpoint(lambda: made, **arguments)
    assert same is made
    try:
        yield transport, made
    finally:
        # Stock asyncio fails when a transport is aborted that has finished closing.
        if not transport.is_closing():
            transport.abort()
        await turns(3)


@contextlib.contextmanager
def plain_socket(family: int = socket.AF_INET, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A bound datagram socket that does not block."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((host, 0))
        yield sock


def full_pair(size: int = 1000) -> tuple[socket.socket, socket.socket, int]:
    """Two Unix datagram sockets, the first connected to the second, whose queue is full; and how many it holds."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind("")  # A name of the kernel's choice.
    receiver.setblocking(False)
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    sender.connect(receiver.getsockname())
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sender.send(bytes(size))
            count += 1
    return sender, receiver, count


async def receive_from(sock: socket.socket, count: int = 1) -> list[bytes]:
    """The next datagrams of a plain socket."""
    loop = asyncio.get_running_loop()
    return [await loop.sock_recv(sock, 1 << 18) for _ in range(count)]
