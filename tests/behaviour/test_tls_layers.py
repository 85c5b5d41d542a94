"""TLS over transports that are no plain sockets: TLS within TLS, tunnels of the application's, `start_tls`."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from .support import Loop, Recorder, run, socket_pair, turns, until
from .tls_support import NEW_TLS, Contexts, make_contexts

pytestmark = NEW_TLS


@pytest.fixture(scope="module")
def contexts() -> Contexts:
    return make_contexts()


class Tunnel(asyncio.Transport):
    """One end of a connection through memory: nothing of asyncio's own, and no more than its public methods."""

    _start_tls_compatible = True

    def __init__(self, loop: Loop, protocol: Any) -> None:
        super().__init__()
        self._tunnel_loop = loop
        self._protocol = protocol
        self.other: Tunnel | None = None
        self._closing = False
        self._paused = False
        self._waiting: list[bytes] = []
        self.written = 0

    def write(self, data: Any) -> None:
        assert not self._closing
        self.written += 1
        assert self.other is not None
        self._tunnel_loop.call_soon(self.other._arrive, bytes(data))

    def _arrive(self, data: bytes) -> None:
        if self._closing:
            return
        if self._paused:
            self._waiting.append(data)
        elif isinstance(self._protocol, asyncio.BufferedProtocol):
            while data:
                buffer: Any = self._protocol.get_buffer(len(data))
                part, data = data[: len(buffer)], data[len(buffer) :]
                buffer[: len(part)] = part
                self._protocol.buffer_updated(len(part))
        else:
            self._protocol.data_received(data)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._arrive(data)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._tunnel_loop.call_soon(self._protocol.connection_lost, None)
            assert self.other is not None
            self._tunnel_loop.call_soon(self.other._peer_closed)

    abort = close

    def _peer_closed(self) -> None:
        if not self._closing and not self._protocol.eof_received():
            self.close()

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": "the other end"}.get(name, default)


class Immediate(Tunnel):
    """What is written has arrived when `write()` returns, and may have been answered; if that is asked for."""

    immediate = False

    def write(self, data: Any) -> None:
        if not self.immediate:
            return super().write(data)
        assert self.other is not None
        return self.other._arrive(bytes(data))


def tunnel(loop: Loop, ours: Any, theirs: Any, kind: type[Tunnel] = Tunnel) -> tuple[Tunnel, Tunnel]:
    ends = kind(loop, ours), kind(loop, theirs)
    ends[0].other, ends[1].other = ends[1], ends[0]
    return ends


async def upgrade(
    loop: Loop, contexts: Contexts, ours: Any, theirs: Any, protocols: tuple[Recorder, Recorder]
) -> tuple[Any, Any]:
    """TLS over a connection on both sides, ours the client; tells the protocols."""
    client, serving = await asyncio.gather(
        loop.start_tls(ours, protocols[0], contexts.client, server_hostname="localhost"),
        loop.start_tls(theirs, protocols[1], contexts.server, server_side=True),
    )
    for transport, protocol in zip((client, serving), protocols, strict=True):
        protocol.connection_made(transport)  # type: ignore[arg-type]
    return client, serving


async def converse(client: Any, serving: Any, protocols: tuple[Recorder, Recorder]) -> None:
    """Some data in both directions, then the end, from the client's side."""
    data = bytes(range(256)) * 1000
    client.write(data)
    serving.write(data[::-1])
    await until(lambda: len(protocols[1].received) == len(data) == len(protocols[0].received))
    assert protocols[1].received == data
    assert protocols[0].received == data[::-1]
    client.close()
    await until(lambda: protocols[0].lost and protocols[1].lost)
    assert protocols[0].lost_with is None
    assert protocols[1].lost_with is None
    assert protocols[1].calls[-2:] == ["eof_received", "connection_lost"]


def test_tls_through_a_tunnel_of_the_applications(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        protocols = Recorder(), Recorder()
        ours, theirs = tunnel(loop, protocols[0], protocols[1])
        client, serving = await upgrade(loop, contexts, ours, theirs, protocols)
        assert client.get_extra_info("peername") == "the other end"
        await converse(client, serving, protocols)

    run(loop, main())


def test_answers_written_within_a_write_are_sent(loop: Loop, contexts: Contexts) -> None:
    class Answering(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if len(self.received) < 10:
                self.transport.write(data)

    async def main() -> None:
        protocols = Answering(), Answering()
        ours, theirs = tunnel(loop, protocols[0], protocols[1], Immediate)
        client, _ = await upgrade(loop, contexts, ours, theirs, protocols)
        ours.immediate = theirs.immediate = True  # type: ignore[attr-defined]
        client.write(b"x")
        await until(lambda: [len(protocol.received) for protocol in protocols] == [9, 10])
        client.close()
        await until(lambda: protocols[0].lost and protocols[1].lost)

    run(loop, main())


@pytest.mark.pyloop_only("asyncio asks the transport underneath for a private method to end it")
def test_a_tunnel_with_public_methods_only_can_be_aborted(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        protocols = Recorder(), Recorder()
        ours, theirs = tunnel(loop, protocols[0], protocols[1])
        client, _ = await upgrade(loop, contexts, ours, theirs, protocols)
        client.abort()
        await until(lambda: protocols[0].lost and protocols[1].lost)
        assert protocols[0].lost_with is None

    run(loop, main())


@pytest.mark.pyloop_only("asyncio asks the transport underneath for a private method to end it")
def test_an_error_in_a_tunnel_reaches_the_protocol(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        protocols = Recorder(), Recorder()
        ours, theirs = tunnel(loop, protocols[0], protocols[1])
        await upgrade(loop, contexts, ours, theirs, protocols)
        ours._arrive(b"not a record")
        await until(lambda: protocols[0].lost)
        assert isinstance(protocols[0].lost_with, ssl.SSLError)
        await until(lambda: protocols[1].lost)

    run(loop, main())


@pytest.mark.parametrize("layers", [2, 3])
def test_tls_within_tls(loop: Loop, contexts: Contexts, layers: int) -> None:
    async def main() -> None:
        ours, theirs = socket_pair()
        protocols = Recorder(), Recorder()
        client: Any
        serving: Any
        (client, _), (serving, _) = await asyncio.gather(
            loop.create_connection(lambda: protocols[0], sock=ours),
            loop.create_connection(lambda: protocols[1], sock=theirs),
        )
        for _ in range(layers):
            client, serving = await upgrade(loop, contexts, client, serving, protocols)
        await converse(client, serving, protocols)

    run(loop, main())


def test_aborting_tls_within_tls(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        ours, theirs = socket_pair()
        protocols = Recorder(), Recorder()
        client: Any
        serving: Any
        (client, _), (serving, _) = await asyncio.gather(
            loop.create_connection(lambda: protocols[0], sock=ours),
            loop.create_connection(lambda: protocols[1], sock=theirs),
        )
        for _ in range(2):
            client, serving = await upgrade(loop, contexts, client, serving, protocols)
        client.abort()
        await until(lambda: protocols[0].lost and protocols[1].lost)
        assert protocols[0].lost_with is None

    run(loop, main())


def test_start_tls_on_a_servers_side(loop: Loop, contexts: Contexts) -> None:
    class Starting(Recorder):
        upgraded: Any = None

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.upgraded is None and self.received == b"STARTTLS\r\n":
                self.received.clear()
                self.transport.write(b"220 go\r\n")
                self.upgraded = asyncio.ensure_future(self.upgrade())

        async def upgrade(self) -> None:
            transport = await loop.start_tls(self.transport, self, contexts.server, server_side=True)
            self.transport = transport
            assert transport is not None
            transport.write(b"hello over TLS")  # type: ignore[attr-defined]

    async def main() -> None:
        made: list[Starting] = []

        def factory() -> Starting:
            made.append(Starting())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        plain, protocol = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        plain.write(b"STARTTLS\r\n")
        await until(lambda: protocol.received == b"220 go\r\n")
        protocol.received.clear()
        transport: Any = await loop.start_tls(plain, protocol, contexts.client, server_hostname="localhost")
        transport.write(b"hello")
        await until(lambda: protocol.received == b"hello over TLS" and made[0].received == b"hello")
        transport.close()
        await until(lambda: protocol.lost and made[0].lost)
        await turns(5)
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_start_tls_refuses_what_it_cannot_use(loop: Loop, contexts: Contexts) -> None:
    class Plain(asyncio.Transport):
        def __repr__(self) -> str:
            return "<plain>"

    async def main() -> None:
        with pytest.raises(TypeError, match=r"sslcontext is expected to be an instance of ssl\.SSLContext, got None"):
            await loop.start_tls(Plain(), Recorder(), None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="transport <plain> is not supported by start_tls"):
            await loop.start_tls(Plain(), Recorder(), contexts.client)

    run(loop, main())


def test_a_start_tls_that_is_cancelled_closes_the_connection(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        ours, theirs = socket_pair()
        plain, protocol = await loop.create_connection(Recorder, sock=ours)
        upgrading = asyncio.ensure_future(loop.start_tls(plain, protocol, contexts.client, server_hostname="localhost"))
        assert await loop.sock_recv(theirs, 1)
        upgrading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upgrading
        await until(lambda: ours.fileno() == -1)
        theirs.close()

    run(loop, main())
