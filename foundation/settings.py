"""Every setting of Funnelhouse, read from the environment and from `.env`, and every path derived from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from foundation.errors import SettingsError
from foundation.setting_types import (
    Cron,
    HomeFolder,
    Host,
    HostNames,
    MailAddress,
    MailAddresses,
    MemoryLimit,
    OneLine,
    ParameterName,
    Secret,
    Token,
    WebAddress,
    Zone,
)

PROJECT_DIR = Path(__file__).resolve().parent.parent


class ExportSettings(BaseModel):
    """The export, and where state lives."""

    source: OneLine | None = Field(
        default=None,
        description="The GA4 export: a folder, `s3://…`, `gs://…` or `bigquery://project.dataset` "
        "([sources.md](sources.md)); unset: the sample shop.",
    )
    bigquery_billing_project: OneLine | None = Field(
        default=None, description="Project that requests to BigQuery are counted against; unset: the source's own."
    )
    bigquery_appends: bool = Field(
        default=True,
        description="Ask BigQuery by a query for what was appended to an intraday table since the last run, if the "
        "account may run queries; else, and if false, the table is read as a whole.",
    )
    bigquery_endpoint: WebAddress | None = Field(
        default=None, description="A private endpoint of BigQuery's REST API; unset: Google's public one."
    )
    home: HomeFolder = Field(default=PROJECT_DIR / "data", validate_default=True, description="Where all state lives.")
    property_timezone: Zone = Field(
        default="America/Los_Angeles",
        description="Time zone of the GA4 property, by its IANA name; the default is GA4's own.",
    )


class MartSettings(BaseModel):
    """Marts and builds."""

    complete_after_hours: int = Field(
        default=72,
        ge=0,
        description="Hours after a day's end at which its daily table counts as complete; GA4 rewrites it until then.",
    )
    attribution_lookback_days: int = Field(
        default=30, ge=0, description="How far back a direct session looks for a source."
    )
    longest_session_gap_minutes: int = Field(
        default=475,
        ge=30,
        description="A longer gap ends a session, whatever id its events have; GA4 lets no property wait longer.",
    )
    count_in_app_purchases: bool = Field(
        default=True, description="Count `in_app_purchase` events as purchases, marked `is_in_app`."
    )
    excluded_hostnames: HostNames = Field(
        default="", description="Hostnames, comma-separated, whose events are counted as internal and left out."
    )
    ga4_config: Path = Field(
        default=PROJECT_DIR / "ga4.yml",
        description="The file of the property's own parameters, user properties, session properties and key events.",
    )
    release_parameter: ParameterName = Field(
        default="app_version",
        description="Event parameter that names the release of the site or app; else an app's own version is taken.",
    )
    max_file_gb: float = Field(
        default=20,
        gt=0,
        description="What one file of the export may become when unpacked, in GB; a larger one is not loaded.",
    )
    min_free_gb: float = Field(
        default=0.2, ge=0, description="Room on the disk, in GB, that loading leaves free; files without room wait."
    )
    duckdb_threads: int | None = Field(default=None, ge=1, description="Threads of a build; unset: all cores.")
    duckdb_memory_limit: MemoryLimit | None = Field(
        default=None, description="Memory of a build, such as `6GB`; unset: DuckDB's default."
    )


class ScheduleSettings(BaseModel):
    """Schedules."""

    pipeline_schedule: Cron | None = Field(
        default="7 * * * *",
        description="Cron for `ga4_pipeline`, in the property's time zone; a run that finds nothing new ends at once. "
        "`none`: by hand only.",
    )
    daily_schedule: Cron | None = Field(
        default=None, description="Former name of `FUNNELHOUSE_PIPELINE_SCHEDULE`; counts where that is not set."
    )
    retraining_schedule: Cron | None = Field(
        default="0 9 * * 1",
        description="Cron for `model_retraining`; `none`: only models without a usable champion are trained.",
    )
    alert_followup_schedule: Cron | None = Field(
        default="*/30 * * * *",
        description="Cron for `alert_followup`, in UTC: late messages, escalation, missed runs; `none`: by hand only.",
    )
    kept_log_days: int = Field(
        default=60,
        ge=1,
        description="Days after which task logs and Airflow's records are removed, once a week.",
    )
    kept_result_days: int = Field(
        default=400, ge=1, description="Days for which results of validations and measures of drift stay."
    )
    task_retries: int = Field(default=2, ge=0, description="How many times Airflow retries a failed task.")


class ModelSettings(BaseModel):
    """Models."""

    retraining_max_age_days: int = Field(
        default=7, ge=1, description="Models whose last training is older are retrained after a publication."
    )
    kept_model_versions: int = Field(
        default=5,
        ge=1,
        description="Versions of a model that stay, besides the champion and those that a rollback can reach.",
    )
    training_budget_seconds: float = Field(
        default=6,
        gt=0,
        description="Estimated CPU seconds for the search of each propensity model; from 30 on it tries more.",
    )


class AlertSettings(BaseModel):
    """Alerts."""

    alert_rules: Path = Field(default=PROJECT_DIR / "alerts" / "rules.yml", description="The file of alert rules.")
    missed_run_after_hours: float | None = Field(
        default=None,
        gt=0,
        description="Hours without a success after which a scheduled `ga4_pipeline` is an incident; unset: six more "
        "than the longest pause of its schedule.",
    )
    alert_escalation_owner: OneLine | None = Field(
        default=None,
        description="Slack user (`U…`) or group (`S…`) that is called when nobody acknowledges a critical incident.",
    )
    alert_escalate_after_hours: float = Field(default=4, gt=0, description="Hours until then.")


class SlackSettings(BaseModel):
    """Slack."""

    slack_token: Token | None = Field(default=None, description="Bot token (`xoxb-…`).")
    slack_channel: OneLine | None = Field(
        default=None, description="The channel that gets the alerts, preferably by id (`C…`)."
    )
    slack_signing_secret: Token | None = Field(
        default=None,
        description="The app's signing secret: adds buttons to messages; `alerts serve` receives the answers.",
    )
    slack_base_url: WebAddress = Field(default="https://slack.com/api/", description="Slack's Web API.")


class MailSettings(BaseModel):
    """Mail."""

    weekly_report: bool = Field(
        default=True,
        description="On Mondays from 08:00 `alert_followup` sends a report of the week to Slack and by mail.",
    )
    weekly_report_channel: OneLine | None = Field(
        default=None, description="Slack channel of the weekly report; unset: that of the alerts."
    )
    alert_email_to: MailAddresses | None = Field(
        default=None, description="Comma-separated addresses that get the alerts."
    )
    alert_email_from: MailAddress | None = Field(
        default=None, description="Sender of these mails; unset: the first address."
    )
    smtp_host: Host | None = Field(default=None, description="Mail server.")
    smtp_port: int = Field(default=587, ge=1, le=65535, description="Its port; 465 means TLS from the first byte.")
    smtp_user: OneLine | None = Field(default=None, description="User there, if it asks for one.")
    smtp_password: Secret | None = Field(default=None, description="Password there.")
    smtp_starttls: bool = Field(default=True, description="Encrypt the connection to the mail server.")


class WebhookSettings(BaseModel):
    """Webhook."""

    alert_webhook_url: WebAddress | None = Field(
        default=None, description="URL that gets each change of an incident as JSON."
    )
    alert_webhook_secret: Secret | None = Field(default=None, description="Signs these calls (HMAC-SHA256).")


class Settings(
    WebhookSettings,
    MailSettings,
    SlackSettings,
    AlertSettings,
    ModelSettings,
    ScheduleSettings,
    MartSettings,
    ExportSettings,
    BaseSettings,
):
    """Settings, each taken from the environment variable `FUNNELHOUSE_<NAME>` or a line of `.env`.

    Secrets are `SecretStr`: they never show in logs, reprs or error messages.
    """

    model_config = SettingsConfigDict(
        env_prefix="FUNNELHOUSE_",
        env_file=os.environ.get("FUNNELHOUSE_ENV_FILE", PROJECT_DIR / ".env"),
        extra="ignore",
        frozen=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object, info: ValidationInfo) -> object:
        if value == "" and info.field_name is not None and cls.model_fields[info.field_name].default is None:
            return None
        return value

    @model_validator(mode="before")
    @classmethod
    def _take_former_names(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("daily_schedule") is not None:
            return {"pipeline_schedule": values["daily_schedule"], **values}
        return values

    @field_validator(
        "pipeline_schedule", "daily_schedule", "retraining_schedule", "alert_followup_schedule", mode="before"
    )
    @classmethod
    def _none_is_unscheduled(cls, value: object) -> object:
        return None if isinstance(value, str) and value.strip().lower() in {"", "none"} else value

    @field_validator("source")
    @classmethod
    def _absolute_folder(cls, value: str | None) -> str | None:
        if value is None or "://" in value:
            return value
        return str(Path(value).expanduser().resolve())

    @field_validator("alert_rules", "ga4_config")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @classmethod
    def read(cls, given: Mapping[str, Any] | None = None, *, where: str = "the environment or in .env") -> Self:
        """Read the settings; `given` values win. Raises `SettingsError` naming each wrong variable.

        `where` says in the message where to correct it.
        """
        try:
            return cls(**(given or {}))
        except ValidationError as error:
            # without the values that pydantic shows: some are secrets
            problems = [
                f"FUNNELHOUSE_{str(problem['loc'][0]).upper()}: {problem['msg'].removeprefix('Value error, ')}"
                for problem in error.errors()
            ]
            raise SettingsError(f"{'; '.join(problems)}. Correct it in {where}") from None

    @classmethod
    def is_secret(cls, name: str) -> bool:
        """Whether the setting of this name, such as `slack_token`, holds a secret."""
        field = cls.model_fields.get(name)
        return field is not None and "SecretStr" in repr(field.annotation)

    def with_values(self, values: Mapping[str, Any], *, where: str) -> Self:
        """These settings with other values, checked alike; `where` they are from."""
        return self.read({**dict(self), **values}, where=where)

    @cached_property
    def zone(self) -> ZoneInfo:
        """The property's time zone."""
        return ZoneInfo(self.property_timezone)

    @property
    def export_uri(self) -> str:
        """The export to ingest: the configured source, else the sample shop's folder."""
        return self.source or str(self.sample_export_dir)

    @property
    def lake_dir(self) -> Path:
        """One folder `event_date=YYYY-MM-DD` per day: Parquet files and `_manifest.json`."""
        return self.home / "lake" / "events"

    @property
    def bigquery_dir(self) -> Path:
        """What was read of growing BigQuery tables."""
        return self.home / "bigquery"

    @property
    def quarantine_dir(self) -> Path:
        """Files that could not be read, each with its reason."""
        return self.home / "quarantine"

    @property
    def forgotten_dir(self) -> Path:
        """The list of forgotten people, as hashes, and the key to them."""
        return self.home / "forgotten"

    @property
    def published_path(self) -> Path:
        """The warehouse that everybody reads."""
        return self.home / "warehouse.duckdb"

    @property
    def build_path(self) -> Path:
        """The private copy that a run builds in."""
        return self.home / "build" / "warehouse.duckdb"

    @property
    def state_path(self) -> Path:
        """SQLite file of what must change outside a build: incidents, outbox, validation results."""
        return self.home / "ops.sqlite"

    @property
    def models_dir(self) -> Path:
        """`<name>/<version>/` per trained model, and `<name>/champion.json`."""
        return self.home / "models"

    @property
    def docs_dir(self) -> Path:
        """Generated pages: dbt docs and data docs."""
        return self.home / "docs"

    @property
    def alerts_dir(self) -> Path:
        """Rendered alert messages and their charts."""
        return self.home / "alerts"

    @property
    def sample_export_dir(self) -> Path:
        """The sample shop's GA4 export."""
        return self.home / "sample_shop" / "export"

    @property
    def sample_truth_dir(self) -> Path:
        """True purchase probabilities of the sample shop; only evaluation may read them."""
        return self.home / "sample_shop" / "truth"

    @property
    def sample_truth_path(self) -> Path:
        """The file of true purchase probabilities of the sample shop."""
        return self.sample_truth_dir / "session_truth.parquet"

    @property
    def airflow_home(self) -> Path:
        """AIRFLOW_HOME of `make run` and `make up`."""
        return self.home / "airflow"

    @property
    def dbt_project_dir(self) -> Path:
        """The dbt project."""
        return PROJECT_DIR / "dbt_project"


def load_settings() -> Settings:
    """Read the settings; raises `SettingsError` naming each wrong variable."""
    return Settings.read()


def show_path(path: Path) -> str:
    """A path as one would type it from the project's folder."""
    return str(path.relative_to(PROJECT_DIR)) if path.is_relative_to(PROJECT_DIR) else str(path)
