"""TLS that is asked for is spoken, whatever way it was asked for; and through whatever transport."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority

from .support import Loop, Recorder, listening_socket, receive_all, receive_exactly, run, socket_pair, turns, until

if sys.version_info < (3, 11):
    # There a TLS transport that its peer ended, or whose handshake failed, warns even so.
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")

HANDSHAKE_RECORD = 22
CLIENT_HELLO = 1


@pytest.fixture(scope="module")
def authority() -> Any:
    return Authority()


@pytest.fixture(scope="module")
def server_context(authority: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_context(authority: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


async def says_hello(peer: socket.socket) -> None:
    """The first that comes is the greeting of a TLS client, and nothing of the program's."""
    head = await receive_exactly(peer, 6)
    assert (head[0], head[5]) == (HANDSHAKE_RECORD, CLIENT_HELLO)


async def _given_up(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


Connect = Callable[[Loop, ssl.SSLContext, Path], Awaitable[tuple[Any, socket.socket]]]


async def _over_tcp(loop: Loop, context: ssl.SSLContext, _path: Path) -> tuple[Any, socket.socket]:
    with listening_socket() as listener:
        address = listener.getsockname()
        task = asyncio.ensure_future(
            loop.create_connection(Recorder, *address, ssl=context, server_hostname="localhost")
        )
        peer, _ = await loop.sock_accept(listener)
    return task, peer


async def _over_a_given_socket(loop: Loop, context: ssl.SSLContext, _path: Path) -> tuple[Any, socket.socket]:
    ours, peer = socket_pair()
    connecting = loop.create_connection(Recorder, sock=ours, ssl=context, server_hostname="localhost")
    return asyncio.ensure_future(connecting), peer


async def _over_unix(loop: Loop, context: ssl.SSLContext, path: Path) -> tuple[Any, socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.setblocking(False)
        listener.bind(str(path / "s"))
        listener.listen()
        connecting = loop.create_unix_connection(Recorder, str(path / "s"), ssl=context, server_hostname="localhost")
        task = asyncio.ensure_future(connecting)
        peer, _ = await loop.sock_accept(listener)
    return task, peer


async def _by_start_tls(loop: Loop, context: ssl.SSLContext, _path: Path) -> tuple[Any, socket.socket]:
    ours, peer = socket_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    starting = loop.start_tls(transport, protocol, context, server_hostname="localhost")
    return asyncio.ensure_future(starting), peer


async def _by_open_connection(loop: Loop, context: ssl.SSLContext, _path: Path) -> tuple[Any, socket.socket]:
    ours, peer = socket_pair()
    opening = asyncio.open_connection(sock=ours, ssl=context, server_hostname="localhost")
    return asyncio.ensure_future(opening), peer


@pytest.mark.parametrize(
    "connect",
    [_over_tcp, _over_a_given_socket, _over_unix, _by_start_tls, _by_open_connection],
    ids=lambda connect: connect.__name__.strip("_"),
)
def test_a_client_that_was_given_tls_begins_with_a_hello(
    loop: Loop, client_context: ssl.SSLContext, tmp_path: Path, connect: Connect
) -> None:
    async def main() -> None:
        task, peer = await connect(loop, client_context, tmp_path)
        with peer:
            await says_hello(peer)
            assert not task.done()
            await _given_up(task)
        await turns(5)

    run(loop, main())


Serve = Callable[[Loop, Any, ssl.SSLContext, Path], Awaitable[tuple[Any, socket.socket]]]


async def _tcp_server(loop: Loop, factory: Any, context: ssl.SSLContext, _path: Path) -> tuple[Any, socket.socket]:
    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context)
    peer = socket.socket()
    peer.setblocking(False)
    await loop.sock_connect(peer, server.sockets[0].getsockname())
    return server, peer


async def _unix_server(loop: Loop, factory: Any, context: ssl.SSLContext, path: Path) -> tuple[Any, socket.socket]:
    server = await loop.create_unix_server(factory, str(path / "s"), ssl=context)
    peer = socket.socket(socket.AF_UNIX)
    peer.setblocking(False)
    await loop.sock_connect(peer, str(path / "s"))
    return server, peer


async def _a_server_of_a_given_socket(
    loop: Loop, factory: Any, context: ssl.SSLContext, _path: Path
) -> tuple[Any, socket.socket]:
    server = await loop.create_server(factory, sock=listening_socket(), ssl=context)
    peer = socket.socket()
    peer.setblocking(False)
    await loop.sock_connect(peer, server.sockets[0].getsockname())
    return server, peer


@pytest.mark.parametrize(
    "serve",
    [_tcp_server, _unix_server, _a_server_of_a_given_socket],
    ids=lambda serve: serve.__name__.strip("_"),
)
def test_a_server_that_was_given_tls_serves_nobody_without(
    loop: Loop, server_context: ssl.SSLContext, tmp_path: Path, serve: Serve, reports: list[Any]
) -> None:
    made: list[Recorder] = []

    class Served(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.append(self)

    async def main() -> None:
        server, peer = await serve(loop, Served, server_context, tmp_path)
        with peer:
            await loop.sock_sendall(peer, b"GET / HTTP/1.1\r\nHost: plain\r\n\r\n")
            answer = await receive_all(peer)
        assert b"HTTP" not in answer
        server.close()
        await server.wait_closed()
        await turns(5)

    run(loop, main())
    assert made == []


class Tunnel(asyncio.Transport):
    """A transport of a program's own: what is written to it goes to the other end of the tunnel, in its own time.

    As in tunnels over SSH: the loop under test made no part of it.
    """

    _start_tls_compatible = True

    def __init__(self, loop: Loop) -> None:
        super().__init__({"name of the tunnel": "tunnel"})
        self._loop = loop
        self._protocol: Any = None
        self._closing = False
        self._paused = False
        self._held: list[bytes] = []
        self.other: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return]

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self._paused

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        held, self._held = self._held, []
        for data in held:
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        if self._paused:
            self._held.append(data)
        elif not self._closing:
            if isinstance(self._protocol, asyncio.BufferedProtocol):
                while data:
                    buffer = memoryview(self._protocol.get_buffer(len(data)))
                    count = min(len(buffer), len(data))
                    buffer[:count] = data[:count]
                    self._protocol.buffer_updated(count)
                    data = data[count:]
            else:
                self._protocol.data_received(data)

    def write(self, data: Any) -> None:
        if not self._closing:
            self._loop.call_soon(self.other._deliver, bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)
            self._loop.call_soon(self.other._end)

    abort = close

    def _end(self) -> None:
        if not self._closing:
            self._protocol.eof_received()
            self.close()


def tunnel(loop: Loop, left: asyncio.BaseProtocol, right: asyncio.BaseProtocol) -> tuple[Tunnel, Tunnel]:
    """Both ends of a tunnel, with their protocols."""
    ends = Tunnel(loop), Tunnel(loop)
    for end, other, protocol in ((ends[0], ends[1], left), (ends[1], ends[0], right)):
        end.other = other
        end.set_protocol(protocol)
        protocol.connection_made(end)
    return ends


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


@pytest.mark.parametrize("amount", [10, 2_000_000], ids=["little", "much"])
def test_tls_goes_through_a_transport_of_ones_own(
    loop: Loop, server_context: ssl.SSLContext, client_context: ssl.SSLContext, amount: int
) -> None:
    async def main() -> None:
        client, server = Recorder(), Echo()
        near, far = tunnel(loop, client, server)
        serving, connected = await asyncio.gather(
            loop.start_tls(far, server, server_context, server_side=True),
            loop.start_tls(near, client, client_context, server_hostname="localhost"),
        )
        assert serving is not None and connected is not None
        server.transport = serving
        assert connected.get_extra_info("name of the tunnel") == "tunnel"
        assert connected.get_extra_info("ssl_object").version().startswith("TLS")
        data = bytes(range(256)) * (amount // 256 + 1)
        connected.write(data)
        await until(lambda: len(client.received) == len(data))
        assert client.received == data
        connected.close()
        await until(lambda: client.lost and server.lost)

    run(loop, main())


def test_tls_goes_through_tls(loop: Loop, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    if isinstance(loop, asyncio.SelectorEventLoop) and sys.version_info < (3, 11):
        pytest.skip("asyncio takes no transport of its own TLS before CPython 3.11")

    async def main() -> None:
        ours, theirs = socket_pair()
        client, server = Recorder(), Echo()
        near, _ = await loop.create_connection(lambda: client, sock=ours)
        far, _ = await loop.create_connection(lambda: server, sock=theirs)
        for _ in range(2):
            far, near = await asyncio.gather(  # type: ignore[assignment]
                loop.start_tls(far, server, server_context, server_side=True),
                loop.start_tls(near, client, client_context, server_hostname="localhost"),
            )
        server.transport = far
        near.write(b"wrapped twice" * 10_000)
        await until(lambda: len(client.received) == 130_000)
        near.close()
        await until(lambda: client.lost and server.lost)

    run(loop, main())


def test_a_transport_that_cannot_carry_tls_is_refused(loop: Loop, client_context: ssl.SSLContext) -> None:
    class Incompatible(Tunnel):
        _start_tls_compatible = False

    async def main() -> None:
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(Incompatible(loop), Recorder(), client_context, server_hostname="localhost")
        with pytest.raises(TypeError, match=r"expected to be an instance of ssl\.SSLContext"):
            await loop.start_tls(Tunnel(loop), Recorder(), True)  # type: ignore[arg-type]

    run(loop, main())
