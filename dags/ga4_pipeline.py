"""The pipeline: new days and hours of the GA4 export become a published, validated, scored warehouse, and alerts."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.exceptions import AirflowFailException
from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, dag, get_current_context, task

from dags.common import DEFAULT_ARGS, MODELS, START_DATE, WAREHOUSE, WAREHOUSE_POOL, report_run_failure
from foundation.dag_names import PIPELINE
from foundation.settings import load_settings

_settings = load_settings()
_on_new_models = [Asset(MODELS)]
_schedule: Any = (
    AssetOrTimeSchedule(
        timetable=CronTriggerTimetable(_settings.pipeline_schedule, timezone=_settings.property_timezone),
        assets=_on_new_models,
    )
    if _settings.pipeline_schedule
    else _on_new_models
)


@dag(
    schedule=_schedule,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=dt.timedelta(hours=12),
    on_failure_callback=report_run_failure,
    tags=["ga4"],
    params={
        "full_rebuild": Param(
            False, type="boolean", title="Full rebuild", description="Make every table anew from the lake."
        ),
        "load_again": Param(
            [],
            type="array",
            items={"type": "string", "format": "date"},
            title="Load again",
            description="Dates (YYYY-MM-DD) whose files are read and converted again, changed or not.",
        ),
        "train_now": Param(
            False, type="boolean", title="Train now", description="Train all models after the publication."
        ),
    },
    doc_md="""
### From new GA4 days and hours to a published warehouse and alerts

1. **load_changed_days** compares the export with the lake and loads the days that are new or rewritten.
2. **plan_build** compares the lake, the SQL and the models with the published warehouse; if nothing has changed, the
   build is skipped.
3. **validate_landing**, **build_marts**, **validate_marts**, **score_sessions**, **build_scores**, **validate_scores**
   work on a private copy. A failure anywhere leaves the published warehouse as it was. Where nothing but the champion
   models has changed, the first three are skipped.
4. **publish** replaces the published warehouse with the copy in one rename.
5. **check_alerts** checks the KPIs, sends what is new (even if there was nothing to build: messages
   that could not be delivered before are still due), and closes what earlier failed runs left open.

Safe to clear and rerun at any point. Runs on its schedule, every hour by default, and whenever `model_retraining` has
promoted a model; a run that finds nothing new ends after its second task. Triggered by hand it can be asked for a full
rebuild, for dates to load again, and for a training.
""",
)
def ga4_pipeline() -> None:  # longer than 60 lines: ten tasks of three lines, read best where they are wired
    """Wire the pipeline."""

    @task(execution_timeout=dt.timedelta(hours=6))
    def load_changed_days() -> dict[str, Any]:
        """Load new and rewritten days of the export into the lake."""
        from foundation.settings import load_settings
        from ingest.job import load_changed_days as load
        from warehouse.transaction import request_full_rebuild, request_training

        settings, wanted = load_settings(), get_current_context()["params"]
        if wanted["full_rebuild"]:
            request_full_rebuild(settings)
        if wanted["train_now"]:
            request_training(settings)
        again = {dt.date.fromisoformat(date) for date in wanted["load_again"]}
        return load(settings, again=again).to_dict()

    @task.branch
    def plan_build() -> str | None:
        """Go on only if there is a reason, if what is published would change; to the scores if only these would."""
        from foundation.settings import load_settings
        from warehouse.transaction import is_about_scores
        from warehouse.transaction import plan_build as plan

        reasons = plan(load_settings()).reasons
        print("\n".join(reasons) or "nothing has changed: what is published stays")
        get_current_context()["ti"].xcom_push("reasons", reasons)
        if not reasons:
            return None
        return "score_sessions" if is_about_scores(reasons) else "validate_landing"

    @task(pool=WAREHOUSE_POOL)
    def validate_landing() -> dict[str, Any]:
        """Let Great Expectations judge the new days before anything is built from them."""
        return _validate("landing")

    @task(pool=WAREHOUSE_POOL, execution_timeout=dt.timedelta(hours=6))
    def build_marts() -> dict[str, Any]:
        """Copy the published warehouse and run dbt on the copy: staging, sessions, marts, features."""
        from foundation.settings import load_settings
        from warehouse.build import build_marts as build

        return build(load_settings(), run_id=_run_id()).to_dict()

    @task(pool=WAREHOUSE_POOL)
    def validate_marts() -> dict[str, Any]:
        """Let Great Expectations judge the marts."""
        return _validate("marts")

    @task(pool=WAREHOUSE_POOL, trigger_rule="none_failed_min_one_success")
    def score_sessions(reasons: list[str]) -> dict[str, Any]:
        """Score new and changed sessions with the champion models."""
        from foundation.settings import load_settings
        from ml.jobs.score import score_sessions as score
        from warehouse.transaction import begin_scores, is_about_scores

        settings = load_settings()
        if is_about_scores(reasons):
            begin_scores(settings, run_id=_run_id(), reasons=reasons)
        return score(settings).to_dict()

    @task(pool=WAREHOUSE_POOL)
    def build_scores() -> dict[str, Any]:
        """Run dbt on what depends on the scores."""
        from foundation.settings import load_settings
        from warehouse.build import build_scores as build

        return build(load_settings()).to_dict()

    @task(pool=WAREHOUSE_POOL)
    def validate_scores() -> dict[str, Any]:
        """Let Great Expectations judge the scores."""
        return _validate("scores")

    @task(pool=WAREHOUSE_POOL, outlets=[Asset(WAREHOUSE)])
    def publish() -> bool:
        """Put the audited build in the published warehouse's place."""
        from foundation.settings import load_settings
        from warehouse.transaction import publish as replace_published

        return replace_published(load_settings(), run_id=_run_id())

    @task(trigger_rule="none_failed")
    def check_alerts() -> dict[str, Any]:
        """Check the published KPIs, send what is new, and close what earlier runs left open."""
        from alerts.job import check_and_send, end_run
        from dags.common import load_settings_with_connections

        settings = load_settings_with_connections()
        is_scheduled = get_current_context()["dag_run"].run_type == "scheduled"
        report = check_and_send(settings, run_id=_run_id(), watches_schedule=False)
        end_run(settings, dag_id=PIPELINE, run_id=_run_id(), is_scheduled=is_scheduled)
        return report.to_dict()

    plan: Any = plan_build()
    scored = score_sessions(plan["reasons"])
    load_changed_days() >> plan >> validate_landing() >> build_marts() >> validate_marts() >> scored
    scored >> build_scores() >> validate_scores() >> publish() >> check_alerts()


def _run_id() -> str:
    return str(get_current_context()["run_id"])


def _validate(suite: Any) -> dict[str, Any]:
    from expectations.job import ValidationFailedError, validate
    from foundation.settings import load_settings

    try:
        return validate(load_settings(), suite, run_id=_run_id()).to_dict()
    except ValidationFailedError as error:
        # the same data would fail again: no retry
        raise AirflowFailException(str(error)) from error


ga4_pipeline()
