"""The programs and test files of the guide's page on testing run as they stand."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "guide" / "testing.md"
SECONDS = 50
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
TEST_FILE = "# a test file\n"
PROGRAMS = [block for block in BLOCKS if not block.startswith(TEST_FILE)]
TEST_FILES = [block for block in BLOCKS if block.startswith(TEST_FILE)]


def test_the_page_has_programs_and_test_files() -> None:
    assert (len(PROGRAMS), len(TEST_FILES)) == (2, 2)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(1, len(PROGRAMS) + 1))
def test_the_program_runs(program: str) -> None:
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("framework", ["asyncio", "anyio"])
@pytest.mark.parametrize("source", TEST_FILES, ids=range(1, len(TEST_FILES) + 1))
def test_the_test_file_passes(source: str, framework: str, tmp_path: pathlib.Path) -> None:
    needed = {"asyncio": "pytest_asyncio", "anyio": "anyio"}[framework]
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: install it to run this test file")
    (tmp_path / "test_it.py").write_text(source.replace("mark.asyncio", f"mark.{framework}"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-q", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed in", done.stdout, re.MULTILINE), done.stdout
