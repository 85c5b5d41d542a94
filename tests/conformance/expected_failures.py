"""The tests that pyloop does not pass, each with the reason why.

A test listed here that passes fails the run, and so does a line that matches no test.
"""

from __future__ import annotations

from .rules import Rule


def _threadsafe_handle(test: str) -> Rule:
    reason = "expects asyncio's private _ThreadSafeHandle, whose cancel() waits for a callback that is running"
    pattern = f"test_events.EPollEventLoopTests.test_call_soon_threadsafe_handle_{test}"
    return Rule(pattern, "differs", reason, since=(3, 14), hangs=True)


EXPECTED_FAILURES: tuple[Rule, ...] = (
    _threadsafe_handle("block_cancellation"),
    _threadsafe_handle("block_check_cancelled"),
    _threadsafe_handle("cancel_other_thread"),
)
