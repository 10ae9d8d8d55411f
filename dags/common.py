"""What the DAGs share: names, defaults, connections, and the report of failed tasks."""

from __future__ import annotations

import datetime as dt
from typing import Any

from warehouse.settings import Settings, load_settings

START_DATE = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
WAREHOUSE = "funnelhouse://warehouse"
MODELS = "funnelhouse://models"
# One slot: DuckDB lets one process write.
WAREHOUSE_POOL = "warehouse_build"
SLACK_CONNECTION = "funnelhouse_slack"


def report_failure(context: Any) -> None:
    """Send a task's final failure (retries used up) the way alerts go."""
    from alerts.job import report_task_failure

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


def load_settings_with_connections() -> Settings:
    """The settings; a Slack token missing there comes from the Airflow connection `funnelhouse_slack`.

    The connection's password is the token, its extra field `channel` the channel.
    """
    from airflow.exceptions import AirflowNotFoundException
    from airflow.sdk import Connection
    from pydantic import SecretStr

    settings = load_settings()
    if settings.slack_token is not None:
        return settings
    try:
        connection = Connection.get(SLACK_CONNECTION)
    except AirflowNotFoundException:
        return settings
    if not connection.password:
        return settings
    return settings.model_copy(
        update={
            "slack_token": SecretStr(connection.password),
            "slack_channel": settings.slack_channel or connection.extra_dejson.get("channel"),
        }
    )


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "data-engineering",
    "retries": load_settings().task_retries,
    "retry_delay": dt.timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "max_retry_delay": dt.timedelta(minutes=10),
    "execution_timeout": dt.timedelta(hours=2),
    "on_failure_callback": report_failure,
}
