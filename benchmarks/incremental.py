"""Measure what one more day costs, next to a full rebuild, on a short and on a long history."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from benchmarks.costs import Cost, measure, print_costs
from benchmarks.lakes import WORK, environment_for, make_lake
from foundation.settings import Settings
from warehouse.lake import PARTITION_PREFIX

TRIES = 3  # of a build that takes seconds
BUILD = (
    "from warehouse.build import build_marts; from warehouse.transaction import publish\n"
    "build_marts(settings, run_id={run!r}, full_rebuild={full}); publish(settings, run_id={run!r})\n"
)


def main() -> None:
    """Build a history of each length without its last day, add that day, then build everything anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events-per-day", type=int, default=100_000)
    parser.add_argument("--histories", type=int, nargs="+", default=[30, 90], help="days of each history")
    parser.add_argument("--memory-limit", default="4GB", help="DuckDB's memory limit")
    arguments = parser.parse_args()
    longest = max(arguments.histories)
    sessions = longest * 450
    copies = max(1, round(arguments.events_per_day * longest / (sessions * 11.1)))
    whole = make_lake(WORK / f"incremental-{longest}-{copies}", sessions=sessions, days=longest, copies=copies)
    costs: dict[str, Cost] = {}
    for days in arguments.histories:
        home = WORK / f"incremental-{longest}-{copies}-last-{days}"
        folders = sorted(whole.lake_dir.glob(f"{PARTITION_PREFIX}*"))[-days:]
        environment = environment_for(home, arguments.memory_limit)
        lay_out(home, whole, folders[:-1])
        costs[f"full build, {days - 1} days"] = build(environment, "first", full=True)
        lay_out(home, whole, folders)
        costs[f"one more day, {days} days"] = build_often(environment, home / whole.published_path.name, "more")
        costs[f"full build, {days} days"] = build(environment, "all", full=True)
        costs[f"nothing new, {days} days"] = build_often(environment, home / whole.published_path.name, "nothing")
        shutil.rmtree(home)
    print_costs(costs, f"full build, {longest} days")
    shortest = min(arguments.histories)
    more = {days: costs[f"one more day, {days} days"].cpu_seconds for days in arguments.histories}
    print(f"\nfull rebuild / one more day: {costs[f'full build, {longest} days'].cpu_seconds / more[longest]:.1f}")
    print(f"one more day, {longest} against {shortest} days: {more[longest] / more[shortest]:.2f}")


def lay_out(home: Path, whole: Settings, folders: list[Path]) -> None:
    """Copy the days into the home's lake."""
    for folder in folders:
        target = home / whole.lake_dir.relative_to(whole.home) / folder.name
        if not target.exists():
            shutil.copytree(folder, target)


def build_often(environment: dict[str, str], published: Path, run: str) -> Cost:
    """The cheapest of a few builds from the same published file: a part of its seconds is the machine's other work."""
    kept = published.with_suffix(".kept")
    kept.hardlink_to(published)  # a publication replaces the file, and leaves this one alone
    tries = []
    for number in range(TRIES):
        published.unlink()
        published.hardlink_to(kept)
        tries.append(build(environment, f"{run}-{number}"))
    kept.unlink()
    return min(tries, key=lambda cost: cost.cpu_seconds)


def build(environment: dict[str, str], run: str, *, full: bool = False) -> Cost:
    """One build of the marts, published."""
    cost = measure(BUILD.format(run=run, full=full), environment)
    print(f"{run}: {cost.cpu_seconds:.1f} CPU s", file=sys.stderr, flush=True)
    return cost


if __name__ == "__main__":
    main()
