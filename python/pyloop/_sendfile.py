"""Files sent by the kernel: `sendfile` and `sock_sendfile`.

Arguments, the choice between kernel and fallback, and the fallback itself are asyncio's own. Here is what the kernel
does: one `os.sendfile()` per readiness, so that a large file leaves room for everything else.
"""

from __future__ import annotations

import errno
import io
import os
from asyncio import base_events, exceptions
from typing import TYPE_CHECKING, Any

from . import _compat
from ._sockets import SocketMethods

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

# The most that one system call takes: the kernel sends no more than 2 GiB at a time anyway.
_MOST = 1 << 30


class SendfileMethods(SocketMethods):
    """The native halves of `sendfile` and `sock_sendfile`, under the names that asyncio calls them by."""

    if TYPE_CHECKING:
        # Of asyncio.BaseEventLoop, whose type stubs leave it out.
        def _check_sendfile_params(self, sock: Any, file: Any, offset: int, count: int | None) -> None: ...

    async def _sock_sendfile_native(self, sock: socket.socket, file: Any, offset: int, count: int | None) -> int:
        async def room() -> None:
            await self._until(self._when_writable, sock)

        return await _send(sock, file, offset, count, room)

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        sock = transp.get_extra_info("socket")
        base_events._check_ssl_socket(sock)  # type: ignore[attr-defined]
        self._check_sendfile_params(sock, file, offset, count)

        async def room() -> None:
            await transp._when_writable()

        # Refused while another file is being sent, before anything of that is disturbed.
        emptied = transp._make_empty_waiter()
        resume = transp.is_reading()
        transp.pause_reading()
        try:
            await emptied
            return await _send(sock, file, offset, count, room)
        finally:
            transp._reset_empty_waiter()
            if resume:
                transp.resume_reading()


async def _send(
    sock: Any, file: Any, offset: int, count: int | None, room: Callable[[], Coroutine[Any, Any, None]]
) -> int:
    """Sends from `offset` until `count` bytes are sent, or to the file's end; returns the number of bytes.

    The file's position is then behind what was sent, also after an error or a cancellation.

    Raises:
        SendfileNotAvailableError: if the kernel cannot send that file; nothing was sent then.
        OSError: if the connection broke.
    """
    try:
        fileno = file.fileno()
    except (AttributeError, io.UnsupportedOperation):
        raise exceptions.SendfileNotAvailableError("not a regular file") from None
    try:
        size = os.fstat(fileno).st_size
    except OSError:
        raise exceptions.SendfileNotAvailableError("not a regular file") from None
    if not (count or size):
        return 0
    sent = 0
    try:
        while count is None or sent < count:
            block = min(count - sent if count else size, _MOST)
            try:
                done = os.sendfile(sock.fileno(), fileno, offset + sent, block)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                raise _translated(error, sent) from error
            else:
                sent += done
                if not done or sent == count:
                    break
            await room()
        return sent
    finally:
        if sent or _compat.SENDFILE_ALWAYS_SEEKS:
            os.lseek(fileno, offset + sent, os.SEEK_SET)


def _translated(error: OSError, sent: int) -> Exception:
    """What a failed `os.sendfile()` means to the caller."""
    if not sent:
        # Most likely no file that can be mapped: asyncio then reads and sends it.
        return exceptions.SendfileNotAvailableError("os.sendfile call failed")
    if error.errno == errno.ENOTCONN:
        return ConnectionError("socket is not connected", errno.ENOTCONN)
    return error
