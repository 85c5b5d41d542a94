"""Which stages a command runs, in which order, and what they leave out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from scripts import pythons

from .layout import ENVIRONMENTS, python_of, tag_of_this, target_folder
from .stages import Stage, cargo_tests, conformance_tests, no_check, pytest_tests

PURE_CRATES = ("timers", "reactor", "engine")
# The loom models: crate and test file.
_MODELS = (("timers", "loom_timers"), ("engine", "loom_inbox"))
# What a developer most likely has, and mypy, stubtest and the release build are tried on.
_REFERENCE = "3.13"
_TEST_GROUPS = ["test", "frameworks"]
_MACOS = "x86_64-apple-darwin"


def interpreters() -> dict[str, str]:
    """Returns the path of every CPython that pyloop supports and that is on this machine, by tag."""
    return pythons.find()


def reference(found: dict[str, str]) -> str:
    """Returns the tag of what runs on one interpreter alone: 3.13, else the newest, with a GIL if there is one."""
    if _REFERENCE in found:
        return _REFERENCE
    return ([tag for tag in found if not tag.endswith("t")] or list(found))[-1]


def environment_of(tag: str) -> Path:
    """Returns the virtual environment in which an interpreter is tested."""
    return ENVIRONMENTS / tag


def profile_of(tag: str, found: dict[str, str]) -> str:
    """What users get is tested on one interpreter; on the others a build that also checks assertions and overflows."""
    return "release" if tag == reference(found) else "dev"


def _harness(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "scripts.harness", *arguments]


def compiles_for_macos() -> bool:
    """Returns whether Rust's standard library for macOS is on this machine, with which the crates can be checked."""
    if shutil.which("rustc") is None:
        return False
    command = ["rustc", "--print", "target-libdir", "--target", _MACOS]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.returncode == 0 and Path(answer.stdout.strip()).is_dir()


def _macos_lints() -> list[Stage]:
    if not compiles_for_macos():
        return []
    # Of the libraries alone: what the tests and benchmarks depend on asks for a C compiler for macOS.
    command = ["cargo", "clippy", "--workspace", "--locked", "--target", _MACOS, "--", "-D", "warnings"]
    variables = {
        "CARGO_TARGET_DIR": str(target_folder("rust")),
        "PYO3_CROSS": "1",
        "PYO3_CROSS_PYTHON_VERSION": _REFERENCE,
    }
    return [Stage("clippy for macOS", command, variables=variables)]


def rust_lints(found: dict[str, str]) -> list[Stage]:
    """Formatting, lints, documentation and dependencies of the crates."""
    rust = {"CARGO_TARGET_DIR": str(target_folder("rust")), "PYO3_PYTHON": found[reference(found)]}
    strict_documentation = {"RUSTDOCFLAGS": "-D warnings", **rust}
    return [
        Stage("rustfmt", ["cargo", "fmt", "--all", "--check", "--", "-l", "--color", "never"]),
        Stage(
            "clippy",
            ["cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
            variables=rust,
        ),
        *_macos_lints(),
        Stage(
            "rustdoc",
            ["cargo", "doc", "--workspace", "--no-deps", "--document-private-items", "--locked"],
            variables=strict_documentation,
        ),
        Stage("layers and licences of the crates", [sys.executable, "scripts/check_crates.py"], variables=rust),
    ]


def rust_tests() -> list[Stage]:
    """Tests of the crates that know no Python, and their loom models."""
    packages = [word for crate in PURE_CRATES for word in ("-p", f"pyloop-{crate}")]
    tests = Stage(
        "tests of the pure crates",
        ["cargo", "test", "--locked", "--no-fail-fast", *packages],
        count=cargo_tests,
        variables={"CARGO_TARGET_DIR": str(target_folder("rust"))},
    )
    loom = {
        "CARGO_TARGET_DIR": str(target_folder("loom")),
        "RUSTFLAGS": "--cfg loom",
        # A model is run for hours by nobody: quick to build matters more than the last percent.
        "CARGO_PROFILE_RELEASE_LTO": "off",
        "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
        "CARGO_PROFILE_RELEASE_DEBUG": "0",
    }
    models = [
        Stage(
            f"loom models of {crate}",
            ["cargo", "test", "--release", "--locked", "-p", f"pyloop-{crate}", "--test", test],
            count=cargo_tests,
            variables=loom,
            minutes=20,
        )
        for crate, test in _MODELS
    ]
    return [tests, *models]


def python_setup(tag: str, found: dict[str, str], profile: str) -> list[Stage]:
    """The environment of one interpreter, and pyloop in it."""
    groups = [*_TEST_GROUPS, "lint"] if tag == reference(found) else _TEST_GROUPS
    return [
        Stage(f"environment of {tag}", _harness("environment", tag, found[tag], *groups), count=no_check),
        Stage(
            f"pyloop for {tag} ({profile} build)",
            _harness("install", tag, found[tag], "--profile", profile),
            count=no_check,
            needs=(f"environment of {tag}",),
            minutes=20,
        ),
    ]


def python_tests(tag: str, folders: tuple[str, ...], profile: str) -> list[Stage]:
    """Tests of some folders, by pytest, on one interpreter."""
    return [
        Stage(
            f"{folder} on {tag}",
            [str(python_of(environment_of(tag))), "-m", "pytest", "-q", "--color=no", f"tests/{folder}"],
            count=pytest_tests,
            beside_others=True,
            needs=(f"pyloop for {tag} ({profile} build)",),
            # A program or server that is missing leaves a hole that the reader should know of.
            notable=("SKIPPED [",) if folder == "frameworks" else (),
        )
        for folder in folders
    ]


def conformance(tag: str, profile: str) -> list[Stage]:
    """CPython's own asyncio tests on one interpreter."""
    python = str(python_of(environment_of(tag)))
    return [
        Stage(
            f"CPython's tests on {tag}",
            [python, "-m", "tests.conformance", "-j", "1"],
            count=conformance_tests,
            beside_others=True,
            needs=(f"pyloop for {tag} ({profile} build)",),
            minutes=25,
        )
    ]


def python_lints(found: dict[str, str], profile: str) -> list[Stage]:
    """Lints and types of the Python code, and the stubs against the module that they describe."""
    tag = reference(found)
    python = str(python_of(environment_of(tag)))
    built = (f"pyloop for {tag} ({profile} build)",)
    return [
        Stage("ruff", [python, "-m", "ruff", "check", "--no-cache", "."], needs=built),
        Stage("mypy", [python, "-m", "mypy"], needs=built),
        # Disjoint bases are a matter of memory layout, of which the stubs say nothing.
        Stage(
            "stubtest",
            [
                python,
                "-m",
                "mypy.stubtest",
                "--mypy-config-file",
                "pyproject.toml",
                "--ignore-disjoint-bases",
                "pyloop",
            ],
            needs=built,
        ),
    ]


def lint() -> list[Stage]:
    """Everything that reads the code without running it."""
    found = interpreters()
    tag = reference(found)
    return [*rust_lints(found), *python_setup(tag, found, "dev"), *python_lints(found, "dev")]


def quick() -> list[Stage]:
    """The behaviour tests on the interpreter that runs this."""
    tag = tag_of_this()
    found = {tag: sys.executable}
    return [*python_setup(tag, found, "dev"), *python_tests(tag, ("behaviour",), "dev")]


def everything() -> list[Stage]:
    """All that guards the project."""
    found = interpreters()
    stages = [*rust_lints(found), *rust_tests()]
    for tag in found:
        stages += python_setup(tag, found, profile_of(tag, found))
    stages += python_lints(found, profile_of(reference(found), found))
    # Long ones first, so that no processor waits for the last.
    for tag in found:
        stages += conformance(tag, profile_of(tag, found))
    for tag in found:
        stages += python_tests(tag, ("behaviour", "sidebyside", "frameworks", "project"), profile_of(tag, found))
    return stages


def left_out(found: dict[str, str]) -> list[str]:
    """Says, a sentence each, what `make test` does not test on this machine."""
    supported = [f"3.{minor}" for minor in range(pythons.OLDEST[1], pythons.NEWEST[1] + 1)] + ["3.13t"]
    said = [
        f"CPython {tag}: not on this machine (PYLOOP_PYTHONS may name one)" for tag in supported if tag not in found
    ]
    others = [tag for tag in found if tag != reference(found)]
    if others:
        said.append(f"the release build on {', '.join(others)}: they get a debug build, with its assertions")
    if not compiles_for_macos():
        said.append(f"whether the crates compile for macOS: `rustup target add {_MACOS}`")
    said.append("benchmarks: `make bench`")
    return said
