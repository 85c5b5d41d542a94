"""Operations on plain sockets and on names.

An operation tries, waits for readiness if it would block, and tries again in the awaiting task itself: a task that is
cancelled while it waits has taken nothing from the socket, so nothing is lost. Attempts and waits are native; of a
socket that is more than a `socket.socket` the attempt is the object's own method.
"""

from __future__ import annotations

import socket
from asyncio import base_events
from typing import TYPE_CHECKING, Any

from ._pyloop import LoopCore

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_WOULD_BLOCK = (BlockingIOError, InterruptedError)


def _is_literal(host: Any) -> bool:
    """Whether resolving a host takes no lookup: an address, with or without a zone, or none at all."""
    if host is None:
        return True
    if isinstance(host, (bytes, bytearray)):
        try:
            host = bytes(host).decode("ascii")
        except UnicodeDecodeError:
            return False
    if not isinstance(host, str):
        return False
    for family, text in (
        (socket.AF_INET, host),
        (socket.AF_INET6, host.partition("%")[0]),
    ):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def _is_numeric(port: Any) -> bool:
    """Whether a port is a number already, not a service to look up."""
    if port is None or isinstance(port, int):
        return True
    if isinstance(port, (str, bytes)):
        return port.isdigit()
    return False


class SocketMethods(LoopCore, base_events.BaseEventLoop):
    """`sock_*`, `getaddrinfo` and `getnameinfo` of the loop."""

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """`socket.getaddrinfo()` in the default executor; in place for addresses, which need no lookup.

        Raises:
            OSError: `socket.gaierror` if there is no such name.
        """
        if not self.get_debug() and _is_literal(host) and _is_numeric(port):
            return socket.getaddrinfo(host, port, family, type, proto, flags)
        return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """`socket.getnameinfo()` in the default executor; in place if only numbers are asked for.

        Raises:
            OSError: `socket.gaierror` if there is no name.
        """
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        if flags & numeric == numeric and _is_literal(sockaddr[0] if sockaddr else ""):
            return socket.getnameinfo(sockaddr, flags)
        return await super().getnameinfo(sockaddr, flags)

    def _check_socket(self, sock: socket.socket) -> None:
        base_events._check_ssl_socket(sock)  # type: ignore[attr-defined]
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    async def _until(self, when: Callable[[int], asyncio.Future[None]], sock: socket.socket) -> None:
        """Returns when the socket is ready in the direction of `when`."""
        fd = sock.fileno()
        ready = when(fd)
        try:
            await ready
        except BaseException:
            self._forget_wait(fd, ready)
            raise

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receives up to `n` bytes; empty at the end of the stream.

        Raises:
            ValueError: in debug mode, if the socket is blocking.
            TypeError: for an `ssl.SSLSocket`.
        """
        while (received := self._try_recv(sock, n)) is None:
            await self._until(self._when_readable, sock)
        return received

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receives into a writable buffer; returns the number of bytes. Raises what `sock_recv` raises."""
        while (count := self._try_recv_into(sock, buf)) is None:
            await self._until(self._when_readable, sock)
        return count

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receives a datagram; returns it with its sender. Raises what `sock_recv` raises."""
        while (received := self._try_recvfrom(sock, bufsize)) is None:
            await self._until(self._when_readable, sock)
        return received

    async def sock_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """Receives a datagram into a buffer; returns its size and sender. Raises what `sock_recv` raises."""
        size = nbytes or len(buf)
        while (received := self._try_recvfrom_into(sock, buf, size)) is None:
            await self._until(self._when_readable, sock)
        return received

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Sends all of a bytes-like object. Raises what `sock_recv` raises, and `OSError` if the peer is gone."""
        rest = self._try_send(sock, data)
        if not rest:
            return
        # The view keeps a bytearray from being resized while a part of it is on its way.
        with memoryview(data) as view:
            while rest:
                await self._until(self._when_writable, sock)
                rest = self._try_send(sock, view, rest)

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
        """Sends a datagram; returns the number of bytes. Raises what `sock_recv` raises."""
        self._check_socket(sock)
        while True:
            try:
                return sock.sendto(data, address)
            except _WOULD_BLOCK:
                await self._until(self._when_writable, sock)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connects a socket; host names are resolved first.

        Raises:
            OSError: if the connection fails, or the name does not resolve.
        """
        self._check_socket(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            resolved = await self._ensure_resolved(  # type: ignore[attr-defined]
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = resolved[0][4]
        try:
            sock.connect(address)
        except _WOULD_BLOCK:
            # The kernel goes on connecting; the socket is writable when that has ended, well or not.
            await self._until(self._when_writable, sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, f"Connect call failed {address}") from None

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accepts a connection; returns a non-blocking socket and its peer's address. Raises as `sock_recv` does."""
        while (accepted := self._try_accept(sock)) is None:
            await self._until(self._when_readable, sock)
        accepted[0].setblocking(False)
        return accepted


def attempt(loop: SocketMethods, sock: Any, method: str, *arguments: Any) -> Any:
    """One attempt by a method of a socket that the engine does not know; None if it would block."""
    loop._check_socket(sock)
    try:
        return getattr(sock, method)(*arguments)
    except _WOULD_BLOCK:
        return None


def attempt_send(loop: SocketMethods, sock: Any, data: Any, rest: int | None) -> int:
    """One attempt to send the last `rest` bytes of `data`, or all of it; returns how many are left."""
    if rest is not None:
        with memoryview(data) as view, view.cast("B") as unsent, unsent[len(unsent) - rest :] as part:
            return rest - (attempt(loop, sock, "send", part) or 0)
    sent = attempt(loop, sock, "send", data)
    with memoryview(data) as view:
        return view.nbytes - (sent or 0)
