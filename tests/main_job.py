"""The tasks of `ga4_pipeline` in the order in which Airflow runs them, without Airflow."""

from __future__ import annotations

from collections.abc import Callable, Collection

from alerts.job import check_and_send, end_run
from expectations.job import validate
from foundation.settings import Settings
from ingest.job import load_changed_days
from ml.jobs.score import score_sessions
from warehouse.build import build_marts, build_scores
from warehouse.transaction import plan_build, publish

TASKS: dict[str, Callable[[Settings, str], object]] = {
    "load_changed_days": lambda settings, run_id: load_changed_days(settings, progress=False),
    "validate_landing": lambda settings, run_id: validate(settings, "landing", run_id=run_id),
    "build_marts": lambda settings, run_id: build_marts(settings, run_id=run_id),
    "validate_marts": lambda settings, run_id: validate(settings, "marts", run_id=run_id),
    "score_sessions": lambda settings, run_id: score_sessions(settings),
    "build_scores": lambda settings, run_id: build_scores(settings),
    "validate_scores": lambda settings, run_id: validate(settings, "scores", run_id=run_id),
    "publish": lambda settings, run_id: publish(settings, run_id=run_id),
    "check_alerts": lambda settings, run_id: _check_alerts(settings, run_id),
}


def run_main_job(settings: Settings, *, run_id: str, skipping: Collection[str] = ()) -> list[str]:
    """Run all tasks but those to skip; those that build only if there is a reason. Returns the reasons."""
    TASKS["load_changed_days"](settings, run_id)
    reasons = plan_build(settings).reasons
    for name in [*TASKS][1:-1] if reasons else []:
        if name not in skipping:
            TASKS[name](settings, run_id)
    TASKS["check_alerts"](settings, run_id)
    return reasons


def _check_alerts(settings: Settings, run_id: str) -> None:
    check_and_send(settings, run_id=run_id, watches_schedule=False)
    end_run(settings, dag_id="ga4_pipeline", run_id=run_id)
