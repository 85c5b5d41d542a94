"""HTTP clients for the demo: many keep-alive connections in one process of their own.

Every response is checked: status, length and body. The process is bare sockets and epoll (or the
system's equivalent), so that it keeps ahead of any server written in Python, and is the same
whichever loop serves.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time

BODY = bytes(range(256)) * 4
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
# One request in so many carries a body.
POST_EVERY = 5
STALLED = 10.0  # seconds without any answer


class BadResponse(Exception):
    """The server answered something other than what was asked for."""


class Client:
    """One connection with one request on its way at any time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.latencies: list[float] = []
        self._counts = True  # whether the response on its way is measured
        self._count = 0
        self._posted = False
        self._sent_at = 0.0
        self._received = b""

    def forget(self) -> None:
        """Drops what was measured, and the response on its way, which the pause delays."""
        self.latencies.clear()
        self._counts = False

    def ask(self) -> None:
        """Sends the next request; it fits any socket buffer, so a blocking send does not wait."""
        self._count += 1
        self._posted = self._count % POST_EVERY == 0
        self._sent_at = time.perf_counter()
        self.socket.sendall(POST if self._posted else GET)

    def receive(self) -> bool:
        """Takes what arrived; returns whether the response is complete."""
        data = self.socket.recv(65536)
        if not data:
            raise BadResponse("the server closed a connection")
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return False
        if self._counts:
            self.latencies.append(time.perf_counter() - self._sent_at)
        self._counts = True
        if not head.startswith(b"HTTP/1.1 200") or not self._expected(body):
            raise BadResponse(head.decode("latin-1"))
        self._received = b""
        return True

    def _expected(self, body: bytes) -> bool:
        return body == BODY if self._posted else body.startswith(b'{"message": "hello"')


def _content_length(head: bytes) -> int:
    marker = b"content-length: "
    start = head.lower().index(marker) + len(marker)
    return int(head[start:].partition(b"\r\n")[0])


def load(port: int, clients: int, warm_up: float, seconds: float) -> dict[str, object]:
    """Keeps all clients busy; returns how long that took, and all latencies after the warm-up."""
    selector = selectors.DefaultSelector()
    connections = [Client(port) for _ in range(clients)]
    for client in connections:
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.ask()
    _run(selector, warm_up)
    for client in connections:
        client.forget()
    print(json.dumps("warm"), flush=True)
    sys.stdin.readline()  # the demo has taken the server's processor time
    elapsed = _run(selector, seconds)
    latencies = [latency for client in connections for latency in client.latencies]
    return {"seconds": elapsed, "latencies": latencies}


def _run(selector: selectors.BaseSelector, seconds: float) -> float:
    start = time.perf_counter()
    while time.perf_counter() < start + seconds:
        ready = selector.select(STALLED)
        if not ready:
            raise BadResponse("the server stopped answering")
        for key, _ in ready:
            if key.data.receive():
                key.data.ask()
    return time.perf_counter() - start


if __name__ == "__main__":
    figures = load(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
    print(json.dumps(figures), flush=True)
