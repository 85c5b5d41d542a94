"""Stream transports: reading, the order of callbacks, half close, information, closing."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import weakref
from typing import Any

import pytest

from .support import (
    BufferedRecorder,
    Loop,
    Recorder,
    collect_until_dead,
    listening_socket,
    receive_all,
    receive_exactly,
    run,
    socket_pair,
    transport_over,
    turns,
    until,
)

both_protocols = pytest.mark.parametrize("protocol_class", [Recorder, BufferedRecorder])


@both_protocols
def test_callbacks_come_in_order(loop: Loop, protocol_class: Any) -> None:
    async def main() -> list[str]:
        protocol = protocol_class()
        async with transport_over(protocol) as (_, peer):
            peer.send(b"hello")
            await until(lambda: protocol.received == b"hello")
            peer.close()
            await until(lambda: protocol.lost)
            assert protocol.lost_with is None
        return protocol.calls  # type: ignore[no-any-return]

    calls = run(loop, main())
    assert calls[0] == "connection_made"
    assert calls[1] in ("data_received", "buffer_updated")
    assert calls[2:] == ["eof_received", "connection_lost"]


def test_connection_made_comes_before_create_connection_returns(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol) as (transport, _):
            assert protocol.transport is transport
            assert protocol.calls == ["connection_made"]

    run(loop, main())


@both_protocols
def test_large_amounts_arrive_whole_and_in_order(loop: Loop, protocol_class: Any) -> None:
    data = bytes(range(256)) * 20_000

    async def main() -> None:
        protocol = protocol_class()
        async with transport_over(protocol) as (_, peer):
            await loop.sock_sendall(peer, data)
            await until(lambda: len(protocol.received) >= len(data))
            assert protocol.received == data

    run(loop, main())


def test_received_data_is_bytes_of_its_own(loop: Loop) -> None:
    class Keeper(asyncio.Protocol):
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def data_received(self, data: bytes) -> None:
            self.parts.append(data)

    async def main() -> None:
        protocol = Keeper()
        async with transport_over(protocol) as (_, peer):
            for number in range(20):
                peer.send(b"%02d" % number)
                await until(lambda number=number: b"".join(protocol.parts).endswith(b"%02d" % number))  # type: ignore[misc]
            assert all(type(part) is bytes for part in protocol.parts)
            assert b"".join(protocol.parts) == b"".join(b"%02d" % number for number in range(20))

    run(loop, main())


@pytest.mark.parametrize("window", [0, 1, 3, 6])
def test_large_pieces_that_are_kept_for_a_while_stay_as_they_were(loop: Loop, window: int) -> None:
    size, count = 150_000, 40

    class Window(asyncio.Protocol):
        def __init__(self) -> None:
            self.kept: list[tuple[bytes, int, bytes]] = []
            self.count = 0

        def data_received(self, data: bytes) -> None:
            self.count += len(data)
            self.kept.append((data, hash(data), bytes(bytearray(data))))
            if len(self.kept) > window:
                # Neither the oldest nor the newest goes first.
                data, known, copy = self.kept.pop(len(self.kept) // 2)
                assert data == copy and hash(data) == known == hash(copy)

    async def main() -> None:
        protocol = Window()
        async with transport_over(protocol) as (_, peer):
            for number in range(count):
                await loop.sock_sendall(peer, bytes([number, number + 1]) * (size // 2))
            await until(lambda: protocol.count >= size * count)
        for data, known, copy in protocol.kept:
            assert data == copy and hash(data) == known == hash(copy)

    run(loop, main())


def test_a_buffered_protocol_receives_in_pieces_of_its_buffer(loop: Loop) -> None:
    async def main() -> None:
        protocol = BufferedRecorder(size=7)
        async with transport_over(protocol) as (_, peer):
            await loop.sock_sendall(peer, b"x" * 100)
            await until(lambda: len(protocol.received) == 100)
            assert all(hint == -1 or hint > 0 for hint in protocol.size_hints)

    run(loop, main())


@both_protocols
def test_pausing_holds_back_data_and_resuming_lets_it_through(loop: Loop, protocol_class: Any) -> None:
    async def main() -> None:
        protocol = protocol_class()
        async with transport_over(protocol) as (transport, peer):
            assert transport.is_reading() is True
            transport.pause_reading()
            assert transport.is_reading() is False
            peer.send(b"held back")
            await turns(5)
            assert protocol.received == b""
            transport.resume_reading()
            assert transport.is_reading() is True
            await until(lambda: protocol.received == b"held back")

    run(loop, main())


def test_pausing_in_connection_made_works(loop: Loop, loop_name: str) -> None:
    if loop_name == "asyncio" and sys.version_info < (3, 11):
        pytest.skip("CPython 3.10 starts to read all the same")

    class Pausing(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> None:
        protocol = Pausing()
        async with transport_over(protocol) as (transport, peer):
            peer.send(b"x")
            await turns(5)
            assert protocol.received == b""
            transport.resume_reading()
            await until(lambda: protocol.received == b"x")

    run(loop, main())


def test_pausing_and_resuming_twice_is_harmless(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol) as (transport, peer):
            transport.pause_reading()
            transport.pause_reading()
            transport.resume_reading()
            transport.resume_reading()
            peer.send(b"x")
            await until(lambda: protocol.received)
            transport.close()
            transport.pause_reading()
            transport.resume_reading()
            await until(lambda: protocol.lost)
            assert transport.is_reading() is False

    run(loop, main())


def test_pausing_inside_data_received_stops_further_data(loop: Loop) -> None:
    class OneAtATime(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        protocol = OneAtATime()
        async with transport_over(protocol) as (transport, peer):
            peer.send(b"a")
            await until(lambda: protocol.received == b"a")
            peer.send(b"b")
            await turns(5)
            assert protocol.received == b"a"
            transport.resume_reading()
            await until(lambda: protocol.received == b"ab")

    run(loop, main())


# The end of the stream


@pytest.mark.parametrize("answer", [None, False, 0])
def test_a_false_answer_to_eof_closes_the_transport(loop: Loop, answer: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        protocol.keep_open_on_eof = answer
        async with transport_over(protocol) as (transport, peer):
            peer.shutdown(socket.SHUT_WR)
            await until(lambda: protocol.lost)
            assert transport.is_closing()
            assert protocol.lost_with is None

    run(loop, main())


@both_protocols
def test_a_true_answer_to_eof_keeps_the_transport_open_for_writing(loop: Loop, protocol_class: Any) -> None:
    async def main() -> None:
        protocol = protocol_class()
        protocol.keep_open_on_eof = True
        async with transport_over(protocol) as (transport, peer):
            peer.shutdown(socket.SHUT_WR)
            await until(lambda: "eof_received" in protocol.calls)
            await turns(5)
            assert not transport.is_closing()
            assert protocol.calls.count("eof_received") == 1
            transport.write(b"still here")
            assert await receive_exactly(peer, 10) == b"still here"
            transport.close()
            await until(lambda: protocol.lost)
            assert await receive_all(peer) == b""

    run(loop, main())


def test_write_eof_sends_what_was_written_and_then_the_end(loop: Loop) -> None:
    data = bytes(1_000_000)

    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol) as (transport, peer):
            assert transport.can_write_eof() is True
            transport.write(data)
            transport.write_eof()
            assert len(await receive_all(peer)) == len(data)
            peer.send(b"answer")
            await until(lambda: protocol.received == b"answer")
            assert not protocol.lost

    run(loop, main())


def test_write_eof_twice_is_harmless_and_writing_afterwards_is_refused(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, peer):
            transport.write_eof()
            transport.write_eof()
            assert await receive_all(peer) == b""
            with pytest.raises(RuntimeError, match="after write_eof"):
                transport.write(b"too late")

    run(loop, main())


# Closing


def test_close_sends_what_was_written_first(loop: Loop) -> None:
    data = bytes(range(256)) * 8_000

    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol) as (transport, peer):
            transport.write(data)
            transport.close()
            assert transport.is_closing() is True
            assert await receive_all(peer) == data
            await until(lambda: protocol.lost)
            assert protocol.lost_with is None

    run(loop, main())


def test_connection_lost_comes_later_than_close(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol) as (transport, _):
            transport.close()
            assert not protocol.lost
            transport.close()
            await until(lambda: protocol.lost)
            await turns(3)
            assert protocol.calls.count("connection_lost") == 1

    run(loop, main())


def test_after_close_nothing_more_is_received(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol) as (transport, peer):
            peer.send(b"x")
            transport.close()
            await until(lambda: protocol.lost)
            assert protocol.received == b""

    run(loop, main())


def test_abort_drops_what_was_not_sent(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol) as (transport, peer):
            transport.write(bytes(20_000_000))
            assert transport.get_write_buffer_size() > 0
            transport.abort()
            assert transport.is_closing() is True
            assert transport.get_write_buffer_size() == 0
            await until(lambda: protocol.lost)
            assert protocol.lost_with is None
            assert len(await receive_all(peer)) < 20_000_000

    run(loop, main())


def test_abort_after_close_and_close_after_abort_are_harmless(loop: Loop) -> None:
    async def main() -> None:
        for first, second in (("close", "abort"), ("abort", "close"), ("abort", "abort")):
            protocol = Recorder()
            async with transport_over(protocol) as (transport, _):
                getattr(transport, first)()
                getattr(transport, second)()
                await until(lambda protocol=protocol: protocol.lost)  # type: ignore[misc]
                await turns(2)
                assert protocol.calls == ["connection_made", "connection_lost"]

    run(loop, main())


def test_a_reset_peer_is_told_to_connection_lost(loop: Loop) -> None:
    async def main() -> None:
        with listening_socket() as listener, socket.socket() as client:
            client.connect(listener.getsockname())
            accepted, _ = listener.accept()
            accepted.setblocking(False)
            protocol = Recorder()
            transport, _ = await loop.create_connection(lambda: protocol, sock=accepted)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost_with, ConnectionResetError)
            assert "eof_received" not in protocol.calls
            assert transport.is_closing()

    run(loop, main())


def test_a_transport_that_was_not_closed_warns(loop: Loop) -> None:
    async def main() -> None:
        ours, peer = socket_pair()
        transport, protocol = await loop.create_connection(asyncio.Protocol, sock=ours)
        await turns(2)
        # Only the loop's watch keeps the transport alive now: pausing ends the watch.
        transport.pause_reading()
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            del transport, protocol
            gc.collect()
            await turns(1)
            gc.collect()
        assert peer.recv(1) == b""
        peer.close()

    run(loop, main())


def test_a_closed_transport_is_freed(loop: Loop) -> None:
    async def main() -> list[weakref.ref[Any]]:
        protocol = Recorder()
        async with transport_over(protocol) as (transport, _):
            transport.close()
            await until(lambda: protocol.lost)
            protocol.transport = None
            return [weakref.ref(transport), weakref.ref(protocol)]

    collect_until_dead(*run(loop, main()))
