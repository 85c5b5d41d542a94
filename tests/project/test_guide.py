"""The programs of the guide run as they stand, those in Rust by `cargo test`.

A block that is no program by itself, because it only defines something, is run all the same; one that needs a package
is run where that is installed.
"""

from __future__ import annotations

import ast
import importlib.util
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "guide"
# Pages whose every Python block is run.
PAGES = ("timers.md", "managers-and-scopes.md", "shared-timers.md")
SECONDS = 40


@dataclass(frozen=True)
class Block:
    """A block of Python code, and where it begins."""

    page: str
    line: int
    source: str

    def missing(self) -> list[str]:
        """Packages that it imports and that are not installed."""
        imported: set[str] = set()
        for node in ast.walk(ast.parse(self.source)):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
        return sorted(name for name in imported if importlib.util.find_spec(name) is None)


def blocks() -> list[Block]:
    """All blocks of all pages."""
    found = []
    for page in PAGES:
        text = (GUIDE / page).read_text()
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            found.append(Block(page, text.count("\n", 0, match.start()) + 1, match.group(1)))
    return found


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"{block.page}:{block.line}")
def test_a_program_of_the_guide_runs(block: Block) -> None:
    missing = block.missing()
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed: install it to run this program")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", block.source],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_every_page_has_a_program() -> None:
    assert {block.page for block in blocks() if "pyloop.run(" in block.source or "run_forever()" in block.source} == {
        *PAGES
    }
