"""`python -m tests`: style, types and tests, in this order; stops at the first that fails.

Further arguments go to pytest, which prints the last line.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
STEPS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy", "--strict"),
    ("pytest", "-n", "auto"),
)


def main(arguments: list[str]) -> int:
    """Run all steps; the exit code of the first that fails, or 0."""
    for step in STEPS:
        command = [*step, *(arguments if step[0] == "pytest" else [])]
        print(f"== {shlex.join(command)}", flush=True)
        started = time.perf_counter()
        code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
        if code:
            print(f"== {step[0]} failed", flush=True)
            return code
        if step[0] != "pytest":
            print(f"   {time.perf_counter() - started:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
