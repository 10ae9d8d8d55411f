"""A mistyped setting is refused where it is read, without repeating what may be a secret."""

from __future__ import annotations

import pytest

from foundation.errors import SettingsError
from foundation.setting_types import check_zone, longest_pause
from foundation.settings import Settings, load_settings


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("ALERT_WEBHOOK_URL", "hooks.example.com/x", "is not a web address"),
        ("ALERT_WEBHOOK_URL", "file:///tmp/hook", "is not a web address"),
        ("ALERT_WEBHOOK_URL", "data:text/plain,x", "is not a web address"),
        ("ALERT_WEBHOOK_URL", "https://", "is not a web address"),
        ("ALERT_WEBHOOK_URL", "https://example.com:99999/x", "is not a web address"),
        ("ALERT_WEBHOOK_URL", "https://exa mple.com/x", "is not a web address"),
        ("ALERT_WEBHOOK_URL", "https://example.com/x\r\nHost: other", "is not a web address"),
        ("ALERT_WEBHOOK_URL", "https://user:hunter22@example.com/x", "has a user or password before the host"),
        ("SLACK_BASE_URL", "slack.com/api", "is not a web address"),
        ("BIGQUERY_ENDPOINT", "ftp://example.com", "is not a web address"),
        ("ALERT_EMAIL_TO", ",", "contains no mail address"),
        ("ALERT_EMAIL_TO", "shop@example.com, nobody", "is not a mail address, at position 2"),
        ("ALERT_EMAIL_TO", "shop@example.com\nBcc: all@example.com", "not a mail address"),
        ("ALERT_EMAIL_FROM", "a@example.com, b@example.com", "is not one mail address"),
        ("SMTP_HOST", "smtp://mail.example.com", "is not a host"),
        ("SMTP_HOST", "mail.example.com:587", "is not a host"),
        ("SMTP_HOST", "mail..example.com", "is not a host"),
        ("SMTP_HOST", "mail.example.com\n", "is not a host"),
        ("SMTP_PASSWORD", "hunter22\n", "contains a line break"),
        ("SLACK_TOKEN", "xoxb-hunter22\nxoxb-2", "contains a space, a line break or an odd character"),
        ("SLACK_TOKEN", "xoxb-hunter22 ö", "contains a space, a line break or an odd character"),
        ("SLACK_SIGNING_SECRET", "hunter22 hunter22", "contains a space"),
        ("SLACK_CHANNEL", "C012\n3456", "contains a line break"),
        ("PIPELINE_SCHEDULE", "every day", "'every day' is not a cron expression"),
        ("PIPELINE_SCHEDULE", "61 7 * * *", "is not a cron expression"),
        ("RETRAINING_SCHEDULE", "0 7 * * * *", "is not a cron expression"),
        ("ALERT_FOLLOWUP_SCHEDULE", "@sometimes", "is not a cron expression"),
        ("PROPERTY_TIMEZONE", "localtime", "is not an IANA time zone"),
        ("PROPERTY_TIMEZONE", "posix/Europe/Berlin", "is not an IANA time zone"),
        ("EXCLUDED_HOSTNAMES", "shop.example, x'; drop table y; --", "is not a host name"),
        ("EXCLUDED_HOSTNAMES", "{{ env_var('HOME') }}", "is not a host name"),
        ("HOME", "/srv/funnel;house#&$", "has '#' '$' '&' ';' in it: choose a folder without"),
        ("HOME", "/srv/100%", "has '%' in it"),
        ("HOME", "/srv/a\nb", r"has '\n' in it"),
    ],
)
def test_a_mistyped_setting_is_named_and_its_value_kept_quiet(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(f"FUNNELHOUSE_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"FUNNELHOUSE_{name}: ") and problem in message and "\n" not in message
    assert "hunter22" not in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alert_webhook_url", "https://hooks.example.com:8443/a/b?c=d"),
        ("alert_webhook_url", "http://127.0.0.1:8080/hook"),
        ("alert_webhook_url", "http://[::1]:8080/hook"),
        ("alert_email_to", "Anna Shop <anna@example.com>, data@example.com"),
        ("alert_email_from", "Funnelhouse <alerts@example.com>"),
        ("smtp_host", "mail_server"),
        ("smtp_host", "192.0.2.1"),
        ("daily_schedule", "*/15 6-22 * * 1-5"),
        ("pipeline_schedule", "@hourly"),
        ("property_timezone", "America/Argentina/Buenos_Aires"),
        ("excluded_hostnames", "localhost, staging.shop.example"),
    ],
)
def test_what_is_right_is_taken_as_it_is(name: str, value: str) -> None:
    assert getattr(Settings.read({name: value}), name) == value


def test_what_surrounds_a_token_is_dropped() -> None:
    token = Settings.read({"slack_token": " xoxb-1234\n"}).slack_token
    assert token is not None and token.get_secret_value() == "xoxb-1234"


def test_values_of_a_connection_are_checked_as_settings_are() -> None:
    with pytest.raises(SettingsError, match=r"FUNNELHOUSE_SMTP_HOST: is not a host.*Correct it in the connection x"):
        Settings().with_values({"smtp_host": "smtp://mail"}, where="the connection x")


def test_every_zone_that_is_taken_is_known_to_duckdb() -> None:
    import zoneinfo

    import duckdb

    known = {name for (name,) in duckdb.sql("select name from pg_timezone_names()").fetchall()}
    taken = set()
    for name in zoneinfo.available_timezones():
        try:
            taken.add(check_zone(name))
        except ValueError:
            continue
    assert len(taken) > 400 and taken <= known


def test_the_former_name_of_the_schedule_counts_where_the_new_one_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().pipeline_schedule == "7 * * * *"
    monkeypatch.setenv("FUNNELHOUSE_DAILY_SCHEDULE", "0 5 * * *")
    assert Settings().pipeline_schedule == "0 5 * * *"
    monkeypatch.setenv("FUNNELHOUSE_PIPELINE_SCHEDULE", "30 * * * *")
    assert Settings().pipeline_schedule == "30 * * * *"
    assert Settings().with_values({"pipeline_schedule": "none"}, where="here").pipeline_schedule is None


def test_the_longest_pause_of_a_schedule() -> None:
    pauses = {cron: longest_pause(cron) for cron in ("7 * * * *", "0 5 * * *", "*/15 6-22 * * 1-5")}
    hours = [pause.total_seconds() / 3600 for pause in pauses.values()]
    assert hours == [1, 24, 55.25]
