"""Measure training on the feature rows of a large shop, and scoring a day of sessions."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

PROJECT = Path(__file__).resolve().parent.parent
DAY_SESSIONS = 50_000


@dataclass(frozen=True)
class Cost:
    """What one step took, in a process of its own."""

    wall_seconds: float
    cpu_seconds: float
    peak_megabytes: float


def measure(code: str, environment: dict[str, str]) -> Cost:
    """Run the code in a fresh process and read its cost from the operating system."""
    script = (
        "import resource\nfrom warehouse.settings import load_settings\nsettings = load_settings()\n"
        f"{code}\n"
        "usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print('COST', usage.ru_utime + usage.ru_stime, usage.ru_maxrss)\n"
    )
    started = time.perf_counter()
    outcome = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - started
    if outcome.returncode != 0:
        raise RuntimeError(outcome.stdout[-3000:] + outcome.stderr[-3000:])
    print(outcome.stderr, file=sys.stderr)
    cpu, peak = next(line.split()[1:] for line in outcome.stdout.splitlines() if line.startswith("COST"))
    return Cost(wall, float(cpu), int(peak) / 1024)


def enlarge(source: Path, target: Path, sessions: int, *, day_only: int | None = None) -> tuple[int, int]:
    """Copy the feature tables of a published warehouse as often as it takes; every copy has users of its own.

    With `day_only` the last day is filled up to that many sessions instead. Returns rows of both tables.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with duckdb.connect(str(target)) as connection:
        connection.execute(f"attach '{source}' as origin (read_only)")
        connection.execute("create schema ml; create schema ops")
        (have,) = connection.execute("select count(*) from origin.ml.feat_sessions").fetchall()[0]
        where, wanted = "true", sessions
        if day_only is not None:
            (last, of_day) = connection.execute(
                "select session_date, count(*) from origin.ml.feat_sessions group by 1 order by 2 desc limit 1"
            ).fetchall()[0]
            where, have, wanted = f"session_date = date '{last}'", of_day, day_only
        copies = -(-wanted // have)
        for table in ("feat_sessions", "feat_session_prefixes"):
            connection.execute(
                f"""
                create table ml.{table} as
                select t.* replace (
                    t.session_id || '#' || c.copy as session_id, t.user_pseudo_id || '#' || c.copy as user_pseudo_id
                )
                from origin.ml.{table} as t cross join range({copies}) as c (copy)
                where {where}
                """
            )
        connection.execute(
            "create table ops.build_info as select cast(null as date) as touched_from, true as is_full_rebuild"
        )
        counts = [
            connection.execute(f"select count(*) from ml.{table}").fetchall()[0][0]
            for table in ("feat_sessions", "feat_session_prefixes")
        ]
    return counts[0], counts[1]


def main() -> None:
    """Train on an enlarged copy of a published warehouse, score a day with what came out, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse", type=Path, help="a published warehouse.duckdb to take the feature rows from")
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, default=PROJECT / "benchmarks" / ".work" / "models")
    arguments = parser.parse_args()
    home = arguments.work.resolve()
    shutil.rmtree(home, ignore_errors=True)
    environment = {**os.environ, "FUNNELHOUSE_HOME": str(home), "FUNNELHOUSE_ENV_FILE": os.devnull}
    sessions, prefixes = enlarge(arguments.warehouse, home / "warehouse.duckdb", arguments.sessions)
    costs = {}
    for name in ("propensity_full", "propensity_precheckout", "segments"):
        code = f"from ml.jobs.train import train_models\ntrain_models(settings, names=['{name}'])"
        costs[f"train {name}"] = measure(code, environment)
        promote = (
            "from ml.io.registry import ModelRegistry\nregistry = ModelRegistry(settings.models_dir)\n"
            f"versions = [v for v in registry.list_versions() if v.name == '{name}']\n"
            f"[registry.promote('{name}', v.version, reason='benchmark') for v in versions[:1]]"
        )
        measure(promote, environment)
    day, _ = enlarge(arguments.warehouse, home / "build" / "warehouse.duckdb", 0, day_only=DAY_SESSIONS)
    costs[f"score {day:,} sessions"] = measure(
        "from ml.jobs.score import score_sessions\nscore_sessions(settings)", environment
    )
    print(f"\n{sessions:,} sessions, {prefixes:,} rows at decision points, {os.cpu_count()} cores\n")
    print("| step | wall s | CPU s | peak MB |\n|---|---:|---:|---:|")
    for name, cost in costs.items():
        print(f"| {name} | {cost.wall_seconds:.1f} | {cost.cpu_seconds:.1f} | {cost.peak_megabytes:,.0f} |")
    print(f"\nOf this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
