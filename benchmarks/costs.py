"""What a piece of Python costs in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cost:
    """What one stage took; `output` is what it printed."""

    wall_seconds: float
    cpu_seconds: float
    peak_megabytes: float
    output: str = ""


def measure(code: str, environment: dict[str, str]) -> Cost:
    """Run the code, with `settings` loaded, in a fresh process and read its cost from the operating system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    script = (
        "import resource, sys\n"
        "from foundation.settings import load_settings\n"
        "settings = load_settings()\n"
        f"{code}\n"
        "print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - started
    if outcome.returncode != 0:
        raise RuntimeError(outcome.stdout[-3000:] + outcome.stderr[-3000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = next(int(line.split()[1]) for line in outcome.stdout.splitlines() if line.startswith("PEAK"))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, peak / 1024, outcome.stdout)


def print_costs(costs: dict[str, Cost], reference: str) -> None:
    """A Markdown table, each cost beside its ratio to the reference's CPU time."""
    print(f"| stage | wall s | CPU s | peak MB | CPU / {reference} |")
    print("|---|---:|---:|---:|---:|")
    for name, cost in costs.items():
        wall = f"{cost.wall_seconds:.1f}" if cost.wall_seconds else ""
        peak = f"{cost.peak_megabytes:,.0f}" if cost.peak_megabytes else ""
        ratio = cost.cpu_seconds / costs[reference].cpu_seconds
        print(f"| {name} | {wall} | {cost.cpu_seconds:.1f} | {peak} | {ratio:.2f} |")
