"""Subprocesses: spawned by the standard library's `subprocess`, their ends seen through process descriptors.

The kernel makes a process descriptor (pidfd) readable when the process has ended: a child costs no thread and no signal
handler, and any thread's loop can have one. Where there is none, one thread sees to the children of all loops
(`_reaper.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from asyncio import base_events, base_subprocess
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from . import _compat
from ._pyloop import LoopCore
from ._reaper import REAPER


class SubprocessTransport(base_subprocess.BaseSubprocessTransport):
    """A child process and its pipes; pipes and protocol calls are asyncio's own."""

    _proc: subprocess.Popen[bytes] | None
    _pid: int
    _returncode: int | None

    if TYPE_CHECKING:
        # Of asyncio's class, whose type stubs leave it out.
        _loop: SubprocessMethods

        def _check_proc(self) -> None: ...

    def _start(self, args: Any, shell: bool, stdin: Any, stdout: Any, stderr: Any, bufsize: int, **kwargs: Any) -> None:
        self._proc = subprocess.Popen(
            args,
            shell=shell,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=False,
            bufsize=bufsize,
            **kwargs,
        )

    def _watch_exit(self, loop: SubprocessMethods) -> None:
        """Begins to wait for the end of the child."""
        try:
            descriptor = os.pidfd_open(self._pid)
        except (AttributeError, OSError):
            # Another system, an older kernel, a sandbox, or out of descriptors: the child runs, its end must be seen.
            REAPER.watch(loop, self._pid, self._reap_by_number)
            return
        loop._exit_descriptors.add(descriptor)
        loop._add_reader(descriptor, self._reap, descriptor)

    def _reap(self, descriptor: int) -> None:
        """The child has ended, by the account of its process descriptor."""
        loop = self._loop
        loop._remove_reader(descriptor)
        loop._exit_descriptors.discard(descriptor)
        try:
            # Not by number: should somebody else have taken the status, it may be another child's by now.
            result = os.waitid(os.P_PIDFD, descriptor, os.WEXITED)
            assert result is not None
            returncode = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        except ChildProcessError:
            returncode = self._exit_code_taken()
        except OSError:  # Linux 5.3 has process descriptors, and cannot wait for them.
            returncode = self._exit_code_by_number()
        finally:
            os.close(descriptor)
        self._process_exited(returncode)

    def _reap_by_number(self, status: int | None) -> None:
        """The child has ended, by the account of the reaper; `status` if that has read it already."""
        if status is None:
            self._process_exited(self._exit_code_by_number())
        else:
            self._process_exited(os.waitstatus_to_exitcode(status))

    def _exit_code_by_number(self) -> int:
        """Takes the exit code of the child, which has ended."""
        try:
            _, status = os.waitpid(self._pid, 0)
        except ChildProcessError:
            return self._exit_code_taken()
        return os.waitstatus_to_exitcode(status)

    def _exit_code_taken(self) -> int:
        """The exit code if somebody else has waited for the child: the `Popen` object, or nobody who would tell."""
        assert self._proc is not None
        if self._proc.returncode is not None:
            return int(self._proc.returncode)
        logger.warning("child process pid %d exit status already read:  will report returncode 255", self._pid)
        return 255

    # The child may have ended, and its number gone to another process, once the return code is known; asyncio looks at
    # that from 3.14 on. Until 3.12 it lets `Popen` look whether the child has ended, which takes the status from us.

    def send_signal(self, signal: int) -> None:
        """Sends a signal to the child; does nothing if that has ended.

        Raises:
            ProcessLookupError: once `connection_lost` was called.
        """
        self._check_proc()
        if self._returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal)

    def terminate(self) -> None:
        """Sends SIGTERM to the child. Raises what `send_signal()` raises."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL to the child. Raises what `send_signal()` raises."""
        self.send_signal(signal.SIGKILL)


class ClockHoldingTransport(SubprocessTransport):
    """On a loop that goes by a virtual clock, which must not jump while a child runs: what it does takes real time."""

    def _start(self, *args: Any, **kwargs: Any) -> None:
        super()._start(*args, **kwargs)
        assert self._loop.clock is not None
        self._loop.clock._hold()

    def _process_exited(self, returncode: int) -> None:
        assert self._loop.clock is not None
        self._loop.clock._release()
        super()._process_exited(returncode)


_NO_WATCHER = contextlib.nullcontext()


class SubprocessMethods(LoopCore, base_events.BaseEventLoop):
    """What `subprocess_exec` and `subprocess_shell` of the base class need."""

    def __init__(self) -> None:
        super().__init__()
        # Of the children that are watched, to be closed with the loop.
        self._exit_descriptors: set[int] = set()
        self._subprocess_transport = SubprocessTransport

    async def _make_subprocess_transport(self, *args: Any, **kwargs: Any) -> SubprocessTransport:
        watcher = _compat.child_watcher()
        with _NO_WATCHER if watcher is None else watcher as entered:
            if watcher is not None and not _compat.is_active(watcher, entered):
                raise RuntimeError("asyncio.get_child_watcher() is not activated, subprocess support is not installed.")
            kwargs["waiter"] = waiter = self.create_future()
            transport = self._subprocess_transport(self, *args, **kwargs)
            if watcher is None:
                transport._watch_exit(self)
            else:
                watcher.add_child_handler(transport.get_pid(), self._child_watcher_callback, transport)
            try:
                await waiter
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                # A failure or cancellation before the pipes are there ends the child.
                transport.close()
                await asyncio.shield(transport._wait())
                raise
        return transport

    def _child_watcher_callback(self, _pid: int, returncode: int, transport: SubprocessTransport) -> None:
        self.call_soon_threadsafe(transport._process_exited, returncode)

    def _close_subprocesses(self) -> None:
        """Stops watching children, which go on to run."""
        for descriptor in self._exit_descriptors:
            self._remove_reader(descriptor)
            os.close(descriptor)
        self._exit_descriptors.clear()
