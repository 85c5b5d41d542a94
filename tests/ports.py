"""Ports for tests: some that a server can take, some that refuse whatever comes.

The system hands out ephemeral ports (32768 to 60999 on Linux, `ip_local_port_range`) to whoever asks, the tests of
other interpreters that run beside these among them. A port that was bound to and released is another program's
a moment later, or even the connecting socket's own: one UDP socket in some twenty thousand is connected to itself.
"""

from __future__ import annotations

import random
import socket

LOCALHOST = "127.0.0.1"

# Below the ephemeral ports of Linux and macOS, above what services are registered for.
_SERVED = range(20_000, 32_000)


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Returns a port of `LOCALHOST` on which nobody listens, and which the system gives to nobody of itself.

    Raises:
        OSError: if a hundred ports were taken.
    """
    for _ in range(100):
        with socket.socket(type=kind) as probe:
            # As servers do: connections of an earlier server, which are closed, do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
            try:
                probe.bind((LOCALHOST, random.SystemRandom().choice(_SERVED)))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"a hundred of the ports {_SERVED.start} to {_SERVED.stop - 1} are taken")


def refusing_port(kind: int = socket.SOCK_STREAM, host: str = LOCALHOST) -> int:
    """Returns a port that refuses connections, or datagrams, until this process ends.

    A socket holds it, which does not listen, or hears another peer alone. Its descriptor stays open.
    """
    holder = socket.socket(type=kind)
    try:
        holder.bind((host, 0))
        if kind == socket.SOCK_DGRAM:
            holder.connect((host, 9))
        port = int(holder.getsockname()[1])
    except BaseException:
        holder.close()
        raise
    holder.detach()
    return port


# A TCP port and a UDP port of `LOCALHOST` that refuse.
REFUSING_PORT = refusing_port()
REFUSING_DATAGRAM_PORT = refusing_port(socket.SOCK_DGRAM)
