"""A web application served by uvicorn on pyloop.

    pip install uvicorn httptools
    python examples/web_app.py --port 8000            then open http://127.0.0.1:8000/

`app` is plain ASGI and knows nothing of the loop: any ASGI framework's application takes its place.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Greets at `/`, sends a posted body back at `/echo`, waits five milliseconds at `/wait`."""
    assert scope["type"] == "http"
    path = scope["path"]
    if path == "/":
        await respond(send, 200, json.dumps({"message": "hello", "loop": loop_name()}).encode())
    elif path == "/echo":
        await respond(send, 200, await read_body(receive))
    elif path == "/wait":
        await asyncio.sleep(0.005)
        await respond(send, 200, b'{"waited_ms": 5}')
    else:
        await respond(send, 404, b'{"error": "no such page"}')


def loop_name() -> str:
    """Says which class of loop serves this request."""
    kind = type(asyncio.get_running_loop())
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


async def read_body(receive: Receive) -> bytes:
    """Collects the whole body of a request."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def respond(send: Send, status: int, body: bytes) -> None:
    """Sends a whole response."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def listening_socket(port: int) -> socket.socket:
    """Listens on a port of the loopback interface; 0 lets the system choose one.

    The protocol is named because asyncio switches Nagle's algorithm off only for sockets that say
    that they are TCP; with it on, a response in two writes waits for the client's delayed ACK.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    bound.listen(1024)
    return bound


def main() -> None:
    """Serves `app` until Ctrl-C."""
    import pyloop
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose (default)")
    bound = listening_socket(parser.parse_args().port)
    config = uvicorn.Config(app, log_level="warning", lifespan="off")
    print(f"serving http://127.0.0.1:{bound.getsockname()[1]}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        pyloop.run(uvicorn.Server(config).serve(sockets=[bound]))


if __name__ == "__main__":
    main()
