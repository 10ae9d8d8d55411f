"""The DAGs parse fast and say what an operator needs to know."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.main_job import TASKS

PROJECT = Path(__file__).resolve().parents[2]

_DESCRIBE = """
import json, sys, time
import airflow.sdk, airflow.exceptions, pydantic_settings  # what Airflow has loaded before it parses any DAG
out = {}
for name in ("ga4_pipeline", "model_retraining", "alert_followup"):
    module = f"dags.{name}"
    before = set(sys.modules)
    started = time.perf_counter()
    dag = getattr(__import__(module, fromlist=[name]), name)()
    out[name] = {
        "seconds": time.perf_counter() - started,
        "heavy": sorted({m.split(".")[0] for m in set(sys.modules) - before}
                        & {"dbt", "duckdb", "sklearn", "pandas", "numpy", "great_expectations", "altair", "pyarrow"}),
        "doc": dag.doc_md, "max_active_runs": dag.max_active_runs,
        "timeout": dag.dagrun_timeout.total_seconds(),
        "on_failure": getattr(dag.on_failure_callback, "__name__", None),
        "params": dag.params.dump(),
        "tasks": {t.task_id: {"pool": t.pool, "rule": t.trigger_rule.value, "owner": t.owner, "retries": t.retries,
                  "timeout": t.execution_timeout.total_seconds() if t.execution_timeout else None,
                  "doc": t.doc_md or t.doc, "on_failure": bool(t.on_failure_callback),
                  "upstream": sorted(t.upstream_task_ids), "outlets": [o.name for o in t.outlets]} for t in dag.tasks},
    }
print("DESCRIPTION" + json.dumps(out))
"""


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("airflow")
    outcome = subprocess.run(
        [sys.executable, "-c", _DESCRIBE],
        cwd=PROJECT,
        env={
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    line = next(line for line in outcome.stdout.splitlines() if line.startswith("DESCRIPTION"))
    return dict(json.loads(line.removeprefix("DESCRIPTION")))


def test_nothing_heavy_is_imported_at_parse_time(dags: dict[str, Any]) -> None:
    for name, dag in dags.items():
        assert dag["heavy"] == [], name
        # generous for a busy machine; what it guards against takes several seconds
        assert dag["seconds"] < 2, name


def test_every_task_has_owner_retries_timeout_docs_and_failure_report(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert dag["doc"]
        assert dag["max_active_runs"] == 1
        for task_id, task in dag["tasks"].items():
            assert task["owner"] in {"data-engineering", "data-science"}, task_id
            assert task["retries"] >= 1, task_id
            assert task["timeout"], task_id
            assert task["doc"], task_id
            assert task["on_failure"], task_id


def test_tasks_that_touch_the_build_share_one_pool(dags: dict[str, Any]) -> None:
    tasks = dags["ga4_pipeline"]["tasks"]
    writers = {"build_marts", "validate_marts", "score_sessions", "build_scores", "validate_scores", "publish"}
    assert {name for name, task in tasks.items() if task["pool"] == "warehouse_build"} >= writers


def test_publication_comes_after_every_gate(dags: dict[str, Any]) -> None:
    tasks = dags["ga4_pipeline"]["tasks"]
    order = []
    task_id = "check_alerts"
    while tasks[task_id]["upstream"]:
        upstream = set(tasks[task_id]["upstream"])
        if task_id == "score_sessions":  # begins itself where the plan says that only scores are made anew
            upstream.remove("plan_build")
            assert tasks[task_id]["rule"] == "none_failed_min_one_success"
        (task_id,) = upstream
        order.append(task_id)
    assert order == [
        "publish",
        "validate_scores",
        "build_scores",
        "score_sessions",
        "validate_marts",
        "build_marts",
        "validate_landing",
        "plan_build",
        "load_changed_days",
    ]
    # the tests that go through the tasks without Airflow do what it does
    assert [name for name in reversed(order) if name != "plan_build"] == [*TASKS][:-1]


def test_assets_chain_the_dags(dags: dict[str, Any]) -> None:
    assert dags["ga4_pipeline"]["tasks"]["publish"]["outlets"] == ["funnelhouse://warehouse"]
    assert dags["model_retraining"]["tasks"]["announce_models"]["outlets"] == ["funnelhouse://models"]


def test_the_pipeline_can_be_asked_for_more(dags: dict[str, Any]) -> None:
    assert dags["ga4_pipeline"]["params"] == {"full_rebuild": False, "load_again": [], "train_now": False}


def test_a_run_that_ends_without_a_failed_task_reports_itself_too(dags: dict[str, Any]) -> None:
    assert dags["ga4_pipeline"]["on_failure"] == "report_run_failure"
    assert dags["model_retraining"]["on_failure"] == "report_run_failure"
