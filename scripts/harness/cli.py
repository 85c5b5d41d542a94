"""The commands: what each says, runs and returns."""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import signal
import subprocess
import sys
import time

from . import environments, plan
from .layout import ENVIRONMENTS, ROOT, VENV, child_environment, python_of
from .stages import Counts, Result, Stage, end_running, not_run, run_stage

# Measured on two cores with six interpreters, the first time with empty caches.
_DURATION = "about 25 minutes the first time, 15 later"


def main() -> int:
    """Runs the command of the command line and returns the exit status."""
    arguments = _parse()
    # A shell starts background jobs with SIGINT ignored, and programs pass that on: tests of Ctrl-C would hang.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status: int = arguments.run(arguments)
        return status
    except environments.SetupError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/harness.sh", description="The commands behind the Makefile.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    profile = argparse.ArgumentParser(add_help=False)
    profile.add_argument("--profile", choices=("release", "quick", "dev"), default="release")

    commands.add_parser("test", help="all stages").set_defaults(run=_test)
    commands.add_parser("test-quick", help="behaviour tests on this interpreter").set_defaults(run=_test_quick)
    commands.add_parser("lint", help="stages that run none of the code").set_defaults(run=_lint)
    commands.add_parser("build", parents=[profile], help="an editable installation in .venv").set_defaults(run=_build)
    commands.add_parser("demo", parents=[profile], help="build, then the demonstration").set_defaults(run=_demo)
    bench = commands.add_parser("bench", help="compare with other loops")
    bench.add_argument("options", nargs="*", help="for benchmarks/compare.py, after `--`")
    bench.set_defaults(run=_bench)
    environment = commands.add_parser("environment", help="one interpreter's environment")
    environment.add_argument("tag")
    environment.add_argument("python")
    environment.add_argument("groups", nargs="+")
    environment.set_defaults(run=_environment)
    install = commands.add_parser("install", parents=[profile], help="pyloop into one interpreter's environment")
    install.add_argument("tag")
    install.add_argument("python")
    install.set_defaults(run=_install)
    return parser.parse_args()


def _test(_arguments: argparse.Namespace) -> int:
    found = plan.interpreters()
    stages = plan.everything()
    print(f"Tests everything, {_DURATION}: {len(stages)} stages. CPythons found:")
    for tag, path in found.items():
        print(f"  {tag:6} {path}")
    print("Left out:")
    for sentence in plan.left_out(found):
        print(f"  {sentence}")
    return _run_all(stages)


def _test_quick(_arguments: argparse.Namespace) -> int:
    return _run_all(plan.quick())


def _lint(_arguments: argparse.Namespace) -> int:
    return _run_all(plan.lint())


def _build(arguments: argparse.Namespace) -> int:
    environments.develop(arguments.profile)
    print(f"pyloop is in {VENV}: run {python_of(VENV)}, or activate it")
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    environments.develop(arguments.profile)
    return _call([str(python_of(VENV)), "examples/demo.py"])


def _bench(arguments: argparse.Namespace) -> int:
    found = plan.interpreters()
    tag = plan.reference(found)
    # Not the environment of the tests: servers such as uvicorn take uvloop wherever they find it.
    environment = ENVIRONMENTS / f"bench-{tag}"
    environments.prepare(environment, found[tag], ["bench"])
    environments.install_wheel(environment, found[tag], tag, "release")
    return _call([str(python_of(environment)), "benchmarks/compare.py", *arguments.options])


def _environment(arguments: argparse.Namespace) -> int:
    environments.prepare(plan.environment_of(arguments.tag), arguments.python, arguments.groups)
    return 0


def _install(arguments: argparse.Namespace) -> int:
    environment = plan.environment_of(arguments.tag)
    environments.install_wheel(environment, arguments.python, arguments.tag, arguments.profile)
    return 0


def _call(command: list[str]) -> int:
    return subprocess.run(command, cwd=ROOT, env=child_environment(), check=False).returncode


def _run_all(stages: list[Stage]) -> int:
    """Runs every stage whose needs are met, and closes with the sum of what they counted."""
    started = time.monotonic()
    results: dict[str, Result] = {}
    alone = [stage for stage in stages if not stage.beside_others]
    together = [stage for stage in stages if stage.beside_others]
    positions = {stage.name: f"[{number:2}/{len(stages)}]" for number, stage in enumerate([*alone, *together], 1)}

    def run(stage: Stage) -> Result:
        missing = [name for name in stage.needs if not results[name].succeeded]
        position = positions[stage.name]
        return not_run(stage, position, missing[0]) if missing else run_stage(stage, position)

    for stage in alone:
        results[stage.name] = run(stage)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for result in pool.map(run, together):
                results[result.stage.name] = result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            end_running()
            raise
    total = sum((result.counts for result in results.values()), Counts())
    print("-" * 100)
    for name, result in results.items():
        print(f"{'ok    ' if result.succeeded else 'FAILED'} {result.seconds:6.0f} s  {name}")
    print(f"{time.monotonic() - started:.0f} s in all; {total.skipped} skipped")
    print(f"{total.passed} passed, {total.failed} failed")
    return 0 if total.failed == 0 and all(result.succeeded for result in results.values()) else 1
