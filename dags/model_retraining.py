"""Retrain the propensity models and the segments on the published features."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, dag, get_current_context, task

from dags.common import DEFAULT_ARGS, MODELS, START_DATE, WAREHOUSE, report_run_failure, report_run_success
from foundation.settings import load_settings

_settings = load_settings()
_on_publication = [Asset(WAREHOUSE)]
_schedule: Any = (
    AssetOrTimeSchedule(
        timetable=CronTriggerTimetable(_settings.retraining_schedule, timezone=_settings.property_timezone),
        assets=_on_publication,
    )
    if _settings.retraining_schedule
    else _on_publication
)


@dag(
    schedule=_schedule,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "owner": "data-science"},
    dagrun_timeout=dt.timedelta(hours=12),
    tags=["ml"],
    on_failure_callback=report_run_failure,
    on_success_callback=report_run_success,
    doc_md="""
### Retrain the models

Weekly, by hand, or after a publication that gives a reason: a model has no usable champion, the last training is too
old, or features, base rate or calibration have drifted since the champion's training days. Reads the published
warehouse, writes only the models folder and, for `ops.model_drift`, the state file. A promoted model triggers
`ga4_pipeline`, which scores all sessions with it.
""",
)
def model_retraining() -> None:
    """Wire the retraining."""

    @task.short_circuit
    def decide() -> dict[str, str]:
        """The models to train, each with the reason; none of them: stop here."""
        from foundation.settings import load_settings
        from ml.jobs.drift import explain_retraining
        from ml.jobs.report import MODEL_NAMES
        from warehouse.transaction import has_new_final_days, is_training_requested

        settings = load_settings()
        if not settings.published_path.exists():
            print("nothing is published yet: the first publication will start this DAG again")
            return {}
        if is_training_requested(settings):
            due = dict.fromkeys(MODEL_NAMES, "it was asked for")
        elif _was_published():
            due = explain_retraining(settings, MODEL_NAMES, looks_for_drift=has_new_final_days(settings))
        else:
            due = dict.fromkeys(MODEL_NAMES, "on schedule or by hand")
        print("\n".join(f"{name}: {reason}" for name, reason in due.items()) or "no model is due")
        return due

    @task(execution_timeout=dt.timedelta(hours=6))
    def train_models(due: Any) -> dict[str, Any]:
        """Train the models that are due, judge them on held-out days, and promote."""
        from foundation.settings import load_settings
        from ml.jobs.train import train_models as train
        from warehouse.transaction import forget_training_request

        settings = load_settings()
        # only the sample shop knows the truth, and only the report reads it
        truth = settings.sample_truth_path if settings.source is None else None
        report = train(settings, names=list(due), truth=truth if truth and truth.exists() else None)
        forget_training_request(settings)
        return report.to_dict()

    @task.short_circuit
    def has_new_champion(report: Any) -> bool:
        """Go on if a model was promoted."""
        return any(model["promoted"] for model in report["models"])

    @task(outlets=[Asset(MODELS)])
    def announce_models() -> None:
        """Tell the pipeline that there is a new champion to score with."""

    trained = train_models(decide())
    has_new_champion(trained) >> announce_models()


def _was_published() -> bool:
    return bool(get_current_context()["dag_run"].run_type == "asset_triggered")


model_retraining()
