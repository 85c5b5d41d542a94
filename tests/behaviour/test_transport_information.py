"""What a stream transport tells about itself, and the sockets it accepts."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Any

import pytest

from .support import BufferedRecorder, Loop, Recorder, listening_socket, run, transport_over, until


def test_a_transport_is_an_asyncio_transport(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, _):
            assert isinstance(transport, asyncio.Transport)
            assert isinstance(transport, asyncio.ReadTransport)
            assert isinstance(transport, asyncio.WriteTransport)

    run(loop, main())


def test_extra_info_tells_about_the_socket(loop: Loop) -> None:
    async def main() -> None:
        with listening_socket() as listener:
            protocol = Recorder()
            transport, _ = await loop.create_connection(lambda: protocol, *listener.getsockname())
            accepted, address = await loop.sock_accept(listener)
            assert transport.get_extra_info("peername") == listener.getsockname()
            assert transport.get_extra_info("sockname") == address
            wrapped = transport.get_extra_info("socket")
            assert wrapped.fileno() >= 0
            assert wrapped.family == socket.AF_INET
            assert wrapped.type == socket.SOCK_STREAM
            assert wrapped.getsockname() == address
            assert wrapped.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            assert type(wrapped) is asyncio.trsock.TransportSocket  # type: ignore[attr-defined]
            assert transport.get_extra_info("nothing known") is None
            assert transport.get_extra_info("nothing known", "default") == "default"
            assert transport.get_extra_info("sslcontext") is None
            accepted.close()
            await until(lambda: protocol.lost)
            assert transport.get_extra_info("peername") == listener.getsockname()

    run(loop, main())


def test_the_protocol_can_be_exchanged(loop: Loop) -> None:
    async def main() -> None:
        first, second, third = Recorder(), Recorder(), BufferedRecorder()
        second.calls.append("taken over")
        third.calls.append("taken over")
        async with transport_over(first) as (transport, peer):
            assert transport.get_protocol() is first
            peer.send(b"1")
            await until(lambda: first.received)
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            peer.send(b"2")
            await until(lambda: second.received)
            transport.set_protocol(third)
            peer.send(b"3")
            await until(lambda: third.received)
            peer.close()
            await until(lambda: third.lost)
        assert (first.received, second.received, third.received) == (b"1", b"2", b"3")  # type: ignore[comparison-overlap]
        assert not first.lost
        assert not second.lost

    run(loop, main())


def test_attributes_can_be_set_on_a_transport(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, _):
            transport.note = "mine"
            assert transport.note == "mine"

    run(loop, main())


def test_repr_tells_the_state(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol) as (transport, _):
            descriptor = transport.get_extra_info("socket").fileno()
            assert f"fd={descriptor}" in repr(transport)
            transport.close()
            assert "clos" in repr(transport)
            await until(lambda: protocol.lost)
            assert "closed" in repr(transport)

    run(loop, main())


def test_an_accepted_socket_can_be_given_a_transport(loop: Loop) -> None:
    async def main() -> None:
        with listening_socket() as listener, socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            accepted, _ = await loop.sock_accept(listener)
            protocol = Recorder()
            transport, given = await loop.connect_accepted_socket(lambda: protocol, accepted)
            assert given is protocol
            client.send(b"x")
            await until(lambda: protocol.received == b"x")
            transport.close()
            await until(lambda: protocol.lost)

    run(loop, main())


def test_only_stream_sockets_can_be_given(loop: Loop) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.setblocking(False)
            with pytest.raises(ValueError, match="Stream Socket was expected"):
                await loop.create_connection(Recorder, sock=datagrams)
            with pytest.raises(ValueError, match="Stream Socket was expected"):
                await loop.connect_accepted_socket(Recorder, datagrams)

    run(loop, main())


async def accepted_and_closed(loop: Loop, family: int, address: object, ask_before: bool) -> tuple[Any, Any, Any]:
    """An accepted connection after its end: its transport, the listener's address and the client's."""
    protocols: list[Recorder] = []

    def factory() -> Recorder:
        protocols.append(Recorder())
        return protocols[-1]

    with socket.socket(family) as listener, socket.socket(family) as client:
        for sock in (listener, client):
            sock.setblocking(False)
        listener.bind(address)
        listener.listen()
        own = listener.getsockname()
        # The server closes its listening socket: it gets one of its own.
        if family == socket.AF_UNIX:
            server: Any = await loop.create_unix_server(factory, sock=listener.dup())
        else:
            server = await loop.create_server(factory, sock=listener.dup())
        server.sockets[0].setblocking(False)
        await loop.sock_connect(client, own)
        await until(lambda: protocols and protocols[0].transport)
        transport = protocols[0].transport
        if ask_before:
            transport.get_extra_info("socket")
        peer = client.getsockname()
        transport.close()
        await until(lambda: protocols[0].lost)
        server.close()
        await server.wait_closed()
    return transport, own, peer


@pytest.mark.parametrize("ask_before", [False, True], ids=["asked first afterwards", "asked before"])
@pytest.mark.parametrize("family", ["IPv4", "IPv6", "Unix", "abstract"])
def test_an_accepted_connection_is_known_after_its_end(
    loop: Loop, family: str, ask_before: bool, tmp_path: Any
) -> None:
    if family == "abstract" and sys.platform != "linux":
        pytest.skip("Linux alone has abstract addresses")
    name, address = {
        "IPv4": (socket.AF_INET, ("127.0.0.1", 0)),
        "IPv6": (socket.AF_INET6, ("::1", 0)),
        "Unix": (socket.AF_UNIX, f"{tmp_path}/listener"),
        "abstract": (socket.AF_UNIX, b"\0" + os.urandom(8)),
    }[family]
    transport, own, peer = run(loop, accepted_and_closed(loop, name, address, ask_before))
    assert transport.get_extra_info("sockname") == own
    assert transport.get_extra_info("peername") == peer
    closed = transport.get_extra_info("socket")
    assert type(closed) is asyncio.trsock.TransportSocket  # type: ignore[attr-defined]
    assert closed.fileno() == -1
    assert (closed.family, closed.type) == (name, socket.SOCK_STREAM)
    assert "closed" in repr(transport)
