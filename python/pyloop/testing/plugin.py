"""The pytest plugin: tests on a virtual clock, and whole suites on several loops.

It adds to what pytest-asyncio and anyio do, and touches no test that does not ask for it:

* the marker `virtual_clock`, whose arguments are those of `VirtualClock`, and the fixture `virtual_clock`, for a test
  whose loop goes by such a clock;
* the option `--pyloop-loops` (ini: `pyloop_loops`), for running every asynchronous test on the loops that are named;
* the fixture `loop_factory`, for tests that make their loops themselves.

Both frameworks are told which loops to make by their own public means: the hook `pytest_asyncio_loop_factories`, and
the parameter `anyio_backend`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from pyloop import PyLoop

from ._clock import VirtualClock
from ._loops import LOOP_FACTORIES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    _Factory = Callable[[], asyncio.AbstractEventLoop]

_MARKER = "virtual_clock"
_TOO_OLD = "pyloop.testing needs a pytest-asyncio with the hook pytest_asyncio_loop_factories"


class VirtualLoops:
    """Makes the loops of one test function on virtual clocks; what both frameworks are given as a loop factory."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._arguments = arguments
        self._settings = settings
        self._clock: VirtualClock | None = None
        # The loop that goes by the clock; closed already, perhaps, when the test is over.
        self._loop: PyLoop | None = None
        # What the fixture has said.
        self._told: VirtualClock | None = None

    def begin(self) -> None:
        """A test begins: with a new clock, unless the loop of the last one lives on for a fixture of a wider scope."""
        self._told = None
        if self._loop is None or self._loop.is_closed():
            self._clock = self._loop = None

    def tell(self) -> VirtualClock:
        """The clock, for the fixture."""
        self._told = self.clock
        return self._told

    def is_another(self) -> bool:
        """Whether a loop was made after the fixture had told the clock, and has one of its own."""
        return self._told is not None and self._told is not self._clock

    def is_used(self) -> bool:
        """Whether the test has had a loop of these."""
        return self._loop is not None

    @property
    def clock(self) -> VirtualClock:
        """The clock of the test's loop, be that made already or not."""
        if self._clock is None:
            self._clock = VirtualClock(*self._arguments, **self._settings)
        return self._clock

    def __call__(self) -> PyLoop:
        """Makes a loop."""
        if self._loop is not None:
            self._clock = None  # A second loop needs a clock of its own.
        self._loop = PyLoop(clock=self.clock)
        return self._loop


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the choice of loops."""
    text = f"loops that asynchronous tests run on, of: {', '.join(LOOP_FACTORIES)} (comma-separated)"
    parser.getgroup("pyloop").addoption("--pyloop-loops", metavar="LOOPS", help=text)
    parser.addini("pyloop_loops", help=text, default="")


def pytest_configure(config: pytest.Config) -> None:
    """Describes the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(start=0.0, autojump=True, grace=0.0): the test's loop goes by a pyloop.testing.VirtualClock",
    )
    _chosen_loops(config)  # A wrong choice is told before any test.


def _chosen_loops(config: pytest.Config) -> dict[str, _Factory]:
    """The loops that were asked for by option or file; empty if the choice is left to others."""
    text = config.getoption("--pyloop-loops") or config.getini("pyloop_loops")
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in LOOP_FACTORIES]
    if unknown:
        raise pytest.UsageError(f"--pyloop-loops: unknown {', '.join(unknown)}; known: {', '.join(LOOP_FACTORIES)}")
    return {name: LOOP_FACTORIES[name] for name in names}


def _asks_for_clock(node: pytest.Item, fixtures: Sequence[str]) -> bool:
    """Whether a test is to run on a virtual clock."""
    return node.get_closest_marker(_MARKER) is not None or _MARKER in fixtures


def _is_asynchronous(function: object) -> bool:
    """Whether a test is a coroutine function, also below hypothesis's `@given`."""
    given = getattr(function, "hypothesis", None)
    return inspect.iscoroutinefunction(getattr(given, "inner_test", function))


def _can_tell_pytest_asyncio(config: pytest.Config) -> bool:
    """Whether there is a pytest-asyncio that asks for loops."""
    hook = getattr(config.hook, "pytest_asyncio_loop_factories", None)
    return hook is not None and hook.has_spec()  # Our own answer alone makes it a hook without a specification.


def _chooses_backend(node: pytest.Item) -> bool:
    """Whether a test is parametrized by anyio's backends, which it can be only once."""
    names = [
        mark.args[0] if mark.args else mark.kwargs.get("argnames", ()) for mark in node.iter_markers("parametrize")
    ]
    return any(
        "anyio_backend" in (given.replace(",", " ").split() if isinstance(given, str) else given) for given in names
    )


def _chooses_loops(node: pytest.Item) -> bool:
    """Whether a test names its loops itself."""
    marker = node.get_closest_marker("asyncio")
    return bool(marker.kwargs.get("loop_factories")) if marker is not None else _chooses_backend(node)


def _wide_backend_fixtures(node: pytest.Item) -> list[str]:
    """The fixtures of a test whose scope is wider than the test's, and that ask for anyio's backend."""
    known = node._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]  # pytest has no public way
    return [
        name
        for name, definitions in known.items()
        if definitions[-1].scope != "function" and "anyio_backend" in definitions[-1].argnames
    ]


def _refusal(node: pytest.Item) -> str | None:
    """Why a test that asks for a virtual clock cannot have one; None if it can, or no framework runs it."""
    marker = node.get_closest_marker("asyncio")
    if marker is None:
        if node.get_closest_marker("anyio") is None:
            return None
        if _chooses_backend(node):
            return "the test chooses anyio_backend itself"
        wide = _wide_backend_fixtures(node)
        return f"a virtual clock needs a loop for each test, and {wide[0]!r} has one for several" if wide else None
    if marker.kwargs.get("loop_factories"):
        return "the test chooses loop_factories itself"
    if not _can_tell_pytest_asyncio(node.config):
        return _TOO_OLD
    scope = marker.kwargs.get("loop_scope") or node.config.getini("asyncio_default_test_loop_scope")
    return None if scope == "function" else f"a virtual clock needs a loop of scope 'function', not {scope!r}"


def _factories_for(metafunc: pytest.Metafunc) -> Mapping[str, _Factory]:
    """The loops that an asynchronous test is to run on; empty if that is none of our business."""
    if not _asks_for_clock(metafunc.definition, metafunc.fixturenames):
        return {} if _chooses_loops(metafunc.definition) else _chosen_loops(metafunc.config)
    if _refusal(metafunc.definition) is not None:
        return {}  # The test fails when it is set up; others of its file do not.
    marker = metafunc.definition.get_closest_marker(_MARKER)
    return {"virtual": VirtualLoops(*marker.args, **marker.kwargs) if marker is not None else VirtualLoops()}


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None, None, None]:
    """Has the framework that runs an asynchronous test make the loops that the test asks for."""
    factories = _factories_for(metafunc) if _is_asynchronous(metafunc.function) else {}
    if not factories:
        return (yield)
    if "anyio_backend" in metafunc.fixturenames and metafunc.definition.get_closest_marker("asyncio") is None:
        backends = [
            pytest.param(("asyncio", {"loop_factory": factory}), id=f"asyncio-{name}")
            for name, factory in factories.items()
        ]
        # The loops of one test end with it; chosen ones last as long as the backends that they take the place of.
        definitions = metafunc._arg2fixturedefs["anyio_backend"]  # pytest has no public way
        scope = "function" if _asks_for_clock(metafunc.definition, metafunc.fixturenames) else definitions[-1].scope
        metafunc.definition.add_marker(pytest.mark.parametrize("anyio_backend", backends, scope=scope))
        return (yield)
    with _told_to_pytest_asyncio(metafunc, factories):
        return (yield)


class _Answer:
    """Answers pytest-asyncio's question for the loops of one test function."""

    def __init__(self, factories: Mapping[str, _Factory]) -> None:
        self._factories = factories

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_asyncio_loop_factories(self) -> Mapping[str, _Factory]:
        return self._factories


@contextlib.contextmanager
def _told_to_pytest_asyncio(metafunc: pytest.Metafunc, factories: Mapping[str, _Factory]) -> Iterator[None]:
    """Answers for the length of a block: an answer for all tests would take the choice from everybody else."""
    if metafunc.definition.get_closest_marker("asyncio") is not None and not _can_tell_pytest_asyncio(metafunc.config):
        raise pytest.UsageError(f"--pyloop-loops: {_TOO_OLD}")  # A choice for all tests, of which none would follow it.
    with _answered(metafunc.config, factories):
        yield


@contextlib.contextmanager
def _answered(config: pytest.Config, factories: Mapping[str, _Factory]) -> Iterator[None]:
    answer = _Answer(factories)
    config.pluginmanager.register(answer)
    try:
        yield
    finally:
        config.pluginmanager.unregister(answer)


def _virtual_loops(item: pytest.Item) -> VirtualLoops | None:
    """What makes the loops of a test, if they go by a virtual clock."""
    callspec = getattr(item, "callspec", None)
    for value in callspec.params.values() if callspec is not None else ():
        if isinstance(value, VirtualLoops):
            return value
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], dict):
            factory = value[1].get("loop_factory")
            if isinstance(factory, VirtualLoops):
                return factory
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Lets no clock pass from one test to the next, and fails a test that cannot have one."""
    asks = _asks_for_clock(item, getattr(item, "fixturenames", ()))
    # A test that is no coroutine makes its loop itself.
    if asks and _is_asynchronous(getattr(item, "function", None)) and (refusal := _refusal(item)):
        pytest.fail(f"{_MARKER}: {refusal}", pytrace=False)
    loops = _virtual_loops(item)
    if loops is not None:
        loops.begin()


@pytest.hookimpl(wrapper=True, specname="pytest_runtest_setup")
def pytest_runtest_setup_with_answer(item: pytest.Item) -> Generator[None, None, None]:
    """Has pytest-asyncio end fixtures of another loop: it does where somebody may answer for loops at this moment."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or "_asyncio_loop_factory" not in callspec.params:
        return (yield)
    with _answered(item.config, {}):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fails a marked test that did not run on a virtual clock: its time-outs would have been real."""
    loops = _virtual_loops(item)
    if loops is not None and loops.is_another():
        pytest.fail(f"{_MARKER}: a fixture of a wider scope has a loop and a clock of its own", pytrace=False)
    result = yield
    if item.get_closest_marker(_MARKER) is not None:
        if loops is None and _MARKER not in getattr(item, "fixturenames", ()):
            pytest.fail(f"{_MARKER}: neither pytest-asyncio nor anyio runs this test", pytrace=False)
        if loops is not None and not loops.is_used():
            pytest.fail(f"{_MARKER}: a fixture of a wider scope has made the loop of this test", pytrace=False)
    return result


@pytest.fixture
def virtual_clock(request: pytest.FixtureRequest) -> VirtualClock:
    """The clock of the test's own loop; in a test that is no coroutine, a clock for a loop that it makes.

    An asynchronous test that asks for it needs no marker.
    """
    loops = _virtual_loops(request.node)
    if loops is not None:
        return loops.tell()
    if asyncio._get_running_loop() is not None:
        pytest.fail(f"{_MARKER}: it is too late to ask within the test, whose loop is made: take it as an argument")
    marker = request.node.get_closest_marker(_MARKER)
    return VirtualClock(*marker.args, **marker.kwargs) if marker is not None else VirtualClock()


@pytest.fixture(params=list(LOOP_FACTORIES))
def loop_factory(request: pytest.FixtureRequest) -> _Factory:
    """What makes a new loop: of stock asyncio, then of pyloop."""
    chosen = _chosen_loops(request.config)
    if chosen and request.param not in chosen:
        pytest.skip(f"--pyloop-loops is {','.join(chosen)}")
    return LOOP_FACTORIES[request.param]
