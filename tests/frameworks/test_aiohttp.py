"""aiohttp as server and as client: JSON, uploads, streamed answers, web sockets, and a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import pathlib
import socket as sockets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from .conftest import Certificates

pytest.importorskip("aiohttp", reason="aiohttp is not installed: install it to run these programs")

import aiohttp
from aiohttp import web

Run = Callable[[Awaitable[Any]], Any]

UPLOAD = bytes(range(256)) * 4096  # 1 MiB: more than a socket buffer takes at once


async def _greet(request: web.Request) -> web.Response:
    return web.json_response({"hello": request.match_info["name"], "query": dict(request.query)})


async def _digest(request: web.Request) -> web.Response:
    digest = hashlib.sha256()
    async for chunk in request.content.iter_chunked(65536):
        digest.update(chunk)
    return web.Response(text=digest.hexdigest())


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(50):
        await response.write(f"line {number}\n".encode() * 100)
    await response.write_eof()
    return response


async def _socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data[::-1])
    return socket


def _application() -> web.Application:
    application = web.Application(client_max_size=2 * len(UPLOAD))
    application.router.add_get("/greet/{name}", _greet)
    application.router.add_post("/digest", _digest)
    application.router.add_get("/stream", _stream)
    application.router.add_get("/socket", _socket)
    return application


@contextlib.asynccontextmanager
async def _serving(tls: Certificates | None) -> AsyncIterator[str]:
    """Serves on a free port and yields the base address."""
    runner = web.AppRunner(_application())
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.server_context() if tls else None)
        await site.start()
        port = runner.addresses[0][1]
        yield f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _client(tls: Certificates | None) -> AsyncIterator[aiohttp.ClientSession]:
    # An IPv4 server: `localhost` may name both families.
    connector = aiohttp.TCPConnector(ssl=tls.client_context() if tls else True, family=sockets.AF_INET)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


def test_concurrent_requests_get_their_own_answers(run: Run, tls: Certificates | None) -> None:
    async def program() -> None:
        async with _serving(tls) as base, _client(tls) as session:

            async def ask(number: int) -> None:
                async with session.get(f"{base}/greet/{number}", params={"n": str(number)}) as response:
                    assert response.status == 200
                    assert await response.json() == {"hello": str(number), "query": {"n": str(number)}}

            await asyncio.gather(*map(ask, range(100)))

    run(program())


def test_an_upload_arrives_whole_and_a_stream_comes_back(run: Run, tls: Certificates | None) -> None:
    async def program() -> None:
        async with _serving(tls) as base, _client(tls) as session:
            async with session.post(f"{base}/digest", data=UPLOAD) as response:
                assert await response.text() == hashlib.sha256(UPLOAD).hexdigest()
            async with session.get(f"{base}/stream") as response:
                body = b"".join([chunk async for chunk in response.content.iter_any()])
            assert body == b"".join(f"line {number}\n".encode() * 100 for number in range(50))

    run(program())


def test_a_web_socket_answers_and_closes(run: Run, tls: Certificates | None) -> None:
    async def program() -> None:
        async with _serving(tls) as base, _client(tls) as session, session.ws_connect(f"{base}/socket") as socket:
            for number in range(100):
                await socket.send_str(f"message {number}")
                assert await socket.receive_str() == f"message {number}"[::-1]
            await socket.close()
            assert socket.close_code == 1000

    run(program())


def test_a_client_that_times_out_leaves_the_server_serving(run: Run) -> None:
    async def program() -> None:
        released = asyncio.Event()

        async def wait(_request: web.Request) -> web.Response:
            await released.wait()
            return web.Response()

        application = _application()
        application.router.add_get("/wait", wait)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as session:
            with pytest.raises(asyncio.TimeoutError):
                await session.get(f"{base}/wait", timeout=aiohttp.ClientTimeout(total=0.05))
            released.set()
            async with session.get(f"{base}/greet/again") as response:
                assert response.status == 200
        await runner.cleanup()

    run(program())


def test_a_unix_socket_serves_as_well(run: Run, tmp_path: pathlib.Path) -> None:
    async def program() -> None:
        runner = web.AppRunner(_application())
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        connector = aiohttp.UnixConnector(str(tmp_path / "s"))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get("http://any/greet/unix") as response:
                assert (await response.json())["hello"] == "unix"
        await runner.cleanup()

    run(program())
