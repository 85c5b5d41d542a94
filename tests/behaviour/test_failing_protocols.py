"""Protocols whose callbacks raise or answer nonsense: the connection ends, the loop goes on, and it is told."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from .support import BufferedRecorder, Loop, Recorder, receive_all, run, socket_pair, transport_over, turns, until


class FailingProtocol(Recorder):
    """Raises in the callback of the given name, after recording it."""

    def __init__(self, where: str, error: BaseException) -> None:
        super().__init__()
        self.where = where
        self.error = error

    def fail_in(self, name: str) -> None:
        if name == self.where:
            raise self.error

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.fail_in("data_received")

    def eof_received(self) -> bool | None:
        super().eof_received()
        self.fail_in("eof_received")
        return None

    def pause_writing(self) -> None:
        super().pause_writing()
        self.fail_in("pause_writing")

    def resume_writing(self) -> None:
        super().resume_writing()
        self.fail_in("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.fail_in("connection_lost")


class FailingBufferedProtocol(BufferedRecorder):
    """Raises, or gives nonsense, where a buffered protocol can."""

    def __init__(self, *, buffer: Any = None, where: str = "") -> None:
        super().__init__()
        self.where = where
        if buffer is not None:
            self.buffer = buffer

    def get_buffer(self, sizehint: int) -> Any:
        if self.where == "get_buffer":
            raise ValueError("in get_buffer")
        return super().get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        if self.where == "buffer_updated":
            raise ValueError("in buffer_updated")

    def eof_received(self) -> bool | None:
        super().eof_received()
        if self.where == "eof_received":
            raise ValueError("in eof_received")
        return None


def check_the_loop_still_works(loop: Loop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol) as (_, peer):
            peer.send(b"x")
            await until(lambda: protocol.received == b"x")

    run(loop, main())


@pytest.mark.parametrize("where", ["data_received", "eof_received"])
def test_an_error_while_receiving_ends_the_connection(loop: Loop, reports: list[dict[str, Any]], where: str) -> None:
    error = ValueError("from the protocol")

    async def main() -> None:
        protocol = FailingProtocol(where, error)
        async with transport_over(protocol) as (transport, peer):
            peer.send(b"x")
            if where == "eof_received":
                await until(lambda: protocol.received)
                peer.shutdown(socket.SHUT_WR)
            await until(lambda: protocol.lost)
            assert protocol.lost_with is error
            assert transport.is_closing()
            assert await receive_all(peer) == b""
        (context,) = reports
        assert context["exception"] is error
        assert context["message"] == f"Fatal error: protocol.{where}() call failed."
        assert context["transport"] is transport
        assert context["protocol"] is protocol

    run(loop, main())
    check_the_loop_still_works(loop)


@pytest.mark.parametrize("where", ["get_buffer", "buffer_updated", "eof_received"])
def test_an_error_of_a_buffered_protocol_ends_the_connection(
    loop: Loop, reports: list[dict[str, Any]], where: str
) -> None:
    async def main() -> None:
        protocol = FailingBufferedProtocol(where=where)
        async with transport_over(protocol) as (_, peer):
            peer.send(b"x")
            if where == "eof_received":
                await until(lambda: protocol.received)
                peer.shutdown(socket.SHUT_WR)
            await until(lambda: protocol.lost)
            assert str(protocol.lost_with) == f"in {where}"
        (context,) = reports
        assert where in context["message"]
        assert context["message"].startswith("Fatal error: protocol.")

    run(loop, main())
    check_the_loop_still_works(loop)


@pytest.mark.parametrize("buffer", [bytearray(), b"read-only", "text", 5], ids=["empty", "read-only", "text", "number"])
def test_a_buffer_that_cannot_be_filled_ends_the_connection(
    loop: Loop, reports: list[dict[str, Any]], buffer: Any
) -> None:
    async def main() -> None:
        protocol = FailingBufferedProtocol(buffer=buffer)
        async with transport_over(protocol) as (_, peer):
            peer.send(b"x")
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost_with, (RuntimeError, TypeError, BufferError))
        (context,) = reports
        assert context["message"].startswith("Fatal ")

    run(loop, main())
    check_the_loop_still_works(loop)


def test_an_error_in_pause_writing_is_reported_and_nothing_is_lost(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        protocol = FailingProtocol("pause_writing", ValueError("from the protocol"))
        async with transport_over(protocol) as (transport, peer):
            transport.write(bytes(5_000_000))
            transport.close()
            assert len(await receive_all(peer)) == 5_000_000
            await until(lambda: protocol.lost)
        (context,) = reports
        assert context["message"] == "protocol.pause_writing() failed"
        assert str(context["exception"]) == "from the protocol"

    run(loop, main())


def test_an_error_in_resume_writing_is_reported_and_nothing_is_lost(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        protocol = FailingProtocol("resume_writing", ValueError("from the protocol"))
        async with transport_over(protocol) as (transport, peer):
            transport.write(bytes(5_000_000))
            transport.write_eof()
            assert len(await receive_all(peer)) == 5_000_000
            await until(lambda: reports)
        (context,) = reports
        assert context["message"] == "protocol.resume_writing() failed"

    run(loop, main())


def test_an_error_in_connection_lost_is_reported_and_the_socket_closed(
    loop: Loop, reports: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        protocol = FailingProtocol("connection_lost", ValueError("from the protocol"))
        async with transport_over(protocol) as (transport, peer):
            transport.close()
            await until(lambda: reports)
            await turns(2)
            assert await receive_all(peer) == b""
            assert protocol.calls == ["connection_made", "connection_lost"]

    run(loop, main())
    (context,) = reports
    assert str(context["exception"]) == "from the protocol"


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_protocol_leaves_the_run(loop: Loop, leaving: type[BaseException]) -> None:
    protocol = FailingProtocol("data_received", leaving("out"))

    async def connect() -> Any:
        ours, peer = socket_pair()
        transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
        return transport, peer

    transport, peer = run(loop, connect())
    peer.send(b"x")
    with pytest.raises(leaving, match="out"):
        loop.run_forever()
    assert not loop.is_running()

    async def finish() -> None:
        transport.abort()
        await until(lambda: protocol.lost)
        peer.close()

    run(loop, finish())
    check_the_loop_still_works(loop)


def test_a_protocol_without_callbacks_of_its_own_works(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(asyncio.Protocol()) as (transport, peer):
            peer.send(b"ignored")
            transport.write(bytes(3_000_000))
            transport.write_eof()
            assert len(await receive_all(peer)) == 3_000_000

    run(loop, main())


def test_closing_and_writing_inside_callbacks_is_allowed(loop: Loop) -> None:
    class Answering(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(data.upper())
            self.transport.write_eof()
            self.transport.close()

    async def main() -> None:
        protocol = Answering()
        async with transport_over(protocol) as (_, peer):
            peer.send(b"question")
            assert await receive_all(peer) == b"QUESTION"
            await until(lambda: protocol.lost)
            assert protocol.lost_with is None

    run(loop, main())


def test_aborting_inside_data_received_is_allowed(loop: Loop) -> None:
    class Aborting(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.abort()

    async def main() -> None:
        protocol = Aborting()
        async with transport_over(protocol) as (_, peer):
            peer.send(b"x")
            await until(lambda: protocol.lost)
            assert protocol.calls == ["connection_made", "data_received", "connection_lost"]

    run(loop, main())
