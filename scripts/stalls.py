"""Runs a command that stands still now and then, as on a machine that is shared, to find tests that depend on luck.

`python scripts/stalls.py [--seed N] [--longest SECONDS] -- COMMAND...` stops the command's process, not its children,
up to eight times a second, for a tenth of the longest time up to all of it, and ends with its status. POSIX.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time

# Seconds between two stalls, on average, and how long they last as parts of the longest: most are short.
BETWEEN = 0.12
PARTS = (0.1, 0.2, 0.2, 0.35, 1.0)


def main() -> int:
    """Runs the command that the arguments name; returns its status."""
    parser = argparse.ArgumentParser(description="Runs a command that stands still now and then.")
    parser.add_argument("--seed", type=int, default=None, help="of the random stalls (default: another one each time)")
    parser.add_argument("--longest", type=float, default=0.15, help="seconds of the longest stalls (default: 0.15)")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    stalls = 0
    with subprocess.Popen(arguments.command) as process:
        # `send_signal` does nothing to a process that has ended.
        while process.poll() is None:
            time.sleep(chance.expovariate(1 / BETWEEN))
            process.send_signal(signal.SIGSTOP)
            try:
                time.sleep(arguments.longest * chance.choice(PARTS))
            finally:
                process.send_signal(signal.SIGCONT)
            stalls += 1
    print(f"stood still {stalls} times", file=sys.stderr)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
