"""How TLS connections end: both sides' announcements, silence, floods, truncation, broken records."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import ssl
import sys
import weakref
from typing import Any

import pytest

from .support import Loop, Recorder, run, socket_pair, turns, until
from .tls_support import NEW_TLS, Contexts, Peer, connection, make_contexts

pytestmark = NEW_TLS

needs_shutdown_timeout = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="ssl_shutdown_timeout is new in CPython 3.11"
)


@pytest.fixture(scope="module")
def contexts() -> Contexts:
    return make_contexts()


def test_close_sends_everything_and_announces_the_end(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            data = bytes(range(256)) * 2000
            transport.write(data)
            transport.close()
            assert transport.is_closing()
            assert await peer.receive_end() == data
            peer.sock.send(peer.close_notify())
            await until(lambda: protocol.lost)
            assert protocol.lost_with is None

    run(loop, main())


def test_the_peers_announcement_ends_the_connection(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            peer.sock.send(peer.records(b"last words") + peer.close_notify())
            await until(lambda: protocol.lost)
            assert protocol.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]
            assert protocol.received == b"last words"
            assert protocol.lost_with is None
            assert transport.is_closing()

    run(loop, main())


def test_an_eof_received_that_wants_to_keep_the_connection_is_warned(
    loop: Loop, contexts: Contexts, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with connection(contexts) as (_, protocol, peer):
            protocol.keep_open_on_eof = True
            peer.sock.send(peer.close_notify())
            await until(lambda: protocol.lost)

    run(loop, main())
    assert "returning true from eof_received() has no effect when using ssl" in caplog.text


def test_truncation_is_an_end_without_an_error(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (_, protocol, peer):
            peer.sock.send(peer.records(b"whole") + peer.records(b"half")[:10])
            peer.sock.close()
            await until(lambda: protocol.lost)
            assert protocol.received == b"whole"
            assert protocol.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]
            assert protocol.lost_with is None

    run(loop, main())


def test_a_broken_record_is_openssls_own_error(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (_, protocol, peer):
            records = bytearray(peer.records(b"something"))
            records[-1] ^= 1
            peer.sock.send(records)
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost_with, ssl.SSLError)
            # By its newer name, RECORD_LAYER_FAILURE.
            assert protocol.lost_with.reason in ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "RECORD_LAYER_FAILURE")
            assert protocol.lost_with.library == "SSL"
            assert f"[SSL: {protocol.lost_with.reason}]" in str(protocol.lost_with)

    run(loop, main())


def test_data_before_a_broken_record_arrive(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (_, protocol, peer):
            broken = bytearray(peer.records(b"good") + peer.records(b"bad"))
            broken[-1] ^= 1
            peer.sock.send(broken)
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost_with, ssl.SSLError)
            if type(loop).__module__.startswith("pyloop"):
                # asyncio reads both records before it hands out the first one.
                assert protocol.received == b"good"

    run(loop, main())


def test_something_else_than_records_is_openssls_own_error(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (_, protocol, peer):
            peer.sock.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost_with, ssl.SSLError)
            assert protocol.lost_with.reason is not None

    run(loop, main())


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 600])
def test_garbage_instead_of_a_greeting_ends_that_connection_only(
    loop: Loop, contexts: Contexts, garbage: bytes, reports: list[Any]
) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=contexts.server)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(garbage)
        await reader.read()
        writer.close()
        assert [protocol.calls for protocol in made] == [[]]
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=contexts.client, server_hostname="localhost"
        )
        transport.close()
        await until(lambda: protocol.lost)
        await turns(5)
        server.close()
        await server.wait_closed()

    run(loop, main())
    assert reports == []


def test_half_a_greeting_waits_for_the_other_half(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        ours, theirs = socket_pair()
        peer = Peer(theirs, contexts.client, server_side=False)
        connecting = asyncio.ensure_future(loop.connect_accepted_socket(Recorder, ours, ssl=contexts.server))
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        greeting = peer.outgoing.read()
        for part in (greeting[:3], greeting[3:100], greeting[100:]):
            theirs.send(part)
            await turns(5)
        await peer.handshake()
        transport, protocol = await connecting
        for byte in peer.records(b"byte by byte"):
            theirs.send(bytes([byte]))
            await turns(2)
        await until(lambda: protocol.received == b"byte by byte")
        transport.abort()
        theirs.close()
        await until(lambda: protocol.lost)

    run(loop, main())


@needs_shutdown_timeout
def test_a_peer_that_never_answers_is_given_up(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts, ssl_shutdown_timeout=0.02) as (transport, protocol, _):
            transport.close()
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost_with, TimeoutError)
            assert str(protocol.lost_with) == "SSL shutdown timed out"

    run(loop, main())


@needs_shutdown_timeout
@pytest.mark.pyloop_only("before 3.14 asyncio waits for ever for a peer that reads nothing any more")
def test_a_peer_that_does_not_read_is_given_up(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts, ssl_shutdown_timeout=0.05) as (transport, protocol, peer):
            transport.write(bytes(20_000_000))
            peer.sock.send(peer.close_notify())
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost_with, TimeoutError)

    run(loop, main())


def test_a_peer_that_goes_on_sending_is_not_read(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            transport.close()
            await turns(3)
            peer.sock.send(peer.records(b"one more thing"))
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost_with, ssl.SSLError)
            assert protocol.lost_with.reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"
            assert protocol.received == b""

    run(loop, main())


@pytest.mark.parametrize("how", ["close", "abort"])
def test_nothing_arrives_after_closing_in_data_received(loop: Loop, contexts: Contexts, how: str) -> None:
    class Closing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            getattr(self.transport, how)()

    async def main() -> None:
        async with connection(contexts, Closing()) as (_, protocol, peer):
            peer.sock.send(peer.records(b"first"))
            await until(lambda: protocol.received)
            with contextlib.suppress(BrokenPipeError):  # after abort() there is nobody left to send to
                peer.sock.send(peer.records(b"second"))
            peer.sock.close()
            await until(lambda: protocol.lost)
            assert protocol.received == b"first"

    run(loop, main())


def test_abort_ends_at_once_without_an_announcement(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            # Behind the handshake's session tickets: a socket that is closed with something unread resets its peer.
            await peer.send(b"all was read")
            await until(lambda: protocol.received == b"all was read")
            transport.write(b"sent before")
            transport.abort()
            assert transport.is_closing()
            await until(lambda: protocol.lost)
            assert protocol.lost_with is None
            assert await peer.receive(11) == b"sent before"
            with pytest.raises(ssl.SSLEOFError):
                await peer.receive(1)

    run(loop, main())


def test_closing_twice_is_harmless(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            transport.close()
            transport.close()
            peer.sock.send(peer.close_notify())
            await until(lambda: protocol.lost)
            transport.close()
            assert protocol.calls.count("connection_lost") == 1

    run(loop, main())


def test_writes_after_the_end_are_warned_about(
    loop: Loop, contexts: Contexts, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            peer.sock.close()
            await until(lambda: protocol.lost)
            for _ in range(10):
                transport.write(b"late")

    run(loop, main())
    assert "SSL connection is closed" in caplog.text


def test_a_handshake_that_is_cancelled_closes_the_socket(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        ours, theirs = socket_pair()
        connecting = asyncio.ensure_future(
            loop.create_connection(Recorder, sock=ours, ssl=contexts.client, server_hostname="localhost")
        )
        assert await loop.sock_recv(theirs, 1)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await until(lambda: ours.fileno() == -1)
        theirs.close()

    run(loop, main())


@pytest.mark.pyloop_only("asyncio forgets the close, and shakes hands for nobody")
def test_a_connection_that_is_cancelled_before_it_begins_closes_the_socket(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        ours, theirs = socket_pair()
        connecting = asyncio.ensure_future(
            loop.create_connection(Recorder, sock=ours, ssl=contexts.client, server_hostname="localhost")
        )
        await turns(1)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await until(lambda: ours.fileno() == -1)
        theirs.close()

    run(loop, main())


def test_a_handshake_of_a_server_that_takes_too_long_is_given_up(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=contexts.server, ssl_handshake_timeout=0.02)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
        server.close()
        await server.wait_closed()
        assert made[0].calls == []

    run(loop, main())


@pytest.mark.parametrize("moment", ["connection_made", "data_received", "eof_received", "connection_lost"])
def test_a_protocol_that_fails_is_reported_and_loses_its_connection(
    loop: Loop, contexts: Contexts, moment: str, reports: list[dict[str, Any]]
) -> None:
    def fail(*_arguments: Any) -> None:
        raise ZeroDivisionError(moment)

    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            if moment != "connection_lost":
                setattr(made[-1], moment, fail)
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=contexts.server)
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=contexts.client, server_hostname="localhost"
        )
        transport.write(b"x")
        if moment == "connection_lost":
            await until(lambda: made[0].received)
            made[0].connection_lost = fail  # type: ignore[method-assign]
        if moment in ("eof_received", "connection_lost"):
            transport.close()
        await until(lambda: protocol.lost)
        await until(lambda: reports)
        server.close()
        await server.wait_closed()

    run(loop, main())
    assert isinstance(reports[0]["exception"], ZeroDivisionError)


def test_interrupts_in_a_protocol_leave_the_run(loop: Loop, contexts: Contexts) -> None:
    class Interrupting(Recorder):
        def data_received(self, data: bytes) -> None:
            raise KeyboardInterrupt

    async def main() -> None:
        async with connection(contexts, Interrupting()) as (_, _protocol, peer):
            peer.sock.send(peer.records(b"x"))
            await asyncio.sleep(20)

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(main())
    for task in asyncio.all_tasks(loop):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)


def test_a_connection_that_ended_leaves_no_cycle(loop: Loop, contexts: Contexts) -> None:
    async def main() -> list[weakref.ref[Any]]:
        async with connection(contexts) as (transport, protocol, peer):
            transport.write(b"x")
            assert await peer.receive(1) == b"x"
            transport.close()
            await peer.receive_end()
            peer.sock.send(peer.close_notify())
            await until(lambda: protocol.lost)
            protocol.transport = None
            return [weakref.ref(transport), weakref.ref(protocol)]

    gc.collect()
    gc.disable()
    try:
        dead = run(loop, main())
        assert [reference() for reference in dead] == [None, None]
    finally:
        gc.enable()


def test_an_open_transport_that_is_dropped_warns(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        ours, theirs = socket_pair()
        peer = Peer(theirs, contexts.server, server_side=True)
        made, _ = await asyncio.gather(
            loop.create_connection(asyncio.Protocol, sock=ours, ssl=contexts.client, server_hostname="localhost"),
            peer.handshake(),
        )
        made[0].pause_reading()
        made[0].get_extra_info("socket")
        theirs.close()
        loop._transports = None  # type: ignore[attr-defined]

    with pytest.warns(ResourceWarning, match="unclosed"):
        run(loop, main())
        loop.close()
        gc.collect()


def test_debug_mode_tells_of_the_handshake(loop: Loop, contexts: Contexts, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_debug(True)
    caplog.set_level(logging.DEBUG, logger="asyncio")

    async def main() -> None:
        async with connection(contexts) as (_, protocol, peer):
            peer.sock.close()
            await until(lambda: protocol.lost)

    run(loop, main())
    assert "starts SSL handshake" in caplog.text
    assert "SSL handshake took" in caplog.text
