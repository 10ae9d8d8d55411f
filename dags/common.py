"""What the DAGs share: names, defaults, connections, and the reports of how tasks and runs ended."""

from __future__ import annotations

import datetime as dt
from typing import Any

from foundation.settings import Settings, load_settings

START_DATE = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
WAREHOUSE = "funnelhouse://warehouse"
MODELS = "funnelhouse://models"
# One slot: DuckDB lets one process write.
WAREHOUSE_POOL = "warehouse_build"
SLACK_CONNECTION = "funnelhouse_slack"
SMTP_CONNECTION = "funnelhouse_smtp"


def report_failure(context: Any) -> None:
    """Send a task's final failure (retries used up) the way alerts go. A failure that a retry repairs is not told."""
    from alerts.incidents.runs import report_task_failure

    task_instance = context["task_instance"]
    report_task_failure(
        load_settings_with_connections(),
        dag_id=task_instance.dag_id,
        task_id=task_instance.task_id,
        run_id=context["run_id"],
        try_number=task_instance.try_number,
        error=str(context.get("exception") or "the task ended without an error message"),
        log_url=getattr(task_instance, "log_url", None) or "",
    )


def report_run_failure(context: Any) -> None:
    """Send the failure of a run that none of its tasks has reported: it ran out of time, or could not go on."""
    from alerts.incidents.runs import report_run_timeout

    reason = str(context.get("reason") or "")
    if reason == "task_failure":
        return
    said = {
        "timed_out": "The run took longer than its dagrun_timeout; Airflow stopped it.",
        "all_tasks_deadlocked": "No task of the run can start any more.",
    }.get(reason, f"Airflow failed the run: {reason or 'no reason given'}")
    report_run_timeout(
        load_settings_with_connections(), dag_id=context["dag"].dag_id, run_id=str(context["run_id"]), reason=said
    )


def report_run_success(context: Any) -> None:
    """Close what is open about a DAG whose run has succeeded."""
    from alerts.job import end_run

    end_run(load_settings_with_connections(), dag_id=context["dag"].dag_id, run_id=str(context["run_id"]))


def load_settings_with_connections() -> Settings:
    """The settings; what they lack to reach Slack and the mail server comes from Airflow's connections.

    `funnelhouse_slack`: the password is the token, the extra fields `channel` and `signing_secret` the others.
    `funnelhouse_smtp`: host, port, login and password of the mail server, the extra fields `to` and `from`.
    """
    return _add_smtp(_add_slack(load_settings()))


def _add_slack(settings: Settings) -> Settings:
    connection = _find_connection(SLACK_CONNECTION) if settings.slack_token is None else None
    if connection is None or not connection.password:
        return settings
    extra = connection.extra_dejson
    return settings.with_values(
        {
            "slack_token": connection.password,
            "slack_channel": settings.slack_channel or extra.get("channel"),
            "slack_signing_secret": settings.slack_signing_secret or extra.get("signing_secret"),
        },
        where=f"the Airflow connection {SLACK_CONNECTION}",
    )


def _add_smtp(settings: Settings) -> Settings:
    connection = _find_connection(SMTP_CONNECTION) if settings.smtp_host is None else None
    if connection is None:
        return settings
    extra = connection.extra_dejson
    return settings.with_values(
        {
            "smtp_host": connection.host,
            "smtp_port": connection.port or settings.smtp_port,
            "smtp_user": connection.login,
            "smtp_password": connection.password,
            "alert_email_to": settings.alert_email_to or extra.get("to"),
            "alert_email_from": settings.alert_email_from or extra.get("from"),
        },
        where=f"the Airflow connection {SMTP_CONNECTION}",
    )


def _find_connection(name: str) -> Any:
    from airflow.exceptions import AirflowNotFoundException
    from airflow.sdk import Connection

    try:
        return Connection.get(name)
    except AirflowNotFoundException:
        return None


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "data-engineering",
    "retries": load_settings().task_retries,
    "retry_delay": dt.timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "max_retry_delay": dt.timedelta(minutes=10),
    "execution_timeout": dt.timedelta(hours=2),
    "on_failure_callback": report_failure,
}
