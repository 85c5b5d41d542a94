"""Every engine passes the tests of TLS: those that are not the default are tried in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = ("test_tls.py", "test_tls_endings.py", "test_tls_flow.py", "test_tls_settings.py", "test_tls_layers.py")


def run_with(engine: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYLOOP_TLS": engine},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


def test_the_engine_of_memory_bios_passes_the_same_tests() -> None:
    pytest.importorskip("trustme", reason="trustme is not installed: no TLS can be tried")
    files = [str(Path(__file__).with_name(name)) for name in FILES]
    done = run_with("memorybio", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-k", "pyloop", *files)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_standard_librarys_protocol_can_be_had() -> None:
    source = "import pyloop._tls; print(pyloop._tls.engine())"
    assert run_with("stdlib", "-c", source).stdout == "stdlib\n"


def test_an_engine_that_is_not_known_is_an_error() -> None:
    done = run_with("rot13", "-c", "import pyloop")
    assert done.returncode != 0
    assert "PYLOOP_TLS must be one of openssl, memorybio, stdlib, not rot13" in done.stderr
