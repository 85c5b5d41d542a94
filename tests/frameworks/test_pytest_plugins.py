"""pyloop's pytest plugin with pytest-asyncio and anyio: suites of their own, run by a pytest of their own."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

# Each suite takes a second or two; none of them waits for its time-outs.
SUITE_SECONDS = 50.0

ASYNCIO = "pytest_asyncio"
ANYIO = "anyio"


@dataclass(frozen=True)
class Ended:
    """What a run of pytest came to."""

    status: int
    said: str

    def count(self, word: str) -> int:
        """How many tests ended so, by pytest's last line."""
        last = [line for line in self.said.splitlines() if re.search(r" in [\d.]+s", line)][-1]
        found = re.search(rf"(\d+) {word}", last)
        return int(found.group(1)) if found else 0


Suite = Callable[..., Ended]


@pytest.fixture
def suite(tmp_path: pathlib.Path) -> Suite:
    """Runs pytest over the source of one test file."""

    def run(source: str, *options: str, conftest: str = "", settings: str = "") -> Ended:
        (tmp_path / "test_it.py").write_text(source)
        (tmp_path / "conftest.py").write_text(conftest)
        (tmp_path / "pytest.ini").write_text(
            f"[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n{settings}"
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", "-v", *options, "."],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SUITE_SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stdout + done.stderr)

    return run


@pytest.fixture(params=[ASYNCIO, ANYIO])
def framework(request: pytest.FixtureRequest) -> str:
    """What runs the coroutines of the suite."""
    pytest.importorskip(request.param, reason=f"{request.param} is not installed: install it to run these suites")
    return str(request.param)


MARK = {ASYNCIO: "pytest.mark.asyncio", ANYIO: "pytest.mark.anyio"}
BEGIN = """
import asyncio, time
import pyloop, pytest
from pyloop.testing import VirtualClock

pytestmark = {mark}
"""


def source(framework: str, body: str) -> str:
    """A test file whose coroutines the framework runs."""
    return BEGIN.format(mark=MARK[framework]) + body


def test_marker_and_fixture_put_a_test_on_a_clock_of_its_own(suite: Suite, framework: str) -> None:
    ended = suite(
        source(
            framework,
            """
seen = []

@pytest.mark.virtual_clock
async def test_marked():
    loop = asyncio.get_running_loop()
    assert type(loop) is pyloop.PyLoop and isinstance(loop.clock, VirtualClock)
    began = time.monotonic()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.sleep(7200), 3600)
    assert loop.time() >= 3600 and time.monotonic() - began < 10
    seen.append(loop.clock)

async def test_with_the_fixture(virtual_clock):
    assert asyncio.get_running_loop().clock is virtual_clock
    assert virtual_clock.time() < 3600
    await virtual_clock.advance(5)
    seen.append(virtual_clock)

@pytest.mark.virtual_clock(start=100.0, autojump=False)
@pytest.mark.parametrize("number", [1, 2])
async def test_with_settings(virtual_clock, number):
    assert (virtual_clock.time(), virtual_clock.autojump) == (100.0, False)
    await virtual_clock.advance(1)
    assert asyncio.get_running_loop().time() == 101.0
    seen.append(virtual_clock)

async def test_unmarked():
    loop = asyncio.get_running_loop()
    assert not isinstance(loop, pyloop.PyLoop)
    assert len(set(map(id, seen))) == 4
""",
        ),
        *(["-k", "not trio"] if framework == ANYIO else []),
    )
    assert (ended.status, ended.count("passed")) == (0, 5), ended.said


def test_asynchronous_fixtures_share_the_clock_of_their_test(suite: Suite, framework: str) -> None:
    fixture = "pytest_asyncio.fixture" if framework == ASYNCIO else "pytest.fixture"
    imported = "import pytest_asyncio" if framework == ASYNCIO else ""
    backend = "anyio_backend" if framework == ANYIO else ""
    ended = suite(
        source(
            framework,
            f"""
{imported}
@{fixture}
async def service({backend}):
    loop = asyncio.get_running_loop()
    await asyncio.sleep(30)
    yield loop
    await asyncio.sleep(30)

@pytest.mark.virtual_clock
async def test_one(service):
    assert asyncio.get_running_loop() is service
    assert service.time() == 30.0

async def test_two(virtual_clock, service):
    assert asyncio.get_running_loop().clock is virtual_clock is service.clock
    assert virtual_clock.time() == 30.0
""",
        )
    )
    assert (ended.status, ended.count("passed")) == (0, 2), ended.said


def test_suite_runs_on_the_loops_that_are_named(suite: Suite, framework: str) -> None:
    body = source(
        framework,
        """
# pytest-asyncio warns of marked tests that are no coroutines.
mark, pytestmark = pytestmark, []

@mark
async def test_kind():
    print(type(asyncio.get_running_loop()).__name__)

@mark
@pytest.mark.virtual_clock
async def test_virtual():
    assert asyncio.get_running_loop().clock is not None

def test_plain(loop_factory):
    loop_factory().close()
""",
    )
    both = suite(body, "-s", "--pyloop-loops=asyncio,pyloop")
    assert (both.status, both.count("passed")) == (0, 5), both.said
    assert "_UnixSelectorEventLoop" in both.said
    assert "PyLoop" in both.said
    # The file's setting, and an option that wins over it.
    one = suite(body, "-s", settings="pyloop_loops = pyloop\n")
    assert (one.status, one.count("passed"), one.count("skipped")) == (0, 3, 1), one.said
    assert "_UnixSelectorEventLoop" not in one.said
    other = suite(body, "-s", "--pyloop-loops", "asyncio", settings="pyloop_loops = pyloop\n")
    assert (other.status, other.count("passed"), other.count("skipped")) == (0, 3, 1), other.said
    assert "PyLoop" not in other.said


def test_tests_that_hypothesis_calls_run_on_the_loops_that_are_asked_for(suite: Suite, framework: str) -> None:
    # What `@given` makes, as far as both frameworks look: a function that calls the test, wherever they have put it.
    body = source(
        framework,
        """
from types import SimpleNamespace

def given(test):
    def called():
        for _ in range(2):
            called.hypothesis.inner_test()
    called.is_hypothesis_test = True
    called.hypothesis = SimpleNamespace(inner_test=test)
    return called

@given
async def test_kind():
    print(type(asyncio.get_running_loop()).__name__)

@pytest.mark.virtual_clock
@given
async def test_virtual():
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().clock is not None
""",
    )
    ended = suite(body, "-s", "--pyloop-loops=pyloop")
    assert (ended.status, ended.count("passed")) == (0, 2), ended.said
    assert ended.said.count("PyLoop") == 2, ended.said


# A fixture whose scope is wider than a test's, and that has a loop.
WIDE = {
    ASYNCIO: """
import pytest_asyncio

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service():
    yield asyncio.get_running_loop()
""",
    ANYIO: """
@pytest.fixture(scope="module")
async def service(anyio_backend):
    yield asyncio.get_running_loop()
""",
}


def test_fixtures_of_wider_scopes_have_the_loops_of_their_tests(suite: Suite, framework: str) -> None:
    scope = 'pytestmark = pytest.mark.asyncio(loop_scope="module")' if framework == ASYNCIO else ""
    body = source(
        framework,
        WIDE[framework]
        + scope
        + """
async def test_first(service):
    assert service is asyncio.get_running_loop()

async def test_second(service):
    assert service is asyncio.get_running_loop()
    print(type(service).__name__)
""",
    )
    ended = suite(body, "-s", "--pyloop-loops=asyncio,pyloop")
    assert (ended.status, ended.count("passed")) == (0, 4), ended.said
    assert ended.said.count("PyLoop") == 1, ended.said


def test_tests_that_name_their_loops_keep_them(suite: Suite, framework: str) -> None:
    own = {
        ASYNCIO: '@pytest.mark.asyncio(loop_factories=["mine"])',
        ANYIO: '@pytest.mark.parametrize("anyio_backend", [("asyncio", {"debug": True})])',
    }
    body = source(
        framework,
        f"""
{own[framework]}
async def test_own():
    assert not isinstance(asyncio.get_running_loop(), pyloop.PyLoop)

async def test_chosen():
    assert isinstance(asyncio.get_running_loop(), pyloop.PyLoop)

@pytest.mark.virtual_clock
{own[framework]}
async def test_virtual():
    pass
""",
    )
    hook = """
import asyncio
def pytest_asyncio_loop_factories(config, item):
    return {"mine": asyncio.SelectorEventLoop}
"""
    ended = suite(body, "--pyloop-loops=pyloop", conftest=hook if framework == ASYNCIO else "")
    assert (ended.count("error"), ended.count("passed")) == (1, 2), ended.said
    assert "virtual_clock: the test chooses" in ended.said


def test_clock_is_refused_beside_loops_of_wider_scopes(suite: Suite, framework: str) -> None:
    body = source(
        framework,
        WIDE[framework]
        + """
@pytest.mark.virtual_clock
async def test_virtual(service, virtual_clock):
    pass

async def test_another(service):
    pass

async def test_late(request):
    request.getfixturevalue("virtual_clock")
""",
    )
    ended = suite(body, *(["-k", "not trio"] if framework == ANYIO else []))
    assert ended.count("passed") == 1, ended.said
    assert ended.count("failed") + ended.count("error") + ended.count("errors") == 2, ended.said
    assert "of a wider scope" in ended.said or "has one for several" in ended.said, ended.said
    assert "too late to ask within the test" in ended.said


def test_unknown_loop_is_refused_before_any_test(suite: Suite) -> None:
    ended = suite("def test_it(): pass\n", "--pyloop-loops=asyncio,selector")
    assert ended.status == pytest.ExitCode.USAGE_ERROR
    assert "unknown selector; known: asyncio, pyloop" in ended.said


def test_choice_of_the_user_stands_where_no_clock_is_asked_for(suite: Suite) -> None:
    pytest.importorskip(ASYNCIO, reason="pytest-asyncio is not installed: install it to run this suite")
    ended = suite(
        source(
            ASYNCIO,
            """
async def test_mine():
    assert type(asyncio.get_running_loop()).__name__ == "Mine"

@pytest.mark.virtual_clock
async def test_virtual():
    assert type(asyncio.get_running_loop()) is pyloop.PyLoop
""",
        ),
        conftest="""
import asyncio
class Mine(asyncio.SelectorEventLoop):
    pass
def pytest_asyncio_loop_factories(config, item):
    return {"mine": Mine}
""",
    )
    assert (ended.status, ended.count("passed")) == (0, 2), ended.said


def test_other_backends_of_anyio_stay(suite: Suite) -> None:
    pytest.importorskip(ANYIO, reason="anyio is not installed: install it to run this suite")
    ended = suite(
        source(
            ANYIO,
            """
@pytest.fixture(params=["asyncio", ("asyncio", {"debug": True})], ids=["plain", "debug"])
def anyio_backend(request):
    return request.param

async def test_twice():
    assert not isinstance(asyncio.get_running_loop(), pyloop.PyLoop)

@pytest.mark.virtual_clock
async def test_once():
    assert asyncio.get_running_loop().clock is not None
""",
        )
    )
    assert (ended.status, ended.count("passed")) == (0, 3), ended.said


def test_marked_test_that_ran_on_a_real_clock_fails(suite: Suite) -> None:
    ended = suite(
        """
import pytest

@pytest.mark.virtual_clock
def test_no_coroutine():
    pass

@pytest.mark.virtual_clock
def test_makes_its_own(virtual_clock):
    import asyncio, pyloop
    loop = pyloop.PyLoop(clock=virtual_clock)
    loop.run_until_complete(asyncio.sleep(3600))
    loop.close()
""",
    )
    assert (ended.count("failed"), ended.count("passed")) == (1, 1), ended.said
    assert "neither pytest-asyncio nor anyio runs this test" in ended.said


@pytest.mark.parametrize("scope", ["module", "session"])
def test_clock_is_refused_to_a_loop_of_several_tests(suite: Suite, scope: str) -> None:
    pytest.importorskip(ASYNCIO, reason="pytest-asyncio is not installed: install it to run this suite")
    ended = suite(
        f"""
import pytest

@pytest.mark.virtual_clock
@pytest.mark.asyncio(loop_scope="{scope}")
async def test_it():
    raise AssertionError("it ran")

@pytest.mark.virtual_clock
@pytest.mark.asyncio
async def test_another():
    pass

@pytest.mark.filterwarnings("ignore::pytest.PytestWarning")
@pytest.mark.asyncio(loop_scope="{scope}")
def test_no_coroutine(virtual_clock):
    assert virtual_clock.time() == 0.0
"""
    )
    assert (ended.count("error"), ended.count("passed")) == (1, 2), ended.said
    assert f"virtual_clock: a virtual clock needs a loop of scope 'function', not '{scope}'" in ended.said
    assert "it ran" not in ended.said


WITHOUT_PYTEST_ASYNCIO = (
    "-p",
    "no:asyncio",
    # The suite's settings are of the plugin that is missing.
    "-W",
    "ignore::pytest.PytestConfigWarning",
)


def test_chosen_loops_are_refused_where_pytest_asyncio_is_missing(suite: Suite) -> None:
    ended = suite(
        "import pytest\n@pytest.mark.asyncio\nasync def test_it(): ...\n",
        *WITHOUT_PYTEST_ASYNCIO,
        "--pyloop-loops=pyloop",
        settings="markers = asyncio: of a plugin that is not there\n",
    )
    assert ended.status != 0
    assert "--pyloop-loops: pyloop.testing needs a pytest-asyncio with the hook" in ended.said


def test_clock_is_refused_where_pytest_asyncio_is_missing(suite: Suite) -> None:
    ended = suite(
        """
import pytest

async def test_of_nobody():
    pass

@pytest.mark.virtual_clock
@pytest.mark.asyncio
async def test_it():
    pass

def test_another():
    pass
""",
        *WITHOUT_PYTEST_ASYNCIO,
        "--pyloop-loops=pyloop",
        settings="markers = asyncio: of a plugin that is not there\n",
    )
    assert "pyloop.testing needs a pytest-asyncio with the hook" in ended.said
    assert (ended.count("error"), ended.count("passed")) == (1, 1), ended.said


def test_marker_takes_the_arguments_of_the_clock(suite: Suite) -> None:
    pytest.importorskip(ASYNCIO, reason="pytest-asyncio is not installed: install it to run this suite")
    ended = suite(
        """
import asyncio
import pytest

@pytest.mark.virtual_clock(1000.0, autojump=False)
@pytest.mark.asyncio
async def test_by_position():
    assert asyncio.get_running_loop().time() == 1000.0

@pytest.mark.virtual_clock(7.0)
def test_of_a_fixture(virtual_clock):
    assert virtual_clock.time() == 7.0

@pytest.mark.virtual_clock(speed=2)
@pytest.mark.asyncio
async def test_of_another_thing():
    pass
"""
    )
    assert (ended.count("passed"), ended.count("error")) == (2, 1), ended.said
    assert "VirtualClock.__new__() got an unexpected keyword argument 'speed'" in ended.said


def test_importing_pyloop_imports_no_pytest() -> None:
    program = "import pyloop, pyloop.testing, sys; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=SUITE_SECONDS, check=False).returncode == 0
