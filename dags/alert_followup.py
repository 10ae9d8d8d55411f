"""Between two runs of the pipeline: late messages, escalation, and whether it runs at all."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, get_current_context, task

from dags.common import DEFAULT_ARGS, START_DATE
from foundation.settings import load_settings

_settings = load_settings()


@dag(
    schedule=CronTriggerTimetable(_settings.alert_followup_schedule, timezone="UTC")
    if _settings.alert_followup_schedule
    else None,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=dt.timedelta(hours=1),
    tags=["alerts"],
    doc_md="""
### What alerts need between two runs of the pipeline

Sends what quiet hours or an unreachable Slack have held back, ends snoozes, calls for help when nobody has
acknowledged a critical incident, and opens an incident when `ga4_pipeline` has not succeeded for longer than it should.
Reads and writes only the state file: it needs no slot in the warehouse pool.
""",
)
def alert_followup() -> None:
    """Wire the follow-up."""

    @task(execution_timeout=dt.timedelta(minutes=20))
    def follow_up() -> dict[str, Any]:
        """Do what is due."""
        from alerts.job import end_run
        from alerts.job import follow_up as run_follow_up
        from dags.common import load_settings_with_connections

        settings, run_id = load_settings_with_connections(), str(get_current_context()["run_id"])
        report = run_follow_up(settings, run_id=run_id)
        end_run(settings, dag_id="alert_followup", run_id=run_id)
        return report.to_dict()

    follow_up()


alert_followup()
