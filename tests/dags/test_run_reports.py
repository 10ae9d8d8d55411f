"""What the callbacks of tasks and runs make of Airflow's contexts."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

# Airflow calls the task's callback after its last retry only, and then the run's, which says `task_failure`.
_CALL = """
import json, os
from types import SimpleNamespace as Thing
from dags.common import load_settings_with_connections, report_failure, report_run_failure, report_run_success

dag = Thing(dag_id="ga4_pipeline")
task = Thing(dag_id="ga4_pipeline", task_id="build_marts", try_number=3, log_url="http://127.0.0.1:8080/log")

def run(run_id, **values):
    return {"dag": dag, "run_id": run_id, **values}

report_failure(run("r1", task_instance=task, exception=ValueError("column revenue is missing")))
report_run_failure(run("r1", reason="task_failure"))
report_run_failure(run("r1", reason="timed_out"))
report_failure(run("r2", task_instance=task, exception=ValueError("column revenue is missing")))
report_run_failure(run("r3", reason="timed_out"))
report_run_success(run("r4", reason="success"))
slack = {"conn_type": "slack", "password": "xoxb-of-the-connection", "extra": {"channel": "C0000000009"}}
smtp = {"conn_type": "smtp", "host": "127.0.0.1", "password": "mail-password", "extra": {"to": "a@b.example"}}
os.environ["AIRFLOW_CONN_FUNNELHOUSE_SLACK"] = json.dumps(slack)
os.environ["AIRFLOW_CONN_FUNNELHOUSE_SMTP"] = json.dumps(smtp)
settings = load_settings_with_connections()
print("SETTINGS" + json.dumps({
    "channel": settings.slack_channel, "to": settings.alert_email_to, "host": settings.smtp_host,
    "token": settings.slack_token.get_secret_value() if settings.slack_token else None,
    "repr": repr(settings),
}))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def output(home: Path) -> str:
    outcome = subprocess.run(
        [sys.executable, "-c", _CALL],
        cwd=PROJECT,
        env={
            **os.environ,
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "FUNNELHOUSE_HOME": str(home),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    return outcome.stdout


def test_each_problem_is_one_incident_told_once_a_run_and_closed_by_the_next_success(home: Path, output: str) -> None:
    with sqlite3.connect(home / "ops.sqlite") as state:
        events = state.execute(
            """
            select incident_id, event, done_by from alert_events order by event_id
            """
        ).fetchall()
    ids = {incident_id for incident_id, _, _ in events}
    assert len(ids) == 2 and all(incident_id.startswith("task-") for incident_id in ids)
    assert [(event, by) for _, event, by in events] == [
        ("opened", "r1"),
        ("updated", "r2"),
        ("opened", "r3"),
        ("resolved", "r4"),
        ("resolved", "r4"),
    ]
    message = next((home / "alerts").glob("task-*build_marts/message.txt")).read_text(encoding="utf-8")
    assert "column revenue is missing" in message and "Log: http://127.0.0.1:8080/log" in message


def test_connections_fill_in_what_the_settings_lack(output: str) -> None:
    line = next(line for line in output.splitlines() if line.startswith("SETTINGS"))
    seen = json.loads(line.removeprefix("SETTINGS"))
    assert (seen["channel"], seen["to"], seen["host"]) == ("C0000000009", "a@b.example", "127.0.0.1")
    assert seen["token"] == "xoxb-of-the-connection"
    assert "xoxb" not in seen["repr"] and "mail-password" not in seen["repr"]
