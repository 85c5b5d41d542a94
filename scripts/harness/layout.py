"""Where things are: folders of the checkout, the tools' environment, the dependency groups of pyproject.toml."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
# All that the commands make and may need again, except .venv, which is the user's to activate.
CACHE = ROOT / ".cache"
LOGS = CACHE / "logs"
ENVIRONMENTS = CACHE / "environments"
VENV = ROOT / ".venv"


def python_of(environment: Path) -> Path:
    """Returns the interpreter of a virtual environment."""
    return environment / "bin" / "python"


def tag_of_this() -> str:
    """Returns the tag (`3.13`, `3.13t`) of the interpreter that runs this."""
    return "{}.{}{}".format(*sys.version_info[:2], "t" if "t" in sys.abiflags else "")


def target_folder(name: str) -> Path:
    """Returns cargo's folder for one kind of build.

    Each interpreter has its own: the crate that binds to it is compiled anew whenever the interpreter changes.
    """
    return CACHE / "target" / name


def pyproject() -> dict[str, Any]:
    """Returns the contents of pyproject.toml."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:  # This version's pip carries the same parser.
        from pip._vendor import tomli as tomllib
    with open(ROOT / "pyproject.toml", "rb") as file:
        contents: dict[str, Any] = tomllib.load(file)
    return contents


def requirements(group: str) -> list[str]:
    """Returns the requirements of a dependency group, with those of the groups that it includes."""
    found: list[str] = []
    for entry in pyproject()["dependency-groups"][group]:
        found += requirements(entry["include-group"]) if isinstance(entry, dict) else [entry]
    return found


def child_environment(**changes: str) -> dict[str, str]:
    """Returns the environment for a command: this one's, without what would point Python at another installation."""
    unwanted = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "CARGO_TERM_COLOR": "never", **changes}
