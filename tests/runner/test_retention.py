"""What is old of Airflow goes, once a week, and nothing else does."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from foundation.settings import Settings
from runner.airflow_parts import airflow_environment
from runner.retention import DAY, is_due, remove_old

NOW = time.time()


@pytest.fixture
def home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home whose Airflow is the one in `fake_airflow/`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "fake_airflow"))
    settings.airflow_home.mkdir(parents=True)
    return settings


def make_old(path: Path, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text("log")
    os.utime(path, (NOW - days * DAY, NOW - days * DAY), follow_symlinks=False)
    return path


def test_old_logs_of_tasks_go_with_their_folders_and_others_stay(home: Settings) -> None:
    tasks = home.home / "logs" / "tasks"
    run = tasks / "dag_id=ga4_pipeline" / "run_id=1"
    old, new = make_old(run / "task_id=publish" / "attempt=1.log", 61), make_old(run / "task_id=load" / "1.log", 59)
    parts = make_old(home.home / "logs" / "airflow-scheduler.log", 400)
    outside = make_old(home.home / "kept" / "file", 400)
    (tasks / "link").symlink_to(outside.parent)
    make_old(old.parent, 61)
    said = remove_old(home, airflow_environment(home, 0), now=NOW)
    assert said[0] == "removed 1 log files of more than 60 days ago"
    assert not old.exists() and new.exists() and parts.exists() and outside.exists()
    command = json.loads((home.airflow_home / "cleaned.json").read_text())
    assert command[:2] == ["db", "clean"] and "--yes" in command
    assert not old.parent.exists() and remove_old(home, airflow_environment(home, 0), now=NOW)[0].startswith(
        "removed 0"
    )


def test_it_is_due_once_a_week(home: Settings) -> None:
    assert not is_due(home, now=NOW)  # a new home has nothing old
    assert not is_due(home, now=NOW + 6 * DAY) and is_due(home, now=NOW + 8 * DAY)
    make_old(home.airflow_home / "old_removed", 8)
    assert is_due(home, now=NOW)
    remove_old(home, airflow_environment(home, 0))
    assert not is_due(home, now=NOW)


def test_what_airflow_cannot_remove_is_told_and_tried_again(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DB_CLEAN", "fails")
    make_old(home.airflow_home / "old_removed", 8)
    said = remove_old(home, airflow_environment(home, 0), now=NOW)
    assert said[1] == "Airflow's old records stay, and are tried again next time: database is locked"
    assert is_due(home, now=NOW)
