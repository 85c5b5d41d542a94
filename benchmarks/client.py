"""The client of the I/O cases: one process, bare epoll, the same for every server.

It runs beside the server, in its own process, keeps one message in flight on every connection, and
asks the server for its own processor time before and after the measured window, over a connection
to the server's control port. Payloads have a pattern, and every echo is compared with it.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable

WARM_UP = 0.1
# No answer for so long means that the server lost a message.
STALLED = 10.0


def pattern(size: int) -> bytes:
    """Bytes whose period (251, a prime) shares no factor with any power-of-two buffer."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


Address = int | str  # a port on this machine, or the path of a Unix socket


def connected(address: Address) -> socket.socket:
    """A connection to the server under test."""
    if isinstance(address, int):
        return socket.create_connection(("127.0.0.1", address))
    unix = socket.socket(socket.AF_UNIX)
    unix.connect(address)
    return unix


class Control:
    """The blocking connection on which the server answers questions about itself."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._lines = self._socket.makefile("r", encoding="ascii")

    def ask(self, question: str) -> float:
        """Sends one word and returns the number that the server answers."""
        self._socket.sendall(question.encode("ascii") + b"\n")
        return float(self._lines.readline())

    def close(self) -> None:
        """Tells the server that the run is over."""
        self._lines.close()
        self._socket.close()


class Connection:
    """One connection that sends its message again whenever all of it has come back."""

    def __init__(self, address: Address, message: bytes) -> None:
        self.socket = connected(address)
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._message = memoryview(message)
        self._buffer = bytearray(len(message))
        self._view = memoryview(self._buffer)
        self._sent = 0
        self._received = 0
        self.echoed = 0
        self.wrong = False

    def write(self) -> bool:
        """Sends what the socket takes; returns whether the whole message is out."""
        if self._sent < len(self._message):
            try:
                self._sent += self.socket.send(self._message[self._sent :])
            except BlockingIOError:
                return False
        return self._sent == len(self._message)

    def read(self) -> bool:
        """Takes what came back; returns whether a whole message is complete."""
        try:
            count = self.socket.recv_into(self._view[self._received :])
        except BlockingIOError:
            return False
        if not count:
            raise ConnectionError("the server closed a connection")
        self._received += count
        self.echoed += count
        if self._received < len(self._message):
            return False
        self.wrong = self.wrong or self._buffer != self._message
        self._received = self._sent = 0
        return True


class Peer(Connection):
    """The same for datagrams: one in flight, which comes back whole or not at all."""

    def __init__(self, address: Address, message: bytes) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", address))
        self.socket.setblocking(False)
        self._message = memoryview(message)
        self._buffer = bytearray(len(message) + 1)
        self.echoed = 0
        self.wrong = False

    def write(self) -> bool:
        """Sends the message; a socket of one datagram always has room."""
        self.socket.send(self._message)
        return True

    def read(self) -> bool:
        """Takes what came back."""
        try:
            count = self.socket.recv_into(self._buffer)
        except BlockingIOError:
            return False
        self.echoed += count
        self.wrong = self.wrong or self._buffer[:count] != self._message
        return True


def tls_context() -> ssl.SSLContext:
    """Settings of a client that trusts whatever the server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class TlsConnection(Connection):
    """The same over TLS; the handshake is over when it is made."""

    def __init__(self, address: Address, message: bytes) -> None:
        super().__init__(address, message)
        self.socket.setblocking(True)
        self.socket = tls_context().wrap_socket(self.socket)
        self.socket.setblocking(False)

    def write(self) -> bool:
        """Sends what the socket takes; returns whether the whole message is out."""
        try:
            return super().write()
        except ssl.SSLWantWriteError:
            return False

    def read(self) -> bool:
        """Takes what came back, all records of it; returns whether a whole message is complete."""
        try:
            while not super().read():
                pass
        except ssl.SSLWantReadError:
            return False
        return True


class Load:
    """All connections of the client and the epoll they share."""

    def __init__(self, address: Address, count: int, size: int, kind: Callable[[Address, bytes], Connection]) -> None:
        message = pattern(size)
        self._epoll = select.epoll()
        self._connections = {}
        self._writing: set[int] = set()
        for _ in range(count):
            connection = kind(address, message)
            self._connections[connection.socket.fileno()] = connection
            self._epoll.register(connection.socket.fileno(), select.EPOLLIN)

    def start(self) -> None:
        """Puts the first message of every connection on its way."""
        for fd, connection in self._connections.items():
            self._send(fd, connection)

    def run(self, seconds: float) -> float:
        """Keeps the connections busy for so long; returns the time it really took."""
        start = time.perf_counter()
        end = start + seconds
        poll, connections = self._epoll.poll, self._connections
        while (now := time.perf_counter()) < end:
            events = poll(STALLED)
            if not events:
                raise TimeoutError("the server stopped answering")
            for fd, event in events:
                connection = connections[fd]
                if event & select.EPOLLOUT:
                    self._send(fd, connection)
                if event & ~select.EPOLLOUT and connection.read():
                    self._send(fd, connection)
        return now - start

    def echoed(self) -> int:
        """Bytes that came back so far, over all connections."""
        return sum(connection.echoed for connection in self._connections.values())

    def wrong(self) -> int:
        """How many connections ever got back something other than what they sent."""
        return sum(connection.wrong for connection in self._connections.values())

    def _send(self, fd: int, connection: Connection) -> None:
        complete = connection.write()
        if complete and fd in self._writing:
            self._writing.discard(fd)
            self._epoll.modify(fd, select.EPOLLIN)
        elif not complete and fd not in self._writing:
            self._writing.add(fd)
            self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)


def echo(
    control: Control,
    address: Address,
    count: int,
    size: int,
    seconds: float,
    kind: Callable[[Address, bytes], Connection] = Connection,
) -> dict[str, float]:
    """Measures the server's processor time per echoed message."""
    load = Load(address, count, size, kind)
    load.start()
    load.run(WARM_UP)
    echoed, cpu = load.echoed(), control.ask("cpu")
    wall = load.run(seconds)
    messages = (load.echoed() - echoed) / size
    cpu = control.ask("cpu") - cpu
    return {
        "cpu": cpu / messages * 1e6,
        "wall": wall / messages * 1e6,
        "rate": messages / wall,
        "wrong": load.wrong(),
    }


def connect(control: Control, address: Address, count: int) -> dict[str, float]:
    """Measures the server's memory per connection that is open and says nothing.

    As many connections are opened before the measured ones: the first ones live in the free room
    that start-up left in the server's heap, which is as large as all that they need.
    """
    warm = [connected(address) for _ in range(count)]
    while control.ask("open") < len(warm):
        pass
    before = control.ask("memory-before")
    idle = [connected(address) for _ in range(count)]
    while control.ask("open") < len(warm) + len(idle):
        pass
    return {"bytes": (control.ask("memory") - before) / count}


def udp(control: Control, address: Address, count: int, size: int, seconds: float) -> dict[str, float]:
    """The same for datagrams."""
    return echo(control, address, count, size, seconds, Peer)


def _come_and_go(address: Address, count: int) -> None:
    """Opens so many connections, and waits for the server to close them all."""
    opened = [connected(address) for _ in range(count)]
    for connection in opened:
        connection.settimeout(STALLED)
        if connection.recv(1):
            raise ConnectionError("the server was to say nothing")
        connection.close()


def accept(control: Control, address: Address, count: int, seconds: float) -> dict[str, float]:
    """Measures the server's processor time per connection that it accepts and closes, `count` arriving together."""
    end = time.perf_counter() + WARM_UP
    while time.perf_counter() < end:
        _come_and_go(address, count)
    cpu, start, rounds = control.ask("cpu"), time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        _come_and_go(address, count)
        rounds += 1
    wall = time.perf_counter() - start
    cpu, total = control.ask("cpu") - cpu, rounds * count
    # What the server counts as open is over by now, but for what it has not heard of yet.
    while control.ask("open"):
        pass
    return {"cpu": cpu / total * 1e6, "wall": wall / total * 1e6, "rate": total / wall}


def tls_echo(control: Control, address: Address, count: int, size: int, seconds: float) -> dict[str, float]:
    """The same over TLS."""
    return echo(control, address, count, size, seconds, TlsConnection)


def handshakes(control: Control, address: Address, seconds: float) -> dict[str, float]:
    """Measures the server's processor time per TLS connection: accepted, shaken hands with, closed."""
    context = tls_context()

    def run(seconds: float) -> tuple[int, float]:
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            with context.wrap_socket(connected(address)) as connection:
                connection.send(b"x")
                connection.recv(1)
            count += 1
        return count, time.perf_counter() - start

    run(WARM_UP)
    cpu = control.ask("cpu")
    count, wall = run(seconds)
    cpu = control.ask("cpu") - cpu
    return {"cpu": cpu / count * 1e6, "wall": wall / count * 1e6, "rate": count / wall}


MODES: dict[str, Callable[..., dict[str, float]]] = {
    "echo": echo,
    "connect": connect,
    "accept": accept,
    "udp": udp,
    "tls_echo": tls_echo,
    "tls_handshakes": handshakes,
}


def main(arguments: list[str]) -> None:
    """Usage: `client CONTROL_PORT PORT_OR_PATH MODE NUMBER...`; prints its figures as JSON."""
    control = Control(int(arguments[0]))
    address = int(arguments[1]) if arguments[1].isdigit() else arguments[1]
    numbers = [json.loads(text) for text in arguments[3:]]
    try:
        print(json.dumps(MODES[arguments[2]](control, address, *numbers)), flush=True)
    finally:
        control.close()


if __name__ == "__main__":
    main(sys.argv[1:])
