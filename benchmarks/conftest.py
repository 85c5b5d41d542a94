"""The loops that the pytest suite runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from benchmarks.loops import OURS, STOCK, factory_of


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--loop`, which may be given several times."""
    parser.getgroup("loops").addoption(
        "--loop",
        action="append",
        default=[],
        metavar="NAME",
        help="measure this loop too: uvloop, rloop, ... or module:factory",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Says what is missing once, not for every case."""
    if not config.pluginmanager.has_plugin("benchmark"):
        raise pytest.UsageError("the benchmarks need a plugin of pytest: pip install pytest-benchmark")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives every test stock asyncio, pyloop, and the loops of the command line."""
    if "loop" in metafunc.fixturenames:
        names = dict.fromkeys([STOCK, OURS, *metafunc.config.getoption("--loop")])
        metafunc.parametrize("loop", list(names), indirect=True)


@pytest.fixture
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """A fresh loop, closed after the test."""
    made = factory_of(request.param)()
    try:
        yield made
    finally:
        made.close()
