"""What becomes of runs that an earlier Airflow has left, with programs that stand in for Airflow's."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from foundation.settings import Settings
from runner.airflow_api import AirflowApiError
from runner.airflow_parts import API_SERVER, DAG_PROCESSOR, SCHEDULER, AirflowEndedError
from runner.kept import OtherSettingsError, find_kept, stop_kept
from runner.main_job import FOLLOWUP, PIPELINE, RETRAINING, run_to_the_end, start_and_keep
from runner.ports import PortTakenError
from runner.processes import stop_processes


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
    state: dict[str, Any] = {
        **read(settings),
        "paused": {PIPELINE: False, RETRAINING: False, FOLLOWUP: True},
        "runs": {f"{dag} left": state for dag, state in runs.items()},
    }
    (settings.airflow_home / "fake.json").write_text(json.dumps(state), encoding="utf-8")


def read(settings: Settings) -> dict[str, Any]:
    file = settings.airflow_home / "fake.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def set_up(settings: Settings, **values: Any) -> None:
    """What the stand-in does otherwise than usual."""
    (settings.airflow_home / "fake.json").write_text(json.dumps({**read(settings), **values}), encoding="utf-8")


class Stranger(HTTPServer):
    """Somebody else's server, which notes what it is sent and says yes to everything."""

    def __init__(self, port: int = 0) -> None:
        self.received: list[tuple[str, bytes]] = []
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def _note(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                stranger.received.append((f"{self.command} {self.path}", body))
                healthy = {part: {"status": "healthy"} for part in ("metadatabase", "scheduler", "dag_processor")}
                content = json.dumps({"access_token": "thanks", **healthy}).encode()
                self.send_response(201)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = _note  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", port), Handler)

    def __enter__(self) -> Stranger:
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_what_the_schedule_begins_is_not_taken_for_an_orphan(home: Settings) -> None:
    leave(home, ga4_pipeline="success", model_retraining="success")
    start_and_keep(home, port=free_port())
    state = read(home)
    assert state["runs"] == {
        f"{PIPELINE} left": "success",
        f"{RETRAINING} left": "success",
        f"{PIPELINE} by schedule": "running",
        f"{RETRAINING} by schedule": "running",
        f"{FOLLOWUP} by schedule": "running",
    }
    # the page shows a part in red that does not run
    assert set(state["started"]) == {"dag-processor", "scheduler", "triggerer"}
    assert stop_kept(home) == 4


def test_a_run_that_ended_with_its_processes_is_failed_and_one_that_waited_goes_on(
    home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(home, ga4_pipeline="running", model_retraining="queued")
    start_and_keep(home, port=free_port())
    runs = read(home)["runs"]
    assert (runs[f"{PIPELINE} left"], runs[f"{RETRAINING} left"]) == ("failed", "success")
    said = capsys.readouterr().err
    assert f"{PIPELINE}: run {PIPELINE} left had ended with its processes; marked as failed" in said
    assert RETRAINING not in said


def test_the_main_job_follows_what_waited_and_trains_again_what_was_killed(home: Settings) -> None:
    leave(home, ga4_pipeline="queued", model_retraining="running", alert_followup="queued")
    run_to_the_end(home, timeout_seconds=60)
    assert read(home)["runs"] == {
        f"{PIPELINE} left": "success",
        f"{PIPELINE} by hand": "success",
        f"{RETRAINING} left": "failed",
        f"{RETRAINING} by hand": "success",
        f"{FOLLOWUP} left": "queued",  # it has a schedule only in an Airflow that is kept
    }
    assert stop_processes(home) == 0


def test_the_former_name_of_the_pipeline_disappears(home: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    leave(home, ga4_daily="success", ga4_pipeline="success")
    start_and_keep(home, port=free_port())
    state = read(home)
    assert not any(run.startswith("ga4_daily") for run in state["runs"])
    assert "ga4_daily is called ga4_pipeline now" in capsys.readouterr().err


def test_the_first_run_of_all_finds_nothing_to_close(home: Settings) -> None:
    run_to_the_end(home, timeout_seconds=60)
    state = read(home)
    assert state["runs"] == {f"{PIPELINE} by hand": "success"}
    assert "triggerer" not in state["started"]


def test_a_part_that_is_killed_ends_the_run_with_its_name_and_last_lines(home: Settings) -> None:
    set_up(home, hangs=True)

    def kill_scheduler() -> None:
        while "scheduler" not in read(home).get("started", ()):
            time.sleep(0.05)
        log = home.home / "logs" / "airflow-scheduler.log"
        log.write_text("the last that it said\n", encoding="utf-8")
        psutil.Process(int(read_parts(home)[SCHEDULER]["pid"])).send_signal(signal.SIGKILL)

    killer = Thread(target=kill_scheduler)
    killer.start()
    with pytest.raises(AirflowEndedError) as caught:
        run_to_the_end(home, timeout_seconds=60)
    killer.join()
    assert "Airflow's scheduler has ended, killed by SIGKILL" in str(caught.value)
    assert "the last that it said" in str(caught.value)
    assert stop_processes(home) == 0


def test_a_part_of_a_kept_airflow_that_is_killed_ends_the_run_too(home: Settings) -> None:
    start_and_keep(home, port=free_port())
    kept = find_kept(home)
    assert kept is not None
    _, parts = kept
    parts.check()
    os.kill(parts.processes[DAG_PROCESSOR].pid, signal.SIGKILL)
    wait_until_dead(parts.processes[DAG_PROCESSOR])
    with pytest.raises(AirflowEndedError, match="dag-processor has ended"):
        parts.check()
    assert find_kept(home) is None


def test_a_database_that_is_busy_is_asked_again(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(home, busy=3)
    monkeypatch.setattr("runner.airflow_api.LONGEST_PAUSE_SECONDS", 0.05)
    start_and_keep(home, port=free_port())
    assert read(home)["paused"] == {PIPELINE: False, RETRAINING: False, FOLLOWUP: False}


def test_schedules_are_set_before_the_scheduler_starts(home: Settings) -> None:
    """Else a run that is overdue begins to write while the runner still does, and SQLite refuses one of them."""
    start_and_keep(home, port=free_port())
    state = read(home)
    assert state["paused_at_start"] == {PIPELINE: False, RETRAINING: False, FOLLOWUP: False}


def test_a_port_that_is_taken_is_named_with_its_holder_and_is_sent_nothing(home: Settings) -> None:
    with Stranger() as stranger:
        with pytest.raises(PortTakenError) as caught:
            start_and_keep(home, port=stranger.server_port)
        message = str(caught.value)
        assert f"port {stranger.server_port} cannot be used" in message
        assert f"process {os.getpid()} " in message
        assert f"make up PORT={stranger.server_port + 1}" in message
        assert stranger.received == []


def test_a_stranger_at_the_port_of_a_kept_airflow_gets_no_password(home: Settings) -> None:
    port = free_port()
    start_and_keep(home, port=port)
    kept = find_kept(home)
    assert kept is not None
    api, parts = kept
    # its API server ends, and somebody else takes the port
    os.kill(parts.processes[API_SERVER].pid, signal.SIGKILL)
    wait_until_dead(parts.processes[API_SERVER])
    with Stranger(port) as stranger:
        with pytest.raises(AirflowApiError, match="is not the Airflow of this home"):
            api.sign_in()
        assert find_kept(home) is None
        with pytest.raises(PortTakenError):
            start_and_keep(home, port=port)
        assert stranger.received == []


def test_a_run_beside_a_kept_airflow_refuses_other_settings_and_names_them(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUNNELHOUSE_SLACK_TOKEN", "xoxb-first")
    monkeypatch.setenv("FUNNELHOUSE_ALERT_OWNER", "first")
    first = home.with_values({"source": "/first"}, where="the test")
    url = start_and_keep(first, port=free_port())
    assert start_and_keep(first, port=free_port()) == url
    assert "xoxb-first" not in "".join(file.read_text() for file in home.airflow_home.glob("*.json"))

    monkeypatch.setenv("FUNNELHOUSE_SLACK_TOKEN", "xoxb-second")
    monkeypatch.delenv("FUNNELHOUSE_ALERT_OWNER")
    other = home.with_values({"source": "/second"}, where="the test")
    for start in (run_to_the_end, lambda settings: start_and_keep(settings, port=free_port())):
        with pytest.raises(OtherSettingsError) as caught:
            start(other)
        message = str(caught.value)
        assert "FUNNELHOUSE_SOURCE is /first there and /second here" in message
        assert "FUNNELHOUSE_SLACK_TOKEN differs" in message
        assert "FUNNELHOUSE_ALERT_OWNER is first there and unset here" in message
        assert "xoxb" not in message
        assert "make down" in message


def test_settings_of_the_file_are_no_difference(
    home: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.env"
    monkeypatch.setitem(Settings.model_config, "env_file", file)
    monkeypatch.setenv("FUNNELHOUSE_SLACK_CHANNEL", "C0123456789")
    start_and_keep(home, port=free_port())
    monkeypatch.delenv("FUNNELHOUSE_SLACK_CHANNEL")
    file.write_text("FUNNELHOUSE_SLACK_CHANNEL=C0123456789\n", encoding="utf-8")
    assert find_kept(home) is not None


def test_the_logs_of_the_parts_survive_a_restart_and_stay_bounded(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = home.home / "logs" / "airflow-scheduler.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("why it crashed\n", encoding="utf-8")
    run_to_the_end(home, timeout_seconds=60)
    assert log.read_text(encoding="utf-8").startswith("why it crashed\n")
    monkeypatch.setattr("runner.airflow_parts.MOST_LOG_BYTES", 5)
    run_to_the_end(home, timeout_seconds=60)
    assert "why it crashed" not in log.read_text(encoding="utf-8")
    assert "why it crashed" in log.with_suffix(".1.log").read_text(encoding="utf-8")


def read_parts(settings: Settings) -> dict[str, dict[str, float]]:
    return dict(json.loads((settings.airflow_home / "parts.json").read_text(encoding="utf-8"))["parts"])


def wait_until_dead(process: psutil.Process) -> None:
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)
