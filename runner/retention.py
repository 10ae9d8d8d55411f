"""Removes what is old of the home's own Airflow: the logs of tasks, and its records of runs."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from foundation.settings import PROJECT_DIR, Settings

EVERY_DAYS = 7
DAY = 86_400.0


def is_due(settings: Settings, *, now: float | None = None) -> bool:
    """Whether it is a week since old things were last removed; a new home has none."""
    stamp = _stamp(settings)
    if not stamp.exists():
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
        return False
    return (now or time.time()) - stamp.stat().st_mtime > EVERY_DAYS * DAY


def remove_old(settings: Settings, environment: Mapping[str, str], *, now: float | None = None) -> list[str]:
    """Remove what is older than `kept_log_days`; returns what was done, in sentences.

    `environment` is Airflow's. It may run meanwhile: a run that is not over is not old.
    """
    moment = now or time.time()
    oldest = moment - settings.kept_log_days * DAY
    removed = sum(_remove_files(settings.home / "logs" / name, oldest) for name in ("tasks", "dag_processor"))
    before = dt.datetime.fromtimestamp(oldest, dt.UTC)
    outcome = subprocess.run(
        [
            *(sys.executable, "-m", "airflow", "db", "clean", "--yes", "--skip-archive", "--error-on-cleanup-failure"),
            *("--clean-before-timestamp", before.isoformat(timespec="seconds")),
        ],
        env=dict(environment),
        cwd=PROJECT_DIR,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    done = [f"removed {removed:,} log files of more than {settings.kept_log_days} days ago"]
    if outcome.returncode:
        tail = " ".join((outcome.stdout + outcome.stderr).split()[-40:])
        return [*done, f"Airflow's old records stay, and are tried again next time: {tail}"]
    _stamp(settings).touch()
    return [*done, "removed Airflow's records of runs from before then"]


def _stamp(settings: Settings) -> Path:
    return settings.airflow_home / "old_removed"


def _remove_files(folder: Path, oldest: float) -> int:
    """Remove the files that are older, and folders that are empty then; a link is not followed."""
    # judged before anything goes: a folder from which a file is removed is new again
    old = [path for path in folder.rglob("*") if path.lstat().st_mtime < oldest]
    removed = 0
    for path in sorted(old, key=lambda path: len(path.parts), reverse=True):
        if not path.is_dir() or path.is_symlink():
            path.unlink()
            removed += 1
        elif not any(path.iterdir()):
            path.rmdir()
    return removed
