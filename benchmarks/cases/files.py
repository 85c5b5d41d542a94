"""The case of a large file: sent by the kernel, by the loop's fallback, and by a plain `socket.sendfile`."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks.model import Case, LoopFactory, Metric, Sample, Target, WrongResult

SIZE = 1 << 30  # bytes: 1 GiB
ROUNDS = 2
# Takes what comes without copying it, and says how much it was: the sender is what is measured.
DRAIN = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as peer:
    total, room = 0, bytearray(1 << 20)
    while count := peer.recv_into(room, 0, socket.MSG_TRUNC):
        total += count
    print(total)
"""


class Unmappable(io.RawIOBase):
    """A file that the kernel cannot send, since it shows no descriptor: loops fall back to reading it."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer) or 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)


def _timed(send: Callable[[socket.socket], object]) -> float:
    """Wall time, in seconds, of sending the file to a process that drops it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        drain = subprocess.Popen([sys.executable, "-c", DRAIN, str(port)], stdout=subprocess.PIPE, text=True)
        connection, _ = listener.accept()
    with connection:
        start = time.perf_counter()
        send(connection)
    output, _ = drain.communicate(timeout=60)
    if int(output) != SIZE:
        raise WrongResult(f"{output} of {SIZE} bytes arrived")
    return time.perf_counter() - start


def _by_loop(factory: LoopFactory, file: Any) -> float:
    def send(connection: socket.socket) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=connection)
            file.seek(0)
            await loop.sendfile(transport, file)
            transport.close()

        loop = factory()
        try:
            loop.run_until_complete(main())
            loop.run_until_complete(asyncio.sleep(0))
        finally:
            loop.close()

    return _timed(send)


def _plain(file: Any) -> float:
    def send(connection: socket.socket) -> None:
        # As a loop's socket is: with a time-out of its own, so that it waits for room by polling.
        connection.settimeout(60)
        file.seek(0)
        connection.sendfile(file)

    return _timed(send)


def sendfile(factory: LoopFactory) -> Sample:
    """Compares the best of some rounds of each way, taken in turns."""
    native, fallback, plain = [], [], []
    with tempfile.NamedTemporaryFile() as named:
        named.truncate(SIZE)
        with open(named.name, "rb", buffering=0) as file:
            for _ in range(ROUNDS):
                plain.append(_plain(file))
                native.append(_by_loop(factory, file))
                fallback.append(_by_loop(factory, Unmappable(file)))
    best = min(native)
    return Sample(
        {
            "time": best,
            "over_fallback": min(fallback) / best,
            "over_plain": best / min(plain),
        }
    )


CASES = (
    Case(
        "sendfile",
        "a file of 1 GiB over loop.sendfile(): seconds; ratio to the fallback; ratio to socket.sendfile()",
        (
            Metric("time", "s"),
            Metric("over_fallback", "x", Target(at_least=2), higher_is_better=True),
            Metric("over_plain", "x", Target(at_most=1.1)),
        ),
        sendfile,
        quick=False,
    ),
)
