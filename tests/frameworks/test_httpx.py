"""httpx as client of a server that runs in threads, away from any event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from .conftest import Certificates

pytest.importorskip("httpx", reason="httpx is not installed: install it to run these programs")

import httpx

Run = Callable[[Awaitable[Any]], Any]

PARTS = 40


class _Handler(BaseHTTPRequestHandler):
    """Echoes what is posted; a GET of `/parts` is answered in chunks, one of `/never` when the server ends."""

    protocol_version = "HTTP/1.1"
    ending: threading.Event

    def do_POST(self) -> None:
        body = self._read_body()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/never":
            self.ending.wait(60)
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(PARTS):
            part = b"%d," % number * 500
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while True:
            size = int(self.rfile.readline(), 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if not size:
                return body


class _Server(ThreadingHTTPServer):
    """Joins its threads, so that nothing outlives a test; queues more connections than the default of five."""

    daemon_threads = False
    request_queue_size = 64


@contextlib.contextmanager
def _serving(tls: Certificates | None) -> Iterator[str]:
    class Handler(_Handler):
        ending = threading.Event()

    with _Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            # The handshake in the thread of the connection, where a slow client holds up nobody else.
            context = tls.server_context()
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            port = server.server_address[1]
            yield f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
        finally:
            Handler.ending.set()
            server.shutdown()
            thread.join()


def _client(tls: Certificates | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=tls.client_context() if tls else False, timeout=20, trust_env=False)


def test_concurrent_posts_get_their_own_answers(run: Run, tls: Certificates | None) -> None:
    async def program(base: str) -> None:
        async with _client(tls) as client:
            bodies = [b"%d-" % number * (number * 200 + 1) for number in range(50)]
            answers = await asyncio.gather(*(client.post(base, content=body) for body in bodies))
            assert [answer.content for answer in answers] == bodies

    with _serving(tls) as base:
        run(program(base))


def test_streams_flow_both_ways(run: Run, tls: Certificates | None) -> None:
    async def upload() -> AsyncIterator[bytes]:
        for number in range(PARTS):
            yield b"%d;" % number * 5000

    async def program(base: str) -> None:
        async with _client(tls) as client:
            answer = await client.post(base, content=upload())
            assert answer.content == b"".join([part async for part in upload()])
            async with client.stream("GET", f"{base}/parts") as response:
                received = b"".join([chunk async for chunk in response.aiter_bytes()])
            assert received == b"".join(b"%d," % number * 500 for number in range(PARTS))

    with _serving(tls) as base:
        run(program(base))


def test_a_read_that_times_out_leaves_the_client_usable(run: Run, tls: Certificates | None) -> None:
    async def program(base: str) -> None:
        async with _client(tls) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"{base}/never", timeout=httpx.Timeout(20, read=0.05))
            assert (await client.post(base, content=b"again")).content == b"again"

    with _serving(tls) as base:
        run(program(base))


def test_an_untrusted_certificate_is_refused(run: Run, certificates: Certificates) -> None:
    async def program(base: str) -> None:
        async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                await client.get(base)

    with _serving(certificates) as base:
        run(program(base))
