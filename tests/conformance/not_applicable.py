"""The tests that say nothing about another event loop, each with the reason why.

A test belongs here if it builds, replaces or inspects parts of the standard library's own loops. One that a real loop
could pass belongs nowhere or in `expected_failures.py`. Every line must match a test on each Python it counts for.
"""

from __future__ import annotations

from .rules import Rule


def _line(
    pattern: str,
    reason: str,
    since: tuple[int, int] = (3, 10),
    until: tuple[int, int] = (3, 99),
    *,
    backported: bool = False,
) -> Rule:
    return Rule(pattern, "not applicable", reason, since, until, backported=backported)


_PIPE_MOCKS = "builds the standard library's pipe transport around mocks and a simulated loop"
_OTHER_SELECTOR = "repeats EPollEventLoopTests with another selector; the loop has no choice of selector"
_SCHEDULER = "calls or inspects the selector loop's private scheduler (`_run_once`, `_ready`, `_scheduled`)"
_SCRIPTED_SELECTOR = "scripts the mock that takes the place of the loop's selector"
_PRIVATE_ACCEPT = "calls the selector loop's private `_accept_connection` with a mock socket"
_PRIVATE_WATCHER = "inspects the selector loop's private child watcher and its threads"
_SENDFILE_STEPS = "calls the selector loop's private steps of sendfile with its watchers replaced by mocks"
_MOCK_SIGNAL = (
    "replaces the `signal` or `sys` that the standard library's unix_events imported, or looks at its handlers"
)

NOT_APPLICABLE: tuple[Rule, ...] = (
    _line("test_proactor_events.*", "builds the proactor loop and its transports around mocks"),
    _line("test_selector_events.*", "builds the selector loop and its transports around mocks"),
    _line("test_unix_events.UnixReadPipeTransportTests.*", _PIPE_MOCKS),
    _line("test_unix_events.UnixWritePipeTransportTests.*", _PIPE_MOCKS),
    _line("test_*.PollEventLoopTests.*", _OTHER_SELECTOR),
    _line("test_*.SelectEventLoopTests.*", _OTHER_SELECTOR),
    _line("test_base_events.BaseLoopSockSendfileTests.*", "builds the standard library's selector loop itself"),
    _line("test_unix_events.SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_not_available", _SENDFILE_STEPS),
    _line("test_unix_events.SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_cancel?", _SENDFILE_STEPS),
    _line("test_unix_events.SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_*error*", _SENDFILE_STEPS),
    _line("test_unix_events.SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_exception", _SENDFILE_STEPS),
    _line("test_base_events.BaseEventLoopTests.test__run_once*", _SCHEDULER),
    _line("test_base_events.BaseEventLoopTests.test__add_callback*", _SCHEDULER),
    _line("test_base_events.BaseEventLoopTests.test_call_later", _SCHEDULER),
    _line("test_base_events.BaseEventLoopTests.test_call_soon", _SCHEDULER),
    _line("test_base_events.BaseEventLoopTests.test_set_exc_handler_broken", _SCHEDULER),
    _line("test_base_events.BaseEventLoopTests.test_set_exc_handler_custom", _SCHEDULER),
    _line("test_base_events.BaseEventLoopTests.test_custom_run_forever_integration", _SCHEDULER, since=(3, 13)),
    _line("test_events.EPollEventLoopTests.test_timeout_rounding", _SCHEDULER),
    _line("test_tasks.*.test_log_destroyed_pending_task", _SCHEDULER),
    _line("test_base_events.BaseEventLoopTests.test_not_implemented", "is about the unfinished base class alone"),
    _line("test_base_events.BaseEventLoopTests.test_run_forever_pre_stopped", _SCRIPTED_SELECTOR),
    _line("test_base_events.BaseEventLoopTests.test_single_selecter_event_callback_after_stopping", _SCRIPTED_SELECTOR),
    _line("test_base_events.BaseEventLoopWithSelectorTests.test_accept_connection_*", _PRIVATE_ACCEPT),
    _line(
        "test_base_events.BaseEventLoopWithSelectorTests.test_create_server_soreuseport_only_defined",
        "binds mocks of sockets, which have no descriptor that a kernel could watch",
    ),
    _line(
        "test_sslproto.SslProtoHandshakeTests.test_connection_lost_when_busy",
        "makes a transport of a mock socket through the selector loop's private `_make_socket_transport`",
        backported=True,
    ),
    _line(
        "test_sslproto.SelectorStartTLSTests.test_create_connection_ssl_failed_certificate_no_cycles",
        "watches the standard library's TLS protocol, which no connection of ours goes through",
        backported=True,
    ),
    _line(
        "test_ssl.TestSSL.test_remote_shutdown_receives_trailing_data_on_slow_socket",
        "replaces private attributes of the selector loop's transport while it runs",
        backported=True,
    ),
    _line("test_subprocess.Subprocess*WatcherTests.test_watcher_implementation", _PRIVATE_WATCHER, since=(3, 14)),
    _line(
        "test_subprocess.SubprocessThreadedWatcherTests.test_pid_not_reaped_before_exit_published",
        _PRIVATE_WATCHER,
        since=(3, 14),
        backported=True,
    ),
    _line(
        "test_unix_events.PidfdChildWatcherTests.test_pidfd_closed_when_waitpid_raises",
        "waits until the standard library's watcher calls a mock of `os.waitpid`; ours waits by process descriptor",
        since=(3, 14),
        backported=True,
    ),
    _line("test_unix_events.SelectorEventLoopSignalTests.test_add_signal_handler", _MOCK_SIGNAL),
    _line("test_unix_events.SelectorEventLoopSignalTests.test_add_signal_handler_install_error*", _MOCK_SIGNAL),
    _line("test_unix_events.SelectorEventLoopSignalTests.test_add_signal_handler_setup_error", _MOCK_SIGNAL),
    _line("test_unix_events.SelectorEventLoopSignalTests.test_close*", _MOCK_SIGNAL),
    _line("test_unix_events.SelectorEventLoopSignalTests.test_handle_signal_cancelled_handler", _MOCK_SIGNAL),
    _line("test_unix_events.SelectorEventLoopSignalTests.test_remove_signal_handler*", _MOCK_SIGNAL),
)
