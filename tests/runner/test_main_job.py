"""What becomes of runs that an earlier Airflow has left, with programs that stand in for Airflow's."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundation.settings import Settings
from runner.airflow_parts import stop_processes
from runner.main_job import DAILY, FOLLOWUP, RETRAINING, run_to_the_end, start_and_keep, stop_kept


@pytest.fixture
def home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A home whose Airflow is the one in `fake_airflow/`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "fake_airflow"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    settings.airflow_home.mkdir(parents=True)
    yield settings
    stop_processes(settings)


def leave(settings: Settings, **runs: str) -> None:
    """What an earlier Airflow left: the DAGs as `run_to_the_end` unpauses them, and a run each in the given state."""
    state = {
        "paused": {DAILY: False, RETRAINING: False, FOLLOWUP: True},
        "runs": {f"{dag} left": state for dag, state in runs.items()},
    }
    (settings.airflow_home / "fake.json").write_text(json.dumps(state), encoding="utf-8")


def read(settings: Settings) -> dict[str, Any]:
    return dict(json.loads((settings.airflow_home / "fake.json").read_text(encoding="utf-8")))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_what_the_schedule_begins_is_not_taken_for_an_orphan(home: Settings) -> None:
    leave(home, ga4_daily="success", model_retraining="success")
    start_and_keep(home, port=free_port())
    state = read(home)
    assert state["runs"] == {
        f"{DAILY} left": "success",
        f"{RETRAINING} left": "success",
        f"{DAILY} by schedule": "running",
        f"{RETRAINING} by schedule": "running",
        f"{FOLLOWUP} by schedule": "running",
    }
    # the page shows a part in red that does not run
    assert set(state["started"]) == {"dag-processor", "scheduler", "triggerer"}
    assert stop_kept(home) == 4


def test_a_run_that_ended_with_its_processes_is_failed_and_one_that_waited_goes_on(
    home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(home, ga4_daily="running", model_retraining="queued")
    start_and_keep(home, port=free_port())
    runs = read(home)["runs"]
    assert (runs[f"{DAILY} left"], runs[f"{RETRAINING} left"]) == ("failed", "success")
    said = capsys.readouterr().err
    assert f"{DAILY}: run {DAILY} left had ended with its processes; marked as failed" in said
    assert RETRAINING not in said


def test_the_main_job_follows_what_waited_and_trains_again_what_was_killed(home: Settings) -> None:
    leave(home, ga4_daily="queued", model_retraining="running", alert_followup="queued")
    run_to_the_end(home, timeout_seconds=60)
    assert read(home)["runs"] == {
        f"{DAILY} left": "success",
        f"{DAILY} by hand": "success",
        f"{RETRAINING} left": "failed",
        f"{RETRAINING} by hand": "success",
        f"{FOLLOWUP} left": "queued",  # it has a schedule only in an Airflow that is kept
    }
    assert stop_processes(home) == 0


def test_the_first_run_of_all_finds_nothing_to_close(home: Settings) -> None:
    run_to_the_end(home, timeout_seconds=60)
    state = read(home)
    assert state["runs"] == {f"{DAILY} by hand": "success"}
    assert "triggerer" not in state["started"]
