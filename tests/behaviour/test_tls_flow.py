"""Flow of data over TLS: pausing on both sides, buffers of the protocol's own, water marks, large amounts."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import ssl
import sys
import sysconfig
from typing import Any

import pytest

from .support import BufferedRecorder, Loop, Recorder, run, socket_pair, turns, until
from .tls_support import NEW_TLS, Contexts, Peer, connection, make_contexts

pytestmark = NEW_TLS

MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def contexts() -> Contexts:
    return make_contexts()


class Viewed(BufferedRecorder):
    """Hands out views: asyncio's TLS would write the second record of a read into a copy of a bytearray's tail."""

    def get_buffer(self, sizehint: int) -> Any:
        return memoryview(super().get_buffer(sizehint))


def pattern(size: int) -> bytes:
    """Bytes whose period shares no factor with the size of a record."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def narrow_pair() -> tuple[socket.socket, socket.socket]:
    """A pair whose kernel buffers are small, so that a writer soon finds no room."""
    pair = socket_pair()
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    return pair


@pytest.mark.parametrize("buffered", [False, True], ids=["data_received", "get_buffer"])
def test_a_mebibyte_in_both_directions_at_once(loop: Loop, contexts: Contexts, buffered: bool) -> None:
    async def main() -> None:
        protocol = Viewed(3000) if buffered else Recorder()
        async with connection(contexts, protocol, sock=narrow_pair()) as (transport, _, peer):
            data = pattern(MEBIBYTE)
            transport.write(data)

            async def send() -> None:
                for start in range(0, len(data), 10_000):
                    peer.tls.write(data[start : start + 10_000])
                    await peer.flush()

            async def receive() -> bytes:
                return await peer.receive(len(data))

            _, received = await asyncio.gather(send(), receive())
            assert received == data
            await until(lambda: len(protocol.received) == len(data))
            assert protocol.received == data

    run(loop, main())


@pytest.mark.parametrize("sizes", [[1], [5, 0, 7], [16384], [16385], [100] * 300, [30_000, 1, 40_000], [300_000, 2]])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_writes_arrive_in_order_whatever_their_size(
    loop: Loop, contexts: Contexts, sizes: list[int], kind: Any
) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, _, peer):
            data = pattern(sum(sizes))
            start = 0
            for size in sizes:
                piece = bytearray(data[start : start + size])
                transport.write(kind(piece))
                if kind is bytearray:
                    piece[:] = bytes(len(piece))  # what was written is a copy
                start += size
            assert await peer.receive(len(data)) == data

    run(loop, main())


def test_writelines_and_wrong_types(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, _, peer):
            transport.writelines([b"one ", bytearray(b"two "), memoryview(b"three")])
            assert await peer.receive(13) == b"one two three"
            with pytest.raises(TypeError, match="data: expecting a bytes-like instance, got str"):
                transport.write("text")
            with pytest.raises(NotImplementedError):
                transport.write_eof()
            assert transport.can_write_eof() is False
            transport.write(b"")
            assert transport.get_write_buffer_size() == 0

    run(loop, main())


def test_writes_of_one_callback_share_a_record(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, _, peer):
            for _ in range(50):
                transport.write(b"0123456789")
            while peer.incoming.pending == 0:
                peer.incoming.write(await loop.sock_recv(peer.sock, 1 << 16))
            if type(loop).__module__.startswith("pyloop"):
                assert len(peer.tls.read(1 << 16)) == 500
            else:
                assert len(peer.tls.read(1 << 16)) == 10

    run(loop, main())


def test_a_reader_that_does_not_read_pauses_the_writer(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts, sock=narrow_pair()) as (transport, protocol, peer):
            data = b""
            while "pause_writing" not in protocol.calls:
                assert len(data) < 100 * MEBIBYTE
                transport.write(pattern(MEBIBYTE))
                data += pattern(MEBIBYTE)
                await turns(2)
            assert transport.get_write_buffer_size() > 0
            assert await peer.receive(len(data)) == data
            await until(lambda: "resume_writing" in protocol.calls)
            assert protocol.calls == ["connection_made", "pause_writing", "resume_writing"]

    run(loop, main())


def test_a_paused_protocol_gets_nothing_and_stops_the_peer(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts, sock=narrow_pair()) as (transport, protocol, peer):
            transport.pause_reading()
            assert not transport.is_reading()
            data = pattern(3 * MEBIBYTE)
            sending = asyncio.ensure_future(peer.send(data))
            await turns(200)
            assert protocol.received == b""
            assert not sending.done()
            transport.resume_reading()
            assert transport.is_reading()
            await until(lambda: len(protocol.received) == len(data))
            await sending
            assert protocol.received == data

    run(loop, main())


def test_pausing_in_data_received_holds_back_what_follows(loop: Loop, contexts: Contexts) -> None:
    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        async with connection(contexts, Pausing()) as (transport, protocol, peer):
            peer.sock.send(peer.records(b"first"))
            await until(lambda: protocol.received)
            peer.sock.send(peer.records(b"second"))
            await turns(10)
            assert protocol.received == b"first"
            transport.resume_reading()
            await until(lambda: protocol.received == b"firstsecond")

    run(loop, main())


def test_the_peers_end_waits_for_a_paused_protocol(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            transport.pause_reading()
            peer.sock.send(peer.records(b"last words"))
            peer.sock.close()
            await turns(20)
            assert protocol.calls == ["connection_made"]
            transport.resume_reading()
            await until(lambda: protocol.lost)
            assert protocol.received == b"last words"
            assert protocol.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]

    run(loop, main())


def test_closing_a_paused_transport_ends_it(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            transport.pause_reading()
            peer.sock.send(peer.records(b"unread"))
            await turns(10)
            transport.close()
            peer.sock.close()
            await until(lambda: protocol.lost)

    run(loop, main())


@pytest.mark.parametrize("high", [256 * 1024, 1000])
def test_closing_does_not_wait_for_what_nobody_reads(loop: Loop, contexts: Contexts, high: int) -> None:
    """The peer's end lies behind it, and the transport underneath is paused."""

    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            transport.set_read_buffer_limits(high=high)
            transport.pause_reading()
            sent = peer.records(bytes(400_000)) + peer.close_notify()
            sending = asyncio.ensure_future(loop.sock_sendall(peer.sock, sent))
            await until(lambda: transport.get_read_buffer_size() >= high)
            transport.close()
            await until(lambda: protocol.lost)
            assert protocol.received == b""
            await asyncio.gather(sending, return_exceptions=True)

    run(loop, main())


def test_reading_goes_on_though_half_a_record_is_more_than_the_mark(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            transport.set_read_buffer_limits(high=1000)
            transport.pause_reading()
            record = peer.records(bytes(10_000))
            peer.sock.send(record[:5000])
            # Or more: the session tickets of the handshake may have come along.
            await until(lambda: transport.get_read_buffer_size() >= 5000)
            transport.resume_reading()
            await turns(3)
            peer.sock.send(record[5000:])
            await until(lambda: len(protocol.received) == 10_000)
            transport.abort()

    run(loop, main())


@pytest.mark.parametrize("size", [1, 7, 1000, 20_000, 200_000])
def test_a_buffered_protocol_gets_every_byte(loop: Loop, contexts: Contexts, size: int) -> None:
    async def main() -> None:
        async with connection(contexts, Viewed(size)) as (_, protocol, peer):
            data = pattern(100 if size == 1 else 150_000)
            await peer.send(data)
            await until(lambda: len(protocol.received) == len(data))
            assert protocol.received == data

    run(loop, main())


@pytest.mark.pyloop_only("asyncio takes an empty buffer for the peer's end, and asks again after an error")
@pytest.mark.parametrize("fault", ["raises", "empty"])
def test_a_buffer_that_is_none_ends_the_connection(
    loop: Loop, contexts: Contexts, fault: str, reports: list[dict[str, Any]]
) -> None:
    class Faulty(Viewed):
        faulty = False

        def get_buffer(self, sizehint: int) -> Any:
            if not self.faulty:
                return super().get_buffer(sizehint)
            if fault == "raises":
                raise ZeroDivisionError
            return bytearray()

    async def main() -> None:
        async with connection(contexts, Faulty()) as (_, protocol, peer):
            protocol.faulty = True
            await peer.send(b"x")
            await until(lambda: protocol.lost)
            assert protocol.lost_with is not None

    run(loop, main())
    assert len(reports) == 1
    assert reports[0]["message"] == "Fatal error on SSL protocol"


def test_water_marks(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, _, _peer):
            assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
            assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
            transport.set_write_buffer_limits(high=1000)
            assert transport.get_write_buffer_limits() == (250, 1000)
            transport.set_read_buffer_limits(low=10)
            assert transport.get_read_buffer_limits() == (10, 40)
            assert transport.get_read_buffer_size() == 0
            for method in (transport.set_write_buffer_limits, transport.set_read_buffer_limits):
                with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
                    method(high=1, low=2)

    run(loop, main())


def test_another_protocol_takes_over(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            await peer.send(b"one")
            await until(lambda: protocol.received == b"one")
            second = Viewed()
            second.connection_made(transport)
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            await peer.send(b"two")
            await until(lambda: second.received == b"two")
            assert protocol.received == b"one"
            transport.abort()
            await until(lambda: second.lost)
            assert not protocol.lost

    run(loop, main())


def openssl_function(name: str, peer: Peer) -> Any:
    """A function of OpenSSL that Python does not offer, to be called with the peer's SSL.

    CPython keeps the pointer behind the head of the object and one other; for tests that is sure enough.
    """
    if bool(sysconfig.get_config_var("Py_GIL_DISABLED")):
        pytest.skip("objects are laid out otherwise on free-threaded builds")
    library = getattr(sys.modules["_ssl"], "__file__", None)
    if library is None:
        pytest.skip("OpenSSL is part of this interpreter")
    function = getattr(ctypes.CDLL(library), name)
    raw = peer.tls._sslobj  # type: ignore[attr-defined]
    pointer = ctypes.c_void_p.from_address(id(raw) + 3 * ctypes.sizeof(ctypes.c_void_p))
    return lambda *arguments: function(pointer, *arguments)


def test_a_peer_that_changes_its_keys_is_followed(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            assert peer.tls.version() == "TLSv1.3"
            for number in range(1, 4):
                # 1: and the other side is to change its own.
                assert openssl_function("SSL_key_update", peer)(1) == 1
                await peer.send(b"data")
                await until(lambda count=number: len(protocol.received) == 4 * count)  # type: ignore[misc]
                transport.write(b"answer")
                assert await peer.receive(6) == b"answer"
            assert protocol.received == b"data" * 3

    run(loop, main())


def test_a_renegotiation_is_gone_through(loop: Loop, contexts: Contexts) -> None:
    old = make_contexts()
    old.client.maximum_version = ssl.TLSVersion.TLSv1_2

    async def main() -> None:
        async with connection(old) as (transport, protocol, peer):
            assert peer.tls.version() == "TLSv1.2"
            await peer.send(b"before")
            assert openssl_function("SSL_renegotiate", peer)() == 1
            # A server asks for it, the client begins, both go through it while data are on their way.
            transport.write(b"meanwhile")
            await peer.handshake()
            answers = asyncio.ensure_future(peer.receive(len(b"meanwhile and after")))
            transport.write(b" and after")
            assert await answers == b"meanwhile and after"
            await peer.send(b" and after")
            await until(lambda: protocol.received == b"before and after")

    run(loop, main())
