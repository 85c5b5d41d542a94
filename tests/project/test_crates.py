"""The dependency rules of the crates, and that their check notices when one is broken."""

from __future__ import annotations

import importlib.util
import pathlib
import shutil
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = ROOT / "scripts" / "check_crates.py"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("check_crates", CHECK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo")
def test_the_crates_keep_their_layers_and_dependencies_their_rules() -> None:
    done = subprocess.run([sys.executable, CHECK], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def graph(edges: dict[str, list[tuple[str, str | None]]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Packages and nodes as cargo describes them; an edge is a name and a kind (`None`, "dev" or "build")."""
    names = {*edges, *(name for found in edges.values() for name, _ in found)}
    facts = {"version": "1.0.0", "license": "MIT", "source": "registry+https://example.org", "manifest_path": "-"}
    packages = {name: {"name": name, **facts} for name in names}
    nodes = {
        name: {"deps": [{"pkg": to, "dep_kinds": [{"kind": kind}]} for to, kind in edges.get(name, [])]}
        for name in names
    }
    return packages, nodes


OURS: dict[str, list[tuple[str, str | None]]] = {
    "pyloop-timers": [],
    "pyloop-reactor": [],
    "pyloop-engine": [],
    "pyloop": [],
}


@pytest.mark.parametrize("kind", [None, "build", "dev"])
def test_a_pure_crate_that_leads_to_pyo3_is_noticed(check: ModuleType, kind: str | None) -> None:
    packages, nodes = graph({**OURS, "pyloop-engine": [("helper", kind)], "helper": [("pyo3-ffi", None)]})
    (fault,) = check.layer_faults(packages, nodes)
    assert "pyloop-engine is built with pyo3-ffi" in fault


def test_pure_crates_that_know_each_other_are_noticed(check: ModuleType) -> None:
    packages, nodes = graph({**OURS, "pyloop-timers": [("pyloop-reactor", None)]})
    (fault,) = check.layer_faults(packages, nodes)
    assert "pyloop-timers depends on pyloop-reactor" in fault


def test_tests_of_a_dependency_do_not_count(check: ModuleType) -> None:
    packages, nodes = graph({**OURS, "pyloop-engine": [("helper", None)], "helper": [("pyo3", "dev")]})
    assert check.layer_faults(packages, nodes) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"license": "GPL-3.0-only"}, "licence"),
        ({"license": None}, "licence"),
        ({"license": "MIT AND GPL-3.0-only"}, "licence"),
        ({"source": "git+https://example.org/helper"}, "not from the registry"),
        ({"source": None}, "not from the registry"),
    ],
)
def test_a_package_that_may_not_be_used_is_noticed(check: ModuleType, change: dict[str, Any], complaint: str) -> None:
    packages, nodes = graph({**OURS, "pyloop": [("helper", None)]})
    packages["helper"].update(change)
    (fault,) = check.package_faults(packages, nodes)
    assert "helper" in fault and complaint in fault


def test_two_versions_of_one_package_are_noticed(check: ModuleType) -> None:
    packages, nodes = graph({**OURS, "pyloop": [("helper", None), ("helper2", None)]})
    packages["helper2"].update(name="helper", version="2.0.0")
    (fault,) = check.package_faults(packages, nodes)
    assert "helper is linked in 2 versions: 1.0.0, 2.0.0" in fault


@pytest.mark.parametrize(
    "licence", ["MIT", "MIT OR GPL-3.0-only", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"]
)
def test_a_licence_that_offers_an_accepted_way_is_accepted(check: ModuleType, licence: str) -> None:
    assert check.accepted(licence)
