"""The server of the I/O cases: protocols on the loop under test, a client in its own process."""

from __future__ import annotations

import asyncio
import json
import resource
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from benchmarks.measure import resident_bytes, resident_bytes_before
from benchmarks.model import LoopFactory, WrongResult

CLIENT = Path(__file__).with_name("client.py")


class Counter:
    """How many connections the server has open."""

    def __init__(self) -> None:
        self.open = 0


class Echo(asyncio.Protocol):
    """Sends back whatever arrives: the least a server can do."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._counter.open += 1

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._counter.open -= 1


class Control(asyncio.Protocol):
    """Answers the client's questions about this process; its end is the end of the run."""

    def __init__(self, counter: Counter, stop: Callable[[], None]) -> None:
        self._answers: dict[bytes, Callable[[], float]] = {
            b"cpu": time.process_time,
            b"memory": resident_bytes,
            b"memory-before": resident_bytes_before,
            b"open": lambda: counter.open,
        }
        self._stop = stop
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        answer = self._answers[data.strip()]()
        self._transport.write(f"{answer!r}\n".encode("ascii"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _tls_context() -> ssl.SSLContext:
    """A server's settings, with a certificate of its own making."""
    import trustme  # not needed for anything else

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    return context


async def _serve(mode: str, numbers: tuple[float, ...]) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    stopped = loop.create_future()
    counter = Counter()

    def stop() -> None:
        if not stopped.done():
            stopped.set_result(None)

    tls = _tls_context() if mode.startswith("tls") else None
    echo = await loop.create_server(lambda: Echo(counter), "127.0.0.1", 0, backlog=1024, ssl=tls)
    control = await loop.create_server(lambda: Control(counter, stop), "127.0.0.1", 0)
    ports = [server.sockets[0].getsockname()[1] for server in (control, echo)]
    command = [sys.executable, str(CLIENT), *map(str, ports), mode, *map(str, numbers)]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        await stopped
    finally:
        output, _ = client.communicate(timeout=30)
        echo.close()
        control.close()
    if client.returncode:
        raise WrongResult(f"the client failed with status {client.returncode}")
    return cast("dict[str, float]", json.loads(output))


def serve(factory: LoopFactory, mode: str, *numbers: float) -> dict[str, float]:
    """Serves one run of the client on a fresh loop and returns what the client measured."""
    _raise_descriptor_limit()
    loop = factory()
    try:
        return loop.run_until_complete(_serve(mode, numbers))
    finally:
        loop.close()
