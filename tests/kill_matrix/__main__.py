"""Kills each task of the pipeline, and the training, at many points, and prints what the next run makes of it.

    python -m tests.kill_matrix [--task TASK …] [--sessions N] [--seed N]

After each kill a whole run follows in a fresh process (or, "retry", the killed task and those after it, as Airflow
repeats them). What it leaves is compared with runs that nobody killed: every row of every published table with the same
run and with a full rebuild from the same lake and champions, what is in the lake, the incidents, and how often each
message is in Slack. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

os.environ["FUNNELHOUSE_ENV_FILE"] = os.devnull

from tests.kill_matrix.compare import count_tables
from tests.kill_matrix.home import open_home
from tests.kill_matrix.matrix import Kill, kill_and_compare, list_points, prepare, prepare_training
from tests.main_job import TASKS

SESSIONS = 2_000


def print_table(kills: list[Kill]) -> None:
    """A row per task, phase and way; what differed below."""
    rows: dict[tuple[str, str, str], list[Kill]] = defaultdict(list)
    for kill in kills:
        rows[kill.point.task, kill.point.phase, kill.way].append(kill)
    print(f"\n| {'task':<18} | {'killed':<6} | {'then':<7} | kills | as if never killed |")
    print(f"| {'-' * 18} | {'-' * 6} | {'-' * 7} | ----- | ------------------ |")
    for (task, phase, way), group in rows.items():
        equal = sum(not kill.differences for kill in group)
        print(f"| {task:<18} | {phase:<6} | {way:<7} | {len(group):>5} | {equal:>18} |")
    equal = sum(not kill.differences for kill in kills)
    print(f"| {'all':<18} | {'':<6} | {'':<7} | {len(kills):>5} | {equal:>18} |")


def main() -> int:
    """Run the matrix; 1 where a kill left a trace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", choices=[*TASKS, "train_models"], help="only this task; repeatable")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="of the shop (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="draws the moments within an event (%(default)s)")
    options = parser.parse_args()
    kills = []
    with tempfile.TemporaryDirectory() as folder, open_home(Path(folder)) as home:
        reference = prepare(home, sessions=options.sessions)
        if options.task is None or "train_models" in options.task:
            prepare_training(home, reference)
        events = sum(len(trace) for trace in reference.traces.values())
        print(f"{count_tables(reference.published)} tables, {events} events, {reference.messages.total()} messages")
        for point, way in list_points(reference, seed=options.seed):
            if options.task is not None and point.task not in options.task:
                continue
            kill = kill_and_compare(home, reference, point, way)
            kills.append(kill)
            where = "end" if point.event is None else f"{point.moment} event {point.event}"
            result = "equal" if not kill.differences else "DIFFERS"
            print(
                f"{point.task} {point.phase} ({where}: {point.detail}), {way}: {result}, {kill.seconds:.0f} s",
                flush=True,
            )
            for difference in kill.differences:
                print(f"    {difference}", flush=True)
    print_table(kills)
    return int(any(kill.differences for kill in kills))


if __name__ == "__main__":
    sys.exit(main())
