"""uvicorn serving an ASGI application with each of its HTTP parsers, asked by two HTTP clients."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import pathlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from .conftest import Certificates
from .programs import MODULE, program

pytest.importorskip("uvicorn", reason="uvicorn is not installed: install it to run these programs")

import uvicorn

Run = Callable[[Awaitable[Any]], Any]


class Application:
    """A small ASGI application: it answers with the body it got, in two parts, and remembers its lifespan."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await asyncio.sleep(0)
        headers = [(b"content-type", b"text/plain"), (b"x-path", scope["path"].encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        half = len(body) // 2
        await send({"type": "http.response.body", "body": body[:half], "more_body": True})
        await send({"type": "http.response.body", "body": body[half:]})

    async def _live(self, receive: Any, send: Any) -> None:
        for _ in range(2):
            message = await receive()
            self.events.append(message["type"])
            await send({"type": f"{message['type']}.complete"})


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest) -> str:
    """The HTTP parser that uvicorn is to use."""
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: uvicorn cannot be run with it")
    return name


@contextlib.asynccontextmanager
async def _serving(application: Application, parser: str, tls: Certificates | None) -> AsyncIterator[int]:
    """Serves on a free port, yields it, and ends the server the way a signal would."""
    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=0,
        http=parser,
        ws="none",
        lifespan="on",
        log_level="warning",
        ssl_certfile=str(tls.certificate) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
    )
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve())
    try:
        while not server.started:
            assert not task.done(), "uvicorn ended before it started"
            await asyncio.sleep(0.001)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


def _ask(port: int, tls: Certificates | None, bodies: list[bytes]) -> list[bytes]:
    """Posts each body over one kept-alive connection, with the standard library's blocking client."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    if tls:
        connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=tls.client_context())
    answers = []
    with contextlib.closing(connection):
        for number, body in enumerate(bodies):
            connection.request("POST", f"/{number}", body)
            response = connection.getresponse()
            assert (response.status, response.headers["x-path"]) == (200, f"/{number}")
            answers.append(response.read())
    return answers


def test_blocking_clients_in_threads_are_served(run: Run, parser: str, tls: Certificates | None) -> None:
    bodies = [b"", b"short", b"long" * 100_000]

    async def program() -> None:
        application = Application()
        loop = asyncio.get_running_loop()
        async with _serving(application, parser, tls) as port:
            asked = [loop.run_in_executor(None, _ask, port, tls, bodies) for _ in range(4)]
            assert await asyncio.gather(*asked) == [bodies] * 4
        assert application.events == ["lifespan.startup", "lifespan.shutdown"]

    run(program())


def test_many_asynchronous_clients_are_served(run: Run, parser: str, tls: Certificates | None) -> None:
    httpx = pytest.importorskip("httpx", reason="httpx is not installed: it is the client here")

    async def program() -> None:
        async with _serving(Application(), parser, tls) as port:
            base = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(verify=tls.client_context() if tls else False, timeout=20) as client:
                asked = [client.post(f"{base}/{number}", content=b"%d" % number) for number in range(60)]
                answers = await asyncio.gather(*asked)
            assert [answer.content for answer in answers] == [b"%d" % number for number in range(60)]

    run(program())


SERVED = """
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = type(asyncio.get_running_loop()).__module__.encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_command_takes_the_loop_by_name(loop_name: str, tmp_path: pathlib.Path, signum: int) -> None:
    (tmp_path / "served.py").write_text(SERVED)
    name = {"asyncio": "asyncio:SelectorEventLoop", "pyloop": "pyloop:new_event_loop"}[loop_name]
    command = ["-m", "uvicorn", "served:app", "--loop", name, "--port", "0", "--lifespan", "off", "--no-use-colors"]
    with program(command, tmp_path) as server:
        port = int(server.wait_for(r"running on http://127\.0\.0\.1:(\d+)")[1])
        for _ in range(3):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                connection.request("GET", "/")
                assert connection.getresponse().read().decode() == MODULE[loop_name]
        server.end(signum)
        server.wait_for("Application shutdown complete|Finished server process")
