#!/usr/bin/env python3
"""Checks what the crates depend on: layers, licences, sources, versions.

* The pure crates (timers, reactor, engine) know no Python: nothing they can be built with leads to pyo3.
* They are independent of each other.
* Every dependency comes from the registry, under a licence that a user of pyloop can accept, and Cargo.lock holds one
  version of it, except where a reason is given here.

usage: check_crates.py     in the checkout; needs cargo
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PURE = ("pyloop-timers", "pyloop-reactor", "pyloop-engine")
OURS = (*PURE, "pyloop")

# Each lets a program be distributed in binary form with no more than a notice.
LICENCES = frozenset(
    {
        "MIT",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Zlib",
        "Unicode-3.0",
        "Unlicense",
        "CC0-1.0",
        "0BSD",
        "BSL-1.0",
    }
)


def metadata(*options: str) -> dict[str, Any]:
    """Returns what cargo knows about the workspace, with Cargo.lock as it is."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"check_crates.py: {' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def reachable(start: str, nodes: dict[str, Any], *, tests: bool) -> set[str]:
    """Returns the ids of all packages that a package is built with; with `tests`, its own tests too."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        for dependency in nodes[node]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            if kinds != {"dev"} or (tests and node == start):
                waiting.append(dependency["pkg"])
    return seen


def accepted(licence: str | None) -> bool:
    """Tells whether one of the alternatives of a licence expression asks for accepted licences alone."""
    if not licence:
        return False
    flat = licence.replace("/", " OR ")
    while (inner := re.search(r"\(([^()]*)\)", flat)) is not None:
        flat = flat.replace(inner.group(0), "MIT" if accepted(inner.group(1)) else "none")
    return any(
        all(part.strip() in LICENCES for part in alternative.split(" AND ")) for alternative in flat.split(" OR ")
    )


def layer_faults(packages: dict[str, Any], nodes: dict[str, Any]) -> list[str]:
    """Returns a sentence for each layer that is broken."""
    faults = []
    ids = {package["name"]: key for key, package in packages.items() if package["name"] in OURS}
    for name in PURE:
        names = {packages[key]["name"] for key in reachable(ids[name], nodes, tests=True)}
        faults += [
            f"{name} is built with {found}: it must not know Python" for found in sorted(names) if "pyo3" in found
        ]
        faults += [
            f"{name} depends on {other}: the pure crates are independent" for other in OURS if other in names - {name}
        ]
    return faults


def package_faults(packages: dict[str, Any], nodes: dict[str, Any]) -> list[str]:
    """Returns a sentence for each package that should not be among the dependencies."""
    faults = []
    ours = next(key for key, package in packages.items() if package["name"] == "pyloop")
    shipped = reachable(ours, nodes, tests=False)
    versions: dict[str, set[str]] = defaultdict(set)
    for key, package in packages.items():
        label = f"{package['name']} {package['version']}"
        if package["name"] in OURS:
            continue
        if not (package["source"] or "").startswith("registry+"):
            faults.append(f"{label} comes from {package['source'] or package['manifest_path']}, not from the registry")
        if not accepted(package["license"]):
            faults.append(
                f"{label} has the licence {package['license']!r}, which is not on the list in scripts/check_crates.py"
            )
        if key in shipped:
            versions[package["name"]].add(package["version"])
    faults += [
        f"{name} is linked in {len(found)} versions: {', '.join(sorted(found))}"
        for name, found in versions.items()
        if len(found) > 1
    ]
    return faults


def main() -> int:
    """Prints every fault and returns the exit status."""
    # Every feature and both loom and ordinary dependencies: what is not reachable so is reachable in no build.
    found = metadata("--all-features")
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    faults = layer_faults(packages, nodes) + package_faults(packages, nodes)
    for fault in faults:
        print(f"check_crates.py: {fault}", file=sys.stderr)
    if not faults:
        print(
            f"{len(packages)} packages: {', '.join(PURE)} free of pyo3; licences, sources, versions as they should be"
        )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
