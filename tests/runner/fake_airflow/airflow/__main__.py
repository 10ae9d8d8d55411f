"""Stands in for Airflow's programs: an API server with DAGs and runs, and a scheduler that does all at once.

Its state is `fake.json` in AIRFLOW_HOME. Like Airflow's, its scheduler leaves paused DAGs alone, and begins a scheduled
run of every other DAG as soon as it can.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

DAGS = ("ga4_pipeline", "model_retraining", "alert_followup")
STATE = Path(os.environ["AIRFLOW_HOME"]) / "fake.json"
PORT = int(os.environ["AIRFLOW__API__PORT"])
HAS_SCHEDULES = os.environ.get("FUNNELHOUSE_PIPELINE_SCHEDULE") != "none"

# "busy": how many writing calls are still refused with 500; "hangs": triggered runs never end
state: dict[str, Any] = {"paused": {}, "runs": {}, "started": [], "busy": 0, "hangs": False}
by_hand: dict[str, str] = {}  # by the id that the caller has chosen


class Api(BaseHTTPRequestHandler):
    """The few calls that the runner makes, and one by which the other parts say that they run."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/api/v2/monitor/health":
            parts = {"scheduler": "scheduler", "dag_processor": "dag-processor", "triggerer": "triggerer"}
            running = {name: "healthy" if part in state["started"] else None for name, part in parts.items()}
            self.answer({name: {"status": status} for name, status in {"metadatabase": "healthy", **running}.items()})
        elif url.path == "/api/v2/dags":
            known = DAGS if "dag-processor" in state["started"] else state["paused"]
            self.answer({"dags": [{"dag_id": dag, "last_parsed_time": "9999"} for dag in known]})
        elif url.path == "/api/v2/importErrors":
            self.answer({"import_errors": []})
        elif url.path == "/api/v2/assets/events":
            self.answer({"asset_events": []})
        elif url.path.endswith("/taskInstances"):
            self.answer({"task_instances": []})
        elif run := find_run(url.path):
            self.answer({"dag_run_id": run, "state": state["runs"][run]})
        else:
            wanted, dag = parse_qs(url.query)["state"], url.path.split("/")[4]
            runs = [run for run, now in state["runs"].items() if run.startswith(f"{dag} ") and now in wanted]
            self.answer({"dag_runs": [{"dag_run_id": run, "state": state["runs"][run]} for run in runs]})

    def do_POST(self) -> None:
        body = self.read_body()
        if self.path.startswith("/started/"):
            part = self.path.removeprefix("/started/")
            state["started"].append(part)
            if part == "scheduler":
                state["paused_at_start"] = dict(state["paused"])
            schedule()
        elif self.path.endswith("/dagRuns"):
            dag = self.path.split("/")[4]
            by_hand[body["dag_run_id"]] = f"{dag} by hand"
            state["runs"][f"{dag} by hand"] = "running" if state["hangs"] else "queued"
            schedule()
        self.answer({"access_token": "token", **body})

    def do_DELETE(self) -> None:
        dag = self.path.split("/")[4]
        runs = [run for run in state["runs"] if run.startswith(f"{dag} ")]
        for run in runs:
            del state["runs"][run]
        self.answer({}, status=200 if runs else 404)

    def do_PATCH(self) -> None:
        body = self.read_body()
        if state["busy"]:
            state["busy"] -= 1
            self.answer({"detail": "database is locked"}, status=500)
        elif run := find_run(self.path):
            state["runs"][run] = body["state"]
        else:
            state["paused"][self.path.split("/")[4]] = body["is_paused"]
            schedule()
        self.answer({})

    def read_body(self) -> dict[str, Any]:
        return dict(json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}"))

    def answer(self, body: dict[str, Any], *, status: int = 200) -> None:
        STATE.with_suffix(".new").write_text(json.dumps(state), encoding="utf-8")
        STATE.with_suffix(".new").replace(STATE)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        pass


def find_run(path: str) -> str | None:
    found = re.fullmatch(r"/api/v2/dags/[^/]+/dagRuns/([^/]+)", urlsplit(path).path)
    return by_hand.get(unquote(found[1]), unquote(found[1])) if found else None


def schedule() -> None:
    if "scheduler" not in state["started"]:
        return
    for dag in DAGS:
        if state["paused"].get(dag, True):
            continue
        if HAS_SCHEDULES:
            state["runs"].setdefault(f"{dag} by schedule", "running")
        for run, now in state["runs"].items():
            if run.startswith(f"{dag} ") and now == "queued":
                state["runs"][run] = "success"


def report_for_ever(part: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/started/{part}", data=b"")
            break
        except urllib.error.URLError:
            time.sleep(0.05)
    time.sleep(3_600)


if sys.argv[1] == "api-server":
    if STATE.exists():
        state |= json.loads(STATE.read_text(encoding="utf-8"))
    HTTPServer(("127.0.0.1", PORT), Api).serve_forever()
elif sys.argv[1] == "db":
    if sys.argv[2] == "clean":
        STATE.with_name("cleaned.json").write_text(json.dumps(sys.argv[1:]), encoding="utf-8")
        sys.exit("database is locked" if os.environ.get("FAKE_DB_CLEAN") == "fails" else 0)
else:
    report_for_ever(sys.argv[1])
