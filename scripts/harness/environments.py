"""Virtual environments, and pyloop in them.

Packages are installed from outside, by the pip of one environment that holds the tools: an interpreter needs neither
pip nor ensurepip of its own. An environment is kept while its interpreter and the wanted packages are the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from .layout import (
    CACHE,
    ENVIRONMENTS,
    ROOT,
    VENV,
    child_environment,
    python_of,
    requirements,
    tag_of_this,
    target_folder,
)

_TOOLS = ENVIRONMENTS / "tools"
_KEY = "pyloop-key.json"

# Groups without which no test can run; of the others each package may be missing where it has no build.
_NEEDED = frozenset({"tools", "test", "lint"})


# Without debug information: nobody debugs these builds, and it is a third of the time they take.
_DEV_SETTINGS = {"CARGO_PROFILE_DEV_DEBUG": "0"}


class SetupError(Exception):
    """Something that a command needs could not be had; the message says what."""


def run(command: list[str | Path], **changes: str) -> None:
    """Runs a command in the checkout; raises `SetupError` if it fails."""
    words = [str(word) for word in command]
    print("+ " + " ".join(words), flush=True)
    done = subprocess.run(words, cwd=ROOT, env=child_environment(**changes), stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SetupError(f"failed with status {done.returncode}: {' '.join(words)}")


def tool(name: str) -> Path:
    """Returns a command of the tools' environment, which is made first if need be."""
    if _is_current(_TOOLS, sys.executable, ["tools"]):
        return _TOOLS / "bin" / name
    _create(_TOOLS, sys.executable)
    # The newest pip is asked for because older ones know no interpreter but their own.
    run([sys.executable, "-m", "pip", "--python", python_of(_TOOLS), "install", "-q", "--upgrade", "pip>=25.1"])
    run([python_of(_TOOLS), "-m", "pip", "install", "-q", *requirements("tools")])
    _remember(_TOOLS, sys.executable, ["tools"])
    return _TOOLS / "bin" / name


def prepare(environment: Path, python: str, groups: list[str]) -> None:
    """Makes a virtual environment of an interpreter, with the packages of some dependency groups.

    A package that cannot be had for this interpreter is named, and left out unless it is needed.

    Raises:
        SetupError: if there can be no environment, or a needed package is not to be had.
    """
    if _is_current(environment, python, groups):
        print(f"{environment} is up to date")
        return
    pip = tool("pip")
    _create(environment, python)
    for group in groups:
        _install_group(pip, environment, group)
    _remember(environment, python, groups)


def _install_group(pip: Path, environment: Path, group: str) -> None:
    # Builds from source are for maturin to do, not for somebody else's package: a wheel, or none.
    install: list[str | Path] = [pip, "--python", python_of(environment), "install", "-q", "--only-binary", ":all:"]
    wanted = requirements(group)
    try:
        run([*install, *wanted])
        return
    except SetupError:
        if group in _NEEDED:
            raise
    for requirement in wanted:
        try:
            run([*install, requirement])
        except SetupError:
            print(f"LEFT OUT: {requirement} has no wheel for {environment.name}; what needs it is skipped", flush=True)


def install_wheel(environment: Path, python: str, tag: str, profile: str) -> None:
    """Builds a wheel of the checkout for an interpreter and installs it into the environment.

    Raises:
        SetupError: if it does not build or install.
    """
    wheels = CACHE / "wheels" / tag
    shutil.rmtree(wheels, ignore_errors=True)
    target = target_folder(tag)
    _seed(target)
    build: list[str | Path] = [
        tool("maturin"),
        "build",
        "--profile",
        profile,
        "--locked",
        "-i",
        python,
        "--out",
        wheels,
    ]
    run(build, CARGO_TARGET_DIR=str(target), **_DEV_SETTINGS)
    (wheel,) = wheels.glob("*.whl")
    run([tool("pip"), "--python", python_of(environment), "install", "-q", "--force-reinstall", "--no-deps", wheel])


def _seed(target: Path) -> None:
    """Begins a new build folder with another interpreter's, if there is one.

    Most of what is compiled does not depend on the interpreter, and cargo notices what does: 24 s instead of 107 s.
    """
    if target.exists() or not target.parent.is_dir():
        return
    others = [folder for folder in target.parent.iterdir() if folder.name[0].isdigit()]
    if others:
        newest = max(others, key=lambda folder: folder.stat().st_mtime)
        print(f"begins with the build folder of {newest.name}", flush=True)
        # With the times of the files, by which cargo tells what is up to date.
        shutil.copytree(newest, target, symlinks=True)


def develop(profile: str, groups: list[str]) -> None:
    """Makes .venv and installs the checkout into it, editable.

    Raises:
        SetupError: if it does not build or install.
    """
    python = sys.executable
    prepare(VENV, python, groups)
    tag = tag_of_this()
    target = target_folder(tag)
    _seed(target)
    run(
        [tool("maturin"), "develop", "--profile", profile, "--locked"],
        CARGO_TARGET_DIR=str(target),
        VIRTUAL_ENV=str(VENV),
    )


def _create(environment: Path, python: str) -> None:
    shutil.rmtree(environment, ignore_errors=True)
    environment.parent.mkdir(parents=True, exist_ok=True)
    run([python, "-m", "venv", "--without-pip", environment])


def _key(python: str, groups: list[str]) -> dict[str, object]:
    """What an environment was made from; a change in it makes a new one."""
    facts = subprocess.run(
        [python, "-VV"], capture_output=True, text=True, check=False, env=child_environment(), stdin=subprocess.DEVNULL
    )
    wanted = "\n".join(requirement for group in groups for requirement in requirements(group))
    return {
        "python": str(Path(python).resolve()),
        "version": facts.stdout.strip(),
        "requirements": hashlib.sha256(wanted.encode()).hexdigest(),
    }


def _is_current(environment: Path, python: str, groups: list[str]) -> bool:
    try:
        found = json.loads((environment / _KEY).read_text())
    except (OSError, ValueError):
        return False
    return bool(found == _key(python, groups))


def _remember(environment: Path, python: str, groups: list[str]) -> None:
    (environment / _KEY).write_text(json.dumps(_key(python, groups)))
