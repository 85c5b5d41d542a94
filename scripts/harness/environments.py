"""Virtual environments, and pyloop in them.

Packages are installed from outside, by the pip of one environment that holds the tools: an interpreter needs neither
pip nor ensurepip of its own. An environment is kept while its interpreter is the same, and completed.
"""

from __future__ import annotations

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
    # Any interpreter's will do: what it was made with last time, and not what runs this.
    if _installed(_TOOLS, str(python_of(_TOOLS))) >= set(requirements("tools")):
        return _TOOLS / "bin" / name
    _create(_TOOLS, sys.executable)
    # The newest pip is asked for because older ones know no interpreter but their own.
    run([sys.executable, "-m", "pip", "--python", python_of(_TOOLS), "install", "-q", "--upgrade", "pip>=25.1"])
    run([python_of(_TOOLS), "-m", "pip", "install", "-q", *requirements("tools")])
    _remember(_TOOLS, str(python_of(_TOOLS)), set(requirements("tools")))
    return _TOOLS / "bin" / name


def prepare(environment: Path, python: str, groups: list[str]) -> None:
    """Makes a virtual environment of an interpreter, with the packages of some dependency groups.

    A package that cannot be had for this interpreter is named, and left out unless it is needed.

    Raises:
        SetupError: if there can be no environment, or a needed package is not to be had.
    """
    installed = _installed(environment, python)
    if not installed:
        _create(environment, python)
    for group in groups:
        if not installed >= set(requirements(group)):
            _install_group(tool("pip"), environment, group)
            installed |= set(requirements(group))
    _remember(environment, python, installed)


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


def develop(profile: str) -> None:
    """Makes .venv and installs the checkout into it, editable.

    Raises:
        SetupError: if it does not build or install.
    """
    python = sys.executable
    prepare(VENV, python, ["develop"])
    # For cargo this is yet another interpreter: the path counts.
    target = target_folder(f"venv-{tag_of_this()}")
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


def _facts(python: str) -> dict[str, str]:
    """What an environment cannot outlive a change of."""
    try:
        asked = subprocess.run([python, "-VV"], capture_output=True, text=True, check=False, env=child_environment())
    except OSError:  # It was removed since.
        return {}
    return {"python": str(Path(python).resolve()), "version": asked.stdout.strip()}


def _installed(environment: Path, python: str) -> set[str]:
    """Returns the requirements that were met in an environment; none if it has to be made anew."""
    try:
        found = json.loads((environment / _KEY).read_text())
    except (OSError, ValueError):
        return set()
    return set(found["requirements"]) if found.get("facts") == _facts(python) else set()


def _remember(environment: Path, python: str, installed: set[str]) -> None:
    key = {"facts": _facts(python), "requirements": sorted(installed)}
    (environment / _KEY).write_text(json.dumps(key, indent=2))
