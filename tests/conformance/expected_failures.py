"""The tests that pyloop does not pass, each with the reason why.

`later` is what a later issue brings; `differs` is what stays different. A test listed here that passes fails the run,
and so does a line that matches no test.
"""

from __future__ import annotations

from .rules import Rule


def _later(
    pattern: str,
    what: str,
    since: tuple[int, int] = (3, 10),
    until: tuple[int, int] = (3, 99),
    *,
    backported: bool = False,
) -> Rule:
    return Rule(pattern, "later", f"{what} are not implemented yet", since, until, backported=backported)


def _threadsafe_handle(test: str) -> Rule:
    reason = "expects asyncio's private _ThreadSafeHandle, whose cancel() waits for a callback that is running"
    pattern = f"test_events.EPollEventLoopTests.test_call_soon_threadsafe_handle_{test}"
    return Rule(pattern, "differs", reason, since=(3, 14), hangs=True)


EXPECTED_FAILURES: tuple[Rule, ...] = (
    _later("test_base_events.BaseEventLoopWithSelectorTests.test_create_datagram_endpoint*", "datagrams"),
    _later("test_events.EPollEventLoopTests.test_create_datagram_endpoint*", "datagrams"),
    _later("test_events.EPollEventLoopTests.test_datagram_*", "datagrams", backported=True),
    _later("test_sendfile.EPollEventLoopTests.test_sendfile_not_supported", "datagrams"),
    _later("test_events.EPollEventLoopTests.test_bidirectional_pty", "pipes"),
    _later("test_events.EPollEventLoopTests.test_read_pipe", "pipes"),
    _later("test_events.EPollEventLoopTests.test_read_pty_output", "pipes"),
    _later("test_events.EPollEventLoopTests.test_unclosed_pipe_transport", "pipes"),
    _later("test_events.EPollEventLoopTests.test_write_p*", "pipes"),
    _later("test_events.EPollEventLoopTests.test_write_named_fifo_unread_data", "pipes", backported=True),
    _later("test_events.UnixPipeObjectSupportTests.*", "pipes", backported=True),
    _later("test_streams.StreamTests.test_read_all_from_pipe_reader", "pipes", until=(3, 13)),
    _later("test_events.EPollEventLoopTests.test_subprocess_*", "subprocesses"),
    _later("test_subprocess.Subprocess*WatcherTests.*", "subprocesses"),
    _later("test_subprocess.GenericWatcherTests.*", "subprocesses", since=(3, 11), until=(3, 13)),
    _later("test_unix_events.PidfdChildWatcherTests.*", "subprocesses", backported=True),
    _later("test_unix_events.TestFork.test_fork_asyncio_subprocess", "subprocesses", since=(3, 12)),
    _threadsafe_handle("block_cancellation"),
    _threadsafe_handle("block_check_cancelled"),
    _threadsafe_handle("cancel_other_thread"),
)
