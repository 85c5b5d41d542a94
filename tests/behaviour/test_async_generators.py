"""Asynchronous generators: the loop closes those that are dropped, and all of them when it shuts down."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .support import Loop, run, run_until, turn


class Closing:
    """An asynchronous generator that tells when it has been closed."""

    def __init__(self) -> None:
        self.closed = 0

    async def numbers(self) -> AsyncIterator[int]:
        try:
            for number in range(100):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            self.closed += 1


def test_shutdown_asyncgens_closes_what_is_suspended(loop: Loop) -> None:
    closing = Closing()
    generators = [closing.numbers() for _ in range(3)]

    async def start() -> None:
        for generator in generators:
            assert await generator.__anext__() == 0

    run(loop, start())
    assert closing.closed == 0
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert closing.closed == 3


def test_a_dropped_generator_is_closed_by_the_loop(loop: Loop) -> None:
    closing = Closing()

    async def drop() -> None:
        generator = closing.numbers()
        await generator.__anext__()
        del generator
        gc.collect()

    run(loop, drop())
    run_until(loop, lambda: closing.closed, "the closing of the generator")
    assert closing.closed == 1


def test_generators_that_start_after_the_shutdown_warn(loop: Loop) -> None:
    closing = Closing()
    loop.run_until_complete(loop.shutdown_asyncgens())

    async def late() -> None:
        generator = closing.numbers()
        with pytest.warns(ResourceWarning, match="was scheduled after loop.shutdown_asyncgens"):
            await generator.__anext__()
        await generator.aclose()  # type: ignore[attr-defined]

    run(loop, late())


def test_an_error_in_a_generator_that_is_shut_down_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def stubborn() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("while closing")

    generator = stubborn()

    async def start() -> None:
        await generator.__anext__()

    run(loop, start())
    loop.run_until_complete(loop.shutdown_asyncgens())
    (context,) = reports
    assert isinstance(context["exception"], ValueError)
    assert context["asyncgen"] is generator


def test_the_generator_hooks_of_the_thread_are_restored(loop: Loop) -> None:
    before = sys.get_asyncgen_hooks()
    during: list[Any] = []
    loop.call_soon(lambda: during.append(sys.get_asyncgen_hooks()))
    turn(loop)
    assert sys.get_asyncgen_hooks() == before
    assert during[0].firstiter is not None
    assert during[0].finalizer is not None
