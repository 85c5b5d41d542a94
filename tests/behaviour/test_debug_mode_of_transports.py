"""Debug mode in every transport: nothing breaks, slow protocols are told, events are logged where asyncio logs them."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import socket
import threading
from typing import Any

import pytest

from .support import Loop, Recorder, run, socket_pair, until

# Longer than the threshold that the tests set, whatever the clock's resolution; no test waits for it to pass.
SLOW = 0.02
CAT = str(shutil.which("cat"))


@pytest.fixture
def debug_loop(loop: Loop, caplog: pytest.LogCaptureFixture) -> Loop:
    loop.set_debug(True)
    loop.slow_callback_duration = SLOW / 2
    caplog.set_level(logging.DEBUG, logger="asyncio")
    return loop


def _dawdle() -> None:
    threading.Event().wait(SLOW)


class Slow(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        _dawdle()


class SlowDatagrams(asyncio.DatagramProtocol):
    heard = b""
    lost = False

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard = data
        _dawdle()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True


def test_a_slow_stream_protocol_is_told(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        ours, peer = socket_pair()
        protocol = Slow()
        transport, _ = await debug_loop.create_connection(lambda: protocol, sock=ours)
        with peer:
            peer.send(b"data")
            await until(lambda: protocol.received)
            await until(lambda: "Executing" in caplog.text, "the report")
        transport.close()
        await until(lambda: protocol.lost)

    run(debug_loop, main())
    took = re.search(r"Executing .* took (\d+\.\d{3}) seconds", caplog.text)
    assert took and float(took[1]) >= SLOW


def test_a_slow_datagram_protocol_is_told(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        transport, protocol = await debug_loop.create_datagram_endpoint(SlowDatagrams, ("127.0.0.1", 0))
        transport.sendto(b"data", transport.get_extra_info("sockname"))
        await until(lambda: protocol.heard)
        await until(lambda: "Executing" in caplog.text, "the report")
        transport.close()
        await until(lambda: protocol.lost)

    run(debug_loop, main())


def test_a_slow_pipe_protocol_is_told(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        reading, writing = os.pipe()
        protocol = Slow()
        await debug_loop.connect_read_pipe(lambda: protocol, os.fdopen(reading, "rb", 0))
        os.write(writing, b"data")
        await until(lambda: protocol.received)
        await until(lambda: "Executing" in caplog.text, "the report")
        os.close(writing)
        await until(lambda: protocol.lost)

    run(debug_loop, main())


def test_pausing_and_resuming_are_logged(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        ours, peer = socket_pair()
        protocol = Recorder()
        transport, _ = await debug_loop.create_connection(lambda: protocol, sock=ours)
        transport.pause_reading()
        transport.resume_reading()
        peer.close()
        await until(lambda: protocol.lost)

    run(debug_loop, main())
    logged = [record.getMessage() for record in caplog.records]
    assert any("pauses reading" in line for line in logged)
    assert any("resumes reading" in line for line in logged)
    assert any("received EOF" in line for line in logged)


def test_a_connection_that_is_reset_is_logged(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            peer, _ = listener.accept()
        ours.setblocking(False)
        protocol = Recorder()
        await debug_loop.create_connection(lambda: protocol, sock=ours)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        await until(lambda: protocol.lost)
        assert isinstance(protocol.lost_with, ConnectionResetError)

    run(debug_loop, main())
    assert any(record.levelno == logging.DEBUG and record.exc_info for record in caplog.records)


def test_connections_servers_and_names_are_logged(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = await debug_loop.create_server(Recorder, "127.0.0.1", 0)
        transport, protocol = await debug_loop.create_connection(Recorder, *server.sockets[0].getsockname())
        await debug_loop.getaddrinfo("localhost", 80)
        transport.close()
        await until(lambda: protocol.lost)
        server.close()
        await server.wait_closed()

    run(debug_loop, main())
    assert "is serving" in caplog.text
    assert "connected to" in caplog.text
    assert "Get address info localhost:80" in caplog.text


def test_pipes_are_logged(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        reading, writing = os.pipe()
        reader, writer = Recorder(), Recorder()
        read, _ = await debug_loop.connect_read_pipe(lambda: reader, os.fdopen(reading, "rb", 0))
        write, _ = await debug_loop.connect_write_pipe(lambda: writer, os.fdopen(writing, "wb", 0))
        write.write(b"data")
        await until(lambda: reader.received == b"data")
        read.pause_reading()
        read.resume_reading()
        write.close()
        await until(lambda: reader.lost and writer.lost)

    run(debug_loop, main())
    assert "Read pipe" in caplog.text
    assert "Write pipe" in caplog.text


def test_subprocesses_are_logged(debug_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    class Ended(asyncio.SubprocessProtocol):
        lost = False

        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost = True

    async def main() -> None:
        transport, protocol = await debug_loop.subprocess_exec(Ended, CAT)
        assert repr(transport).startswith("<")
        stdin = transport.get_pipe_transport(0)
        assert stdin is not None
        stdin.close()  # type: ignore[attr-defined]
        await until(lambda: protocol.lost)
        transport.close()

    run(debug_loop, main())
    assert "execute program" in caplog.text
    assert "exited with return code 0" in caplog.text


def test_errors_of_protocols_tell_where_they_come_from(debug_loop: Loop, reports: list[dict[str, Any]]) -> None:
    class Faulty(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ValueError("on purpose")

    async def main() -> None:
        ours, peer = socket_pair()
        protocol = Faulty()
        transport, _ = await debug_loop.create_connection(lambda: protocol, sock=ours)
        with peer:
            peer.send(b"data")
            await until(lambda: protocol.lost)
        assert reports[0]["transport"] is transport
        assert reports[0]["protocol"] is protocol
        assert isinstance(reports[0]["exception"], ValueError)
        reports.clear()

    run(debug_loop, main())
