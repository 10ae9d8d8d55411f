"""The main job as a newcomer runs it: the sample shop, Airflow's own scheduler, a Slack on loopback."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from foundation.settings import Settings
from tests.dbt_runner import query
from tests.slack_server import CHANNEL_ID, TOKEN, SlackServer

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def start_run(home: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "runner", "run"],
        cwd=PROJECT,
        env={**os.environ, "FUNNELHOUSE_HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a shell that runs the tests in its background lets them ignore an interrupt, and whatever they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=900)
    return output


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What the run prints up to and including the line with this text."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"never printed {text!r}:\n" + "".join(lines))


def processes_of(home: Path) -> list[str]:
    """Command lines of what runs with this home; Airflow's renamed processes show in their open files."""
    found = []
    for process in psutil.process_iter():
        try:
            paths = [file.path for file in process.open_files()]
            if process.pid != os.getpid() and any(path.startswith(str(home)) for path in paths):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:  # ended, or not ours to look at
            continue
    return found


def test_from_nothing_to_slack_and_through_a_kill(tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings = Settings(home=home)
    with SlackServer() as slack:
        slack_settings = {
            "FUNNELHOUSE_SLACK_TOKEN": TOKEN,
            "FUNNELHOUSE_SLACK_CHANNEL": CHANNEL_ID,
            "FUNNELHOUSE_SLACK_BASE_URL": slack.base_url,
            "NO_PROXY": "127.0.0.1",
        }
        # 1. from nothing
        process = start_run(home, **slack_settings)
        output = finish(process)
        assert process.returncode == 0, output
        assert processes_of(home) == []
        for section in ("DATA", "KPIS", "VALIDATION", "MODELS", "SEGMENTS", "ALERTS  2 incidents", "LOOK FURTHER"):
            assert section in output
        # the planted outage lies in the held-out days: its gates keep the whole-session model back, and say why
        models = {
            model["name"]: model for model in json.loads((home / "models" / "last_training.json").read_text())["models"]
        }
        assert models["propensity_precheckout"]["promoted"] and models["segments"]["promoted"]
        full_is_champion = models["propensity_full"]["promoted"]
        assert full_is_champion or "calibration slope" in models["propensity_full"]["why"]
        # the features first, then the scores of the models trained on them; never again and again
        assert "published 2 time(s)" in output
        # nothing but champions was new the second time
        assert output.count("build_marts success") == 1 and output.count("validate_landing success") == 1
        assert output.count("build_scores success") == 2

        # both planted incidents, and nothing else
        texts = [message["text"] for message in slack.parents()]
        assert len(texts) == 2, texts
        assert sum("abandonment" in text.lower() for text in texts) == 1
        assert sum("duration" in text.lower() for text in texts) == 1

        # every session is scored, and the models say who they are
        assert query(
            settings,
            """
            select count(*) = (select count(*) from marts.fct_sessions),
                count(*) filter (where segment_name is null) < 0.05 * count(*),
                count(propensity_full) > 0, count(propensity_precheckout) > 0.5 * count(*),
                coalesce(min(least(propensity_full, propensity_precheckout)) >= 0, false),
                coalesce(max(greatest(propensity_full, propensity_precheckout)) <= 1, false),
                count(distinct propensity_precheckout_version)
            from marts.fct_session_scores
            """,
        ) == [(True, True, full_is_champion, True, True, True, 1)]
        first = query(settings, "select count(*), sum(purchases) from marts.fct_sessions")
        published_before = settings.published_path.stat()

        # 2. a rewritten day arrives, and the run is killed while it builds
        subprocess.run(
            [sys.executable, "-m", "sample_shop", "deliver-late"],
            cwd=PROJECT,
            env={**os.environ, "FUNNELHOUSE_HOME": str(home)},
            check=True,
        )
        process = start_run(home, **slack_settings)
        read_until(process, "build_marts running")
        time.sleep(3)
        process.kill()
        process.wait()
        assert settings.published_path.stat().st_mtime_ns == published_before.st_mtime_ns
        assert query(settings, "select count(*), sum(purchases) from marts.fct_sessions") == first

        # 3. the next run makes it right
        process = start_run(home, **slack_settings)
        output = finish(process)
        assert process.returncode == 0, output
        assert processes_of(home) == []
        ((sessions, _),) = query(settings, "select count(*), sum(purchases) from marts.fct_sessions")
        assert sessions > first[0][0]
        later = home / "sample_shop" / "later"
        (late_file,) = later.glob("events_*.parquet")
        day = late_file.stem.removeprefix("events_")
        ((raw_rows, file_rows),) = query(
            settings,
            f"""
            select (select raw_rows from ops.event_counts where strftime(event_date, '%Y%m%d') = '{day}'),
                (select count(*) from read_parquet('{late_file}'))
            """,
        )
        assert raw_rows == file_rows
        # no alert was lost, none was sent twice
        assert len(slack.parents()) == 2

        # 4. nothing new: nothing changes, in a home that has moved, either, and nothing is written where it was
        before = settings.published_path.stat()
        was, home = home, tmp_path / "moved"
        was.rename(home)
        settings = Settings(home=home)
        process = start_run(home, **slack_settings)
        output = finish(process)
        assert process.returncode == 0, output
        assert "NOTHING NEW" in output
        assert settings.published_path.stat().st_mtime_ns == before.st_mtime_ns
        assert len(slack.parents()) == 2
        assert not was.exists()

    # 5. what is old goes: of the first run its logs and Airflow's records
    with closing(sqlite3.connect(home / "airflow" / "airflow.db")) as airflow:
        ((first_run,),) = airflow.execute(
            "select run_id from dag_run where dag_id = 'ga4_pipeline' order by start_date limit 1"
        ).fetchall()
        for table, column in (("dag_run", "run_after"), ("dag_run", "start_date"), ("task_instance", "start_date")):
            airflow.execute(f"update {table} set {column} = '2026-01-01' where run_id = ?", [first_run])
        airflow.commit()
    logs = home / "logs" / "tasks" / "dag_id=ga4_pipeline" / f"run_id={first_run}"
    for log in logs.rglob("*.log"):
        os.utime(log, (0, 0))
    environment = {**os.environ, "FUNNELHOUSE_HOME": str(home)}
    outcome = subprocess.run(
        [sys.executable, "-m", "runner", "tidy"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "removed Airflow's records" in outcome.stdout and not list(logs.rglob("*.log"))
    with closing(sqlite3.connect(home / "airflow" / "airflow.db")) as airflow:
        runs = airflow.execute("select run_id from dag_run where dag_id = 'ga4_pipeline'").fetchall()
    assert runs and (first_run,) not in runs

    # the token is nowhere: not in logs, XCom, the warehouse or the state
    for path in home.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path


def test_a_failing_task_is_named_and_interrupting_leaves_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {"FUNNELHOUSE_SOURCE": str(empty), "FUNNELHOUSE_TASK_RETRIES": "0"}
    process = start_run(home, **environment)
    output = finish(process)
    assert process.returncode == 1, output
    assert "task load_changed_days of ga4_pipeline failed" in output
    assert str(empty) in output
    assert processes_of(home) == []
    # without a token the failure is rendered and kept
    messages = [path.read_text(encoding="utf-8") for path in (home / "alerts").glob("task-*/message.txt")]
    assert len(messages) == 1
    assert "load_changed_days" in messages[0]

    process = start_run(home, **environment)
    read_until(process, "starting Airflow")
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    output = finish(process)
    assert process.returncode == 130, output
    assert processes_of(home) == []
    assert not list((home / "airflow").glob("parts.json"))
